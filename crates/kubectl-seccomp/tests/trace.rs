//! `kubectl-seccomp from-strace` and `from-audit` as a user would run them, on written traces.
//!
//! Recorded audit lines are read from `../shared/data` (or where `SECCOMP_SHARED_DATA` says); if they are not there, that is said and
//! the part not tested.
#![allow(clippy::unwrap_used, clippy::panic)]

mod tool;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use seccomp_profile::{Action, Arch, CapabilitySet, KernelVersion, Profile, Rule, Syscall, Target};
use serde_json::{Value, json};
use tool::{run, stderr, stdout, tool};

const STRACE: &str = r#"100 execve("/bin/sh", ["sh", "-c", "ls; true"], 0x7ffe /* 9 vars */) = 0
100 brk(NULL) = 0x55
100 vfork( <unfinished ...>
101 execve("/usr/bin/ls", ["ls"], 0x55 /* 9 vars */) = 0
101 getdents64(3, 0x55 /* 2 entries */, 32768) = 48
hello from the program
101 exit_group(0) = ?
101 +++ exited with 0 +++
100 <... vfork resumed>) = 101
100 brk(NULL) = 0x55
"#;

fn audit(comm: &str, arch: &str, syscall: u32, code: &str) -> String {
    format!(
        "audit: type=1326 audit(1795474870.398:22725): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=13748 comm=\"{comm}\" exe=\"/bin/{comm}\" sig=0 arch={arch} syscall={syscall} compat=0 ip=0x47b567 code={code}\n"
    )
}

fn names(args: &[&str], stdin: &str) -> String {
    stdout(&run(&[args, &["-o", "names"]].concat(), stdin))
        .trim_end()
        .replace('\n', " ")
}

/// The profile, having checked that it is one, and canonical.
fn profile(args: &[&str], stdin: &str) -> Profile {
    let bytes = run(&[args, &["-o", "profile"]].concat(), stdin);
    let bytes = stdout(&bytes).into_bytes();
    let document = seccomp_profile::parse_slice(&bytes, "").unwrap();
    let read = document.resolve(&Target {
        arch: Arch::X86_64,
        kernel: KernelVersion { major: 6, minor: 0 },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    });
    assert_eq!(read.to_canonical_json(), bytes);
    read
}

/// What it allows for all arguments; `tests/lint.rs` knows the other rules.
fn allowed(profile: &Profile) -> BTreeSet<&'static str> {
    assert!(matches!(profile.default_action(), Action::Errno(_)));
    let mut rules = profile.rules().iter();
    let is_plain = |rule: &&Rule| (rule.action(), rule.conditions()) == (Action::Allow, &[][..]);
    let rule = rules.find(is_plain).unwrap();
    rule.syscalls().iter().map(|call| call.name()).collect()
}

#[test]
fn a_trace_is_summed_up_in_tables() {
    let output = run(&["from-strace", "--arch", "amd64"], STRACE);
    assert_eq!(
        stdout(&output),
        "\
amd64: 7 calls of 5 syscalls
         2  brk
         2  execve
         1  exit_group
         1  getdents64
         1  vfork

Programs
     CALLS  SYSCALLS  COMM  EXE
         4         3  sh    /bin/sh
         2         2  ls    /usr/bin/ls
         1         1  -     -
"
    );
    assert_eq!(
        stderr(&output),
        "warning: 1 of 10 lines not understood; the first is line 6 of standard input: hello from the program\n"
    );
}

#[test]
fn filters_choose_programs_processes_and_actions() {
    let strace = |args: &[&str]| names(&[&["from-strace", "--arch=amd64"], args].concat(), STRACE);
    assert_eq!(strace(&["--comm", "ls"]), "exit_group getdents64");
    assert_eq!(
        strace(&["--exe", "*/ls", "--exe", "/x"]),
        "exit_group getdents64"
    );
    assert_eq!(strace(&["--pid", "100"]), "brk execve vfork");
    let log = [
        audit("a", "c000003e", 83, "0x50000"),
        audit("a", "c000003e", 84, "0x0"),
        audit("b", "c000003e", 85, "0x80000000"),
        audit("b", "c00000b7", 34, "0x7ffc0000"),
    ]
    .concat();
    let audit = |args: &[&str]| names(&[&["from-audit"], args].concat(), &log);
    assert_eq!(audit(&[]), "creat mkdir mkdirat rmdir");
    assert_eq!(audit(&["--action", "kill"]), "creat rmdir");
    assert_eq!(audit(&["--action", "errno,log"]), "mkdir mkdirat");
    assert_eq!(audit(&["--action", "kill", "--comm", "b"]), "creat");
    assert_eq!(audit(&["--arch", "arm64"]), "mkdirat");
}

