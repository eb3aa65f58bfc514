//! The nodes, and what to expect of the agents there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::profiles::Profile;
use super::{Index, Kind};
use crate::controller::agents::{Agent, Agents, Standing};
use seccomp_profile::Arch;

/// A Node as the watch saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenNode {
    /// The object's uid.
    pub uid: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where the start-up taint is among its taints.
    pub tainted: Vec<usize>,
}

impl SeenNode {
    /// Its architecture, as kubelet says it.
    fn arch(&self) -> Option<Arch> {
        Arch::from_node(self.labels.get("kubernetes.io/arch")?)
    }

    fn runs_linux(&self) -> bool {
        let os = self.labels.get("kubernetes.io/os");
        os.is_none_or(|os| os == "linux")
    }
}

impl Index {
    /// A node exists. One that does not run Linux is not for us.
    pub fn node(&mut self, name: &str, node: SeenNode) {
        self.listings[Kind::Node as usize].saw(name);
        if !node.runs_linux() {
            return self.gone(Kind::Node, name);
        }
        let relabelled = |old: &SeenNode| old.labels != node.labels;
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
        let arch = node.arch();
        let before = self.nodes.insert(name.to_owned(), node);
        self.count_arch(before.as_ref(), arch);
    }

    /// The architectures of the nodes, each once.
    #[must_use]
    pub fn architectures(&self) -> Vec<Arch> {
        self.arches.keys().copied().collect()
    }

    /// A node that was like this is of that architecture now, or gone.
    pub(super) fn count_arch(&mut self, before: Option<&SeenNode>, after: Option<Arch>) {
        if let Some(arch) = before.and_then(SeenNode::arch)
            && let Some(count) = self.arches.get_mut(&arch)
        {
            *count -= 1;
            if *count == 0 {
                self.arches.remove(&arch);
            }
        }
        if let Some(arch) = after {
            *self.arches.entry(arch).or_default() += 1;
        }
    }

    /// An agent's pod exists. One that has no node to be on yet concerns nobody.
    pub fn agent(&mut self, pod: &str, agent: Option<Agent>) {
        self.listings[Kind::Agent as usize].saw(pod);
        if let Some(agent) = agent {
            self.agents_change(|agents, now| agents.pod(pod, agent, now));
        }
    }

    /// The nodes where an agent does its work.
    #[must_use]
    pub fn nodes_with_agent(&self) -> BTreeSet<String> {
        self.agents.at_work().map(str::to_owned).collect()
    }

    /// A DaemonSet of agents exists, and wants so many of them; or it is gone.
    pub fn daemon_set(&mut self, name: &str, wanted: Option<usize>) {
        self.listings[Kind::DaemonSet as usize].saw(name);
        self.agents_change(|agents, _| {
            agents.wants(name, wanted);
            Vec::new()
        });
    }

    /// Does something to the agents; what to expect of the nodes follows.
    pub(super) fn agents_change(
        &mut self,
        change: impl FnOnce(&mut Agents, Duration) -> Vec<String>,
    ) {
        let short = self.agents.is_short();
        let mut nodes = change(&mut self.agents, self.now);
        if self.agents.is_short() != short {
            nodes.extend(self.agents.missing());
        }
        for node in nodes {
            self.update_standing(&node);
        }
    }

    /// It is so long since the start of the process: some agents that are away count as gone from now on, and statuses may tell of more denials.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        let due = self.waking.iter().filter(|(_, at)| **at <= now);
        let due: Vec<_> = due.map(|(node, _)| node.clone()).collect();
        for node in due {
            self.update_standing(&node);
        }
        self.tick_denials();
    }

    /// When [`tick`](Self::tick) has something to do next.
    #[must_use]
    pub fn wakes(&self) -> Option<Duration> {
        let wakes = self.waking.values().copied();
        wakes.chain(self.denials_wake()).min()
    }

    /// What to expect of a node may have changed, and with it every status.
    pub(super) fn update_standing(&mut self, node: &str) {
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

    /// The nodes that pods may come to although they have the start-up taint, and where it is among their taints: a ready agent is
    /// there, has applied the whole profile list, and has been able to write. What nobody can write there (an invalid profile) or may (a
    /// file that is somebody else's) keeps no pod away.
    #[must_use]
    pub fn untaint(&self) -> Vec<(String, Vec<usize>)> {
        if !self.is_complete() {
            return Vec::new();
        }
        let newest = self.newest_version();
        let in_sync = |name: &&String| {
            let report = self.reports.get(*name);
            report.is_some_and(|report| report.applied_version >= newest && report.has_written())
        };
        // A node can have had the name before, with an agent that was in sync.
        let ready = |(name, node): &(&String, &SeenNode)| self.agents.is_ready(name, node.created);
        let tainted = self.tainted.iter().filter(in_sync);
        let nodes = tainted.filter_map(|name| Some((name, self.nodes.get(name)?)));
        nodes
            .filter(ready)
            .map(|(name, node)| (name.clone(), node.tainted.clone()))
            .collect()
    }

    /// The statuses of profiles that select nodes by labels may have to change.
    pub(super) fn selecting_dirty(&mut self) {
        let selects = |(_, profile): &(&String, &Profile)| !profile.seen.node_selector.is_empty();
        let names = self.profiles.iter().filter(selects);
        self.dirty.extend(names.map(|(name, _)| name.clone()));
    }

    /// The nodes that have a SeccompNode.
    #[must_use]
    pub fn reporting(&self) -> Vec<String> {
        self.owners.keys().cloned().collect()
    }

    /// The nodes that exist and do not own their SeccompNode.
    #[must_use]
    pub fn unowned(&self) -> Vec<String> {
        let is_unowned = |(name, owners): &(&String, &Vec<String>)| {
            self.nodes
                .get(*name)
                .is_some_and(|node| !owners.contains(&node.uid))
        };
        self.owners
            .iter()
            .filter(is_unowned)
            .map(|(name, _)| name.clone())
            .collect()
    }
}
