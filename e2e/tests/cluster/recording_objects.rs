//! SeccompRecordings as objects: what is refused, what they come to, what a profile is held to, and what becomes of pods that a recorder loses.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, plugin, until};
use e2e::shell::Shell;
use serde_json::{Value, json};

use super::Tested;

/// What the workloads do over and over, whatever comes of it.
const WORK: &str = "while true; do mkdir -p /tmp/a; chmod 700 /tmp/a; rmdir /tmp/a; sleep 1; done";

fn deployment(cluster: &Cluster, namespace: &str, name: &str, node: Option<&str>) -> Value {
    let container =
        json!({"name": "app", "image": cluster.tools_image, "command": ["bash", "-c", WORK]});
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name, "e2e": "recorded"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        }},
    });
    if let Some(node) = node {
        let spec = &mut object["spec"]["template"]["spec"];
        spec["nodeName"] = json!(node);
        spec["tolerations"] = json!([{"operator": "Exists"}]);
    }
    object
}

fn recording(namespace: &str, name: &str, more: &Value) -> String {
    let mut spec = json!({"podSelector": {"matchLabels": {"e2e": "recorded"}}});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecording",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
    .to_string()
}

/// Waits until a recording's condition is so, and gives its message.
async fn condition(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    (type_, status, reason): (&str, &str, &str),
) -> anyhow::Result<String> {
    let what = format!("{type_}={status} for {reason}");
    until(&what, Duration::from_mins(3), || async {
        let args = ["seccomprecording", name, "-n", namespace];
        let object = cluster.get(&args).await?;
        let conditions = object.data["status"]["conditions"].as_array().cloned();
        let mut conditions = conditions.into_iter().flatten();
        let found = conditions.find(|condition| condition["type"] == type_);
        let found = found.unwrap_or_default();
        ensure!(
            found["status"] == status && found["reason"] == reason,
            "{found}"
        );
        Ok(found["message"].as_str().unwrap_or_default().to_owned())
    })
    .await
}

/// Waits until so many containers of a recording have called something.
async fn recorded(cluster: &Cluster, namespace: &str, name: &str, containers: i64) -> Tested {
    until(
        "containers to be recorded",
        Duration::from_mins(2),
        || async {
            let args = ["seccomprecording", name, "-n", namespace];
            let status = cluster.get(&args).await?.data["status"].clone();
            let now = status["containers"]["now"].as_i64().unwrap_or_default();
            let calls = status["known"].as_i64().unwrap_or_default();
            ensure!(now >= containers && calls > 0, "{status}");
            Ok(())
        },
    )
    .await
}

#[tokio::test]
async fn a_recording_that_could_not_record_is_refused_and_one_that_is_doubtful_warned_of() -> Tested
{
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-recording-refused", &[]).await?;
    let theirs = "e2e-not-of-a-recording";
    cluster
        .apply_profile(theirs, r#"{"defaultAction": "SCMP_ACT_LOG"}"#)
        .await?;
    cluster.wait_ready(theirs).await?;
    let contradiction = json!({"matchLabels": {"app": "a"}, "matchExpressions": [
        {"key": "app", "operator": "DoesNotExist"}]});
    for (spec, part) in [
        (
            json!({"podSelector": contradiction}),
            "spec.podSelector: selects no pod",
        ),
        (json!({"stop": {"after": "soon"}}), "spec.stop.after: "),
        (
            json!({"base": "runtime-defualt"}),
            "did you mean \"runtime-default\"",
        ),
        (
            json!({"arguments": [{"call": "sockopt", "index": 0}]}),
            "spec.arguments[0]: ",
        ),
        (
            json!({"create": true, "profileName": theirs}),
            "that was not made of this recording",
        ),
    ] {
        let refused = cluster
            .try_apply(&recording(&namespace, "wrong", &spec))
            .await?;
        ensure!(
            !refused.success && refused.stderr.contains(part),
            "{spec}: {}",
            refused.stderr
        );
    }
    let taken = cluster
        .try_apply(&recording(&namespace, "doubtful", &json!({})))
        .await?;
    ensure!(
        taken.success && taken.stderr.contains("spec.stop: "),
        "{}",
        taken.stderr
    );
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", theirs).await?;
    cluster.install(NAMESPACE, &[]).await
}

#[tokio::test]
async fn a_recording_comes_to_one_profile_or_to_one_of_each_workload_and_others_are_held_to_it()
-> Tested {
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-recording-merge", &[]).await?;
    let profiles = ["each.web", "each.db", "whole"].map(|name| format!("{namespace}.{name}"));
    for profile in &profiles {
        cluster.delete("seccompprofile", profile).await?;
    }
    for (name, spec) in [
        (
            "each",
            json!({"merge": "PerPod", "create": true, "stop": {"after": "25s"}}),
        ),
        ("whole", json!({"create": true, "stop": {"after": "25s"}})),
    ] {
        let of = (namespace.as_str(), name);
        cluster.apply(&recording(&namespace, name, &spec)).await?;
        condition(&cluster, of, ("Recording", "True", "Recording")).await?;
        for workload in ["web", "db"] {
            let object = deployment(&cluster, &namespace, workload, None);
            cluster.apply(&object.to_string()).await?;
        }
        recorded(&cluster, &namespace, name, 2).await?;
        condition(&cluster, of, ("Complete", "True", "TimeIsUp")).await?;
        for workload in ["web", "db"] {
            let delete = ["delete", "deployment", workload, "-n", &namespace, "--wait"];
            kubectl(&delete, "").await?.ok()?;
        }
        let args = ["seccomprecording", name, "-n", &namespace];
        let made = cluster.get(&args).await?.data["status"]["profiles"].clone();
        let expected = match name {
            "each" => json!([profiles[1], profiles[0]]),
            _ => json!([profiles[2]]),
        };
        ensure!(made == expected, "{made}");
    }
    for profile in &profiles {
        cluster.wait_ready(profile).await?;
    }

    // What was made of it stops nothing of it, and one that refuses more says what.
    let check = async |profile: &str| {
        let args = [
            "check",
            profile,
            "--recording",
            "whole",
            "-n",
            &namespace,
            "-o",
            "json",
        ];
        plugin(&args).await
    };
    let own = check(&profiles[2]).await?;
    ensure!(own.code == Some(0), "{}{}", own.stdout, own.stderr);
    let strict = "e2e-recording-strict";
    let spec = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": strict},
        "spec": {"base": "runtime-default", "deny": ["@chmod"]},
    });
    cluster.apply(&spec.to_string()).await?;
    let found = check(strict).await?;
    ensure!(found.code == Some(1), "{}{}", found.stdout, found.stderr);
    let said: Value = serde_json::from_str(&found.stdout)?;
    let stopped = said["stopped"].as_array().context("no list")?;
    ensure!(
        stopped.iter().any(|call| call["name"]
            .as_str()
            .is_some_and(|name| name.contains("chmod"))),
        "{said}"
    );
    ensure!(
        said["allowedUnseen"].to_string().contains("\"listen\""),
        "{said}"
    );

    cluster.delete("namespace", &namespace).await?;
    for profile in profiles.iter().map(String::as_str).chain([strict]) {
        cluster.delete("seccompprofile", profile).await?;
    }
    cluster.install(NAMESPACE, &[]).await
}

