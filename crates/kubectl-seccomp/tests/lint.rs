//! `kubectl-seccomp lint` and `merge`, and SeccompProfiles with a base in all commands that read profiles, as a user would
//! run them.
#![allow(clippy::unwrap_used)]

mod tool;

use std::path::Path;

use serde_json::{Value, json};
use tool::{NO_CHMOD, NODE, STANDING, lint, printed, run, stderr};

/// `code severity` of each finding of a profile.
fn codes(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings
        .map(|finding| format!("{} {}", word(finding, "code"), word(finding, "severity")))
        .collect()
}

#[test]
fn findings_are_told_with_their_remedy_and_fail_the_command() {
    let output = lint(&[], NO_CHMOD);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "");
    let words = printed(&output)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        words.starts_with(
            "standard input warning syscalls[0]: denies chmod, and fchmod, fchmodat and fchmodat2, which do the same, stay open \
             [open-twin] -> add fchmod and fchmodat to syscalls[0].names, and answer fchmodat2 with ENOSYS (SCMP_ACT_ERRNO with \
             errnoRet 38) note "
        ),
        "{words}"
    );
    let data = lint(&["-o", "json"], NO_CHMOD);
    assert_eq!(data.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&data.stdout).unwrap();
    let report = &json["profiles"][0];
    assert_eq!(report["profile"], "standard input");
    assert_eq!(codes(report), ["open-twin warning", "open-by-default note"]);
    assert_eq!(report["findings"][0]["path"], "syscalls[0]");
    let yaml: Value = serde_saphyr::from_str(&printed(&lint(&["-o", "yaml"], NO_CHMOD))).unwrap();
    assert_eq!(yaml, json);
}

#[test]
fn what_fails_the_command_is_the_users_choice() {
    for (args, code) in [
        (&["--fail-on", "error"][..], 0),
        (&["--fail-on", "warning"], 1),
        (&["--ignore", "open-twin"], 0),
        (&["--ignore", "open-twin", "--fail-on", "note"], 1),
        (
            &["--ignore", "open-twin,open-by-default", "--fail-on", "note"],
            0,
        ),
        (&["--ignore", "open-twins"], 2),
        (&["--fail-on", "fatal"], 2),
        (&["/does/not/exist.json"], 2),
    ] {
        assert_eq!(lint(args, NO_CHMOD).status.code(), Some(code), "{args:?}");
    }
    let wrong = lint(&["--ignore", "open-twins"], NO_CHMOD);
    assert!(
        stderr(&wrong).contains("the codes are no-op-rule, "),
        "{}",
        stderr(&wrong)
    );
    let invalid = lint(&["--fail-on", "error"], r#"{"defaultAction": "DENY"}"#);
    assert_eq!(invalid.status.code(), Some(1));
    assert!(printed(&invalid).contains("[invalid]") && printed(&invalid).contains("-> write"));
}

#[test]
fn the_profiles_of_a_folder_find_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (web, company) = STANDING.split_once("---\n").unwrap();
    std::fs::write(path("web.yaml"), web).unwrap();
    std::fs::write(path("company.yaml"), company).unwrap();
    std::fs::write(path("plain.json"), NO_CHMOD).unwrap();
    let files = [path("web.yaml"), path("company.yaml"), path("plain.json")];
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let output = lint(&[&["-o", "json"], &files[..]].concat(), "");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let profiles = json["profiles"].as_array().unwrap();
    // What `company` allows is said of it, and not of what derives from it.
    assert_eq!(codes(&profiles[0]), [""; 0]);
    assert_eq!(codes(&profiles[1]), ["dangerous-allow warning"]);
    assert_eq!(profiles[1]["findings"][0]["path"], "spec.allow[0]");
    // Alone it has no base, until it is told where.
    let alone = lint(&["-o", "json", &path("web.yaml")], "");
    let json: Value = serde_json::from_slice(&alone.stdout).unwrap();
    assert_eq!(codes(&json["profiles"][0]), ["invalid error"]);
    let with = lint(&["--with", &path("company.yaml"), &path("web.yaml")], "");
    assert_eq!(with.status.code(), Some(0));
    assert!(
        printed(&with).ends_with("web.yaml: nothing found\n"),
        "{}",
        printed(&with)
    );
}

