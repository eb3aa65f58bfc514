//! A profile that is on every node, and under which no container starts.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{kubectl, plugin, until};
use e2e::pods::Pod;
use seccomp_operator_api::condition;
use serde_json::Value;

use super::{NO_CHMOD, Tested};

const PATIENCE: Duration = Duration::from_mins(1);
/// Not even the runtime gets to the container's program.
const ONLY_READ: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "exit_group"], "action": "SCMP_ACT_ALLOW"}]
}"#;

/// Waits until the condition `Startable` of a profile is this; its message.
async fn startable(cluster: &Cluster, profile: &str, expected: &str) -> anyhow::Result<String> {
    until("the condition Startable", PATIENCE, || async {
        let status = cluster.status(profile).await?;
        let found = status.condition(condition::STARTABLE);
        let found = found.context("no condition Startable")?;
        ensure!(found.status == expected, "{found:?}");
        Ok(found.message.clone())
    })
    .await
}

#[tokio::test]
async fn a_profile_under_which_nothing_starts_is_not_green() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-startup", &[]).await?;
    for (name, document) in [("e2e-starts", NO_CHMOD), ("e2e-stuck", ONLY_READ)] {
        cluster.delete("seccompprofile", name).await?;
        cluster.apply_profile(name, document).await?;
        // The file is there, and that is what Ready says.
        cluster.wait_ready(name).await?;
    }
    startable(&cluster, "e2e-starts", "True").await?;
    let message = startable(&cluster, "e2e-stuck", "False").await?;
    ensure!(
        message.contains("execve") && message.contains("no container starts"),
        "{message}"
    );

    let table = kubectl(&["get", "seccompprofile", "e2e-stuck"], "")
        .await?
        .ok()?;
    let words: Vec<_> = table.split_whitespace().collect();
    ensure!(
        words.contains(&"STARTABLE") && words.contains(&"False"),
        "{table}"
    );

    let one = plugin(&["status", "e2e-stuck"]).await?;
    ensure!(
        one.code == Some(1) && one.stdout.contains("e2e-stuck: Unstartable"),
        "{}{}",
        one.stdout,
        one.stderr
    );

    let pod = Pod::script(&cluster, &namespace, "stuck", "echo started")
        .localhost("profiles/e2e-stuck.json");
    let printed = pod.create(&cluster).await?;
    ensure!(printed.contains("no container starts"), "{printed}");
    let get = ["pod", "stuck", "--namespace", &namespace];
    // What was said is true.
    until("the runtime to fail", PATIENCE, || async {
        let pod = cluster.get(&get).await?;
        let state = &pod.data["status"]["containerStatuses"][0]["state"];
        // containerd's word; CRI-O has none, but a start that never was.
        let terminated = &state["terminated"];
        let began = terminated["startedAt"].as_str().unwrap_or_default();
        ensure!(
            terminated["reason"] == "StartError" || began.starts_with("1754-"),
            "{state}"
        );
        // Then it is a pod of the past.
        ensure!(
            pod.data["status"]["phase"] == "Failed",
            "{}",
            pod.data["status"]["phase"]
        );
        Ok(())
    })
    .await?;

    let twin = Pod::script(&cluster, &namespace, "waiting", "echo started")
        .localhost("profiles/e2e-stuck.json")
        .with("/spec/restartPolicy", "Always".into());
    twin.create(&cluster).await?;
    let args = ["coverage", "-n", &namespace, "--fail-on", "any"];
    let listed = plugin(&args).await?;
    let squeezed: Vec<_> = listed.stdout.split_whitespace().collect();
    let squeezed = squeezed.join(" ");
    ensure!(
        listed.code == Some(1)
            && squeezed.contains("no container starts")
            && squeezed.contains("under a profile that starts no container: 1"),
        "{}",
        listed.stdout
    );
    let data = plugin(&["coverage", "-n", &namespace, "-o", "json"]).await?;
    let data: Value = serde_json::from_str(&data.stdout)?;
    ensure!(data["summary"]["unstartable"] == 1, "{data}");

    cluster.delete_pods(&namespace).await?;
    for name in ["e2e-starts", "e2e-stuck"] {
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}
