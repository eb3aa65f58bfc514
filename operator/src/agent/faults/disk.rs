//! File systems that are full, read-only or immutable, until they are not. Each is in memory and mounted nowhere.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{IFlags, ioctl_setflags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, fsconfig_create, fsconfig_reconfigure,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
};

use super::{Folder, Node, assert_failure, named};

/// A file system of its own, mounted nowhere. None without the right to: these tests are run as root.
fn tmpfs(options: &[(&str, &str)]) -> Option<(OwnedFd, Folder)> {
    let context = match fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::PERM) => {
            eprintln!("skipped: only root may have a file system of its own");
            return None;
        }
        context => context.unwrap(),
    };
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value).unwrap();
    }
    fsconfig_create(&context).unwrap();
    let none = MountAttrFlags::empty();
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, none).unwrap();
    let folder = Folder(format!("/proc/self/fd/{}", mount.as_raw_fd()).into());
    Some((mount, folder))
}

#[test]
fn a_full_disk_keeps_the_old_file_and_is_reported_until_there_is_room() {
    let Some((_mount, folder)) = tmpfs(&[("size", "96k")]) else {
        return;
    };
    let mut node = Node::new(&folder);
    node.want("a", 1);
    assert_eq!(node.settle(), []);
    fs::write(folder.path("filler"), vec![0; 80 << 10]).unwrap();
    node.want("a", 2);
    let begins = "write the file: No space left on device (os error 28); make room";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    // Not even room for the ledger.
    let rest = fs::write(folder.path("filler2"), vec![0; 96 << 10]);
    assert!(rest.is_err());
    node.want("b", 1);
    let failures = node.settle();
    assert_failure(&failures[..1], "a", "WriteFailed", begins);
    let begins = "the list of the operator's own files: write the file: No space left on device";
    assert_failure(&failures[1..], "b", "WriteFailed", begins);
    assert_eq!(
        (folder.generation("a"), folder.generation("b")),
        (Some(1), None)
    );
    assert!(folder.names().iter().all(|name| !name.contains(".tmp.")));
    for filler in ["filler", "filler2"] {
        fs::remove_file(folder.path(filler)).unwrap();
    }
    assert_eq!(node.settle(), []);
    assert_eq!(
        (folder.generation("a"), folder.generation("b")),
        (Some(2), Some(1))
    );
}

#[test]
fn a_disk_without_inodes_keeps_the_old_file_and_is_reported_until_there_are_some() {
    let Some((_mount, folder)) = tmpfs(&[("nr_inodes", "5")]) else {
        return;
    };
    let mut node = Node::new(&folder);
    node.want("a", 1);
    assert_eq!(node.settle(), []);
    // The root, the profiles folder, the ledger and one file are four.
    fs::write(folder.path("filler"), "").unwrap();
    node.want("a", 2);
    let begins = "make a temporary file: No space left on device (os error 28)";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    fs::remove_file(folder.path("filler")).unwrap();
    assert_eq!(node.settle(), []);
    assert_eq!(folder.generation("a"), Some(2));
}

#[test]
fn a_file_system_that_turns_read_only_keeps_the_old_files_and_is_reported_until_it_is_writable() {
    let Some((mount, folder)) = tmpfs(&[]) else {
        return;
    };
    let turn = |flag: &str| {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let context = fspick(&mount, "", flags).unwrap();
        fsconfig_set_flag(&context, flag).unwrap();
        fsconfig_reconfigure(&context).unwrap();
    };
    let mut node = Node::new(&folder);
    node.want("a", 1);
    node.want("same", 1);
    assert_eq!(node.settle(), []);
    turn("ro");
    node.want("a", 2);
    let begins = "make a temporary file: Read-only file system (os error 30); the file system is";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    // An agent that starts now knows what is ours, and that what is right is right.
    let mut restarted = Node::new(&folder);
    restarted.want("a", 2);
    restarted.want("same", 1);
    assert_failure(&restarted.settle(), "a", "WriteFailed", begins);
    assert_eq!(restarted.owned.len(), 2);
    turn("rw");
    assert_eq!(node.settle(), []);
    assert_eq!(folder.generation("a"), Some(2));
}

#[test]
fn a_file_that_was_made_immutable_stays_and_is_reported_until_it_is_not() {
    let Some((_mount, folder)) = tmpfs(&[]) else {
        return;
    };
    let mut node = Node::new(&folder);
    node.want("a", 1);
    assert_eq!(node.settle(), []);
    let file = fs::File::open(folder.path("a.json")).unwrap();
    match ioctl_setflags(&file, IFlags::IMMUTABLE) {
        // Before Linux 6.0.
        Err(Errno::NOTTY) => return eprintln!("skipped: this tmpfs has no immutable files"),
        set => set.unwrap(),
    }
    node.want("a", 2);
    let begins = "put the file in place: Operation not permitted (os error 1); the file or its folder is immutable";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    node.state.deleted(&named("a"));
    let begins = "remove the file: Operation not permitted (os error 1); the file or its folder is immutable";
    assert_failure(&node.settle(), "a", "RemoveFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    ioctl_setflags(&file, IFlags::empty()).unwrap();
    assert_eq!(node.settle(), []);
    assert_eq!(folder.read("a"), None);
    assert_eq!(folder.ledger(), BTreeSet::new());
}
