//! `too-many-instructions`: more than the kernel loads.

use super::subject::{Source, Subject};
use super::{Code, Finding, Severity};
use crate::syscall::Syscall;

/// How many BPF instructions the kernel loads for one filter (`BPF_MAXINSNS`).
const BPF_MAXINSNS: usize = 4096;

/// More rules than the kernel has instructions for: each takes one at least.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let default = subject.semantics.default;
    let arches = |call: &Syscall| {
        let arches = subject.profile.architectures().iter();
        arches.filter(|arch| call.number(*arch).is_some()).count()
    };
    let mut instructions = 0;
    let calls = subject.semantics.calls.iter();
    for (call, decision) in calls.filter(|(call, _)| subject.is_reachable(**call)) {
        instructions += arches(call)
            * match decision.constant() {
                Some(action) => usize::from(action != default),
                // What cannot be written takes more conditions than that.
                None => decision
                    .rules(default)
                    .map_or(BPF_MAXINSNS + 1, |rules| rules.len()),
            };
        if instructions > BPF_MAXINSNS {
            break;
        }
    }
    if instructions > BPF_MAXINSNS {
        findings.push(Finding {
            code: Code::TooManyInstructions,
            severity: Severity::Error,
            path: match subject.source {
                Source::Document { .. } => subject.path("syscalls"),
                Source::Delta { .. } => subject.path("deny"),
            },
            reason: format!(
                "takes more than {BPF_MAXINSNS} instructions, and the kernel loads no more: no container starts"
            ),
            remedy: "use fewer and wider conditions (SCMP_CMP_MASKED_EQ, ranges), or name fewer architectures".into(),
        });
    }
}
