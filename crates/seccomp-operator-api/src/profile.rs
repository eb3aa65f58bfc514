//! `SeccompProfile`: a seccomp profile that every node should have as a file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::{fmt, io};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use kube::core::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::denial::Denial;
use super::metadata::without_managed_fields;
use super::recording::CallArgument;
use super::trial::{self, Trial, TrialStatus};
use super::{label, schema};
use seccomp_profile::{
    CapabilitySet, Defined, Definition, Fields, MAX_BYTES, Problem, Problems, Spec, Undefined,
};

/// The conditions of a [`SeccompProfile`].
pub mod condition {
    /// The profile means something: it can be rendered for a node.
    pub const ACCEPTED: &str = "Accepted";
    /// This generation is on every node that it should be on.
    pub const READY: &str = "Ready";
    /// Containers start under it, as far as is known of the runtimes of its nodes.
    pub const STARTABLE: &str = "Startable";
    /// Pods use the profile, or one that has it as its base: it cannot vanish.
    pub const IN_USE: &str = "InUse";
    /// Of the SeccompPolicy that the installation asks for: nobody has made another of it.
    pub const AS_INSTALLED: &str = "AsInstalled";
}

/// On a profile, with the value `true`: a regular file that has the profile's name on a node and is not the operator's is taken
/// over and overwritten, rather than being a conflict.
pub const ADOPT_ANNOTATION: &str = "seccomp-operator.io/adopt";

/// The operator's finalizer: it is on a profile while pods use it, so that the profile cannot vanish meanwhile.
pub const IN_USE_FINALIZER: &str = "seccomp-operator.io/in-use";

/// A seccomp profile that the operator keeps as a file on every node, for pods to use as
/// `securityContext.seccompProfile: {type: Localhost, localhostProfile: <status.localhostProfile>}`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompProfile",
    status = "SeccompProfileStatus",
    shortname = "scp",
    category = "security",
    derive = "PartialEq",
    doc = "A seccomp profile that the operator keeps as a file on every node.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.nodes.summary"),
    printcolumn(
        name = "Startable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Startable')].status"
    ),
    printcolumn(name = "Used-by", type_ = "integer", json_path = ".status.usedBy"),
    printcolumn(name = "Outdated", type_ = "integer", json_path = ".status.outdated"),
    printcolumn(
        name = "Default action",
        type_ = "string",
        json_path = ".status.defaultAction"
    ),
    printcolumn(
        name = "Path",
        type_ = "string",
        json_path = ".status.localhostProfile"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SeccompProfileSpec {
    /// A whole profile document, as people have it: in the form of the OCI runtime-spec (`linux.seccomp`), or in Docker's and
    /// Podman's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::document")]
    pub profile: Option<Value>,
    /// Instead of `profile`: what `allow`, `log` and `deny` are to change. A built-in (`runtime-default`, `docker-default`, `audit`), or
    /// the name of another SeccompProfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub base: Option<String>,
    /// System calls to allow on top of `base` or `profile`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::allow")]
    pub allow: Vec<Value>,
    /// System calls to allow and have the kernel record. Stronger than `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::log")]
    pub log: Vec<Value>,
    /// System calls to deny. Stronger than `allow` and `log`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::deny")]
    pub deny: Vec<Value>,
    /// The capabilities of the containers that will use the profile, as in a pod's `securityContext`: what conditions on capabilities
    /// in a document, or in a built-in, are decided by. Without it those of the base, and without a base that says so the 14 that
    /// container runtimes give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub capabilities: Option<Vec<String>>,
    /// Labels that a node must have, with these values, to get the profile, as in a pod's `nodeSelector`. Default: every node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Containers with this profile are recorded: the node's recorder sees what `base` allows and what it refuses, and that stays refused.
    /// The operator writes it for a SeccompRecording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Whether what the profile refuses with an error is counted: the node's recorder hears of it, and refuses it with that error. What the
    /// profile lets happen, and what it kills for, stays the kernel's business, and so does what container runtimes live on. Where a node has
    /// no recorder, it does not get the profile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
    /// The next version of the profile, to be tried: what it would refuse in addition still happens, and is reported. What is refused today
    /// stays refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// Which recording a profile records for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The recording's namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// The recording's name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The recording's uid.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// The recording's `arguments`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub arguments: Vec<CallArgument>,
}

/// Whether a node with these labels has all that a `nodeSelector` asks for.
#[must_use]
pub fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    let holds = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    selector.iter().all(holds)
}

