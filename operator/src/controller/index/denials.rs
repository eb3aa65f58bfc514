//! What the nodes' recorders say was refused under observed profiles, and what the profiles' statuses say of it. They change all the time
//! where something is refused in a loop, so that a status takes what is new once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Index, Kind};
use seccomp_operator_api::{Denial, DenialReport, MAX_PROFILE_DENIALS, most_frequent};

/// How long what is told of a profile stays as it is.
const PACE: Duration = Duration::from_mins(1);

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Denials {
    /// By node and profile.
    reported: BTreeMap<String, BTreeMap<String, Vec<Denial>>>,
    /// By profile.
    told: BTreeMap<String, Told>,
    /// The profiles of which something else was reported than is told.
    changed: BTreeSet<String>,
}

#[derive(Debug)]
struct Told {
    denials: Vec<Denial>,
    until: Duration,
}

impl Denials {
    fn report(&mut self, node: &str, report: Option<&DenialReport>) {
        let mut by_profile = BTreeMap::<_, Vec<_>>::new();
        for observed in report.iter().flat_map(|report| &report.denials) {
            let denials = by_profile.entry(observed.profile.clone()).or_default();
            denials.push(observed.denial.clone());
        }
        let old = match report {
            Some(_) => self.reported.insert(node.to_owned(), by_profile.clone()),
            None => self.reported.remove(node),
        };
        let old = old.unwrap_or_default();
        let all = old.keys().chain(by_profile.keys());
        let changed = all.filter(|profile| old.get(*profile) != by_profile.get(*profile));
        self.changed.extend(changed.cloned());
    }

    /// The profiles of which something else is told from now on.
    fn tick(&mut self, now: Duration) -> Vec<String> {
        let told = &self.told;
        let is_due = |profile: &String| told.get(profile).is_none_or(|told| told.until <= now);
        let due: Vec<_> = self.changed.iter().filter(|p| is_due(p)).cloned().collect();
        let mut others = Vec::new();
        for profile in due {
            self.changed.remove(&profile);
            let nodes = self.reported.values();
            let all = nodes.filter_map(|by_profile| by_profile.get(&profile));
            let denials = most_frequent(all.flatten().cloned().collect(), MAX_PROFILE_DENIALS);
            let until = now + PACE;
            let old = self.told.insert(profile.clone(), Told { denials, until });
            let old = old.map(|told| told.denials).unwrap_or_default();
            if old != self.told(&profile) {
                others.push(profile);
            }
        }
        self.told
            .retain(|_, told| !told.denials.is_empty() || told.until > now);
        others
    }

    fn wakes(&self) -> Option<Duration> {
        let changed = self.changed.iter();
        changed
            .map(|profile| {
                self.told
                    .get(profile)
                    .map_or(Duration::ZERO, |told| told.until)
            })
            .min()
    }

    /// The nodes that have a report.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.reported.keys().map(String::as_str)
    }

    fn told(&self, profile: &str) -> &[Denial] {
        self.told.get(profile).map_or(&[], |told| &told.denials)
    }
}

impl Index {
    /// A node's recorder says this, or there is no such report any more.
    pub fn denials(&mut self, node: &str, report: Option<&DenialReport>) {
        if report.is_some() {
            self.listings[Kind::DenialReport as usize].saw(node);
        }
        self.denials.report(node, report);
    }

    /// The reports of recorders whose node is gone.
    #[must_use]
    pub fn orphaned_denials(&self) -> Vec<String> {
        if !self.is_complete() {
            return Vec::new();
        }
        let is_orphan = |node: &&str| !self.nodes.contains_key(*node);
        let orphans = self.denials.nodes().filter(is_orphan);
        orphans.map(str::to_owned).collect()
    }

    /// What the status of a profile says of it.
    pub(super) fn denials_of(&self, profile: &str) -> Vec<Denial> {
        self.denials.told(profile).to_vec()
    }

    /// What half of the reports say is told to nobody.
    pub(super) fn tick_denials(&mut self) {
        if self.is_complete() {
            for profile in self.denials.tick(self.now) {
                self.mark_dirty(&profile);
            }
        }
    }

    /// When there is something to tell.
    pub(super) fn denials_wake(&self) -> Option<Duration> {
        self.denials.wakes().filter(|_| self.is_complete())
    }
}
