//! `too-many-instructions`: more than the kernel loads.

use super::subject::{Source, Subject};
use super::{Code, Finding, Severity};
use crate::size::MAX_INSTRUCTIONS;

/// What is sure is an error. What may be, by what libseccomp makes of jumps and of pieces that calls share, is a warning.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let instructions = if subject.read_as_is().is_some() {
        subject.profile.instructions()
    } else {
        match subject.semantics.profile("") {
            Ok(written) => written.instructions(),
            // What takes more conditions than there are instructions cannot be written; all else is an error of its own.
            Err(_) if cannot_be_written(subject) => usize::MAX..=usize::MAX,
            Err(_) => return,
        }
    };
    let (least, most) = (*instructions.start(), *instructions.end());
    if most <= MAX_INSTRUCTIONS {
        return;
    }
    let is_sure = least > MAX_INSTRUCTIONS;
    findings.push(Finding {
        code: Code::TooManyInstructions,
        severity: if is_sure {
            Severity::Error
        } else {
            Severity::Warning
        },
        path: match subject.source {
            Source::Document { .. } => subject.path("syscalls"),
            Source::Delta { .. } => subject.path("deny"),
        },
        reason: if is_sure {
            format!(
                "takes more than {MAX_INSTRUCTIONS} instructions, and the kernel loads no more: no container starts"
            )
        } else {
            format!(
                "takes {least} to {most} instructions, and the kernel loads at most {MAX_INSTRUCTIONS}: with some versions of libseccomp no container may start"
            )
        },
        remedy: "use fewer and wider conditions (SCMP_CMP_MASKED_EQ, ranges), or name fewer architectures".into(),
    });
}

fn cannot_be_written(subject: &Subject<'_>) -> bool {
    let semantics = subject.semantics;
    let mut calls = semantics.calls.iter();
    calls.any(|(call, decision)| {
        subject.is_reachable(*call) && decision.rules(semantics.default).is_err()
    })
}
