//! `needs-listener`: a listener must be there for a container to start.

use super::subject::Subject;
use super::{Code, Finding, Severity};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let listener = subject.profile.listener();
    let Some(listener) = listener.filter(|_| subject.notifies()) else {
        return;
    };
    findings.push(Finding {
        code: Code::NeedsListener,
        severity: Severity::Warning,
        path: subject.path("listenerPath"),
        reason: format!(
            "no container starts while nobody listens on {:?}, and runtimes take no such profile from a registry (KEP-6061)",
            listener.path
        ),
        remedy: "make sure that the agent is there before the pods, on every node".into(),
    });
}
