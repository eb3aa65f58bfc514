//! The node side: one agent per node keeps the node's profile files as the SeccompProfiles say.
//!
//! `state` decides, `store` writes files, `publish` tells the cluster; `usage` knows what pods use, `drift` and `incident` what
//! others do to the files. This file ties them together. The agent writes nothing but its files, its own SeccompNode, and
//! Events on profiles.

mod content;
#[cfg(test)]
mod faults;
mod folder_watch;
mod ledger;
pub(crate) mod metrics;
mod node;
mod publish;
mod render;
mod repair_throttle;
mod state;
mod store;
mod usage;

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::future::OptionFuture;
use futures::stream::{self, Stream};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch as channel;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use crate::{health, shutdown};
use folder_watch::{FolderWatch, Touched};
use kube_support::error::chain;
use kube_support::events::{EventRequest, Events, events, reference};
use kube_support::{
    Backoff, Requests, WatchEvent, Watched, in_cluster_client, resource_version, watch, watch_as,
};
use metrics::Metrics;
use repair_throttle::{Announce, RepairThrottle};
use seccomp_operator_api::{ADOPT_ANNOTATION, ProfileName, SeccompProfile, StoredProfile, define};
use seccomp_profile::{Library, Target};
use state::{Seen, State};
use store::{Done, Edit, Store, StoreError};
use usage::{StoredPod, Usage, UsingPod};

/// Everything is compared with the disk this often, whether or not anything was seen to change.
const RESYNC: Duration = Duration::from_mins(5);
/// What failed is tried again after the first of these, then ever more slowly, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The pause after a change of the folder was looked at: changes come in swarms, the agent's own among them, and must not keep it
/// from its other work.
const DRIFT_PAUSE: Duration = Duration::from_millis(10);
/// So many profiles are asked for at once: each can have a megabyte.
const PAGE: u32 = 10;
/// So many pods are asked for at once: each has some kilobytes.
const POD_PAGE: u32 = 50;
/// At most so many changes are taken from the watch before the disk is brought level with them.
const BATCH: usize = 512;
/// So often the connection gets its turn to bring more of what the API server has sent already: each event comes alone from
/// there, and the first turn may only see that there is something to read.
const TURNS: usize = 3;

/// Keeps this node's profile files as the SeccompProfiles say.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// This node's name
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// Where kubelet's seccomp folder (<kubelet root>/seccomp) is mounted
    #[arg(long, env = "SECCOMP_ROOT", default_value = "/var/lib/kubelet/seccomp")]
    seccomp_root: PathBuf,
    /// The folder below it that the profiles go to
    #[arg(long, env = "PROFILES_DIR", default_value = "profiles", value_parser = crate::args::profiles_dir)]
    profiles_dir: String,
    /// Port for /livez, /readyz and /metrics
    #[arg(long, env = "HEALTH_PORT", default_value_t = 8082)]
    health_port: u16,
}

/// Runs until it is told to stop.
pub async fn run(args: AgentArgs) -> anyhow::Result<()> {
    let mut registry = crate::metrics::registry();
    let metrics = Metrics::new(&mut registry);
    let client = in_cluster_client(&Requests::new(
        registry.sub_registry_with_prefix(crate::metrics::PREFIX),
    ))
    .context("cannot find out how to reach the API server; the agent has to run as a pod")?;
    let store = Store::new(&args.seccomp_root, args.profiles_dir.as_ref());
    info!(node = args.node_name, root = %args.seccomp_root.display(), "the agent starts");

    let level = Arc::new(AtomicBool::new(false));
    let ready = {
        let level = level.clone();
        Arc::new(move || {
            if level.load(Ordering::Relaxed) {
                Ok(())
            } else {
                Err("the node is not level with the SeccompProfiles yet".to_owned())
            }
        })
    };
    let (reports, published) = channel::channel(None);
    let (events, written) = events(client.clone(), publish::MANAGER, args.node_name.clone());
    let agent = Agent {
        client: client.clone(),
        node: args.node_name.clone(),
        events,
        incidents: RepairThrottle::default(),
        usage: Usage::new(&args.profiles_dir),
        drift: FolderWatch::new()
            .inspect_err(|error| warn!(%error, "the profiles folder cannot be watched; changes to it are only found every {RESYNC:?}"))
            .ok(),
        state: State::default(),
        library: Library::default(),
        store: Some(store),
        level,
        target: node::target()?,
        reports,
        metrics: metrics.clone(),
    };
    let registry = Arc::new(registry);
    tokio::select! {
        ended = agent.run() => ended,
        () = written => anyhow::bail!("the writer of Events ended"),
        ended = health::serve(args.health_port, ready, registry) => Ok(ended?),
        () = publish::publish(client, args.node_name, published, metrics) => anyhow::bail!("the publisher ended"),
        () = shutdown::requested() => {
            info!("the agent stops; the files stay");
            Ok(())
        }
    }
}

