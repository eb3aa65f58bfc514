//! What an agent counts. `docs/metrics.md` says what each is good for.

use std::collections::HashMap;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::state::NodeReport;
use super::store::{Done, StoreError};
use crate::metrics::{Label, PREFIX, family};
use seccomp_diagnosis::Reason;

/// The reasons of failures; one that is not among them counts as the last.
const REASONS: [&str; 8] = [
    "Invalid",
    "Conflict",
    "Obstacle",
    "Tampered",
    "FolderReplaced",
    "WriteFailed",
    "RemoveFailed",
    "Other",
];
const OUTCOMES: [&str; 4] = ["written", "adopted", "removed", "failed"];
const RESULTS: [&str; 2] = ["success", "error"];
/// In seconds: around the budget (50 ms), and what a slow disk does.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Metrics {
    wanted: Gauge,
    ready: Gauge,
    failed: Family<Label, Gauge>,
    in_sync: Gauge,
    edits: Family<Label, Counter>,
    repairs: Counter,
    applied: Histogram,
    reports: Family<Label, Counter>,
    incidents: Family<Label, Counter>,
    refused: Counter,
    would_be_refused: Counter,
}

impl Metrics {
    /// Metrics that the registry knows.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            wanted: Gauge::default(),
            ready: Gauge::default(),
            failed: family("reason", &REASONS),
            in_sync: Gauge::default(),
            edits: family("outcome", &OUTCOMES),
            repairs: Counter::default(),
            applied: Histogram::new(BUCKETS),
            reports: family("result", &RESULTS),
            incidents: family("reason", &Reason::ALL.map(Reason::word)),
            refused: Counter::default(),
            would_be_refused: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let registry = registry.sub_registry_with_prefix("agent");
        registry.register(
            "profiles_wanted",
            "SeccompProfiles that this node should have",
            metrics.wanted.clone(),
        );
        registry.register(
            "profiles_ready",
            "SeccompProfiles whose newest generation is on this node's disk",
            metrics.ready.clone(),
        );
        registry.register(
            "profiles_failed",
            "SeccompProfiles that are not as they should be on this node",
            metrics.failed.clone(),
        );
        registry.register(
            "in_sync",
            "Whether this node has dealt with every change of the profile list that it knows of",
            metrics.in_sync.clone(),
        );
        registry.register(
            "file_edits",
            "Edits of profile files on this node's disk",
            metrics.edits.clone(),
        );
        registry.register(
            "drift_repairs",
            "Profile files that somebody else had changed or removed, and that were put right",
            metrics.repairs.clone(),
        );
        registry.register_with_unit(
            "apply_duration",
            "Time from learning of a change to its file being synced to disk",
            Unit::Seconds,
            metrics.applied.clone(),
        );
        registry.register(
            "report_writes",
            "Writes of this node's SeccompNode",
            metrics.reports.clone(),
        );
        registry.register(
            "pod_incidents",
            "Containers that a seccomp profile kept from starting, or may have killed, and that were explained in an Event",
            metrics.incidents.clone(),
        );
        registry.register(
            "refused_calls",
            "Calls of this node's pods that observed profiles refused",
            metrics.refused.clone(),
        );
        registry.register(
            "trial_calls",
            "Calls of this node's pods that happened, and that profiles on trial would have refused",
            metrics.would_be_refused.clone(),
        );
        metrics
    }

    /// So many more calls were refused.
    pub fn refused(&self, calls: u64) {
        self.refused.inc_by(calls);
    }

    /// So many more calls happened that profiles on trial would have refused.
    pub fn would_be_refused(&self, calls: u64) {
        self.would_be_refused.inc_by(calls);
    }

    /// An edit was carried out, so long after the agent learnt that it was due.
    pub fn edited(&self, outcome: &Result<Done, StoreError>, took: Duration) {
        let outcome = match outcome {
            Ok(Done::Unchanged) => return,
            Ok(Done::Written | Done::TakenOver) => "written",
            Ok(Done::Adopted) => "adopted",
            Ok(Done::Removed) => "removed",
            Err(_) => "failed",
        };
        self.edits.get_or_create(&[("outcome", outcome)]).inc();
        if outcome == "written" {
            self.applied.observe(took.as_secs_f64());
        }
    }

    /// Somebody else's change of a file was undone.
    pub fn repaired(&self) {
        self.repairs.inc();
    }

    /// How many profiles there should be and are, whether the node is in sync with the profile list, and what failed.
    pub fn observed(
        &self,
        wanted: usize,
        ready: usize,
        in_sync: bool,
        report: Option<&NodeReport>,
    ) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.wanted.set(count(wanted));
        self.ready.set(count(ready));
        self.in_sync.set(in_sync.into());
        let mut failed: HashMap<&str, i64> = HashMap::new();
        for failure in report.iter().flat_map(|report| &report.failures) {
            let reason = REASONS.into_iter().find(|known| *known == failure.reason);
            *failed.entry(reason.unwrap_or("Other")).or_default() += 1;
        }
        for reason in REASONS {
            let count = failed.get(reason).copied().unwrap_or_default();
            self.failed.get_or_create(&[("reason", reason)]).set(count);
        }
    }

    /// A container's failure was explained.
    pub fn explained(&self, reason: Reason) {
        self.incidents
            .get_or_create(&[("reason", reason.word())])
            .inc();
    }

    /// The node's report was written, or not.
    pub fn reported(&self, success: bool) {
        let result = if success { "success" } else { "error" };
        self.reports.get_or_create(&[("result", result)]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::encode;
    use seccomp_operator_api::NodeFailure;

    #[test]
    fn failures_are_counted_by_reason_and_a_reason_that_is_gone_is_zero_again() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let failure = |reason: &str| NodeFailure {
            reason: reason.into(),
            ..NodeFailure::default()
        };
        let report = NodeReport {
            applied_version: 1,
            failures: vec![failure("Conflict"), failure("Conflict"), failure("Unheard")],
            ..NodeReport::default()
        };
        metrics.observed(5, 2, true, Some(&report));
        let text = encode(&registry).unwrap();
        for line in [
            "seccomp_operator_agent_profiles_wanted 5",
            "seccomp_operator_agent_profiles_ready 2",
            "seccomp_operator_agent_in_sync 1",
            "seccomp_operator_agent_profiles_failed{reason=\"Conflict\"} 2",
            "seccomp_operator_agent_profiles_failed{reason=\"Invalid\"} 0",
            "seccomp_operator_agent_profiles_failed{reason=\"Other\"} 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}:\n{text}");
        }
        metrics.observed(5, 5, true, Some(&NodeReport::default()));
        let text = encode(&registry).unwrap();
        assert!(
            text.contains("profiles_failed{reason=\"Conflict\"} 0\n"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_was_as_it_should_be_counts_nowhere() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.edited(&Ok(Done::Unchanged), Duration::from_secs(1));
        metrics.edited(&Ok(Done::Written), Duration::from_millis(4));
        metrics.edited(&Err(StoreError::Gone), Duration::from_millis(4));
        let text = encode(&registry).unwrap();
        for line in [
            "file_edits_total{outcome=\"written\"} 1",
            "file_edits_total{outcome=\"failed\"} 1",
            "apply_duration_seconds_count 1",
            "apply_duration_seconds_bucket{le=\"0.0025\"} 0",
            "apply_duration_seconds_bucket{le=\"0.005\"} 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}:\n{text}");
        }
    }
}
