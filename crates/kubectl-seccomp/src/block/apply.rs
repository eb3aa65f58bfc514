//! Writes a plan, and waits until the nodes have it.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use kube::api::{PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::plan::{Change, MARK, Plan};
use crate::Failure;
use crate::ask::show;
use crate::cluster::Cluster;
use crate::status::profiles;
use kube_support::error::chain;
use seccomp_operator_api::{SeccompPolicy, SeccompProfile, StoredProfile, condition};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a change is tried while only statuses come in between.
const ATTEMPTS: usize = 10;
/// A container that starts within two seconds of a change counts as created before it.
const SETTLED: Duration = Duration::from_secs(3);
/// Every replica of the webhook hears of a policy by its watch.
pub const HEARD: Duration = Duration::from_secs(2);

/// The profiles first, and the policy once all nodes have them: no pod has to wait for a file.
pub async fn apply(cluster: &Cluster, plan: &Plan, timeout: Duration) -> Result<(), Failure> {
    let api: Api<SeccompProfile> = Api::all(cluster.client.clone());
    for change in plan.profiles.values() {
        write(&api, change, deny).await?;
    }
    let impossible = |change: &Change<_>| matches!(change, Change::Impossible(_));
    let names = plan
        .profiles
        .iter()
        .filter(|(_, change)| !impossible(change));
    let names: Vec<_> = names.map(|(name, _)| name.clone()).collect();
    let own = plan.policy.as_ref().map(|(own, _)| own.as_str());
    await_ready(cluster, &names, own, timeout).await?;
    if plan.changes() {
        tokio::time::sleep(SETTLED).await;
    }
    if let Some((_, change)) = &plan.policy {
        let api: Api<SeccompPolicy> = Api::all(cluster.client.clone());
        write(&api, change, |policy| {
            json!({ "priority": policy.spec.priority, "overrides": policy.spec.overrides })
        })
        .await?;
        if change.object().is_some() {
            tokio::time::sleep(HEARD).await;
        }
    }
    Ok(())
}

/// What a changed profile says of `deny`; a list of nothing is none.
pub fn deny(profile: &SeccompProfile) -> Value {
    let deny = &profile.spec.deny;
    json!({ "deny": (!deny.is_empty()).then_some(deny) })
}

/// Makes an object, or changes the mark and these fields of one that nobody else has changed since it was read.
pub async fn write<K>(
    api: &Api<K>,
    change: &Change<K>,
    spec: impl Fn(&K) -> Value,
) -> Result<(), Failure>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    match change {
        Change::Stands | Change::Impossible(_) => Ok(()),
        Change::Made(object) => {
            let made = api.create(&PostParams::default(), object).await;
            made.map(drop)
                .map_err(|error| refused::<K>(&object.name_any(), "create", &error))
        }
        Change::Changed(object) => {
            let name = object.name_any();
            let mut version = object.resource_version();
            let mut attempt = 1;
            loop {
                let patch = json!({
                    "metadata": {
                        "resourceVersion": version,
                        // Null, where there is none, takes it away.
                        "annotations": {MARK: object.annotations().get(MARK)},
                    },
                    "spec": spec(object),
                });
                let params = PatchParams::default();
                let Err(error) = api.patch(&name, &params, &Patch::Merge(patch)).await else {
                    return Ok(());
                };
                let now = api.get_metadata_opt(&name).await.ok().flatten();
                // The controller writes statuses all the time; what the object asks for is another matter.
                let now = now.filter(|now| attempt < ATTEMPTS && is_as_read(object, now, &error));
                match now {
                    Some(now) => version = now.resource_version(),
                    None => return Err(refused::<K>(&name, "patch", &error)),
                }
                attempt += 1;
            }
        }
    }
}

/// Whether what the object asks for is as it was when it was read, so that only a status was in the way of a change. The generation tells it
/// alone: of the annotations, a change carries its own mark already, and touches no other.
fn is_as_read<K: kube::Resource>(
    changed: &K,
    now: &PartialObjectMeta<K>,
    error: &kube::Error,
) -> bool {
    let is_conflict = matches!(error, kube::Error::Api(status) if status.code == 409);
    is_conflict && changed.meta().generation == now.metadata.generation
}

/// Why something was not done to an object.
pub fn refused<K: kube::Resource<DynamicType = ()>>(
    name: &str,
    verb: &str,
    error: &kube::Error,
) -> Failure {
    let kind = K::kind(&());
    match error {
        kube::Error::Api(status) if status.code == 409 => Failure::Other(anyhow!(
            "somebody else has changed {kind} {name:?} meanwhile; run this again"
        )),
        kube::Error::Api(status) if status.code == 403 => Failure::Usage(format!(
            "you may not {verb} {kind} {name:?}: {}",
            status.message
        )),
        error => Failure::Other(anyhow!("cannot {verb} {kind} {name:?}: {}", chain(error))),
    }
}

