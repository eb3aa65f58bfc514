//! The cluster side: keeps the status of profiles and policies, the webhooks' certificates, and what else follows from what the
//! watches see.
//!
//! Every replica watches; only the leader writes. `ingest` brings what the watches see into `index` (what each profile's status
//! should say; `agents`, `usage` and `finalizer` know a part of that each) and into the view that admission answers from; `status`,
//! `nodes`, `taints`, `policies`, `policy_trials`, `recordings`, `sources`, `ca_controller`, `default_policy` and
//! `default_ceiling` do what follows from it; `definitions` lets go of profiles
//! whose definition is being deleted, and `release` of all that would outlive the operator. This file ties them together. It knows nothing
//! of how reviews are answered.

pub mod agents;
mod ca_controller;
mod conditions;
mod default_ceiling;
mod default_policy;
mod definitions;
pub mod finalizer;
pub mod index;
mod ingest;
pub(crate) mod metrics;
mod nodes;
mod policies;
mod policy_trials;
mod recordings;
pub mod release;
mod sources;
mod status;
mod taints;
pub mod usage;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use clap::Args;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::watch::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::pki::Serving;
use index::Index;
use ingest::Source;
use kube_support::leader::Role;
use metrics::Metrics;
use policies::index::Policies;
use policy_trials::index::PolicyTrials;
use recordings::index::Recordings;
use seccomp_operator_api::{SeccompCeilingSpec, SeccompPolicySpec};
use seccomp_policy::view::{Engine, View};
use sources::index::Sources;

/// Everything this process writes to the cluster, but for its Lease, carries this field manager.
const MANAGER: &str = "seccomp-operator";

/// What the controller has to know of the installation.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a switch of its own
pub struct ControllerArgs {
    /// The namespace that the operator runs in
    #[arg(long, env = "POD_NAMESPACE")]
    pub(crate) namespace: String,
    /// This replica's name in the leader election
    #[arg(long, env = "POD_NAME")]
    pub(crate) identity: String,
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
    /// Labels by which to find the recorders' pods
    #[arg(
        long,
        env = "RECORDER_SELECTOR",
        default_value = "app.kubernetes.io/name=seccomp-operator,app.kubernetes.io/component=recorder"
    )]
    recorder_selector: String,
    /// Nodes are meant to have an audit reader; without it the reports of such readers are removed
    #[arg(long, env = "AUDIT")]
    audit: bool,
    /// Ask registries for what SeccompSources name, and keep it as SeccompProfiles
    #[arg(long, env = "SOURCES")]
    pub(crate) sources: bool,
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
    pub(crate) excluded_namespaces: Vec<String>,
    /// What gives pods their profiles: by anything but the webhook, SeccompPolicies have no effect, and their statuses say so
    #[arg(long, env = "INJECTION_ENGINE", value_enum, default_value_t = InjectionEngine::Webhook)]
    pub(crate) injection_engine: InjectionEngine,
    /// The spec, in JSON, of a SeccompPolicy `default` to keep in the cluster
    #[arg(long, env = "DEFAULT_POLICY", value_parser = default_policy::parse)]
    default_policy: Option<SeccompPolicySpec>,
    /// The spec, in JSON, of a SeccompCeiling `default` to keep in the cluster
    #[arg(long, env = "DEFAULT_CEILING", value_parser = default_ceiling::parse)]
    default_ceiling: Option<SeccompCeilingSpec>,
    /// The folder below kubelet's seccomp folder that the agents use
    #[arg(long, env = "PROFILES_DIR", default_value = "profiles", value_parser = crate::args::profiles_dir)]
    pub(crate) profiles_dir: String,
}

/// [`Engine`], as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum InjectionEngine {
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

/// Why the controller cannot go on: none of its tasks ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Nobody says any more which replica leads.
    #[error("the election ended")]
    ElectionEnded(#[from] RecvError),
    /// Nobody says any more what is in the cluster.
    #[error("the watches ended")]
    WatchesEnded,
}

/// What admission answers from, which the watches feed.
#[derive(Clone, Debug)]
pub struct AdmissionState {
    /// What admission knows of the cluster.
    pub view: Arc<RwLock<View>>,
    /// Told when a namespace may have been added to the view.
    pub namespace_added: Arc<Notify>,
    /// The certificate that admission is served with.
    pub serving: Arc<Serving>,
}

/// The tasks of a replica, and what they share.
#[derive(Debug)]
pub struct Controller {
    args: ControllerArgs,
    shared: Arc<Shared>,
}

impl Controller {
    /// A controller that has seen nothing yet.
    #[must_use]
    pub fn new(args: ControllerArgs, admission: AdmissionState, registry: &mut Registry) -> Self {
        let index = Index::new(&args.profiles_dir, Duration::from_secs(args.agent_patience));
        let shared = Arc::new(Shared::new(index, admission, registry));
        Self { args, shared }
    }

