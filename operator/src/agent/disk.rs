//! The profiles folder as the agent has it: the store, and the watch that notices changes by others.
//!
//! Only [`Disk::apply`] asks the disk, and hangs when that hangs; the reconciler calls it on a thread that may.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tracing::warn;

use super::folder_watch::{FolderWatch, Touched};
use super::mount::{Displaced, Mount};
use super::store::{Done, Edit, Store, StoreError};
use seccomp_operator_api::ProfileName;

/// Everything is compared with the disk this often, whether or not anything was seen to change.
pub const RESYNC: Duration = Duration::from_mins(5);

/// See the module's head.
pub struct Disk {
    mount: Mount,
    store: Store,
    /// None where the kernel has no inotify instance, or no watch, to spare.
    watch: Option<FolderWatch>,
}

impl Disk {
    /// The folder `root/subdir`; nothing is opened yet. Must be called inside a tokio runtime.
    pub fn new(root: &Path, subdir: &Path) -> Self {
        let watch = FolderWatch::new();
        Self {
            mount: Mount::new(root),
            store: Store::new(root, subdir),
            watch: watch.inspect_err(unwatched).ok(),
        }
    }

    /// Carries out the edits, and sees to it that the folder is watched. `latest_start`: the latest time that the node's clock
    /// has been seen to show, in seconds since 1970.
    pub fn apply(&mut self, edits: &[Edit], latest_start: u64) -> Vec<Result<Done, StoreError>> {
        self.store.clock_was(latest_start);
        let outcomes = if edits.is_empty() {
            Vec::new()
        } else {
            self.store.apply(edits)
        };
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
    pub fn is_unwatched(&self) -> bool {
        let watch = self.watch.as_ref();
        watch.is_some_and(|watch| !watch.is_watching())
    }

    /// See [`Store::owned`].
    pub fn owned(&self) -> BTreeSet<ProfileName> {
        self.store.owned()
    }

    /// See [`Store::changed`].
    pub fn changed(&self, name: &ProfileName) -> Option<u64> {
        self.store.changed(name)
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
