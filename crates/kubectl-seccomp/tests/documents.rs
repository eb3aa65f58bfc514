//! `kubectl-seccomp` on profile documents, as a user would run it.
//!
//! Docker's and Podman's own files are read from `../shared/data` (or where `SECCOMP_SHARED_DATA` says); if they are not
//! there, that is said and the part not tested.
#![allow(clippy::unwrap_used)]

mod tool;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tool::{run, stderr, stdout_bytes};

fn shared(name: &str) -> Option<Vec<u8>> {
    let data = std::env::var_os("SECCOMP_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = data.join(name);
    std::fs::read(&path)
        .inspect_err(|error| eprintln!("skipped: {}: {error}", path.display()))
        .ok()
}

const NODE: [&str; 2] = ["--arch=amd64", "--kernel=6.1"];

fn convert(args: &[&str], document: &[u8]) -> Vec<u8> {
    stdout_bytes(run(&[&["convert"], &NODE[..], args].concat(), document))
}

/// The entries for a call.
fn entries(profile: &[u8], call: &str) -> Vec<Value> {
    let profile: Value = serde_json::from_slice(profile).unwrap();
    let entries = profile["syscalls"].as_array().unwrap().iter();
    entries
        .filter(|e| e["names"].as_array().unwrap().contains(&json!(call)))
        .cloned()
        .collect()
}

fn docker() -> Vec<u8> {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["write", "read"], "action": "SCMP_ACT_ALLOW"},
            {"name": "bpf", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"name": "clone3", "action": "SCMP_ACT_ERRNO", "errno": "ENOSYS", "excludes": {"minKernel": "6.6"}},
        ],
    })
    .to_string()
    .into_bytes()
}

#[test]
fn a_docker_document_is_decided_for_a_node_and_a_container() {
    let output = run(&[&["convert"], &NODE[..]].concat(), docker());
    assert_eq!(
        stderr(&output),
        "note: standard input is resolved for amd64, Linux 6.1, the runtimes' default capabilities\n"
    );
    let profile: Value = serde_json::from_slice(&stdout_bytes(output)).unwrap();
    assert_eq!(
        profile,
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            ],
        })
    );
    let with_bpf = convert(&["--cap", "default,bpf"], &docker());
    assert_eq!(entries(&with_bpf, "bpf").len(), 1);
    let newer = stdout_bytes(run(
        &["convert", "--arch=amd64", "--kernel=6.18.0-rc1"],
        docker(),
    ));
    assert_eq!(entries(&newer, "clone3").len(), 0);
    let arm = stdout_bytes(run(
        &["convert", "--arch=aarch64", "--kernel=6.1"],
        docker(),
    ));
    let arm: Value = serde_json::from_slice(&arm).unwrap();
    assert_eq!(arm["architectures"], json!(["SCMP_ARCH_AARCH64"]));
}

#[test]
fn what_is_converted_stays_as_it_is() {
    let once = convert(&[], &docker());
    let again = run(&[&["convert"], &NODE[..]].concat(), &once);
    assert_eq!(stderr(&again), "");
    assert_eq!(stdout_bytes(again), once);
    let manifest = convert(&["-o", "manifest", "--name", "mine"], &docker());
    let text = String::from_utf8(manifest.clone()).unwrap();
    assert!(
        text.contains("kind: SeccompProfile\n") && text.contains("name: mine\n"),
        "{text}"
    );
    assert_eq!(convert(&[], &manifest), once);
}

