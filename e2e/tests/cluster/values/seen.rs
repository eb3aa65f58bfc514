//! What each row of values is there for, as the cluster shows it.

use anyhow::{Context as _, bail, ensure};
use e2e::admission::{is_injected, pod};
use e2e::cluster::{Cluster, NAMESPACE, RELEASE};
use e2e::command::kubectl;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;

use crate::Tested;

/// Looks whether what a row sets is so.
pub async fn as_set(cluster: &Cluster, row: &str) -> Tested {
    match row {
        "policy-engine" => ensure!(names("mutatingadmissionpolicies").await?.contains(RELEASE)),
        "no-engine" => {
            let list = names("mutatingwebhookconfigurations").await?;
            ensure!(!list.contains(RELEASE), "{list}");
        }
        "webhooks" => is_excluded(cluster, "e2e-values-excluded").await?,
        "controllers" => is_own(cluster, "controller").await?,
        "agents" => is_own(cluster, "agent").await?,
        "recorders-and-readers" => {
            is_own(cluster, "recorder").await?;
            is_own(cluster, "audit").await?;
        }
        "host-network" => is_in_host_network(cluster).await?,
        "logs" => {
            for component in ["controller", "agent"] {
                for pod in pods(cluster, component).await? {
                    let log = log(&pod).await?;
                    ensure!(log.contains("DEBUG"), "{component}: {log}");
                    ensure!(!log.starts_with('{'), "{component}: {log}");
                }
            }
        }
        "monitoring" => {
            for kind in ["podmonitors", "servicemonitors", "prometheusrules"] {
                let kind = format!("{kind}.monitoring.coreos.com");
                ensure!(
                    names(&kind).await?.contains(RELEASE),
                    "there is no object of {kind}"
                );
            }
        }
        "cert-manager" => {
            // Not the controllers' own authority: it is left from the row before.
            let configuration = names("mutatingwebhookconfigurations").await?;
            let configuration = configuration
                .lines()
                .find(|name| name.contains(RELEASE))
                .context("no configuration")?;
            let object = cluster.get(&[configuration]).await?;
            let annotations = object.metadata.annotations.unwrap_or_default();
            ensure!(
                annotations.contains_key("cert-manager.io/inject-ca-from"),
                "{annotations:?}"
            );
            for pod in pods(cluster, "controller").await? {
                let args = pod["spec"]["containers"][0]["args"].to_string();
                ensure!(args.contains("--external-certificates"), "{args}");
            }
        }
        "names" => are_named(cluster, "e2e-guard").await?,
        other => bail!("nobody looks at {other}"),
    }
    Ok(())
}

/// The objects of a kind, of the cluster or in the operator's namespace.
async fn names(kind: &str) -> anyhow::Result<String> {
    kubectl(
        &["get", kind, "--namespace", NAMESPACE, "--output", "name"],
        "",
    )
    .await?
    .ok()
}

/// The pods of a component that are not about to go.
async fn pods(cluster: &Cluster, component: &str) -> anyhow::Result<Vec<Value>> {
    let mut pods = cluster.pods_of(component).await?;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    ensure!(!pods.is_empty(), "there is no pod of {component}");
    Ok(pods)
}

async fn log(pod: &Value) -> anyhow::Result<String> {
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    let logs = ["logs", "--namespace", NAMESPACE, "--all-containers", name];
    kubectl(&logs, "").await?.ok()
}

async fn is_excluded(cluster: &Cluster, namespace: &str) -> Tested {
    let namespace = cluster.namespace(namespace, &[]).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace);
    let pod = pods.create(&PostParams::default(), &pod("out-")?).await?;
    ensure!(!is_injected(&pod), "{pod:?}");
    Ok(())
}

/// That a component has one pod, where one replica or one node is asked for, and that it is as its row says.
async fn is_own(cluster: &Cluster, component: &str) -> Tested {
    let pods = pods(cluster, component).await?;
    ensure!(pods.len() == 1, "{} pods of {component}", pods.len());
    for pod in &pods {
        let metadata = &pod["metadata"];
        ensure!(metadata["labels"]["e2e.example.com/a"] == "b", "{metadata}");
        ensure!(
            metadata["annotations"]["e2e.example.com/a"] == "b",
            "{metadata}"
        );
        let spec = &pod["spec"];
        ensure!(
            spec["serviceAccountName"] == format!("e2e-{component}"),
            "{spec}"
        );
        ensure!(
            spec["containers"][0]["imagePullPolicy"] == "Never",
            "{spec}"
        );
        // The chart's argument asks for JSON, the one in `extraArgs` for text.
        let log = log(pod).await?;
        ensure!(log.lines().any(|line| !line.starts_with('{')), "{log}");
    }
    Ok(())
}

async fn is_in_host_network(cluster: &Cluster) -> Tested {
    let pods = pods(cluster, "controller").await?;
    for pod in &pods {
        let status = &pod["status"];
        ensure!(status["podIP"] == status["hostIP"], "{status}");
    }
    ensure!(pods.len() == 2, "{} controllers", pods.len());
    for pod in &pods {
        let args = pod["spec"]["containers"][0]["args"].to_string();
        ensure!(args.contains("--sources"), "{args}");
        let log = log(pod).await?;
        ensure!(!log.contains("forbidden"), "{log}");
    }
    ensure!(names("networkpolicies").await?.contains(RELEASE));
    Ok(())
}

async fn are_named(cluster: &Cluster, name: &str) -> Tested {
    for component in ["controller", "agent", "recorder", "audit"] {
        for pod in pods(cluster, component).await? {
            let account = &pod["spec"]["serviceAccountName"];
            ensure!(*account == format!("e2e-own-{component}"), "{account}");
            let metadata = &pod["metadata"];
            ensure!(
                metadata["labels"]["e2e.example.com/team"] == "platform",
                "{metadata}"
            );
            let its_name = metadata["name"].as_str().unwrap_or_default();
            ensure!(its_name.starts_with(name), "{its_name}");
        }
    }
    Ok(())
}
