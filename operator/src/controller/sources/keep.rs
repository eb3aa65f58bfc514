//! Writes the SeccompProfile of a source: of the source's name, its own, and saying what the artifact says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde::Serialize;
use serde_json::Value;

use super::index::{Job, Kept, kept, owner};
use super::pull::Artifact;
use super::status::Failure;
use super::{KIND, MANAGER};
use kube_support::error::chain;
use kube_support::{Conflicts, JsonPatch, WriteError, apply, bounded, patch};
use seccomp_operator_api::source_condition::{PROFILE_REFUSED, PROFILE_TAKEN};
use seccomp_operator_api::{GROUP, SOURCE_DIGEST_ANNOTATION, SeccompProfile};

#[derive(Debug, Serialize)]
struct Fields<'a> {
    spec: Spec<'a>,
}

#[derive(Debug, Serialize)]
struct Spec<'a> {
    profile: &'a Value,
}

/// Makes it so. A profile of somebody else's is left as it is.
pub async fn keep(client: &Client, job: &Job, artifact: &Artifact) -> Result<Kept, Failure> {
    let api: Api<SeccompProfile> = Api::all(client.clone());
    let refused = |error: WriteError| refused(&job.name, &error);
    let found = bounded(api.get_metadata_opt(&job.name))
        .await
        .map_err(refused)?;
    let found = found.map(|found| found.metadata);
    if let Some(found) = &found
        && let Some(failure) = taken(job, found)
    {
        return Err(failure);
    }
    let conflicts = match found {
        Some(_) => Conflicts::Force,
        // Somebody may be about to make one of that name.
        None => Conflicts::Refuse,
    };
    let metadata = ObjectMeta {
        name: Some(job.name.clone()),
        // No other one that has come in its place meanwhile.
        uid: found.and_then(|found| found.uid),
        annotations: Some([(SOURCE_DIGEST_ANNOTATION.to_owned(), artifact.digest.clone())].into()),
        owner_references: Some(vec![OwnerReference {
            api_version: format!("{GROUP}/v1alpha1"),
            kind: KIND.to_owned(),
            name: job.name.clone(),
            uid: job.uid.clone(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    };
    let fields = Fields {
        spec: Spec {
            profile: &artifact.document,
        },
    };
    let exists = metadata.uid.is_some();
    let apply = || apply(&api, MANAGER, conflicts, &metadata, &fields);
    let mut profile = match apply().await {
        // What others have added to it may make no sense beside this: then without it.
        Err(error) if exists && !error.is_conflict() && !error.is_not_found() => {
            let found = bounded(api.get(&job.name)).await.map_err(refused)?;
            let changes = strays(&found, &artifact.document).ok_or_else(|| refused(error))?;
            let patched = patch(&api, &job.name, MANAGER, changes).await;
            patched.map_err(refused)?;
            apply().await.map_err(refused)?
        }
        applied => applied.map_err(refused)?,
    };
    // An apply leaves what others have added.
    if let Some(changes) = strays(&profile, &artifact.document) {
        let patched = patch(&api, &job.name, MANAGER, changes).await;
        profile = patched.map_err(refused)?;
    }
    Ok(kept(&profile.metadata))
}

/// Why a profile that is there is not to be written.
fn taken(job: &Job, found: &ObjectMeta) -> Option<Failure> {
    let name = &job.name;
    if owner(found) == Some(&job.uid) {
        return None;
    }
    let message = if found.deletion_timestamp.is_some() {
        format!(
            "the SeccompProfile {name:?} that is there is being deleted and goes once no pod uses it; wait, or delete those pods"
        )
    } else {
        format!(
            "there is a SeccompProfile {name:?} that this source did not make; delete it, or give the source another name"
        )
    };
    Some(Failure::new(PROFILE_TAKEN, message))
}

fn refused(name: &str, error: &WriteError) -> Failure {
    if error.is_conflict() {
        return Failure::new(
            PROFILE_TAKEN,
            format!(
                "somebody else writes SeccompProfile {name:?} as well: {}; let them stop, or give the source another name",
                chain(error)
            ),
        );
    }
    Failure::new(
        PROFILE_REFUSED,
        format!(
            "SeccompProfile {name:?} could not be written: {}; push a profile that is taken, or change what refuses it",
            chain(error)
        ),
    )
}

/// What of a profile means something else than the artifact does, taken back. What does not change its meaning is people's own.
fn strays(profile: &SeccompProfile, document: &Value) -> Option<JsonPatch> {
    let uid = profile.metadata.uid.as_deref().unwrap_or_default();
    let clean = JsonPatch::default().test(&["metadata", "uid"], uid);
    let mut patch = clean.clone();
    let spec = &profile.spec;
    if spec.profile.as_ref() != Some(document) {
        patch = patch.add(&["spec", "profile"], document.clone());
    }
    for (field, is_set) in [
        ("base", spec.base.is_some()),
        ("allow", !spec.allow.is_empty()),
        ("log", !spec.log.is_empty()),
        ("deny", !spec.deny.is_empty()),
    ] {
        if is_set {
            patch = patch.remove(&["spec", field]);
        }
    }
    (patch != clean).then_some(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use seccomp_operator_api::SeccompSourceStatus;

    fn job() -> Job {
        Job {
            name: "nginx".into(),
            uid: "u1".into(),
            generation: 1,
            spec: Err(String::new()),
            status: SeccompSourceStatus::default(),
        }
    }

    fn found(owners: &Value, deleted: bool) -> ObjectMeta {
        let deleted = deleted.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({"ownerReferences": owners, "deletionTimestamp": deleted}))
            .unwrap()
    }

    #[test]
    fn only_a_profile_of_this_very_source_is_written() {
        let by = |kind: &str, uid: &str| json!([{"apiVersion": "x/v1", "kind": kind, "name": "nginx", "uid": uid}]);
        assert_eq!(
            taken(&job(), &found(&by("SeccompSource", "u1"), false)),
            None
        );
        for (owners, deleted, said) in [
            (json!([]), false, "that this source did not make"),
            (
                by("SeccompSource", "u0"),
                false,
                "that this source did not make",
            ),
            (
                by("SeccompPolicy", "u1"),
                false,
                "that this source did not make",
            ),
            (
                by("SeccompSource", "u0"),
                true,
                "is being deleted and goes once no pod uses it",
            ),
        ] {
            let failure = taken(&job(), &found(&owners, deleted)).unwrap();
            assert_eq!(failure.reason, PROFILE_TAKEN);
            assert!(failure.message.contains(said), "{failure:?}");
        }
    }

    #[test]
    fn what_changes_the_meaning_is_taken_back_and_the_rest_is_left() {
        let document = json!({"defaultAction": "SCMP_ACT_ERRNO"});
        let of = |spec: Value| {
            let mut profile = SeccompProfile::new("nginx", serde_json::from_value(spec).unwrap());
            profile.metadata.uid = Some("p1".into());
            strays(&profile, &document)
        };
        assert_eq!(of(json!({"profile": document})), None);
        assert_eq!(
            of(json!({"profile": document, "observe": true, "nodeSelector": {"a": "b"}})),
            None
        );
        let this = JsonPatch::default().test(&["metadata", "uid"], "p1");
        assert_eq!(
            of(json!({"profile": document, "allow": ["bpf"]})),
            Some(this.clone().remove(&["spec", "allow"]))
        );
        assert_eq!(
            of(json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO", "flags": []}})),
            Some(this.add(&["spec", "profile"], document.clone()))
        );
    }
}
