//! How far a profile has got: on which of the nodes that should have it its current generation is.

use std::collections::BTreeMap;

use super::reports::NodeReport;
use super::{Index, SeenNode};
use crate::controller::agents::Standing;
use crate::controller::conditions::ConditionState;
use crate::controller::usage::{counted, listed};
use seccomp_operator_api::{Failure, NodeFailure, labels_digest, selects};

/// The nodes that should have a profile, by whether they have it.
#[derive(Default)]
pub(super) struct Rollout {
    pub(super) desired: usize,
    /// Nodes with an agent that its `nodeSelector` leaves out.
    pub(super) unselected: usize,
    pub(super) ready: usize,
    pub(super) failed: Vec<Failure>,
    pub(super) waiting: Vec<String>,
    /// Nodes whose agent does not do its work, and why.
    pub(super) gone: Vec<String>,
}

impl Rollout {
    /// How many nodes have somebody else's file.
    pub(super) fn foreign(&self) -> usize {
        let failed = self.failed.iter();
        failed
            .filter(|failure| failure.reason == NodeFailure::CONFLICT)
            .count()
    }

    /// The condition `Ready` of a valid profile.
    pub(super) fn condition(&self, generation: i64) -> ConditionState {
        let Self { desired, ready, .. } = self;
        if self.desired == 0 {
            let message = if self.unselected == 0 {
                "no node runs the agent yet".to_owned()
            } else {
                format!(
                    "spec.nodeSelector selects no node, of {} with an agent; label one, or change the selector",
                    counted(self.unselected, "node")
                )
            };
            (false, "NoNodes", message)
        } else if let Some(first) = self.failed.first() {
            let failed = self.failed.len();
            (
                false,
                "Failed",
                format!(
                    "{failed} of {} failed; {}: {}",
                    counted(desired, "node"),
                    first.node,
                    first.message
                ),
            )
        } else if self.waiting.is_empty() && self.gone.is_empty() {
            (
                true,
                "OnAllNodes",
                match desired {
                    1 => format!("generation {generation} is on the only node"),
                    _ => format!("generation {generation} is on all {desired} nodes"),
                },
            )
        } else {
            let reason = if self.waiting.is_empty() {
                "AgentGone"
            } else {
                "Progressing"
            };
            // Those that nobody need look after come last.
            let names = listed(self.gone.iter().chain(&self.waiting).cloned().collect());
            let message = format!(
                "generation {generation} is on {ready} of {}; waiting for {names}",
                counted(desired, "node")
            );
            (false, reason, message)
        }
    }
}

/// What one node has done about a profile.
enum OnNode<'a> {
    /// It runs no agent that counts.
    Unmanaged,
    /// The profile's `nodeSelector` leaves it out.
    Unselected,
    /// Its agent does not do its work, and why.
    Gone(&'a str),
    Waiting,
    Failed(&'a (String, String)),
    Ready,
}

impl Index {
    /// Whether nodes are waited for, as they are not for a profile that is invalid or deleted. This is asked far more often than a status
    /// is worked out, and stops at the first such node.
    #[must_use]
    pub fn waits(&self, name: &str) -> bool {
        let Some(profile) = self.profiles.get(name) else {
            return false;
        };
        let verdict = profile.verdict.get_or_init(|| self.judge(name));
        if verdict.is_err() || profile.seen.deleting {
            return false;
        }
        let (version, selector) = (profile.required_version, &profile.seen.node_selector);
        let mut nodes = self.nodes.iter();
        nodes.any(|(node, seen)| {
            let on_node = self.on_node(name, version, selector, node, seen);
            matches!(on_node, OnNode::Waiting)
        })
    }

    /// How far a profile has got whose current meaning is on a node once that has applied `required_version`.
    pub(super) fn rollout(
        &self,
        profile: &str,
        required_version: u64,
        selector: &BTreeMap<String, String>,
    ) -> Rollout {
        let mut rollout = Rollout::default();
        for (node, seen) in &self.nodes {
            match self.on_node(profile, required_version, selector, node, seen) {
                OnNode::Unmanaged => continue,
                OnNode::Unselected => {
                    rollout.unselected += 1;
                    continue;
                }
                OnNode::Gone(why) => rollout.gone.push(format!("{node} ({why})")),
                OnNode::Waiting => rollout.waiting.push(node.clone()),
                OnNode::Failed((reason, message)) => rollout.failed.push(Failure {
                    node: node.clone(),
                    reason: reason.clone(),
                    message: message.clone(),
                }),
                OnNode::Ready => rollout.ready += 1,
            }
            rollout.desired += 1;
        }
        rollout
    }

    fn on_node(
        &self,
        profile: &str,
        required_version: u64,
        selector: &BTreeMap<String, String>,
        node: &str,
        SeenNode { labels, .. }: &SeenNode,
    ) -> OnNode<'_> {
        let standing = self.standings.get(node);
        if matches!(standing, None | Some(Standing::Unmanaged)) {
            return OnNode::Unmanaged;
        }
        if !selects(selector, labels) {
            return OnNode::Unselected;
        }
        if let Some(Standing::Gone(why)) = standing {
            return OnNode::Gone(why);
        }
        // An agent that decided by other labels than the node has now may have decided otherwise.
        let told = |report: &NodeReport| {
            selector.is_empty() || report.labels_digest == Some(labels_digest(labels))
        };
        match self.reports.get(node) {
            Some(report) if report.applied_version >= required_version && told(report) => report
                .failures
                .get(profile)
                .map_or(OnNode::Ready, OnNode::Failed),
            _ => OnNode::Waiting,
        }
    }
}
