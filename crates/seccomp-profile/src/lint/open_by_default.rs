//! `open-by-default`: a denylist lets through what it does not name.

use super::dangerous_allow::DANGEROUS;
use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::syscall::named;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if !subject.semantics.default.is_permitted() || !subject.stops_some() {
        return;
    }
    let open: Vec<_> = DANGEROUS
        .iter()
        .filter_map(|danger| named(danger.calls).next())
        .filter(|call| subject.is_open(*call))
        .collect();
    if !open.is_empty() {
        findings.push(Finding {
            code: Code::OpenByDefault,
            severity: Severity::Note,
            path: subject.default_place(),
            reason: format!(
                "is {}: what the profile does not name is let through, {} too, which the runtimes' own profiles deny",
                subject.semantics.default.name(),
                listed(&open[..open.len().min(5)])
            ),
            remedy: "derive it from runtime-default and deny the rest there".into(),
        });
    }
}
