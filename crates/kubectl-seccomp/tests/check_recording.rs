//! `kubectl-seccomp check` of a recording in a file.
#![allow(clippy::unwrap_used)]

mod tool;

use serde_json::{Value, json};
use tool::{printed, run};

fn report(recording: &str, calls: &Value) -> Value {
    json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecordingReport",
        "metadata": {"name": format!("{recording}.n"), "namespace": "shop"},
        "recording": {"name": recording, "uid": recording}, "node": "n", "recorderVersion": "1",
        "containers": [{"pod": "p", "podUid": "u", "container": "c", "containerId": "i", "started": null, "calls": calls}],
    })
}

fn call(name: &str) -> Value {
    json!({"architecture": "SCMP_ARCH_X86_64", "name": name, "steady": 2, "firstSeen": null, "lastSeen": null})
}

/// Runs `check` of containerd's default profile on such a file.
fn check(objects: &[Value], args: &[&str]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recorded.yaml");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(&path, list.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let fixed = [
        "check",
        "runtime-default",
        "--arch=amd64",
        "--kernel=6.1",
        "-f",
        path,
    ];
    run(&[&fixed[..], args].concat(), "")
}

#[test]
fn a_recording_in_a_file_is_compared_without_a_cluster() {
    let web = report("web", &json!([call("bind"), call("mount")]));
    let found = check(std::slice::from_ref(&web), &["-o", "json"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let said: Value = serde_json::from_str(&printed(&found)).unwrap();
    assert_eq!(said["seen"], 2);
    assert_eq!(said["stopped"][0]["name"], "mount");
    assert_eq!(
        said["stopped"][0]["rule"],
        "defaultAction: no rule names mount"
    );
    assert!(
        said["allowedUnseen"]
            .as_array()
            .unwrap()
            .contains(&json!("listen"))
    );

    let fine = check(&[report("web", &json!([call("bind")]))], &[]);
    assert_eq!(fine.status.code(), Some(0), "{fine:?}");
    assert!(
        printed(&fine).contains("stop none of the 1 call seen"),
        "{fine:?}"
    );

    // Of two, one has to be named.
    let both = [web, report("db", &json!([call("bind")]))];
    assert_eq!(check(&both, &[]).status.code(), Some(2));
    assert_eq!(check(&both, &["--recording", "db"]).status.code(), Some(0));
    assert_eq!(
        check(&both, &["--recording", "none"]).status.code(),
        Some(2)
    );
    assert_eq!(
        check(&[report("web", &json!([]))], &[]).status.code(),
        Some(1)
    );
}

#[test]
fn where_there_are_no_reports_the_status_tells() {
    let recording = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecording", "metadata": {"name": "web"},
        "spec": {"podSelector": {}},
        "status": {"calls": [
            {"name": "mount", "count": 3, "firstSeen": null, "lastSeen": null},
            {"name": "bind", "architecture": "x86", "count": 1, "firstSeen": null, "lastSeen": null},
        ]},
    });
    let found = check(&[recording], &["-o", "json"]);
    let said: Value = serde_json::from_str(&printed(&found)).unwrap();
    assert_eq!(
        said["stopped"][0]["architecture"], "SCMP_ARCH_X86_64",
        "{said}"
    );
    assert_eq!(
        (&said["seen"], &said["stopped"][0]["calls"]),
        (&json!(2), &json!(3))
    );
}
