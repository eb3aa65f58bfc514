//! `kills-probe`: a call kills that C libraries and language runtimes only try, to see whether the kernel has it.

use super::subject::{Subject, listed};
use super::{Code, Finding};
use crate::action::Action;
use crate::syscall::named;

/// What glibc, musl, Go, Node.js and the like try at their start or on first use, and do without.
const PROBED: &str = "clone3 close_range epoll_pwait2 faccessat2 fchmodat2 io_uring_setup openat2 pidfd_open rseq statx";

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let kills = |action| {
        matches!(
            action,
            Action::KillProcess | Action::KillThread | Action::Trap
        )
    };
    let native = subject.target.arch;
    let probed = named(PROBED).filter(|call| call.number(native).is_some());
    for (loaders, calls) in subject.refused_by_loaders(native, probed, kills) {
        let Some(first) = calls.first() else { continue };
        let steps = subject.make_known_or_unknown(&calls);
        findings.push(Finding {
            code: Code::KillsProbe,
            severity: subject.severity_under(loaders),
            path: subject.place_that_refuses(*first),
            reason: format!(
                "{}kills programs for {}, which C libraries and language runtimes only try, and do without if the kernel says that it \
                 does not know the call",
                subject.under(loaders),
                listed(&calls)
            ),
            remedy: steps.join(", and "),
        });
    }
}
