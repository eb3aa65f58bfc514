//! `SeccompRecording`: what the selected pods of a namespace call is recorded, and becomes a profile.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recording_report::RecordedArgument;
use super::schema::{self, Selector};
use seccomp_profile::{ArgIndex, Syscall};

/// The conditions of a [`SeccompRecording`].
pub mod recording_condition {
    /// New pods that the recording selects are recorded.
    pub const RECORDING: &str = "Recording";
    /// The recording has ended, and its result stands.
    pub const COMPLETE: &str = "Complete";
    /// Calls may be missing, or pods that should be recorded are not.
    pub const DEGRADED: &str = "Degraded";
    /// A reason of the first and the last: where the node's recorder is not there, no container starts under the recording.
    pub const RECORDER_AWAY: &str = "RecorderAway";
    /// A reason of the last: pods run whose calls fail, since a recorder has lost them.
    pub const PODS_UNHEARD: &str = "PodsUnheard";
    /// A reason of the last: the others of it mean that nothing is recorded.
    pub const CALLS_MISSING: &str = "CallsMissing";
}

/// On a pod, with a recording's name as its value: admission gave the pod the profile of that recording of its namespace.
pub const RECORDED_ANNOTATION: &str = "seccomp-operator.io/recorded-by";

/// How many values of an argument are kept; one that had more may have any.
pub const MAX_VALUES: usize = 64;

/// The longest name of a recording, in bytes: the names of its profile and of its reports are made of it.
pub const MAX_RECORDING_NAME: usize = 100;

/// Records the system calls of the pods that it selects, without taking any protection from them, and makes a profile of them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompRecording",
    namespaced,
    status = "SeccompRecordingStatus",
    shortname = "screc",
    category = "security",
    derive = "PartialEq",
    doc = "Records the system calls of the pods that it selects, and makes a profile of them.",
    printcolumn(
        name = "Recording",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Recording')].status"
    ),
    printcolumn(
        name = "Complete",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Complete')].status"
    ),
    printcolumn(
        name = "Degraded",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Degraded')].status"
    ),
    printcolumn(
        name = "Containers",
        type_ = "integer",
        json_path = ".status.containers.now"
    ),
    printcolumn(name = "Calls", type_ = "integer", json_path = ".status.known"),
    printcolumn(name = "New", type_ = "integer", json_path = ".status.newInLastMinute"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools)] // each is a field of its own
pub struct SeccompRecordingSpec {
    /// Selects pods of the recording's namespace by their labels; an empty one selects all. Pods that run already are recorded once
    /// they are made again.
    pub pod_selector: Selector,
    /// The containers to record, by name; all when empty, init containers and ephemeral ones included. The others get
    /// their profile as ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub containers: Vec<String>,
    /// When the recording ends by itself; never when absent. Pods that started under it go on as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<RecordingStop>,
    /// What recorded pods may call, as in a SeccompProfile's `base`: a built-in or a SeccompProfile by name. What it refuses stays
    /// refused.
    #[serde(default = "default_base")]
    #[schemars(length(min = 1, max = 253))]
    pub base: String,
    /// Arguments of which distinct values are kept, up to 64, beside those that always are: of `socket` the domain and the type, of
    /// `personality` and `bpf` the first. The made profile allows the calls with the values that were seen, unless these were more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub arguments: Vec<CallArgument>,
    /// The name of the SeccompProfile to make of it; unless `merge` is `All`, the container's or the workload's name is put behind it.
    /// Default: the recording's namespace and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub profile_name: Option<String>,
    /// Whether a SeccompProfile is made when the recording ends. No pod uses it before somebody says so.
    #[serde(default)]
    pub create: bool,
    /// Whether what processes called that were started in a running container (`kubectl exec`, exec probes) is left out of the
    /// profile.
    #[serde(default)]
    pub without_exec: bool,
    /// What becomes one profile.
    #[serde(default)]
    pub merge: Merge,
    /// Whether pods and containers that state a profile of their own are recorded too, and run under the base meanwhile.
    #[serde(default)]
    pub overrides: bool,
    /// Whether pods are evicted that a recorder has lost, so that those who control them make them anew. Both of its processes have to end for
    /// that; the calls of such pods fail, and probes need not show it. Pods that nothing controls stay, and disruption budgets hold.
    /// Without it, or where the installation does not let evict, they are only told of.
    #[serde(default)]
    pub replace_unheard: bool,
}

/// An argument of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallArgument {
    /// The system call.
    #[schemars(length(min = 1, max = 64))]
    pub call: String,
    /// Which argument, from 0.
    #[schemars(range(min = 0, max = 5), extend("format" = "int32"))]
    pub index: u8,
}

