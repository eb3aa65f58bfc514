//! From a profile to its artifact, and what runtimes take of one.

use std::collections::BTreeMap;

use seccomp_profile::{Action, Document, Flag, MAX_BYTES, Problem, Profile, Syscall};

use super::digest::Digest;
use super::manifest::{Descriptor, JSON, MANIFEST, Manifest, PROFILE, TITLE};

/// How many entries may speak of one call: what KEP-6061 lets a runtime take.
pub const MAX_ENTRIES: usize = 128;
/// How many problems are told.
const MAX_PROBLEMS: usize = 10;
/// The config: the media type says everything.
const CONFIG: &[u8] = b"{}";
/// The layer's file, where a client writes one.
const FILE: &str = "profile.json";

/// What is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The bytes of the config.
    pub config: Vec<u8>,
    /// The bytes of the one layer: the profile.
    pub layer: Vec<u8>,
    /// The bytes of the manifest.
    pub manifest: Vec<u8>,
}

impl Artifact {
    /// What the artifact is known by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// The artifact of a profile: the same bytes, and so the same digest, for the same rules. No time and no platform goes in.
///
/// # Errors
///
/// What of the profile runtimes do not take from a registry, at most ten problems.
pub fn pack(profile: &Profile) -> Result<Artifact, Vec<Problem>> {
    let layer = profile.to_canonical_json();
    let problems = unfit(profile, layer.len());
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut described = Descriptor::of(JSON, &layer);
    described.annotations.insert(TITLE.into(), FILE.into());
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.into()),
        artifact_type: Some(PROFILE.into()),
        config: Descriptor::of(PROFILE, CONFIG),
        layers: vec![described],
    };
    Ok(Artifact {
        config: CONFIG.to_vec(),
        layer,
        // Writing to memory with string keys cannot fail.
        manifest: serde_json::to_vec(&manifest).unwrap_or_default(),
    })
}

/// What of a profile runtimes do not take from a registry, at most ten problems; `bytes` is the length of its JSON.
#[must_use]
pub fn unfit(profile: &Profile, bytes: usize) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut found = |path: &str, reason: String, remedy: &str| {
        problems.push(Problem {
            path: path.into(),
            reason,
            remedy: remedy.into(),
        });
    };
    if bytes > MAX_BYTES {
        found(
            "profile",
            format!("has {bytes} bytes, and runtimes take at most {MAX_BYTES} from a registry"),
            "allow calls by name rather than by long lists of arguments",
        );
    }
    if profile.listener().is_some() {
        found(
            "listenerPath",
            "is of one node, and runtimes take no profile with a listener from a registry".into(),
            "remove listenerPath and listenerMetadata",
        );
    }
    if profile.flags().contains(Flag::WaitKillableRecv) {
        found(
            "flags",
            format!(
                "has {}, which is for a listener, and runtimes take none from a registry",
                Flag::WaitKillableRecv.name()
            ),
            "remove it",
        );
    }
    if profile.default_action() == Action::Notify {
        found("defaultAction", NOTIFIED.into(), ANSWER);
    }
    let mut entries: BTreeMap<Syscall, usize> = BTreeMap::new();
    for (i, rule) in profile.rules().iter().enumerate() {
        if rule.action() == Action::Notify {
            found(&format!("syscalls[{i}].action"), NOTIFIED.into(), ANSWER);
        }
        for call in rule.syscalls() {
            *entries.entry(*call).or_default() += 1;
        }
    }
    for (call, number) in entries {
        if number > MAX_ENTRIES {
            found(
                "syscalls",
                format!(
                    "has {number} entries for {}, and runtimes take at most {MAX_ENTRIES} for a call from a registry",
                    call.name()
                ),
                "allow the call for fewer values, or for all",
            );
        }
    }
    problems.truncate(MAX_PROBLEMS);
    problems
}

