//! Whether a container starts under the profile, and whether programs still find their way in it.

use super::{Code, Finding, Severity, Subject, enosys, listed, named};
use crate::action::Action;
use crate::runtime::Runtime;
use crate::syscall::Syscall;

/// New calls, and old ones that C libraries fall back to, only if the kernel says that it does not know the new one.
const FALLBACKS: [(&str, &str); 7] = [
    ("clone3", "clone"),
    ("faccessat2", "faccessat"),
    ("fchmodat2", "fchmodat"),
    ("openat2", "openat"),
    ("statx", "newfstatat fstatat64"),
    ("epoll_pwait2", "epoll_pwait"),
    ("close_range", "close"),
];

/// What runc can do without if the kernel says that it does not know it.
const RUNC_FALLS_BACK: &str = "close_range faccessat2 openat2";

pub(super) fn of(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    runtime(subject, findings);
    fallbacks(subject, findings);
}

fn refuses(subject: &Subject<'_>, call: Syscall) -> Option<Action> {
    subject.always(call).filter(|action| action.refuses())
}

/// What runc needs. crun needs less than runc, so that a profile which does for runc does for it.
fn runtime(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    let is_refused = |call: &Syscall| refuses(subject, *call).is_some();
    let missing: Vec<_> = Runtime::Runc.must_have(native);
    let missing: Vec<_> = missing.into_iter().filter(is_refused).collect();
    if let Some(first) = missing.first() {
        let crun = Runtime::Crun.needs(native);
        let crun_starts = !crun.iter().any(is_refused);
        findings.push(Finding {
            code: Code::NoContainerStarts,
            severity: if crun_starts { Severity::Warning } else { Severity::Error },
            path: subject.place_that_refuses(*first),
            reason: format!(
                "refuses {}, which runc itself calls after it has loaded the filter: no container starts{}",
                listed(&missing),
                if crun_starts { " but with crun" } else { "" }
            ),
            remedy: "allow what the runtime needs: `kubectl seccomp from-strace -o profile` and `merge --runtime runc` add it".into(),
        });
        return;
    }
    let falls_back = |call: &Syscall| {
        refuses(subject, *call) == Some(enosys(native))
            && RUNC_FALLS_BACK.split(' ').any(|name| name == call.name())
    };
    let needs = Runtime::Runc.needs(native);
    let missing: Vec<_> = needs
        .into_iter()
        .filter(is_refused)
        .filter(|call| !falls_back(call))
        .map(|call| (call, Runtime::Runc.needed_by(call)))
        .filter(|(_, by)| !by.is_empty())
        .collect();
    let Some((first, _)) = missing.first() else {
        return;
    };
    let mut versions: Vec<_> = missing.iter().flat_map(|(_, by)| by.clone()).collect();
    versions.sort_unstable();
    versions.dedup();
    let calls: Vec<_> = missing.iter().map(|(call, _)| *call).collect();
    findings.push(Finding {
        code: Code::RuntimeNeedsMore,
        severity: Severity::Warning,
        path: subject.place_that_refuses(*first),
        reason: format!(
            "refuses {}, which {} itself calls: containers do not start with that",
            listed(&calls),
            listed(&versions)
        ),
        remedy: "allow them, or the containers start with one version of the runtime and not with the next".into(),
    });
}

/// New calls that are refused with an error that does not make C libraries try the old one.
fn fallbacks(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
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
