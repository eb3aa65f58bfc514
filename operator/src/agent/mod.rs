//! The node side: one agent per node keeps the node's profile files as the SeccompProfiles say.
//!
//! `state` decides, `store` writes files, `publish` tells the cluster; `usage` knows what pods use, `incidents` which of them seccomp stops, `denials` what was refused to them, `folder_watch` and
//! `repair_throttle` what others do to the files; `reconcile` ties them together. This file starts them. The agent writes
//! nothing but its files, its own SeccompNode, and Events on profiles and pods. It knows neither `controller` nor `webhook`.

mod content;
mod denials;
mod disk;
#[cfg(test)]
mod faults;
mod folder_watch;
mod former;
mod incidents;
pub(crate) mod metrics;
mod mount;
mod observed;
mod publish;
mod reconcile;
mod render;
mod repair_throttle;
mod state;
mod store;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use kube::Client;
use prometheus_client::registry::Registry;
use tracing::info;

use crate::health::Readiness;
use crate::{health, node, shutdown};
use denials::Reporters;
use disk::Disk;
use kube_support::events::events;
use kube_support::{Requests, in_cluster_client};
use metrics::Metrics;
use publish::Published;
use reconcile::Reconciler;
use render::Renderer;

/// Keeps this node's profile files as the SeccompProfiles say.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// This node's name
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// Where kubelet's seccomp folder (<kubelet root>/seccomp) is mounted
    #[arg(long, env = "SECCOMP_ROOT", default_value = "/var/lib/kubelet/seccomp")]
    seccomp_root: PathBuf,
    /// The folder below it that the profiles go to
    #[arg(long, env = "PROFILES_DIR", default_value = "profiles", value_parser = crate::args::profiles_dir)]
    profiles_dir: String,
    /// The socket of this node's recorder, as the container runtime finds it; without it no profile can record
    #[arg(long, env = "RECORDER_SOCKET")]
    recorder_socket: Option<String>,
    /// This node has an audit reader, whose report is told to pods
    #[arg(long, env = "AUDIT")]
    audit: bool,
    /// Port for /livez, /readyz and /metrics
    #[arg(long, env = "HEALTH_PORT", default_value_t = 8082)]
    health_port: u16,
}

/// Runs until it is told to stop.
pub async fn run(args: AgentArgs) -> anyhow::Result<()> {
    let mut registry = crate::metrics::registry();
    let client = in_cluster_client(&Requests::new(
        registry.sub_registry_with_prefix(crate::metrics::PREFIX),
    ))
    .context("cannot find out how to reach the API server; the agent has to run as a pod")?;
    info!(node = args.node_name, root = %args.seccomp_root.display(), "the agent starts");
    let agent = Agent {
        client,
        node: args.node_name,
        seccomp_root: args.seccomp_root,
        profiles_dir: args.profiles_dir,
        recorder_socket: args.recorder_socket,
        audit: args.audit,
    };
    let (runs, ready) = agent.start(&mut registry)?;
    tokio::select! {
        ended = runs => ended,
        ended = health::serve(args.health_port, ready, Arc::new(registry)) => Ok(ended?),
        () = shutdown::requested() => {
            info!("the agent stops; the files stay");
            Ok(())
        }
    }
}

/// The agent of one node. A process may have several, each with a folder of its own.
#[derive(Clone)]
pub struct Agent {
    /// What it asks the API server with.
    pub client: Client,
    /// The node's name.
    pub node: String,
    /// Where kubelet's seccomp folder is.
    pub seccomp_root: PathBuf,
    /// The folder below it that the profiles go to.
    pub profiles_dir: String,
    /// The socket of the node's recorder, if it has one.
    pub recorder_socket: Option<String>,
    /// Whether the node has an audit reader.
    pub audit: bool,
}

impl Agent {
    /// What runs it, and whether the node is in sync. Must be called inside a tokio runtime.
    pub fn start(
        self,
        registry: &mut Registry,
    ) -> anyhow::Result<(impl Future<Output = anyhow::Result<()>> + use<>, Readiness)> {
        let metrics = Metrics::new(registry);
        let client = self.client;
        let (events, written) = events(client.clone(), publish::MANAGER, self.node.clone());
        let reconciler = Reconciler::new(
            client.clone(),
            self.node.clone(),
            Renderer {
                target: node::target()?,
                recorder_socket: self.recorder_socket.clone(),
            },
            Disk::new(&self.seccomp_root, self.profiles_dir.as_ref()),
            &self.profiles_dir,
            events.clone(),
            metrics.clone(),
        );
        let (ready, reports) = (reconciler.readiness(), reconciler.reports());
        let of_denials = (client.clone(), self.node.clone(), metrics.clone());
        let reporters = Reporters {
            recorder: self.recorder_socket.is_some(),
            audit: self.audit,
        };
        let denials = async move {
            if reporters.recorder || reporters.audit {
                let (client, node, metrics) = of_denials;
                denials::run(client, &node, reporters, &events, &metrics).await;
            }
            std::future::pending::<()>().await;
        };
        let runs = async move {
            tokio::select! {
                ended = reconciler.run() => Ok(ended?),
                () = written => anyhow::bail!("the writer of Events ended"),
                () = denials => Ok(()), // it never ends
                // After the last report it is the reconciler that ends.
                Published::Interrupted = publish::publish(client, self.node, reports, metrics) => anyhow::bail!("the publisher ended"),
            }
        };
        Ok((runs, ready))
    }
}
