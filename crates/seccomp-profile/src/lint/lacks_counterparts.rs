//! `lacks-counterparts`: a list of what is allowed names calls that the node's architecture does not have, and not those that
//! programs make there instead.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::syscall::{Syscall, named};

/// Calls that architectures since arm64 do not have, and what C libraries call there: one of these does.
const COUNTERPARTS: &[(&str, &str)] = &[
    ("access", "faccessat"),
    ("alarm", "setitimer"),
    ("chmod", "fchmodat"),
    ("chown", "fchownat"),
    ("creat", "openat"),
    ("dup2", "dup3"),
    ("epoll_create", "epoll_create1"),
    ("epoll_wait", "epoll_pwait"),
    ("eventfd", "eventfd2"),
    ("fork", "clone"),
    ("futimesat", "utimensat"),
    ("getdents", "getdents64"),
    ("getpgrp", "getpgid"),
    ("inotify_init", "inotify_init1"),
    ("lchown", "fchownat"),
    ("link", "linkat"),
    ("lstat", "newfstatat statx"),
    ("mkdir", "mkdirat"),
    ("mknod", "mknodat"),
    ("open", "openat"),
    ("pause", "rt_sigsuspend ppoll"),
    ("pipe", "pipe2"),
    ("poll", "ppoll"),
    ("readlink", "readlinkat"),
    ("rename", "renameat renameat2"),
    ("rmdir", "unlinkat"),
    ("select", "pselect6"),
    ("signalfd", "signalfd4"),
    ("stat", "newfstatat statx"),
    ("symlink", "symlinkat"),
    ("time", "clock_gettime gettimeofday"),
    ("unlink", "unlinkat"),
    ("utime", "utimensat"),
    ("utimes", "utimensat"),
    ("vfork", "clone"),
];

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    if subject.semantics.default.is_permitted() {
        return;
    }
    let is_there = |call: &Syscall| call.number(native).is_some();
    let mut allowed: Vec<Syscall> = Vec::new();
    let mut missing: Vec<Syscall> = Vec::new();
    for (old, new) in COUNTERPARTS {
        let Some(old) = Syscall::named(old).filter(|call| !is_there(call)) else {
            continue;
        };
        let others: Vec<_> = named(new).filter(is_there).collect();
        let Some(first) = others.first().copied() else {
            continue;
        };
        // What is denied by name is meant so, and the old call that stays open has a code of its own: `open-twin`.
        let (_, denied) = subject.no_longer_refuse(&others);
        let is_refused = |call: Syscall| subject.refusal(call).is_some();
        if subject.is_open(old) && denied.is_empty() && others.into_iter().all(is_refused) {
            allowed.push(old);
            if !missing.contains(&first) {
                missing.push(first);
            }
        }
    }
    let Some(first) = allowed.first() else { return };
    findings.push(Finding {
        code: Code::LacksCounterparts,
        severity: Severity::Warning,
        path: subject.place_that_permits(*first),
        reason: format!(
            "allows {}, which {} nodes do not have, and not {}, which programs call there instead",
            listed(&allowed),
            native.native_name(),
            listed(&missing)
        ),
        remedy: subject.allow_too(&missing),
    });
}
