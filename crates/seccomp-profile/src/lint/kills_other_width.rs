//! `kills-other-width`: programs of another width, which the kernel runs, are killed.

use super::subject::{Source, Subject, listed};
use super::{Code, Finding, Severity};

/// 32-bit architectures that the profile does not name, on a kernel that runs their programs.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let named = subject.profile.architectures();
    let [_, widths @ ..] = subject.target.arch.abis() else {
        return;
    };
    // Hardly a kernel runs X32 programs: that one alone is not worth a word.
    let [first, ..] = widths else { return };
    if named.contains(*first) {
        return;
    }
    let missing: Vec<_> = widths
        .iter()
        .filter(|arch| !named.contains(**arch))
        .collect();
    let permits = subject.semantics.default.is_permitted();
    let path = match subject.source {
        Source::Document { .. } => subject.path("architectures"),
        Source::Delta { below, .. } => subject.path(below),
    };
    findings.push(Finding {
        code: Code::KillsOtherWidth,
        severity: if permits {
            Severity::Warning
        } else {
            Severity::Note
        },
        path,
        reason: format!(
            "{} missing: 32-bit programs on {} nodes are killed with SIGSYS at their first call{}",
            match missing.len() {
                1 => format!("{} is", listed(&missing)),
                _ => format!("{} are", listed(&missing)),
            },
            subject.target.arch.native_name(),
            if permits {
                ", though the default lets calls through"
            } else {
                ""
            }
        ),
        remedy: format!(
            "add {}, or leave it so if no such program runs",
            listed(&missing)
        ),
    });
}
