//! Notices that the definition of SeccompProfiles is itself being deleted, and lets all of them go: the definition goes only once every
//! object has gone, and whoever deletes it wants that, however many pods use them. Files stay on nodes while pods use them, as ever.
//!
//! Discovery tells, for which nobody needs a right: the API server takes no new objects of a definition that is going, and does not offer to.
//! It is asked only while a profile that was deleted is held, and by the leader alone.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::{Client, Resource as _};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{ControllerError, Shared};
use kube_support::bounded;
use kube_support::error::chain;
use kube_support::leader::Role;
use seccomp_operator_api::SeccompProfile;

/// How often to ask.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let mut going = false;
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        if going || shared.index().holds_deleted() {
            let group_version = SeccompProfile::api_version(&());
            match bounded(client.list_api_group_resources(&group_version)).await {
                Ok(offered) => {
                    let before = std::mem::replace(&mut going, is_going(&offered));
                    if going && !before {
                        warn!(
                            "the definition of SeccompProfiles is being deleted: no profile is held any more"
                        );
                    }
                }
                // Where the group is gone so is the definition, and with it what was held.
                Err(error) => debug!(
                    error = chain(&error),
                    "what the API server offers could not be read"
                ),
            }
            shared.index().definition_goes(going);
            shared.changed.notify_one();
        }
        sleep(PAUSE).await;
    }
}

/// Whether SeccompProfiles are there and can only go.
fn is_going(offered: &APIResourceList) -> bool {
    let plural = SeccompProfile::plural(&());
    let profiles = offered.resources.iter().find(|kind| kind.name == plural);
    profiles.is_some_and(|kind| !kind.verbs.iter().any(|verb| verb == "create"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;

    #[test]
    fn a_definition_that_takes_no_new_objects_is_going_and_one_that_is_not_there_is_not() {
        let offered = |kinds: &[(&str, &[&str])]| APIResourceList {
            resources: kinds
                .iter()
                .map(|(name, verbs)| APIResource {
                    name: (*name).to_owned(),
                    verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
                    ..APIResource::default()
                })
                .collect(),
            ..APIResourceList::default()
        };
        let all = ["delete", "get", "list", "patch", "create", "watch"];
        let going = ["delete", "deletecollection", "get", "list", "watch"];
        let status = ("seccompprofiles/status", &["get", "patch"][..]);
        for (kinds, expected) in [
            (&[status, ("seccompprofiles", &all)][..], false),
            (&[status, ("seccompprofiles", &going)], true),
            (
                &[("seccomppolicies", &going), ("seccompprofiles", &all)],
                false,
            ),
            (&[("seccomppolicies", &all)], false),
            (&[], false),
        ] {
            assert_eq!(is_going(&offered(kinds)), expected, "{kinds:?}");
        }
    }
}