#[test]
fn every_command_understands_a_base() {
    let arguments =
        |command: &'static str, args: &[&'static str]| [&[command], &NODE[..], args].concat();
    let profile = run(&arguments("convert", &[]), STANDING);
    assert_eq!(
        stderr(&profile),
        "note: standard input (web) is resolved for amd64, Linux 6.12, the runtimes' default capabilities\n"
    );
    let calls = ["chmod", "fchmodat2", "mkdir", "keyctl", "read"];
    let calls: Vec<_> = calls.iter().flat_map(|call| ["--call", call]).collect();
    let said = |text: &str| {
        let output = run(&arguments("explain", &calls), text);
        let of_native = printed(&output);
        let lines = of_native.lines().filter(|line| line.starts_with("amd64 "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = [
        "amd64 chmod: EPERM",
        "amd64 fchmodat2: EPERM",
        "amd64 mkdir: ENOSYS",
        "amd64 keyctl: allowed",
        "amd64 read: allowed",
    ];
    assert_eq!(said(STANDING), expected);
    assert_eq!(said(&printed(&profile)), expected);
    let diff = run(
        &arguments("diff", &["-o", "json", "runtime-default", "-"]),
        STANDING,
    );
    assert_eq!(diff.status.code(), Some(1));
    let diff: Value = serde_json::from_slice(&diff.stdout).unwrap();
    let differences = diff["differences"].as_array().unwrap();
    let mut names: Vec<_> = differences
        .iter()
        .filter(|difference| difference["architecture"] == "SCMP_ARCH_X86_64")
        .map(|difference| difference["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "chmod",
            "fchmod",
            "fchmodat",
            "fchmodat2",
            "keyctl",
            "mkdir"
        ]
    );
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("web.yaml");
    std::fs::write(&manifest, STANDING).unwrap();
    let check = run(
        &[&["check"], &NODE[..], &[manifest.to_str().unwrap()]].concat(),
        "read\nfchmodat2\n",
    );
    assert_eq!(check.status.code(), Some(1));
    assert!(printed(&check).contains("fchmodat2") && !printed(&check).contains(" read"));
}

#[test]
fn a_profiles_own_capabilities_count_unless_others_are_asked_for() {
    let manifest = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "admin"},
        "spec": {"base": "runtime-default", "capabilities": ["SYS_ADMIN"]},
    })
    .to_string();
    let mount = |args: &[&str]| {
        let args = [&["explain"], &NODE[..], &["--call", "mount"], args].concat();
        printed(&run(&args, &manifest))
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(mount(&[]), "amd64 mount: allowed");
    assert_eq!(mount(&["--cap", "default"]), "amd64 mount: EPERM");
}

#[test]
fn built_ins_go_by_their_names() {
    let flat = run(
        &[&["explain"], &NODE[..], &["-o", "flat", "docker-default"]].concat(),
        "",
    );
    let text = printed(&flat);
    assert!(
        text.starts_with("Blocked Syscalls (")
            && text.contains(" MOUNT ")
            && !text.contains(" READ "),
        "{text}"
    );
    let output = lint(&["-o", "json", "docker-default", "audit"], "");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        codes(&json["profiles"][0]),
        ["ignored-bits warning", "multiplexer-open warning"]
    );
    assert_eq!(codes(&json["profiles"][1]), ["stops-nothing note"]);
}

fn allowlist(calls: &[&str]) -> String {
    let rule = json!({"names": calls, "action": "SCMP_ACT_ALLOW"});
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}).to_string()
}

