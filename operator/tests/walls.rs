//! Which module of the operator may know which. Between crates the compiler holds this, between modules nobody does.

#![allow(clippy::unwrap_used)]

use std::path::Path;

/// Whether a line of code names a module of this crate.
fn names(line: &str, module: &str) -> bool {
    let grouped = line.trim_start().strip_prefix("use crate::{");
    let mut words = grouped
        .unwrap_or_default()
        .split(|c: char| !c.is_alphanumeric() && c != '_');
    line.contains(&format!("crate::{module}")) || words.any(|word| word == module)
}

/// The lines of a module's folder that name one of these modules.
fn lines_that_name(module: &str, others: &[&str]) -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.join(module)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines();
            let naming = lines.filter(|line| others.iter().any(|other| names(line, other)));
            found.extend(naming.map(|line| format!("{}: {line}", path.display())));
        }
    }
    found
}

#[test]
fn agent_controller_and_webhook_do_not_know_each_other() {
    for (module, others) in [
        ("agent", ["controller", "webhook", "control_plane"]),
        ("controller", ["agent", "webhook", "control_plane"]),
        ("webhook", ["agent", "controller", "control_plane"]),
    ] {
        assert_eq!(lines_that_name(module, &others), Vec::<String>::new());
    }
    let tied = lines_that_name("../src", &["controller", "webhook"]);
    assert!(
        tied.iter().any(|line| line.contains("control_plane.rs")),
        "the one that may is found: {tied:?}"
    );
}
