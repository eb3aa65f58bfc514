//! What `lint` and `diff` write for code hosts, CI systems and comments on changes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod tool;

use std::process::Output;

use serde_json::Value;
use tool::{NO_CHMOD, NODE, lint, printed, run, stderr};

const MANIFESTS: &str = "\
apiVersion: seccomp-operator.io/v1alpha1
kind: SeccompProfile
metadata: {name: fine}
spec: {base: runtime-default}
---
apiVersion: seccomp-operator.io/v1alpha1
kind: SeccompProfile
metadata: {name: no-chmod}
spec:
  base: runtime-default
  deny:
    - chmod
";

/// What `lint` says of a file of that name in a folder of its own.
fn lint_file(name: &str, text: &str, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    let mut command = tool::tool(&[&["lint"], &NODE[..], args, &[name]].concat());
    command.current_dir(folder.path());
    tool::fed(command, "")
}

fn object<'v>(value: &'v Value, at: &str) -> &'v serde_json::Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("{at} is no object: {value}"))
}

fn text<'v>(value: &'v Value, at: &str) -> &'v str {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("{at} is no text: {value}"));
    assert!(!text.is_empty(), "{at} is empty");
    text
}

/// Only these fields, and all of the required ones: the objects of SARIF take no others.
fn fields(value: &Value, at: &str, required: &[&str], optional: &[&str]) {
    let object = object(value, at);
    for field in required {
        assert!(object.contains_key(*field), "{at} lacks {field}");
    }
    for field in object.keys() {
        let is_known = required.iter().chain(optional).any(|known| known == field);
        assert!(is_known, "{at} has {field}");
    }
}

/// Holds a log to what SARIF 2.1.0 requires of the objects in it (sections 3.13, 3.14, 3.18, 3.19, 3.27, 3.28, 3.29, 3.30, 3.33, 3.49).
fn assert_sarif(log: &Value) -> Vec<Value> {
    fields(log, "sarifLog", &["version", "runs"], &["$schema"]);
    assert_eq!(log["version"], "2.1.0");
    let mut all = Vec::new();
    for run in log["runs"].as_array().unwrap() {
        fields(run, "run", &["tool"], &["results"]);
        fields(&run["tool"], "tool", &["driver"], &[]);
        let driver = &run["tool"]["driver"];
        fields(driver, "toolComponent", &["name"], &["version", "rules"]);
        text(&driver["name"], "toolComponent.name");
        let rules = driver["rules"].as_array().unwrap();
        let mut ids: Vec<_> = rules
            .iter()
            .map(|rule| {
                fields(rule, "reportingDescriptor", &["id"], &["help"]);
                text(&rule["help"]["text"], "multiformatMessageString.text");
                text(&rule["id"], "reportingDescriptor.id")
            })
            .collect();
        ids.dedup();
        assert_eq!(ids.len(), rules.len(), "a rule stands twice");
        for result in run["results"].as_array().unwrap() {
            fields(
                result,
                "result",
                &["message"],
                &["ruleId", "ruleIndex", "level", "locations"],
            );
            text(&result["message"]["text"], "message.text");
            let level = text(&result["level"], "result.level");
            assert!(
                ["none", "note", "warning", "error"].contains(&level),
                "{level}"
            );
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(result["ruleId"], ids[index]);
            for location in result["locations"].as_array().unwrap() {
                fields(
                    location,
                    "location",
                    &[],
                    &["physicalLocation", "logicalLocations"],
                );
                let place = &location["physicalLocation"];
                fields(
                    place,
                    "physicalLocation",
                    &["artifactLocation"],
                    &["region"],
                );
                let uri = text(&place["artifactLocation"]["uri"], "artifactLocation.uri");
                assert!(uri.bytes().all(|byte| byte.is_ascii_graphic()), "{uri}");
                assert!(place["region"]["startLine"].as_u64() >= Some(1));
            }
        }
        all.extend(run["results"].as_array().unwrap().iter().cloned());
    }
    all
}

