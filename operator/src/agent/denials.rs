//! Tells a pod what an observed profile refused it, what the next version of one would have refused, and what seccomp killed or logged, and counts it. The node's recorder
//! and its audit reader know, and may write no Event; their reports come by a watch.
//!
//! What is refused is mostly refused again and again. So an Event names the calls that none has named within the last hour, after which API
//! servers forget them, and a pod gets one a minute at most, whoever reports.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::select_all;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::metrics::Metrics;
use kube_support::events::{EventRequest, Events};
use kube_support::{WatchEvent, watch};
use seccomp_operator_api::{
    AuditedCall, ObservedDenial, Outcome, SeccompAuditReport, SeccompDenialReport, TriedDenial,
};

/// How long API servers keep Events, unless they are told otherwise.
const REMEMBERED: Duration = Duration::from_hours(1);
/// How long a pod's next Event waits at least.
const PACE: Duration = Duration::from_mins(1);
/// So many pods are told at once: more Events would not find room to wait in.
const PODS: usize = 16;
/// How long the others wait.
const NEXT: Duration = Duration::from_secs(10);
/// So many calls an Event names.
const NAMED: usize = 8;

/// Who reports on this node. Where nobody does, the chart gives no right to look.
#[derive(Clone, Copy, Debug)]
pub struct Reporters {
    /// The recorder.
    pub recorder: bool,
    /// The audit reader.
    pub audit: bool,
}

enum Change {
    Refused(WatchEvent<SeccompDenialReport>),
    Heard(WatchEvent<SeccompAuditReport>),
}

/// What the reports say now.
#[derive(Debug, Default)]
struct Said {
    refused: Vec<ObservedDenial>,
    /// By the recorder, and by the audit reader.
    tried: [Vec<ObservedDenial>; 2],
    /// Of whichever profile: in place of its name stands what is said of it.
    heard: Vec<ObservedDenial>,
}

impl Said {
    /// Whether it says something else from now on.
    fn take(&mut self, change: Change) -> bool {
        let observed = |tried: TriedDenial| tried.observed;
        match change {
            Change::Refused(WatchEvent::Exists(Ok(object))) => {
                let report = object.spec;
                self.refused = report.denials;
                self.tried[0] = report.would_refuse.into_iter().map(observed).collect();
            }
            Change::Heard(WatchEvent::Exists(Ok(object))) => {
                let report = object.spec;
                self.heard = report.calls.into_iter().map(of_whichever).collect();
                self.tried[1] = report.would_refuse.into_iter().map(observed).collect();
            }
            Change::Refused(WatchEvent::Exists(Err(unreadable))) => {
                warn!(
                    error = unreadable.error,
                    "this node's SeccompDenialReport cannot be read"
                );
                return false;
            }
            Change::Heard(WatchEvent::Exists(Err(unreadable))) => {
                warn!(
                    error = unreadable.error,
                    "this node's SeccompAuditReport cannot be read"
                );
                return false;
            }
            // It is made again with the same numbers.
            Change::Refused(WatchEvent::Deleted(_) | WatchEvent::ListBegins)
            | Change::Heard(WatchEvent::Deleted(_) | WatchEvent::ListBegins) => return false,
            Change::Refused(WatchEvent::ListEnds) | Change::Heard(WatchEvent::ListEnds) => {}
        }
        true
    }
}

fn of_whichever(call: AuditedCall) -> ObservedDenial {
    let profile = call.profile.map(|name| format!("profile {name}"));
    ObservedDenial {
        profile: profile
            .or(call.stated)
            .unwrap_or_else(|| "no stated profile".to_owned()),
        denial: call.denial,
    }
}

