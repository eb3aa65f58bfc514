//! Tells the API server what was refused under observed profiles, and what their next versions would refuse: what is first refused at once, everything later once a minute.

use kube::Client;
use kube_support::WriteError;
use seccomp_operator_api::{DenialReport, SeccompDenialReport};
use seccomp_recorder::Control;
use tracing::debug;

use super::denials::{over, report};
use super::publish::MANAGER;
use crate::node_report::{NodeReport, NodeReporter, publish_for_ever};

/// How long a container that ended is reported, in seconds.
const KEPT: u64 = 3600;

impl NodeReport for DenialReport {
    type Object = SeccompDenialReport;

    fn of(object: SeccompDenialReport) -> Self {
        object.spec
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    /// Pods on trial come and go, and must not delay what is refused.
    fn is_as_pressing(&self, other: &Self) -> bool {
        self.denials == other.denials && self.would_refuse == other.would_refuse
    }
}

/// What the report says.
pub struct DenialPublisher {
    node: String,
    reporter: NodeReporter<DenialReport>,
}

impl DenialPublisher {
    pub fn new(client: Client, node: String) -> Self {
        Self {
            reporter: NodeReporter::new(client, MANAGER, &node),
            node,
        }
    }

    /// Publishes what is refused, for ever.
    pub async fn run(mut self, control: Control) {
        publish_for_ever("refused calls", async || self.publish(&control).await).await;
    }

    async fn publish(&mut self, control: &Control) -> Result<(), WriteError> {
        let snapshot = control.snapshot();
        // A recorder that has not heard of all may know less than the report.
        if !snapshot.is_connected {
            return Ok(());
        }
        self.reporter.learn().await?;
        let old = super::now().saturating_sub(KEPT);
        for recorded in over(&snapshot.recorded, old) {
            control.forget(recorded);
        }
        let report = report(&snapshot.recorded, &self.node);
        let denials = report.denials.len();
        if self.reporter.publish(report).await? {
            debug!(denials, "the report of refused calls was published");
        }
        Ok(())
    }
}
