//! `runtime-needs-more`: some versions of the runtime call what the profile refuses.

use super::subject::{Subject, enosys, listed};
use super::{Code, Finding, Severity};
use crate::runtime::Runtime;
use crate::syscall::Syscall;
use crate::syscall::named;

/// What runc can do without if the kernel says that it does not know it.
const RUNC_FALLS_BACK: &str = "close_range faccessat2 openat2";

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    let is_refused = |call: &Syscall| subject.refusal(*call).is_some();
    // Under which no version starts has a code of its own.
    if Runtime::Runc.must_have(native).iter().any(is_refused) {
        return;
    }
    let falls_back = |call: &Syscall| {
        subject.refusal(*call) == Some(enosys(native))
            && named(RUNC_FALLS_BACK).any(|known| known == *call)
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
