//! What this node's audit reader has to say: a plain function of what was heard, and of what is known of pods and profiles.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use seccomp_audit::{Call, Count, Outcome as Heard, Snapshot, Totals};
use seccomp_operator_api::{
    AuditReport, AuditedCall, Denial, Hearing, ObservedDenial, ObservedTrial, Outcome, TriedDenial,
    UnplacedCall,
};
use seccomp_profile::{Arch, Syscall};

use super::Known;
use super::pods::{KEPT, Stated};

/// What kills is the reason that a reader is there for: the kernel has to log it.
const NEEDED: [&str; 3] = ["kill_process", "kill_thread", "log"];

/// Whose call it is: pod, container, call, architecture, outcome; and the digest of the next version that would refuse it.
type Key = (String, String, String, String, Outcome, Option<String>);

/// What an earlier process of this reader has reported, of pods that are not forgotten: it counts on from there.
#[derive(Debug, Default)]
pub struct Before {
    calls: Vec<AuditedCall>,
    tried: Vec<TriedDenial>,
}

impl Before {
    /// Of its last report.
    pub fn of(report: &AuditReport) -> Self {
        Self {
            calls: report.calls.clone(),
            tried: report.would_refuse.clone(),
        }
    }

    /// What is left of it: who was last heard an hour ago and is in no pod any more is forgotten.
    fn left(&self, known: &Known, now: u64) -> impl Iterator<Item = (Key, AuditedCall)> {
        let old = time(now.saturating_sub(KEPT));
        let is_left =
            move |denial: &Denial| known.pods.has(&denial.pod_uid) || denial.last_seen > old;
        let calls = self.calls.iter().map(|call| (None, call.clone()));
        let tried = self.tried.iter().map(|tried| {
            let ObservedDenial { profile, denial } = tried.observed.clone();
            let call = AuditedCall {
                profile: Some(profile),
                stated: None,
                denial,
            };
            (Some(tried.digest.clone()), call)
        });
        let all = calls.chain(tried).collect::<Vec<_>>().into_iter();
        let left = all.filter(move |(_, call)| is_left(&call.denial));
        left.map(|(digest, call)| (key(&call.denial, digest), call))
    }
}

/// The report; none before it is known whether anything is heard, and whose pods there are.
pub fn report(
    snapshot: &Snapshot,
    known: &mut Known,
    before: &Before,
    node: &str,
    now: u64,
) -> Option<AuditReport> {
    if !known.pods.is_known() {
        return None;
    }
    let totals = &snapshot.totals;
    let hearing = hearing(totals)?;
    let mut all: BTreeMap<Key, AuditedCall> = BTreeMap::new();
    let mut add = |key: Key, call: AuditedCall| match all.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(call);
        }
        Entry::Occupied(mut entry) => entry.get_mut().denial.absorb(call.denial),
    };
    for (key, call) in before.left(known, now) {
        add(key, call);
    }
    let mut unplaced = Vec::new();
    for placed in &snapshot.calls {
        let Some((pod, of)) = known.pods.find(&placed.container) else {
            // kubelet has told nobody of the pod yet, or nobody will.
            unplaced.push(stray(String::new(), placed.call, placed.count));
            continue;
        };
        let (call, architecture) = named(placed.call);
        let container = of.map_or_else(String::new, |of| of.name.clone());
        let stated = of.map(|of| of.stated.clone()).unwrap_or_default();
        let mut denial = Denial {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            container,
            call,
            architecture,
            outcome: outcome(placed.call.outcome),
            count: number(placed.count.times),
            first_seen: time(placed.count.first),
            last_seen: time(placed.count.last),
            arguments: Vec::new(),
        };
        let (profile, stated) = match stated {
            Stated::Nothing => (None, None),
            Stated::Managed(name) => (Some(name), None),
            Stated::Other(text) => (None, Some(text.chars().take(300).collect())),
        };
        let trial = profile
            .as_ref()
            .filter(|_| denial.outcome == Outcome::Logged);
        let digest = trial.and_then(|profile| {
            let call = Syscall::named(&denial.call)?;
            known.profiles.would_refuse(profile, call)
        });
        if digest.is_some() {
            denial.outcome = Outcome::Refused;
        }
        let call = AuditedCall {
            profile,
            stated,
            denial,
        };
        add(key(&call.denial, digest), call);
    }
    let (mut calls, mut tried) = (Vec::new(), Vec::new());
    for ((.., digest), call) in all {
        match (digest, call.profile.clone()) {
            (Some(digest), Some(profile)) => {
                let denial = call.denial;
                let observed = ObservedDenial { profile, denial };
                tried.push(TriedDenial { digest, observed });
            }
            _ => calls.push(call),
        }
    }
    let strays = snapshot.unplaced.iter();
    unplaced.extend(strays.map(|of| stray(of.comm.clone(), of.call, of.count)));
    let trials = trials(known, &tried, hearing.hears);
    let report = AuditReport {
        node: node.to_owned(),
        reader_version: env!("CARGO_PKG_VERSION").to_owned(),
        hearing,
        unplaced_count: number(totals.unplaced_times),
        lost: number(totals.lost),
        ..AuditReport::default()
    };
    let report = report.with_calls(calls, u64::from(totals.more > 0));
    Some(report.with_unplaced(unplaced).with_trials(trials, tried))
}

