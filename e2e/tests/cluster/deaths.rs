//! Pods that a profile keeps from starting, or ends: an Event and `kubectl seccomp why` say so, and why.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{kubectl, plugin, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::{NO_CHMOD, Tested};

const PATIENCE: Duration = Duration::from_mins(1);
/// So often a container is started anew before it is looked at how often that was told.
const TRIES: i64 = 2;

const NO_CAPSET: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["capset"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
}"#;
const ONLY_READ: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "exit_group"], "action": "SCMP_ACT_ALLOW"}]
}"#;
const KILLS_MKDIR: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]
}"#;

/// A way to fail: what the pod runs under, and what has to be said of it.
struct Case {
    pod: &'static str,
    path: &'static str,
    reason: &'static str,
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        pod: "nobody-s",
        path: "profiles/e2e-nobody.json",
        reason: "SeccompProfileMissing",
        says: &["there is no SeccompProfile e2e-nobody", "create it"],
    },
    Case {
        pod: "elsewhere",
        path: "e2e-deaths/none.json",
        reason: "SeccompProfileMissing",
        says: &[
            "no file e2e-deaths/none.json",
            "make a SeccompProfile of it",
        ],
    },
    Case {
        pod: "folder",
        path: "e2e-deaths/folder.json",
        reason: "SeccompProfileMissing",
        says: &["e2e-deaths/folder.json is a folder"],
    },
    Case {
        pod: "half-a-file",
        path: "e2e-deaths/half.json",
        reason: "SeccompProfileUnreadable",
        says: &["is no profile: unexpected end of JSON input"],
    },
    Case {
        pod: "wrong-type",
        path: "e2e-deaths/type.json",
        reason: "SeccompProfileUnreadable",
        says: &["is no profile: json: cannot unmarshal"],
    },
    Case {
        pod: "no-action",
        path: "e2e-deaths/action.json",
        reason: "SeccompProfileRefused",
        says: &["SCMP_ACT_DENY", "kubectl seccomp lint"],
    },
    Case {
        pod: "no-capset",
        path: "profiles/e2e-no-capset.json",
        reason: "SeccompRefusesRuntime",
        says: &[
            "e2e-no-capset refuses capset, which the container runtime calls itself",
            "add to spec.allow of the SeccompProfile e2e-no-capset: [capset]",
        ],
    },
    Case {
        pod: "only-read",
        path: "profiles/e2e-only-read.json",
        reason: "SeccompRefusesRuntime",
        says: &[
            "e2e-only-read refuses",
            "execve",
            "add to spec.allow of the SeccompProfile e2e-only-read: [",
        ],
    },
    Case {
        pod: "killed",
        path: "profiles/e2e-kills-mkdir.json",
        reason: "SeccompKilled",
        says: &["exit code 159", "kills for mkdir and mkdirat", "from-audit"],
    },
];

/// The Events of ours on a pod.
async fn events(cluster: &Cluster, namespace: &str, pod: &str) -> anyhow::Result<Vec<Value>> {
    let of_pod = format!("involvedObject.name={pod}");
    let found = cluster
        .get(&[
            "events",
            "--namespace",
            namespace,
            "--field-selector",
            &of_pod,
        ])
        .await?;
    let items = found.data["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .into_iter()
        .filter(|event| event["source"]["component"] == "seccomp-operator-agent")
        .collect())
}

/// The Event of a case, the plugin's page and kubectl's say what they should.
async fn is_explained(cluster: &Cluster, namespace: &str, case: &Case) -> Tested {
    let what = format!("the Event of {}", case.pod);
    let event = until(&what, PATIENCE, || async {
        let found = events(cluster, namespace, case.pod).await?;
        found.into_iter().next().context("no Event")
    })
    .await?;
    ensure!(
        event["reason"] == case.reason && event["type"] == "Warning",
        "{}: {event:#}",
        case.pod
    );
    let message = event["message"].as_str().unwrap_or_default();
    for part in case.says {
        ensure!(
            message.contains(part),
            "{}: {part:?} in {message:?}",
            case.pod
        );
    }
    let why = plugin(&["why", case.pod, "-n", namespace]).await?;
    let squeezed = why.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(
        why.code == Some(1) && squeezed.contains(case.reason),
        "{}: {}{}",
        case.pod,
        why.stdout,
        why.stderr
    );
    for part in case.says {
        ensure!(
            squeezed.contains(part),
            "{}: {part:?} in {squeezed:?}",
            case.pod
        );
    }
    let described = kubectl(&["describe", "pod", case.pod, "--namespace", namespace], "")
        .await?
        .ok()?;
    ensure!(described.contains(case.reason), "{described}");
    Ok(())
}

