//! A profile that is observed: what it refuses is refused as ever, and told of.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, plugin, plugin_for, until};
use e2e::metrics::anonymous_memory;
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::Tested;

/// Wants what is refused over and over, and other things that are not.
const WORK: &str =
    "while true; do chmod 700 /tmp; mkdir -p /tmp/a && rmdir /tmp/a && echo done; sleep 0.2; done";
/// Wants what is refused as often as it can, without a process for each time.
const FLOOD: &str = "echo begins; while true; do : >/dev/udp/127.0.0.1/9; done 2>/dev/null";
const PROFILE: &str = "e2e-observed";

/// What a report says of a call of this pod.
async fn count(namespace: &str, pod: &str, call: &str) -> anyhow::Result<i64> {
    let denials = ["denials", "-n", namespace, pod, "-o", "json"];
    let found: Value = serde_json::from_str(&plugin(&denials).await?.stdout)?;
    let all = found["denials"].as_array().context("no list")?;
    let counts = all
        .iter()
        .filter(|denial| denial["call"] == call)
        .filter_map(|denial| denial["count"].as_i64());
    Ok(counts.sum())
}

async fn is_listed(namespace: &str) -> Tested {
    let denials = ["denials", "-n", namespace, "wants"];
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
        listed.contains(PROFILE) && listed.contains("test-container"),
        "{listed}"
    );
    ensure!(!listed.contains("mkdir"), "{listed}");
    Ok(())
}

async fn is_in_the_status(cluster: &Cluster) -> Tested {
    until("the status to say it", Duration::from_mins(2), || async {
        let object = cluster.get(&["seccompprofile", PROFILE]).await?;
        let denials = &object.data["status"]["denials"];
        let all = denials.as_array().context("no list")?;
        let of_pod = |denial: &&Value| denial["pod"] == "wants" && denial["call"] == "fchmodat";
        ensure!(all.iter().any(|denial| of_pod(&denial)), "{denials}");
        Ok(())
    })
    .await
}

/// The Events that tell a pod what it was refused.
async fn events(cluster: &Cluster, namespace: &str, pod: &str) -> anyhow::Result<Vec<Value>> {
    let events = cluster.get(&["events", "-n", namespace]).await?;
    let all = events.data["items"].as_array().cloned();
    let all = all.into_iter().flatten().filter(|event| {
        event["reason"] == "SeccompDenied" && event["involvedObject"]["name"] == pod
    });
    Ok(all.collect())
}

/// A line comes whenever a node reports more.
async fn is_watched(namespace: &str) -> Tested {
    let watch = ["denials", "-n", namespace, "wants", "--watch"];
    // Nodes report once a minute.
    let seen = plugin_for(Duration::from_secs(80), &watch).await?;
    let line = seen.lines().find(|line| line.contains(" +"));
    let line = line.with_context(|| format!("no line about more: {seen}"))?;
    println!("{line}");
    ensure!(
        line.contains(&format!("{namespace}/wants test-container: fchmodat"))
            && line.ends_with(&format!(" under {PROFILE}")),
        "{line}"
    );
    Ok(())
}

/// However often it is refused, it is told of again only once in a while, and nothing grows.
async fn is_bounded(cluster: &Cluster, namespace: &str) -> Tested {
    let reports = async || {
        let reports = [
            "get",
            "seccompdenialreports",
            "-o",
            "jsonpath={.items[*].metadata.resourceVersion}",
        ];
        kubectl(&reports, "").await?.ok()
    };
    let status = async || {
        let object = cluster.get(&["seccompprofile", PROFILE]).await?;
        anyhow::Ok(object.metadata.resource_version)
    };
    let (before, status_before) = (reports().await?, status().await?);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (after, status_after) = (reports().await?, status().await?);
    let changed = before
        .split(' ')
        .zip(after.split(' '))
        .filter(|(a, b)| a != b);
    // The two pods may be on two nodes, and their minutes end when they like.
    ensure!(changed.count() <= 2, "{before} became {after}");
    println!("status {status_before:?}, {status_after:?} 20 s later");
    for pod in ["wants", "floods"] {
        let said = events(cluster, namespace, pod).await?;
        ensure!(said.len() <= 2, "{pod}: {said:?}");
    }
    until("many calls", Duration::from_mins(2), || async {
        let counted = count(namespace, "floods", "socket").await?;
        ensure!(counted > 100_000, "{counted}");
        println!("the pod that floods was refused {counted} calls");
        Ok(())
    })
    .await?;
    for (node, rss) in anonymous_memory(cluster, "record").await? {
        println!("recorder of {node}: {rss} bytes resident");
        ensure!(rss < 16 << 20, "{node}: {rss}");
    }
    Ok(())
}

