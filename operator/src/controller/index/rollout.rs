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

impl Index {
    /// How far a profile has got whose current meaning is on a node once that has applied `required_version`.
    pub(super) fn rollout(
        &self,
        profile: &str,
        required_version: u64,
        selector: &BTreeMap<String, String>,
    ) -> Rollout {
        let mut rollout = Rollout::default();
        for (node, SeenNode { labels, .. }) in &self.nodes {
            let standing = self.standings.get(node);
            if matches!(standing, None | Some(Standing::Unmanaged)) {
                continue;
            }
            if !selects(selector, labels) {
                rollout.unselected += 1;
                continue;
            }
            rollout.desired += 1;
            if let Some(Standing::Gone(why)) = standing {
                rollout.gone.push(format!("{node} ({why})"));
                continue;
            }
            let report = self.reports.get(node);
            // An agent that decided by other labels than the node has now may have decided otherwise.
            let digest = (!selector.is_empty()).then(|| labels_digest(labels));
            let told = |report: &NodeReport| digest.is_none() || report.labels_digest == digest;
            match report {
                Some(report) if told(report) && report.applied_version >= required_version => {
                    match report.failures.get(profile) {
                        Some((reason, message)) => {
                            rollout.failed.push(Failure {
                                node: node.clone(),
                                reason: reason.clone(),
                                message: message.clone(),
                            });
                        }
                        None => rollout.ready += 1,
                    }
                }
                _ => rollout.waiting.push(node.clone()),
            }
        }
        rollout
    }
}
