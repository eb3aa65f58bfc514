//! The agent's loop: what the watches, the folder and the clock tell goes into the state; what the state decides goes to the disk
//! and to the publisher.
//!
//! It decides nothing itself, and never waits for the disk on the runtime's thread, which serves the health checks as well.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::OptionFuture;
use futures::stream::{self, Stream};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch as channel;
use tokio::task::{JoinError, spawn_blocking, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{info, warn};

use super::disk::{Disk, RESYNC};
use super::folder_watch::Touched;
use super::incidents::Incidents;
use super::metrics::Metrics;
use super::observed::Observed;
use super::render::{Heard, Renderer};
use super::repair_throttle::{Announce, RepairThrottle};
use super::state::{NodeReport, State};
use super::store::{Done, Edit, StoreError};
use super::usage::{Usage, UsedFile};
use crate::health::Readiness;
use crate::stored_pod::{StoredPod, UsingPod};
use kube_support::error::chain;
use kube_support::events::{EventRequest, Events, reference};
use kube_support::{Backoff, WatchEvent, watch, watch_as};
use seccomp_diagnosis::{Failure, explain};
use seccomp_operator_api::{NodeFailure, ProfileName, SeccompProfile, StoredProfile, define};
use seccomp_profile::Library;

/// What failed is tried again after the first of these, then ever more slowly, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The pause after a change of the folder was looked at: changes come in swarms, the agent's own among them, and must not keep it
/// from its other work.
const FOLDER_PAUSE: Duration = Duration::from_millis(10);
/// How often to look whether the node still has the folder where it was: the kernel tells nobody.
const MOUNT_CHECK: Duration = Duration::from_secs(2);
/// How long the last report of an agent that has to end may take to be published.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// So many profiles are asked for at once: each can have a megabyte.
const PAGE: u32 = 10;
/// So many pods are asked for at once: each has some kilobytes.
const POD_PAGE: u32 = 50;
/// At most so many changes are taken from the watch before the disk is brought in sync with them.
const BATCH: usize = 512;
/// So often the connection gets its turn to bring more of what the API server has sent already: each event comes alone from
/// there, and the first turn may only see that there is something to read.
const TURNS: usize = 3;

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// It never ends by itself.
    #[error("the watch of {0} ended")]
    WatchEnded(&'static str),
    /// The kernel's notifications cannot be read.
    #[error("the watch of the profiles folder failed")]
    FolderWatch(#[source] std::io::Error),
    /// The seccomp folder is another one now; a new start mounts it.
    #[error("{0}; the agent has to start anew to have the folder that is there now")]
    FolderReplaced(String),
    /// The thread that works on the disk panicked.
    #[error("the file store failed")]
    Disk(#[source] JoinError),
    /// An earlier access did not give it back.
    #[error("the file store was lost")]
    DiskLost,
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

/// See the module's head.
pub struct Reconciler {
    client: Client,
    /// This node's name.
    node: String,
    renderer: Renderer,
    state: State,
    /// The profiles that the node's recorder hears of, by name.
    heard: BTreeMap<ProfileName, Heard>,
    usage: Usage,
    incidents: Incidents,
    library: Library,
    throttle: RepairThrottle,
    /// Lent to a blocking thread while that works.
    disk: Option<Disk>,
    /// The profiles whose files are ours, as far as is known: those of the disk, which only work on it changes.
    owned: BTreeSet<ProfileName>,
    in_sync: Arc<AtomicBool>,
    reports: channel::Sender<Option<NodeReport>>,
    events: Events,
    metrics: Metrics,
}

impl Reconciler {
    /// One that has not begun. `profiles_dir` is the operator's folder below kubelet's seccomp folder.
    pub fn new(
        client: Client,
        node: String,
        renderer: Renderer,
        disk: Disk,
        profiles_dir: &str,
        events: Events,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            node,
            renderer,
            state: State::default(),
            heard: BTreeMap::new(),
            usage: Usage::new(profiles_dir),
            incidents: Incidents::new(profiles_dir),
            library: Library::default(),
            throttle: RepairThrottle::default(),
            disk: Some(disk),
            owned: BTreeSet::new(),
            in_sync: Arc::default(),
            reports: channel::Sender::new(None),
            events,
            metrics,
        }
    }

    /// Whether the node is in sync with the profile list, for `/readyz`.
    pub fn readiness(&self) -> Readiness {
        let in_sync = self.in_sync.clone();
        Arc::new(move || {
            if in_sync.load(Ordering::Relaxed) {
                Ok(())
            } else {
                Err("the node is not in sync with the SeccompProfiles yet".to_owned())
            }
        })
    }

    /// What the SeccompNode should say, as it changes.
    pub fn reports(&self) -> channel::Receiver<Option<NodeReport>> {
        self.reports.subscribe()
    }

    /// Runs until something ends that must not.
    pub async fn run(mut self) -> Result<(), ReconcileError> {
        self.find_former().await?;
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
        let mut mount_check = interval(MOUNT_CHECK);
        mount_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut retry_at: Option<Instant> = None;
        let mut folder_rests: Option<Instant> = None;
        loop {
            let throttle_at = self.throttle.wakes(Instant::now());
            // When this process learnt of what it is about to do.
            let learnt = tokio::select! {
                change = changes.next() => {
                    let learnt = Instant::now();
                    self.observe(change.ok_or(ReconcileError::WatchEnded("SeccompProfiles"))?);
                    for _ in 1..BATCH {
                        let Some(change) = sent(&mut changes).await else { break };
                        self.observe(change);
                    }
                    learnt
                }
                change = pods.next() => {
                    let learnt = Instant::now();
                    self.observe_pod(change.ok_or(ReconcileError::WatchEnded("pods"))?);
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
                Some(touched) = OptionFuture::from(self.disk.as_mut().map(Disk::touched)), if folder_rests.is_none() => {
                    let learnt = Instant::now();
                    self.touched(touched.map_err(ReconcileError::FolderWatch)?);
                    folder_rests = Some(learnt + FOLDER_PAUSE);
                    learnt
                }
                () = sleep_until(folder_rests.unwrap_or_else(Instant::now)), if folder_rests.is_some() => {
                    folder_rests = None;
                    continue;
                }
                learnt = resync.tick() => {
                    self.state.resync();
                    learnt
                }
                _ = mount_check.tick() => {
                    if let Some(displaced) = self.disk.as_ref().and_then(Disk::displaced) {
                        return Err(self.leave(displaced.to_string()).await);
                    }
                    continue;
                }
                () = sleep_until(throttle_at.unwrap_or_else(Instant::now)), if throttle_at.is_some() => {
                    let learnt = Instant::now();
                    for name in self.throttle.due(learnt) {
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

    /// Finds the folders that the operator had before, so that what pods use there counts.
    async fn find_former(&mut self) -> Result<(), ReconcileError> {
        let mut disk = self.disk.take().ok_or(ReconcileError::DiskLost)?;
        let working = spawn_blocking(move || (disk.find_former(), disk));
        let (former, disk) = working.await.map_err(ReconcileError::Disk)?;
        self.usage.had(former);
        self.owned = disk.owned();
        self.disk = Some(disk);
        Ok(())
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
            if self.throttle.touched(&name, Instant::now()) {
                self.state.touched(&name);
            }
        }
    }

    fn observe_pod(&mut self, change: WatchEvent<UsingPod>) {
        match change {
            WatchEvent::ListBegins => {
                self.usage.list_begins();
                self.incidents.list_begins();
            }
            WatchEvent::ListEnds => {
                self.usage.list_ends();
                self.incidents.list_ends();
            }
            WatchEvent::Exists(Ok(pod)) => {
                self.usage.pod(&pod);
                self.incidents.pod(&pod);
            }
            WatchEvent::Exists(Err(unreadable)) => self.usage.unreadable(&unreadable.metadata),
            WatchEvent::Deleted(pod) => {
                let metadata = match pod {
                    Ok(pod) => pod.metadata,
                    Err(unreadable) => unreadable.metadata,
                };
                self.usage.gone(&metadata);
                self.incidents.gone(&metadata);
            }
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
                if let Some((name, observed)) = Observed::identify(&profile)
                    && self.state.exists(&name, observed)
                {
                    self.library.define(name.as_str(), define(&profile));
                    match profile.ok().and_then(|profile| Heard::by(&profile.spec)) {
                        Some(heard) => self.heard.insert(name.clone(), heard),
                        None => self.heard.remove(&name),
                    };
                    self.state.stale(self.library.affected(name.as_str()));
                }
            }
            WatchEvent::Deleted(profile) => {
                if let Some((name, _)) = Observed::identify(&profile) {
                    self.state.deleted(&name);
                    self.forget(&name);
                }
            }
        }
    }

    /// There is no such profile any more; those that derive from it have to say so.
    fn forget(&mut self, name: &ProfileName) {
        self.library.remove(name.as_str());
        self.heard.remove(name);
        self.state.stale(self.library.affected(name.as_str()));
    }

    /// Works out what the files of changed profiles should hold. A few at a time: others want the thread meanwhile.
    async fn render(&mut self) {
        while let Some(name) = self.state.next_stale() {
            let heard = self.heard.get(&name);
            let content = self.renderer.render(&self.library, name.as_str(), heard);
            self.state.rendered(&name, content);
            yield_now().await;
        }
    }

    /// Brings the disk in sync with the state, and says so. `learnt`: when this process learnt of what is due.
    async fn settle(&mut self, learnt: Instant) -> Result<(), ReconcileError> {
        self.render().await;
        // What is in use decides what may be removed, and what was written decides who is outdated.
        self.count_uses();
        let edits = self.state.edits(&self.owned);
        let in_former = self.usage.in_former();
        let disk = self.disk.as_ref();
        if !edits.is_empty() || disk.is_none_or(|disk| disk.has_work(in_former.as_deref())) {
            let (edits, outcomes) = self.apply(edits, in_former).await?;
            for (edit, outcome) in edits.iter().zip(&outcomes) {
                log(edit, outcome);
                self.metrics.edited(outcome, learnt.elapsed());
            }
            if let Some(Err(gone @ StoreError::Gone)) = outcomes.first() {
                return Err(self.leave(gone.to_string()).await);
            }
            for profile in self.state.record(&edits, &outcomes) {
                self.metrics.repaired();
                self.repaired(profile);
            }
            self.count_uses();
        }
        self.state.tampered(self.throttle.ongoing(Instant::now()));
        self.explain_incidents();
        let in_sync = self.state.is_in_sync();
        self.in_sync.store(in_sync, Ordering::Relaxed);
        let report = self.state.report(&self.owned);
        let (wanted, ready) = self.state.counts();
        self.metrics
            .observed(wanted, ready, in_sync, report.as_ref());
        self.reports.send_if_modified(|last| {
            let changed = *last != report;
            *last = report;
            changed
        });
        Ok(())
    }

    /// Says of pods that seccomp stops why that is so, once that can be said.
    fn explain_incidents(&mut self) {
        if !self.state.is_listed() {
            return;
        }
        let (library, target) = (&self.library, &self.renderer.target);
        let explain = |failure: &Failure| explain(failure, Some(library), target, None);
        for incident in self.incidents.due(Instant::now(), explain) {
            self.metrics.explained(incident.reason);
            self.events.post_once(incident.event, incident.id);
        }
    }

    /// The files are not where kubelet looks for them any more: says so before the agent ends.
    async fn leave(&mut self, what: String) -> ReconcileError {
        self.in_sync.store(false, Ordering::Relaxed);
        let node = &self.node;
        self.events.post(EventRequest {
            // As kubelet refers to its Node, whose uid agents do not know; `kubectl describe node` looks for this as well.
            regarding: reference::<Node>(node, node),
            warning: true,
            reason: NodeFailure::FOLDER_REPLACED,
            action: "Restart",
            note: format!("{what}: pods do not find their profiles. The agent starts anew, and writes them into the folder that is there now"),
        });
        self.state.displaced(what.clone());
        if let Some(report) = self.state.report(&self.owned) {
            let (wanted, ready) = self.state.counts();
            self.metrics.observed(wanted, ready, false, Some(&report));
            self.reports.send_replace(Some(NodeReport {
                last: true,
                ..report
            }));
            // The publisher goes when it is done.
            let _ = timeout(LAST_WORDS, self.reports.closed()).await;
        }
        ReconcileError::FolderReplaced(what)
    }

    /// Carries out the edits on a thread of its own: a disk that hangs must not hang the health checks.
    async fn apply(
        &mut self,
        edits: Vec<Edit>,
        in_former: Option<Vec<BTreeSet<ProfileName>>>,
    ) -> Result<(Vec<Edit>, Vec<Result<Done, StoreError>>), ReconcileError> {
        let mut disk = self.disk.take().ok_or(ReconcileError::DiskLost)?;
        let latest_start = self.usage.latest_start();
        let working = spawn_blocking(move || {
            let outcomes = disk.apply(&edits, latest_start, in_former.as_deref());
            (disk, edits, outcomes)
        });
        let (disk, edits, outcomes) = working.await.map_err(ReconcileError::Disk)?;
        self.owned = disk.owned();
        self.disk = Some(disk);
        Ok((edits, outcomes))
    }

    /// Tells the state what pods use, once that is known.
    fn count_uses(&mut self) {
        if self.usage.is_known() {
            let disk = self.disk.as_ref();
            let outdated =
                |file: &UsedFile, created| disk.is_some_and(|disk| disk.is_outdated(file, created));
            self.state.used(self.usage.by_profile(outdated));
        }
    }

    /// A file that had been right had to be put right: says so once per incident.
    fn repaired(&mut self, profile: &ProfileName) {
        let announce = self.throttle.repaired(profile, Instant::now());
        let repairs = self.throttle.repairs(profile);
        // The first ones, and then ever fewer: a storm must not fill the log either.
        if repairs.is_power_of_two() {
            warn!(
                profile = profile.as_str(),
                repairs, "somebody else changed the profile's file; it was put right"
            );
        }
        let (file, node) = (profile.file_name(), &self.node);
        let note = match announce {
            Announce::Begins => format!(
                "somebody else changed or removed {file} on node {node}; it was put right, and will be as often as that happens again"
            ),
            Announce::GoesOn => format!(
                "somebody else keeps changing {file} on node {node}: it was put right {repairs} times; pods that start in between run \
                 with what they find"
            ),
            Announce::Said | Announce::Unsaid => return,
        };
        if let Some(uid) = self.state.uid(profile) {
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