/// What is suggested is applied, and helps.
async fn is_suggested(cluster: &Cluster, namespace: &str) -> Tested {
    let suggest = ["denials", "-n", namespace, "wants", "--suggest"];
    let suggested = plugin(&suggest).await?;
    println!("{}", suggested.stdout);
    ensure!(
        suggested.code == Some(1)
            && suggested.stdout.contains("-  - \"@chmod\"")
            && suggested.stdout.contains("+  - fchmod\n")
            && suggested
                .stdout
                .contains("EPERM -> allowed\n    fchmodat\n"),
        "{suggested:?}"
    );
    let manifest = plugin(&[&suggest[..], &["-o", "yaml"]].concat()).await?;
    cluster.apply(&manifest.stdout).await?;
    cluster.wait_ready(PROFILE).await?;
    let log = Pod::script(cluster, namespace, "wanted", WORK)
        .localhost(&format!("profiles/{PROFILE}.json"))
        .log_with(cluster, "done")
        .await?;
    ensure!(!log.contains("Operation not permitted"), "{log}");
    Ok(())
}

#[tokio::test]
async fn what_an_observed_profile_refuses_is_refused_and_told_of_in_each_place() -> Tested {
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-observe", &[]).await?;
    let profile = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": PROFILE},
        "spec": {"base": "runtime-default", "deny": ["@chmod", "socket"], "observe": true},
    });
    cluster.apply(&profile.to_string()).await?;
    cluster.wait_ready(PROFILE).await?;
    let path = format!("profiles/{PROFILE}.json");
    let log = Pod::script(&cluster, &namespace, "wants", WORK)
        .localhost(&path)
        .log_with(&cluster, "done")
        .await?;
    ensure!(log.contains("Operation not permitted"), "{log}");
    Pod::script(&cluster, &namespace, "floods", FLOOD)
        .localhost(&path)
        .log_with(&cluster, "begins")
        .await?;

    is_listed(&namespace).await?;
    is_in_the_status(&cluster).await?;
    until("an Event", Duration::from_mins(1), || async {
        let said = events(&cluster, &namespace, "wants").await?;
        let message = said.first().context("none")?["message"].to_string();
        ensure!(message.contains("fchmodat"), "{message}");
        Ok(())
    })
    .await?;
    is_bounded(&cluster, &namespace).await?;
    is_watched(&namespace).await?;
    is_suggested(&cluster, &namespace).await?;

    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", PROFILE).await?;
    cluster.install(NAMESPACE, &[]).await
}

#[tokio::test]
async fn a_node_without_a_recorder_does_not_get_an_observed_profile_and_says_what_helps() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    let name = "e2e-unobserved";
    let profile = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": name},
        "spec": {"base": "runtime-default", "observe": true},
    });
    cluster.apply(&profile.to_string()).await?;
    until("every node to refuse", Duration::from_mins(1), || async {
        let status = cluster.status(name).await?;
        let nodes = status.nodes.context("no nodes")?;
        ensure!(
            nodes.failed == nodes.desired && nodes.ready == 0,
            "{nodes:?}"
        );
        let failure = status.failures.first().context("no failure")?;
        ensure!(
            failure
                .message
                .contains("spec.observe: this node has no recorder"),
            "{failure:?}"
        );
        Ok(())
    })
    .await?;
    // The remedy that it names.
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    cluster.wait_ready(name).await?;
    cluster.delete("seccompprofile", name).await?;
    cluster.install(NAMESPACE, &[]).await
}
