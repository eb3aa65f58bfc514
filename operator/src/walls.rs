//! Which module of this crate may not know which: walls that the compiler does not keep.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The module, and those that it must not name.
const WALLS: &[(&str, &[&str])] = &[
    ("agent", &["controller", "webhook", "pki"]),
    ("controller", &["agent"]),
    ("webhook", &["agent", "controller"]),
    ("pki", &["agent", "controller", "webhook"]),
];

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .flat_map(|entry| match entry.unwrap().path() {
            folder if folder.is_dir() => files_in(&folder),
            file => vec![file],
        })
        .collect()
}

/// The modules of this crate that a source names: `crate::health::listen`, `crate::{health, shutdown}`.
fn named_in(source: &str) -> BTreeSet<&str> {
    let paths = source.split("crate::").skip(1);
    let named = paths.flat_map(|path| {
        match path.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => path.split(',').next().unwrap_or_default(),
        }
        .split(',')
    });
    named
        .filter_map(|path| {
            path.trim()
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
        })
        .collect()
}

#[test]
fn no_module_names_one_behind_a_wall() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (module, others) in WALLS {
        let files = files_in(&sources.join(module));
        assert!(!files.is_empty(), "{module}");
        for file in files {
            let source = fs::read_to_string(&file).unwrap();
            let named = named_in(&source);
            for other in *others {
                let file = file.display();
                assert!(!named.contains(other), "{file} names {other}");
            }
        }
    }
}
