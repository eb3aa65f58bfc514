//! `SeccompNode`: what a node's agent says. One object per node, with the node's name.
//!
//! Like a Lease it is a report, not a wish: it has no spec, and its fields lie at the top so that one server-side apply
//! creates and updates it. Its size follows what is wrong on the node, not how many profiles are right.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the agent on a node says of the profiles there.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompNode",
    shortname = "scn",
    category = "security",
    no_spec,
    derive = "PartialEq",
    doc = "What the agent on a node says of the profiles there. Written by the operator.",
    printcolumn(
        name = "Level",
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
    /// How far the node is level with the list of SeccompProfiles: every change up to this resource version is on its disk,
    /// or is among `failures`.
    #[schemars(length(max = 32))]
    pub applied_resource_version: String,
    /// How many profiles are not as they should be on this node.
    #[schemars(range(min = 0))]
    pub failed: i32,
    /// The profiles that are not as they should be on this node, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub failures: Vec<NodeFailure>,
    /// The node itself.
    pub node: NodeInfo,
}

/// A profile that is not as it should be on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFailure {
    /// The SeccompProfile's name.
    #[schemars(length(max = 253))]
    pub profile: String,
    /// One word for programs: `Invalid`, `Conflict`, `WriteFailed`, `RemoveFailed`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// A sentence for people, with the error's text.
    #[schemars(length(max = 1024))]
    pub message: String,
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
    /// The agent's version.
    #[schemars(length(max = 64))]
    pub agent_version: String,
}
