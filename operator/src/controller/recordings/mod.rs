//! Keeps recordings: the profiles that they record with, their statuses, their ends, and what comes of them. Only the leader writes.
//! `index` decides, `recorders` knows where pods can be recorded, `unheard` which pods recorders have lost, and `replace` sees to these; `images` knows what
//! recorded containers run.

mod images;
pub(super) mod index;
pub(super) mod recorders;
mod replace;
mod unheard;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{ControllerError, Shared};
use index::{Around, Step};
use kube_support::error::chain;
use kube_support::events::{Events, events};
use kube_support::leader::Role;
use kube_support::{Conflicts, WriteError, apply, apply_status, bounded};
use seccomp_operator_api::{
    GROUP, SeccompProfile, SeccompProfileSpec, SeccompRecording, SeccompRecordingReport,
};

/// Its own field manager: of profiles the statuses are another's, and before Kubernetes 1.22 a manager's spec and status are one set
/// of fields.
const MANAGER: &str = "seccomp-operator-recording";
/// A change waits this long for others to join it: counts change all the time while something is recorded.
const DEBOUNCE: Duration = Duration::from_secs(2);
/// How often to look while nothing changes: recordings end by time.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    (profiles_dir, identity): (&str, &str),
    shared: &Shared,
    role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let (events, written) = events(client.clone(), MANAGER, identity.to_owned());
    tokio::select! {
        ended = lead(client, profiles_dir, shared, &events, role) => ended,
        () = written => Ok(()),
    }
}

/// What a pod says of its containers, of whichever kind they are.
fn container_statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let lists = pod.status.iter().flat_map(|status| {
        [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ]
    });
    lists.flatten().flatten()
}

async fn lead(
    client: &Client,
    profiles_dir: &str,
    shared: &Shared,
    events: &Events,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let mut looks = replace::Looks::default();
    let mut looked = images::Looks::default();
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        // What has not been listed yet is not missing.
        if shared.ready.has_listed() {
            for step in steps(shared, profiles_dir) {
                if let Err(error) = carry_out(client, &step).await {
                    // Overtaken or gone: the watch tells of what has happened.
                    if !error.is_not_found() && !error.is_conflict() {
                        let error = chain(&error);
                        warn!(error, ?step, "what a recording needs could not be written");
                    }
                }
            }
            images::learn(client, shared, &mut looked).await;
            replace::tend(client, shared, events, &mut looks).await;
            sleep(DEBOUNCE).await;
        }
        tokio::select! {
            () = shared.recordings_changed.notified() => sleep(Duration::from_millis(200)).await,
            () = sleep(LOOK_EVERY) => {}
            changed = role.changed() => changed?,
        }
    }
}

fn steps(shared: &Shared, profiles_dir: &str) -> Vec<Step> {
    let (library, ceilings, without_effect) = {
        let view = shared.view();
        let ceilings = view.ceilings.all();
        (view.library(), ceilings, view.without_effect())
    };
    let nodes = shared.index().nodes_with_agent();
    let recordings = shared.recordings();
    let around = Around {
        library: &library,
        ceilings: &ceilings,
        profiles_dir,
        without_effect,
        lack: recordings.recorders.lack(&nodes),
        now: Timestamp::now(),
    };
    recordings.steps(&around)
}

#[derive(Debug, Serialize)]
struct SpecField<'a> {
    spec: &'a SeccompProfileSpec,
}

async fn carry_out(client: &Client, step: &Step) -> Result<(), WriteError> {
    let profiles: Api<SeccompProfile> = Api::all(client.clone());
    match step {
        Step::Record { name, spec } => {
            info!(profile = name, "a recording gets its profile");
            make_profile(&profiles, name, spec, BTreeMap::new()).await
        }
        Step::Publish {
            name,
            spec,
            annotations,
        } => {
            info!(
                profile = name,
                "a recording has ended, and its profile is made"
            );
            make_profile(&profiles, name, spec, annotations.clone()).await
        }
        Step::Forget { name, uid } => {
            let as_seen = Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            };
            bounded(profiles.delete(name, &DeleteParams::default().preconditions(as_seen))).await?;
            info!(
                profile = name,
                "the profile of a recording that is gone goes once no pod uses it"
            );
            Ok(())
        }
        Step::Discard {
            namespace,
            report,
            version,
        } => {
            let reports: Api<SeccompRecordingReport> = Api::namespaced(client.clone(), namespace);
            let as_seen = Preconditions {
                uid: None,
                resource_version: version.clone(),
            };
            let params = DeleteParams::default().preconditions(as_seen);
            bounded(reports.delete(report, &params)).await.map(drop)
        }
        Step::Own {
            namespace,
            report,
            recording,
            uid,
        } => {
            let reports: Api<SeccompRecordingReport> = Api::namespaced(client.clone(), namespace);
            let owner = OwnerReference {
                api_version: format!("{GROUP}/v1alpha1"),
                kind: "SeccompRecording".to_owned(),
                name: recording.clone(),
                uid: uid.clone(),
                ..OwnerReference::default()
            };
            let owned = serde_json::json!({ "metadata": { "ownerReferences": [owner] } });
            let patch = kube::api::Patch::Merge(owned);
            let params = kube::api::PatchParams {
                field_manager: Some(MANAGER.into()),
                ..Default::default()
            };
            bounded(reports.patch_metadata(report, &params, &patch))
                .await
                .map(drop)
        }
        Step::Status {
            namespace,
            name,
            status,
        } => {
            let recordings: Api<SeccompRecording> = Api::namespaced(client.clone(), namespace);
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            };
            apply_status(&recordings, MANAGER, &metadata, status)
                .await
                .map(drop)
        }
    }
}

/// A profile of somebody else's is not changed.
async fn make_profile(
    api: &Api<SeccompProfile>,
    name: &str,
    spec: &SeccompProfileSpec,
    annotations: BTreeMap<String, String>,
) -> Result<(), WriteError> {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    };
    apply(
        api,
        MANAGER,
        Conflicts::Refuse,
        &metadata,
        &SpecField { spec },
    )
    .await
    .map(drop)
}
