//! Tests of the survey.

use super::*;
use serde_json::{Value, json};

fn profile(name: &str, revision: u64, ready: (&str, &str), more: &Value) -> SeccompProfile {
    let mut object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
        "metadata": {"name": name, "generation": 1},
        "spec": {},
        "status": {
            "observedGeneration": 1, "revision": revision.to_string(), "localhostProfile": format!("profiles/{name}.json"),
            "nodes": {"desired": 2, "ready": 1, "failed": 0, "summary": "1/2"},
            "conditions": [{
                "type": "Ready", "status": ready.0, "reason": ready.1, "message": "so it is",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    });
    for (pointer, value) in more.as_object().into_iter().flatten() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn report(name: &str, level: &str, failures: &Value, in_use: &Value) -> SeccompNode {
    serde_json::from_value(json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompNode", "metadata": {"name": name},
        "appliedResourceVersion": level, "failed": failures.as_array().unwrap().len(), "failures": failures, "inUse": in_use,
        "node": {"architecture": "amd64", "kernelVersion": "6.1", "agentVersion": "0.1.0"},
    }))
    .unwrap()
}

fn agents(nodes: &[&str]) -> Vec<Agent> {
    let agent = |node: &&str| Agent {
        node: (*node).into(),
        trouble: None,
    };
    nodes.iter().map(agent).collect()
}

fn labelled(nodes: &[(&str, &str)]) -> BTreeMap<String, BTreeMap<String, String>> {
    let labels = |pool: &str| BTreeMap::from([("pool".to_owned(), pool.to_owned())]);
    let nodes = nodes.iter();
    nodes.map(|(n, pool)| ((*n).into(), labels(pool))).collect()
}