/// What a watch tells that the API server has sent already; none if there is nothing.
async fn sent<T>(changes: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
    for _ in 0..TURNS {
        if let Some(change) = changes.next().now_or_never() {
            return change;
        }
        yield_now().await;
    }
    None
}

/// What a watch that may not have begun yet tells.
type Changes<K> = Pin<Box<dyn Stream<Item = WatchEvent<K>> + Send>>;

struct Agent {
    client: Client,
    /// This node's name.
    node: String,
    events: Events,
    /// None where the kernel has no inotify instance to spare.
    drift: Option<FolderWatch>,
    incidents: RepairThrottle,
    state: State,
    usage: Usage,
    library: Library,
    /// Lent to a blocking task while it works.
    store: Option<Store>,
    level: Arc<AtomicBool>,
    target: Target,
    reports: channel::Sender<Option<state::Report>>,
    metrics: Metrics,
}

impl Agent {
    async fn run(mut self) -> anyhow::Result<()> {
        let mut changes = pin!(watch_as(
            Api::all(self.client.clone()),
            watcher::Config::default().page_size(PAGE),
            StoredProfile::read
        ));
        let mut pods = pin!(watch_as(
            Api::all(self.client.clone()),
            watcher::Config::default()
                .fields(&format!("spec.nodeName={}", self.node))
                .page_size(POD_PAGE),
            StoredPod::read
        ));
        let mut labels: Option<Changes<PartialObjectMeta<Node>>> = None;
        let mut resync = interval(RESYNC);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut retry_at: Option<Instant> = None;
        let mut drift_rests: Option<Instant> = None;
        loop {
            let drift_at = self.incidents.wakes();
            // When this process learnt of what it is about to do.
            let learnt = tokio::select! {
                change = changes.next() => {
                    let learnt = Instant::now();
                    self.observe(change.context("the watch of SeccompProfiles ended")?);
                    for _ in 1..BATCH {
                        let Some(change) = sent(&mut changes).await else { break };
                        self.observe(change);
                    }
                    learnt
                }
                change = pods.next() => {
                    let learnt = Instant::now();
                    self.observe_pod(change.context("the watch of pods ended")?);
                    for _ in 1..BATCH {
                        let Some(change) = sent(&mut pods).await else { break };
                        self.observe_pod(change);
                    }
                    learnt
                }
                Some(Some(change)) = OptionFuture::from(labels.as_mut().map(|labels| labels.next())) => {
                    let learnt = Instant::now();
                    if let WatchEvent::Exists(node) = change {
                        let metadata = match node {
                            Ok(node) => node.metadata,
                            Err(unreadable) => unreadable.metadata,
                        };
                        self.state.labels(metadata.labels.unwrap_or_default());
                    }
                    learnt
                }
                Some(touched) = OptionFuture::from(self.drift.as_mut().map(FolderWatch::touched)), if drift_rests.is_none() => {
                    let learnt = Instant::now();
                    self.touched(touched.context("the watch of the profiles folder failed")?);
                    drift_rests = Some(learnt + DRIFT_PAUSE);
                    learnt
                }
                () = sleep_until(drift_rests.unwrap_or_else(Instant::now)), if drift_rests.is_some() => {
                    drift_rests = None;
                    continue;
                }
                learnt = resync.tick() => {
                    self.state.resync();
                    learnt
                }
                () = sleep_until(drift_at.unwrap_or_else(Instant::now)), if drift_at.is_some() => {
                    let learnt = Instant::now();
                    for name in self.incidents.due(learnt) {
                        self.state.touched(&name);
                    }
                    learnt
                }
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {
                    retry_at = None;
                    self.state.retry();
                    Instant::now()
                }
            };
            if labels.is_none() && self.state.needs_labels() {
                labels = Some(self.watch_labels());
            }
            self.settle(learnt).await?;
            if !self.state.has_failures() {
                backoff.succeed();
                retry_at = None;
            } else if retry_at.is_none() {
                retry_at = Some(Instant::now() + backoff.fail());
            }
        }
    }

