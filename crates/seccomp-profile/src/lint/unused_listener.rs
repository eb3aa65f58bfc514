//! `unused-listener`: nothing is asked of the listener.

use super::subject::Subject;
use super::{Code, Finding, Severity};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if subject.profile.listener().is_some() && !subject.notifies() {
        findings.push(Finding {
            code: Code::UnusedListener,
            severity: Severity::Warning,
            path: subject.path("listenerPath"),
            reason: "is never asked: no rule has SCMP_ACT_NOTIFY".into(),
            remedy: "remove it, or give the calls to be asked about SCMP_ACT_NOTIFY".into(),
        });
    }
}
