//! Writes the statuses of profiles and the finalizer that holds them: only the leader, only what changed, and each no more often than
//! its [`Pace`] says.

mod pace;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::finalizer;
use super::index::ProfileWrite;
use super::metrics::Metrics;
use super::{ControllerError, MANAGER, Shared};
use kube_support::error::chain;
use kube_support::leader::Role;
use kube_support::{WriteError, apply_status, patch_metadata};
use pace::Pace;
use seccomp_operator_api::SeccompProfile;

/// A change waits this long for others to join it: long enough for nearby agents to answer a new profile.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How many statuses are worked out without a pause.
const PORTION: usize = 32;
/// How many writes are under way at once.
const CONCURRENCY: usize = 8;

/// Writes for as long as the process lives.
pub async fn run(
    client: &Client,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let api: Api<SeccompProfile> = Api::all(client.clone());
    let mut paces: HashMap<String, Pace> = HashMap::new();
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        // What another leader wrote, or did not write any more, is looked at anew.
        shared.index().all_dirty();
        shared.changed.notify_one();
        while *role.borrow() == Role::Leads {
            let wakes = shared.index().wakes();
            let wakes = wakes.map(|at| shared.started + at);
            let due = paces.values().filter_map(Pace::due).chain(wakes).min();
            tokio::select! {
                () = shared.changed.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                _ = role.changed() => continue,
            }
            sleep(DEBOUNCE).await;
            paces.retain(|_, pace| !pace.is_over(Instant::now()));
            let (wanted, later) = look(shared, &mut paces).await;
            // Every replica's index is fed, so what is written here comes back by the watch.
            let written = stream::iter(wanted)
                .map(|(name, wanted, waits)| {
                    // A finalizer alone says nothing of the nodes.
                    let waiting = wanted
                        .status
                        .as_ref()
                        .and_then(|status| status.nodes.as_ref());
                    let waits =
                        waiting.map(|nodes| if waits { nodes.outstanding().max(1) } else { 0 });
                    let api = &api;
                    let metrics = &shared.metrics;
                    async move { (write(api, &name, wanted, metrics).await, name, waits) }
                })
                .buffer_unordered(CONCURRENCY)
                .collect::<Vec<_>>()
                .await;
            let mut again = later;
            for (outcome, name, waits) in written {
                let now = Instant::now();
                let pace = paces.entry(name.clone()).or_default();
                match outcome {
                    Ok(()) => {
                        if let Some(waits) = waits {
                            pace.written(waits, now);
                        }
                    }
                    // Somebody else was faster, or this process's own last write has not come back yet: what was written comes by the
                    // watch, and is looked at after a moment.
                    Err(error) if error.is_not_found() || error.is_conflict() => {
                        pace.outrun(now);
                        again.insert(name);
                    }
                    Err(error) => {
                        warn!(
                            profile = name,
                            error = chain(&error),
                            "a profile's status or finalizer could not be written"
                        );
                        pace.failed(now);
                        again.insert(name);
                    }
                }
            }
            let mut index = shared.index();
            for name in &again {
                index.mark_dirty(name);
            }
        }
    }
}

