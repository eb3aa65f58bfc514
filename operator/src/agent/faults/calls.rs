//! Threads whose system calls this file answers, so that the store can fail, end or hang at every single step: a seccomp filter
//! hands the calls over one by one.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use libseccomp::{
    ScmpAction, ScmpFilterContext, ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags, ScmpSyscall,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

/// The system calls that the store makes of the file system.
const CALLS: &[&str] = &[
    "openat",
    "mkdirat",
    "newfstatat",
    "fstat",
    "statx",
    "fchmod",
    "write",
    "fsync",
    "lseek",
    "read",
    "renameat2",
    "linkat",
    "unlinkat",
    "getdents64",
    "inotify_add_watch",
];

/// What befalls one call.
#[derive(Clone, Copy)]
pub enum Fault {
    Fails(Errno),
    Ends,
    Hangs,
}

#[derive(Default)]
struct Plan {
    /// The calls since the plan was made.
    seen: Vec<String>,
    /// Which of them, counted from zero, is befallen by what.
    fault: Option<(usize, Fault)>,
    /// All calls of this name hang.
    hangs: Option<&'static str>,
    /// The requests of those that do.
    hanging: Vec<u64>,
}

/// The calls of a supervised thread.
#[derive(Default)]
pub struct Calls(Mutex<Plan>);

impl Calls {
    /// From now on, the call of this number is befallen by this.
    pub fn arm(&self, nth: usize, fault: Fault) {
        *self.plan() = Plan {
            seen: vec![],
            fault: Some((nth, fault)),
            ..Plan::default()
        };
    }

    /// From now on, calls of this name hang.
    pub fn hang(&self, call: &'static str) {
        self.plan().hangs = Some(call);
    }

    /// Whether a call hangs.
    pub fn is_hanging(&self) -> bool {
        !self.plan().hanging.is_empty()
    }

    /// No call hangs any more.
    pub fn release(&self) {
        self.plan().hangs = None;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing befalls any call from now on; the calls since the plan was made.
    pub fn disarm(&self) -> Vec<String> {
        std::mem::take(&mut *self.plan()).seen
    }

    fn next(&self, call: String) -> Option<Fault> {
        let mut plan = self.plan();
        if plan.hangs == Some(call.as_str()) {
            return Some(Fault::Hangs);
        }
        let nth = plan.seen.len();
        plan.seen.push(call);
        plan.fault
            .and_then(|(at, fault)| (at == nth).then_some(fault))
    }
}

/// libseccomp keeps one descriptor for all such filters of a process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `work` on a thread of its own, whose file system calls are answered here, and those of the threads that it starts.
pub fn supervised<T: Send>(work: impl FnOnce(&Calls) -> T + Send) -> T {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    libseccomp::reset_global_state().unwrap();
    let calls = Calls::default();
    let (loaded, listener) = mpsc::channel();
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
            for call in CALLS {
                // Not every architecture has every one.
                if let Ok(call) = ScmpSyscall::from_name(call) {
                    drop(filter.add_rule(ScmpAction::Notify, call));
                }
            }
            filter.load().unwrap();
            loaded.send(filter.get_notify_fd().unwrap()).unwrap();
            work(&calls)
        });
        let listener = listener.recv().unwrap();
        while !worker.is_finished() {
            answer(listener, &calls);
        }
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Answers a call, if there is one soon.
fn answer(listener: i32, calls: &Calls) {
    let none = ScmpNotifRespFlags::empty();
    let mut plan = calls.plan();
    if plan.hangs.is_none() {
        for id in plan.hanging.drain(..) {
            let response = ScmpNotifResp::new_continue(id, none);
            response.respond(listener).unwrap();
        }
    }
    drop(plan);
    // SAFETY is libseccomp's: the descriptor stays open until the state is reset.
    #[allow(unsafe_code)]
    let fd = unsafe { BorrowedFd::borrow_raw(listener) };
    let soon = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    if poll(&mut fds, Some(&soon)) != Ok(1) || !fds[0].revents().contains(PollFlags::IN) {
        return;
    }
    let Ok(request) = ScmpNotifReq::receive(listener) else {
        return;
    };
    let name = request.data.syscall.get_name().unwrap();
    let response = match calls.next(name) {
        None => ScmpNotifResp::new_continue(request.id, none),
        Some(Fault::Fails(errno)) => {
            ScmpNotifResp::new_error(request.id, -errno.raw_os_error(), none)
        }
        Some(Fault::Ends) => {
            kill_process(getpid(), Signal::KILL).unwrap();
            return;
        }
        Some(Fault::Hangs) => return calls.plan().hanging.push(request.id),
    };
    response.respond(listener).unwrap();
}
