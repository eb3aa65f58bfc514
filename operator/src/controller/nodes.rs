//! Adds to each SeccompNode what only the cluster side may read of its Node: the Node as its owner, so that the one goes with the
//! other, and the container runtime. Agents may not read Nodes. The leader does it.

use std::fmt::Debug;
use std::sync::PoisonError;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::Shared;
use crate::api::{GROUP, SeccompNode};
use crate::kubernetes::leader::Role;
use crate::kubernetes::{WriteError, apply, bounded};
use crate::logging::chain;

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

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> anyhow::Result<()> {
    let (nodes, reports) = (Api::all(client.clone()), Api::all(client.clone()));
    let mut all_at = Instant::now();
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        let all = Instant::now() >= all_at;
        if all {
            all_at = Instant::now() + ALL_EVERY;
        }
        let index = || shared.index.lock().unwrap_or_else(PoisonError::into_inner);
        let names = if all {
            index().reporting()
        } else {
            index().unowned()
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
        sleep(EVERY).await;
    }
}

/// Writes what the Node says into the SeccompNode of that name. One that is not there is not made: its schema asks for more.
async fn complete(
    nodes: &Api<NodeObject>,
    reports: &Api<SeccompNode>,
    name: &str,
) -> Result<(), WriteError> {
    let Some(node) = bounded(nodes.get_opt(name)).await? else {
        return Ok(());
    };
    let owner =
        json!({ "apiVersion": "v1", "kind": "Node", "name": name, "uid": node.metadata.uid });
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "SeccompNode",
        "metadata": { "name": name, "ownerReferences": [owner] },
        "node": { "containerRuntime": node.status.node_info.container_runtime_version },
    });
    apply(reports, name, MANAGER, &object).await.map(drop)
}
