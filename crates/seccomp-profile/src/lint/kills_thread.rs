//! `kills-thread`: one thread is killed, and the others go on.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::action::Action;

/// Says it once.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let kills = |action| action == Action::KillThread;
    findings.extend(subject.first_action(kills).map(|path| Finding {
        code: Code::KillsThread,
        severity: Severity::Note,
        path,
        reason: "kills the calling thread only: a program with several goes on without it, and may hang".into(),
        remedy: "use SCMP_ACT_KILL_PROCESS".into(),
    }));
}
