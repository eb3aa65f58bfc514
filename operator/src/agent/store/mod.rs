//! The node's file store: profiles as files, written whole or not at all, and a ledger of which are ours.
//!
//! Every access is relative to the descriptor of one folder and follows no symbolic link. A file is written to a temporary
//! name in the same folder, synced, read back and renamed into place; then the folder is synced. Whatever happens between
//! two steps, a reader sees the old file whole or the new file whole. A file that the ledger does not name is somebody
//! else's: it is never overwritten and never removed.
//!
//! It knows bytes and names, and nothing of Kubernetes or of what a profile means.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use tracing::warn;

use super::content::{Content, Digest, Digesting};
use super::ledger::{self, Ledger};
use kube_support::error::chain;
use seccomp_operator_api::{ADOPT_ANNOTATION, ProfileName};

/// Temporary files begin so; what is left of them after a crash is removed at the next start.
const TEMPORARY: &str = ".seccomp-operator.tmp.";
/// The ledger's file, beside the profiles.
const LEDGER: &str = ".seccomp-operator.ledger.json";
/// Runtimes read the files as root; whoever else looks after a node may as well.
const MODE: Mode = Mode::from_raw_mode(0o644);
/// No ledger is larger than this; what is, is not one.
const LEDGER_MAX: u64 = 16 << 20;

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

/// Why an [`Edit`] did not succeed. The file is as it was before.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A file that is not ours has the name.
    #[error(
        "a file that the operator did not put there is in the way; remove it, rename the profile, or annotate the profile with {ADOPT_ANNOTATION}=true to have the file overwritten"
    )]
    Conflict,
    /// Something else than a file has the name.
    #[error(
        "a {0} that the operator did not put there is in the way; remove it or rename the profile"
    )]
    Obstacle(&'static str),
    /// The file system said no.
    #[error("{step}: {text}{remedy}", text = std::io::Error::from(*errno), remedy = remedy(*errno))]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
    /// Something else than a folder has the name of the folder of profiles, or of one that leads there.
    #[error(
        "a {0} is where the profiles folder should be, and is not followed; remove it, and the agent makes the folder"
    )]
    NoFolder(&'static str),
    /// The ledger could not be read or written.
    #[error("the list of the operator's own files: {0}")]
    Ledger(Box<StoreError>),
    /// The folder that is mounted here was removed, and one of its name may have been made anew; it is not to be seen from here.
    #[error("kubelet's seccomp folder was removed under its mount")]
    Gone,
    /// What was read back is not what was written.
    #[error(
        "the file that was written reads back different; the disk or the file system is faulty"
    )]
    Unfaithful,
}

/// Names the step that a system call belongs to.
fn at<T>(step: &'static str) -> impl FnOnce(Errno) -> Result<T, StoreError> {
    move |errno| Err(StoreError::Io { step, errno })
}

fn io(step: &'static str) -> impl FnOnce(std::io::Error) -> StoreError {
    move |error| StoreError::Io {
        step,
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    }
}

