//! What statuses say of the calls that observed profiles refuse.

use std::time::Duration;

use super::{Index, Kind, PATIENCE, cluster, seen, status, valid};
use seccomp_operator_api::{Denial, DenialReport, MAX_PROFILE_DENIALS, ObservedDenial};

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
