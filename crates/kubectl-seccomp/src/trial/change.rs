//! Puts what is tried in force, or takes it away, if nobody has changed the profile or the policy since it was read.

use anyhow::anyhow;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource, ResourceExt as _};

use serde_json::{Map, Value, json};

use super::ChangeArgs;
use super::show::Shown;
use super::subject::Found;
use crate::ask::confirmed;
use crate::block::refused;
use crate::cluster::Cluster;
use crate::diff::between;
use crate::stored::{ARCHES, compose};
use crate::text::Style;
use crate::{Failure, Findings, output};
use seccomp_operator_api::{Mode, SeccompPolicy, SeccompProfile, SeccompProfileSpec};

/// The fields that say what a profile does.
const FIELDS: [&str; 5] = ["profile", "base", "allow", "log", "deny"];

/// `promote`.
pub async fn promote(args: &ChangeArgs) -> Result<Findings, Failure> {
    let cluster = args.cluster.connect().await?;
    let found = Found::ask(&cluster, &args.name).await?;
    let name = &found.label;
    output::print(difference(&found, found.name())?)?;
    let shown = Shown::of(&found, Timestamp::now());
    let count = if shown.is_quiet() {
        "Nothing that was heard on trial would have been refused.".to_owned()
    } else {
        format!("On trial it would have refused calls; `kubectl seccomp trial {name}` lists them.")
    };
    output::print(format!("\n{count}\n"))?;
    let question = match found.policy {
        None => format!("Make this the version of {name} in force?"),
        Some(_) => format!("Have {name} enforced?"),
    };
    if !args.yes && !confirmed(&question, "to promote")? {
        return Ok(Findings::Some("nothing was changed\n".to_owned()));
    }
    if let Some(policy) = &found.policy {
        enforce(&cluster, policy).await?;
        output::print(format!(
            "{name}: is enforced, and new pods get its profile. Pods that run stay on trial until they are created anew: `kubectl seccomp restart --outdated`.\n"
        ))?;
        return Ok(Findings::None);
    }
    let promoted = found.profile.spec.promoted();
    let promoted = promoted.ok_or_else(none)?;
    write(&cluster, &found.profile, &promoted).await?;
    output::print(format!(
        "{name}: the next version is the one in force. Containers that run keep the last one until they are created anew: `kubectl seccomp restart --outdated`.\n"
    ))?;
    Ok(Findings::None)
}

/// `drop`.
pub async fn drop(args: &ChangeArgs) -> Result<Findings, Failure> {
    let cluster = args.cluster.connect().await?;
    let found = Found::ask(&cluster, &args.name).await?;
    let name = &found.label;
    let question = match found.policy {
        None => format!("End the trial of {name}, and forget what it told?"),
        Some(_) => format!("Delete {name}, and forget what its trial told?"),
    };
    if !args.yes && !confirmed(&question, "to drop the trial")? {
        return Ok(Findings::Some("nothing was changed\n".to_owned()));
    }
    if let Some(policy) = &found.policy {
        delete(&cluster, policy).await?;
        output::print(format!(
            "{name}: is deleted. Pods that run stay under the trial's file, with runtime-default in force, until they are created anew: \
             `kubectl seccomp restart --outdated`.\n"
        ))?;
        return Ok(Findings::None);
    }
    let stays = SeccompProfileSpec {
        trial: None,
        ..found.profile.spec.clone()
    };
    write(&cluster, &found.profile, &stays).await?;
    output::print(format!("{name}: the trial has ended.\n"))?;
    Ok(Findings::None)
}

/// It was there when it was read.
fn none() -> Failure {
    Failure::Other(anyhow!("the profile's trial cannot be read"))
}

