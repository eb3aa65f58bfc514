//! `never-holds`: a condition holds for no argument, or the conditions of a change for none together.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::arg_set::{ArgSet, ValueSet};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let mut add = |path: String, reason: String, remedy: &str| {
        findings.push(Finding {
            code: Code::NeverHolds,
            severity: Severity::Warning,
            path,
            reason,
            remedy: remedy.into(),
        });
    };
    for (path, condition) in subject.conditions() {
        if ValueSet::satisfying(condition).next().is_none() {
            add(
                path,
                format!("{condition} never holds, so that the rule does nothing"),
                "correct the value or the operator, or remove the rule",
            );
        }
    }
    for (_, path, change) in subject.changes() {
        let regions = ArgSet::satisfying(&change.conditions);
        if change.conditions.len() > 1 && regions.is_some_and(|regions| regions.is_empty()) {
            add(
                format!("{path}.args"),
                "never hold together: here several conditions on one argument are a range".into(),
                "write an entry for each if one of them is enough",
            );
        }
    }
}
