//! The modules of the crate do not import each other in a circle.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// The modules at the top that each of them imports. Tests may import anything.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut imports = BTreeMap::<String, BTreeSet<String>>::new();
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).unwrap().with_extension("");
        let inside: Vec<_> = inside.iter().map(|part| part.to_str().unwrap()).collect();
        if inside == ["lib"] || inside.last() == Some(&"tests") {
            continue;
        }
        let is_top = inside.len() == 1 || inside[1..] == ["mod"];
        let prefix = if is_top { "super::" } else { "super::super::" };
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let words = code.split("crate::").skip(1);
        let words = words.chain(code.split(prefix).skip(1));
        let names = words.map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        });
        let module = imports.entry(inside[0].to_owned()).or_default();
        module.extend(names.filter(|name| name != inside[0]));
    }
    let modules: BTreeSet<_> = imports.keys().cloned().collect();
    for imported in imports.values_mut() {
        imported.retain(|name| modules.contains(name));
    }
    imports
}

#[test]
fn modules_import_each_other_in_one_direction() {
    let mut left = imports();
    assert!(left.len() > 20 && left["decision"].contains("merge"));
    // Those that import nothing that is left, again and again.
    while let Some(lowest) = left
        .iter()
        .find(|(_, imported)| imported.iter().all(|name| !left.contains_key(name)))
        .map(|(name, _)| name.clone())
    {
        left.remove(&lowest);
    }
    assert_eq!(
        left.keys().collect::<Vec<_>>(),
        [""; 0],
        "circles: {left:?}"
    );
}