/// What the next version does otherwise than the one in force, on a machine of each of the architectures that clusters have.
fn difference(found: &Found, name: &str) -> Result<String, Failure> {
    let next = found.library.with_next(name).ok_or_else(none)?;
    let mut said: Vec<(String, Vec<&str>)> = Vec::new();
    for arch in ARCHES {
        let now = compose(&found.library, name, arch)?;
        let next = compose(&next, name, arch)?;
        let labels = ["the version in force", "the next one"];
        let text = between(
            (labels[0], &now),
            (labels[1], &next),
            arch,
            Style::for_stdout(),
        )?;
        let machine = arch.native_name();
        match said.iter_mut().find(|(same, _)| *same == text) {
            Some((_, machines)) => machines.push(machine),
            None => said.push((text, vec![machine])),
        }
    }
    let said = said.into_iter();
    let said = said.map(|(text, machines)| format!("On {}:\n{text}", machines.join(" and ")));
    Ok(said.collect::<Vec<_>>().join("\n"))
}

/// Writes what the spec of a profile says, if it is the very one that was read: its generation tells.
async fn write(
    cluster: &Cluster,
    read: &SeccompProfile,
    wanted: &SeccompProfileSpec,
) -> Result<(), Failure> {
    let name = read.metadata.name.as_deref().unwrap_or_default();
    let kind = ApiResource::erase::<SeccompProfile>(&());
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &kind);
    let refused = |verb: &str, error: &kube::Error| refused::<SeccompProfile>(name, verb, error);
    // As the API server has it, with fields that a newer version may have.
    let stored = api
        .get(name)
        .await
        .map_err(|error| refused("get", &error))?;
    let spec = stored.data.get("spec").cloned().unwrap_or_default();
    let patch = patch(read, spec, wanted)?;
    let patch = serde_json::from_value(patch)?;
    let written = api
        .patch(name, &PatchParams::default(), &Patch::Json::<()>(patch))
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(error) if is_failed_test(&error) => Err(changed::<SeccompProfile>(name)),
        Err(error) => Err(refused("patch", &error)),
    }
}

/// Has a policy enforced, if it is the very one that was read.
async fn enforce(cluster: &Cluster, read: &SeccompPolicy) -> Result<(), Failure> {
    let name = read.name_any();
    let api: Api<SeccompPolicy> = Api::all(cluster.client.clone());
    let patch = serde_json::from_value(enforcing(read))?;
    let written = api
        .patch(&name, &PatchParams::default(), &Patch::Json::<()>(patch))
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(error) if is_failed_test(&error) => Err(changed::<SeccompPolicy>(&name)),
        Err(error) => Err(refused::<SeccompPolicy>(&name, "patch", &error)),
    }
}

fn enforcing(read: &SeccompPolicy) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": read.metadata.uid},
        {"op": "test", "path": "/metadata/generation", "value": read.metadata.generation},
        {"op": "replace", "path": "/spec/mode", "value": Mode::Enforce},
    ])
}

/// Deletes a policy, if it is the one that was read. What is in its status changes all the time.
async fn delete(cluster: &Cluster, read: &SeccompPolicy) -> Result<(), Failure> {
    let name = read.name_any();
    let api: Api<SeccompPolicy> = Api::all(cluster.client.clone());
    let as_read = Preconditions {
        uid: read.metadata.uid.clone(),
        resource_version: None,
    };
    let params = DeleteParams::default().preconditions(as_read);
    let deleted = api.delete(&name, &params).await;
    deleted
        .map(std::mem::drop)
        .map_err(|error| refused::<SeccompPolicy>(&name, "delete", &error))
}

/// Whether a test of the patch did not hold.
fn is_failed_test(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422 && status.message.contains("test"))
}

fn changed<K: Resource<DynamicType = ()>>(name: &str) -> Failure {
    let kind = K::kind(&());
    Failure::Other(anyhow!(
        "somebody else has changed {kind} {name:?} meanwhile; run this again"
    ))
}

