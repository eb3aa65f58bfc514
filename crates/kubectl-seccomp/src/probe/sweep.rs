//! Makes a list of calls under the filter in force and says what stopped each of them. None is executed.
//!
//! Seccomp filters stack, and of what they say the most restrictive counts: kill, trap, errno, listener, tracer, log,
//! allow. So a disposable process adds a filter of its own that sends every probed call to a listener: what the
//! container's filter stops never gets there, what it permits does, and is refused there. Capabilities, arguments and
//! the kernel's own opinion never come into it, since the call ends before the kernel looks at them.
//!
//! Three processes take part. This one forks a *supervisor*, which stacks the filter (so that this one stays as it was)
//! and forks *callers*, one after the other: a caller that is killed by the call it makes is replaced by the next one.
#![allow(unsafe_code)] // to fork, for which the process must have one thread

use std::io;
use std::os::fd::OwnedFd;

use super::kernel::{self, Board, Call, Cookie, End, Guard, Listener, Mark, Side};

/// How permitted calls are caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a seccomp listener: every action of the container's filter is told apart, but log and trace from allow.
    Listener,
    /// By a tracer that does not exist, where `seccomp(2)` itself is stopped: the kernel's answer to a permitted call is
    /// ENOSYS, as is that of a filter which says ENOSYS.
    AbsentTracer,
}

/// What became of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No filter stopped it (its action is allow, log or trace).
    Permitted,
    /// The filter answered it with this errno; 0 means that it faked success.
    Errno(i32),
    /// The filter raised SIGSYS, with this number for the handler.
    Trap(i32),
    /// The filter killed the caller.
    Killed,
    /// The caller died of another signal: there is no such entry into this kernel, or somebody killed it.
    Died(i32),
    /// Permitted, or ENOSYS from the filter: [`Method::AbsentTracer`] cannot tell.
    Untold,
    /// The call never came back.
    Silent,
}

/// The outcomes, in the order of the calls.
#[derive(Debug)]
pub struct Sweep {
    /// One for each call.
    pub outcomes: Vec<Outcome>,
    /// Whether [`Outcome::Trap`] and [`Outcome::Killed`] can be told apart.
    pub traps_told: bool,
}

/// Why no sweep could be made.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The filter in force has a listener already, and the kernel allows one only.
    #[error(
        "the filter in force hands calls to a listener of its own, which may have them executed, so no call can be probed harmlessly"
    )]
    ForeignListener,
    /// The catching filter could not be stacked.
    #[error("a filter of our own cannot be stacked on the one in force")]
    Guard(#[source] io::Error),
    /// The kernel does not know listeners.
    #[error("this kernel has no seccomp listeners (they came with Linux 5.0)")]
    NoListener,
    /// There is nothing to make a cookie of.
    #[error("the kernel gave this process no random bytes (AT_RANDOM)")]
    NoRandom,
    /// Something that the probe itself needs is stopped.
    #[error("the probe needs {need}, which the filter in force stops")]
    Need {
        /// What, in words.
        need: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// A probing process was killed while it got ready.
    #[error("the filter in force kills the probe's own processes while they get ready")]
    Killed,
    /// A harmless trial call was executed, so nothing else may be tried.
    #[error(
        "a trial call was executed instead of being caught: a listener or a tracer lets calls through, so no call can be probed harmlessly"
    )]
    Executed,
    /// The calls do not come back.
    #[error("probed calls do not come back")]
    Silent,
}

/// Where a supervisor can fail. The numbers travel through shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Step {
    Guard = 1,
    Pipe,
    Fork,
    Poll,
    Receive,
    Refuse,
    Prepare,
    Executed,
    Silent,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Guard,
        Self::Pipe,
        Self::Fork,
        Self::Poll,
        Self::Receive,
        Self::Refuse,
        Self::Prepare,
        Self::Executed,
        Self::Silent,
    ];

    fn error(self, errno: i32, method: Method) -> SweepError {
        let source = io::Error::from_raw_os_error(errno);
        let need = |need| SweepError::Need {
            need,
            source: io::Error::from_raw_os_error(errno),
        };
        match self {
            Self::Guard if method == Method::Listener && errno == libc::EBUSY => {
                SweepError::ForeignListener
            }
            Self::Guard if method == Method::Listener && errno == libc::EINVAL => {
                SweepError::NoListener
            }
            Self::Guard => SweepError::Guard(source),
            Self::Pipe => need("pipe2"),
            Self::Fork => need("clone"),
            Self::Poll => need("poll"),
            Self::Receive | Self::Refuse => need("ioctl"),
            Self::Prepare => SweepError::Killed,
            Self::Executed => SweepError::Executed,
            Self::Silent => SweepError::Silent,
        }
    }
}

/// A failure of the supervisor, on its way to the board.
struct StepFailure(Step, i32);

impl StepFailure {
    fn at(step: Step) -> impl FnOnce(io::Error) -> Self {
        move |error| Self(step, error.raw_os_error().unwrap_or(0))
    }
}

