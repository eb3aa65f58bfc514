//! A profile as a container runtime gets it: runtime-spec `LinuxSeccomp`, in types that cannot hold a wrong value.

use super::action::Action;
use super::arch::Arch;
use super::condition::Condition;
use super::syscall::Syscall;

/// A profile for one kind of node. The order of rules is kept: it has meaning to libseccomp.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    pub(super) default_action: Action,
    pub(super) architectures: ArchSet,
    /// Whether they are written out. The native one is among them anyway.
    pub(super) states_architectures: bool,
    pub(super) flags: Flags,
    pub(super) listener: Option<Listener>,
    pub(super) rules: Vec<Rule>,
}

impl Profile {
    /// What happens to a call that no rule speaks of.
    #[must_use]
    pub fn default_action(&self) -> Action {
        self.default_action
    }

    /// The architectures that it speaks of. A call through another one kills the thread, whatever the profile says.
    #[must_use]
    pub fn architectures(&self) -> ArchSet {
        self.architectures
    }

    /// Whether the document names architectures, rather than leave it at the native one: an old runc asks
    /// (see `Loader::answers_new_calls_with_enosys`).
    #[must_use]
    pub fn states_architectures(&self) -> bool {
        self.states_architectures
    }

    /// The flags that its filter is loaded with.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Who answers for `SCMP_ACT_NOTIFY`.
    #[must_use]
    pub fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// Its rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// One element of `syscalls`: when one of its calls has arguments for which all conditions hold, its action is taken. That is not
/// how libseccomp reads it in every case: see [`Profile::model`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    pub(super) syscalls: Vec<Syscall>,
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

impl Rule {
    /// The calls that it speaks of, sorted, each once. Never empty.
    #[must_use]
    pub fn syscalls(&self) -> &[Syscall] {
        &self.syscalls
    }

    /// The conditions on their arguments.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// What happens.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }
}

/// A set of architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ArchSet(u32);

impl ArchSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// All of them.
    pub const ALL: Self = Self((1 << Arch::ALL.len()) - 1);

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `arch` is in it.
    #[must_use]
    pub const fn contains(self, arch: Arch) -> bool {
        self.0 & (1 << arch as u8) != 0
    }

    /// This set and `arch`.
    #[must_use]
    pub const fn with(self, arch: Arch) -> Self {
        Self(self.0 | 1 << arch as u8)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Its members, in the order of [`Arch`].
    pub fn iter(self) -> impl Iterator<Item = Arch> {
        Arch::ALL
            .iter()
            .copied()
            .filter(move |arch| self.contains(*arch))
    }
}

impl FromIterator<Arch> for ArchSet {
    fn from_iter<I: IntoIterator<Item = Arch>>(iter: I) -> Self {
        iter.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// A flag of the system call `seccomp(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Flag {
    /// Record actions other than `SCMP_ACT_ALLOW` in the audit log.
    Log,
    /// Leave the mitigation of Speculative Store Bypass off (kernels before 5.16 put it on for filtered processes).
    SpecAllow,
    /// For all threads at once. A runtime's process has one, so this does nothing.
    Tsync,
    /// A call that waits for the listener can be interrupted by fatal signals only.
    WaitKillableRecv,
}

impl Flag {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Log,
        Self::SpecAllow,
        Self::Tsync,
        Self::WaitKillableRecv,
    ];

    /// The word of the runtime-spec.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "SECCOMP_FILTER_FLAG_LOG",
            Self::SpecAllow => "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            Self::Tsync => "SECCOMP_FILTER_FLAG_TSYNC",
            Self::WaitKillableRecv => "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        }
    }

    /// The flag of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|flag| flag.name() == name)
    }
}

/// A set of flags. The empty one leaves the choice to the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Flags(u8);

impl Flags {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `flag` is in it.
    #[must_use]
    pub const fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// This set and `flag`.
    #[must_use]
    pub const fn with(self, flag: Flag) -> Self {
        Self(self.0 | 1 << flag as u8)
    }

    /// This set without `flag`.
    #[must_use]
    pub const fn without(self, flag: Flag) -> Self {
        Self(self.0 & !(1 << flag as u8))
    }

    /// Those that are in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Its members, by name.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL
            .iter()
            .copied()
            .filter(move |flag| self.contains(*flag))
    }
}

/// The process that answers for `SCMP_ACT_NOTIFY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Listener {
    /// The Unix socket that the runtime hands the filter's file descriptor to; absolute.
    pub path: String,
    /// What the runtime hands over with it.
    pub metadata: Option<String>,
}
