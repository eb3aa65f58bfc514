//! The handler of SIGSYS: how a process finds out that a filter raised it.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::board::{Board, Head, Mark};
use super::process::exit_now;

/// The board that the SIGSYS handler writes to: the current process's, for it has no other way to find it. The address is
/// that of the shared memory, which no move of a [`Board`] changes.
static TRAP_BOARD: AtomicPtr<Head> = AtomicPtr::new(std::ptr::null_mut());

/// From here on, a SIGSYS raised by a probed call is noted on the board before the process ends.
///
/// If the handler cannot be installed, a trap looks like a kill; the board says so.
pub fn note_traps(board: &Board) {
    TRAP_BOARD.store(board.address().as_ptr(), Ordering::Release);
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigsys;
    // SAFETY: zeroes are a valid `sigaction` and `sigset_t`; the handler only touches atomics and ends the process.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        let mut only_sigsys: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut only_sigsys, libc::SIGSYS);
        libc::sigprocmask(
            libc::SIG_UNBLOCK,
            &raw const only_sigsys,
            std::ptr::null_mut(),
        );
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) == 0
    };
    board.set_traps_told(installed);
}

/// A board is about to go.
pub fn forget(board: &Board) {
    let none = std::ptr::null_mut();
    // Another board may have taken its place.
    let _ = TRAP_BOARD.compare_exchange(
        board.address().as_ptr(),
        none,
        Ordering::AcqRel,
        Ordering::Acquire,
    );
}

extern "C" fn on_sigsys(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the address is null or that of a board that has not been dropped (`forget` clears it); the kernel passes a
    // valid `info` to a handler with SA_SIGINFO.
    let (board, data) = unsafe {
        (
            NonNull::new(TRAP_BOARD.load(Ordering::Acquire)).map(|at| Board::borrowed(at)),
            info.as_ref().map_or(0, |i| i.si_errno),
        )
    };
    if let Some(board) = board
        && let Some(at) = board.current()
    {
        board.set_outcome(at, Mark::Trapped, data.into());
    }
    exit_now(128 + libc::SIGSYS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::kernel::{Call, End, EntryPoint, Side, fork, wait};

    #[test]
    fn a_trap_is_noted_wherever_the_board_has_moved_to() {
        let call = Call {
            entry: EntryPoint::Native,
            nr: 0,
            args: [0; 5],
        };
        let mut places = [Some(Board::new(&[call]).unwrap()), None];
        // SAFETY: the child neither allocates nor takes a lock.
        match unsafe { fork() }.unwrap() {
            Side::Child => {
                if let Some(board) = &places[0] {
                    note_traps(board);
                    board.set_current(Some(0));
                }
                places[1] = places[0].take();
                // SAFETY: a signal to this very process.
                unsafe { libc::raise(libc::SIGSYS) };
                exit_now(1)
            }
            Side::Parent(child) => {
                assert_eq!(
                    wait(child, true).unwrap(),
                    Some(End::Exit(128 + libc::SIGSYS))
                );
                assert_eq!(places[0].as_ref().unwrap().outcome(0).0, Mark::Trapped);
            }
        }
    }
}
