//! `kubectl-seccomp probe` under filters whose decisions are known, since they are made here: each is loaded into the
//! process that then becomes the tool.
#![allow(unsafe_code)] // loading a filter between fork and exec has no safe form
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod filter;
mod live;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use filter::{
    ALLOW, Filter, KILL_PROCESS, KILL_THREAD, LOG, TRACE, TRAP, all_names, errno, load_first,
    needed, nr, number,
};

fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-seccomp"));
    command.arg("probe").args(args);
    // What a backtrace takes is no part of the probe.
    command.env_remove("RUST_BACKTRACE");
    command
}

fn under(filter: &Filter, args: &[&str]) -> Output {
    let mut command = tool(args);
    load_first(&mut command, filter, None);
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn probe(filter: &Filter) -> Value {
    json(&under(filter, &["-o", "json"]))
}

/// Asserts that the tool gave up, and says why in these words.
fn assert_gives_up(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains(why), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

/// Syscalls and what stops them, in the test's words.
type Decisions = BTreeMap<String, String>;

fn stopped(report: &Value) -> Decisions {
    report["native"]["stopped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (word(&s["name"]), decision(s)))
        .collect()
}

fn decision(value: &Value) -> String {
    value["errno"].as_i64().map_or_else(
        || word(&value["decision"]),
        |errno| format!("errno {errno}"),
    )
}

fn word(value: &Value) -> String {
    value.as_str().unwrap().into()
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(word).collect()
}

fn call(report: &Value, name: &str) -> String {
    let calls = report["calls"].as_array().unwrap();
    decision(
        calls
            .iter()
            .find(|c| c["call"] == name)
            .unwrap_or_else(|| panic!("{name} was not probed")),
    )
}

fn expected(action: u32) -> Option<String> {
    match action & libc::SECCOMP_RET_ACTION_FULL {
        ALLOW | LOG | TRACE => None,
        TRAP => Some("trap".into()),
        KILL_THREAD | KILL_PROCESS => Some("kill".into()),
        _ => Some(format!("errno {}", action & libc::SECCOMP_RET_DATA)),
    }
}

fn expectations<'a>(actions: impl IntoIterator<Item = (&'a str, u32)>) -> Decisions {
    actions
        .into_iter()
        .filter_map(|(name, action)| Some((name.into(), expected(action)?)))
        .collect()
}

#[test]
fn nothing_is_stopped_where_there_is_no_filter() {
    let report = json(&tool(&["-o", "json"]).output().unwrap());
    assert_eq!(report["method"], "listener");
    assert_eq!(report["native"]["probed"], all_names().count());
    // Whoever runs the tests may have a filter in force.
    if report["seccomp"] == "disabled" {
        assert_eq!(stopped(&report), Decisions::new());
        assert_eq!(
            words(&report["native"]["permitted"]),
            all_names().collect::<Vec<_>>()
        );
        assert_eq!(report["unknownNumbers"][0]["decision"], "permitted");
    }
}

#[test]
fn every_action_is_told_apart_even_on_calls_that_end_or_fork_a_process() {
    let actions = [
        ("reboot", errno(libc::EPERM)),
        ("clone3", errno(libc::ENOSYS)),
        ("bpf", errno(77)),
        ("keyctl", errno(0)),
        ("mseal", errno(4095)),
        ("mount", KILL_PROCESS),
        ("umount2", KILL_THREAD),
        ("kill", KILL_PROCESS),
        ("ptrace", TRAP),
        ("rt_sigtimedwait", TRAP | 0x2a),
        ("execveat", TRAP),
        ("unshare", LOG),
        ("setns", TRACE),
        ("rt_sigsuspend", errno(libc::EACCES)),
    ];
    let filter = actions
        .iter()
        .fold(Filter::new(ALLOW), |f, (name, action)| {
            f.rule(name, *action)
        });
    let report = probe(&filter);
    assert_eq!(stopped(&report), expectations(actions));
    assert_eq!(report["seccomp"], "filter");
    assert_eq!(report["noNewPrivileges"], true);
    assert!(words(&report["native"]["permitted"]).contains(&"exit_group".into()));
}

#[test]
fn random_filters_are_read_off_exactly() {
    let mut seed = 0x5eed_u64;
    let mut random = move |n: usize| {
        // xorshift64
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(n).unwrap()).unwrap()
    };
    let actions = [
        [ALLOW, ALLOW, LOG, errno(1), errno(1), errno(38), errno(13)],
        [
            errno(22),
            errno(14),
            errno(0),
            TRAP,
            TRAP | 7,
            KILL_THREAD,
            KILL_PROCESS,
        ],
    ]
    .concat();
    let needed = needed();
    let mut compared = 0;
    for round in 0..8 {
        let choice: Vec<_> = all_names()
            .filter(|name| !needed.contains(name))
            .map(|name| (name, actions[random(actions.len())]))
            .collect();
        let filter = choice.iter().fold(Filter::new(ALLOW), |f, (name, action)| {
            f.rule(name, *action)
        });
        let report = probe(&filter);
        let want = expectations(choice.iter().copied());
        assert_eq!(stopped(&report), want, "round {round}");
        let permitted = words(&report["native"]["permitted"]).len();
        assert_eq!(permitted, all_names().count() - want.len(), "round {round}");
        compared += choice.len();
    }
    assert!(compared > 2000, "{compared}");
}

