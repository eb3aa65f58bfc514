//! Folders that the operator had before its own was changed (`profilesDir`): pods still name the files there.
//!
//! A file there is kept, and kept up to date, while a pod on this node uses it, and is removed after that; the folder goes with the last
//! file. What tells such a folder is its ledger, and nothing that the ledger does not name is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::store::ledger::FILE as LEDGER;
use super::store::{Edit, Store};
use kube_support::error::chain;
use seccomp_operator_api::ProfileName;

/// How deep below the seccomp folder to look, and at how many folders at most: there are a few.
const MAX_DEPTH: usize = 8;
const MAX_FOLDERS: usize = 1000;

/// One such folder.
#[derive(Debug)]
pub struct Former {
    /// The folder, as a pod's `localhostProfile` leads there.
    pub folder: String,
    store: Store,
}

impl Former {
    /// All below `root` that have files of ours, but for `own`.
    pub fn find(root: &Path, own: &Path) -> Vec<Self> {
        let found = folders(root).into_iter().filter(|folder| folder != own);
        let opened = found.filter_map(|folder| {
            let name = folder.to_str()?.to_owned();
            let mut store = Store::new(root, &folder);
            if let Err(error) = store.open() {
                warn!(
                    folder = name,
                    error = chain(&error),
                    "a folder that the operator had before cannot be opened; its files stay"
                );
                return None;
            }
            let files = store.owned().len();
            if files == 0 {
                return None;
            }
            info!(
                folder = name,
                files,
                "the operator had another folder before; its files stay while pods on this node use them"
            );
            Some(Self {
                folder: name,
                store,
            })
        });
        opened.collect()
    }

    /// The profiles whose files are there.
    pub fn owned(&self) -> BTreeSet<ProfileName> {
        self.store.owned()
    }

    /// See [`Store::is_outdated`].
    pub fn is_outdated(&self, name: &ProfileName, created: (u64, u64)) -> bool {
        self.store.is_outdated(name, created)
    }

    /// Whether a file is there that pods do not use.
    pub fn has_unused(&self, used: &BTreeSet<ProfileName>) -> bool {
        !self.owned().is_subset(used)
    }

    /// Makes the edits that are for files here, and removes what is not used; nothing is, as long as the uses are not known.
    pub fn apply(
        &mut self,
        edits: &[Edit],
        used: Option<&BTreeSet<ProfileName>>,
        latest_start: u64,
    ) {
        let owned = self.owned();
        let stays = |name: &ProfileName| used.is_none_or(|used| used.contains(name));
        let writes = edits.iter().filter(|edit| {
            let here = owned.contains(edit.name()) && stays(edit.name());
            here && matches!(edit, Edit::Write { .. })
        });
        let removals = owned.iter().filter(|name| !stays(name));
        let edits: Vec<_> = writes
            .cloned()
            .chain(removals.cloned().map(Edit::Remove))
            .collect();
        if edits.is_empty() {
            return;
        }
        self.store.clock_was(latest_start);
        for (edit, outcome) in edits.iter().zip(self.store.apply(&edits)) {
            if let Err(error) = outcome {
                warn!(
                    folder = self.folder,
                    profile = edit.name().as_str(),
                    error = chain(&error),
                    "a file in a folder that the operator had before is not as it should be"
                );
            }
        }
        if self.owned().is_empty() {
            match self.store.dissolve() {
                Ok(()) => info!(
                    folder = self.folder,
                    "no pod uses the folder any more that the operator had before"
                ),
                Err(error) => warn!(
                    folder = self.folder,
                    error = chain(&error),
                    "a folder that the operator had before could not be removed"
                ),
            }
        }
    }
}

/// The folders below `root` that have a ledger, relative to it. No symbolic link is followed.
fn folders(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut seen) = (Vec::new(), 0);
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        seen += 1;
        let entries = fs::read_dir(root.join(&folder)).into_iter().flatten();
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let path = folder.join(entry.file_name());
            if kind.is_dir() && path.iter().count() <= MAX_DEPTH && seen + open.len() < MAX_FOLDERS
            {
                open.push(path);
            } else if kind.is_file()
                && entry.file_name() == LEDGER
                && !folder.as_os_str().is_empty()
            {
                found.push(folder.clone());
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::super::content::Content;
    use super::*;

    fn named(name: &str) -> ProfileName {
        ProfileName::parse(name).unwrap()
    }

    fn put(name: &str, content: &str) -> Edit {
        Edit::Write {
            name: named(name),
            content: Content::new(content.as_bytes()),
            adopt: false,
        }
    }

    /// A node where the operator had `folder` before, with the files of `a` and `b`.
    fn node(folder: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::new(root.path(), Path::new(folder));
        let outcomes = store.apply(&[put("a", "1"), put("b", "1")]);
        assert!(outcomes.iter().all(Result::is_ok));
        root
    }

    #[test]
    fn a_folder_with_files_of_ours_is_found_wherever_it_is_and_the_own_one_is_none() {
        let root = node("team/old");
        let find = |own: &str| {
            let found = Former::find(root.path(), Path::new(own));
            found
                .into_iter()
                .map(|former| former.folder)
                .collect::<Vec<_>>()
        };
        let path = |path: &str| root.path().join(path);
        fs::create_dir_all(path("somebody/else")).unwrap();
        fs::write(path("somebody/else/a.json"), "theirs").unwrap();
        std::os::unix::fs::symlink(path("team"), path("link")).unwrap();
        assert_eq!(find("profiles"), ["team/old"]);
        assert!(find("team/old").is_empty());
        assert_eq!(find("team"), ["team/old"]);
    }

    #[test]
    fn files_stay_and_follow_their_profiles_while_they_are_used_and_go_with_their_folder_after_that()
     {
        let root = node("old");
        let read = |file: &str| fs::read_to_string(root.path().join("old").join(file)).ok();
        let mut former = Former::find(root.path(), Path::new("profiles")).remove(0);
        fs::write(root.path().join("old/theirs.json"), "theirs").unwrap();

        former.apply(&[], None, 0);
        assert_eq!(former.owned().len(), 2, "it is not known yet what is used");
        let used = BTreeSet::from([named("a")]);
        assert!(former.has_unused(&used));
        former.apply(
            &[put("a", "2"), put("new", "1"), put("theirs", "1")],
            Some(&used),
            0,
        );
        assert_eq!(read("a.json").as_deref(), Some("2"));
        assert_eq!((read("b.json"), read("new.json")), (None, None));
        assert!(!former.has_unused(&used));
        // A profile that is gone.
        former.apply(&[Edit::Remove(named("a"))], Some(&used), 0);
        assert_eq!(read("a.json").as_deref(), Some("2"));

        let none = BTreeSet::new();
        assert!(former.has_unused(&none));
        former.apply(&[], Some(&none), 0);
        assert!(!former.has_unused(&none));
        assert_eq!((read("a.json"), read(LEDGER)), (None, None));
        assert_eq!(read("theirs.json").as_deref(), Some("theirs"));
        former.apply(&[put("a", "3")], Some(&none), 0);
        assert_eq!(read("a.json"), None);

        let root = node("old");
        let mut former = Former::find(root.path(), Path::new("profiles")).remove(0);
        former.apply(&[], Some(&none), 0);
        assert!(!root.path().join("old").exists());
    }
}