#[test]
fn the_data_have_all_counts() {
    let log = [
        audit("a", "c000003e", 83, "0x50000"),
        audit("a", "c000003e", 83, "0x50000"),
        audit("a", "40000003", 9999, "0x0"),
        "kauditd_printk_skb: 5 callbacks suppressed\n".into(),
        "some other line\n".into(),
    ]
    .concat();
    let output = run(&["from-audit", "-o", "json"], &log);
    let x86_64 = json!({"architecture": "SCMP_ARCH_X86_64", "calls": 2, "syscalls": [{"name": "mkdir", "calls": 2}]});
    let x86 = json!({"architecture": "SCMP_ARCH_X86", "calls": 1, "syscalls": [], "unknown": [{"number": 9999, "calls": 1}]});
    assert_eq!(
        serde_json::from_str::<Value>(&stdout(&output)).unwrap(),
        json!({
            "lines": {"read": 5, "used": 3, "unreadable": 0, "lost": 5},
            "calls": 3,
            "filteredOut": 0,
            "architectures": [x86, x86_64],
            "actions": [{"action": "kill-thread", "calls": 1}, {"action": "errno", "calls": 2}],
            "programs": [{"comm": "a", "exe": "/bin/a", "calls": 3, "architectures": [x86, x86_64]}],
        })
    );
    let warnings = stderr(&output);
    assert!(
        warnings.contains("left out at least 5 records"),
        "{warnings}"
    );
    assert!(
        warnings.contains("1 call of numbers that are no syscalls"),
        "{warnings}"
    );
}

#[test]
fn no_profile_is_made_of_a_trace_that_is_hardly_understood() {
    let tenth = "getpid() = 1\n".repeat(9) + "what is this\n";
    assert!(
        !profile(&["from-strace", "--arch=amd64"], &tenth)
            .rules()
            .is_empty()
    );
    let more = tenth + "what is this\n";
    let refused = run(&["from-strace", "--arch=amd64", "-o", "profile"], &more);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty(), "{refused:?}");
    let reason = stderr(&refused);
    assert!(
        reason.contains("2 of 11 lines not understood") && reason.contains("--allow-unread"),
        "{reason}"
    );
    profile(&["from-strace", "--arch=amd64", "--allow-unread"], &more);

    // Lines of others between records say nothing of them.
    let record = audit("a", "c000003e", 83, "0x50000");
    let log = record.clone() + &"sshd: hello\n".repeat(30);
    profile(&["from-audit"], &log);
    let log = record + "audit: type=1326 audit(1.2:3): cut off\n" + &"sshd: hello\n".repeat(30);
    assert_eq!(
        run(&["from-audit", "-o", "profile"], &log).status.code(),
        Some(1)
    );
}

#[test]
fn a_profile_allows_the_trace_and_what_the_runtime_needs() {
    let with = |runtime: &str| {
        profile(
            &["from-strace", "--arch=amd64", "--runtime", runtime],
            STRACE,
        )
    };
    let none = with("none");
    assert_eq!(
        allowed(&none).into_iter().collect::<Vec<_>>().join(" "),
        "brk execve exit exit_group getdents64 restart_syscall rt_sigreturn vfork"
    );
    assert_eq!(
        none.architectures().iter().collect::<Vec<_>>(),
        [Arch::X86_64]
    );
    let default = profile(&["from-strace", "--arch=amd64"], STRACE);
    assert_eq!(default, with("runc"));
    assert!(allowed(&default).is_superset(&allowed(&none)));
    assert!(allowed(&default).contains("openat2") && allowed(&with("crun")).contains("setresuid"));

    let log = audit("a", "40000003", 102, "0x7ffc0000") + &audit("a", "c000003e", 0, "0x7ffc0000");
    let both = profile(&["from-audit", "--runtime=none"], &log);
    assert_eq!(
        both.architectures().iter().collect::<Vec<_>>(),
        [Arch::X86, Arch::X86_64]
    );
    assert!(allowed(&both).is_superset(&BTreeSet::from(["read", "socketcall", "sigreturn"])));
}

#[test]
fn one_profile_is_for_one_kind_of_machine() {
    let log = audit("a", "c00000b7", 34, "0x7ffc0000") + &audit("a", "c000003e", 0, "0x7ffc0000");
    let output = run(&["from-audit", "-o", "profile"], &log);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("(amd64, arm64); choose"),
        "{output:?}"
    );
    assert!(
        run(&["from-audit", "-o", "profile", "--arch=arm64"], &log)
            .status
            .success()
    );
}

