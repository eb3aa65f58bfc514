//! Changes to the semantics of a profile: calls to allow, to log and to deny.

use super::action::Action;
use super::arch::Arch;
use super::arg_set::ArgSet;
use super::condition::Condition;
use super::decision::{Decision, TooComplex, WorkBudget};
use super::errno::{Errno, StatedErrno};
use super::semantics::Semantics;
use super::syscall::Syscall;

/// Calls to allow, to log and to deny on top of a base, applied in this order, so that the later ones win.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    pub(super) allow: Vec<DeltaEntry>,
    pub(super) log: Vec<DeltaEntry>,
    pub(super) deny: Vec<DeltaEntry>,
}

/// Calls that have all of these conditions: here, two conditions on one argument are a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeltaEntry {
    pub(super) calls: Vec<Syscall>,
    pub(super) conditions: Vec<Condition>,
    /// What a denied call returns.
    pub(super) errno: Option<StatedErrno>,
}

impl Delta {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Semantics {
    /// Changes it, for a node of architecture `arch`.
    pub fn change(&mut self, changes: &Delta, arch: Arch) -> Result<(), TooComplex> {
        let budget = &mut WorkBudget::for_profile();
        for change in &changes.allow {
            self.take(change, |_| Action::Allow, budget)?;
        }
        for change in &changes.log {
            self.take(change, |_| Action::Log, budget)?;
        }
        for change in &changes.deny {
            let errno = change.errno.map(|errno| errno.on(arch));
            let default = self.default;
            self.take(change, |old| denied(old, default, errno), budget)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        change: &DeltaEntry,
        action: impl Fn(Action) -> Action,
        budget: &mut WorkBudget,
    ) -> Result<(), TooComplex> {
        let regions = ArgSet::satisfying(&change.conditions).ok_or(TooComplex)?;
        for call in &change.calls {
            let default = || Decision::always(self.default);
            let decision = self.calls.entry(*call).or_insert_with(default);
            if call.carries_others() {
                decision.change(&regions, |old| stated(action(old), self.default), budget)?;
            } else {
                decision.change(&regions, &action, budget)?;
            }
        }
        Ok(())
    }
}

/// The action for a call that carries others, when it must not be the default's. Runtimes leave out a rule that says what
/// the default says, and then the rules for the carried calls, of which libseccomp makes such for the carrier, let it
/// through.
pub(super) fn stated(action: Action, default: Action) -> Action {
    match action {
        _ if action != default => action,
        Action::Errno(Errno::EACCES) => Action::Errno(Errno::EPERM),
        Action::Errno(_) => Action::Errno(Errno::EACCES),
        Action::KillProcess => Action::KillThread,
        Action::KillThread | Action::Trap => Action::KillProcess,
        action => action,
    }
}

/// What a denied call gets. Denying never makes anything less strict, and needs no rule of its own where the default
/// refuses calls. (A default of `ENOSYS` says "not known to this profile", which is not what is meant.)
fn denied(old: Action, default: Action, errno: Option<Errno>) -> Action {
    match (old, errno) {
        (Action::KillProcess | Action::KillThread | Action::Trap, _) | (Action::Errno(_), None) => {
            old
        }
        (_, Some(errno)) => Action::Errno(errno),
        (_, None) if default.refuses() && default != Action::Errno(Errno::ENOSYS) => default,
        (_, None) => Action::Errno(Errno::EPERM),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::collections::BTreeMap;

    use super::*;
    use crate::oci::{ArchSet, Flags};
    use crate::{ArgIndex, CapabilitySet, KernelVersion, Operator, Target, builtin};

    #[test]
    fn conditions_that_fall_into_too_many_ranges_are_refused() {
        let not = |arg, value| Condition {
            arg,
            operator: Operator::NotEqual,
            value,
        };
        let conditions = |each: u64| {
            let all = ArgIndex::ALL.iter().copied();
            all.flat_map(|arg| (1..=each).map(move |value| not(arg, value * 2)))
                .collect()
        };
        let mut semantics = Semantics {
            default: Action::Allow,
            architectures: ArchSet::EMPTY,
            flags: Flags::EMPTY,
            listener: None,
            calls: BTreeMap::new(),
        };
        let mut deny = |each| {
            let change = DeltaEntry {
                calls: vec![Syscall::named("read").unwrap()],
                conditions: conditions(each),
                errno: None,
            };
            let changes = Delta {
                deny: vec![change],
                ..Delta::default()
            };
            semantics.change(&changes, Arch::X86_64)
        };
        assert_eq!(deny(1), Ok(())); // 2 to the power of 6
        assert_eq!(deny(20), Err(TooComplex)); // 85 millions
    }

    #[test]
    fn a_call_that_carries_others_is_denied_where_they_are_allowed() {
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion {
                major: 6,
                minor: 12,
            },
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        let mut semantics = builtin("runtime-default")
            .and_then(|document| document.resolve(&target).semantics().ok())
            .unwrap();
        let number = |name, arch| Syscall::named(name).unwrap().number(arch).unwrap();
        let socketcall = number("socketcall", Arch::X86);
        let decide = |semantics: &Semantics, arch, number, first| {
            let model = semantics.profile("").unwrap().model().unwrap();
            model.decide(arch, number, &[first, 0, 0, 0, 0, 0].into())
        };
        assert_eq!(decide(&semantics, Arch::X86, socketcall, 1), Action::Allow);
        let changes = Delta::parse(&[], &[], &[json!("socketcall")], "").unwrap();
        semantics.change(&changes, Arch::X86_64).unwrap();
        for subcall in 1..=20 {
            assert!(decide(&semantics, Arch::X86, socketcall, subcall).refuses());
        }
        for arch in [Arch::X86, Arch::X86_64] {
            assert_eq!(
                decide(&semantics, arch, number("socket", arch), 1),
                Action::Allow
            );
        }
    }

    #[test]
    fn denying_is_the_defaults_refusal_and_never_looser() {
        let (eperm, enosys) = (Action::Errno(Errno::EPERM), Action::Errno(Errno::ENOSYS));
        let eacces = Errno::new(13);
        for (old, default, errno, new) in [
            (Action::Allow, Action::Allow, None, eperm),
            (
                Action::Allow,
                Action::KillProcess,
                None,
                Action::KillProcess,
            ),
            (Action::Allow, enosys, None, eperm),
            (Action::Log, eperm, Some(Errno::ENOSYS), enosys),
            (Action::Notify, Action::Trap, None, Action::Trap),
            (enosys, eperm, None, enosys),
            (enosys, eperm, eacces, Action::Errno(eacces.unwrap())),
            (Action::KillThread, eperm, eacces, Action::KillThread),
        ] {
            assert_eq!(denied(old, default, errno), new, "{old} under {default}");
        }
    }
}
