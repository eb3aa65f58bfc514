//! Brings SeccompCeilings, and the architectures that they count for, to those who hold profiles to them: admission and the statuses.

use tracing::warn;

use super::name_of;
use crate::controller::Shared;
use crate::controller::index::Kind;
use kube_support::WatchEvent;
use seccomp_operator_api::SeccompCeiling;
use seccomp_policy::ceiling::{Ceiling, WatchedCeilings};

/// Takes one change, and says whether a full list has ended with it.
pub fn take(change: WatchEvent<SeccompCeiling>, shared: &Shared) -> bool {
    match change {
        WatchEvent::ListBegins => {
            shared.view_mut().ceilings.list_begins();
            shared.index().list_begins(Kind::Ceiling);
        }
        WatchEvent::ListEnds => {
            alter(shared, WatchedCeilings::list_ends);
            shared.index().list_ends(Kind::Ceiling);
            return true;
        }
        WatchEvent::Exists(found) => {
            let name = name_of(&found);
            let ceiling = match found {
                Ok(ceiling) => Ceiling::new(&ceiling.spec),
                Err(unreadable) => {
                    let error = unreadable.error;
                    warn!(
                        ceiling = name,
                        error, "a SeccompCeiling cannot be read, and no profile is held to it"
                    );
                    Ceiling::unreadable(format!(
                        "spec: this version of the operator cannot read it: {error}"
                    ))
                }
            };
            alter(shared, |ceilings| ceilings.exists(&name, ceiling));
        }
        WatchEvent::Deleted(ceiling) => {
            let name = name_of(&ceiling);
            alter(shared, |ceilings| ceilings.gone(&name));
        }
    }
    false
}

/// Profiles are compared for the architectures of the nodes that there are.
pub fn follow_nodes(shared: &Shared) {
    let architectures = shared.index().architectures();
    let is_known = shared.view().ceilings.is_on(&architectures);
    if !is_known {
        alter(shared, |ceilings| ceilings.on(architectures));
    }
}

/// What the index has is what the view has.
fn alter(shared: &Shared, change: impl FnOnce(&mut WatchedCeilings)) {
    let all = {
        let mut view = shared.view_mut();
        change(&mut view.ceilings);
        view.ceilings.all()
    };
    shared.index().hold_to(all);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use seccomp_operator_api::SeccompCeilingSpec;
    use seccomp_profile::Arch;

    use super::*;
    use crate::controller::index::{Index, SeenNode};

    fn node(arch: &str) -> SeenNode {
        SeenNode {
            labels: BTreeMap::from([("kubernetes.io/arch".into(), arch.into())]),
            ..SeenNode::default()
        }
    }

    #[tokio::test]
    async fn admission_and_statuses_are_held_to_the_same_ceilings_for_the_nodes_that_there_are() {
        let shared = Shared::around(Index::new("profiles", Duration::from_mins(1)));
        let ceiling = SeccompCeiling::new("a", SeccompCeilingSpec::default());
        assert!(!take(WatchEvent::ListBegins, &shared));
        assert!(!take(WatchEvent::Exists(Ok(ceiling.clone())), &shared));
        assert!(take(WatchEvent::ListEnds, &shared));
        let known = || shared.view().ceilings.all();
        assert!(!known().is_empty());
        assert_eq!(known().architectures(), Arch::KUBERNETES);
        shared.index().node("n1", node("amd64"));
        shared.index().node("n2", node("arm64"));
        follow_nodes(&shared);
        assert_eq!(known().architectures(), [Arch::X86_64, Arch::Aarch64]);
        take(WatchEvent::Deleted(Ok(ceiling)), &shared);
        assert!(known().is_empty());
    }
}
