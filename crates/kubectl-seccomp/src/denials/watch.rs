//! `kubectl seccomp denials --watch`: what is refused from now on, a line each time that a node reports more.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::TryStreamExt as _;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::Serialize;

use super::{DenialsFormat, OnNode, Wanted, arguments, call};
use crate::text::visible;
use crate::{Failure, output};
use kube_support::error::chain;
use seccomp_operator_api::{ObservedDenial, SeccompDenialReport};

/// Prints what is new until it is interrupted. `known` has been shown already.
pub async fn watch(
    reports: Api<SeccompDenialReport>,
    known: &[SeccompDenialReport],
    wanted: &Wanted<'_>,
    format: DenialsFormat,
) -> Result<(), Failure> {
    let mut counted = Counted::default();
    for report in known {
        counted.take(report);
    }
    let reports = watcher(reports, watcher::Config::default()).default_backoff();
    let mut reports = pin!(reports);
    let mut interrupted = false;
    loop {
        match reports.try_next().await {
            Ok(Some(watcher::Event::Apply(report) | watcher::Event::InitApply(report))) => {
                interrupted = false;
                for new in counted.take(&report) {
                    if wanted.is(&new.on_node.observed) {
                        output::print(line(&new, format)?)?;
                    }
                }
            }
            Ok(Some(_)) => {}
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
struct Counted(BTreeMap<String, BTreeMap<[String; 6], i64>>);

impl Counted {
    /// What a node's report has that was not shown yet. What it does not name any more is forgotten.
    fn take(&mut self, report: &SeccompDenialReport) -> Vec<New> {
        let node = &report.spec.node;
        let before = self.0.remove(node).unwrap_or_default();
        let (mut after, mut all) = (BTreeMap::new(), Vec::new());
        for observed in &report.spec.denials {
            let ObservedDenial { profile, denial } = observed;
            let key = [
                profile,
                &denial.pod_uid,
                &denial.pod,
                &denial.container,
                &denial.call,
                &denial.architecture,
            ]
            .map(Clone::clone);
            let new = denial.count - before.get(&key).copied().unwrap_or_default();
            after.insert(key, denial.count);
            if new > 0 {
                let on_node = OnNode {
                    node: node.clone(),
                    observed: observed.clone(),
                };
                all.push(New { new, on_node });
            }
        }
        self.0.insert(node.clone(), after);
        all
    }
}

fn line(new: &New, format: DenialsFormat) -> Result<String, Failure> {
    if format == DenialsFormat::Json {
        return Ok(serde_json::to_string(new)? + "\n");
    }
    let ObservedDenial { profile, denial } = &new.on_node.observed;
    let time = denial.last_seen.as_ref();
    let time = time.map_or_else(String::new, |time| time.0.to_string());
    let arguments = arguments(&denial.arguments);
    let arguments = if arguments.is_empty() {
        arguments
    } else {
        format!(" ({arguments})")
    };
    let text = format!(
        "{time} {}/{} {}: {}{arguments} +{} under {profile}",
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
            let new = counted.take(&report(node, counts)).into_iter();
            new.map(|new| (new.on_node.observed.denial.call, new.new))
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
        let new = Counted::default().take(&report("n1", &[("socket", 2)]));
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
