//! The hooks, the action and the template for CI: they are what those who run them expect, and their steps do what they say.
#![allow(clippy::unwrap_used, clippy::panic)]

mod tool;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tool::{NO_CHMOD, fed, printed, stderr};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn read(file: &str) -> Value {
    let text = std::fs::read_to_string(format!("{ROOT}/{file}")).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A folder with a profile that has a finding, a fine one, and tests.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("seccomp/bad.json", NO_CHMOD);
    write(
        "seccomp/deep/fine.yaml",
        "apiVersion: seccomp-operator.io/v1alpha1\nkind: SeccompProfile\nmetadata: {name: fine}\nspec: {base: runtime-default}\n",
    );
    write(
        "good.test.yaml",
        "profile: seccomp/bad.json\ncases: [{call: chmod, expect: stopped}]",
    );
    write(
        "failing.test.yaml",
        "profile: seccomp/bad.json\ncases: [{call: fchmodat, expect: stopped}]",
    );
    folder
}

/// What a script of CI does in the folder, with the tool on the PATH.
fn script(shell: &str, script: &str, folder: &Path, env: &[(&str, &str)]) -> Output {
    let tool = Path::new(env!("CARGO_BIN_EXE_kubectl-seccomp"));
    let path = format!(
        "{}:{}",
        tool.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = Command::new(shell);
    if shell == "bash" {
        command.args(["-o", "pipefail"]);
    }
    command
        .args(["-e", "-c", script])
        .current_dir(folder)
        .env("PATH", path)
        .envs(env.iter().copied());
    fed(command, "")
}

#[test]
fn hooks_name_what_pre_commit_asks_for_and_commands_that_there_are() {
    let hooks = read(".pre-commit-hooks.yaml");
    let hooks = hooks.as_array().unwrap();
    assert_eq!(hooks.len(), 2);
    for hook in hooks {
        for field in ["id", "name", "entry", "language", "files"] {
            assert!(
                hook[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field} of {hook}"
            );
        }
        let words: Vec<_> = hook["entry"].as_str().unwrap().split(' ').collect();
        let [program, command] = words[..] else {
            panic!("{hook}");
        };
        assert_eq!(program, "kubectl-seccomp");
        assert!(tool::run(&[command, "--help"], "").status.success());
    }
}

#[test]
fn the_action_annotates_findings_and_fails_on_them() {
    let action = read("ci/action.yml");
    assert_eq!(action["runs"]["using"], "composite");
    let inputs = action["inputs"].as_object().unwrap();
    for (name, input) in inputs {
        assert!(
            input["description"].is_string() && input["default"].is_string(),
            "{name}"
        );
    }
    let steps = action["runs"]["steps"].as_array().unwrap();
    for step in steps {
        assert_eq!(step["shell"], "bash", "{step}");
        // Whoever gives an input must not give a command.
        assert!(!step["run"].as_str().unwrap().contains("${{"), "{step}");
        for value in step["env"].as_object().unwrap().values() {
            let name = value.as_str().unwrap().strip_prefix("${{ inputs.").unwrap();
            assert!(
                inputs.contains_key(name.strip_suffix(" }}").unwrap()),
                "{name}"
            );
        }
    }
    let step = |name: &str| {
        let mut steps = steps.iter();
        let step = steps.find(|step| step["name"] == name).unwrap();
        step["run"].as_str().unwrap().to_owned()
    };
    let folder = folder();
    let run = |name: &str, env: &[(&str, &str)]| script("bash", &step(name), folder.path(), env);
    let lint = |profiles: &str, fail_on: &str, sarif: &str| {
        run(
            "Lint",
            &[
                ("PROFILES", profiles),
                ("FAIL_ON", fail_on),
                ("SARIF", sarif),
            ],
        )
    };
    let bad = lint("seccomp/**/*.yaml seccomp/*.json", "warning", "lint.sarif");
    assert_eq!(bad.status.code(), Some(1), "{}", stderr(&bad));
    assert!(
        printed(&bad).contains("::warning file=seccomp/bad.json,line="),
        "{}",
        printed(&bad)
    );
    let sarif = std::fs::read(folder.path().join("lint.sarif")).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&sarif).unwrap()["version"],
        "2.1.0"
    );
    assert_eq!(
        lint("seccomp/**/*.yaml", "warning", "").status.code(),
        Some(0)
    );
    assert_eq!(lint("seccomp/*.json", "error", "").status.code(), Some(0));
    let none = lint("nothing/*.json", "warning", "");
    assert_eq!(none.status.code(), Some(2));
    assert!(printed(&none).starts_with("::error::no file is there"));
    let test = |tests: &str, junit: &str| run("Test", &[("TESTS", tests), ("JUNIT", junit)]);
    assert_eq!(test("good.test.yaml", "").status.code(), Some(0));
    let failed = test("*.test.yaml", "junit.xml");
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    let junit = std::fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    assert!(
        junit.contains("<testsuites tests=\"2\" failures=\"1\">"),
        "{junit}"
    );
}

#[test]
fn the_template_reports_findings_and_failures_and_fails_the_job() {
    let template = read("ci/gitlab.yml");
    let folder = folder();
    for (job, variables, code, counts) in [
        (
            "seccomp-lint",
            [
                ("SECCOMP_PROFILES", "seccomp/*.json"),
                ("SECCOMP_FAIL_ON", "warning"),
            ],
            1,
            "failures=\"1\"",
        ),
        (
            "seccomp-lint",
            [
                ("SECCOMP_PROFILES", "seccomp/*.json"),
                ("SECCOMP_FAIL_ON", "error"),
            ],
            0,
            "failures=\"0\"",
        ),
        (
            "seccomp-test",
            [("SECCOMP_TESTS", "*.test.yaml"), ("SECCOMP_FAIL_ON", "")],
            1,
            "tests=\"2\" failures=\"1\"",
        ),
        (
            "seccomp-test",
            [("SECCOMP_TESTS", "good.test.yaml"), ("SECCOMP_FAIL_ON", "")],
            0,
            "tests=\"1\" failures=\"0\"",
        ),
    ] {
        let job = &template[job];
        let lines: Vec<_> = job["script"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap())
            .collect();
        let output = script("sh", &lines.join("\n"), folder.path(), &variables);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(job["artifacts"]["when"], "always");
        let report = job["artifacts"]["reports"]["junit"].as_str().unwrap();
        let report = std::fs::read_to_string(folder.path().join(report)).unwrap();
        assert!(report.contains(counts), "{report}");
    }
    let stated = template["variables"].as_object().unwrap();
    for variable in [
        "SECCOMP_IMAGE",
        "SECCOMP_PROFILES",
        "SECCOMP_TESTS",
        "SECCOMP_FAIL_ON",
    ] {
        assert!(stated.contains_key(variable), "{variable}");
    }
}
