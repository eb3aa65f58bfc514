//! What a controller counts. `docs/metrics.md` says what each is good for.
//!
//! How profiles and nodes stand is counted when somebody asks (`IndexCounts`): no counter of its own can then disagree with the index.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

use super::Shared;
use super::index::IndexCounts;
use super::sources::index::SourceCounts;
use crate::metrics::{Label, PREFIX, family};
use kube_support::WriteError;
use kube_support::leader::Role;

const COMPONENT: &str = "controller";
/// The certificates are the webhooks'.
const WEBHOOK: &str = "webhook";
const RESULTS: [&str; 3] = ["success", "conflict", "error"];

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Metrics {
    status_writes: Family<Label, Counter>,
    finalizer_writes: Family<Label, Counter>,
    certificate: Gauge,
    authority: Gauge,
}

impl Metrics {
    /// Metrics that the registry knows.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            status_writes: family("result", &RESULTS),
            finalizer_writes: family("result", &RESULTS),
            certificate: Gauge::default(),
            authority: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let webhook = registry.sub_registry_with_prefix(WEBHOOK);
        webhook.register_with_unit(
            "certificate_expiration_timestamp",
            "When the serving certificate of this replica expires, in seconds since 1970; 0 while there is none",
            Unit::Seconds,
            metrics.certificate.clone(),
        );
        webhook.register_with_unit(
            "authority_expiration_timestamp",
            "When the certificate authority of the webhooks expires, in seconds since 1970; 0 when it is not the operator's own",
            Unit::Seconds,
            metrics.authority.clone(),
        );
        let registry = registry.sub_registry_with_prefix(COMPONENT);
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

    /// The certificate that is served from now on, and the authority that signed it if that is ours, expire at these times (Unix).
    pub fn certificate(&self, serving: i64, authority: Option<i64>) {
        self.certificate.set(serving);
        self.authority.set(authority.unwrap_or_default());
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
    let look = move || Counts {
        index: shared.index().counts(),
        sources: shared.sources().counts(),
        leads: *role.borrow() == Role::Leads,
    };
    registry
        .sub_registry_with_prefix(PREFIX)
        .sub_registry_with_prefix(COMPONENT)
        .register_collector(Box::new(CountsCollector(look)));
}

/// What is counted when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) index: IndexCounts,
    pub(crate) sources: SourceCounts,
    /// Whether this process writes.
    pub(crate) leads: bool,
}

/// Asks for the counts, and whether this process leads, each time that somebody reads the metrics.
pub(crate) struct CountsCollector<F>(pub(crate) F);

impl<F> fmt::Debug for CountsCollector<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountsCollector")
    }
}

impl<F: Fn() -> Counts + Send + Sync + 'static> Collector for CountsCollector<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Counts {
            index: counts,
            sources,
            leads,
        } = (self.0)();
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
                ("ready", counts.profiles.ready),
                ("progressing", counts.profiles.progressing),
                ("failed", counts.profiles.failed),
                ("unstartable", counts.profiles.unstartable),
                ("invalid", counts.profiles.invalid),
            ],
        )?;
        family(
            "nodes",
            "Nodes that run an agent, or did, by how much of the profile list they have applied",
            &[
                ("in_sync", counts.nodes.in_sync),
                ("behind", counts.nodes.behind),
                ("silent", counts.nodes.silent),
            ],
        )?;
        family(
            "sources",
            "SeccompSources by the state that their status shows",
            &[
                ("ready", sources.ready),
                ("suspended", sources.suspended),
                ("failed", sources.failed),
                ("unseen", sources.unseen),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificates_expiries_are_shown_under_names_that_stay() {
        let mut registry = Registry::default();
        Metrics::new(&mut registry).certificate(1_800_000_000, Some(1_900_000_000));
        let text = crate::metrics::encode(&registry).unwrap();
        for line in [
            "certificate_expiration_timestamp_seconds 1800000000",
            "authority_expiration_timestamp_seconds 1900000000",
        ] {
            let line = format!("seccomp_operator_webhook_{line}");
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
