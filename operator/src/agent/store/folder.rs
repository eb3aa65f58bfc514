//! The folder of profiles: opened without following anything below kubelet's seccomp folder, made where it is missing, and cleared
//! of what a crash left.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::error::{StoreError, at};
use super::file::{TEMPORARY, in_words};

/// Opens `root/subdir`, and makes what is missing of `subdir`. Below `root` nothing is followed.
pub fn open(root: &Path, subdir: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let mut folder = rustix::fs::openat(CWD, root, flags, Mode::empty())
        .or_else(at("open the seccomp folder"))?;
    if rustix::fs::fstat(&folder)
        .or_else(at("look at the seccomp folder"))?
        .st_nlink
        == 0
    {
        return Err(StoreError::Gone);
    }
    for part in subdir {
        match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o755)) {
            Ok(()) => rustix::fs::fsync(&folder).or_else(at("sync the seccomp folder"))?,
            Err(Errno::EXIST) => {}
            Err(errno) => return at("make the profiles folder")(errno),
        }
        folder = match rustix::fs::openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(part) => part,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(StoreError::NoFolder(kind(&folder, part)));
            }
            Err(errno) => return at("open the profiles folder")(errno),
        };
    }
    Ok(folder)
}

/// What is where a folder should be.
fn kind(folder: &OwnedFd, name: &OsStr) -> &'static str {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_or("file", |stat| in_words(&stat))
}

/// Removes what earlier processes left of files that they had not published yet.
pub fn remove_temporaries(folder: &OwnedFd) -> Result<(), StoreError> {
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
