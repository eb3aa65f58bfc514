//! A profile's generation and status: what is accepted, and what is written when.

use super::*;

#[test]
fn a_new_generation_is_not_ready_until_nodes_say_so() {
    let mut index = cluster();
    index.report("n1", &report(10, &[]));
    index.report("n2", &report(10, &[]));
    index.profile("a", seen(2, 20), valid);
    assert_eq!(status(&index).observed_generation, Some(2));
    assert_eq!(ready(&index).0, "False");
    index.report("n1", &report(20, &[]));
    index.report("n2", &report(20, &[]));
    assert_eq!(ready(&index).0, "True");
}

#[test]
fn a_later_version_of_the_same_generation_does_not_move_the_revision() {
    let mut index = cluster();
    index.report("n1", &report(10, &[]));
    index.report("n2", &report(10, &[]));
    index.profile("a", seen(1, 99), || panic!("judged again"));
    assert_eq!(ready(&index).0, "True");
}

#[test]
fn a_controller_that_starts_later_trusts_the_revision_in_the_status() {
    let mut index = empty();
    index.node("n1", linux("u", BTreeMap::new()));
    index.report("n1", &report(10, &[]));
    let mut late = seen(1, 99);
    late.status = SeccompProfileStatus {
        observed_generation: Some(1),
        revision: Some("10".into()),
        ..SeccompProfileStatus::default()
    };
    index.profile("a", late.clone(), valid);
    assert_eq!(ready(&index).0, "True");
    // But not when it speaks of another generation.
    late.generation = 2;
    index.profile("a", late, valid);
    assert_eq!(ready(&index).0, "False");
}

#[test]
fn a_profile_made_again_under_the_same_name_does_not_inherit_the_status() {
    let mut index = cluster();
    index.report("n1", &report(10, &[]));
    index.report("n2", &report(10, &[]));
    let mut again = SeenProfile {
        uid: "other".into(),
        ..seen(1, 50)
    };
    again.status = status(&index);
    index.profile("a", again, valid);
    assert_eq!(ready(&index).0, "False");
}

#[test]
fn an_invalid_profile_is_not_accepted_and_says_why() {
    let mut index = cluster();
    index.profile("a", seen(2, 20), || {
        Err("spec.profile: no defaultAction".into())
    });
    let status = status(&index);
    assert_eq!(status.conditions[0].status, "False");
    assert_eq!(
        status.conditions[0].message,
        "spec.profile: no defaultAction"
    );
    assert_eq!(status.conditions[1].reason, "NotAccepted");
    assert_eq!(status.default_action, None);
}

#[test]
fn a_condition_keeps_its_date_until_it_flips() {
    let mut index = cluster();
    let first = status(&index);
    let mut with_status = seen(1, 11);
    with_status.status = first.clone();
    index.profile("a", with_status, valid);
    let later = Timestamp::from_second(1_900_000_000).unwrap();
    assert!(index.wanted("a", later).is_none());
    index.report("n1", &report(10, &[]));
    index.report("n2", &report(10, &[]));
    let wanted = index.wanted("a", later).unwrap().status.unwrap();
    assert_eq!(wanted.conditions[0].last_transition_time.0, now());
    assert_eq!(wanted.conditions[1].last_transition_time.0, later);
}

#[test]
fn what_the_author_should_know_is_in_the_status() {
    let mut index = cluster();
    let stops_nothing = |warning: &String| warning.ends_with("[stops-nothing]");
    assert!(status(&index).warnings.iter().any(stops_nothing));
    index.profile("a", seen(2, 20), || on("docker-default"));
    assert_eq!(status(&index).warnings, Vec::<String>::new());
    index.profile("a", seen(3, 21), || {
        defined(&json!({"base": "docker-default", "deny": ["chmod"]}))
    });
    let warnings = status(&index).warnings;
    assert!(
        warnings[0].starts_with("spec.deny[0]: ") && warnings[0].ends_with("[open-twin]"),
        "{warnings:?}"
    );
}
