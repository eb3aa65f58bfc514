//! `kubectl-seccomp test`, as a user would run it.
#![allow(clippy::unwrap_used)]

mod tool;

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tool::{STANDING, printed, run, stderr};

const PROFILE: &str = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [
    {"names": ["openat", "socketcall", "mseal"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]},
    {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        Path::join(self.0.path(), name).display().to_string()
    }

    /// What `test` says of one file.
    fn test(&self, args: &[&str], text: &str) -> Output {
        std::fs::write(self.path("t.yaml"), text).unwrap();
        run(&[&["test", &self.path("t.yaml")], args].concat(), "")
    }

    /// The reasons of failures, of one case each.
    fn reasons(&self, text: &str) -> Vec<String> {
        let output = self.test(&["-o", "json"], text);
        let data: Value = serde_json::from_slice(&output.stdout).unwrap();
        let failures = data["files"][0]["cases"].as_array().unwrap().iter();
        let failures = failures.filter_map(|case| case["failures"].as_array().cloned());
        let words = |failure: &Value| {
            let word = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", word("call"), word("reason"))
        };
        failures.flatten().map(|failure| words(&failure)).collect()
    }
}

#[test]
fn a_failed_case_says_what_the_profile_does_and_by_which_rule() {
    let folder = Folder::with(&[("p.json", PROFILE)]);
    let fine = "profile: p.json\ncases:\n- {call: [openat, socket(AF_INET)], expect: allow}\n- {call: [bpf, socket(AF_ALG)], expect: errno(EPERM)}\n\
                - {call: ptrace, expect: kill}\n- {call: read, expect: kill, target: {abi: x32}}";
    let output = folder.test(&[], fine);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(printed(&output).ends_with("t.yaml: 4 cases passed\n"));
    let wrong = "profile: p.json\ncases:\n- {call: openat, expect: stopped}\n- {call: socket, expect: allow}\n- {call: bpf, expect: allow}\n\
                 - {call: ptrace, expect: errno}\n- {call: fchroot, expect: allow}\n- {call: read, expect: allow, target: {abi: [x86, x32]}}\n\
                 - {call: socketcall, expect: allow}";
    assert_eq!(
        folder.reasons(wrong),
        [
            "openat on amd64 is allow (by syscalls[0])",
            "socket on amd64 depends on arguments that are not stated: errno(EPERM) (by defaultAction) or allow (by syscalls[1])",
            "bpf on amd64 is errno(EPERM) (by defaultAction)",
            "ptrace on amd64 is kill-process (by syscalls[2])",
            "fchroot on amd64 is errno(ENOSYS) (the runtime answers so to calls that are newer than all that the profile names)",
            "read on amd64 through x86 is errno(EPERM) (by defaultAction)",
            "read on amd64 through x32 is kill-thread (the profile has no x32)",
            " socketcall is no call of amd64; leave it out, or name another arch or abi",
        ]
    );
    let output = folder.test(&[], wrong);
    assert_eq!(output.status.code(), Some(1));
    let text = printed(&output);
    assert!(
        text.contains(
            ": 7 of 7 cases failed\n  FAIL openat: stopped\n       openat on amd64 is allow"
        ),
        "{text}"
    );
}

#[test]
fn a_manifest_is_tested_with_its_base_for_its_capabilities() {
    let (web, company) = STANDING.split_once("---\n").unwrap();
    let folder = Folder::with(&[
        ("web.yaml", web),
        ("company.yaml", company),
        ("all.yaml", STANDING),
    ]);
    let cases = "cases:\n- {call: '@chmod', expect: allow, target: {arch: arm64}}\n- {call: mkdir, expect: allow}\n- {call: mount, expect: permitted, target: {capabilities: [default, SYS_ADMIN]}}";
    let want = [
        "fchmod on arm64 is errno(EPERM) (by spec.deny[0])",
        "fchmodat on arm64 is errno(EPERM) (by spec.deny[0])",
        "fchmodat2 on arm64 is errno(EPERM) (by spec.deny[0])",
        "mkdir on amd64 is errno(ENOSYS) (by spec.deny[0] of the base company)",
    ];
    for head in [
        "profile: web.yaml\nwith: [company.yaml]\n",
        "profile: all.yaml\n",
        "profile: all.yaml\nname: web\n",
    ] {
        assert_eq!(folder.reasons(&format!("{head}{cases}")), want, "{head}");
    }
    let nobody = folder.reasons(&format!("profile: all.yaml\nname: nobody\n{cases}"));
    assert!(
        nobody[0].ends_with("holds no SeccompProfile nobody"),
        "{nobody:?}"
    );
    let baseless = folder.reasons(&format!("profile: web.yaml\n{cases}"));
    assert!(
        baseless[0].contains("spec.base: \"company\" is neither"),
        "{baseless:?}"
    );
}

