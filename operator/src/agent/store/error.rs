//! Why an edit of the store did not succeed, in sentences that say what somebody with access to the node can do about it.

use rustix::io::Errno;

use seccomp_operator_api::ADOPT_ANNOTATION;

/// Why an [`Edit`](super::Edit) did not succeed. The file is as it was before.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A file that is not ours has the name.
    #[error(
        "a file that the operator did not put there is in the way, and pods that start on this node run under it, not under this profile; remove it, rename the profile, or annotate the profile with {ADOPT_ANNOTATION}=true to have the file overwritten"
    )]
    Conflict,
    /// Something else than a file has the name.
    #[error(
        "a {0} that the operator did not put there is in the way, and {effect}; remove it or rename the profile",
        effect = effect(.0)
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

/// What the runtime, which follows links, makes of something that is no file.
const LINK: &str = "symbolic link";

fn effect(kind: &str) -> &'static str {
    if kind == LINK {
        "pods that start on this node run under what it leads to, not under this profile"
    } else {
        "pods that use this profile do not start on this node"
    }
}

impl StoreError {
    /// Whether what is in the way is read by the runtime in place of our file.
    pub fn is_foreign_file(&self) -> bool {
        matches!(self, Self::Conflict | Self::Obstacle(LINK))
    }
}

/// Names the step that a system call belongs to.
pub fn at<T>(step: &'static str) -> impl FnOnce(Errno) -> Result<T, StoreError> {
    move |errno| Err(StoreError::Io { step, errno })
}

/// The same for one that the standard library made.
pub fn io(step: &'static str) -> impl FnOnce(std::io::Error) -> StoreError {
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