    /// The Node that this agent is on: only its metadata, and only once a profile asks for labels.
    fn watch_labels(&self) -> Changes<PartialObjectMeta<Node>> {
        let api: Api<DeserializeGuard<PartialObjectMeta<Node>>> = Api::all(self.client.clone());
        let itself = format!("metadata.name={}", self.node);
        let changes = watch(api, watcher::Config::default().fields(&itself));
        // Should it end, which it does not, the labels stay as they were last.
        changes.chain(stream::pending()).boxed()
    }

    fn touched(&mut self, touched: Touched) {
        let names = match touched {
            Touched::Everything => return self.state.resync(),
            Touched::Files(names) => names,
        };
        let files = names.iter().filter_map(|name| name.strip_suffix(".json"));
        for name in files.filter_map(|name| ProfileName::parse(name).ok()) {
            if self.incidents.touched(&name, Instant::now()) {
                self.state.touched(&name);
            }
        }
    }

    fn observe_pod(&mut self, change: WatchEvent<UsingPod>) {
        match change {
            WatchEvent::ListBegins => self.usage.list_begins(),
            WatchEvent::ListEnds => self.usage.list_ends(),
            WatchEvent::Exists(Ok(pod)) => self.usage.pod(&pod),
            WatchEvent::Exists(Err(unreadable)) => self.usage.unreadable(&unreadable.metadata),
            WatchEvent::Deleted(Ok(pod)) => self.usage.gone(&pod.metadata),
            WatchEvent::Deleted(Err(unreadable)) => self.usage.gone(&unreadable.metadata),
        }
    }

    fn observe(&mut self, change: WatchEvent<SeccompProfile>) {
        match change {
            WatchEvent::ListBegins => self.state.list_begins(),
            WatchEvent::ListEnds => {
                for gone in self.state.list_ends() {
                    self.forget(&gone);
                }
            }
            WatchEvent::Exists(profile) => {
                if let Some((name, seen)) = identify(&profile)
                    && self.state.exists(&name, seen)
                {
                    self.library.define(name.as_str(), define(&profile));
                    self.state.stale(self.library.dependants(name.as_str()));
                }
            }
            WatchEvent::Deleted(profile) => {
                if let Some((name, _)) = identify(&profile) {
                    self.state.deleted(&name);
                    self.forget(&name);
                }
            }
        }
    }

    /// There is no such profile any more; those that stand on it have to say so.
    fn forget(&mut self, name: &ProfileName) {
        self.library.remove(name.as_str());
        self.state.stale(self.library.dependants(name.as_str()));
    }

    /// Works out what the files of changed profiles should hold. A few at a time: others want the thread meanwhile.
    async fn render(&mut self) {
        while let Some(name) = self.state.next_stale() {
            let content = render::render(&self.library, name.as_str(), &self.target);
            self.state.rendered(&name, content);
            yield_now().await;
        }
    }

