//! The index in numbers, for metrics.

use super::Index;
use crate::controller::agents::Standing;
use seccomp_operator_api::condition;

/// How many profiles and nodes there are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexCounts {
    /// Profiles by the state that their status shows.
    pub profiles: ProfileStates,
    /// Nodes that should run an agent.
    pub nodes: NodeStates,
    /// Profiles whose status may have to be written.
    pub dirty: usize,
}

/// How many profiles are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileStates {
    /// Profiles whose newest generation is on every node that it should be on, by their status.
    pub ready: usize,
    /// Profiles that some node could not take.
    pub failed: usize,
    /// Profiles under which no container starts.
    pub unstartable: usize,
    /// Profiles whose newest generation means nothing.
    pub invalid: usize,
    /// The other profiles.
    pub progressing: usize,
}

/// How many nodes are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStates {
    /// Nodes that have applied every profile's newest generation.
    pub in_sync: usize,
    /// Nodes that are not yet.
    pub behind: usize,
    /// Nodes whose agent is gone, or runs and has not said a word.
    pub silent: usize,
}

impl Index {
    /// How many profiles and nodes there are in each state.
    #[must_use]
    pub fn counts(&self) -> IndexCounts {
        IndexCounts {
            profiles: self.profile_states(),
            nodes: self.node_states(),
            dirty: self.dirty.len(),
        }
    }

    fn profile_states(&self) -> ProfileStates {
        let mut counts = ProfileStates::default();
        for profile in self.profiles.values() {
            let status = &profile.seen.status;
            let current = status.observed_generation == Some(profile.seen.generation);
            let ready = status.condition(condition::READY).filter(|_| current);
            let count = match ready {
                Some(ready) if ready.reason == "Failed" => &mut counts.failed,
                Some(_) if status.starts_nothing().is_some() => &mut counts.unstartable,
                Some(ready) if ready.status == "True" => &mut counts.ready,
                Some(ready) if ready.reason == "NotAccepted" => &mut counts.invalid,
                _ => &mut counts.progressing,
            };
            *count += 1;
        }
        counts
    }

    fn node_states(&self) -> NodeStates {
        let newest = self.newest_version();
        let mut counts = NodeStates::default();
        for node in self.nodes.keys() {
            let count = match (self.standings.get(node), self.reports.get(node)) {
                (Some(Standing::Managed), Some(report)) if report.applied_version >= newest => {
                    &mut counts.in_sync
                }
                (Some(Standing::Managed), Some(_)) => &mut counts.behind,
                (Some(Standing::Gone(_)), _) | (Some(Standing::Managed), None) => {
                    &mut counts.silent
                }
                (Some(Standing::Unmanaged) | None, _) => continue,
            };
            *count += 1;
        }
        counts
    }
}
