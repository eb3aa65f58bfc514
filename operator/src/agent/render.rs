//! From what a user asks for to the bytes of a file on this node: a plain function, to be called again whenever the bytes are
//! needed.

use seccomp_operator_api::{
    CallArgument, Listening, OnTrial, Record, RecordingReference, SeccompProfileSpec, TrialReport,
};
use seccomp_profile::{Library, Profile, Reporting, Target, parse_slice};
use seccomp_recorder::{Versions, observed_profile, recording_profile};

/// What this node's files depend on beside the profiles.
#[derive(Debug)]
pub struct Renderer {
    /// What kind of node it is.
    pub target: Target,
    /// Where the runtime finds the node's recorder, if there is one.
    pub recorder_socket: Option<String>,
}

/// What a profile has the node's recorder for. What derives from it does not.
#[derive(Clone, Debug)]
pub enum Heard {
    /// All calls are recorded.
    Recorded(Record),
    /// What is refused is counted, if it is `observed`, and what the next version would refuse, if one is on trial.
    Observed {
        observed: bool,
        trial: Option<OnTrial>,
    },
}

impl Heard {
    /// What this spec asks for.
    #[must_use]
    pub fn by(spec: &SeccompProfileSpec) -> Option<Self> {
        let record = spec.record.clone().map(Self::Recorded);
        let trial = spec.on_trial();
        let observed = spec.observe;
        let is_heard = observed || trial.is_some();
        record.or(is_heard.then_some(Self::Observed { observed, trial }))
    }
}

impl Renderer {
    /// The bytes of the profile's file on this node, or why there are none. `heard` is the profile's own.
    pub fn render(
        &self,
        library: &Library,
        name: &str,
        heard: Option<&Heard>,
    ) -> Result<Vec<u8>, String> {
        let target = &self.target;
        let composed = library.compose(name, target, "spec");
        let mut profile = composed.map_err(|error| error.to_string())?;
        match heard {
            Some(Heard::Recorded(record)) => profile = self.recording(&profile, record)?,
            Some(Heard::Observed { observed, trial }) => {
                let trial = trial.as_ref();
                let tried =
                    trial.and_then(|trial| self.tried(library, &profile, name, trial, *observed));
                profile = match tried {
                    Some(tried) => tried,
                    None if *observed => self.observed(profile, name)?,
                    None => profile,
                };
            }
            None => {}
        }
        let bytes = profile.to_canonical_json();
        // The last guard before a file that a runtime might take for "no filter at all".
        if heard.is_none() && profile.is_written_as(&bytes) {
            return Ok(bytes);
        }
        match parse_slice(&bytes, "the file") {
            Ok(again) if again.resolve(target) == profile => Ok(bytes),
            Ok(_) => Err("the rendered file does not mean what the profile means; this is a defect of the operator".into()),
            Err(problems) => Err(format!("the rendered file cannot be read back; this is a defect of the operator: {problems}")),
        }
    }

    /// The profile with what it lets happen, and what it refuses with an error, notified to the node's recorder.
    fn recording(&self, profile: &Profile, record: &Record) -> Result<Profile, String> {
        let socket = self.socket("spec.record")?;
        let reference = RecordingReference {
            name: record.name.clone(),
            uid: record.uid.clone(),
        };
        let metadata = reference.to_metadata(&record.namespace);
        let kept = record.arguments.iter().filter_map(CallArgument::known);
        let kept: Vec<_> = kept.collect();
        recording_profile(profile, socket, &metadata, &kept, "spec.base")
            .map_err(|error| error.to_string())
    }

    /// The profile with what it refuses with an error notified to the node's recorder, if there is any such call.
    fn observed(&self, profile: Profile, name: &str) -> Result<Profile, String> {
        let socket = self.socket("spec.observe")?;
        let listening = Listening {
            profile: name,
            observes: true,
            trial: None,
        };
        let observed = observed_profile(&profile, socket, &listening.to_metadata(), "spec")
            .map_err(|error| error.to_string())?;
        Ok(observed.unwrap_or(profile))
    }

    /// The profile with what its next version would refuse reported: by the node's recorder, or where that cannot be by the kernel. Whatever
    /// is wrong with a trial, a node has the profile that is in force; the controller says that it is not tried.
    fn tried(
        &self,
        library: &Library,
        profile: &Profile,
        name: &str,
        trial: &OnTrial,
        observed: bool,
    ) -> Option<Profile> {
        let next = library.with_next(name)?;
        let next = next.compose(name, &self.target, "spec.trial").ok()?;
        let socket = self.recorder_socket.as_deref();
        // Observing without a recorder is what is refused by the caller.
        if observed && socket.is_none() {
            return None;
        }
        let tried = |reporting: Reporting| {
            let versions = Versions {
                now: profile,
                next: &next,
                reporting,
                observed,
            };
            let listening = Listening {
                profile: name,
                observes: observed,
                trial: (reporting == Reporting::Notify).then_some(trial.digest.as_str()),
            };
            let trial = versions.trial().ok()?;
            let tried =
                versions.profile(&trial, socket.unwrap_or_default(), &listening.to_metadata());
            tried.ok().flatten()
        };
        let notifies = trial.report == TrialReport::Notify && socket.is_some();
        let notified = notifies.then(|| tried(Reporting::Notify)).flatten();
        notified.or_else(|| tried(Reporting::Log))
    }

