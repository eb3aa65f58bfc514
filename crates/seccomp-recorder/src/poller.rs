//! One epoll instance, and what each of its descriptors is.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

/// How many events are looked at in one go.
const EVENTS: usize = 64;

/// Descriptors that are not those of filters: sockets, connections and what comes with them, files of the process itself.
const OTHERS: u64 = 256;

/// Lets this process have as many descriptors as it may, and says how many filters that is room for.
pub(crate) fn room_for_filters() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // what it is then is asked for
    let may = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(may.saturating_sub(OTHERS)).unwrap_or(usize::MAX)
}

#[derive(Debug)]
pub(crate) struct Poller<S> {
    epoll: OwnedFd,
    sources: HashMap<u64, S>,
    next: u64,
}

impl<S> Poller<S> {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            sources: HashMap::new(),
            next: 0,
        })
    }

    /// Watches a descriptor, and returns the name of it.
    pub(crate) fn add(&mut self, fd: impl AsFd, source: S, flags: EventFlags) -> io::Result<u64> {
        let name = self.next;
        epoll::add(&self.epoll, fd, EventData::new_u64(name), flags)?;
        self.next += 1;
        self.sources.insert(name, source);
        Ok(name)
    }

    pub(crate) fn modify(&self, fd: impl AsFd, name: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(name),
            flags,
        )?)
    }

    /// Watches it no more. To be called before the descriptor is closed: another process may have a copy of it, and it would be
    /// watched on.
    pub(crate) fn remove(&mut self, fd: impl AsFd, name: u64) -> Option<S> {
        let _ = epoll::delete(&self.epoll, fd); // it is watched, as long as its name is known
        self.sources.remove(&name)
    }

    pub(crate) fn get(&self, name: u64) -> Option<&S> {
        self.sources.get(&name)
    }

    /// The name of the first one of which `test` is true.
    pub(crate) fn find(&self, test: impl Fn(&S) -> bool) -> Option<u64> {
        self.sources
            .iter()
            .find(|(_, source)| test(source))
            .map(|(name, _)| *name)
    }

    /// Waits until there is something, for so long at most.
    pub(crate) fn wait(&self, most: Option<Duration>) -> io::Result<Vec<(u64, EventFlags)>> {
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        let mut room = [MaybeUninit::uninit(); EVENTS];
        match epoll::wait(&self.epoll, &mut room, most.as_ref()) {
            Ok((events, _)) => Ok(events
                .iter()
                .map(|event| (event.data.u64(), event.flags))
                .collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
