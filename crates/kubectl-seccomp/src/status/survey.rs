//! The state of every profile and node, from what the cluster says: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use kube::core::error_boundary::InvalidObject;
use serde::Serialize;

use super::source::Source;
use crate::text::plural;
use kube_support::resource_version;
use seccomp_operator_api::{
    Failure, NodeFailure, SeccompNode, SeccompProfile, SeccompProfileStatus, SourceState,
    condition, selects,
};

/// The longest chain of bases; profiles with a longer one are refused.
const MAX_BASES: usize = 15;

/// What the cluster says.
#[derive(Debug, Default)]
pub struct Observed {
    /// The SeccompProfiles.
    pub profiles: Vec<Result<SeccompProfile, InvalidObject>>,
    /// The SeccompNodes; none if one may not list them.
    pub reports: Option<Vec<SeccompNode>>,
    /// The labels of the Nodes that run Linux; none if one may not list them.
    pub nodes: Option<BTreeMap<String, BTreeMap<String, String>>>,
    /// The agents' pods; none if one may not list them.
    pub agents: Option<Vec<Agent>>,
    /// The SeccompSources, as far as one may list them.
    pub sources: Vec<Source>,
}

/// An agent's pod.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    pub node: String,
    /// Why it does not run, if it does not.
    pub trouble: Option<String>,
}

/// How all of it stands.
#[derive(Debug, Serialize)]
pub struct Survey {
    pub summary: Summary,
    pub profiles: Vec<Profile>,
    pub nodes: Vec<Node>,
    /// Where profiles come from that a registry has.
    pub sources: Vec<Source>,
    /// Whether profiles could be listed.
    #[serde(skip)]
    pub sees_profiles: bool,
    /// Whether nodes could be found out.
    #[serde(skip)]
    pub sees_nodes: bool,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Profiles by state.
    pub profiles: BTreeMap<State, usize>,
    /// Nodes by state.
    pub nodes: BTreeMap<NodeState, usize>,
    /// SeccompSources by state.
    pub sources: BTreeMap<SourceState, usize>,
}

/// How a profile stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// The newest generation is on every node that should have it.
    Ready,
    /// It is on its way.
    Progressing,
    /// The controller has not looked at the newest generation.
    Unseen,
    /// It is deleted, and stays until no pod uses it.
    Deleting,
    /// A node could not take it.
    Failed,
    /// No container starts under it.
    Unstartable,
    /// It means nothing.
    Invalid,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum NodeState {
    /// It has every profile that it should have.
    InSync,
    /// Its agent has not applied the newest profiles yet.
    Behind,
    /// Some profiles are not as they should be.
    Failing,
    /// Its agent is gone, does not run, or has never reported.
    Silent,
    /// No agent is meant to run there.
    NoAgent,
}

impl State {
    /// For a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Unseen => "Unseen",
            Self::Deleting => "Deleting",
            Self::Failed => "Failed",
            Self::Unstartable => "Unstartable",
            Self::Invalid => "Invalid",
        }
    }
}

impl NodeState {
    /// For a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            Self::Behind => "behind",
            Self::Failing => "failing",
            Self::Silent => "silent",
            Self::NoAgent => "without an agent",
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Why it is in that state.
    pub message: String,
    /// What a pod writes as `localhostProfile`.
    #[serde(rename = "localhostProfile")]
    pub path: Option<String>,
    /// What it does with a syscall that no rule names.
    pub default_action: Option<String>,
    /// Nodes that should have it, have it, and could not take it.
    pub desired: i32,
    /// See `desired`.
    pub ready: i32,
    /// See `desired`.
    pub failed: i32,
    /// Pods that use it.
    pub used_by: i32,
    /// Running containers with an older content of it.
    pub outdated: i32,
    /// The pods that these are in, as far as their nodes name them.
    pub outdated_pods: Vec<OutdatedPod>,
    /// Whether containers start under it, and why not, or why nobody can tell.
    pub startable: Startable,
    /// What it may do that its author may not expect.
    pub warnings: Vec<String>,
    /// The nodes on which somebody else's file has its name, so that pods start under that.
    pub foreign: Vec<String>,
    /// The nodes that could not take it, and why.
    pub failures: Vec<Failure>,
    /// The nodes that have not applied it yet.
    pub waiting: Vec<String>,
    /// The nodes whose pods use it, and how many do.
    pub users: BTreeMap<String, i32>,
}

