//! A report that a process writes of its node: one object with the node's name, by one server-side apply. What is first said is written at once,
//! everything later once a minute, however often it changes.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::Api;
use kube::core::ObjectMeta;
use kube::{Client, Resource};
use kube_support::error::chain;
use kube_support::{Backoff, Conflicts, WriteError, apply, bounded};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use tracing::warn;

/// How often it is looked at what there is to report.
const EVERY: Duration = Duration::from_secs(2);
/// How long the next write waits at least.
const PACE: Duration = Duration::from_mins(1);

/// What such a report has to say of itself.
pub trait NodeReport: Clone + Debug + PartialEq + Serialize {
    /// The object whose fields it is.
    type Object: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug;

    /// The report of an object.
    fn of(object: Self::Object) -> Self;

    /// Whether it says nothing, so that it is not made where there is none.
    fn is_empty(&self) -> bool;

    /// Whether nothing differs that must not wait for what does.
    fn is_as_pressing(&self, other: &Self) -> bool;
}

/// Publishes the report of something for ever.
pub async fn publish_for_ever(
    what: &str,
    mut publish: impl AsyncFnMut() -> Result<(), WriteError>,
) {
    let mut failing = Backoff::new(EVERY, Duration::from_mins(1));
    loop {
        match publish().await {
            Ok(()) => {
                failing.succeed();
                sleep(EVERY).await;
            }
            Err(error) => {
                let delay = failing.fail();
                warn!(error = chain(&error), retry_in = ?delay, "the report of {what} could not be published");
                sleep(delay).await;
            }
        }
    }
}

/// Writes a node's report.
pub struct NodeReporter<R: NodeReport> {
    api: Api<R::Object>,
    manager: &'static str,
    node: String,
    pace: Pace<R>,
    /// Whether it is known what the process before this one has written.
    is_known: bool,
}

/// What was written, and when the next write is due.
#[derive(Debug)]
struct Pace<R> {
    written: Option<R>,
    from: Option<Instant>,
    /// The same where nothing pressing has changed.
    rest_from: Option<Instant>,
}

impl<R> Default for Pace<R> {
    fn default() -> Self {
        Self {
            written: None,
            from: None,
            rest_from: None,
        }
    }
}

impl<R: NodeReport> Pace<R> {
    fn may_write(&self, report: &R, now: Instant) -> bool {
        let from = match &self.written {
            None if report.is_empty() => return false,
            Some(written) if written == report => return false,
            Some(written) if written.is_as_pressing(report) => self.rest_from,
            _ => self.from,
        };
        from.is_none_or(|from| from <= now)
    }

    fn written(&mut self, report: R, now: Instant) {
        let written = self.written.as_ref();
        if !written.is_some_and(|written| written.is_as_pressing(&report)) {
            self.from = Some(now + PACE);
        }
        self.rest_from = Some(now + PACE);
        self.written = Some(report);
    }
}

impl<R: NodeReport> NodeReporter<R> {
    /// Nothing is known yet.
    pub fn new(client: Client, manager: &'static str, node: &str) -> Self {
        Self {
            api: Api::all(client),
            manager,
            node: node.to_owned(),
            pace: Pace::default(),
            is_known: false,
        }
    }

    /// Reads what the process before this one has written, the first time.
    pub async fn learn(&mut self) -> Result<Option<&R>, WriteError> {
        if !self.is_known {
            let before = bounded(self.api.get_opt(&self.node)).await?;
            self.pace.written = before.map(R::of);
            self.is_known = true;
        }
        Ok(self.pace.written.as_ref())
    }

    /// Writes the report if it says something else than is written, and it is time; whether it did.
    pub async fn publish(&mut self, report: R) -> Result<bool, WriteError> {
        if !self.pace.may_write(&report, Instant::now()) {
            return Ok(false);
        }
        let metadata = ObjectMeta {
            name: Some(self.node.clone()),
            ..ObjectMeta::default()
        };
        apply(
            &self.api,
            self.manager,
            Conflicts::Force,
            &metadata,
            &report,
        )
        .await?;
        self.pace.written(report, Instant::now());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::{DenialReport, ObservedDenial, ObservedTrial};

    use super::*;

    #[test]
    fn the_first_denial_is_written_at_once_and_all_that_follow_once_a_minute() {
        let of =
            |kinds: usize| DenialReport::new("n1", "1", vec![ObservedDenial::default(); kinds]);
        let start = Instant::now();
        let mut pace = Pace::<DenialReport>::default();
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
