//! `kubectl seccomp denials --watch`: what is refused from now on, a line each time that a node reports more.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;

use futures::stream::select;
use futures::{Stream, TryStreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DenialsFormat, Listed, OnNode, Wanted, arguments, call};
use crate::text::visible;
use crate::{Failure, output};
use kube_support::error::chain;
use seccomp_operator_api::{Outcome, SeccompAuditReport, SeccompDenialReport};

/// Whose report it is: the node's recorder's, or its audit reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Recorder,
    AuditReader,
}

/// What a report says now.
type Said = (By, String, Vec<OnNode>);

fn of_recorder(report: &SeccompDenialReport) -> Said {
    let said = OnNode::of_recorder(report).collect();
    (By::Recorder, report.spec.node.clone(), said)
}

fn of_reader(report: &SeccompAuditReport) -> Said {
    let said = OnNode::of_reader(report).collect();
    (By::AuditReader, report.spec.node.clone(), said)
}

/// The reports that come, each as `read`.
fn changes<K>(
    reports: Api<K>,
    read: fn(&K) -> Said,
) -> impl Stream<Item = Result<Option<Said>, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher(reports, watcher::Config::default()).default_backoff();
    events.map_ok(move |event| match event {
        watcher::Event::Apply(report) | watcher::Event::InitApply(report) => Some(read(&report)),
        _ => None,
    })
}

/// Prints what is new until it is interrupted. `known` has been shown already.
pub async fn watch(
    recorders: Api<SeccompDenialReport>,
    readers: Option<Api<SeccompAuditReport>>,
    known: &Listed,
    wanted: &Wanted<'_>,
    format: DenialsFormat,
) -> Result<(), Failure> {
    let mut counted = Counted::default();
    let of_recorders = known.recorders.iter().map(of_recorder);
    for said in of_recorders.chain(known.readers.iter().map(of_reader)) {
        counted.take(said);
    }
    let recorders = changes(recorders, of_recorder);
    let mut reports: Pin<Box<dyn Stream<Item = _> + Send>> = match readers {
        Some(readers) => Box::pin(select(recorders, changes(readers, of_reader))),
        None => Box::pin(recorders),
    };
    let mut interrupted = false;
    loop {
        match reports.try_next().await {
            Ok(Some(Some(said))) => {
                interrupted = false;
                for new in counted.take(said) {
                    if wanted.is(&new.on_node) {
                        output::print(line(&new, format)?)?;
                    }
                }
            }
            Ok(Some(None)) => {}
            Ok(None) => return Ok(()),
            Err(error) => {
                // It is tried again, ever more seldom.
                if !std::mem::replace(&mut interrupted, true) {
                    eprintln!("the watch was interrupted, and goes on: {}", chain(&error));
                }
            }
        }
    }
}

/// A call that was refused once more.
#[derive(Debug, PartialEq, Serialize)]
struct New {
    /// How often since the last line about it.
    new: i64,
    #[serde(flatten)]
    on_node: OnNode,
}

/// How often each call was refused to each container, as far as was shown.
#[derive(Debug, Default)]
struct Counted(BTreeMap<(By, String), BTreeMap<[String; 7], i64>>);

impl Counted {
    /// What a report has that was not shown yet. What it does not name any more is forgotten.
    fn take(&mut self, (by, node, denials): Said) -> Vec<New> {
        let whose = (by, node);
        let before = self.0.remove(&whose).unwrap_or_default();
        let (mut after, mut all) = (BTreeMap::new(), Vec::new());
        for on_node in denials {
            let denial = &on_node.denial;
            let key = [
                on_node.under(),
                &denial.pod_uid,
                &denial.pod,
                &denial.container,
                &denial.call,
                &denial.architecture,
                denial.outcome.word(),
            ]
            .map(str::to_owned);
            let new = denial.count - before.get(&key).copied().unwrap_or_default();
            after.insert(key, denial.count);
            if new > 0 {
                all.push(New { new, on_node });
            }
        }
        self.0.insert(whose, after);
        all
    }
}

fn line(new: &New, format: DenialsFormat) -> Result<String, Failure> {
    if format == DenialsFormat::Json {
        return Ok(serde_json::to_string(new)? + "\n");
    }
    let (under, denial) = (new.on_node.under(), &new.on_node.denial);
    let time = denial.last_seen.as_ref();
    let time = time.map_or_else(String::new, |time| time.0.to_string());
    let arguments = arguments(&denial.arguments);
    let arguments = if arguments.is_empty() {
        arguments
    } else {
        format!(" ({arguments})")
    };
    let outcome = match denial.outcome {
        Outcome::Refused => String::new(),
        outcome => format!(" {}", outcome.word()),
    };
    let text = format!(
        "{time} {}/{} {}: {}{outcome}{arguments} +{} under {under}",
        denial.namespace,
        denial.pod,
        denial.container,
        call(denial),
        new.new
    );
    Ok(visible(&text) + "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(node: &str, counts: &[(&str, i64)]) -> SeccompDenialReport {
        let denial = |(call, count): &(&str, i64)| {
            json!({"profile": "tight", "namespace": "shop", "pod": "web-0", "podUid": "u", "container": "web", "call": call,
                "architecture": "SCMP_ARCH_X86_64", "count": count, "firstSeen": null, "lastSeen": "2026-01-01T00:00:09Z",
                "arguments": [{"index": 0, "values": ["0x26"]}]})
        };
        let denials: Vec<_> = counts.iter().map(denial).collect();
        let report = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompDenialReport", "metadata": {"name": node},
            "node": node, "recorderVersion": "1", "denials": denials});
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn only_what_is_more_than_before_is_new() {
        let mut counted = Counted::default();
        let mut take = |node: &str, counts: &[(&str, i64)]| {
            let new = counted.take(of_recorder(&report(node, counts))).into_iter();
            new.map(|new| (new.on_node.denial.call, new.new))
                .collect::<Vec<_>>()
        };
        let named = |call: &str, new: i64| (call.to_owned(), new);
        assert_eq!(take("n1", &[("socket", 2)]), [named("socket", 2)]);
        assert_eq!(take("n1", &[("socket", 2)]), []);
        assert_eq!(take("n2", &[("socket", 2)]), [named("socket", 2)]);
        assert_eq!(
            take("n1", &[("socket", 9), ("chmod", 1)]),
            [named("socket", 7), named("chmod", 1)]
        );
        // A recorder that begins anew counts from nothing.
        assert_eq!(take("n1", &[("socket", 1)]), []);
        assert_eq!(take("n1", &[("socket", 3)]), [named("socket", 2)]);
    }

    #[test]
    fn a_line_names_the_container_the_call_and_how_often() {
        let new = Counted::default().take(of_recorder(&report("n1", &[("socket", 2)])));
        let text = line(&new[0], DenialsFormat::Text).unwrap();
        assert_eq!(
            text,
            "2026-01-01T00:00:09Z shop/web-0 web: socket (0: 0x26) +2 under tight\n"
        );
        let json: Value =
            serde_json::from_str(&line(&new[0], DenialsFormat::Json).unwrap()).unwrap();
        assert_eq!((&json["new"], &json["node"]), (&json!(2), &json!("n1")));
        assert_eq!(json["pod"], "web-0");
    }
}