    fn socket(&self, field: &str) -> Result<&str, String> {
        self.recorder_socket.as_deref().ok_or_else(|| {
            format!("{field}: this node has no recorder, and no container could start; install the operator with recorder.enabled=true")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use seccomp_operator_api::{SeccompProfile, SeccompProfileSpec, define};
    use seccomp_profile::{Action, Arch, CapabilitySet, KernelVersion, Syscall};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion { major: 6, minor: 1 },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn render(library: &Library, name: &str, target: &Target) -> Result<Vec<u8>, String> {
        let renderer = Renderer {
            target: *target,
            recorder_socket: None,
        };
        renderer.render(library, name, None)
    }

    fn observed() -> Heard {
        Heard::Observed {
            observed: true,
            trial: None,
        }
    }

    fn library(specs: &Value) -> Library {
        let mut library = Library::default();
        for (name, spec) in specs.as_object().unwrap() {
            let spec: SeccompProfileSpec = serde_json::from_value(spec.clone()).unwrap();
            library.define(name, define(&Ok(SeccompProfile::new(name, spec))));
        }
        library
    }

    fn decision(bytes: &[u8], target: &Target, call: &str, args: [u64; 6]) -> Action {
        let profile = parse_slice(bytes, "").unwrap().resolve(target);
        let number = Syscall::named(call).unwrap().number(target.arch).unwrap();
        profile
            .model()
            .unwrap()
            .decide(target.arch, number, &args.into())
    }

    #[test]
    fn a_document_in_dockers_format_is_resolved_for_the_node() {
        let docker = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
                {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
                {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
            ],
        });
        let library = library(&json!({
            "plain": {"profile": docker},
            "bpf": {"profile": docker, "capabilities": ["BPF"]},
        }));
        let bytes = render(&library, "plain", &AMD64).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            !text.contains("archMap") && text.contains("SCMP_ARCH_X86\""),
            "{text}"
        );
        let eperm = Action::Errno(seccomp_profile::Errno::EPERM);
        for (call, action) in [
            ("read", Action::Allow),
            ("bpf", eperm),
            ("ptrace", Action::Allow),
            ("arch_prctl", Action::Allow),
        ] {
            assert_eq!(decision(&bytes, &AMD64, call, [0; 6]), action, "{call}");
        }
        let old = Target {
            kernel: KernelVersion { major: 4, minor: 4 },
            ..AMD64
        };
        assert_eq!(
            decision(
                &render(&library, "plain", &old).unwrap(),
                &old,
                "ptrace",
                [0; 6]
            ),
            eperm
        );
        assert_eq!(
            decision(
                &render(&library, "bpf", &AMD64).unwrap(),
                &AMD64,
                "bpf",
                [0; 6]
            ),
            Action::Allow
        );
    }

    #[test]
    fn numbers_of_64_bits_arrive_whole_however_they_are_written() {
        let wide = |value: Value| {
            json!({"profile": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": value}]}],
            }})
        };
        let library = library(&json!({
            "integer": wide(json!(9_007_199_254_740_993_u64)),
            "decimal": wide(json!("18446744073709551615")),
            "hex": wide(json!("0xffffffffffffffff")),
            "rounded": wide(json!(1.844_674_407_370_955_2e19)),
        }));
        for (name, number) in [
            ("integer", "9007199254740993"),
            ("decimal", "18446744073709551615"),
            ("hex", "18446744073709551615"),
        ] {
            let text = String::from_utf8(render(&library, name, &AMD64).unwrap()).unwrap();
            assert!(text.contains(number), "{name}: {text}");
        }
        let said = render(&library, "rounded", &AMD64).unwrap_err();
        assert!(
            said.contains("spec.profile.syscalls[0].args[0].value") && said.contains("string"),
            "{said}"
        );
    }

