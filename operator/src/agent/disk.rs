//! The profiles folder as the agent has it: the store, the watch that notices changes by others, and the folders from before.
//!
//! Only [`Disk::apply`] and [`Disk::find_former`] ask the disk, and hang when that hangs; the reconciler calls them on a thread that may.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use super::folder_watch::{FolderWatch, Touched};
use super::former::Former;
use super::mount::{Displaced, Mount};
use super::store::{Done, Edit, Store, StoreError};
use super::usage::UsedFile;
use seccomp_operator_api::ProfileName;

/// Everything is compared with the disk this often, whether or not anything was seen to change.
pub const RESYNC: Duration = Duration::from_mins(5);

/// See the module's head.
pub struct Disk {
    root: PathBuf,
    subdir: PathBuf,
    mount: Mount,
    store: Store,
    former: Vec<Former>,
    /// None where the kernel has no inotify instance, or no watch, to spare.
    watch: Option<FolderWatch>,
}

impl Disk {
    /// The folder `root/subdir`; nothing is opened yet. Must be called inside a tokio runtime.
    pub fn new(root: &Path, subdir: &Path) -> Self {
        let watch = FolderWatch::new();
        Self {
            root: root.to_owned(),
            subdir: subdir.to_owned(),
            mount: Mount::new(root),
            store: Store::new(root, subdir),
            former: Vec::new(),
            watch: watch.inspect_err(unwatched).ok(),
        }
    }

    /// Looks for folders that the operator had before, and says which.
    pub fn find_former(&mut self) -> Vec<String> {
        self.former = Former::find(&self.root, &self.subdir);
        let folders = self.former.iter().map(|former| former.folder.clone());
        folders.collect()
    }

    /// Carries out the edits, and sees to it that the folder is watched. `latest_start`: the latest time that the node's clock
    /// has been seen to show, in seconds since 1970. `in_former`: the profiles that are used in each of the folders from before,
    /// once that is known.
    pub fn apply(
        &mut self,
        edits: &[Edit],
        latest_start: u64,
        in_former: Option<&[BTreeSet<ProfileName>]>,
    ) -> Vec<Result<Done, StoreError>> {
        self.store.clock_was(latest_start);
        let outcomes = if edits.is_empty() {
            Vec::new()
        } else {
            self.store.apply(edits)
        };
        for (which, former) in self.former.iter_mut().enumerate() {
            let used = in_former.and_then(|used| used.get(which));
            former.apply(edits, used, latest_start);
        }
        if let Some(watch) = &mut self.watch
            && !watch.is_watching()
            && let Ok(folder) = self.store.open()
            && let Err(errno) = watch.watch(folder)
        {
            unwatched(&errno.into());
            self.watch = None;
        }
        outcomes
    }

    /// Whether [`apply`](Self::apply) has something to do even without edits.
    pub fn has_work(&self, in_former: Option<&[BTreeSet<ProfileName>]>) -> bool {
        let watch = self.watch.as_ref();
        let unwatched = watch.is_some_and(|watch| !watch.is_watching());
        let mut former = self.former.iter().zip(in_former.into_iter().flatten());
        unwatched || former.any(|(former, used)| former.has_unused(used))
    }

    /// The profiles that have a file of ours, here or in a folder from before, as far as is known.
    pub fn owned(&self) -> BTreeSet<ProfileName> {
        let mut owned = self.store.owned();
        owned.extend(self.former.iter().flat_map(Former::owned));
        owned
    }

    /// See [`Store::is_outdated`].
    pub fn is_outdated(&self, file: &UsedFile, created: (u64, u64)) -> bool {
        match file.former {
            None => self.store.is_outdated(&file.profile, created),
            Some(which) => {
                let former = self.former.get(which);
                former.is_some_and(|former| former.is_outdated(&file.profile, created))
            }
        }
    }

    /// See [`Mount::displaced`].
    pub fn displaced(&self) -> Option<Displaced> {
        self.mount.displaced()
    }

    /// See [`FolderWatch::touched`]; never ends where nothing can be watched.
    pub async fn touched(&mut self) -> std::io::Result<Touched> {
        match &mut self.watch {
            Some(watch) => watch.touched().await,
            None => std::future::pending().await,
        }
    }
}

fn unwatched(error: &std::io::Error) {
    warn!(%error, "the profiles folder cannot be watched; changes to it are only found every {RESYNC:?}");
}