/// A SeccompProfile as it comes from the wire: only its metadata are read with it.
///
/// A document can be anything, also nested deeper than a JSON reader goes. Read as a whole, one such object would make a list
/// of all of them unreadable; so what is not metadata is skipped first and read for itself.
#[derive(kube::Resource, Clone, Debug, Deserialize)]
#[resource(inherit = SeccompProfile)]
pub struct StoredProfile {
    #[serde(deserialize_with = "without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<Box<RawValue>>,
    #[serde(default)]
    status: Option<Box<RawValue>>,
}

impl StoredProfile {
    /// The profile, or why its spec cannot be read. A status that cannot be read is taken for none: it will be written anew.
    pub fn read(self) -> Result<SeccompProfile, InvalidObject> {
        let spec = self.spec.as_deref().map_or("{}", RawValue::get);
        match serde_json::from_str(spec) {
            Ok(spec) => Ok(SeccompProfile {
                metadata: self.metadata,
                spec,
                status: self
                    .status
                    .and_then(|status| serde_json::from_str(status.get()).ok()),
            }),
            Err(error) => Err(InvalidObject {
                error: error.to_string(),
                metadata: self.metadata,
            }),
        }
    }
}

impl SeccompProfileSpec {
    /// What the spec asks for, or all that is wrong with it, read on its own: whether there is such a base is another question.
    pub fn define(&self) -> Result<Definition, Problems> {
        if self.profile.as_ref().is_some_and(is_too_large) {
            return Err(Problem {
                path: "spec.profile".into(),
                reason: format!(
                    "has more than {MAX_BYTES} bytes, and container runtimes take no more"
                ),
                remedy: "put several names into one rule".into(),
            }
            .into());
        }
        if let Some(problem) = self.selector_problem() {
            return Err(problem.into());
        }
        if self.observe && self.record.is_some() {
            return Err(Problem {
                path: "spec.observe".into(),
                reason: "stands beside spec.record, which counts what is refused as well".into(),
                remedy: "leave it out".into(),
            }
            .into());
        }
        let capabilities = self.capabilities.as_deref();
        Ok(Definition {
            spec: Spec::parse(&self.fields(), "spec")?.into(),
            capabilities: capabilities
                .map(|names| CapabilitySet::parse(names, "spec.capabilities"))
                .transpose()?,
            next: self.next()?,
        })
    }

    /// What the next version says, if one is on trial.
    fn next(&self) -> Result<Option<Arc<Spec>>, Problems> {
        let Some(promoted) = self.trial.as_ref().and(self.promoted()) else {
            return Ok(None);
        };
        if let Some(trial) = &self.trial {
            trial.check(self.record.is_some())?;
        }
        Ok(Some(Spec::parse(&promoted.fields(), trial::PATH)?.into()))
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields {
            profile: self.profile.as_ref(),
            base: self.base.as_deref(),
            allow: &self.allow,
            log: &self.log,
            deny: &self.deny,
        }
    }
}

impl SeccompProfileSpec {
    /// What is wrong with `nodeSelector`, if no node could have such a label.
    fn selector_problem(&self) -> Option<Problem> {
        let mut labels = self.node_selector.iter();
        labels.find_map(|(key, value)| {
            let (path, reason, remedy) = if !label::is_key(key) {
                let path = "spec.nodeSelector".to_owned();
                (path, label::not_a_key(key), label::KEY_REMEDY)
            } else if !label::is_value(value) {
                let path = format!("spec.nodeSelector[{key:?}]");
                (path, label::not_a_value(value), label::VALUE_REMEDY)
            } else {
                return None;
            };
            Some(Problem {
                path,
                reason,
                remedy: remedy.into(),
            })
        })
    }
}

/// Whether a document has more than [`MAX_BYTES`] as JSON. It is counted, not written, and no further than that.
pub(super) fn is_too_large(document: &Value) -> bool {
    struct Room(usize);
    impl io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let left = self.0.checked_sub(bytes.len());
            self.0 = left.ok_or(io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Room(MAX_BYTES), document).is_err()
}

/// What a profile that was [`read`](StoredProfile::read) asks for, or why nobody can tell.
pub fn define(profile: &Result<SeccompProfile, InvalidObject>) -> Defined {
    match profile {
        Ok(profile) => profile.spec.define().map(Into::into).map_err(Into::into),
        Err(unreadable) => Err(Undefined::Unreadable(format!(
            "spec: this version of the operator cannot read it: {}",
            unreadable.error
        ))),
    }
}

