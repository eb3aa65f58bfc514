//! `unknown-to-older-runtimes`: the libseccomp of older runtimes does not know a denied call.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::arch::Arch;
use crate::syscall::Syscall;

/// libseccomp's versions, the kernels whose calls they know, and the number of the newest, which is the same on all
/// architectures since 424 (but for the bases of X32 and MIPS).
const LIBSECCOMP: [(&str, &str, u32); 4] = [
    ("2.5.4", "5.17", 450),
    ("2.5.5", "6.7", 456),
    ("2.6.0", "6.13", 466),
    ("2.6.1", "7.1", 471),
];

/// Denied calls that the libseccomp of older runtimes does not know.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let default = subject.semantics.default;
    for (path, calls, _) in subject.denials() {
        let mut unknown: Vec<(u32, Syscall)> = calls
            .iter()
            .filter(|call| {
                // Where the default is no less strict, nothing is lost.
                let refused = subject.semantics.decision_for(**call).actions();
                refused
                    .into_iter()
                    .any(|action| action.refuses() && action.leniency() < default.leniency())
            })
            .filter_map(|call| Some((unified(*call)?, *call)))
            .filter(|(number, _)| *number > LIBSECCOMP[0].2)
            .collect();
        unknown.sort_unstable();
        let Some((oldest, _)) = unknown.first() else {
            continue;
        };
        let (version, kernel, _) = LIBSECCOMP
            .iter()
            .rev()
            .find(|(.., newest)| newest < oldest)
            .unwrap_or(&LIBSECCOMP[0]);
        let calls: Vec<_> = unknown.iter().map(|(_, call)| *call).collect();
        findings.push(Finding {
            code: Code::UnknownToOlderRuntimes,
            severity: Severity::Note,
            path,
            reason: format!(
                "denies {}, and runtimes with libseccomp {version} or older, which knows the calls of Linux {kernel}, drop that \
                 without a word",
                listed(&calls)
            ),
            remedy: "make sure that nodes with newer kernels have newer runtimes, or deny by default and allow by name".into(),
        });
    }
}

/// The number of a call of those that are the same on all architectures.
fn unified(call: Syscall) -> Option<u32> {
    call.number(Arch::Aarch64).filter(|number| *number >= 424)
}
