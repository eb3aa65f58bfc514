//! The walls of the house: which crate may depend on which, which part of the operator may name which, and how long a file may be.
//! `docs/architecture.md` is the map, and has to say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The crates of this workspace that each is built from.
const CRATES: &[(&str, &[&str])] = &[
    ("seccomp-profile", &[]),
    ("seccomp-operator-api", &["seccomp-profile"]),
    (
        "seccomp-policy",
        &["kube-support", "seccomp-operator-api", "seccomp-profile"],
    ),
    (
        "seccomp-diagnosis",
        &["seccomp-operator-api", "seccomp-policy", "seccomp-profile"],
    ),
    ("seccomp-recorder", &["seccomp-profile"]),
    ("seccomp-artifact", &["seccomp-profile"]),
    ("seccomp-audit", &[]),
    (
        "seccomp-recording",
        &["seccomp-operator-api", "seccomp-profile"],
    ),
    ("seccomp-traces", &["seccomp-profile"]),
    ("kube-support", &[]),
    ("admission-review", &[]),
    (
        "kubectl-seccomp",
        &[
            "kube-support",
            "seccomp-artifact",
            "seccomp-diagnosis",
            "seccomp-operator-api",
            "seccomp-policy",
            "seccomp-profile",
            "seccomp-recorder",
            "seccomp-recording",
            "seccomp-traces",
        ],
    ),
    (
        "seccomp-operator",
        &[
            "admission-review",
            "kube-support",
            "kubectl-seccomp",
            "seccomp-artifact",
            "seccomp-audit",
            "seccomp-diagnosis",
            "seccomp-operator-api",
            "seccomp-policy",
            "seccomp-profile",
            "seccomp-recorder",
            "seccomp-recording",
        ],
    ),
    (
        "e2e",
        &[
            "seccomp-operator",
            "seccomp-operator-api",
            "seccomp-policy",
            "seccomp-profile",
        ],
    ),
];

/// What the engine takes from others: whoever uses it takes this too.
const OTHERS_OF_THE_ENGINE: &[&str] = &["serde", "serde_json", "strsim", "thiserror"];

/// The parts of the operator that know nothing of each other; `main` and what puts a process together know them.
const PARTS: &[&str] = &["agent", "audit", "controller", "recorder", "webhook"];

const MAX_LINES: usize = 700;

type Edges = BTreeMap<String, BTreeSet<String>>;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn stated() -> Edges {
    CRATES
        .iter()
        .map(|(name, dependencies)| ((*name).to_owned(), set(dependencies)))
        .collect()
}

/// The normal dependencies of each crate of the workspace: what tests, benches and build scripts need is no part of it.
fn dependencies() -> Result<Edges> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(ROOT)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    packages
        .iter()
        .map(|package| {
            let name = package["name"]
                .as_str()
                .context("a package without a name")?;
            let dependencies = package["dependencies"].as_array().context("no list")?;
            let normal = dependencies
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
                .collect();
            Ok((name.to_owned(), normal))
        })
        .collect()
}

#[test]
fn crates_depend_on_each_other_as_stated() -> Result<()> {
    let all = dependencies()?;
    let names: BTreeSet<_> = all.keys().cloned().collect();
    let stated = stated();
    assert_eq!(names, stated.keys().cloned().collect());
    for (name, dependencies) in all {
        let within: BTreeSet<_> = dependencies.intersection(&names).cloned().collect();
        assert_eq!(within, stated[&name], "what {name} depends on");
    }
    Ok(())
}

#[test]
fn the_engine_takes_few_crates_of_others() -> Result<()> {
    assert_eq!(
        dependencies()?["seccomp-profile"],
        set(OTHERS_OF_THE_ENGINE)
    );
    Ok(())
}

#[test]
fn the_map_has_the_same_crates_and_dependencies() -> Result<()> {
    let map = std::fs::read_to_string(Path::new(ROOT).join("docs/architecture.md"))?;
    let (_, section) = map
        .split_once("\n## Crates\n")
        .context("docs/architecture.md has no section Crates")?;
    let section = section
        .split_once("\n## ")
        .map_or(section, |(table, _)| table);
    let quoted = |cell: &str| -> BTreeSet<String> {
        let names = cell.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    };
    let mut drawn = Edges::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').collect();
        let name = quoted(cells[1]).pop_first().context("a row of no crate")?;
        let dependencies = cells
            .get(3)
            .with_context(|| format!("{name} has no column of dependencies"))?;
        drawn.insert(name, quoted(dependencies));
    }
    assert_eq!(drawn, stated());
    Ok(())
}