/// Runs for as long as the process lives.
pub async fn run(
    client: Client,
    node: &str,
    reporters: Reporters,
    events: &Events,
    metrics: &Metrics,
) {
    let itself = || Config::default().fields(&format!("metadata.name={node}"));
    let mut changes = Vec::new();
    if reporters.recorder {
        let api: Api<DeserializeGuard<SeccompDenialReport>> = Api::all(client.clone());
        changes.push(watch(api, itself()).map(Change::Refused).boxed());
    }
    if reporters.audit {
        let api: Api<DeserializeGuard<SeccompAuditReport>> = Api::all(client);
        changes.push(watch(api, itself()).map(Change::Heard).boxed());
    }
    let mut changes = select_all(changes);
    let [mut told, mut told_of_trials, mut told_of_heard] =
        [Kind::Refused, Kind::Tried, Kind::Heard].map(Told::of);
    let mut paces = Paces::default();
    let mut counted = Counted::default();
    let [mut counted_of_recorder, mut counted_of_audit] = [Counted::default(), Counted::default()];
    let mut said = Said::default();
    let mut wakes = None;
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => if !said.take(change) {
                    continue;
                },
                // It does not end; without it nothing is told, and all else goes on.
                None => std::future::pending().await,
            },
            () = sleep_until(wakes.unwrap_or_else(Instant::now)), if wakes.is_some() => {}
        }
        metrics.refused(counted.growth(said.refused.iter()));
        metrics.would_be_refused(counted_of_recorder.growth(said.tried[0].iter()));
        metrics.would_be_refused(counted_of_audit.growth(said.tried[1].iter()));
        let now = Instant::now();
        let (due, next) = told.due(said.refused.iter(), &mut paces, now);
        let tried = said.tried.iter().flatten();
        let (due_of_trials, next_of_trials) = told_of_trials.due(tried, &mut paces, now);
        let (due_of_heard, next_of_heard) = told_of_heard.due(said.heard.iter(), &mut paces, now);
        for (event, id) in due.into_iter().chain(due_of_trials).chain(due_of_heard) {
            events.post_once(event, id);
        }
        let next = next.into_iter().chain(next_of_trials).chain(next_of_heard);
        wakes = next.min();
    }
}

/// How often each call had been refused when it was last looked; nothing before the first look, which may come long after.
#[derive(Debug, Default)]
struct Counted(Option<HashMap<u64, i64>>);

impl Counted {
    /// How often calls were refused since the last look.
    fn growth<'r>(&mut self, denials: impl Iterator<Item = &'r ObservedDenial>) -> u64 {
        let now: HashMap<_, _> = denials.map(count).collect();
        let before = self.0.replace(now);
        let Some((before, now)) = before.zip(self.0.as_ref()) else {
            return 0;
        };
        let grown = now.iter().map(|(which, count)| {
            let grown = count - before.get(which).copied().unwrap_or_default();
            u64::try_from(grown).unwrap_or_default()
        });
        grown.sum()
    }
}

fn count(observed: &ObservedDenial) -> (u64, i64) {
    let denial = &observed.denial;
    let mut hasher = DefaultHasher::new();
    let of = (&observed.profile, &denial.pod_uid, &denial.container);
    (
        of,
        &denial.call,
        &denial.architecture,
        denial.outcome.word(),
    )
        .hash(&mut hasher);
    (hasher.finish(), denial.count)
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Calls were refused.
    Refused,
    /// Calls happened that the next version would refuse.
    Tried,
    /// Calls were killed or logged, under whichever profile.
    Heard,
}

/// What was told of pods, by their uids.
#[derive(Debug)]
struct Told {
    kind: Kind,
    pods: HashMap<String, OfPod>,
}

/// When each pod, by its uid, was last told anything.
#[derive(Debug, Default)]
struct Paces(HashMap<String, Instant>);

impl Paces {
    fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, at| *at + PACE > now);
    }

    /// When it may be told again, unless that is now.
    fn from(&self, pod: &str) -> Option<Instant> {
        self.0.get(pod).map(|at| *at + PACE)
    }
}

#[derive(Debug, Default)]
struct OfPod {
    /// By container, call and what became of it: when, and how often it had been refused.
    calls: BTreeMap<Key, (Instant, i64)>,
}

impl OfPod {
    fn is_news(&self, observed: &ObservedDenial, now: Instant) -> bool {
        self.calls.get(&key(observed)).is_none_or(|(at, count)| {
            now.saturating_duration_since(*at) >= REMEMBERED && observed.denial.count > *count
        })
    }
}

type Key = (String, String, Outcome);

fn key(observed: &ObservedDenial) -> Key {
    let denial = &observed.denial;
    let (container, call) = (&denial.container, &denial.call);
    (container.clone(), call.clone(), denial.outcome)
}

