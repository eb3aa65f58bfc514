//! `spec.trial` of a SeccompProfile: the next version of it, and what is known of what that would refuse.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::denial::{Denial, most_frequent};
use super::profile::{SeccompProfileSpec, is_too_large};
use super::recording_report::earlier;
use super::schema;
use seccomp_profile::{Fields, MAX_BYTES, Problem, Problems, Reporting, Spec};

/// The path of what a trial says.
pub(super) const PATH: &str = "spec.trial";

/// How many calls that would have been refused the status of a profile names.
pub const MAX_TRIED: usize = 20;

/// The next version of a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// The whole next version, with `allow`, `log` and `deny` beside it: a profile document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::document")]
    pub profile: Option<Value>,
    /// The whole next version, with `allow`, `log` and `deny` beside it: a built-in, or the name of another SeccompProfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub base: Option<String>,
    /// Without `profile` and `base`: what the next version adds to the `allow` of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::allow")]
    pub allow: Vec<Value>,
    /// The same for `log`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::log")]
    pub log: Vec<Value>,
    /// The same for `deny`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::deny")]
    pub deny: Vec<Value>,
    /// How the calls are reported that would be refused.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    pub report: TrialReport,
}

/// How the calls are reported that a next version would refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrialReport {
    /// The node's recorder hears of them, counts them and lets them happen. Where a node has no recorder: as `Log`.
    #[default]
    Notify,
    /// The kernel logs them.
    Log,
}

impl From<TrialReport> for Reporting {
    fn from(report: TrialReport) -> Self {
        match report {
            TrialReport::Notify => Self::Notify,
            TrialReport::Log => Self::Log,
        }
    }
}

impl Trial {
    /// What is wrong with it, read on its own; `records`: the profile records.
    pub(super) fn check(&self, records: bool) -> Result<(), Problems> {
        let wrong = |path: &str, reason: String, remedy: &str| {
            let (path, remedy) = (path.to_owned(), remedy.to_owned());
            Err(Problem {
                path,
                reason,
                remedy,
            }
            .into())
        };
        if records {
            let reason = "stands beside spec.record, under which all calls are recorded already";
            return wrong(PATH, reason.into(), "leave it out");
        }
        if self.profile.as_ref().is_some_and(is_too_large) {
            return wrong(
                "spec.trial.profile",
                format!("has more than {MAX_BYTES} bytes, and container runtimes take no more"),
                "put several names into one rule",
            );
        }
        let fields = self.fields();
        let lists = [fields.allow, fields.log, fields.deny];
        if !self.is_whole() && lists.iter().all(|list| list.is_empty()) {
            return wrong(
                PATH,
                "changes nothing".into(),
                "put what is to be refused into deny, or the whole next version into profile or base; or leave it out",
            );
        }
        // Without a base of its own it is what it adds, in its own words.
        let base = Some("runtime-default").filter(|_| !self.is_whole());
        let base = self.base.as_deref().or(base);
        Spec::parse(&Fields { base, ..fields }, PATH).map(drop)
    }

    /// Whether it says all of the next version, not what it adds.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.profile.is_some() || self.base.is_some()
    }

    fn fields(&self) -> Fields<'_> {
        Fields {
            profile: self.profile.as_ref(),
            base: self.base.as_deref(),
            allow: &self.allow,
            log: &self.log,
            deny: &self.deny,
        }
    }

    /// What tells this next version from others: FNV-1a of what it says, whatever becomes of it. Nothing is kept safe by it.
    #[must_use]
    pub fn digest(&self) -> String {
        let text = json!([self.profile, self.base, self.allow, self.log, self.deny]).to_string();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("{hash:016x}")
    }
}

impl SeccompProfileSpec {
    /// The spec once its trial is what it says, if there is one.
    #[must_use]
    pub fn promoted(&self) -> Option<Self> {
        let trial = self.trial.clone()?;
        let with = |own: &[Value], more: Vec<Value>| {
            let mut all = own.to_vec();
            all.extend(more);
            all
        };
        let is_whole = trial.is_whole();
        let (allow, log, deny) = if is_whole {
            (trial.allow, trial.log, trial.deny)
        } else {
            (
                with(&self.allow, trial.allow),
                with(&self.log, trial.log),
                with(&self.deny, trial.deny),
            )
        };
        let (profile, base) = if is_whole {
            (trial.profile, trial.base)
        } else {
            (self.profile.clone(), self.base.clone())
        };
        Some(Self {
            profile,
            base,
            allow,
            log,
            deny,
            trial: None,
            ..self.clone()
        })
    }
}

