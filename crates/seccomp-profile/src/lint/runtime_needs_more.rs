//! `runtime-needs-more`: some versions of the runtime call what the profile refuses.

use super::subject::{RUNC_FALLS_BACK, Subject, enosys, listed};
use super::{Code, Finding, Severity};
use crate::runtime::{Measured, Runtime};
use crate::syscall::Syscall;
use crate::syscall::named;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    // runc is what most nodes have; of others it is said to who asks.
    let runtime = match subject.loaders.asked() {
        None => Runtime::Runc,
        Some(asked) => asked.runtime,
    };
    let native = subject.target.arch;
    let is_refused = |call: &Syscall| subject.refusal(*call).is_some();
    // Under which no version starts has a code of its own.
    if runtime.must_have(native).iter().any(is_refused) {
        return;
    }
    let mut missing: Vec<Syscall> = Vec::new();
    let mut versions: Vec<String> = Vec::new();
    for set in runtime.measured() {
        let lacks = lacking(subject, runtime, set);
        let words = set.words();
        // What is needed with `noNewPrivileges` is needed without.
        if !lacks.is_empty() {
            versions.retain(|known| !known.starts_with(&format!("{words} ")));
            versions.push(words);
        }
        missing.extend(lacks);
    }
    missing.sort_unstable();
    missing.dedup();
    let Some(first) = missing.first() else {
        return;
    };
    findings.push(Finding {
        code: Code::RuntimeNeedsMore,
        severity: Severity::Warning,
        path: subject.place_that_refuses(*first),
        reason: format!(
            "refuses {}, which {} itself calls: containers do not start with that",
            listed(&missing),
            listed(&versions)
        ),
        remedy: subject.allow_too(&missing),
    });
}

/// What that version needs and does not get.
fn lacking(subject: &Subject<'_>, runtime: Runtime, set: &Measured) -> Vec<Syscall> {
    let Some(generation) = subject.loaders.generation_of(runtime, set.version) else {
        return Vec::new();
    };
    let native = subject.target.arch;
    let is_lacking = |call: &Syscall| match subject.refusal_under(generation, native, *call) {
        None => false,
        Some(answer) => {
            let falls_back = named(RUNC_FALLS_BACK).any(|known| known == *call);
            answer != enosys(native) || !falls_back
        }
    };
    set.calls(native).into_iter().filter(is_lacking).collect()
}
