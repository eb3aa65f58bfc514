//! Two profiles together: what both allow, what either allows, and whether one allows no more than the other.

use super::action::Action;
use super::decision::{Decision, TooComplex};
use super::meaning::Meaning;
use super::region::Args;
use super::syscall::Syscall;

/// Where a profile lets more happen than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Its architectures are more.
    Architectures,
    /// A call that neither names gets a less strict action.
    Unnamed,
    /// A call with such arguments gets a less strict action.
    Call(Syscall, Args),
}

impl Meaning {
    /// What happens under both at once, as the kernel does it with two filters: the stricter action.
    pub fn intersection(&self, other: &Self) -> Result<Self, TooComplex> {
        let mut both = self.combine(other, Ord::min)?;
        both.architectures = self.architectures.and(other.architectures);
        Ok(both)
    }

    /// What either lets happen: the less strict action.
    pub fn union(&self, other: &Self) -> Result<Self, TooComplex> {
        let mut either = self.combine(other, Ord::max)?;
        either.architectures = self
            .architectures
            .iter()
            .chain(other.architectures.iter())
            .collect();
        Ok(either)
    }

    /// Where it lets more happen than `other`. `None` if it is as strict or stricter everywhere: a subset.
    #[must_use]
    pub fn excess_over(&self, other: &Self) -> Option<Excess> {
        if self.architectures.and(other.architectures) != self.architectures {
            return Some(Excess::Architectures);
        }
        let looser = |mine: Action, others: Action| mine.leniency() > others.leniency();
        let call = self
            .calls
            .keys()
            .chain(other.calls.keys())
            .find_map(|call| {
                let args = self.of(*call).find(&other.of(*call), looser)?;
                Some(Excess::Call(*call, args))
            });
        call.or_else(|| looser(self.default, other.default).then_some(Excess::Unnamed))
    }

    /// What happens to a call.
    #[must_use]
    pub fn of(&self, call: Syscall) -> Decision {
        let default = || Decision::always(self.default);
        self.calls.get(&call).cloned().unwrap_or_else(default)
    }

    /// Keeps flags and listener of `self`.
    fn combine(
        &self,
        other: &Self,
        action: impl Fn(Action, Action) -> Action,
    ) -> Result<Self, TooComplex> {
        let calls = self.calls.keys().chain(other.calls.keys());
        let decide =
            |call: &Syscall| Ok((*call, self.of(*call).combine(&other.of(*call), &action)?));
        Ok(Self {
            default: action(self.default, other.default),
            architectures: self.architectures,
            flags: self.flags,
            listener: self.listener.clone(),
            calls: calls.map(decide).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Arch, CapabilitySet, KernelVersion, Target, builtin, parse};
    use super::*;

    const TARGET: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn meaning(document: &Value) -> Meaning {
        parse(document, "")
            .unwrap()
            .resolve(&TARGET)
            .meaning()
            .unwrap()
    }

    fn built_in(name: &str) -> Meaning {
        builtin(name).unwrap().resolve(&TARGET).meaning().unwrap()
    }

    #[test]
    fn both_are_stricter_than_each_and_either_is_laxer() {
        let allow = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read", "ptrace"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_GE", "value": 30}]},
            {"names": ["keyctl"], "action": "SCMP_ACT_LOG"},
        ]});
        for (a, b) in [
            (meaning(&allow), built_in("runtime-default")),
            (built_in("docker-default"), built_in("runtime-default")),
            (built_in("audit"), meaning(&allow)),
        ] {
            let (both, either) = (a.intersection(&b).unwrap(), a.union(&b).unwrap());
            for one in [&a, &b] {
                assert_eq!(both.excess_over(one), None);
                assert_eq!(one.excess_over(&either), None);
            }
            assert!(both.profile("").is_ok() && either.profile("").is_ok());
        }
        let both = meaning(&allow)
            .intersection(&built_in("runtime-default"))
            .unwrap();
        let socket = both.of(Syscall::named("socket").unwrap());
        let of = |family| socket.of(&[family, 0, 0, 0, 0, 0]);
        assert_eq!(
            [29, 30, 39, 40, 41].map(|family| of(family).is_permitted()),
            [false, true, true, false, true]
        );
    }

    #[test]
    fn an_excess_is_shown_with_the_call_and_its_arguments() {
        let (docker, containerd) = (
            built_in("docker-default"),
            built_in("runtime-default/containerd-2.1"),
        );
        let call = Syscall::named("socket").unwrap();
        assert_eq!(
            containerd.excess_over(&docker),
            Some(Excess::Call(call, [38, 0, 0, 0, 0, 0]))
        );
        assert!(
            matches!(docker.excess_over(&containerd), Some(Excess::Call(call, _)) if call.name() == "getxattrat")
        );
        let lenient = meaning(&json!({"defaultAction": "SCMP_ACT_LOG"}));
        let strict = meaning(&json!({"defaultAction": "SCMP_ACT_ERRNO"}));
        assert_eq!(lenient.excess_over(&strict), Some(Excess::Unnamed));
        assert_eq!(
            built_in("audit").excess_over(&lenient),
            Some(Excess::Architectures)
        );
        assert_eq!(strict.excess_over(&lenient), None);
    }
}
