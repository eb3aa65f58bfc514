//! `unknown-call`: a file names what is no system call, or nothing at all.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::document::{Document, OddityKind};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(document) = subject.read_as_is() else {
        return;
    };
    for oddity in subject.oddities() {
        let (severity, unenforced) = match oddity.kind {
            OddityKind::Call { entry } if denies(document, entry) => (Severity::Error, true),
            OddityKind::Call { .. } | OddityKind::NoCalls => (Severity::Warning, false),
            _ => continue,
        };
        let mut finding = Finding::of(&oddity.problem, Code::UnknownCall, severity);
        if unenforced {
            finding.reason += ": what it says to deny is let through";
        }
        findings.push(finding);
    }
}

/// Whether the entry refuses what the default lets happen.
fn denies(document: &Document, entry: usize) -> bool {
    let refuses = |action: Action| action.refuses();
    let entry = document.entries.get(entry);
    entry.is_some_and(|entry| refuses(entry.verdict.action)) && !refuses(document.default.action)
}
