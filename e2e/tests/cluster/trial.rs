//! The next version of a profile on trial on every node: what it would refuse happens and is told of, until it is promoted or dropped.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{plugin, until};
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::Tested;

const NAME: &str = "e2e-tried";
/// Wants over and over what is refused today, and what the next version would refuse.
const WORK: &str =
    "while true; do chmod 700 /tmp; mkdir /tmp/a && rmdir /tmp/a && echo done; sleep 0.2; done";
const REFUSED_TODAY: &str = "chmod: changing permissions";
const REFUSED_NEXT: &str = "mkdir: cannot create directory";

fn profile(trial: &Value) -> String {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": NAME},
        "spec": {"base": "runtime-default", "deny": ["@chmod"], "trial": trial},
    });
    object.to_string()
}

async fn spec(cluster: &Cluster) -> anyhow::Result<Value> {
    let object = cluster.get(&["seccompprofile", NAME]).await?;
    Ok(object.data["spec"].clone())
}

/// A pod on each node, and the log of each once it holds `text`.
async fn pods(cluster: &Cluster, namespace: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let mut logs = Vec::new();
    for (number, node) in cluster.nodes().await?.iter().enumerate() {
        let pod = Pod::script(cluster, namespace, &format!("wants-{number}"), WORK).on(node);
        let pod = pod.localhost(&format!("profiles/{NAME}.json"));
        logs.push(pod.log_with(cluster, text).await?);
    }
    Ok(logs)
}

async fn about(cluster: &Cluster, namespace: &str, reason: &str) -> anyhow::Result<Vec<Value>> {
    let events = cluster.get(&["events", "-n", namespace]).await?;
    let all = events.data["items"].as_array().cloned();
    let all = all.into_iter().flatten();
    Ok(all.filter(|event| event["reason"] == reason).collect())
}

#[tokio::test]
async fn what_the_next_version_would_refuse_happens_and_is_told_until_it_is_promoted_or_dropped()
-> Tested {
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-trial", &[]).await?;
    let nodes = cluster.nodes().await?.len();

    let said = cluster.apply(&profile(&json!({"deny": ["mount"]}))).await?;
    ensure!(
        said.contains("refuses nothing that the profile does not refuse"),
        "{said}"
    );
    let wrong = cluster.try_apply(&profile(&json!({"base": NAME}))).await?;
    ensure!(
        !wrong.success && wrong.stderr.contains("leads in a circle"),
        "{}",
        wrong.stderr
    );
    let next = json!({"deny": ["mkdir", "mkdirat"]});
    let said = cluster.apply(&profile(&next)).await?;
    ensure!(!said.contains("Warning: spec.trial"), "{said}");
    cluster.wait_ready(NAME).await?;

    for log in pods(&cluster, &namespace, "done").await? {
        ensure!(
            log.contains(REFUSED_TODAY) && !log.contains(REFUSED_NEXT),
            "{log}"
        );
    }
    is_told(&cluster, &namespace, nodes).await?;
    is_promoted(&cluster, &namespace).await?;
    is_logged_and_dropped(&cluster, &namespace).await?;

    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", NAME).await?;
    cluster.install(NAMESPACE, &[]).await
}

fn all_are_heard(nodes: usize) -> String {
    let of = if nodes == 1 {
        "pod that uses"
    } else {
        "pods that use"
    };
    format!("recorders hear {nodes} of {nodes} {of} it")
}

/// By the command, the status, and an Event.
async fn is_told(cluster: &Cluster, namespace: &str, nodes: usize) -> Tested {
    let heard = all_are_heard(nodes);
    let shown = until("the trial to be told", Duration::from_mins(3), || async {
        let shown = plugin(&["trial", NAME]).await?;
        let all = (0..nodes).all(|number| shown.stdout.contains(&format!("wants-{number}")));
        ensure!(
            shown.code == Some(1) && all && shown.stdout.contains(&heard),
            "{}{}",
            shown.stdout,
            shown.stderr
        );
        Ok(shown.stdout)
    })
    .await?;
    println!("{shown}");
    ensure!(
        shown.contains("mkdir") && !shown.contains("chmod"),
        "{shown}"
    );
    let data = plugin(&["trial", NAME, "-o", "json"]).await?.stdout;
    let data: Value = serde_json::from_str(&data)?;
    ensure!(
        data["pods"] == nodes && data["count"].as_i64() > Some(0),
        "{data}"
    );
    let status = cluster.status(NAME).await?;
    let trial = status.trial.context("no status of the trial")?;
    ensure!(
        trial.count > 0 && trial.denials[0].call.starts_with("mkdir"),
        "{trial:?}"
    );
    ensure!(status.denials.is_empty(), "{:?}", status.denials);
    until("an Event", Duration::from_mins(1), || async {
        let said = about(cluster, namespace, "SeccompTrial").await?;
        let message = said.first().context("none")?["message"].to_string();
        ensure!(message.contains("would be refused: mkdir"), "{message}");
        Ok(())
    })
    .await?;
    let refused = about(cluster, namespace, "SeccompDenied").await?;
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(())
}