#[test]
fn numbers_that_api_servers_round_are_refused_in_manifests_and_quoted_when_one_is_written() {
    let document = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
        "names": ["personality"], "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 18_446_744_069_414_584_320_u64}],
    }]});
    let bytes = document.to_string();
    let written = convert(&["-o", "manifest", "--name", "wide"], bytes.as_bytes());
    let text = String::from_utf8(written.clone()).unwrap();
    assert!(text.contains("\"18446744069414584320\""), "{text}");
    // What is written is taken, and means the same.
    assert_eq!(convert(&[], &written), convert(&[], bytes.as_bytes()));

    let unquoted = text.replace('"', "");
    let spo = json!({"apiVersion": "security-profiles-operator.x-k8s.io/v1beta1", "kind": "SeccompProfile",
        "metadata": {"name": "wide"}, "spec": document});
    for manifest in [
        unquoted.clone(),
        unquoted.replace("18446744069414584320", "0xffffffff00000000"),
        spo.to_string(),
    ] {
        for command in ["convert", "lint", "explain"] {
            let output = run(&[&[command], &NODE[..]].concat(), manifest.as_bytes());
            let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{command}: {said}");
            assert!(
                said.contains("syscalls[0].args[0].value: ") && said.contains("as a string"),
                "{command}: {said}"
            );
        }
    }
}

#[test]
fn the_files_of_docker_and_podman_convert() {
    for name in ["moby-default.json", "containers-common-seccomp.json"] {
        let Some(document) = shared(name) else {
            continue;
        };
        let profile = convert(&[], &document);
        assert_eq!(convert(&[], &profile), profile, "{name}");
        let bpf = |profile: &[u8]| {
            let entries = entries(profile, "bpf").into_iter();
            entries.filter(|e| e["action"] == "SCMP_ACT_ALLOW").count()
        };
        assert_eq!(bpf(&profile), 0, "{name}");
        assert_eq!(bpf(&convert(&["--cap=BPF"], &document)), 1, "{name}");
    }
}

/// `clone` and `socket` depend on their arguments, `bpf` is stopped, `mkdir` logged, the rest allowed; and 32-bit programs may run.
fn mixed() -> Vec<u8> {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["bpf", "acct"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}]},
            {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["mkdir", "socketcall"], "action": "SCMP_ACT_LOG"},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]},
        ],
    })
    .to_string()
    .into_bytes()
}

fn explain(args: &[&str], document: &[u8]) -> String {
    let bytes = stdout_bytes(run(&[&["explain"], &NODE[..], args].concat(), document));
    String::from_utf8(bytes).unwrap()
}

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row.as_str().or_else(|| row["name"].as_str()).unwrap())
        .collect()
}

