//! Which calls to probe. Pure.

use super::kernel::Call;
use super::names::{Abi, Syscall, Unsupported, names};
use crate::call;
use seccomp_profile::Arguments;

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whose number it is.
    pub abi: Abi,
    /// The syscall's number, x32 bit included.
    pub nr: u32,
    /// The syscall's name.
    pub name: &'static str,
    /// What is tried.
    pub trial: Trial,
}

/// What a probe passes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Every argument zero: the first thing tried.
    Zeros,
    /// Other arguments, to see whether the filter looks at them.
    Pattern(Pattern),
    /// A call that somebody would name: `clone(CLONE_NEWUSER)`.
    Named {
        label: String,
        /// The first arguments; the others are zero.
        args: Vec<u64>,
    },
    /// A number that no table has.
    UnknownNumber,
}

/// Arguments that tell whether a filter looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This argument has all bits set, the others are zero.
    OnesIn(u8),
    /// All arguments have all bits set.
    Ones,
    /// All arguments have a value that nobody compares with.
    Odd,
}

impl Pattern {
    pub const ALL: [Self; 7] = [
        Self::OnesIn(0),
        Self::OnesIn(1),
        Self::OnesIn(2),
        Self::OnesIn(3),
        Self::OnesIn(4),
        Self::Ones,
        Self::Odd,
    ];

    fn args(self) -> [u64; 5] {
        match self {
            Self::OnesIn(at) => {
                std::array::from_fn(|i| if i == usize::from(at) { u64::MAX } else { 0 })
            }
            Self::Ones => [u64::MAX; 5],
            Self::Odd => [0x2545_0913_5a31_6bd5; 5],
        }
    }
}

impl Probe {
    fn zeros(abi: Abi, syscall: Syscall) -> Self {
        Self {
            abi,
            nr: syscall.nr,
            name: syscall.name,
            trial: Trial::Zeros,
        }
    }

    /// The call that the kernel gets to see.
    pub fn call(&self) -> Call {
        let args = match &self.trial {
            Trial::Zeros | Trial::UnknownNumber => [0; 5],
            Trial::Pattern(pattern) => pattern.args(),
            Trial::Named { args, .. } => std::array::from_fn(|i| args.get(i).copied().unwrap_or(0)),
        };
        Call {
            entry: self.abi.entry(),
            nr: self.nr,
            args,
        }
    }
}

/// Calls that this kernel lets through before any filter is asked (`seccomp_uprobe_exception`): the trampolines of
/// uprobes, which end a process that calls them from anywhere else. They cannot be filtered, and are not probed.
pub const UNFILTERED: [&str; 2] = ["uretprobe", "uprobe"];

/// What no program of any ABI can do without. A way into the kernel where even these are killed is closed altogether:
/// no need to die hundreds of times to know.
const VITAL: [&str; 8] = [
    "read",
    "write",
    "openat",
    "close",
    "execve",
    "exit",
    "exit_group",
    "clone",
];

/// All syscalls of an ABI that a filter is asked about.
pub fn filtered(abi: Abi) -> impl Iterator<Item = Syscall> {
    names(abi)
        .into_iter()
        .filter(|s| !UNFILTERED.contains(&s.name))
}

/// Calls that show whether calls are caught, by what they return if they are not: a process's number.
pub fn trials(native: Abi) -> Vec<Call> {
    filtered(native)
        .filter(|s| ["getpid", "gettid"].contains(&s.name))
        .map(|s| Probe::zeros(native, s).call())
        .collect()
}

/// The same for each syscall. Should the kernel execute one of these, it finds no such address, descriptor, process or
/// flag, and does nothing; those without arguments do something to the caller alone.
pub fn trials_of_all(native: Abi) -> Vec<Call> {
    let ones = |s| {
        Probe {
            trial: Trial::Pattern(Pattern::Ones),
            ..Probe::zeros(native, s)
        }
        .call()
    };
    trials(native)
        .into_iter()
        .chain(filtered(native).map(ones))
        .collect()
}

