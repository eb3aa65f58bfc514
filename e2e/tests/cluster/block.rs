//! A hole that is closed on the whole cluster in one command and opened again, and pods that are made anew for what has changed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{Finished, kubectl, plugin, until};
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::{NO_CHMOD, Tested};

const PATIENCE: Duration = Duration::from_mins(1);
/// A namespace that policies leave alone.
const LEFT: &str = "e2e-block-left";
/// The one is refused by what containerd applies by default, the other is not.
const CALLS: [&str; 2] = ["socket(AF_ALG)", "ioprio_set"];

/// Two pods of a Deployment, on any nodes, with this at pod level.
async fn deployment(cluster: &Cluster, namespace: &str, name: &str, context: Value) -> Tested {
    let labels = json!({"app": name});
    let container = json!({
        "name": "main", "image": cluster.tools_image, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bash", "-c", "sleep infinity & wait"],
    });
    let template = json!({"metadata": {"labels": labels}, "spec": {
        "securityContext": context, "terminationGracePeriodSeconds": 1, "containers": [container],
    }});
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    });
    cluster.apply(&object.to_string()).await?;
    let deployment = format!("deployment/{name}");
    let rollout = [
        "rollout",
        "status",
        &deployment,
        "--timeout=90s",
        "--namespace",
        namespace,
    ];
    kubectl(&rollout, "").await?.ok().map(drop)
}

fn localhost(name: &str) -> Value {
    let path = format!("profiles/{name}.json");
    json!({"seccompProfile": {"type": "Localhost", "localhostProfile": path}})
}

/// The names of the pods of a Deployment that stay.
async fn pods(namespace: &str, app: &str) -> anyhow::Result<Vec<Value>> {
    let label = format!("app={app}");
    let args = [
        "get",
        "pods",
        "-o",
        "json",
        "--selector",
        &label,
        "--namespace",
        namespace,
    ];
    let listed: Value = serde_json::from_str(&kubectl(&args, "").await?.ok()?)?;
    let all = listed["items"].as_array().context("no list")?;
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    Ok(all.iter().filter(stays).cloned().collect())
}

/// Whether the filter of a pod of this Deployment stops the calls, and lets `AF_INET` through.
async fn probe(namespace: &str, app: &str) -> anyhow::Result<Finished> {
    let pods = pods(namespace, app).await?;
    let pod = pods.first().context("no pod")?["metadata"]["name"].as_str();
    let stop = CALLS.join(" ");
    let args = [
        "probe",
        pod.unwrap_or_default(),
        "--namespace",
        namespace,
        "--must-stop",
        &stop,
        "--must-permit",
        "socket(AF_INET)",
    ];
    plugin(&args).await
}

/// The profile of each pod of a Deployment, as it is written there.
async fn given(namespace: &str, app: &str) -> anyhow::Result<Vec<String>> {
    let pods = pods(namespace, app).await?.into_iter();
    let profile = |pod: Value| {
        let profile = &pod["spec"]["securityContext"]["seccompProfile"];
        let path = profile["localhostProfile"].as_str();
        path.or(profile["type"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    Ok(pods.map(profile).collect())
}

/// `block` in all namespaces but those of other tests, so that nobody else's pods are restarted.
async fn block(namespace: &str, more: &[&str]) -> anyhow::Result<Finished> {
    let namespaces = kubectl(&["get", "namespaces", "-o", "name"], "")
        .await?
        .ok()?;
    let names = namespaces
        .lines()
        .filter_map(|line| line.strip_prefix("namespace/"));
    let others: Vec<_> = names
        .filter(|name| ![namespace, LEFT, "kube-system"].contains(name))
        .collect();
    let others = others.join(",");
    let args = [
        "block",
        CALLS[0],
        CALLS[1],
        "--all-namespaces",
        "--except",
        &others,
    ];
    plugin(&[&args, more].concat()).await
}

fn holds(text: &str, parts: &[&str]) -> Tested {
    let squeezed: Vec<_> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let squeezed = squeezed.join("\n");
    for part in parts {
        ensure!(squeezed.contains(part), "no {part:?} in:\n{text}");
    }
    Ok(())
}

/// The names of the pods of a Deployment.
async fn names(namespace: &str, app: &str) -> anyhow::Result<Vec<String>> {
    let pods = pods(namespace, app).await?.into_iter();
    Ok(pods
        .map(|pod| pod["metadata"]["name"].to_string())
        .collect())
}

/// Pods of every kind, and what they can call before.
async fn prepare(cluster: &Cluster, namespace: &str, left: &str) -> Tested {
    // This line of containerd lets AF_ALG through.
    let own = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "e2e-block-own"},
        "spec": {"base": "runtime-default/containerd-2.1", "deny": ["@chmod"]},
    });
    cluster.apply(&own.to_string()).await?;
    cluster.wait_ready("e2e-block-own").await?;
    deployment(cluster, namespace, "own", localhost("e2e-block-own")).await?;
    deployment(cluster, namespace, "bare", json!({})).await?;
    let runtime_default = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    deployment(cluster, namespace, "standard", runtime_default).await?;
    deployment(cluster, left, "left", json!({})).await?;
    let privileged = json!({"privileged": true});
    Pod::script(cluster, namespace, "privileged", "sleep infinity")
        .with("/spec/containers/0/securityContext", privileged)
        .create(cluster)
        .await?;
    for (app, open) in [
        ("own", "socket(AF_ALG): not stopped"),
        ("bare", "ioprio_set: not stopped"),
    ] {
        let before = probe(namespace, app).await?;
        ensure!(
            before.code == Some(1) && before.stdout.contains(open),
            "{app}: {before:?}"
        );
    }
    Ok(())
}

