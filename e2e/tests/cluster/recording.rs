//! Recording a workload: from one command to a profile that the workload runs under.

use std::time::Duration;

use anyhow::ensure;
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, plugin, until};
use e2e::metrics::anonymous_memory;
use e2e::pods::Pod;
use seccomp_operator_api::RECORDED_ANNOTATION;
use serde_json::json;

use super::Tested;

/// What the workload does over and over. It says `done` where all of it was let happen, but for what no base of ours allows.
const WORK: &str = "while true; do mkdir -p /tmp/a && chmod 700 /tmp/a && rmdir /tmp/a && sync && ! unshare --user true && echo done; sleep 1; done";

fn deployment(cluster: &Cluster, namespace: &str) -> String {
    let container =
        json!({"name": "web", "image": cluster.tools_image, "command": ["bash", "-c", WORK]});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        }},
    })
    .to_string()
}

#[tokio::test]
async fn one_command_makes_a_profile_of_what_a_workload_calls_and_takes_everything_back() -> Tested
{
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-recording", &[]).await?;
    let profile = format!("{namespace}.web");
    cluster.delete("seccompprofile", &profile).await?;
    cluster.apply(&deployment(&cluster, &namespace)).await?;
    let rollout = [
        "rollout",
        "status",
        "deployment/web",
        "--timeout=120s",
        "-n",
    ];
    kubectl(&[&rollout[..], &[namespace.as_str()]].concat(), "")
        .await?
        .ok()?;

    let record = ["record", "deployment/web", "--namespace", &namespace];
    // One before, of which nobody is left when the other begins.
    let before = plugin(&[&record[..], &["--for", "10s", "--yes"]].concat()).await?;
    ensure!(before.code == Some(0), "{}{}", before.stdout, before.stderr);
    let how = ["--for", "20s", "--yes", "--apply"];
    let modes = ["--argument", "mkdir:1", "--argument", "mkdirat:2"];
    let recorded = plugin(&[&record[..], &how, &modes].concat()).await?;
    let (written, said) = (recorded.stdout.clone(), recorded.stderr.clone());
    ensure!(recorded.code == Some(0), "{written}{said}");
    println!("{said}");
    // What the base refused is said, and the profile does not allow it.
    let wanted = "Wanted, refused by the base, and not allowed by the profile: unshare (";
    ensure!(said.contains(wanted), "{said}");
    ensure!(
        written.contains("seccomp-operator.io/wanted-refused: unshare"),
        "{written}"
    );

    let component = "app.kubernetes.io/component=recorder";
    let recorders = cluster
        .get(&["pods", "--namespace", NAMESPACE, "-l", component])
        .await?;
    let recorders = recorders.data["items"].as_array().cloned();
    let recorders = recorders.unwrap_or_default();
    ensure!(!recorders.is_empty(), "no recorder");
    for status in recorders
        .iter()
        .map(|pod| &pod["status"]["containerStatuses"])
    {
        let restarts = status.as_array().into_iter().flatten();
        let restarts: Vec<_> = restarts.map(|of| &of["restartCount"]).collect();
        ensure!(restarts.iter().all(|count| **count == 0), "{status}");
    }

    // All is as before: no recording, no profile of its own, and pods that are not recorded.
    let recordings = [
        "get",
        "seccomprecordings,seccomprecordingreports",
        "-o",
        "name",
        "-n",
        &namespace,
    ];
    until(
        "the recording to be gone",
        Duration::from_mins(1),
        || async {
            let left = kubectl(&recordings, "").await?.ok()?;
            ensure!(left.is_empty(), "{left}");
            let profiles = kubectl(&["get", "seccompprofiles", "-o", "name"], "")
                .await?
                .ok()?;
            ensure!(
                !profiles.contains("/recording.e2e-recording."),
                "{profiles}"
            );
            let pods = cluster
                .get(&["pods", "-n", &namespace, "-l", "app=web"])
                .await?;
            let text = pods.data.to_string();
            ensure!(!text.contains("recorded-by"), "{text}");
            Ok(())
        },
    )
    .await?;

    // What was recorded is let happen, and what was not is refused.
    cluster.wait_ready(&profile).await?;
    let path = format!("profiles/{profile}.json");
    Pod::script(&cluster, &namespace, "under", WORK)
        .localhost(&path)
        .log_with(&cluster, "done")
        .await?;
    let other = "mkfifo /tmp/f || true; truncate -s 1 /tmp/t || true; ln -s a /tmp/l || true; mkdir -m 711 /tmp/m || true; echo end";
    let log = Pod::script(&cluster, &namespace, "other", other)
        .localhost(&path)
        .log_with(&cluster, "end")
        .await?;
    // The last one with another mode than what was seen.
    for refused in [
        "mkfifo: cannot",
        "truncate: ",
        "ln: failed",
        "mkdir: cannot",
    ] {
        ensure!(log.contains(refused), "no {refused:?} in {log}");
    }

    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", &profile).await?;
    cluster.install(NAMESPACE, &[]).await
}

/// Whether recorders are meant to be on any node.
async fn want_recorders(wanted: bool) -> Tested {
    let recorders = "app.kubernetes.io/component=recorder";
    let find = [
        "get",
        "daemonset",
        "-l",
        recorders,
        "-o",
        "name",
        "-n",
        NAMESPACE,
    ];
    let name = kubectl(&find, "").await?.ok()?;
    let value = if wanted {
        json!(null)
    } else {
        json!("nowhere")
    };
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": {"e2e": value}}}}});
    let patch = ["-p", &patch.to_string(), "-n", NAMESPACE].map(str::to_owned);
    let patch: Vec<_> = patch.iter().map(String::as_str).collect();
    let args = [&["patch", name.trim()][..], &patch].concat();
    kubectl(&args, "").await?.ok().map(drop)
}