/// Which next version is on trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnTrial {
    /// What tells it from others: see [`Trial::digest`].
    pub digest: String,
    /// How what it would refuse is reported.
    pub report: TrialReport,
}

impl SeccompProfileSpec {
    /// Which next version is on trial, if one is.
    #[must_use]
    pub fn on_trial(&self) -> Option<OnTrial> {
        let trial = self.trial.as_ref()?;
        Some(OnTrial {
            digest: trial.digest(),
            report: trial.report,
        })
    }
}

/// What is known of a trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialStatus {
    /// What tells this next version from others that were on trial.
    #[schemars(length(max = 16))]
    pub digest: String,
    /// Since when this next version is on trial.
    #[schemars(schema_with = "schema::time")]
    pub since: Option<Time>,
    /// How many pods are on trial now: the recorders of their nodes hear what would be refused. Others were started before, or their nodes
    /// log it.
    #[schemars(range(min = 0))]
    pub pods: i32,
    /// How many containers of them.
    #[schemars(range(min = 0))]
    pub containers: i32,
    /// How often calls were made that would have been refused, at least; 0: nothing was.
    #[schemars(range(min = 0))]
    pub count: i64,
    /// The calls that would have been refused since the trial began, up to 20: of each call its most frequent caller, then the most
    /// frequent of all. What is new is told once a minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub denials: Vec<Denial>,
}

/// What the recorders of all nodes say of a trial now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tried {
    /// Pods on trial.
    pub pods: i32,
    /// Containers on trial.
    pub containers: i32,
    /// How often what would have been refused was called.
    pub count: i64,
    /// By whom.
    pub denials: Vec<Denial>,
}

impl Tried {
    /// Adds what others say.
    pub fn add(&mut self, other: &Self) {
        self.pods = self.pods.saturating_add(other.pods);
        self.containers = self.containers.saturating_add(other.containers);
        self.count = self.count.saturating_add(other.count);
        self.denials.extend(other.denials.iter().cloned());
    }
}

impl TrialStatus {
    /// What is known of the trial with this digest, from what was known `before` and what recorders say `now`. They forget containers that
    /// ended; what was known of these stays.
    #[must_use]
    pub fn after(before: Option<&Self>, digest: &str, tried: &Tried, now: Time) -> Self {
        let before = before.filter(|before| before.digest == digest);
        let mut denials = BTreeMap::<_, Denial>::new();
        for denial in &tried.denials {
            // Pods of a StatefulSet have one name after another.
            match denials.entry(denial.key()) {
                Entry::Vacant(entry) => {
                    entry.insert(denial.clone());
                }
                Entry::Occupied(mut entry) => entry.get_mut().absorb(denial.clone()),
            }
        }
        let known = before.map_or(&[][..], |before| &before.denials).iter();
        let mut count = tried.count;
        for known in known {
            match denials.entry(known.key()) {
                Entry::Vacant(entry) => {
                    count = count.saturating_add(known.count);
                    entry.insert(known.clone());
                }
                Entry::Occupied(mut entry) => {
                    let denial = entry.get_mut();
                    denial.count = denial.count.max(known.count);
                    let first_seen = denial.first_seen.take();
                    denial.first_seen = earlier(first_seen, known.first_seen.clone());
                }
            }
        }
        Self {
            digest: digest.to_owned(),
            since: before.and_then(|before| before.since.clone()).or(Some(now)),
            pods: tried.pods,
            containers: tried.containers,
            count: count.max(before.map_or(0, |before| before.count)),
            denials: of_each_call(denials.into_values().collect(), MAX_TRIED),
        }
    }
}

