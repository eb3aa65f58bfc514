//! What the cluster's profiles, nodes and agents look like, and what each profile's status should therefore say: a pure state.
//!
//! A node has a profile when its agent has applied every change up to the resource version at which the profile's current generation
//! was first seen (its *revision*). So a node's report stays small however many profiles are well, and one report can make many
//! profiles ready. The work per change is proportional to the profiles it touches, times the nodes.
//!
//! A profile that derives from others changes with them. A node has its current meaning once it has applied the latest of all their
//! revisions, the profile's *required version*: an agent that has applied a change has applied everything that follows from it.
//!
//! `profiles`, `nodes` and `reports` take what the watches see; `rollout`, `startup` and `in_use` say what follows from it for one profile,
//! `denials` what recorders and audit readers say was refused, `status` what is to be written, `counts` what metrics show. Nothing here does I/O or reads a clock.

mod counts;
mod denials;
mod in_use;
mod nodes;
mod profiles;
mod reports;
mod rollout;
mod startup;
mod status;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::agents::{Agents, Standing};
use super::finalizer;
use kube_support::Listing;
use seccomp_profile::Library;

pub use counts::{IndexCounts, NodeStates, ProfileStates};
pub use nodes::SeenNode;
pub use profiles::{SeenProfile, SeenTrial};
pub use status::ProfileWrite;

use denials::{By, Denials};
use profiles::Profile;
use reports::NodeReport;
use status::Accepted;

/// See the module's head.
#[derive(Debug)]
pub struct Index {
    profiles_dir: String,
    profiles: BTreeMap<String, Profile>,
    /// Which profiles a node gets by applying more.
    by_required_version: BTreeSet<(u64, String)>,
    /// What the profiles say, and which derive from which.
    library: Library,
    /// Linux nodes.
    nodes: BTreeMap<String, SeenNode>,
    /// Those of them that have the start-up taint.
    tainted: BTreeSet<String>,
    agents: Agents,
    /// What to expect of each node.
    standings: BTreeMap<String, Standing>,
    /// The nodes whose standing changes by itself, and when.
    waking: BTreeMap<String, Duration>,
    /// The moment that it is, since the start of the process.
    now: Duration,
    reports: BTreeMap<String, NodeReport>,
    /// The uids of the nodes that own each SeccompNode.
    owners: BTreeMap<String, Vec<String>>,
    denials: Denials,
    /// Profiles whose status may have to change.
    dirty: BTreeSet<String>,
    /// The definition of profiles is being deleted: none is held any more.
    definition_goes: bool,
    listings: [Listing; 7],
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
    SeccompNode,
    /// The agents' DaemonSet.
    DaemonSet,
    /// SeccompDenialReports.
    DenialReport,
    /// SeccompAuditReports.
    AuditReport,
}

impl Index {
    /// An empty index. `profiles_dir` is the folder below kubelet's seccomp folder; an agent that has been away for `patience` counts
    /// as gone.
    #[must_use]
    pub fn new(profiles_dir: &str, patience: Duration) -> Self {
        Self {
            profiles_dir: profiles_dir.into(),
            profiles: BTreeMap::new(),
            by_required_version: BTreeSet::new(),
            library: Library::default(),
            nodes: BTreeMap::new(),
            tainted: BTreeSet::new(),
            agents: Agents::new(patience),
            standings: BTreeMap::new(),
            waking: BTreeMap::new(),
            now: Duration::ZERO,
            reports: BTreeMap::new(),
            owners: BTreeMap::new(),
            denials: Denials::default(),
            dirty: BTreeSet::new(),
            definition_goes: false,
            listings: Default::default(),
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
            Kind::DenialReport => listing.ends(self.denials.nodes(By::Recorder)),
            Kind::AuditReport => listing.ends(self.denials.nodes(By::AuditReader)),
            Kind::Profile => listing.ends(self.profiles.keys().map(String::as_str)),
            Kind::Node => listing.ends(self.nodes.keys().map(String::as_str)),
            Kind::Agent => listing.ends(self.agents.pods()),
            Kind::DaemonSet => listing.ends(self.agents.daemon_sets()),
            Kind::SeccompNode => listing.ends(self.reports.keys().map(String::as_str)),
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
                    self.by_required_version
                        .remove(&(profile.required_version, name.to_owned()));
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
            Kind::DenialReport => self.denials(name, None),
            Kind::AuditReport => self.audited(name, None),
            Kind::SeccompNode => {
                self.owners.remove(name);
                if self.reports.remove(name).is_some() {
                    self.all_dirty();
                    self.update_standing(name);
                }
            }
        }
    }

    /// All statuses may have to change: after something that concerns every profile, and when this process begins to lead.
    pub fn all_dirty(&mut self) {
        self.dirty.extend(self.profiles.keys().cloned());
    }

    /// A profile's status should be looked at again.
    pub fn mark_dirty(&mut self, name: &str) {
        if self.profiles.contains_key(name) {
            self.dirty.insert(name.to_owned());
        }
    }

    /// Whether any profile that somebody has deleted is held.
    #[must_use]
    pub fn holds_deleted(&self) -> bool {
        let mut profiles = self.profiles.values().map(|profile| &profile.seen);
        profiles.any(|seen| seen.deleting && finalizer::is_held(&seen.finalizers))
    }

    /// The definition of profiles is being deleted, or is not. While it is, no profile is held, whoever uses it.
    pub fn definition_goes(&mut self, goes: bool) {
        if std::mem::replace(&mut self.definition_goes, goes) != goes {
            self.all_dirty();
        }
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
}
