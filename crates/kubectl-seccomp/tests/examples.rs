//! The profiles of `examples/` do what their tests say, and each has some.
#![allow(clippy::unwrap_used)]

mod tool;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tool::{printed, run, stderr};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(EXAMPLES).join(folder);
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_profile_has_tests_and_passes_them() {
    let names = |folder| -> BTreeSet<_> {
        let files = files(folder).into_iter();
        files
            .map(|file| file.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("profiles"), names("tests"));
    let tests = files("tests");
    let tests: Vec<_> = tests.iter().map(|file| file.to_str().unwrap()).collect();
    let output = run(&[&["test", "-o", "json"], &tests[..]].concat(), "");
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), ""),
        "{}",
        printed(&output)
    );
    let data: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(data["passed"].as_u64() > Some(20), "{data}");
}
