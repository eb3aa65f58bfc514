//! What the cluster's profiles, nodes and agents look like, and what each profile's status should therefore say: a pure state.
//!
//! A node is level with a profile when its agent has dealt with every change up to the resource version at which the profile's
//! current generation was first seen (its *revision*). So a node's report stays small however many profiles are well, and one
//! report can make many profiles ready. The work per change is proportional to the profiles it touches, times the nodes.
//!
//! A profile that stands on others changes with them. A node has its current meaning once the node is level with the latest of
//! all their revisions: an agent that has dealt with a change has dealt with everything that follows from it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::agents::{Agent, Agents, Standing};
use super::finalizer::{self, Step};
use super::usage::{NodeUse, Usage, listed};
use kube_support::{Listing, resource_version};
use seccomp_operator_api::{
    Failure, IN_USE_FINALIZER, NodeCounts, NodeFailure, ProfileName, SeccompNode,
    SeccompProfileStatus, condition, labels_digest, selects,
};
use seccomp_profile::{Defined, Library, Severity, Undefined};

/// How many failures a profile's status names.
const MAX_FAILURES: usize = 10;
/// How many warnings it holds, and how long they are.
const MAX_WARNINGS: usize = 10;
const MAX_WARNING: usize = 1024;

/// A profile as the watch saw it.
#[derive(Clone, Debug, Default)]
pub struct SeenProfile {
    /// The object's uid.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// Its resource version, as a number.
    pub version: u64,
    /// The labels of the nodes that should have it; empty for all nodes.
    pub node_selector: BTreeMap<String, String>,
    /// Its status, as it is now.
    pub status: SeccompProfileStatus,
    /// Its finalizers.
    pub finalizers: Vec<String>,
    /// Somebody has deleted it, and finalizers keep it.
    pub deleting: bool,
}

/// A node as the watch saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The object's uid.
    pub uid: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where the start-up taint is among its taints.
    pub tainted: Vec<usize>,
}

impl Node {
    fn runs_linux(&self) -> bool {
        let os = self.labels.get("kubernetes.io/os");
        os.is_none_or(|os| os == "linux")
    }
}

/// What there is to say of a profile that means something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Accepted {
    default_action: String,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Profile {
    seen: SeenProfile,
    /// Where the current generation of its own spec appeared.
    revision: u64,
    /// The latest of its own revision and those of all that it stands on.
    level: u64,
    /// What the spec means, or a sentence that says what is wrong with it: worked out when somebody asks, and forgotten when it or
    /// something that it stands on changes.
    verdict: OnceCell<Result<Accepted, String>>,
}

/// What a node's agent said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    level: u64,
    failures: BTreeMap<String, (String, String)>,
    /// The pods that use each profile, and the running containers with an older content of it.
    in_use: BTreeMap<String, (i32, i32)>,
    /// By which labels of its node the agent decided, once a profile asks for labels.
    labels_digest: Option<String>,
}

impl Report {
    /// Whether every file that could be on the node is.
    fn has_written(&self) -> bool {
        let mut failures = self.failures.values();
        failures.all(|(reason, _)| reason != NodeFailure::WRITE_FAILED)
    }
}

/// How things stand, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Profiles whose newest generation is on every node that it should be on, by their status.
    pub ready: usize,
    /// Profiles that some node could not take.
    pub failed: usize,
    /// Profiles whose newest generation means nothing.
    pub invalid: usize,
    /// The other profiles.
    pub progressing: usize,
    /// Nodes that are level with every profile's newest generation.
    pub level: usize,
    /// Nodes that are not yet.
    pub behind: usize,
    /// Nodes whose agent is gone, or runs and has not said a word.
    pub silent: usize,
    /// Profiles whose status may have to be written.
    pub dirty: usize,
}

/// What should be written of a profile.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    /// The resource version of the object that it is for.
    pub version: u64,
    /// What to do about the finalizer, and the finalizers as they are; comes first.
    pub finalizer: Option<(Step, Vec<String>)>,
    /// All of the status, if it has to change.
    pub status: Option<SeccompProfileStatus>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Index {
    profiles_dir: String,
    profiles: BTreeMap<String, Profile>,
    by_level: BTreeSet<(u64, String)>,
    /// What the profiles say, and which stand on which.
    library: Library,
    /// Linux nodes.
    nodes: BTreeMap<String, Node>,
    /// Those of them that have the start-up taint.
    tainted: BTreeSet<String>,
    agents: Agents,
    /// What to expect of each node.
    standings: BTreeMap<String, Standing>,
    /// The nodes whose standing changes by itself, and when.
    waking: BTreeMap<String, Duration>,
    /// The moment that it is, since the start of the process.
    now: Duration,
    reports: BTreeMap<String, Report>,
    /// The uids of the nodes that own each SeccompNode.
    owners: BTreeMap<String, Vec<String>>,
    /// Profiles whose status may have to change.
    dirty: BTreeSet<String>,
    listings: [Listing; 5],
}

/// The kinds that an index is fed with.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// SeccompProfiles.
    Profile,
    /// Nodes.
    Node,
    /// The agents' pods.
    Agent,
    /// SeccompNodes.
    Report,
    /// The agents' DaemonSet.
    DaemonSet,
}

impl Index {
    /// An empty index. `profiles_dir` is the folder below kubelet's seccomp folder; an agent that has been away for `patience` counts
    /// as gone.
    #[must_use]
    pub fn new(profiles_dir: &str, patience: Duration) -> Self {
        Self {
            profiles_dir: profiles_dir.into(),
            profiles: BTreeMap::new(),
            by_level: BTreeSet::new(),
            library: Library::default(),
            nodes: BTreeMap::new(),
            tainted: BTreeSet::new(),
            agents: Agents::new(patience),
            standings: BTreeMap::new(),
            waking: BTreeMap::new(),
            now: Duration::ZERO,
            reports: BTreeMap::new(),
            owners: BTreeMap::new(),
            dirty: BTreeSet::new(),
            listings: Default::default(),
        }
    }

