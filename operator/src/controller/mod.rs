//! The cluster side: keeps the status of profiles, serves admission, and looks after the webhooks' certificates.
//!
//! Every replica watches and serves; only the leader writes. `feed` brings what the watches see into `index` (what each
//! profile's status should say; `agents`, `usage` and `finalizer` know a part of that each) and into the webhook's view; `status`,
//! `nodes`, `taints`, `certificates` and `default_policy` do what follows from it. `release` undoes what would outlive the operator. This file
//! ties them together.

pub mod agents;
mod ca_controller;
mod default_policy;
pub mod finalizer;
pub mod index;
mod ingest;
pub(crate) mod metrics;
mod nodes;
mod policies;
pub mod release;
mod status;
mod taints;
pub mod usage;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::info;

use crate::pki::Serving;
use crate::webhook::connections::{self, Drain, Limits};
use crate::webhook::server::{self, Admission};
use crate::{health, shutdown, webhook};
use index::Index;
use kube_support::leader::{self, Role};
use kube_support::{Requests, client};
use metrics::Metrics;
use policies::index::Policies;
use seccomp_operator_api::SeccompPolicySpec;
use seccomp_policy::view::{Engine, View};

/// Everything this process writes to the cluster, but for its Lease, carries this field manager.
const MANAGER: &str = "seccomp-operator";
/// After a stop was asked for, so long new connections are still taken: the API server needs a moment to learn that this
/// replica is going. Meanwhile every answer gives up its connection, so that none is closed while a review is on its way to it.
const DRAIN: Duration = Duration::from_secs(5);

/// Keeps the status of profiles, serves admission, and looks after the webhooks' certificates.
#[derive(Args, Debug)]
pub struct ControllerArgs {
    /// The namespace that the operator runs in
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// This replica's name in the leader election
    #[arg(long, env = "POD_NAME")]
    identity: String,
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
    /// The Service that the API server reaches the webhooks by
    #[arg(
        long,
        env = "WEBHOOK_SERVICE",
        default_value = "seccomp-operator-webhook"
    )]
    webhook_service: String,
    /// The Secret that holds the webhooks' certificate authority; made when it is not there
    #[arg(
        long,
        env = "WEBHOOK_SECRET",
        default_value = "seccomp-operator-webhook-ca"
    )]
    webhook_secret: String,
    /// Serve the certificate that somebody else, such as cert-manager, puts into that Secret (tls.crt, tls.key), and leave the
    /// trust in it to them
    #[arg(long, env = "EXTERNAL_CERTIFICATES")]
    external_certificates: bool,
    /// The MutatingWebhookConfiguration to keep supplied with the certificate authority
    #[arg(
        long,
        env = "MUTATING_WEBHOOK_CONFIGURATION",
        default_value = "seccomp-operator"
    )]
    mutating_webhook_configuration: String,
    /// The ValidatingWebhookConfiguration to keep supplied with the certificate authority
    #[arg(
        long,
        env = "VALIDATING_WEBHOOK_CONFIGURATION",
        default_value = "seccomp-operator"
    )]
    validating_webhook_configuration: String,
    /// Labels by which to find the agents' pods
    #[arg(
        long,
        env = "AGENT_SELECTOR",
        default_value = "app.kubernetes.io/name=seccomp-operator,app.kubernetes.io/component=agent"
    )]
    agent_selector: String,
    /// The agents' DaemonSet
    #[arg(
        long,
        env = "AGENT_DAEMON_SET",
        default_value = "seccomp-operator-agent"
    )]
    agent_daemon_set: String,
    /// For how many seconds an agent may be away before its node counts as not having any profile
    #[arg(long, env = "AGENT_PATIENCE", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    agent_patience: u64,
    /// Remove the taint seccomp-operator.io/agent-not-ready from nodes that have all profiles
    #[arg(long, env = "STARTUP_TAINT")]
    startup_taint: bool,
    /// Namespaces whose pods are left alone, separated by commas
    #[arg(
        long,
        env = "EXCLUDED_NAMESPACES",
        value_delimiter = ',',
        default_value = "kube-system"
    )]
    excluded_namespaces: Vec<String>,
    /// What gives pods their profiles: by anything but the webhook, SeccompPolicies have no effect, and their statuses say so
    #[arg(long, env = "INJECTION_ENGINE", value_enum, default_value_t = InjectionEngine::Webhook)]
    injection_engine: InjectionEngine,
    /// The spec, in JSON, of a SeccompPolicy `default` to keep in the cluster
    #[arg(long, env = "DEFAULT_POLICY", value_parser = default_policy::parse)]
    default_policy: Option<SeccompPolicySpec>,
    /// The folder below kubelet's seccomp folder that the agents use
    #[arg(long, env = "PROFILES_DIR", default_value = "profiles", value_parser = crate::args::profiles_dir)]
    profiles_dir: String,
    /// Port for /livez, /readyz and /metrics
    #[arg(long, env = "HEALTH_PORT", default_value_t = 8081)]
    health_port: u16,
}