/// A pod with a container that was created with an older content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OutdatedPod {
    pub namespace: String,
    pub name: String,
    pub node: String,
}

/// The condition `Startable`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Startable {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A word for programs.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub name: String,
    /// How it stands.
    pub state: NodeState,
    /// Why it is in that state; empty if it is in sync.
    pub message: String,
    /// The profiles that are not as they should be.
    pub failures: Vec<NodeFailure>,
    /// As the agent says it.
    pub architecture: String,
    /// As the agent says it.
    pub kernel_version: String,
    /// As the Node says it.
    pub container_runtime: Option<String>,
    /// Of its agent.
    pub agent_version: String,
}

impl Survey {
    /// Whether anything has failed: what does not get better by waiting.
    pub fn has_failures(&self) -> bool {
        let profile =
            |p: &Profile| matches!(p.state, State::Failed | State::Unstartable | State::Invalid);
        let node = |n: &Node| matches!(n.state, NodeState::Failing | NodeState::Silent);
        let source = |s: &Source| s.state == SourceState::Failed;
        self.profiles.iter().any(profile)
            || self.nodes.iter().any(node)
            || self.sources.iter().any(source)
    }

    /// Whether every profile is on every node that should have it, and what its source says.
    pub fn is_ready(&self) -> bool {
        let profile = |p: &Profile| matches!(p.state, State::Ready | State::Deleting);
        let source = |s: &Source| s.state != SourceState::Unseen;
        self.profiles.iter().all(profile) && self.sources.iter().all(source) && !self.has_failures()
    }

    /// The same, of one profile.
    pub fn only(mut self, name: &str) -> Option<Self> {
        self.profiles.retain(|profile| profile.name == name);
        let profile = self.profiles.first()?;
        let concerned: BTreeSet<_> = profile
            .failures
            .iter()
            .map(|failure| &failure.node)
            .chain(&profile.waiting)
            .collect();
        self.nodes.retain(|node| concerned.contains(&node.name));
        for node in &mut self.nodes {
            node.failures.retain(|failure| failure.profile == name);
        }
        self.sources.retain(|source| source.name == name);
        self.summary = Summary::count(&self.profiles, &self.nodes, &self.sources);
        Some(self)
    }
}

impl Startable {
    /// Of a profile that no controller has looked at.
    fn unknown() -> Self {
        Self {
            status: "Unknown".into(),
            ..Self::default()
        }
    }
}

impl Summary {
    fn count(profiles: &[Profile], nodes: &[Node], sources: &[Source]) -> Self {
        let mut summary = Self::default();
        for profile in profiles {
            *summary.profiles.entry(profile.state).or_default() += 1;
        }
        for node in nodes {
            *summary.nodes.entry(node.state).or_default() += 1;
        }
        for source in sources {
            *summary.sources.entry(source.state).or_default() += 1;
        }
        summary
    }
}

/// Works out how all of it stands.
pub fn survey(observed: &Observed, notes: Vec<String>) -> Survey {
    let required = required_versions(&observed.profiles);
    let reports: BTreeMap<_, _> = observed
        .reports
        .iter()
        .flatten()
        .map(|report| (report.name_any(), report))
        .collect();
    let nodes = nodes(observed, &reports, &required);
    let profiles: BTreeMap<_, _> = observed
        .profiles
        .iter()
        .map(|profile| profile_of(profile, &reports, &required, observed))
        .map(|profile| (profile.name.clone(), profile))
        .collect();
    let profiles: Vec<_> = profiles.into_values().collect();
    Survey {
        summary: Summary::count(&profiles, &nodes, &observed.sources),
        profiles,
        nodes,
        sources: observed.sources.clone(),
        sees_profiles: true,
        sees_nodes: observed.reports.is_some(),
        notes,
    }
}

