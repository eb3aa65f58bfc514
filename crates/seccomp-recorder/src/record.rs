//! The recorder: counts the calls that come through the holder's descriptors, and answers each as the profile would that its filter
//! stands on.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use rustix::event::epoll::EventFlags;

use crate::answer::{Answer, Known, Standing};
use crate::folder::Folder;
use crate::ledger::{self, Counts, Index, Seen};
use crate::link::{Link, Notice};
use crate::message::Subject;
use crate::poller::{Events, Poller, room_for_filters};
use crate::register::{Register, now};
use crate::sys::{self, Memory};

/// How long the first seconds of a container are.
const START_UP: u64 = 10;
/// How long a holder that is away is waited for.
const RETRY: Duration = Duration::from_millis(200);
/// How many notices are read before calls are answered again.
const NOTICES: usize = 64;
/// The ids around the last known one that a killed recorder may have received: the kernel counts them up by one.
const BEFORE: u64 = 4;
const AFTER: u64 = 68;

/// What a descriptor of the recorder is.
#[derive(Debug)]
enum Source {
    Wake,
    Holder,
    Filter(Filter),
}

#[derive(Clone, Debug)]
struct Filter {
    listener: Arc<OwnedFd>,
    memory: Arc<Memory>,
    standing: Arc<Known>,
    ledger: u64,
    descriptor: u32,
    tally: u32,
    /// When a call is none of the first seconds any more.
    steady_from: u64,
}

/// What is known of the ledgers' tallies, by their names.
type Indexes = HashMap<(u64, u32), Index>;

/// Counts and answers until it is told to stop.
#[derive(Debug)]
pub struct Recorder {
    folder: Folder,
    poller: Poller<Source>,
    link: Option<(u64, Link, bool)>,
    retry: Instant,
    indexes: Indexes,
    /// Of all that filters stand on: most stand on the same.
    known: HashMap<Standing, Weak<Known>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    register: Mutex<Register>,
    forgotten: Mutex<Vec<(u64, u32)>>,
    is_connected: AtomicBool,
    is_ending: AtomicBool,
    wake: OwnedFd,
}

/// What others may ask of a recorder that runs on another thread.
#[derive(Clone, Debug)]
pub struct Control(Arc<Shared>);

/// What is known now.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether the recorder has all that a holder has.
    pub is_connected: bool,
    /// Everybody that was counted and is not forgotten.
    pub recorded: Vec<Recorded>,
}

/// A container, or what was executed into it, and what it called.
#[derive(Clone, Debug)]
pub struct Recorded {
    ledger: u64,
    tally: u32,
    /// Who. The default one stands for those for whom there was no place of their own.
    pub subject: Subject,
    /// When it was handed over, in seconds since 1970.
    pub started: u64,
    /// When the last of its processes ended; nothing while there is one.
    pub ended: Option<u64>,
    #[allow(missing_docs)]
    pub counts: Counts,
}

impl Filter {
    /// Answers a call if there is one, and says whether nobody is left to make any. One call for each event: where there is none, the
    /// kernel would wait for one.
    fn has_ended(&self, indexes: &mut Indexes, flags: EventFlags) -> bool {
        if !flags.contains(EventFlags::IN) {
            return flags.intersects(EventFlags::HUP | EventFlags::ERR);
        }
        match sys::receive(self.listener.as_fd()) {
            Ok(Some(call)) => {
                let answer = self.standing.answers.to(&call);
                self.count(indexes, call.id, Some(&call), answer);
                let _ = sys::answer(self.listener.as_fd(), call.id, answer); // its caller is dead if this fails
                false
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    fn count(
        &self,
        indexes: &mut Indexes,
        id: u64,
        call: Option<&sys::Notification>,
        answer: Answer,
    ) {
        let index = indexes.entry((self.ledger, self.tally)).or_default();
        let now = now();
        let seen = Seen {
            descriptor: self.descriptor,
            tally: self.tally,
            id,
            call,
            answer,
            kept: &self.standing.kept,
            now,
            is_start_up: now < self.steady_from,
        };
        ledger::count(&self.memory, index, &seen);
    }
}

impl Shared {
    fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes()); // it is awake already if this fails
    }
}

impl Recorded {
    /// What a snapshot could say, for tests of whoever reads one.
    #[must_use]
    pub fn new(subject: Subject, started: u64, ended: Option<u64>, counts: Counts) -> Self {
        Self {
            ledger: 0,
            tally: 0,
            subject,
            started,
            ended,
            counts,
        }
    }
}

impl Control {
    /// Whether the recorder has all that a holder has.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.is_connected.load(Ordering::Relaxed)
    }

    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let register = self.0.register();
        let recorded = register.ledgers.iter().flat_map(|(number, ledger)| {
            ledger.tallies.iter().map(|(tally, of)| Recorded {
                ledger: *number,
                tally: *tally,
                subject: of.subject.clone(),
                started: of.started,
                ended: of.ended,
                counts: ledger::counts(&ledger.memory, *tally),
            })
        });
        let recorded = recorded.collect();
        Snapshot {
            is_connected: self.0.is_connected.load(Ordering::Relaxed),
            recorded,
        }
    }

    /// Lets go of what is known of somebody who has ended.
    pub fn forget(&self, recorded: &Recorded) {
        let mut forgotten = self
            .0
            .forgotten
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        forgotten.push((recorded.ledger, recorded.tally));
        drop(forgotten);
        self.0.wake();
    }

    /// Ends the recorder once nothing is left to record, or another one takes over.
    pub fn finish(&self) {
        self.0.is_ending.store(true, Ordering::Relaxed);
        self.0.wake();
    }
}