/// [`Engine`], as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum InjectionEngine {
    Webhook,
    Policy,
    None,
}

impl From<InjectionEngine> for Engine {
    fn from(engine: InjectionEngine) -> Self {
        match engine {
            InjectionEngine::Webhook => Self::Webhook,
            InjectionEngine::Policy => Self::Policy,
            InjectionEngine::None => Self::None,
        }
    }
}

/// What the tasks of this process share.
struct Shared {
    /// When this process started, for all the clocks of `index`.
    started: Instant,
    index: Mutex<Index>,
    admission: Arc<Admission>,
    serving: Arc<Serving>,
    /// Told when the index has something to write.
    changed: Notify,
    /// Told the same, for those who look after nodes.
    nodes_changed: Notify,
    policies: Mutex<Policies>,
    /// Told when the status of a policy may have to change.
    policies_changed: Notify,
    ready: Readiness,
    metrics: Metrics,
}

/// What has to be so before this replica takes reviews.
#[derive(Debug, Default)]
struct Readiness {
    stopping: AtomicBool,
    /// Of `feed`: each watch has told all there is.
    feeds: [AtomicBool; 7],
    /// Of `certificates`: the webhook configurations trust what this replica serves.
    trusted: [AtomicBool; 2],
    /// Of `default_policy`: it is as it should be.
    default_policy: AtomicBool,
}

impl Readiness {
    /// Whether all there is has been listed.
    fn has_listed(&self) -> bool {
        self.feeds.iter().all(|fed| fed.load(Ordering::Relaxed))
    }

    fn check(&self, serving: &Serving) -> Result<(), String> {
        let all = |flags: &[AtomicBool]| flags.iter().all(|flag| flag.load(Ordering::Relaxed));
        let reason = if self.stopping.load(Ordering::Relaxed) {
            "stopping"
        } else if !self.has_listed() {
            "the watches have not told all there is yet"
        } else if !serving.is_loaded() {
            "there is no certificate yet"
        } else if !all(&self.trusted) {
            "the webhook configurations do not trust the certificate yet"
        } else if !self.default_policy.load(Ordering::Relaxed) {
            "the default policy is not there yet"
        } else {
            return Ok(());
        };
        Err(reason.to_owned())
    }
}

impl Shared {
    fn new(index: Index, admission: Admission, registry: &mut Registry) -> Self {
        Self {
            started: Instant::now(),
            index: Mutex::new(index),
            admission: Arc::new(admission),
            serving: Arc::new(Serving::default()),
            changed: Notify::new(),
            nodes_changed: Notify::new(),
            policies: Mutex::default(),
            policies_changed: Notify::new(),
            ready: Readiness::default(),
            metrics: Metrics::new(registry),
        }
    }

