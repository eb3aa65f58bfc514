//! Keeps the SeccompPolicy `default` that the installation asks for.
//!
//! It cannot be part of a Helm release: a custom resource has no kind yet while the release that brings its definition is
//! being checked. So the installation hands its spec to the controller, and the leader applies it at its start.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kube::api::DeleteParams;
use kube::core::ObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{ControllerError, MANAGER, Shared};
use kube_support::error::chain;
use kube_support::leader::Role;
use kube_support::{Backoff, Conflicts, WriteError, apply, bounded};
use seccomp_operator_api::{SeccompPolicy, SeccompPolicySpec};
use seccomp_policy::validation::problems;

/// The policy's name.
const NAME: &str = "default";
/// Marks the policy as ours.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "seccomp-operator");

/// How often to see whether the policy is still there.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What is applied beside the label.
#[derive(Debug, Serialize)]
struct SpecField<'a> {
    spec: &'a SeccompPolicySpec,
}

/// Reads the spec from the command line.
pub fn parse(text: &str) -> Result<SeccompPolicySpec, String> {
    let spec: SeccompPolicySpec = serde_json::from_str(text)
        .map_err(|error| format!("must be the spec of a SeccompPolicy in JSON: {error}"))?;
    match &problems(&spec)[..] {
        [] => Ok(spec),
        [first, ..] => Err(first.to_string()),
    }
}

/// Runs for as long as the process lives. Only a leader's readiness waits for the policy: a replica that follows must not wait
/// for what a leader with other settings will never do.
pub async fn run(
    client: &Client,
    wanted: Option<&SeccompPolicySpec>,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let api: Api<SeccompPolicy> = Api::all(client.clone());
    loop {
        let led = *role.borrow_and_update() == Role::Leads;
        if led {
            let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
            while let Err(error) = ensure(&api, wanted).await {
                let delay = backoff.fail();
                warn!(error = chain(&error), retry_in = ?delay, "the default policy could not be seen to");
                tokio::time::sleep(delay).await;
            }
        }
        if led || *role.borrow() == Role::Follows {
            shared.ready.default_policy.store(true, Ordering::Relaxed);
        }
        // What the watch tells costs nothing to ask. Whoever removes the policy gets it back: pods would silently go without.
        let lost = || led && wanted.is_some() && !shared.view().has_policy(NAME);
        loop {
            tokio::select! {
                changed = role.changed() => { changed?; break }
                () = tokio::time::sleep(LOOK_EVERY) => if lost() { break },
            }
        }
    }
}

/// Makes it so. A policy of that name that is not ours is left alone, and so is ours when somebody else has taken over a field
/// of it that would have to change.
async fn ensure(
    api: &Api<SeccompPolicy>,
    wanted: Option<&SeccompPolicySpec>,
) -> Result<(), WriteError> {
    let found = bounded(api.get_opt(NAME)).await?;
    let ours = |policy: &SeccompPolicy| {
        policy
            .labels()
            .get(LABEL.0)
            .is_some_and(|value| value == LABEL.1)
    };
    match (found.map(|policy| ours(&policy)), wanted) {
        (Some(false), _) => {
            warn!("a SeccompPolicy {NAME:?} that the operator did not make is left as it is");
        }
        (None, None) => {}
        (Some(true), None) => {
            bounded(api.delete(NAME, &DeleteParams::default())).await?;
            info!("the default policy is not wanted any more and was removed");
        }
        (_, Some(spec)) => {
            let (label, value) = LABEL;
            let metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                labels: Some([(label.to_owned(), value.to_owned())].into()),
                ..ObjectMeta::default()
            };
            let fields = SpecField { spec };
            match apply(api, MANAGER, Conflicts::Refuse, &metadata, &fields).await {
                Ok(_) => info!("the default policy is in place"),
                Err(error) if error.is_conflict() => {
                    let error = chain(&error);
                    warn!(
                        error,
                        "the default policy was changed by somebody else and is left as it is"
                    );
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_read_and_checked() {
        assert!(parse(r#"{"profile":{"type":"RuntimeDefault"}}"#).is_ok());
        assert!(parse("{").unwrap_err().contains("in JSON"));
        assert!(
            parse(r#"{"profile":{"type":"Localhost"}}"#)
                .unwrap_err()
                .contains("spec.profile.name")
        );
    }
}
