//! Nodes without a machine: each with its Node, its Lease, the agent's pod that the DaemonSet makes for it, and a token of that pod. Only the
//! kubelet is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE, RELEASE};
use e2e::command::until;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// So many requests at once.
const AT_ONCE: usize = 16;
/// As often as kubelets do.
const BEAT: Duration = Duration::from_secs(10);
/// Longer than any run.
const TOKEN_SECONDS: i64 = 24 * 3600;
const PREFIX: &str = "scale-";

/// The name of a node.
pub fn name(number: usize) -> String {
    format!("{PREFIX}{number:05}")
}

/// Makes the nodes of these numbers, waits until each has its agent's pod, and gives the pods' tokens by node.
pub async fn make(
    cluster: &Cluster,
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let many = numbers.len();
    let names: Vec<_> = numbers.map(name).collect();
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let make = async |name: &String| -> anyhow::Result<()> {
        beat(&leases, name).await?;
        let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
        let node = json!({"metadata": {"name": name, "labels": labels}});
        nodes
            .create(&PostParams::default(), &serde_json::from_value(node)?)
            .await?;
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "there is none",
            "lastHeartbeatTime": now, "lastTransitionTime": now});
        let resources =
            json!({"cpu": "2", "memory": "4Gi", "pods": "110", "ephemeral-storage": "10Gi"});
        let status = json!({"status": {"conditions": [ready], "capacity": resources, "allocatable": resources}});
        nodes
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    };
    stream::iter(&names)
        .map(make)
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |()| Ok(()))
        .await?;
    let pods = until(
        "a pod of the agent on each node",
        Duration::from_mins(10),
        || async {
            let pods = agents(cluster).await?;
            let found: Vec<_> = names
                .iter()
                .filter_map(|name| Some((name, pods.get(name)?)))
                .collect();
            ensure!(found.len() == many, "{} of {many}", found.len());
            Ok(found
                .into_iter()
                .map(|(node, pod)| (node.clone(), pod.clone()))
                .collect::<Vec<_>>())
        },
    )
    .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let pods_api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let token = async |(node, pod): (String, Pod)| -> anyhow::Result<(String, String)> {
        // Its kubelet would say so once the agent answers; here the agents are started right after.
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        let ready = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
        let status = json!({"status": {"phase": "Running", "conditions": ready}});
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pods_api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let account = format!("{RELEASE}-agent");
        let made = accounts
            .create_token_request(&account, &PostParams::default(), &request)
            .await?;
        let token = made.status.context("a request without a token")?.token;
        Ok((node, token))
    };
    stream::iter(pods)
        .map(token)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// The agents' pods, by the node that they are bound to.
async fn agents(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, Pod>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let selected = ListParams::default().labels("app.kubernetes.io/component=agent");
    let bound = pods.list(&selected).await?.items.into_iter();
    let bound = bound.filter_map(|pod| Some((pod.spec.as_ref()?.node_name.clone()?, pod)));
    Ok(bound.collect())
}

/// Says of all nodes that they live, until it is dropped.
pub async fn live(cluster: Cluster) {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    loop {
        tokio::time::sleep(BEAT).await;
        let Ok(listed) = nodes.list_metadata(&ListParams::default()).await else {
            continue;
        };
        let names = listed.items.iter().map(ResourceExt::name_any);
        let ours = names.filter(|name| name.starts_with(PREFIX));
        stream::iter(ours)
            .map(async |name| {
                if let Err(error) = beat(&leases, &name).await {
                    eprintln!("lease of {name}: {error:#}");
                }
            })
            .buffer_unordered(AT_ONCE)
            .for_each(async |()| ())
            .await;
    }
}

async fn beat(leases: &Api<Lease>, name: &str) -> anyhow::Result<()> {
    let now = k8s_openapi::jiff::Timestamp::now();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": format!("{now:.6}")},
    });
    let params = PatchParams::apply("scale").force();
    leases.patch(name, &params, &Patch::Apply(lease)).await?;
    Ok(())
}
