//! What the status of each policy should be, from what the watches have told. Pure: no clock, no I/O.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::controller::conditions::{ConditionState, dated};
use crate::controller::policy_trials::index::PolicyTrials;
use kube_support::Listing;
use seccomp_operator_api::{
    Mode, PolicyPods, ReplicaPods, SeccompPolicySpec, SeccompPolicyStatus, condition,
};
use seccomp_policy::conflicts::standing;
use seccomp_policy::validation::problems;
use seccomp_policy::view::{Policy, View};

/// A replica that counts something says so at least every half hour. What is older than this is a dead replica's, and its
/// pods are not of the last hour any more.
const STALE: SignedDuration = SignedDuration::from_mins(90);
/// After so many rollouts in an hour the oldest entries go early.
const MAX_REPLICAS: usize = 16;
/// So many warnings are kept, each of so many characters.
const MAX_WARNINGS: usize = 10;
const MAX_WARNING: usize = 1024;

/// All policies, valid or not.
#[derive(Debug, Default)]
pub struct Policies {
    seen: BTreeMap<String, SeenPolicy>,
    /// The warnings of each, as of the last time that they were compared with each other.
    warnings: BTreeMap<String, Vec<String>>,
    /// The policy that the installation asks for, and what somebody else has made of it.
    installed: Option<(String, Vec<String>)>,
    /// A spec has changed since.
    changed: bool,
    listing: Listing,
}

/// A policy as the watch saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenPolicy {
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// What it says, or why nobody can read it.
    pub spec: Result<SeccompPolicySpec, String>,
    /// Its status.
    pub status: SeccompPolicyStatus,
}

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyStatusWrite {
    /// The status without the replicas' entries, which are not the leader's.
    pub status: SeccompPolicyStatus,
    /// The counts differ.
    pub counts: bool,
    /// Nothing but the counts differs: that can wait.
    pub only_counts: bool,
    /// The version of the policy that this was made of.
    pub version: String,
}

impl Policies {
    /// A full list begins.
    pub fn list_begins(&mut self) {
        self.listing.begins();
    }

    /// A full list has ended.
    pub fn list_ends(&mut self) {
        for name in self.listing.ends(self.seen.keys().map(String::as_str)) {
            self.gone(&name);
        }
    }

    /// A policy exists in this form.
    pub fn exists(&mut self, name: &str, seen: SeenPolicy) {
        self.listing.saw(name);
        let before = self.seen.get(name).map(|before| &before.spec);
        self.changed |= before != Some(&seen.spec);
        self.seen.insert(name.to_owned(), seen);
    }

    /// A policy is gone.
    pub fn gone(&mut self, name: &str) {
        self.seen.remove(name);
        self.warnings.remove(name);
        self.changed = true;
    }

    /// Whether a spec has changed since this was asked the last time: then all have to be compared anew.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Compares a policy with all others.
    pub fn compare(&mut self, name: &str, view: &View) {
        let policy = view.find(name);
        let mut warnings = policy.map_or_else(Vec::new, |policy| standing(policy, view));
        warnings.truncate(MAX_WARNINGS);
        for warning in &mut warnings {
            if let Some((end, _)) = warning.char_indices().nth(MAX_WARNING) {
                warning.truncate(end);
            }
        }
        self.warnings.insert(name.to_owned(), warnings);
    }

    /// A policy is as the installation asks but for `differences`; none if it asks for nothing. Whether that is new.
    pub fn installed(&mut self, name: &str, differences: Option<Vec<String>>) -> bool {
        let installed = differences.map(|differences| (name.to_owned(), differences));
        let is_new = self.installed != installed;
        self.installed = installed;
        is_new
    }

    /// Whether a policy is as the installation asks, if it is the one that it asks for.
    fn as_installed(&self, name: &str) -> Option<ConditionState> {
        let (_, differences) = self.installed.as_ref().filter(|(of, _)| of == name)?;
        Some(if differences.is_empty() {
            let sentence = "the policy is as the installation asks".to_owned();
            (true, "Installed", sentence)
        } else {
            (false, "ChangedByOthers", differences.join("; "))
        })
    }