/// Without a recorder no container starts under a recording: it is not begun before, and says so if that comes later.
#[tokio::test]
async fn a_recording_waits_for_the_recorders_and_touches_no_pod_before() -> Tested {
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-held", &[]).await?;
    want_recorders(false).await?;
    until("the recorders to go", Duration::from_mins(2), || async {
        let left = cluster.pods_of("recorder").await?.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await?;
    let recording = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecording",
        "metadata": {"name": "held", "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"e2e": "held"}}},
    });
    cluster.apply(&recording.to_string()).await?;
    let condition = async |type_: &str, status: &str, reason: &str| {
        let what = format!("{type_}={status} for {reason}");
        until(&what, Duration::from_mins(2), || async {
            let args = ["seccomprecording", "held", "-n", &namespace];
            let object = cluster.get(&args).await?;
            let conditions = object.data["status"]["conditions"].as_array().cloned();
            let found = conditions
                .into_iter()
                .flatten()
                .find(|condition| condition["type"] == type_)
                .unwrap_or_default();
            ensure!(
                found["status"] == status && found["reason"] == reason,
                "{found}"
            );
            Ok(found["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    };
    let said = condition("Recording", "False", "RecorderAway").await?;
    ensure!(said.starts_with("nodes without a recorder: "), "{said}");
    let started = async |name: &str| {
        let metadata = json!({"name": name, "namespace": namespace, "labels": {"e2e": "held"}});
        let pod = Pod::script(&cluster, &namespace, name, "echo started; sleep 600");
        pod.with("/metadata", metadata)
            .log_with(&cluster, "started")
            .await?;
        let object = cluster.get(&["pod", name, "-n", &namespace]).await?;
        let annotations = object.metadata.annotations.unwrap_or_default();
        anyhow::Ok(annotations.get(RECORDED_ANNOTATION).cloned())
    };
    let before = started("before").await?;
    ensure!(before.is_none(), "{before:?}");

    want_recorders(true).await?;
    condition("Recording", "True", "Recording").await?;
    condition("Degraded", "False", "AsExpected").await?;
    let recorded = started("recorded").await?;
    ensure!(recorded.as_deref() == Some("held"), "{recorded:?}");

    // The holder of a container stays for as long as that one runs.
    cluster.delete_pods(&namespace).await?;
    want_recorders(false).await?;
    condition("Degraded", "True", "RecorderAway").await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.install(NAMESPACE, &[]).await
}

/// In one pod, since a node takes a hundred pods at most. They start one after the other, and call what is recorded all the while.
#[tokio::test]
async fn fifty_containers_of_one_node_are_recorded_at_once_in_little_memory() -> Tested {
    const CONTAINERS: usize = 50;
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-many", &[]).await?;
    let node = cluster.a_worker().await?;
    let memory = async |most: u64| {
        // kubelet looks every ten seconds or so.
        tokio::time::sleep(Duration::from_secs(20)).await;
        for container in ["hold", "record"] {
            let all = anonymous_memory(&cluster, container).await?;
            let found = all.iter().find(|(of, _)| *of == node);
            let bytes = found.map(|(_, bytes)| *bytes).unwrap_or_default();
            println!("{container} on {node}: {bytes} bytes");
            ensure!((1..=most).contains(&bytes), "{container}: {bytes}");
        }
        Ok(())
    };
    let recording = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecording",
        "metadata": {"name": "many", "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"e2e": "many"}}},
    });
    cluster.apply(&recording.to_string()).await?;
    let wait = ["wait", "--for=condition=Recording", "seccomprecording/many"];
    kubectl(
        &[&wait[..], &["-n", &namespace, "--timeout=120s"]].concat(),
        "",
    )
    .await?
    .ok()?;
    memory(2 << 20).await?;

    let work = "while true; do mkdir -p /tmp/a; rmdir /tmp/a; sleep 2; done";
    let container = |n| {
        json!({
            "name": format!("c{n}"), "image": cluster.tools_image, "imagePullPolicy": "Never", "command": ["bash", "-c", work],
        })
    };
    let containers: Vec<_> = (0..CONTAINERS).map(container).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "many", "namespace": namespace, "labels": {"e2e": "many"}},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": containers},
    });
    cluster.apply(&pod.to_string()).await?;
    let counted = async |now: usize, were: usize| {
        let what = format!("{now} containers that are recorded, {were} that were");
        until(&what, Duration::from_mins(3), || async {
            let args = ["seccomprecording", "many", "-n", &namespace];
            let status = cluster.get(&args).await?.data["status"].clone();
            let counts = &status["containers"];
            ensure!(counts["now"] == now && counts["were"] == were, "{counts}");
            let calls = status["calls"].as_array().into_iter().flatten();
            let mkdir = calls.clone().find(|call| call["name"] == "mkdir");
            ensure!(mkdir.is_some(), "no mkdir in {status}");
            Ok(())
        })
        .await
    };
    counted(CONTAINERS, 0).await?;
    memory(4 << 20).await?;
    cluster.delete_pods(&namespace).await?;
    counted(0, CONTAINERS).await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.install(NAMESPACE, &[]).await
}
