//! The filter that catches probed calls, the calls themselves, and the listener that answers them.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::board::Board;
use super::process::prctl;

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
        match board.call(at) {
            Some((true, nr, args)) => self.call_int80(nr, args),
            Some((false, nr, args)) => self.call_native(nr, args),
            None => 0,
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

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

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