/// The first round: each native syscall once, numbers that nobody knows, and a few calls through the other entries.
pub fn first_round(native: Abi) -> Vec<Probe> {
    let mut probes: Vec<Probe> = filtered(native).map(|s| Probe::zeros(native, s)).collect();
    for nr in unknown_numbers(native) {
        probes.push(Probe {
            abi: native,
            nr,
            name: "",
            trial: Trial::UnknownNumber,
        });
    }
    for &abi in native.foreign() {
        probes.extend(
            filtered(abi)
                .filter(|s| VITAL.contains(&s.name))
                .map(|s| Probe::zeros(abi, s)),
        );
    }
    probes
}

/// Numbers beyond the table: the next one, and one that will not be given out for long.
pub fn unknown_numbers(native: Abi) -> [u32; 2] {
    let last = names(native).iter().map(|s| s.nr).max().unwrap_or(0);
    [last + 1, 1999]
}

/// The second round: other arguments for the native syscalls that survive being called (`alive`), the calls with a name,
/// and all syscalls of the other ABIs that are not closed altogether (`open`).
pub fn second_round(
    native: Abi,
    alive: impl Fn(u32) -> bool,
    open: impl Fn(Abi) -> bool,
    extra: &[Probe],
) -> Vec<Probe> {
    let mut probes = Vec::new();
    for syscall in filtered(native).filter(|s| alive(s.nr)) {
        for pattern in Pattern::ALL {
            probes.push(Probe {
                trial: Trial::Pattern(pattern),
                ..Probe::zeros(native, syscall)
            });
        }
    }
    probes.extend(named(native));
    probes.extend_from_slice(extra);
    for &abi in native.foreign().iter().filter(|abi| open(**abi)) {
        probes.extend(
            filtered(abi)
                .filter(|s| !VITAL.contains(&s.name))
                .map(|s| Probe::zeros(abi, s)),
        );
    }
    probes
}

/// The calls with a name, as far as this architecture has them.
fn named(native: Abi) -> Vec<Probe> {
    let table = names(native);
    NAMED
        .iter()
        .filter_map(|(name, label, args)| {
            let syscall = table.iter().find(|s| s.name == *name)?;
            let trial = Trial::Named {
                label: format!("{name}({label})"),
                args: args.to_vec(),
            };
            Some(Probe {
                trial,
                ..Probe::zeros(native, *syscall)
            })
        })
        .collect()
}

/// A native call with arguments that somebody chose, but for the sixth.
pub fn chosen(native: Abi, call: seccomp_profile::Syscall, args: Arguments) -> Option<Probe> {
    let syscall = filtered(native).find(|s| s.name == call.name())?;
    let trial = Trial::Named {
        label: call.name().into(),
        args: args.iter().take(5).collect(),
    };
    Some(Probe {
        trial,
        ..Probe::zeros(native, syscall)
    })
}

/// A call of the user's own: `socket(AF_ALG)`, `socket:38,0x80003` (a native syscall's name and up to five arguments).
pub fn custom(text: &str) -> Result<Probe, CustomError> {
    let native = Abi::native()?;
    let name = text.split(['(', ':']).next().unwrap_or(text);
    let syscall = filtered(native)
        .find(|s| s.name == name)
        .ok_or_else(|| CustomError::Name(name.into(), native.as_str()))?;
    let call = call::one(text).map_err(CustomError::Call)?;
    let (args, sixth) = call.args.split_at(5);
    if sixth.iter().any(Option::is_some) {
        return Err(CustomError::TooMany);
    }
    let trial = Trial::Named {
        label: text.into(),
        args: args.iter().map(|arg| arg.unwrap_or(0)).collect(),
    };
    Ok(Probe {
        trial,
        ..Probe::zeros(native, syscall)
    })
}

/// A `--call` that cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustomError {
    /// Nothing can be called.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// No such syscall.
    #[error("`{0}` is no {1} syscall that a filter is asked about")]
    Name(String, &'static str),
    /// It is not written as a call is.
    #[error("{0}")]
    Call(String),
    /// The sixth argument is taken.
    #[error("only the first five arguments can be chosen: the sixth one marks the call as a probe")]
    TooMany,
}

