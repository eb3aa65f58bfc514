//! One epoll instance, and what each of its descriptors is.
//!
//! The busiest filters are waited at themselves, by poll(2) and beside the instance: what wakes a filter's waiter keeps it on the caller's
//! core, and the instance would pass that on as a hint alone, so that an idle core is woken for it, which takes longer than all the rest.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

/// How many events are looked at in one go.
const EVENTS: usize = 64;

/// How many descriptors are waited at themselves: each adds a little to every wait.
const DIRECT: usize = 8;

/// How many events of a descriptor there are before it is one of them: joining and leaving the epoll instance is rare beside them.
const FREQUENT: u32 = 32;

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
    sources: HashMap<u64, Watched<S>>,
    next: u64,
    /// What is waited at itself, and not by the epoll instance.
    direct: Vec<Direct>,
    waits: u64,
}

#[derive(Debug)]
struct Watched<S> {
    is: S,
    filter: Option<Filter>,
}

#[derive(Debug)]
struct Filter {
    listener: Arc<OwnedFd>,
    /// Events since the epoll instance watches it.
    events: u32,
}

#[derive(Debug)]
struct Direct {
    name: u64,
    listener: Arc<OwnedFd>,
    /// The wait that brought its last event.
    last: Cell<u64>,
}

/// What happened: the names of descriptors, and what they have.
pub(crate) type Events = Vec<(u64, EventFlags)>;

