//! What an audit reader counts. `docs/metrics.md` says what each is good for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use seccomp_audit::{Control, Outcome, Totals};

use crate::metrics::PREFIX;

/// Registers what this reader counts.
pub(crate) fn register(registry: &mut Registry, control: Control) {
    let registry = registry.sub_registry_with_prefix(PREFIX);
    let registry = registry.sub_registry_with_prefix("audit");
    registry.register_collector(Box::new(Heard(control)));
}

#[derive(Debug)]
struct Heard(Control);

impl Collector for Heard {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Totals {
            unplaced_times,
            host_times,
            lost,
            by_outcome,
            hearing,
            ..
        } = self.0.totals();
        let hears = ConstGauge::new(i64::from(matches!(hearing, Some(Ok(())))));
        let help = "Whether a call that the reader made itself was heard";
        hears.encode(encoder.encode_descriptor("hears", help, None, hears.metric_type())?)?;
        let help = "Calls on this node that seccomp logged, killed, trapped or refused, as far as they were heard";
        let calls = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor("calls", help, None, calls.metric_type())?;
        for (outcome, count) in Outcome::ALL.iter().zip(by_outcome) {
            let label = [("outcome", outcome.word())];
            ConstCounter::new(count).encode(family.encode_family(&label)?)?;
        }
        for (name, help, count) in [
            (
                "unplaced_calls",
                "Calls whose container could not be told, since their process was gone",
                unplaced_times,
            ),
            (
                "host_calls",
                "Calls of processes that are in no pod",
                host_times,
            ),
            (
                "lost_records",
                "Audit records that never came, by the gaps in their numbers",
                lost,
            ),
        ] {
            let count = ConstCounter::new(count);
            count.encode(encoder.encode_descriptor(name, help, None, count.metric_type())?)?;
        }
        Ok(())
    }
}