/// What somebody with access to the node can do about it.
fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSPC | Errno::DQUOT => {
            "; make room on the disk of kubelet's folder: there are no free blocks (df) or no free inodes (df -i)"
        }
        Errno::ROFS => {
            "; the file system is mounted read-only, or became so because its disk failed (dmesg)"
        }
        Errno::IO => "; the disk or the file system is faulty (dmesg)",
        Errno::PERM => "; the file or its folder is immutable, perhaps (lsattr, chattr -i)",
        Errno::ACCESS => {
            "; the folder must belong to root with mode 0755, and SELinux, where it is enforced, must let the agent write there (agent.seLinuxOptions)"
        }
        _ => "",
    }
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

    /// When the profile's file came to hold what it holds instead of something else, in seconds since 1970; none if it never
    /// held anything else.
    #[must_use]
    pub fn changed(&self, name: &ProfileName) -> Option<u64> {
        self.ledger.as_ref()?.get(name)?.changed
    }

    /// Opens the folder and, the first time, reads the ledger and clears away what a crash may have left.
    ///
    /// The folder is opened anew for each batch, so that one that was removed and made again is found.
    pub fn open(&mut self) -> Result<OwnedFd, StoreError> {
        let folder = self.folder()?;
        if self.ledger.is_none() {
            self.ledger = Some(match open(&folder, LEDGER).map_err(ledgers)? {
                Found::File(file) => read_ledger(file).map_err(ledgers)?,
                Found::Unreadable(errno) => {
                    return at("open the file")(errno).map_err(ledgers);
                }
                Found::Nothing | Found::Other(_) => Ledger::default(),
            });
            // Temporary files take space and do no harm.
            if let Err(error) = remove_temporaries(&folder) {
                warn!(
                    error = chain(&error),
                    "temporary files could not be cleared away"
                );
            }
        }
        // Without the ledger our files would be nobody's after a restart.
        let lost = matches!(
            open(&folder, LEDGER).map_err(ledgers)?,
            Found::Nothing | Found::Other(_)
        );
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

    fn folder(&self) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let mut folder = rustix::fs::openat(CWD, &self.root, flags, Mode::empty())
            .or_else(at("open the seccomp folder"))?;
        if rustix::fs::fstat(&folder)
            .or_else(at("look at the seccomp folder"))?
            .st_nlink
            == 0
        {
            return Err(StoreError::Gone);
        }
        for part in &self.subdir {
            match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => rustix::fs::fsync(&folder).or_else(at("sync the seccomp folder"))?,
                Err(Errno::EXIST) => {}
                Err(errno) => return at("make the profiles folder")(errno),
            }
            folder =
                match rustix::fs::openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty()) {
                    Ok(part) => part,
                    Err(Errno::NOTDIR | Errno::LOOP) => {
                        return Err(StoreError::NoFolder(kind(&folder, part)));
                    }
                    Err(errno) => return at("open the profiles folder")(errno),
                };
        }
        Ok(folder)
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
        match open(folder, &name.file_name())? {
            Found::Nothing => Ok(Claim::New),
            Found::File(file) if holds(&file, content) => Ok(Claim::Adopt),
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
            news |= ledger.set(edit.name(), ledger::Entry { digest, changed });
        }
        if news {
            write_ledger(folder, &ledger)?;
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
                    let changed = if as_before {
                        known.changed
                    } else {
                        Some(now(self.clock))
                    };
                    let digest = Some(held);
                    ledger.set(name, ledger::Entry { digest, changed })
                }
                _ => false,
            };
        }
        if self.stale {
            match write_ledger(folder, ledger) {
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

/// What is at a name.
enum Found {
    Nothing,
    /// A regular file, open for reading.
    File(File),
    /// A regular file that the kernel does not let us read.
    Unreadable(Errno),
    /// Something else, in words.
    Other(&'static str),
}

/// Opens what is at a name, without following it.
fn open(folder: &OwnedFd, name: &str) -> Result<Found, StoreError> {
    let step = "look at the file";
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        // To open a device or a pipe would already do something.
        Ok(stat) if !is_regular(&stat) => return Ok(Found::Other(in_words(&stat))),
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(errno) => return at(step)(errno),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(Errno::LOOP) => return Ok(Found::Other("symbolic link")),
        Err(errno) => return Ok(Found::Unreadable(errno)),
    };
    // It may be another one than a moment ago.
    let stat = rustix::fs::fstat(&file).or_else(at(step))?;
    if is_regular(&stat) {
        Ok(Found::File(file.into()))
    } else {
        Ok(Found::Other(in_words(&stat)))
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// What something is that is not a regular file.
fn in_words(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Symlink => "symbolic link",
        FileType::Directory => "directory",
        _ => "special file",
    }
}

/// What is where a folder should be.
fn kind(folder: &OwnedFd, name: &OsStr) -> &'static str {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_or("file", |stat| in_words(&stat))
}

/// Whether a file holds exactly this. One that cannot be read does not.
fn holds(file: &File, content: &Content) -> bool {
    matches!(digest(file, content.length()), Ok(Some(digest)) if digest == content.digest())
}

/// Whether nobody but its owner may write the file, and everybody may read it.
fn has_our_mode(file: &File) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode) == MODE)
}

/// The digest of a file that has so many bytes; none if it has more or fewer. Reads no more than that, and one byte, a piece at
/// a time.
fn digest(file: &File, length: usize) -> Result<Option<Digest>, StoreError> {
    let mut file = file.take((length as u64).saturating_add(1));
    let mut digesting = Digesting::default();
    let (mut piece, mut read) = ([0; 16 << 10], 0);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => {
                read += n;
                digesting.update(piece.get(..n).unwrap_or_default());
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io("read the file back")(error)),
        }
    }
    Ok((read == length).then(|| digesting.finish()))
}

