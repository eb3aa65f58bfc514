//! The holder: takes descriptors from runtimes, keeps them and the counters, and hands copies to the recorder. It reads none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::EventFlags;

use crate::folder::Folder;
use crate::intake::{Connection, MAX_CONNECTIONS, Refused, accept, check_peer};
use crate::link::{Link, Notice};
use crate::poller::{Events, Poller, room_for_filters};
use crate::register::{Register, now};
use crate::sys;

/// What a descriptor of the holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Termination,
    Runtimes,
    Recorders,
    Connection,
    Peer,
    Filter { ledger: u64, descriptor: u32 },
}

/// Who is at the other end of a link.
#[derive(Debug)]
struct Peer {
    link: Link,
    role: Role,
    is_waiting: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// It has not said.
    Unknown,
    /// It wants to read, as a recorder or as the next holder, and has these ledgers.
    Reader { successor: bool, ledgers: Vec<u64> },
    /// The holder before this one.
    Predecessor,
}

/// How often late connections are looked for, and a predecessor that says nothing.
const TICK: Duration = Duration::from_secs(1);

/// Keeps the filters' descriptors of a node.
#[derive(Debug)]
pub struct Holder {
    poller: Poller<Source>,
    runtimes: OwnedFd,
    recorders: Option<OwnedFd>,
    termination: OwnedFd,
    folder: Folder,
    register: Register,
    own: u64,
    connections: BTreeMap<u64, Connection>,
    peers: BTreeMap<u64, Peer>,
    /// Who reads the descriptors: one at most, since two who wait for one call would wait for ever.
    reader: Option<u64>,
    /// Who reads next.
    next: Option<u64>,
    /// Filters that have ended, and of which the reader has not said so.
    ended: BTreeSet<(u64, u32)>,
    /// How many filters this process has descriptors for.
    most: usize,
    is_accepting: bool,
    is_ending: bool,
    report: fn(&str),
}

impl Holder {
    /// Listens in a folder, and takes over from the holder that does so now. What goes wrong on the way is told to `report`. To be
    /// called before the process has a second thread.
    pub fn open(folder: Folder, report: fn(&str)) -> io::Result<Self> {
        let mut poller = Poller::new()?;
        let termination = sys::termination()?;
        poller.add(&termination, Source::Termination, EventFlags::IN)?;
        // First new descriptors come here; then the others are taken over, and nobody is missed in between.
        let runtimes = folder.listen_to_runtimes()?;
        poller.add(&runtimes, Source::Runtimes, EventFlags::IN)?;
        let mut register = Register::default();
        let own = register.open()?;
        let mut holder = Self {
            poller,
            runtimes,
            recorders: None,
            termination,
            folder,
            register,
            own,
            connections: BTreeMap::new(),
            peers: BTreeMap::new(),
            reader: None,
            next: None,
            ended: BTreeSet::new(),
            most: room_for_filters(),
            is_accepting: true,
            is_ending: false,
            report,
        };
        match holder.folder.connect()? {
            Some(socket) => {
                let peer = holder.add_peer(socket, Role::Predecessor)?;
                holder.say(
                    peer,
                    &Notice::Hello {
                        successor: true,
                        ledgers: Vec::new(),
                    },
                );
                holder.say(peer, &Notice::Ready);
            }
            None => holder.listen_to_recorders()?,
        }
        Ok(holder)
    }

    fn listen_to_recorders(&mut self) -> io::Result<()> {
        if self.recorders.is_none() {
            let recorders = self.folder.listen_to_recorders()?;
            self.poller
                .add(&recorders, Source::Recorders, EventFlags::IN)?;
            self.recorders = Some(recorders);
        }
        Ok(())
    }

    /// Runs until it is asked to end and nobody depends on it any more: there is no filter left, or another holder has them all.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::new();
        while !self.is_done() {
            let most = (!self.connections.is_empty()).then_some(TICK);
            self.poller.wait(most, &mut events)?;
            for (name, flags) in events.iter().copied() {
                self.on_event(name, flags)?;
            }
            self.drop_late();
            self.accept_or_not()?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let reader = self.reader.and_then(|reader| self.peers.get(&reader));
        let is_succeeded = reader.is_some_and(|peer| {
            matches!(
                peer.role,
                Role::Reader {
                    successor: true,
                    ..
                }
            ) && !peer.link.is_waiting()
        });
        self.is_ending
            && (is_succeeded || self.register.descriptors() == 0 && self.connections.is_empty())
    }

    fn on_event(&mut self, name: u64, flags: EventFlags) -> io::Result<()> {
        match self.poller.get(name).copied() {
            None => {}
            Some(Source::Termination) => {
                self.is_ending = true;
                self.poller.remove(&self.termination, name);
            }
            Some(Source::Runtimes) => self.accept_runtimes()?,
            Some(Source::Recorders) => self.accept_recorder()?,
            Some(Source::Connection) => self.read_connection(name),
            Some(Source::Peer) => self.on_peer(name, flags)?,
            Some(Source::Filter { ledger, descriptor }) => {
                // Its reader may have more to say of it; with nobody to wait for, this is its end.
                if self.reader.is_some() {
                    self.ended.insert((ledger, descriptor));
                } else {
                    self.end(ledger, descriptor, now());
                }
            }
        }
        Ok(())
    }