/// What is known of a profile in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeccompProfileStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The resource version at which the controller first saw that generation. A node whose `appliedResourceVersion` has
    /// reached it has dealt with the generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub revision: Option<String>,
    /// What to write as `localhostProfile` in a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub localhost_profile: Option<String>,
    /// What the profile does with a system call that no rule of it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub default_action: Option<String>,
    /// How many nodes should have this generation, and how many do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// What the profile may do that its author may not expect, up to 10; `kubectl seccomp lint` says all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 1024)))]
    pub warnings: Vec<String>,
    /// The first failures, by node name; `nodes.failed` counts them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<Failure>,
    /// How many pods use the profile, on all nodes. Pods that have finished do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub used_by: Option<i32>,
    /// How many running containers were created with an older content of the profile. A container keeps what it was created
    /// with until it is created anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub outdated: Option<i32>,
    /// With `spec.observe`: the calls that the profile refused to containers that run or have ended within the last hour, the 20 most
    /// frequent first. What is new is told once a minute; the SeccompDenialReports of the nodes have more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub denials: Vec<Denial>,
    /// With `spec.trial`: what the next version would have refused since the trial began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // In one piece: of an object whose fields all go, API servers before 1.22 keep a null, which the schema refuses.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub trial: Option<TrialStatus>,
    /// What is known of this object's state, one entry per aspect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl SeccompProfileStatus {
    /// Whether the condition `Ready` holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let ready = self.condition(condition::READY);
        ready.is_some_and(|ready| ready.status == "True")
    }

    /// Why no container starts under the profile, if that is known.
    #[must_use]
    pub fn starts_nothing(&self) -> Option<&str> {
        let startable = self.condition(condition::STARTABLE)?;
        (startable.status == "False").then_some(startable.message.as_str())
    }

    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        let mut conditions = self.conditions.iter();
        conditions.find(|condition| condition.type_ == type_)
    }
}

/// How many nodes should have a profile, and how many do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeCounts {
    /// Nodes that should have the profile.
    #[schemars(range(min = 0))]
    pub desired: i32,
    /// Nodes that have this generation of it.
    #[schemars(range(min = 0))]
    pub ready: i32,
    /// Nodes that could not take it.
    #[schemars(range(min = 0))]
    pub failed: i32,
    /// Nodes, among those that could not take it, on which a file of its name is somebody else's: pods start there under that file.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub foreign: i32,
    /// `ready/desired`, for people; `ready/desired, deleted` where somebody has deleted the profile and it cannot go yet.
    #[schemars(length(max = 32))]
    pub summary: String,
}

impl NodeCounts {
    /// Nodes that should have this generation, and neither have it nor have said why they do not.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        let answered = self.ready.saturating_add(self.failed);
        u32::try_from(self.desired.saturating_sub(answered)).unwrap_or(0)
    }
}

/// Why a node does not have a profile.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Failure {
    /// The node's name.
    #[schemars(length(max = 253))]
    pub node: String,
    /// One word for programs.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// A sentence for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A profile's name, known to fit a file name.
///
/// A node's file is `<name>.json`, and file names end at 255 bytes on Linux (`NAME_MAX`); the rest is kept for what a
/// later version may add. The characters are those of a DNS subdomain, as the API server has it for every custom resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

/// Why a name cannot be a profile's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata.name: {0}")]
pub struct NameError(String);

impl ProfileName {
    /// The longest name, in bytes.
    pub const MAX: usize = 200;

