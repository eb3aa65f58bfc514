//! What pods have to do with how a SeccompProfile stands: whether they start under it.

use seccomp_operator_api::{NodeFailure, SeccompProfileStatus};

/// How a SeccompProfile stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileState {
    /// All nodes that should have it do.
    pub ready: bool,
    /// Why no container starts under it, if that is known: a sentence about the profile.
    pub starts_nothing: Option<String>,
    /// The nodes on which a file of its name is somebody else's, as words; none if there are none.
    pub foreign: Option<String>,
    /// Somebody has deleted it, and it is there while pods use it.
    pub deleted: bool,
    /// The recording that it was made of, if it says so: namespace and name.
    pub made_of: Option<String>,
}

/// So many nodes are named.
const MAX_NODES: usize = 3;

impl ProfileState {
    /// As a status says.
    #[must_use]
    pub fn new(status: &SeccompProfileStatus) -> Self {
        Self {
            ready: status.is_ready(),
            starts_nothing: status.starts_nothing().map(str::to_owned),
            foreign: foreign(status),
            deleted: false,
            made_of: None,
        }
    }

    /// What is so on the nodes with somebody else's file, if there are any.
    #[must_use]
    pub fn foreign_sentence(&self, name: &str) -> Option<String> {
        let nodes = self.foreign.as_ref()?;
        Some(format!(
            "on {nodes} a file that is not the operator's has the name of SeccompProfile {name:?}, and a pod that uses it starts there under \
             that file, whatever it holds"
        ))
    }

    /// A sentence, if pods that use the SeccompProfile of this name do not start, or not everywhere.
    #[must_use]
    pub fn warning(&self, name: &str) -> Option<String> {
        if self.deleted {
            return Some(format!(
                "SeccompProfile {name:?} was deleted and goes when the last pod that uses it has gone; then no pod with it starts; name another"
            ));
        }
        if let Some(why) = &self.starts_nothing {
            return Some(format!("SeccompProfile {name:?} {why}"));
        }
        if let Some(sentence) = self.foreign_sentence(name) {
            return Some(sentence);
        }
        (!self.ready).then(|| {
            format!(
                "SeccompProfile {name:?} is not ready on all nodes; a pod that uses it waits where its node has no file of it yet, and starts \
                 under an older generation where that is there"
            )
        })
    }
}

/// The nodes on which pods start under somebody else's file. A status names only its first failures.
fn foreign(status: &SeccompProfileStatus) -> Option<String> {
    let all = status.nodes.as_ref().map_or(0, |nodes| nodes.foreign);
    let all = usize::try_from(all).unwrap_or_default();
    let conflicts = status
        .failures
        .iter()
        .filter(|failure| failure.reason == NodeFailure::CONFLICT);
    let named: Vec<_> = conflicts
        .map(|failure| failure.node.as_str())
        .take(MAX_NODES)
        .collect();
    match (named.len(), all.saturating_sub(named.len())) {
        (0, 0) => None,
        (0, more) => Some(format!("{more} of the nodes")),
        (_, 0) => Some(named.join(", ")),
        (_, more) => Some(format!("{} and {more} more", named.join(", "))),
    }
}

/// Ready or not, and nothing else is known.
impl From<bool> for ProfileState {
    fn from(ready: bool) -> Self {
        Self {
            ready,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_operator_api::{Failure, NodeCounts};

    #[test]
    fn nodes_with_a_foreign_file_are_named_as_far_as_the_status_names_them() {
        let with = |count: i32, failures: &[(&str, &str)]| {
            let failure = |(node, reason): &(&str, &str)| Failure {
                node: (*node).into(),
                reason: (*reason).into(),
                message: String::new(),
            };
            ProfileState::new(&SeccompProfileStatus {
                nodes: Some(NodeCounts {
                    foreign: count,
                    ..NodeCounts::default()
                }),
                failures: failures.iter().map(failure).collect(),
                ..SeccompProfileStatus::default()
            })
            .foreign
        };
        let many = [
            ("a", "Conflict"),
            ("b", "Conflict"),
            ("c", "Conflict"),
            ("d", "Conflict"),
        ];
        for (count, failures, expected) in [
            (0, &[("a", "WriteFailed")][..], None),
            (1, &[("a", "WriteFailed"), ("b", "Conflict")], Some("b")),
            (12, &many, Some("a, b, c and 9 more")),
            (2, &[], Some("2 of the nodes")),
        ] {
            assert_eq!(with(count, failures).as_deref(), expected, "{count}");
        }
    }
}