fn names(profile: &[u8]) -> Vec<String> {
    let profile: Value = serde_json::from_slice(profile).unwrap();
    let allowed = profile["syscalls"].as_array().unwrap().iter();
    let allowed = allowed.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    let names = allowed.flat_map(|rule| rule["names"].as_array().unwrap());
    let mut names: Vec<_> = names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn profiles_merge_to_what_any_or_all_of_them_allow() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let a = write("a.json", &allowlist(&["read", "write", "bpf"]));
    let b = write("b.json", &allowlist(&["read", "openat", "bpf"]));
    let merge = |args: &[&str]| run(&[&["merge"], &NODE[..], args].concat(), "");
    let merged = |args: &[&str]| {
        let output = merge(args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        output.stdout
    };
    assert_eq!(
        names(&merged(&[&a, &b])),
        ["bpf", "openat", "read", "write"]
    );
    assert_eq!(merged(&[&a, &b]), merged(&[&b, &a]));
    assert_eq!(names(&merged(&["--intersection", &a, &b])), ["bpf", "read"]);
    let safe = merged(&["--intersection", &a, "runtime-default"]);
    assert_eq!(names(&safe), ["read", "write"]);
    // Nothing of it is more than containerd's own allows.
    let safe = write("safe.json", std::str::from_utf8(&safe).unwrap());
    let diff = run(
        &[
            &["diff"],
            &NODE[..],
            &["-o", "json", "runtime-default", &safe],
        ]
        .concat(),
        "",
    );
    assert!(!printed(&diff).contains("\"opened\""), "{}", printed(&diff));
    // What starts no container starts one with what runc needs.
    let started = |file: &str| !printed(&lint(&[file], "")).contains("no-container-starts");
    assert!(!started(&a));
    let mended = merged(&["--runtime", "runc", &a]);
    let mended = write("mended.json", std::str::from_utf8(&mended).unwrap());
    assert!(started(&mended));
    let manifest = merged(&["-o", "manifest", "--name", "ab", &a, &b]);
    let manifest = write("ab.yaml", std::str::from_utf8(&manifest).unwrap());
    assert_eq!(merged(&[&manifest]), merged(&[&a, &b]));
    assert_eq!(merge(&[]).status.code(), Some(2));
    assert_eq!(merge(&["/does/not/exist"]).status.code(), Some(2));
    let wrong = write("wrong.json", "{}");
    let output = merge(&[&a, &wrong]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("defaultAction: is missing"));
}

#[test]
fn a_merge_keeps_conditions_by_what_they_mean() {
    let folder = tempfile::tempdir().unwrap();
    let socket = |name: &str, op: &str, value: u64| {
        let arg = json!({"index": 0, "op": op, "value": value});
        let rule = json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [arg]});
        let path = folder.path().join(name);
        let document = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
        std::fs::write(&path, document.to_string()).unwrap();
        path.display().to_string()
    };
    let (low, high) = (
        socket("low.json", "SCMP_CMP_LT", 20),
        socket("high.json", "SCMP_CMP_GE", 10),
    );
    let open = |args: &[&str]| {
        let merged = run(&[&["merge"], &NODE[..], args, &[&low, &high]].concat(), "");
        let calls = ["--call=socket:5", "--call=socket:15", "--call=socket:25"];
        let said = run(
            &[&["explain"], &NODE[..], &calls].concat(),
            printed(&merged),
        );
        printed(&said)
            .lines()
            .map(|line| line.ends_with("allowed"))
            .collect::<Vec<_>>()
    };
    assert_eq!(open(&[]), [true, true, true]);
    assert_eq!(open(&["--intersection"]), [false, true, false]);
}

#[test]
fn the_shipped_examples_are_without_warnings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/profiles");
    let files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    assert!(!files.is_empty());
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    for arch in ["--arch=amd64", "--arch=arm64"] {
        // The base of the deny-list lets everything through on purpose.
        let ignored = ["--ignore=multiplexer-open", "--ignore=stops-nothing"];
        let args = [&["lint", arch, "--kernel=6.12"], &ignored[..], &files[..]].concat();
        let output = run(&args, "");
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
}

