//! `faked-success`: an error of 0 looks like success.

use super::subject::{Source, Subject};
use super::{Code, Finding, Severity};
use crate::errno::Errno;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let arch = subject.target.arch;
    let default = match subject.source {
        Source::Document { .. } => subject.profile.default_action().errno(),
        Source::Delta { .. } => None,
    };
    let default = (subject.path("defaultErrnoRet"), default);
    let rules = subject.entries().iter().map(|(i, entry)| {
        let path = subject.path(&format!("syscalls[{i}].errnoRet"));
        (path, entry.verdict.on(arch).errno())
    });
    let changes = subject.changes().into_iter().map(|(_, path, change)| {
        let errno = change.errno.map(|errno| errno.on(arch));
        (format!("{path}.errno"), errno)
    });
    for (path, errno) in std::iter::once(default).chain(rules).chain(changes) {
        if errno.map(Errno::get) == Some(0) {
            findings.push(Finding {
                code: Code::FakedSuccess,
                severity: Severity::Error,
                path,
                reason: "is 0: the call is not made, and returns as if it had succeeded".into(),
                remedy: "write 1 for EPERM, or 38 for ENOSYS".into(),
            });
        }
    }
}
