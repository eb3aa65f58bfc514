//! `SeccompPolicy`: which pods that state no seccomp profile get which.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, Selector};
use super::trial::TrialReport;

/// Gives a seccomp profile to pods that state none. Of the policies that select a pod, the one with the highest priority
/// wins; among equals, the first by name.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompPolicy",
    plural = "seccomppolicies",
    status = "SeccompPolicyStatus",
    shortname = "scpol",
    category = "security",
    derive = "PartialEq",
    doc = "Gives a seccomp profile to pods that state none.",
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.profile.type"),
    printcolumn(name = "Profile", type_ = "string", json_path = ".spec.profile.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Matched",
        type_ = "integer",
        json_path = ".status.pods.matched"
    ),
    printcolumn(
        name = "Changed",
        type_ = "integer",
        json_path = ".status.pods.changed"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SeccompPolicySpec {
    /// Of several policies that select a pod, the highest priority wins; among equals, the first by name.
    #[serde(default, deserialize_with = "priority")]
    #[schemars(range(min = -2_147_483_648_i64, max = 2_147_483_647_i64))]
    pub priority: i32,
    /// Selects namespaces by their labels; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// Selects pods by their labels; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<Selector>,
    /// Selects containers by their images, as globs: only containers with such an image get the profile, at container level. All
    /// containers when empty, at pod level. `*` is any run of characters and `?` is one; `nginx` is
    /// `docker.io/library/nginx` with any tag or digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
    /// What such a pod gets.
    pub profile: PolicyProfile,
    /// Whether it changes pods, only says what it would do, or tries the profile on them.
    #[serde(default)]
    pub mode: Mode,
    /// With mode Trial: how the calls are reported that the profile would refuse.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    pub report: TrialReport,
    /// What pods and containers state and it replaces all the same. A `Localhost` profile always stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub overrides: Vec<Overridden>,
    /// What becomes of a pod that it selects and that would use a SeccompProfile of whose name a node has somebody else's file: there
    /// the pod would run under that file.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// The profile that a policy gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyProfile {
    /// As in a pod's `securityContext.seccompProfile`.
    #[serde(rename = "type")]
    pub type_: ProfileType,
    /// The SeccompProfile's name, when type is Localhost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
}

/// The type of a profile, as in a pod's `securityContext.seccompProfile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProfileType {
    /// What the container runtime applies by itself.
    #[default]
    RuntimeDefault,
    /// A SeccompProfile, by name.
    Localhost,
    /// No filter at all.
    Unconfined,
}

/// The type of a stated profile that a policy may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overridden {
    /// No filter at all.
    Unconfined,
    /// What the container runtime applies by itself.
    RuntimeDefault,
}

/// Whether a policy changes pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Pods are changed.
    #[default]
    Enforce,
    /// Pods are left as they are; an admission warning says what would change.
    Observe,
    /// Pods that have no profile run under `runtime-default`, and what the profile would refuse in addition happens and is reported.
    Trial,
}

/// What becomes of pods that would run under somebody else's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnConflict {
    /// They are created, with a warning.
    #[default]
    Warn,
    /// They are refused.
    Deny,
}

/// What is known of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeccompPolicyStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// The pods of about the last hour, over all replicas of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PolicyPods>,
    /// What each replica of the controller has counted; each writes its own entry, at most once a minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub replicas: Vec<ReplicaPods>,
    /// With mode Trial: the pods on trial, and what the profile would have refused to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // In one piece: of an object whose fields all go, API servers before 1.22 keep a null, which the schema refuses.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub trial: Option<PolicyTrialStatus>,
    /// What keeps the policy, or a part of it, from having an effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub warnings: Vec<String>,
    /// `Accepted` (the spec is valid) and `Ready` (pods that get the profile start); of the policy that the installation asks for also
    /// `AsInstalled` (no field of it was set by others to something else).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What is known of a policy's trial; the `status.trial` of the SeccompProfile has all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTrialStatus {
    /// The SeccompProfile that the operator keeps for it: `runtime-default`, and the policy's profile as the next version.
    #[schemars(length(min = 1, max = 253))]
    pub profile: String,
    /// How many pods run under it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub used_by: i32,
    /// Those of them that recorders hear.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub pods: i32,
    /// How often calls were made that would have been refused, at least.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub count: i64,
}

/// Pods that a policy had to do with. A pod that was refused afterwards counts too; one of a dry run does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPods {
    /// New pods that it selected, and that no policy before it had decided about.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub matched: i64,
    /// Those of them that it gave its profile; that it would have given it, if it only observes.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub changed: i64,
}

/// What one replica has counted in about the last hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaPods {
    /// The replica's pod.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// See `status.pods`.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub matched: i64,
    /// See `status.pods`.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub changed: i64,
    /// When the replica said so.
    #[schemars(schema_with = "schema::time")]
    pub updated: Time,
}

/// With a better sentence than a type's name for a number that is too large.
fn priority<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    number
        .as_i64()
        .and_then(|number| i32::try_from(number).ok())
        .ok_or_else(|| {
            serde::de::Error::custom(format!(
                "priority: {number} is not a whole number from {} to {}",
                i32::MIN,
                i32::MAX
            ))
        })
}

impl Overridden {
    /// As a pod states it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unconfined => "Unconfined",
            Self::RuntimeDefault => "RuntimeDefault",
        }
    }
}

impl SeccompPolicySpec {
    /// The SeccompProfile that pods get, if it is one.
    #[must_use]
    pub fn profile_name(&self) -> Option<&str> {
        let name = self.profile.name.as_deref();
        name.filter(|_| self.profile.type_ == ProfileType::Localhost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_beyond_its_bounds_is_refused_with_a_sentence() {
        for (priority, ok) in [("2147483647", true), ("2147483648", false), ("1.5", false)] {
            let json =
                format!(r#"{{"priority": {priority}, "profile": {{"type": "RuntimeDefault"}}}}"#);
            match serde_json::from_str::<SeccompPolicySpec>(&json) {
                Ok(_) => assert!(ok, "{priority}"),
                Err(error) => assert!(
                    !ok && error
                        .to_string()
                        .starts_with(&format!("priority: {priority} is not a whole number")),
                    "{error}"
                ),
            }
        }
    }
}
