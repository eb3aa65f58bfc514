//! What statuses say of the calls that observed profiles refuse.

use std::time::Duration;

use serde_json::json;

use super::super::{SeenProfile, SeenTrial};
use super::{Index, Kind, PATIENCE, cluster, defined, seen, status, valid};
use seccomp_operator_api::{
    Denial, DenialReport, MAX_PROFILE_DENIALS, ObservedDenial, ObservedTrial, TriedDenial,
};

fn report(pods: &[(&str, i64)]) -> DenialReport {
    let denials = pods.iter().map(|(pod, count)| ObservedDenial {
        profile: "a".into(),
        denial: Denial {
            pod: (*pod).into(),
            call: "mount".into(),
            count: *count,
            ..Denial::default()
        },
    });
    DenialReport::new("n", "1", denials.collect())
}

fn said(index: &Index) -> Vec<(String, i64)> {
    let denials = status(index).denials.into_iter();
    denials.map(|denial| (denial.pod, denial.count)).collect()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_denials_of_all_nodes_are_told_at_once_and_later_ones_once_a_minute() {
    let mut index = cluster();
    index.take_dirty(100);
    index.denials("n1", Some(&report(&[("web-0", 3)])));
    assert!(index.wakes().is_some_and(|at| at.is_zero()));
    index.tick(at(10));
    assert_eq!(index.take_dirty(100).len(), 1);
    assert_eq!(said(&index), [("web-0".to_owned(), 3)]);
    index.denials("n2", Some(&report(&[("web-1", 9)])));
    index.denials("n1", Some(&report(&[("web-0", 4)])));
    index.tick(at(69));
    assert_eq!(index.take_dirty(100).len(), 0);
    assert_eq!(said(&index), [("web-0".to_owned(), 3)]);
    assert_eq!(index.wakes(), Some(at(70)));
    index.tick(at(70));
    assert_eq!(index.take_dirty(100).len(), 1);
    assert_eq!(
        said(&index),
        [("web-1".to_owned(), 9), ("web-0".to_owned(), 4)]
    );
    assert_eq!(index.wakes(), None);
    // The same again is nothing to write.
    index.denials("n2", Some(&report(&[("web-1", 9)])));
    index.tick(at(200));
    assert_eq!(index.take_dirty(100).len(), 0);
    index.gone(Kind::DenialReport, "n2");
    index.tick(at(201));
    assert_eq!(said(&index), [("web-0".to_owned(), 4)]);
}

#[test]
fn a_status_names_the_most_frequent_denials() {
    let mut index = cluster();
    let pods: Vec<_> = (0..40).map(|n| (format!("web-{n:02}"), n)).collect();
    let pods: Vec<_> = pods.iter().map(|(pod, n)| (pod.as_str(), *n)).collect();
    index.denials("n1", Some(&report(&pods)));
    index.tick(at(1));
    let said = said(&index);
    assert_eq!(said.len(), MAX_PROFILE_DENIALS);
    assert_eq!(said[0], ("web-39".to_owned(), 39));
}

#[test]
fn before_all_reports_are_known_nothing_is_told() {
    let mut index = Index::new("profiles", PATIENCE);
    for kind in [
        Kind::Profile,
        Kind::Node,
        Kind::Agent,
        Kind::SeccompNode,
        Kind::DaemonSet,
        Kind::Ceiling,
    ] {
        index.list_begins(kind);
        index.list_ends(kind);
    }
    index.profile("a", seen(1, 10), valid);
    index.list_begins(Kind::DenialReport);
    index.denials("n1", Some(&report(&[("web-0", 3)])));
    index.tick(at(1));
    assert_eq!(said(&index), []);
    index.denials("n2", Some(&report(&[("web-1", 9)])));
    index.list_ends(Kind::DenialReport);
    index.tick(at(2));
    assert_eq!(said(&index).len(), 2);
    // Neither node is there.
    assert_eq!(index.orphaned_denials(), ["n1", "n2"]);
    assert_eq!(cluster().orphaned_denials(), [""; 0]);
}

const DIGEST: &str = "34e78c2287b96582";

fn on_trial(generation: i64, digest: &str) -> SeenProfile {
    SeenProfile {
        trial: Some(SeenTrial {
            digest: digest.into(),
            ..SeenTrial::default()
        }),
        ..seen(generation, 10)
    }
}

/// What a node says of a pod that called once or more often what the trial would refuse.
fn tried(pods: i32, call: Option<(&str, i64)>) -> DenialReport {
    let trial = ObservedTrial {
        profile: "a".into(),
        digest: DIGEST.into(),
        pods,
        containers: pods,
        count: call.map_or(0, |(_, count)| count),
    };
    let observed = report(&call.into_iter().collect::<Vec<_>>()).denials;
    let tried = observed.into_iter().map(|observed| TriedDenial {
        digest: DIGEST.into(),
        observed,
    });
    DenialReport::new("n", "1", Vec::new()).with_trials(vec![trial], tried.collect())
}

#[test]
fn a_status_says_of_a_trial_what_was_heard_since_it_began() {
    let mut index = cluster();
    assert_eq!(status(&index).trial, None);
    let spec = json!({"base": "runtime-default", "trial": {"deny": ["mkdir"]}});
    index.profile("a", on_trial(2, DIGEST), || defined(&spec));
    let quiet = status(&index).trial.unwrap();
    assert_eq!(
        (quiet.digest.as_str(), quiet.pods, quiet.count),
        (DIGEST, 0, 0)
    );
    assert!(quiet.since.is_some());
    index.denials("n1", Some(&tried(2, Some(("web-0", 3)))));
    index.denials("n2", Some(&tried(1, None)));
    index.tick(at(1));
    let said = status(&index);
    let trial = said.trial.clone().unwrap();
    assert_eq!((trial.pods, trial.containers, trial.count), (3, 3, 3));
    assert_eq!(trial.denials[0].pod, "web-0");
    assert_eq!(said.denials, [], "nothing was refused");
    // The node forgets the pod; the status does not, until another version is tried.
    let mut written = on_trial(2, DIGEST);
    written.status = said;
    index.profile("a", written.clone(), || defined(&spec));
    index.denials("n1", Some(&tried(1, None)));
    index.tick(at(100));
    let later = status(&index).trial.unwrap();
    assert_eq!((later.pods, later.count), (2, 3));
    assert_eq!(later.denials, trial.denials);
    written.trial = on_trial(3, "0000000000000000").trial;
    written.generation = 3;
    index.profile("a", written, || defined(&spec));
    let other = status(&index).trial.unwrap();
    assert_eq!((other.pods, other.count, other.denials.len()), (0, 0, 0));
}

#[test]
fn a_status_warns_of_a_trial_that_is_not_tried_or_tells_nothing() {
    let mut index = cluster();
    let warned = |index: &mut Index, generation, trial: serde_json::Value| {
        let spec = json!({"base": "runtime-default", "trial": trial});
        index.profile("a", on_trial(generation, DIGEST), || defined(&spec));
        status(index)
            .warnings
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let circle = warned(&mut index, 2, json!({"base": "a"}));
    assert!(
        circle.starts_with("spec.trial: is not tried: once spec.trial is promoted: "),
        "{circle}"
    );
    let nothing = warned(&mut index, 3, json!({"deny": ["mount"]}));
    assert!(
        nothing.starts_with("spec.trial: refuses nothing"),
        "{nothing}"
    );
    assert_eq!(warned(&mut index, 4, json!({"deny": ["@chmod"]})), "");
}