impl Told {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            pods: HashMap::new(),
        }
    }

    /// The Events that are due, each with what tells its incident from others, and when more may be.
    fn due<'r>(
        &mut self,
        denials: impl Iterator<Item = &'r ObservedDenial>,
        paces: &mut Paces,
        now: Instant,
    ) -> (Vec<(EventRequest, u64)>, Option<Instant>) {
        paces.forget_old(now);
        let mut by_pod = BTreeMap::<&str, Vec<&ObservedDenial>>::new();
        for observed in denials {
            let uid = observed.denial.pod_uid.as_str();
            by_pod.entry(uid).or_default().push(observed);
        }
        self.pods.retain(|uid, _| by_pod.contains_key(uid.as_str()));
        let (mut due, mut wakes) = (Vec::new(), None::<Instant>);
        let mut wake = |at: Instant| wakes = Some(wakes.map_or(at, |earlier| earlier.min(at)));
        for (uid, denials) in by_pod {
            let of_pod = self.pods.entry(uid.to_owned()).or_default();
            let news = denials.into_iter();
            let news: Vec<_> = news.filter(|denial| of_pod.is_news(denial, now)).collect();
            let Some(first) = news.first() else { continue };
            let from = paces.from(uid);
            if from.is_some() || due.len() >= PODS {
                wake(from.unwrap_or(now + NEXT));
                continue;
            }
            due.push(event(self.kind, first, &news));
            paces.0.insert(uid.to_owned(), now);
            let said = news.iter();
            let said = said.map(|observed| (key(observed), (now, observed.denial.count)));
            of_pod.calls.extend(said);
        }
        (due, wakes)
    }
}