/// Calls that profiles tell apart by their arguments: syscall, what makes it special, first arguments.
const NAMED: &[(&str, &str, &[u64])] = &[
    ("clone", "thread", &[0x003d_0f00]),
    ("clone", "fork", &[0x0120_0011]),
    ("clone", "CLONE_NEWUSER", &[0x1000_0011]),
    ("clone", "CLONE_NEWNS", &[0x0002_0011]),
    ("clone", "CLONE_NEWPID", &[0x2000_0011]),
    ("clone", "CLONE_NEWNET", &[0x4000_0011]),
    ("clone", "CLONE_NEWIPC", &[0x0800_0011]),
    ("clone", "CLONE_NEWUTS", &[0x0400_0011]),
    ("clone", "CLONE_NEWCGROUP", &[0x0200_0011]),
    ("unshare", "CLONE_NEWUSER", &[0x1000_0000]),
    ("unshare", "CLONE_NEWNS", &[0x0002_0000]),
    ("unshare", "CLONE_FS", &[0x0000_0200]),
    ("setns", "CLONE_NEWUSER", &[0, 0x1000_0000]),
    ("setns", "CLONE_NEWNS", &[0, 0x0002_0000]),
    ("socket", "AF_UNIX", &[1, 1]),
    ("socket", "AF_INET", &[2, 1]),
    ("socket", "AF_INET6", &[10, 1]),
    ("socket", "SOCK_RAW", &[2, 3, 1]),
    ("socket", "AF_NETLINK", &[16, 3]),
    ("socket", "NETLINK_AUDIT", &[16, 3, 9]),
    ("socket", "AF_PACKET", &[17, 3]),
    ("socket", "AF_KEY", &[15, 3]),
    ("socket", "AF_CAN", &[29, 3]),
    ("socket", "AF_TIPC", &[30, 1]),
    ("socket", "AF_BLUETOOTH", &[31, 1]),
    ("socket", "AF_ALG", &[38, 5]),
    ("socket", "AF_NFC", &[39, 5]),
    ("socket", "AF_VSOCK", &[40, 1]),
    ("socket", "AF_XDP", &[44, 3]),
    ("personality", "PER_LINUX", &[0]),
    ("personality", "PER_LINUX32", &[8]),
    ("personality", "UNAME26", &[0x0002_0000]),
    ("personality", "UNAME26|PER_LINUX32", &[0x0002_0008]),
    ("personality", "query", &[0xffff_ffff]),
    ("personality", "ADDR_NO_RANDOMIZE", &[0x0004_0000]),
    ("personality", "READ_IMPLIES_EXEC", &[0x0040_0000]),
    ("ioctl", "TIOCSTI", &[0, 0x5412]),
    ("ioctl", "TIOCLINUX", &[0, 0x541c]),
    ("ioctl", "TIOCSCTTY", &[0, 0x540e]),
    ("prctl", "PR_SET_NO_NEW_PRIVS", &[38, 1]),
    ("prctl", "PR_SET_SECCOMP", &[22, 2]),
    ("prctl", "PR_SET_MM", &[35]),
    ("prctl", "PR_CAP_AMBIENT", &[47, 2]),
    ("prctl", "PR_SET_DUMPABLE", &[4, 1]),
    ("seccomp", "SECCOMP_SET_MODE_FILTER", &[1]),
    ("seccomp", "SECCOMP_FILTER_FLAG_NEW_LISTENER", &[1, 8]),
    ("ptrace", "PTRACE_TRACEME", &[0]),
    ("ptrace", "PTRACE_ATTACH", &[16, 1]),
    ("ptrace", "PTRACE_SEIZE", &[0x4206, 1]),
    ("bpf", "BPF_MAP_CREATE", &[0]),
    ("bpf", "BPF_PROG_LOAD", &[5]),
    ("keyctl", "KEYCTL_JOIN_SESSION_KEYRING", &[1]),
    ("mknod", "S_IFBLK", &[0, 0x6000]),
    ("mknodat", "S_IFBLK", &[0, 0, 0x6000]),
    ("chmod", "S_ISUID", &[0, 0o4755]),
    ("fchmod", "S_ISUID", &[0, 0o4755]),
    ("fchmodat", "S_ISUID", &[0, 0, 0o4755]),
    ("fchmodat2", "S_ISUID", &[0, 0, 0o4755]),
    ("mmap", "PROT_WRITE|PROT_EXEC", &[0, 4096, 6, 0x22]),
    ("mprotect", "PROT_EXEC", &[0, 4096, 5]),
    ("shmat", "SHM_EXEC", &[0, 0, 0o100_000]),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// All tables are everywhere.
    const NATIVE: Abi = Abi::X86_64;

    #[test]
    fn the_first_round_has_every_native_syscall_once() {
        let round = first_round(NATIVE);
        let native = round
            .iter()
            .filter(|p| p.abi == NATIVE && p.trial == Trial::Zeros)
            .count();
        assert_eq!(native, filtered(NATIVE).count());
        assert!(round.iter().all(|p| !UNFILTERED.contains(&p.name)));
    }

    #[test]
    fn every_vital_call_exists_in_every_abi() {
        for abi in [Abi::X86_64, Abi::X32, Abi::I386, Abi::Aarch64] {
            for name in VITAL {
                assert!(
                    names(abi).iter().any(|s| s.name == name),
                    "{} {name}",
                    abi.as_str()
                );
            }
        }
    }

    #[test]
    fn the_two_rounds_together_have_every_syscall_of_every_abi() {
        let rounds = [
            first_round(NATIVE),
            second_round(NATIVE, |_| true, |_| true, &[]),
        ]
        .concat();
        for &abi in [NATIVE].iter().chain(NATIVE.foreign()) {
            for syscall in filtered(abi) {
                let times = rounds
                    .iter()
                    .filter(|p| p.abi == abi && p.nr == syscall.nr && p.trial == Trial::Zeros)
                    .count();
                assert_eq!(times, 1, "{} {}", abi.as_str(), syscall.name);
            }
        }
    }

    #[test]
    fn what_would_die_again_is_not_called_again() {
        let round = second_round(NATIVE, |_| false, |_| false, &[]);
        assert!(round.iter().all(|p| matches!(p.trial, Trial::Named { .. })));
    }

    #[test]
    fn named_calls_carry_their_arguments() {
        let probes = named(NATIVE);
        let alg = probes
            .iter()
            .find(|p| matches!(&p.trial, Trial::Named { label, .. } if label == "socket(AF_ALG)"));
        assert_eq!(alg.map(|p| p.call().args), Some([38, 5, 0, 0, 0]));
        let names: std::collections::BTreeSet<_> =
            probes.iter().map(|p| format!("{:?}", p.trial)).collect();
        assert_eq!(names.len(), probes.len());
    }

    #[test]
    fn a_call_of_ones_own_is_read() {
        let args = |text| custom(text).map(|p| p.call().args);
        assert_eq!(args("socket:38,0x80003"), Ok([38, 0x8_0003, 0, 0, 0]));
        assert_eq!(args("personality:-1"), Ok([u64::MAX, 0, 0, 0, 0]));
        assert_eq!(args("getpid"), Ok([0; 5]));
        assert_eq!(
            args("sockets:1"),
            Err(CustomError::Name(
                "sockets".into(),
                Abi::native().unwrap().as_str()
            ))
        );
        assert_eq!(args("socket(AF_ALG, 5)"), Ok([38, 5, 0, 0, 0]));
        let unknown = args("socket:AF_NONE");
        assert!(
            matches!(&unknown, Err(CustomError::Call(why)) if why.contains("\"AF_NONE\" is neither a number")),
            "{unknown:?}"
        );
        assert_eq!(args("mmap:1,2,3,4,5,6"), Err(CustomError::TooMany));
    }
}
