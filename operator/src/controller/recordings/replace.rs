//! Looks at the pods that recorders have lost, tells them, and evicts those that their recordings want replaced. `unheard` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::Shared;
use super::unheard::{Fate, Lost, PodKey, fate, is_to_go, note};
use kube_support::error::chain;
use kube_support::events::{EventRequest, Events, reference};
use kube_support::{WriteError, bounded};

/// So many pods are looked at in one turn.
const AT_ONCE: usize = 32;
/// How long a pod that runs is not looked at again. An eviction that a disruption budget forbids is tried as often.
const AGAIN: Duration = Duration::from_secs(15);

/// When pods that run were looked at.
#[derive(Debug, Default)]
pub struct Looks(BTreeMap<PodKey, Instant>);

/// Does for all of them what is due.
pub async fn tend(client: &Client, shared: &Shared, events: &Events, looks: &mut Looks) {
    let lost = shared.recordings().lost();
    let keys: BTreeSet<_> = lost.iter().map(key).collect();
    looks.0.retain(|key, _| keys.contains(key));
    shared
        .recordings()
        .fates
        .retain(|key, _| keys.contains(key));
    let is_due = |lost: &&Lost| {
        let is_over = shared.recordings().fates.get(&key(lost)) == Some(&Fate::Over);
        let looked = looks.0.get(&key(lost));
        !is_over && looked.is_none_or(|at| at.elapsed() >= AGAIN)
    };
    let due: Vec<_> = lost.iter().filter(is_due).take(AT_ONCE).collect();
    for lost in due {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &lost.namespace);
        looks.0.insert(key(lost), Instant::now());
        let pod = match bounded(pods.get_opt(&lost.pod)).await {
            Ok(pod) => pod,
            Err(error) => {
                let (namespace, pod, error) = (&lost.namespace, &lost.pod, chain(&error));
                warn!(
                    namespace,
                    pod, error, "a pod that a recorder has lost cannot be looked at"
                );
                continue;
            }
        };
        let mut now = fate(lost, pod.as_ref());
        if let Fate::Runs { .. } = now {
            let request = EventRequest {
                regarding: ObjectReference {
                    namespace: Some(lost.namespace.clone()),
                    ..reference::<Pod>(&lost.pod, &lost.uid)
                },
                warning: true,
                reason: "SeccompRecorderLost",
                action: if lost.replace { "Evict" } else { "Tell" },
                note: note(lost),
            };
            events.post_once(request, incident(lost));
        }
        if is_to_go(lost, &now) {
            let evicted = evict(&pods, lost).await;
            if let Fate::Runs {
                leaves, refusal, ..
            } = &mut now
            {
                match evicted {
                    Ok(()) => *leaves = true,
                    Err(error) => *refusal = Some(chain(&error)),
                }
            }
        }
        shared.recordings().fates.insert(key(lost), now);
        shared.recordings_changed.notify_one();
    }
}

fn key(lost: &Lost) -> PodKey {
    (lost.namespace.clone(), lost.uid.clone())
}

/// The same for the same containers, whoever leads.
fn incident(lost: &Lost) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((&lost.uid, &lost.containers))
}

/// By the eviction API, which holds disruption budgets; of this very pod, not of a next one of its name.
async fn evict(pods: &Api<Pod>, lost: &Lost) -> Result<(), WriteError> {
    // Without a version it is that of the API server: policy/v1 since Kubernetes 1.22, policy/v1beta1 before.
    let eviction = json!({
        "metadata": {"name": lost.pod, "namespace": lost.namespace},
        "deleteOptions": {"preconditions": {"uid": lost.uid}},
    });
    let params = PostParams::default();
    let call = pods.create_subresource::<_, Value>("eviction", &lost.pod, &params, &eviction);
    bounded(call).await?;
    info!(
        namespace = lost.namespace,
        pod = lost.pod,
        recording = lost.recording,
        "a pod that a recorder had lost was evicted"
    );
    Ok(())
}