#[test]
fn a_profile_is_explained_in_words() {
    let text = explain(&[], &mixed());
    for part in [
        "Architectures: amd64, x86; calls of any other kill the thread\nDefault: allowed\n",
        "\nStopped syscalls: 4 of ",
        "\n  kills the process: reboot\n  EPERM: acct bpf\n  ENOSYS: clone3\n",
        "\n  clone: EPERM if arg0 == 7; otherwise allowed\n",
        "\nLogged syscalls: 1 of ",
        "\n  mkdir\n",
        "\nNumbers that no syscall has yet: allowed\n",
        "; open though stopped above: socketcall\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn a_profile_is_explained_as_data_and_as_amicontained_does() {
    let data: Value = serde_json::from_str(&explain(&["-o", "json"], &mixed())).unwrap();
    assert_eq!(data["default"], json!({"action": "SCMP_ACT_ALLOW"}));
    let native = &data["architectures"][0];
    assert_eq!(native["architecture"], "SCMP_ARCH_X86_64");
    assert_eq!(
        names(&native["stopped"]),
        ["acct", "reboot", "bpf", "clone3"]
    );
    assert_eq!(names(&native["logged"]), ["mkdir"]);
    assert_eq!(
        native["stopped"][3],
        json!({"name": "clone3", "action": "SCMP_ACT_ERRNO", "errno": 38, "errnoName": "ENOSYS"})
    );
    assert_eq!(
        native["conditional"][1],
        json!({
            "name": "clone",
            "cases": [{"action": "SCMP_ACT_ERRNO", "errno": 1, "errnoName": "EPERM", "anyOf": ["arg0 == 7"]}],
            "otherwise": {"action": "SCMP_ACT_ALLOW"},
        })
    );
    assert_eq!(data["architectures"][1]["architecture"], "SCMP_ARCH_X86");
    assert!(names(&data["architectures"][1]["logged"]).contains(&"socketcall"));
    assert_eq!(
        explain(&["-o", "flat"], &mixed()),
        "Blocked Syscalls (4):\n\tACCT REBOOT BPF CLONE3\n"
    );
}

#[test]
fn single_calls_are_decided_by_their_arguments() {
    let calls = [
        "--call=clone:7",
        "--call",
        "clone:0x8,-1",
        "--call=socketcall",
        "--call=bpf",
    ];
    assert_eq!(
        explain(&calls, &mixed()),
        "\
amd64 clone:7: EPERM
x86 clone:7: EPERM
amd64 clone:0x8,-1: allowed
x86 clone:0x8,-1: allowed
x86 socketcall: logged
amd64 bpf: EPERM
x86 bpf: EPERM
"
    );
}

#[test]
fn rules_that_overlap_are_pointed_out() {
    let document = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
        {"names": ["ptrace"], "action": "SCMP_ACT_KILL", "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]},
    ]});
    let document = document.to_string();
    let text = explain(&[], document.as_bytes());
    assert!(
        text.contains("\nNot as the rules say\n  amd64 ptrace: the rules overlap"),
        "{text}"
    );
    let data: Value = serde_json::from_str(&explain(&["-o", "json"], document.as_bytes())).unwrap();
    assert_eq!(
        data["doubts"],
        json!([{"architecture": "SCMP_ARCH_X86_64", "name": "ptrace"}])
    );
}

#[test]
fn runc_is_told_from_crun_by_what_newer_calls_get() {
    let document = br#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let runc = explain(&[], document);
    assert!(
        runc.contains("yet: ENOSYS\n") && runc.contains("  ENOSYS: cachestat "),
        "{runc}"
    );
    let crun = explain(&["--runtime=crun"], document);
    assert!(
        crun.contains("yet: EPERM\n") && !crun.contains("ENOSYS"),
        "{crun}"
    );
}

#[test]
fn profiles_that_do_the_same_are_equal_however_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let one = file("docker.json", &docker());
    let other = file(
        "oci.yaml",
        &convert(&["-o", "manifest", "--name=x"], &docker()),
    );
    let diff = |args: &[&str]| run(&[&["diff"], &NODE[..], args].concat(), b"");
    let same = diff(&[&one, &other]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    assert!(
        String::from_utf8(same.stdout)
            .unwrap()
            .ends_with("oci.yaml do the same\n")
    );

    let closed = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["acct", "bpf"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}]},
            {"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"names": ["clone3", "reboot"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["socketcall"], "action": "SCMP_ACT_LOG"},
        ],
    });
    let new = file("new.json", closed.to_string().as_bytes());
    let old = file("old.json", &mixed());
    let different = diff(&[&old, &new]);
    assert_eq!(
        (different.status.code(), stderr(&different)),
        (Some(1), String::new())
    );
    assert_eq!(
        String::from_utf8(different.stdout).unwrap(),
        "\
Closed
  amd64, x86: allowed -> ENOSYS
    keyctl

Opened for some arguments, closed for others
  amd64, x86: EPERM if arg0 == 7; otherwise allowed -> EPERM if arg0 == 8; otherwise allowed
    clone

Otherwise different
  amd64, x86: logged -> allowed
    mkdir
  amd64, x86: kills the process -> EPERM
    reboot
  amd64, x86: ENOSYS -> EPERM
    clone3
"
    );
    let data = diff(&["-o", "json", &old, &new]);
    let data: Value = serde_json::from_slice(&data.stdout).unwrap();
    assert_eq!(data["equal"], false);
    assert_eq!(data["differences"].as_array().unwrap().len(), 10);
}

