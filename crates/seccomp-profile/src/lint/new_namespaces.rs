//! `new-namespaces`: an allowlist has `clone` with any flags.

use super::by_flags::{ALL_NAMESPACES, flags_of_clone};
use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::capability::Capability;
use crate::syscall::Syscall;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if subject.semantics.default.is_permitted() {
        return;
    }
    if subject.target.capabilities.contains(Capability::SYS_ADMIN) {
        return;
    }
    let clones = [Syscall::CLONE, Syscall::CLONE3].into_iter();
    let open: Vec<_> = clones.filter(|call| subject.is_open(*call)).collect();
    let Some(first) = open.first() else { return };
    let arg = flags_of_clone(subject.target.arch).get();
    findings.push(Finding {
        code: Code::NewNamespaces,
        severity: Severity::Warning,
        path: subject.place_that_permits(*first),
        reason: format!(
            "allows {} with any flags, so that every program can have a user namespace and all capabilities in it",
            listed(&open)
        ),
        remedy: format!(
            "allow clone only where SCMP_CMP_MASKED_EQ of argument {arg} with value {ALL_NAMESPACES:#x} and valueTwo 0 \
             holds, and answer clone3 with ENOSYS (SCMP_ACT_ERRNO with errnoRet 38)"
        ),
    });
}
