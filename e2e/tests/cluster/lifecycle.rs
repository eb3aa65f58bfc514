//! What becomes of profiles, nodes and the operator itself when they come and go: nothing gets stuck, and who holds what is said.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::Api;
use kube::api::{Patch, PatchParams};
use seccomp_operator_api::{IN_USE_FINALIZER, STARTUP_TAINT, condition};
use serde_json::{Value, json};

use super::{CHMOD_REFUSED, CHMOD_SCRIPT, NO_CHMOD, Tested};

const PATIENCE: Duration = Duration::from_secs(45);

/// The operator as these tests need it: an agent that is away counts as gone soon, and start-up taints go.
async fn cluster() -> anyhow::Result<Cluster> {
    let cluster = Cluster::connect().await?;
    let values = "controller.agentPatience=3,startupTaint.enabled=true";
    cluster.install(NAMESPACE, &["--set", values]).await?;
    Ok(cluster)
}

async fn run(args: &[&str]) -> anyhow::Result<String> {
    kubectl(args, "").await?.ok()
}

/// The profile's object, and what its condition of this type says: reason and message.
async fn profile(
    cluster: &Cluster,
    name: &str,
    type_: &str,
) -> anyhow::Result<(Value, String, String)> {
    let object = cluster.get(&["seccompprofile", name]).await?;
    let object = serde_json::to_value(object)?;
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|found| found["type"] == type_);
    let found = found.with_context(|| format!("no condition {type_} in {object}"))?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    let (reason, message) = (text("reason"), text("message"));
    Ok((object, reason, message))
}

fn is_held(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|names| names.contains(&IN_USE_FINALIZER.into()))
}

/// Waits until the condition `InUse` of a profile, and whether it is held, are as `test` wants them.
async fn await_use(
    cluster: &Cluster,
    name: &str,
    what: &str,
    test: impl Fn(bool, &str, &str) -> bool,
) -> Tested {
    until(what, PATIENCE, || async {
        let (object, reason, message) = profile(cluster, name, condition::IN_USE).await?;
        ensure!(
            test(is_held(&object), &reason, &message),
            "{name}: {reason}: {message}: {}",
            object["metadata"]
        );
        Ok(())
    })
    .await
}

async fn delete_without_waiting(profiles: &[&str]) -> anyhow::Result<String> {
    run(&[&["delete", "seccompprofile", "--wait=false"], profiles].concat()).await
}

async fn await_gone(what: &str) -> anyhow::Result<String> {
    run(&["wait", "--for=delete", what, "--timeout=30s"]).await
}

#[tokio::test]
async fn a_profile_and_its_base_wait_for_the_last_pod_and_one_deleted_by_force_does_not_count()
-> Tested {
    let cluster = cluster().await?;
    let namespace = cluster.namespace("e2e-held", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    cluster.apply_profile("e2e-held-base", NO_CHMOD).await?;
    let derived = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "e2e-held"},
        "spec": {"base": "e2e-held-base", "deny": ["mkdir"]},
    });
    cluster.apply(&derived.to_string()).await?;
    cluster.wait_ready("e2e-held").await?;
    let pod =
        Pod::script(&cluster, &namespace, "user", CHMOD_SCRIPT).localhost("profiles/e2e-held.json");
    pod.log_with(&cluster, CHMOD_REFUSED).await?;
    await_use(&cluster, "e2e-held", "the finalizer", |held, reason, _| {
        held && reason == "Pods"
    })
    .await?;
    await_use(
        &cluster,
        "e2e-held-base",
        "the base's finalizer",
        |held, reason, message| {
            held && reason == "DerivedProfiles" && message.contains("e2e-held (1 pod)")
        },
    )
    .await?;

    delete_without_waiting(&["e2e-held", "e2e-held-base"]).await?;
    for name in ["e2e-held", "e2e-held-base"] {
        await_use(
            &cluster,
            name,
            "what the deletion waits for",
            |held, _, message| {
                held && message.contains("was deleted and goes when these pods have gone")
            },
        )
        .await?;
    }
    viewer.read("profiles/e2e-held.json").await?;
    // As somebody who has lost patience with a node.
    run(&[
        "delete",
        "pod",
        "user",
        "-n",
        &namespace,
        "--force",
        "--grace-period=0",
    ])
    .await?;
    for name in ["e2e-held", "e2e-held-base"] {
        await_gone(&format!("seccompprofile/{name}")).await?;
        viewer
            .await_absence(&format!("profiles/{name}.json"))
            .await?;
    }
    Ok(())
}

/// A Node that no kubelet stands behind.
async fn node(cluster: &Cluster, name: &str, taints: Value) -> Tested {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name}},
        "spec": {"taints": taints},
    });
    cluster.apply(&node.to_string()).await.map(drop)
}

