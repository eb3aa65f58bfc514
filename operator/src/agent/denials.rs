//! Tells a pod what an observed profile refused it, and counts it. The node's recorder knows, and may write no Event; its report comes by a
//! watch.
//!
//! What is refused is mostly refused again and again. So an Event names the calls that none has named within the last hour, after which API
//! servers forget them, and a pod gets one a minute at most.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::metrics::Metrics;
use kube_support::events::{EventRequest, Events};
use kube_support::{WatchEvent, watch};
use seccomp_operator_api::{DenialReport, ObservedDenial, SeccompDenialReport};

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

/// Runs for as long as the process lives.
pub async fn run(client: Client, node: &str, events: &Events, metrics: &Metrics) {
    let api: Api<DeserializeGuard<SeccompDenialReport>> = Api::all(client);
    let itself = Config::default().fields(&format!("metadata.name={node}"));
    let mut changes = std::pin::pin!(watch(api, itself));
    let mut told = Told::default();
    let mut counted = Counted::default();
    let mut report = DenialReport::default();
    let mut wakes = None;
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(WatchEvent::Exists(Ok(object))) => report = object.spec,
                Some(WatchEvent::Exists(Err(unreadable))) => {
                    warn!(error = unreadable.error, "this node's SeccompDenialReport cannot be read");
                    continue;
                }
                // Its recorder makes it again with the same numbers.
                Some(WatchEvent::Deleted(_) | WatchEvent::ListBegins) => continue,
                Some(WatchEvent::ListEnds) => {}
                // It does not end; without it nothing is told, and all else goes on.
                None => std::future::pending().await,
            },
            () = sleep_until(wakes.unwrap_or_else(Instant::now)), if wakes.is_some() => {}
        }
        metrics.refused(counted.growth(&report));
        let due;
        (due, wakes) = told.due(&report, Instant::now());
        for (event, id) in due {
            events.post_once(event, id);
        }
    }
}

/// How often each call had been refused when it was last looked; nothing before the first look, which may come long after.
#[derive(Debug, Default)]
struct Counted(Option<HashMap<u64, i64>>);

