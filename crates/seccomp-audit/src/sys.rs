//! What no crate wraps safely: a filter for the own thread. Nothing else here is unsafe.
#![allow(unsafe_code)]

use std::io;

use libc::{sock_filter, sock_fprog};

/// `SECCOMP_RET_LOG` and `SECCOMP_RET_ALLOW`.
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// From now on the kernel logs each of this thread's calls of that number, and lets it happen. It stays so until the thread ends, and it can
/// never again gain rights by executing a program.
pub(crate) fn log_own_calls(number: u32) -> io::Result<()> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let step = |code, k, jf| sock_filter { code, jt: 0, jf, k };
    let mut steps = [
        step(LOAD, 0, 0), // the number
        step(JUMP_IF_EQUAL, number, 1),
        step(RETURN, LOG, 0),
        step(RETURN, ALLOW, 0),
    ];
    let program = sock_fprog {
        len: 4,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: an option without memory, and a program that the kernel copies before it returns.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes that call, by its number: a harmless one without arguments.
pub(crate) fn getppid() {
    // SAFETY: no memory is involved, and it cannot fail.
    let _ = unsafe { libc::syscall(libc::SYS_getppid) };
}

/// Its number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the kernel's numbers are small
pub(crate) const GETPPID: u32 = libc::SYS_getppid as u32;
