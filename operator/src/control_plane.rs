//! The process of the Deployment: leader election, the controller, admission over TLS, health checks, and how they end together.
//!
//! This is the one place that knows both controller and webhook. It decides nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use tokio::sync::watch;
use tracing::info;

use crate::controller::{AdmissionState, Controller, ControllerArgs};
use crate::pki::Serving;
use crate::webhook::connections::{self, Drain, Limits};
use crate::webhook::metrics::Metrics;
use crate::webhook::server::{self, Admission};
use crate::{health, shutdown};
use kube_support::leader::{self, Role};
use kube_support::{Requests, client};
use seccomp_policy::view::View;

/// After a stop was asked for, so long new connections are still taken: the API server needs a moment to learn that this
/// replica is going. Meanwhile every answer gives up its connection, so that none is closed while a review is on its way to it.
const DRAIN: Duration = Duration::from_secs(5);

/// Keeps the status of profiles, serves admission, and looks after the webhooks' certificates.
#[derive(Args, Debug)]
pub struct ControlPlaneArgs {
    #[command(flatten)]
    controller: ControllerArgs,
    /// The Lease that decides which replica leads
    #[arg(
        long,
        env = "LEASE_NAME",
        default_value = "seccomp-operator-controller"
    )]
    lease_name: String,
    /// Port for the webhooks
    #[arg(long, env = "WEBHOOK_PORT", default_value_t = 9443)]
    webhook_port: u16,
    /// Port for /livez, /readyz and /metrics
    #[arg(long, env = "HEALTH_PORT", default_value_t = 8081)]
    health_port: u16,
}

/// Runs until it is told to stop, or until it can no longer do its work.
pub async fn run(args: ControlPlaneArgs) -> anyhow::Result<()> {
    let mut registry = crate::metrics::registry();
    let client = client(&Requests::new(
        registry.sub_registry_with_prefix(crate::metrics::PREFIX),
    ))
    .await
    .context("cannot find out how to reach the API server")?;
    let (namespace, identity) = (
        args.controller.namespace.clone(),
        args.controller.identity.clone(),
    );
    let admission_metrics = Metrics::new(&mut registry);
    let admission = Admission::new(view(&args.controller), admission_metrics.clone());
    let admission = Arc::new(admission.pulling(args.controller.sources));
    let serving = Arc::new(Serving::default());
    let state = AdmissionState {
        view: admission.view.clone(),
        namespace_added: admission.namespace_added.clone(),
        serving: serving.clone(),
    };
    let controller = Controller::new(args.controller, state, &mut registry);
    let (elected, role) = watch::channel(Role::default());
    controller.register_counts(&mut registry, &role);
    let registry = Arc::new(registry);
    let (stopping, mut stopped) = watch::channel(false);
    let drain = Arc::new(Drain::default());
    let listener = health::listen(args.webhook_port)
        .await
        .with_context(|| format!("cannot listen on port {} for webhooks", args.webhook_port))?;
    info!(namespace, identity, "the controller starts");

    let election = async {
        let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
        let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        leader::lead(leases, &args.lease_name, &identity, &elected, stop).await?;
        anyhow::Ok(())
    };
    let webhooks = async {
        let routes = server::router(admission);
        let limits = Limits::default();
        connections::serve(
            listener,
            serving,
            routes,
            limits,
            admission_metrics,
            drain.clone(),
        )
        .await;
        Ok(())
    };
    let until_stopped = async {
        shutdown::requested().await;
        info!("the controller stops");
        controller.stop();
        // The lease goes at once, so that the next leader (with other settings, in an upgrade) need not wait for the rest.
        stopping.send_replace(true);
        drain.begin();
        tokio::time::sleep(DRAIN).await;
        drain.close();
        std::future::pending::<anyhow::Result<()>>().await
    };
    // Both end when a stop is asked for; should one of them fail, this process is of no use any more.
    let served = async { tokio::try_join!(election, webhooks).map(|_| ()) };
    let readiness = Arc::new(controller.readiness());
    tokio::select! {
        ended = served => ended,
        ended = controller.run(&client, &role) => Ok(ended?),
        ended = health::serve(args.health_port, readiness, registry) => Ok(ended?),
        ended = until_stopped => ended,
    }
}

/// What admission knows before the watches have told anything.
fn view(args: &ControllerArgs) -> View {
    let excluded = args.excluded_namespaces.iter().chain([&args.namespace]);
    View::new(&args.profiles_dir, excluded.cloned()).injected_by(args.injection_engine.into())
}
