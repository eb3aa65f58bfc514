//! Tests of the index: the cluster that they begin with, and how they ask.

mod ceilings;
mod denials;
mod derived;
mod dirty;
mod in_use;
mod interleavings;
mod nodes;
mod profiles;
mod readiness;
mod startup;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{Index, Kind, SeenNode, SeenProfile};
use crate::controller::agents::Agent;
use seccomp_operator_api::{
    NodeFailure, SeccompNode, SeccompNodeReport, SeccompProfileStatus, condition,
};
use seccomp_profile::Defined;

const PATIENCE: Duration = Duration::from_mins(1);

#[allow(clippy::unnecessary_wraps)] // as a pod's agent
fn ready_on(node: &str) -> Option<Agent> {
    Some(Agent {
        node: node.into(),
        ..Agent::default()
    })
}

fn linux(uid: &str, labels: BTreeMap<String, String>) -> SeenNode {
    SeenNode {
        uid: uid.into(),
        labels,
        ..SeenNode::default()
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn seen(generation: i64, version: u64) -> SeenProfile {
    SeenProfile {
        uid: "u".into(),
        generation,
        version,
        ..SeenProfile::default()
    }
}

fn defined(spec: &serde_json::Value) -> Defined {
    let spec: seccomp_operator_api::SeccompProfileSpec =
        serde_json::from_value(spec.clone()).unwrap();
    spec.define().map(Into::into).map_err(Into::into)
}

fn valid() -> Defined {
    defined(&json!({"profile": {"defaultAction": "SCMP_ACT_ALLOW"}}))
}

fn on(base: &str) -> Defined {
    defined(&json!({"base": base, "deny": ["@chmod"]}))
}

fn report(applied_version: u64, failures: &[(&str, &str)]) -> SeccompNode {
    let failures = failures
        .iter()
        .map(|(profile, message)| NodeFailure {
            profile: (*profile).into(),
            reason: "WriteFailed".into(),
            message: (*message).into(),
        })
        .collect();
    SeccompNode::new(
        "n",
        SeccompNodeReport {
            applied_resource_version: applied_version.to_string(),
            failures,
            ..Default::default()
        },
    )
}

/// A cluster that has nothing in it, and has said so.
fn empty() -> Index {
    let mut index = Index::new("profiles", PATIENCE);
    for kind in [
        Kind::Profile,
        Kind::Node,
        Kind::Agent,
        Kind::SeccompNode,
        Kind::DaemonSet,
        Kind::DenialReport,
        Kind::AuditReport,
        Kind::Ceiling,
    ] {
        index.list_begins(kind);
        index.list_ends(kind);
    }
    index
}

/// Two nodes with an agent each, and a profile `a` whose generation 1 appeared at version 10.
pub fn cluster() -> Index {
    let mut index = empty();
    index.daemon_set("agents", Some(2));
    for node in ["n1", "n2"] {
        index.node(node, linux(&format!("uid-{node}"), BTreeMap::new()));
        index.agent(&format!("agent-{node}"), ready_on(node));
    }
    index.profile("a", seen(1, 10), valid);
    index
}

fn status(index: &Index) -> SeccompProfileStatus {
    status_of(index, "a")
}

fn status_of(index: &Index, name: &str) -> SeccompProfileStatus {
    index.status(name, &index.profiles[name], &index.usage(name), now())
}

fn ready(index: &Index) -> (String, String, String) {
    ready_of(index, "a")
}

fn ready_of(index: &Index, name: &str) -> (String, String, String) {
    let condition = status_of(index, name)
        .conditions
        .into_iter()
        .find(|c| c.type_ == condition::READY)
        .unwrap();
    (condition.status, condition.reason, condition.message)
}

/// `derived` (version 11) on `a` (version 10), and both nodes in sync.
fn derived_cluster() -> Index {
    let mut index = cluster();
    index.profile(
        "derived",
        SeenProfile {
            uid: "d".into(),
            ..seen(1, 11)
        },
        || on("a"),
    );
    index.report("n1", &report(11, &[]));
    index.report("n2", &report(11, &[]));
    index
}