    #[test]
    fn a_profile_that_records_has_the_node_s_recorder_as_its_listener() {
        let library = library(&json!({"recording.shop.web": {"base": "runtime-default"}}));
        let record = Heard::Recorded(Record {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "7".into(),
            arguments: vec![CallArgument {
                call: "setsockopt".into(),
                index: 2,
            }],
        });
        let mut renderer = Renderer {
            target: AMD64,
            recorder_socket: None,
        };
        let render =
            |renderer: &Renderer| renderer.render(&library, "recording.shop.web", Some(&record));
        let said = render(&renderer).unwrap_err();
        assert!(
            said.starts_with("spec.record: this node has no recorder"),
            "{said}"
        );
        renderer.recorder_socket = Some("/var/lib/kubelet/seccomp/recorder/notify.sock".into());
        let bytes = render(&renderer).unwrap();
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            file["listenerPath"],
            "/var/lib/kubelet/seccomp/recorder/notify.sock"
        );
        // The recorder refuses by the base, which goes along.
        let metadata = file["listenerMetadata"].as_str().unwrap();
        let (recording, standing) = metadata.split_once('\n').unwrap();
        assert_eq!(recording, "shop/web/7");
        let standing: Value = serde_json::from_str(standing).unwrap();
        assert_eq!(standing["arguments"], json!([["setsockopt", 2]]));
        let base = standing["base"].to_string();
        let mount = decision(base.as_bytes(), &AMD64, "mount", [0; 6]);
        assert_eq!(mount, Action::Errno(seccomp_profile::Errno::EPERM));
        for call in ["mkdir", "mount"] {
            assert_eq!(decision(&bytes, &AMD64, call, [0; 6]), Action::Notify);
        }
        // What the runtime lives on is not asked about.
        assert_eq!(decision(&bytes, &AMD64, "write", [0; 6]), Action::Allow);
    }

    #[test]
    fn of_a_profile_that_is_observed_the_node_s_recorder_hears_what_is_refused() {
        let library = library(&json!({
            "tight": {"base": "runtime-default", "deny": ["mkdir"], "observe": true},
            "above": {"base": "tight", "deny": ["rmdir"]},
            "open": {"base": "audit"},
        }));
        let mut renderer = Renderer {
            target: AMD64,
            recorder_socket: None,
        };
        let said = renderer.render(&library, "tight", Some(&observed()));
        let said = said.unwrap_err();
        assert!(
            said.starts_with("spec.observe: this node has no recorder"),
            "{said}"
        );
        renderer.recorder_socket = Some("/var/lib/kubelet/seccomp/recorder/notify.sock".into());
        let render = |name: &str| renderer.render(&library, name, Some(&observed()));
        let bytes = render("tight").unwrap();
        for (call, action) in [
            ("rmdir", Action::Allow),
            ("mkdir", Action::Notify),
            ("mount", Action::Notify),
        ] {
            assert_eq!(decision(&bytes, &AMD64, call, [0; 6]), action, "{call}");
        }
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        let metadata = file["listenerMetadata"].as_str().unwrap();
        assert!(metadata.starts_with("observe:tight\n{"), "{metadata}");
        // Nothing is refused with an error.
        let open = String::from_utf8(render("open").unwrap()).unwrap();
        assert!(!open.contains("listener"), "{open}");
        let spec = |fields: Value| serde_json::from_value(fields).unwrap();
        assert!(Heard::by(&spec(json!({"base": "tight"}))).is_none());
        let heard = Heard::by(&spec(json!({"base": "tight", "observe": true})));
        assert!(matches!(
            heard,
            Some(Heard::Observed {
                observed: true,
                trial: None
            })
        ));
    }

    #[test]
    fn what_the_next_version_would_refuse_is_notified_where_there_is_a_recorder_and_logged_elsewhere()
     {
        let specs = json!({
            "tried": {"base": "runtime-default", "deny": ["rmdir"], "trial": {"deny": ["mkdir", "openat"]}},
            "both": {"base": "runtime-default", "deny": ["rmdir"], "observe": true, "trial": {"deny": ["mkdir"]}},
            "logged": {"base": "runtime-default", "deny": ["rmdir"], "trial": {"deny": ["mkdir"], "report": "Log"}},
            "above": {"base": "tried"},
            "no-base": {"base": "runtime-default", "deny": ["rmdir"], "trial": {"base": "later"}},
            "nothing": {"base": "runtime-default", "deny": ["rmdir"], "trial": {"deny": ["mount"]}},
        });
        let library = library(&specs);
        let recorder = Some("/var/lib/kubelet/seccomp/recorder/notify.sock".to_owned());
        let decide = |name: &str, recorder_socket: &Option<String>, call: &str| {
            let spec = serde_json::from_value(specs[name].clone()).unwrap();
            let renderer = Renderer {
                target: AMD64,
                recorder_socket: recorder_socket.clone(),
            };
            let bytes = renderer.render(&library, name, Heard::by(&spec).as_ref());
            bytes.map(|bytes| decision(&bytes, &AMD64, call, [0; 6]))
        };
        let eperm = Action::Errno(seccomp_profile::Errno::EPERM);
        for (name, recorder, call, action) in [
            ("tried", &recorder, "mkdir", Action::Notify),
            ("tried", &recorder, "openat", Action::Allow),
            ("tried", &recorder, "rmdir", eperm),
            ("tried", &recorder, "chmod", Action::Allow),
            ("tried", &None, "mkdir", Action::Log),
            ("tried", &None, "openat", Action::Log),
            ("both", &recorder, "mkdir", Action::Notify),
            ("both", &recorder, "rmdir", Action::Notify),
            ("logged", &recorder, "mkdir", Action::Log),
            ("above", &recorder, "mkdir", Action::Allow),
            ("no-base", &recorder, "rmdir", eperm),
            ("nothing", &recorder, "rmdir", eperm),
        ] {
            let said = decide(name, recorder, call).unwrap();
            assert_eq!(said, action, "{name} {call}");
        }
        assert!(
            decide("both", &None, "mkdir")
                .unwrap_err()
                .starts_with("spec.observe: ")
        );
    }
}
