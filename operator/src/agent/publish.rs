//! Tells the API server what this node says of itself: rarely, and only when it changed.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::OptionFuture;
use kube::Client;
use kube::api::Api;
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::watcher;
use tokio::sync::watch::error::RecvError;
use tokio::sync::watch::{self as channel, Receiver};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use super::metrics::Metrics;
use super::node;
use super::state::NodeReport;
use kube_support::error::chain;
use kube_support::{
    Backoff, Conflicts, WatchEvent, Watched, WriteError, apply, resource_version, watch,
};
use seccomp_operator_api::{NodeFailure, NodeUse, SeccompNode, SeccompNodeReport};

/// The field manager of all that agents write.
pub const MANAGER: &str = "seccomp-operator-agent";
/// A change after a while without any waits this long for others to join it.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// So long after a write it is a while without any.
const COOLDOWN: Duration = Duration::from_secs(1);
/// While changes keep coming, the next write waits for a pause of this length between them ...
const SETTLE: Duration = Duration::from_millis(500);
/// ... but not longer than this, the first time; then ever longer, up to the second.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));
/// Mere numbers (of pods that use a profile) wait this long: pods come and go, and nothing hangs on how many there are.
const NUMBERS: Duration = Duration::from_secs(5);
/// The most failures and uses that one report names. A node with more failures says that it has applied nothing, which is
/// true enough; one with more uses still keeps every file that is in use.
const MAX_FAILURES: usize = 1000;
const MAX_USES: usize = 2000;
/// So many pods with an older content it names, all profiles together: kubelets run no more, as a rule. The numbers count them all.
const MAX_OUTDATED_PODS: usize = 250;

/// Why no more is published.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// The last report was published.
    All,
    /// Nobody makes reports any more.
    Interrupted,
}

/// Publishes every report that `reports` holds, until the last one, or until its sender is gone. Whoever deletes the SeccompNode gets it back, and whoever
/// changes it too.
pub async fn publish(
    client: Client,
    node: String,
    mut reports: Receiver<Option<NodeReport>>,
    metrics: Metrics,
) -> Published {
    let api: Api<SeccompNode> = Api::all(client.clone());
    let mut failing = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut patience = Backoff::new(PATIENCE.0, PATIENCE.1);
    let mut published: Option<NodeReport> = None;
    let mut written: Option<Instant> = None;
    // As the API server has stored it.
    let stored = channel::Sender::new(None);
    // Only what was written can be lost.
    let lost = OptionFuture::from(None);
    let mut lost = pin!(lost);
    loop {
        let report = reports.borrow_and_update().clone();
        if report.is_none() || report == published {
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return Published::Interrupted },
                Some(()) = &mut lost => {
                    warn!("somebody else changed or deleted what this node reports; it is written again");
                    published = None;
                    lost.set(OptionFuture::from(None));
                }
            }
            continue;
        }
        let calm = written.is_none_or(|written| written.elapsed() >= COOLDOWN);
        if calm {
            patience.succeed();
        }
        let pace = if calm { None } else { Some(patience.fail()) };
        if gather(&mut reports, published.as_ref(), pace)
            .await
            .is_err()
        {
            return Published::Interrupted;
        }
        let report = reports.borrow_and_update().clone();
        let Some(report) = report.filter(|report| published.as_ref() != Some(report)) else {
            continue;
        };
        let outcome = write(&api, &node, &report).await;
        metrics.reported(outcome.is_ok());
        match outcome {
            Ok(now) => {
                stored.send_replace(Some(now));
                debug!(
                    applied_version = report.applied_version,
                    failures = report.failures.len(),
                    "the node's report was published"
                );
                if report.last {
                    return Published::All;
                }
                written = Some(Instant::now());
                if published.replace(report).is_none() {
                    lost.set(OptionFuture::from(Some(watch_for_loss(
                        client.clone(),
                        &node,
                        stored.subscribe(),
                    ))));
                }
                failing.succeed();
            }
            Err(error) => {
                let delay = failing.fail();
                warn!(error = chain(&error), retry_in = ?delay, "the node's report could not be published");
                sleep(delay).await;
            }
        }
    }
}

