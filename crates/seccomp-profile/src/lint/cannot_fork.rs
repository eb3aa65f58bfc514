//! `cannot-fork`: `clone` is denied with any flags, so that there are neither processes nor threads.

use super::by_flags::ByFlags;
use super::subject::{Source, Subject};
use super::{Code, Finding, Severity};
use crate::syscall::Syscall;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    // A list of what is allowed that lacks it may well be meant for a program that starts none.
    let is_list_of_allowed = !subject.semantics.default.is_permitted() && subject.is_document();
    if is_list_of_allowed || subject.refusal(Syscall::CLONE).is_none() {
        return;
    }
    let denials = subject.denials().into_iter();
    let mut denials =
        denials.filter(|(_, calls, partly)| !partly && calls.contains(&Syscall::CLONE));
    let Some((path, ..)) = denials.next() else {
        return;
    };
    let from = match subject.source {
        Source::Document { .. } => format!("{path}.names"),
        Source::Delta { .. } => subject.path("deny"),
    };
    let mut steps = vec![format!("remove clone from {from}")];
    if subject.is_open(Syscall::CLONE3) {
        steps.push(subject.answer_enosys(&[Syscall::CLONE3]));
    }
    steps.push(ByFlags::Namespaces.remedy(subject));
    findings.push(Finding {
        code: Code::CannotFork,
        severity: Severity::Warning,
        path,
        reason: "denies clone with any flags, by which C libraries make processes and threads: hardly a program can start another one"
            .into(),
        remedy: steps.join(", and "),
    });
}