    /// Brings the disk level with the state, and says so. `learnt`: when this process learnt of what is due.
    async fn settle(&mut self, learnt: Instant) -> anyhow::Result<()> {
        self.render().await;
        let Some(store) = &self.store else {
            anyhow::bail!("the file store was lost")
        };
        // What is in use decides what may be removed, and what was written decides who is outdated.
        let used = |usage: &Usage, store: &Store| {
            let known = usage.is_known();
            known.then(|| usage.by_profile(|name| store.changed(name)))
        };
        if let Some(used) = used(&self.usage, store) {
            self.state.used(used);
        }
        let edits = self.state.edits(&store.owned());
        if !edits.is_empty() {
            let Some(mut store) = self.store.take() else {
                anyhow::bail!("the file store was lost")
            };
            store.clock_was(self.usage.latest_start());
            // A disk that hangs must not hang the health checks.
            let (store, edits, outcomes) = tokio::task::spawn_blocking(move || {
                let outcomes = store.apply(&edits);
                (store, edits, outcomes)
            })
            .await
            .context("the file store failed")?;
            self.store = Some(store);
            for (edit, outcome) in edits.iter().zip(&outcomes) {
                log(edit, outcome);
                self.metrics.edited(outcome, learnt.elapsed());
            }
            if let Some(Err(gone @ StoreError::Gone)) = outcomes.first() {
                // A new start mounts the folder that has the name now.
                return Err(gone.clone().into());
            }
            for profile in self.state.record(&edits, &outcomes) {
                self.metrics.repaired();
                self.repaired(profile);
            }
            if let Some(used) = self
                .store
                .as_ref()
                .and_then(|store| used(&self.usage, store))
            {
                self.state.used(used);
            }
        }
        if let (Some(drift), Some(store)) = (&mut self.drift, &mut self.store)
            && !drift.is_watching()
            && let Ok(folder) = store.open()
            && let Err(error) = drift.watch(folder)
        {
            warn!(%error, "the profiles folder cannot be watched; changes to it are only found every {RESYNC:?}");
            self.drift = None;
        }
        let level = self.state.is_level();
        self.level.store(level, Ordering::Relaxed);
        let owned = self.store.as_ref().map(Store::owned).unwrap_or_default();
        let report = self.state.report(&owned);
        let (wanted, ready) = self.state.counts();
        self.metrics.stands(wanted, ready, level, report.as_ref());
        self.reports.send_if_modified(|last| {
            let changed = *last != report;
            *last = report;
            changed
        });
        Ok(())
    }
}

impl Agent {
    /// A file that had been right had to be put right: says so once per incident.
    fn repaired(&mut self, profile: &ProfileName) {
        let telling = self.incidents.repaired(profile, Instant::now());
        let repairs = self.incidents.repairs(profile);
        // The first ones, and then ever fewer: a storm must not fill the log either.
        if repairs.is_power_of_two() {
            warn!(
                profile = profile.as_str(),
                repairs, "somebody else changed the profile's file; it was put right"
            );
        }
        if telling == Announce::Begins
            && let Some(uid) = self.state.uid(profile)
        {
            let note = format!(
                "somebody else changed or removed {} on node {}; it was put right, and will be as often as that happens again",
                profile.file_name(),
                self.node
            );
            self.events.post(EventRequest {
                regarding: reference::<SeccompProfile>(profile.as_str(), uid),
                warning: true,
                reason: "FileChanged",
                action: "RestoreFile",
                note,
            });
        }
    }
}

fn log(edit: &Edit, outcome: &Result<Done, StoreError>) {
    let profile = edit.name().as_str();
    match outcome {
        Ok(Done::Unchanged) => {}
        Ok(Done::Written) => info!(profile, "the profile's file was written"),
        Ok(Done::Adopted) => info!(
            profile,
            "a file with the profile's content was there and is the operator's from now on"
        ),
        Ok(Done::TakenOver) => warn!(
            profile,
            "somebody else's file was overwritten, as the profile's annotation asks, and is the operator's from now on"
        ),
        Ok(Done::Removed) => info!(profile, "the profile's file was removed"),
        Err(error) => warn!(
            profile,
            error = chain(error),
            "the profile's file is not as it should be"
        ),
    }
}

/// The name, and what tells one form of the object from another. A name that cannot be a file is not this agent's business:
/// admission refuses it, and the controller says so in the profile's status.
fn identify(profile: &Watched<SeccompProfile>) -> Option<(ProfileName, Seen)> {
    let metadata = match profile {
        Ok(profile) => &profile.metadata,
        Err(unreadable) => &unreadable.metadata,
    };
    let name = ProfileName::parse(metadata.name.as_deref()?).ok()?;
    let generation = metadata.generation.unwrap_or_default();
    let status = profile
        .as_ref()
        .ok()
        .and_then(|profile| profile.status.as_ref());
    let revision = status
        .filter(|status| status.observed_generation == Some(generation))
        .and_then(|status| status.revision.as_deref())
        .map_or(0, resource_version);
    let version = metadata
        .resource_version
        .as_deref()
        .map_or(0, resource_version);
    Some((
        name,
        Seen {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation,
            version,
            revision,
            selector: profile
                .as_ref()
                .map(|profile| profile.spec.node_selector.clone())
                .unwrap_or_default(),
            adopt: metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(ADOPT_ANNOTATION))
                .is_some_and(|value| value == "true"),
        },
    ))
}
