//! What a line of a trace says: a call that a program made.

use super::arguments::Given;
use seccomp_profile::{Arch, Syscall};

/// A call, or several alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The ABI it was made through.
    pub arch: Arch,
    /// Which.
    pub called: Called,
    /// How often.
    pub times: u64,
    /// Who made it.
    pub pid: Option<u32>,
    /// The name of the thread or program, at most 15 bytes; empty if it is not known.
    pub comm: &'a str,
    /// The path of the program; empty if it is not known.
    pub exe: &'a str,
    /// Its arguments, as far as the line has them.
    pub arguments: Given<'a>,
    /// What a filter did with it, if one was asked.
    pub verdict: Option<Verdict>,
}

/// A system call by name, or a number that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Called {
    Known(Syscall),
    Number(u32),
}

impl Called {
    /// The call of that number.
    pub fn numbered(arch: Arch, number: u32) -> Self {
        Syscall::numbered(arch, number).map_or(Self::Number(number), Self::Known)
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It told of calls.
    Used,
    /// It is understood and tells of none.
    Silent,
    /// It says that so many records were left out.
    Lost(u64),
    /// It is not understood.
    Unreadable,
}

/// What a filter did, as far as the kernel's record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the actions of seccomp(2)
pub enum Verdict {
    KillProcess,
    KillThread,
    Trap,
    Errno,
    Notify,
    Trace,
    Log,
    Allow,
}

impl Verdict {
    /// All, the strictest first.
    pub const ALL: [Self; 8] = [
        Self::KillProcess,
        Self::KillThread,
        Self::Trap,
        Self::Errno,
        Self::Notify,
        Self::Trace,
        Self::Log,
        Self::Allow,
    ];

    /// From `SECCOMP_RET_*`. What is none of them kills (`__seccomp_filter`).
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        match code & 0xffff_0000 {
            0x0000_0000 => Self::KillThread,
            0x0003_0000 => Self::Trap,
            0x0005_0000 => Self::Errno,
            0x7fc0_0000 => Self::Notify,
            0x7ff0_0000 => Self::Trace,
            0x7ffc_0000 => Self::Log,
            0x7fff_0000 => Self::Allow,
            _ => Self::KillProcess,
        }
    }

    /// The word used in output and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillProcess => "kill-process",
            Self::KillThread => "kill-thread",
            Self::Trap => "trap",
            Self::Errno => "errno",
            Self::Notify => "notify",
            Self::Trace => "trace",
            Self::Log => "log",
            Self::Allow => "allow",
        }
    }
}

/// `amd64 mkdir 123 busybox /bin/busybox log`, a dash for what is not known: for tables of tests.
#[cfg(test)]
impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let called = match self.called {
            Called::Known(call) => call.name().to_owned(),
            Called::Number(number) => number.to_string(),
        };
        let pid = self.pid.map_or_else(String::new, |pid| pid.to_string());
        write!(f, "{} {called}", self.arch.native_name())?;
        write!(
            f,
            " {} {} {}",
            known(&pid),
            known(self.comm),
            known(self.exe)
        )?;
        self.verdict.map_or(Ok(()), |v| write!(f, " {}", v.name()))
    }
}
