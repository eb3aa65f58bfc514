//! `open-twin`: a denied call has an open one that does the same.

use std::sync::LazyLock;

use super::by_flags::ByFlags;
use super::subject::{Source, Subject, listed};
use super::{Code, Finding, Severity};
use crate::arch::Arch;
use crate::runtime::Runtime;
use crate::syscall::Syscall;
use crate::syscall::named;

/// Calls that do the same thing, or enough of it: who wants to stop one means all of them.
const TWINS: [&str; 37] = [
    "accept accept4",
    "access faccessat faccessat2",
    "adjtimex clock_adjtime clock_adjtime64",
    "chmod fchmod fchmodat fchmodat2",
    "chown chown32 fchown fchown32 fchownat lchown lchown32",
    "chroot fchroot",
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

/// What programs, the runtimes among them, cannot do without: `tgkill` is how a thread signals another, and `faccessat` what runc 1.1
/// calls if `faccessat2` fails.
const ESSENTIAL: &str = "faccessat mmap mprotect tgkill";

/// Calls without flags. They cannot do what a call is denied for with some arguments only: a `clone` that is denied with
/// `CLONE_NEWUSER` leaves nothing to `fork`, nor `unlinkat` with `AT_REMOVEDIR` to `unlink`.
const WITHOUT_FLAGS: [Syscall; 3] = [Syscall::FORK, Syscall::UNLINK, Syscall::VFORK];

static GROUPS: LazyLock<Vec<Vec<Syscall>>> =
    LazyLock::new(|| TWINS.iter().map(|names| named(names).collect()).collect());

/// The calls of one denial that do not stop what they are denied for, and those by which it is done.
struct Gap<'a> {
    /// The place of the denial.
    path: &'a str,
    partly: bool,
    denied: Vec<Syscall>,
    open: Vec<Syscall>,
    /// Those of them that can be closed: nobody needs them.
    closable: Vec<Syscall>,
    /// Those denied calls for which nothing can be done, and the calls that nobody can do without.
    hopeless: Vec<Syscall>,
    needed: Vec<Syscall>,
    /// The calls among them that do it with some flags only.
    flags: Vec<ByFlags>,
}

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (path, calls, partly) in subject.meant_denials() {
        let mut gap = Gap {
            path: &path,
            partly,
            denied: Vec::new(),
            open: Vec::new(),
            closable: Vec::new(),
            hopeless: Vec::new(),
            needed: Vec::new(),
            flags: Vec::new(),
        };
        // A new call that is denied alone is one that programs are meant to do without.
        let askers = calls.iter().filter(|call| !is_new(**call));
        // `clone` with any flags has a code of its own.
        let askers = askers.filter(|call| partly || **call != Syscall::CLONE);
        for call in askers.filter(|call| subject.is_refused(**call)) {
            gap.look_around(*call, subject);
        }
        if gap.open.is_empty() {
            continue;
        }
        let some = if partly { " for some arguments" } else { "" };
        let does = if gap.open.len() == 1 { "does" } else { "do" };
        findings.push(Finding {
            code: Code::OpenTwin,
            severity: Severity::Warning,
            reason: format!(
                "denies {}{some}, and {}, which {does} the same, stay{} open",
                listed(&gap.denied),
                listed(&gap.open),
                if gap.open.len() == 1 { "s" } else { "" },
            ),
            remedy: gap.remedy(subject),
            path: path.clone(),
        });
    }
}

