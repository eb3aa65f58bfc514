//! `no-tracer`: a call is handed to a tracer, and a container has none.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::action::Action;

/// Says it once.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let traces = |action| matches!(action, Action::Trace(_));
    findings.extend(subject.first_action(traces).map(|path| Finding {
        code: Code::NoTracer,
        severity: Severity::Warning,
        path,
        reason: "asks a tracer, and a container has none: the call fails with ENOSYS".into(),
        remedy: "use SCMP_ACT_LOG to see calls, or SCMP_ACT_ERRNO to deny them".into(),
    }));
}
