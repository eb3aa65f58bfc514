//! What is known of the nodes' audit readers: where they hear nothing, and what they could not tell.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::text::visible;
use seccomp_operator_api::{Hearing, SeccompAuditReport, UnplacedCall};

/// So many of each kind are named.
const NAMED: usize = 5;

/// Of all readers.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heard {
    /// How many nodes have a reader that has reported.
    readers: usize,
    /// The nodes whose reader hears nothing, or not all, and why.
    deaf: Vec<OnNode>,
    /// How often it could not be told whose call it was.
    unplaced_count: i64,
    /// The most frequent of these.
    unplaced: Vec<Unplaced>,
    /// Records that never came.
    lost: i64,
}

#[derive(Debug, PartialEq, Serialize)]
struct OnNode {
    node: String,
    #[serde(flatten)]
    hearing: Hearing,
}

#[derive(Debug, PartialEq, Serialize)]
struct Unplaced {
    node: String,
    #[serde(flatten)]
    call: UnplacedCall,
}

impl Heard {
    /// What the reports of all readers say; none if there is no reader.
    pub fn of(reports: &[SeccompAuditReport]) -> Option<Self> {
        if reports.is_empty() {
            return None;
        }
        let reports = reports.iter().map(|report| &report.spec);
        let sum = |count: fn(&seccomp_operator_api::AuditReport) -> i64| {
            let counts = reports.clone().map(count);
            counts.fold(0, i64::saturating_add)
        };
        let deaf = reports
            .clone()
            .filter(|report| report.hearing.reason.is_some());
        let deaf = deaf.map(|report| OnNode {
            node: report.node.clone(),
            hearing: report.hearing.clone(),
        });
        let unplaced = reports.clone().flat_map(|report| {
            report.unplaced.iter().map(|call| Unplaced {
                node: report.node.clone(),
                call: call.clone(),
            })
        });
        let mut unplaced: Vec<_> = unplaced.collect();
        unplaced.sort_by_key(|of| std::cmp::Reverse(of.call.count));
        Some(Self {
            readers: reports.len(),
            deaf: deaf.collect(),
            unplaced_count: sum(|report| report.unplaced_count),
            unplaced,
            lost: sum(|report| report.lost),
        })
    }

    /// In lines; none where all is well.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut reasons = BTreeMap::<_, Vec<&str>>::new();
        for OnNode { node, hearing } in &self.deaf {
            let message = hearing.message.as_deref().unwrap_or_default();
            let nodes = reasons.entry((hearing.hears, message)).or_default();
            nodes.push(node);
        }
        for ((hears, message), nodes) in reasons {
            let what = if hears {
                "not all is heard"
            } else {
                "nothing is heard of what is killed and logged"
            };
            let more = match nodes.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let nodes: Vec<_> = nodes.iter().take(NAMED).map(|node| visible(node)).collect();
            let (nodes, message) = (nodes.join(", "), visible(message));
            let _ = writeln!(text, "{what} on {nodes}{more}: {message}"); // a string takes all
        }
        if self.unplaced_count > 0 || !self.unplaced.is_empty() {
            let named = self.unplaced.iter().take(NAMED).map(|of| {
                let UnplacedCall {
                    comm,
                    call,
                    outcome,
                    ..
                } = &of.call;
                let by = if comm.is_empty() {
                    "a pod that is not known"
                } else {
                    comm
                };
                visible(&format!("{by}: {call} {}", outcome.word()))
            });
            let named: Vec<_> = named.collect();
            let named = if named.is_empty() {
                String::new()
            } else {
                format!(" ({})", named.join(", "))
            };
            let _ = writeln!(
                text,
                "{} calls of any pods have no container: their process was gone before it could be told{named}",
                self.unplaced_count
            ); // as above
        }
        if self.lost > 0 {
            let _ = writeln!(
                text,
                "{} audit records were lost on their nodes: what is counted may be less than what was called",
                self.lost
            ); // as above
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(node: &str, hearing: &Value, more: &Value) -> SeccompAuditReport {
        let mut report = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompAuditReport", "metadata": {"name": node},
            "node": node, "readerVersion": "1", "hearing": hearing});
        for (key, value) in more.as_object().into_iter().flatten() {
            report[key] = value.clone();
        }
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn where_nothing_is_heard_and_what_could_not_be_told_is_said() {
        assert_eq!(Heard::of(&[]), None);
        let hears = json!({"hears": true});
        assert_eq!(
            Heard::of(&[report("n1", &hears, &Value::Null)])
                .unwrap()
                .text(),
            ""
        );
        let deaf =
            json!({"hears": false, "reason": "Silent", "message": "the kernel sends no records"});
        let unplaced = json!({"unplacedCount": 12, "unplaced": [
            {"comm": "sh", "call": "ptrace", "architecture": "SCMP_ARCH_X86_64", "outcome": "Killed", "count": 12, "lastSeen": null}]});
        let heard = Heard::of(&[
            report("n1", &deaf, &Value::Null),
            report("n2", &deaf, &Value::Null),
            report("n3", &hears, &unplaced),
        ]);
        assert_eq!(
            heard.unwrap().text(),
            "\
nothing is heard of what is killed and logged on n1, n2: the kernel sends no records
12 calls of any pods have no container: their process was gone before it could be told (sh: ptrace killed)
"
        );
    }
}