#[test]
fn a_profile_is_what_the_controller_says_of_its_newest_generation() {
    for (ready, more, expected) in [
        (("True", "OnAllNodes"), json!({}), State::Ready),
        (("False", "Progressing"), json!({}), State::Progressing),
        (("False", "Failed"), json!({}), State::Failed),
        (
            ("True", "OnAllNodes"),
            json!({"/metadata/generation": 2}),
            State::Unseen,
        ),
        (
            ("True", "OnAllNodes"),
            json!({"/status": null}),
            State::Unseen,
        ),
        (
            ("True", "OnAllNodes"),
            json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:00Z"}),
            State::Deleting,
        ),
        (
            ("True", "OnAllNodes"),
            json!({"/status/conditions": [{"type": "Startable", "status": "False", "reason": "NoContainerStarts",
                "message": "refuses execve", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
            State::Unstartable,
        ),
        (
            ("False", "NotAccepted"),
            json!({"/status/conditions": [{"type": "Accepted", "status": "False", "reason": "Invalid", "message": "no",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
            State::Invalid,
        ),
    ] {
        let observed = Observed {
            profiles: vec![Ok(profile("a", 5, ready, &more))],
            ..Observed::default()
        };
        let survey = survey(&observed, vec![]);
        assert_eq!(survey.profiles[0].state, expected, "{ready:?} {more}");
        let failed = matches!(
            expected,
            State::Failed | State::Unstartable | State::Invalid
        );
        assert_eq!(survey.has_failures(), failed, "{expected:?}");
        assert_eq!(
            survey.is_ready(),
            matches!(expected, State::Ready | State::Deleting)
        );
    }
}

#[test]
fn a_node_is_what_its_agent_and_its_report_say() {
    let failure = json!([{"profile": "a", "reason": "Conflict", "message": "somebody else's"}]);
    let none = json!([]);
    let mut running = agents(&["behind", "failing", "in-sync", "mute", "broken"]);
    running[4].trouble = Some("CrashLoopBackOff".into());
    let observed = Observed {
        profiles: vec![Ok(profile("a", 7, ("True", ""), &json!({})))],
        reports: Some(vec![
            report("in-sync", "7", &none, &none),
            report("behind", "6", &none, &none),
            report("failing", "7", &failure, &none),
            report("gone", "7", &none, &none),
            report("broken", "7", &none, &none),
            report("removed", "7", &none, &none),
        ]),
        nodes: Some(labelled(
            &[
                "in-sync", "behind", "failing", "gone", "mute", "broken", "virtual",
            ]
            .map(|n| (n, "")),
        )),
        agents: Some(running),
        ..Observed::default()
    };
    let survey = survey(&observed, vec![]);
    let states: Vec<_> = survey
        .nodes
        .iter()
        .map(|n| (n.name.as_str(), n.state))
        .collect();
    assert_eq!(
        states,
        [
            ("behind", NodeState::Behind),
            ("broken", NodeState::Silent),
            ("failing", NodeState::Failing),
            ("gone", NodeState::Silent),
            ("in-sync", NodeState::InSync),
            ("mute", NodeState::Silent),
            ("virtual", NodeState::NoAgent),
        ]
    );
    assert!(survey.nodes[1].message.contains("CrashLoopBackOff"));
    assert!(survey.has_failures());
    assert_eq!(survey.summary.nodes[&NodeState::Silent], 3);
}

#[test]
fn without_the_right_to_list_nodes_and_pods_the_reports_are_what_counts() {
    let observed = Observed {
        profiles: vec![Ok(profile("a", 7, ("True", ""), &json!({})))],
        reports: Some(vec![report("n1", "7", &json!([]), &json!([]))]),
        nodes: None,
        agents: None,
        ..Observed::default()
    };
    let survey = survey(&observed, vec![]);
    assert_eq!(survey.nodes[0].state, NodeState::InSync);
    assert!(survey.is_ready());
}

#[test]
fn a_profile_waits_for_nodes_that_it_selects_until_they_have_got_to_all_that_it_stands_on() {
    let ready = ("False", "Progressing");
    let observed = Observed {
        profiles: vec![
            Ok(profile("base", 9, ready, &json!({}))),
            Ok(profile(
                "derived",
                5,
                ready,
                &json!({"/spec/base": "base", "/spec/nodeSelector": {"pool": "web"}}),
            )),
        ],
        reports: Some(vec![
            report(
                "web1",
                "9",
                &json!([]),
                &json!([{"profile": "derived", "pods": 3, "outdated": 2, "outdatedPods": [
                    {"namespace": "shop", "name": "b"}, {"namespace": "shop", "name": "a"},
                ]}]),
            ),
            report("web2", "8", &json!([]), &json!([])),
            report("db1", "8", &json!([]), &json!([])),
        ]),
        nodes: Some(labelled(&[("web1", "web"), ("web2", "web"), ("db1", "db")])),
        agents: None,
        ..Observed::default()
    };
    let all = survey(&observed, vec![]);
    let waiting = |name: &str| {
        let profile = all.profiles.iter().find(|p| p.name == name).unwrap();
        profile.waiting.clone()
    };
    assert_eq!(waiting("base"), ["db1", "web2"]);
    assert_eq!(waiting("derived"), ["web2"]);
    let derived = all.only("derived").unwrap();
    assert_eq!(
        derived.profiles[0].users,
        BTreeMap::from([("web1".to_owned(), 3)])
    );
    let outdated = &derived.profiles[0].outdated_pods;
    let outdated: Vec<_> = outdated
        .iter()
        .map(|pod| [&pod.namespace, &pod.name, &pod.node].map(String::as_str))
        .collect();
    assert_eq!(outdated, [["shop", "a", "web1"], ["shop", "b", "web1"]]);
    let nodes: Vec<_> = derived.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(nodes, ["web2"]);
    assert!(survey(&observed, vec![]).only("nothing").is_none());
}

#[test]
fn a_circle_of_bases_ends() {
    let object = profile("a", 1, ("True", ""), &json!({"/spec/base": "a"}));
    assert_eq!(required_versions(&[Ok(object)])["a"].version, 1);
}

#[test]
fn a_file_that_is_kept_for_pods_of_a_profile_that_is_gone_is_told() {
    let used = |profile: &str, pods: i32, pending: bool| json!({"profile": profile, "pods": pods, "pendingRemoval": pending});
    let observed = Observed {
        profiles: vec![Ok(profile("here", 7, ("True", ""), &json!({})))],
        reports: Some(vec![
            report(
                "n1",
                "7",
                &json!([]),
                &json!([used("gone", 2, true), used("here", 1, true)]),
            ),
            report(
                "n2",
                "7",
                &json!([]),
                &json!([used("gone", 1, true), used("late", 1, false)]),
            ),
        ]),
        nodes: None,
        agents: None,
        ..Observed::default()
    };
    let told = left_over(&observed);
    assert_eq!(told.keys().collect::<Vec<_>>(), ["gone"]);
    assert!(
        told["gone"].contains("on n1 (2 pods), n2 (1 pod);"),
        "{}",
        told["gone"]
    );
}

#[test]
fn a_profile_that_its_source_has_not_given_yet_is_told_of() {
    let source = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompSource", "metadata": {"name": "web", "generation": 1},
        "spec": {"reference": "r.example/web:v1"},
        "status": {"observedGeneration": 1, "conditions": [{
            "type": "Ready", "status": "False", "reason": "NotSigned", "message": "nobody has signed it",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]},
    });
    let observed = Observed {
        sources: vec![Source::of(serde_json::from_value(source).unwrap())],
        ..Observed::default()
    };
    let expected = "there is no SeccompProfile \"web\" yet; its SeccompSource is NotSigned: nobody has signed it";
    assert_eq!(left_over(&observed)["web"], expected);
    let survey = survey(&observed, vec![]);
    assert_eq!(survey.summary.sources[&SourceState::Failed], 1);
    assert!(survey.has_failures() && survey.only("web").is_none());
}