impl Recorder {
    /// A recorder for the holder in that folder, whether it is there or not.
    pub fn new(folder: Folder) -> io::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        room_for_filters(); // as the holder, which hands over no more
        let mut poller = Poller::new()?;
        poller.add(&wake, Source::Wake, EventFlags::IN)?;
        let shared = Arc::new(Shared {
            register: Mutex::default(),
            forgotten: Mutex::default(),
            is_connected: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            wake,
        });
        Ok(Self {
            folder,
            poller,
            link: None,
            retry: Instant::now(),
            indexes: HashMap::new(),
            known: HashMap::new(),
            shared,
        })
    }

    /// For others to ask it.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.shared))
    }

    /// Runs until another one takes over, or it is told to finish and nothing is left. The holder may come and go.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::new();
        loop {
            if self.link.is_none() && self.retry <= Instant::now() {
                self.retry = Instant::now() + RETRY;
                self.connect()?;
            }
            if self.shared.is_ending.load(Ordering::Relaxed)
                && self.shared.register().descriptors() == 0
            {
                return Ok(());
            }
            let most = self
                .link
                .is_none()
                .then(|| self.retry.saturating_duration_since(Instant::now()));
            self.poller.wait(most, &mut events)?;
            for (name, flags) in events.iter().copied() {
                if self.on_event(name, flags)? {
                    // No copy stays: whoever takes over is the only one who answers.
                    *self.shared.register() = Register::default();
                    self.shared.is_connected.store(false, Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
    }

    /// True if somebody else reads from now on.
    fn on_event(&mut self, name: u64, flags: EventFlags) -> io::Result<bool> {
        match self.poller.get(name) {
            Some(Source::Filter(filter)) if filter.has_ended(&mut self.indexes, flags) => {
                let filter = filter.clone();
                self.end(name, &filter);
            }
            Some(Source::Filter(_)) | None => {}
            Some(Source::Wake) => self.on_wake(),
            Some(Source::Holder) => return self.on_holder(),
        }
        Ok(false)
    }

    fn connect(&mut self) -> io::Result<()> {
        let Some(socket) = self.folder.connect()? else {
            return Ok(());
        };
        let link = Link::new(socket);
        let name = self.poller.add(&link, Source::Holder, EventFlags::IN)?;
        self.link = Some((name, link, false));
        // Whatever this recorder has outlived its holder, and the new one is told.
        let (ledgers, everything) = {
            let mut register = self.shared.register();
            register.drop_empty(None);
            (
                register.ledgers.keys().copied().collect(),
                register.everything(&[]),
            )
        };
        self.say(
            &Notice::Hello {
                successor: false,
                ledgers,
            },
            None,
        );
        for (notice, enclosed) in everything {
            self.say(&notice, enclosed);
        }
        self.say(&Notice::Ready, None);
        Ok(())
    }

    fn say(&mut self, notice: &Notice, enclosed: crate::link::Enclosed) {
        if let Some((_, link, _)) = &mut self.link {
            let _ = link.send(notice, enclosed); // if the holder has ended, that will be heard
        }
        self.flush();
    }

    fn flush(&mut self) {
        if let Some((name, link, is_waiting)) = &mut self.link {
            let _ = link.flush(); // as above
            if link.is_waiting() != *is_waiting {
                *is_waiting = link.is_waiting();
                let flags = if *is_waiting {
                    EventFlags::IN | EventFlags::OUT
                } else {
                    EventFlags::IN
                };
                let _ = self.poller.modify(&*link, *name, flags);
            }
        }
    }

    fn on_wake(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.wake, &mut count); // only to make it calm
        let forgotten = std::mem::take(
            &mut *self
                .shared
                .forgotten
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for (ledger, tally) in forgotten {
            self.shared.register().forget(ledger, tally);
            self.indexes.remove(&(ledger, tally));
            self.say(&Notice::Forget { ledger, tally }, None);
        }
    }

    /// Hears the holder. True if it says that somebody else reads from now on.
    fn on_holder(&mut self) -> io::Result<bool> {
        self.flush();
        for _ in 0..NOTICES {
            let Some((name, link, _)) = &self.link else {
                return Ok(false);
            };
            match link.receive() {
                Ok(None) => return Ok(false),
                Ok(Some((Notice::Stop, _))) => return Ok(true),
                Ok(Some((Notice::Ready, _))) => {
                    self.shared.is_connected.store(true, Ordering::Relaxed);
                }
                Ok(Some((notice, enclosed))) => self.learn(&notice, enclosed)?,
                Err(_) => {
                    // The holder ended, or has a recorder. What this one has goes on; soon there will be a holder again.
                    self.poller.remove(link, *name);
                    self.link = None;
                    self.shared.is_connected.store(false, Ordering::Relaxed);
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    fn learn(&mut self, notice: &Notice, enclosed: Option<OwnedFd>) -> io::Result<()> {
        if let Notice::Tally { ledger, tally, of } = notice {
            let register = self.shared.register();
            let known = register
                .ledgers
                .get(ledger)
                .and_then(|ledger| ledger.tallies.get(tally));
            if known
                .is_none_or(|known| (&known.subject, known.started) != (&of.subject, of.started))
            {
                self.indexes.remove(&(*ledger, *tally)); // the place was somebody else's
            }
        }
        self.shared.register().learn(notice, enclosed)?;
        match notice {
            Notice::Ledger { ledger } => {
                let register = self.shared.register();
                if let Some(ledger) = register.ledgers.get(ledger) {
                    ledger::recover(&ledger.memory);
                }
            }
            Notice::Descriptor {
                ledger,
                descriptor,
                tally,
                standing,
            } => {
                let known = {
                    let register = self.shared.register();
                    let found = register.ledgers.get(ledger);
                    found.and_then(|of| {
                        let listener = Arc::clone(&of.descriptors.get(descriptor)?.listener);
                        let of_tally = of.tallies.get(tally)?.clone();
                        Some((listener, Arc::clone(&of.memory), of_tally))
                    })
                };
                let filter = known.map(|(listener, memory, of)| Filter {
                    listener,
                    memory,
                    standing: self.known(standing),
                    ledger: *ledger,
                    descriptor: *descriptor,
                    tally: *tally,
                    steady_from: if of.subject.exec {
                        0
                    } else {
                        of.started + START_UP
                    },
                });
                if let Some(filter) = filter {
                    self.take_over(&filter);
                    let listener = Arc::clone(&filter.listener);
                    self.poller.add_filter(&listener, Source::Filter(filter))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn known(&mut self, standing: &Standing) -> Arc<Known> {
        if let Some(known) = self.known.get(standing).and_then(Weak::upgrade) {
            return known;
        }
        self.known.retain(|_, known| known.strong_count() > 0);
        let known = Arc::new(standing.read());
        self.known.insert(standing.clone(), Arc::downgrade(&known));
        known
    }

    /// Answers what a killed recorder received and did not answer: nobody is told of it again, and its caller waits.
    fn take_over(&mut self, filter: &Filter) {
        let Some(last) = ledger::last_id(&filter.memory, filter.descriptor) else {
            return;
        };
        let first = last.wrapping_sub(BEFORE);
        for id in (0..BEFORE + AFTER).map(|offset| first.wrapping_add(offset)) {
            if sys::is_waiting(filter.listener.as_fd(), id) {
                // Up to the last one they are counted.
                let answer = if (1..AFTER).contains(&id.wrapping_sub(last)) {
                    let answer = filter.standing.answers.to_unread();
                    filter.count(&mut self.indexes, id, None, answer);
                    Some(answer)
                } else {
                    ledger::last_answer(&filter.memory, filter.descriptor, id)
                };
                let answer = answer.unwrap_or_else(|| filter.standing.answers.to_unread());
                let _ = sys::answer(filter.listener.as_fd(), id, answer); // its caller is dead if this fails
            }
        }
    }

    fn end(&mut self, name: u64, filter: &Filter) {
        let (ledger, descriptor, at) = (filter.ledger, filter.descriptor, now());
        self.poller.remove(&filter.listener, name);
        self.shared.register().end(ledger, descriptor, at);
        self.say(
            &Notice::Ended {
                ledger,
                descriptor,
                at,
            },
            None,
        );
    }
}
