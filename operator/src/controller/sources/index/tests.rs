use serde_json::{Value, json};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const TEN: Duration = Duration::from_mins(10);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wall() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn source(name: &str, generation: i64, status: &Value) -> WatchEvent<SeccompSource> {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompSource",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": generation},
        "spec": {"reference": "ghcr.io/acme/x:v1"}, "status": status,
    });
    WatchEvent::Exists(Ok(serde_json::from_value(object).unwrap()))
}

fn well(pulled: &str) -> Value {
    json!({
        "observedGeneration": 1, "digest": "sha256:a", "lastPulled": pulled,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Pulled", "message": "", "lastTransitionTime": pulled}],
    })
}

fn profile(
    name: &str,
    owner: Option<&str>,
    generation: i64,
    digest: &str,
) -> WatchEvent<SeccompProfile> {
    let owners = owner.map(|uid| {
        json!([{"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompSource", "name": name, "uid": uid}])
    });
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
        "metadata": {
            "name": name, "uid": format!("profile-{name}"), "generation": generation, "ownerReferences": owners,
            "annotations": {"seccomp-operator.io/source-digest": digest},
        },
        "spec": {},
    });
    WatchEvent::Exists(Ok(serde_json::from_value(object).unwrap()))
}

fn gone(name: &str) -> WatchEvent<SeccompProfile> {
    match profile(name, None, 1, "") {
        WatchEvent::Exists(profile) => WatchEvent::Deleted(profile),
        _ => unreachable!(),
    }
}

fn with(sources: &[WatchEvent<SeccompSource>]) -> Sources {
    let mut all = Sources::default();
    for change in sources {
        all.source(change, Duration::ZERO, wall(), 0);
    }
    all
}

fn names(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.name.as_str()).collect()
}

fn done(name: &str, end: End) -> Done {
    Done {
        name: name.into(),
        uid: format!("uid-{name}"),
        generation: 1,
        end,
    }
}

fn left(name: &str, generation: i64) -> End {
    End::Kept {
        profile: Kept {
            uid: format!("profile-{name}"),
            generation,
        },
        interval: TEN,
    }
}

const FAILED: End = End::Failed {
    interval: TEN,
    is_taken: false,
};

#[test]
fn sources_are_counted_by_what_their_statuses_show_of_their_newest_generation() {
    let ready = |status: &str, reason: &str| {
        let mut shown = well("2026-11-30T12:00:00Z");
        let condition = &mut shown["conditions"][0];
        condition["status"] = status.into();
        condition["reason"] = reason.into();
        shown
    };
    let sources = with(&[
        source("a", 1, &ready("True", "Pulled")),
        source("b", 1, &ready("False", "PullFailed")),
        source("c", 1, &ready("False", "NotSigned")),
        source("d", 1, &ready("True", "Suspended")),
        source("e", 2, &ready("True", "Pulled")),
        source("f", 1, &json!({})),
    ]);
    let expected = SourceCounts {
        ready: 1,
        suspended: 1,
        failed: 2,
        unseen: 2,
    };
    assert_eq!(sources.counts(), expected);
}

#[test]
fn few_are_pulled_at_once_and_whoever_waits_for_longest_first() {
    let all: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .map(|name| source(name, 1, &json!({})))
        .into();
    let mut sources = with(&all);
    assert_eq!(names(&sources.due(Duration::ZERO)), ["a", "b", "c", "d"]);
    assert_eq!(names(&sources.due(secs(1))), Vec::<&str>::new());
    assert_eq!(sources.next(), None);
    sources.done(&done("b", FAILED), secs(2), 0);
    assert_eq!(names(&sources.due(secs(2))), ["e"]);
    sources.done(&done("a", left("a", 1)), secs(30), 0);
    // "b" is due again, and "f" was before.
    assert_eq!(names(&sources.due(secs(30))), ["f"]);
}

#[test]
fn the_next_pull_is_an_interval_later_and_a_little_more() {
    let mut sources = with(&[source("a", 1, &json!({}))]);
    sources.profile(&profile("a", Some("uid-a"), 1, "sha256:a"));
    assert_eq!(sources.due(secs(0)).len(), 1);
    assert_eq!(sources.next(), None);
    sources.done(&done("a", left("a", 1)), secs(3), DRAWS - 1);
    let next = sources.next().unwrap();
    assert!(
        next > secs(3) + TEN && next < secs(3) + TEN + MINUTE,
        "{next:?}"
    );
}