#[test]
fn exit_codes_and_sentences_tell_what_is_wrong() {
    for (args, stdin, code, sentence) in [
        (
            &["from-strace"][..],
            "",
            1,
            "no system call in 0 lines: is it what strace, perf or bpftrace writes?\n",
        ),
        (
            &["from-strace"],
            "hello\nworld\n",
            1,
            "no system call in 2 lines",
        ),
        (
            &["from-audit"],
            "hello\n",
            1,
            "no seccomp record in 1 line: the kernel logs",
        ),
        (
            &["from-audit", "--comm", "zsh"],
            &audit("a", "c000003e", 0, "0x0"),
            1,
            "none of the 1 call is of",
        ),
        (
            &["from-strace", "/no/such/file"],
            "",
            2,
            "error: /no/such/file: No such file",
        ),
        (&["from-strace", "/"], "", 2, "error: /: Is a directory"),
        (
            &["from-strace", "--arch", "vax"],
            "",
            2,
            "the architectures are x86, amd64",
        ),
        (
            &["from-strace", "--runtime", "runc"],
            STRACE,
            2,
            "error: --runtime goes with -o profile and -o manifest\n",
        ),
        (
            &["from-strace", "--action", "log"],
            "",
            2,
            "unexpected argument",
        ),
        (
            &["from-audit", "--action", "deny"],
            "",
            2,
            "the actions are kill, kill-process",
        ),
        (
            &["from-audit", "-o", "yaml"],
            "",
            2,
            "possible values: text, names, json, profile",
        ),
    ] {
        let output = run(args, stdin);
        assert_eq!(output.status.code(), Some(code), "{args:?} {output:?}");
        assert!(stderr(&output).contains(sentence), "{args:?} {output:?}");
        assert!(output.stdout.is_empty(), "{args:?} {output:?}");
    }
}

#[test]
fn several_files_and_standard_input_are_one_trace() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, audit("a", "c000003e", 83, "0x0")).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(
        names(
            &["from-audit", path, "-"],
            &audit("a", "c000003e", 84, "0x0")
        ),
        "mkdir rmdir"
    );
}

#[test]
fn help_has_examples() {
    for command in ["from-strace", "from-audit"] {
        let help = stdout(&run(&[command, "--help"], ""));
        assert!(
            help.contains("Examples:") && help.contains("Exit status:"),
            "{help}"
        );
        assert!(help.contains("-o profile"), "{help}");
    }
}

#[test]
fn memory_does_not_grow_with_the_input() {
    let mut child = tool(&["from-audit", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // 32 MiB in one line, then as much in lines of ever new programs.
    for _ in 0..2048 {
        pipe.write_all(&[b'x'; 1 << 14]).unwrap();
    }
    pipe.write_all(b"\n").unwrap();
    for n in 0..100_000 {
        let line = audit(&format!("program{n}"), "c000003e", n, "0x7ffc0000");
        pipe.write_all(line.as_bytes()).unwrap();
    }
    // What is in the pipe's buffer is a few lines.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let data: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(data["calls"], 100_000);
    let peak = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak
        .trim()
        .strip_suffix(" kB")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    // What of the program is mapped counts as well.
    assert!(peak < 30 << 10, "{peak} KiB");
}

fn shared(name: &str) -> Option<Value> {
    let data = std::env::var_os("SECCOMP_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = data.join(name);
    let text = std::fs::read_to_string(&path)
        .inspect_err(|error| eprintln!("skipped: {}: {error}", path.display()))
        .ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn recorded_audit_lines_say_what_is_known_of_them() {
    let Some(cases) = shared("cases.json") else {
        return;
    };
    let cases = cases["audit_parse"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let (line, want) = (case["line"].as_str().unwrap(), &case["want"]);
        let output = run(&["from-audit", "-o", "json"], line);
        if want.is_null() {
            assert_eq!(output.status.code(), Some(1), "{line}");
            continue;
        }
        let data: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let number = u32::try_from(want["syscall"].as_u64().unwrap()).unwrap();
        let program = &data["programs"][0];
        assert_eq!(program["exe"], want["exe"], "{line}");
        assert_eq!(
            program["architectures"][0]["syscalls"][0]["name"],
            Syscall::numbered(Arch::X86_64, number).unwrap().name(),
            "{line}"
        );
        let pid = want["pid"].to_string();
        assert!(
            run(&["from-audit", "--pid", &pid], line).status.success(),
            "{line}"
        );
    }
}

#[test]
fn a_terminal_shows_how_much_was_read_when_a_pipe_pauses() {
    let tool = env!("CARGO_BIN_EXE_kubectl-seccomp");
    let trace = r"printf '1 read(0) = 1\n1 close(0) = 0\n1 brk(0) = 0\n'; sleep 2";
    let pipe = format!("({trace}) | {tool} from-strace -o names");
    let mut on_terminal = Command::new("script");
    on_terminal
        .args(["-qec", &pipe, "/dev/null"])
        .stdin(Stdio::null());
    let shown = stdout(&on_terminal.output().unwrap());
    let count = "\r3 lines, 3 of them about calls\x1b[K";
    assert_eq!(shown, format!("{count}\r\x1b[Kbrk\r\nclose\r\nread\r\n"));
}
