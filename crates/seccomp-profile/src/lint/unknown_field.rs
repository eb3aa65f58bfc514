//! `unknown-field`: a file has fields that runtimes drop.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::document::OddityKind;

/// One finding for each name: a comment stands in every rule as a rule.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let mut by_name = BTreeMap::<&str, (Finding, usize)>::new();
    for oddity in subject.oddities() {
        let OddityKind::Field { name, is_misspelt } = &oddity.kind else {
            continue;
        };
        let severity = if *is_misspelt {
            Severity::Warning
        } else {
            Severity::Note
        };
        let first = || {
            (
                Finding::of(&oddity.problem, Code::UnknownField, severity),
                0,
            )
        };
        by_name.entry(name).or_insert_with(first).1 += 1;
    }
    findings.extend(by_name.into_values().map(|(mut finding, places)| {
        if places > 1 {
            let _ = write!(finding.reason, ", here and in {} more places", places - 1);
        }
        finding
    }));
}