/// Whether anything is heard, and all of it.
fn hearing(totals: &Totals) -> Option<Hearing> {
    if let Err(why) = totals.hearing.as_ref()? {
        return Some(Hearing {
            hears: false,
            reason: Some(why.word().to_owned()),
            message: Some(why.to_string().chars().take(512).collect()),
        });
    }
    let text = totals.actions_logged.as_deref();
    let logs =
        |action: &&&str| text.is_some_and(|text| !text.split_whitespace().any(|a| a == **action));
    let lacking: Vec<_> = NEEDED.iter().filter(logs).copied().collect();
    let lacks = !lacking.is_empty();
    Some(Hearing {
        hears: true,
        reason: lacks.then(|| "NotAll".to_owned()),
        message: lacks.then(|| {
            let lacking = lacking.join(" ");
            format!("the kernel does not log all that profiles ask for: kernel.seccomp.actions_logged lacks {lacking}")
        }),
    })
}

/// The trials whose next version the kernel logs for: who is on them, as far as it is known when they began, and how often it would refuse.
fn trials(known: &Known, tried: &[TriedDenial], hears: bool) -> Vec<ObservedTrial> {
    let mut all = Vec::new();
    for (profile, trial) in known.profiles.trials() {
        let of = tried
            .iter()
            .filter(|tried| tried.observed.profile == profile && tried.digest == trial.digest);
        let counts = of.map(|tried| tried.observed.denial.count);
        let count = counts.fold(0, i64::saturating_add);
        // Where a recorder counts, it says who is on trial.
        if !hears || !trial.logs && count == 0 {
            continue;
        }
        let began = |started: Option<u64>| trial.since.is_some_and(|since| started >= Some(since));
        let on_it = known
            .pods
            .under(profile)
            .filter(|(_, of)| began(of.started));
        let (mut pods, mut containers) = (std::collections::BTreeSet::new(), 0);
        for (pod, _) in on_it {
            pods.insert(pod.uid.as_str());
            containers += 1;
        }
        all.push(ObservedTrial {
            profile: profile.to_owned(),
            digest: trial.digest.clone(),
            pods: i32::try_from(pods.len()).unwrap_or(i32::MAX),
            containers,
            count,
        });
    }
    all.sort_by(|a, b| a.profile.cmp(&b.profile));
    all
}

fn key(denial: &Denial, digest: Option<String>) -> Key {
    let Denial {
        pod_uid,
        container,
        call,
        architecture,
        outcome,
        ..
    } = denial.clone();
    (pod_uid, container, call, architecture, outcome, digest)
}

fn stray(comm: String, call: Call, count: Count) -> UnplacedCall {
    let (name, architecture) = named(call);
    UnplacedCall {
        comm,
        call: name,
        architecture,
        outcome: outcome(call.outcome),
        count: number(count.times),
        last_seen: time(count.last),
    }
}