async fn is_promoted(cluster: &Cluster, namespace: &str) -> Tested {
    let promoted = plugin(&["trial", "promote", NAME, "--yes"]).await?.ok()?;
    println!("{promoted}");
    ensure!(
        promoted.contains("Closed") && promoted.contains("mkdir"),
        "{promoted}"
    );
    let now = json!({"base": "runtime-default", "deny": ["@chmod", "mkdir", "mkdirat"]});
    ensure!(spec(cluster).await? == now, "{}", spec(cluster).await?);
    cluster.wait_ready(NAME).await?;
    cluster.delete_pods(namespace).await?;
    for log in pods(cluster, namespace, REFUSED_NEXT).await? {
        ensure!(
            log.contains(REFUSED_TODAY) && !log.contains("done"),
            "{log}"
        );
    }
    ensure!(
        cluster.status(NAME).await?.trial.is_none(),
        "the trial is over"
    );
    let none = plugin(&["trial", NAME]).await?;
    ensure!(
        none.code == Some(2) && none.stderr.contains("is on no trial"),
        "{}",
        none.stderr
    );

    Ok(())
}

/// The kernel logs instead, and what it logs happens.
async fn is_logged_and_dropped(cluster: &Cluster, namespace: &str) -> Tested {
    cluster
        .apply(&profile(
            &json!({"deny": ["mkdir", "mkdirat"], "report": "Log"}),
        ))
        .await?;
    cluster.wait_ready(NAME).await?;
    cluster.delete_pods(namespace).await?;
    pods(cluster, namespace, "done").await?;
    let dropped = plugin(&["trial", "drop", NAME, "--yes"]).await?.ok()?;
    println!("{dropped}");
    let stays = json!({"base": "runtime-default", "deny": ["@chmod"]});
    ensure!(spec(cluster).await? == stays, "{}", spec(cluster).await?);
    Ok(())
}

/// Wants over and over what `runtime-default` refuses, and what the policy's profile would refuse.
const BARE_WORK: &str = "while true; do unshare --user true && echo opened; mkdir /tmp/a && rmdir /tmp/a && echo done; sleep 0.2; done";
const POLICY: &str = "e2e-tried-policy";
const OF_POLICY: &str = "e2e-tried-by-policy";

fn tried_by_policy() -> String {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": OF_POLICY},
        "spec": {"base": "runtime-default", "deny": ["mkdir", "mkdirat"]},
    });
    object.to_string()
}

fn policy(namespace: &str, mode: &str) -> String {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": POLICY},
        "spec": {"mode": mode, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "profile": {"type": "Localhost", "name": OF_POLICY}},
    });
    object.to_string()
}

/// A pod on each node that states no profile, and the log of each once it holds `text`, with what admission gave it.
async fn bare_pods(
    cluster: &Cluster,
    namespace: &str,
    text: &str,
) -> anyhow::Result<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for (number, node) in cluster.nodes().await?.iter().enumerate() {
        let pod = Pod::script(cluster, namespace, &format!("bare-{number}"), BARE_WORK).on(node);
        let log = pod.log_with(cluster, text).await?;
        let given = pod.spec(cluster).await?["securityContext"]["seccompProfile"].clone();
        found.push((log, given));
    }
    Ok(found)
}