/// The errno that refused calls get. Nobody looks at it: that the call reached the listener is what counts.
const REFUSAL: i32 = libc::EOWNERDEAD;
/// How often to look whether the caller is still there, should nothing be heard of it.
const TICK_MS: i32 = 50;
/// After this many looks without a sign of life, a call is given up: two seconds. (The clock is not asked, since a filter
/// may stop that.)
const SILENT_TICKS: u32 = 40;
/// Where there is nothing to wait by, after this many: a second or more.
const SILENT_LOOKS: u32 = 4_000_000;
/// After this many of those, all are.
const SILENT_CALLS: usize = 3;

/// Makes every call and reports.
///
/// The `trials` come first. They do no harm even if they are executed, and if one of them is, nothing else is called.
pub fn sweep(trials: &[Call], calls: &[Call], method: Method) -> Result<Sweep, SweepError> {
    let all: Vec<Call> = trials.iter().chain(calls).copied().collect();
    let need = |need| move |source| SweepError::Need { need, source };
    let board = Board::new(&all).map_err(need("mmap"))?;
    let cookie = Cookie::new().ok_or(SweepError::NoRandom)?;
    // SAFETY: this tool starts threads for nothing, and a runtime (of one thread) only to ask a cluster.
    match unsafe { kernel::fork() }.map_err(need("clone"))? {
        Side::Child => {
            kernel::die_with_parent();
            match supervise(&board, cookie, method, trials.len()) {
                Ok(()) => board.set_finished(),
                Err(StepFailure(step, errno)) => board.set_failure(step as u32, errno),
            }
            kernel::exit_now(0)
        }
        Side::Parent(supervisor) => await_end(&board, supervisor),
    }
    if let Some((step, errno)) = board.failure() {
        let step = Step::ALL
            .into_iter()
            .find(|s| *s as u32 == step)
            .unwrap_or(Step::Prepare);
        return Err(step.error(errno, method));
    }
    if !board.finished() {
        return Err(SweepError::Killed);
    }
    let outcomes = (trials.len()..board.len())
        .map(|at| outcome(board.outcome(at), method))
        .collect();
    Ok(Sweep {
        outcomes,
        traps_told: board.traps_told(),
    })
}

/// Whether a trial's outcome is one that the kernel proper gives.
///
/// With a listener of ours, a filter may answer with whatever errno it likes. Without one, it is believed only if it
/// answers as filters do; the rest looks like a call that was executed with bad arguments.
fn betrays_execution(method: Method, (mark, value): (Mark, i64)) -> bool {
    const LAST_OF_THE_KERNEL: i64 = libc::EHWPOISON as i64;
    let by_filter = |errno: i64| {
        [libc::ENOSYS, libc::EPERM, libc::EACCES]
            .iter()
            .any(|e| i64::from(*e) == errno)
            || errno > LAST_OF_THE_KERNEL
    };
    match (mark, method) {
        (Mark::Returned, _) if value > 0 => true,
        (Mark::Returned, Method::AbsentTracer) => !by_filter(-value),
        (Mark::Died, Method::AbsentTracer) => value != i64::from(libc::SIGSYS),
        (Mark::Silent, Method::AbsentTracer) => true,
        _ => false,
    }
}

fn outcome((mark, value): (Mark, i64), method: Method) -> Outcome {
    let number = i32::try_from(value).unwrap_or(0);
    match mark {
        Mark::Caught => Outcome::Permitted,
        Mark::Returned if method == Method::AbsentTracer && -number == libc::ENOSYS => {
            Outcome::Untold
        }
        Mark::Returned => Outcome::Errno(-number),
        Mark::Trapped => Outcome::Trap(number),
        Mark::Died if number == libc::SIGSYS => Outcome::Killed,
        Mark::Died => Outcome::Died(number),
        Mark::Silent | Mark::Open => Outcome::Silent,
    }
}

/// Waits for the supervisor, by the board alone if the filter stops `wait4`.
fn await_end(board: &Board, supervisor: libc::pid_t) {
    if kernel::wait(supervisor, true).is_ok() {
        return;
    }
    for _ in 0..SILENT_TICKS * 5 {
        if board.finished() || board.failure().is_some() {
            return;
        }
        kernel::pause(TICK_MS);
    }
}

