//! Tells the API server what was heard: what is first heard at once, everything later once a minute.

use kube::Client;
use kube_support::WriteError;
use seccomp_audit::{Control, Deaf};
use seccomp_operator_api::{AuditReport, SeccompAuditReport};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{debug, info, warn};

use super::pods::KEPT;
use super::report::{Before, report};
use super::{Known, now};
use crate::node_report::{NodeReport, NodeReporter, publish_for_ever};

/// The field manager of what audit readers write.
const MANAGER: &str = "seccomp-operator-audit";

impl NodeReport for AuditReport {
    type Object = SeccompAuditReport;

    fn of(object: SeccompAuditReport) -> Self {
        object.spec
    }

    /// That nothing is heard is worth saying.
    fn is_empty(&self) -> bool {
        false
    }

    fn is_as_pressing(&self, other: &Self) -> bool {
        self.hearing == other.hearing
            && self.calls == other.calls
            && self.would_refuse == other.would_refuse
    }
}

/// What the report says.
pub struct Publisher {
    node: String,
    known: Arc<Mutex<Known>>,
    before: Option<Before>,
    reporter: NodeReporter<AuditReport>,
    hearing: Option<Result<(), Deaf>>,
}

impl Publisher {
    pub fn new(client: Client, node: String, known: Arc<Mutex<Known>>) -> Self {
        Self {
            reporter: NodeReporter::new(client, MANAGER, &node),
            node,
            known,
            before: None,
            hearing: None,
        }
    }

    /// Publishes what is heard, for ever.
    pub async fn run(mut self, control: Control) {
        publish_for_ever("what was heard", async || self.publish(&control).await).await;
    }

    async fn publish(&mut self, control: &Control) -> Result<(), WriteError> {
        let snapshot = control.snapshot();
        self.log(snapshot.totals.hearing.as_ref());
        let learned = self.reporter.learn().await?;
        let before = self
            .before
            .get_or_insert_with(|| learned.map(Before::of).unwrap_or_default());
        let report = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let report = report(&snapshot, &mut known, before, &self.node, now());
            if report.is_some() {
                let old = now().saturating_sub(KEPT);
                control.forget(old, |container| known.pods.is_over(container));
            }
            report
        };
        let Some(report) = report else {
            return Ok(());
        };
        let calls = report.calls.len();
        if self.reporter.publish(report).await? {
            debug!(calls, "the report of what was heard was published");
        }
        Ok(())
    }

    /// Says when it begins or ceases to hear.
    fn log(&mut self, hearing: Option<&Result<(), Deaf>>) {
        if self.hearing.as_ref() == hearing {
            return;
        }
        self.hearing = hearing.cloned();
        match hearing {
            Some(Ok(())) => info!("what seccomp logs and kills on this node is heard"),
            Some(Err(why)) => warn!(
                reason = why.word(),
                "nothing is heard of what seccomp logs and kills on this node: {why}"
            ),
            None => {}
        }
    }
}