    fn accept_runtimes(&mut self) -> io::Result<()> {
        // One for each event, as long as there is room for what it brings.
        if self.has_room()
            && let Some(socket) = accept(self.runtimes.as_fd())?
        {
            match Connection::new(socket) {
                Ok(connection) => {
                    let name = self
                        .poller
                        .add(&connection, Source::Connection, EventFlags::IN)?;
                    self.connections.insert(name, connection);
                }
                Err(refused) => (self.report)(&refused.to_string()),
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        let waiting = self.connections.len();
        waiting < MAX_CONNECTIONS
            && self
                .register
                .has_room(self.own, self.most.saturating_sub(waiting))
    }

    /// Where there is no room for another descriptor, its runtime's connection waits: a descriptor that is closed would break what its
    /// filter is for.
    fn accept_or_not(&mut self) -> io::Result<()> {
        let room = self.has_room();
        if room != self.is_accepting
            && let Some(name) = self.poller.find(|source| *source == Source::Runtimes)
        {
            let flags = if room {
                EventFlags::IN
            } else {
                EventFlags::empty()
            };
            self.poller.modify(&self.runtimes, name, flags)?;
            self.is_accepting = room;
        }
        Ok(())
    }

    fn read_connection(&mut self, name: u64) {
        let Some(connection) = self.connections.get_mut(&name) else {
            return;
        };
        let read = connection.read();
        if matches!(read, Ok(None)) {
            return;
        }
        if let Some(connection) = self.connections.remove(&name) {
            self.poller.remove(&connection, name);
        }
        match read {
            Ok(Some((subject, standing, listener))) => {
                sys::wake_synchronously(listener.as_fd());
                match self.register.add(self.own, &subject, standing, listener) {
                    Some((descriptor, notices)) => {
                        self.watch(self.own, descriptor);
                        for (notice, enclosed) in notices {
                            self.tell_reader(&notice, enclosed);
                        }
                    }
                    None => (self.report)("there is no room for another filter"),
                }
            }
            Err(refused) => self.refuse(&refused),
            Ok(None) => {}
        }
    }

    fn refuse(&self, refused: &Refused) {
        (self.report)(&format!(
            "a runtime's connection came to nothing: {refused}"
        ));
    }

    fn drop_late(&mut self) {
        let late: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_late())
            .map(|(name, _)| *name)
            .collect();
        for name in late {
            if let Some(connection) = self.connections.remove(&name) {
                self.poller.remove(&connection, name);
                self.refuse(&Refused::Late);
            }
        }
    }

    /// Looks for the end of a filter.
    fn watch(&mut self, ledger: u64, descriptor: u32) {
        let found = self
            .register
            .ledgers
            .get(&ledger)
            .and_then(|of| of.descriptors.get(&descriptor));
        let Some(found) = found else { return };
        let source = Source::Filter { ledger, descriptor };
        // The end is always reported; once is enough, and calls are not asked for.
        if let Err(error) = self.poller.add(&found.listener, source, EventFlags::ET) {
            (self.report)(&format!("a filter cannot be watched: {error}"));
        }
    }

    fn end(&mut self, ledger: u64, descriptor: u32, at: u64) {
        let source = Source::Filter { ledger, descriptor };
        let found = self
            .register
            .ledgers
            .get(&ledger)
            .and_then(|of| of.descriptors.get(&descriptor));
        if let (Some(found), Some(name)) = (found, self.poller.find(|known| *known == source)) {
            self.poller.remove(&found.listener, name);
        }
        self.ended.remove(&(ledger, descriptor));
        self.register.end(ledger, descriptor, at);
    }

    fn accept_recorder(&mut self) -> io::Result<()> {
        let Some(recorders) = &self.recorders else {
            return Ok(());
        };
        if let Some(socket) = accept(recorders.as_fd())? {
            match check_peer(socket.as_fd()) {
                Ok(()) => drop(self.add_peer(socket, Role::Unknown)?),
                Err(refused) => (self.report)(&format!("a recorder was refused: {refused}")),
            }
        }
        Ok(())
    }

    fn add_peer(&mut self, socket: OwnedFd, role: Role) -> io::Result<u64> {
        let link = Link::new(socket);
        let name = self.poller.add(&link, Source::Peer, EventFlags::IN)?;
        self.peers.insert(
            name,
            Peer {
                link,
                role,
                is_waiting: false,
            },
        );
        Ok(name)
    }

    fn on_peer(&mut self, name: u64, flags: EventFlags) -> io::Result<()> {
        if flags.contains(EventFlags::OUT) {
            self.flush(name);
        }
        loop {
            let Some(peer) = self.peers.get(&name) else {
                return Ok(());
            };
            match peer.link.receive() {
                Ok(None) => return Ok(()),
                Ok(Some((notice, enclosed))) => self.on_notice(name, notice, enclosed)?,
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof
                        && error.kind() != io::ErrorKind::ConnectionReset
                    {
                        (self.report)(&format!(
                            "a recorder or holder cannot be understood: {error}"
                        ));
                    }
                    return self.drop_peer(name);
                }
            }
        }
    }

