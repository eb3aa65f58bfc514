//! A profile as its author wrote it, read and checked, but not yet for any particular node.

use super::action::Action;
use super::arch::Arch;
use super::capability::CapabilitySet;
use super::condition::Condition;
use super::errno::StatedErrno;
use super::oci::{ArchSet, Flags, Listener};
use super::problem::Problem;
use super::syscall::Syscall;
use super::target::KernelVersion;

/// A profile document in OCI runtime-spec or Docker format: everything that it says that changes what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) default: Verdict,
    pub(super) architectures: Architectures,
    pub(super) flags: Flags,
    pub(super) listener: Option<Listener>,
    pub(super) entries: Vec<Entry>,
    pub(super) docker_only: Vec<String>,
    pub(super) oddities: Vec<Oddity>,
}

impl Document {
    /// The paths of fields that mean something in Docker's and Podman's format and that containerd would drop without
    /// a word (it reads files as runtime-spec JSON). Empty for an OCI document. The first 50.
    #[must_use]
    pub fn docker_only_fields(&self) -> &[String] {
        &self.docker_only
    }

    /// What container runtimes take in a file, but not for what its author means: a call that there is not, a number in quotes, a field
    /// that looks misspelt (others are comments). Empty for what was read strictly. The first 50 of each kind.
    pub fn oddities(&self) -> impl Iterator<Item = &Problem> {
        let is_comment = |oddity: &&Oddity| {
            matches!(
                oddity.kind,
                OddityKind::Field {
                    is_misspelt: false,
                    ..
                }
            )
        };
        let meant = self
            .oddities
            .iter()
            .filter(move |oddity| !is_comment(oddity));
        meant.map(|oddity| &oddity.problem)
    }

    /// What happens to a call that no rule speaks of.
    #[must_use]
    pub fn default_action(&self) -> Action {
        self.default.action
    }
}

/// One of [`Document::oddities`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oddity {
    pub(super) kind: OddityKind,
    pub(super) problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OddityKind {
    /// A field that runtimes do not know, by its name; whether it looks like one that they know.
    Field { name: String, is_misspelt: bool },
    /// A name that is no system call's, in the entry of that place.
    Call { entry: usize },
    /// An entry that names nothing.
    NoCalls,
    /// A number in quotes.
    Quoted,
}

/// An action whose error may be stated by name, and is a number only once the architecture is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// With the error that is stated as a number, or `EPERM`.
    pub(super) action: Action,
    /// The error that is stated by name. Two verdicts are equal when they state the same.
    pub(super) named: Option<StatedErrno>,
}

impl Verdict {
    pub(super) fn on(self, arch: Arch) -> Action {
        match (self.action, self.named) {
            (Action::Errno(_), Some(name)) => Action::Errno(name.on(arch)),
            (Action::Trace(_), Some(name)) => Action::Trace(name.on(arch)),
            (action, _) => action,
        }
    }
}

/// Which architectures the profile lets run at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Architectures {
    /// `architectures`, or nothing: the native one is always among them.
    Listed(ArchSet),
    /// `archMap`: for each native architecture, those that come with it.
    Mapped(Vec<(Arch, ArchSet)>),
}

/// One element of `syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) syscalls: Vec<Syscall>,
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: Verdict,
    pub(super) includes: Filter,
    pub(super) excludes: Filter,
}

/// `includes` or `excludes`. What is empty is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) capabilities: CapabilitySet,
    pub(super) arches: ArchSet,
    pub(super) min_kernel: Option<KernelVersion>,
}

impl Filter {
    pub(super) const NONE: Self = Self {
        capabilities: CapabilitySet::EMPTY,
        arches: ArchSet::EMPTY,
        min_kernel: None,
    };
}
