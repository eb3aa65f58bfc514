//! Making, watching and ending processes, with as few syscalls as can be: a filter may stop any of them.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::filter::Listener;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The new process.
    Child,
    /// The old process, and the new one's id.
    Parent(libc::pid_t),
}

/// Forks the process. The child must end in [`exit_now`].
///
/// `clone` is asked directly, and `fork` only if that is refused: which of them a C library would use differs, and a
/// tight profile may have just one.
///
/// # Safety
///
/// The process has one thread only, or the child neither allocates nor takes a lock: what another thread held would stay
/// held in the child for ever.
pub unsafe fn fork() -> io::Result<Side> {
    let none: c_long = 0;
    // SAFETY: without CLONE_VM and with a null stack, clone(2) is fork(2): both sides go on with their own copy of the
    // memory. That no lock is left held in the child is the caller's promise.
    let clone = || unsafe {
        libc::syscall(
            libc::SYS_clone,
            c_long::from(libc::SIGCHLD),
            none,
            none,
            none,
            none,
        )
    };
    #[cfg(target_arch = "x86_64")]
    let pid = match clone() {
        // SAFETY: as above.
        ..0 => unsafe { libc::syscall(libc::SYS_fork) },
        pid => pid,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let pid = clone();
    match libc::pid_t::try_from(pid) {
        Ok(0) => Ok(Side::Child),
        Ok(pid) if pid > 0 => Ok(Side::Parent(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process without running anything else, whatever a filter says about `exit_group`.
pub fn exit_now(code: i32) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe {
            libc::syscall(libc::SYS_exit_group, c_long::from(code));
            libc::syscall(libc::SYS_exit, c_long::from(code));
        }
        die_of_bad_instruction();
    }
}

fn die_of_bad_instruction() {
    // SAFETY: raises SIGILL, which ends the process: the last way out when a filter refuses both exit calls.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("ud2");
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("udf #0");
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

/// Waits for a child. With `block` unset, returns `None` while it lives.
pub fn wait(pid: libc::pid_t, block: bool) -> io::Result<Option<End>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the kernel to write to.
        let got =
            unsafe { libc::waitpid(pid, &raw mut status, if block { 0 } else { libc::WNOHANG }) };
        if got == pid {
            return Ok(Some(if libc::WIFSIGNALED(status) {
                End::Signal(libc::WTERMSIG(status))
            } else {
                End::Exit(libc::WEXITSTATUS(status))
            }));
        }
        if got == 0 {
            return Ok(None);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends SIGKILL to a child of ours.
pub fn kill(pid: libc::pid_t) {
    if pid > 0 {
        // SAFETY: a signal to one process that this one has forked and not yet waited for.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// Asks to be killed when the parent ends, so that nothing is left behind. A filter may refuse; that is no harm.
pub fn die_with_parent() {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL.unsigned_abs().into());
}

/// Keeps the deaths to come from writing core dumps. A filter may refuse; that is no harm.
pub fn no_core_dumps() {
    prctl(libc::PR_SET_DUMPABLE, 0);
}

pub(super) fn prctl(option: i32, value: libc::c_ulong) -> bool {
    let none: libc::c_ulong = 0;
    // SAFETY: the options used here take one number and no pointer.
    unsafe { libc::prctl(option, value, none, none, none) == 0 }
}

/// A pipe that carries nothing: its read end hangs up when the last process that has the write end is gone.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for the two descriptors; each is owned by nobody else once made.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// What [`poll`] saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The first descriptor has something to read.
    pub readable: bool,
    /// The second one hung up.
    pub hung_up: bool,
}

/// Waits until the listener (if any) is readable or the pipe hangs up; nothing seen means that the time passed.
///
/// By `ppoll` where a filter stops `poll`.
pub fn poll(listener: Option<&Listener>, pipe: &OwnedFd, milliseconds: i32) -> io::Result<Seen> {
    // A negative descriptor is skipped by poll(2).
    let fd = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [
        fd(listener.map_or(-1, AsRawFd::as_raw_fd)),
        fd(pipe.as_raw_fd()),
    ];
    // SAFETY: `fds` holds two entries and outlives the call.
    let mut got = unsafe { libc::poll(fds.as_mut_ptr(), 2, milliseconds) };
    if got < 0 && !is_interrupted() {
        // A profile for a program that needs one of the two may well stop the other.
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: c_long::from(milliseconds) * 1_000_000,
        };
        // SAFETY: as above; `time` outlives the call as well, and no signal mask is given.
        got = unsafe { libc::ppoll(fds.as_mut_ptr(), 2, &raw const time, std::ptr::null()) };
    }
    if got < 0 && !is_interrupted() {
        return Err(io::Error::last_os_error());
    }
    Ok(Seen {
        readable: fds[0].revents & libc::POLLIN != 0,
        hung_up: fds[1].revents & libc::POLLHUP != 0,
    })
}

fn is_interrupted() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
}

/// Does nothing for a while.
pub fn pause(milliseconds: i32) {
    // SAFETY: with no descriptors, no memory is touched.
    unsafe { libc::poll(std::ptr::null_mut(), 0, milliseconds) };
}