/// Waits until the report should be written. `patience`: in a burst, how long to wait for its end at most.
async fn gather(
    reports: &mut Receiver<Option<NodeReport>>,
    published: Option<&NodeReport>,
    patience: Option<Duration>,
) -> Result<(), RecvError> {
    let began = Instant::now();
    let mut urgent_since = None;
    loop {
        let urgent = {
            let report = reports.borrow_and_update();
            report
                .as_ref()
                .is_some_and(|report| is_urgent(published, report))
        };
        let deadline = if urgent {
            let since = *urgent_since.get_or_insert_with(Instant::now);
            match patience {
                None => since + DEBOUNCE,
                Some(patience) => (Instant::now() + SETTLE).min(since + patience),
            }
        } else {
            began + NUMBERS
        };
        match timeout_at(deadline, reports.changed()).await {
            Ok(changed) => changed?,
            Err(_) => return Ok(()),
        }
    }
}

/// Whether the report says more than other numbers.
fn is_urgent(published: Option<&NodeReport>, report: &NodeReport) -> bool {
    let Some(published) = published else {
        return true;
    };
    let uses = |report: &NodeReport| {
        let uses = report.in_use.iter();
        uses.map(|found| (found.profile.clone(), found.pending_removal))
            .collect::<Vec<_>>()
    };
    published.applied_version != report.applied_version
        || published.failures != report.failures
        || published.labels_digest != report.labels_digest
        || uses(published) != uses(report)
}

/// What the API server has stored of this agent's last write.
#[derive(Clone, Debug)]
struct Stored {
    version: u64,
    report: SeccompNodeReport,
}

/// Ends when the SeccompNode, which was written, is there no more, or says something else.
async fn watch_for_loss(client: Client, node: &str, stored: Receiver<Option<Stored>>) {
    let api: Api<DeserializeGuard<SeccompNode>> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let mut changes = pin!(watch(api, config));
    let mut listed = false;
    while let Some(change) = changes.next().await {
        match change {
            WatchEvent::ListBegins => listed = false,
            WatchEvent::Exists(found) => {
                listed = true;
                if stored
                    .borrow()
                    .as_ref()
                    .is_some_and(|stored| is_other(&found, stored))
                {
                    return;
                }
            }
            WatchEvent::ListEnds if listed => {}
            WatchEvent::ListEnds | WatchEvent::Deleted(_) => return,
        }
    }
}

/// Whether somebody has made another report of what was stored. What is older than that says nothing.
fn is_other(found: &Watched<SeccompNode>, stored: &Stored) -> bool {
    match found {
        Ok(found) => {
            let version = found
                .metadata
                .resource_version
                .as_deref()
                .unwrap_or_default();
            resource_version(version) > stored.version && !found.spec.says(&stored.report)
        }
        Err(unreadable) => {
            let version = unreadable.metadata.resource_version.as_deref();
            resource_version(version.unwrap_or_default()) > stored.version
        }
    }
}

async fn write(
    api: &Api<SeccompNode>,
    node: &str,
    report: &NodeReport,
) -> Result<Stored, WriteError> {
    let overflow = report.failures.len() > MAX_FAILURES;
    let failures = report.failures.iter().take(MAX_FAILURES);
    let metadata = ObjectMeta {
        name: Some(node.to_owned()),
        ..ObjectMeta::default()
    };
    let fields = SeccompNodeReport {
        applied_resource_version: if overflow { 0 } else { report.applied_version }.to_string(),
        failed: i32::try_from(report.failures.len()).unwrap_or(i32::MAX),
        failures: failures
            .map(|failure| NodeFailure {
                message: cut(&failure.message, 1024).to_owned(),
                ..failure.clone()
            })
            .collect(),
        in_use: uses(&report.in_use),
        node: node::info(report.labels_digest.clone()),
    };
    let written = apply(api, MANAGER, Conflicts::Force, &metadata, &fields).await?;
    let version = written.metadata.resource_version.unwrap_or_default();
    Ok(Stored {
        version: resource_version(&version),
        report: fields,
    })
}

/// As much of what pods use as one report has room for.
fn uses(all: &[NodeUse]) -> Vec<NodeUse> {
    let mut room = MAX_OUTDATED_PODS;
    let named = all.iter().take(MAX_USES).map(|found| {
        let mut found = found.clone();
        found.outdated_pods.truncate(room);
        room -= found.outdated_pods.len();
        found
    });
    named.collect()
}

