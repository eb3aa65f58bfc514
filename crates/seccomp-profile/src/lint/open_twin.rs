//! `open-twin`: a denied call has an open one that does the same.

use std::sync::LazyLock;

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::syscall::Syscall;
use crate::syscall::named;

/// Calls that do the same thing, or enough of it: who wants to stop one means all of them.
const TWINS: [&str; 36] = [
    "accept accept4",
    "access faccessat faccessat2",
    "adjtimex clock_adjtime clock_adjtime64",
    "chmod fchmod fchmodat fchmodat2",
    "chown chown32 fchown fchown32 fchownat lchown lchown32",
    "clock_settime clock_settime64 settimeofday stime",
    "creat open openat openat2",
    "dup dup2 dup3",
    "execve execveat",
    "finit_module init_module",
    "fork vfork clone clone3",
    "ftruncate ftruncate64 truncate truncate64",
    "getdents getdents64",
    "getxattr fgetxattr lgetxattr getxattrat",
    "kexec_file_load kexec_load",
    "kill rt_sigqueueinfo rt_tgsigqueueinfo tgkill tkill pidfd_send_signal",
    "link linkat",
    "listxattr flistxattr llistxattr listxattrat",
    "mkdir mkdirat",
    "mknod mknodat",
    "mmap mmap2",
    "mprotect pkey_mprotect",
    "prlimit64 setrlimit",
    "process_vm_readv process_vm_writev ptrace",
    "readlink readlinkat",
    "removexattr fremovexattr lremovexattr removexattrat",
    "rename renameat renameat2",
    "send sendto sendmsg sendmmsg",
    "setgid setgid32 setregid setregid32 setresgid setresgid32",
    "setuid setuid32 setreuid setreuid32 setresuid setresuid32",
    "setxattr fsetxattr lsetxattr setxattrat",
    "stat stat64 fstat fstat64 lstat lstat64 fstatat64 newfstatat statx",
    "symlink symlinkat",
    "umount umount2",
    "unlink unlinkat",
    "utime utimes futimesat utimensat utimensat_time64",
];

/// A call, and others by which the same can be had, but not the other way round.
const WAYS_AROUND: [(Syscall, &str); 3] = [
    (Syscall::MOUNT, "move_mount"),
    (Syscall::RMDIR, "unlinkat"),
    (Syscall::UNSHARE, "clone clone3"),
];

/// Calls without arguments. They cannot do what a call is denied for with some arguments only: a `clone` that is denied with
/// `CLONE_NEWUSER` leaves nothing to `fork`.
const WITHOUT_ARGUMENTS: [Syscall; 2] = [Syscall::FORK, Syscall::VFORK];

static GROUPS: LazyLock<Vec<Vec<Syscall>>> =
    LazyLock::new(|| TWINS.iter().map(|names| named(names).collect()).collect());

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (path, calls, partly) in subject.denials() {
        let mut open: Vec<Syscall> = Vec::new();
        let mut denied: Vec<Syscall> = Vec::new();
        for call in calls.iter().filter(|call| subject.is_refused(**call)) {
            let groups = GROUPS.iter().filter(|group| group.contains(call));
            let around = WAYS_AROUND.iter().filter(|(known, _)| known == call);
            let others = groups.flatten().copied();
            let others = others
                .chain(around.flat_map(|(_, others)| named(others)))
                .filter(|other| !(partly && WITHOUT_ARGUMENTS.contains(other)));
            let mut is_alone = true;
            for other in others {
                if subject.is_open(other) && subject.is_reachable(other) {
                    is_alone = false;
                    if !open.contains(&other) {
                        open.push(other);
                    }
                }
            }
            if !is_alone {
                denied.push(*call);
            }
        }
        if open.is_empty() {
            continue;
        }
        let some = if partly { " for some arguments" } else { "" };
        let does = if open.len() == 1 { "does" } else { "do" };
        findings.push(Finding {
            code: Code::OpenTwin,
            severity: Severity::Warning,
            reason: format!(
                "denies {}{some}, and {}, which {does} the same, stay{} open",
                listed(&denied),
                listed(&open),
                if open.len() == 1 { "s" } else { "" },
            ),
            remedy: subject.deny_too(&open, &path),
            path,
        });
    }
}