/// The statuses to write now, each with whether nodes are waited for, and the names of those that have to wait. A few at a time: others want the index meanwhile.
async fn look(
    shared: &Shared,
    paces: &mut HashMap<String, Pace>,
) -> (Vec<(String, ProfileWrite, bool)>, BTreeSet<String>) {
    let (mut wanted, mut later) = (Vec::new(), BTreeSet::new());
    let now = Timestamp::now();
    loop {
        {
            let mut index = shared.index();
            index.tick(shared.started.elapsed());
            let dirty = index.take_dirty(PORTION);
            if dirty.is_empty() {
                return (wanted, later);
            }
            for name in dirty {
                let pace = paces.entry(name.clone()).or_default();
                let waits = index.waits(&name);
                if !pace.may_write(waits, Instant::now()) {
                    if let Some(write) = index.wanted_finalizer(&name) {
                        wanted.push((name.clone(), write, true));
                    }
                    later.insert(name);
                } else if let Some(write) = index.wanted(&name, now) {
                    wanted.push((name, write, waits));
                } else {
                    pace.unchanged();
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn write(
    api: &Api<SeccompProfile>,
    name: &str,
    wanted: ProfileWrite,
    metrics: &Metrics,
) -> Result<(), WriteError> {
    let mut version = wanted.version.to_string();
    if let Some((step, finalizers)) = &wanted.finalizer {
        debug!(profile = name, ?step, "a profile's finalizer is written");
        let patch = finalizer::patch(*step, &version, finalizers);
        let written = patch_metadata(api, name, MANAGER, patch).await;
        metrics.held(written.as_ref().err());
        let object = written?;
        if object.metadata.deletion_timestamp.is_some() && object.finalizers().is_empty() {
            return Ok(());
        }
        // Nobody else was in between.
        version = object.resource_version().unwrap_or_default();
    }
    let Some(status) = wanted.status else {
        return Ok(());
    };
    debug!(profile = name, "a profile's status is written");
    // A profile that has changed meanwhile, or was made again under the same name, must not get this one's status.
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        resource_version: Some(version),
        ..ObjectMeta::default()
    };
    let written = apply_status(api, MANAGER, &metadata, &status).await;
    metrics.wrote(written.as_ref().err());
    written.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::controller::index::tests::cluster;
    use seccomp_operator_api::{GROUP, NodeFailure, NodeUse, SeccompNode, SeccompNodeReport};

    /// An API server that takes every write, and counts those of a status.
    fn counting(writes: &Arc<AtomicUsize>) -> Client {
        let writes = writes.clone();
        let answer = move |request: Request<Body>| {
            let writes = writes.clone();
            async move {
                if request.uri().path().ends_with("/a/status") {
                    writes.fetch_add(1, Ordering::Relaxed);
                }
                let object = json!({
                    "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "SeccompProfile",
                    "metadata": { "name": "a" }, "spec": {},
                });
                let body = Body::from(object.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(Response::new(body))
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_changes_all_the_time_is_written_once_a_second() {
        let writes = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared::around(cluster()));
        let (_elected, role) = watch::channel(Role::Leads);
        let (client, task) = (counting(&writes), shared.clone());
        tokio::spawn(async move { run(&client, &task, role).await });
        let mut counts = Vec::new();
        for n in 0..100 {
            let failure = NodeFailure {
                profile: "a".into(),
                message: n.to_string(),
                ..NodeFailure::default()
            };
            let report = SeccompNodeReport {
                applied_resource_version: "10".into(),
                failures: vec![failure],
                ..SeccompNodeReport::default()
            };
            for node in ["n1", "n2"] {
                let report = SeccompNode::new(node, report.clone());
                shared.index.lock().unwrap().report(node, &report);
            }
            shared.changed.notify_one();
            sleep(Duration::from_millis(100)).await;
            counts.push(writes.load(Ordering::Relaxed));
        }
        // Ten seconds of changes.
        assert!((7..=11).contains(&counts[99]), "{counts:?}");
        sleep(Duration::from_secs(3)).await;
        let settled = writes.load(Ordering::Relaxed);
        assert!(
            settled <= counts[99] + 1,
            "the last change and nothing else: {settled}"
        );
        sleep(Duration::from_mins(1)).await;
        assert_eq!(writes.load(Ordering::Relaxed), settled);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_last_node_says_is_written_at_once() {
        let writes = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared::around(cluster()));
        let (_elected, role) = watch::channel(Role::Leads);
        let (client, task) = (counting(&writes), shared.clone());
        tokio::spawn(async move { run(&client, &task, role).await });
        let fields = SeccompNodeReport {
            applied_resource_version: "10".into(),
            ..SeccompNodeReport::default()
        };
        sleep(Duration::from_millis(50)).await;
        for (node, pause, written) in [("n1", 500, 0), ("n2", 150, 1)] {
            let report = SeccompNode::new(node, fields.clone());
            shared.index.lock().unwrap().report(node, &report);
            shared.changed.notify_one();
            sleep(Duration::from_millis(pause)).await;
            assert_eq!(writes.load(Ordering::Relaxed), written, "{node}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_finalizer_that_is_written_holds_no_status_back() {
        let writes = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared::around(cluster()));
        let (_elected, role) = watch::channel(Role::Leads);
        let (client, task) = (counting(&writes), shared.clone());
        tokio::spawn(async move { run(&client, &task, role).await });
        // The other node is waited for, and the profile is held at once.
        let report = SeccompNodeReport {
            applied_resource_version: "10".into(),
            in_use: vec![NodeUse {
                profile: "a".into(),
                pods: 1,
                ..NodeUse::default()
            }],
            ..SeccompNodeReport::default()
        };
        let report = SeccompNode::new("n1", report);
        shared.index.lock().unwrap().report("n1", &report);
        shared.changed.notify_one();
        sleep(Duration::from_millis(500)).await;
        assert_eq!(writes.load(Ordering::Relaxed), 0);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(writes.load(Ordering::Relaxed), 1);
    }
}