impl CallArgument {
    /// Both as the engine has them; nothing if there is no such call.
    #[must_use]
    pub fn known(&self) -> Option<(Syscall, ArgIndex)> {
        Some((
            Syscall::named(&self.call)?,
            ArgIndex::new(self.index.into())?,
        ))
    }
}

fn default_base() -> String {
    seccomp_profile::RUNTIME_DEFAULT.to_owned()
}

/// When a recording ends: on whichever comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordingStop {
    /// So long after the first container was recorded: `90s`, `10m`, `1h30m`, `2d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub after: Option<String>,
    /// Once no call was new for so long while containers were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub quiet_for: Option<String>,
}

/// What becomes one profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Merge {
    /// All containers of one name, over pods, replicas, restarts and nodes.
    PerContainer,
    /// All containers of the pods of one workload, over replicas, restarts and nodes: what such a pod can state at its own level. Pods
    /// are of one workload whose names differ only in what controllers put behind them.
    PerPod,
    /// Everything that was recorded.
    #[default]
    All,
}

/// What a recording has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeccompRecordingStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// What recorded pods have as their `localhostProfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub localhost_profile: Option<String>,
    /// When the first container was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub started: Option<Time>,
    /// When the recording ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub ended: Option<Time>,
    /// How many containers are recorded, and were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<RecordedCounts>,
    /// How many system calls are known, those of several architectures apart, without those that are only assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub known: Option<i32>,
    /// How many of them were new in the last minute: towards the end of a recording that is complete, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub new_in_last_minute: Option<i32>,
    /// When a call was last new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_new: Option<Time>,
    /// The calls, over all containers; the SeccompRecordingReports have those of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 600))]
    pub calls: Vec<StatusCall>,
    /// How many calls did not fit into `calls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub more_calls: Option<i32>,
    /// The calls that are not recorded, since programs and container runtimes live on them; the profile allows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 64)))]
    pub assumed: Vec<String>,
    /// The images that recorded containers run, as far as their pods have said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub images: Vec<RecordedImage>,
    /// The SeccompProfiles that were made of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub profiles: Vec<String>,
    /// `Recording`, `Complete` and `Degraded`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// An image that was recorded.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct RecordedImage {
    /// As the runtime names it.
    #[schemars(length(max = 512))]
    pub name: String,
    /// Which image had that name: `sha256:...`. Of one name there may be several.
    #[schemars(length(max = 256))]
    pub digest: String,
}

/// So many images are kept of a recording.
pub const MAX_IMAGES: usize = 64;

/// How many containers a recording has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedCounts {
    /// Containers that are recorded now.
    #[schemars(range(min = 0))]
    pub now: i32,
    /// Containers that were recorded and have ended.
    #[schemars(range(min = 0))]
    pub were: i32,
}

/// A call as a status has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusCall {
    /// The system call.
    #[schemars(length(max = 64))]
    pub name: String,
    /// The architecture that it was made through, where that is not the machine's own: `x86` for a 32-bit program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub architecture: Option<String>,
    /// How often it was made.
    #[schemars(range(min = 0))]
    pub count: i64,
    /// How often of those the base refused it.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub refused: i64,
    /// Only containers' first seconds had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_up_only: bool,
    /// Only processes that were started in a running container made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exec_only: bool,
    /// When it was first seen.
    #[schemars(schema_with = "schema::time")]
    pub first_seen: Option<Time>,
    /// When it was last seen.
    #[schemars(schema_with = "schema::time")]
    pub last_seen: Option<Time>,
    /// The values that its arguments had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6))]
    pub arguments: Vec<RecordedArgument>,
}

/// The name of the SeccompProfile that records for a recording. No namespace has a dot in its name, so that no two share one.
#[must_use]
pub fn recording_profile_name(namespace: &str, recording: &str) -> String {
    format!("recording.{namespace}.{recording}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProfileName;

    #[test]
    fn every_recording_has_a_profile_name_that_fits_a_file() {
        let longest = recording_profile_name(&"n".repeat(63), &"r".repeat(MAX_RECORDING_NAME));
        assert!(ProfileName::parse(&longest).is_ok(), "{longest}");
        assert_ne!(
            recording_profile_name("a", "b.c"),
            recording_profile_name("a-b", "c")
        );
    }

    #[test]
    fn a_recording_needs_no_more_than_a_selector() {
        let spec: SeccompRecordingSpec =
            serde_json::from_value(serde_json::json!({"podSelector": {}})).unwrap();
        assert_eq!(spec.base, "runtime-default");
        assert_eq!(spec.merge, Merge::All);
        assert!(serde_json::from_value::<SeccompRecordingSpec>(serde_json::json!({})).is_err());
    }
}
