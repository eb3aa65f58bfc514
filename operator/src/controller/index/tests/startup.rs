//! Whether containers start under a profile.

use super::*;

fn report_from(architecture: &str, runtime: Option<&str>) -> SeccompNode {
    let mut report = report(10, &[]);
    report.spec.node.architecture = architecture.into();
    report.spec.node.container_runtime = runtime.map(str::to_owned);
    report
}

fn startable(index: &Index) -> (String, String, String) {
    let status = status(index);
    let found = status.condition(condition::STARTABLE).unwrap();
    let (status, reason) = (found.status.clone(), found.reason.clone());
    (status, reason, found.message.clone())
}

fn allowing(calls: &str) -> Defined {
    let calls: Vec<_> = calls.split_whitespace().collect();
    let rule = json!({"names": calls, "action": "SCMP_ACT_ALLOW"});
    defined(&json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}}))
}

#[test]
fn a_profile_that_refuses_what_every_runtime_calls_is_not_startable_though_it_is_on_all_nodes() {
    let containerd = Some("containerd://2.1.9");
    let with_crun = "capset execve prctl pselect6 read rt_sigaction rt_sigprocmask setresgid setresuid write close close_range";
    for (calls, runtime, expected, part) in [
        (
            "read",
            containerd,
            ("False", "NoContainerStarts"),
            "refuses close, execve",
        ),
        (
            "read",
            None,
            ("False", "NoContainerStarts"),
            "which runc itself calls",
        ),
        (
            "read",
            Some("cri-o://1.34.0"),
            ("False", "NoContainerStarts"),
            "itself calls",
        ),
        (
            with_crun,
            containerd,
            ("False", "NoContainerStarts"),
            "refuses",
        ),
        (
            with_crun,
            Some("cri-o://1.34.0"),
            ("Unknown", "DependsOnRuntime"),
            "which runc itself calls",
        ),
        (
            "close execve fstatfs getdents64 openat write",
            containerd,
            ("Unknown", "DependsOnRuntime"),
            "nodes do not say which version they have",
        ),
    ] {
        let mut index = cluster();
        index.profile("a", seen(2, 10), || allowing(calls));
        for node in ["n1", "n2"] {
            index.report(node, &report_from("amd64", runtime));
        }
        assert_eq!(ready(&index).0, "True");
        let (status, reason, message) = startable(&index);
        assert_eq!(
            (status.as_str(), reason.as_str()),
            expected,
            "{calls} {runtime:?}: {message}"
        );
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_profile_that_starts_nothing_is_not_counted_as_ready() {
    let mut index = cluster();
    index.profile("a", seen(2, 10), || allowing("read"));
    for node in ["n1", "n2"] {
        index.report(node, &report_from("amd64", Some("containerd://2.1.9")));
    }
    let mut told = seen(2, 10);
    told.status = status(&index);
    index.profile("a", told, valid);
    let counts = index.counts().profiles;
    assert_eq!((counts.ready, counts.unstartable), (0, 1));
}

#[test]
fn what_starts_and_what_nobody_can_tell_yet_is_said_so() {
    let mut index = cluster();
    assert_eq!(startable(&index).1, "NoNodes");
    index.take_dirty(9);
    index.report("n1", &report_from("amd64", Some("containerd://1.6.20")));
    assert_eq!(startable(&index).0, "True");
    index.profile("a", seen(2, 10), || Err("no".into()));
    assert_eq!(startable(&index).1, "NotAccepted");
}

#[test]
fn nodes_on_which_nothing_starts_are_named_and_a_new_base_is_judged_anew() {
    let mut index = cluster();
    // What amd64 has to be opened for files with, arm64 need not have.
    index.profile("a", seen(2, 10), || allowing("read"));
    index.profile(
        "derived",
        SeenProfile {
            uid: "d".into(),
            ..seen(1, 10)
        },
        || on("a"),
    );
    index.report("n1", &report_from("amd64", Some("containerd://2.1.9")));
    let of_derived = |index: &Index| {
        let status = status_of(index, "derived");
        status.condition(condition::STARTABLE).unwrap().clone()
    };
    assert_eq!(of_derived(&index).status, "False");
    index.profile("a", seen(3, 11), valid);
    assert_eq!(of_derived(&index).status, "True");
    assert_eq!(startable(&index).0, "True");
    index.profile("a", seen(4, 12), || {
        let rule = json!({"names": ["execve"], "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["arm64"]}});
        defined(&json!({"profile": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}}))
    });
    index.take_dirty(9);
    index.report("n2", &report_from("arm64", Some("containerd://2.1.9")));
    assert!(index.take_dirty(9).contains("a"));
    let (status, _, message) = startable(&index);
    assert!(
        status == "False" && message.starts_with("on n2: refuses execve"),
        "{message}"
    );
}
