//! `SeccompNode`: what a node's agent says. One object per node, with the node's name.
//!
//! Like a Lease it is a report, not a wish: it has no spec, and its fields lie at the top so that one server-side apply
//! creates and updates it. Its size follows what is wrong on the node, not how many profiles are right.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The agent's report of the profiles on its node.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompNode",
    shortname = "scn",
    category = "security",
    no_spec,
    derive = "PartialEq",
    doc = "The agent's report of the profiles on its node. Written by the operator.",
    printcolumn(
        name = "Applied version",
        type_ = "string",
        json_path = ".appliedResourceVersion"
    ),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".failed"),
    printcolumn(name = "Arch", type_ = "string", json_path = ".node.architecture"),
    printcolumn(name = "Kernel", type_ = "string", json_path = ".node.kernelVersion"),
    printcolumn(
        name = "Runtime",
        type_ = "string",
        json_path = ".node.containerRuntime"
    ),
    printcolumn(name = "Agent", type_ = "string", json_path = ".node.agentVersion"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SeccompNodeReport {
    /// The resource version of the list of SeccompProfiles that the node has applied: every change up to it is on the node's disk,
    /// or is among `failures`.
    #[schemars(length(max = 32))]
    pub applied_resource_version: String,
    /// How many profiles are not as they should be on this node.
    #[schemars(range(min = 0))]
    pub failed: i32,
    /// The profiles that are not as they should be on this node, by name. Also written when there are none: what an agent does not
    /// write would stay as somebody else has set it.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub failures: Vec<NodeFailure>,
    /// The profiles that pods on this node use, by name. Also written when there are none.
    #[serde(default)]
    #[schemars(length(max = 2000))]
    pub in_use: Vec<NodeUse>,
    /// The node itself.
    pub node: NodeInfo,
}

impl SeccompNodeReport {
    /// Whether `self`, which is stored, says all that an agent has written.
    #[must_use]
    pub fn says(&self, written: &Self) -> bool {
        let mut stored = self.clone();
        // The controller writes the one, and others may write the other, where the agent has nothing to say.
        stored
            .node
            .container_runtime
            .clone_from(&written.node.container_runtime);
        if written.node.labels_digest.is_none() {
            stored.node.labels_digest = None;
        }
        stored == *written
    }
}

/// A profile that is not as it should be on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFailure {
    /// The SeccompProfile's name.
    #[schemars(length(max = 253))]
    pub profile: String,
    /// One word for programs: `Invalid`, `Conflict`, `Obstacle`, `Tampered`, `FolderReplaced`, `WriteFailed`, `RemoveFailed`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// A sentence for people, with the error's text.
    #[schemars(length(max = 1024))]
    pub message: String,
}

impl NodeFailure {
    /// The reason of a file that is somebody else's: pods start under it.
    pub const CONFLICT: &'static str = "Conflict";
    /// The reason of something that is no file, and in the way: pods do not start.
    pub const OBSTACLE: &'static str = "Obstacle";
    /// The reason of a file that could not be written: the node lacks what it should have.
    pub const WRITE_FAILED: &'static str = "WriteFailed";
    /// The reason of a file that somebody else keeps changing: it is right most of the time.
    pub const TAMPERED: &'static str = "Tampered";
    /// The reason of a file that lies where kubelet does not look any more, since its seccomp folder is another one by now.
    pub const FOLDER_REPLACED: &'static str = "FolderReplaced";
}

/// A profile that pods on a node use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeUse {
    /// The SeccompProfile's name.
    #[schemars(length(max = 253))]
    pub profile: String,
    /// How many pods use it. Pods that have finished do not count.
    #[schemars(range(min = 0))]
    pub pods: i32,
    /// How many running containers were created with an older content of its file.
    #[serde(default, skip_serializing_if = "crate::schema::is_zero")]
    #[schemars(range(min = 0))]
    pub outdated: i32,
    /// The pods that these are in, by namespace and name; in all of a report no more than 250 are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 250))]
    pub outdated_pods: Vec<PodReference>,
    /// The profile is gone, or does not select this node any more: its file goes when the last of these pods does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending_removal: bool,
}

/// Which pod.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct PodReference {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// What matters of a node for the meaning of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// In Go's words, as everywhere in Kubernetes: `amd64`, `arm64`.
    #[schemars(length(max = 32))]
    pub architecture: String,
    /// The kernel's release, as `uname -r` says it.
    #[schemars(length(max = 128))]
    pub kernel_version: String,
    /// The container runtime, as the Node says it: `containerd://2.1.9`. Written by the controller, since agents may not read
    /// Nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub container_runtime: Option<String>,
    /// A digest of the labels of the Node, as the agent last saw them; absent while no profile has a `nodeSelector`. Where it
    /// is another one than that of the Node's labels now, the agent has yet to act on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub labels_digest: Option<String>,
    /// The agent's version.
    #[schemars(length(max = 64))]
    pub agent_version: String,
}

/// The digest of a Node's labels that agent and controller compare: FNV-1a over `key=value` lines in the order of keys.
/// Nothing is kept safe by it; whoever may change a Node's labels can as well change them to what is asked for.
#[must_use]
pub fn labels_digest(labels: &BTreeMap<String, String>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in labels
        .iter()
        .flat_map(|(key, value)| [key.as_str(), "=", value.as_str(), "\n"])
    {
        for byte in part.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_labels_have_another_digest() {
        let labels = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            labels_digest(&pairs.collect())
        };
        // Agents and controllers of two versions compare it during an upgrade: it must stay what it is.
        assert_eq!(labels(&[]), "cbf29ce484222325");
        assert_eq!(
            labels(&[("a", "1"), ("b", "2")]),
            labels(&[("b", "2"), ("a", "1")])
        );
        assert_ne!(labels(&[("a", "1")]), labels(&[("a", "2")]));
        assert_ne!(labels(&[("a", "1")]), labels(&[("a", "1"), ("b", "")]));
    }
}
