//! What happens to a system call.

use std::fmt;

use super::errno::Errno;

/// What the kernel does with a call, with the value that comes with it.
///
/// Two actions are equal when the caller cannot tell them apart: `SCMP_ACT_KILL` and `SCMP_ACT_KILL_THREAD` are one,
/// and an `SCMP_ACT_ERRNO` that states no `errnoRet` is the one that states `EPERM` (runc and crun add it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// The whole process dies with SIGSYS.
    KillProcess,
    /// The calling thread dies with SIGSYS.
    KillThread,
    /// The calling thread gets a SIGSYS that it may handle.
    Trap,
    /// The call is not made and returns this error.
    Errno(Errno),
    /// The process that listens on the filter's file descriptor decides.
    Notify,
    /// A tracer decides, and gets this value; without one the call fails with `ENOSYS`.
    Trace(Errno),
    /// The call is made and recorded in the audit log.
    Log,
    /// The call is made.
    Allow,
}

impl Action {
    /// The word of the runtime-spec, e.g. `SCMP_ACT_ERRNO`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::Errno(_) => "SCMP_ACT_ERRNO",
            Self::Notify => "SCMP_ACT_NOTIFY",
            Self::Trace(_) => "SCMP_ACT_TRACE",
            Self::Log => "SCMP_ACT_LOG",
            Self::Allow => "SCMP_ACT_ALLOW",
        }
    }

    /// The words that [`Action::named`] knows.
    pub(super) const NAMES: &'static [&'static str] = &[
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ];

    /// The action of that name. `errno` is used by the two that carry one; without it they carry `EPERM`.
    #[must_use]
    pub fn named(name: &str, errno: Option<Errno>) -> Option<Self> {
        let errno = errno.unwrap_or(Errno::EPERM);
        Some(match name {
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_ERRNO" => Self::Errno(errno),
            "SCMP_ACT_NOTIFY" => Self::Notify,
            "SCMP_ACT_TRACE" => Self::Trace(errno),
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_ALLOW" => Self::Allow,
            _ => return None,
        })
    }

    /// The error that it carries.
    #[must_use]
    pub const fn errno(self) -> Option<Errno> {
        match self {
            Self::Errno(errno) | Self::Trace(errno) => Some(errno),
            _ => None,
        }
    }

    /// How much it lets happen: the kernel's order when several filters disagree, the strictest first. Errors are alike.
    #[must_use]
    pub const fn leniency(self) -> u8 {
        match self {
            Self::KillProcess => 0,
            Self::KillThread => 1,
            Self::Trap => 2,
            Self::Errno(_) => 3,
            Self::Notify => 4,
            Self::Trace(_) => 5,
            Self::Log => 6,
            Self::Allow => 7,
        }
    }

    /// Who lets the call happen: 0 nobody, 1 whoever listens or traces, 2 the filter itself.
    #[must_use]
    pub const fn openness(self) -> u8 {
        match self {
            Self::KillProcess | Self::KillThread | Self::Trap | Self::Errno(_) => 0,
            Self::Notify | Self::Trace(_) => 1,
            Self::Log | Self::Allow => 2,
        }
    }

    /// Whether the call is not made, whoever may be listening.
    #[must_use]
    pub const fn refuses(self) -> bool {
        matches!(
            self,
            Self::KillProcess | Self::KillThread | Self::Trap | Self::Errno(_)
        )
    }

    /// Whether the call is made without anybody being asked.
    #[must_use]
    pub const fn is_permitted(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno() {
            Some(errno) => write!(f, "{}({errno})", self.name()),
            None => f.write_str(self.name()),
        }
    }
}
