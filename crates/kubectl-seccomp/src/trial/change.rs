//! Makes the next version of a profile the one in force, or takes it away, if nobody has changed the profile since it was read.

use anyhow::anyhow;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};

use serde_json::{Map, Value, json};

use super::show::Shown;
use super::{ChangeArgs, Found};
use crate::ask::confirmed;
use crate::block::refused;
use crate::cluster::Cluster;
use crate::diff::between;
use crate::stored::{ARCHES, compose};
use crate::text::Style;
use crate::{Failure, Findings, output};
use seccomp_operator_api::{SeccompProfile, SeccompProfileSpec};

/// The fields that say what a profile does.
const FIELDS: [&str; 5] = ["profile", "base", "allow", "log", "deny"];

/// `promote`.
pub async fn promote(args: &ChangeArgs) -> Result<Findings, Failure> {
    let cluster = args.cluster.connect().await?;
    let found = Found::ask(&cluster, &args.name).await?;
    let name = &args.name;
    output::print(difference(&found, name)?)?;
    let shown = Shown::of(&found, Timestamp::now());
    let count = if shown.is_quiet() {
        "Nothing that was heard on trial would have been refused.".to_owned()
    } else {
        format!("On trial it would have refused calls; `kubectl seccomp trial {name}` lists them.")
    };
    output::print(format!("\n{count}\n"))?;
    let question = format!("Make this the version of {name} in force?");
    if !args.yes && !confirmed(&question, "to promote")? {
        return Ok(Findings::Some("nothing was changed\n".to_owned()));
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
    let name = &args.name;
    let question = format!("End the trial of {name}, and forget what it told?");
    if !args.yes && !confirmed(&question, "to drop the trial")? {
        return Ok(Findings::Some("nothing was changed\n".to_owned()));
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
        // A test of the patch did not hold.
        Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains("test") => {
            Err(Failure::Other(anyhow!(
                "somebody else has changed SeccompProfile {name:?} meanwhile; run this again"
            )))
        }
        Err(error) => Err(refused("patch", &error)),
    }
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
        Found { profile, library }
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
}
