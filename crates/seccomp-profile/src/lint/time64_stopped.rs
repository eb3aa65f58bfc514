//! `time64-stopped`: 32-bit programs are not let make the calls with times of 64 bits, which their C libraries try first.

use super::subject::{Subject, enosys, listed};
use super::{Code, Finding};
use crate::fallback::wide_times;
use crate::syscall::Syscall;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for arch in subject.profile.architectures().iter() {
        let is_open = |call: &Syscall| subject.is_open_for_some(*call);
        let pairs = wide_times(arch).filter(|(_, old)| old.iter().any(is_open));
        let new = pairs.filter(|_| !arch.is_64_bit()).map(|(new, _)| new);
        for (loaders, calls) in
            subject.refused_by_loaders(arch, new, |action| action != enosys(arch))
        {
            let Some(first) = calls.first() else { continue };
            findings.push(Finding {
                code: Code::Time64Stopped,
                severity: subject.severity_under(loaders),
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
