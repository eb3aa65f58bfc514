//! Writes the statuses of profiles: only the leader, only what changed, and each profile's at most once a second.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::index::Wanted;
use super::{MANAGER, Shared};
use crate::api::{GROUP, SeccompProfile};
use crate::kubernetes::leader::Role;
use crate::kubernetes::{WriteError, apply_status};
use crate::logging::chain;

/// A change waits this long for others to join it: long enough for nearby agents to answer a new profile, so that its first
/// status says that it is there.
const GATHER: Duration = Duration::from_millis(250);
/// The pause between two writes of one status.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How many statuses are worked out without a pause.
const PORTION: usize = 32;
/// How many writes are under way at once.
const CONCURRENCY: usize = 8;

/// Writes for as long as the process lives.
pub async fn run(
    client: &Client,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> anyhow::Result<()> {
    let api: Api<SeccompProfile> = Api::all(client.clone());
    // When each profile's status may be written again.
    let mut resting: HashMap<String, Instant> = HashMap::new();
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        // What another leader wrote, or did not write any more, is looked at anew.
        shared
            .index
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .all_dirty();
        shared.changed.notify_one();
        while *role.borrow() == Role::Leads {
            let due = resting.values().min().copied();
            tokio::select! {
                () = shared.changed.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                _ = role.changed() => continue,
            }
            sleep(GATHER).await;
            let now = Instant::now();
            resting.retain(|_, until| *until > now);
            let (wanted, later) = look(shared, |name| resting.contains_key(name)).await;
            // Every replica's index is fed, so what is written here comes back by the watch.
            let written = stream::iter(wanted)
                .map(|(name, wanted)| {
                    let api = &api;
                    async move { (write(api, &name, &wanted).await, name) }
                })
                .buffer_unordered(CONCURRENCY)
                .collect::<Vec<_>>()
                .await;
            let mut again = later;
            for (outcome, name) in written {
                shared.metrics.wrote(&outcome);
                let pause = match outcome {
                    Ok(()) => PAUSE,
                    Err(error) if error.is_not_found() || error.is_conflict() => continue,
                    Err(error) => {
                        warn!(
                            profile = name,
                            error = chain(&error),
                            "a profile's status could not be written"
                        );
                        again.insert(name.clone());
                        AFTER_FAILURE
                    }
                };
                resting.insert(name, Instant::now() + pause);
            }
            let mut index = shared.index.lock().unwrap_or_else(PoisonError::into_inner);
            for name in &again {
                index.mark_dirty(name);
            }
        }
    }
}

/// The statuses to write now, and the names of those that have to wait. A few at a time: others want the index meanwhile.
async fn look(
    shared: &Shared,
    rests: impl Fn(&str) -> bool,
) -> (Vec<(String, Wanted)>, BTreeSet<String>) {
    let (mut wanted, mut later) = (Vec::new(), BTreeSet::new());
    let now = Timestamp::now();
    loop {
        {
            let mut index = shared.index.lock().unwrap_or_else(PoisonError::into_inner);
            let dirty = index.take_dirty(PORTION);
            if dirty.is_empty() {
                return (wanted, later);
            }
            let (resting, due): (BTreeSet<_>, BTreeSet<_>) =
                dirty.into_iter().partition(|name| rests(name));
            wanted.extend(
                due.into_iter()
                    .filter_map(|name| index.wanted(&name, now).map(|wanted| (name, wanted))),
            );
            later.extend(resting);
        }
        tokio::task::yield_now().await;
    }
}

async fn write(api: &Api<SeccompProfile>, name: &str, wanted: &Wanted) -> Result<(), WriteError> {
    debug!(profile = name, "a profile's status is written");
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "SeccompProfile",
        // A profile that has changed meanwhile, or was made again under the same name, must not get this one's status.
        "metadata": { "name": name, "resourceVersion": wanted.version.to_string() },
        "status": wanted.status,
    });
    apply_status(api, name, MANAGER, &object).await.map(drop)
}
