//! Calls that are open and should not be: ways around a denial, and ways into the kernel.

use std::sync::LazyLock;

use super::{Code, Finding, Severity, Source, Subject, listed, named};
use crate::action::Action;
use crate::arch::Arch;
use crate::capability::Capability;
use crate::syscall::Syscall;
use crate::target::KernelVersion;

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
const WAYS_AROUND: [(&str, &str); 3] = [
    ("mount", "move_mount"),
    ("rmdir", "unlinkat"),
    ("unshare", "clone clone3"),
];

/// Calls without arguments. They cannot do what a call is denied for with some arguments only: a `clone` that is denied with
/// `CLONE_NEWUSER` leaves nothing to `fork`.
const WITHOUT_ARGUMENTS: [&str; 2] = ["fork", "vfork"];

/// What `io_uring` does in a program's stead (kernel `include/uapi/linux/io_uring.h`), past every filter.
const BY_IO_URING: &str = "accept accept4 bind connect fadvise64 fallocate fgetxattr fsetxattr fsync ftruncate \
    getxattr linkat listen madvise mkdirat openat openat2 read readv recv recvmsg renameat renameat2 send sendmsg \
    sendto setxattr shutdown socket splice statx symlinkat sync_file_range unlinkat write writev";

/// The flags of `clone` that make namespaces are in its first argument, but on s390 in its second.
const CLONES: &str = "clone clone3";

/// Calls that open much of the kernel, the capability with which runtimes allow them, and what they do.
const DANGEROUS: [(&str, &str, &str); 16] = [
    ("bpf", "CAP_BPF", "to load programs into the kernel"),
    (
        "perf_event_open",
        "CAP_PERFMON",
        "to watch the kernel and other processes",
    ),
    (
        "fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root umount umount2",
        "CAP_SYS_ADMIN",
        "to change what is mounted: in a user namespace of its own every program may",
    ),
    (
        "setns unshare",
        "CAP_SYS_ADMIN",
        "to enter other namespaces: in a user namespace of its own every program has all capabilities",
    ),
    (
        "open_by_handle_at",
        "CAP_DAC_READ_SEARCH",
        "to open files outside of the container",
    ),
    (
        "delete_module finit_module init_module",
        "CAP_SYS_MODULE",
        "to change the kernel's code",
    ),
    (
        "kexec_file_load kexec_load",
        "CAP_SYS_BOOT",
        "to replace the running kernel",
    ),
    ("reboot", "CAP_SYS_BOOT", "to stop the machine"),
    (
        "swapoff swapon",
        "CAP_SYS_ADMIN",
        "to change where the machine's memory goes",
    ),
    (
        "acct",
        "CAP_SYS_PACCT",
        "to record all processes of the machine",
    ),
    (
        "ioperm iopl",
        "CAP_SYS_RAWIO",
        "to talk to the machine's devices",
    ),
    (
        "clock_settime clock_settime64 settimeofday stime",
        "CAP_SYS_TIME",
        "to set the machine's clock",
    ),
    (
        "add_key keyctl request_key",
        "",
        "to reach the kernel's keyrings, which know nothing of containers",
    ),
    (
        "userfaultfd",
        "CAP_SYS_PTRACE",
        "to halt the kernel in the middle of its work, as most exploits of races do",
    ),
    (
        "io_uring_enter io_uring_register io_uring_setup",
        "",
        "to work on files and sockets past every filter",
    ),
    (
        "kcmp pidfd_getfd process_madvise",
        "CAP_SYS_PTRACE",
        "to look into other processes",
    ),
];

static GROUPS: LazyLock<Vec<Vec<Syscall>>> =
    LazyLock::new(|| TWINS.iter().map(|names| named(names).collect()).collect());

pub(super) fn of(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    twins(subject, findings);
    io_uring(subject, findings);
    if subject.semantics.default.is_permitted() {
        open_by_default(subject, findings);
    } else {
        dangerous(subject, findings);
        namespaces(subject, findings);
        tracing(subject, findings);
    }
}

