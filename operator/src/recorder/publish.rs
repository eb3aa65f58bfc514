//! Tells the API server what was recorded: only what changed, at a pace, and later what it did not take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::Api;
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt as _};
use kube_support::error::chain;
use kube_support::{Backoff, Conflicts, WriteError, apply, bounded};
use seccomp_operator_api::{
    Listening, RecordedContainer, RecordingReference, RecordingReport, SeccompRecordingReport,
};
use seccomp_recorder::{Control, Snapshot};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::remembered::{Remembered, mark};
use super::report::{Key, ended_before, kept, key_of, reports, says_news};

/// The field manager of all that recorders write.
pub(super) const MANAGER: &str = "seccomp-operator-recorder";
/// How often it is looked at what was recorded.
const EVERY: Duration = Duration::from_secs(2);
/// How long the next write of a report waits at least, and how long if there is nothing but other numbers.
const PACE: Duration = Duration::from_secs(4);
const NUMBERS: Duration = Duration::from_secs(20);
/// How long a container that ended is counted on its own, in seconds. What its report has said then stays in the report.
const KEPT: u64 = 3600;

/// A report that was written.
struct Written {
    uid: String,
    report: RecordingReport,
    at: Instant,
    /// Somebody has deleted it: the recording is over.
    is_gone: bool,
}

/// What reports there are.
pub struct Publisher {
    client: Client,
    node: String,
    written: BTreeMap<Key, Written>,
    /// The containers of earlier reports that are not counted any more.
    known: BTreeMap<Key, Vec<RecordedContainer>>,
    /// What the recorder before this one recorded, and is not looked at yet.
    before: Vec<(String, RecordingReference)>,
    remembered: Remembered,
    failing: Backoff,
    blocked_until: Option<Instant>,
}

impl Publisher {
    pub fn new(client: Client, node: String, remembered: Remembered) -> Self {
        Self {
            client,
            node,
            before: remembered.recordings().collect(),
            remembered,
            written: BTreeMap::new(),
            known: BTreeMap::new(),
            failing: Backoff::new(Duration::from_secs(2), Duration::from_secs(30)),
            blocked_until: None,
        }
    }

    /// Publishes what is recorded, for ever.
    pub async fn run(mut self, control: Control) {
        loop {
            self.publish(&control, false).await;
            sleep(EVERY).await;
        }
    }

    /// Publishes what changed; everything that did if it is the last time.
    pub async fn publish(&mut self, control: &Control, is_last: bool) {
        let blocked = self
            .blocked_until
            .is_some_and(|until| Instant::now() < until);
        if blocked && !is_last {
            return;
        }
        let snapshot = control.snapshot();
        // A recorder that has not heard of all may know less than the report.
        if !snapshot.is_connected {
            return;
        }
        while let Some((namespace, recording)) = self.before.last() {
            let key = (namespace.clone(), recording.report_name(&self.node));
            if let Err(error) = self.restore(&key, &snapshot).await {
                return self.block(&key, &error);
            }
            self.before.pop();
        }
        for key in reports(&snapshot.recorded, &self.known, &self.node).into_keys() {
            if let Err(error) = self.learn(&key, &snapshot).await {
                return self.block(&key, &error);
            }
        }
        for (key, report) in reports(&snapshot.recorded, &self.known, &self.node) {
            if !self.is_due(&key, &report, is_last) {
                continue;
            }
            match self.write(&key, report).await {
                Ok(()) => self.failing.succeed(),
                Err(error) => return self.block(&key, &error),
            }
        }
        let written = self.written.iter().filter(|(_, written)| !written.is_gone);
        let kept = written.map(|((namespace, _), written)| (namespace.as_str(), &written.report));
        if let Err(error) = self.remembered.keep(kept) {
            warn!(%error, "whose containers are recorded cannot be written down for the next recorder");
        }
        self.forget(control, &snapshot);
    }

    /// Says of what the recorder before this one recorded, and this one has nothing of, that nobody hears it any more.
    async fn restore(&mut self, key: &Key, snapshot: &Snapshot) -> Result<(), WriteError> {
        self.learn(key, snapshot).await?;
        let written = self.written.get(key).filter(|written| !written.is_gone);
        let Some(mut report) = written.map(|written| written.report.clone()) else {
            return Ok(());
        };
        if mark(&mut report.containers, &snapshot.recorded) {
            warn!(
                namespace = key.0,
                report = key.1,
                "containers were lost when both of the recorder's processes had ended; their calls fail"
            );
            self.write(key, report).await?;
        }
        Ok(())
    }