/// Nobody is asked, so nothing is done; and a plan alone changes nothing.
async fn is_planned(namespace: &str) -> Tested {
    let unasked = block(namespace, &[]).await?;
    ensure!(
        unasked.code == Some(2) && unasked.stderr.contains("say --yes to apply the plan"),
        "{unasked:?}"
    );
    let planned = block(namespace, &["--dry-run"]).await?;
    let plan = [
        "seccompprofile/e2e-block-own deny gets socket(0=38) ioprio_set 3",
        "seccompprofile/emergency-block made on runtime-default: deny socket(0=38) ioprio_set 5",
        "seccomppolicy/emergency-block made, priority",
        "privileged test-container the container is privileged",
        "main policies leave its namespace alone (kube-system",
    ];
    holds(&planned.stdout, &plan)?;
    let manifests = block(namespace, &["--dry-run", "--output", "yaml"])
        .await?
        .ok()?;
    kubectl(&["apply", "--dry-run=server", "-f", "-"], &manifests)
        .await?
        .ok()?;
    let none = kubectl(&["get", "seccomppolicy", "emergency-block"], "").await?;
    ensure!(!none.success, "{none:?}");
    Ok(())
}

async fn is_closed(namespace: &str, left: &str) -> Tested {
    let blocked = block(namespace, &["--restart", "--yes"]).await?;
    // The privileged pod is not reached, and said so.
    ensure!(blocked.code == Some(1), "{blocked:?}");
    holds(
        &blocked.stdout,
        &[
            "6 refuse it",
            "under emergency-block: refused",
            "under e2e-block-own: refused",
        ],
    )?;
    ensure!(
        blocked.stderr.contains("containers that cannot be reached")
            && !blocked.stderr.contains("not stopped"),
        "{blocked:?}"
    );
    for app in ["own", "bare", "standard"] {
        let after = probe(namespace, app).await?;
        ensure!(after.code == Some(0), "{app}: {after:?}");
    }
    let block_profile = "profiles/emergency-block.json";
    assert_eq!(given(namespace, "standard").await?, [block_profile; 2]);
    assert_eq!(
        given(namespace, "own").await?,
        ["profiles/e2e-block-own.json"; 2]
    );
    assert_eq!(given(left, "left").await?, [""; 2]);

    // Once more changes nothing, and restarts nobody.
    let before = names(namespace, "bare").await?;
    let again = block(namespace, &["--restart", "--no-probe"]).await?;
    ensure!(again.code == Some(1), "{again:?}");
    holds(
        &again.stdout,
        &[
            "seccompprofile/e2e-block-own refuses it already",
            "seccomppolicy/emergency-block stays",
        ],
    )?;
    assert_eq!(before, names(namespace, "bare").await?);
    Ok(())
}