impl Gap<'_> {
    fn look_around(&mut self, call: Syscall, subject: &Subject<'_>) {
        let groups = GROUPS.iter().filter(|group| group.contains(&call));
        let around = WAYS_AROUND.iter().filter(|(known, _)| *known == call);
        let others = groups.flatten().copied();
        let others = others
            .chain(around.flat_map(|(_, others)| named(others)))
            .filter(|other| !(self.partly && WITHOUT_FLAGS.contains(other)));
        let mut open = Vec::new();
        for other in others {
            let flags = ByFlags::of(call, other);
            let is_open = match flags {
                Some(flags) => flags.are_open(subject),
                None => subject.is_open(other),
            };
            if is_open && subject.is_reachable(other) {
                self.flags
                    .extend(flags.filter(|flags| !self.flags.contains(flags)));
                open.push(other);
            }
        }
        if open.is_empty() {
            return;
        }
        self.denied.push(call);
        let all = open.iter().copied().chain([call]);
        let needed: Vec<_> = all.filter(|call| is_needed(*call, subject)).collect();
        if needed.is_empty() {
            add(&mut self.closable, open.clone());
        } else {
            self.hopeless.push(call);
        }
        add(&mut self.needed, needed);
        add(&mut self.open, open);
    }

    /// What closes the gap, and leaves programs and runtimes what they need.
    fn remedy(&self, subject: &Subject<'_>) -> String {
        let mut steps = Vec::new();
        if !self.hopeless.is_empty() {
            let from = match subject.source {
                Source::Document { .. } => format!("{}.names", self.path),
                Source::Delta { .. } => subject.path("deny"),
            };
            steps.push(format!(
                "remove {} from {from} ({} cannot be denied, since container runtimes need {})",
                listed(&self.hopeless),
                listed(&self.needed),
                if self.needed.len() == 1 { "it" } else { "them" },
            ));
            if self.hopeless.len() == self.denied.len() {
                return steps.remove(0);
            }
        }
        steps.extend(subject.no_longer_allow(&self.closable));
        let by_flags = |call: &Syscall| self.flags.iter().any(|flags| flags.call() == *call);
        let others = self.closable.iter().copied();
        let others = others.filter(|call| !by_flags(call));
        let (new, old): (Vec<_>, Vec<_>) = others.partition(|call| is_new(*call));
        // What is no longer allowed is denied by a default that denies.
        let is_denied_by_default =
            !subject.semantics.default.is_permitted() && subject.is_document();
        if !old.is_empty() && !is_denied_by_default {
            steps.push(if self.partly {
                format!(
                    "deny {} in these cases too, in an entry of its own: the argument may have another place",
                    listed(&old)
                )
            } else {
                subject.deny_too(&old, self.path)
            });
        }
        if !new.is_empty() {
            steps.push(subject.answer_enosys(&new));
        }
        steps.extend(self.flags.iter().map(|flags| flags.remedy(subject)));
        steps.join(", and ")
    }
}

/// Whether a call is newer than Linux 5.0, and so has an older one beside it that programs use if the kernel says that it does not
/// know the new one. Such numbers are the same everywhere.
fn is_new(call: Syscall) -> bool {
    call.number(Arch::Aarch64)
        .is_some_and(|number| number >= 424)
}

/// Whether no container starts without it, or no program runs.
fn is_needed(call: Syscall, subject: &Subject<'_>) -> bool {
    let is_essential = || named(ESSENTIAL).any(|essential| essential == call);
    let is_there = call.number(subject.target.arch).is_some();
    let is_seen = || {
        Runtime::ALL
            .iter()
            .any(|runtime| runtime.was_seen_to_need(call))
    };
    is_there && !is_new(call) && (is_essential() || is_seen())
}

/// Adds what is not there yet.
fn add(known: &mut Vec<Syscall>, calls: Vec<Syscall>) {
    for call in calls {
        if !known.contains(&call) {
            known.push(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{AMD64, derived_from, nothing, said_of};
    use super::*;
    use crate::{Target, lint};

    #[test]
    fn no_remedy_takes_from_a_list_what_runtimes_need() {
        let allow = json!({"names": ["openat", "execve", "fchmodat"], "action": "SCMP_ACT_ALLOW"});
        let deny = json!({"names": ["creat", "execveat", "chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13});
        let list = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allow, deny]});
        assert_eq!(
            said_of(Code::OpenTwin, &list, Arch::X86_64),
            [
                "denies chmod, creat and execveat, and fchmodat, openat and execve, which do the same, stay open; remove creat and execveat \
                 from syscalls[1].names (openat and execve cannot be denied, since container runtimes need them), and remove fchmodat from \
                 syscalls[0].names"
            ]
        );
    }

    #[test]
    fn what_says_what_the_default_says_denies_nothing() {
        let allow = json!({"names": ["fchmodat"], "action": "SCMP_ACT_ALLOW"});
        let deny = json!({"names": ["chmod"], "action": "SCMP_ACT_ERRNO"});
        let list = |default: &str| json!({"defaultAction": default, "syscalls": [allow, deny]});
        let twins = |default| said_of(Code::OpenTwin, &list(default), Arch::X86_64).len();
        assert_eq!((twins("SCMP_ACT_ERRNO"), twins("SCMP_ACT_KILL")), (0, 1));
    }

    #[test]
    fn two_findings_do_not_advise_the_opposite() {
        let spec = derived_from("runtime-default", &json!({"deny": ["mknodat"]}));
        let codes = |arch| -> Vec<Code> {
            let target = Target { arch, ..AMD64 };
            let found = lint(&spec, &nothing, &target, "spec").into_iter();
            found.map(|finding| finding.code).collect()
        };
        assert!(codes(Arch::X86_64).contains(&Code::OpenTwin));
        assert!(!codes(Arch::Aarch64).contains(&Code::LacksCounterparts));
    }
}
