//! Hears, places and counts, on threads of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cgroup::Container;
use crate::hear::{self, Deaf};
use crate::ledger::{Ledger, Placed, Unplaced};
use crate::listen::{Listener, Message};
use crate::processes::{self, Place, Processes};
use crate::record::{Call, Outcome, Record, serial};
use crate::serials::Serials;

/// How often all processes are looked at.
const SCAN: Duration = Duration::from_secs(2);
/// How long the record of the own call may take. More than it takes to read all that may wait before it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is proved that anything is heard.
const PROVE: Duration = Duration::from_mins(5);
/// How often where nothing is.
const PROVE_AGAIN: Duration = Duration::from_mins(1);
/// So many calls of processes are counted at once, and after so long.
const PENDING: usize = 16;
const FLUSH: Duration = Duration::from_millis(50);
/// So many processes are looked at before others may be placed.
const AT_ONCE: usize = 16;
/// How often it is looked whether to end.
const BREATH: Duration = Duration::from_secs(1);

/// What was heard so far.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What containers called.
    pub calls: Vec<Placed>,
    /// What processes called whose container could not be told; of many names only the first.
    pub unplaced: Vec<Unplaced>,
    /// The rest.
    pub totals: Totals,
}

/// How much was heard so far, and whether anything is.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// How often containers called what is not counted, for there are too many different calls.
    pub more: u64,
    /// How often processes called whose container could not be told.
    pub unplaced_times: u64,
    /// How often processes called that are in no pod.
    pub host_times: u64,
    /// How many records were lost, at least.
    pub lost: u64,
    /// How often each came, in the order of [`Outcome::ALL`], wherever it came from.
    pub by_outcome: [u64; 4],
    /// Whether anything is heard; nothing before it is known.
    pub hearing: Option<Result<(), Deaf>>,
    /// Which actions the kernel logs.
    pub actions_logged: Option<String>,
}

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    processes: Mutex<Processes>,
    hearing: Mutex<Option<Result<(), Deaf>>>,
    actions_logged: Mutex<Option<String>>,
    lost: AtomicU64,
    by_outcome: [AtomicU64; 4],
    /// How many records of own calls have come that named this process, and how many that named another.
    own: AtomicU64,
    elsewhere: AtomicU64,
    /// How many records of any calls have come.
    heard: AtomicU64,
    ends: AtomicBool,
}

/// Asks a reader; all clones ask the same.
#[derive(Clone, Debug)]
pub struct Control(Arc<Shared>);

/// See the crate's page.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    proc: PathBuf,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Default for Reader {
    fn default() -> Self {
        Self::new("/proc")
    }
}

impl Reader {
    /// `proc` is where the machine's processes are.
    #[must_use]
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        let proc = proc.into();
        let shared = Shared {
            ledger: Mutex::default(),
            processes: Mutex::new(Processes::new(&proc)),
            hearing: Mutex::default(),
            actions_logged: Mutex::default(),
            lost: AtomicU64::default(),
            by_outcome: Default::default(),
            own: AtomicU64::default(),
            elsewhere: AtomicU64::default(),
            heard: AtomicU64::default(),
            ends: AtomicBool::default(),
        };
        Self {
            shared: Arc::new(shared),
            proc,
        }
    }

    /// To ask it with.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(self.shared.clone())
    }

    /// Starts the threads; they end when [`Control::end`] says so. A reader that may not listen says so in its snapshot, and tries again.
    pub fn start(self) -> io::Result<()> {
        let Self { shared, proc } = self;
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let (scanned, of_scan) = (shared.clone(), proc.clone());
        thread("audit-scan").spawn(move || scan(&scanned, &of_scan))?;
        let reading = shared.clone();
        thread("audit-read").spawn(move || read(&reading))?;
        thread("audit-prove").spawn(move || prove(&shared, &proc))?;
        Ok(())
    }
}

impl Control {
    /// What was heard so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let totals = self.totals();
        let ledger = locked(&self.0.ledger);
        Snapshot {
            calls: ledger.calls().collect(),
            unplaced: ledger.strays().collect(),
            totals,
        }
    }

    /// The same without the calls.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let shared = &self.0;
        let ledger = locked(&shared.ledger);
        Totals {
            more: ledger.more(),
            unplaced_times: ledger.unplaced_times(),
            host_times: ledger.host_times(),
            lost: shared.lost.load(Ordering::Relaxed),
            by_outcome: [0, 1, 2, 3].map(|at| shared.by_outcome[at].load(Ordering::Relaxed)),
            hearing: locked(&shared.hearing).clone(),
            actions_logged: locked(&shared.actions_logged).clone(),
        }
    }

    /// Lets go of what these containers last called before a time, in seconds since 1970.
    pub fn forget(&self, before: u64, is_gone: impl Fn(&Container) -> bool) {
        locked(&self.0.ledger).forget(before, is_gone);
    }

    /// The threads end, soon.
    pub fn end(&self) {
        self.0.ends.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Waits as long, unless it ends.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.ends() && Instant::now() < until {
            std::thread::sleep(BREATH.min(until.saturating_duration_since(Instant::now())));
        }
    }

    fn cannot_listen(&self, error: &io::Error) {
        let why = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Deaf::Forbidden,
            _ => Deaf::NoAudit(error.to_string()),
        };
        *locked(&self.hearing) = Some(Err(why));
    }

    /// A record of seccomp came.
    fn take(&self, text: &str, pending: &mut Pending) {
        let Some(record) = Record::parse(text) else {
            return;
        };
        self.heard.fetch_add(1, Ordering::Relaxed);
        let is_own = hear::is_own(record.comm);
        if is_own && record.pid == std::process::id() {
            self.own.fetch_add(1, Ordering::Release);
            return;
        }
        // Anybody may have that name: it is counted as any other.
        self.elsewhere
            .fetch_add(u64::from(is_own), Ordering::Relaxed);
        let Some(call) = record.call else {
            return;
        };
        let now = Instant::now();
        let known = pending.of.iter_mut();
        let mut known = known.filter(|known| known.pid == record.pid && known.call == call);
        if let Some(known) = known.next() {
            known.times += 1;
            return pending.flush_after(FLUSH, now, self);
        }
        // At once: it may be gone in a moment.
        let place = locked(&self.processes).place(record.pid, now);
        if pending.of.len() == PENDING {
            pending.flush(self);
        }
        pending.since.get_or_insert(now);
        pending.of.push(Repeated {
            pid: record.pid,
            call,
            name: place.is_none().then(|| record.name()),
            place,
            times: 1,
        });
        pending.flush_after(FLUSH, now, self);
    }
}