    /// The names of all.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.seen.keys().cloned().collect()
    }

    /// The status that a policy should have, if it has another.
    #[must_use]
    pub fn wanted(
        &self,
        name: &str,
        view: &View,
        trials: &PolicyTrials,
        now: Timestamp,
    ) -> Option<PolicyStatusWrite> {
        let seen = self.seen.get(name)?;
        let old = &seen.status;
        let judged = judge(name, seen, view, trials);
        let conditions = [
            (condition::ACCEPTED, Some(judged.accepted)),
            (condition::READY, Some(judged.ready)),
            (condition::AS_INSTALLED, self.as_installed(name)),
        ];
        let conditions = conditions
            .into_iter()
            .filter_map(|(type_, state)| {
                let state = state?;
                Some(dated(type_, state, seen.generation, &old.conditions, now))
            })
            .collect();
        let stale = seen.stale(now);
        let mut pods = PolicyPods::default();
        for (_, entry) in old
            .replicas
            .iter()
            .enumerate()
            .filter(|(at, _)| !stale.contains(at))
        {
            pods.matched = pods.matched.saturating_add(entry.matched);
            pods.changed = pods.changed.saturating_add(entry.changed);
        }
        let status = SeccompPolicyStatus {
            observed_generation: Some(seen.generation),
            pods: Some(pods),
            trial: trials.status(name).cloned(),
            replicas: Vec::new(),
            warnings: self.warnings.get(name).cloned().unwrap_or_default(),
            conditions,
        };
        let but_counts = |status: &SeccompPolicyStatus| {
            (
                status.observed_generation,
                status.warnings.clone(),
                status.conditions.clone(),
                status.pods.is_some(),
                status.trial.as_ref().map(|trial| trial.profile.clone()),
            )
        };
        let only_counts = but_counts(&status) == but_counts(old);
        let counts = status.pods.unwrap_or_default() != old.pods.unwrap_or_default();
        let counts = counts || status.trial != old.trial;
        (!only_counts || counts).then(|| PolicyStatusWrite {
            counts,
            status,
            only_counts,
            version: seen.version.clone(),
        })
    }

    /// The places in `status.replicas` that nobody keeps any more, and the version of the policy in which they are there.
    #[must_use]
    pub fn stale(&self, name: &str, now: Timestamp) -> Option<(Vec<usize>, String)> {
        let seen = self.seen.get(name)?;
        let stale = seen.stale(now);
        (!stale.is_empty()).then(|| (stale, seen.version.clone()))
    }
}

impl SeenPolicy {
    fn stale(&self, now: Timestamp) -> Vec<usize> {
        let entries = &self.status.replicas;
        let mut by_age: Vec<(usize, &ReplicaPods)> = entries.iter().enumerate().collect();
        by_age.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.updated.0));
        let is_stale = |(rank, (_, entry)): &(usize, (usize, &ReplicaPods))| {
            *rank >= MAX_REPLICAS || now.duration_since(entry.updated.0) > STALE
        };
        let mut stale: Vec<usize> = by_age
            .into_iter()
            .enumerate()
            .filter(is_stale)
            .map(|(_, (at, _))| at)
            .collect();
        stale.sort_unstable();
        stale
    }
}

struct Judged {
    accepted: ConditionState,
    ready: ConditionState,
}

fn judge(name: &str, seen: &SeenPolicy, view: &View, trials: &PolicyTrials) -> Judged {
    let valid = match &seen.spec {
        Err(problem) => Err(problem.clone()),
        Ok(spec) => match &problems(spec)[..] {
            [] => Ok(spec),
            [first, ..] => Err(first.to_string()),
        },
    };
    match valid {
        Ok(spec) => Judged {
            accepted: (true, "Valid", "the policy is valid".to_owned()),
            ready: ready(name, spec, view, trials),
        },
        Err(problem) => {
            let nothing = "the policy is not valid and selects nothing".to_owned();
            Judged {
                accepted: (false, "Invalid", problem),
                ready: (false, "Invalid", nothing),
            }
        }
    }
}

/// What is wrong with a profile, in a word.
fn reason_of(profile: &str, view: &View) -> &'static str {
    match view.profile_state(profile) {
        None => "ProfileMissing",
        Some(state) if state.deleted => "ProfileDeleted",
        Some(state) if state.starts_nothing.is_some() => "ProfileStartsNothing",
        Some(state) if state.foreign.is_some() => "ProfileConflict",
        Some(_) => "ProfileNotReady",
    }
}

