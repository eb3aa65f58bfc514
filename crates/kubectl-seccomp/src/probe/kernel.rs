//! The kernel's seccomp interface, by hand, and so with unsafe code.
//!
//! It forks, shares a board of calls between the processes, stacks a filter that catches every call carrying a secret
//! cookie in its sixth argument, makes such calls and answers them. What to call and what an answer means is decided
//! elsewhere: nothing here knows a syscall's name.
//!
//! A call can only be made through a [`Guard`], and a `Guard` only exists in a process (or the child of one) that has
//! the catching filter in force: this is what makes it safe to call anything at all.
#![allow(unsafe_code)]

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// How a call enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The instruction of the 64-bit ABI (`syscall`, `svc 0`). x32 calls enter here too, with bit 30 set.
    Native,
    /// `int 0x80` on x86-64: the i386 ABI.
    Int80,
}

/// One call to be probed. The sixth argument is not the caller's: it carries the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The ABI's door.
    pub entry: Entry,
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
struct Head {
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
pub struct Board {
    base: NonNull<u8>,
    bytes: usize,
    len: usize,
}

impl Board {
    /// Maps a board with one open slot for each call.
    pub fn new(calls: &[Call]) -> io::Result<Self> {
        let bytes = size_of::<Head>() + calls.len() * size_of::<Slot>();
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let board = Self {
            base,
            bytes,
            len: calls.len(),
        };
        board.head().current.store(usize::MAX, Ordering::Release);
        for (slot, call) in board.slots().iter().zip(calls) {
            slot.int80
                .store(u32::from(call.entry == Entry::Int80), Ordering::Relaxed);
            slot.nr.store(call.nr, Ordering::Relaxed);
            for (to, from) in slot.args.iter().zip(call.args) {
                to.store(from.cast_signed(), Ordering::Relaxed);
            }
        }
        Ok(board)
    }

    fn head(&self) -> &Head {
        // SAFETY: the mapping is page-aligned, at least a `Head` long, zeroed by the kernel (valid for atomics) and
        // lives as long as `self`.
        unsafe { self.base.cast::<Head>().as_ref() }
    }

    fn slots(&self) -> &[Slot] {
        // SAFETY: `len` slots follow the head in the same mapping; `Head` and `Slot` have the same alignment and sizes
        // that are multiples of it; zeroes are valid for atomics.
        unsafe {
            let first = self.base.cast::<Head>().add(1).cast::<Slot>();
            std::slice::from_raw_parts(first.as_ptr(), self.len)
        }
    }

