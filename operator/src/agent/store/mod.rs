//! The node's file store: profiles as files, written whole or not at all, and a ledger of which are ours.
//!
//! Every access is relative to the descriptor of one folder and follows no symbolic link. A file is written to a temporary
//! name in the same folder, synced, read back and renamed into place; then the folder is synced. Whatever happens between
//! two steps, a reader sees the old file whole or the new file whole. A file that the ledger does not name is somebody
//! else's: it is never overwritten and never removed.
//!
//! It knows bytes and names, and nothing of Kubernetes or of what a profile means.

mod error;
mod file;
mod folder;
pub mod ledger;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use tracing::warn;

use super::content::Content;
use error::at;
use file::Found;
use kube_support::error::chain;
use ledger::{Ledger, LedgerEntry};
use seccomp_operator_api::ProfileName;

pub use error::StoreError;

/// One thing to do to the store.
#[derive(Clone, Debug)]
pub enum Edit {
    /// The profile's file should hold this.
    Write {
        /// The profile.
        name: ProfileName,
        /// What the file should hold.
        content: Content,
        /// A regular file of that name that is not ours is taken over, whatever it holds.
        adopt: bool,
    },
    /// The profile's file should not be there.
    Remove(ProfileName),
}

impl Edit {
    /// The profile that it is about.
    #[must_use]
    pub fn name(&self) -> &ProfileName {
        match self {
            Self::Write { name, .. } | Self::Remove(name) => name,
        }
    }
}

/// What came of an [`Edit`] that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The file was as it should be.
    Unchanged,
    /// A file with exactly these bytes was there, and is ours from now on.
    Adopted,
    /// Somebody else's file was there, was overwritten because that was asked for, and is ours from now on.
    TakenOver,
    /// The file was written.
    Written,
    /// The file was removed.
    Removed,
}

/// The folder of profiles on this node.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    subdir: PathBuf,
    /// None until the folder could be opened for the first time.
    ledger: Option<Ledger>,
    /// The ledger on disk names files that are not ours any more.
    stale: bool,
    /// The folder has changes that were not synced.
    unsynced: bool,
    /// The node's clock has been as late as this, in seconds since 1970.
    clock: u64,
}

impl Store {
    /// The store in `root/subdir`, which is made when it is needed and is not there. `root` is kubelet's seccomp folder and is
    /// trusted; below it nothing is followed.
    #[must_use]
    pub fn new(root: &Path, subdir: &Path) -> Self {
        Self {
            root: root.to_owned(),
            subdir: subdir.to_owned(),
            ledger: None,
            stale: false,
            unsynced: false,
            clock: 0,
        }
    }

    /// The node's clock has been as late as this, in seconds since 1970. Should it have been put back since, contents that change
    /// now must not seem older than the containers that were created with what was there before.
    pub fn clock_was(&mut self, time: u64) {
        self.clock = self.clock.max(time);
    }

    /// The profiles whose files are ours, as far as is known.
    #[must_use]
    pub fn owned(&self) -> BTreeSet<ProfileName> {
        let names = self.ledger.iter().flat_map(Ledger::names);
        names.cloned().collect()
    }

    /// Whether a container that was created at some moment from the one to the other, in seconds since 1970, may have been created
    /// with something else than what the profile's file holds now.
    #[must_use]
    pub fn is_outdated(&self, name: &ProfileName, created: (u64, u64)) -> bool {
        let entry = self.ledger.as_ref().and_then(|ledger| ledger.get(name));
        entry.is_some_and(|entry| entry.is_outdated(created))
    }

    /// When the profile's file came to hold what it holds instead of something else, in seconds since 1970; none if it never
    /// held anything else.
    #[cfg(test)]
    fn changed(&self, name: &ProfileName) -> Option<u64> {
        self.ledger.as_ref()?.get(name)?.changed
    }

    /// Opens the folder and, the first time, reads the ledger and clears away what a crash may have left.
    ///
    /// The folder is opened anew for each batch, so that one that was removed and made again is found.
    pub fn open(&mut self) -> Result<OwnedFd, StoreError> {
        let folder = folder::open(&self.root, &self.subdir)?;
        if self.ledger.is_none() {
            self.ledger = Some(Ledger::load(&folder)?);
            // Temporary files take space and do no harm.
            if let Err(error) = folder::remove_temporaries(&folder) {
                warn!(
                    error = chain(&error),
                    "temporary files could not be cleared away"
                );
            }
        }
        // Without the ledger our files would be nobody's after a restart.
        let lost = Ledger::is_lost(&folder)?;
        self.stale |= lost
            && self
                .ledger
                .as_ref()
                .is_some_and(|ledger| !ledger.is_empty());
        Ok(folder)
    }