async fn is_opened_again(cluster: &Cluster, namespace: &str) -> Tested {
    // What somebody has added meanwhile stays.
    let add = json!({"spec": {"deny": ["@chmod", {"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]}, "ioprio_set", "bpf"]}});
    let patch = add.to_string();
    let args = [
        "patch",
        "seccompprofile",
        "e2e-block-own",
        "--type=merge",
        "--patch",
        &patch,
    ];
    kubectl(&args, "").await?.ok()?;
    let undone = plugin(&["block", "--undo", "--restart", "--yes"]).await?;
    ensure!(undone.code == Some(0), "{undone:?}");
    let own = cluster.get(&["seccompprofile", "e2e-block-own"]).await?;
    assert_eq!(own.data["spec"]["deny"], json!(["@chmod", "bpf"]));
    ensure!(
        own.metadata
            .annotations
            .unwrap_or_default()
            .keys()
            .all(|key| !key.contains("/block"))
    );
    assert_eq!(given(namespace, "bare").await?, ["RuntimeDefault"; 2]);
    until("the profile to go", PATIENCE, || async {
        let profiles = kubectl(
            &["get", "seccompprofiles,seccomppolicies", "-o", "name"],
            "",
        )
        .await?
        .ok()?;
        ensure!(!profiles.contains("emergency-block"), "{profiles}");
        Ok(())
    })
    .await?;
    let open = probe(namespace, "own").await?;
    ensure!(
        open.stdout.contains("socket(AF_ALG): not stopped"),
        "{open:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_hole_is_closed_everywhere_in_one_command_and_opened_again_in_another() -> Tested {
    let cluster = Cluster::with_operator().await?;
    plugin(&["block", "--undo", "--yes"]).await?.ok()?;
    let namespace = cluster.namespace("e2e-block", &[]).await?;
    let disabled = [("seccomp-operator.io/inject", "disabled")];
    let left = cluster.namespace(LEFT, &disabled).await?;
    prepare(&cluster, &namespace, &left).await?;
    is_planned(&namespace).await?;
    is_closed(&namespace, &left).await?;
    is_opened_again(&cluster, &namespace).await?;
    cluster.delete("namespace", &left).await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-block-own").await
}

#[tokio::test]
async fn what_runs_under_an_older_content_of_its_profile_is_restarted() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-restart", &[]).await?;
    cluster.apply_profile("e2e-restart", NO_CHMOD).await?;
    cluster.wait_ready("e2e-restart").await?;
    deployment(&cluster, &namespace, "web", localhost("e2e-restart")).await?;
    deployment(&cluster, &namespace, "other", json!({})).await?;
    Pod::script(&cluster, &namespace, "lone", "echo started; sleep infinity")
        .localhost("profiles/e2e-restart.json")
        .log_with(&cluster, "started")
        .await?;
    let restart = ["restart", "--outdated", "--namespace", &namespace, "--yes"];
    let nothing = plugin(&restart).await?.ok()?;
    ensure!(nothing.contains("Nothing is outdated"), "{nothing}");

    // Kubernetes tells the second of a start: a change within it may have come before the start.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    cluster
        .apply_profile("e2e-restart", &NO_CHMOD.replace("\"chmod\"", "\"mkdir\""))
        .await?;
    until("three outdated containers", PATIENCE, || async {
        let status = cluster.status("e2e-restart").await?;
        ensure!(status.outdated == Some(3), "{status:?}");
        Ok(())
    })
    .await?;
    let (web, other) = (
        names(&namespace, "web").await?,
        names(&namespace, "other").await?,
    );
    let unasked = plugin(&restart[..4]).await?;
    ensure!(
        unasked.code == Some(2) && unasked.stderr.contains("say --yes to restart"),
        "{unasked:?}"
    );
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let restarted = plugin(&restart).await?;
    // The lone pod is nobody's to make anew.
    ensure!(restarted.code == Some(1), "{restarted:?}");
    holds(
        &restarted.stdout,
        &["deployment/web 2", "lone nothing makes it anew"],
    )?;
    ensure!(
        restarted
            .stderr
            .contains("pod/lone in namespace e2e-restart"),
        "{restarted:?}"
    );
    let anew = names(&namespace, "web").await?;
    ensure!(anew.iter().all(|name| !web.contains(name)), "{anew:?}");
    assert_eq!(other, names(&namespace, "other").await?);
    let delete = ["delete", "pod", "lone", "--namespace", &namespace, "--now"];
    kubectl(&delete, "").await?.ok()?;
    until("nothing to be outdated", PATIENCE, || async {
        let nothing = plugin(&restart).await?.ok()?;
        ensure!(nothing.contains("Nothing is outdated"), "{nothing}");
        Ok(())
    })
    .await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-restart").await
}