#[test]
fn what_is_explained_is_what_that_runtime_makes_of_it() {
    let action = |runtime: &str, document: &Value, call: &str| {
        let args = ["--runtime", runtime, "--call", call];
        let args = [&["explain"], &NODE[..], &args].concat();
        let said = printed(&run(&args, document.to_string()));
        let line = said.lines().next().unwrap_or_default().to_owned();
        line.split_once(": ").unwrap().1.to_owned()
    };
    // runc answers ENOSYS to what is newer than `openat2` (437): runc 1.1 only where architectures are stated.
    let list = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}]});
    let mut stated = list.clone();
    stated["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    for (runtime, of_list, of_stated) in [
        ("runc", "ENOSYS", "ENOSYS"),
        ("runc=1.3.6", "ENOSYS", "ENOSYS"),
        ("runc=1.1.5", "EPERM", "ENOSYS"),
        ("crun", "EPERM", "EPERM"),
        ("youki=0.7.0", "EPERM", "EPERM"),
    ] {
        assert_eq!(action(runtime, &list, "statmount"), of_list, "{runtime}");
        assert_eq!(
            action(runtime, &stated, "statmount"),
            of_stated,
            "{runtime}"
        );
    }
    // Seven conditions: to runc each is a rule, to crun the first six hold together.
    let args: Vec<_> = (0..7)
        .map(|i| json!({"index": i % 6, "op": "SCMP_CMP_EQ", "value": 1}))
        .collect();
    let seven = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mmap"], "action": "SCMP_ACT_ERRNO", "args": args}]});
    for (runtime, one, all) in [
        ("runc", "EPERM", "EPERM"),
        ("crun=1.28", "allowed", "EPERM"),
        ("crun=1.30", "EPERM", "EPERM"),
    ] {
        assert_eq!(action(runtime, &seven, "mmap:1"), one, "{runtime}");
        assert_eq!(
            action(runtime, &seven, "mmap:1,1,1,1,1,1"),
            all,
            "{runtime}"
        );
    }
    let wrong = run(&["explain", "--runtime", "docker"], "");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains("the runtimes are runc, crun, youki"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn findings_are_those_of_the_runtime_that_is_asked_for() {
    let flags = r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"]}"#;
    let found = |runtime: &str| {
        let output = lint(
            &[
                "-o",
                "json",
                "--ignore",
                "stops-nothing",
                "--runtime",
                runtime,
            ],
            flags,
        );
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        codes(&json["profiles"][0])
    };
    assert_eq!(found("runc=1.1.5"), ["needs-new-runtime error"]);
    assert_eq!(found("runc"), ["needs-new-runtime warning"]);
    assert_eq!(found("runc=1.3.6"), [""; 0]);
    assert_eq!(found("crun=1.28"), [""; 0]);
}

#[test]
fn each_architecture_that_is_asked_for_has_its_findings() {
    let list = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
        {"names": ["open", "openat", "poll", "execve", "write", "read"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let found = |arch: &str| {
        let output = run(
            &["lint", "--kernel=6.12", "-o", "json", "--arch", arch],
            list,
        );
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        codes(&json["profiles"][0])
    };
    let (amd64, arm64, both) = (found("amd64"), found("arm64"), found("amd64,arm64"));
    let lacks = "lacks-counterparts warning".to_owned();
    assert!(
        !amd64.contains(&lacks) && arm64.contains(&lacks) && both.contains(&lacks),
        "{both:?}"
    );
    // What is so on both is said once.
    let starts = both
        .iter()
        .filter(|code| code.starts_with("no-container-starts"));
    assert_eq!(starts.count(), 1, "{both:?}");
    let explain = run(&["explain", "--arch=amd64,arm64"], list);
    assert_eq!(explain.status.code(), Some(2));
}

#[test]
fn two_versions_that_crun_takes_for_one_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, errno: u16| {
        let document = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{"names": ["reboot", "io_uring_setup"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}],
        });
        let path = folder.path().join(name);
        std::fs::write(&path, document.to_string()).unwrap();
        path.display().to_string()
    };
    let (old, new, same) = (
        file("old.json", 1),
        file("new.json", 13),
        file("same.json", 1),
    );
    let diff = |a: &str, b: &str| stderr(&run(&[&["diff"], &NODE[..], &[a, b]].concat(), ""));
    assert!(
        diff(&old, &new).contains("crun from 1.7 on takes the two for one profile"),
        "{}",
        diff(&old, &new)
    );
    assert_eq!(diff(&old, &same), "");
    let found = |args: &[&str]| {
        let output = lint(&[&["-o", "json"], args].concat(), "");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        codes(&json["profiles"][1])
    };
    assert_eq!(
        found(&[&old, &new]),
        ["open-by-default note", "kept-filter note"]
    );
    assert_eq!(found(&[&old, &same]), ["open-by-default note"]);
    assert_eq!(
        found(&["--runtime", "runc", &old, &new]),
        ["open-by-default note"]
    );
}

#[test]
fn a_file_that_no_runtime_loads_is_explained_as_such() {
    let both = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X"]}"#;
    let said = printed(&run(&[&["explain"], &NODE[..]].concat(), both));
    assert!(
        said.contains("\nNo container starts\n  architectures: has SCMP_ARCH_S390X"),
        "{said}"
    );
}

