//! Notices that somebody else changed the profiles folder, within milliseconds (inotify).
//!
//! It says which names were touched, not by whom: the agent's own writes show up as well, and comparing a file with what it
//! should hold is the store's work anyway.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Everything that can make a file other than it was.
const FLAGS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// At most so many events are taken at once: whoever makes them faster than they can be taken must not keep the agent from its
/// other work.
const MAX_EVENTS: usize = 8192;

/// What was touched.
#[derive(Debug, PartialEq, Eq)]
pub enum Touched {
    /// These file names.
    Files(BTreeSet<String>),
    /// The folder itself, or more than the kernel could tell of: everything has to be looked at.
    Everything,
}

/// A watch of one folder at a time.
#[derive(Debug)]
pub struct FolderWatch {
    inotify: AsyncFd<OwnedFd>,
    /// The watched folder's descriptor in the inotify instance.
    watched: Option<i32>,
}

impl FolderWatch {
    /// Not watching anything yet. Must be called inside a tokio runtime.
    pub fn new() -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // Deprecated because a type could give another descriptor each time it is asked. An `OwnedFd` does not, and the
        // replacement is unsafe.
        #[allow(deprecated)]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Self {
            inotify,
            watched: None,
        })
    }

    /// Whether a folder is watched. One that was removed or moved away is not any more.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.watched.is_some()
    }

    /// Watches this folder from now on.
    pub fn watch(&mut self, folder: impl AsFd) -> rustix::io::Result<()> {
        // By its descriptor: a path could lead elsewhere by now.
        let path = format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd());
        self.watched = Some(inotify::add_watch(self.inotify.get_ref(), path, FLAGS)?);
        Ok(())
    }

    /// Waits until something is touched, and takes what was touched until now, or the first part of it.
    pub async fn touched(&mut self) -> std::io::Result<Touched> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let mut names = BTreeSet::new();
            let mut everything = false;
            let mut buffer = [MaybeUninit::uninit(); 16 << 10];
            let mut reader = Reader::new(self.inotify.get_ref(), &mut buffer);
            let mut moved = false;
            let mut taken = 0;
            // What is in the buffer is not in the kernel any more.
            while taken < MAX_EVENTS || !reader.is_buffer_empty() {
                taken += 1;
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::AGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                };
                let of_the_folder = ReadFlags::QUEUE_OVERFLOW
                    | ReadFlags::DELETE_SELF
                    | ReadFlags::MOVE_SELF
                    | ReadFlags::UNMOUNT;
                // The end of a watch that was given up says nothing of the present one.
                let ours = Some(event.wd()) == self.watched;
                if ours && event.events().contains(ReadFlags::IGNORED) {
                    self.watched = None;
                    everything = true;
                }
                moved |= ours && event.events().contains(ReadFlags::MOVE_SELF);
                everything |= event.events().intersects(of_the_folder);
                names.extend(
                    event
                        .file_name()
                        .and_then(|name| Some(name.to_str().ok()?.to_owned())),
                );
            }
            if moved && let Some(moved) = self.watched.take() {
                // What happens where it is now does not concern us.
                let _ = inotify::remove_watch(self.inotify.get_ref(), moved);
            }
            if everything {
                return Ok(Touched::Everything);
            }
            if !names.is_empty() {
                return Ok(Touched::Files(names));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;
    use tokio::time::timeout;

    async fn touched(watch: &mut FolderWatch) -> Touched {
        timeout(Duration::from_secs(5), watch.touched())
            .await
            .unwrap()
            .unwrap()
    }

    fn watched() -> (tempfile::TempDir, FolderWatch) {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new().unwrap();
        watch.watch(File::open(folder.path()).unwrap()).unwrap();
        (folder, watch)
    }

    #[tokio::test]
    async fn files_that_are_written_removed_or_replaced_are_named() {
        let (folder, mut watch) = watched();
        let path = |name: &str| folder.path().join(name);
        let named = |name: &str| Touched::Files(BTreeSet::from([name.to_owned()]));
        fs::write(path("a"), "1").unwrap();
        assert_eq!(touched(&mut watch).await, named("a"));
        fs::remove_file(path("a")).unwrap();
        assert_eq!(touched(&mut watch).await, named("a"));
        let elsewhere = tempfile::NamedTempFile::new_in(folder.path().parent().unwrap()).unwrap();
        fs::rename(elsewhere.path(), path("b")).unwrap();
        assert_eq!(touched(&mut watch).await, named("b"));
    }

    #[tokio::test]
    async fn a_folder_that_is_removed_is_noticed_and_not_watched_any_more() {
        let (folder, mut watch) = watched();
        folder.close().unwrap();
        assert_eq!(touched(&mut watch).await, Touched::Everything);
        assert!(!watch.is_watching());
    }

    #[tokio::test]
    async fn a_folder_that_is_moved_away_is_noticed_and_not_watched_any_more() {
        let (folder, mut watch) = watched();
        let elsewhere = tempfile::tempdir().unwrap();
        let away = elsewhere.path().join("away");
        fs::rename(folder.path(), &away).unwrap();
        assert_eq!(touched(&mut watch).await, Touched::Everything);
        assert!(!watch.is_watching());
        fs::create_dir(folder.path()).unwrap();
        watch.watch(File::open(folder.path()).unwrap()).unwrap();
        fs::write(away.join("away"), "1").unwrap();
        fs::write(folder.path().join("here"), "1").unwrap();
        let here = Touched::Files(BTreeSet::from(["here".to_owned()]));
        assert_eq!(touched(&mut watch).await, here);
        assert!(watch.is_watching());
    }

    #[tokio::test]
    async fn a_burst_beyond_the_buffer_is_taken_whole() {
        let (folder, mut watch) = watched();
        for n in 0..2000 {
            fs::write(folder.path().join(format!("a-rather-long-name-{n}")), "1").unwrap();
        }
        let Touched::Files(names) = touched(&mut watch).await else {
            panic!("everything")
        };
        assert_eq!(names.len(), 2000);
    }

    #[tokio::test]
    async fn a_storm_is_taken_piece_by_piece_and_one_beyond_what_the_kernel_keeps_is_everything() {
        let (folder, mut watch) = watched();
        let permissions = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        // Of different lengths, so that the last events share a buffer with earlier ones.
        let names = ["a", "a-rather-longer-name"];
        let [a, b] = names.map(|name| folder.path().join(name));
        fs::write(&a, "1").unwrap();
        fs::write(&b, "1").unwrap();
        touched(&mut watch).await;
        // One event each; the same one twice in a row would be one.
        let storm = |events: usize| {
            for n in 0..events {
                let file = if n % 2 == 0 { &a } else { &b };
                fs::set_permissions(file, permissions(0o644)).unwrap();
            }
        };
        let both = Touched::Files(names.map(String::from).into());
        storm(2 * MAX_EVENTS - 2);
        assert_eq!(touched(&mut watch).await, both);
        assert_eq!(touched(&mut watch).await, both, "the rest");
        let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        storm(kept.trim().parse::<usize>().unwrap() + 1);
        while touched(&mut watch).await != Touched::Everything {}
        assert!(watch.is_watching());
    }
}
