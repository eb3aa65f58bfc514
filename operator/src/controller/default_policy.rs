//! Keeps the SeccompPolicy `default` that the installation asks for.
//!
//! It cannot be part of a Helm release: a custom resource has no kind yet while the release that brings its definition is
//! being checked. So the installation hands its spec to the controller, and the leader applies it at its start.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kube::api::DeleteParams;
use kube::core::ObjectMeta;
use kube::core::response::StatusCause;
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;
use serde_json::{Map, Value};
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

/// So often a field that somebody else has set meanwhile is left to them, before all of it is tried again later.
const ATTEMPTS: usize = 4;

/// What is applied beside the label.
#[derive(Debug, Serialize)]
struct SpecField<'a> {
    spec: &'a Map<String, Value>,
}

/// A field of the spec that somebody else has set, and who that is.
type Touched = BTreeMap<String, String>;

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
        let mut stored = None;
        if led {
            let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
            stored = loop {
                match ensure(&api, wanted).await {
                    Ok(stored) => break stored,
                    Err(error) => {
                        let delay = backoff.fail();
                        warn!(error = chain(&error), retry_in = ?delay, "the default policy could not be seen to");
                        tokio::time::sleep(delay).await;
                    }
                }
            };
            let differences = stored.as_ref().map(|(_, differences)| differences.clone());
            if shared.policies().installed(NAME, differences) {
                shared.policies_changed.notify_one();
            }
        }
        if led || *role.borrow() == Role::Follows {
            shared.ready.default_policy.store(true, Ordering::Relaxed);
        }
        // What the watch tells costs nothing to ask. Whoever removes the policy gets it back: pods would silently go without. Whoever
        // changes it keeps what they changed, and its status says so.
        let is_other = || {
            let view = shared.view();
            match (view.find(NAME), &stored) {
                (None, _) => wanted.is_some(),
                (Some(found), Some((spec, _))) => found.spec != *spec,
                (Some(_), None) => false,
            }
        };
        loop {
            tokio::select! {
                changed = role.changed() => { changed?; break }
                () = tokio::time::sleep(LOOK_EVERY) => if led && is_other() { break },
            }
        }
    }
}

/// Makes it so; the spec as it is then, and a sentence on each field that is not as it should be. A policy of that name that is
/// not ours is left alone, and so is a field of ours that somebody else has set.
async fn ensure(
    api: &Api<SeccompPolicy>,
    wanted: Option<&SeccompPolicySpec>,
) -> Result<Option<(SeccompPolicySpec, Vec<String>)>, WriteError> {
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
            Ok(None)
        }
        (None, None) => Ok(None),
        (Some(true), None) => {
            bounded(api.delete(NAME, &DeleteParams::default())).await?;
            info!("the default policy is not wanted any more and was removed");
            Ok(None)
        }
        (_, Some(spec)) => install(api, spec).await.map(Some),
    }
}

