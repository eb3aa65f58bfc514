use super::*;
use rustix::io::Errno;

fn named(name: &str) -> ProfileName {
    ProfileName::parse(name).unwrap()
}

fn seen(generation: i64, version: u64) -> Observed {
    Observed {
        uid: "u".into(),
        generation,
        version,
        revision: 0,
        selector: BTreeMap::new(),
        adopt: false,
    }
}

#[allow(clippy::unnecessary_wraps)] // it stands in for a function that can fail
fn ok(content: &str) -> Result<Vec<u8>, String> {
    Ok(content.as_bytes().to_vec())
}

/// The profile exists, and means `content` if it is rendered at all.
fn exists(state: &mut State, name: &str, seen: Observed, content: Result<Vec<u8>, String>) {
    if state.exists(&named(name), seen) {
        assert_eq!(state.next_stale(), Some(named(name)));
        state.rendered(&named(name), content);
    }
    assert_eq!(state.next_stale(), None);
}

/// Carries out what is due as a store would that never fails.
fn settle(state: &mut State, owned: &mut BTreeSet<ProfileName>) -> Vec<String> {
    let edits = state.edits(owned);
    let mut log = Vec::new();
    let outcomes: Vec<_> = edits
        .iter()
        .map(|edit| match edit {
            Edit::Write {
                name,
                content,
                adopt,
            } => {
                owned.insert(name.clone());
                let content = String::from_utf8(content.bytes().unwrap()).unwrap();
                let over = if *adopt { " over what is there" } else { "" };
                log.push(format!("write {name} {content}{over}"));
                Ok(Done::Written)
            }
            Edit::Remove(name) => {
                owned.remove(name);
                log.push(format!("remove {name}"));
                Ok(Done::Removed)
            }
        })
        .collect();
    state.record(&edits, &outcomes);
    log
}

fn started(profiles: &[(&str, u64)]) -> (State, BTreeSet<ProfileName>) {
    let mut state = State::default();
    let mut owned = BTreeSet::new();
    state.list_begins();
    for (name, version) in profiles {
        exists(&mut state, name, seen(1, *version), ok("1"));
    }
    state.list_ends();
    state.used(BTreeMap::new());
    settle(&mut state, &mut owned);
    state.report(&owned);
    (state, owned)
}

#[test]
fn nothing_is_removed_before_the_full_list_is_known() {
    let mut state = State::default();
    state.used(BTreeMap::new());
    let mut owned = BTreeSet::from([named("orphan"), named("kept")]);
    state.list_begins();
    exists(&mut state, "kept", seen(1, 5), ok("k"));
    assert_eq!(settle(&mut state, &mut owned), ["write kept k"]);
    assert!(!state.is_in_sync());
    state.list_ends();
    assert_eq!(settle(&mut state, &mut owned), ["remove orphan"]);
    assert!(state.is_in_sync());
}

#[test]
fn a_status_write_neither_renders_nor_writes_nor_reports() {
    let (mut state, owned) = started(&[("a", 10)]);
    let before = state.report(&owned);
    let status_write = Observed {
        revision: 10,
        ..seen(1, 11)
    };
    assert!(!state.exists(&named("a"), status_write));
    assert!(state.edits(&owned).is_empty());
    assert_eq!(state.report(&owned), before);
}

#[test]
fn a_new_generation_is_written_and_moves_the_applied_version() {
    let (mut state, mut owned) = started(&[("a", 10)]);
    assert_eq!(state.report(&owned).unwrap().applied_version, 10);
    exists(&mut state, "a", seen(2, 12), ok("2"));
    assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
    assert_eq!(state.report(&owned).unwrap().applied_version, 12);
}

#[test]
fn a_profile_made_again_under_the_same_name_is_another_one() {
    let (mut state, mut owned) = started(&[("a", 10)]);
    exists(
        &mut state,
        "a",
        Observed {
            uid: "other".into(),
            ..seen(1, 12)
        },
        ok("2"),
    );
    assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
}

