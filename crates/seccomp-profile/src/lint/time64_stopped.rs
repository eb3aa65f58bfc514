//! `time64-stopped`: 32-bit programs are not let make the calls with times of 64 bits, which their C libraries try first.

use super::subject::{Subject, enosys, listed};
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::fallback::wide_times;
use crate::loader::Loaders;
use crate::runtime::Runtime;
use crate::syscall::Syscall;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for arch in subject.profile.architectures().iter() {
        let mut stopped = Vec::<(Loaders, Vec<Syscall>)>::new();
        let is_open = |call: &Syscall| {
            let decision = subject.semantics.decision_for(*call);
            decision.actions().into_iter().any(Action::is_permitted)
        };
        let pairs = wide_times(arch).filter(|(_, old)| old.iter().any(is_open));
        for (new, _) in pairs.filter(|_| !arch.is_64_bit()) {
            let loaders = subject.loaders.for_which(|generation| {
                let refusal = subject.refusal_under(generation, arch, new);
                refusal.is_some_and(|action| action != enosys(arch))
            });
            match stopped.iter_mut().find(|(known, _)| *known == loaders) {
                _ if loaders.is_empty() => {}
                Some((_, calls)) => calls.push(new),
                None => stopped.push((loaders, vec![new])),
            }
        }
        for (loaders, calls) in stopped {
            let Some(first) = calls.first() else { continue };
            let has_it = subject.loaders.asked().is_some() || loaders.contains(Runtime::Runc);
            findings.push(Finding {
                code: Code::Time64Stopped,
                severity: if has_it {
                    Severity::Warning
                } else {
                    Severity::Note
                },
                path: subject.place_that_refuses(*first),
                reason: format!(
                    "{}stops {} of {arch}, which C libraries of 32 bits try before the older calls that are allowed: with another error \
                     than ENOSYS programs fail",
                    subject.under(loaders),
                    listed(&calls)
                ),
                remedy: subject.allow_too(&calls),
            });
        }
    }
}
