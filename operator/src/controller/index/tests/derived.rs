//! Profiles that derive from others.

use super::*;

#[test]
fn a_derived_profile_is_ready_when_nodes_have_its_bases_current_generation_too() {
    let mut index = derived_cluster();
    assert_eq!(ready_of(&index, "derived").0, "True");
    assert_eq!(
        status_of(&index, "derived").default_action.as_deref(),
        Some("SCMP_ACT_ALLOW")
    );
    index.take_dirty(usize::MAX);
    index.profile("a", seen(2, 20), || {
        defined(&json!({"profile": {"defaultAction": "SCMP_ACT_LOG"}}))
    });
    assert!(index.take_dirty(usize::MAX).contains("derived"));
    assert_eq!(ready_of(&index, "derived").1, "Progressing");
    assert_eq!(
        status_of(&index, "derived").default_action.as_deref(),
        Some("SCMP_ACT_LOG")
    );
    index.report("n1", &report(20, &[]));
    index.take_dirty(usize::MAX);
    index.report("n2", &report(20, &[]));
    assert_eq!(
        index.take_dirty(usize::MAX),
        BTreeSet::from(["a".to_owned(), "derived".to_owned()])
    );
    assert_eq!(ready_of(&index, "derived").0, "True");
}

#[test]
fn a_later_revision_of_the_base_is_waited_for_too() {
    let mut index = derived_cluster();
    let mut late = seen(1, 99);
    late.status = SeccompProfileStatus {
        observed_generation: Some(1),
        revision: Some("50".into()),
        ..SeccompProfileStatus::default()
    };
    index.profile("a", late, || panic!("defined again"));
    assert_eq!(ready_of(&index, "derived").1, "Progressing");
    index.report("n1", &report(50, &[]));
    index.report("n2", &report(50, &[]));
    assert_eq!(ready_of(&index, "derived").0, "True");
    assert_eq!(status_of(&index, "derived").revision.as_deref(), Some("11"));
}

#[test]
fn a_derived_profile_is_not_accepted_while_its_base_is_missing_or_invalid_and_recovers() {
    let mut index = derived_cluster();
    let accepted = |index: &Index| status_of(index, "derived").conditions[0].clone();
    assert_eq!(accepted(&index).status, "True");
    index.take_dirty(usize::MAX);
    index.gone(Kind::Profile, "a");
    assert_eq!(
        index.take_dirty(usize::MAX),
        BTreeSet::from(["derived".to_owned()])
    );
    assert_eq!(accepted(&index).status, "False");
    assert!(
        accepted(&index)
            .message
            .starts_with("spec.base: \"a\" is neither a built-in nor a known profile")
    );
    assert_eq!(ready_of(&index, "derived").1, "NotAccepted");
    assert_eq!(status_of(&index, "derived").default_action, None);
    index.profile("a", seen(1, 30), || {
        Err("spec.profile: no defaultAction".into())
    });
    assert!(
        accepted(&index)
            .message
            .contains("\"a\" is not valid itself: spec.profile: no defaultAction")
    );
    index.profile("a", seen(2, 31), valid);
    assert_eq!(accepted(&index).status, "True");
    assert_eq!(ready_of(&index, "derived").1, "Progressing");
    index.report("n1", &report(31, &[]));
    index.report("n2", &report(31, &[]));
    assert_eq!(ready_of(&index, "derived").0, "True");
}

#[test]
fn a_change_touches_only_what_derives_from_it() {
    let mut index = derived_cluster();
    index.profile(
        "other",
        SeenProfile {
            uid: "o".into(),
            ..seen(1, 12)
        },
        || on("audit"),
    );
    index.take_dirty(usize::MAX);
    index.profile(
        "derived",
        SeenProfile {
            uid: "d".into(),
            ..seen(2, 20)
        },
        || on("audit"),
    );
    assert_eq!(
        index.take_dirty(usize::MAX),
        BTreeSet::from(["derived".to_owned()])
    );
    index.profile("a", seen(2, 21), valid);
    assert_eq!(
        index.take_dirty(usize::MAX),
        BTreeSet::from(["a".to_owned()])
    );
}
