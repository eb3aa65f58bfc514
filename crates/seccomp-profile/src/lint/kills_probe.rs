//! `kills-probe`: a call kills that C libraries and language runtimes only try, to see whether the kernel has it.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::loader::Loaders;
use crate::runtime::Runtime;
use crate::syscall::{Syscall, named};

/// What glibc, musl, Go, Node.js and the like try at their start or on first use, and do without.
const PROBED: &str = "clone3 close_range epoll_pwait2 faccessat2 fchmodat2 io_uring_setup openat2 pidfd_open rseq statx";

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let kills = |action| {
        matches!(
            action,
            Action::KillProcess | Action::KillThread | Action::Trap
        )
    };
    let mut killing = Vec::<(Loaders, Vec<Syscall>)>::new();
    for call in named(PROBED).filter(|call| call.number(subject.target.arch).is_some()) {
        let loaders = subject.loaders.for_which(|generation| {
            let refusal = subject.refusal_under(generation, subject.target.arch, call);
            refusal.is_some_and(kills)
        });
        match killing.iter_mut().find(|(known, _)| *known == loaders) {
            _ if loaders.is_empty() => {}
            Some((_, calls)) => calls.push(call),
            None => killing.push((loaders, vec![call])),
        }
    }
    for (loaders, calls) in killing {
        let Some(first) = calls.first() else { continue };
        let has_it = subject.loaders.asked().is_some() || loaders.contains(Runtime::Runc);
        let steps = subject.make_known_or_unknown(&calls);
        findings.push(Finding {
            code: Code::KillsProbe,
            severity: if has_it {
                Severity::Warning
            } else {
                Severity::Note
            },
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
