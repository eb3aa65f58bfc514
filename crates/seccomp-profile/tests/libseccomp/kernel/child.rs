//! A process of its own for each filter: it loads the filter, makes calls, and its tracer notes what became of them.
//!
//! The process needs no call to report, to go on or to end: results are in memory that it shares, `SIGSYS` is kept from it
//! by the tracer, and a breakpoint is its end. So a filter may say what it likes of every call.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_long, c_void};
use std::io;
use std::ptr;

/// How a call enters the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// `syscall`, with bit 30 of the number for X32.
    Native,
    /// `int 0x80`, the way of i386.
    Int80,
}

#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub entry: Entry,
    pub number: u32,
    pub args: [u64; 6],
}

/// What the caller saw of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This, 0 or more.
    Returned,
    Errno(u16),
    /// `SIGSYS`, which it could have handled.
    Trapped,
    /// It died.
    Killed,
    /// A tracer was asked, with this value.
    Traced(u16),
}

/// A filter and the flags of `seccomp(2)` that it is loaded with.
pub struct Filter<'a> {
    pub instructions: &'a [u8],
    pub flags: u64,
}

/// Memory that outlives a fork: shared with the child, or executable.
struct Pages {
    start: *mut c_void,
    length: usize,
}

impl Pages {
    fn new(length: usize, flags: i32) -> Self {
        // SAFETY: a new mapping, which nothing else knows.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_ANONYMOUS | flags,
                -1,
                0,
            )
        };
        assert!(start != libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { start, length }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `new` made it, and nothing borrows from it.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

/// What the child tells: the call that it is at, and what calls returned.
struct Board(Pages);

impl Board {
    const FAILED: usize = usize::MAX;

    fn new(calls: usize) -> Self {
        Self(Pages::new((calls + 1) * 8, libc::MAP_SHARED))
    }

    fn at(&self) -> *mut usize {
        self.0.start.cast()
    }

    fn result(&self, index: usize) -> *mut i64 {
        self.0.start.cast::<i64>().wrapping_add(index + 1)
    }
}

/// For each call an instruction of its own that makes it, so that audit records tell calls apart by `ip`.
pub struct Doors(Pages);

const DOOR: usize = 4;

impl Doors {
    fn new(calls: &[Call]) -> Self {
        let pages = Pages::new((calls.len() * DOOR).max(1), libc::MAP_PRIVATE);
        for (i, call) in calls.iter().enumerate() {
            let code: [u8; DOOR] = match call.entry {
                Entry::Native => [0x0f, 0x05, 0xc3, 0x90], // syscall; ret; nop
                Entry::Int80 => [0xcd, 0x80, 0xc3, 0x90],  // int 0x80; ret; nop
            };
            // SAFETY: there is room for one for each call.
            unsafe {
                ptr::copy_nonoverlapping(
                    code.as_ptr(),
                    pages.start.cast::<u8>().add(i * DOOR),
                    DOOR,
                );
            }
        }
        // SAFETY: they are whole, and from here on nobody writes to them.
        let done =
            unsafe { libc::mprotect(pages.start, pages.length, libc::PROT_READ | libc::PROT_EXEC) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
        Self(pages)
    }

    /// The call that an instruction pointer behind its door belongs to.
    pub fn call_at(&self, ip: u64) -> Option<usize> {
        let offset = usize::try_from(ip)
            .ok()?
            .checked_sub(self.0.start as usize + 2)?;
        (offset < self.0.length && offset.is_multiple_of(DOOR)).then_some(offset / DOOR)
    }
}

/// Makes the calls under the filter. A process that is killed is followed by another for the rest.
///
/// `name` is the name of the processes in audit records.
pub fn make(calls: &[Call], filter: Option<&Filter<'_>>, name: &CStr) -> (Vec<Outcome>, Doors) {
    let doors = Doors::new(calls);
    let board = Board::new(calls.len());
    let mut outcomes = vec![None; calls.len()];
    let mut start = 0;
    while start < calls.len() {
        // SAFETY: the child does nothing but what `child` does: no allocation, no lock.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "{}", io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: this is a process of its own, with one thread.
            unsafe { child(calls, start, filter, name, &doors, &board) };
        }
        let end = trace(pid, &board, &mut outcomes);
        // SAFETY: no child writes any more.
        let results = (start..end).map(|index| (index, unsafe { *board.result(index) }));
        for (index, result) in results {
            outcomes[index].get_or_insert_with(|| match u16::try_from(-result) {
                Ok(errno @ 1..=4095) => Outcome::Errno(errno),
                _ => Outcome::Returned,
            });
        }
        start = end + 1;
    }
    (outcomes.into_iter().map(Option::unwrap).collect(), doors)
}

/// The child's life.
unsafe fn child(
    calls: &[Call],
    start: usize,
    filter: Option<&Filter<'_>>,
    name: &CStr,
    doors: &Doors,
    board: &Board,
) -> ! {
    // SAFETY: none of these touches memory but what is passed to it.
    unsafe {
        let none: c_long = 0;
        libc::ptrace(
            libc::PTRACE_TRACEME,
            0,
            ptr::null_mut::<c_void>(),
            ptr::null_mut::<c_void>(),
        );
        libc::prctl(libc::PR_SET_NAME, name.as_ptr(), none, none, none);
        libc::prctl(libc::PR_SET_DUMPABLE, none, none, none, none);
        // No call reaches a file, a queue or a semaphore of anybody.
        let alone = libc::unshare(libc::CLONE_NEWIPC) == 0
            && libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32) == 0;
        libc::raise(libc::SIGSTOP);
        let loaded = alone
            && filter.is_none_or(|filter| {
                let program = libc::sock_fprog {
                    len: u16::try_from(filter.instructions.len() / 8).unwrap_or(0),
                    filter: filter.instructions.as_ptr().cast_mut().cast(),
                };
                libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    filter.flags,
                    &raw const program,
                ) == 0
            });
        if loaded {
            for (index, call) in calls.iter().enumerate().skip(start) {
                board.at().write_volatile(index);
                let door = doors.0.start.cast::<u8>().wrapping_add(index * DOOR);
                board.result(index).write_volatile(enter(call, door));
            }
            board.at().write_volatile(calls.len());
        } else {
            board.at().write_volatile(Board::FAILED);
        }
        loop {
            std::arch::asm!("int3");
        }
    }
}

