//! `dangerous-allow`: an allowlist has a call that opens much of the kernel.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::capability::Capability;
use crate::syscall::Syscall;
use crate::syscall::named;
use crate::target::KernelVersion;

/// Calls that open much of the kernel.
pub(super) struct Danger {
    pub(super) calls: &'static str,
    /// With which the runtimes' own profiles allow them; none where they never do.
    capability: Option<Capability>,
    /// What they are for, after "allows ..., ".
    what: &'static str,
}

pub(super) const DANGEROUS: &[Danger] = &[
    Danger {
        calls: "bpf",
        capability: Some(Capability::BPF),
        what: "to load programs into the kernel",
    },
    Danger {
        calls: "perf_event_open",
        capability: Some(Capability::PERFMON),
        what: "to watch the kernel and other processes",
    },
    Danger {
        calls: "fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root umount umount2",
        capability: Some(Capability::SYS_ADMIN),
        what: "to change what is mounted: in a user namespace of its own every program may",
    },
    Danger {
        calls: "setns unshare",
        capability: Some(Capability::SYS_ADMIN),
        what: "to enter other namespaces: in a user namespace of its own every program has all capabilities",
    },
    Danger {
        calls: "open_by_handle_at",
        capability: Some(Capability::DAC_READ_SEARCH),
        what: "to open files outside of the container",
    },
    Danger {
        calls: "delete_module finit_module init_module",
        capability: Some(Capability::SYS_MODULE),
        what: "to change the kernel's code",
    },
    Danger {
        calls: "kexec_file_load kexec_load",
        capability: Some(Capability::SYS_BOOT),
        what: "to replace the running kernel",
    },
    Danger {
        calls: "reboot",
        capability: Some(Capability::SYS_BOOT),
        what: "to stop the machine",
    },
    Danger {
        calls: "swapoff swapon",
        capability: Some(Capability::SYS_ADMIN),
        what: "to change where the machine's memory goes",
    },
    Danger {
        calls: "acct",
        capability: Some(Capability::SYS_PACCT),
        what: "to record all processes of the machine",
    },
    Danger {
        calls: "ioperm iopl",
        capability: Some(Capability::SYS_RAWIO),
        what: "to talk to the machine's devices",
    },
    Danger {
        calls: "clock_settime clock_settime64 settimeofday stime",
        capability: Some(Capability::SYS_TIME),
        what: "to set the machine's clock",
    },
    Danger {
        calls: "add_key keyctl request_key",
        capability: None,
        what: "to reach the kernel's keyrings, which know nothing of containers",
    },
    Danger {
        calls: "userfaultfd",
        capability: Some(Capability::SYS_PTRACE),
        what: "to halt the kernel in the middle of its work, as most exploits of races do",
    },
    Danger {
        calls: "io_uring_enter io_uring_register io_uring_setup",
        capability: None,
        what: "to work on files and sockets past every filter",
    },
    Danger {
        calls: "kcmp pidfd_getfd process_madvise",
        capability: Some(Capability::SYS_PTRACE),
        what: "to look into other processes",
    },
];

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if !subject.semantics.default.is_permitted() {
        dangerous(subject, findings);
        tracing(subject, findings);
    }
}

/// Calls that an allowlist had better not have.
fn dangerous(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for danger in DANGEROUS {
        let capability = danger.capability;
        // Runtimes allow them to a container that has the capability. The kernel takes the old, wide one as well.
        let has = |needed: Capability| subject.target.capabilities.contains(needed);
        let is_part = matches!(capability, Some(Capability::BPF | Capability::PERFMON));
        if capability.is_some_and(has) || is_part && has(Capability::SYS_ADMIN) {
            continue;
        }
        let open: Vec<_> = named(danger.calls)
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
            reason: format!("allows {}, {}", listed(&open), danger.what),
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
    let mut entries = subject.entries().iter();
    let knows = entries
        .any(|(_, entry)| entry.syscalls.contains(&ptrace) && entry.includes.min_kernel.is_some());
    if knows && !old {
        return;
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