    /// It is so long since the start of the process: some agents that are away count as gone from now on.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        let due = self.waking.iter().filter(|(_, at)| **at <= now);
        let due: Vec<_> = due.map(|(node, _)| node.clone()).collect();
        for node in due {
            self.restand(&node);
        }
    }

    /// When [`tick`](Self::tick) has something to do next.
    #[must_use]
    pub fn wakes(&self) -> Option<Duration> {
        self.waking.values().min().copied()
    }

    /// What to expect of a node may have changed, and with it every status.
    fn restand(&mut self, node: &str) {
        let reported = self.reports.contains_key(node);
        let (standing, wakes) = self.agents.standing(node, reported, self.now);
        match wakes {
            Some(at) => self.waking.insert(node.to_owned(), at),
            None => self.waking.remove(node),
        };
        let old = match standing {
            Standing::Unmanaged => self.standings.remove(node),
            _ => self.standings.insert(node.to_owned(), standing.clone()),
        };
        if old.unwrap_or_default() != standing && self.nodes.contains_key(node) {
            self.all_dirty();
        }
    }

    /// Does something to the agents; what to expect of the nodes follows.
    fn agents_change(&mut self, change: impl FnOnce(&mut Agents, Duration) -> Vec<String>) {
        let short = self.agents.is_short();
        let mut nodes = change(&mut self.agents, self.now);
        if self.agents.is_short() != short {
            nodes.extend(self.agents.missing());
        }
        for node in nodes {
            self.restand(&node);
        }
    }

    /// A full list of a kind begins.
    pub fn list_begins(&mut self, kind: Kind) {
        self.listings[kind as usize].begins();
    }

    /// A full list of a kind has ended.
    pub fn list_ends(&mut self, kind: Kind) {
        let listing = &mut self.listings[kind as usize];
        let gone = match kind {
            Kind::Profile => listing.ends(self.profiles.keys().map(String::as_str)),
            Kind::Node => listing.ends(self.nodes.keys().map(String::as_str)),
            Kind::Agent => listing.ends(self.agents.pods()),
            Kind::DaemonSet => listing.ends(self.agents.daemon_sets()),
            Kind::Report => listing.ends(self.reports.keys().map(String::as_str)),
        };
        for name in gone {
            self.gone(kind, &name);
        }
    }

    /// An object is gone.
    pub fn gone(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Profile => {
                if let Some(profile) = self.profiles.remove(name) {
                    self.by_level.remove(&(profile.level, name.to_owned()));
                    self.bases_dirty(name);
                    self.library.remove(name);
                    self.moved(name);
                }
                self.dirty.remove(name);
            }
            Kind::Node => {
                self.tainted.remove(name);
                if self.nodes.remove(name).is_some() {
                    self.all_dirty();
                }
            }
            Kind::Agent => {
                self.agents_change(|agents, _| agents.gone(name).into_iter().collect());
            }
            Kind::DaemonSet => self.daemon_set(name, None),
            Kind::Report => {
                self.owners.remove(name);
                if self.reports.remove(name).is_some() {
                    self.all_dirty();
                    self.restand(name);
                }
            }
        }
    }

    /// Whether the spec of this form is another than the one that is known.
    #[must_use]
    pub fn is_new(&self, name: &str, seen: &SeenProfile) -> bool {
        self.profiles.get(name).is_none_or(|known| {
            known.seen.uid != seen.uid || known.seen.generation != seen.generation
        })
    }

    /// A profile exists in this form. `define` is called only when its spec is new.
    pub fn profile(&mut self, name: &str, seen: SeenProfile, define: impl FnOnce() -> Defined) {
        self.listings[Kind::Profile as usize].saw(name);
        let new = self.is_new(name, &seen);
        let known = self.profiles.remove(name);
        if let Some(known) = &known {
            self.by_level.remove(&(known.level, name.to_owned()));
        }
        // A status that speaks of another generation, or was written for another object of this name, says nothing here.
        let same = known
            .as_ref()
            .is_none_or(|known| known.seen.uid == seen.uid);
        let current = seen.status.observed_generation == Some(seen.generation);
        let told = seen
            .status
            .revision
            .as_deref()
            .and_then(|text| text.parse().ok());
        let told = told.filter(|_| same && current);
        let known = known.filter(|_| !new);
        let before = known.as_ref().map(|known| known.revision);
        let revision = told.or(before).unwrap_or(seen.version);
        let profile = Profile {
            seen,
            revision,
            level: known.as_ref().map_or(revision, |known| known.level),
            verdict: known.map(|known| known.verdict).unwrap_or_default(),
        };
        self.by_level.insert((profile.level, name.to_owned()));
        self.profiles.insert(name.to_owned(), profile);
        if new {
            self.bases_dirty(name);
            let defined = ProfileName::parse(name).map_err(|error| error.to_string());
            let defined = defined.map_err(Undefined::from);
            self.library.define(name, defined.and_then(|_| define()));
            self.bases_dirty(name);
        }
        if new || before != Some(revision) {
            self.moved(name);
        }
        self.dirty.insert(name.to_owned());
    }

    /// A profile's spec or revision is another, or it is gone: what stands on it has changed with it.
    fn moved(&mut self, name: &str) {
        let dependants = self.library.dependants(name);
        let moved: Vec<_> = dependants
            .into_iter()
            .chain([name])
            .map(|name| (name.to_owned(), self.level(name)))
            .collect();
        for (name, level) in moved {
            let Some(profile) = self.profiles.get_mut(&name) else {
                continue;
            };
            self.by_level.remove(&(profile.level, name.clone()));
            self.by_level.insert((level, name.clone()));
            profile.level = level;
            profile.verdict.take();
            self.dirty.insert(name);
        }
    }

    /// What a profile stands on is held while it is used, and no longer.
    fn bases_dirty(&mut self, name: &str) {
        if self.uses(name).next().is_some() {
            let bases: Vec<_> = self.library.bases(name).map(str::to_owned).collect();
            self.dirty.extend(bases);
        }
    }

    /// The latest of the revisions of a profile and of all that it stands on.
    fn level(&self, name: &str) -> u64 {
        let chain = self.library.bases(name).chain([name]);
        let revisions = chain.filter_map(|name| Some(self.profiles.get(name)?.revision));
        revisions.max().unwrap_or_default()
    }

    /// A node exists. One that does not run Linux is not for us.
    pub fn node(&mut self, name: &str, node: Node) {
        self.listings[Kind::Node as usize].saw(name);
        if !node.runs_linux() {
            return self.gone(Kind::Node, name);
        }
        let relabelled = |old: &Node| old.labels != node.labels;
        match self.nodes.get(name).map(relabelled) {
            None => self.all_dirty(),
            Some(true) => self.selecting_dirty(),
            Some(false) => {}
        }
        if node.tainted.is_empty() {
            self.tainted.remove(name);
        } else {
            self.tainted.insert(name.to_owned());
        }
        self.nodes.insert(name.to_owned(), node);
    }

    /// The nodes that pods may come to although they have the start-up taint, and where it is among their taints: a ready agent is
    /// there, is level with the profile list, and has been able to write. What nobody can write there (an invalid profile) or may (a
    /// file that is somebody else's) keeps no pod away.
    #[must_use]
    pub fn untaint(&self) -> Vec<(String, Vec<usize>)> {
        if !self.is_complete() {
            return Vec::new();
        }
        let newest = self.newest();
        let level = |name: &&String| {
            let report = self.reports.get(*name);
            report.is_some_and(|report| report.level >= newest && report.has_written())
        };
        // A node can have had the name before, with an agent that was level.
        let ready = |(name, node): &(&String, &Node)| self.agents.is_ready(name, node.created);
        let tainted = self.tainted.iter().filter(level);
        let nodes = tainted.filter_map(|name| Some((name, self.nodes.get(name)?)));
        nodes
            .filter(ready)
            .map(|(name, node)| (name.clone(), node.tainted.clone()))
            .collect()
    }

    /// The version that a node has to be level with to have everything.
    fn newest(&self) -> u64 {
        self.by_level.last().map_or(0, |(level, _)| *level)
    }

    /// The statuses of profiles that select nodes by labels may have to change.
    fn selecting_dirty(&mut self) {
        let selects = |(_, profile): &(&String, &Profile)| !profile.seen.node_selector.is_empty();
        let names = self.profiles.iter().filter(selects);
        self.dirty.extend(names.map(|(name, _)| name.clone()));
    }

    /// An agent's pod exists. One that has no node to be on yet concerns nobody.
    pub fn agent(&mut self, pod: &str, agent: Option<Agent>) {
        self.listings[Kind::Agent as usize].saw(pod);
        if let Some(agent) = agent {
            self.agents_change(|agents, now| agents.pod(pod, agent, now));
        }
    }

    /// A DaemonSet of agents exists, and wants so many of them; or it is gone.
    pub fn daemon_set(&mut self, name: &str, wanted: Option<usize>) {
        self.listings[Kind::DaemonSet as usize].saw(name);
        self.agents_change(|agents, _| {
            agents.wants(name, wanted);
            Vec::new()
        });
    }

    /// A node's agent says this.
    pub fn report(&mut self, name: &str, report: &SeccompNode) {
        self.listings[Kind::Report as usize].saw(name);
        let owners = report
            .metadata
            .owner_references
            .iter()
            .flatten()
            .filter(|owner| owner.kind == "Node");
        self.owners.insert(
            name.to_owned(),
            owners.map(|owner| owner.uid.clone()).collect(),
        );
        let new = Report {
            level: resource_version(&report.spec.applied_resource_version),
            failures: report
                .spec
                .failures
                .iter()
                .map(|failure| {
                    (
                        failure.profile.clone(),
                        (failure.reason.clone(), failure.message.clone()),
                    )
                })
                .collect(),
            in_use: report
                .spec
                .in_use
                .iter()
                .map(|used| (used.profile.clone(), (used.pods, used.outdated)))
                .collect(),
            labels_digest: report.spec.node.labels_digest.clone(),
        };
        let Some(old) = self.reports.insert(name.to_owned(), new) else {
            self.restand(name);
            return self.all_dirty();
        };
        let new = &self.reports[name];
        if old == *new {
            return;
        }
        let (low, high) = (old.level.min(new.level), old.level.max(new.level));
        let moved = self
            .by_level
            .range((low.saturating_add(1), String::new())..(high.saturating_add(1), String::new()))
            .map(|(_, name)| name.clone());
        let differing = old
            .failures
            .iter()
            .filter(|(name, failure)| new.failures.get(*name) != Some(failure));
        let differing = differing.chain(
            new.failures
                .iter()
                .filter(|(name, failure)| old.failures.get(*name) != Some(failure)),
        );
        let used = old.in_use.keys().chain(new.in_use.keys());
        let used = used.filter(|name| old.in_use.get(*name) != new.in_use.get(*name));
        // What a profile stands on is in use with it.
        let used = used.flat_map(|name| self.library.bases(name).chain([name.as_str()]));
        let touched: Vec<_> = moved
            .chain(differing.map(|(name, _)| name.clone()))
            .chain(used.map(str::to_owned))
            .collect();
        let relabelled = old.labels_digest != new.labels_digest;
        self.dirty.extend(
            touched
                .into_iter()
                .filter(|name| self.profiles.contains_key(name)),
        );
        if relabelled {
            self.selecting_dirty();
        }
    }

    /// All statuses may have to change: after something that concerns every profile, and when this process begins to lead.
    pub fn all_dirty(&mut self) {
        self.dirty.extend(self.profiles.keys().cloned());
    }

    /// Whether everything has been listed. What is decided before that would be decided by half of the cluster.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.listings.iter().all(Listing::is_complete)
    }

    /// Profiles whose status may have to change, each once; at most so many, the rest stays for the next call. None before
    /// everything has been listed.
    pub fn take_dirty(&mut self, most: usize) -> BTreeSet<String> {
        if !self.is_complete() {
            return BTreeSet::new();
        }
        let rest = self.dirty.iter().nth(most).cloned();
        let rest = rest
            .map(|first| self.dirty.split_off(&first))
            .unwrap_or_default();
        std::mem::replace(&mut self.dirty, rest)
    }

    /// How things stand, in numbers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let newest = self.newest();
        let mut counts = Counts {
            dirty: self.dirty.len(),
            ..Counts::default()
        };
        for profile in self.profiles.values() {
            let conditions = &profile.seen.status.conditions;
            let ready = conditions
                .iter()
                .find(|condition| condition.type_ == condition::READY)
                .filter(|_| {
                    profile.seen.status.observed_generation == Some(profile.seen.generation)
                });
            let count = match ready {
                Some(ready) if ready.status == "True" => &mut counts.ready,
                Some(ready) if ready.reason == "Failed" => &mut counts.failed,
                Some(ready) if ready.reason == "NotAccepted" => &mut counts.invalid,
                _ => &mut counts.progressing,
            };
            *count += 1;
        }
        for node in self.nodes.keys() {
            let count = match (self.standings.get(node), self.reports.get(node)) {
                (Some(Standing::Managed), Some(report)) if report.level >= newest => {
                    &mut counts.level
                }
                (Some(Standing::Managed), Some(_)) => &mut counts.behind,
                (Some(Standing::Gone(_)), _) | (Some(Standing::Managed), None) => {
                    &mut counts.silent
                }
                (Some(Standing::Unmanaged) | None, _) => continue,
            };
            *count += 1;
        }
        counts
    }

    /// A profile's status should be looked at again.
    pub fn mark_dirty(&mut self, name: &str) {
        if self.profiles.contains_key(name) {
            self.dirty.insert(name.to_owned());
        }
    }

    /// The nodes that have a SeccompNode.
    #[must_use]
    pub fn reporting(&self) -> Vec<String> {
        self.owners.keys().cloned().collect()
    }

    /// The nodes that exist and do not own their SeccompNode.
    #[must_use]
    pub fn unowned(&self) -> Vec<String> {
        let of_other = |(name, owners): &(&String, &Vec<String>)| {
            self.nodes
                .get(*name)
                .is_some_and(|node| !owners.contains(&node.uid))
        };
        self.owners
            .iter()
            .filter(of_other)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// What should be written of a profile, if anything. `now` dates conditions that flip.
    #[must_use]
    pub fn wanted(&self, name: &str, now: Timestamp) -> Option<Wanted> {
        let profile = self.profiles.get(name)?;
        let SeenProfile {
            finalizers,
            deleting,
            ..
        } = &profile.seen;
        let usage = self.usage(name);
        let finalizer = finalizer::step(usage.is_held(), finalizers, *deleting)
            .map(|step| (step, finalizers.clone()));
        let status = self.status(name, profile, &usage, now);
        let status = (status != profile.seen.status).then_some(status);
        (status.is_some() || finalizer.is_some()).then_some(Wanted {
            version: profile.seen.version,
            finalizer,
            status,
        })
    }

    fn status(
        &self,
        name: &str,
        profile: &Profile,
        usage: &Usage,
        now: Timestamp,
    ) -> SeccompProfileStatus {
        let generation = profile.seen.generation;
        let file = ProfileName::parse(name);
        let verdict = profile.verdict.get_or_init(|| self.judge(name)).clone();
        let tally = self.tally(name, profile.level, &profile.seen.node_selector);
        let others = profile.seen.finalizers.iter().map(String::as_str);
        let others: Vec<_> = others.filter(|name| *name != IN_USE_FINALIZER).collect();
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let accepted = match &verdict {
            Ok(_) => (true, "Valid", "the profile is valid".to_owned()),
            Err(sentence) => (false, "Invalid", sentence.clone()),
        };
        let ready = match &verdict {
            Ok(_) => tally.ready(generation),
            Err(_) => {
                let message = format!(
                    "generation {generation} is not valid; nodes keep the last generation that was"
                );
                (false, "NotAccepted", message)
            }
        };
        let conditions = [
            (condition::ACCEPTED, accepted),
            (condition::READY, ready),
            (
                condition::IN_USE,
                usage.condition(profile.seen.deleting, &others),
            ),
        ];
        let old = &profile.seen.status.conditions;
        let verdict = verdict.ok();
        SeccompProfileStatus {
            observed_generation: Some(generation),
            revision: Some(profile.revision.to_string()),
            localhost_profile: file
                .ok()
                .map(|file| file.localhost_profile(&self.profiles_dir)),
            default_action: verdict
                .as_ref()
                .map(|accepted| accepted.default_action.clone()),
            warnings: verdict
                .map(|accepted| accepted.warnings)
                .unwrap_or_default(),
            nodes: Some(NodeCounts {
                desired: count(tally.desired),
                ready: count(tally.ready),
                failed: count(tally.failed.len()),
                summary: format!("{}/{}", tally.ready, tally.desired),
            }),
            conditions: conditions
                .into_iter()
                .map(|(type_, (holds, reason, message))| {
                    dated(type_, holds, reason, message, generation, old, now)
                })
                .collect(),
            failures: tally.failed.into_iter().take(MAX_FAILURES).collect(),
            used_by: Some(usage.pods()),
            outdated: Some(usage.outdated()),
        }
    }

    /// What a profile means, for every architecture that Kubernetes runs on.
    fn judge(&self, name: &str) -> Result<Accepted, String> {
        let checked = self.library.check(name, "spec");
        let default = checked.map_err(|error| error.to_string())?;
        let findings = self.library.lint(name, "spec");
        let warnings = findings
            .iter()
            .filter(|finding| finding.severity >= Severity::Warning)
            .map(|finding| finding.to_string().chars().take(MAX_WARNING).collect());
        Ok(Accepted {
            default_action: default.to_string(),
            warnings: warnings.take(MAX_WARNINGS).collect(),
        })
    }

    /// How pods use a profile, on all nodes that exist.
    fn uses(&self, profile: &str) -> impl Iterator<Item = (String, NodeUse)> {
        self.nodes.keys().filter_map(move |node| {
            let (pods, outdated) = *self.reports.get(node)?.in_use.get(profile)?;
            let gone = match self.standings.get(node) {
                Some(Standing::Managed) => None,
                Some(Standing::Gone(why)) => Some(why.clone()),
                Some(Standing::Unmanaged) | None => Some("no agent runs there".to_owned()),
            };
            let found = NodeUse {
                pods,
                outdated,
                gone,
            };
            Some((node.clone(), found))
        })
    }

    /// How much a profile is used, by itself and by those that stand on it.
    fn usage(&self, profile: &str) -> Usage {
        let above = self.library.dependants(profile).into_iter();
        let above = above.filter_map(|name| {
            let nodes: BTreeMap<_, _> = self.uses(name).collect();
            let usage = Usage {
                nodes,
                ..Usage::default()
            };
            usage.is_held().then_some((name.to_owned(), usage))
        });
        Usage {
            nodes: self.uses(profile).collect(),
            above: above.collect(),
        }
    }

    /// Where the profile stands on each node that should have it.
    fn tally(&self, profile: &str, revision: u64, selector: &BTreeMap<String, String>) -> Counters {
        let mut tally = Counters::default();
        for (node, Node { labels, .. }) in &self.nodes {
            let standing = self.standings.get(node);
            if matches!(standing, None | Some(Standing::Unmanaged)) || !selects(selector, labels) {
                continue;
            }
            tally.desired += 1;
            if let Some(Standing::Gone(why)) = standing {
                tally.gone.push(format!("{node} ({why})"));
                continue;
            }
            let report = self.reports.get(node);
            // An agent that decided by other labels than the node has now may have decided otherwise.
            let digest = (!selector.is_empty()).then(|| labels_digest(labels));
            let told = |report: &Report| digest.is_none() || report.labels_digest == digest;
            match report {
                Some(report) if told(report) && report.level >= revision => {
                    match report.failures.get(profile) {
                        Some((reason, message)) => {
                            tally.failed.push(Failure {
                                node: node.clone(),
                                reason: reason.clone(),
                                message: message.clone(),
                            });
                        }
                        None => tally.ready += 1,
                    }
                }
                _ => tally.waiting.push(node.clone()),
            }
        }
        tally
    }
}