/// A sentence for each profile that is not there: gone, with files that are kept for pods, or not given by its source yet.
pub fn left_over(observed: &Observed) -> BTreeMap<String, String> {
    let profiles = observed.profiles.iter();
    let name = |profile: &Result<_, InvalidObject>| match profile {
        Ok(profile) => SeccompProfile::name_any(profile),
        Err(unreadable) => unreadable.metadata.name.clone().unwrap_or_default(),
    };
    let names: BTreeSet<_> = profiles.map(name).collect();
    let mut users = BTreeMap::<_, Vec<String>>::new();
    for report in observed.reports.iter().flatten() {
        let kept = report
            .spec
            .in_use
            .iter()
            .filter(|used| used.pending_removal);
        for used in kept.filter(|used| !names.contains(&used.profile)) {
            let pods = plural(usize::try_from(used.pods).unwrap_or(0), "pod");
            let users = users.entry(used.profile.clone()).or_default();
            users.push(format!("{} ({pods})", report.name_any()));
        }
    }
    let sentence = |(name, nodes): (String, Vec<String>)| {
        let nodes = nodes.join(", ");
        let sentence = format!(
            "there is no SeccompProfile {name:?} any more; its file stays while pods use it, on {nodes}; apply it again to keep it"
        );
        (name, sentence)
    };
    let kept: BTreeMap<_, _> = users.into_iter().map(sentence).collect();
    let sources = observed.sources.iter();
    let missing = sources.filter(|source| !names.contains(&source.name));
    let sentence = |source: &Source| {
        let Source { name, message, .. } = source;
        let sentence = format!(
            "there is no SeccompProfile {name:?} yet; its SeccompSource is {}: {message}",
            source.word()
        );
        (name.clone(), sentence)
    };
    missing.map(sentence).chain(kept).collect()
}

/// What a node must have applied to have a profile, by the profile's name.
pub type RequiredVersions = BTreeMap<String, Required>;

/// The version of the profile list that a node must have applied, if it has the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Required {
    /// The latest of the revisions of the profile and of all that it derives from.
    pub version: u64,
    /// The profile's `nodeSelector`.
    pub selector: BTreeMap<String, String>,
}
type Reports<'a> = BTreeMap<String, &'a SeccompNode>;

/// For each profile, the version of the profile list with which a node has all that the profile derives from.
pub fn required_versions(profiles: &[Result<SeccompProfile, InvalidObject>]) -> RequiredVersions {
    let known: BTreeMap<_, _> = profiles
        .iter()
        .flatten()
        .map(|profile| (profile.name_any(), profile))
        .collect();
    let own = |profile: &SeccompProfile| {
        let revision = profile.status.as_ref().and_then(|s| s.revision.as_deref());
        revision.map_or(0, resource_version)
    };
    let version = |profile: &SeccompProfile| {
        let mut version = own(profile);
        let mut base = profile.spec.base.as_ref();
        for _ in 0..MAX_BASES {
            let Some(next) = base.and_then(|name| known.get(name)) else {
                break;
            };
            version = version.max(own(next));
            base = next.spec.base.as_ref();
        }
        version
    };
    known
        .iter()
        .map(|(name, profile)| {
            let required = Required {
                version: version(profile),
                selector: profile.spec.node_selector.clone(),
            };
            (name.clone(), required)
        })
        .collect()
}

fn nodes(observed: &Observed, reports: &Reports<'_>, required: &RequiredVersions) -> Vec<Node> {
    let newest = required
        .values()
        .map(|wanted| wanted.version)
        .max()
        .unwrap_or(0);
    let names: BTreeSet<&String> = reports
        .keys()
        // A report outlives its node by the moments that garbage collection takes.
        .filter(|name| {
            observed
                .nodes
                .as_ref()
                .is_none_or(|n| n.contains_key(*name))
        })
        .chain(observed.nodes.iter().flat_map(BTreeMap::keys))
        .collect();
    let node = |name: &String| {
        let report = reports.get(name).map(|report| &report.spec);
        let agents = observed.agents.as_ref();
        let agent = agents.map(|agents| agents.iter().find(|agent| agent.node == *name));
        let (state, message) = match (report, agent) {
            (None, Some(None)) => (NodeState::NoAgent, "no agent runs there".to_owned()),
            (Some(_), Some(None)) => (NodeState::Silent, "its agent is gone".to_owned()),
            (
                _,
                Some(Some(Agent {
                    trouble: Some(trouble),
                    ..
                })),
            ) => (
                NodeState::Silent,
                format!("its agent does not run: {trouble}"),
            ),
            (None, _) => (
                NodeState::Silent,
                "no agent has reported from there".to_owned(),
            ),
            (Some(report), _) if report.failed > 0 => (
                NodeState::Failing,
                format!("profiles that are not as they should be: {}", report.failed),
            ),
            (Some(report), _) if resource_version(&report.applied_resource_version) < newest => (
                NodeState::Behind,
                format!(
                    "its agent is at version {} of the profile list, and the newest profile at {newest}",
                    report.applied_resource_version
                ),
            ),
            (Some(_), _) => (NodeState::InSync, String::new()),
        };
        let info = report.map(|report| report.node.clone()).unwrap_or_default();
        Node {
            name: name.clone(),
            state,
            message,
            failures: report.map(|r| r.failures.clone()).unwrap_or_default(),
            architecture: info.architecture,
            kernel_version: info.kernel_version,
            container_runtime: info.container_runtime,
            agent_version: info.agent_version,
        }
    };
    names.into_iter().map(node).collect()
}

