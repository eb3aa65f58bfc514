//! One file of the store: what is at a name, and how new bytes get there whole or not at all.
//!
//! It knows one folder's descriptor, names and bytes; whose a file is, the caller knows.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::error::{StoreError, at, io};
use crate::agent::content::{Content, Digest, Hasher};

/// Temporary files begin so; what is left of them after a crash is removed at the next start.
pub const TEMPORARY: &str = ".seccomp-operator.tmp.";
/// Runtimes read the files as root; whoever else looks after a node may as well.
const MODE: Mode = Mode::from_raw_mode(0o644);

/// What is at a name.
pub enum Found {
    Nothing,
    /// A regular file, open for reading.
    File(File),
    /// A regular file that the kernel does not let us read.
    Unreadable(Errno),
    /// Something else, in words.
    Other(&'static str),
}

/// Opens what is at a name, without following it.
pub fn open(folder: &OwnedFd, name: &str) -> Result<Found, StoreError> {
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
pub fn in_words(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Symlink => "symbolic link",
        FileType::Directory => "directory",
        _ => "special file",
    }
}

/// Whether a file holds exactly this. One that cannot be read does not.
pub fn holds(file: &File, content: &Content) -> bool {
    matches!(digest(file, content.length()), Ok(Some(digest)) if digest == content.digest())
}

/// Whether nobody but its owner may write the file, and everybody may read it.
pub fn has_our_mode(file: &File) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode) == MODE)
}

/// The digest of a file that has so many bytes; none if it has more or fewer. Reads no more than that, and one byte, a piece at
/// a time.
fn digest(file: &File, length: usize) -> Result<Option<Digest>, StoreError> {
    let mut file = file.take((length as u64).saturating_add(1));
    let mut hasher = Hasher::default();
    let (mut piece, mut read) = ([0; 16 << 10], 0);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => {
                read += n;
                hasher.update(piece.get(..n).unwrap_or_default());
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io("read the file back")(error)),
        }
    }
    Ok((read == length).then(|| hasher.finish()))
}

/// Puts bytes at a name: temporary file, sync, read back, rename. The temporary file does not outlive a failure.
pub fn publish(
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
    if digest(&file, content.len())? == Some(Digest::from_content(content)) {
        Ok(())
    } else {
        Err(StoreError::Unfaithful)
    }
}
