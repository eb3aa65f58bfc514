//! What pods have to do with how a SeccompProfile stands: whether they start under it.

use seccomp_operator_api::SeccompProfileStatus;

/// How a SeccompProfile stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileState {
    /// All nodes that should have it do.
    pub ready: bool,
    /// Why no container starts under it, if that is known: a sentence about the profile.
    pub starts_nothing: Option<String>,
}

impl ProfileState {
    /// As a status says.
    #[must_use]
    pub fn new(status: &SeccompProfileStatus) -> Self {
        Self {
            ready: status.is_ready(),
            starts_nothing: status.starts_nothing().map(str::to_owned),
        }
    }

    /// A sentence, if pods that use the SeccompProfile of this name do not start, or not everywhere.
    #[must_use]
    pub fn warning(&self, name: &str) -> Option<String> {
        if let Some(why) = &self.starts_nothing {
            return Some(format!("SeccompProfile {name:?} {why}"));
        }
        (!self.ready).then(|| {
            format!(
                "SeccompProfile {name:?} is not ready on all nodes; a pod that uses it waits where its node has no file of it yet, and starts \
                 under an older generation where that is there"
            )
        })
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
