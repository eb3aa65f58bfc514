//! Writes a plan, and waits until the nodes have it.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use kube::api::{Patch, PatchParams, PostParams};
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
/// A container that starts within two seconds of a change counts as created before it.
const SETTLED: Duration = Duration::from_secs(3);
/// Every replica of the webhook hears of a policy by its watch.
const HEARD: Duration = Duration::from_secs(2);

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
    await_ready(cluster, &names, timeout).await?;
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

/// Makes an object, or changes the annotations and these fields of one that nobody else has changed since it was read.
pub async fn write<K>(
    api: &Api<K>,
    change: &Change<K>,
    spec: impl Fn(&K) -> Value,
) -> Result<(), Failure>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let (object, done) = match change {
        Change::Stands | Change::Impossible(_) => return Ok(()),
        Change::Made(object) => (object, api.create(&PostParams::default(), object).await),
        Change::Changed(object) => {
            let patch = json!({
                "metadata": {
                    "resourceVersion": object.resource_version(),
                    // Null, where there is none, takes it away.
                    "annotations": {MARK: object.annotations().get(MARK)},
                },
                "spec": spec(object),
            });
            let params = PatchParams::default();
            let patch = Patch::Merge(patch);
            (object, api.patch(&object.name_any(), &params, &patch).await)
        }
    };
    done.map(drop)
        .map_err(|error| refused::<K>(&object.name_any(), "write", &error))
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

/// Waits until all nodes have the newest content of these profiles.
pub async fn await_ready(
    cluster: &Cluster,
    names: &[String],
    timeout: Duration,
) -> Result<(), Failure> {
    let (begun, mut shown) = (Instant::now(), None);
    loop {
        let stored = profiles(cluster).await?.into_iter();
        let stored = stored.filter_map(|profile| StoredProfile::read(profile).ok());
        let late: Vec<_> = stored
            .filter(|profile| names.contains(&profile.name_any()))
            .filter_map(|profile| Some((profile.name_any(), unready(&profile)?)))
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

/// Why not all nodes have it, if they have not.
fn unready(profile: &SeccompProfile) -> Option<String> {
    let Some(status) = &profile.status else {
        return Some("the controller has not seen it yet".into());
    };
    if status.observed_generation != profile.metadata.generation {
        return Some("the controller has not seen the change yet".into());
    }
    if status.is_ready() {
        return None;
    }
    let ready = status.condition(condition::READY);
    Some(ready.map_or_else(String::new, |ready| ready.message.clone()))
}