#[test]
fn a_pipeline_can_ask_whether_a_profile_allows_more_than_another() {
    let directory = tempfile::tempdir().unwrap();
    let socket = |name: &str, conditions: Value| {
        let path = directory.path().join(name);
        let rule = json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": conditions});
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
        std::fs::write(&path, profile.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let on = |value: u64, op: &str| json!({"index": 0, "value": value, "op": op});
    let narrow = socket("narrow.json", json!([on(10, "SCMP_CMP_EQ")]));
    let wide = socket("wide.json", json!([on(38, "SCMP_CMP_LE")]));
    let shifted = socket("shifted.json", json!([on(100, "SCMP_CMP_GE")]));
    let change = |old: &str, new: &str| {
        let args = ["diff", "--fail-on", "opened", "-o", "json", old, new];
        let output = run(&[&args[..], &NODE[..]].concat(), b"");
        let data: Value = serde_json::from_slice(&output.stdout).unwrap();
        let changes = data["differences"].as_array().unwrap();
        let changes = changes.iter().map(|one| one["change"].as_str().unwrap());
        (changes.collect::<Vec<_>>().join(" "), output.status.code())
    };
    for (old, new, expected) in [
        (&narrow, &wide, ("opened", Some(1))),
        (&wide, &narrow, ("closed", Some(0))),
        (&narrow, &shifted, ("mixed", Some(1))),
        (&narrow, &narrow, ("", Some(0))),
    ] {
        let (changes, status) = change(old, new);
        assert_eq!((changes.as_str(), status), expected, "{old} {new}");
    }
}

fn check(args: &[&str], profile: &[u8], trace: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("profile.json");
    std::fs::write(&path, profile).unwrap();
    let path = path.to_str().unwrap();
    run(
        &[&["check", path], &NODE[..], args].concat(),
        trace.as_bytes(),
    )
}

#[test]
fn a_trace_is_held_against_a_profile() {
    let trace = "\
100 execve(\"/bin/a\", [\"a\"], 0x7ffe /* 9 vars */) = 0
100 bpf(BPF_MAP_CREATE, {}, 72) = -1 EPERM (Operation not permitted)
100 bpf(BPF_MAP_CREATE, {}, 72) = -1 EPERM (Operation not permitted)
100 clone(child_stack=NULL, flags=SIGCHLD|CLONE_TOMORROW) = 101
100 mkdir(\"/x\", 0777) = 0
audit: type=1326 audit(1.2:3): pid=7 comm=\"b\" exe=\"/bin/b\" sig=31 arch=40000003 syscall=51 compat=1 ip=0x1 code=0x0
audit: type=1326 audit(1.2:3): pid=7 comm=\"b\" exe=\"/bin/b\" sig=31 arch=c00000b7 syscall=34 compat=1 ip=0x1 code=0x0
reboot
";
    let output = check(&[], &mixed(), trace);
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(1), String::new())
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "\
Stopped
         1  x86 acct: EPERM (b)
         2  amd64 bpf: EPERM (a)
         1  amd64 reboot: kills the process
         1  arm64 mkdirat: kills the thread (b)

Stopped or not, by arguments
         1  amd64 clone: EPERM if arg0 == 7; otherwise allowed (a)
"
    );
    let data = check(&["-o", "json", "--comm", "a"], &mixed(), trace);
    let data: Value = serde_json::from_slice(&data.stdout).unwrap();
    assert_eq!(
        data["stopped"],
        json!([{
            "architecture": "SCMP_ARCH_X86_64",
            "name": "bpf",
            "calls": 2,
            "actions": [{"action": "SCMP_ACT_ERRNO", "errno": 1, "errnoName": "EPERM"}],
            "programs": ["a"],
        }])
    );
}

#[test]
fn what_is_stopped_is_a_finding_and_what_may_be_only_if_asked() {
    for (args, trace, code) in [
        (&[][..], "read\nmkdir\n", 0),
        (&[], "clone\n", 0),
        (&["--strict"], "clone\n", 1),
        (&[], "bpf\n", 1),
        (&[], "hello\n", 1),
        (&["--comm", "x"], "bpf\n", 1),
        (&["/no/such/file"], "", 2),
    ] {
        let output = check(args, &mixed(), trace);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?} {trace} {output:?}"
        );
    }
    let output = check(&[], &mixed(), "read\nmkdir\n");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .ends_with("profile.json stops none of the 2 calls\n")
    );
    assert!(stderr(&check(&[], &mixed(), "hello\n")).contains("no system call in 1 line: give"));
}