/// Both processes of a recorder are killed at once: what they recorded is found, told, and replaced as soon as that is wanted and allowed.
#[tokio::test]
async fn pods_that_a_recorder_has_lost_are_told_and_replaced_where_the_recording_says_so() -> Tested
{
    let cluster = Cluster::connect().await?;
    let values = [
        "--set",
        "recorder.enabled=true",
        "--set",
        "recorder.evict=true",
    ];
    cluster.install(NAMESPACE, &values).await?;
    let namespace = cluster.namespace("e2e-recording-lost", &[]).await?;
    let node = cluster.a_worker().await?;
    let shell = Shell::start_on(&cluster, &namespace, &node).await?;
    let of = (namespace.as_str(), "lost");
    cluster
        .apply(&recording(&namespace, "lost", &json!({})))
        .await?;
    condition(&cluster, of, ("Recording", "True", "Recording")).await?;
    let workload = deployment(&cluster, &namespace, "web", Some(&node));
    cluster.apply(&workload.to_string()).await?;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    cluster.apply(&budget.to_string()).await?;
    recorded(&cluster, &namespace, "lost", 1).await?;
    let pods = async || {
        let args = ["pods", "-n", &namespace, "-l", "app=web"];
        let pods = cluster.get(&args).await?.data["items"].clone();
        let running = pods.as_array().cloned().unwrap_or_default().into_iter();
        let running = running.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let uids = running.map(|pod| pod["metadata"]["uid"].to_string());
        anyhow::Ok(uids.collect::<Vec<_>>())
    };
    let before = pods().await?;

    shell
        .run("kill -9 $(processes seccomp-operato record) $(processes seccomp-operato hold)")
        .await?;
    let said = condition(&cluster, of, ("Degraded", "True", "PodsUnheard")).await?;
    ensure!(
        said.contains("web-") && said.ends_with("or set spec.replaceUnheard"),
        "{said}"
    );
    until("an Event on the pod", Duration::from_mins(1), || async {
        let args = ["get", "events", "-n", &namespace, "-o", "json"];
        let events = kubectl(&args, "").await?.ok()?;
        ensure!(events.contains("SeccompRecorderLost"), "{events}");
        Ok(())
    })
    .await?;
    ensure!(pods().await? == before, "a pod was replaced");

    // The budget holds.
    let replace = recording(&namespace, "lost", &json!({"replaceUnheard": true}));
    cluster.apply(&replace).await?;
    until(
        "the eviction to be refused",
        Duration::from_mins(1),
        || async {
            let args = ["seccomprecording", "lost", "-n", &namespace];
            let status = cluster.get(&args).await?.data["status"].to_string();
            ensure!(status.contains("cannot be evicted: "), "{status}");
            Ok(())
        },
    )
    .await?;
    ensure!(
        pods().await? == before,
        "a pod was replaced against its budget"
    );
    let unbound = ["delete", "poddisruptionbudget", "web", "-n", &namespace];
    kubectl(&unbound, "").await?.ok()?;
    until("the pod to be replaced", Duration::from_mins(2), || async {
        let now = pods().await?;
        ensure!(now.len() == 1 && now != before, "{now:?}");
        Ok(())
    })
    .await?;
    // What is made anew is recorded again, and what was lost stays said.
    recorded(&cluster, &namespace, "lost", 1).await?;
    condition(&cluster, of, ("Degraded", "True", "CallsMissing")).await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.install(NAMESPACE, &[]).await
}
