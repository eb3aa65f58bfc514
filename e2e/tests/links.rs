//! Links between the documents lead somewhere: the file is there, and the heading in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The documents of people who read the repository.
fn documents() -> Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    let mut found = vec![
        root.join("README.md"),
        root.join("CONTRIBUTING.md"),
        root.join("SECURITY.md"),
        root.join("charts/seccomp-operator/README.md"),
        root.join("kind/README.md"),
    ];
    for entry in std::fs::read_dir(root.join("docs"))? {
        found.push(entry?.path());
    }
    for entry in std::fs::read_dir(root.join("crates"))? {
        found.push(entry?.path().join("README.md"));
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "md") && path.exists());
    Ok(found)
}

/// The lines that are not in a block of code.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    text.lines()
        .filter(|line| {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                return false;
            }
            !fenced && !line.starts_with("    ")
        })
        .collect()
}

/// What a document links to within the repository.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let inline = line.split("](").skip(1);
        found.extend(inline.filter_map(|rest| rest.split_once(')').map(|(target, _)| target)));
        if line.starts_with('[') {
            found.extend(line.split_once("]: ").map(|(_, target)| target.trim()));
        }
    }
    // A scheme is somewhere else, and a path of Rust is rustdoc's to check.
    found.retain(|target| !target.contains(':'));
    found.into_iter().map(str::to_owned).collect()
}

/// The anchors that a heading, as GitHub makes them, or a name gives.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in prose(text) {
        if line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
            let anchor: String = heading.chars().filter(kept).collect();
            found.insert(anchor.replace(' ', "-"));
        }
        let named = line.split("<a name=\"").skip(1);
        found.extend(named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    found
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() -> Result<()> {
    let documents = documents()?;
    ensure!(documents.len() > 10, "only {} documents", documents.len());
    let (mut broken, mut followed) = (Vec::new(), 0);
    for document in documents {
        let text = std::fs::read_to_string(&document)?;
        let folder = document.parent().context("no folder")?;
        for target in targets(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() {
                document.clone()
            } else {
                folder.join(file)
            };
            let leads = if anchor.is_empty() {
                path.exists()
            } else {
                std::fs::read_to_string(&path).is_ok_and(|text| anchors(&text).contains(anchor))
            };
            if !leads {
                broken.push(format!("{}: {target}", document.display()));
            }
            followed += 1;
        }
    }
    assert_eq!(broken, Vec::<String>::new());
    ensure!(followed > 30, "only {followed} links");
    Ok(())
}