#[test]
fn a_controller_that_asks_for_a_later_version_gets_an_answer() {
    let (mut state, owned) = started(&[("a", 10)]);
    exists(
        &mut state,
        "a",
        Observed {
            revision: 15,
            ..seen(1, 16)
        },
        ok("1"),
    );
    assert_eq!(state.report(&owned).unwrap().applied_version, 16);
}

#[test]
fn a_profile_missing_from_a_new_list_is_removed() {
    let (mut state, mut owned) = started(&[("a", 10), ("b", 11)]);
    state.list_begins();
    exists(&mut state, "b", seen(1, 11), ok("1"));
    state.list_ends();
    assert_eq!(settle(&mut state, &mut owned), ["remove a"]);
}

#[test]
fn the_applied_version_stays_while_a_list_is_under_way() {
    let (mut state, mut owned) = started(&[("a", 10), ("z", 11)]);
    state.list_begins();
    exists(&mut state, "a", seen(2, 50), ok("2"));
    settle(&mut state, &mut owned);
    assert_eq!(state.report(&owned).unwrap().applied_version, 11);
    assert!(!state.is_in_sync());
    exists(&mut state, "z", seen(2, 45), ok("2"));
    state.list_ends();
    settle(&mut state, &mut owned);
    assert_eq!(state.report(&owned).unwrap().applied_version, 50);
}

#[test]
fn an_invalid_generation_keeps_the_last_good_file_and_says_why() {
    let (mut state, mut owned) = started(&[("a", 10)]);
    exists(&mut state, "a", seen(2, 12), Err("spec.profile: no".into()));
    assert_eq!(settle(&mut state, &mut owned), ["write a 1"]);
    let report = state.report(&owned).unwrap();
    assert_eq!(report.applied_version, 12);
    assert_eq!(report.failures[0].reason, "Invalid");
    assert_eq!(report.failures[0].message, "spec.profile: no");
    assert_eq!(state.counts(), (1, 0));
}

#[test]
fn an_invalid_first_generation_writes_nothing() {
    let mut state = State::default();
    state.list_begins();
    exists(&mut state, "a", seen(1, 1), Err("no".into()));
    state.list_ends();
    let owned = BTreeSet::new();
    state.used(BTreeMap::new());
    assert!(state.edits(&owned).is_empty());
    assert_eq!(state.report(&owned).unwrap().failures.len(), 1);
}

#[test]
fn a_file_that_somebody_touched_is_looked_at_and_a_repair_is_told_from_an_update() {
    let (mut state, owned) = started(&[("a", 10)]);
    state.touched(&named("a"));
    state.touched(&named("not-ours"));
    let edits = state.edits(&owned);
    assert_eq!(edits.len(), 1);
    assert!(state.record(&edits, &[Ok(Done::Unchanged)]).is_empty());
    state.touched(&named("a"));
    let edits = state.edits(&owned);
    assert_eq!(state.record(&edits, &[Ok(Done::Written)]), [&named("a")]);
    exists(&mut state, "a", seen(2, 12), ok("2"));
    let edits = state.edits(&owned);
    assert!(state.record(&edits, &[Ok(Done::Written)]).is_empty());
}

#[test]
fn a_failed_write_is_reported_and_tried_again_until_it_succeeds() {
    let (mut state, mut owned) = started(&[("a", 10)]);
    exists(&mut state, "a", seen(2, 12), ok("2"));
    let edits = state.edits(&owned);
    state.record(
        &edits,
        &[Err(StoreError::Io {
            step: "write the file",
            errno: Errno::NOSPC,
        })],
    );
    let report = state.report(&owned).unwrap();
    assert_eq!(report.failures[0].reason, "WriteFailed");
    assert!(
        report.failures[0]
            .message
            .contains("No space left on device")
    );
    assert!(state.edits(&owned).is_empty());
    state.retry();
    assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
    assert!(state.report(&owned).unwrap().failures.is_empty());
}

