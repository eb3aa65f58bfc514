//! Tells the API server what this node says of itself: rarely, and only when it changed.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::OptionFuture;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::metrics::Metrics;
use super::node;
use super::state::Report;
use crate::api::{GROUP, SeccompNode};
use crate::kubernetes::{Backoff, Change, WriteError, apply, watch};
use crate::logging::chain;

/// The field manager of all that agents write.
const MANAGER: &str = "seccomp-operator-agent";
/// A change waits this long for others to join it.
const GATHER: Duration = Duration::from_millis(100);
/// While changes keep coming, the pause between two writes doubles from the first to the second of these.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));
/// The most failures that one report names. Beyond that the node says that it is level with nothing, which is true enough.
const MOST_FAILURES: usize = 1000;

/// Publishes every report that `reports` holds, until its sender is gone. Whoever deletes the SeccompNode gets it back.
pub async fn publish(
    client: Client,
    node: String,
    mut reports: Receiver<Option<Report>>,
    metrics: Metrics,
) {
    let api: Api<SeccompNode> = Api::all(client.clone());
    let mut failing = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut pause = Backoff::new(PAUSE.0, PAUSE.1);
    let mut published: Option<Report> = None;
    // Only what was written can be lost.
    let lost = OptionFuture::from(None);
    let mut lost = pin!(lost);
    loop {
        let report = reports.borrow_and_update().clone();
        if let Some(report) = report.filter(|report| published.as_ref() != Some(report)) {
            let written = write(&api, &node, &report).await;
            metrics.reported(written.is_ok());
            match written {
                Ok(()) => {
                    debug!(
                        level = report.level,
                        failures = report.failures.len(),
                        "the node's report was published"
                    );
                    if published.replace(report).is_none() {
                        lost.set(OptionFuture::from(Some(watch_for_loss(
                            client.clone(),
                            &node,
                        ))));
                    }
                    failing.succeed();
                    sleep(pause.fail()).await;
                    if !matches!(reports.has_changed(), Ok(true)) {
                        pause.succeed();
                    }
                }
                Err(error) => {
                    let delay = failing.fail();
                    warn!(error = chain(&error), retry_in = ?delay, "the node's report could not be published");
                    sleep(delay).await;
                }
            }
            continue;
        }
        tokio::select! {
            changed = reports.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(GATHER).await;
            }
            Some(()) = &mut lost => {
                published = None;
                lost.set(OptionFuture::from(None));
            }
        }
    }
}

/// Ends when the SeccompNode, which was written, is there no more.
async fn watch_for_loss(client: Client, node: &str) {
    let api: Api<DeserializeGuard<PartialObjectMeta<SeccompNode>>> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let mut changes = pin!(watch(api, config));
    let mut listed = false;
    while let Some(change) = changes.next().await {
        match change {
            Change::ListBegins => listed = false,
            Change::Exists(_) => listed = true,
            Change::ListEnds if listed => {}
            Change::ListEnds | Change::Deleted(_) => return,
        }
    }
}

async fn write(api: &Api<SeccompNode>, node: &str, report: &Report) -> Result<(), WriteError> {
    let overflow = report.failures.len() > MOST_FAILURES;
    let failures: Vec<_> = report
        .failures
        .iter()
        .take(MOST_FAILURES)
        .map(|failure| json!({ "profile": failure.profile, "reason": failure.reason, "message": cut(&failure.message, 1024) }))
        .collect();
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "SeccompNode",
        "metadata": { "name": node },
        "appliedResourceVersion": if overflow { "0".to_owned() } else { report.level.to_string() },
        "failed": report.failures.len(),
        "failures": failures,
        "node": node::info(),
    });
    apply(api, node, MANAGER, &object).await.map(drop)
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

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("äöü", 2), "äö");
    }
}
