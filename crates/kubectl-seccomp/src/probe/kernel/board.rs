//! Calls and their outcomes in memory that several processes share.
//!
//! All that a board is stands in the mapping itself, so that its address is all that a signal handler needs, wherever the
//! [`Board`] is moved.

use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};

/// How a call enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPoint {
    /// The instruction of the 64-bit ABI (`syscall`, `svc 0`). x32 calls enter here too, with bit 30 set.
    Native,
    /// `int 0x80` on x86-64: the i386 ABI.
    Int80,
}

/// One call to be probed. The sixth argument is not the caller's: it carries the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The ABI's entry point.
    pub entry: EntryPoint,
    /// The number as the kernel sees it, x32 bit included.
    pub nr: u32,
    /// Arguments 0 to 4. `int 0x80` passes their low 32 bits.
    pub args: [u64; 5],
}

/// What became of a call. Stored as a number, since it lives in memory that several processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mark {
    /// Not made yet, or made and not come back.
    Open = 0,
    /// It reached the listener: no filter stopped it.
    Caught = 1,
    /// It came back without reaching the listener; the value is what it returned.
    Returned = 2,
    /// It raised SIGSYS; the value is the filter's data.
    Trapped = 3,
    /// Its process died; the value is the signal, 0 if unknown.
    Died = 4,
    /// Nothing happened in time.
    Silent = 5,
}

impl Mark {
    fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Caught,
            2 => Self::Returned,
            3 => Self::Trapped,
            4 => Self::Died,
            5 => Self::Silent,
            _ => Self::Open,
        }
    }
}

/// A call and its outcome, in shared memory.
#[repr(C)]
struct Slot {
    int80: AtomicU32,
    nr: AtomicU32,
    args: [AtomicI64; 5],
    mark: AtomicU32,
    value: AtomicI64,
}

/// The part of the board that is not about one call.
#[repr(C)]
pub(super) struct Head {
    /// The number of slots behind it; written before anybody else knows of the board.
    len: AtomicUsize,
    /// The slot in work; `usize::MAX` before the first.
    current: AtomicUsize,
    /// Whether the supervisor came to its end.
    finished: AtomicBool,
    /// The step at which the supervisor failed (its own numbers), 0 if none.
    failed_step: AtomicU32,
    /// The errno of that failure.
    failed_errno: AtomicU32,
    /// Whether a SIGSYS handler is installed, so that a trap can be told from a kill.
    traps_told: AtomicBool,
}

/// Calls and outcomes in memory shared by all processes forked after it was made. Everything in it is atomic.
pub struct Board(NonNull<Head>);

