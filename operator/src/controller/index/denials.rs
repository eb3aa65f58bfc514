//! What the nodes' recorders and audit readers say was refused, killed or logged under profiles, or would be refused by their next versions, and what the profiles'
//! statuses say of it. They change all the time where something is refused in a loop, so that a status takes what is new once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Index, Kind, SeenProfile};
use seccomp_operator_api::{
    AuditReport, Denial, DenialReport, MAX_PROFILE_DENIALS, ObservedTrial, TrialStatus, Tried,
    TriedDenial, most_frequent,
};

/// How long what is told of a profile stays as it is.
const PACE: Duration = Duration::from_mins(1);

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Denials {
    /// By node and profile, of each [`By`].
    reported: [BTreeMap<String, ByProfile>; 2],
    /// By profile.
    told: BTreeMap<String, Told>,
    /// The profiles of which something else was reported than is told.
    changed: BTreeSet<String>,
}

/// What a node's report says, by profile.
type ByProfile = BTreeMap<String, OfProfile>;

/// Who reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Recorder,
    AuditReader,
}

/// What is said of a profile.
#[derive(Clone, Debug, Default, PartialEq)]
struct OfProfile {
    denials: Vec<Denial>,
    /// By the digest of the next version.
    trials: BTreeMap<String, Tried>,
}

#[derive(Debug)]
struct Told {
    said: OfProfile,
    until: Duration,
}

impl OfProfile {
    /// Of all nodes.
    fn of<'a>(nodes: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for node in nodes {
            all.denials.extend(node.denials.iter().cloned());
            for (digest, tried) in &node.trials {
                all.trials.entry(digest.clone()).or_default().add(tried);
            }
        }
        all.denials = most_frequent(all.denials, MAX_PROFILE_DENIALS);
        all
    }
}

/// What a report says of trials, beside what it says was refused.
fn with_trials(
    mut by_profile: ByProfile,
    trials: &[ObservedTrial],
    would_refuse: &[TriedDenial],
) -> ByProfile {
    for trial in trials {
        let of = by_profile.entry(trial.profile.clone()).or_default();
        let tried = of.trials.entry(trial.digest.clone()).or_default();
        tried.add(&Tried {
            pods: trial.pods,
            containers: trial.containers,
            count: trial.count,
            denials: Vec::new(),
        });
    }
    for tried in would_refuse {
        let observed = &tried.observed;
        let of = by_profile.entry(observed.profile.clone()).or_default();
        let of = of.trials.entry(tried.digest.clone()).or_default();
        of.denials.push(observed.denial.clone());
    }
    by_profile
}

fn of_recorder(report: &DenialReport) -> ByProfile {
    let mut by_profile = ByProfile::new();
    for observed in &report.denials {
        let of = by_profile.entry(observed.profile.clone()).or_default();
        of.denials.push(observed.denial.clone());
    }
    with_trials(by_profile, &report.trials, &report.would_refuse)
}

fn of_audit_reader(report: &AuditReport) -> ByProfile {
    let mut by_profile = ByProfile::new();
    for call in &report.calls {
        if let Some(profile) = &call.profile {
            let of = by_profile.entry(profile.clone()).or_default();
            of.denials.push(call.denial.clone());
        }
    }
    with_trials(by_profile, &report.trials, &report.would_refuse)
}

impl Denials {
    fn report(&mut self, by: By, node: &str, said: Option<ByProfile>) {
        let by_profile = said.clone().unwrap_or_default();
        let reported = &mut self.reported[by as usize];
        let old = match said {
            Some(said) => reported.insert(node.to_owned(), said),
            None => reported.remove(node),
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
            let nodes = self.reported.iter().flat_map(BTreeMap::values);
            let all = nodes.filter_map(|by_profile| by_profile.get(&profile));
            let said = OfProfile::of(all);
            let until = now + PACE;
            let is_other = match self.told.get(&profile) {
                Some(told) => told.said != said,
                None => said != OfProfile::default(),
            };
            self.told.insert(profile.clone(), Told { said, until });
            if is_other {
                others.push(profile);
            }
        }
        self.told
            .retain(|_, told| told.said != OfProfile::default() || told.until > now);
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
    pub(super) fn nodes(&self, by: By) -> impl Iterator<Item = &str> {
        self.reported[by as usize].keys().map(String::as_str)
    }

    fn told(&self, profile: &str) -> Option<&OfProfile> {
        self.told.get(profile).map(|told| &told.said)
    }
}

impl Index {
    /// A node's recorder says this, or there is no such report any more.
    pub fn denials(&mut self, node: &str, report: Option<&DenialReport>) {
        if report.is_some() {
            self.listings[Kind::DenialReport as usize].saw(node);
        }
        self.denials
            .report(By::Recorder, node, report.map(of_recorder));
    }

    /// A node's audit reader says this, or there is no such report any more.
    pub fn audited(&mut self, node: &str, report: Option<&AuditReport>) {
        if report.is_some() {
            self.listings[Kind::AuditReport as usize].saw(node);
        }
        self.denials
            .report(By::AuditReader, node, report.map(of_audit_reader));
    }

    /// The reports of recorders whose node is gone.
    #[must_use]
    pub fn orphaned_denials(&self) -> Vec<String> {
        self.orphaned(By::Recorder, true)
    }

    /// The reports of audit readers whose node is gone, or of all where none are `meant` to be.
    #[must_use]
    pub fn orphaned_audits(&self, meant: bool) -> Vec<String> {
        self.orphaned(By::AuditReader, meant)
    }

    fn orphaned(&self, by: By, meant: bool) -> Vec<String> {
        if !self.is_complete() {
            return Vec::new();
        }
        let is_orphan = |node: &&str| !meant || !self.nodes.contains_key(*node);
        let orphans = self.denials.nodes(by).filter(is_orphan);
        orphans.map(str::to_owned).collect()
    }

    /// What the status of a profile says of it.
    pub(super) fn denials_of(&self, profile: &str) -> Vec<Denial> {
        let told = self.denials.told(profile);
        told.map(|said| said.denials.clone()).unwrap_or_default()
    }

    /// What it says of the profile's trial.
    pub(super) fn trial_of(
        &self,
        profile: &str,
        seen: &SeenProfile,
        now: Timestamp,
    ) -> Option<TrialStatus> {
        let digest = seen.trial.as_ref().map(|trial| trial.digest.as_str())?;
        let told = self.denials.told(profile);
        let tried = told.and_then(|said| said.trials.get(digest));
        let nothing = Tried::default();
        let before = seen.status.trial.as_ref();
        Some(TrialStatus::after(
            before,
            digest,
            tried.unwrap_or(&nothing),
            Time(now),
        ))
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
