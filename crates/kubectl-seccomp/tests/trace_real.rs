//! `kubectl-seccomp from-strace` as a user would run it on what strace writes of real programs.
//!
//! Needs strace, and root and runc to run a container under a profile made so. What is missing is said, and that part not tested.
#![allow(clippy::unwrap_used)]

mod tool;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tool::{run, stderr, stdout};

fn names(args: &[&str], stdin: &str) -> String {
    stdout(&run(&[args, &["-o", "names"]].concat(), stdin))
        .trim_end()
        .replace('\n', " ")
}

/// strace, if it is there and may trace.
fn strace(args: &[&str]) -> Option<Output> {
    let output = Command::new("strace")
        .args(args)
        .output()
        .inspect_err(|error| eprintln!("skipped: strace: {error}"))
        .ok()?;
    if !output.status.success() {
        eprintln!(
            "skipped: strace: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return None;
    }
    Some(output)
}

const SCRIPT: &str = "ls / >/dev/null; cat /dev/null; (exit 0)";

#[test]
fn every_form_of_strace_output_says_the_same_of_a_real_program() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let one = file("one");
    if strace(&["-f", "-o", &one, "sh", "-c", SCRIPT]).is_none() {
        return;
    }
    let one = names(&["from-strace", &one], "");
    assert!(
        one.contains("getdents64") && one.contains("exit_group"),
        "{one}"
    );
    let mut forms = vec![];
    for options in [
        &["-f"][..],
        &["-f", "-tt", "-T"],
        &["-f", "-n"],
        &["-f", "-i", "-r"],
        &["-f", "-ttt", "-y", "-Y"],
    ] {
        let path = file("form");
        strace(&[options, &["-o", &path, "sh", "-c", SCRIPT]].concat());
        forms.push((options, run(&["from-strace", "-o", "names", &path], "")));
    }
    let output = strace(&["-f", "sh", "-c", SCRIPT]).unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    forms.push((&["-f 2>&1"], run(&["from-strace", "-o", "names"], &text)));
    strace(&["-ff", "-o", &file("each"), "sh", "-c", SCRIPT]);
    let mut each: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .filter(|path| path.contains("/each."))
        .collect();
    each.sort();
    assert!(each.len() > 1, "{each:?}");
    let arguments: Vec<_> = ["from-strace", "-o", "names"]
        .into_iter()
        .chain(each.iter().map(String::as_str))
        .collect();
    forms.push((&["-ff"], run(&arguments, "")));
    for (form, output) in forms {
        let said = stdout(&output).trim_end().replace('\n', " ");
        assert_eq!(
            (said, stderr(&output)),
            (one.clone(), String::new()),
            "{form:?}"
        );
    }
    // The table is without calls that do not return.
    let path = file("table");
    strace(&["-f", "-c", "-o", &path, "sh", "-c", SCRIPT]);
    let table = names(&["from-strace", &path], "");
    let without_ends: Vec<_> = one
        .split(' ')
        .filter(|name| !["exit", "exit_group"].contains(name))
        .collect();
    assert_eq!(table, without_ends.join(" "));
}

/// Programs with their calls, by number.
fn programs(args: &[&str], stdin: &str) -> BTreeMap<String, Value> {
    let output = run(&[&["from-strace", "-o", "json"], args].concat(), stdin);
    assert_eq!(stderr(&output), "");
    let data: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let programs = data["programs"].as_array().unwrap().iter();
    programs
        .map(|p| {
            (
                format!("{} {}", p["comm"], p["exe"]),
                p["architectures"].clone(),
            )
        })
        .collect()
}

#[test]
fn programs_of_a_real_trace_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace");
    let path = path.to_str().unwrap();
    // The last program takes the place of the first.
    let script = "ls / >/dev/null; cat /dev/null; exec head -c0 /dev/null";
    if strace(&["-f", "-o", path, "sh", "-c", script]).is_none() {
        return;
    }
    assert!(names(&["from-strace", "--comm=ls", path], "").contains("getdents64"));
    assert!(!names(&["from-strace", "--comm=cat", path], "").contains("getdents64"));
    assert!(names(&["from-strace", "--exe=*/sh", path], "").contains("wait4"));
    let in_file = programs(&[path], "");
    assert_eq!(in_file.len(), 5, "{in_file:?}");
    for options in [&["-f"][..], &["-f", "-q"]] {
        let terminal = strace(&[options, &["sh", "-c", script]].concat()).unwrap();
        let text = String::from_utf8(terminal.stderr).unwrap();
        assert_eq!(programs(&[], &text), in_file, "{options:?}");
    }
    strace(&["-ff", "-o", path, "sh", "-c", script]);
    let files = std::fs::read_dir(directory.path()).unwrap();
    let mut files: Vec<_> = files
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .filter(|file| file != path)
        .collect();
    files.sort();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    assert_eq!(programs(&files, ""), in_file);
}

