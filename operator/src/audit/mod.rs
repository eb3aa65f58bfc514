//! The audit reader of a node: tells which containers call what seccomp logs and kills, whoever's profile it is.
//!
//! What it does is in the crate `seccomp-audit`; here is what it has to do with Kubernetes. `pods` knows whose container it is and what that states, `profiles` which
//! profiles are on trial, `report` decides what the report says, `publish` writes it. None knows the agent, the recorder, the controller or the webhook.

pub(crate) mod metrics;
mod pods;
mod profiles;
mod publish;
mod report;

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use clap::Args;
use futures::StreamExt as _;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use kube_support::{Requests, WatchEvent, in_cluster_client, watch_as};
use seccomp_audit::Reader;
use seccomp_operator_api::{SeccompProfile, StoredProfile};
use tracing::info;

use crate::stored_pod::{StoredPod, UsingPod};
use crate::{health, node, shutdown};
use pods::Pods;
use profiles::Profiles;
use publish::Publisher;

/// What the agent's binary is called where it is the audit reader.
pub const NAME: &str = "seccomp-operator-audit";

/// Hears what seccomp logs and kills, and reports it.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// This node's name
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// The folder below kubelet's seccomp folder that the profiles go to
    #[arg(long, env = "PROFILES_DIR", default_value = "profiles", value_parser = crate::args::profiles_dir)]
    profiles_dir: String,
    /// Port for /livez, /readyz and /metrics: one of the node's, whose network this process is in
    #[arg(long, env = "HEALTH_PORT", default_value_t = 8084)]
    health_port: u16,
}

/// What the watches tell of the cluster.
#[derive(Debug)]
pub(crate) struct Known {
    pods: Pods,
    profiles: Profiles,
}

/// Runs until it is told to stop.
pub async fn run(args: AuditArgs) -> anyhow::Result<()> {
    let mut registry = crate::metrics::registry();
    let requests = Requests::new(registry.sub_registry_with_prefix(crate::metrics::PREFIX));
    let client = in_cluster_client(&requests).context(
        "cannot find out how to reach the API server; the audit reader has to run as a pod",
    )?;
    let known = Known {
        pods: Pods::new(&args.profiles_dir),
        profiles: Profiles::new(node::target()?),
    };
    let known = Arc::new(Mutex::new(known));
    let reader = Reader::default();
    let control = reader.control();
    metrics::register(&mut registry, control.clone());
    reader.start().context("cannot start the audit reader")?;
    // One that cannot hear says so in its report, its metrics and its log. It is ready all the same: nothing waits for it, and no
    // update of the DaemonSet should.
    let ready = Arc::new(|| Ok(()));
    let publisher = Publisher::new(client.clone(), args.node_name.clone(), known.clone());
    info!(node = args.node_name, "the audit reader starts");
    tokio::select! {
        served = health::serve(args.health_port, ready, Arc::new(registry)) => served?,
        () = watch(client, &args.node_name, &known) => anyhow::bail!("the watches ended"),
        () = publisher.run(control.clone()) => {}
        () = shutdown::requested() => info!("the audit reader stops; its report stays"),
    }
    control.end();
    Ok(())
}

#[allow(clippy::large_enum_variant)] // one at a time
enum Event {
    Pod(WatchEvent<UsingPod>),
    Profile(WatchEvent<SeccompProfile>),
}

/// Keeps what is known of the node's pods and of the profiles, for as long as the process lives.
async fn watch(client: Client, node: &str, known: &Mutex<Known>) {
    let here = Config::default().fields(&format!("spec.nodeName={node}"));
    let pods = watch_as(Api::<StoredPod>::all(client.clone()), here, StoredPod::read);
    let profiles = watch_as(
        Api::<StoredProfile>::all(client),
        Config::default(),
        StoredProfile::read,
    );
    let events = [
        pods.map(Event::Pod).boxed(),
        profiles.map(Event::Profile).boxed(),
    ];
    let mut events = pin!(futures::stream::select_all(events));
    while let Some(event) = events.next().await {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Pod(change) => known.pods.take(change, now()),
            Event::Profile(change) => known.profiles.take(change),
        }
    }
}

/// In seconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
