//! A profile that is observed: what it refuses is refused as ever, and told of.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, plugin, until};
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::Tested;

/// Wants what is refused over and over, and other things that are not.
const WORK: &str =
    "while true; do chmod 700 /tmp; mkdir -p /tmp/a && rmdir /tmp/a && echo done; sleep 0.2; done";

#[tokio::test]
async fn what_an_observed_profile_refuses_is_refused_and_told_of_in_each_place() -> Tested {
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-observe", &[]).await?;
    let profile = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "e2e-observed"},
        "spec": {"base": "runtime-default", "deny": ["@chmod"], "observe": true},
    });
    cluster.apply(&profile.to_string()).await?;
    cluster.wait_ready("e2e-observed").await?;
    let log = Pod::script(&cluster, &namespace, "wants", WORK)
        .localhost("profiles/e2e-observed.json")
        .log_with(&cluster, "done")
        .await?;
    ensure!(log.contains("Operation not permitted"), "{log}");

    let denials = ["denials", "-n", &namespace, "wants"];
    let listed = until("the call to be listed", Duration::from_mins(1), || async {
        let listed = plugin(&denials).await?;
        ensure!(
            listed.code == Some(1) && listed.stdout.contains("fchmodat"),
            "{}{}",
            listed.stdout,
            listed.stderr
        );
        Ok(listed.stdout)
    })
    .await?;
    println!("{listed}");
    ensure!(
        listed.contains("e2e-observed") && listed.contains("test-container"),
        "{listed}"
    );
    ensure!(!listed.contains("mkdir"), "{listed}");

    until("the status to say it", Duration::from_mins(2), || async {
        let object = cluster.get(&["seccompprofile", "e2e-observed"]).await?;
        let denials = &object.data["status"]["denials"];
        let first = denials[0].clone();
        ensure!(
            first["pod"] == "wants" && first["call"] == "fchmodat",
            "{denials}"
        );
        Ok(())
    })
    .await?;
    let about = async || {
        let events = cluster.get(&["events", "-n", &namespace]).await?;
        let all = events.data["items"].as_array().cloned();
        let all = all.into_iter().flatten();
        let mine = all.filter(|event| event["reason"] == "SeccompDenied");
        anyhow::Ok(mine.collect::<Vec<Value>>())
    };
    until("an Event", Duration::from_mins(1), || async {
        let said = about().await?;
        let message = said.first().context("none")?["message"].to_string();
        ensure!(message.contains("fchmodat"), "{message}");
        Ok(())
    })
    .await?;

    // However often it is refused, it is told of again only once in a while.
    let report = async || {
        let reports = [
            "seccompdenialreports",
            "-o",
            "jsonpath={.items[*].metadata.resourceVersion}",
        ];
        kubectl(&[&["get"][..], &reports].concat(), "").await?.ok()
    };
    let before = report().await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let after = report().await?;
    let changed = before
        .split(' ')
        .zip(after.split(' '))
        .filter(|(a, b)| a != b);
    ensure!(changed.count() <= 1, "{before} became {after}");
    ensure!(about().await?.len() == 1, "{:?}", about().await?);

    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-observed").await?;
    cluster.install(NAMESPACE, &[]).await
}
