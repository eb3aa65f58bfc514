//! Keeps the SeccompProfiles of policies on trial. Only the leader writes; `index` decides.

pub(super) mod index;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{ControllerError, Shared};
use index::Step;
use kube_support::error::chain;
use kube_support::leader::Role;
use kube_support::{Conflicts, WriteError, apply, bounded};
use seccomp_operator_api::{GROUP, POLICY_KIND, SeccompProfile, SeccompProfileSpec};

/// Its own field manager: what it does not apply any more goes, and nothing of others.
const MANAGER: &str = "seccomp-operator-policy-trial";
/// A change waits this long for others to join it.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How often to look while nothing changes: after a write that failed, most of all.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        // What has not been listed yet is not missing.
        if shared.ready.has_listed() {
            for step in steps(shared) {
                if let Err(error) = carry_out(client, &step).await {
                    // Overtaken or gone: the watch tells of what has happened.
                    if !error.is_not_found() && !error.is_conflict() {
                        let error = chain(&error);
                        warn!(
                            error,
                            ?step,
                            "what a policy on trial needs could not be written"
                        );
                    }
                }
            }
            sleep(DEBOUNCE).await;
        }
        tokio::select! {
            () = shared.policy_trials_changed.notified() => sleep(DEBOUNCE).await,
            () = sleep(LOOK_EVERY) => {}
            changed = role.changed() => changed?,
        }
    }
}

fn steps(shared: &Shared) -> Vec<Step> {
    let (library, without_effect) = {
        let view = shared.view();
        (view.library(), view.without_effect())
    };
    let wanted = shared.policy_trials().wanted(&library);
    let wanted = wanted.assessed(&library);
    shared.policy_trials().found(&wanted);
    let mut steps = wanted.steps;
    // Nobody would get the file.
    if without_effect.is_some() {
        steps.retain(|step| matches!(step, Step::Forget { .. }));
    }
    shared.policies_changed.notify_one();
    steps
}

#[derive(Debug, Serialize)]
struct SpecField<'a> {
    spec: &'a SeccompProfileSpec,
}

async fn carry_out(client: &Client, step: &Step) -> Result<(), WriteError> {
    let profiles: Api<SeccompProfile> = Api::all(client.clone());
    match step {
        Step::Keep {
            profile,
            policy,
            uid,
            spec,
        } => {
            info!(profile, policy, "a policy on trial gets its profile");
            let owner = OwnerReference {
                api_version: format!("{GROUP}/v1alpha1"),
                kind: POLICY_KIND.to_owned(),
                name: policy.clone(),
                uid: uid.clone(),
                ..OwnerReference::default()
            };
            let metadata = ObjectMeta {
                name: Some(profile.clone()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            };
            let fields = SpecField { spec };
            apply(&profiles, MANAGER, Conflicts::Refuse, &metadata, &fields)
                .await
                .map(drop)
        }
        Step::Forget { profile, uid } => {
            let as_seen = Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            };
            let params = DeleteParams::default().preconditions(as_seen);
            bounded(profiles.delete(profile, &params)).await?;
            info!(profile, "the profile of a policy that is not on trial goes");
            Ok(())
        }
    }
}