#[test]
fn a_removal_that_failed_is_reported_and_tried_again() {
    let (mut state, mut owned) = started(&[("a", 10)]);
    state.deleted(&named("a"));
    let edits = state.edits(&owned);
    state.record(
        &edits,
        &[Err(StoreError::Io {
            step: "remove the file",
            errno: Errno::ROFS,
        })],
    );
    assert_eq!(
        state.report(&owned).unwrap().failures[0].reason,
        "RemoveFailed"
    );
    assert_eq!(settle(&mut state, &mut owned), ["remove a"]);
    assert!(state.report(&owned).unwrap().failures.is_empty());
}

#[test]
fn a_profile_whose_base_changes_is_rendered_again_and_its_file_follows() {
    let (mut state, mut owned) = started(&[("a", 10), ("b", 11)]);
    state.stale(["a", "unknown"]);
    assert!(!state.is_in_sync());
    assert_eq!(state.next_stale(), Some(named("a")));
    assert_eq!(state.next_stale(), None);
    state.rendered(&named("a"), ok("2"));
    assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
    assert!(state.is_in_sync());
}

#[test]
fn a_profile_whose_base_goes_keeps_its_file_and_says_why_until_it_comes_back() {
    let (mut state, mut owned) = started(&[("a", 10)]);
    state.stale(["a"]);
    let name = state.next_stale().unwrap();
    state.rendered(&name, Err("spec.base: gone".into()));
    assert_eq!(settle(&mut state, &mut owned), ["write a 1"]);
    assert_eq!(
        state.report(&owned).unwrap().failures[0].message,
        "spec.base: gone"
    );
    state.rendered(&name, ok("1"));
    settle(&mut state, &mut owned);
    assert!(state.report(&owned).unwrap().failures.is_empty());
}

fn selecting(version: u64, labels: &[(&str, &str)]) -> Observed {
    Observed {
        selector: labelled(labels),
        ..seen(1, version)
    }
}

fn labelled(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    labels.collect()
}

fn by_pods(uses: &[(&str, usize)]) -> BTreeMap<ProfileName, Use> {
    let used = |pods| Use {
        pods,
        ..Use::default()
    };
    uses.iter()
        .map(|(name, pods)| (named(name), used(*pods)))
        .collect()
}

#[test]
fn a_profile_is_where_its_selector_says_and_goes_when_the_labels_do() {
    let (mut state, mut owned) = started(&[("a", 10)]);
    exists(&mut state, "gpu", selecting(11, &[("gpu", "yes")]), ok("g"));
    assert!(settle(&mut state, &mut owned).is_empty());
    assert!(
        !state.is_in_sync(),
        "nobody knows yet whether it belongs here"
    );
    assert_eq!(state.report(&owned).unwrap().labels_digest, None);
    state.labels(labelled(&[("gpu", "no")]));
    assert!(settle(&mut state, &mut owned).is_empty());
    assert!(state.is_in_sync());
    let without = state.report(&owned).unwrap().labels_digest;
    assert!(without.is_some());
    state.labels(labelled(&[("gpu", "yes"), ("more", "")]));
    assert_eq!(settle(&mut state, &mut owned), ["write gpu g"]);
    assert_ne!(state.report(&owned).unwrap().labels_digest, without);
    state.labels(labelled(&[]));
    assert_eq!(settle(&mut state, &mut owned), ["remove gpu"]);
    state.deleted(&named("gpu"));
    assert_eq!(state.report(&owned).unwrap().labels_digest, None);
}

#[test]
fn a_profile_that_is_not_for_this_node_is_no_failure_here() {
    let (mut state, owned) = started(&[]);
    state.labels(labelled(&[]));
    exists(
        &mut state,
        "gpu",
        selecting(11, &[("gpu", "yes")]),
        Err("no".into()),
    );
    assert!(state.report(&owned).unwrap().failures.is_empty());
    state.labels(labelled(&[("gpu", "yes")]));
    assert_eq!(state.report(&owned).unwrap().failures[0].reason, "Invalid");
}