#[test]
fn a_trace_may_come_from_the_terminal() {
    let trace = "\
execve(\"/bin/a\", [\"a\"], 0x7ffe /* 9 vars */) = 0
rt_sigaction(SIGINT, strace: Process 103 attached
{sa_handler=0x55}, NULL, 8) = 0
[pid   103] bpf(BPF_MAP_CREATE, {}, 72) = -1 EPERM (Operation not permitted)
";
    let output = check(&[], &mixed(), trace);
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(1), String::new())
    );
}

#[test]
fn a_profile_made_of_a_trace_stops_nothing_of_it() {
    let trace = "read(0, \"\", 1) = 0\nopenat(1) = 3\nsyscall_0x3e7(0) = -1 ENOSYS (Function not implemented)\n";
    let profile = stdout_bytes(run(
        &["from-strace", "-o", "profile", "--arch=amd64"],
        trace.as_bytes(),
    ));
    let output = check(&["-o", "json"], &profile, trace);
    let data: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Only what cannot be named.
    assert_eq!(data["stopped"].as_array().unwrap().len(), 1, "{data}");
    assert_eq!(
        (&data["stopped"][0]["number"], &data["stopped"][0]["calls"]),
        (&json!(999), &json!(1))
    );
}

#[test]
fn exit_codes_and_sentences_tell_what_is_wrong() {
    let wrong =
        json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": [7], "action": "LOG"}]});
    let wrong = wrong.to_string();
    let two = "defaultAction: SCMP_ACT_LOG\n---\ndefaultAction: SCMP_ACT_ALLOW\n";
    for (args, stdin, code, sentence) in [
        (
            &["convert"][..],
            wrong.as_str(),
            1,
            "standard input: syscalls[0].names[0]: ",
        ),
        (
            &["convert"],
            &wrong,
            1,
            "standard input: syscalls[0].action: ",
        ),
        (
            &["convert"],
            "",
            1,
            "standard input: is empty; give a profile",
        ),
        (
            &["convert"],
            two,
            2,
            "error: standard input holds 2 profiles, and this command takes one\n",
        ),
        (
            &["convert", "/no/such/file"],
            "",
            2,
            "error: /no/such/file: No such file",
        ),
        (
            &["convert", "--cap", "CAP_FLY"],
            "",
            2,
            "no capability has that name",
        ),
        (
            &["convert", "--kernel", "six"],
            "",
            2,
            "write two numbers, such as 6.1",
        ),
        (
            &["convert", "--arch", "vax"],
            "",
            2,
            "the architectures are",
        ),
    ] {
        let output = run(args, stdin.as_bytes());
        assert_eq!(output.status.code(), Some(code), "{args:?} {output:?}");
        assert!(stderr(&output).contains(sentence), "{args:?} {output:?}");
        assert!(output.stdout.is_empty(), "{args:?} {output:?}");
    }
}

#[test]
fn a_profile_may_have_the_name_of_the_built_in_that_it_stands_on() {
    let manifest = b"apiVersion: seccomp-operator.io/v1alpha1\nkind: SeccompProfile\nmetadata: {name: audit}\nspec: {base: audit}\n";
    let profile: Value = serde_json::from_slice(&convert(&[], manifest)).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_LOG");
}