fn profile_of(
    profile: &Result<SeccompProfile, InvalidObject>,
    reports: &Reports<'_>,
    required: &RequiredVersions,
    observed: &Observed,
) -> Profile {
    let (metadata, status) = match profile {
        Ok(profile) => (&profile.metadata, profile.status.clone()),
        Err(unreadable) => (&unreadable.metadata, None),
    };
    let name = metadata.name.clone().unwrap_or_default();
    let status = status.unwrap_or_default();
    let counts = status.nodes.clone().unwrap_or_default();
    let startable = status.condition(condition::STARTABLE);
    let startable = startable.map_or_else(Startable::unknown, |condition| Startable {
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    });
    let (state, message) = match profile {
        Err(unreadable) => (State::Invalid, unreadable.error.clone()),
        Ok(_) => state(
            &status,
            metadata.generation,
            metadata.deletion_timestamp.is_some(),
        ),
    };
    let mut failures = Vec::new();
    let mut waiting = Vec::new();
    let mut users = BTreeMap::new();
    let mut outdated_pods = Vec::new();
    let Required { version, selector } = required.get(&name).cloned().unwrap_or_default();
    for (node, report) in reports {
        let labels = observed.nodes.as_ref().map(|nodes| nodes.get(node));
        let meant = match labels {
            // Without the Nodes nobody knows their labels.
            None => selector.is_empty(),
            Some(None) => false,
            Some(Some(labels)) => selects(&selector, labels),
        };
        let report = &report.spec;
        if let Some(used) = report.in_use.iter().find(|used| used.profile == name) {
            users.insert(node.clone(), used.pods);
            outdated_pods.extend(used.outdated_pods.iter().map(|pod| OutdatedPod {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                node: node.clone(),
            }));
        }
        if let Some(failure) = report.failures.iter().find(|f| f.profile == name) {
            failures.push(Failure {
                node: node.clone(),
                reason: failure.reason.clone(),
                message: failure.message.clone(),
            });
        } else if meant && resource_version(&report.applied_resource_version) < version {
            waiting.push(node.clone());
        }
    }
    if observed.reports.is_none() {
        failures = status.failures;
    }
    let conflicts = failures
        .iter()
        .filter(|failure| failure.reason == NodeFailure::CONFLICT);
    outdated_pods.sort();
    Profile {
        outdated_pods,
        foreign: conflicts.map(|failure| failure.node.clone()).collect(),
        name,
        state,
        message,
        path: status.localhost_profile,
        default_action: status.default_action,
        desired: counts.desired,
        ready: counts.ready,
        failed: counts.failed,
        used_by: status.used_by.unwrap_or(0),
        outdated: status.outdated.unwrap_or(0),
        startable,
        warnings: status.warnings,
        failures,
        waiting,
        users,
    }
}

/// A profile's state by its conditions, and a sentence.
fn state(status: &SeccompProfileStatus, generation: Option<i64>, deleted: bool) -> (State, String) {
    let condition = |type_| status.condition(type_);
    let message = |type_| {
        condition(type_)
            .map(|c| c.message.clone())
            .unwrap_or_default()
    };
    if deleted {
        return (State::Deleting, message(condition::IN_USE));
    }
    if status.observed_generation.is_none() || status.observed_generation != generation {
        let message = "the controller has not looked at the newest generation; does it run?";
        return (State::Unseen, message.to_owned());
    }
    if condition(condition::ACCEPTED).is_some_and(|c| c.status == "False") {
        return (State::Invalid, message(condition::ACCEPTED));
    }
    let ready = condition(condition::READY);
    if let Some(why) = status.starts_nothing()
        && ready.is_none_or(|ready| ready.reason != "Failed")
    {
        return (State::Unstartable, why.to_owned());
    }
    let state = match ready {
        Some(ready) if ready.status == "True" => State::Ready,
        Some(ready) if ready.reason == "Failed" => State::Failed,
        _ => State::Progressing,
    };
    (state, message(condition::READY))
}

#[cfg(test)]
mod tests;
