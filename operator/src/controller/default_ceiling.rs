//! Keeps the SeccompCeiling `default` that the installation asks for, as `default_policy` keeps the policy of that name and for its reason:
//! no Helm release can hold an object of a kind that it brings.

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
use seccomp_operator_api::{SeccompCeiling, SeccompCeilingSpec};

/// The ceiling's name.
const NAME: &str = "default";
/// Marks the ceiling as ours.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "seccomp-operator");
/// How often to see whether it is as it was left.
const LOOK_EVERY: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
struct SpecField<'a> {
    spec: &'a SeccompCeilingSpec,
}

/// Reads the spec from the command line.
pub fn parse(text: &str) -> Result<SeccompCeilingSpec, String> {
    let spec: SeccompCeilingSpec = serde_json::from_str(text)
        .map_err(|error| format!("must be the spec of a SeccompCeiling in JSON: {error}"))?;
    match spec.define() {
        Ok(_) => Ok(spec),
        Err(problems) => Err(problems.to_string()),
    }
}

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    wanted: Option<&SeccompCeilingSpec>,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let api: Api<SeccompCeiling> = Api::all(client.clone());
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let stored = loop {
            match ensure(&api, wanted).await {
                Ok(stored) => break stored,
                Err(error) => {
                    let delay = backoff.fail();
                    warn!(error = chain(&error), retry_in = ?delay, "the ceiling of the installation could not be seen to");
                    tokio::time::sleep(delay).await;
                }
            }
        };
        // What the watch tells costs nothing to ask.
        let is_other = || {
            let ceilings = shared.view().ceilings.all();
            match (ceilings.get(NAME), &stored) {
                (None, _) => wanted.is_some(),
                (Some(found), Some(spec)) => found.spec() != Some(spec),
                (Some(_), None) => false,
            }
        };
        loop {
            tokio::select! {
                changed = role.changed() => { changed?; break }
                () = tokio::time::sleep(LOOK_EVERY) => if is_other() { break },
            }
        }
    }
}

/// Makes it so; the spec as it is then. A ceiling of that name that is not ours is left alone, and so is one of ours of which somebody else
/// has set a field that the installation sets otherwise.
async fn ensure(
    api: &Api<SeccompCeiling>,
    wanted: Option<&SeccompCeilingSpec>,
) -> Result<Option<SeccompCeilingSpec>, WriteError> {
    let found = bounded(api.get_opt(NAME)).await?;
    let ours = |ceiling: &SeccompCeiling| {
        let label = ceiling.labels().get(LABEL.0);
        label.is_some_and(|value| value == LABEL.1)
    };
    match (found, wanted) {
        (None, None) => Ok(None),
        (Some(found), _) if !ours(&found) => {
            if wanted.is_some() {
                warn!("a SeccompCeiling {NAME:?} that the operator did not make is left as it is");
            }
            Ok(Some(found.spec))
        }
        (Some(_), None) => {
            bounded(api.delete(NAME, &DeleteParams::default())).await?;
            info!("the ceiling of the installation is not wanted any more and was removed");
            Ok(None)
        }
        (found, Some(spec)) => {
            let metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
                ..ObjectMeta::default()
            };
            let field = SpecField { spec };
            match apply(api, MANAGER, Conflicts::Refuse, &metadata, &field).await {
                Ok(ceiling) => {
                    info!("the ceiling of the installation is in place");
                    Ok(Some(ceiling.spec))
                }
                Err(error) if error.is_conflict() => {
                    warn!(
                        error = chain(&error),
                        "the ceiling of the installation stays as somebody else has changed it, until it is deleted: it comes back as the \
                         installation asks"
                    );
                    Ok(found.map(|found| found.spec))
                }
                Err(error) => Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_read_and_checked() {
        assert!(parse(r#"{"base":"runtime-default","action":"Deny"}"#).is_ok());
        assert!(parse("{").unwrap_err().contains("in JSON"));
        let said = parse(r#"{"base":"web"}"#).unwrap_err();
        assert!(
            said.starts_with("spec.base: \"web\" is no built-in"),
            "{said}"
        );
    }
}
