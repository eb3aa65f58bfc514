//! Which statuses are looked at again.

use super::*;

#[test]
fn nothing_is_written_before_everything_has_been_listed() {
    let mut index = Index::new("profiles", PATIENCE);
    index.list_begins(Kind::Profile);
    index.profile("a", seen(1, 10), valid);
    index.list_ends(Kind::Profile);
    for kind in [
        Kind::SeccompNode,
        Kind::Agent,
        Kind::DaemonSet,
        Kind::DenialReport,
        Kind::AuditReport,
        Kind::Node,
    ] {
        index.list_begins(kind);
        assert!(index.take_dirty(9).is_empty(), "{kind:?} is not known");
        index.list_ends(kind);
    }
    assert_eq!(index.take_dirty(9), BTreeSet::from(["a".to_owned()]));
}

#[test]
fn a_report_touches_only_the_profiles_between_its_old_and_new_version() {
    let mut index = cluster();
    for (name, version) in [("b", 20), ("c", 30)] {
        index.profile(
            name,
            SeenProfile {
                uid: name.into(),
                ..seen(1, version)
            },
            valid,
        );
    }
    index.report("n1", &report(10, &[]));
    index.take_dirty(usize::MAX);
    index.report("n1", &report(20, &[]));
    assert_eq!(
        index.take_dirty(usize::MAX),
        BTreeSet::from(["b".to_owned()])
    );
    index.report("n1", &report(20, &[("c", "x")]));
    assert_eq!(
        index.take_dirty(usize::MAX),
        BTreeSet::from(["c".to_owned()])
    );
    index.report("n1", &report(20, &[("c", "x")]));
    assert!(index.take_dirty(usize::MAX).is_empty());
}

#[test]
fn dirty_profiles_are_taken_in_portions() {
    let mut index = cluster();
    for (name, version) in [("b", 20), ("c", 30)] {
        index.profile(name, seen(1, version), valid);
    }
    assert_eq!(index.take_dirty(2).len(), 2);
    assert_eq!(index.take_dirty(2), BTreeSet::from(["c".to_owned()]));
    assert!(index.take_dirty(2).is_empty());
}

#[test]
fn what_is_missing_from_a_full_list_is_gone() {
    let mut index = cluster();
    index.list_begins(Kind::Profile);
    index.list_ends(Kind::Profile);
    assert!(index.wanted("a", now()).is_none());
    index.list_begins(Kind::Node);
    index.node("n1", linux("uid-n1", BTreeMap::new()));
    index.list_ends(Kind::Node);
    assert_eq!(index.nodes.len(), 1);
}
