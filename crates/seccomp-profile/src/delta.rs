//! Changes to the semantics of a profile: calls to allow, to log and to deny.

use super::action::Action;
use super::arch::Arch;
use super::arg_set::{ArgSet, MAX_REGIONS};
use super::condition::{ArgIndex, Condition};
use super::decision::{Decision, TooComplex, WorkBudget};
use super::errno::{Errno, StatedErrno};
use super::parameters::read_in_part;
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
            self.close_above(change, budget)?;
            let errno = change.errno.map(|errno| errno.on(arch));
            let default = self.default;
            for call in &change.calls {
                let read = change.denied(*call)?;
                // What is refused above what the kernel reads stays as it is: nothing is let through there, and fewer rules say it.
                let close = |old: Action| {
                    if old.refuses() {
                        old
                    } else {
                        denied(old, default, errno)
                    }
                };
                self.change_call(*call, &read, close, budget)?;
                let below = change.below(*call, &read);
                self.change_call(*call, &below, |old| denied(old, default, errno), budget)?;
            }
        }
        Ok(())
    }

    /// What a denial compares with is what the kernel reads: bits above that do not open what it or the base refuses.
    fn close_above(
        &mut self,
        change: &DeltaEntry,
        budget: &mut WorkBudget,
    ) -> Result<(), TooComplex> {
        for call in &change.calls {
            let default = || Decision::always(self.default);
            let decision = self.calls.entry(*call).or_insert_with(default);
            for (arg, bits) in change.read_in_part(*call) {
                decision.close_above(arg, bits, budget)?;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        change: &DeltaEntry,
        action: impl Fn(Action) -> Action,
        budget: &mut WorkBudget,
    ) -> Result<(), TooComplex> {
        let regions = change.regions()?;
        let mut calls = change.calls.iter();
        calls.try_for_each(|call| self.change_call(*call, &regions, &action, budget))
    }

    fn change_call(
        &mut self,
        call: Syscall,
        regions: &[ArgSet],
        action: impl Fn(Action) -> Action,
        budget: &mut WorkBudget,
    ) -> Result<(), TooComplex> {
        let default = || Decision::always(self.default);
        let decision = self.calls.entry(call).or_insert_with(default);
        if call.carries_others() {
            decision.change(regions, |old| stated(action(old), self.default), budget)
        } else {
            decision.change(regions, &action, budget)
        }
    }
}

impl DeltaEntry {
    /// The arguments that it is about.
    fn regions(&self) -> Result<Vec<ArgSet>, TooComplex> {
        ArgSet::satisfying(&self.conditions).ok_or(TooComplex)
    }

    /// The arguments that it compares and the kernel reads in part, with how many bits of each.
    fn read_in_part(&self, call: Syscall) -> impl Iterator<Item = (ArgIndex, u32)> {
        let is_compared = |arg: ArgIndex| self.conditions.iter().any(|of| of.arg == arg);
        read_in_part(call).filter(move |(arg, _)| is_compared(*arg))
    }

    /// Of these arguments those with nothing above what the kernel reads; all, if there are no others.
    fn below(&self, call: Syscall, read: &[ArgSet]) -> Vec<ArgSet> {
        let mut below = read.to_vec();
        for (arg, bits) in self.read_in_part(call) {
            let regions = below.iter().filter_map(|region| region.below(arg, bits));
            below = regions.collect();
        }
        if below.is_empty() {
            return read.to_vec();
        }
        below
    }

    /// The arguments that it is about for the kernel, if it is to be denied: all that the kernel reads as these.
    pub(super) fn denied(&self, call: Syscall) -> Result<Vec<ArgSet>, TooComplex> {
        let in_part: Vec<_> = self.read_in_part(call).collect();
        let read = |condition: &Condition| {
            let mut parts = in_part.iter();
            let part = parts.find(|(arg, _)| *arg == condition.arg);
            part.map_or(*condition, |(_, bits)| condition.of_lower(*bits))
        };
        let conditions: Vec<_> = self.conditions.iter().map(read).collect();
        let mut regions = ArgSet::satisfying(&conditions).ok_or(TooComplex)?;
        for (arg, bits) in in_part {
            let by_lower = regions
                .iter()
                .flat_map(|region| region.read_by_lower(arg, bits));
            regions = by_lower.collect();
        }
        if regions.is_empty() {
            // The kernel reads no such number, and nobody is to wonder where the denial went.
            return self.regions();
        }
        (regions.len() <= MAX_REGIONS)
            .then_some(regions)
            .ok_or(TooComplex)
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
    fn a_denial_is_of_what_the_kernel_reads_of_an_argument() {
        const HIGH: u64 = 1 << 32;
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        let deny = |call: &str, index: u8, op: &str, value: u64| json!({"name": call, "args": [{"index": index, "op": format!("SCMP_CMP_{op}"), "value": value}]});
        let open = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        let open = crate::parse(&open, "").unwrap();
        let bases = [
            ("allow all", &open),
            ("2.1", builtin("runtime-default/containerd-2.1").unwrap()),
            ("2.3", builtin("runtime-default/containerd-2.3").unwrap()),
            ("2.4", builtin("runtime-default/containerd-2.4").unwrap()),
        ];
        for (name, base) in bases {
            for (entry, call, index, passes, refused) in [
                (
                    deny("socket", 0, "EQ", 38),
                    "socket",
                    0,
                    vec![1, 2, 39],
                    vec![38, HIGH + 38],
                ),
                (
                    deny("socket", 0, "GT", 2),
                    "socket",
                    0,
                    vec![1, 2],
                    vec![3, 38, HIGH + 38, HIGH + 3, u64::MAX],
                ),
                (
                    deny("socket", 0, "NE", 1),
                    "socket",
                    0,
                    vec![1],
                    vec![0, 2, 38, HIGH + 2],
                ),
                (
                    deny("ioctl", 1, "EQ", 0x5412),
                    "ioctl",
                    1,
                    vec![0x5411, 0x5413, HIGH],
                    vec![0x5412, HIGH + 0x5412],
                ),
                // Of a mode 16 bits are read.
                (
                    deny("fchmodat", 2, "EQ", 0o777),
                    "fchmodat",
                    2,
                    vec![0o776],
                    vec![0o777, 0x1_0000 + 0o777, HIGH + 0o777],
                ),
                // Nobody knows it not to be read whole.
                (
                    deny("mmap", 2, "EQ", 7),
                    "mmap",
                    2,
                    vec![5, HIGH + 7],
                    vec![7],
                ),
            ] {
                let mut semantics = base.resolve(&target).semantics().unwrap();
                let mut with_errno = entry.clone();
                with_errno["errno"] = "ENOSYS".into();
                for entry in [with_errno, entry] {
                    semantics = base.resolve(&target).semantics().unwrap();
                    let changes = Delta::parse(&[], &[], &[entry], "").unwrap();
                    let changed = semantics.change(&changes, Arch::X86_64);
                    changed.unwrap_or_else(|error| panic!("{name} {call}: {error}"));
                    let written = semantics.profile("");
                    written.unwrap_or_else(|problems| panic!("{name} {call}: {problems}"));
                }
                let model = semantics.profile("").unwrap().model().unwrap();
                let number = Syscall::named(call).unwrap().number(Arch::X86_64).unwrap();
                let refuses = |value: u64| {
                    let mut args = [0; 6];
                    args[index] = value;
                    model.decide(Arch::X86_64, number, &args.into()).refuses()
                };
                for value in passes {
                    assert!(!refuses(value), "{name} {call} {value:#x}");
                }
                for value in refused {
                    assert!(refuses(value), "{name} {call} {value:#x}");
                }
            }
        }
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