/// The Rust sources below a folder, without what is built.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                found.extend(sources(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// A source without its comments.
fn code(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)?;
    let code = |line: &str| {
        line.split_once("//")
            .map_or(line, |(code, _)| code)
            .to_owned()
    };
    Ok(text.lines().map(code).collect::<Vec<_>>().join("\n"))
}

/// The names that follow `crate::` or `super::`, alone or in braces.
fn roots(code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let rest = &code[at + start.len()..];
            let Some(group) = rest.strip_prefix('{') else {
                found.insert(name(rest));
                continue;
            };
            let mut depth = 0_usize;
            let mut item = 0;
            for (index, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth > 0 => depth -= 1,
                    ',' | '}' if depth == 0 => {
                        found.insert(name(&group[item..index]));
                        item = index + 1;
                        if c == '}' {
                            break;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

#[test]
fn the_names_that_a_source_takes_from_its_crate_are_found() {
    let code = "use crate::{health, agent::{self, state}, pki};\nlet x = crate::webhook::view();\nuse super::controller;";
    assert_eq!(
        roots(code),
        set(&["agent", "controller", "health", "pki", "webhook"])
    );
}

#[test]
fn agent_controller_webhook_recorder_and_audit_reader_do_not_name_each_other() -> Result<()> {
    let mut wrong = Vec::new();
    for part in PARTS {
        let folder = Path::new(ROOT).join("operator/src").join(part);
        for path in sources(&folder)? {
            let roots = roots(&code(&path)?);
            let others = PARTS.iter().filter(|&other| other != part);
            for other in others.filter(|&&other| roots.contains(other)) {
                wrong.push(format!("{} names {other}", path.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    Ok(())
}

#[test]
fn only_the_binary_knows_the_plugin() -> Result<()> {
    let folder = Path::new(ROOT).join("operator/src");
    let mut knowing = BTreeSet::new();
    for path in sources(&folder)? {
        if code(&path)?.contains("kubectl_seccomp") {
            knowing.insert(path.strip_prefix(&folder)?.display().to_string());
        }
    }
    assert_eq!(knowing, set(&["bin/seccomp-operator.rs"]));
    Ok(())
}

#[test]
fn no_source_is_too_long_to_have_one_purpose() -> Result<()> {
    let mut long = BTreeMap::new();
    let sources = sources(Path::new(ROOT))?;
    ensure!(sources.len() > 100, "only {} sources", sources.len());
    for path in sources {
        let lines = std::fs::read_to_string(&path)?.lines().count();
        if lines > MAX_LINES {
            long.insert(path.strip_prefix(ROOT)?.display().to_string(), lines);
        }
    }
    assert_eq!(long, BTreeMap::new(), "longer than {MAX_LINES} lines");
    Ok(())
}

/// `.dockerignore` keeps the tests of this crate from the image's build, and cargo looks for a target without a path.
#[test]
fn the_image_is_built_without_the_tests() -> Result<()> {
    let seen = std::fs::read_to_string(Path::new(ROOT).join(".dockerignore"))?;
    let seen: BTreeSet<_> = seen
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "operator",
        "crates",
        "e2e/Cargo.toml",
        "e2e/src",
        "ci/links",
    ] {
        ensure!(
            seen.contains(needed),
            "the image's build does not see {needed}"
        );
    }
    let manifest = std::fs::read_to_string(Path::new(ROOT).join("e2e/Cargo.toml"))?;
    for target in manifest.split("[[").skip(1) {
        let target = target.split("\n[").next().unwrap_or(target);
        ensure!(
            target.contains("\npath = "),
            "a target without a path: [[{target}"
        );
    }
    Ok(())
}

/// The image is made in four places: by the Dockerfile, by a release, which packs binaries that were built before, in two steps, and for the
/// tests. A chart test holds the chart's commands to what `ci/links` makes.
#[test]
fn every_image_has_its_names_from_one_place() -> Result<()> {
    for maker in [
        "Dockerfile",
        "ci/release",
        ".github/workflows/release.yml",
        "e2e/images/operator",
    ] {
        let text = std::fs::read_to_string(format!("{ROOT}/{maker}"))?;
        ensure!(
            text.contains("ci/links") && !text.contains("ln -s"),
            "{maker} names an image's commands by itself"
        );
    }
    Ok(())
}