/// The most frequent, at most so many, and each call among them as long as there is room.
fn of_each_call(denials: Vec<Denial>, most: usize) -> Vec<Denial> {
    let all = most_frequent(denials, usize::MAX);
    let mut first = BTreeMap::new();
    for (place, denial) in all.iter().enumerate() {
        first.entry(denial.call.clone()).or_insert(place);
    }
    let firsts: BTreeSet<_> = first.into_values().collect();
    let others = (0..all.len()).filter(|place| !firsts.contains(place));
    let chosen: BTreeSet<_> = firsts.iter().copied().chain(others).take(most).collect();
    let all = all.into_iter().enumerate();
    let named = all.filter(|(place, _)| chosen.contains(place));
    named.map(|(_, denial)| denial).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn spec(value: Value) -> SeccompProfileSpec {
        serde_json::from_value(value).unwrap()
    }

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn denial(pod: &str, call: &str, count: i64) -> Denial {
        Denial {
            pod: pod.into(),
            call: call.into(),
            count,
            ..Denial::default()
        }
    }

    #[test]
    fn changes_are_added_and_a_whole_version_takes_the_place_of_the_last() {
        let promoted = |trial: Value| {
            let spec = spec(json!({
                "base": "docker-default", "allow": ["bpf"], "deny": ["ptrace"], "observe": true, "trial": trial,
            }));
            assert!(spec.define().unwrap().next.is_some());
            serde_json::to_value(spec.promoted().unwrap()).unwrap()
        };
        assert_eq!(
            promoted(json!({"deny": ["@chmod"], "report": "Log"})),
            json!({"base": "docker-default", "allow": ["bpf"], "deny": ["ptrace", "@chmod"], "observe": true})
        );
        assert_eq!(
            promoted(json!({"base": "runtime-default"})),
            json!({"base": "runtime-default", "observe": true})
        );
        assert!(spec(json!({"base": "audit"})).promoted().is_none());
    }

    #[test]
    fn a_trial_that_is_wrong_is_said_by_its_own_path() {
        let said = |value: Value| spec(value).define().unwrap_err().to_string();
        for (trial, expected) in [
            (json!({}), "spec.trial: changes nothing; "),
            (json!({"report": "Log"}), "spec.trial: changes nothing; "),
            (json!({"deny": ["chmood"]}), "spec.trial.deny[0]"),
            (
                json!({"profile": {}, "base": "audit"}),
                "spec.trial.base: stands beside profile",
            ),
        ] {
            let said = said(json!({"base": "audit", "deny": ["chmod"], "trial": trial}));
            assert!(said.starts_with(expected), "{said}");
        }
        let record = json!({"namespace": "a", "name": "b", "uid": "c"});
        let said = said(json!({"base": "audit", "record": record, "trial": {"deny": ["chmod"]}}));
        assert!(
            said.starts_with("spec.trial: stands beside spec.record"),
            "{said}"
        );
    }

    #[test]
    fn another_next_version_has_another_digest_and_another_way_to_report_has_not() {
        let digest = |trial: Value| serde_json::from_value::<Trial>(trial).unwrap().digest();
        let one = digest(json!({"deny": ["chmod"]}));
        assert_eq!(one, digest(json!({"deny": ["chmod"], "report": "Log"})));
        assert_ne!(one, digest(json!({"allow": ["chmod"]})));
        assert_ne!(one, digest(json!({"deny": ["fchmod"]})));
        // Agents and controllers of two versions compare it during an upgrade: it must stay what it is.
        assert_eq!(one, "34e78c2287b96582");
    }

    #[test]
    fn what_was_heard_of_containers_that_have_gone_stays_until_another_version_is_tried() {
        let tried = |denials: &[Denial]| Tried {
            pods: 1,
            containers: 2,
            count: denials.iter().map(|denial| denial.count).sum(),
            denials: denials.to_vec(),
        };
        let none = TrialStatus::after(None, "a", &Tried::default(), at(1));
        assert_eq!((none.count, none.since.clone()), (0, Some(at(1))));
        let one = TrialStatus::after(
            Some(&none),
            "a",
            &tried(&[denial("job-1", "bpf", 3)]),
            at(2),
        );
        assert_eq!((one.count, one.since.clone()), (3, Some(at(1))));
        let two = [denial("job-2", "bpf", 2)];
        let two = TrialStatus::after(Some(&one), "a", &tried(&two), at(3));
        assert_eq!(two.count, 5);
        assert_eq!(
            two.denials,
            [denial("job-1", "bpf", 3), denial("job-2", "bpf", 2)]
        );
        let again =
            TrialStatus::after(Some(&two), "a", &tried(&[denial("job-2", "bpf", 2)]), at(4));
        assert_eq!(again, two, "the same again changes nothing");
        let other = TrialStatus::after(Some(&two), "b", &Tried::default(), at(5));
        assert_eq!((other.count, other.since), (0, Some(at(5))));
    }

    #[test]
    fn of_many_denials_each_call_is_named() {
        let mut denials: Vec<_> = (0..40)
            .map(|pod| denial(&format!("web-{pod:02}"), "chmod", 100))
            .collect();
        denials.extend([denial("web-00", "bpf", 1), denial("web-00", "mount", 2)]);
        let named = of_each_call(denials, MAX_TRIED);
        assert_eq!(named.len(), MAX_TRIED);
        let calls: Vec<_> = named.iter().map(|denial| denial.call.as_str()).collect();
        assert_eq!(calls[17..], ["chmod", "mount", "bpf"]);
    }
}
