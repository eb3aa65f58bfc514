//! Tells the API server what was refused under observed profiles, and what their next versions would refuse: what is first refused at once, everything later once a minute.

use std::time::Duration;

use kube::Client;
use kube::api::Api;
use kube::core::ObjectMeta;
use kube_support::error::chain;
use kube_support::{Backoff, Conflicts, WriteError, apply, bounded};
use seccomp_operator_api::{DenialReport, SeccompDenialReport};
use seccomp_recorder::Control;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::denials::{over, report};
use super::publish::MANAGER;

/// How often it is looked at what was refused.
const EVERY: Duration = Duration::from_secs(2);
/// How long the next write waits at least.
const PACE: Duration = Duration::from_mins(1);
/// How long a container that ended is reported, in seconds.
const KEPT: u64 = 3600;

/// What the report says.
pub struct DenialPublisher {
    api: Api<SeccompDenialReport>,
    node: String,
    pace: DenialPace,
}

/// What was written, and when the next write is due.
#[derive(Debug, Default)]
struct DenialPace {
    written: Option<DenialReport>,
    /// Whether it is known what the recorder before this one has written.
    is_known: bool,
    from: Option<Instant>,
    /// The same where nothing but the pods on trial have changed: they come and go, and must not delay what is refused.
    trials_from: Option<Instant>,
}

impl DenialPace {
    fn may_write(&self, report: &DenialReport, now: Instant) -> bool {
        // Where nothing is observed there is no report.
        let nothing = DenialReport::default();
        let written = match &self.written {
            None if report.is_empty() => return false,
            None => &nothing,
            Some(written) => written,
        };
        let from =
            if written.denials != report.denials || written.would_refuse != report.would_refuse {
                self.from
            } else {
                self.trials_from
            };
        written != report && from.is_none_or(|from| from <= now)
    }

    fn written(&mut self, report: DenialReport, now: Instant) {
        let written = self.written.as_ref();
        let is_same = written.is_some_and(|written| {
            written.denials == report.denials && written.would_refuse == report.would_refuse
        });
        if !is_same {
            self.from = Some(now + PACE);
        }
        self.trials_from = Some(now + PACE);
        self.written = Some(report);
    }
}

impl DenialPublisher {
    pub fn new(client: Client, node: String) -> Self {
        Self {
            api: Api::all(client),
            node,
            pace: DenialPace::default(),
        }
    }

    /// Publishes what is refused, for ever.
    pub async fn run(mut self, control: Control) {
        let mut failing = Backoff::new(Duration::from_secs(2), Duration::from_mins(1));
        loop {
            match self.publish(&control).await {
                Ok(()) => {
                    failing.succeed();
                    sleep(EVERY).await;
                }
                Err(error) => {
                    let delay = failing.fail();
                    warn!(error = chain(&error), retry_in = ?delay, "the report of refused calls could not be published");
                    sleep(delay).await;
                }
            }
        }
    }

    async fn publish(&mut self, control: &Control) -> Result<(), WriteError> {
        let snapshot = control.snapshot();
        // A recorder that has not heard of all may know less than the report.
        if !snapshot.is_connected {
            return Ok(());
        }
        if !self.pace.is_known {
            let before = bounded(self.api.get_opt(&self.node)).await?;
            self.pace.written = before.map(|object| object.spec);
            self.pace.is_known = true;
        }
        let old = super::now().saturating_sub(KEPT);
        for recorded in over(&snapshot.recorded, old) {
            control.forget(recorded);
        }
        let report = report(&snapshot.recorded, &self.node);
        if !self.pace.may_write(&report, Instant::now()) {
            return Ok(());
        }
        let metadata = ObjectMeta {
            name: Some(self.node.clone()),
            ..ObjectMeta::default()
        };
        apply(&self.api, MANAGER, Conflicts::Force, &metadata, &report).await?;
        debug!(
            denials = report.denials.len(),
            "the report of refused calls was published"
        );
        self.pace.written(report, Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::{ObservedDenial, ObservedTrial};

    use super::*;

    #[test]
    fn the_first_denial_is_written_at_once_and_all_that_follow_once_a_minute() {
        let of =
            |kinds: usize| DenialReport::new("n1", "1", vec![ObservedDenial::default(); kinds]);
        let start = Instant::now();
        let mut pace = DenialPace::default();
        assert!(!pace.may_write(&of(0), start), "nothing is observed");
        let mut writes = Vec::new();
        for second in 0..200_u64 {
            let now = start + Duration::from_secs(second);
            let report = of(usize::try_from(second).unwrap() / 10);
            if pace.may_write(&report, now) {
                pace.written(report, now);
                writes.push(second);
            }
        }
        assert_eq!(writes, [10, 70, 130, 190]);
        let with = |pods: i32| {
            let trial = ObservedTrial {
                pods,
                ..ObservedTrial::default()
            };
            of(20).with_trials(vec![trial], vec![])
        };
        let now = start + Duration::from_mins(9);
        assert!(pace.may_write(&with(1), now));
        pace.written(of(20), now - PACE);
        pace.written(with(1), now);
        assert!(!pace.may_write(&with(2), now + PACE / 2), "only pods");
        assert!(pace.may_write(&of(21), now + PACE / 2), "a first denial");
        // That none is left is said as well.
        assert!(pace.may_write(&of(0), start + Duration::from_mins(10)));
    }
}