#[test]
fn rules_on_arguments_are_seen() {
    let filter = Filter::new(ALLOW)
        .when("clone", (0, 0x7e02_0000, 0), ALLOW)
        .rule("clone", errno(1))
        .when("socket", (0, !0, 38), errno(97))
        .when("socket", (0, !0, 40), errno(1))
        .when("ioctl", (1, !0, 0x5412), KILL_PROCESS)
        .when("unshare", (0, 0x1000_0000, 0x1000_0000), errno(1))
        .when("mprotect", (2, 4, 4), errno(1))
        .when("personality", (0, !0, 0), ALLOW)
        .rule("personality", errno(1));
    let report = json(&under(
        &filter,
        &[
            "-o",
            "json",
            "--call",
            "socket:40,1",
            "--call",
            "socket:0x29",
        ],
    ));
    for (name, want) in [
        ("clone(thread)", "permitted"),
        ("clone(fork)", "permitted"),
        ("clone(CLONE_NEWUSER)", "errno 1"),
        ("clone(CLONE_NEWNET)", "errno 1"),
        ("unshare(CLONE_NEWUSER)", "errno 1"),
        ("unshare(CLONE_NEWNS)", "permitted"),
        ("socket(AF_INET)", "permitted"),
        ("socket(AF_ALG)", "errno 97"),
        ("socket(AF_VSOCK)", "errno 1"),
        ("socket:40,1", "errno 1"),
        ("socket:0x29", "permitted"),
        ("ioctl(TIOCSTI)", "kill"),
        ("ioctl(TIOCLINUX)", "permitted"),
        ("mprotect(PROT_EXEC)", "errno 1"),
        ("personality(PER_LINUX)", "permitted"),
        ("personality(ADDR_NO_RANDOMIZE)", "errno 1"),
    ] {
        assert_eq!(call(&report, name), want, "{name}");
    }
    let conditional = report["native"]["conditional"].as_array().unwrap();
    let mut want = [
        "clone",
        "socket",
        "ioctl",
        "unshare",
        "mprotect",
        "personality",
    ];
    want.sort_by_key(|name| nr(name));
    assert_eq!(
        conditional
            .iter()
            .map(|c| word(&c["name"]))
            .collect::<Vec<_>>(),
        want
    );
    assert_eq!(stopped(&report), Decisions::new());
}

