//! The model against the kernel: profiles are compiled by libseccomp and loaded as runc does both, calls that do no harm
//! are really made, natively and through the ABIs of i386 and X32, and what became of them must be what the model says.
//!
//! Needs root, and says so when it is not.

use std::cell::RefCell;
use std::ffi::CString;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use seccomp_profile::{
    Action, Arch, Arguments, BUILTINS, Capability, CapabilitySet, Delta, Errno, Flag, Profile,
    Syscall, Target, builtin,
};
use serde_json::{Value, json};

use super::compile::{compile, is_known_on};
use super::generate::{Shape, actions, arguments, numbers, on_random_profiles};
use super::target;

mod audit;
mod child;

use audit::Log;
use child::{Call, Entry, Filter, Outcome, make};

/// Calls that do no harm with any arguments, to processes without files in an IPC namespace of their own.
const POOL: [&str; 10] = [
    "getpid",
    "getuid",
    "getppid",
    "read",
    "bind",
    "ioctl",
    "semop",
    "socketcall",
    "ipc",
    "chown32",
];

/// Calls that do no harm when all their arguments are -1: they fail, or have no effect on anybody else.
const HARMLESS: [&str; 91] = [
    "access",
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "brk",
    "capget",
    "capset",
    "chdir",
    "chmod",
    "chown",
    "chroot",
    "clock_adjtime",
    "clock_gettime",
    "clock_settime",
    "clone3",
    "close",
    "copy_file_range",
    "delete_module",
    "dup",
    "epoll_create",
    "execve",
    "execveat",
    "faccessat2",
    "fallocate",
    "fanotify_init",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fcntl",
    "finit_module",
    "flock",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fstat",
    "futex",
    "get_mempolicy",
    "getcwd",
    "getdents64",
    "getgroups",
    "getpid",
    "getpriority",
    "getrandom",
    "gettid",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioctl",
    "ioperm",
    "iopl",
    "kcmp",
    "keyctl",
    "landlock_create_ruleset",
    "link",
    "lseek",
    "madvise",
    "mbind",
    "membarrier",
    "memfd_create",
    "memfd_secret",
    "mkdir",
    "mknod",
    "mount",
    "mount_setattr",
    "move_mount",
    "mseal",
    "name_to_handle_at",
    "open",
    "open_by_handle_at",
    "open_tree",
    "openat",
    "openat2",
    "perf_event_open",
    "personality",
    "pidfd_getfd",
    "pidfd_open",
    "pivot_root",
    "prctl",
    "process_vm_readv",
    "ptrace",
    "read",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
];

/// A decision that is to be compared.
struct Case {
    arch: Arch,
    call: Call,
    expected: Action,
}

/// The kernel's `SECCOMP_RET_*`, without values.
fn code(action: Action) -> u32 {
    match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0x0000_0000,
        Action::Trap => 0x0003_0000,
        Action::Errno(_) => 0x0005_0000,
        Action::Notify => 0x7fc0_0000,
        Action::Trace(_) => 0x7ff0_0000,
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
        other => panic!("{other}"),
    }
}

/// What the caller of a filtered call sees.
fn seen(action: Action, unfiltered: Outcome) -> Outcome {
    match action {
        Action::KillProcess | Action::KillThread => Outcome::Killed,
        Action::Trap => Outcome::Trapped,
        Action::Errno(errno) => Outcome::Errno(errno.get()),
        // Nobody listens.
        Action::Notify => Outcome::Errno(Errno::ENOSYS.get()),
        Action::Trace(value) => Outcome::Traced(value.get()),
        Action::Log | Action::Allow => unfiltered,
        other => panic!("{other}"),
    }
}

/// The flags that runc loads a filter with.
fn flags(profile: &Profile) -> u64 {
    let flags = profile.flags();
    let of = |flag, bits| if flags.contains(flag) { bits } else { 0 };
    if flags.is_empty() {
        libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW
    } else {
        of(Flag::Log, libc::SECCOMP_FILTER_FLAG_LOG)
            | of(Flag::SpecAllow, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW)
    }
}

fn entry(arch: Arch) -> Entry {
    if arch == Arch::X86 {
        Entry::Int80
    } else {
        Entry::Native
    }
}

