//! What a controller counts. `docs/metrics.md` says what each is good for.
//!
//! How profiles and nodes stand is counted when somebody asks (`Counts`): no counter of its own can then disagree with the index.

use std::fmt;
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::{Shared, index};
use crate::metrics::{Label, PREFIX, family};
use kube_support::WriteError;
use kube_support::leader::Role;

const COMPONENT: &str = "controller";
const RESULTS: [&str; 3] = ["success", "conflict", "error"];

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Metrics {
    status_writes: Family<Label, Counter>,
    finalizer_writes: Family<Label, Counter>,
}

impl Metrics {
    /// Metrics that the registry knows.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            status_writes: family("result", &RESULTS),
            finalizer_writes: family("result", &RESULTS),
        };
        let registry = registry
            .sub_registry_with_prefix(PREFIX)
            .sub_registry_with_prefix(COMPONENT);
        registry.register(
            "status_writes",
            "Writes of the status of SeccompProfiles",
            metrics.status_writes.clone(),
        );
        registry.register(
            "finalizer_writes",
            "Finalizers put on SeccompProfiles and taken off",
            metrics.finalizer_writes.clone(),
        );
        metrics
    }

    /// A status was written, or not. One that was overtaken (`conflict`) is worked out anew.
    pub fn wrote(&self, error: Option<&WriteError>) {
        count(&self.status_writes, error);
    }

    /// A finalizer was put on or taken off, or not.
    pub fn held(&self, error: Option<&WriteError>) {
        count(&self.finalizer_writes, error);
    }
}

fn count(writes: &Family<Label, Counter>, error: Option<&WriteError>) {
    let result = match error {
        None => "success",
        Some(error) if error.is_not_found() || error.is_conflict() => "conflict",
        Some(_) => "error",
    };
    writes.get_or_create(&[("result", result)]).inc();
}

/// Registers what is counted when somebody asks.
pub(super) fn register_counts(
    registry: &mut Registry,
    shared: &Arc<Shared>,
    role: &watch::Receiver<Role>,
) {
    let (shared, role) = (shared.clone(), role.clone());
    let look = move || {
        let index = shared.index.lock().unwrap_or_else(PoisonError::into_inner);
        (index.counts(), *role.borrow() == Role::Leads)
    };
    registry
        .sub_registry_with_prefix(PREFIX)
        .sub_registry_with_prefix(COMPONENT)
        .register_collector(Box::new(Counts(look)));
}

/// How things stand, as `look` gives it together with whether this process leads.
pub(crate) struct Counts<F>(pub(crate) F);

impl<F> fmt::Debug for Counts<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counts")
    }
}

impl<F: Fn() -> (index::Counts, bool) + Send + Sync + 'static> Collector for Counts<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (counts, leads) = (self.0)();
        let number = |count| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        let mut gauge = |name, help, count: usize| {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            number(count).encode(gauge)
        };
        gauge(
            "is_leader",
            "Whether this replica is the one that writes",
            leads.into(),
        )?;
        gauge(
            "status_queue",
            "SeccompProfiles whose status has to be looked at",
            counts.dirty,
        )?;
        let mut family = |name, help, states: &[(&'static str, usize)]| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (state, count) in states {
                number(*count).encode(family.encode_family(&[("state", *state)])?)?;
            }
            fmt::Result::Ok(())
        };
        family(
            "profiles",
            "SeccompProfiles by the state that their status shows",
            &[
                ("ready", counts.ready),
                ("progressing", counts.progressing),
                ("failed", counts.failed),
                ("invalid", counts.invalid),
            ],
        )?;
        family(
            "nodes",
            "Nodes that run an agent, or did, by how far they are level with the profile list",
            &[
                ("level", counts.level),
                ("behind", counts.behind),
                ("silent", counts.silent),
            ],
        )
    }
}