/// The call's name, or its number where the tables have none, and its architecture.
fn named(call: Call) -> (String, String) {
    let arch = Arch::of_call(call.arch, call.number);
    let name = arch.and_then(|arch| Syscall::numbered(arch, call.number));
    let name = name.map_or_else(
        || format!("syscall_{}", call.number),
        |name| name.name().to_owned(),
    );
    let arch = arch.map_or_else(|| format!("{:#x}", call.arch), |arch| arch.to_string());
    (name, arch)
}

const fn outcome(heard: Heard) -> Outcome {
    match heard {
        Heard::Refused => Outcome::Refused,
        Heard::Killed => Outcome::Killed,
        Heard::Trapped => Outcome::Trapped,
        Heard::Logged => Outcome::Logged,
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn time(second: u64) -> Option<Time> {
    let second = i64::try_from(second).ok()?;
    Timestamp::from_second(second).ok().map(Time)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube_support::WatchEvent;
    use seccomp_audit::{Container, Deaf, Placed, Unplaced};
    use serde_json::json;

    use super::super::pods::Pods;
    use super::super::pods::tests::{exists as pod_exists, pod};
    use super::super::profiles::Profiles;
    use super::super::profiles::tests::{AMD64, exists as profile_exists};
    use super::*;

    const X86_64: u32 = 0xc000_003e;
    const CHMOD: u32 = 90;
    const MKDIR: u32 = 83;

    fn known() -> Known {
        let mut known = Known {
            pods: Pods::new("profiles"),
            profiles: Profiles::new(AMD64),
        };
        known.pods.take(WatchEvent::ListBegins, 0);
        known
            .pods
            .take(pod_exists(&pod("u1", "profiles/web.json", "c1")), 0);
        known
            .pods
            .take(pod_exists(&pod("u2", "theirs.json", "c2")), 0);
        known.pods.take(WatchEvent::ListEnds, 0);
        known
    }

    fn placed(uid: &str, id: &str, number: u32, outcome: Heard, times: u64) -> Placed {
        Placed {
            container: Arc::new(Container {
                pod_uid: uid.into(),
                id: id.into(),
            }),
            call: Call {
                arch: X86_64,
                number,
                outcome,
            },
            count: Count {
                times,
                first: 100,
                last: 200,
            },
        }
    }

    fn snapshot(calls: Vec<Placed>) -> Snapshot {
        Snapshot {
            calls,
            unplaced: Vec::new(),
            totals: Totals {
                hearing: Some(Ok(())),
                ..Totals::default()
            },
        }
    }

    /// Namespace, pod, container, call, outcome and count.
    type Said<'a> = (
        Option<&'a str>,
        Option<&'a str>,
        &'a str,
        &'a str,
        Outcome,
        i64,
    );

    fn said(report: &AuditReport) -> Vec<Said<'_>> {
        let calls = report.calls.iter();
        let said = calls.map(|call| {
            let denial = &call.denial;
            let (profile, stated) = (call.profile.as_deref(), call.stated.as_deref());
            let (container, name) = (denial.container.as_str(), denial.call.as_str());
            (
                profile,
                stated,
                container,
                name,
                denial.outcome,
                denial.count,
            )
        });
        said.collect()
    }

    #[test]
    fn a_call_is_said_with_its_pod_and_what_that_states() {
        let calls = vec![
            placed("u1", "c1", CHMOD, Heard::Logged, 3),
            placed("u1", "c1", MKDIR, Heard::Killed, 1),
            placed("u2", "c2", MKDIR, Heard::Logged, 2),
            placed("u2", "c2", 99_999, Heard::Logged, 1),
            placed("u9", "c9", MKDIR, Heard::Killed, 4),
        ];
        let mut heard = snapshot(calls);
        heard.unplaced.push(Unplaced {
            comm: "sh".into(),
            call: placed("", "", MKDIR, Heard::Killed, 1).call,
            count: Count::default(),
        });
        heard.totals.unplaced_times = 1;
        let report = report(&heard, &mut known(), &Before::default(), "n1", 300).unwrap();
        let theirs = Some("Localhost theirs.json");
        assert_eq!(
            said(&report),
            [
                (Some("web"), None, "web", "mkdir", Outcome::Killed, 1),
                (Some("web"), None, "web", "chmod", Outcome::Logged, 3),
                (None, theirs, "web", "mkdir", Outcome::Logged, 2),
                (None, theirs, "web", "syscall_99999", Outcome::Logged, 1),
            ]
        );
        let unplaced: Vec<_> = report
            .unplaced
            .iter()
            .map(|of| (of.comm.as_str(), of.count))
            .collect();
        assert_eq!(unplaced, [("", 4), ("sh", 0)]);
        assert!(report.hearing.hears && report.hearing.message.is_none());
    }

    #[test]
    fn what_a_trial_has_logged_would_be_refused_and_is_nothing_else() {
        let mut known = known();
        let spec = json!({"base": "runtime-default", "log": ["mkdir"], "trial": {"deny": ["@chmod"], "report": "Log"}});
        known.profiles.take(profile_exists("web", &spec));
        let calls = vec![
            placed("u1", "c1", CHMOD, Heard::Logged, 3),
            placed("u1", "c1", MKDIR, Heard::Logged, 2),
            placed("u2", "c2", CHMOD, Heard::Logged, 9),
        ];
        let report = report(&snapshot(calls), &mut known, &Before::default(), "n1", 300).unwrap();
        let would = &report.would_refuse[0].observed;
        assert_eq!(report.would_refuse.len(), 1);
        assert_eq!(
            (
                would.profile.as_str(),
                would.denial.call.as_str(),
                would.denial.count
            ),
            ("web", "chmod", 3)
        );
        assert_eq!(would.denial.outcome, Outcome::Refused);
        let named: Vec<_> = said(&report).iter().map(|said| said.3.to_owned()).collect();
        assert_eq!(named, ["chmod", "mkdir"], "of others, and its own");
        let trial = &report.trials[0];
        assert_eq!(
            (trial.profile.as_str(), trial.count, trial.pods),
            ("web", 3, 0),
            "nobody has said since when"
        );
    }

    #[test]
    fn a_reader_that_was_started_again_counts_on() {
        let mut known = known();
        let calls = vec![placed("u1", "c1", CHMOD, Heard::Logged, 3)];
        let first = report(&snapshot(calls), &mut known, &Before::default(), "n1", 300).unwrap();
        let before = Before::of(&first);
        let calls = || vec![placed("u1", "c1", CHMOD, Heard::Logged, 2)];
        let again = report(&snapshot(calls()), &mut known, &before, "n1", 300).unwrap();
        assert_eq!(again.calls[0].denial.count, 5);
        // What it was counted for is over.
        known.pods = Pods::new("profiles");
        known.pods.take(WatchEvent::ListBegins, 0);
        known.pods.take(WatchEvent::ListEnds, 0);
        let later = report(&snapshot(vec![]), &mut known, &before, "n1", 200 + KEPT).unwrap();
        assert_eq!(later.calls, []);
    }

    #[test]
    fn nothing_is_said_before_it_is_known_and_a_reader_that_hears_nothing_says_why() {
        let mut heard = snapshot(vec![]);
        let mut unknown = Known {
            pods: Pods::new("profiles"),
            profiles: Profiles::new(AMD64),
        };
        assert_eq!(
            report(&heard, &mut unknown, &Before::default(), "n1", 0),
            None
        );
        heard.totals.hearing = None;
        assert_eq!(
            report(&heard, &mut known(), &Before::default(), "n1", 0),
            None
        );
        heard.totals.hearing = Some(Err(Deaf::Silent));
        let hearing = report(&heard, &mut known(), &Before::default(), "n1", 0)
            .unwrap()
            .hearing;
        assert_eq!(
            (hearing.hears, hearing.reason.as_deref()),
            (false, Some("Silent"))
        );
        heard.totals.hearing = Some(Ok(()));
        heard.totals.actions_logged = Some("log kill_process".into());
        let hearing = report(&heard, &mut known(), &Before::default(), "n1", 0)
            .unwrap()
            .hearing;
        assert_eq!(
            (hearing.hears, hearing.reason.as_deref()),
            (true, Some("NotAll"))
        );
        assert!(hearing.message.unwrap().ends_with("lacks kill_thread"));
    }
}
