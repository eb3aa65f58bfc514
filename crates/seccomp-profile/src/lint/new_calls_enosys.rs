//! `new-calls-enosys`: calls newer than the profile are not treated as the default says.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::loader::Generation;
use crate::oci::Rule;

/// A default that kills, of which runc makes `ENOSYS` for new calls.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let default = subject.profile.default_action();
    if !matches!(
        default,
        Action::KillProcess | Action::KillThread | Action::Trap
    ) {
        return;
    }
    let has_stub = |generation: Generation| generation.has_stub(true);
    if subject.loaders.for_which(has_stub).is_empty() {
        return;
    }
    let native = subject.target.arch;
    let calls = subject.profile.rules().iter().flat_map(Rule::syscalls);
    let last = calls
        .filter_map(|call| Some((call.number(native)?, *call)))
        .max();
    let Some((_, last)) = last else { return };
    findings.push(Finding {
        code: Code::NewCallsEnosys,
        severity: Severity::Note,
        path: subject.path("defaultAction"),
        reason: format!(
            "does not happen to calls newer than {last}, the newest that a rule names: runc answers them with ENOSYS, without \
             a record"
        ),
        remedy: "name a newer call in a rule to move the limit; crun has none".into(),
    });
}