#[test]
fn an_allowlist_of_what_the_tool_needs_is_enough_for_any_default() {
    let needed = needed();
    for default in [errno(1), errno(38), TRAP, KILL_THREAD, KILL_PROCESS] {
        let start = Instant::now();
        let report = probe(&Filter::new(default).rules(needed.iter().copied(), ALLOW));
        let others = all_names().filter(|name| !needed.contains(name));
        assert_eq!(
            stopped(&report),
            expectations(others.map(|name| (name, default)))
        );
        assert_eq!(
            Some(decision(&report["unknownNumbers"][1])),
            expected(default)
        );
        eprintln!("default action {default:#x}: {:?}", start.elapsed());
        // Hundreds of deaths are quick; one call that hangs would cost two seconds, many would not be waited for.
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_filter_for_one_architecture_closes_the_other_ways_in() {
    let mut filter = Filter::new(ALLOW).rule("bpf", errno(1));
    for action in [KILL_THREAD, KILL_PROCESS, TRAP] {
        filter.foreign = action;
        let report = probe(&filter);
        assert_eq!(
            (
                &report["otherAbis"][0]["abi"],
                &report["otherAbis"][0]["state"]
            ),
            (&"x32".into(), &"closed".into())
        );
        // A kernel without IA32 emulation has no such entry at all.
        assert!(
            ["closed", "absent"].contains(&report["otherAbis"][1]["state"].as_str().unwrap()),
            "{report}"
        );
    }
    filter.foreign = errno(38);
    assert_eq!(
        probe(&filter)["otherAbis"][0]["openThoughStoppedNatively"],
        Value::Array(vec![])
    );
    filter.foreign = ALLOW;
    let report = probe(&filter);
    for abi in report["otherAbis"].as_array().unwrap() {
        if abi["state"] == "filtered" {
            assert_eq!(words(&abi["openThoughStoppedNatively"]), ["bpf"]);
            assert_eq!(
                words(&abi["permitted"]).len(),
                usize::try_from(abi["probed"].as_u64().unwrap()).unwrap()
            );
        }
    }
}

#[test]
fn where_seccomp_itself_is_stopped_the_poorer_method_says_what_it_cannot_tell() {
    let actions = [
        ("bpf", errno(libc::EPERM)),
        ("mount", KILL_PROCESS),
        ("ptrace", TRAP),
        ("clone3", errno(libc::ENOSYS)),
    ];
    for seccomp in [errno(libc::EPERM), errno(libc::ENOSYS), KILL_PROCESS] {
        let filter = actions
            .iter()
            .fold(Filter::new(ALLOW), |f, (name, action)| {
                f.rule(name, *action)
            });
        // The filter itself has to be loaded with it.
        let report = probe(&filter.when("seccomp", (1, 8, 8), seccomp));
        assert_eq!(report["method"], "absentTracer");
        let mut want = expectations(actions);
        want.remove("clone3");
        assert_eq!(stopped(&report), want);
        let untold = words(&report["native"]["untold"]);
        assert!(
            untold.contains(&"clone3".into()) && untold.contains(&"exit_group".into()),
            "{untold:?}"
        );
        assert!(words(&report["limits"])[0].contains("ENOSYS"));
    }
}

#[test]
fn where_no_filter_can_be_stacked_the_tool_says_so_and_exits_with_2() {
    let base = || Filter::new(ALLOW).when("seccomp", (1, 8, 8), errno(libc::EPERM));
    assert_gives_up(
        &under(&base().when("prctl", (0, !0, 22), errno(1)), &[]),
        "cannot be stacked",
    );
    assert_gives_up(
        &under(&Filter::new(ALLOW).rules(["clone", "fork"], errno(1)), &[]),
        "the probe needs clone",
    );
}

/// What the C library's start needs, and the loader of a program that is not static.
const START: &str = "execve arch_prctl brk access faccessat open openat read pread64 close fstat newfstatat statx mmap munmap mprotect \
    set_tid_address set_robust_list rseq prlimit64 getrandom readlink readlinkat";

fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let names = names.into_iter();
    names.filter(|name| number(name).is_some()).collect()
}

#[test]
fn what_rust_s_runtime_calls_at_its_start_may_all_be_stopped() {
    let of_the_runtime = [
        "poll",
        "ppoll",
        "fcntl",
        "rt_sigaction",
        "rt_sigprocmask",
        "sigaltstack",
        "sched_getaffinity",
        "gettid",
        "getpid",
        "tgkill",
    ];
    let each = of_the_runtime.iter().map(|name| vec![*name]);
    for stopped_ones in each.chain([of_the_runtime.to_vec()]) {
        let stopped_ones = known(stopped_ones);
        for action in [errno(libc::EPERM), errno(libc::ENOSYS)] {
            let report = probe(&Filter::new(ALLOW).rules(stopped_ones.iter().copied(), action));
            let told = stopped(&report);
            let untold = words(&report["native"]["untold"]);
            for name in &stopped_ones {
                assert!(
                    told.contains_key(*name) || untold.contains(&(*name).to_owned()),
                    "{name} of {stopped_ones:?}: {report}"
                );
            }
        }
    }
}

#[test]
fn a_tight_allowlist_is_read_off_or_said_to_be_too_tight() {
    let start = || known(START.split_whitespace()).into_iter();
    let enough = [
        "write",
        "clone",
        "wait4",
        "kill",
        "seccomp",
        "prctl",
        "exit_group",
    ];
    let allowing = |default| Filter::new(default).rules(start().chain(enough), ALLOW);
    let report = probe(&allowing(errno(libc::EPERM)));
    assert_eq!(report["method"], "absentTracer");
    assert!(stopped(&report).contains_key("mount"), "{report}");
    assert!(!stopped(&report).contains_key("write"), "{report}");
    let too_tight = under(&allowing(KILL_PROCESS), &[]);
    assert_gives_up(&too_tight, "kills the probe's own processes");
    // With nothing but a voice.
    let voice = ["write", "seccomp", "exit_group"];
    let filter = Filter::new(errno(libc::EPERM)).rules(start().chain(voice), ALLOW);
    assert_gives_up(&under(&filter, &[]), "the probe needs clone");
}

#[test]
fn without_a_pipe_the_poorer_method_does() {
    let report = probe(&Filter::new(ALLOW).rules(["pipe2", "bpf"], errno(libc::EPERM)));
    assert_eq!(report["method"], "absentTracer");
    assert!(stopped(&report).contains_key("bpf"), "{report}");
}

#[test]
fn without_ioctl_the_listener_is_of_no_use_but_the_other_method_is() {
    let report = probe(&Filter::new(ALLOW).rules(["ioctl", "bpf"], errno(1)));
    assert_eq!(report["method"], "absentTracer");
    assert_eq!(
        stopped(&report),
        expectations([("bpf", errno(1)), ("ioctl", errno(1))])
    );
}

#[test]
fn without_rt_sigaction_a_trap_is_called_a_kill_and_the_report_says_that_it_may_be_one() {
    // Of the signals, SIGSYS is number 31.
    let report = probe(
        &Filter::new(ALLOW)
            .when("rt_sigaction", (0, !0, 31), errno(1))
            .rule("bpf", TRAP),
    );
    assert_eq!(stopped(&report), expectations([("bpf", KILL_PROCESS)]));
    assert!(
        words(&report["limits"])
            .iter()
            .any(|l| l.contains("rt_sigaction"))
    );
}

/// A recorder's profile hands calls to a listener that has them executed: nothing may be tried there.
#[test]
fn under_a_listener_of_somebody_else_nothing_is_called() {
    let mut command = tool(&[]);
    load_first(
        &mut command,
        &Filter::new(ALLOW).rule("mount", libc::SECCOMP_RET_USER_NOTIF),
        Some(200),
    );
    assert_gives_up(&command.output().unwrap(), "a listener of its own");
}

/// The same where the tool cannot find out by stacking a listener of its own: what it tries first is harmless, and
/// shows that it is executed.
#[test]
fn a_listener_that_lets_calls_through_is_noticed_by_harmless_trials() {
    for name in [
        "getpid",
        "mount",
        "sethostname",
        "fork",
        "pause",
        "exit_group",
    ] {
        if number(name).is_none() {
            continue;
        }
        let filter = Filter::new(ALLOW)
            .when("seccomp", (1, 8, 8), errno(libc::EPERM))
            .rule(name, libc::SECCOMP_RET_USER_NOTIF);
        let mut command = tool(&[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        load_first(&mut command, &filter, Some(200));
        let child = command.spawn().unwrap();
        let listener = fetch(child.id(), 200);
        let server = std::thread::spawn(move || let_all_through(&listener));
        assert_gives_up(
            &child.wait_with_output().unwrap(),
            "a trial call was executed",
        );
        server.join().unwrap();
    }
}

/// Takes a copy of another process's descriptor.
fn fetch(pid: u32, number: i32) -> OwnedFd {
    // SAFETY: both calls take numbers only, and return descriptors that nobody else owns.
    unsafe {
        let process = OwnedFd::from_raw_fd(
            i32::try_from(libc::syscall(libc::SYS_pidfd_open, pid, 0)).unwrap(),
        );
        let copy = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        assert!(copy >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(copy).unwrap())
    }
}

/// What a recorder does: has every call executed, until the last process with the filter is gone.
fn let_all_through(listener: &OwnedFd) {
    loop {
        let mut ready = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which outlives the call.
        unsafe { libc::poll(&raw mut ready, 1, -1) };
        if ready.revents & libc::POLLIN == 0 {
            return;
        }
        // SAFETY: zeroes are a valid notification, which the first request fills and the second one does not touch.
        unsafe {
            let mut notice: libc::seccomp_notif = std::mem::zeroed();
            if libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut notice,
            ) == 0
            {
                let mut answer = libc::seccomp_notif_resp {
                    id: notice.id,
                    val: 0,
                    error: 0,
                    flags: 1,
                };
                libc::ioctl(
                    listener.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_SEND,
                    &raw mut answer,
                );
            }
        }
    }
}

#[test]
fn an_unprivileged_user_gets_the_same_answer() {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("not root: the other tests are the unprivileged ones");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = directory.path().join("kubectl-seccomp");
    std::fs::copy(env!("CARGO_BIN_EXE_kubectl-seccomp"), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["probe", "-o", "json"]).uid(65534).gid(65534);
    load_first(
        &mut command,
        &Filter::new(ALLOW).rule("bpf", errno(1)),
        None,
    );
    let report = json(&command.output().unwrap());
    assert_eq!(report["uid"], 65534);
    assert_eq!(report["capabilities"]["effective"], Value::Array(vec![]));
    // Executed, mount, reboot, chroot ... would fail with EPERM for want of a capability.
    assert_eq!(stopped(&report), expectations([("bpf", errno(1))]));
}

/// Called as root with all arguments zero, they would empty the host name, take all permissions from standard input
/// and truncate it.
#[test]
fn nothing_that_is_called_is_executed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("input");
    std::fs::write(&path, "something").unwrap();
    let state = || {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        (
            std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
            mode,
            std::fs::read(&path).unwrap(),
        )
    };
    let before = state();
    let input = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    json(&tool(&["-o", "json"]).stdin(input).output().unwrap());
    assert_eq!(state(), before);
}

#[test]
fn expectations_decide_the_exit_code() {
    let filter = Filter::new(ALLOW)
        .rule("bpf", errno(1))
        .when("socket", (0, !0, 38), errno(1))
        .when("unshare", (0, 0x1000_0000, 0x1000_0000), errno(1));
    let code = |args: &[&str]| under(&filter, args).status.code();
    assert_eq!(
        code(&[
            "--must-stop",
            "bpf socket(AF_ALG)",
            "--must-permit",
            "read socket(AF_INET)"
        ]),
        Some(0)
    );
    assert_eq!(
        code(&["--must-stop", "bpf", "--must-stop", "unshare"]),
        Some(1)
    );
    assert_eq!(code(&["--must-permit", "bpf"]), Some(1));
    assert_eq!(code(&["--must-permit", "socket"]), Some(1));
    assert_eq!(code(&["--must-stop", "bfp"]), Some(2));
    assert_eq!(code(&["--call", "sockets:1"]), Some(2));
    assert_eq!(code(&["--no-such-option"]), Some(2));
    let output = under(&filter, &["--must-stop", "unshare mount"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "unshare: not stopped\nmount: not stopped\n"
    );
}

#[test]
fn the_text_is_plain_when_nobody_watches() {
    let output = under(
        &Filter::new(ALLOW)
            .rule("bpf", errno(1))
            .rule("keyctl", KILL_PROCESS),
        &[],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\x1b'), "{text}");
    assert!(text.contains("Stopped syscalls: 2 of "), "{text}");
    assert!(
        text.contains("  EPERM: bpf\n") && text.contains("  killed: keyctl\n"),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}