    /// Carries out the edits in order and says what came of each. The ledger is written once before all and once after, the
    /// folder is synced once: a burst of edits costs little more than one.
    pub fn apply(&mut self, edits: &[Edit]) -> Vec<Result<Done, StoreError>> {
        let folder = match self.open() {
            Ok(folder) => folder,
            Err(error) => return edits.iter().map(|_| Err(error.clone())).collect(),
        };
        // First say what will be ours, then write it: a crash in between leaves a name in the ledger and no file, which is
        // harmless. The other way round would leave a file that nobody dares to touch.
        let claims: Vec<_> = edits.iter().map(|edit| self.claim(&folder, edit)).collect();
        let entered = self.enter(&folder, edits, &claims);
        let mut outcomes: Vec<_> = edits
            .iter()
            .zip(&claims)
            .map(|(edit, claim)| match (edit, claim.clone()?) {
                (Edit::Remove(name), _) => self.remove(&folder, name),
                (Edit::Write { name, content, .. }, Claim::Ours) => {
                    write(&folder, name, content, RenameFlags::empty())
                }
                // The bytes are right; the mode may not be.
                (Edit::Write { name, content, .. }, Claim::Adopt) => entered
                    .clone()
                    .and_then(|()| write(&folder, name, content, RenameFlags::empty()))
                    .map(|_| Done::Adopted),
                (Edit::Write { name, content, .. }, Claim::New) => entered
                    .clone()
                    .and_then(|()| write(&folder, name, content, RenameFlags::NOREPLACE)),
                (Edit::Write { name, content, .. }, Claim::TakeOver) => entered
                    .clone()
                    .and_then(|()| write(&folder, name, content, RenameFlags::empty()))
                    .map(|_| Done::TakenOver),
            })
            .collect();
        let changed = |outcome: &Result<Done, _>| {
            matches!(
                outcome,
                Ok(Done::Written | Done::Adopted | Done::TakenOver | Done::Removed)
            )
        };
        self.unsynced |= outcomes.iter().any(changed);
        if self.unsynced {
            match rustix::fs::fsync(&folder) {
                Ok(()) => self.unsynced = false,
                // Nothing of this batch is known to outlive a power cut, nor what an earlier one left unsynced.
                Err(errno) => {
                    for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                        *outcome = Err(StoreError::Io {
                            step: "sync the profiles folder",
                            errno,
                        });
                    }
                }
            }
        }
        self.leave(&folder, edits, &outcomes);
        outcomes
    }

    /// Removes the ledger, which names nothing any more, and the folder, unless somebody else has something in it.
    pub fn dissolve(&mut self) -> Result<(), StoreError> {
        let folder = folder::open(&self.root, &self.subdir)?;
        match rustix::fs::unlinkat(&folder, ledger::FILE, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return at("remove the list of the operator's own files")(errno),
        }
        match rustix::fs::rmdir(self.root.join(&self.subdir)) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(errno) => at("remove the folder")(errno),
        }
    }

    fn is_ours(&self, name: &ProfileName) -> bool {
        self.ledger
            .as_ref()
            .is_some_and(|ledger| ledger.get(name).is_some())
    }

    /// Whose the file of an edit is.
    fn claim(&self, folder: &OwnedFd, edit: &Edit) -> Result<Claim, StoreError> {
        let Edit::Write {
            name,
            content,
            adopt,
        } = edit
        else {
            return Ok(Claim::Ours);
        };
        if self.is_ours(name) {
            return Ok(Claim::Ours);
        }
        match file::open(folder, &name.file_name())? {
            Found::Nothing => Ok(Claim::New),
            Found::File(file) if file::holds(&file, content) => Ok(Claim::Adopt),
            Found::File(_) | Found::Unreadable(_) if *adopt => Ok(Claim::TakeOver),
            Found::File(_) | Found::Unreadable(_) => Err(StoreError::Conflict),
            Found::Other(kind) => Err(StoreError::Obstacle(kind)),
        }
    }

    /// Puts the names that become ours into the ledger, all at once or none.
    fn enter(
        &mut self,
        folder: &OwnedFd,
        edits: &[Edit],
        claims: &[Result<Claim, StoreError>],
    ) -> Result<(), StoreError> {
        let mut ledger = self.ledger.clone().unwrap_or_default();
        let mut news = false;
        for (edit, claim) in edits.iter().zip(claims) {
            let (digest, changed) = match (edit, claim) {
                // Where nothing was, nobody can have read anything else.
                (Edit::Write { content, .. }, Ok(Claim::New | Claim::Adopt)) => {
                    (Some(content.digest()), None)
                }
                (Edit::Write { .. }, Ok(Claim::TakeOver)) => (None, Some(now(self.clock))),
                _ => continue,
            };
            let entry = LedgerEntry {
                digest,
                changed,
                earlier: Vec::new(),
            };
            news |= ledger.set(edit.name(), entry);
        }
        if news {
            ledger.save(folder)?;
            self.stale = false;
            self.ledger = Some(ledger);
        }
        Ok(())
    }

    /// Notes what our files hold from now on, and takes names out of the ledger that turned out not to be ours or whose file
    /// is gone. Should the disk not take the ledger, it is offered again with every later batch: a name must not stay in it
    /// until somebody else uses it.
    ///
    /// That a content is new is noted after it was written. A crash in between makes it look newer than it is, and containers
    /// older than they are; the other way round would pass off old ones as new.
    fn leave(&mut self, folder: &OwnedFd, edits: &[Edit], outcomes: &[Result<Done, StoreError>]) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        for (edit, outcome) in edits.iter().zip(outcomes) {
            let (name, held) = match (edit, outcome) {
                (Edit::Remove(name), Ok(_)) => (name, None),
                (Edit::Write { name, .. }, Err(StoreError::Conflict | StoreError::Obstacle(_))) => {
                    (name, None)
                }
                (Edit::Write { name, content, .. }, Ok(_)) => (name, Some(content.digest())),
                (_, Err(_)) => continue,
            };
            self.stale |= match (held, ledger.get(name)) {
                (None, _) => ledger.drop(name),
                (Some(held), Some(known)) if known.digest != Some(held) => {
                    // A ledger of an earlier version does not say what a file held; what was right was so before.
                    let as_before =
                        known.digest.is_none() && matches!(outcome, Ok(Done::Unchanged));
                    let entry = if as_before {
                        LedgerEntry {
                            digest: Some(held),
                            ..known.clone()
                        }
                    } else {
                        known.changed_to(held, now(self.clock))
                    };
                    ledger.set(name, entry)
                }
                _ => false,
            };
        }
        if self.stale {
            match ledger.save(folder) {
                Ok(()) => self.stale = false,
                Err(error) => {
                    warn!(
                        error = chain(&error),
                        "the ledger could not be brought up to date; it will be tried again"
                    );
                }
            }
        }
    }

    /// Removes our file of that name. What is not ours is left alone without a word: nobody asked for it to be ours.
    fn remove(&self, folder: &OwnedFd, name: &ProfileName) -> Result<Done, StoreError> {
        if !self.is_ours(name) {
            return Ok(Done::Unchanged);
        }
        match rustix::fs::unlinkat(folder, name.file_name(), AtFlags::empty()) {
            Ok(()) => Ok(Done::Removed),
            // Somebody made a folder there: that is not what we wrote.
            Err(Errno::NOENT | Errno::ISDIR) => Ok(Done::Unchanged),
            Err(errno) => at("remove the file")(errno),
        }
    }
}

/// In seconds since 1970, and no earlier than this.
fn now(no_earlier: u64) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs()).max(no_earlier)
}

/// Whose a file is that should be written.
#[derive(Clone, Copy)]
enum Claim {
    /// The ledger names it.
    Ours,
    /// Nothing is there.
    New,
    /// What should be there is there.
    Adopt,
    /// Somebody else's file is there, and may be overwritten.
    TakeOver,
}

/// Puts `content` at the profile's name, unless it is there already.
fn write(
    folder: &OwnedFd,
    name: &ProfileName,
    content: &Content,
    flags: RenameFlags,
) -> Result<Done, StoreError> {
    let file_name = name.file_name();
    match file::open(folder, &file_name)? {
        Found::File(file) if file::has_our_mode(&file) && file::holds(&file, content) => {
            return Ok(Done::Unchanged);
        }
        // The one thing that cannot be replaced.
        Found::Other(kind @ "directory") => return Err(StoreError::Obstacle(kind)),
        _ => {}
    }
    let bytes = content.bytes().ok_or(StoreError::Unfaithful)?;
    file::publish(folder, &file_name, &bytes, flags)?;
    Ok(Done::Written)
}