/// Applies the spec but for the fields that others have set: those are applied as they are. To leave them out would remove what is
/// still ours of them, such as the type beside the name of a profile.
async fn install(
    api: &Api<SeccompPolicy>,
    spec: &SeccompPolicySpec,
) -> Result<(SeccompPolicySpec, Vec<String>), WriteError> {
    let (label, value) = LABEL;
    let metadata = ObjectMeta {
        name: Some(NAME.to_owned()),
        labels: Some([(label.to_owned(), value.to_owned())].into()),
        ..ObjectMeta::default()
    };
    let wanted = fields_of(spec);
    let (mut fields, mut touched) = (wanted.clone(), Touched::new());
    let mut attempt = 1;
    loop {
        let applied = SpecField { spec: &fields };
        match apply(api, MANAGER, Conflicts::Refuse, &metadata, &applied).await {
            Ok(policy) => {
                let sentences = differences(&wanted, &fields_of(&policy.spec), &touched);
                match &sentences[..] {
                    [] => info!("the default policy is in place"),
                    [..] => warn!(
                        differences = sentences.join("; "),
                        "the default policy is in place but for what somebody else has set"
                    ),
                }
                return Ok((policy.spec, sentences));
            }
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                touched.extend(conflicts(&error));
                let theirs = bounded(api.get(NAME)).await?;
                fields = left_to_others(&wanted, &fields_of(&theirs.spec), &touched);
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn fields_of(spec: &SeccompPolicySpec) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The fields of the spec that an apply was refused for. What is below them goes with them: the parts of a profile or of a selector
/// mean something only together.
fn conflicts(error: &WriteError) -> Touched {
    let WriteError::Refused(kube::Error::Api(status)) = error else {
        return Touched::new();
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let field = |cause: &StatusCause| {
        let below = cause.field.strip_prefix(".spec.")?;
        let field = below.split(['.', '[']).next()?.to_owned();
        // `conflict with "kubectl-patch" using ...`
        let manager = cause.message.split('"').nth(1).unwrap_or("somebody else");
        Some((field, manager.to_owned()))
    };
    causes.filter_map(field).collect()
}

/// What to apply: `wanted`, with the fields that others have set as they are.
fn left_to_others(
    wanted: &Map<String, Value>,
    theirs: &Map<String, Value>,
    touched: &Touched,
) -> Map<String, Value> {
    let mut fields = wanted.clone();
    for field in touched.keys() {
        match theirs.get(field) {
            Some(value) => fields.insert(field.clone(), value.clone()),
            None => fields.remove(field),
        };
    }
    fields
}

/// A sentence on each field that is not as the installation asks.
fn differences(
    wanted: &Map<String, Value>,
    is: &Map<String, Value>,
    touched: &Touched,
) -> Vec<String> {
    let said = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), Value::to_string);
    let differ = touched
        .iter()
        .filter(|(field, _)| wanted.get(*field) != is.get(*field));
    let sentence = |(field, manager): (&String, &String)| {
        format!(
            "spec.{field} is {}, and the installation asks for {}: {manager:?} has set it, and it stays so until the policy is deleted, \
             which comes back as the installation asks",
            said(is.get(field)),
            said(wanted.get(field)),
        )
    };
    differ.map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    #[test]
    fn only_the_field_that_somebody_touched_stays_theirs() {
        let refusal = json!({
            "status": "Failure", "message": "Apply failed with 2 conflicts", "reason": "Conflict", "code": 409,
            "details": {"causes": [
                {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-patch\" using seccomp-operator.io/v1alpha1", "field": ".spec.mode"},
                {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\"", "field": ".spec.profile.name"},
                {"reason": "FieldManagerConflict", "message": "conflict with \"x\"", "field": ".metadata.labels.a"},
            ]},
        });
        let error = WriteError::Refused(kube::Error::Api(serde_json::from_value(refusal).unwrap()));
        let touched = conflicts(&error);
        let spec = |json: Value| fields_of(&serde_json::from_value(json).unwrap());
        let wanted = spec(
            json!({"priority": 7, "profile": {"type": "Localhost", "name": "a"}, "overrides": ["Unconfined"]}),
        );
        let theirs = spec(
            json!({"priority": 1, "profile": {"type": "Localhost", "name": "b"}, "mode": "Observe"}),
        );
        let applied = left_to_others(&wanted, &theirs, &touched);
        let expected = spec(
            json!({"priority": 7, "profile": {"type": "Localhost", "name": "b"}, "mode": "Observe", "overrides": ["Unconfined"]}),
        );
        assert_eq!(applied, expected);
        let said = differences(&wanted, &applied, &touched);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with("spec.mode is \"Observe\", and the installation asks for ")
                && said[0].contains("\"kubectl-patch\" has set it"),
            "{said:?}"
        );
        assert!(
            said[1].starts_with("spec.profile is {") && said[1].contains("kubectl-edit"),
            "{said:?}"
        );
        // Somebody's field that is as it should be is no difference.
        assert_eq!(
            differences(&applied, &applied, &touched),
            Vec::<String>::new()
        );
    }
}