#[test]
fn the_profile_of_a_trace_passes() {
    let trace = "1 execve(\"/bin/sh\", [\"sh\"], 0x7 /* 9 vars */) = 0\n1 exit_group(0) = ?\n1 faccessat(AT_FDCWD, \"/\", R_OK) = 0\n";
    let threads = format!("{trace}1 clone3({{flags=CLONE_VM|CLONE_THREAD}}, 88) = 2\n");
    let profile = |trace: &str, runtime: &str| {
        let args = [
            "from-strace",
            "--arch=amd64",
            "-o",
            "profile",
            "--runtime",
            runtime,
        ];
        printed(&run(&args, trace))
    };
    let passes = |args: &[&str], made: &str| {
        let said = lint(args, made);
        assert_eq!(said.status.code(), Some(0), "{made}\n{}", printed(&said));
    };
    for trace in [trace, &threads] {
        let runc = profile(trace, "runc");
        passes(&[], &runc);
        passes(&["--runtime", "runc=1.1.5"], &runc);
        // What runc needs it lacks.
        passes(&["--runtime", "crun"], &profile(trace, "crun"));
    }
    let clone = |trace: &str| {
        let made: Value = serde_json::from_str(&profile(trace, "runc")).unwrap();
        let rules = made["syscalls"].as_array().unwrap().clone();
        let of_clone = |rule: &&Value| rule["names"].as_array().unwrap().contains(&json!("clone"));
        rules.iter().find(of_clone).map(|rule| rule["args"].clone())
    };
    assert_eq!(clone(trace), None);
    assert_eq!(clone(&threads).unwrap()[0]["value"], 0x7e02_0000);
    // A program that deals with namespaces makes them by `clone` too.
    let namespaces = format!(
        "{trace}1 unshare(CLONE_NEWUSER) = 0\n1 clone(child_stack=NULL, flags=SIGCHLD) = 2\n"
    );
    assert_eq!(clone(&namespaces), Some(Value::Null));
}

#[test]
fn a_file_that_runtimes_take_is_looked_at_as_a_whole() {
    let file = json!({
        "$schema": "https://example.com/seccomp.json",
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"_comment": "no", "names": ["mount", "umount3", "pread"], "action": "SCMP_ACT_ERRNO"},
            {"_comment": "no", "names": ["chmod"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["seteuid"], "action": "SCMP_ACT_LOG"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": "38"}]},
        ],
    });
    let output = lint(&["-o", "json"], &file.to_string());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = &json["profiles"][0];
    let codes = codes(report);
    for (code, times) in [
        ("unknown-call error", 2),
        ("unknown-call warning", 1),
        ("unknown-field note", 2),
        ("quoted-number error", 1),
        ("open-twin warning", 2),
        ("invalid error", 0),
    ] {
        let found = codes.iter().filter(|found| *found == code).count();
        assert!(found == times, "{code}: {codes:?}");
    }
    let findings = report["findings"].as_array().unwrap();
    let remedy = |path: &str| {
        let finding = findings.iter().find(|finding| finding["path"] == path);
        finding.unwrap()["remedy"].as_str().unwrap().to_owned()
    };
    assert_eq!(remedy("syscalls[0].names[2]"), "write \"pread64\"");
    assert_eq!(remedy("syscalls[2].names[0]"), "write \"setresuid\"");

    // What it comes to is written with a number, and what is left out is said.
    let converted = run(&[&["convert"], &NODE[..]].concat(), file.to_string());
    assert_eq!(converted.status.code(), Some(0), "{}", stderr(&converted));
    let written: Value = serde_json::from_slice(&converted.stdout).unwrap();
    assert!(written.to_string().contains("\"value\":38"), "{written}");
    let said = stderr(&converted);
    assert!(
        said.contains(
            "warning: standard input: syscalls[0].names[1]: \"umount3\" is not a system call"
        ),
        "{said}"
    );
    assert_eq!(said.matches("warning: ").count(), 4, "{said}");

    // A SeccompProfile is refused with the same.
    let manifest = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
        "metadata": {"name": "a"}, "spec": {"profile": file}});
    let refused = lint(&["-o", "json"], &manifest.to_string());
    let json: Value = serde_json::from_slice(&refused.stdout).unwrap();
    let codes = self::codes(&json["profiles"][0]);
    assert!(
        codes.iter().all(|code| code == "invalid error"),
        "{codes:?}"
    );
}

