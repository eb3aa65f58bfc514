//! Which syscalls and architectures strace's words mean.

use super::NamedCall;
use crate::call::Called;
use seccomp_profile::{Arch, Syscall};

/// The architecture of a mode, in strace's words: `32 bit mode. ]`.
pub fn mode_arch(mode: &str, native: Arch) -> Option<Arch> {
    let wanted = mode.split(" mode").next()?;
    let find = |arches: &[Arch]| {
        native
            .abis()
            .iter()
            .copied()
            .find(|arch| arches.contains(arch))
    };
    match wanted {
        "64 bit" | "n64" => Some(native),
        "x32" => find(&[Arch::X32]),
        "n32" => find(&[Arch::Mips64N32, Arch::Mipsel64N32]),
        "32 bit" | "31 bit" | "o32" => find(&[
            Arch::X86,
            Arch::Arm,
            Arch::Ppc,
            Arch::S390,
            Arch::Mips,
            Arch::Mipsel,
        ]),
        _ => None,
    }
}

/// Names that older versions of strace, and other tools, have for calls. No others are understood: what ltrace prints of libraries is no call.
const OTHER_NAMES: [&str; 8] = [
    "fstatat",
    "newfstat",
    "old_getrlimit",
    "old_mmap",
    "old_select",
    "pread",
    "pwrite",
    "umount",
];

/// The call that strace means on that architecture.
pub fn called(name: &str, arch: Arch) -> Option<Called> {
    if let Some(number) = name.strip_prefix("syscall_0x") {
        let number = u32::from_str_radix(number, 16).ok()?;
        return Some(Called::numbered(arch, number));
    }
    // So did strace before 4.16, and so does ltrace.
    let decimal = name.strip_prefix("syscall_").unwrap_or(name);
    if let Ok(number) = decimal.parse() {
        return Some(Called::numbered(arch, number));
    }
    let call = if OTHER_NAMES.contains(&name) {
        Syscall::named_on(name, arch)
    } else {
        Syscall::named(name).filter(|call| call.number(arch).is_some())
    };
    if let Some(call) = call {
        return Some(Called::Known(call));
    }
    multiplexer(name, arch).map(Called::Known)
}

/// Whether the call has that number.
pub fn has_number(called: Called, arch: Arch, number: u32) -> bool {
    match called {
        Called::Known(call) => call.number(arch) == Some(number),
        Called::Number(unknown) => unknown == number,
    }
}

/// What the kernel was called for. Of a call that goes through `socketcall` or `ipc` strace prints what it asks for,
/// as of one that does not; unless it prints numbers too, it may have been either.
pub fn kernel_calls(named: NamedCall<'_>) -> impl Iterator<Item = Called> {
    let NamedCall {
        name,
        number,
        arch,
        called,
    } = named;
    let other = multiplexer(name, arch)
        .map(Called::Known)
        .filter(|other| *other != called);
    let both = [Some(called), other];
    let sure = both
        .into_iter()
        .flatten()
        .find(|c| number.is_some_and(|number| has_number(*c, arch, number)));
    match sure {
        Some(_) => [sure, None],
        None => both,
    }
    .into_iter()
    .flatten()
}

/// The one call through which an architecture offers (or once offered) many.
pub fn multiplexer(name: &str, arch: Arch) -> Option<Syscall> {
    let multiplexer = match name {
        "socket" | "bind" | "connect" | "listen" | "accept" | "getsockname" | "getpeername"
        | "socketpair" | "send" | "recv" | "sendto" | "recvfrom" | "shutdown" | "setsockopt"
        | "getsockopt" | "sendmsg" | "recvmsg" | "accept4" | "recvmmsg" | "sendmmsg" => {
            "socketcall"
        }
        "semop" | "semget" | "semctl" | "semtimedop" | "msgsnd" | "msgrcv" | "msgget"
        | "msgctl" | "shmat" | "shmdt" | "shmget" | "shmctl" => "ipc",
        _ => return None,
    };
    Syscall::named(multiplexer).filter(|call| call.number(arch).is_some())
}

/// Whether the call makes a process or a thread.
pub fn is_spawn(name: &str) -> bool {
    matches!(name, "clone" | "clone3" | "fork" | "vfork")
}
