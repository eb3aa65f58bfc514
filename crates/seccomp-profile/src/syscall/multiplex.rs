//! Calls that some architectures also, or only, make through another one: `socketcall` for sockets and `ipc` for System V
//! IPC, with the call's own number as first argument.

use std::sync::LazyLock;

use super::Syscall;
use crate::arch::Arch;

/// In the order of their numbers, from 1 (kernel `include/uapi/linux/net.h`).
const SOCKETCALL: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// With their numbers (kernel `include/uapi/linux/ipc.h`).
const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

impl Arch {
    /// Whether it has such calls. These are the architectures on which libseccomp turns a rule for a socket or IPC call
    /// into one for `socketcall` or `ipc` as well.
    pub(crate) fn multiplexes(self) -> bool {
        matches!(
            self,
            Self::X86
                | Self::Mips
                | Self::Mipsel
                | Self::Ppc
                | Self::Ppc64
                | Self::Ppc64Le
                | Self::S390
                | Self::S390X
        )
    }
}

/// For each call in the table, the one that it can be made through, and its number there: asked of every call of every rule.
static THROUGH: LazyLock<Vec<Option<(Syscall, u64)>>> = LazyLock::new(|| {
    let through = |call: Syscall| {
        let name = call.name();
        let sockets = SOCKETCALL.iter().zip(1..);
        let socket = sockets.map(|(known, number)| (Syscall::SOCKETCALL, *known, number));
        let ipc = IPC
            .iter()
            .map(|(known, number)| (Syscall::IPC, *known, *number));
        let (through, _, number) = socket.chain(ipc).find(|(_, known, _)| *known == name)?;
        Some((through, number))
    };
    Syscall::all().map(through).collect()
});

impl Syscall {
    /// Whether other calls can be made through it.
    pub(crate) fn carries_others(self) -> bool {
        matches!(self, Self::SOCKETCALL | Self::IPC)
    }

    /// The call that `self` can be made through on `arch`, and the first argument that it has then. Its other arguments
    /// are in memory, where a filter cannot see them.
    #[must_use]
    pub fn multiplexed(self, arch: Arch) -> Option<(Self, u64)> {
        THROUGH[usize::from(self.0)].filter(|_| arch.multiplexes())
    }

    /// Whether programs of `arch` can make it, in one way or the other.
    pub(crate) fn is_made_through(self, arch: Arch) -> bool {
        self.number(arch).is_some() || self.multiplexed(arch).is_some()
    }
}