fn event(kind: Kind, first: &ObservedDenial, news: &[&ObservedDenial]) -> (EventRequest, u64) {
    let mut note = String::new();
    for observed in news.iter().take(NAMED) {
        let ObservedDenial { profile, denial } = observed;
        let separator = if note.is_empty() { "" } else { ", " };
        let times = if denial.count == 1 {
            "once"
        } else {
            "several times"
        };
        let (container, call) = (&denial.container, &denial.call);
        // A string takes all.
        let _ = match kind {
            Kind::Refused => write!(
                note,
                "{separator}{call} {times} to container {container} (profile {profile})"
            ),
            Kind::Tried => write!(
                note,
                "{separator}{call} {times} to container {container} (trial of profile {profile})"
            ),
            Kind::Heard => write!(
                note,
                "{separator}{call} {} {times} in container {container} ({profile})",
                denial.outcome.word()
            ),
        };
    }
    if news.len() > NAMED {
        let _ = write!(note, " and {} more", news.len() - NAMED); // as above
    }
    let denial = &first.denial;
    let (namespace, pod) = (&denial.namespace, &denial.pod);
    let mut hasher = DefaultHasher::new();
    let mut all = news.iter();
    let has_denied = kind != Kind::Tried && all.any(|new| !new.denial.outcome.happened());
    let (reason, action, note) = match kind {
        Kind::Refused => (
            "SeccompDenied",
            "Refuse",
            format!(
                "refused: {note}; `kubectl seccomp denials -n {namespace} {pod}` has the numbers"
            ),
        ),
        Kind::Heard => {
            "heard".hash(&mut hasher);
            let reason = if has_denied {
                "SeccompDenied"
            } else {
                "SeccompLogged"
            };
            let numbers = format!("`kubectl seccomp denials -n {namespace} {pod}` has the numbers");
            (reason, "Hear", format!("seccomp: {note}; {numbers}"))
        }
        Kind::Tried => {
            "trial".hash(&mut hasher);
            let profile = &first.profile;
            (
                "SeccompTrial",
                "Try",
                format!(
                    "would be refused: {note}; it still happens, and `kubectl seccomp trial {profile}` has the numbers"
                ),
            )
        }
    };
    let mut named: Vec<_> = news.iter().map(|observed| key(observed)).collect();
    named.sort();
    let words = named
        .iter()
        .map(|(container, call, outcome)| (container, call, outcome.word()));
    let named: Vec<_> = words.collect();
    (&denial.pod_uid, named).hash(&mut hasher);
    let event = EventRequest {
        regarding: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(denial.pod.clone()),
            namespace: Some(denial.namespace.clone()),
            uid: Some(denial.pod_uid.clone()),
            ..ObjectReference::default()
        },
        warning: has_denied,
        reason,
        action,
        note,
    };
    (event, hasher.finish())
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::{Denial, DenialReport};

    use super::*;

    fn report(denials: &[(&str, &str, i64)]) -> DenialReport {
        let denials = denials.iter().map(|(pod, call, count)| ObservedDenial {
            profile: "tight".into(),
            denial: Denial {
                namespace: "shop".into(),
                pod: (*pod).into(),
                pod_uid: format!("uid-{pod}"),
                container: "web".into(),
                call: (*call).into(),
                count: *count,
                ..Denial::default()
            },
        });
        DenialReport::new("n1", "1", denials.collect())
    }

    /// What one kind tells by itself.
    #[derive(Debug)]
    struct Alone(Told, Paces);

    impl Alone {
        fn of(kind: Kind) -> Self {
            Self(Told::of(kind), Paces::default())
        }

        fn due<'r>(
            &mut self,
            denials: impl Iterator<Item = &'r ObservedDenial>,
            now: Instant,
        ) -> (Vec<(EventRequest, u64)>, Option<Instant>) {
            self.0.due(denials, &mut self.1, now)
        }
    }

    fn notes(told: &mut Alone, report: &DenialReport, now: Instant) -> Vec<String> {
        let (due, _) = told.due(report.denials.iter(), now);
        due.into_iter().map(|(event, _)| event.note).collect()
    }

    #[test]
    fn a_pod_is_told_once_of_each_call_and_once_a_minute_at_most() {
        let start = Instant::now();
        let mut told = Alone::of(Kind::Refused);
        let mount = report(&[("a", "mount", 1)]);
        assert_eq!(
            notes(&mut told, &mount, start),
            [
                "refused: mount once to container web (profile tight); `kubectl seccomp denials -n shop a` has the numbers"
            ]
        );
        // More of the same, however often it is looked at.
        let more = report(&[("a", "mount", 100_000)]);
        assert_eq!(notes(&mut told, &more, start + PACE / 4), [""; 0]);
        // Something else, in the same minute and after it; another pod at once.
        let both = report(&[
            ("a", "mount", 100_000),
            ("a", "keyctl", 2),
            ("b", "mount", 1),
        ]);
        let (due, wakes) = told.due(both.denials.iter(), start + PACE / 2);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].0.regarding.name.as_deref(), Some("b"));
        assert_eq!(wakes, Some(start + PACE));
        let said = notes(&mut told, &both, start + PACE);
        assert!(
            said[0].starts_with("refused: keyctl several times"),
            "{said:?}"
        );
        assert_eq!(told.due(both.denials.iter(), start + PACE).1, None);
    }

    #[test]
    fn a_pod_is_told_once_a_minute_whoever_reports() {
        let start = Instant::now();
        let [mut refused, mut heard] = [Kind::Refused, Kind::Heard].map(Told::of);
        let mut paces = Paces::default();
        let mount = report(&[("a", "mount", 1), ("b", "mount", 1)]);
        let killed = report(&[("a", "keyctl", 1), ("c", "keyctl", 1)]);
        let (first, _) = refused.due(mount.denials.iter(), &mut paces, start);
        assert_eq!(first.len(), 2);
        let (others, wakes) = heard.due(killed.denials.iter(), &mut paces, start);
        let pods = others
            .iter()
            .map(|(event, _)| event.regarding.name.as_deref());
        assert_eq!(pods.collect::<Vec<_>>(), [Some("c")]);
        assert_eq!(wakes, Some(start + PACE));
        let (late, _) = heard.due(killed.denials.iter(), &mut paces, start + PACE);
        assert_eq!(late[0].0.regarding.name.as_deref(), Some("a"), "not lost");
        assert_eq!(paces.0.len(), 1, "the others are forgotten");
    }

    #[test]
    fn what_goes_on_is_told_again_when_its_event_is_forgotten() {
        let start = Instant::now();
        let mut told = Alone::of(Kind::Refused);
        let id = |told: &mut Alone, count, now| {
            let (due, _) = told.due(report(&[("a", "mount", count)]).denials.iter(), now);
            due.first().map(|(_, id)| *id)
        };
        let first = id(&mut told, 1, start);
        assert!(first.is_some());
        assert_eq!(id(&mut told, 1, start + REMEMBERED), None, "it has stopped");
        assert_eq!(id(&mut told, 2, start + REMEMBERED), first);
        // An agent that started anew finds the same name for it.
        assert_eq!(id(&mut Alone::of(Kind::Refused), 2, start), first);
    }

    #[test]
    fn many_pods_are_told_a_few_at_a_time_and_forgotten_with_the_report() {
        let start = Instant::now();
        let mut told = Alone::of(Kind::Refused);
        let pods: Vec<_> = (0..40).map(|n| format!("web-{n}")).collect();
        let all: Vec<_> = pods.iter().map(|pod| (pod.as_str(), "mount", 1)).collect();
        let all = report(&all);
        let mut events = Vec::new();
        let mut now = Some(start);
        while let Some(at) = now {
            let (due, wakes) = told.due(all.denials.iter(), at);
            events.push(due.len());
            now = wakes;
        }
        assert_eq!(events, [16, 16, 8]);
        told.due([].iter(), start);
        assert!(told.0.pods.is_empty());
    }

    #[test]
    fn what_was_refused_before_this_process_looked_is_not_counted_again() {
        let mut counted = Counted::default();
        assert_eq!(
            counted.growth(report(&[("a", "mount", 70)]).denials.iter()),
            0
        );
        let next = report(&[("a", "mount", 72), ("b", "mount", 3)]);
        assert_eq!(counted.growth(next.denials.iter()), 5);
        assert_eq!(counted.growth(next.denials.iter()), 0);
        assert_eq!(counted.growth([].iter()), 0);
        assert_eq!(
            counted.growth(report(&[("c", "mount", 4)]).denials.iter()),
            4
        );
    }

    #[test]
    fn of_a_trial_a_pod_is_told_what_would_be_refused() {
        let mut told = Alone::of(Kind::Tried);
        let report = report(&[("a", "chmod", 2)]);
        let (due, _) = told.due(report.denials.iter(), Instant::now());
        let (event, id) = &due[0];
        assert_eq!(event.reason, "SeccompTrial");
        assert_eq!(
            event.note,
            "would be refused: chmod several times to container web (trial of profile tight); it still happens, and `kubectl seccomp trial tight` has the numbers"
        );
        let (refused, _) = Alone::of(Kind::Refused).due(report.denials.iter(), Instant::now());
        assert_ne!(refused[0].1, *id, "they are two incidents");
    }

    #[test]
    fn what_was_killed_or_logged_is_told_whoever_s_profile_it_is() {
        let call = |profile: Option<&str>, call: &str, outcome: Outcome| {
            let denial = Denial {
                namespace: "shop".into(),
                pod: "a".into(),
                pod_uid: "uid-a".into(),
                container: "web".into(),
                call: call.into(),
                outcome,
                count: 2,
                ..Denial::default()
            };
            of_whichever(AuditedCall {
                profile: profile.map(str::to_owned),
                stated: profile.is_none().then(|| "RuntimeDefault".to_owned()),
                denial,
            })
        };
        let logged = call(None, "chmod", Outcome::Logged);
        let killed = call(Some("tight"), "chmod", Outcome::Killed);
        let mut told = Alone::of(Kind::Heard);
        let start = Instant::now();
        let (due, _) = told.due([logged.clone()].iter(), start);
        assert_eq!(
            (due[0].0.reason, due[0].0.warning),
            ("SeccompLogged", false)
        );
        let (due, _) = told.due([killed, logged].iter(), start + PACE);
        let event = &due[0].0;
        assert_eq!((event.reason, event.warning), ("SeccompDenied", true));
        assert_eq!(
            event.note,
            "seccomp: chmod killed several times in container web (profile tight); `kubectl seccomp denials -n shop a` has the numbers"
        );
    }

    #[test]
    fn an_event_names_a_few_calls() {
        let calls = (0..20).map(|n| format!("call_{n:02}"));
        let calls: Vec<_> = calls.collect();
        let all: Vec<_> = calls.iter().map(|call| ("a", call.as_str(), 1)).collect();
        let said = notes(&mut Alone::of(Kind::Refused), &report(&all), Instant::now());
        assert!(said[0].contains(" and 12 more; "), "{said:?}");
        assert_eq!(said.len(), 1);
    }
}
