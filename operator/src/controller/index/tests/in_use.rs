//! Pods that use a profile, and the finalizer that holds it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;
use crate::controller::finalizer::Step;
use seccomp_operator_api::IN_USE_FINALIZER;

/// What is to be done about the finalizer of a profile.
fn step(index: &Index, name: &str) -> Option<Step> {
    Some(index.wanted(name, now())?.finalizer?.0)
}

fn using(profile: &str, pods: i32) -> SeccompNode {
    let mut report = report(11, &[]);
    report.spec.in_use = vec![seccomp_operator_api::NodeUse {
        profile: profile.into(),
        pods,
        ..seccomp_operator_api::NodeUse::default()
    }];
    report
}

fn held(generation: i64, deleting: bool) -> SeenProfile {
    SeenProfile {
        finalizers: vec![IN_USE_FINALIZER.into()],
        deleting,
        ..seen(generation, 10)
    }
}

fn in_use(index: &Index, name: &str) -> Condition {
    let conditions = status_of(index, name).conditions;
    let mut conditions = conditions.into_iter();
    conditions.find(|c| c.type_ == condition::IN_USE).unwrap()
}

#[test]
fn the_pods_that_use_a_profile_are_counted_on_nodes_that_exist() {
    let mut index = empty();
    index.node("n1", linux("u1", BTreeMap::new()));
    index.profile("a", seen(1, 10), valid);
    let using = |pods, outdated| {
        let mut report = report(10, &[]);
        report.spec.in_use = vec![seccomp_operator_api::NodeUse {
            profile: "a".into(),
            pods,
            outdated,
            ..seccomp_operator_api::NodeUse::default()
        }];
        report
    };
    let in_use = |index: &Index| {
        let status = status(index);
        let holds = |c: &Condition| c.type_ == condition::IN_USE && c.status == "True";
        (status.used_by, status.conditions.iter().any(holds))
    };
    index.report("n1", &using(2, 1));
    index.report("gone", &using(5, 0));
    assert_eq!(in_use(&index), (Some(2), true));
    assert_eq!(status(&index).outdated, Some(1));
    index.take_dirty(9);
    index.report("n1", &report(10, &[]));
    assert!(index.take_dirty(9).contains("a"));
    assert_eq!(in_use(&index), (Some(0), false));
}

#[test]
fn a_profile_is_held_while_pods_use_it() {
    let mut index = cluster();
    assert_eq!(step(&index, "a"), None);
    index.report("n1", &using("a", 1));
    assert_eq!(step(&index, "a"), Some(Step::Hold));
    index.profile("a", held(1, false), valid);
    assert_eq!(step(&index, "a"), None);
    index.take_dirty(9);
    index.report("n1", &report(11, &[]));
    assert!(index.take_dirty(9).contains("a"));
    assert_eq!(step(&index, "a"), Some(Step::Release));
}

#[test]
fn a_deleted_profile_goes_with_the_last_pod_or_the_last_node_that_has_one() {
    let mut index = cluster();
    index.report("n1", &using("a", 1));
    index.report("n2", &using("a", 2));
    index.profile("a", held(2, true), valid);
    assert_eq!(step(&index, "a"), None);
    assert!(
        in_use(&index, "a")
            .message
            .contains("n1 (1 pod), n2 (2 pods)")
    );
    index.report("n1", &report(11, &[]));
    assert_eq!(step(&index, "a"), None);
    index.take_dirty(9);
    index.gone(Kind::Node, "n2");
    assert!(index.take_dirty(9).contains("a"));
    assert_eq!(step(&index, "a"), Some(Step::Release));
}

#[test]
fn while_the_definition_is_being_deleted_nothing_is_held() {
    let mut index = cluster();
    index.report("n1", &using("a", 1));
    assert!(!index.holds_deleted());
    index.profile("a", held(2, true), valid);
    assert!(index.holds_deleted());
    assert_eq!(step(&index, "a"), None);
    index.take_dirty(9);
    index.definition_goes(true);
    assert!(index.take_dirty(9).contains("a"));
    assert_eq!(step(&index, "a"), Some(Step::Release));
    index.profile("a", seen(2, 12), valid);
    assert_eq!(step(&index, "a"), None, "nor is it held anew");
    // Somebody has made the definition again.
    index.definition_goes(false);
    assert_eq!(step(&index, "a"), Some(Step::Hold));
}

#[test]
fn what_a_lost_agent_said_last_holds_until_its_report_is_deleted() {
    let mut index = cluster();
    index.report("n1", &using("a", 1));
    index.profile("a", held(2, true), valid);
    assert!(!in_use(&index, "a").message.contains("kubectl"));
    index.gone(Kind::Agent, "agent-n1");
    index.tick(PATIENCE);
    assert_eq!(step(&index, "a"), None);
    let message = in_use(&index, "a").message;
    assert!(
        message.ends_with("kubectl delete seccompnode n1"),
        "{message}"
    );
    index.gone(Kind::SeccompNode, "n1");
    assert_eq!(step(&index, "a"), Some(Step::Release));
}

#[test]
fn a_base_is_held_while_pods_use_what_derives_from_it() {
    let mut index = derived_cluster();
    index.take_dirty(9);
    index.report("n1", &using("derived", 1));
    assert_eq!(
        index.take_dirty(9),
        BTreeSet::from(["a".to_owned(), "derived".to_owned()])
    );
    assert_eq!(step(&index, "a"), Some(Step::Hold));
    assert_eq!(in_use(&index, "a").reason, "DerivedProfiles");
    assert_eq!(status(&index).used_by, Some(0));
    index.profile("a", held(1, false), valid);
    index.take_dirty(9);
    let rebased = SeenProfile {
        uid: "d".into(),
        ..seen(2, 12)
    };
    index.profile("derived", rebased, || on("audit"));
    assert!(index.take_dirty(9).contains("a"));
    assert_eq!(step(&index, "a"), Some(Step::Release));
}

#[test]
fn the_summary_of_a_profile_that_was_deleted_says_so() {
    let mut index = cluster();
    index.report("n1", &using("a", 1));
    assert_eq!(status(&index).nodes.unwrap().summary, "1/2");
    index.profile("a", held(1, true), valid);
    assert_eq!(status(&index).nodes.unwrap().summary, "1/2, deleted");
}