/// Denied calls whose twins are open.
fn twins(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (path, calls, partly) in subject.denials() {
        let mut open: Vec<Syscall> = Vec::new();
        let mut denied: Vec<Syscall> = Vec::new();
        for call in calls.iter().filter(|call| is_refused(subject, **call)) {
            let groups = GROUPS.iter().filter(|group| group.contains(call));
            let around = WAYS_AROUND.iter().filter(|(name, _)| *name == call.name());
            let others = groups.flatten().copied();
            let others = others
                .chain(around.flat_map(|(_, others)| named(others)))
                .filter(|other| !(partly && WITHOUT_ARGUMENTS.contains(&other.name())));
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

/// Whether a call is refused for some arguments at least.
fn is_refused(subject: &Subject<'_>, call: Syscall) -> bool {
    let decision = subject.semantics.calls.get(&call);
    decision.is_some_and(|decision| decision.actions().into_iter().any(Action::refuses))
}

/// Denied calls that `io_uring` makes all the same.
fn io_uring(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(setup) = Syscall::named("io_uring_setup").filter(|call| subject.is_open(*call)) else {
        return;
    };
    let denied: Vec<_> = subject
        .denials()
        .into_iter()
        .flat_map(|(_, calls, _)| calls)
        .copied()
        .filter(|call| {
            BY_IO_URING
                .split_whitespace()
                .any(|name| name == call.name())
        })
        .filter(|call| is_refused(subject, *call))
        .collect();
    if let [first, ..] = denied[..] {
        findings.push(Finding {
            code: Code::IoUringBypass,
            severity: Severity::Warning,
            path: subject.place_that_refuses(first),
            reason: format!(
                "denies {}, and io_uring, which is open, does the same where no filter sees it",
                listed(&denied)
            ),
            remedy: format!("deny {setup} too"),
        });
    }
}

/// Calls that an allowlist had better not have.
fn dangerous(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (names, capability, what) in DANGEROUS {
        let capability = Capability::named(capability);
        // Runtimes allow them to a container that has the capability. The kernel takes the old, wide one as well.
        let has = |needed: Capability| subject.target.capabilities.contains(needed);
        let admin = Capability::named("CAP_SYS_ADMIN").is_some_and(has);
        let is_part =
            capability.is_some_and(|part| ["CAP_BPF", "CAP_PERFMON"].contains(&part.name()));
        if capability.is_some_and(has) || admin && is_part {
            continue;
        }
        let open: Vec<_> = named(names)
            .filter(|call| subject.semantics.calls.contains_key(call) && subject.is_open(*call))
            .collect();
        let Some(first) = open.first() else { continue };
        let remedy = match capability {
            Some(needed) => format!(
                "remove {} unless the container has {needed}, without which the kernel refuses most of it anyway",
                them(&open)
            ),
            None => format!(
                "remove {}; the runtimes' own profiles deny {0}",
                them(&open)
            ),
        };
        findings.push(Finding {
            code: Code::DangerousAllow,
            severity: Severity::Warning,
            path: subject.place_that_permits(*first),
            reason: format!("allows {}, {what}", listed(&open)),
            remedy,
        });
    }
}

fn them(calls: &[Syscall]) -> &'static str {
    if calls.len() == 1 { "it" } else { "them" }
}

/// `clone` with any flags.
fn namespaces(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let admin = Capability::named("CAP_SYS_ADMIN");
    if admin.is_some_and(|admin| subject.target.capabilities.contains(admin)) {
        return;
    }
    let open: Vec<_> = named(CLONES)
        .filter(|call| subject.is_open(*call))
        .collect();
    let Some(first) = open.first() else { return };
    let arg = u8::from(matches!(subject.target.arch, Arch::S390 | Arch::S390X));
    findings.push(Finding {
        code: Code::NewNamespaces,
        severity: Severity::Warning,
        path: subject.place_that_permits(*first),
        reason: format!(
            "allows {} with any flags, so that every program can have a user namespace and all capabilities in it",
            listed(&open)
        ),
        remedy: format!(
            "allow clone only where SCMP_CMP_MASKED_EQ of argument {arg} with value 0x7e020000 and valueTwo 0 holds, and \
             answer clone3 with ENOSYS"
        ),
    });
}

/// `ptrace` on kernels where it undoes a filter, and as such.
fn tracing(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    const SAFE: KernelVersion = KernelVersion { major: 4, minor: 8 };
    let Some(ptrace) = Syscall::named("ptrace").filter(|call| subject.is_open(*call)) else {
        return;
    };
    let old = subject.target.kernel < SAFE;
    // Who asks for the kernel's version knows.
    if let (Source::Document { entries }, false) = (&subject.source, old) {
        let knows = entries.iter().any(|(_, entry)| {
            entry.syscalls.contains(&ptrace) && entry.includes.min_kernel.is_some()
        });
        if knows {
            return;
        }
    }
    findings.push(Finding {
        code: Code::DangerousAllow,
        severity: if old {
            Severity::Warning
        } else {
            Severity::Note
        },
        path: subject.place_that_permits(ptrace),
        reason: if old {
            "allows ptrace, by which a program gets around its filter before Linux 4.8".into()
        } else {
            "allows ptrace, which reads and changes other processes of the container".into()
        },
        remedy: "remove it if nobody debugs in the container".into(),
    });
}

/// What a denylist leaves open.
fn open_by_default(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let stops = |action: Action| !action.is_permitted();
    let stops_some = subject
        .semantics
        .calls
        .values()
        .any(|decision| decision.actions().into_iter().any(stops));
    let default = subject.semantics.default.name();
    let path = match subject.source {
        Source::Document { .. } => subject.path("defaultAction"),
        Source::Delta(_) => subject.path("base"),
    };
    if !stops_some {
        let logs = subject.semantics.default == Action::Log;
        findings.push(Finding {
            code: Code::StopsNothing,
            severity: if logs { Severity::Note } else { Severity::Warning },
            path,
            reason: format!(
                "is {default}, and no rule denies anything: the profile stops nothing, and counts as a profile to Pod \
                 Security all the same"
            ),
            remedy: if logs {
                "use it to see what a program calls, and not for longer".into()
            } else {
                "deny what the program does not need, or use RuntimeDefault".into()
            },
        });
        return;
    }
    let open: Vec<_> = DANGEROUS
        .iter()
        .filter_map(|(names, ..)| named(names).next())
        .filter(|call| subject.is_open(*call))
        .collect();
    if !open.is_empty() {
        findings.push(Finding {
            code: Code::OpenByDefault,
            severity: Severity::Note,
            path,
            reason: format!(
                "is {default}: what the profile does not name is let through, {} too, which the runtimes' own profiles deny",
                listed(&open[..open.len().min(5)])
            ),
            remedy: "start from `base: runtime-default` and deny the rest of it there".into(),
        });
    }
}
