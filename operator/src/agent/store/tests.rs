use super::file::TEMPORARY;
use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::fs::{CWD, FileType, Mode};

struct Node {
    root: tempfile::TempDir,
    store: Store,
}

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::new(root.path(), Path::new("profiles"));
        store.open().unwrap();
        Self { root, store }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join("profiles").join(file)
    }

    fn write(&mut self, name: &str, content: &str) -> Result<Done, StoreError> {
        self.store.apply(&[edit(name, content, false)]).remove(0)
    }

    fn take_over(&mut self, name: &str, content: &str) -> Result<Done, StoreError> {
        self.store.apply(&[edit(name, content, true)]).remove(0)
    }

    fn remove(&mut self, name: &str) -> Result<Done, StoreError> {
        self.store.apply(&[Edit::Remove(named(name))]).remove(0)
    }

    /// As after a restart of the agent.
    fn reopen(&mut self) {
        self.store = Store::new(self.root.path(), Path::new("profiles"));
        self.store.open().unwrap();
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(""))
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .filter(|n| n != ledger::FILE)
            .collect();
        names.sort();
        names
    }
}

fn named(name: &str) -> ProfileName {
    ProfileName::parse(name).unwrap()
}

fn edit(name: &str, content: &str, adopt: bool) -> Edit {
    Edit::Write {
        name: named(name),
        content: Content::new(content.as_bytes()),
        adopt,
    }
}