#[derive(Default)]
struct Counters {
    desired: usize,
    ready: usize,
    failed: Vec<Failure>,
    waiting: Vec<String>,
    /// Nodes whose agent does not do its work, and why.
    gone: Vec<String>,
}

impl Counters {
    fn ready(&self, generation: i64) -> (bool, &'static str, String) {
        let Self { desired, ready, .. } = self;
        if self.desired == 0 {
            (false, "NoNodes", "no node runs the agent yet".into())
        } else if let Some(first) = self.failed.first() {
            let failed = self.failed.len();
            (
                false,
                "Failed",
                format!(
                    "{failed} of {desired} nodes failed; {}: {}",
                    first.node, first.message
                ),
            )
        } else if self.waiting.is_empty() && self.gone.is_empty() {
            (
                true,
                "OnAllNodes",
                format!("generation {generation} is on all {desired} nodes"),
            )
        } else {
            let reason = if self.waiting.is_empty() {
                "AgentGone"
            } else {
                "Progressing"
            };
            // Those that nobody need look after come last.
            let names = listed(self.gone.iter().chain(&self.waiting).cloned().collect());
            let message = format!(
                "generation {generation} is on {ready} of {desired} nodes; waiting for {names}"
            );
            (false, reason, message)
        }
    }
}

/// A condition whose date is that of its last flip.
pub(super) fn dated(
    type_: &str,
    holds: bool,
    reason: &str,
    message: String,
    generation: i64,
    old: &[Condition],
    now: Timestamp,
) -> Condition {
    let status = if holds { "True" } else { "False" };
    let old = old
        .iter()
        .find(|old| old.type_ == type_ && old.status == status);
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        observed_generation: Some(generation),
        last_transition_time: old.map_or(Time(now), |old| old.last_transition_time.clone()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::controller::agents::Away;
    use seccomp_operator_api::SeccompNodeReport;
    use serde_json::json;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[allow(clippy::unnecessary_wraps)] // as a pod's agent
    fn ready_on(node: &str) -> Option<Agent> {
        Some(Agent {
            node: node.into(),
            ..Agent::default()
        })
    }

    fn linux(uid: &str, labels: BTreeMap<String, String>) -> Node {
        Node {
            uid: uid.into(),
            labels,
            ..Node::default()
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn seen(generation: i64, version: u64) -> SeenProfile {
        SeenProfile {
            uid: "u".into(),
            generation,
            version,
            ..SeenProfile::default()
        }
    }

    fn defined(spec: &serde_json::Value) -> Defined {
        let spec: seccomp_operator_api::SeccompProfileSpec =
            serde_json::from_value(spec.clone()).unwrap();
        spec.define().map(Into::into).map_err(Into::into)
    }

    fn valid() -> Defined {
        defined(&json!({"profile": {"defaultAction": "SCMP_ACT_ALLOW"}}))
    }

    fn on(base: &str) -> Defined {
        defined(&json!({"base": base, "deny": ["@chmod"]}))
    }

    fn report(level: u64, failures: &[(&str, &str)]) -> SeccompNode {
        let failures = failures
            .iter()
            .map(|(profile, message)| NodeFailure {
                profile: (*profile).into(),
                reason: "WriteFailed".into(),
                message: (*message).into(),
            })
            .collect();
        SeccompNode::new(
            "n",
            SeccompNodeReport {
                applied_resource_version: level.to_string(),
                failures,
                ..Default::default()
            },
        )
    }

    /// A cluster that has nothing in it, and has said so.
    fn empty() -> Index {
        let mut index = Index::new("profiles", PATIENCE);
        for kind in [
            Kind::Profile,
            Kind::Node,
            Kind::Agent,
            Kind::Report,
            Kind::DaemonSet,
        ] {
            index.list_begins(kind);
            index.list_ends(kind);
        }
        index
    }

    /// Two nodes with an agent each, and a profile `a` whose generation 1 appeared at version 10.
    pub fn cluster() -> Index {
        let mut index = empty();
        index.daemon_set("agents", Some(2));
        for node in ["n1", "n2"] {
            index.node(node, linux(&format!("uid-{node}"), BTreeMap::new()));
            index.agent(&format!("agent-{node}"), ready_on(node));
        }
        index.profile("a", seen(1, 10), valid);
        index
    }

    fn status(index: &Index) -> SeccompProfileStatus {
        status_of(index, "a")
    }

    fn status_of(index: &Index, name: &str) -> SeccompProfileStatus {
        index.status(name, &index.profiles[name], &index.usage(name), now())
    }

    fn ready(index: &Index) -> (String, String, String) {
        ready_of(index, "a")
    }

    fn ready_of(index: &Index, name: &str) -> (String, String, String) {
        let condition = status_of(index, name)
            .conditions
            .into_iter()
            .find(|c| c.type_ == condition::READY)
            .unwrap();
        (condition.status, condition.reason, condition.message)
    }

    #[test]
    fn nothing_is_written_before_everything_has_been_listed() {
        let mut index = Index::new("profiles", PATIENCE);
        index.list_begins(Kind::Profile);
        index.profile("a", seen(1, 10), valid);
        index.list_ends(Kind::Profile);
        for kind in [Kind::Report, Kind::Agent, Kind::DaemonSet, Kind::Node] {
            index.list_begins(kind);
            assert!(index.take_dirty(9).is_empty(), "{kind:?} is not known");
            index.list_ends(kind);
        }
        assert_eq!(index.take_dirty(9), BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn a_profile_is_ready_when_every_node_is_level_with_its_generation() {
        let mut index = cluster();
        assert_eq!(ready(&index).1, "Progressing");
        index.report("n1", &report(10, &[]));
        assert_eq!(status(&index).nodes.unwrap().summary, "1/2");
        assert!(ready(&index).2.contains("waiting for n2"));
        index.report("n2", &report(12, &[]));
        assert_eq!(ready(&index).0, "True");
        assert_eq!(status(&index).localhost_profile.unwrap(), "profiles/a.json");
        assert_eq!(status(&index).nodes.unwrap().summary, "2/2");
    }

    #[test]
    fn a_new_generation_is_not_ready_until_nodes_say_so() {
        let mut index = cluster();
        index.report("n1", &report(10, &[]));
        index.report("n2", &report(10, &[]));
        index.profile("a", seen(2, 20), valid);
        assert_eq!(status(&index).observed_generation, Some(2));
        assert_eq!(ready(&index).0, "False");
        index.report("n1", &report(20, &[]));
        index.report("n2", &report(20, &[]));
        assert_eq!(ready(&index).0, "True");
    }

    #[test]
    fn a_later_version_of_the_same_generation_does_not_move_the_revision() {
        let mut index = cluster();
        index.report("n1", &report(10, &[]));
        index.report("n2", &report(10, &[]));
        index.profile("a", seen(1, 99), || panic!("judged again"));
        assert_eq!(ready(&index).0, "True");
    }

    #[test]
    fn a_controller_that_starts_later_trusts_the_revision_in_the_status() {
        let mut index = empty();
        index.node("n1", linux("u", BTreeMap::new()));
        index.report("n1", &report(10, &[]));
        let mut late = seen(1, 99);
        late.status = SeccompProfileStatus {
            observed_generation: Some(1),
            revision: Some("10".into()),
            ..SeccompProfileStatus::default()
        };
        index.profile("a", late.clone(), valid);
        assert_eq!(ready(&index).0, "True");
        // But not when it speaks of another generation.
        late.generation = 2;
        index.profile("a", late, valid);
        assert_eq!(ready(&index).0, "False");
    }

    #[test]
    fn a_profile_made_again_under_the_same_name_does_not_inherit_the_status() {
        let mut index = cluster();
        index.report("n1", &report(10, &[]));
        index.report("n2", &report(10, &[]));
        let mut again = SeenProfile {
            uid: "other".into(),
            ..seen(1, 50)
        };
        again.status = status(&index);
        index.profile("a", again, valid);
        assert_eq!(ready(&index).0, "False");
    }

    #[test]
    fn a_level_beyond_all_bounds_is_taken_as_it_is() {
        let mut index = cluster();
        index.report("n1", &report(u64::MAX, &[]));
        index.report("n1", &report(1, &[]));
        index.report("n1", &report(u64::MAX, &[]));
        assert_eq!(status(&index).nodes.unwrap().ready, 1);
    }

    #[test]
    fn a_failure_is_counted_and_named_with_its_reason() {
        let mut index = cluster();
        index.report("n1", &report(10, &[("a", "No space left on device")]));
        index.report("n2", &report(10, &[("other", "x")]));
        let (holds, reason, message) = ready(&index);
        assert_eq!((holds.as_str(), reason.as_str()), ("False", "Failed"));
        assert!(message.contains("1 of 2") && message.contains("n1: No space left on device"));
        assert_eq!(status(&index).failures.len(), 1);
    }

    #[test]
    fn a_profile_with_a_selector_counts_only_nodes_with_the_labels_that_their_agents_know() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        let gpu = labels(&[("gpu", "yes")]);
        let mut index = empty();
        index.node("n1", linux("u1", gpu.clone()));
        index.node("n2", linux("u2", BTreeMap::new()));
        index.agent("p1", ready_on("n1"));
        index.agent("p2", ready_on("n2"));
        let selecting = SeenProfile {
            node_selector: gpu.clone(),
            ..seen(1, 10)
        };
        index.profile("a", selecting, valid);
        let told = |digest: Option<String>| {
            let mut report = report(10, &[]);
            report.spec.node.labels_digest = digest;
            report
        };
        index.report("n1", &told(None));
        index.report("n2", &told(Some(labels_digest(&BTreeMap::new()))));
        assert_eq!(status(&index).nodes.unwrap().summary, "0/1");
        index.take_dirty(9);
        index.report("n1", &told(Some(labels_digest(&gpu))));
        assert!(index.take_dirty(9).contains("a"));
        assert_eq!(status(&index).nodes.unwrap().summary, "1/1");
        index.node("n2", linux("u2", gpu));
        assert!(index.take_dirty(9).contains("a"));
        assert_eq!(status(&index).nodes.unwrap().summary, "1/2");
    }

    #[test]
    fn the_pods_that_use_a_profile_are_counted_on_nodes_that_exist() {
        let mut index = empty();
        index.node("n1", linux("u1", BTreeMap::new()));
        index.profile("a", seen(1, 10), valid);
        let using = |pods, outdated| {
            let mut report = report(10, &[]);
            report.spec.in_use = vec![seccomp_operator_api::NodeUse {
                profile: "a".into(),
                pods,
                outdated,
                pending_removal: false,
            }];
            report
        };
        let in_use = |index: &Index| {
            let status = status(index);
            let of = |c: &Condition| c.type_ == condition::IN_USE && c.status == "True";
            (status.used_by, status.conditions.iter().any(of))
        };
        index.report("n1", &using(2, 1));
        index.report("gone", &using(5, 0));
        assert_eq!(in_use(&index), (Some(2), true));
        assert_eq!(status(&index).outdated, Some(1));
        index.take_dirty(9);
        index.report("n1", &report(10, &[]));
        assert!(index.take_dirty(9).contains("a"));
        assert_eq!(in_use(&index), (Some(0), false));
    }

    #[test]
    fn a_census_counts_each_profile_and_each_node_once() {
        let mut index = cluster();
        index.node("n3", linux("u3", BTreeMap::new()));
        index.node("n4", linux("u4", BTreeMap::new()));
        index.agent("agent-n4", ready_on("n4"));
        index.report("n1", &report(10, &[]));
        index.report("n2", &report(9, &[]));
        let counts = index.counts();
        assert_eq!(
            (counts.level, counts.behind, counts.silent),
            (1, 1, 1),
            "n3 runs no agent and is not asked for one"
        );
        let with = |name: &str, index: &mut Index, of: SeccompProfileStatus| {
            let mut seen = seen(1, 10);
            seen.status = of;
            index.profile(name, seen, valid);
        };
        let progressing = status(&index);
        index.gone(Kind::Agent, "agent-n4");
        index.report("n2", &report(10, &[]));
        let ready = status(&index);
        index.report("n2", &report(10, &[("a", "no")]));
        let failed = status(&index);
        index.profile("bad", seen(1, 10), || Err("no".into()));
        let invalid = status_of(&index, "bad");
        let mut stale = ready.clone();
        stale.observed_generation = Some(0);
        with("a", &mut index, ready);
        with("b", &mut index, failed);
        with("c", &mut index, progressing);
        with("d", &mut index, stale);
        with("bad", &mut index, invalid);
        let counts = index.counts();
        assert_eq!(
            (
                counts.ready,
                counts.failed,
                counts.invalid,
                counts.progressing
            ),
            (1, 1, 1, 2)
        );
        assert_eq!(counts.dirty, 5);
    }

    #[test]
    fn an_invalid_profile_is_not_accepted_and_says_why() {
        let mut index = cluster();
        index.profile("a", seen(2, 20), || {
            Err("spec.profile: no defaultAction".into())
        });
        let status = status(&index);
        assert_eq!(status.conditions[0].status, "False");
        assert_eq!(
            status.conditions[0].message,
            "spec.profile: no defaultAction"
        );
        assert_eq!(status.conditions[1].reason, "NotAccepted");
        assert_eq!(status.default_action, None);
    }

    #[test]
    fn without_nodes_nothing_is_ready() {
        let mut index = empty();
        index.profile("a", seen(1, 10), valid);
        assert_eq!(ready(&index).1, "NoNodes");
        let os = BTreeMap::from([("kubernetes.io/os".to_owned(), "windows".to_owned())]);
        index.node("windows", linux("w", os));
        index.node("no-agent", linux("x", BTreeMap::new()));
        assert_eq!(ready(&index).1, "NoNodes");
    }

    #[test]
    fn a_node_that_leaves_stops_counting() {
        let mut index = cluster();
        index.report("n1", &report(10, &[]));
        index.gone(Kind::Node, "n2");
        assert_eq!(ready(&index).0, "True");
    }

    #[test]
    fn a_node_whose_agent_is_gone_is_not_ready_and_says_why() {
        let mut index = cluster();
        for node in ["n1", "n2"] {
            index.report(node, &report(10, &[]));
        }
        index.take_dirty(9);
        index.gone(Kind::Agent, "agent-n2");
        assert_eq!(index.wakes(), Some(PATIENCE));
        index.tick(PATIENCE.saturating_sub(Duration::from_secs(1)));
        assert!(
            index.take_dirty(9).is_empty(),
            "agents are replaced now and then"
        );
        assert_eq!(ready(&index).0, "True");
        index.tick(PATIENCE);
        assert_eq!(index.wakes(), None);
        assert!(index.take_dirty(9).contains("a"));
        let (holds, reason, message) = ready(&index);
        assert_eq!((holds.as_str(), reason.as_str()), ("False", "AgentGone"));
        assert!(
            message.contains("on 1 of 2 nodes; waiting for n2 (no agent runs there)"),
            "{message}"
        );
        assert_eq!(index.counts().silent, 1);
        index.agent("agent-n2-new", ready_on("n2"));
        assert!(index.take_dirty(9).contains("a"));
        assert_eq!(ready(&index).0, "True");
    }

    #[test]
    fn a_node_that_the_daemon_set_leaves_stops_counting() {
        let mut index = cluster();
        for node in ["n1", "n2"] {
            index.report(node, &report(10, &[]));
        }
        index.gone(Kind::Agent, "agent-n2");
        index.daemon_set("agents", Some(1));
        assert_eq!(status(&index).nodes.unwrap().summary, "1/1");
        assert_eq!(ready(&index).0, "True");
    }

    #[test]
    fn the_start_up_taint_goes_once_the_agent_of_this_very_node_is_ready_and_level() {
        let time = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        let agent = |created, away| {
            let mut agent = ready_on("new").unwrap();
            (agent.created, agent.away) = (time(created), away);
            Some(agent)
        };
        let mut index = cluster();
        let tainted = Node {
            created: time(100),
            tainted: vec![1],
            ..linux("u", BTreeMap::new())
        };
        index.node("new", tainted.clone());
        assert!(index.untaint().is_empty(), "no agent is there");
        index.agent("agent-new", agent(101, Some(Away::default())));
        index.report("new", &report(9, &[]));
        assert!(index.untaint().is_empty(), "it has yet to get a profile");
        index.report("new", &report(10, &[]));
        assert!(index.untaint().is_empty(), "the agent is not ready");
        index.agent("agent-new", agent(99, None));
        assert!(
            index.untaint().is_empty(),
            "the agent is older than the node"
        );
        index.agent("agent-new", agent(101, None));
        assert_eq!(index.untaint(), [("new".to_owned(), vec![1])]);
        index.profile("b", seen(1, 20), valid);
        assert!(index.untaint().is_empty(), "there is another profile");
        let mut failing = report(20, &[("b", "no space")]);
        index.report("new", &failing);
        assert!(index.untaint().is_empty(), "it could not write");
        failing.spec.failures[0].reason = "Conflict".into();
        index.report("new", &failing);
        assert_eq!(index.untaint().len(), 1);
        index.node(
            "new",
            Node {
                tainted: vec![],
                ..tainted
            },
        );
        assert!(index.untaint().is_empty());
    }

    /// What is to be done about the finalizer of a profile.
    fn step(index: &Index, name: &str) -> Option<Step> {
        Some(index.wanted(name, now())?.finalizer?.0)
    }

    fn using(profile: &str, pods: i32) -> SeccompNode {
        let mut report = report(11, &[]);
        report.spec.in_use = vec![seccomp_operator_api::NodeUse {
            profile: profile.into(),
            pods,
            ..seccomp_operator_api::NodeUse::default()
        }];
        report
    }

    fn held(generation: i64, deleting: bool) -> SeenProfile {
        SeenProfile {
            finalizers: vec![IN_USE_FINALIZER.into()],
            deleting,
            ..seen(generation, 10)
        }
    }

    fn in_use(index: &Index, name: &str) -> Condition {
        let conditions = status_of(index, name).conditions;
        let mut conditions = conditions.into_iter();
        conditions.find(|c| c.type_ == condition::IN_USE).unwrap()
    }

    #[test]
    fn a_profile_is_held_while_pods_use_it() {
        let mut index = cluster();
        assert_eq!(step(&index, "a"), None);
        index.report("n1", &using("a", 1));
        assert_eq!(step(&index, "a"), Some(Step::Hold));
        index.profile("a", held(1, false), valid);
        assert_eq!(step(&index, "a"), None);
        index.take_dirty(9);
        index.report("n1", &report(11, &[]));
        assert!(index.take_dirty(9).contains("a"));
        assert_eq!(step(&index, "a"), Some(Step::Release));
    }

    #[test]
    fn a_deleted_profile_goes_with_the_last_pod_or_the_last_node_that_has_one() {
        let mut index = cluster();
        index.report("n1", &using("a", 1));
        index.report("n2", &using("a", 2));
        index.profile("a", held(2, true), valid);
        assert_eq!(step(&index, "a"), None);
        assert!(
            in_use(&index, "a")
                .message
                .contains("n1 (1 pod), n2 (2 pods)")
        );
        index.report("n1", &report(11, &[]));
        assert_eq!(step(&index, "a"), None);
        index.take_dirty(9);
        index.gone(Kind::Node, "n2");
        assert!(index.take_dirty(9).contains("a"));
        assert_eq!(step(&index, "a"), Some(Step::Release));
    }

    #[test]
    fn what_a_lost_agent_said_last_holds_until_its_report_is_deleted() {
        let mut index = cluster();
        index.report("n1", &using("a", 1));
        index.profile("a", held(2, true), valid);
        assert!(!in_use(&index, "a").message.contains("kubectl"));
        index.gone(Kind::Agent, "agent-n1");
        index.tick(PATIENCE);
        assert_eq!(step(&index, "a"), None);
        let message = in_use(&index, "a").message;
        assert!(
            message.ends_with("kubectl delete seccompnode n1"),
            "{message}"
        );
        index.gone(Kind::Report, "n1");
        assert_eq!(step(&index, "a"), Some(Step::Release));
    }

    #[test]
    fn a_base_is_held_while_pods_use_what_stands_on_it() {
        let mut index = standing();
        index.take_dirty(9);
        index.report("n1", &using("derived", 1));
        assert_eq!(
            index.take_dirty(9),
            BTreeSet::from(["a".to_owned(), "derived".to_owned()])
        );
        assert_eq!(step(&index, "a"), Some(Step::Hold));
        assert_eq!(in_use(&index, "a").reason, "DerivedProfiles");
        assert_eq!(status(&index).used_by, Some(0));
        index.profile("a", held(1, false), valid);
        index.take_dirty(9);
        let rebased = SeenProfile {
            uid: "d".into(),
            ..seen(2, 12)
        };
        index.profile("derived", rebased, || on("audit"));
        assert!(index.take_dirty(9).contains("a"));
        assert_eq!(step(&index, "a"), Some(Step::Release));
    }

    #[test]
    fn a_condition_keeps_its_date_until_it_flips() {
        let mut index = cluster();
        let first = status(&index);
        let mut with_status = seen(1, 11);
        with_status.status = first.clone();
        index.profile("a", with_status, valid);
        let later = Timestamp::from_second(1_900_000_000).unwrap();
        assert!(index.wanted("a", later).is_none());
        index.report("n1", &report(10, &[]));
        index.report("n2", &report(10, &[]));
        let wanted = index.wanted("a", later).unwrap().status.unwrap();
        assert_eq!(wanted.conditions[0].last_transition_time.0, now());
        assert_eq!(wanted.conditions[1].last_transition_time.0, later);
    }

    #[test]
    fn a_report_touches_only_the_profiles_between_its_old_and_new_level() {
        let mut index = cluster();
        for (name, version) in [("b", 20), ("c", 30)] {
            index.profile(
                name,
                SeenProfile {
                    uid: name.into(),
                    ..seen(1, version)
                },
                valid,
            );
        }
        index.report("n1", &report(10, &[]));
        index.take_dirty(usize::MAX);
        index.report("n1", &report(20, &[]));
        assert_eq!(
            index.take_dirty(usize::MAX),
            BTreeSet::from(["b".to_owned()])
        );
        index.report("n1", &report(20, &[("c", "x")]));
        assert_eq!(
            index.take_dirty(usize::MAX),
            BTreeSet::from(["c".to_owned()])
        );
        index.report("n1", &report(20, &[("c", "x")]));
        assert!(index.take_dirty(usize::MAX).is_empty());
    }

    #[test]
    fn dirty_profiles_are_taken_in_portions() {
        let mut index = cluster();
        for (name, version) in [("b", 20), ("c", 30)] {
            index.profile(name, seen(1, version), valid);
        }
        assert_eq!(index.take_dirty(2).len(), 2);
        assert_eq!(index.take_dirty(2), BTreeSet::from(["c".to_owned()]));
        assert!(index.take_dirty(2).is_empty());
    }

    #[test]
    fn a_node_counts_while_any_of_its_agent_pods_is_there() {
        let mut index = cluster();
        index.agent("agent-n2-new", ready_on("n2"));
        index.gone(Kind::Agent, "agent-n2");
        assert_eq!(status(&index).nodes.unwrap().desired, 2);
        index.gone(Kind::Agent, "agent-n2-new");
        assert_eq!(status(&index).nodes.unwrap().desired, 1);
    }

    #[test]
    fn what_is_missing_from_a_full_list_is_gone() {
        let mut index = cluster();
        index.list_begins(Kind::Profile);
        index.list_ends(Kind::Profile);
        assert!(index.wanted("a", now()).is_none());
        index.list_begins(Kind::Node);
        index.node("n1", linux("uid-n1", BTreeMap::new()));
        index.list_ends(Kind::Node);
        assert_eq!(index.nodes.len(), 1);
    }

    #[test]
    fn a_report_without_its_node_as_owner_is_found() {
        let mut index = cluster();
        index.report("n1", &report(10, &[]));
        assert_eq!(index.unowned(), ["n1"]);
    }

    /// `derived` (version 11) on `a` (version 10), and both nodes level with both.
    fn standing() -> Index {
        let mut index = cluster();
        index.profile(
            "derived",
            SeenProfile {
                uid: "d".into(),
                ..seen(1, 11)
            },
            || on("a"),
        );
        index.report("n1", &report(11, &[]));
        index.report("n2", &report(11, &[]));
        index
    }

    #[test]
    fn a_derived_profile_is_ready_when_nodes_have_its_bases_current_generation_too() {
        let mut index = standing();
        assert_eq!(ready_of(&index, "derived").0, "True");
        assert_eq!(
            status_of(&index, "derived").default_action.as_deref(),
            Some("SCMP_ACT_ALLOW")
        );
        index.take_dirty(usize::MAX);
        index.profile("a", seen(2, 20), || {
            defined(&json!({"profile": {"defaultAction": "SCMP_ACT_LOG"}}))
        });
        assert!(index.take_dirty(usize::MAX).contains("derived"));
        assert_eq!(ready_of(&index, "derived").1, "Progressing");
        assert_eq!(
            status_of(&index, "derived").default_action.as_deref(),
            Some("SCMP_ACT_LOG")
        );
        index.report("n1", &report(20, &[]));
        index.take_dirty(usize::MAX);
        index.report("n2", &report(20, &[]));
        assert_eq!(
            index.take_dirty(usize::MAX),
            BTreeSet::from(["a".to_owned(), "derived".to_owned()])
        );
        assert_eq!(ready_of(&index, "derived").0, "True");
    }

    #[test]
    fn a_later_revision_of_the_base_is_waited_for_too() {
        let mut index = standing();
        let mut late = seen(1, 99);
        late.status = SeccompProfileStatus {
            observed_generation: Some(1),
            revision: Some("50".into()),
            ..SeccompProfileStatus::default()
        };
        index.profile("a", late, || panic!("defined again"));
        assert_eq!(ready_of(&index, "derived").1, "Progressing");
        index.report("n1", &report(50, &[]));
        index.report("n2", &report(50, &[]));
        assert_eq!(ready_of(&index, "derived").0, "True");
        assert_eq!(status_of(&index, "derived").revision.as_deref(), Some("11"));
    }

    #[test]
    fn a_derived_profile_is_not_accepted_while_its_base_is_missing_or_invalid_and_recovers() {
        let mut index = standing();
        let accepted = |index: &Index| status_of(index, "derived").conditions[0].clone();
        assert_eq!(accepted(&index).status, "True");
        index.take_dirty(usize::MAX);
        index.gone(Kind::Profile, "a");
        assert_eq!(
            index.take_dirty(usize::MAX),
            BTreeSet::from(["derived".to_owned()])
        );
        assert_eq!(accepted(&index).status, "False");
        assert!(
            accepted(&index)
                .message
                .starts_with("spec.base: \"a\" is neither a built-in nor a known profile")
        );
        assert_eq!(ready_of(&index, "derived").1, "NotAccepted");
        assert_eq!(status_of(&index, "derived").default_action, None);
        index.profile("a", seen(1, 30), || {
            Err("spec.profile: no defaultAction".into())
        });
        assert!(
            accepted(&index)
                .message
                .contains("\"a\" is not valid itself: spec.profile: no defaultAction")
        );
        index.profile("a", seen(2, 31), valid);
        assert_eq!(accepted(&index).status, "True");
        assert_eq!(ready_of(&index, "derived").1, "Progressing");
        index.report("n1", &report(31, &[]));
        index.report("n2", &report(31, &[]));
        assert_eq!(ready_of(&index, "derived").0, "True");
    }

    #[test]
    fn what_the_author_should_know_is_in_the_status() {
        let mut index = cluster();
        let stops_nothing = |warning: &String| warning.ends_with("[stops-nothing]");
        assert!(status(&index).warnings.iter().any(stops_nothing));
        index.profile("a", seen(2, 20), || on("docker-default"));
        assert_eq!(status(&index).warnings, Vec::<String>::new());
        index.profile("a", seen(3, 21), || {
            defined(&json!({"base": "docker-default", "deny": ["chmod"]}))
        });
        let warnings = status(&index).warnings;
        assert!(
            warnings[0].starts_with("spec.deny[0]: ") && warnings[0].ends_with("[open-twin]"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_change_touches_only_what_stands_on_it() {
        let mut index = standing();
        index.profile(
            "other",
            SeenProfile {
                uid: "o".into(),
                ..seen(1, 12)
            },
            || on("audit"),
        );
        index.take_dirty(usize::MAX);
        index.profile(
            "derived",
            SeenProfile {
                uid: "d".into(),
                ..seen(2, 20)
            },
            || on("audit"),
        );
        assert_eq!(
            index.take_dirty(usize::MAX),
            BTreeSet::from(["derived".to_owned()])
        );
        index.profile("a", seen(2, 21), valid);
        assert_eq!(
            index.take_dirty(usize::MAX),
            BTreeSet::from(["a".to_owned()])
        );
    }
}