    /// Registers how many profiles and nodes there are in each state, and whether this replica leads.
    pub fn register_counts(&self, registry: &mut Registry, role: &watch::Receiver<Role>) {
        metrics::register_counts(registry, &self.shared, role);
    }

    /// Says whether this replica can take reviews, or why not.
    pub fn readiness(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || shared.ready.check(&shared.admission.serving)
    }

    /// This replica is not ready from now on.
    pub fn stop(&self) {
        self.shared.ready.stopping.store(true, Ordering::Relaxed);
    }

    /// Works for as long as the process lives.
    pub async fn run(
        &self,
        client: &Client,
        role: &watch::Receiver<Role>,
    ) -> Result<(), ControllerError> {
        let Self { args, shared } = self;
        let taints = async {
            if args.startup_taint {
                taints::run(client, shared, role.clone()).await
            } else {
                std::future::pending().await
            }
        };
        let sources = async {
            if args.sources {
                let place = (args.namespace.as_str(), args.identity.as_str());
                sources::run(client, place, shared, role.clone()).await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            ended = ingest::run(client, args, shared) => ended,
            ended = status::run(client, shared, role.clone()) => ended,
            ended = definitions::run(client, shared, role.clone()) => ended,
            ended = taints => ended,
            ended = nodes::run(client, args.audit, shared, role.clone()) => ended,
            ended = policies::run(client, &args.identity, shared, role.clone()) => ended,
            ended = policy_trials::run(client, shared, role.clone()) => ended,
            ended = recordings::run(client, (&args.profiles_dir, &args.identity), shared, role.clone()) => ended,
            ended = sources => ended,
            ended = ca_controller::run(client, args, shared, role.clone()) => ended,
            ended = default_policy::run(client, args.default_policy.as_ref(), shared, role.clone()) => ended,
            ended = default_ceiling::run(client, args.default_ceiling.as_ref(), shared, role.clone()) => ended,
        }
    }
}

/// What the tasks of this process share.
#[derive(Debug)]
struct Shared {
    /// When this process started, for all the clocks of `index`.
    started: Instant,
    index: Mutex<Index>,
    admission: AdmissionState,
    /// Told when the index has something to write.
    changed: Notify,
    /// Told the same, for those who look after nodes.
    nodes_changed: Notify,
    policies: Mutex<Policies>,
    /// Told when the status of a policy may have to change.
    policies_changed: Notify,
    policy_trials: Mutex<PolicyTrials>,
    /// Told when a policy on trial may need something.
    policy_trials_changed: Notify,
    recordings: Mutex<Recordings>,
    /// Told when a recording may need something.
    recordings_changed: Notify,
    sources: Mutex<Sources>,
    /// Told when the profile of a source may be another.
    sources_changed: Notify,
    ready: Readiness,
    metrics: Metrics,
}

/// What has to be so before this replica takes reviews.
#[derive(Debug)]
struct Readiness {
    stopping: AtomicBool,
    /// Of `ingest`: the watches that have not told all there is.
    unlisted: Mutex<BTreeSet<Source>>,
    /// Of `ca_controller`: the webhook configurations trust what this replica serves.
    trusted: [AtomicBool; 2],
    /// Of `default_policy`: it is as it should be.
    default_policy: AtomicBool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            stopping: AtomicBool::default(),
            unlisted: Mutex::new(Source::ALL.into()),
            trusted: Default::default(),
            default_policy: AtomicBool::default(),
        }
    }
}

impl Readiness {
    /// A watch has told all there is.
    fn listed(&self, source: Source) {
        let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        unlisted.remove(&source);
    }

    /// Whether all there is has been listed.
    fn has_listed(&self) -> bool {
        let unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        unlisted.is_empty()
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
    fn new(index: Index, admission: AdmissionState, registry: &mut Registry) -> Self {
        Self {
            started: Instant::now(),
            index: Mutex::new(index),
            admission,
            changed: Notify::new(),
            nodes_changed: Notify::new(),
            policies: Mutex::default(),
            policies_changed: Notify::new(),
            policy_trials: Mutex::default(),
            policy_trials_changed: Notify::new(),
            recordings: Mutex::default(),
            recordings_changed: Notify::new(),
            sources: Mutex::default(),
            sources_changed: Notify::new(),
            ready: Readiness::default(),
            metrics: Metrics::new(registry),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policies(&self) -> MutexGuard<'_, Policies> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policy_trials(&self) -> MutexGuard<'_, PolicyTrials> {
        self.policy_trials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn recordings(&self) -> MutexGuard<'_, Recordings> {
        self.recordings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        let view = &self.admission.view;
        view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reviews of pods wait for whoever has it.
    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        let view = &self.admission.view;
        view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Around this index, of a process that has just started.
    #[cfg(test)]
    fn around(index: Index) -> Self {
        let admission = AdmissionState {
            view: Arc::default(),
            namespace_added: Arc::default(),
            serving: Arc::default(),
        };
        Self::new(index, admission, &mut crate::metrics::registry())
    }
}