impl Counted {
    /// How often calls were refused since the last look.
    fn growth(&mut self, report: &DenialReport) -> u64 {
        let now: HashMap<_, _> = report.denials.iter().map(count).collect();
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
    (of, &denial.call, &denial.architecture).hash(&mut hasher);
    (hasher.finish(), denial.count)
}

/// What was told of pods, by their uids.
#[derive(Debug, Default)]
struct Told(HashMap<String, OfPod>);

#[derive(Debug, Default)]
struct OfPod {
    at: Option<Instant>,
    /// By container and call: when, and how often it had been refused.
    calls: BTreeMap<(String, String), (Instant, i64)>,
}

impl OfPod {
    fn is_news(&self, observed: &ObservedDenial, now: Instant) -> bool {
        self.calls.get(&key(observed)).is_none_or(|(at, count)| {
            now.saturating_duration_since(*at) >= REMEMBERED && observed.denial.count > *count
        })
    }
}

fn key(observed: &ObservedDenial) -> (String, String) {
    let denial = &observed.denial;
    (denial.container.clone(), denial.call.clone())
}

impl Told {
    /// The Events that are due, each with what tells its incident from others, and when more may be.
    fn due(
        &mut self,
        report: &DenialReport,
        now: Instant,
    ) -> (Vec<(EventRequest, u64)>, Option<Instant>) {
        let mut by_pod = BTreeMap::<&str, Vec<&ObservedDenial>>::new();
        for observed in &report.denials {
            let uid = observed.denial.pod_uid.as_str();
            by_pod.entry(uid).or_default().push(observed);
        }
        self.0.retain(|uid, _| by_pod.contains_key(uid.as_str()));
        let (mut due, mut wakes) = (Vec::new(), None::<Instant>);
        let mut wake = |at: Instant| wakes = Some(wakes.map_or(at, |earlier| earlier.min(at)));
        for (uid, denials) in by_pod {
            let of_pod = self.0.entry(uid.to_owned()).or_default();
            let news = denials.into_iter();
            let news: Vec<_> = news.filter(|denial| of_pod.is_news(denial, now)).collect();
            let Some(first) = news.first() else { continue };
            let from = of_pod.at.map(|at| at + PACE).filter(|from| *from > now);
            if from.is_some() || due.len() >= PODS {
                wake(from.unwrap_or(now + NEXT));
                continue;
            }
            due.push(event(first, &news));
            of_pod.at = Some(now);
            let said = news.iter();
            let said = said.map(|observed| (key(observed), (now, observed.denial.count)));
            of_pod.calls.extend(said);
        }
        (due, wakes)
    }
}

fn event(first: &ObservedDenial, news: &[&ObservedDenial]) -> (EventRequest, u64) {
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
        let _ = write!(
            note,
            "{separator}{call} {times} to container {container} (profile {profile})"
        ); // a string takes all
    }
    if news.len() > NAMED {
        let _ = write!(note, " and {} more", news.len() - NAMED); // as above
    }
    let denial = &first.denial;
    let mut hasher = DefaultHasher::new();
    let mut named: Vec<_> = news.iter().map(|observed| key(observed)).collect();
    named.sort();
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
        warning: true,
        reason: "SeccompDenied",
        action: "Refuse",
        note: format!(
            "refused: {note}; `kubectl seccomp denials -n {} {}` has the numbers",
            denial.namespace, denial.pod
        ),
    };
    (event, hasher.finish())
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::Denial;

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

    fn notes(told: &mut Told, report: &DenialReport, now: Instant) -> Vec<String> {
        let (due, _) = told.due(report, now);
        due.into_iter().map(|(event, _)| event.note).collect()
    }

    #[test]
    fn a_pod_is_told_once_of_each_call_and_once_a_minute_at_most() {
        let start = Instant::now();
        let mut told = Told::default();
        let mount = report(&[("a", "mount", 1)]);
        assert_eq!(
            notes(&mut told, &mount, start),
            [
                "refused: mount once to container web (profile tight); `kubectl seccomp denials -n shop a` has the numbers"
            ]
        );
        // More of the same, however often it is looked at.
        let more = report(&[("a", "mount", 100_000)]);
        assert_eq!(notes(&mut told, &more, start + PACE), [""; 0]);
        // Something else, in the same minute and after it; another pod at once.
        let both = report(&[
            ("a", "mount", 100_000),
            ("a", "keyctl", 2),
            ("b", "mount", 1),
        ]);
        let (due, wakes) = told.due(&both, start + PACE / 2);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].0.regarding.name.as_deref(), Some("b"));
        assert_eq!(wakes, Some(start + PACE));
        let said = notes(&mut told, &both, start + PACE);
        assert!(
            said[0].starts_with("refused: keyctl several times"),
            "{said:?}"
        );
        assert_eq!(told.due(&both, start + PACE).1, None);
    }

    #[test]
    fn what_goes_on_is_told_again_when_its_event_is_forgotten() {
        let start = Instant::now();
        let mut told = Told::default();
        let id = |told: &mut Told, count, now| {
            let (due, _) = told.due(&report(&[("a", "mount", count)]), now);
            due.first().map(|(_, id)| *id)
        };
        let first = id(&mut told, 1, start);
        assert!(first.is_some());
        assert_eq!(id(&mut told, 1, start + REMEMBERED), None, "it has stopped");
        assert_eq!(id(&mut told, 2, start + REMEMBERED), first);
        // An agent that started anew finds the same name for it.
        assert_eq!(id(&mut Told::default(), 2, start), first);
    }

    #[test]
    fn many_pods_are_told_a_few_at_a_time_and_forgotten_with_the_report() {
        let start = Instant::now();
        let mut told = Told::default();
        let pods: Vec<_> = (0..40).map(|n| format!("web-{n}")).collect();
        let all: Vec<_> = pods.iter().map(|pod| (pod.as_str(), "mount", 1)).collect();
        let all = report(&all);
        let mut events = Vec::new();
        let mut now = Some(start);
        while let Some(at) = now {
            let (due, wakes) = told.due(&all, at);
            events.push(due.len());
            now = wakes;
        }
        assert_eq!(events, [16, 16, 8]);
        told.due(&DenialReport::default(), start);
        assert!(told.0.is_empty());
    }

    #[test]
    fn what_was_refused_before_this_process_looked_is_not_counted_again() {
        let mut counted = Counted::default();
        assert_eq!(counted.growth(&report(&[("a", "mount", 70)])), 0);
        let next = report(&[("a", "mount", 72), ("b", "mount", 3)]);
        assert_eq!(counted.growth(&next), 5);
        assert_eq!(counted.growth(&next), 0);
        assert_eq!(counted.growth(&DenialReport::default()), 0);
        assert_eq!(counted.growth(&report(&[("c", "mount", 4)])), 4);
    }

    #[test]
    fn an_event_names_a_few_calls() {
        let calls = (0..20).map(|n| format!("call_{n:02}"));
        let calls: Vec<_> = calls.collect();
        let all: Vec<_> = calls.iter().map(|call| ("a", call.as_str(), 1)).collect();
        let said = notes(&mut Told::default(), &report(&all), Instant::now());
        assert!(said[0].contains(" and 12 more; "), "{said:?}");
        assert_eq!(said.len(), 1);
    }
}
