//! Which container a process belongs to, as `/proc` says it, and what it has said of processes that are gone.
//!
//! A process that is killed is gone soon after its record was written, and what waits for it may be quicker than a reader. So what was read is kept for a
//! while, and all processes are looked at every two seconds ([`Processes::meet`]): one that has lived that long is known when it is killed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cgroup::{Container, Origin};

/// So many processes are kept; a node that has more loses the memory of those that were seen first.
const MAX_KEPT: usize = 32 << 10;
/// What was read of a process so lately is not read again. A number that another process has by now took longer to come around.
const FRESH: Duration = Duration::from_secs(1);
/// What was read so long ago may be of another process.
const OLD: Duration = Duration::from_secs(10);
/// As much is read of a process's cgroups.
const MAX_TEXT: usize = 16 << 10;

/// Where a process belongs; none for the host.
pub type Place = Option<Arc<Container>>;

#[derive(Debug)]
struct Kept {
    place: Place,
    at: Instant,
}

/// See the module's head.
#[derive(Debug)]
pub struct Processes {
    proc: PathBuf,
    kept: HashMap<u32, Kept>,
    /// One of each, however many processes it has.
    containers: HashSet<Arc<Container>>,
    text: Vec<u8>,
}

impl Processes {
    /// `proc` is where the machine's processes are: `/proc`.
    #[must_use]
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
            kept: HashMap::new(),
            containers: HashSet::new(),
            text: vec![0; MAX_TEXT],
        }
    }

    /// Where a process belongs, or nothing if it cannot be told any more.
    pub fn place(&mut self, pid: u32, now: Instant) -> Option<Place> {
        let age = |kept: &Kept| now.saturating_duration_since(kept.at);
        let kept = self.kept.get(&pid).filter(|kept| age(kept) < OLD);
        if let Some(kept) = kept.filter(|kept| age(kept) < FRESH) {
            return Some(kept.place.clone());
        }
        let kept = kept.map(|kept| kept.place.clone());
        match self.read(pid) {
            Some(place) => {
                self.keep(pid, place.clone(), now);
                Some(place)
            }
            None => kept,
        }
    }

    /// There is a process: it is read where it belongs, unless that is known.
    pub fn meet(&mut self, pid: u32, now: Instant) {
        match self.kept.get_mut(&pid) {
            Some(kept) => kept.at = now,
            None => {
                if let Some(place) = self.read(pid) {
                    self.keep(pid, place, now);
                }
            }
        }
    }

    /// Forgets what was not met for a while.
    pub fn forget(&mut self, now: Instant) {
        self.kept
            .retain(|_, kept| now.saturating_duration_since(kept.at) < OLD);
        self.containers
            .retain(|container| Arc::strong_count(container) > 1);
    }

    fn keep(&mut self, pid: u32, place: Place, now: Instant) {
        if self.kept.len() >= MAX_KEPT && !self.kept.contains_key(&pid) {
            self.kept
                .retain(|_, kept| now.saturating_duration_since(kept.at) < FRESH);
            if self.kept.len() >= MAX_KEPT {
                self.kept.clear();
            }
        }
        self.kept.insert(pid, Kept { place, at: now });
    }

    fn read(&mut self, pid: u32) -> Option<Place> {
        let mut file = File::open(self.proc.join(format!("{pid}/cgroup"))).ok()?;
        let mut length = 0;
        while length < self.text.len() {
            match file.read(&mut self.text[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(_) => return None,
            }
        }
        match Origin::parse(&String::from_utf8_lossy(&self.text[..length])) {
            Origin::Container(container) => Some(Some(self.one_of(container))),
            Origin::Host => Some(None),
            Origin::Unknown => None,
        }
    }

    fn one_of(&mut self, container: Container) -> Arc<Container> {
        if let Some(known) = self.containers.get(&container) {
            return known.clone();
        }
        let one = Arc::new(container);
        self.containers.insert(one.clone());
        one
    }
}

/// The processes that there are, up to as many as are kept.
pub(crate) fn all(proc: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.take(MAX_KEPT).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const UID: &str = "1f0c7f3e-5a5a-4a59-8d0e-0c1f0b8f2a11";

    fn write(proc: &std::path::Path, pid: u32, text: &str) {
        fs::create_dir_all(proc.join(pid.to_string())).unwrap();
        fs::write(proc.join(format!("{pid}/cgroup")), text).unwrap();
    }

    fn uid(place: Option<Place>) -> Option<String> {
        place.map(|place| place.map_or("host".to_owned(), |of| of.pod_uid.clone()))
    }

    #[test]
    fn what_is_gone_is_known_if_it_was_seen_before() {
        let folder = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let mut processes = Processes::new(folder.path());
        write(folder.path(), 7, &format!("0::/kubepods/pod{UID}"));
        write(folder.path(), 8, "0::/system.slice/ssh.service\n");
        write(folder.path(), 9, "4:cpu:/\n0::/");
        let mut pids = all(folder.path());
        pids.sort_unstable();
        assert_eq!(pids, [7, 8, 9]);
        for pid in pids {
            processes.meet(pid, start);
        }
        assert_eq!(uid(processes.place(9, start)), None, "it ends");
        for pid in [7, 8] {
            fs::remove_dir_all(folder.path().join(pid.to_string())).unwrap();
        }
        let later = start + OLD / 2;
        assert_eq!(uid(processes.place(7, later)).as_deref(), Some(UID));
        assert_eq!(uid(processes.place(8, later)).as_deref(), Some("host"));
        assert_eq!(uid(processes.place(6, later)), None);
        // Another process may have the number by then.
        assert_eq!(uid(processes.place(7, start + OLD)), None);
        processes.forget(start + OLD);
        assert!(processes.kept.is_empty() && processes.containers.is_empty());
    }

    #[test]
    fn a_number_that_is_taken_again_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let mut processes = Processes::new(folder.path());
        write(folder.path(), 7, "0::/init.scope");
        assert_eq!(uid(processes.place(7, start)).as_deref(), Some("host"));
        write(folder.path(), 7, &format!("0::/kubepods/pod{UID}"));
        assert_eq!(uid(processes.place(7, start + FRESH)).as_deref(), Some(UID));
    }

    #[test]
    fn as_many_as_there_may_be_take_bounded_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(folder.path());
        let start = Instant::now();
        for pid in 0..u32::try_from(3 * MAX_KEPT).unwrap() {
            processes.keep(pid, None, start);
            assert!(processes.kept.len() <= MAX_KEPT);
        }
    }
}