/// The pod that the DaemonSet means for a node.
async fn agent_pod(cluster: &Cluster, node: &str) -> anyhow::Result<String> {
    let pods = cluster.pods_of("agent").await?;
    let meant = pods.iter().find(|pod| {
        pod["spec"]["affinity"]
            .to_string()
            .contains(&format!("\"{node}\""))
    });
    let name = meant.with_context(|| format!("no agent is meant for {node}"))?["metadata"]["name"]
        .as_str();
    Ok(name.context("a pod without a name")?.to_owned())
}

/// Removes Nodes and the pods that the DaemonSet meant for them, which others would wait for to be ready: it hears of a Node that
/// went only by and by.
async fn remove_nodes(cluster: &Cluster, names: &[&str]) -> Tested {
    // On a cluster that has not had the operator yet there is nothing more to remove, and nothing to ask kubectl for by a kind.
    let kind = "seccompnodes.seccomp-operator.io";
    let is_known = !run(&["get", "crd", kind, "--ignore-not-found"])
        .await?
        .is_empty();
    for name in names {
        cluster.delete("node", name).await?;
        if is_known {
            cluster.delete(kind, name).await?;
        }
    }
    for name in names {
        until("the DaemonSet to follow", PATIENCE, || async {
            let Ok(pod) = agent_pod(cluster, name).await else {
                return Ok(());
            };
            run(&["delete", "pod", &pod, "-n", NAMESPACE, "--ignore-not-found"]).await?;
            bail!("{pod} was there")
        })
        .await?;
    }
    Ok(())
}

/// Runs a test that makes these Nodes, and removes them however it ends: no other test could install the operator otherwise.
async fn with_nodes(names: &[&str], test: impl AsyncFnOnce(Cluster) -> Tested) -> Tested {
    remove_nodes(&Cluster::connect().await?, names).await?;
    let cluster = cluster().await?;
    let outcome = test(cluster.clone()).await;
    remove_nodes(&cluster, names).await?;
    outcome
}

const LOST: [&str; 2] = ["e2e-lost-a", "e2e-lost-b"];

#[tokio::test]
async fn a_node_without_its_agent_is_named_and_what_it_said_last_can_be_forgotten() -> Tested {
    with_nodes(&LOST, lose_nodes).await
}

async fn lose_nodes(cluster: Cluster) -> Tested {
    for name in LOST {
        node(&cluster, name, json!([])).await?;
        cluster.apply_profile(name, NO_CHMOD).await?;
        // What an agent said there before it was lost: that two pods use the profile of the node's name.
        let report = json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompNode", "metadata": {"name": name},
            "appliedResourceVersion": "1", "failed": 0, "inUse": [{"profile": name, "pods": 2}],
            "node": {"architecture": "amd64", "kernelVersion": "6.1", "agentVersion": "0"},
        });
        // Under the name that agents write by: the controller acts on no report that somebody else has edited.
        let by = "--field-manager=seccomp-operator-agent";
        let apply = ["apply", "--server-side", by, "-f", "-"];
        kubectl(&apply, &report.to_string()).await?.ok()?;
    }
    for name in LOST {
        until("the lost agents in the status", PATIENCE, || async {
            let (object, reason, message) = profile(&cluster, name, condition::READY).await?;
            let desired = object["status"]["nodes"]["desired"].as_i64();
            let named = LOST
                .iter()
                .all(|node| message.contains(&format!("{node} (its agent is not ready")));
            ensure!(
                reason == "AgentGone" && named && desired >= Some(3),
                "{reason}: {message}: {desired:?}"
            );
            Ok(())
        })
        .await?;
        await_use(&cluster, name, "the finalizer", |held, _, message| {
            held && message == "pods that use the profile: 2, on 1 of the nodes"
        })
        .await?;
    }
    delete_without_waiting(&LOST).await?;
    for name in LOST {
        await_use(&cluster, name, "what to do", |held, _, message| {
            held && message.contains(&format!("{name} (2 pods)"))
                && message.ends_with(&format!("kubectl delete seccompnode {name}"))
        })
        .await?;
    }
    run(&["delete", "seccompnode", LOST[0]]).await?;
    await_gone("seccompprofile/e2e-lost-a").await?;
    run(&["get", "seccompprofile", LOST[1]]).await?;
    run(&["delete", "node", LOST[1]]).await?;
    await_gone("seccompprofile/e2e-lost-b").await.map(drop)
}