    /// The number of slots.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The slot that is being worked on, once there is one.
    pub fn current(&self) -> Option<usize> {
        Some(self.head().current.load(Ordering::Acquire)).filter(|at| *at < self.len)
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
}

impl Drop for Board {
    fn drop(&mut self) {
        TRAP_BOARD.store(std::ptr::null_mut(), Ordering::Release);
        // SAFETY: the mapping was made by `new` and no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

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
/// tight profile may have just one. The process must have one thread only, as this tool has.
pub fn fork() -> io::Result<Side> {
    let none: c_long = 0;
    // SAFETY: without CLONE_VM and with a null stack, clone(2) is fork(2): both sides go on with their own copy of the
    // memory. There is no other thread whose locks could be left held in the child.
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

fn prctl(option: i32, value: libc::c_ulong) -> bool {
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
pub fn poll(listener: Option<&Listener>, pipe: &OwnedFd, milliseconds: i32) -> io::Result<Seen> {
    // A negative descriptor is skipped by poll(2).
    let fd = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [
        fd(listener.map_or(-1, |l| l.0.as_raw_fd())),
        fd(pipe.as_raw_fd()),
    ];
    // SAFETY: `fds` holds two entries and outlives the call.
    let got = unsafe { libc::poll(fds.as_mut_ptr(), 2, milliseconds) };
    if got < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(Seen {
        readable: fds[0].revents & libc::POLLIN != 0,
        hung_up: fds[1].revents & libc::POLLHUP != 0,
    })
}

/// Does nothing for a while.
pub fn pause(milliseconds: i32) {
    // SAFETY: with no descriptors, no memory is touched.
    unsafe { libc::poll(std::ptr::null_mut(), 0, milliseconds) };
}

/// A secret that marks a call as a probe. Ordinary calls leave whatever they like in the sixth argument's register, so
/// it has to be something that they do not have there by chance.
#[derive(Clone, Copy, Debug)]
pub struct Cookie {
    low: u32,
    high: u32,
}

impl Cookie {
    /// Takes the random bytes that the kernel hands to every program it starts: no syscall is needed.
    pub fn new() -> Option<Self> {
        // SAFETY: only reads the auxiliary vector.
        let at = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u32; 4];
        if at.is_null() {
            return None;
        }
        // SAFETY: AT_RANDOM is the address of 16 bytes, of no particular alignment, that live as long as the process.
        let [low, high, ..] = unsafe { at.read_unaligned() };
        // A set bit in each half keeps small and zero-extended values apart from it.
        Some(Self {
            low: low | 0x4000_0000,
            high: high | 0x4000_0000,
        })
    }

    /// A filter that takes `action` for calls with the cookie and allows all others. An i386 call has no upper half.
    fn program(self, action: u32) -> [libc::sock_filter; 7] {
        // struct seccomp_data: nr, arch, instruction pointer (8), args[6] (8 each).
        const ARG5: u32 = 16 + 5 * 8;
        let (low_at, high_at) = if cfg!(target_endian = "little") {
            (ARG5, ARG5 + 4)
        } else {
            (ARG5 + 4, ARG5)
        };
        let load = |k| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, k);
        let equal =
            |k, yes, no| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, k);
        let ret = |k| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, k);
        [
            load(low_at),
            equal(self.low, 0, 3),
            load(high_at),
            equal(self.high, 2, 0),
            equal(0, 1, 0),
            ret(libc::SECCOMP_RET_ALLOW),
            ret(action),
        ]
    }
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt,
        jf,
        k,
    }
}

/// Proof that this process stacks a filter which catches every call with the cookie, so that none is executed.
pub struct Guard {
    cookie: Cookie,
}

/// Sets `no_new_privs`, without which an unprivileged process may not stack a filter. Says whether it is set.
pub fn no_new_privs() -> bool {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Stacks a filter that hands calls with the cookie to the returned listener.
pub fn catch_with_listener(cookie: Cookie) -> io::Result<(Guard, Listener)> {
    let mut program = cookie.program(libc::SECCOMP_RET_USER_NOTIF);
    let program = libc::sock_fprog {
        len: 7,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program has the stated length and outlives the call, which copies it; on success the result is a
    // descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_seccomp,
            c_long::from(libc::SECCOMP_SET_MODE_FILTER),
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        match i32::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok((Guard { cookie }, Listener(OwnedFd::from_raw_fd(fd)))),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Stacks a filter that hands calls with the cookie to a tracer: there is none, so the kernel answers ENOSYS.
///
/// The caller makes sure that the process is not traced (a tracer could let the call through), and finds out by harmless
/// calls whether an older filter's listener answers first (it could do the same).
pub fn catch_without_tracer(cookie: Cookie) -> io::Result<Guard> {
    let mut program = cookie.program(libc::SECCOMP_RET_TRACE);
    let program = libc::sock_fprog {
        len: 7,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: as for the listener.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if done == 0 {
        Ok(Guard { cookie })
    } else {
        Err(io::Error::last_os_error())
    }
}

impl Guard {
    /// Makes the call in a slot and returns what came back: 0 or more, or a negative errno.
    pub fn call(&self, board: &Board, at: usize) -> i64 {
        let Some(slot) = board.slots().get(at) else {
            return 0;
        };
        let nr = slot.nr.load(Ordering::Relaxed);
        let args = slot.args.each_ref().map(|a| a.load(Ordering::Relaxed));
        if slot.int80.load(Ordering::Relaxed) == 1 {
            self.call_int80(nr, args)
        } else {
            self.call_native(nr, args)
        }
    }

    fn call_native(&self, nr: u32, args: [i64; 5]) -> i64 {
        let cookie = (u64::from(self.cookie.high) << 32 | u64::from(self.cookie.low)).cast_signed();
        let [a0, a1, a2, a3, a4] = args;
        // SAFETY: the filter that `self` stands for catches the call: it is answered, never executed, so neither its
        // number nor its arguments matter.
        let result = unsafe { libc::syscall(i64::from(nr), a0, a1, a2, a3, a4, cookie) };
        if result == -1 {
            -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(0))
        } else {
            result
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn call_int80(&self, nr: u32, args: [i64; 5]) -> i64 {
        #[allow(clippy::cast_possible_truncation)] // 32 bits are all that this entry takes
        let [a0, a1, a2, a3, a4] = args.map(|arg| arg.cast_unsigned() as u32);
        let registers: [u32; 7] = [nr, a0, a1, a2, a3, a4, self.cookie.low];
        let result: i32;
        // SAFETY: as for the native call. rbx and rbp, which the compiler keeps for itself, are saved and restored;
        // older kernels clear r8 to r11 on this path, so they are declared lost.
        unsafe {
            std::arch::asm!(
                "push rbp",
                "push rbx",
                "mov eax, [rdi]",
                "mov ebx, [rdi + 4]",
                "mov ecx, [rdi + 8]",
                "mov edx, [rdi + 12]",
                "mov esi, [rdi + 16]",
                "mov ebp, [rdi + 24]",
                "mov edi, [rdi + 20]",
                "int 0x80",
                "pop rbx",
                "pop rbp",
                inout("rdi") registers.as_ptr() => _,
                out("eax") result,
                out("rcx") _,
                out("rdx") _,
                out("rsi") _,
                out("r8") _,
                out("r9") _,
                out("r10") _,
                out("r11") _,
            );
        }
        result.into()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn call_int80(&self, _nr: u32, _args: [i64; 5]) -> i64 {
        let _ = self.cookie.low;
        -i64::from(libc::ENOSYS)
    }
}

/// The other end of a catching filter.
pub struct Listener(OwnedFd);

/// A call that reached the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    id: u64,
    /// The caller, as this PID namespace numbers it.
    pub pid: u32,
    /// The number of the call.
    pub nr: u32,
}

/// Room for the kernel's notification and answer, larger than today's structures (80 and 24 bytes), which the kernel
/// may extend: it writes as much as it knows.
#[repr(C)]
union Room {
    notice: libc::seccomp_notif,
    bytes: [u8; 1024],
}

impl Listener {
    /// Takes the next call; `None` if its caller went away meanwhile.
    pub fn receive(&self) -> io::Result<Option<Notice>> {
        // The kernel insists on zeroes.
        let mut room = Room { bytes: [0; 1024] };
        // SAFETY: `room` is larger than what the kernel writes, and every bit pattern is a valid `seccomp_notif`.
        let (got, notice) = unsafe {
            let got = libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut room,
            );
            (got, room.notice)
        };
        if got == 0 {
            return Ok(Some(Notice {
                id: notice.id,
                pid: notice.pid,
                nr: notice.data.nr.cast_unsigned(),
            }));
        }
        gone_or_error()
    }

    /// Answers a call with an errno: the kernel does not execute it.
    pub fn refuse(&self, notice: Notice, errno: i32) -> io::Result<()> {
        let mut answer = libc::seccomp_notif_resp {
            id: notice.id,
            val: 0,
            error: -errno,
            flags: 0,
        };
        // SAFETY: `answer` is the structure that this request reads.
        let got = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut answer,
            )
        };
        if got == 0 {
            Ok(())
        } else {
            gone_or_error::<()>().map(|_| ())
        }
    }
}

/// ENOENT: the caller is dead or was interrupted. EINTR: ask again.
fn gone_or_error<T>() -> io::Result<Option<T>> {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(None),
        _ => Err(error),
    }
}

/// The board that the SIGSYS handler writes to: the current process's, for it has no other way to find it.
static TRAP_BOARD: AtomicPtr<Board> = AtomicPtr::new(std::ptr::null_mut());

/// From here on, a SIGSYS raised by a probed call is noted on the board before the process ends.
///
/// If the handler cannot be installed, a trap looks like a kill; the board says so.
pub fn note_traps(board: &Board) {
    TRAP_BOARD.store(std::ptr::from_ref(board).cast_mut(), Ordering::Release);
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
    board.head().traps_told.store(installed, Ordering::Release);
}

extern "C" fn on_sigsys(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the pointer is null or that of a board that outlives the process's use of it (`Drop` clears it); the
    // kernel passes a valid `info` to a handler with SA_SIGINFO.
    let (board, data) = unsafe {
        (
            TRAP_BOARD.load(Ordering::Acquire).as_ref(),
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
