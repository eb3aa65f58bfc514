//! `kubectl-seccomp test --live`: the cases of a file by the filter in force.

use std::io::Write as _;

use super::filter::{ALLOW, Filter, KILL_PROCESS, TRAP, errno, load_first};
use super::{Output, json};

const CASES: &str = "\
profile: is-not-read.json
target: {arch: [amd64, arm64]}
cases:
  - {call: [openat, getpid], expect: allow}
  - {call: keyctl, expect: errno(ENOSYS)}
  - {call: bpf, expect: kill}
  - {call: acct, expect: trap}
  - {name: sockets, call: [socket(AF_ALG), socket(38)], expect: errno(EPERM)}
  - {call: socket(AF_INET), expect: permitted}
  - {call: getpid, expect: stopped, target: {arch: s390x}}
";

fn filter() -> Filter {
    Filter::new(ALLOW)
        .rule("keyctl", errno(libc::ENOSYS))
        .rule("bpf", KILL_PROCESS)
        .rule("acct", TRAP)
        .when("socket", (0, u32::MAX, 38), errno(libc::EPERM))
}

fn test_under(filter: &Filter, cases: &str, args: &[&str]) -> Output {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(cases.as_bytes()).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-seccomp"));
    command
        .args(["test", "--live"])
        .args(args)
        .arg(file.path())
        .env_remove("RUST_BACKTRACE");
    load_first(&mut command, filter, None);
    command.output().unwrap()
}

#[test]
fn cases_are_asked_of_the_filter_in_force() {
    let report = json(&test_under(&filter(), CASES, &["-o", "json"]));
    assert_eq!(
        (&report["passed"], &report["skipped"]),
        (&6.into(), &1.into()),
        "{report}"
    );
    assert_eq!(report["failed"], 0);
}

#[test]
fn what_the_filter_does_otherwise_is_said() {
    let lax = Filter::new(ALLOW).rule("bpf", KILL_PROCESS);
    let output = test_under(&lax, CASES, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains(": 3 of 6 cases failed, 1 left out\n"),
        "{said}"
    );
    assert!(
        said.contains("  FAIL sockets\n       socket is permitted here\n"),
        "{said}"
    );
}
