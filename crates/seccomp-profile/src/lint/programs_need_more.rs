//! `programs-need-more`: every program ends, returns from signals and goes on after a stop.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::runtime::every_program_needs;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = [subject.target.arch];
    let missing: Vec<_> = every_program_needs(&native)
        .filter(|call| subject.refusal(*call).is_some())
        .collect();
    let Some(first) = missing.first() else { return };
    let effects: Vec<_> = missing
        .iter()
        .map(|call| match call.name() {
            "exit" => "threads do not end",
            "exit_group" => "programs do not end but by a crash",
            "restart_syscall" => "a sleep fails when the program is stopped and goes on",
            _ => "no signal handler returns",
        })
        .collect();
    findings.push(Finding {
        code: Code::ProgramsNeedMore,
        severity: Severity::Warning,
        path: subject.place_that_refuses(*first),
        reason: format!(
            "refuses {}, which every program needs: {}",
            listed(&missing),
            listed(&effects)
        ),
        remedy: subject.allow_too(&missing),
    });
}