    /// Around this index, of a process that has just started.
    #[cfg(test)]
    fn with(index: Index) -> Self {
        let mut registry = crate::metrics::registry();
        let metrics = webhook::metrics::Metrics::new(&mut registry);
        let admission = Admission::new(View::new("profiles", []), metrics);
        Self::new(index, admission, &mut registry)
    }
}

/// Runs until it is told to stop, or until it can no longer do its work.
pub async fn run(args: ControllerArgs) -> anyhow::Result<()> {
    let mut registry = crate::metrics::registry();
    let client = client(&Requests::new(
        registry.sub_registry_with_prefix(crate::metrics::PREFIX),
    ))
    .await
    .context("cannot find out how to reach the API server")?;
    let excluded = args
        .excluded_namespaces
        .iter()
        .cloned()
        .chain([args.namespace.clone()]);
    let webhook_metrics = webhook::metrics::Metrics::new(&mut registry);
    let index = Index::new(&args.profiles_dir, Duration::from_secs(args.agent_patience));
    let admission = Admission::new(
        View::new(&args.profiles_dir, excluded).injected_by(args.injection_engine.into()),
        webhook_metrics.clone(),
    );
    let shared = Arc::new(Shared::new(index, admission, &mut registry));
    let (elected, role) = watch::channel(Role::default());
    metrics::register_counts(&mut registry, &shared, &role);
    let registry = Arc::new(registry);
    let (stopping, stopped) = watch::channel(false);
    let drain = Arc::new(Drain::default());
    let stop = |mut stopped: watch::Receiver<bool>| async move {
        drop(stopped.wait_for(|stopped| *stopped).await);
    };
    let listener = health::listen(args.webhook_port)
        .await
        .with_context(|| format!("cannot listen on port {} for webhooks", args.webhook_port))?;
    info!(
        namespace = args.namespace,
        identity = args.identity,
        "the controller starts"
    );

    let readiness = {
        let shared = shared.clone();
        Arc::new(move || shared.ready.check(&shared.serving))
    };
    let election = async {
        let leases: Api<Lease> = Api::namespaced(client.clone(), &args.namespace);
        leader::lead(
            leases,
            &args.lease_name,
            &args.identity,
            &elected,
            stop(stopped.clone()),
        )
        .await?;
        anyhow::Ok(())
    };
    let webhooks = connections::serve(
        listener,
        shared.serving.clone(),
        server::router(shared.admission.clone()),
        Limits::default(),
        webhook_metrics,
        drain.clone(),
    );
    let taints = async {
        if args.startup_taint {
            taints::run(&client, &shared, role.clone()).await
        } else {
            std::future::pending().await
        }
    };
    // What ends only together with the process.
    let forever = async {
        tokio::select! {
            ended = ingest::run(&client, &args, &shared) => ended,
            ended = status::run(&client, &shared, role.clone()) => ended,
            ended = taints => ended,
            ended = nodes::run(&client, &shared, role.clone()) => ended,
            ended = policies::run(&client, &args.identity, &shared, role.clone()) => ended,
            ended = ca_controller::run(&client, &args, &shared, role.clone()) => ended,
            ended = default_policy::run(&client, args.default_policy.as_ref(), &shared, role.clone()) => ended,
            ended = health::serve(args.health_port, readiness, registry) => ended,
        }
    };
    let until_stopped = async {
        shutdown::requested().await;
        info!("the controller stops");
        shared.ready.stopping.store(true, Ordering::Relaxed);
        // The lease goes at once, so that the next leader (with other settings, in an upgrade) need not wait for the rest.
        stopping.send_replace(true);
        drain.begin();
        tokio::time::sleep(DRAIN).await;
        drain.close();
        std::future::pending::<anyhow::Result<()>>().await
    };
    // Both end when a stop is asked for; should one of them fail, this process is of no use any more.
    let served = async { tokio::try_join!(election, webhooks).map(|_| ()) };
    tokio::select! {
        ended = served => ended,
        ended = forever => ended,
        ended = until_stopped => ended,
    }
}