/// An agent for the node `e2e-late` with a kubelet's folder of its own, and beside it somebody who can look there.
fn late_agent(cluster: &Cluster, namespace: &str) -> Value {
    let volume = json!([{"name": "root", "mountPath": "/seccomp"}]);
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    // Containers start one after the other: who looks is there before there is anything to see.
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": namespace},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsUser": 0},
            "volumes": [{"name": "root", "emptyDir": {}}],
            "containers": [{
                "name": "viewer", "image": cluster.tools_image, "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/bash", "-c", "sleep infinity"],
                "volumeMounts": volume, "securityContext": security,
            }, {
                "name": "agent", "image": cluster.operator_image, "imagePullPolicy": "IfNotPresent",
                "command": ["/seccomp-operator-agent"],
                "args": ["--node-name=e2e-late", "--seccomp-root=/seccomp"],
                "volumeMounts": volume, "securityContext": security,
            }],
        },
    })
}

async fn taints(node: &str) -> anyhow::Result<String> {
    run(&["get", "node", node, "-o", "jsonpath={.spec.taints[*].key}"]).await
}

#[tokio::test]
async fn a_node_that_joins_late_has_its_profiles_before_its_start_up_taint_goes() -> Tested {
    with_nodes(&["e2e-late"], join_late).await
}

async fn join_late(cluster: Cluster) -> Tested {
    let namespace = cluster.namespace("e2e-late", &[]).await?;
    // What an agent of an earlier run left behind.
    cluster.delete("seccompnode", "e2e-late").await?;
    cluster.apply_profile("e2e-early", NO_CHMOD).await?;
    cluster.wait_ready("e2e-early").await?;
    // It acts with the rights of an agent.
    let agent = run(&[
        "get",
        "clusterroles",
        "-l",
        "app.kubernetes.io/component=agent",
        "-o",
        "name",
    ])
    .await?;
    let role = agent
        .trim()
        .rsplit('/')
        .next()
        .context("no role")?
        .to_owned();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "e2e-late"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    });
    cluster.apply(&binding.to_string()).await?;
    let other = json!({"key": "e2e/other", "effect": "NoSchedule"});
    node(
        &cluster,
        "e2e-late",
        json!([{"key": STARTUP_TAINT, "effect": "NoSchedule"}, other]),
    )
    .await?;

    // In a kubelet's place: the agent's pod is ready. That alone says nothing yet.
    let pod = until("the agent's pod", PATIENCE, || {
        agent_pod(&cluster, "e2e-late")
    })
    .await?;
    let pods: Api<PodObject> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    pods.patch_status(&pod, &PatchParams::default(), &Patch::Strategic(ready))
        .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(
        taints("e2e-late").await?.contains(STARTUP_TAINT),
        "the taint went before the agent came"
    );

    cluster
        .apply(&late_agent(&cluster, &namespace).to_string())
        .await?;
    until("the taint to go", PATIENCE, || async {
        let left = taints("e2e-late").await?;
        ensure!(!left.contains(STARTUP_TAINT), "{left}");
        ensure!(
            left.contains("e2e/other"),
            "another taint went with it: {left}"
        );
        Ok(())
    })
    .await?;
    // No waiting: it is there.
    let file = [
        "exec",
        "agent",
        "-c",
        "viewer",
        "-n",
        &namespace,
        "--",
        "cat",
        "/seccomp/profiles/e2e-early.json",
    ];
    let file = run(&file).await?;
    ensure!(file.contains("fchmodat2"), "{file}");

    cluster.delete("namespace", &namespace).await?;
    cluster.delete("clusterrolebinding", "e2e-late").await?;
    cluster.delete("seccompprofile", "e2e-early").await
}