    fn block(&mut self, (namespace, name): &Key, error: &WriteError) {
        let delay = self.failing.fail();
        self.blocked_until = Some(Instant::now() + delay);
        warn!(namespace, report = name, error = chain(error), retry_in = ?delay, "a recording's report could not be published");
    }

    /// Reads what the recorder before this one has written.
    async fn learn(&mut self, key: &Key, snapshot: &Snapshot) -> Result<(), WriteError> {
        if self.written.contains_key(key) {
            return Ok(());
        }
        let api: Api<SeccompRecordingReport> = Api::namespaced(self.client.clone(), &key.0);
        if let Some(object) = bounded(api.get_opt(&key.1)).await? {
            let uid = object.uid().unwrap_or_default();
            self.known
                .insert(key.clone(), kept(&object.spec, &snapshot.recorded));
            let written = Written {
                uid,
                report: object.spec,
                at: Instant::now(),
                is_gone: false,
            };
            self.written.insert(key.clone(), written);
        }
        Ok(())
    }

    fn is_due(&self, key: &Key, report: &RecordingReport, is_last: bool) -> bool {
        self.written.get(key).is_none_or(|written| {
            let pace = if says_news(&written.report, report) {
                PACE
            } else {
                NUMBERS
            };
            !written.is_gone
                && written.report != *report
                && (is_last || written.at.elapsed() >= pace)
        })
    }

    async fn write(&mut self, key: &Key, report: RecordingReport) -> Result<(), WriteError> {
        let api: Api<SeccompRecordingReport> = Api::namespaced(self.client.clone(), &key.0);
        let before = self.written.get(key).map(|written| written.uid.clone());
        // With the uid in it, what somebody has deleted is not made again.
        let metadata = ObjectMeta {
            name: Some(key.1.clone()),
            uid: before.clone(),
            ..ObjectMeta::default()
        };
        match apply(&api, MANAGER, Conflicts::Force, &metadata, &report).await {
            Ok(object) => {
                debug!(
                    namespace = key.0,
                    report = key.1,
                    containers = report.containers.len(),
                    "a recording's report was published"
                );
                let uid = object.uid().unwrap_or_default();
                let written = Written {
                    uid,
                    report,
                    at: Instant::now(),
                    is_gone: false,
                };
                self.written.insert(key.clone(), written);
                Ok(())
            }
            Err(error) if before.is_some() && (error.is_conflict() || error.is_not_found()) => {
                info!(
                    namespace = key.0,
                    report = key.1,
                    "a recording's report was deleted; what is still recorded for it is dropped"
                );
                if let Some(written) = self.written.get_mut(key) {
                    written.is_gone = true;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Lets go of those who ended long ago, and of those whose recording is over. What a report has said of them stays in it.
    fn forget(&mut self, control: &Control, snapshot: &Snapshot) {
        let now_said = reports(&snapshot.recorded, &self.known, &self.node);
        let old = ended_before(&snapshot.recorded, super::now().saturating_sub(KEPT));
        let mut forgotten = BTreeSet::new();
        for recorded in snapshot
            .recorded
            .iter()
            .filter(|recorded| recorded.ended.is_some())
        {
            let key = key_of(&recorded.subject, &self.node).map(|(key, _)| key);
            let written = key.as_ref().and_then(|key| self.written.get(key));
            let is_said = |written: &Written| {
                key.as_ref().and_then(|key| now_said.get(key)) == Some(&written.report)
            };
            let is_over = match written {
                Some(written) => {
                    written.is_gone
                        || old.contains(recorded.subject.container_id.as_str()) && is_said(written)
                }
                // It is of no recording.
                None => {
                    key.is_none() && Listening::from_metadata(&recorded.subject.metadata).is_none()
                }
            };
            if is_over {
                control.forget(recorded);
                forgotten.insert(&recorded.subject);
            }
        }
        let left: Vec<_> = snapshot
            .recorded
            .iter()
            .filter(|recorded| !forgotten.contains(&recorded.subject))
            .cloned()
            .collect();
        let keys: BTreeSet<_> = left
            .iter()
            .filter_map(|recorded| Some(key_of(&recorded.subject, &self.node)?.0))
            .collect();
        self.written.retain(|key, _| keys.contains(key));
        self.known = self
            .written
            .iter()
            .map(|(key, written)| (key.clone(), kept(&written.report, &left)))
            .collect();
    }
}