#[test]
fn failures_are_tried_again_after_ever_longer_pauses_and_a_new_spec_at_once() {
    let mut sources = with(&[source("a", 1, &json!({}))]);
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert_eq!(sources.due(now).len(), 1);
        sources.done(&done("a", FAILED), now, 0);
        let next = sources.next().unwrap();
        pauses.push(next.saturating_sub(now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600]);
    let soon = now.saturating_sub(secs(100));
    sources.source(&source("a", 2, &json!({})), soon, wall(), 0);
    assert_eq!(names(&sources.due(soon)), ["a"]);
    // What the old spec came to says nothing of the new one.
    sources.source(&source("a", 3, &json!({})), soon, wall(), 0);
    sources.done(&done("a", left("a", 1)), soon, 0);
    assert_eq!(names(&sources.due(soon)), ["a"]);
}

#[test]
fn what_only_another_spec_can_change_is_not_tried_again() {
    let mut sources = with(&[source("a", 1, &json!({}))]);
    sources.due(Duration::ZERO);
    sources.done(&done("a", End::Over), secs(1), 0);
    assert_eq!(sources.next(), None);
    sources.source(&source("a", 2, &json!({})), secs(9), wall(), 0);
    assert_eq!(sources.due(secs(9)).len(), 1);
}

#[test]
fn a_new_leader_asks_when_the_last_one_would_have() {
    let mut sources = with(&[source("a", 1, &well("2026-01-01T11:54:00Z"))]);
    sources.profile(&profile("a", Some("uid-a"), 4, "sha256:a"));
    assert_eq!(sources.next(), Some(4 * MINUTE));
    // A profile that is away, or another, is seen to at once; and so is what was not well.
    sources.profile(&profile("a", Some("uid-a"), 4, "sha256:b"));
    assert_eq!(sources.next(), Some(Duration::ZERO));
    let late = with(&[source("a", 2, &well("2026-01-01T11:54:00Z"))]);
    assert_eq!(late.next(), Some(Duration::ZERO));
    let future = with(&[source("a", 1, &well("2027-01-01T00:00:00Z"))]);
    // Of a clock that went wrong the interval is the most that it costs.
    assert_eq!(future.known["a"].due, Some(TEN));
}

#[test]
fn a_profile_that_is_deleted_or_changed_is_put_right_after_a_rest() {
    let mut sources = with(&[source("a", 1, &json!({}))]);
    sources.due(Duration::ZERO);
    sources.done(&done("a", left("a", 2)), secs(1), 0);
    // The watch is a little late.
    sources.profile(&profile("a", Some("uid-a"), 1, "sha256:a"));
    assert_eq!(sources.next(), Some(secs(1) + TEN));
    sources.profile(&profile("a", Some("uid-a"), 3, "sha256:a"));
    assert_eq!(sources.next(), Some(secs(1) + REST));
    sources.profile(&profile("a", Some("uid-a"), 2, "sha256:a"));
    assert_eq!(sources.next(), Some(secs(1) + TEN));
    sources.profile(&gone("a"));
    assert_eq!(sources.due(secs(20)).len(), 1);
}

#[test]
fn a_name_that_was_taken_is_tried_when_it_is_free() {
    let mut sources = with(&[source("a", 1, &json!({}))]);
    sources.profile(&profile("a", None, 1, ""));
    sources.due(Duration::ZERO);
    let taken = End::Failed {
        interval: TEN,
        is_taken: true,
    };
    for _ in 0..5 {
        sources.done(&done("a", taken.clone()), secs(100), 0);
    }
    assert_eq!(sources.next(), Some(secs(260)));
    sources.profile(&gone("a"));
    assert_eq!(sources.next(), Some(secs(100) + REST));
}

#[test]
fn a_source_that_is_gone_is_forgotten_and_one_of_its_name_is_another() {
    let mut sources = with(&[source("a", 1, &json!({})), source("b", 1, &json!({}))]);
    sources.due(Duration::ZERO);
    let nothing = (Duration::ZERO, wall(), 0);
    sources.source(&WatchEvent::ListBegins, nothing.0, nothing.1, nothing.2);
    sources.source(&source("b", 1, &json!({})), nothing.0, nothing.1, nothing.2);
    sources.source(&WatchEvent::ListEnds, nothing.0, nothing.1, nothing.2);
    assert_eq!(sources.known.keys().collect::<Vec<_>>(), ["b"]);
    let mut another = done("b", left("b", 1));
    another.uid = "another".into();
    sources.done(&another, secs(1), 0);
    assert!(sources.known["b"].runs);
    sources.stopped();
    assert_eq!(sources.due(secs(1)).len(), 1);
}