/// The longest beginning of `text` that has at most `most` characters.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices()
        .nth(most)
        .map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_operator_api::PodReference;
    use tokio::sync::watch::{Sender, channel};

    fn applied(applied_version: u64) -> NodeReport {
        NodeReport {
            applied_version,
            ..NodeReport::default()
        }
    }

    fn used_by(pods: i32) -> NodeReport {
        let used = NodeUse {
            profile: "a".into(),
            pods,
            ..NodeUse::default()
        };
        NodeReport {
            in_use: vec![used],
            ..applied(1)
        }
    }

    /// How long the report waits to be written, while another one comes every `every` for `times` times.
    async fn waits(
        published: Option<NodeReport>,
        reports: impl Fn(u64) -> NodeReport,
        (every, times): (Duration, u64),
        patience: Option<Duration>,
    ) -> Duration {
        let (sender, mut receiver): (Sender<Option<NodeReport>>, _) = channel(Some(reports(0)));
        let began = Instant::now();
        let changes = async {
            for n in 1..=times {
                sleep(every).await;
                sender.send_replace(Some(reports(n)));
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            gathered = gather(&mut receiver, published.as_ref(), patience) => gathered.unwrap(),
            () = changes => {}
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_changes_waits_for_its_end_and_a_single_one_hardly_at_all() {
        let (once, burst) = ((DEBOUNCE, 0), (Duration::from_millis(10), 200));
        let endless = (Duration::from_millis(10), 10_000);
        assert_eq!(waits(None, applied, once, None).await, DEBOUNCE);
        assert_eq!(waits(None, applied, burst, None).await, DEBOUNCE);
        let patience = Some(PATIENCE.0);
        assert_eq!(waits(None, applied, once, patience).await, SETTLE);
        let end = Duration::from_secs(2) + SETTLE;
        assert_eq!(waits(None, applied, burst, patience).await, end);
        assert_eq!(waits(None, applied, endless, patience).await, PATIENCE.0);
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_wait_longer_than_names() {
        let pods = |n| used_by(i32::try_from(n).unwrap() + 2);
        let once = (DEBOUNCE, 0);
        assert_eq!(waits(Some(used_by(1)), pods, once, None).await, NUMBERS);
        assert_eq!(waits(Some(applied(1)), pods, once, None).await, DEBOUNCE);
        // Something urgent takes the numbers with it.
        let then = |n| if n == 0 { used_by(2) } else { applied(2) };
        let second = (Duration::from_secs(1), 1);
        let expected = Duration::from_secs(1) + DEBOUNCE;
        assert_eq!(waits(Some(used_by(1)), then, second, None).await, expected);
    }

    #[test]
    fn what_somebody_else_has_made_of_the_report_is_told_from_what_the_agent_and_the_controller_write()
     {
        let report = |in_use: &[&str]| SeccompNodeReport {
            in_use: in_use
                .iter()
                .map(|name| NodeUse {
                    profile: (*name).into(),
                    pods: 1,
                    ..NodeUse::default()
                })
                .collect(),
            ..SeccompNodeReport::default()
        };
        let stored = Stored {
            version: 10,
            report: report(&["a"]),
        };
        let found = |version: &str, report: SeccompNodeReport| {
            let mut node = SeccompNode::new("n", report);
            node.metadata.resource_version = Some(version.into());
            Ok(node)
        };
        let mut with_runtime = report(&["a"]);
        with_runtime.node.container_runtime = Some("containerd://2.1.9".into());
        for (found, other) in [
            (found("10", report(&["a"])), false),
            (found("11", with_runtime), false),
            (found("9", report(&[])), false),
            (found("11", report(&[])), true),
            (found("11", report(&["a", "b"])), true),
        ] {
            assert_eq!(is_other(&found, &stored), other, "{found:?}");
        }
    }

    #[test]
    fn a_report_names_only_so_many_pods_with_an_older_content() {
        let pods = |n: usize| {
            let pod = |n: usize| PodReference {
                namespace: "shop".into(),
                name: n.to_string(),
            };
            NodeUse {
                outdated: 999,
                outdated_pods: (0..n).map(pod).collect(),
                ..NodeUse::default()
            }
        };
        let named: Vec<_> = uses(&[pods(200), pods(0), pods(200), pods(3)])
            .iter()
            .map(|found| (found.outdated_pods.len(), found.outdated))
            .collect();
        assert_eq!(named, [(200, 999), (0, 999), (50, 999), (0, 999)]);
    }

    #[test]
    fn an_empty_report_says_that_it_is_empty() {
        // What is not applied is not taken back from whoever has set it.
        let written = serde_json::to_value(SeccompNodeReport::default()).unwrap();
        assert_eq!(
            (&written["failures"], &written["inUse"]),
            (&serde_json::json!([]), &serde_json::json!([]))
        );
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("äöü", 2), "äö");
    }
}