#[test]
fn a_file_that_a_pod_uses_stays_until_the_pod_is_gone() {
    let (mut state, mut owned) = started(&[("a", 10), ("b", 11)]);
    state.used(by_pods(&[("a", 2), ("b", 1), ("foreign", 1)]));
    let report = state.report(&owned).unwrap();
    let names = |report: &NodeReport| {
        let uses = report.in_use.iter();
        uses.map(|found| (found.profile.clone(), found.pods, found.pending_removal))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&report),
        [("a".to_owned(), 2, false), ("b".to_owned(), 1, false)]
    );
    state.deleted(&named("a"));
    // The other one selects no node any more.
    exists(
        &mut state,
        "b",
        Observed {
            generation: 2,
            ..selecting(12, &[("x", "y")])
        },
        ok("1"),
    );
    state.labels(labelled(&[]));
    assert!(settle(&mut state, &mut owned).is_empty());
    let report = state.report(&owned).unwrap();
    assert_eq!(
        names(&report),
        [("a".to_owned(), 2, true), ("b".to_owned(), 1, true)]
    );
    state.used(by_pods(&[("b", 1)]));
    assert_eq!(settle(&mut state, &mut owned), ["remove a"]);
    state.used(by_pods(&[]));
    assert_eq!(settle(&mut state, &mut owned), ["remove b"]);
}

#[test]
fn nothing_is_removed_nor_reported_before_the_pods_are_known() {
    let mut state = State::default();
    let mut owned = BTreeSet::from([named("orphan")]);
    state.list_begins();
    exists(&mut state, "a", seen(1, 5), ok("1"));
    state.list_ends();
    assert_eq!(settle(&mut state, &mut owned), ["write a 1"]);
    assert!(state.is_in_sync(), "files do not wait for it");
    assert_eq!(state.report(&owned), None);
    state.used(by_pods(&[]));
    assert_eq!(settle(&mut state, &mut owned), ["remove orphan"]);
    assert!(state.report(&owned).is_some());
}

#[test]
fn an_annotation_to_adopt_is_acted_on_though_the_generation_stays() {
    let (mut state, mut owned) = started(&[("a", 10)]);
    let adopting = Observed {
        adopt: true,
        ..seen(1, 11)
    };
    exists(&mut state, "a", adopting.clone(), ok("1"));
    assert_eq!(
        settle(&mut state, &mut owned),
        ["write a 1 over what is there"]
    );
    exists(&mut state, "a", adopting, ok("1"));
    assert!(settle(&mut state, &mut owned).is_empty());
}

#[test]
fn a_file_that_somebody_keeps_changing_is_a_failure_until_that_ends() {
    let (mut state, owned) = started(&[("a", 10), ("b", 11)]);
    state.tampered(BTreeMap::from([(named("a"), 8)]));
    let failures = state.report(&owned).unwrap().failures;
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (failures[0].profile.as_str(), failures[0].reason.as_str()),
        ("a", "Tampered")
    );
    assert!(failures[0].message.contains("at least 8 times"));
    assert!(!state.has_failures(), "there is nothing to try again");
    state.tampered(BTreeMap::new());
    assert!(state.report(&owned).unwrap().failures.is_empty());
}

#[test]
fn once_kubelet_looks_elsewhere_no_profile_is_as_it_should_be() {
    let (mut state, owned) = started(&[("a", 10), ("b", 11)]);
    assert_eq!(state.counts(), (2, 2));
    state.displaced("the folder was renamed".to_owned());
    let failures = state.report(&owned).unwrap().failures;
    let failed = failures.iter().map(|failure| {
        let NodeFailure {
            profile, reason, ..
        } = failure;
        (profile.as_str(), reason.as_str())
    });
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed, [("a", "FolderReplaced"), ("b", "FolderReplaced")]);
    let expected = "the folder was renamed: pods do not find a.json";
    assert!(failures[0].message.starts_with(expected), "{failures:?}");
    assert_eq!(state.counts(), (2, 0));
}