impl<S> Poller<S> {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            sources: HashMap::new(),
            next: 0,
            direct: Vec::new(),
            waits: 0,
        })
    }

    /// Watches a descriptor, and returns the name of it.
    pub(crate) fn add(&mut self, fd: impl AsFd, source: S, flags: EventFlags) -> io::Result<u64> {
        let name = self.next;
        epoll::add(&self.epoll, fd, EventData::new_u64(name), flags)?;
        self.next += 1;
        let source = Watched {
            is: source,
            filter: None,
        };
        self.sources.insert(name, source);
        Ok(name)
    }

    /// Watches a filter for calls, and returns the name of it.
    pub(crate) fn add_filter(&mut self, listener: &Arc<OwnedFd>, source: S) -> io::Result<u64> {
        let name = self.add(listener, source, EventFlags::IN)?;
        if let Some(source) = self.sources.get_mut(&name) {
            source.filter = Some(Filter {
                listener: Arc::clone(listener),
                events: 0,
            });
        }
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
        let _ = epoll::delete(&self.epoll, fd); // it is watched, as long as its name is known and it is not waited at itself
        self.direct.retain(|direct| direct.name != name);
        self.sources.remove(&name).map(|source| source.is)
    }

    pub(crate) fn get(&self, name: u64) -> Option<&S> {
        self.sources.get(&name).map(|source| &source.is)
    }

    /// The name of the first one of which `test` is true.
    pub(crate) fn find(&self, test: impl Fn(&S) -> bool) -> Option<u64> {
        self.sources
            .iter()
            .find(|(_, source)| test(&source.is))
            .map(|(name, _)| *name)
    }

    /// Waits until there is something, for so long at most, and puts that in place of what `events` held.
    pub(crate) fn wait(&mut self, most: Option<Duration>, events: &mut Events) -> io::Result<()> {
        events.clear();
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        if self.direct.is_empty() {
            return self.wait_at_epoll(most.as_ref(), events);
        }
        self.waits += 1;
        let fd = |at: usize| match at.checked_sub(1).and_then(|at| self.direct.get(at)) {
            Some(direct) => direct.listener.as_fd(),
            None => self.epoll.as_fd(),
        };
        let mut waited: [_; DIRECT + 1] =
            std::array::from_fn(|at| PollFd::from_borrowed_fd(fd(at), PollFlags::IN));
        let waited = &mut waited[..=self.direct.len().min(DIRECT)];
        match poll(waited, most.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let [at_epoll, at_direct @ ..] = waited else {
            return Ok(());
        };
        for (direct, waited) in self.direct.iter().zip(at_direct) {
            let flags = waited.revents();
            if !flags.is_empty() {
                direct.last.set(self.waits);
                let flags = EventFlags::from_bits_retain(flags.bits().into()); // they have the same bits
                events.push((direct.name, flags));
            }
        }
        if !at_epoll.revents().is_empty() {
            self.wait_at_epoll(Some(&Timespec::default()), events)?;
        }
        Ok(())
    }

    fn wait_at_epoll(&mut self, most: Option<&Timespec>, events: &mut Events) -> io::Result<()> {
        let mut room = [MaybeUninit::uninit(); EVENTS];
        let happened = match epoll::wait(&self.epoll, &mut room, most) {
            Ok((happened, _)) => happened,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in happened {
            let name = event.data.u64();
            events.push((name, event.flags));
            let filter = self
                .sources
                .get_mut(&name)
                .and_then(|of| of.filter.as_mut());
            if let Some(filter) = filter {
                filter.events += 1;
                if filter.events >= FREQUENT {
                    self.wait_directly(name)?;
                }
            }
        }
        Ok(())
    }

    /// Waits at a filter itself from now on, if need be instead of at the one that had nothing for the longest time.
    fn wait_directly(&mut self, name: u64) -> io::Result<()> {
        if self.direct.len() == DIRECT
            && let Some(at) = (0..DIRECT).min_by_key(|at| self.direct[*at].last.get())
        {
            let idle = self.direct.swap_remove(at);
            let data = EventData::new_u64(idle.name);
            epoll::add(&self.epoll, &idle.listener, data, EventFlags::IN)?;
        }
        let filter = self
            .sources
            .get_mut(&name)
            .and_then(|of| of.filter.as_mut());
        if let Some(filter) = filter {
            filter.events = 0;
            epoll::delete(&self.epoll, &filter.listener)?;
            self.direct.push(Direct {
                name,
                listener: Arc::clone(&filter.listener),
                last: Cell::new(self.waits),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What says something, and what is watched.
    fn pair() -> (OwnedFd, Arc<OwnedFd>) {
        let (read, write) = std::io::pipe().unwrap();
        (write.into(), Arc::new(read.into()))
    }

    fn say(write: &OwnedFd) {
        rustix::io::write(write, b"!").unwrap();
    }

    fn heard(poller: &mut Poller<usize>) -> Vec<usize> {
        let mut events = Events::new();
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        let mut heard: Vec<_> = events
            .iter()
            .map(|(name, flags)| {
                assert_eq!(*flags, EventFlags::IN);
                *poller.get(*name).unwrap()
            })
            .collect();
        heard.sort_unstable();
        heard
    }

    /// As often as a descriptor has to be heard to be waited at itself.
    fn become_frequent(poller: &mut Poller<usize>, write: &OwnedFd, read: &OwnedFd, is: usize) {
        for _ in 0..FREQUENT {
            say(write);
            assert_eq!(heard(poller), [is]);
            rustix::io::read(read, &mut [0; 1]).unwrap();
        }
    }

    #[test]
    fn all_are_heard_wherever_they_are_waited_at() {
        let mut poller = Poller::new().unwrap();
        let pairs: Vec<_> = (0..DIRECT + 3).map(|_| pair()).collect();
        let names: Vec<_> = (0..)
            .zip(&pairs)
            .map(|(at, (_, read))| poller.add_filter(read, at).unwrap())
            .collect();
        let (other, calm) = pair();
        poller.add(&calm, 99, EventFlags::IN).unwrap();

        // More of them than are waited at themselves, one after another.
        for (at, (write, read)) in pairs.iter().enumerate() {
            become_frequent(&mut poller, write, read, at);
        }
        assert_eq!(poller.direct.len(), DIRECT);
        assert_eq!(heard(&mut poller), [0_usize; 0]);
        for (write, _) in &pairs {
            say(write);
        }
        say(&other);
        let mut all: Vec<_> = (0..pairs.len()).collect();
        all.push(99);
        assert_eq!(heard(&mut poller), all);

        // The last ones are those that are waited at themselves.
        let direct: Vec<_> = poller.direct.iter().map(|direct| direct.name).collect();
        assert!(names[3..].iter().all(|name| direct.contains(name)));
        for (name, (_, read)) in names.iter().zip(&pairs) {
            assert!(poller.remove(read, *name).is_some());
        }
        assert!(poller.direct.is_empty());
        assert_eq!(heard(&mut poller), [99]);
    }

    #[test]
    fn the_end_of_one_that_is_waited_at_itself_is_heard() {
        let mut poller = Poller::new().unwrap();
        let (write, read) = pair();
        let name = poller.add_filter(&read, 0).unwrap();
        become_frequent(&mut poller, &write, &read, 0);
        assert_eq!(poller.direct.len(), 1);
        drop(write);
        let mut events = Events::new();
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, [(name, EventFlags::HUP)]);
    }
}
