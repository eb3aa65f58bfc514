//! What lint advises is done to the profile, and a container started under what comes of it, by the runcs that are there. The
//! result has fewer findings, and starts a container where the profile did.
//!
//! Needs root and runc; what is missing is said, and then only the findings are compared.
#![cfg(target_arch = "x86_64")] // as the profiles are
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod apply;
mod container;

use apply::apply;
use container::{runcs, starts};
use seccomp_profile::{
    Arch, CapabilitySet, Code, Delivery, Finding, KernelVersion, Runtime, Severity, Syscall,
    Target, lint_document, parse,
};
use serde_json::{Value, json};

const AMD64: Target = Target {
    arch: Arch::X86_64,
    kernel: KernelVersion {
        major: 6,
        minor: 12,
    },
    capabilities: CapabilitySet::RUNTIME_DEFAULT,
};

fn found(document: &Value) -> Vec<Finding> {
    lint_document(&parse(document, "").unwrap(), Delivery::AsIs, &AMD64, "")
}

/// Those that fail a command: notes are fine where they are meant.
fn that_count(findings: &[Finding]) -> usize {
    let counts = |finding: &&Finding| finding.severity >= Severity::Warning;
    findings.iter().filter(counts).count()
}

fn calls_of_amd64() -> Vec<Syscall> {
    let is_there = |call: &Syscall| call.number(Arch::X86_64).is_some();
    Syscall::all().filter(is_there).collect()
}

/// The profile once what is said of one code is done. Asserts that it has fewer findings.
fn mended(document: &Value, code: Code) -> Option<Value> {
    let before = found(document);
    let finding = before.iter().find(|finding| finding.code == code)?;
    let mended = apply(document, &finding.remedy);
    let after = found(&mended);
    assert!(
        that_count(&after) < that_count(&before)
            && !after.iter().any(|finding| finding.code == code),
        "{document}\n{}\n{mended}\nhas {after:#?}",
        finding.remedy
    );
    Some(mended)
}

/// Asserts that a container starts under what was mended, where it does under the profile at all.
fn start_mended(call: &str, document: &Value, mended: &Value) {
    // Who denies processes has none.
    let forks = !["fork", "vfork", "clone"].contains(&call);
    for (version, runc) in runcs() {
        if let Err(error) = starts(runc, mended, forks)
            && starts(runc, document, forks).is_ok()
        {
            panic!("runc {version} starts no container under {mended}: {error}");
        }
    }
}

#[test]
fn the_twins_of_every_call_are_closed_and_containers_start() {
    let mut closed = 0;
    for call in calls_of_amd64() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": [call.name()], "action": "SCMP_ACT_ERRNO"},
                // Something is stopped whatever comes of the other.
                {"names": ["reboot", "io_uring_setup"], "action": "SCMP_ACT_ERRNO"},
            ],
        });
        let Some(mended) = mended(&document, Code::OpenTwin) else {
            continue;
        };
        closed += 1;
        start_mended(call.name(), &document, &mended);
    }
    assert!(closed > 60, "{closed}");
}

#[test]
fn who_denies_clone_can_have_processes_again() {
    let document = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["clone", "reboot", "io_uring_setup"], "action": "SCMP_ACT_ERRNO"}],
    });
    let mended = mended(&document, Code::CannotFork).unwrap();
    for (version, runc) in runcs() {
        assert!(starts(runc, &document, true).is_err(), "{version}");
        assert_eq!(starts(runc, &mended, true), Ok(()), "{version}");
    }
}

#[test]
fn the_same_in_a_list_of_what_is_allowed() {
    let all = calls_of_amd64();
    for denied in ["chmod", "unshare", "fork", "creat", "rename", "kill"] {
        let allowed = all.iter().map(|call| call.name());
        let allowed: Vec<_> = allowed.filter(|name| *name != denied).collect();
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": allowed, "action": "SCMP_ACT_ALLOW"},
                {"names": [denied], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            ],
        });
        let mended = mended(&document, Code::OpenTwin).unwrap();
        start_mended(denied, &document, &mended);
    }
}

/// A list of what is allowed: what runc needs, and these.
fn allowing(without: &[&str], with: &[&'static str]) -> Value {
    let needs = Runtime::Runc.needs(Arch::X86_64).into_iter();
    let needs = needs.map(Syscall::name).chain(with.iter().copied());
    let names: Vec<_> = needs.filter(|name| !without.contains(name)).collect();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    })
}

/// What the shell and `echo` need besides.
const PROGRAMS: &[&str] = &[
    "access",
    "clone",
    "clone3",
    "dup2",
    "exit",
    "faccessat",
    "getegid",
    "geteuid",
    "getgid",
    "getrandom",
    "lseek",
    "ioctl",
    "mseal",
    "pread64",
    "prlimit64",
    "rseq",
    "set_robust_list",
    "uname",
    "wait4",
    "restart_syscall",
];

/// The same, and what is not allowed kills.
fn killing(mut document: Value) -> Value {
    document["defaultAction"] = json!("SCMP_ACT_KILL_PROCESS");
    document
}

/// The same for 32-bit programs too.
fn with_32_bits(mut document: Value) -> Value {
    document["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    document
}

#[test]
fn what_is_advised_for_a_list_of_what_is_allowed_starts_containers() {
    // With `mseal` named runc itself answers nothing below it.
    let hides: Vec<_> = PROGRAMS
        .iter()
        .copied()
        .filter(|name| *name != "clone3")
        .collect();
    for (code, document) in [
        (Code::NewNamespaces, allowing(&[], PROGRAMS)),
        (Code::HidesFallback, allowing(&[], &hides)),
        (Code::HidesFallback, allowing(&["statx"], &hides)),
        (
            Code::RuntimeNeedsMore,
            allowing(&["statx", "capset"], PROGRAMS),
        ),
        (
            Code::NoContainerStarts,
            allowing(&["execve", "write", "openat"], PROGRAMS),
        ),
        (
            Code::ProgramsNeedMore,
            allowing(&["exit_group", "rt_sigreturn"], PROGRAMS),
        ),
        (
            Code::KillsProbe,
            killing(allowing(&["statx", "clone3"], PROGRAMS)),
        ),
        (Code::Time64Stopped, with_32_bits(allowing(&[], PROGRAMS))),
    ] {
        let mended = mended(&document, code).unwrap();
        for (version, runc) in runcs() {
            assert_eq!(
                starts(runc, &mended, true),
                Ok(()),
                "{code}: runc {version}"
            );
        }
    }
}

#[test]
fn what_a_list_of_what_is_denied_takes_from_runtimes_is_given_back() {
    for (code, call) in [
        (Code::RuntimeNeedsMore, "setgroups"),
        (Code::RuntimeNeedsMore, "statx"),
        (Code::NoContainerStarts, "execve"),
        (Code::NoContainerStarts, "getdents64"),
        (Code::ProgramsNeedMore, "exit_group"),
        (Code::ProgramsNeedMore, "restart_syscall"),
    ] {
        let document = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": [call, "reboot", "io_uring_setup"], "action": "SCMP_ACT_ERRNO"}],
        });
        let mended = mended(&document, code).unwrap();
        for (version, runc) in runcs() {
            assert_eq!(
                starts(runc, &mended, true),
                Ok(()),
                "{call}: runc {version}"
            );
        }
    }
}