/// What of a document in an artifact runtimes would not read as its author means it.
#[must_use]
pub fn unread(document: &Document) -> Option<Problem> {
    let path = document.docker_only_fields().first()?;
    Some(Problem {
        path: path.clone(),
        reason: "is of Docker's format, which runtimes do not read from a registry".into(),
        remedy: "push the profile in the runtime-spec's form".into(),
    })
}

const NOTIFIED: &str = "is SCMP_ACT_NOTIFY, which asks a process on the node, and runtimes take no such profile from a registry";
const ANSWER: &str = "say SCMP_ACT_ALLOW, SCMP_ACT_LOG or SCMP_ACT_ERRNO instead";

#[cfg(test)]
mod tests {
    use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Target, parse};
    use serde_json::{Value, json};

    use super::*;

    fn profile(document: &Value) -> Profile {
        parse(document, "").unwrap().resolve(&Target {
            arch: Arch::X86_64,
            kernel: KernelVersion { major: 6, minor: 1 },
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        })
    }

    fn said(document: &Value) -> Vec<String> {
        let problems = pack(&profile(document)).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_artifact_has_the_form_that_runtimes_ask_for() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}],
        });
        let artifact = pack(&profile(&document)).unwrap();
        let layer: Value = serde_json::from_slice(&artifact.layer).unwrap();
        assert_eq!(layer["syscalls"][0]["names"], json!(["read", "write"]));
        let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
        assert_eq!(
            manifest,
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.cncf.seccomp-profile.config.v1+json",
                "config": {
                    "mediaType": "application/vnd.cncf.seccomp-profile.config.v1+json",
                    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                    "size": 2,
                },
                "layers": [{
                    "mediaType": "application/json",
                    "digest": Digest::of(&artifact.layer).to_string(),
                    "size": artifact.layer.len(),
                    "annotations": {"org.opencontainers.image.title": "profile.json"},
                }],
            })
        );
    }

    #[test]
    fn the_same_rules_have_the_same_digest_however_they_are_written() {
        let one = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["write", "read", "read"], "action": "SCMP_ACT_ALLOW"}],
        });
        let other = json!({
            "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": []}],
            "defaultErrnoRet": 1,
            "defaultAction": "SCMP_ACT_ERRNO",
        });
        let digest = |document| pack(&profile(document)).unwrap().digest();
        assert_eq!(digest(&one), digest(&other));
        let third = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []});
        assert_ne!(digest(&one), digest(&third));
    }

    #[test]
    fn what_asks_a_listener_is_refused() {
        assert_eq!(
            said(&json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "listenerPath": "/run/listener.sock",
                "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}],
            })),
            [
                "listenerPath: is of one node, and runtimes take no profile with a listener from a registry; remove listenerPath and \
                 listenerMetadata",
                "flags: has SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, which is for a listener, and runtimes take none from a registry; \
                 remove it",
                "syscalls[0].action: is SCMP_ACT_NOTIFY, which asks a process on the node, and runtimes take no such profile from a \
                 registry; say SCMP_ACT_ALLOW, SCMP_ACT_LOG or SCMP_ACT_ERRNO instead",
            ]
        );
    }

    #[test]
    fn a_document_of_dockers_is_told() {
        let of_docker = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}],
        });
        let problem = unread(&parse(&of_docker, "").unwrap()).unwrap();
        assert_eq!(problem.path, "archMap");
        let plain = json!({"defaultAction": "SCMP_ACT_ERRNO"});
        assert_eq!(unread(&parse(&plain, "").unwrap()), None);
    }

    #[test]
    fn a_call_has_at_most_128_entries() {
        let with = |number: u64| {
            let entry = |value| json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"}]});
            let entries: Vec<_> = (0..number).map(entry).collect();
            json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": entries})
        };
        assert!(pack(&profile(&with(128))).is_ok());
        assert_eq!(
            said(&with(129)),
            [
                "syscalls: has 129 entries for ioctl, and runtimes take at most 128 for a call from a registry; allow the call for fewer \
                 values, or for all"
            ]
        );
    }
}
