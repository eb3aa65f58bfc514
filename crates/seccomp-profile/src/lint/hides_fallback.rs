//! `hides-fallback`: a new call is answered so that programs do not fall back to the old one.

use std::collections::BTreeSet;

use super::subject::{Subject, enosys, listed};
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::syscall::Syscall;
use crate::syscall::named;

/// New calls, and old ones that C libraries fall back to, only if the kernel says that it does not know the new one.
const FALLBACKS: &[(&str, &str)] = &[
    ("clone3", "clone"),
    ("faccessat2", "faccessat"),
    ("fchmodat2", "fchmodat"),
    ("openat2", "openat"),
    ("statx", "newfstatat fstatat64"),
    ("epoll_pwait2", "epoll_pwait"),
    ("close_range", "close"),
];

/// New calls that are not among these, though an older one that programs fall back to is: ones to answer with `ENOSYS` in an
/// allowlist.
#[must_use]
pub fn newer_calls(allowed: &BTreeSet<Syscall>) -> Vec<Syscall> {
    let hidden = |(new, old): &(&str, &str)| {
        let new = Syscall::named(new)?;
        (!allowed.contains(&new) && named(old).any(|old| allowed.contains(&old))).then_some(new)
    };
    FALLBACKS.iter().filter_map(hidden).collect()
}

/// New calls that are refused with an error that does not make C libraries try the old one.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    let misleads = |action: Action| matches!(action, Action::Errno(_)) && action != enosys(native);
    let hidden: Vec<_> = FALLBACKS
        .iter()
        .filter_map(|(new, old)| {
            let new = Syscall::named(new).filter(|call| call.number(native).is_some())?;
            let misled = subject.always(new).is_some_and(misleads);
            let is_open = |call: Syscall| {
                let decision = subject.semantics.decision_for(call);
                call.number(native).is_some()
                    && decision.actions().into_iter().any(Action::is_permitted)
            };
            (misled && !is_denied_by_name(subject, new) && named(old).any(is_open)).then_some(new)
        })
        .collect();
    let Some(first) = hidden.first() else { return };
    findings.push(Finding {
        code: Code::HidesFallback,
        severity: Severity::Warning,
        path: subject.place_that_refuses(*first),
        reason: format!(
            "answers {} with an error other than ENOSYS, so that programs fail that would use an older call instead, which is allowed",
            listed(&hidden)
        ),
        remedy: format!("allow {}, or answer with ENOSYS (errnoRet 38)", listed(&hidden)),
    });
}

/// Who denies a call by name wants it to fail.
fn is_denied_by_name(subject: &Subject<'_>, call: Syscall) -> bool {
    let denials = subject.denials();
    denials.iter().any(|(_, calls, _)| calls.contains(&call))
}