#[test]
fn what_depends_on_the_node_is_asked_for_that_node() {
    let folder = Folder::with(&[]);
    let cases = "profile: runtime-default\ncases:\n- {call: ptrace, expect: allow}\n- {call: ptrace, expect: stopped, target: {kernel: '4.7'}}\n\
                 - {call: fchroot, expect: errno(ENOSYS)}\n- {call: fchroot, expect: errno(EPERM), target: {runtime: crun}}";
    let output = folder.test(&["-o", "tap"], cases);
    assert_eq!(
        printed(&output)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>(),
        [
            "TAP version 13",
            "1..4",
            "ok 1 - ptrace: allow",
            "ok 2 - ptrace: stopped",
            "ok 3 - fchroot: errno(ENOSYS)",
            "ok 4 - fchroot: errno(EPERM)",
        ]
    );
}

#[test]
fn machines_get_junit_and_json() {
    let folder = Folder::with(&[("p.json", PROFILE)]);
    let text = "profile: p.json\ncases:\n- {name: files, call: openat, expect: allow}\n- {name: '<bpf>', call: bpf, expect: allow}";
    let output = folder.test(&["-o", "junit"], text);
    assert_eq!(output.status.code(), Some(1));
    let xml = printed(&output);
    assert!(
        xml.contains("<testsuites tests=\"2\" failures=\"1\">"),
        "{xml}"
    );
    assert!(xml.contains("name=\"files\"/>"), "{xml}");
    assert!(
        xml.contains("name=\"&lt;bpf&gt;\">\n      <failure message=\"bpf on amd64 is errno(EPERM) (by defaultAction)\">"),
        "{xml}"
    );
    let data: Value = serde_json::from_slice(&folder.test(&["-o", "json"], text).stdout).unwrap();
    let cases = &data["files"][0]["cases"];
    assert_eq!(
        cases[0],
        json!({"name": "files", "passed": true, "calls": 1})
    );
    assert_eq!(cases[1]["failures"][0]["call"], "bpf on amd64");
}

#[test]
fn wrong_use_is_said_and_the_other_files_are_tested() {
    let folder = Folder::with(&[("p.json", PROFILE), ("invalid.json", "{}")]);
    std::fs::write(
        folder.path("good.yaml"),
        "profile: p.json\ncases: [{call: bpf, expect: stopped}]",
    )
    .unwrap();
    std::fs::write(
        folder.path("bad.yaml"),
        "profile: p.json\ncases: [{call: bpff, expect: stopped}]",
    )
    .unwrap();
    let output = run(
        &["test", &folder.path("bad.yaml"), &folder.path("good.yaml")],
        "",
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("no syscall has that name; did you mean bpf?"),
        "{}",
        stderr(&output)
    );
    assert!(printed(&output).ends_with("good.yaml: 1 case passed\n"));
    for (text, code, reason) in [
        (
            "profile: none.json\ncases: [{call: bpf, expect: stopped}]",
            2,
            "none.json",
        ),
        ("profile: p.json\ncases: []", 2, "cases: is empty"),
        (
            "profile: invalid.json\ncases: [{call: bpf, expect: stopped}]",
            1,
            "defaultAction",
        ),
        (
            "profile: p.json\ncases: [{call: bpf, expect: deny}]",
            2,
            "\"deny\" is nothing that can be expected",
        ),
    ] {
        let output = folder.test(&[], text);
        assert_eq!(output.status.code(), Some(code), "{text}");
        let said = printed(&output) + &stderr(&output);
        assert!(said.contains(reason), "{said}");
    }
    let stdin = run(
        &["test", "-"],
        "profile: runtime-default\ncases: [{call: openat, expect: allow}]",
    );
    assert_eq!(printed(&stdin), "standard input: 1 case passed\n");
}

/// The first blocks of docs/testing.md: the file, and what the command says.
#[test]
fn the_example_of_the_page_is_what_happens() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/testing.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (file, rest) = rest.split_once("```\n").unwrap();
    let said: Vec<_> = rest
        .split("    $ kubectl seccomp test no-chmod.test.yaml\n")
        .skip(1)
        .map(|block| {
            let lines = block.lines().map_while(|line| line.strip_prefix("    "));
            lines.fold(String::new(), |all, line| all + line + "\n")
        })
        .collect();
    let [fine, failed] = &said[..] else {
        panic!("{said:?}");
    };
    let profile = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/profiles/no-chmod.yaml"
    );
    let profile = std::fs::read_to_string(profile).unwrap();
    let folder = Folder::with(&[("no-chmod.yaml", &profile), ("no-chmod.test.yaml", file)]);
    let test = || {
        let mut command = tool::tool(&["test", "no-chmod.test.yaml"]);
        command.current_dir(folder.0.path());
        printed(&tool::fed(command, ""))
    };
    assert_eq!(test(), *fine);
    let spoilt = profile.replace(
        "deny: [\"@chmod\"]",
        "deny: [chmod, fchmod, fchmodat]\n  allow: [fchmodat2]",
    );
    std::fs::write(folder.path("no-chmod.yaml"), spoilt).unwrap();
    assert_eq!(test(), *failed);
}