fn read_ledger(file: File) -> Result<Ledger, StoreError> {
    let mut bytes = Vec::new();
    let mut file = file.take(LEDGER_MAX);
    file.read_to_end(&mut bytes).map_err(io("read the file"))?;
    Ok(Ledger::parse(&bytes))
}

/// Puts `content` at the profile's name, unless it is there already.
fn write(
    folder: &OwnedFd,
    name: &ProfileName,
    content: &Content,
    flags: RenameFlags,
) -> Result<Done, StoreError> {
    let file_name = name.file_name();
    match open(folder, &file_name)? {
        Found::File(file) if has_our_mode(&file) && holds(&file, content) => {
            return Ok(Done::Unchanged);
        }
        // The one thing that cannot be replaced.
        Found::Other(kind @ "directory") => return Err(StoreError::Obstacle(kind)),
        _ => {}
    }
    let bytes = content.bytes().ok_or(StoreError::Unfaithful)?;
    publish(folder, &file_name, &bytes, flags)?;
    Ok(Done::Written)
}

fn write_ledger(folder: &OwnedFd, ledger: &Ledger) -> Result<(), StoreError> {
    publish(folder, LEDGER, &ledger.to_bytes(), RenameFlags::empty())
        .and_then(|()| rustix::fs::fsync(folder).or_else(at("sync the profiles folder")))
        .map_err(ledgers)
}

fn ledgers(error: StoreError) -> StoreError {
    StoreError::Ledger(Box::new(error))
}

/// Temporary file, sync, read back, rename. The temporary file does not outlive a failure.
fn publish(
    folder: &OwnedFd,
    name: &str,
    content: &[u8],
    flags: RenameFlags,
) -> Result<(), StoreError> {
    // No other process should be here; a name that nobody can foresee costs nothing.
    let temporary = format!("{TEMPORARY}{:016x}", RandomState::new().hash_one(name));
    let published = fill(folder, &temporary, content).and_then(|()| {
        match put_in_place(folder, &temporary, name, flags) {
            Ok(()) => Ok(()),
            // Somebody put a file there since we looked.
            Err(Errno::EXIST) => Err(StoreError::Conflict),
            Err(errno) => at("put the file in place")(errno),
        }
    });
    if published.is_err() {
        // Best effort: what is left is removed at the next start.
        let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
    }
    published
}

/// Renames. Some file systems (NFS, ZFS before 2.2) know no flags; a link refuses to replace just as well.
fn put_in_place(
    folder: &OwnedFd,
    temporary: &str,
    name: &str,
    flags: RenameFlags,
) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(folder, temporary, folder, name, flags) {
        Err(Errno::INVAL | Errno::NOSYS) if flags == RenameFlags::NOREPLACE => {
            rustix::fs::linkat(folder, temporary, folder, name, AtFlags::empty())?;
            rustix::fs::unlinkat(folder, temporary, AtFlags::empty())
        }
        renamed => renamed,
    }
}

fn fill(folder: &OwnedFd, temporary: &str, content: &[u8]) -> Result<(), StoreError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(folder, temporary, flags, MODE).or_else(at("make a temporary file"))?;
    // The umask had its say above.
    rustix::fs::fchmod(&file, MODE).or_else(at("set the file's mode"))?;
    let mut file = File::from(file);
    file.write_all(content).map_err(io("write the file"))?;
    file.sync_all().map_err(io("sync the file"))?;
    file.rewind().map_err(io("read the file back"))?;
    if digest(&file, content.len())? == Some(Digest::of(content)) {
        Ok(())
    } else {
        Err(StoreError::Unfaithful)
    }
}

fn remove_temporaries(folder: &OwnedFd) -> Result<(), StoreError> {
    let step = "clear away temporary files";
    for found in Dir::read_from(folder).or_else(at(step))? {
        let found = found.or_else(at(step))?;
        if found
            .file_name()
            .to_bytes()
            .starts_with(TEMPORARY.as_bytes())
        {
            rustix::fs::unlinkat(folder, found.file_name(), AtFlags::empty()).or_else(at(step))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

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
                .filter(|n| n != LEDGER)
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
        fs::write(node.path(LEDGER), "{ half").unwrap();
        node.reopen();
        assert!(node.store.owned().is_empty());
        assert_eq!(node.write("a", "1").unwrap(), Done::Adopted);
    }

    #[test]
    fn a_ledger_that_somebody_removes_is_written_again() {
        let mut node = Node::new();
        node.write("a", "1").unwrap();
        fs::remove_file(node.path(LEDGER)).unwrap();
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
}