/// Makes all calls under the profile and compares what becomes of them, and what the log says if there is one.
fn agree(
    profile: &Profile,
    tree: bool,
    calls: &[(Arch, Call)],
    log: Option<&mut Log>,
) -> Result<usize, TestCaseError> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    // A death costs a process, and others a visit of the tracer.
    let (mut deaths, mut stops) = (8, 100);
    let mut spend = |action: Action| {
        let left = match action {
            Action::KillProcess | Action::KillThread => &mut deaths,
            Action::Trap | Action::Trace(_) => &mut stops,
            _ => return true,
        };
        *left -= 1;
        *left >= 0
    };
    let model = profile.model().unwrap();
    let cases = calls.iter().map(|(arch, call)| Case {
        arch: *arch,
        call: *call,
        expected: model.decide(*arch, call.number, &call.args.into()),
    });
    let cases: Vec<_> = cases.filter(|case| spend(case.expected)).collect();
    let calls: Vec<_> = cases.iter().map(|case| case.call).collect();
    let name = format!(
        "k{:x}-{:x}",
        std::process::id(),
        RUNS.fetch_add(1, Ordering::Relaxed)
    );
    let comm = CString::new(name.as_str()).unwrap();
    let instructions = compile(profile, Arch::X86_64, tree).unwrap();
    let filter = Filter {
        instructions: &instructions,
        flags: flags(profile),
    };
    let (unfiltered, _) = make(&calls, None, c"unfiltered");
    let (outcomes, doors) = make(&calls, Some(&filter), &comm);
    let logs_all = profile.flags().contains(Flag::Log);
    let mut compared = 0;
    for ((case, outcome), unfiltered) in cases.iter().zip(&outcomes).zip(&unfiltered) {
        prop_assert_eq!(
            *outcome,
            seen(case.expected, *unfiltered),
            "{} {:?} {:x?}: {}",
            case.arch,
            Syscall::numbered(case.arch, case.call.number),
            case.call.args,
            case.expected
        );
        // An error that is the call's own as well says nothing, unless the log does.
        let own = matches!(unfiltered, Outcome::Errno(errno) if ERRNOS.contains(errno));
        compared += usize::from(!own || logs_all && log.is_some());
    }
    if let Some(log) = log {
        let records = log.records(&name).unwrap();
        let real: Vec<_> = records
            .iter()
            .map(|record| (doors.call_at(record.ip), record.code))
            .collect();
        let is_logged = |action| match action {
            Action::Allow => false,
            Action::Log | Action::KillProcess | Action::KillThread => true,
            _ => logs_all,
        };
        let expected: Vec<_> = cases
            .iter()
            .enumerate()
            .filter(|(_, case)| is_logged(case.expected))
            .map(|(i, case)| (Some(i), code(case.expected)))
            .collect();
        let differ = real
            .iter()
            .zip(&expected)
            .position(|(real, expected)| real != expected);
        if let Some(first) = differ {
            prop_assert_eq!(real[first], expected[first], "in the audit log");
        }
        prop_assert_eq!(real.len(), expected.len(), "records in the audit log");
    }
    Ok(compared)
}

/// The errors that the profiles here give.
const ERRNOS: [u16; 4] = [1, 38, 77, 4094];

/// Whether filters can be tried; if not, that is said.
fn is_possible() -> bool {
    // SAFETY: it has no arguments and no effect.
    #[allow(unsafe_code)]
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        say("SKIPPED: the test with the real kernel needs root");
    }
    root
}

/// The audit log; if there is none, that is said.
fn audit_log() -> Option<Log> {
    let all_logged = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_logged")
        .is_ok_and(|actions| actions.split_whitespace().count() >= 7);
    let log = if all_logged {
        Log::open().map_err(|error| error.to_string())
    } else {
        Err("kernel.seccomp.actions_logged leaves some out".to_owned())
    };
    log.inspect_err(|error| {
        say(&format!(
            "no audit log ({error}): SCMP_ACT_LOG looks like SCMP_ACT_ALLOW, and the two ways to die look alike"
        ));
    })
    .ok()
}

/// Also of a test that passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Through every ABI that this kernel has, or answers to.
fn on_every_abi(names: &[&str], arguments: &[Arguments]) -> Vec<(Arch, Call)> {
    let mut calls = Vec::new();
    for arch in [Arch::X86_64, Arch::X32, Arch::X86] {
        let known = names.iter().filter_map(|name| Syscall::named(name));
        let numbers = known.filter_map(|call| {
            call.number(arch)
                .filter(|number| is_known_on(call, arch, *number))
        });
        let unknown = if arch == Arch::X32 {
            0x4000_0fff
        } else {
            9_999
        };
        for number in numbers.chain([unknown]) {
            let call = |args: &Arguments| Call {
                entry: entry(arch),
                number,
                args: (*args).into(),
            };
            calls.extend(arguments.iter().map(|args| (arch, call(args))));
        }
    }
    calls
}

/// `ipc` makes objects that later calls would wait for.
fn is_harmless((arch, call): &(Arch, Call)) -> bool {
    const IPC: u32 = 117;
    !(*arch == Arch::X86 && call.number == IPC && matches!(call.args[0] & 0xffff, 2 | 13 | 23))
}

