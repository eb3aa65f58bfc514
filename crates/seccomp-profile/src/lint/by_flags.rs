//! Calls that do what another does only with certain flags: these are denied, in words and as conditions. To deny `clone` with any
//! flags would be to deny every process and thread.

use super::subject::{Source, Subject, listed};
use crate::action::Action;
use crate::arch::Arch;
use crate::arg_set::ArgSet;
use crate::capability::Capability;
use crate::condition::{ArgIndex, Condition, Operator};
use crate::decision::Decision;
use crate::syscall::Syscall;

/// `CLONE_THREAD`: a thread rather than a process.
const THREAD: u64 = 0x0001_0000;

/// The flags that make namespaces. All but the first need `CAP_SYS_ADMIN`, which the first gives.
const NAMESPACES: [(&str, u64); 7] = [
    ("CLONE_NEWUSER", 0x1000_0000),
    ("CLONE_NEWNS", 0x0002_0000),
    ("CLONE_NEWCGROUP", 0x0200_0000),
    ("CLONE_NEWUTS", 0x0400_0000),
    ("CLONE_NEWIPC", 0x0800_0000),
    ("CLONE_NEWPID", 0x2000_0000),
    ("CLONE_NEWNET", 0x4000_0000),
];

/// The flags of `NAMESPACES`.
pub(super) const ALL_NAMESPACES: u64 = 0x7e02_0000;

/// `AT_REMOVEDIR`: a folder rather than a file.
const REMOVEDIR: u64 = 0x200;

/// With which flags a call does what another call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByFlags {
    /// `clone` with those that make a namespace, as `unshare` does.
    Namespaces,
    /// `clone` without `CLONE_THREAD`, as `fork` does.
    Process,
    /// `unlinkat` with `AT_REMOVEDIR`, as `rmdir` does.
    RemoveFolder,
}

impl ByFlags {
    /// Those with which the other call does what the first does.
    pub(super) fn of(call: Syscall, other: Syscall) -> Option<Self> {
        match (call, other) {
            (Syscall::UNSHARE, Syscall::CLONE) => Some(Self::Namespaces),
            (Syscall::FORK | Syscall::VFORK, Syscall::CLONE) => Some(Self::Process),
            (Syscall::RMDIR, Syscall::UNLINKAT) => Some(Self::RemoveFolder),
            _ => None,
        }
    }

    /// The call that has the flags.
    pub(super) fn call(self) -> Syscall {
        match self {
            Self::Namespaces | Self::Process => Syscall::CLONE,
            Self::RemoveFolder => Syscall::UNLINKAT,
        }
    }

    /// The argument that they are.
    fn argument(self, subject: &Subject<'_>) -> ArgIndex {
        match self {
            Self::Namespaces | Self::Process => flags_of_clone(subject.target.arch),
            Self::RemoveFolder => ArgIndex::new(2).unwrap_or(ArgIndex::FIRST),
        }
    }

    /// Whether the call is made with such flags.
    pub(super) fn are_open(self, subject: &Subject<'_>) -> bool {
        let decision: Decision = subject.semantics.decision_for(self.call());
        let mut conditions = self.to_deny(subject).into_iter();
        conditions.any(|(_, condition)| {
            let regions = ArgSet::satisfying(&[condition]).unwrap_or_default();
            decision.find_in(&regions, Action::is_permitted).is_some()
        })
    }

    /// A name for what is denied, and the condition under which the call is: one for each rule.
    fn to_deny(self, subject: &Subject<'_>) -> Vec<(&'static str, Condition)> {
        let masked = |mask, value| Condition {
            arg: self.argument(subject),
            operator: Operator::MaskedEqual { mask },
            value,
        };
        match self {
            Self::Process => vec![("without CLONE_THREAD", masked(THREAD, 0))],
            Self::RemoveFolder => vec![("AT_REMOVEDIR", masked(REMOVEDIR, REMOVEDIR))],
            Self::Namespaces => {
                let is_admin = subject.target.capabilities.contains(Capability::SYS_ADMIN);
                let flags = &NAMESPACES[..if is_admin { NAMESPACES.len() } else { 1 }];
                let one = |(name, flag): &(&'static str, u64)| (*name, masked(*flag, *flag));
                flags.iter().map(one).collect()
            }
        }
    }

    /// What to write so that the call is denied with these flags, and made without.
    pub(super) fn remedy(self, subject: &Subject<'_>) -> String {
        let (call, arg) = (self.call(), self.argument(subject).get());
        let denied = self.to_deny(subject);
        if let Source::Delta { .. } = subject.source {
            let entries: Vec<_> = denied
                .iter()
                .map(|(_, condition)| {
                    let (value, two) = operands(condition);
                    format!(
                        "{{name: {call}, args: [{{index: {arg}, op: SCMP_CMP_MASKED_EQ, value: {value:#x}, valueTwo: {two:#x}}}]}}"
                    )
                })
                .collect();
            return format!("add {} to {}", entries.join(", "), subject.path("deny"));
        }
        if !subject.semantics.default.is_permitted() {
            let (mask, two) = match self {
                Self::Namespaces => (ALL_NAMESPACES, 0),
                Self::Process => (THREAD, THREAD),
                Self::RemoveFolder => (REMOVEDIR, 0),
            };
            return format!(
                "allow {call} only where SCMP_CMP_MASKED_EQ of argument {arg} with value {mask:#x} and valueTwo {two:#x} holds"
            );
        }
        let rules: Vec<_> = denied
            .iter()
            .map(|(what, condition)| {
                let (value, two) = operands(condition);
                format!("value {value:#x} and valueTwo {two:#x} ({what})")
            })
            .collect();
        format!(
            "deny {call} where SCMP_CMP_MASKED_EQ of argument {arg} holds with {}{}",
            listed(&rules),
            if rules.len() > 1 {
                ", each in an entry of its own"
            } else {
                ""
            }
        )
    }
}

/// The argument that is the flags: on s390 the second.
pub(super) fn flags_of_clone(arch: Arch) -> ArgIndex {
    let is_second = matches!(arch, Arch::S390 | Arch::S390X);
    ArgIndex::new(u64::from(is_second)).unwrap_or(ArgIndex::FIRST)
}

/// `value` and `valueTwo`.
fn operands(condition: &Condition) -> (u64, u64) {
    match condition.operator {
        Operator::MaskedEqual { mask } => (mask, condition.value),
        _ => (condition.value, 0),
    }
}