    fn on_notice(
        &mut self,
        name: u64,
        notice: Notice,
        enclosed: Option<OwnedFd>,
    ) -> io::Result<()> {
        let Some(peer) = self.peers.get_mut(&name) else {
            return Ok(());
        };
        match (&peer.role, notice) {
            (Role::Unknown, Notice::Hello { successor, ledgers }) => {
                // Another recorder has to wait until the first one is gone.
                if self.reader.is_some() && !successor {
                    return self.drop_peer(name);
                }
                peer.role = Role::Reader { successor, ledgers };
            }
            (Role::Reader { successor, .. }, Notice::Ready) => match self.reader {
                None => self.promote(name),
                Some(reader) if *successor => {
                    self.next = Some(name);
                    self.say(reader, &Notice::Stop);
                }
                Some(_) => return self.drop_peer(name),
            },
            (Role::Predecessor, Notice::Ready) => self.listen_to_recorders()?,
            (
                Role::Reader { .. },
                Notice::Ended {
                    ledger,
                    descriptor,
                    at,
                },
            ) => self.end(ledger, descriptor, at),
            (Role::Reader { .. }, Notice::Forget { ledger, tally }) => {
                self.register.forget(ledger, tally);
                self.register.drop_empty(Some(self.own));
            }
            (Role::Predecessor | Role::Reader { .. }, notice) => self.learn(&notice, enclosed),
            (Role::Unknown, _) => return self.drop_peer(name),
        }
        Ok(())
    }

    /// A reader that outlived its holder, or the holder before this one, says what it has.
    fn learn(&mut self, notice: &Notice, enclosed: Option<OwnedFd>) {
        if let Err(error) = self.register.learn(notice, enclosed) {
            (self.report)(&format!("what was handed over is left out: {error}"));
            return;
        }
        if let Notice::Descriptor {
            ledger, descriptor, ..
        } = notice
        {
            self.watch(*ledger, *descriptor);
        }
        // Who reads already has to hear of what comes late.
        let enclosed = self
            .register
            .everything(&[])
            .into_iter()
            .find(|(known, _)| known == notice);
        if let Some((_, enclosed)) = enclosed.filter(|_| self.reader.is_some()) {
            self.tell_reader(notice, enclosed);
        }
    }

    /// Hands everything to whoever reads from now on.
    fn promote(&mut self, name: u64) {
        let Some(Peer {
            role: Role::Reader { ledgers, .. },
            ..
        }) = self.peers.get(&name)
        else {
            return;
        };
        let all = self.register.everything(ledgers);
        self.reader = Some(name);
        for (notice, enclosed) in all {
            self.tell_reader(&notice, enclosed);
        }
        self.tell_reader(&Notice::Ready, None);
    }

    fn tell_reader(&mut self, notice: &Notice, enclosed: crate::link::Enclosed) {
        if let Some(reader) = self.reader
            && let Some(peer) = self.peers.get_mut(&reader)
        {
            // If it has ended, that will be heard.
            let _ = peer.link.send(notice, enclosed);
            self.flush(reader);
        }
    }

    fn say(&mut self, name: u64, notice: &Notice) {
        if let Some(peer) = self.peers.get_mut(&name) {
            let _ = peer.link.send(notice, None); // as above
            self.flush(name);
        }
    }

    fn flush(&mut self, name: u64) {
        let Some(peer) = self.peers.get_mut(&name) else {
            return;
        };
        let _ = peer.link.flush(); // as above
        if peer.link.is_waiting() != peer.is_waiting {
            peer.is_waiting = peer.link.is_waiting();
            let flags = if peer.is_waiting {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            let _ = self.poller.modify(&peer.link, name, flags);
        }
    }

    fn drop_peer(&mut self, name: u64) -> io::Result<()> {
        let Some(peer) = self.peers.remove(&name) else {
            return Ok(());
        };
        self.poller.remove(&peer.link, name);
        if peer.role == Role::Predecessor {
            return self.listen_to_recorders();
        }
        if self.next == Some(name) {
            self.next = None;
        }
        if self.reader == Some(name) {
            self.reader = None;
            for (ledger, descriptor) in std::mem::take(&mut self.ended) {
                self.end(ledger, descriptor, now());
            }
            if let Some(next) = self.next.take() {
                self.promote(next);
            }
        }
        Ok(())
    }
}
