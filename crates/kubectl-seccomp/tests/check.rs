//! `kubectl-seccomp check`: what a profile would stop of a trace, where it decides by arguments too.
#![allow(clippy::unwrap_used)]

mod tool;

use serde_json::{Value, json};
use tool::{printed, run, stdout};

/// Runs `check` on a trace, with a profile that decides by arguments.
fn check(args: &[&str], trace: &str) -> std::process::Output {
    let condition =
        |index: u8, op: &str, value: u64| json!({"index": index, "op": op, "value": value});
    let mut plain_clone = condition(0, "SCMP_CMP_MASKED_EQ", 0x7e02_0000);
    plain_clone["valueTwo"] = json!(0);
    let allow = |name: &str, args: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args});
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["getpid"], "action": "SCMP_ACT_ALLOW"},
            allow("socket", json!([condition(0, "SCMP_CMP_LT", 38)])),
            allow("clone", json!([plain_clone])),
            allow("personality", json!([condition(0, "SCMP_CMP_EQ", 0)])),
            allow("personality", json!([condition(0, "SCMP_CMP_EQ", 8)])),
        ],
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.json");
    std::fs::write(&path, profile.to_string()).unwrap();
    let path = path.to_str().unwrap();
    run(
        &[&["check", path, "-", "--arch=amd64", "--kernel=6.1"], args].concat(),
        trace,
    )
}

#[test]
fn calls_that_are_allowed_for_their_arguments_are_no_findings() {
    let trace = "\
socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3
socket(0x10, 0x3, 0) = 4
clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f2a) = 13
personality(PER_LINUX32) = 0 (PER_LINUX)
personality(0) = 8 (PER_LINUX32)
";
    let output = check(&["--strict"], trace);
    assert!(
        stdout(&output).contains("stops none of the 5 calls"),
        "{output:?}"
    );
}

#[test]
fn calls_that_are_stopped_for_their_arguments_are_told_with_one_of_them() {
    let trace = "\
socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3
socket(AF_ALG, SOCK_SEQPACKET, 0) = 4
socket(AF_VSOCK, SOCK_STREAM, 0) = 4
clone(child_stack=NULL, flags=CLONE_NEWUSER|SIGCHLD) = 13
personality(0xffffffff) = 0 (PER_LINUX)
";
    let output = check(&["-o", "json"], trace);
    assert_eq!(output.status.code(), Some(1));
    let said: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!(said["conditional"], json!([]));
    let stopped = said["stopped"].as_array().unwrap().iter();
    let stopped: Vec<_> = stopped
        .map(|s| (&s["name"], &s["calls"], &s["example"]))
        .collect();
    let want = [
        (
            json!("socket"),
            json!(2),
            json!("socket(AF_ALG, SOCK_SEQPACKET, 0)"),
        ),
        (
            json!("clone"),
            json!(1),
            json!("clone(child_stack=NULL, flags=CLONE_NEWUSER|SIGCHLD)"),
        ),
        (
            json!("personality"),
            json!(1),
            json!("personality(0xffffffff)"),
        ),
    ];
    for (name, calls, example) in &want {
        assert!(stopped.contains(&(name, calls, example)), "{stopped:?}");
    }
    assert_eq!(stopped.len(), want.len(), "{stopped:?}");
    let text = printed(&check(&[], trace));
    assert!(
        text.contains("amd64 socket: EPERM for socket(AF_ALG, SOCK_SEQPACKET, 0)"),
        "{text}"
    );
}

#[test]
fn what_a_trace_does_not_show_of_arguments_stays_open() {
    // A family of tomorrow, a table, a name, a call that is cut off, and one that gets its arguments by a pointer.
    for (trace, name) in [
        ("socket(AF_TOMORROW, SOCK_STREAM, 0) = 3\n", "socket"),
        (
            "% time     seconds  usecs/call     calls    errors syscall\n  0.00    0.000000           0         1           socket\n",
            "socket",
        ),
        ("socket\n", "socket"),
        ("<... socket resumed>) = 3\n", "socket"),
        (
            "clone(child_stack=NULL, flags=CLONE_VM|CLONE_TOMORROW) = 3\n",
            "clone",
        ),
    ] {
        let output = check(&["-o", "json"], trace);
        let said: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(said["stopped"], json!([]), "{trace}");
        assert_eq!(said["conditional"][0]["name"], name, "{trace}");
        assert_eq!(
            check(&["--strict"], trace).status.code(),
            Some(1),
            "{trace}"
        );
    }
}

#[test]
fn registers_in_records_of_audit_rules_are_arguments() {
    let record = |family: &str| {
        format!(
            "type=SYSCALL msg=audit(1795906432.527:66): arch=c000003e syscall=41 success=yes exit=3 a0={family} a1=80001 a2=0 a3=7ffe items=0 \
             ppid=1 pid=12 auid=0 uid=0 comm=\"a\" exe=\"/bin/a\" subj=unconfined key=\"seen\"\n"
        )
    };
    assert!(stdout(&check(&["--strict"], &record("2"))).contains("stops none"));
    let stopped = check(&[], &record("26"));
    assert_eq!(stopped.status.code(), Some(1), "{stopped:?}");
}

#[test]
fn a_socket_made_through_socketcall_is_decided_by_what_is_known_of_both() {
    let trace = "12 [ 359] socket(AF_ALG, SOCK_STREAM, 0) = 3\n";
    let output = check(&["-o", "json"], trace);
    let said: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!(
        said["stopped"][0]["architecture"], "SCMP_ARCH_X86",
        "{said}"
    );
    assert_eq!(said["stopped"][0]["name"], "socket", "{said}");
}