impl Board {
    /// Maps a board with one open slot for each call.
    pub fn new(calls: &[Call]) -> io::Result<Self> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped(calls.len()),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<Head>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let board = Self(base);
        board.head().len.store(calls.len(), Ordering::Relaxed);
        board.head().current.store(usize::MAX, Ordering::Release);
        for (slot, call) in board.slots().iter().zip(calls) {
            slot.int80.store(
                u32::from(call.entry == EntryPoint::Int80),
                Ordering::Relaxed,
            );
            slot.nr.store(call.nr, Ordering::Relaxed);
            for (to, from) in slot.args.iter().zip(call.args) {
                to.store(from.cast_signed(), Ordering::Relaxed);
            }
        }
        Ok(board)
    }

    /// The address of the mapping: it stays where it is when the board is moved.
    pub(super) fn address(&self) -> NonNull<Head> {
        self.0
    }

    /// The board at an address, which goes on to own it.
    ///
    /// # Safety
    ///
    /// The address is that of a board ([`Board::address`]) which is not dropped as long as this one is used.
    pub(super) unsafe fn borrowed(address: NonNull<Head>) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(address))
    }

    fn head(&self) -> &Head {
        // SAFETY: the mapping is page-aligned, at least a `Head` long, zeroed by the kernel (valid for atomics) and
        // lives as long as `self`.
        unsafe { self.0.as_ref() }
    }

    fn slots(&self) -> &[Slot] {
        // SAFETY: `len` slots follow the head in the same mapping; `Head` and `Slot` have the same alignment and sizes
        // that are multiples of it; zeroes are valid for atomics.
        unsafe {
            let first = self.0.add(1).cast::<Slot>();
            std::slice::from_raw_parts(first.as_ptr(), self.len())
        }
    }

    /// The call in a slot: whether it enters by `int 0x80`, its number and its arguments.
    pub(super) fn call(&self, at: usize) -> Option<(bool, u32, [i64; 5])> {
        let slot = self.slots().get(at)?;
        Some((
            slot.int80.load(Ordering::Relaxed) == 1,
            slot.nr.load(Ordering::Relaxed),
            slot.args.each_ref().map(|a| a.load(Ordering::Relaxed)),
        ))
    }

    /// The number of slots.
    pub fn len(&self) -> usize {
        self.head().len.load(Ordering::Relaxed)
    }

    /// The slot that is being worked on, once there is one.
    pub fn current(&self) -> Option<usize> {
        Some(self.head().current.load(Ordering::Acquire)).filter(|at| *at < self.len())
    }

    /// Says which slot is worked on; none while a child is being prepared.
    pub fn set_current(&self, at: Option<usize>) {
        self.head()
            .current
            .store(at.unwrap_or(usize::MAX), Ordering::Release);
    }

    /// The outcome in a slot: its mark and the value that goes with it.
    pub fn outcome(&self, at: usize) -> (Mark, i64) {
        self.slots().get(at).map_or((Mark::Open, 0), |slot| {
            (
                Mark::from_raw(slot.mark.load(Ordering::Acquire)),
                slot.value.load(Ordering::Relaxed),
            )
        })
    }

    /// Writes an outcome.
    pub fn set_outcome(&self, at: usize, mark: Mark, value: i64) {
        if let Some(slot) = self.slots().get(at) {
            slot.value.store(value, Ordering::Relaxed);
            slot.mark.store(mark as u32, Ordering::Release);
        }
    }

    /// The number of the call in a slot.
    pub fn nr(&self, at: usize) -> Option<u32> {
        self.slots()
            .get(at)
            .map(|slot| slot.nr.load(Ordering::Relaxed))
    }

    /// Notes where the supervisor failed.
    pub fn set_failure(&self, step: u32, errno: i32) {
        self.head()
            .failed_errno
            .store(errno.unsigned_abs(), Ordering::Relaxed);
        self.head().failed_step.store(step, Ordering::Release);
    }

    /// The step at which the supervisor failed, and the errno.
    pub fn failure(&self) -> Option<(u32, i32)> {
        let step = self.head().failed_step.load(Ordering::Acquire);
        (step != 0).then(|| {
            (
                step,
                self.head()
                    .failed_errno
                    .load(Ordering::Relaxed)
                    .cast_signed(),
            )
        })
    }

    /// Notes that every slot has been worked on.
    pub fn set_finished(&self) {
        self.head().finished.store(true, Ordering::Release);
    }

    /// Whether every slot has been worked on.
    pub fn finished(&self) -> bool {
        self.head().finished.load(Ordering::Acquire)
    }

    /// Whether a trap can be told from a kill.
    pub fn traps_told(&self) -> bool {
        self.head().traps_told.load(Ordering::Acquire)
    }

    pub(super) fn set_traps_told(&self, told: bool) {
        self.head().traps_told.store(told, Ordering::Release);
    }
}

fn mapped(slots: usize) -> usize {
    size_of::<Head>() + slots * size_of::<Slot>()
}

impl Drop for Board {
    fn drop(&mut self) {
        super::trap::forget(self);
        let bytes = mapped(self.len());
        // SAFETY: the mapping was made by `new` with this length and no reference into it outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), bytes) };
    }
}
