//! That `coverage --what-if` says what happens: preview, then restart, then compare, for every kind of workload.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{kubectl, plugin, until};
use serde_json::{Value, json};

use super::{NO_CHMOD, Tested};

/// How long until all pods run again.
const PATIENCE: Duration = Duration::from_mins(2);

/// Profiles at the pod level and of the one container, by workload.
type Stated = BTreeMap<String, [Value; 2]>;

/// A pod's spec, or a template's.
fn spec(cluster: &Cluster, restart: &str, profile: &Value) -> Value {
    let container = json!({"name": "c", "image": cluster.tools_image, "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"], "securityContext": profile});
    json!({"restartPolicy": restart, "terminationGracePeriodSeconds": 0, "containers": [container]})
}

/// One of each kind that states nothing, and of two of them one that states something.
fn workloads(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let none = json!({});
    let stated = |type_: &str| json!({"seccompProfile": {"type": type_}});
    let workload = |kind: &str, name: &str, profile: &Value| {
        let restart = if kind == "Job" { "Never" } else { "Always" };
        let labels = json!({"workload": name});
        let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
        let template =
            json!({"metadata": {"labels": labels}, "spec": spec(cluster, restart, profile)});
        let (version, spec) = match kind {
            "Pod" => ("v1", template["spec"].clone()),
            "Job" => ("batch/v1", json!({"template": template, "backoffLimit": 6})),
            _ => (
                "apps/v1",
                json!({"selector": {"matchLabels": labels}, "template": template}),
            ),
        };
        json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    };
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"];
    let mut all: Vec<_> = kinds
        .iter()
        .map(|kind| workload(kind, &format!("bare-{}", kind.to_lowercase()), &none))
        .collect();
    all.push(workload("Deployment", "own", &stated("RuntimeDefault")));
    all.push(workload("Deployment", "open", &stated("Unconfined")));
    all.push(workload("Pod", "open-pod", &stated("Unconfined")));
    all
}

/// The running pods: what they state by workload, and their workloads by name.
async fn running(
    cluster: &Cluster,
    namespace: &str,
    count: usize,
    but: &[String],
) -> anyhow::Result<(Stated, BTreeMap<String, String>)> {
    until("the pods to run", PATIENCE, || async {
        let pods = cluster.get(&["pods", "--namespace", namespace]).await?;
        let pods = pods.data["items"].as_array().context("no list")?.clone();
        let (mut stated, mut names) = (Stated::new(), BTreeMap::new());
        for pod in pods {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            let gone = pod["metadata"].get("deletionTimestamp").is_some();
            if gone || but.iter().any(|other| other == uid) || pod["status"]["phase"] != "Running" {
                continue;
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let workload = text(&pod["metadata"]["labels"]["workload"]);
            let profile = |place: &Value| place["securityContext"]["seccompProfile"].clone();
            let places = [
                profile(&pod["spec"]),
                profile(&pod["spec"]["containers"][0]),
            ];
            stated.insert(workload.clone(), places);
            names.insert(text(&pod["metadata"]["name"]), workload);
        }
        ensure!(stated.len() == count, "{} of {count} run", stated.len());
        Ok((stated, names))
    })
    .await
}

async fn uids(cluster: &Cluster, namespace: &str) -> anyhow::Result<Vec<String>> {
    let pods = cluster.get(&["pods", "--namespace", namespace]).await?;
    let pods = pods.data["items"].as_array().context("no list")?;
    let uids = pods
        .iter()
        .filter_map(|pod| pod["metadata"]["uid"].as_str());
    Ok(uids.map(str::to_owned).collect())
}

/// What the preview says that pods will state.
async fn previewed(
    namespace: &str,
    now: &Stated,
    names: &BTreeMap<String, String>,
) -> anyhow::Result<Stated> {
    let output = plugin(&["coverage", "-n", namespace, "--what-if", "-o", "json"]).await?;
    let data: Value = serde_json::from_str(&output.stdout)?;
    let mut after = now.clone();
    for pod in data["pods"].as_array().context("no pods")? {
        let name = pod["pod"].as_str().unwrap_or_default();
        let Some(places) = names.get(name).and_then(|name| after.get_mut(name)) else {
            continue;
        };
        for change in pod["changes"].as_array().context("no changes")? {
            let at = usize::from(change.get("container").is_some());
            places[at] = change["profile"].clone();
        }
    }
    Ok(after)
}

#[tokio::test]
async fn a_restart_does_what_the_preview_said() -> Tested {
    let cluster = Cluster::with_operator().await?;
    cluster.delete("seccomppolicy", "e2e-what-if").await?;
    let namespace = cluster
        .namespace("e2e-what-if", &[("e2e", "what-if")])
        .await?;
    cluster.apply_profile("e2e-what-if", NO_CHMOD).await?;
    cluster.wait_ready("e2e-what-if").await?;
    let workloads = workloads(&cluster, &namespace);
    for workload in &workloads {
        cluster.apply(&workload.to_string()).await?;
    }
    let selector = json!({"matchLabels": {"e2e": "what-if"}});
    let localhost = json!({"type": "Localhost", "name": "e2e-what-if"});
    let steps = [
        Some(json!({"priority": 1000, "namespaceSelector": selector, "profile": localhost})),
        Some(
            json!({"priority": 1000, "namespaceSelector": selector, "profile": localhost, "overrides": ["Unconfined"]}),
        ),
        None,
    ];
    let (mut now, mut names) = running(&cluster, &namespace, workloads.len(), &[]).await?;
    for (step, spec) in steps.iter().enumerate() {
        match spec {
            Some(spec) => {
                let policy = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy",
                    "metadata": {"name": "e2e-what-if"}, "spec": spec});
                cluster.apply(&policy.to_string()).await?;
            }
            None => cluster.delete("seccomppolicy", "e2e-what-if").await?,
        }
        // Admission knows by its watch, and says so within moments.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let preview = previewed(&namespace, &now, &names).await?;
        assert_ne!(
            preview, now,
            "step {step}: the preview says that nothing changes"
        );
        let old = uids(&cluster, &namespace).await?;
        let args = ["delete", "pods", "--all", "--namespace", &namespace];
        kubectl(&args, "").await?.ok()?;
        for pod in workloads.iter().filter(|object| object["kind"] == "Pod") {
            cluster.apply(&pod.to_string()).await?;
        }
        (now, names) = running(&cluster, &namespace, workloads.len(), &old).await?;
        assert_eq!(now, preview, "step {step}");
        // And then nothing is left to change.
        assert_eq!(
            previewed(&namespace, &now, &names).await?,
            now,
            "step {step}"
        );
    }
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-what-if").await
}