/// Makes the call through its door.
unsafe fn enter(call: &Call, door: *const u8) -> i64 {
    let [a0, a1, a2, a3, a4, a5] = call.args;
    match call.entry {
        Entry::Native => {
            let result: i64;
            // SAFETY: a system call clobbers rcx and r11; what it does is the caller's choice.
            unsafe {
                std::arch::asm!(
                    "call r12",
                    in("r12") door,
                    inlateout("rax") u64::from(call.number) => result,
                    in("rdi") a0, in("rsi") a1, in("rdx") a2, in("r10") a3, in("r8") a4, in("r9") a5,
                    lateout("rcx") _, lateout("r11") _,
                );
            }
            result
        }
        Entry::Int80 => {
            #[allow(clippy::cast_possible_truncation)] // 32 bits are all that this entry takes
            let args = call.args.map(|arg| arg as u32);
            let result: i32;
            // SAFETY: as above; rbx and rbp, which the compiler keeps for itself, are saved and restored, and kernels may
            // clear r8 to r11.
            unsafe {
                std::arch::asm!(
                    "push rbp",
                    "push rbx",
                    "mov ebx, [rdi]",
                    "mov ecx, [rdi + 4]",
                    "mov edx, [rdi + 8]",
                    "mov esi, [rdi + 12]",
                    "mov ebp, [rdi + 20]",
                    "mov edi, [rdi + 16]",
                    "call r12",
                    "pop rbx",
                    "pop rbp",
                    in("r12") door,
                    inlateout("eax") call.number => result,
                    inout("rdi") args.as_ptr() => _,
                    out("rcx") _, out("rdx") _, out("rsi") _,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
            }
            result.into()
        }
    }
}

/// Follows a child to its end. Notes what it cannot tell itself, and returns the call that killed it, or the number of calls.
fn trace(pid: libc::pid_t, board: &Board, outcomes: &mut [Option<Outcome>]) -> usize {
    let nothing = ptr::null_mut::<c_void>();
    let mut started = false;
    loop {
        let mut status = 0;
        // SAFETY: a child of this thread; `status` is a place to write to.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        assert_eq!(waited, pid, "{}", io::Error::last_os_error());
        // SAFETY: the child is stopped or gone, and shares the board.
        let at = unsafe { board.at().read_volatile() };
        if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS {
            outcomes[at] = Some(Outcome::Killed);
            return at;
        }
        assert!(libc::WIFSTOPPED(status), "the child ended: {status:#x}");
        let mut message: libc::c_ulong = 0;
        // SAFETY: the child is a tracee of this thread and stopped; the addresses are those of what each request writes to.
        unsafe {
            match (libc::WSTOPSIG(status), status >> 16) {
                (libc::SIGSTOP, 0) if !started => {
                    started = true;
                    let options = libc::PTRACE_O_TRACESECCOMP | libc::PTRACE_O_EXITKILL;
                    let options: *mut c_void =
                        ptr::without_provenance_mut(usize::try_from(options).unwrap());
                    libc::ptrace(libc::PTRACE_SETOPTIONS, pid, nothing, options);
                }
                (libc::SIGTRAP, libc::PTRACE_EVENT_SECCOMP) => {
                    libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, nothing, &raw mut message);
                    outcomes[at] = Some(Outcome::Traced(u16::try_from(message).unwrap()));
                    let mut registers: libc::user_regs_struct = std::mem::zeroed();
                    libc::ptrace(libc::PTRACE_GETREGS, pid, nothing, &raw mut registers);
                    registers.orig_rax = u64::MAX; // no call
                    libc::ptrace(libc::PTRACE_SETREGS, pid, nothing, &raw mut registers);
                }
                (libc::SIGSYS, 0) => outcomes[at] = Some(Outcome::Trapped),
                (libc::SIGTRAP, 0) => {
                    libc::kill(pid, libc::SIGKILL);
                    libc::waitpid(pid, &raw mut status, libc::__WALL);
                    assert_ne!(at, Board::FAILED, "the filter cannot be loaded");
                    return at;
                }
                (signal, event) => panic!("stopped by signal {signal}, event {event}"),
            }
            libc::ptrace(libc::PTRACE_CONT, pid, nothing, nothing);
        }
    }
}