/// Why a policy is ready or not.
async fn await_reason(cluster: &Cluster, reason: &str) -> Tested {
    let what = format!("the policy to say {reason}");
    until(&what, Duration::from_mins(2), || async {
        let policy = cluster.get(&["seccomppolicy", POLICY]).await?;
        let conditions = policy.data["status"]["conditions"].as_array().cloned();
        let mut conditions = conditions.into_iter().flatten();
        let ready = conditions.find(|condition| condition["type"] == "Ready");
        let ready = ready.context("no condition Ready")?;
        ensure!(ready["reason"] == reason, "{ready}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_without_a_profile_run_under_runtime_default_while_a_policy_s_is_tried_on_them_until_it_is_promoted()
-> Tested {
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-policy-trial", &[]).await?;
    let nodes = cluster.nodes().await?.len();
    let kept = format!("trial.{POLICY}");

    let wrong = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": POLICY},
        "spec": {"mode": "Trial", "profile": {"type": "RuntimeDefault"}},
    });
    let wrong = cluster.try_apply(&wrong.to_string()).await?;
    ensure!(
        !wrong.success
            && wrong
                .stderr
                .contains("is no SeccompProfile that could be tried"),
        "{}",
        wrong.stderr
    );
    // No pod waits for what is not there.
    let said = cluster.apply(&policy(&namespace, "Trial")).await?;
    ensure!(said.contains("nothing is tried until there is"), "{said}");
    await_reason(&cluster, "ProfileMissing").await?;
    bare_pods(&cluster, &namespace, "done").await?;
    cluster.delete_pods(&namespace).await?;
    cluster.apply(&tried_by_policy()).await?;
    cluster.wait_ready(OF_POLICY).await?;
    await_reason(&cluster, "OnTrial").await?;

    let file = json!({"type": "Localhost", "localhostProfile": format!("profiles/{kept}.json")});
    for (log, given) in bare_pods(&cluster, &namespace, "done").await? {
        ensure!(given == file, "{given}");
        ensure!(
            !log.contains(REFUSED_NEXT) && !log.contains("opened"),
            "{log}"
        );
    }
    policy_is_told(&cluster, &namespace, nodes).await?;
    let covered = plugin(&["coverage", "-n", &namespace]).await?.stdout;
    let on_trial = format!("{nodes} on trial (runtime-default)");
    ensure!(covered.contains(&on_trial), "{covered}");

    let label = format!("policy/{POLICY}");
    let promoted = plugin(&["trial", "promote", &label, "--yes"]).await?.ok()?;
    println!("{promoted}");
    ensure!(
        promoted.contains("Closed") && promoted.contains("mkdir"),
        "{promoted}"
    );
    await_reason(&cluster, "Enforced").await?;
    // It stays while pods use it, and they are what a restart would be about.
    ensure!(cluster.get(&["seccompprofile", &kept]).await.is_ok());
    cluster.delete_pods(&namespace).await?;
    let file =
        json!({"type": "Localhost", "localhostProfile": format!("profiles/{OF_POLICY}.json")});
    for (log, given) in bare_pods(&cluster, &namespace, REFUSED_NEXT).await? {
        ensure!(given == file && !log.contains("done"), "{given} {log}");
    }
    until(
        "the trial's profile to go",
        Duration::from_mins(2),
        || async {
            let kept = cluster.get(&["seccompprofile", &kept]).await;
            ensure!(kept.is_err(), "it is still there");
            Ok(())
        },
    )
    .await?;

    // Back on trial, and dropped: the policy goes, and its profile with it.
    cluster.apply(&policy(&namespace, "Trial")).await?;
    await_reason(&cluster, "OnTrial").await?;
    cluster.delete_pods(&namespace).await?;
    let dropped = plugin(&["trial", "drop", &label, "--yes"]).await?.ok()?;
    println!("{dropped}");
    until(
        "the trial's profile to go",
        Duration::from_mins(2),
        || async {
            let policy = cluster.get(&["seccomppolicy", POLICY]).await;
            let kept = cluster.get(&["seccompprofile", &kept]).await;
            ensure!(policy.is_err() && kept.is_err(), "they are still there");
            Ok(())
        },
    )
    .await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", OF_POLICY).await?;
    cluster.install(NAMESPACE, &[]).await
}

/// By the command and the statuses, and an Event.
async fn policy_is_told(cluster: &Cluster, namespace: &str, nodes: usize) -> Tested {
    let label = format!("policy/{POLICY}");
    let heard = all_are_heard(nodes);
    let shown = until("the trial to be told", Duration::from_mins(3), || async {
        let shown = plugin(&["trial", &label]).await?;
        let all = (0..nodes).all(|number| shown.stdout.contains(&format!("bare-{number}")));
        ensure!(
            shown.code == Some(1) && all && shown.stdout.contains(&heard),
            "{}{}",
            shown.stdout,
            shown.stderr
        );
        Ok(shown.stdout)
    })
    .await?;
    println!("{shown}");
    ensure!(
        shown.contains("mkdir") && !shown.contains("unshare"),
        "{shown}"
    );
    until("the policy's status", Duration::from_mins(2), || async {
        let policy = cluster.get(&["seccomppolicy", POLICY]).await?;
        let trial = &policy.data["status"]["trial"];
        ensure!(
            trial["pods"] == nodes && trial["usedBy"] == nodes && trial["count"].as_i64() > Some(0),
            "{}",
            policy.data["status"]
        );
        Ok(())
    })
    .await?;
    until("an Event", Duration::from_mins(1), || async {
        let said = about(cluster, namespace, "SeccompTrial").await?;
        let message = said.first().context("none")?["message"].to_string();
        ensure!(message.contains("would be refused: mkdir"), "{message}");
        Ok(())
    })
    .await
}