/// Whether a policy on trial tries its profile.
fn tries(policy: &Policy, profile: &str, view: &View, trials: &PolicyTrials) -> ConditionState {
    if let Some(concern) = view.untriable(policy) {
        return (false, reason_of(profile, view), concern);
    }
    if let Some(sentence) = trials.impossible(&policy.name) {
        return (false, "TrialImpossible", sentence.to_owned());
    }
    match view.trial_file(policy) {
        Err(sentence) => {
            let sentence = format!("{sentence}; until then pods get RuntimeDefault");
            (false, "TrialPreparing", sentence)
        }
        Ok(_) => {
            let sentence = format!(
                "pods that it selects and that have no profile run under runtime-default, and what SeccompProfile {profile:?} would refuse is \
                 reported"
            );
            (true, "OnTrial", sentence)
        }
    }
}

/// Whether pods that get the profile start; of a policy on trial, whether its profile is tried.
fn ready(
    name: &str,
    spec: &SeccompPolicySpec,
    view: &View,
    trials: &PolicyTrials,
) -> ConditionState {
    if let Some(sentence) = view.without_effect() {
        return (false, "NotInjecting", sentence.to_owned());
    }
    let named = spec.profile_name();
    let policy = view.find(name).filter(|_| spec.mode == Mode::Trial);
    if let Some((policy, profile)) = policy.zip(named) {
        return tries(policy, profile, view, trials);
    }
    if let Some((name, concern)) = named.and_then(|name| Some((name, view.warning_by_name(name)?)))
    {
        return (false, reason_of(name, view), concern);
    }
    let profile = named.map_or_else(
        || format!("{:?}", spec.profile.type_),
        |name| format!("SeccompProfile {name:?}"),
    );
    match spec.mode {
        Mode::Enforce => (
            true,
            "Enforced",
            format!("pods that it selects and that state no profile get {profile}"),
        ),
        Mode::Observe => (
            true,
            "Observed",
            format!("pods are left as they are; a warning says which would get {profile}"),
        ),
        // Until admission has heard of the policy as well.
        Mode::Trial => (
            false,
            "TrialPreparing",
            "the trial is being prepared; until then pods get RuntimeDefault".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use seccomp_policy::profile_state::ProfileState;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW + seconds).unwrap()
    }

    fn entry(name: &str, matched: i64, changed: i64, age: i64) -> ReplicaPods {
        ReplicaPods {
            name: name.into(),
            matched,
            changed,
            updated: Time(at(-age)),
        }
    }

    fn seen(spec: Value, replicas: Vec<ReplicaPods>) -> SeenPolicy {
        SeenPolicy {
            generation: 3,
            version: "7".into(),
            spec: Ok(serde_json::from_value(spec).unwrap()),
            status: SeccompPolicyStatus {
                replicas,
                ..SeccompPolicyStatus::default()
            },
        }
    }

    /// One policy `p` among those of the view.
    fn known(seen: &SeenPolicy) -> (Policies, View) {
        let mut view = View::new("profiles", []);
        view.profile("late", false, None);
        view.profile("web", true, None);
        let stuck = ProfileState {
            ready: true,
            starts_nothing: Some("refuses execve".into()),
            ..ProfileState::default()
        };
        let taken = ProfileState {
            foreign: Some("n1".into()),
            ..ProfileState::default()
        };
        view.profile("taken", taken, None);
        view.profile("stuck", stuck, None);
        let deleted = ProfileState {
            ready: true,
            deleted: true,
            ..ProfileState::default()
        };
        view.profile("deleted", deleted, None);
        view.policy("p", seen.spec.clone().unwrap());
        let mut policies = Policies::default();
        policies.exists("p", seen.clone());
        (policies, view)
    }

    fn wanted(seen: &SeenPolicy) -> Option<PolicyStatusWrite> {
        let (policies, view) = known(seen);
        policies.wanted("p", &view, &PolicyTrials::default(), at(0))
    }

    fn ready_of(status: &SeccompPolicyStatus) -> (&str, &str, &str) {
        let ready = &status.conditions[1];
        assert_eq!(ready.type_, "Ready");
        (&ready.status, &ready.reason, &ready.message)
    }

    #[test]
    fn a_status_says_whether_the_profile_is_there() {
        for (profile, mode, expected) in [
            (
                json!({"type": "RuntimeDefault"}),
                "Enforce",
                ("True", "Enforced", "get RuntimeDefault"),
            ),
            (
                json!({"type": "RuntimeDefault"}),
                "Observe",
                ("True", "Observed", "would get RuntimeDefault"),
            ),
            (
                json!({"type": "Localhost", "name": "web"}),
                "Enforce",
                ("True", "Enforced", "get SeccompProfile \"web\""),
            ),
            (
                json!({"type": "Localhost", "name": "late"}),
                "Enforce",
                ("False", "ProfileNotReady", "not ready on all nodes"),
            ),
            (
                json!({"type": "Localhost", "name": "taken"}),
                "Enforce",
                ("False", "ProfileConflict", "starts there under that file"),
            ),
            (
                json!({"type": "Localhost", "name": "stuck"}),
                "Enforce",
                (
                    "False",
                    "ProfileStartsNothing",
                    "SeccompProfile \"stuck\" refuses execve",
                ),
            ),
            (
                json!({"type": "Localhost", "name": "deleted"}),
                "Enforce",
                (
                    "False",
                    "ProfileDeleted",
                    "\"deleted\" was deleted and goes",
                ),
            ),
            (
                json!({"type": "Localhost", "name": "gone"}),
                "Enforce",
                ("False", "ProfileMissing", "no SeccompProfile \"gone\""),
            ),
            (
                json!({"type": "Localhost"}),
                "Enforce",
                ("False", "Invalid", "selects nothing"),
            ),
        ] {
            let status = wanted(&seen(json!({"profile": profile, "mode": mode}), vec![]))
                .unwrap()
                .status;
            let (holds, reason, message) = ready_of(&status);
            assert_eq!((holds, reason), (expected.0, expected.1), "{profile}");
            assert!(message.contains(expected.2), "{message}");
            assert_eq!(status.conditions[0].status == "True", reason != "Invalid");
            assert_eq!(status.observed_generation, Some(3));
        }
    }

    #[test]
    fn a_policy_on_trial_says_whether_its_profile_is_tried() {
        use seccomp_operator_api::{SeccompProfileSpec, define};
        let spec = json!({"mode": "Trial", "profile": {"type": "Localhost", "name": "web"}});
        let of = |spec: &Value, is_there: Option<bool>| {
            let seen = seen(spec.clone(), vec![]);
            let (policies, mut view) = known(&seen);
            if let Some(ready) = is_there {
                let says = json!({"base": "runtime-default", "trial": {"base": "web"}});
                let says: SeccompProfileSpec = serde_json::from_value(says).unwrap();
                let defined = define(&Ok(seccomp_operator_api::SeccompProfile::new(
                    "trial.p", says,
                )));
                view.profile("trial.p", ready, Some(defined));
            }
            let wanted = policies.wanted("p", &view, &PolicyTrials::default(), at(0));
            let status = wanted.unwrap().status;
            let (holds, reason, message) = ready_of(&status);
            (holds == "True", reason.to_owned(), message.to_owned())
        };
        let mut gone = spec.clone();
        gone["profile"]["name"] = "gone".into();
        for (spec, is_there, reason, part) in [
            (
                &spec,
                Some(true),
                "OnTrial",
                "what SeccompProfile \"web\" would refuse is reported",
            ),
            (
                &spec,
                Some(false),
                "TrialPreparing",
                "until then pods get RuntimeDefault",
            ),
            (&spec, None, "TrialPreparing", "is being made"),
            (
                &gone,
                None,
                "ProfileMissing",
                "nothing is tried until there is",
            ),
        ] {
            let (holds, said, message) = of(spec, is_there);
            assert_eq!(
                (holds, said.as_str()),
                (reason == "OnTrial", reason),
                "{message}"
            );
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_installation_s_own_policy_says_what_others_have_made_of_it() {
        let seen = seen(json!({"profile": {"type": "RuntimeDefault"}}), vec![]);
        let (mut policies, view) = known(&seen);
        let condition = |policies: &Policies| {
            let status = policies
                .wanted("p", &view, &PolicyTrials::default(), at(0))
                .unwrap()
                .status;
            let found = status
                .conditions
                .into_iter()
                .find(|c| c.type_ == condition::AS_INSTALLED);
            found.map(|found| (found.status, found.message))
        };
        assert_eq!(condition(&policies), None);
        assert!(policies.installed("p", Some(vec![])));
        assert_eq!(condition(&policies).unwrap().0, "True");
        assert!(policies.installed("p", Some(vec!["spec.mode is other".into()])));
        assert!(!policies.installed("p", Some(vec!["spec.mode is other".into()])));
        assert_eq!(
            condition(&policies).unwrap(),
            ("False".into(), "spec.mode is other".into())
        );
        assert!(policies.installed("other", Some(vec![])));
        assert_eq!(condition(&policies), None);
    }

    #[test]
    fn a_policy_that_nobody_can_read_says_why() {
        let mut policies = Policies::default();
        let mut seen = seen(json!({"profile": {"type": "RuntimeDefault"}}), vec![]);
        seen.spec = Err("spec.priority: is no number".into());
        policies.exists("p", seen);
        let wanted = policies
            .wanted("p", &View::default(), &PolicyTrials::default(), at(0))
            .unwrap();
        assert_eq!(
            wanted.status.conditions[0].message,
            "spec.priority: is no number"
        );
    }

    #[test]
    fn what_all_replicas_count_is_added_up_and_dead_ones_go() {
        let replicas = vec![
            entry("old", 100, 100, 91 * 60),
            entry("a", 5, 2, 10),
            entry("b", 1, 0, 89 * 60),
        ];
        let seen = seen(json!({"profile": {"type": "RuntimeDefault"}}), replicas);
        let (policies, view) = known(&seen);
        let wanted = policies
            .wanted("p", &view, &PolicyTrials::default(), at(0))
            .unwrap();
        assert_eq!(
            wanted.status.pods,
            Some(PolicyPods {
                matched: 6,
                changed: 2
            })
        );
        assert!(
            wanted.status.replicas.is_empty(),
            "they are not the leader's"
        );
        assert_eq!(policies.stale("p", at(0)), Some((vec![0], "7".to_owned())));
        assert_eq!(policies.stale("p", at(-60 * 60)), None);
    }

    #[test]
    fn of_very_many_replicas_the_latest_count() {
        let replicas: Vec<_> = (0..20)
            .map(|n| entry(&format!("r{n}"), 1, 0, 100 - n))
            .collect();
        let seen = seen(json!({"profile": {"type": "RuntimeDefault"}}), replicas);
        let (policies, _) = known(&seen);
        assert_eq!(policies.stale("p", at(0)).unwrap().0, [0, 1, 2, 3]);
    }

    #[test]
    fn nothing_is_wanted_of_a_status_that_is_right_and_counts_alone_can_wait() {
        let mut seen = seen(
            json!({"profile": {"type": "RuntimeDefault"}}),
            vec![entry("a", 1, 1, 0)],
        );
        let first = wanted(&seen).unwrap();
        assert!(first.counts && !first.only_counts);
        let replicas = std::mem::take(&mut seen.status.replicas);
        seen.status = first.status;
        seen.status.replicas = replicas;
        assert_eq!(wanted(&seen), None);
        seen.status.replicas[0].matched = 2;
        assert!(wanted(&seen).unwrap().only_counts);
        seen.generation = 4;
        assert!(!wanted(&seen).unwrap().only_counts);
        seen.status.replicas[0].matched = 1;
        assert!(!wanted(&seen).unwrap().counts);
    }

    #[test]
    fn what_stands_in_a_policy_s_way_is_in_its_status() {
        let seen = seen(
            json!({"priority": -5, "profile": {"type": "RuntimeDefault"}}),
            vec![],
        );
        let (mut policies, mut view) = known(&seen);
        assert!(policies.take_changed() && !policies.take_changed());
        policies.compare("p", &view);
        assert_eq!(
            policies
                .wanted("p", &view, &PolicyTrials::default(), at(0))
                .unwrap()
                .status
                .warnings,
            Vec::<String>::new()
        );
        view.policy(
            "first",
            serde_json::from_value(json!({"profile": {"type": "RuntimeDefault"}})).unwrap(),
        );
        policies.compare("p", &view);
        let warnings = policies
            .wanted("p", &view, &PolicyTrials::default(), at(0))
            .unwrap()
            .status
            .warnings;
        assert!(
            warnings[0].contains("SeccompPolicy \"first\""),
            "{warnings:?}"
        );
    }
}