/// A program for 32-bit x86 that makes a socket through socketcall, asks for its number and ends.
#[cfg(target_arch = "x86_64")]
fn program_32(path: &Path) {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let word = u32::to_le_bytes;
    let mut code = vec![];
    code.extend([0xb8, 102, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0xb9]);
    code.extend(word(BASE + HEADERS + 64));
    code.extend([0xcd, 0x80, 0xb8, 20, 0, 0, 0, 0xcd, 0x80]);
    code.extend([0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80]);
    code.resize(64, 0x90);
    code.extend([word(1), word(1), word(0)].concat());
    let size = HEADERS + u32::try_from(code.len()).unwrap();
    let mut elf = b"\x7fELF\x01\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 3, 0]);
    for value in [1, BASE + HEADERS, 52, 0, 0] {
        elf.extend(word(value));
    }
    for value in [52_u16, 32, 1, 0, 0, 0] {
        elf.extend(value.to_le_bytes());
    }
    for value in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        elf.extend(word(value));
    }
    elf.extend(code);
    std::fs::write(path, elf).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_calls_of_a_real_32_bit_program_are_kept_apart() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("hello32");
    program_32(&program);
    if !Command::new(&program).status().is_ok_and(|s| s.success()) {
        eprintln!("skipped: this kernel runs no 32-bit programs");
        return;
    }
    let program = program.to_str().unwrap();
    let of = |options: &[&str]| -> Option<Vec<String>> {
        let output = strace(&[options, &["sh", "-c", program]].concat())?;
        let text = String::from_utf8(output.stderr).unwrap();
        let data = stdout(&run(&["from-strace", "-o", "json"], &text));
        let data: Value = serde_json::from_str(&data).unwrap();
        let arches = data["architectures"].as_array().unwrap();
        let x86 = arches.iter().find(|a| a["architecture"] == "SCMP_ARCH_X86");
        let calls = x86.unwrap()["syscalls"].as_array().unwrap().iter();
        Some(
            calls
                .map(|s| s["name"].as_str().unwrap().to_owned())
                .collect(),
        )
    };
    let Some(marked) = of(&["-f"]) else {
        return;
    };
    assert_eq!(marked, ["exit", "getpid", "socket", "socketcall"]);
    assert_eq!(of(&["-f", "-n"]).unwrap(), ["exit", "getpid", "socketcall"]);
    assert_eq!(
        of(&["-f", "-c"]).unwrap(),
        ["getpid", "socket", "socketcall"]
    );
}

/// Runs `ls /` in a container of the host's libraries.
fn list_in_container(seccomp: &Value) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("rootfs");
    let kept = ["/bin", "/lib", "/lib64", "/usr"];
    let kept: Vec<_> = kept.into_iter().filter(|d| Path::new(d).exists()).collect();
    let mounts: Vec<_> = kept
        .iter()
        .map(|d| json!({"source": d, "destination": d, "type": "bind", "options": ["rbind", "ro"]}))
        .chain([json!({"source": "proc", "destination": "/proc", "type": "proc"})])
        .collect();
    for name in kept.iter().chain(&["/proc", "/marker"]) {
        std::fs::create_dir_all(root.join(&name[1..])).unwrap();
    }
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 1000, "gid": 1000},
            "args": ["/bin/ls", "/"],
            "env": ["PATH=/usr/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs", "readonly": true},
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "seccomp": seccomp},
    });
    std::fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
    Command::new("runc")
        .arg("--root")
        .arg(directory.path().join("state"))
        .args(["run", "--bundle"])
        .arg(directory.path())
        .arg(format!("trace-{}", std::process::id()))
        .output()
        .unwrap()
}

#[test]
fn a_container_starts_and_works_under_the_profile_of_its_trace() {
    // Only root may read this.
    if std::fs::read_dir("/proc/1/fd").is_err() || Command::new("runc").arg("-v").output().is_err()
    {
        eprintln!("skipped: not root, or no runc");
        return;
    }
    let free = list_in_container(&Value::Null);
    if !free.status.success() {
        eprintln!("skipped: runc starts no container here: {}", stderr(&free));
        return;
    }
    let Some(trace) = strace(&["-f", "-n", "ls", "/"]) else {
        return;
    };
    let trace = String::from_utf8(trace.stderr).unwrap();
    let profile = |args: &[&str]| -> Value {
        let args = [&["from-strace", "-o", "profile"], args].concat();
        serde_json::from_str(&stdout(&run(&args, &trace))).unwrap()
    };
    let complete = profile(&[]);
    for _ in 0..5 {
        let output = list_in_container(&complete);
        assert_eq!(stdout(&output), stdout(&free));
    }
    assert!(
        !list_in_container(&profile(&["--runtime=none"]))
            .status
            .success()
    );
    // The program's own calls are in it for a reason.
    let mut poorer = complete;
    let names = poorer["syscalls"][0]["names"].as_array_mut().unwrap();
    names.retain(|name| name != "mmap");
    assert!(!list_in_container(&poorer).status.success());
}
