//! Adds to each SeccompNode what only the cluster side may read of its Node: the Node as its owner, so that the one goes with the
//! other, and the container runtime. Agents may not read Nodes. The leader does it, and removes what a Node left behind that went
//! before it was an owner, and the reports of recorders and audit readers of Nodes that are gone; those of audit readers also where none is meant
//! to be any more: nobody would keep them up.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, PartialObjectMeta, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{ControllerError, Shared};
use kube_support::error::chain;
use kube_support::leader::Role;
use kube_support::{Conflicts, WriteError, apply, bounded};
use seccomp_operator_api::{SeccompAuditReport, SeccompDenialReport, SeccompNode};

/// How often to look for SeccompNodes without an owner. They do no harm meanwhile.
const EVERY: Duration = Duration::from_secs(10);
/// How often to look at all of them: a container runtime is upgraded now and then.
const ALL_EVERY: Duration = Duration::from_hours(1);
/// Its own field manager: this apply must not own, nor drop, anything else.
const MANAGER: &str = "seccomp-operator-node";

/// A Node: of its status only the runtime matters.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Node)]
struct NodeObject {
    metadata: ObjectMeta,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    node_info: NodeInfo,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    container_runtime_version: String,
}

/// Of a SeccompNode what agents cannot know; all else is theirs.
#[derive(Debug, Serialize)]
struct RuntimeFields {
    node: RuntimeInfo,
}

/// The part of [`NodeInfo`](seccomp_operator_api::NodeInfo) that is written here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeInfo {
    container_runtime: String,
}

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    audits: bool,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let (nodes, reports) = (Api::all(client.clone()), Api::all(client.clone()));
    let denials: Api<SeccompDenialReport> = Api::all(client.clone());
    let heard: Api<SeccompAuditReport> = Api::all(client.clone());
    let mut all_at = Instant::now();
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        let all = Instant::now() >= all_at;
        if all {
            all_at = Instant::now() + ALL_EVERY;
        }
        let names = if all {
            shared.index().reporting()
        } else {
            shared.index().unowned()
        };
        for name in names {
            if let Err(error) = complete(&nodes, &reports, &name).await {
                warn!(
                    node = name,
                    error = chain(&error),
                    "a SeccompNode could not be completed from its Node"
                );
            }
        }
        let orphans = shared.index().orphaned_denials();
        remove_all(&denials, orphans).await;
        let orphans = shared.index().orphaned_audits(audits);
        remove_all(&heard, orphans).await;
        sleep(EVERY).await;
    }
}

async fn remove_all<K>(reports: &Api<K>, names: Vec<String>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    for name in names {
        if let Err(error) = remove(reports, &name).await {
            let (kind, error) = (K::kind(&()), chain(&error));
            warn!(node = name, error, "a {kind} could not be removed");
        }
    }
}

/// Writes what the Node says into the SeccompNode of that name. One that is not there is not made: its schema asks for more. One
/// whose Node is not there is removed.
async fn complete(
    nodes: &Api<NodeObject>,
    reports: &Api<SeccompNode>,
    name: &str,
) -> Result<(), WriteError> {
    let Some(node) = bounded(nodes.get_opt(name)).await? else {
        return remove(reports, name).await;
    };
    let owner = OwnerReference {
        api_version: Node::API_VERSION.to_owned(),
        kind: Node::KIND.to_owned(),
        name: name.to_owned(),
        uid: node.metadata.uid.unwrap_or_default(),
        ..OwnerReference::default()
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let fields = RuntimeFields {
        node: RuntimeInfo {
            container_runtime: node.status.node_info.container_runtime_version,
        },
    };
    let written = apply(reports, MANAGER, Conflicts::Force, &metadata, &fields).await;
    written.map(drop)
}

/// Removes what was reported of a node that is gone, unless it is written meanwhile.
async fn remove<K>(reports: &Api<K>, name: &str) -> Result<(), WriteError>
where
    K: Resource + DeserializeOwned + Clone + Debug,
{
    let Some(PartialObjectMeta { metadata, .. }) = bounded(reports.get_metadata_opt(name)).await?
    else {
        return Ok(());
    };
    let as_seen = Preconditions {
        uid: metadata.uid,
        resource_version: metadata.resource_version,
    };
    match bounded(reports.delete(name, &DeleteParams::default().preconditions(as_seen))).await {
        Ok(_) => info!(node = name, "a report without a Node was removed"),
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::{Request, Response, StatusCode};
    use kube::client::Body;
    use seccomp_operator_api::GROUP;
    use serde_json::{Value, json};

    use super::*;

    /// What an API server is asked that has this Node, or none, and a SeccompNode `n1`.
    async fn asked(node: Option<Value>) -> Vec<(String, Value)> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let answer = move |request: Request<Body>| {
            let (log, node) = (log.clone(), node.clone());
            async move {
                let asks = format!("{} {}", request.method(), request.uri().path());
                let sent = request.into_body().collect_bytes().await.unwrap();
                let sent = serde_json::from_slice(&sent).unwrap_or_default();
                let of_node = asks == "GET /api/v1/nodes/n1";
                log.lock().unwrap().push((asks, sent));
                let report = json!({
                    "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "SeccompNode",
                    "metadata": { "name": "n1", "uid": "u", "resourceVersion": "7" },
                    "appliedResourceVersion": "1", "failed": 0,
                    "node": { "architecture": "", "kernelVersion": "", "agentVersion": "" },
                });
                let missing = json!({
                    "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "message": "", "code": 404,
                });
                let (code, body) = match (of_node, node) {
                    (true, None) => (StatusCode::NOT_FOUND, missing),
                    (true, Some(node)) => (StatusCode::OK, node),
                    (false, _) => (StatusCode::OK, report),
                };
                let response = Response::builder().status(code);
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(response.body(body).unwrap())
            }
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let (nodes, reports) = (Api::all(client.clone()), Api::all(client));
        complete(&nodes, &reports, "n1").await.unwrap();
        let asked = asked.lock().unwrap();
        asked[1..].to_vec()
    }

    const REPORT: &str = "/apis/seccomp-operator.io/v1alpha1/seccompnodes/n1";

    #[tokio::test]
    async fn a_report_whose_node_is_gone_is_removed_as_it_was_seen() {
        let asked = asked(None).await;
        assert_eq!(asked[0].0, format!("GET {REPORT}"));
        assert_eq!(asked[1].0, format!("DELETE {REPORT}"));
        assert_eq!(
            asked[1].1["preconditions"],
            json!({ "uid": "u", "resourceVersion": "7" })
        );
        assert_eq!(asked.len(), 2);
    }

    #[tokio::test]
    async fn a_report_gets_its_node_as_owner() {
        let node = json!({
            "metadata": { "name": "n1", "uid": "node" },
            "status": { "nodeInfo": { "containerRuntimeVersion": "containerd://2.1.9" } },
        });
        let asked = asked(Some(node)).await;
        assert_eq!(asked[0].0, format!("PATCH {REPORT}"));
        let owner = json!({ "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node" });
        let object = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "SeccompNode",
            "metadata": { "name": "n1", "ownerReferences": [owner] },
            "node": { "containerRuntime": "containerd://2.1.9" },
        });
        assert_eq!(asked[0].1, object);
        assert_eq!(asked.len(), 1);
    }
}