#[test]
fn sarif_points_at_the_line_of_each_finding() {
    let output = lint_file("my profiles.yaml", MANIFESTS, &["-o", "sarif"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = assert_sarif(&log);
    assert_eq!(results.len(), 1, "{results:?}");
    let result = &results[0];
    assert_eq!(
        (&result["ruleId"], &result["level"]),
        (&"open-twin".into(), &"warning".into())
    );
    let location = &result["locations"][0];
    let place = &location["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "my%20profiles.yaml");
    assert_eq!(place["region"]["startLine"], 12);
    assert_eq!(
        location["logicalLocations"][0]["fullyQualifiedName"],
        "spec.deny[0]"
    );
    for (name, text) in [
        ("fine.yaml", "{\"defaultAction\": 1}"),
        ("a.json", NO_CHMOD),
    ] {
        let log = lint_file(name, text, &["-o", "sarif"]);
        assert!(!assert_sarif(&serde_json::from_slice(&log.stdout).unwrap()).is_empty());
    }
    let (fine, _) = MANIFESTS.split_once("---").unwrap();
    let fine = lint(&["-o", "sarif"], fine);
    assert_eq!(fine.status.code(), Some(0));
    assert!(assert_sarif(&serde_json::from_slice(&fine.stdout).unwrap()).is_empty());
}

#[test]
fn annotations_are_commands_of_a_workflow() {
    let output = lint_file("p.yaml", MANIFESTS, &["-o", "github"]);
    let said = printed(&output);
    assert!(
        said.starts_with(
            "::warning file=p.yaml,line=12,title=open-twin::spec.deny[0]: denies chmod, and "
        ),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
    assert_eq!(output.status.code(), Some(1));
    let invalid = lint_file(
        "p.json",
        "{\n\"defaultAction\": \"DENY\"}",
        &["-o", "github"],
    );
    let said = printed(&invalid);
    assert!(
        said.starts_with("::error file=p.json,line=2,title=invalid::defaultAction: "),
        "{said}"
    );
}

#[test]
fn a_finding_that_counts_is_a_failed_test() {
    let junit = |args: &[&str]| {
        printed(&lint_file(
            "p.yaml",
            MANIFESTS,
            &[&["-o", "junit"], args].concat(),
        ))
    };
    let failed = junit(&[]);
    assert!(
        failed.contains("<testsuites tests=\"2\" failures=\"1\">"),
        "{failed}"
    );
    assert!(
        failed.contains("classname=\"p.yaml (no-chmod)\" name=\"open-twin spec.deny[0]\">"),
        "{failed}"
    );
    let passed = junit(&["--fail-on", "error"]);
    assert!(
        passed.contains("<testsuites tests=\"2\" failures=\"0\">"),
        "{passed}"
    );
}

#[test]
fn markdown_is_for_comments_on_changes() {
    let said = printed(&lint_file("p.yaml", MANIFESTS, &["-o", "markdown"]));
    assert!(said.starts_with("`p.yaml (fine)`: nothing found\n\n`p.yaml (no-chmod)`\n\n| | Where | Finding | Remedy |\n"), "{said}");
    assert!(
        said.contains("| warning | `spec.deny[0]` | denies chmod, and "),
        "{said}"
    );
    let diff = |old: &str, new: &str| {
        run(
            &[&["diff", "-o", "markdown"], &NODE[..], &[old, new]].concat(),
            NO_CHMOD,
        )
    };
    let output = diff("-", "runtime-default");
    assert_eq!(output.status.code(), Some(1));
    let said = printed(&output);
    assert!(
        said.starts_with("What `runtime-default` does otherwise than `standard input`:\n"),
        "{said}"
    );
    let table = "\n**Opened**\n\n| Calls | Before | After | On |\n|---|---|---|---|\n| `chmod` | EPERM | allowed | amd64, x86 |\n";
    assert!(said.contains(table), "{said}");
    let same = printed(&diff("audit", "audit"));
    assert_eq!(same, "`audit` and `audit` do the same.\n");
}

/// What follows `command` on docs/ci.md.
fn said_on_the_page(command: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ci.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page
        .split_once(&format!("    $ kubectl seccomp {command}\n"))
        .unwrap();
    let lines = rest.lines().map_while(|line| line.strip_prefix("    "));
    lines.fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn the_examples_of_the_page_are_what_happens() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ci.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (web, _) = rest.split_once("```\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("web.yaml"), web).unwrap();
    let run = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let mut command = tool::tool(&[&words[..1], &NODE[..], &words[1..]].concat());
        command.current_dir(folder.path());
        printed(&tool::fed(command, ""))
    };
    for line in [
        "lint -o github web.yaml",
        "explain --compare runtime-default web.yaml",
    ] {
        assert_eq!(run(line), said_on_the_page(line), "{line}");
    }
    let shown = said_on_the_page("explain --cves web.yaml");
    let said = run("explain --cves web.yaml");
    assert!(said.starts_with(shown.trim_end_matches("...\n")), "{said}");
    assert!(
        said.contains("\nNot stopped: ") && said.contains("\n  CVE-2016-5195 (Dirty COW): "),
        "{said}"
    );
}

#[test]
fn what_a_profile_stops_of_another_is_one_line_and_data() {
    let compare = |args: &[&str]| run(&[&["explain"], &NODE[..], args, &["-"]].concat(), NO_CHMOD);
    let line = printed(&compare(&["--compare", "runtime-default"]));
    assert_eq!(line.lines().count(), 1);
    assert!(line.starts_with("stops what runtime-default does not, 1 call: chmod; runtime-default stops what this does not, "), "{line}");
    assert!(
        line.contains(" clone (some arguments) ") && line.contains(" bpf "),
        "{line}"
    );
    let data: Value =
        serde_json::from_slice(&compare(&["--compare", "audit", "-o", "json"]).stdout).unwrap();
    assert_eq!(data["stopsLess"], serde_json::json!([]));
    assert_eq!(
        data["stopsMore"],
        serde_json::json!([{"name": "chmod", "forSomeArguments": false}])
    );
}

#[test]
fn holes_are_stopped_by_what_is_refused_for_the_containers_capabilities() {
    let verdict = |profile: &str, args: &[&str], id: &str| {
        let output = run(
            &[
                &["explain", "--cves", "-o", "json"],
                &NODE[..],
                args,
                &[profile],
            ]
            .concat(),
            NO_CHMOD,
        );
        let data: Value = serde_json::from_slice(&output.stdout).unwrap();
        let holes = data["holes"].as_array().unwrap().iter();
        let mut holes = holes.filter(|hole| hole["id"] == id);
        holes.next().unwrap()["verdict"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let admin = ["--cap", "default,SYS_ADMIN,NET_ADMIN"];
    for (id, profile, args, want) in [
        ("CVE-2022-0185", "runtime-default", &[][..], "stopped"),
        ("CVE-2022-0185", "runtime-default", &admin, "notStopped"),
        ("CVE-2024-1086", "runtime-default", &[], "stopped"),
        ("CVE-2024-1086", "runtime-default", &admin, "notStopped"),
        // CAP_NET_RAW is among the runtimes' default.
        ("CVE-2017-7308", "runtime-default", &[], "notStopped"),
        (
            "CVE-2017-7308",
            "runtime-default",
            &["--cap", "none"],
            "stopped",
        ),
        ("CVE-2016-5195", "runtime-default", &[], "notStopped"),
        ("CVE-2017-16995", "-", &[], "notStopped"),
    ] {
        assert_eq!(verdict(profile, args, id), want, "{id} {args:?}");
    }
    let none = run(
        &[&["explain", "--cves"], &NODE[..], &["-"]].concat(),
        NO_CHMOD,
    );
    let said = printed(&none);
    assert!(said.starts_with("Not stopped: "), "{said}");
    assert!(
        said.ends_with("\nThe profile stops none of the 45 holes.\n"),
        "{said}"
    );
}