/// Waits until all nodes have the newest content of these profiles, or have failed to write it. New pods get the block's `own` profile,
/// and would not start where it is missing.
pub async fn await_ready(
    cluster: &Cluster,
    names: &[String],
    own: Option<&str>,
    timeout: Duration,
) -> Result<(), Failure> {
    let (begun, mut shown) = (Instant::now(), None);
    loop {
        let stored = profiles(cluster).await?.into_iter();
        let stored = stored.filter_map(|profile| StoredProfile::read(profile).ok());
        let late: Vec<_> = stored
            .filter(|profile| names.contains(&profile.name_any()))
            .filter_map(|profile| {
                let is_own = own == profile.metadata.name.as_deref();
                Some((profile.name_any(), unready(&profile, is_own)?))
            })
            .collect();
        let Some((name, why)) = late.first() else {
            return Ok(());
        };
        if begun.elapsed() > timeout {
            return Err(Failure::Other(anyhow!(
                "SeccompProfile {name:?} is not on all nodes after {} s (--timeout): {why}; the profiles are written, no policy is made, and \
                 nothing is restarted: run this again once the nodes have it",
                timeout.as_secs()
            )));
        }
        let done = names.len() - late.len();
        show(
            &format!("{done} of {} profiles are on all nodes", names.len()),
            &mut shown,
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Why not all nodes have dealt with it, if they have not; with `everywhere`, why not all have it.
fn unready(profile: &SeccompProfile, everywhere: bool) -> Option<String> {
    let Some(status) = &profile.status else {
        return Some("the controller has not seen it yet".into());
    };
    if status.observed_generation != profile.metadata.generation {
        return Some("the controller has not seen the change yet".into());
    }
    let is_settled = status.nodes.as_ref().is_some_and(|nodes| {
        nodes.failed > 0 && nodes.ready.saturating_add(nodes.failed) >= nodes.desired
    });
    if status.is_ready() || (is_settled && !everywhere) {
        return None;
    }
    let ready = status.condition(condition::READY);
    Some(ready.map_or_else(String::new, |ready| ready.message.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_came_in_between_is_no_change_of_somebody_else() {
        let profile = |generation: i64, annotations: Value| -> SeccompProfile {
            serde_json::from_value(json!({
                "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
                "metadata": {"name": "web", "generation": generation, "annotations": annotations}, "spec": {"base": "audit"},
            }))
            .unwrap()
        };
        let error = |code: u16| {
            let status: kube::core::Status = serde_json::from_value(json!({"code": code})).unwrap();
            kube::Error::Api(Box::new(status))
        };
        let mark = json!({MARK: "[\"keyctl\"]"});
        // A block brings its mark along, and its end takes it away.
        for (read, changed) in [(json!({}), &mark), (mark.clone(), &json!({}))] {
            let changed = profile(2, changed.clone());
            let now = |generation| -> PartialObjectMeta<SeccompProfile> {
                let metadata = profile(generation, read.clone()).metadata;
                serde_json::from_value(json!({ "metadata": metadata })).unwrap()
            };
            assert!(is_as_read(&changed, &now(2), &error(409)));
            assert!(!is_as_read(&changed, &now(3), &error(409)));
            assert!(!is_as_read(&changed, &now(2), &error(422)));
        }
    }

    #[test]
    fn a_node_that_failed_keeps_nobody_waiting_but_for_the_profile_that_new_pods_get() {
        let profile = |generation: i64, ready: i32, failed: i32| -> SeccompProfile {
            let is_ready = if ready == 3 { "True" } else { "False" };
            serde_json::from_value(json!({
                "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "web", "generation": 2},
                "spec": {"base": "audit"}, "status": {
                    "observedGeneration": generation, "nodes": {"desired": 3, "ready": ready, "failed": failed, "summary": ""},
                    "conditions": [{"type": "Ready", "status": is_ready, "reason": "R", "message": "node-a lacks it",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                },
            }))
            .unwrap()
        };
        for (generation, ready, failed, waits, own_waits) in [
            (2, 3, 0, false, false),
            (1, 3, 0, true, true),
            (2, 2, 0, true, true),
            (2, 2, 1, false, true),
        ] {
            let profile = profile(generation, ready, failed);
            assert_eq!(unready(&profile, false).is_some(), waits);
            assert_eq!(unready(&profile, true).is_some(), own_waits);
        }
    }
}