#[test]
fn a_call_by_another_name_is_told_by_its_own() {
    let ask = |word: &str| {
        let output = run(&["explain", "--call", word, "audit"], "");
        assert_eq!(output.status.code(), Some(2), "{word}");
        stderr(&output)
    };
    for (word, said) in [
        ("pread", "the call is pread64"),
        ("_exit", "the call is exit_group"),
        ("fstatat", "the call is newfstatat or fstatat64"),
        ("opentat", "did you mean openat?"),
    ] {
        let output = ask(word);
        assert!(output.contains(said), "{word}: {output}");
    }
}

#[test]
fn a_rule_that_excludes_a_value_of_two_arguments_is_as_short_as_it_looks() {
    let arg = |index: u8, value: u64| json!({"index": index, "op": "SCMP_CMP_NE", "value": value});
    let file = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [arg(0, 38), arg(1, 40)]}],
    });
    let file = file.to_string();
    let found = lint(&["-o", "json"], &file);
    let json: Value = serde_json::from_slice(&found.stdout).unwrap();
    let codes = codes(&json["profiles"][0]);
    assert!(
        !codes
            .iter()
            .any(|code| code.starts_with("too-many") || code.starts_with("invalid")),
        "{codes:?}"
    );
    let converted = run(&[&["convert"], &NODE[..]].concat(), &file);
    assert_eq!(converted.status.code(), Some(0), "{}", stderr(&converted));
    let written: Value = serde_json::from_slice(&converted.stdout).unwrap();
    assert_eq!(
        written["syscalls"][0]["args"],
        json!([arg(0, 38), arg(1, 40)]).clone()
    );
    let explained = run(&[&["explain"], &NODE[..]].concat(), &file);
    assert!(
        explained.stdout.len() < 10_000,
        "{}",
        explained.stdout.len()
    );
}

#[test]
fn values_of_one_call_do_not_spoil_those_of_another() {
    let allow = |name: &str, args: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args});
    let equals =
        |index: u8, value: u64| json!({"index": index, "op": "SCMP_CMP_EQ", "value": value});
    let file = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            allow("personality", json!([equals(0, 8)])),
            allow("socketcall", json!([equals(0, 1), equals(1, 2)])),
            allow("socketpair", json!([])),
        ],
    });
    let converted = run(&[&["convert"], &NODE[..]].concat(), file.to_string());
    assert_eq!(converted.status.code(), Some(0), "{}", stderr(&converted));
}

#[test]
fn the_next_version_of_a_manifest_is_linted_as_well_and_what_is_known_is_said_once() {
    let manifest = |trial: Value| {
        json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "web"},
            "spec": {"base": "runtime-default", "deny": ["chmod"], "trial": trial},
        })
        .to_string()
    };
    let said = |trial: Value| {
        let output = lint(&["-o", "json", "--fail-on", "warning"], &manifest(trial));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = json["profiles"][0]["findings"].as_array().unwrap().clone();
        findings
            .into_iter()
            .filter(|finding| finding["severity"] == "warning")
            .map(|finding| {
                (
                    finding["path"].as_str().unwrap().to_owned(),
                    finding["reason"].as_str().unwrap().to_owned(),
                )
            })
            .collect::<Vec<_>>()
    };
    let [(path, _)] = &said(json!({"deny": ["@chown"]}))[..] else {
        panic!("what is in force is said once");
    };
    assert_eq!(path, "spec.deny[0]");
    let both = said(json!({"deny": ["chown"]}));
    let next: Vec<_> = both
        .iter()
        .filter(|(path, _)| path == "spec.trial")
        .collect();
    assert_eq!(next.len(), 1, "{both:?}");
    assert!(
        next[0]
            .1
            .starts_with("once it is promoted: spec.deny[1]: denies chown"),
        "{both:?}"
    );
    assert_eq!(both.len(), 2, "{both:?}");
    // A whole next version that mends what is in force has nothing of its own to be said.
    let mended = said(json!({"base": "runtime-default", "deny": ["@chmod"]}));
    assert_eq!(mended.len(), 1, "{mended:?}");
}
