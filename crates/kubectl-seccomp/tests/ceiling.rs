//! Profiles held to ceilings in files, and another operator's list of allowed calls as a ceiling, as a user would do it.
#![allow(clippy::unwrap_used)]

mod tool;

use std::path::Path;

use serde_json::{Value, json};
use tool::{printed, run, stderr};

const PROFILES: &str = "
apiVersion: v1
kind: List
items:
  - apiVersion: seccomp-operator.io/v1alpha1
    kind: SeccompProfile
    metadata: {name: mounts}
    spec:
      base: runtime-default
      allow: [mount, bpf, {name: socket, args: [{index: 0, op: SCMP_CMP_EQ, value: 38}]}]
  - apiVersion: seccomp-operator.io/v1alpha1
    kind: SeccompProfile
    metadata: {name: tight}
    spec: {base: runtime-default, deny: ['@chmod'], trial: {allow: [mount]}}
  - apiVersion: seccomp-operator.io/v1alpha1
    kind: SeccompProfile
    metadata: {name: debug}
    spec: {base: runtime-default, allow: [ptrace, bpf]}
";

fn ceiling(action: &str) -> String {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompCeiling", "metadata": {"name": "default"},
        "spec": {"base": "runtime-default", "action": action, "exceptions": ["debug"]},
    });
    object.to_string()
}

fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn profiles_above_a_ceiling_are_findings_as_grave_as_what_the_ceiling_does() {
    for (action, severity) in [("Deny", "error"), ("Warn", "warning")] {
        let top = file(&format!("ceiling-{action}.json"), &ceiling(action));
        let args = [
            "lint",
            "--ceiling",
            &top,
            "--arch",
            "amd64,arm64",
            "--kernel",
            "6.12",
            "-o",
            "json",
        ];
        let output = run(&args, PROFILES);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let data: Value = serde_json::from_slice(&output.stdout).unwrap();
        let said: Vec<(String, Vec<Value>)> = data["profiles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|profile| {
                let findings = profile["findings"].as_array().unwrap().iter();
                let above = findings.filter(|finding| finding["code"] == "exceeds-ceiling");
                (profile["profile"].to_string(), above.cloned().collect())
            })
            .collect();
        let [(_, mounts), (_, tight), (_, debug)] = &said[..] else {
            panic!("{said:?}")
        };
        assert_eq!(
            mounts.len(),
            1,
            "once, though it is so on both architectures: {mounts:?}"
        );
        assert_eq!(mounts[0]["severity"], severity);
        assert_eq!(mounts[0]["path"], "spec");
        assert_eq!(
            mounts[0]["reason"],
            "allows more than SeccompCeiling \"default\": bpf, mount and socket (if arg0 == 38)"
        );
        assert!(
            tight[0]["reason"]
                .as_str()
                .unwrap()
                .starts_with("once spec.trial is promoted: allows more than"),
            "{tight:?}"
        );
        assert!(debug.is_empty(), "{debug:?}");
    }
    let top = file("ceiling-passes.json", &ceiling("Warn"));
    let output = run(&["lint", "--ceiling", &top, "runtime-default"], "");
    assert!(!printed(&output).contains("exceeds-ceiling"));
}

#[test]
fn a_file_without_a_ceiling_is_wrong_use_and_a_wrong_ceiling_is_told_of() {
    let other = file("no-ceiling.yaml", "kind: Namespace\napiVersion: v1\n");
    let output = run(&["lint", "--ceiling", &other, "runtime-default"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("holds no object of kind SeccompCeiling"));
    let wrong = ceiling("Deny").replace("runtime-default", "web");
    let output = run(&["lint"], &wrong);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = printed(&output);
    assert!(
        said.contains("(SeccompCeiling default)")
            && said.contains("spec.base: \"web\" is no built-in"),
        "{said}"
    );
}

#[test]
fn the_calls_that_another_operator_allows_become_a_ceiling() {
    let daemon = "
apiVersion: security-profiles-operator.x-k8s.io/v1beta1
kind: SecurityProfilesOperatorDaemon
metadata: {name: spod, namespace: security-profiles-operator}
spec:
  allowedSyscalls: [read, write, exit_group, none_such]
  verbosity: 0
";
    let output = run(&["convert", "--to", "manifest"], daemon);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("spec.allowedSyscalls[3]: \"none_such\" is left out"),
        "{}",
        stderr(&output)
    );
    let top = file("ceiling-of-spod.yaml", &printed(&output));
    let object: Value = serde_saphyr::from_str(&printed(&output)).unwrap();
    assert_eq!(object["kind"], "SeccompCeiling");
    assert_eq!(object["metadata"], json!({"name": "spod"}));
    assert_eq!(object["spec"]["action"], "Deny");
    let profile = |call: &str| {
        json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
            "syscalls": [{"names": ["read", call], "action": "SCMP_ACT_ALLOW"}]})
        .to_string()
    };
    for (call, above) in [("write", false), ("mount", true)] {
        for arch in ["amd64", "arm64"] {
            let output = run(&["lint", "--ceiling", &top, "--arch", arch], profile(call));
            assert_eq!(
                printed(&output).contains("[exceeds-ceiling]"),
                above,
                "{call} {arch}: {}",
                printed(&output)
            );
        }
    }
    // As JSON it is what it was: no profile.
    let output = run(&["convert"], daemon);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let none = run(
        &["convert", "--to", "manifest"],
        daemon.replace("allowedSyscalls", "other"),
    );
    assert_eq!(none.status.code(), Some(1));
    assert!(
        stderr(&none).contains("spec.allowedSyscalls: is not there"),
        "{}",
        stderr(&none)
    );
}