#[test]
fn random_profiles_do_in_the_kernel_what_the_model_says() {
    const MAX_CALLS: usize = 9000;
    if !is_possible() {
        return;
    }
    let log = RefCell::new(audit_log());
    let mut actions = actions();
    actions.extend([
        json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 77}),
        json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 4094}),
        json!({"action": "SCMP_ACT_KILL_THREAD"}),
        json!({"action": "SCMP_ACT_TRACE", "errnoRet": 7}),
        json!({"action": "SCMP_ACT_NOTIFY"}),
    ]);
    let beside = [
        vec![],
        vec![Arch::X86],
        vec![Arch::X32],
        vec![Arch::X86, Arch::X32],
    ];
    let shape = Shape {
        calls: &POOL,
        actions,
        natives: beside.map(|beside| (Arch::X86_64, beside)).to_vec(),
        max_rules: 5,
        numbers: numbers(),
    };
    let compared = on_random_profiles(&shape, 150, |profile, _, tree| {
        let Ok(model) = profile.model() else {
            return Ok(0);
        };
        if !model.flaws().is_empty() {
            return Ok(0);
        }
        let written = profile.canonical("").ok();
        let mut calls = on_every_abi(&POOL, &arguments(profile));
        calls.retain(is_harmless);
        let calls: Vec<_> = calls
            .iter()
            .step_by(calls.len().div_ceil(MAX_CALLS))
            .copied()
            .collect();
        let mut compared = 0;
        for profile in [Some(profile), written.as_ref()].into_iter().flatten() {
            compared += agree(profile, tree, &calls, log.borrow_mut().as_mut())?;
        }
        Ok(compared)
    });
    say(&format!(
        "{compared} decisions on random profiles compared with the kernel"
    ));
    assert!(compared > 100_000);
}

/// Calls with arguments that real profiles look at. None has an effect outside of its process.
fn special() -> Vec<(Arch, Call)> {
    const ANY: u64 = u64::MAX;
    // The type is wrong, so that no socket is made.
    let sockets = (0..48).map(|family| ("socket", [family, ANY, 0, 0, 0, 0]));
    // A thread without common signal handlers: no process is made.
    let clones = (0..32).map(|bit| {
        let flags = (1 << bit | 0x0001_0000) & !0x800;
        ("clone", [flags, 0, 0, 0, 0, 0])
    });
    let personalities = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff, 1, 9];
    let personalities = personalities.map(|persona| ("personality", [persona, 0, 0, 0, 0, 0]));
    let others = [
        // A block of arguments at an address that is not there.
        ("socketcall", [1, ANY, 0, 0, 0, 0]),
        ("unshare", [0; 6]),
        ("keyctl", [999, 0, 0, 0, 0, 0]),
        ("ptrace", [ANY, 0, 0, 0, 0, 0]),
    ];
    let all = sockets.chain(clones).chain(personalities).chain(others);
    all.flat_map(|(name, args)| on_every_abi(&[name], &[args.into()]))
        .collect()
}

#[test]
fn built_in_and_changed_profiles_do_in_the_kernel_what_the_model_says() {
    if !is_possible() {
        return;
    }
    let mut log = audit_log();
    let mut calls = on_every_abi(&HARMLESS, &[[u64::MAX; 6].into()]);
    calls.extend(special());
    let denied: Vec<Value> = vec![
        json!({"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}], "errno": 77}),
        json!("@chmod"),
        json!({"name": "personality", "args": [{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 8, "valueTwo": 8}]}),
    ];
    let logged = [json!("getpid"), json!("openat")];
    let changes = Delta::parse(&[], &logged, &denied, "spec").unwrap();
    let mut compared = 0;
    for &name in BUILTINS {
        for capabilities in [
            CapabilitySet::EMPTY,
            CapabilitySet::RUNTIME_DEFAULT,
            CapabilitySet::from_bits(u64::MAX),
        ] {
            let target = Target {
                capabilities,
                ..target(Arch::X86_64)
            };
            let plain = builtin(name).unwrap().resolve(&target);
            let mut semantics = plain.semantics().unwrap();
            semantics.change(&changes, Arch::X86_64).unwrap();
            let changed = semantics.profile("spec");
            if let Err(problems) = &changed {
                // Its rules for sockets of the audit log and one for a family are more than libseccomp combines, and that is said.
                let audits = Capability::named("CAP_AUDIT_WRITE").unwrap();
                let is_known = name.contains("cri-o") && !capabilities.contains(audits);
                assert!(
                    is_known && problems.to_string().contains("socket"),
                    "{problems}"
                );
            }
            for (profile, tree) in [(Ok(&plain), false), (changed.as_ref(), true)] {
                let Ok(profile) = profile else { continue };
                compared += agree(profile, tree, &calls, log.as_mut()).unwrap();
            }
        }
    }
    say(&format!(
        "{compared} decisions on built-in and changed profiles compared with the kernel"
    ));
    assert!(compared > 10_000);
}
