//! Notices that the node has another seccomp folder by now than the one that is mounted here.
//!
//! A bind mount keeps the folder that it was made of. Whoever renames that folder on the node, or one above it, takes the mount along: the
//! agent would go on writing where kubelet does not look. The kernel works out the root of a mount (`/proc/self/mountinfo`) from where the
//! folder lies at present, so a rename shows there, and a removal too. What does not show is what hides the folder without moving it:
//! another file system that is mounted over it, or a symbolic link on the way that leads elsewhere now.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The kernel's list of this process's mounts.
const MOUNTS: &str = "/proc/self/mountinfo";
/// What the kernel puts behind the root of a mount whose folder was removed.
const DELETED: &str = "//deleted";

/// The mount of kubelet's seccomp folder.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    /// Where the folder lay on its file system to begin with; none where `path` is no mount, and nothing can be noticed.
    root: Option<String>,
}

impl Mount {
    /// The mount at this path, as it is now: the container runtime has just made it of the folder that kubelet uses.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            root: root(path),
        }
    }

    /// What has become of the folder, if the node has it elsewhere by now, or nowhere.
    pub fn displaced(&self) -> Option<Displaced> {
        displaced(self.root.as_deref()?, &root(&self.path)?)
    }
}

/// What has become of the folder that is mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Displaced {
    /// It has another name now, on its file system.
    Renamed {
        /// The name that it had.
        from: String,
        /// The name that it has.
        to: String,
    },
    /// It was removed.
    Removed,
}

impl fmt::Display for Displaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Renamed { from, to } => write!(
                f,
                "kubelet's seccomp folder was renamed on the node ({from} is {to} now, on its file system)"
            ),
            Self::Removed => f.write_str("kubelet's seccomp folder was removed on the node"),
        }
    }
}

fn root(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string(MOUNTS).ok()?;
    root_in(&mounts, path).map(str::to_owned)
}

/// The root of what is mounted at `path`; of several mounts the last, which hides the others.
fn root_in<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut roots = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (Path::new(point) == path).then_some(root)
    });
    roots.next_back()
}

fn displaced(was: &str, is: &str) -> Option<Displaced> {
    if is.ends_with(DELETED) {
        Some(Displaced::Removed)
    } else if was == is {
        None
    } else {
        Some(Displaced::Renamed {
            from: was.to_owned(),
            to: is.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a container has it: its root, two mounts on one another, the kernel's own.
    const LINES: &str = "\
        63 43 0:71 / / ro,relatime - overlay overlay ro,lowerdir=/a\n\
        64 63 254:0 /var/lib/kubelet/seccomp /host/seccomp rw,relatime - ext4 /dev/vda rw,discard\n\
        65 63 254:0 /elsewhere /host/seccomp rw,relatime master:3 - ext4 /dev/vda rw,discard\n\
        66 63 0:74 / /proc rw,nosuid - proc proc rw\n";

    #[test]
    fn the_root_of_a_mount_is_that_of_the_topmost_one_at_its_path() {
        let root = |path: &str| root_in(LINES, Path::new(path));
        assert_eq!(root("/host/seccomp"), Some("/elsewhere"));
        assert_eq!(root("/proc"), Some("/"));
        assert_eq!(root("/host"), None);
    }

    #[test]
    fn a_folder_that_was_renamed_or_removed_is_displaced_and_one_that_was_not_is_not() {
        let was = "/var/lib/kubelet/seccomp";
        let renamed = |to: &str| {
            Some(Displaced::Renamed {
                from: was.to_owned(),
                to: to.to_owned(),
            })
        };
        for (is, expected) in [
            (was, None),
            (
                "/var/lib/kubelet/seccomp.old",
                renamed("/var/lib/kubelet/seccomp.old"),
            ),
            (
                "/var/lib/kubelet.old/seccomp",
                renamed("/var/lib/kubelet.old/seccomp"),
            ),
            (
                "/var/lib/kubelet/seccomp//deleted",
                Some(Displaced::Removed),
            ),
            (
                "/var/lib/kubelet/seccomp.old//deleted",
                Some(Displaced::Removed),
            ),
        ] {
            assert_eq!(displaced(was, is), expected, "{is}");
        }
    }

    #[test]
    fn the_mounts_of_this_process_are_read_and_a_path_that_is_none_is_never_displaced() {
        assert_eq!(root(Path::new("/proc")).as_deref(), Some("/"));
        assert_eq!(Mount::new(Path::new("/proc")).displaced(), None);
        let folder = tempfile::tempdir().unwrap();
        let mount = Mount::new(folder.path());
        folder.close().unwrap();
        assert_eq!(mount.displaced(), None);
    }
}