#[test]
fn a_profile_is_written_updated_and_removed() {
    let mut node = Node::new();
    assert_eq!(node.write("a", "1").unwrap(), Done::Written);
    assert_eq!(node.write("a", "1").unwrap(), Done::Unchanged);
    assert_eq!(node.write("a", "two").unwrap(), Done::Written);
    assert_eq!(fs::read_to_string(node.path("a.json")).unwrap(), "two");
    assert_eq!(
        fs::metadata(node.path("a.json"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o644
    );
    assert_eq!(node.remove("a").unwrap(), Done::Removed);
    assert!(node.files().is_empty());
    assert!(node.store.owned().is_empty());
}

#[test]
fn ownership_outlives_a_restart() {
    let mut node = Node::new();
    node.write("a", "1").unwrap();
    node.reopen();
    assert_eq!(
        node.store
            .owned()
            .iter()
            .map(ProfileName::as_str)
            .collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(node.remove("a").unwrap(), Done::Removed);
    node.reopen();
    assert!(node.store.owned().is_empty());
}

#[test]
fn a_foreign_file_is_neither_overwritten_nor_removed() {
    let mut node = Node::new();
    fs::write(node.path("a.json"), "theirs").unwrap();
    assert!(matches!(node.write("a", "ours"), Err(StoreError::Conflict)));
    assert_eq!(node.remove("a").unwrap(), Done::Unchanged);
    assert_eq!(fs::read_to_string(node.path("a.json")).unwrap(), "theirs");
    assert!(node.store.owned().is_empty());
    fs::remove_file(node.path("a.json")).unwrap();
    assert_eq!(node.write("a", "ours").unwrap(), Done::Written);
}

#[test]
fn a_foreign_file_with_the_same_bytes_is_adopted() {
    let mut node = Node::new();
    fs::write(node.path("a.json"), "same").unwrap();
    assert_eq!(node.write("a", "same").unwrap(), Done::Adopted);
    assert_eq!(node.remove("a").unwrap(), Done::Removed);
}

#[test]
fn a_foreign_file_is_taken_over_when_that_is_asked_for() {
    let mut node = Node::new();
    fs::write(node.path("a.json"), "theirs").unwrap();
    assert_eq!(node.take_over("a", "ours").unwrap(), Done::TakenOver);
    assert_eq!(fs::read_to_string(node.path("a.json")).unwrap(), "ours");
    assert!(
        node.store.changed(&named("a")).is_some(),
        "containers may have been created with theirs"
    );
    assert_eq!(node.take_over("a", "ours").unwrap(), Done::Unchanged);
    assert_eq!(node.take_over("b", "ours").unwrap(), Done::Written);
}

#[test]
fn since_when_a_file_holds_what_it_holds_outlives_restarts_and_repairs() {
    let mut node = Node::new();
    node.write("a", "1").unwrap();
    assert_eq!(
        node.store.changed(&named("a")),
        None,
        "it never held anything else"
    );
    node.write("a", "2").unwrap();
    let changed = node.store.changed(&named("a"));
    assert!(changed.is_some());
    fs::write(node.path("a.json"), "drifted").unwrap();
    node.reopen();
    assert_eq!(node.write("a", "2").unwrap(), Done::Written);
    assert_eq!(node.store.changed(&named("a")), changed);
    node.remove("a").unwrap();
    node.write("a", "3").unwrap();
    assert_eq!(node.store.changed(&named("a")), None);
}

#[test]
fn a_container_that_was_created_with_what_is_there_again_is_not_outdated() {
    let mut node = Node::new();
    for content in ["1", "2"] {
        node.write("a", content).unwrap();
    }
    let long_ago = (1000, 1002);
    assert!(node.store.is_outdated(&named("a"), long_ago));
    node.reopen();
    node.write("a", "1").unwrap();
    assert!(!node.store.is_outdated(&named("a"), long_ago));
    let now = now(0);
    assert!(node.store.is_outdated(&named("a"), (now, now)));
}

#[test]
fn a_clock_that_is_put_back_makes_no_content_older_than_what_was_created_before() {
    let mut node = Node::new();
    node.write("a", "1").unwrap();
    let later = now(0) + 3600;
    node.store.clock_was(later);
    node.store.clock_was(7);
    node.write("a", "2").unwrap();
    assert_eq!(node.store.changed(&named("a")), Some(later));
    fs::write(node.path("b.json"), "theirs").unwrap();
    node.take_over("b", "ours").unwrap();
    assert_eq!(node.store.changed(&named("b")), Some(later));
}

#[test]
fn a_crash_before_the_ledger_is_written_makes_a_content_newer_and_never_older() {
    let mut node = Node::new();
    node.write("a", "1").unwrap();
    fs::write(node.path("a.json"), "2").unwrap();
    node.reopen();
    assert_eq!(node.write("a", "2").unwrap(), Done::Unchanged);
    assert!(node.store.changed(&named("a")).is_some());
}

#[test]
fn links_directories_and_pipes_in_the_way_are_conflicts_and_are_not_followed() {
    let mut node = Node::new();
    let outside = node.root.path().join("outside");
    fs::write(&outside, "theirs").unwrap();
    symlink(&outside, node.path("link.json")).unwrap();
    fs::create_dir(node.path("dir.json")).unwrap();
    rustix::fs::mknodat(
        CWD,
        node.path("pipe.json"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    for (name, kind) in [
        ("link", "symbolic link"),
        ("dir", "directory"),
        ("pipe", "special file"),
    ] {
        for outcome in [node.write(name, "theirs"), node.take_over(name, "theirs")] {
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, StoreError::Obstacle(k) if k == kind),
                "{name}: {error}"
            );
        }
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "theirs");
}

#[test]
fn our_own_file_that_became_a_link_is_replaced_and_the_target_is_not_touched() {
    let mut node = Node::new();
    node.write("a", "1").unwrap();
    let outside = node.root.path().join("outside");
    fs::write(&outside, "theirs").unwrap();
    fs::remove_file(node.path("a.json")).unwrap();
    symlink(&outside, node.path("a.json")).unwrap();
    assert_eq!(node.write("a", "1").unwrap(), Done::Written);
    assert_eq!(fs::read_to_string(outside).unwrap(), "theirs");
    assert!(fs::symlink_metadata(node.path("a.json")).unwrap().is_file());
}

#[test]
fn a_profiles_folder_that_is_a_link_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), root.path().join("profiles")).unwrap();
    assert!(
        Store::new(root.path(), Path::new("profiles"))
            .open()
            .is_err()
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn drift_of_our_own_file_is_repaired() {
    let mut node = Node::new();
    node.write("a", "right").unwrap();
    fs::write(node.path("a.json"), "wrong").unwrap();
    assert_eq!(node.write("a", "right").unwrap(), Done::Written);
    fs::remove_file(node.path("a.json")).unwrap();
    assert_eq!(node.write("a", "right").unwrap(), Done::Written);
    assert_eq!(fs::read_to_string(node.path("a.json")).unwrap(), "right");
}

#[test]
fn a_folder_that_was_removed_is_made_again() {
    let mut node = Node::new();
    node.write("a", "1").unwrap();
    fs::remove_dir_all(node.path("")).unwrap();
    assert_eq!(node.write("a", "1").unwrap(), Done::Written);
    assert_eq!(node.files(), ["a.json"]);
}

#[test]
fn what_a_crash_left_is_cleared_away_at_the_next_start() {
    let mut node = Node::new();
    fs::write(node.path(&format!("{TEMPORARY}0123")), "half").unwrap();
    node.reopen();
    assert!(node.files().is_empty());
}

#[test]
fn a_broken_ledger_loses_nothing_our_files_are_adopted_again() {
    let mut node = Node::new();
    node.write("a", "1").unwrap();
    fs::write(node.path(ledger::FILE), "{ half").unwrap();
    node.reopen();
    assert!(node.store.owned().is_empty());
    assert_eq!(node.write("a", "1").unwrap(), Done::Adopted);
}

#[test]
fn a_ledger_that_somebody_removes_is_written_again() {
    let mut node = Node::new();
    node.write("a", "1").unwrap();
    fs::remove_file(node.path(ledger::FILE)).unwrap();
    node.write("a", "1").unwrap();
    node.reopen();
    assert_eq!(node.remove("a").unwrap(), Done::Removed);
}

#[test]
fn a_seccomp_folder_that_was_removed_under_its_mount_is_told_from_one_that_is_empty() {
    let node = Node::new();
    let root = fs::File::open(node.root.path()).unwrap();
    fs::remove_dir_all(node.root.path()).unwrap();
    let held = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&root));
    let mut store = Store::new(Path::new(&held), Path::new("profiles"));
    assert!(matches!(store.open(), Err(StoreError::Gone)));
}

#[test]
fn one_edit_that_fails_does_not_stop_the_others() {
    let mut node = Node::new();
    fs::write(node.path("b.json"), "theirs").unwrap();
    let edits = ["a", "b", "c"].map(|name| edit(name, "ours", false));
    let outcomes = node.store.apply(&edits);
    assert!(matches!(
        outcomes[..],
        [
            Ok(Done::Written),
            Err(StoreError::Conflict),
            Ok(Done::Written)
        ]
    ));
    assert_eq!(node.files(), ["a.json", "b.json", "c.json"]);
}

#[test]
fn an_error_says_what_was_being_done_and_what_the_kernel_answered() {
    let error = StoreError::Io {
        step: "write the file",
        errno: Errno::NOSPC,
    };
    assert_eq!(
        error.to_string(),
        "write the file: No space left on device (os error 28); make room on the disk of kubelet's folder: there are no \
         free blocks (df) or no free inodes (df -i)"
    );
}