/// The supervisor: stacks the filter, then has every slot of the board worked on.
fn supervise(
    board: &Board,
    cookie: Cookie,
    method: Method,
    trials: usize,
) -> Result<(), StepFailure> {
    kernel::no_core_dumps();
    kernel::no_new_privs();
    kernel::note_traps(board);
    let (guard, mut listener) = match method {
        Method::Listener => {
            kernel::catch_with_listener(cookie).map(|(guard, listener)| (guard, Some(listener)))
        }
        Method::AbsentTracer => kernel::catch_without_tracer(cookie).map(|guard| (guard, None)),
    }
    .map_err(StepFailure::at(Step::Guard))?;

    // Calls other than trials are believed: their syscall's trial was.
    let executed = |at| {
        let method = if at < trials {
            method
        } else {
            Method::Listener
        };
        betrays_execution(method, board.outcome(at))
    };
    let (mut from, mut stillborn, mut silent) = (0, 0, 0);
    while from < board.len() {
        board.set_current(None);
        // The poorer method needs no more than to fork and to wait: it is for filters that stop much.
        let pipe = match method {
            Method::Listener => Some(kernel::pipe().map_err(StepFailure::at(Step::Pipe))?),
            Method::AbsentTracer => None,
        };
        // SAFETY: the supervisor is the child of a process with one thread, and starts none.
        let caller = match unsafe { kernel::fork() }.map_err(StepFailure::at(Step::Fork))? {
            Side::Child => {
                // Held until this process ends.
                let _hangs_up = pipe.map(|(_, theirs)| theirs);
                drop(listener.take());
                kernel::die_with_parent();
                make_calls(board, &guard, from, executed);
                kernel::exit_now(0)
            }
            Side::Parent(pid) => pid,
        };
        let hangup = pipe.map(|(ours, _)| ours);
        let end = match listener.as_ref().zip(hangup.as_ref()) {
            Some((listener, hangup)) => watch(board, listener, hangup, caller)?,
            None => watch_alone(board, caller),
        };
        if let Some(at) = board.current() {
            match (board.outcome(at).0, end) {
                (Mark::Open, Some(End::Signal(signal))) => {
                    board.set_outcome(at, Mark::Died, signal.into());
                }
                (Mark::Open, Some(End::Exit(_))) => board.set_outcome(at, Mark::Died, 0),
                (Mark::Open, None) => board.set_outcome(at, Mark::Silent, 0),
                _ => {}
            }
            silent += usize::from(end.is_none());
            from = at + 1;
        } else {
            stillborn += 1;
        }
        if board.current().is_some_and(executed) {
            return Err(StepFailure(Step::Executed, 0));
        }
        if stillborn > 2 {
            return Err(StepFailure(Step::Prepare, 0));
        }
        if silent >= SILENT_CALLS {
            return Err(StepFailure(Step::Silent, 0));
        }
    }
    Ok(())
}

/// A caller: works on the slots from `from` on, until one of them is its end or turns out to be executed.
fn make_calls(board: &Board, guard: &Guard, from: usize, executed: impl Fn(usize) -> bool) {
    for at in from..board.len() {
        board.set_current(Some(at));
        let result = guard.call(board, at);
        if board.outcome(at).0 == Mark::Open {
            board.set_outcome(at, Mark::Returned, result);
        }
        if executed(at) {
            return;
        }
    }
}

/// Waits until a caller ends that nobody answers; `None` if it had to be ended. It only asks, again and again: a filter may stop, or kill
/// for, whatever else one could wait by.
fn watch_alone(board: &Board, caller: libc::pid_t) -> Option<End> {
    let (mut looks, mut at) = (0, None);
    loop {
        let ended = kernel::wait(caller, false);
        if let Ok(Some(end)) = ended {
            return Some(end);
        }
        looks += 1;
        if board.current() != at {
            at = board.current();
            looks = 0;
        }
        if looks > SILENT_LOOKS {
            kernel::kill(caller);
            // Where the filter stops wait4, the board alone tells.
            return ended.is_err().then_some(End::Exit(0));
        }
    }
}

/// Answers a caller's calls until it ends; `None` if it had to be ended.
fn watch(
    board: &Board,
    listener: &Listener,
    hangup: &OwnedFd,
    caller: libc::pid_t,
) -> Result<Option<End>, StepFailure> {
    let (mut ticks, mut at) = (0, None);
    loop {
        let seen =
            kernel::poll(Some(listener), hangup, TICK_MS).map_err(StepFailure::at(Step::Poll))?;
        if seen.readable {
            let Some(notice) = listener.receive().map_err(StepFailure::at(Step::Receive))? else {
                continue;
            };
            if let Some(at) = board.current()
                && board.nr(at) == Some(notice.nr)
            {
                board.set_outcome(at, Mark::Caught, 0);
            }
            listener
                .refuse(notice, REFUSAL)
                .map_err(StepFailure::at(Step::Refuse))?;
            ticks = 0;
        } else if seen.hung_up {
            // Where the filter stops wait4, the board alone tells.
            return Ok(Some(
                kernel::wait(caller, true)
                    .ok()
                    .flatten()
                    .unwrap_or(End::Exit(0)),
            ));
        } else {
            if let Ok(Some(end)) = kernel::wait(caller, false) {
                return Ok(Some(end));
            }
            ticks += 1;
            if board.current() != at {
                at = board.current();
                ticks = 0;
            }
            if ticks > SILENT_TICKS {
                kernel::kill(caller);
                let _ = kernel::wait(caller, false);
                return Ok(None);
            }
        }
    }
}