#[tokio::test]
async fn every_way_to_fail_by_seccomp_is_told_once_and_explained() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-deaths", &[]).await?;
    let profiles = [
        ("e2e-no-capset", NO_CAPSET),
        ("e2e-only-read", ONLY_READ),
        ("e2e-kills-mkdir", KILLS_MKDIR),
    ];
    for (name, document) in profiles {
        cluster.delete("seccompprofile", name).await?;
        cluster.apply_profile(name, document).await?;
        cluster.wait_ready(name).await?;
    }
    let files = r#"rm -rf ../e2e-deaths && mkdir -p ../e2e-deaths/folder.json && echo -n '{' >../e2e-deaths/half.json \
        && echo '{"defaultAction": 3}' >../e2e-deaths/type.json && echo '{"defaultAction": "SCMP_ACT_DENY"}' >../e2e-deaths/action.json"#;
    Viewer::vandalise(&cluster, &namespace, files).await?;

    // Where the files are.
    let node = cluster.a_worker().await?;
    for case in CASES {
        // Without allowPrivilegeEscalation: false runc loads the filter before it gives up its capabilities.
        let pod = Pod::script(&cluster, &namespace, case.pod, "exec mkdir /tmp/made")
            .localhost(case.path)
            .on(&node)
            .with("/spec/containers/0/securityContext", json!({}))
            .with("/spec/restartPolicy", "Always".into());
        pod.create(&cluster).await?;
    }
    for case in CASES {
        is_explained(&cluster, &namespace, case).await?;
    }

    // Each was tried again meanwhile, and is told once.
    until("a second try", PATIENCE, || async {
        let pod = cluster
            .get(&["pod", "killed", "--namespace", &namespace])
            .await?;
        let count = &pod.data["status"]["containerStatuses"][0]["restartCount"];
        ensure!(count.as_i64().unwrap_or_default() >= TRIES, "{count}");
        Ok(())
    })
    .await?;
    for case in CASES {
        let found = events(&cluster, &namespace, case.pod).await?;
        ensure!(found.len() == 1, "{}: {found:#?}", case.pod);
    }

    // The remedy helps: the pod that waits for its profile starts once that is there.
    cluster.delete("seccompprofile", "e2e-nobody").await?;
    cluster.apply_profile("e2e-nobody", NO_CHMOD).await?;
    until("the pod to start", Duration::from_mins(2), || async {
        let why = plugin(&["why", "nobody-s", "-n", &namespace]).await?;
        ensure!(why.code == Some(0), "{}", why.stdout);
        Ok(())
    })
    .await?;
    // So does that for the runtime's own call.
    let allow = r#"{"spec": {"allow": ["capset"]}}"#;
    kubectl(
        &[
            "patch",
            "seccompprofile",
            "e2e-no-capset",
            "--type=merge",
            "-p",
            allow,
        ],
        "",
    )
    .await?
    .ok()?;
    until("the other pod to start", Duration::from_mins(2), || async {
        let pod = cluster
            .get(&["pod", "no-capset", "--namespace", &namespace])
            .await?;
        let last = &pod.data["status"]["containerStatuses"][0]["lastState"]["terminated"];
        ensure!(last["exitCode"] == 0, "{last}");
        Ok(())
    })
    .await?;

    clean_up(&cluster, &namespace).await
}

#[tokio::test]
async fn what_is_not_seccomp_s_fault_is_said_to_be_another_s() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-innocent", &[]).await?;
    cluster.delete("seccompprofile", "e2e-innocent").await?;
    cluster.apply_profile("e2e-innocent", NO_CHMOD).await?;
    cluster.wait_ready("e2e-innocent").await?;
    let path = "profiles/e2e-innocent.json";
    let missing = Pod::script(&cluster, &namespace, "missing", "")
        .localhost(path)
        .with("/spec/containers/0/command", json!(["/nothing"]));
    missing.create(&cluster).await?;
    let fails = Pod::script(&cluster, &namespace, "fails", "exit 3").localhost(path);
    fails.create(&cluster).await?;
    // A filter is not the only sender of that signal. (Kubernetes makes one dollar of two.)
    let own = Pod::script(
        &cluster,
        &namespace,
        "own",
        "bash -c 'kill -SYS $BASHPID'; exit $?",
    )
    .localhost(path);
    own.create(&cluster).await?;
    for (pod, says) in [
        ("missing", "what kubelet says has to do with something else"),
        ("fails", "SIGSYS would be exit code 159, and this is 3"),
        ("own", "e2e-innocent kills for none"),
    ] {
        until(pod, PATIENCE, || async {
            let why = plugin(&["why", pod, "-n", &namespace]).await?;
            let squeezed = why.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(
                why.code == Some(0) && squeezed.contains(says),
                "{}{}",
                why.stdout,
                why.stderr
            );
            Ok(())
        })
        .await?;
        let found = events(&cluster, &namespace, pod).await?;
        ensure!(found.is_empty(), "{found:#?}");
    }
    cluster.delete_pods(&namespace).await?;
    cluster.delete("seccompprofile", "e2e-innocent").await
}

async fn clean_up(cluster: &Cluster, namespace: &str) -> Tested {
    cluster.delete_pods(namespace).await?;
    Viewer::vandalise(cluster, namespace, "rm -rf ../e2e-deaths").await?;
    for name in [
        "e2e-no-capset",
        "e2e-only-read",
        "e2e-kills-mkdir",
        "e2e-nobody",
    ] {
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}