    /// Takes a name that fits.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError("must not be empty (generateName is not supported: pods refer to a profile by its name)".into()));
        }
        if name.len() > Self::MAX {
            return Err(NameError(format!(
                "has {} characters, but the file name made of it takes at most {}; choose a shorter name",
                name.len(),
                Self::MAX
            )));
        }
        let label = |l: &str| {
            l.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && l.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && l.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !name.split('.').all(label) {
            return Err(NameError(format!(
                "{name:?} is not a DNS subdomain; use lower-case letters, digits, '-' and '.', and begin and end with a letter or digit"
            )));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file's name inside the profiles folder.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.json", self.0)
    }

    /// What a pod writes as `localhostProfile`; `profiles_dir` is the folder below kubelet's seccomp folder.
    #[must_use]
    pub fn localhost_profile(&self, profiles_dir: &str) -> String {
        format!("{profiles_dir}/{}.json", self.0)
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_files_are_refused_with_the_reason() {
        for (name, part) in [
            ("", "must not be empty"),
            ("..", "not a DNS subdomain"),
            (".hidden", "not a DNS subdomain"),
            ("a/b", "not a DNS subdomain"),
            ("No_Chmod", "not a DNS subdomain"),
            ("a..b", "not a DNS subdomain"),
            (&"x".repeat(201), "201 characters"),
        ] {
            let error = ProfileName::parse(name).unwrap_err().to_string();
            assert!(
                error.starts_with("metadata.name: ") && error.contains(part),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn a_list_with_an_unreadable_profile_is_read_all_the_same() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        let list = format!(
            r#"{{"kind": "SeccompProfileList", "apiVersion": "seccomp-operator.io/v1alpha1", "metadata": {{"resourceVersion": "1"}}, "items": [
                {{"metadata": {{"name": "deep"}}, "spec": {{"profile": {{"x": {deep}}}}}}},
                {{"metadata": {{"name": "wrong"}}, "spec": 7, "status": 7}},
                {{"metadata": {{"name": "good"}}, "spec": {{"profile": {{"defaultAction": "SCMP_ACT_LOG"}}}}}}]}}"#
        );
        let list: kube::core::ObjectList<StoredProfile> = serde_json::from_str(&list).unwrap();
        let read: Vec<_> = list.items.into_iter().map(StoredProfile::read).collect();
        let deepest = read[0].as_ref().unwrap_err();
        assert!(deepest.error.contains("recursion limit"));
        assert_eq!(deepest.metadata.name.as_deref(), Some("deep"));
        assert!(read[1].is_err());
        assert!(define(&read[2]).is_ok());
        let sentence = define(&read[1]).unwrap_err().to_string();
        assert!(
            sentence.starts_with("spec: this version of the operator cannot read it: "),
            "{sentence}"
        );
        let event = format!(
            r#"{{"type": "ADDED", "object": {{"metadata": {{"name": "deep"}}, "spec": {{"profile": {deep}}}}}}}"#
        );
        assert!(serde_json::from_str::<kube::api::WatchEvent<StoredProfile>>(&event).is_ok());
    }

    #[test]
    fn the_size_of_a_document_is_that_of_its_json_and_is_counted_to_the_limit_only() {
        // Twice quoted, and a character of two bytes for which JSON needs two: its quotation marks.
        let text = |bytes: usize| Value::String(format!("ü\"{}", "x".repeat(bytes - 6)));
        assert_eq!(text(100).to_string().len(), 100);
        assert!(!is_too_large(&text(MAX_BYTES)));
        assert!(is_too_large(&text(MAX_BYTES + 1)));
        let spec = SeccompProfileSpec {
            profile: Some(text(MAX_BYTES + 1)),
            ..SeccompProfileSpec::default()
        };
        let problem = spec.define().unwrap_err().to_string();
        let expected = format!("spec.profile: has more than {MAX_BYTES} bytes");
        assert!(problem.starts_with(&expected), "{problem}");
    }

    #[test]
    fn a_node_selector_that_no_node_can_fit_is_a_problem() {
        let of = |key: &str, value: &str| {
            let spec = SeccompProfileSpec {
                base: Some("audit".into()),
                node_selector: BTreeMap::from([(key.into(), value.into())]),
                ..SeccompProfileSpec::default()
            };
            spec.define()
                .map(drop)
                .map_err(|problem| problem.to_string())
        };
        assert_eq!(of("example.com/disk", "ssd"), Ok(()));
        for (key, value, part) in [
            (
                "disk type",
                "ssd",
                "spec.nodeSelector: \"disk type\" cannot be the key",
            ),
            ("", "ssd", "spec.nodeSelector: \"\" cannot be the key"),
            (
                "disk",
                "s s d",
                "spec.nodeSelector[\"disk\"]: \"s s d\" cannot be the value",
            ),
        ] {
            let sentence = of(key, value).unwrap_err();
            assert!(sentence.starts_with(part), "{sentence}");
        }
    }

    #[test]
    fn a_profile_that_records_is_not_observed_beside() {
        let mut spec = SeccompProfileSpec {
            base: Some("runtime-default".into()),
            observe: true,
            ..SeccompProfileSpec::default()
        };
        assert!(spec.define().is_ok());
        spec.record = Some(Record::default());
        let sentence = spec.define().unwrap_err().to_string();
        assert!(sentence.starts_with("spec.observe: "), "{sentence}");
    }

    #[test]
    fn a_name_gives_the_file_and_what_a_pod_writes() {
        let name = ProfileName::parse("no-chmod").unwrap();
        assert_eq!(name.file_name(), "no-chmod.json");
        assert_eq!(name.localhost_profile("profiles"), "profiles/no-chmod.json");
    }
}