/// The patch that makes of a spec, as it is stored, what is wanted, unless somebody has changed what was read.
fn patch(
    read: &SeccompProfile,
    mut spec: Value,
    wanted: &SeccompProfileSpec,
) -> Result<Value, Failure> {
    let wanted = serde_json::to_value(wanted)?;
    let fields = spec.as_object_mut().ok_or_else(none)?;
    set(fields, &wanted);
    Ok(json!([
        {"op": "test", "path": "/metadata/uid", "value": read.metadata.uid},
        {"op": "test", "path": "/metadata/generation", "value": read.metadata.generation},
        {"op": "replace", "path": "/spec", "value": spec},
    ]))
}

fn set(fields: &mut Map<String, Value>, wanted: &Value) {
    fields.remove("trial");
    for field in FIELDS {
        match wanted.get(field) {
            Some(value) => fields.insert(field.to_owned(), value.clone()),
            None => fields.remove(field),
        };
    }
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::define;
    use seccomp_profile::Library;

    use super::*;

    fn found(spec: &Value) -> Found {
        let spec: SeccompProfileSpec = serde_json::from_value(spec.clone()).unwrap();
        let mut profile = SeccompProfile::new("p", spec);
        profile.metadata.generation = Some(7);
        profile.metadata.uid = Some("u".into());
        let mut library = Library::default();
        library.define("p", define(&Ok(profile.clone())));
        Found {
            label: "p".into(),
            profile,
            policy: None,
            library,
        }
    }

    #[test]
    fn a_promotion_replaces_what_the_spec_says_and_keeps_all_else() {
        let spec = json!({
            "base": "runtime-default", "deny": ["ptrace"], "observe": true, "newer": {"a": 1},
            "trial": {"profile": {"defaultAction": "SCMP_ACT_LOG"}, "log": ["mkdir"]},
        });
        let found = found(&spec);
        let wanted = found.profile.spec.promoted().unwrap();
        let patch = patch(&found.profile, spec, &wanted).unwrap();
        assert_eq!(
            patch[1],
            json!({"op": "test", "path": "/metadata/generation", "value": 7})
        );
        assert_eq!(
            patch[2]["value"],
            json!({"profile": {"defaultAction": "SCMP_ACT_LOG"}, "log": ["mkdir"], "observe": true, "newer": {"a": 1}})
        );
    }

    #[test]
    fn what_a_trial_is_dropped_from_stays() {
        let spec =
            json!({"base": "runtime-default", "deny": ["ptrace"], "trial": {"deny": ["mkdir"]}});
        let found = found(&spec);
        let stays = SeccompProfileSpec {
            trial: None,
            ..found.profile.spec.clone()
        };
        let patch = patch(&found.profile, spec, &stays).unwrap();
        assert_eq!(
            patch[2]["value"],
            json!({"base": "runtime-default", "deny": ["ptrace"]})
        );
    }

    #[test]
    fn the_difference_is_that_of_the_two_versions_on_each_architecture() {
        let found = found(&json!({"base": "runtime-default", "trial": {"deny": ["mkdir"]}}));
        let said = difference(&found, "p").unwrap();
        assert!(said.starts_with("On amd64:\nClosed\n"), "{said}");
        assert!(said.contains("mkdir"), "{said}");
        // There is no such call.
        assert!(said.contains("On arm64:\n"), "{said}");
    }

    #[test]
    fn a_policy_is_enforced_if_it_is_as_it_was_read_and_the_difference_is_that_to_runtime_default()
    {
        use crate::trial::subject::tests::{of_policy, stored};
        let web = stored(
            "web",
            &json!({"base": "runtime-default", "deny": ["mkdir"]}),
            &json!({}),
        );
        let found = of_policy("Trial", vec![web]).unwrap();
        let said = difference(&found, found.name()).unwrap();
        assert!(
            said.starts_with("On amd64:\nClosed\n") && said.contains("mkdir"),
            "{said}"
        );
        let patch = enforcing(found.policy.as_ref().unwrap());
        assert_eq!(patch[0]["value"], "u");
        assert_eq!(patch[1]["value"], 7);
        assert_eq!(
            patch[2],
            json!({"op": "replace", "path": "/spec/mode", "value": "Enforce"})
        );
    }
}
