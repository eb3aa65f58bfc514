//! Those who share the folder: files, modes, directories and links that are theirs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::RenameFlags;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::{Folder, Node, PROFILES, assert_failure, named, put, scratch, text};
use crate::agent::content::Content;
use crate::agent::store::{Done, Edit, Store, StoreError};

/// Runs `work` as the agent runs: as root, and without any capability.
fn without_capabilities<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            };
            set_capabilities(None, sets).unwrap();
            work()
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn our_file_that_somebody_made_unreadable_or_writable_for_all_is_put_right() {
    let root = scratch();
    let folder = Folder(root.path().to_owned());
    let mut store = folder.store();
    store.apply(&[put("a", 1)]).remove(0).unwrap();
    for mode in [0o000, 0o600, 0o666, 0o4755] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.path("a.json"), permissions).unwrap();
        let done = without_capabilities(|| store.apply(&[put("a", 1)]).remove(0));
        assert_eq!(done.unwrap(), Done::Written, "{mode:o}");
        let now = fs::metadata(folder.path("a.json")).unwrap().mode();
        assert_eq!((now & 0o7777, folder.generation("a")), (0o644, Some(1)));
    }
}

#[test]
fn a_foreign_file_that_cannot_be_read_is_a_conflict() {
    let root = scratch();
    let folder = Folder(root.path().to_owned());
    let mut store = folder.store();
    store.open().unwrap();
    fs::write(folder.path("a.json"), "theirs").unwrap();
    fs::set_permissions(folder.path("a.json"), fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = without_capabilities(|| store.apply(&[put("a", 1)]).remove(0));
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    assert_eq!(folder.read("a").as_deref(), Some("theirs"));
    let take_over = Edit::Write {
        name: named("a"),
        content: Content::new(text("a", 1).as_bytes()),
        adopt: true,
    };
    let outcome = without_capabilities(|| store.apply(&[take_over]).remove(0));
    assert_eq!(outcome.unwrap(), Done::TakenOver);
}

#[test]
fn a_directory_where_our_file_was_is_theirs_and_said_to_be_in_the_way() {
    let root = scratch();
    let folder = Folder(root.path().to_owned());
    let mut node = Node::new(&folder);
    for name in ["a", "b"] {
        node.want(name, 1);
    }
    assert_eq!(node.settle(), []);
    for name in ["a.json", "b.json"] {
        fs::remove_file(folder.path(name)).unwrap();
        fs::create_dir(folder.path(name)).unwrap();
    }
    node.state.deleted(&named("b"));
    node.state.resync();
    assert_failure(
        &node.settle(),
        "a",
        "Obstacle",
        "a directory that the operator did not put there",
    );
    assert!(folder.path("a.json").is_dir() && folder.path("b.json").is_dir());
    fs::remove_dir(folder.path("a.json")).unwrap();
    assert_eq!(node.settle(), []);
    assert_eq!(folder.generation("a"), Some(1));
}

#[test]
fn a_profiles_folder_that_becomes_a_link_is_not_followed_and_that_is_reported() {
    let root = scratch();
    let elsewhere = scratch();
    let folder = Folder(root.path().to_owned());
    let mut node = Node::new(&folder);
    node.want("a", 1);
    assert_eq!(node.settle(), []);
    fs::remove_dir_all(folder.path("")).unwrap();
    symlink(elsewhere.path(), root.path().join(PROFILES)).unwrap();
    node.state.resync();
    let begins = "a symbolic link is where the profiles folder should be, and is not followed";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    fs::remove_file(root.path().join(PROFILES)).unwrap();
    assert_eq!(node.settle(), []);
    assert_eq!(folder.generation("a"), Some(1));
}

#[test]
fn links_on_the_way_to_a_nested_folder_are_not_followed_either() {
    let root = scratch();
    let elsewhere = scratch();
    fs::create_dir(elsewhere.path().join("deep")).unwrap();
    symlink(elsewhere.path(), root.path().join("way")).unwrap();
    let mut store = Store::new(root.path(), Path::new("way/deep"));
    let outcome = store.apply(&[put("a", 1)]).remove(0);
    assert!(
        matches!(outcome, Err(StoreError::NoFolder("symbolic link"))),
        "{outcome:?}"
    );
    assert_eq!(
        fs::read_dir(elsewhere.path().join("deep")).unwrap().count(),
        0
    );
}

#[test]
fn links_that_are_swapped_in_while_the_store_writes_lead_it_nowhere() {
    let root = scratch();
    let elsewhere = scratch();
    let trap = elsewhere.path().join("a.json");
    fs::write(&trap, "theirs").unwrap();
    let folder = Folder(root.path().to_owned());
    let mut store = folder.store();
    store.apply(&[put("a", 1)]).remove(0).unwrap();
    symlink(elsewhere.path(), root.path().join("folder-trap")).unwrap();
    symlink(&trap, root.path().join("file-trap")).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = |a: &Path, b: &Path| {
                let here = rustix::fs::CWD;
                let _ = rustix::fs::renameat_with(here, a, here, b, RenameFlags::EXCHANGE);
            };
            while !over.load(Ordering::Relaxed) {
                let (folder_trap, file_trap) = (
                    root.path().join("folder-trap"),
                    root.path().join("file-trap"),
                );
                exchange(&root.path().join(PROFILES), &folder_trap);
                exchange(&root.path().join(PROFILES), &folder_trap);
                exchange(&folder.path("a.json"), &file_trap);
            }
        });
        let mut outcomes = BTreeMap::new();
        for generation in 2..500 {
            let outcome = match store.apply(&[put("a", generation)]).remove(0) {
                Ok(done) => format!("{done:?}"),
                Err(error) => error.to_string(),
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
        over.store(true, Ordering::Relaxed);
        println!("{outcomes:#?}");
    });
    assert_eq!(fs::read_to_string(&trap).unwrap(), "theirs");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}
