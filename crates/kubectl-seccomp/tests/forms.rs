//! What profiles come in: other operators' objects, what tools print of containers, and words that people use, as a user would hand
//! them over.
#![allow(clippy::unwrap_used)]

mod tool;

use serde_json::{Value, json};
use tool::{printed, run, stderr};

/// As `kubectl get -o yaml` prints two profiles of the Security Profiles Operator.
const THEIRS: &str = r#"
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
  - apiVersion: security-profiles-operator.x-k8s.io/v1
    kind: SeccompProfile
    metadata:
      annotations: {description: "what runc needs"}
      finalizers: [in-use-by-active-pods]
      name: runc-v1.4
      uid: 0d9a1c0e-0000-4000-8000-000000000000
    spec:
      architectures: [SCMP_ARCH_X86_64]
      defaultAction: SCMP_ACT_ERRNO
      state: Enabled
      syscalls:
        - {action: SCMP_ACT_ALLOW, names: [execve, close, openat, exit_group]}
    status: {status: Installed, localhostProfile: operator/runc-v1.4.json}
  - apiVersion: security-profiles-operator.x-k8s.io/v1
    kind: SeccompProfile
    metadata: {name: web, namespace: shop}
    spec:
      architectures: [SCMP_ARCH_X86_64, SCMP_ARCH_AARCH64]
      baseProfileName: runc-v1.4
      defaultAction: SCMP_ACT_ERRNO
      state: Enabled
      syscalls:
        - {action: SCMP_ACT_ALLOW, names: [read, write, no_such_call]}
        - action: SCMP_ACT_ALLOW
          names: [socket]
          args: [{index: 0, op: SCMP_CMP_EQ, value: 2}]
    status: {status: Installed, localhostProfile: operator/web.json}
"#;

#[test]
fn profiles_of_another_operator_become_this_ones_in_one_command() {
    let output = run(&["convert", "--to", "manifest"], THEIRS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let manifests: Vec<Value> = serde_saphyr::from_multiple(&printed(&output)).unwrap();
    let names: Vec<_> = manifests
        .iter()
        .map(|m| m["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["runc-v1.4", "web"]);
    for manifest in &manifests {
        assert_eq!(manifest["apiVersion"], "seccomp-operator.io/v1alpha1");
        assert!(manifest.get("status").is_none(), "{manifest}");
    }
    // For every architecture, with the rules of its base.
    let web = &manifests[1]["spec"]["profile"];
    assert_eq!(
        web["architectures"],
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"])
    );
    let calls: Vec<_> = web["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["names"].to_string())
        .collect();
    assert_eq!(
        calls,
        [
            r#"["read","write"]"#,
            r#"["socket"]"#,
            r#"["execve","close","openat","exit_group"]"#
        ]
    );
    let said = stderr(&output);
    for note in [
        "note: standard input (web): metadata.namespace: shop is left out; ",
        "note: standard input (web): spec.syscalls[0]: \"no_such_call\" is left out; it is no system call\n",
        "note: standard input (web): status.localhostProfile: pods that name operator/web.json have to name the new file\n",
        "note: standard input (web): it has the rules of runc-v1.4 now, and does not follow it\n",
        "note: standard input (web): pods name it as profiles/web.json\n",
    ] {
        assert!(said.contains(note), "{note}{said}");
    }
    assert!(!said.contains("state"), "{said}");
    // What was written is read, and is the same.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("theirs.yaml"), THEIRS).unwrap();
    std::fs::write(
        path("ours.yaml"),
        &output.stdout[printed(&output).find("---").unwrap()..],
    )
    .unwrap();
    let same = run(
        &[
            "diff",
            "--arch=amd64",
            &path("theirs.yaml"),
            &path("ours.yaml"),
        ],
        "",
    );
    assert_eq!(
        same.status.code(),
        Some(0),
        "{}{}",
        printed(&same),
        stderr(&same)
    );

    let unnamed = run(
        &["convert", "--to", "manifest"],
        r#"{"defaultAction": "SCMP_ACT_LOG"}"#,
    );
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(
        stderr(&unnamed).contains("give --name"),
        "{}",
        stderr(&unnamed)
    );
}

#[test]
fn a_base_may_stand_in_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let lists: Value = serde_saphyr::from_str(THEIRS).unwrap();
    for (file, item) in [("runc.json", 0), ("web.json", 1)] {
        std::fs::write(path(file), lists["items"][item].to_string()).unwrap();
    }
    let alone = run(&["lint", &path("web.json")], "");
    assert_eq!(alone.status.code(), Some(1));
    let words = printed(&alone)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        words.contains("names another profile, runc-v1.4, which no input holds"),
        "{words}"
    );
    for args in [
        &[
            "lint",
            "--fail-on=error",
            &path("web.json"),
            &path("runc.json"),
        ][..],
        &[
            "lint",
            "--fail-on=error",
            "--with",
            &path("runc.json"),
            &path("web.json"),
        ],
        &["convert", "--with", &path("runc.json"), &path("web.json")],
        &[
            "explain",
            "--with",
            &path("runc.json"),
            "--call",
            "execve",
            &path("web.json"),
        ],
    ] {
        let output = run(
            &[args, &["--arch=linux/amd64", "--kernel=v6.1"]].concat(),
            "",
        );
        assert!(
            !printed(&output).contains("[invalid]"),
            "{args:?} {}",
            printed(&output)
        );
        if args[0] != "lint" {
            assert_eq!(
                output.status.code(),
                Some(0),
                "{args:?} {}",
                stderr(&output)
            );
            assert!(printed(&output).contains("execve"), "{args:?}");
        }
    }
}

#[test]
fn what_crictl_and_docker_print_is_explained() {
    let document = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}]});
    let forms = [
        json!({"linux": {"seccomp": document}}),
        json!({"status": {"metadata": {"name": "web"}}, "info": {"runtimeSpec": {"ociVersion": "1.2.0", "linux": {"seccomp": document}}}}),
        json!([{"Name": "/web", "HostConfig": {"SecurityOpt": [format!("seccomp={document}")]}}]),
        json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"a.json": document.to_string()}}),
    ];
    for form in forms {
        let args = ["explain", "--arch", "x86-64", "--call", "chmod"];
        let output = run(&args, form.to_string());
        assert_eq!(
            printed(&output),
            "amd64 chmod: EPERM\n",
            "{form} {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_file_that_is_missing_does_not_hide_what_others_have() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there.json").display().to_string();
    std::fs::write(&there, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    let output = run(&["lint", "/no/such/a.json", &there, "/no/such/b.json"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        printed(&output).contains("[stops-nothing]"),
        "{}",
        printed(&output)
    );
    let said = stderr(&output);
    assert!(
        said.contains("error: /no/such/a.json: No such file")
            && said.contains("error: /no/such/b.json: No such file"),
        "{said}"
    );
}

#[test]
fn a_folder_does_not_hide_a_built_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("audit")).unwrap();
    let mut command = tool::tool(&["convert", "audit"]);
    command.current_dir(folder.path());
    let output = tool::fed(command, "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(printed(&output).contains("SCMP_ACT_LOG"));
}
