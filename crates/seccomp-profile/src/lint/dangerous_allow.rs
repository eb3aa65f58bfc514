//! `dangerous-allow`: an allowlist has a call that opens much of the kernel.

use super::subject::{Source, Subject, listed, named};
use super::{Code, Finding, Severity};
use crate::capability::Capability;
use crate::syscall::Syscall;
use crate::target::KernelVersion;

/// Calls that open much of the kernel, the capability with which runtimes allow them, and what they do.
pub(super) const DANGEROUS: &[(&str, &str, &str)] = &[
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

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if !subject.semantics.default.is_permitted() {
        dangerous(subject, findings);
        tracing(subject, findings);
    }
}

/// Calls that an allowlist had better not have.
fn dangerous(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (names, capability, what) in DANGEROUS.iter().copied() {
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

/// `ptrace` on kernels where it undoes a filter, and as such.
fn tracing(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    const SAFE: KernelVersion = KernelVersion { major: 4, minor: 8 };
    let ptrace = Syscall::PTRACE;
    if !subject.is_open(ptrace) {
        return;
    }
    let old = subject.target.kernel < SAFE;
    // Who asks for the kernel's version knows.
    if let (Source::Document { entries, .. }, false) = (&subject.source, old) {
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
