//! `stops-nothing`: the default lets calls through, and no rule stops any.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::action::Action;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if !subject.semantics.default.is_permitted() || subject.stops_some() {
        return;
    }
    let logs = subject.semantics.default == Action::Log;
    findings.push(Finding {
        code: Code::StopsNothing,
        severity: if logs { Severity::Note } else { Severity::Warning },
        path: subject.default_place(),
        reason: format!(
            "is {}, and no rule denies anything: the profile stops nothing, and counts as a profile to Pod Security all the \
             same",
            subject.semantics.default.name()
        ),
        remedy: if logs {
            "use it to see what a program calls, and not for longer".into()
        } else {
            "deny what the program does not need, or use RuntimeDefault".into()
        },
    });
}