/// What came again and again lately, which is counted at once: a process that floods takes little more than its records take to be read.
#[derive(Debug, Default)]
struct Pending {
    of: Vec<Repeated>,
    since: Option<Instant>,
}

#[derive(Debug)]
struct Repeated {
    pid: u32,
    call: Call,
    place: Option<Place>,
    /// Of a thread that has no place.
    name: Option<String>,
    times: u64,
}

impl Pending {
    fn flush_after(&mut self, time: Duration, now: Instant, shared: &Shared) {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= time;
        if self.since.is_some_and(is_old) {
            self.flush(shared);
        }
    }

    fn flush(&mut self, shared: &Shared) {
        if self.of.is_empty() {
            return;
        }
        self.since = None;
        let now = now();
        let mut ledger = locked(&shared.ledger);
        for of in self.of.drain(..) {
            let mut all = Outcome::ALL.iter().zip(&shared.by_outcome);
            if let Some((_, count)) = all.find(|(outcome, _)| **outcome == of.call.outcome) {
                count.fetch_add(of.times, Ordering::Relaxed);
            }
            match of.place {
                Some(Some(container)) => ledger.placed(&container, of.call, of.times, now),
                Some(None) => ledger.host(of.times),
                None => {
                    ledger.unplaced(of.name.unwrap_or_default(), of.call, of.times, now);
                }
            }
        }
    }
}

/// Listens; where that is forbidden, tries again now and then.
fn read(shared: &Shared) {
    while !shared.ends() {
        let listener = Listener::listen();
        let ended = listener.and_then(|mut listener| {
            let (mut serials, mut pending) = (Serials::default(), Pending::default());
            let lost = shared.lost.load(Ordering::Relaxed);
            while !shared.ends() {
                // What was dropped for want of room shows in the numbers of what comes after it.
                let patience = if pending.of.is_empty() { BREATH } else { FLUSH };
                let Message::Record(kind, text) = listener.next(patience)? else {
                    pending.flush(shared);
                    continue;
                };
                if let Some(serial) = serial(text) {
                    serials.came(serial);
                    let lost = lost.saturating_add(serials.lost());
                    shared.lost.store(lost, Ordering::Relaxed);
                }
                if kind == Record::KIND {
                    shared.take(text, &mut pending);
                }
            }
            Ok(())
        });
        if let Err(error) = ended {
            shared.cannot_listen(&error);
            shared.rest(PROVE_AGAIN);
        }
    }
}

/// Looks at all processes now and then. Nobody who places one waits for long.
fn scan(shared: &Shared, proc: &Path) {
    while !shared.ends() {
        for some in processes::all(proc).chunks(AT_ONCE) {
            let mut processes = locked(&shared.processes);
            let now = Instant::now();
            for pid in some {
                processes.meet(*pid, now);
            }
        }
        locked(&shared.processes).forget(Instant::now());
        shared.rest(SCAN);
    }
}

/// Proves now and then that anything is heard.
fn prove(shared: &Shared, proc: &Path) {
    let mut nth = 0;
    // The listener is there by then.
    std::thread::sleep(BREATH / 4);
    while !shared.ends() {
        let actions_logged = hear::actions_logged(proc);
        let is_forbidden =
            |why: &Result<(), Deaf>| matches!(why, Err(Deaf::Forbidden | Deaf::NoAudit(_)));
        let is_forbidden = locked(&shared.hearing).as_ref().is_some_and(is_forbidden);
        let heard = prove_once(shared, nth, actions_logged.as_deref());
        // Whoever cannot listen knows better why.
        if heard.is_ok() || !is_forbidden {
            *locked(&shared.hearing) = Some(heard.clone());
        }
        *locked(&shared.actions_logged) = actions_logged;
        nth += 1;
        shared.rest(if heard.is_ok() { PROVE } else { PROVE_AGAIN });
    }
}

fn prove_once(shared: &Shared, nth: u64, actions_logged: Option<&str>) -> Result<(), Deaf> {
    let count = |of: &AtomicU64| of.load(Ordering::Acquire);
    let (own, elsewhere) = (count(&shared.own), count(&shared.elsewhere));
    let heard = count(&shared.heard);
    hear::call(nth)?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !shared.ends() {
        if count(&shared.own) > own {
            return Ok(());
        }
        std::thread::sleep(BREATH / 20);
    }
    if count(&shared.elsewhere) > elsewhere {
        return Err(Deaf::Elsewhere);
    }
    // Of a flood some records are lost, and that of the own call may be one.
    if count(&shared.heard) > heard {
        return Ok(());
    }
    Err(hear::silence(
        actions_logged,
        hear::is_in_first_pid_namespace(),
    ))
}