/// The pod that leads, and how often the Lease went to another.
async fn leader(cluster: &Cluster) -> anyhow::Result<(String, i64)> {
    let lease = cluster
        .get(&["lease", "seccomp-operator-controller", "-n", NAMESPACE])
        .await?;
    let holder = lease.data["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default();
    ensure!(!holder.is_empty(), "nobody leads: {}", lease.data);
    let transitions = lease.data["spec"]["leaseTransitions"].as_i64();
    Ok((holder.to_owned(), transitions.unwrap_or_default()))
}

/// Waits until another pod than this one leads.
async fn await_other_leader(cluster: &Cluster, than: &str) -> anyhow::Result<String> {
    until("another leader", PATIENCE, || async {
        let (holder, _) = leader(cluster).await?;
        ensure!(holder != than, "{holder} leads");
        Ok(holder)
    })
    .await
}

/// Sends a signal to the process of a controller's pod, on its node.
async fn signal(cluster: &Cluster, namespace: &str, pod: &str, signal: &str) -> Tested {
    let script = format!(
        "exec 2>/dev/null; for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline | grep -qx -- --identity={pod} && kill -{signal} ${{p#/proc/}} && echo sent; done; true"
    );
    let name = format!("signal-{}", signal.to_lowercase());
    let object = cluster.get(&["pod", pod, "-n", NAMESPACE]).await?;
    let node = object.data["spec"]["nodeName"].as_str();
    let sender = Pod::script(cluster, namespace, &name, &script)
        .host_pid()
        .on(node.context("the pod has no node")?);
    let log = sender.run(cluster).await?;
    ensure!(log == "sent\n", "{log:?}");
    Ok(())
}

/// Waits until both controllers serve: each of them answers the webhooks while the other is away. A container that ended is started again
/// after a pause, which grows each time.
async fn both_ready() -> anyhow::Result<String> {
    let deployment = "deployment/seccomp-operator-controller";
    run(&[
        "rollout",
        "status",
        deployment,
        "-n",
        NAMESPACE,
        "--timeout=180s",
    ])
    .await
}

/// How many statuses and finalizers were written by all controllers since each of them started.
async fn writes(cluster: &Cluster) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for pod in cluster.pods_of("controller").await? {
        let pod = pod["metadata"]["name"].as_str().context("no name")?;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8081/proxy/metrics");
        let metrics = run(&["get", "--raw", &path]).await?;
        let lines = metrics.lines().filter(|line| {
            line.starts_with("seccomp_operator_controller_status_writes_total")
                || line.starts_with("seccomp_operator_controller_finalizer_writes_total")
        });
        sum += lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>();
    }
    Ok(sum)
}

#[tokio::test]
async fn of_two_controllers_one_writes_and_the_lease_moves_when_it_is_killed_frozen_or_stopped()
-> Tested {
    let cluster = cluster().await?;
    let namespace = cluster.namespace("e2e-leaders", &[]).await?;
    // New pods: a container that ended before, by another test, is started again only after minutes.
    let deployment = "deployment/seccomp-operator-controller";
    run(&["rollout", "restart", deployment, "-n", NAMESPACE]).await?;
    both_ready().await?;
    cluster.apply_profile("e2e-led", NO_CHMOD).await?;
    cluster.wait_ready("e2e-led").await?;
    until("the controllers of before to be gone", PATIENCE, || async {
        let pods = cluster.pods_of("controller").await?;
        ensure!(pods.len() == 2, "there are {}", pods.len());
        Ok(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = (writes(&cluster).await?, leader(&cluster).await?);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(
        (writes(&cluster).await?, leader(&cluster).await?),
        before,
        "nothing happened"
    );
    // One change: the generation is not on its nodes yet, and then it is. Two controllers would write twice as often.
    cluster
        .apply_profile("e2e-led", &NO_CHMOD.replace("\"chmod\"", "\"mkdir\""))
        .await?;
    cluster.wait_ready("e2e-led").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let written = writes(&cluster).await? - before.0;
    assert!((1.0..=2.0).contains(&written), "{written} writes");

    // Frozen: another leads once the Lease has run out, and the one that comes to again is no leader any more.
    let (frozen, _) = leader(&cluster).await?;
    signal(&cluster, &namespace, &frozen, "STOP").await?;
    let next = await_other_leader(&cluster, &frozen).await?;
    // The API server keeps a connection to the frozen process for a while, and asks there.
    until("a change to be validated", PATIENCE, || async {
        cluster.apply_profile("e2e-led", NO_CHMOD).await.map(drop)
    })
    .await?;
    cluster.wait_ready("e2e-led").await?;
    signal(&cluster, &namespace, &frozen, "CONT").await?;
    let log = ["logs", &frozen, "-n", NAMESPACE, "--previous"];
    until("the former leader to end", PATIENCE, || async {
        let log = run(&log).await?;
        ensure!(log.contains("could not be renewed within 10 s"), "{log}");
        Ok(())
    })
    .await?;
    assert_eq!(leader(&cluster).await?.0, next);
    both_ready().await?;

    // Killed: whoever leads next finishes what it left.
    let (first, _) = leader(&cluster).await?;
    signal(&cluster, &namespace, &first, "KILL").await?;
    cluster
        .apply_profile("e2e-led", &NO_CHMOD.replace("\"chmod\"", "\"mkdir\""))
        .await?;
    cluster.wait_ready("e2e-led").await?;
    both_ready().await?;

    // Stopped: the Lease is handed over, and nobody waits for it to run out.
    let (next, _) = leader(&cluster).await?;
    let began = Instant::now();
    run(&["delete", "pod", &next, "-n", NAMESPACE, "--wait=false"]).await?;
    let last = await_other_leader(&cluster, &next).await?;
    println!(
        "{next} handed the Lease over to {last} in {:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    cluster.apply_profile("e2e-led", NO_CHMOD).await?;
    cluster.wait_ready("e2e-led").await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-led").await
}
