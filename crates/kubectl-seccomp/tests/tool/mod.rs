//! Runs the command line tool as its user does.
#![allow(dead_code)] // each test uses a part

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// The tool, with these arguments.
pub fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-seccomp"));
    command.args(args);
    command
}

/// What the tool says with these arguments, given `stdin`.
pub fn run(args: &[&str], stdin: impl AsRef<[u8]>) -> Output {
    fed(tool(args), stdin)
}

/// What `command` says, given `stdin`.
pub fn fed(mut command: Command, stdin: impl AsRef<[u8]>) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let bytes = stdin.as_ref().to_owned();
    let writer = std::thread::spawn(move || {
        // A tool that has no use for its input closes it.
        let _ = pipe.write_all(&bytes);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What it printed, and has to have succeeded.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    printed(output)
}

/// The same in bytes.
pub fn stdout_bytes(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// What it printed, whether it succeeded or not.
pub fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said besides.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A node to read profiles for.
pub const NODE: [&str; 2] = ["--arch=amd64", "--kernel=6.12"];

/// A profile.
pub const NO_CHMOD: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}]}"#;

/// Two SeccompProfiles, of which the first stands on the other.
pub const STANDING: &str = "\
apiVersion: seccomp-operator.io/v1alpha1
kind: SeccompProfile
metadata: {name: web}
spec:
  base: company
  deny: [\"@chmod\"]
---
apiVersion: seccomp-operator.io/v1alpha1
kind: SeccompProfile
metadata: {name: company}
spec:
  base: runtime-default
  allow: [keyctl]
  deny:
    - {name: mkdir, errno: ENOSYS}
";

/// What `lint` says of profiles for that node.
pub fn lint(args: &[&str], stdin: &str) -> Output {
    run(&[&["lint"], &NODE[..], args].concat(), stdin)
}
