//! Tests of what containers have, and pods for others.

use super::*;
use serde_json::{Value, json};

/// A pod as an API server has it.
#[allow(clippy::needless_pass_by_value)] // reads better where it is called
pub fn placed(namespace: &str, name: &str, annotations: &Value, spec: Value) -> Placed {
    let metadata = json!({"name": name, "namespace": namespace, "annotations": annotations});
    let pod = json!({"metadata": metadata, "spec": spec, "status": {"phase": "Running"}});
    serde_json::from_value::<StoredPod>(pod).unwrap().into()
}

fn profile(type_: &str) -> Value {
    json!({"seccompProfile": {"type": type_}})
}

#[test]
fn the_container_level_wins_over_the_pod_level_for_containers_of_every_kind() {
    let spec = json!({
        "securityContext": profile("RuntimeDefault"), "nodeName": "n1",
        "initContainers": [{"name": "i", "image": "x", "securityContext": profile("Unconfined")}],
        "containers": [{"name": "a", "image": "nginx:1"}, {"name": "b", "securityContext": {"privileged": false, "seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}}],
        "ephemeralContainers": [{"name": "e"}, {"name": "f", "securityContext": profile("Unconfined")}],
    });
    let rows = rows(
        &placed("ns", "p", &json!(null), spec),
        &Surroundings::default(),
    );
    let seen: Vec<_> = rows
        .iter()
        .map(|r| {
            (
                r.container.as_str(),
                r.kind,
                r.state,
                r.source,
                r.profile.as_ref().unwrap().describe(),
            )
        })
        .collect();
    let s = |text: &str| text.to_owned();
    assert_eq!(
        seen,
        [
            (
                "i",
                Kind::Init,
                State::Unconfined,
                Source::Container,
                s("Unconfined")
            ),
            (
                "a",
                Kind::Container,
                State::Confined,
                Source::Pod,
                s("RuntimeDefault")
            ),
            (
                "b",
                Kind::Container,
                State::Confined,
                Source::Container,
                s("Localhost x.json")
            ),
            (
                "e",
                Kind::Ephemeral,
                State::Confined,
                Source::Pod,
                s("RuntimeDefault")
            ),
            (
                "f",
                Kind::Ephemeral,
                State::Unconfined,
                Source::Container,
                s("Unconfined")
            ),
        ]
    );
    assert_eq!(
        (rows[1].image.as_str(), rows[1].node.as_deref()),
        ("nginx:1", Some("n1"))
    );
    let summary = Summary::count(&rows);
    assert_eq!(
        (summary.pods, summary.containers, summary.unconfined),
        (1, 5, 2)
    );
    assert_eq!((summary.runtime_default, summary.localhost), (2, 1));
}

#[test]
fn what_makes_a_profile_void_is_told_from_having_none() {
    let with = |container: Value, more: Value| {
        let mut container = container;
        container["name"] = "c".into();
        let mut spec = json!({"containers": [container]});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let surroundings = Surroundings {
            handlers: BTreeMap::from([
                ("fast".into(), "kata-qemu".into()),
                ("plain".into(), "runc".into()),
            ]),
            ..Surroundings::default()
        };
        let row = rows(&placed("ns", "p", &json!({}), spec), &surroundings).remove(0);
        (row.state, row.reason)
    };
    let default = || json!({"securityContext": profile("RuntimeDefault")});
    let privileged = json!({"securityContext": {"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}}});
    assert_eq!(with(json!({}), json!({})), (State::Unset, None));
    assert_eq!(with(privileged, json!({})).0, State::Privileged);
    assert_eq!(
        with(default(), json!({"runtimeClassName": "fast"})).0,
        State::Sandboxed
    );
    assert_eq!(
        with(default(), json!({"runtimeClassName": "gvisor"})).0,
        State::Sandboxed
    );
    assert_eq!(
        with(default(), json!({"runtimeClassName": "plain"})).0,
        State::Confined
    );
    assert_eq!(
        with(json!({}), json!({"os": {"name": "windows"}})).0,
        State::NotLinux
    );
    for (state, open) in [
        (State::Unset, true),
        (State::Privileged, true),
        (State::Unconfined, true),
        (State::Sandboxed, false),
        (State::Confined, false),
        (State::NotLinux, false),
    ] {
        assert_eq!(state.is_open(), open);
    }
}

#[test]
fn an_annotation_counts_where_kubernetes_reads_it_and_no_field_says_otherwise() {
    let of = |minor, annotations: Value, context: Value| {
        let spec = json!({"containers": [{"name": "c"}], "securityContext": context});
        let surroundings = Surroundings {
            minor_version: minor,
            ..Surroundings::default()
        };
        let row = rows(&placed("ns", "p", &annotations, spec), &surroundings).remove(0);
        (row.state, row.source)
    };
    let pod = || json!({"seccomp.security.alpha.kubernetes.io/pod": "runtime/default"});
    let both = json!({
        "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
        "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
    });
    assert_eq!(
        of(Some(20), pod(), json!({})),
        (State::Confined, Source::Annotation)
    );
    assert_eq!(
        of(Some(25), pod(), json!({})),
        (State::Unset, Source::Annotation)
    );
    assert_eq!(
        of(None, pod(), json!({})),
        (State::Unset, Source::Annotation)
    );
    assert_eq!(
        of(Some(20), both, json!({})),
        (State::Unconfined, Source::Annotation)
    );
    assert_eq!(
        of(Some(20), pod(), profile("Unconfined")),
        (State::Unconfined, Source::Pod)
    );
}

#[test]
fn an_annotation_that_only_repeats_a_field_is_nobodys_wish() {
    let annotations = json!({
        "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
        "container.seccomp.security.alpha.kubernetes.io/a": "localhost/x.json",
        "container.seccomp.security.alpha.kubernetes.io/b": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
        "other": "kept",
    });
    let spec = json!({
        "securityContext": profile("RuntimeDefault"),
        "containers": [
            {"name": "a", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}},
            {"name": "b", "securityContext": profile("RuntimeDefault")},
            {"name": "c"},
        ],
    });
    let kept: Vec<_> = placed("n", "p", &annotations, spec)
        .pod
        .metadata
        .annotations
        .keys()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        kept,
        [
            "container.seccomp.security.alpha.kubernetes.io/b",
            "container.seccomp.security.alpha.kubernetes.io/c",
            "other"
        ]
    );
}

#[test]
fn a_profile_under_which_no_container_starts_is_told_of_on_every_node() {
    let stuck = File {
        name: "stuck".into(),
        state: ProfileState {
            ready: true,
            starts_nothing: Some("refuses execve: no container starts".into()),
            ..ProfileState::default()
        },
        required_version: 5,
        tried_by: None,
    };
    let surroundings = Surroundings {
        files: Some(Files {
            dir: "profiles".into(),
            profiles: BTreeMap::from([("profiles/stuck.json".into(), stuck)]),
            reports: None,
        }),
        ..Surroundings::default()
    };
    let with = |path: &str| {
        let profile = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": path}});
        let spec =
            json!({"nodeName": "n1", "securityContext": profile, "containers": [{"name": "c"}]});
        rows(&placed("ns", "p", &json!({}), spec), &surroundings).remove(0)
    };
    let row = with("./profiles/stuck.json");
    assert_eq!(
        row.warning.as_deref(),
        Some("SeccompProfile \"stuck\" refuses execve: no container starts")
    );
    let found = Summary::count(&[row, with("profiles/other.json")]);
    assert_eq!((found.unstartable, found.warnings), (1, 2));
}

#[test]
fn a_container_on_a_node_with_a_foreign_file_is_told_from_others() {
    let file = File {
        name: "taken".into(),
        state: ProfileState {
            foreign: Some("n1".into()),
            ..ProfileState::default()
        },
        required_version: 5,
        tried_by: None,
    };
    let conflict = ("Conflict".to_owned(), "a file is in the way".to_owned());
    let report = |failures| NodeReport {
        applied_version: 5,
        failures,
    };
    let surroundings = Surroundings {
        files: Some(Files {
            dir: "profiles".into(),
            profiles: BTreeMap::from([("profiles/taken.json".into(), file)]),
            reports: Some(BTreeMap::from([
                (
                    "n1".into(),
                    report(BTreeMap::from([("taken".into(), conflict)])),
                ),
                ("n2".into(), report(BTreeMap::new())),
            ])),
        }),
        ..Surroundings::default()
    };
    let on = |node: Option<&str>| {
        let profile = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/taken.json"}});
        let spec =
            json!({"nodeName": node, "securityContext": profile, "containers": [{"name": "c"}]});
        rows(&placed("ns", "p", &json!({}), spec), &surroundings).remove(0)
    };
    let rows = [on(Some("n1")), on(Some("n2")), on(None)];
    let warnings: Vec<_> = rows.iter().map(|row| row.warning.as_deref()).collect();
    assert!(warnings[0].is_some_and(|warning| warning.starts_with("n1 runs a foreign file")));
    assert_eq!(warnings[1], None);
    assert!(warnings[2].is_some_and(|warning| warning.starts_with("on n1 a file")));
    assert_eq!(Summary::count(&rows).foreign, 1);
}

#[test]
fn a_file_that_is_not_there_or_not_ours_is_a_concern() {
    let file = |name: &str, ready: bool| File {
        name: name.into(),
        state: ready.into(),
        required_version: 5,
        tried_by: None,
    };
    let report = |applied_version, failures: &[(&str, &str)]| NodeReport {
        applied_version,
        failures: failures
            .iter()
            .map(|(p, m)| ((*p).into(), ("WriteFailed".into(), (*m).into())))
            .collect(),
    };
    let mut files = Files {
        dir: "profiles".into(),
        profiles: BTreeMap::from([
            ("profiles/good.json".into(), file("good", true)),
            ("profiles/slow.json".into(), file("slow", false)),
        ]),
        reports: None,
    };
    for (path, node, part) in [
        ("profiles/good.json", None, ""),
        ("profiles/slow.json", None, "not ready on all nodes"),
        ("profiles/gone.json", None, "no SeccompProfile \"gone\""),
        ("./profiles//good.json", None, ""),
        ("./profiles/slow.json", None, "not ready on all nodes"),
        ("profiles/sub/good.json", None, "can have this path"),
        ("localhost/profiles/good.json", None, "legacy annotation"),
        ("other/x.json", None, "not managed"),
        ("good", None, "did you mean \"profiles/good.json\"?"),
        (
            "old/good.json",
            None,
            "did you mean \"profiles/good.json\"?",
        ),
        (
            "profiles/good",
            None,
            "did you mean \"profiles/good.json\"?",
        ),
        ("profilesx/x.json", None, "not managed"),
    ] {
        let warning = files.warning(path, node).unwrap_or_default();
        assert!(
            warning.contains(part) && part.is_empty() == warning.is_empty(),
            "{path}: {warning}"
        );
    }
    files.reports = Some(BTreeMap::from([
        ("in-sync".into(), report(5, &[])),
        ("behind".into(), report(4, &[])),
        ("failing".into(), report(5, &[("good", "no space")])),
    ]));
    for (path, node, part) in [
        // What holds on the pod's own node is what counts.
        ("profiles/slow.json", "in-sync", ""),
        ("profiles/good.json", "in-sync", ""),
        ("profiles/good.json", "behind", "newest generation"),
        ("profiles/good.json", "failing", "no space"),
        ("profiles/good.json", "unknown", "no agent"),
    ] {
        let warning = files.warning(path, Some(node)).unwrap_or_default();
        assert!(
            warning.contains(part) && part.is_empty() == warning.is_empty(),
            "{path} {node}: {warning}"
        );
    }
}

#[test]
fn a_container_under_the_file_of_a_policy_on_trial_is_counted_as_on_trial() {
    let file = File {
        name: "trial.web".into(),
        state: true.into(),
        tried_by: Some("web".into()),
        ..File::default()
    };
    let surroundings = Surroundings {
        files: Some(Files {
            dir: "profiles".into(),
            profiles: BTreeMap::from([("profiles/trial.web.json".into(), file)]),
            reports: None,
        }),
        ..Surroundings::default()
    };
    let profile = json!({"type": "Localhost", "localhostProfile": "profiles/trial.web.json"});
    let spec =
        json!({"securityContext": {"seccompProfile": profile}, "containers": [{"name": "c"}]});
    let rows = rows(&placed("ns", "p", &json!({}), spec), &surroundings);
    assert_eq!(rows[0].on_trial.as_deref(), Some("web"));
    let summary = Summary::count(&rows);
    assert_eq!((summary.on_trial, summary.localhost), (1, 0));
}
