//! Two profiles together: what both allow, what either allows, and whether one allows no more than the other.

use super::action::Action;
use super::arch::Arch;
use super::arguments::Arguments;
use super::decision::{Decision, TooComplex, WorkBudget};
use super::delta::stated;
use super::errno::Errno;
use super::model::Model;
use super::oci::Flag;
use super::semantics::Semantics;
use super::syscall::Syscall;

/// Where a profile lets more happen than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Excess {
    /// It lets programs of this architecture run.
    Architecture(Arch),
    /// A call that neither names gets a less strict action.
    Unnamed,
    /// A call with such arguments gets a less strict action.
    Call(Syscall, Arguments),
    /// The same of a number on an architecture.
    Number(Arch, u32, Arguments),
}

/// Calls that carry others: what some architectures pass sockets and IPC through.
pub(super) const CARRIERS: [Syscall; 2] = [Syscall::SOCKETCALL, Syscall::IPC];

/// What a carrier must get in an intersection so that nothing comes through it that does not under one of the two.
///
/// Of rules for a carried call libseccomp makes such for the carrier, without the condition on the first argument, unless the
/// carrier has a rule of its own that does not say what the default says. So what the carrier does depends on how a profile
/// is written, and the stricter action for each call is not enough.
fn refused_carrier(carrier: Syscall, of: [&Semantics; 2], both: &Semantics) -> Option<Action> {
    if !both.architectures.iter().any(Arch::multiplexes) {
        return None;
    }
    let own = |one: &Semantics| {
        let decision = one.calls.get(&carrier);
        let action = decision.and_then(Decision::constant);
        action.filter(|action| *action != one.default)
    };
    let carried = |one: &Semantics| -> Vec<Action> {
        let calls = one.calls.iter().filter(|(call, _)| {
            let through = call.multiplexed(Arch::X86);
            through.is_some_and(|(through, _)| through == carrier)
        });
        calls.flat_map(|(_, decision)| decision.actions()).collect()
    };
    let refusal = of.into_iter().filter_map(|one| {
        let own = one.calls.get(&carrier).map(Decision::actions);
        let own = own.into_iter().flatten();
        let own = own.filter(|action| *action != one.default && action.refuses());
        let is_open = one.default.is_permitted();
        let rules = carried(one).into_iter();
        own.chain(rules.filter(|action| is_open && action.refuses()))
            .min()
    });
    let refusal = refusal.min()?;
    let permits = match own(both) {
        Some(action) => action.is_permitted(),
        None if both.default.is_permitted() => false,
        None => carried(both)
            .into_iter()
            .chain(both.decision_for(carrier).actions())
            .any(Action::is_permitted),
    };
    let strictest = both.decision_for(carrier).actions().into_iter().next();
    permits.then(|| refusal.min(strictest.unwrap_or(refusal)))
}

fn looser(mine: Action, others: Action) -> bool {
    mine.leniency() > others.leniency()
}

/// The stricter action. Of two errors the kernel returns that of the filter that was loaded last; here it is `ENOSYS` if one of them is,
/// whichever comes last: programs fall back on older calls then.
fn stricter(mine: Action, others: Action) -> Action {
    const ENOSYS: Action = Action::Errno(Errno::ENOSYS);
    match (mine, others) {
        (Action::Errno(_), ENOSYS) | (ENOSYS, Action::Errno(_)) => ENOSYS,
        _ => mine.min(others),
    }
}

impl Semantics {
    /// What happens under both at once, as the kernel does it with two filters: the stricter action. Calls are recorded if
    /// either wants it, and mitigations are off only if both leave them off.
    ///
    /// A call is known to it if both know it, or if it gets something else than the default: runc answers `ENOSYS` to calls that are newer
    /// than those that a profile knows.
    pub fn intersection(&self, other: &Self) -> Result<Self, TooComplex> {
        let mut both = self.combine(other, stricter)?;
        both.architectures = self.architectures.and(other.architectures);
        let all = self.flags.or(other.flags);
        let both_leave_off =
            self.flags.contains(Flag::SpecAllow) && other.flags.contains(Flag::SpecAllow);
        both.flags = if both_leave_off {
            all
        } else {
            all.without(Flag::SpecAllow)
        };
        for carrier in CARRIERS {
            if let Some(refusal) = refused_carrier(carrier, [self, other], &both) {
                let refusal = stated(refusal, both.default);
                both.calls.insert(carrier, Decision::always(refusal));
            }
        }
        let default = both.default;
        if matches!(default, Action::Errno(_)) {
            both.calls.retain(|call, decision| {
                let are_both = self.calls.contains_key(call) && other.calls.contains_key(call);
                are_both || decision.constant() != Some(default)
            });
        }
        Ok(both)
    }

    /// What either lets happen: the less strict action. A call through an architecture that only one of them names gets it too:
    /// one profile has the same rules for all its architectures.
    pub fn union(&self, other: &Self) -> Result<Self, TooComplex> {
        let mut either = self.combine(other, Ord::max)?;
        either.architectures = self
            .architectures
            .iter()
            .chain(other.architectures.iter())
            .collect();
        either.flags = self.flags.or(other.flags);
        Ok(either)
    }

    /// Where it lets more happen than `other`, call by call. `None` if it is as strict or stricter everywhere: a subset. What
    /// comes through `socketcall` and `ipc` only [`Model::excess_over`] knows.
    #[must_use]
    pub fn excess_over(&self, other: &Self) -> Option<Excess> {
        let mut arches = self.architectures.iter();
        if let Some(arch) = arches.find(|arch| !other.architectures.contains(*arch)) {
            return Some(Excess::Architecture(arch));
        }
        let is_reachable = |call: &&Syscall| {
            let mut arches = self.architectures.iter();
            arches.any(|arch| call.number(arch).is_some())
        };
        let call = self
            .calls
            .keys()
            .chain(other.calls.keys())
            .filter(is_reachable)
            .find_map(|call| {
                let args = self
                    .decision_for(*call)
                    .find(&other.decision_for(*call), looser)?;
                Some(Excess::Call(*call, args))
            });
        call.or_else(|| looser(self.default, other.default).then_some(Excess::Unnamed))
    }

    /// What happens to a call.
    #[must_use]
    pub fn decision_for(&self, call: Syscall) -> Decision {
        let default = || Decision::always(self.default);
        self.calls.get(&call).cloned().unwrap_or_else(default)
    }

    /// Keeps the flags of `self`, and of two listeners that of the first name.
    fn combine(
        &self,
        other: &Self,
        action: impl Fn(Action, Action) -> Action,
    ) -> Result<Self, TooComplex> {
        let calls = self.calls.keys().chain(other.calls.keys());
        let mut budget = WorkBudget::for_profile();
        let decide = |call: &Syscall| {
            let (mine, others) = (self.decision_for(*call), other.decision_for(*call));
            Ok((*call, mine.combine(&others, &action, &mut budget)?))
        };
        let listeners = self.listener.iter().chain(&other.listener);
        let first = listeners.min_by(|a, b| (&a.path, &a.metadata).cmp(&(&b.path, &b.metadata)));
        Ok(Self {
            default: action(self.default, other.default),
            architectures: self.architectures,
            flags: self.flags,
            listener: first.cloned(),
            calls: calls.map(decide).collect::<Result<_, _>>()?,
        })
    }
}

impl Model {
    /// Where it lets more happen than `other`, through every way into the kernel. `None` if it is as strict or stricter
    /// everywhere.
    #[must_use]
    pub fn excess_over(&self, other: &Self) -> Option<Excess> {
        let mut arches = self.architectures.iter();
        if let Some(arch) = arches.find(|arch| !other.architectures.contains(*arch)) {
            return Some(Excess::Architecture(arch));
        }
        let number = self.beside(other).find_map(|(arch, number, mine, others)| {
            let is_open = self.architectures.contains(arch);
            let args = mine.find(others, looser).filter(|_| is_open)?;
            Some(Excess::Number(arch, number, args))
        });
        number.or_else(|| looser(self.default, other.default).then_some(Excess::Unnamed))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{ArgIndex, CapabilitySet, KernelVersion, Target, builtin, parse};

    const TARGET: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn semantics(document: &Value) -> Semantics {
        parse(document, "")
            .unwrap()
            .resolve(&TARGET)
            .semantics()
            .unwrap()
    }

    fn built_in(name: &str) -> Semantics {
        builtin(name).unwrap().resolve(&TARGET).semantics().unwrap()
    }

    #[test]
    fn both_are_stricter_than_each_and_either_is_laxer() {
        let allow = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read", "ptrace"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_GE", "value": 30}]},
            {"names": ["keyctl"], "action": "SCMP_ACT_LOG"},
        ]});
        for (a, b) in [
            (semantics(&allow), built_in("runtime-default")),
            (built_in("docker-default"), built_in("runtime-default")),
            (built_in("audit"), semantics(&allow)),
        ] {
            let (both, either) = (a.intersection(&b).unwrap(), a.union(&b).unwrap());
            for one in [&a, &b] {
                assert_eq!(both.excess_over(one), None);
                assert_eq!(one.excess_over(&either), None);
            }
            assert!(both.profile("").is_ok() && either.profile("").is_ok());
        }
        let both = semantics(&allow)
            .intersection(&built_in("runtime-default"))
            .unwrap();
        let socket = both.decision_for(Syscall::named("socket").unwrap());
        let of = |family| socket.action_for(&[family, 0, 0, 0, 0, 0].into());
        assert_eq!(
            [29, 30, 39, 40, 41].map(|family| of(family).is_permitted()),
            [false, true, true, false, true]
        );
    }

    #[test]
    fn programs_can_fall_back_under_both_where_they_can_under_one() {
        let list = |default: u16, rules: Value| {
            semantics(
                &json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": default, "syscalls": rules}),
            )
        };
        let old = list(
            1,
            json!([{"names": ["read", "fchmodat"], "action": "SCMP_ACT_ALLOW"}]),
        );
        let new = list(
            1,
            json!([
                {"names": ["read", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ]),
        );
        for both in [
            old.intersection(&new).unwrap(),
            new.intersection(&old).unwrap(),
        ] {
            let profile = both.profile("").unwrap();
            let known: Vec<_> = profile
                .rules()
                .iter()
                .flat_map(crate::Rule::syscalls)
                .collect();
            let known: Vec<_> = known.iter().map(|call| call.name()).collect();
            assert_eq!(known, ["clone3", "fchmodat", "read"]);
            let clone3 = Syscall::named("clone3").unwrap();
            let answer = both.decision_for(clone3).constant();
            assert_eq!(answer, Some(Action::Errno(Errno::ENOSYS)));
        }
        // What both know and refuse stays known, and what kills goes on killing.
        let known = list(1, json!([{"names": ["mseal"], "action": "SCMP_ACT_ERRNO"}]));
        let both = known.intersection(&known).unwrap();
        assert!(both.calls.contains_key(&Syscall::named("mseal").unwrap()));
        let kill = semantics(&json!({"defaultAction": "SCMP_ACT_KILL_PROCESS"}));
        let both = kill.intersection(&new).unwrap();
        assert!(
            both.calls
                .contains_key(&Syscall::named("fchmodat2").unwrap())
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
            Some(Excess::Call(call, [38, 0, 0, 0, 0, 0].into()))
        );
        assert!(
            matches!(docker.excess_over(&containerd), Some(Excess::Call(call, _)) if call.name() == "getxattrat")
        );
        let lenient = semantics(&json!({"defaultAction": "SCMP_ACT_LOG"}));
        let strict = semantics(&json!({"defaultAction": "SCMP_ACT_ERRNO"}));
        assert_eq!(lenient.excess_over(&strict), Some(Excess::Unnamed));
        assert_eq!(
            built_in("audit").excess_over(&lenient),
            Some(Excess::Architecture(Arch::X86))
        );
        assert_eq!(strict.excess_over(&lenient), None);
    }

    #[test]
    fn calls_that_no_architecture_of_it_has_are_no_excess() {
        let arm = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["set_tls"], "action": "SCMP_ACT_ALLOW"},
        ]});
        let none = semantics(&json!({"defaultAction": "SCMP_ACT_ERRNO"}));
        assert_eq!(semantics(&arm).excess_over(&none), None);
    }

    #[test]
    fn what_comes_through_a_carrier_counts() {
        let arg = |op: &str| json!([{"index": 0, "op": op, "value": 1}]);
        let arches = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        let listed = semantics(
            &json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": arches, "syscalls": [
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": arg("SCMP_CMP_EQ")},
                {"names": ["accept"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            ]}),
        );
        let denied = semantics(
            &json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": arches, "syscalls": [
                {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": arg("SCMP_CMP_NE")},
            ]}),
        );
        assert_eq!(listed.excess_over(&denied), None);
        let model = |semantics: &Semantics| semantics.profile("").unwrap().model().unwrap();
        // i386's `socketcall(SYS_SOCKET)`: open under the one for all families, closed under the other.
        assert!(matches!(
            model(&listed).excess_over(&model(&denied)),
            Some(Excess::Number(Arch::X86, 102, args)) if args.get(ArgIndex::FIRST) == 1
        ));
        let both = listed.intersection(&denied).unwrap();
        for one in [&listed, &denied] {
            assert_eq!(model(&both).excess_over(&model(one)), None);
        }
    }

    #[test]
    fn a_carrier_that_one_denies_is_denied_under_both() {
        let arches = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        let rule = |names: Value, action: &str| json!({"names": names, "action": action});
        let denies = semantics(
            &json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": arches, "syscalls": [
                rule(json!(["socketcall"]), "SCMP_ACT_ERRNO"),
            ]}),
        );
        let allows = semantics(
            &json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": arches, "syscalls": [
                rule(json!(["socket", "read"]), "SCMP_ACT_ALLOW"),
            ]}),
        );
        let model = |semantics: &Semantics| semantics.profile("").unwrap().model().unwrap();
        for both in [
            denies.intersection(&allows).unwrap(),
            allows.intersection(&denies).unwrap(),
        ] {
            assert_eq!(model(&both).excess_over(&model(&denies)), None);
            assert_eq!(model(&both).excess_over(&model(&allows)), None);
        }
    }

    #[test]
    fn an_intersection_that_an_architecture_of_32_bits_would_misread_is_refused() {
        let allow = |op: &str, index: u8, value: u64| {
            json!({"names": ["chown32"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": index, "op": op, "value": value},
            ]})
        };
        let list = |rules: Value| {
            semantics(&json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": rules,
            }))
        };
        let two = list(json!([
            allow("SCMP_CMP_EQ", 1, 3),
            allow("SCMP_CMP_EQ", 1, 0)
        ]));
        let not = list(json!([allow("SCMP_CMP_NE", 0, 0)]));
        let said = two.intersection(&not).unwrap().profile("").unwrap_err();
        assert!(said.to_string().contains("lower halves only"), "{said}");
        // Numbers that are misread already would be gone from what is written, and with them what they refuse.
        let wide = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{"names": ["chown32"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 1, "op": "SCMP_CMP_EQ", "value": 1u64 << 32},
            ]}],
        });
        let wide = parse(&wide, "").unwrap().resolve(&TARGET);
        let said = wide.exact_semantics("").unwrap_err();
        assert!(said.to_string().contains("lower halves only"), "{said}");
        assert!(wide.canonical("").is_ok(), "it is what was written");
        let one = list(json!([allow("SCMP_CMP_EQ", 1, 3)]));
        assert!(one.intersection(&not).unwrap().profile("").is_ok());
    }

    #[test]
    fn flags_and_listeners_are_those_of_either() {
        let with = |flags: Value, listener: &str| {
            semantics(
                &json!({"defaultAction": "SCMP_ACT_LOG", "flags": flags, "listenerPath": listener}),
            )
        };
        let spec_allow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW";
        let log = with(json!(["SECCOMP_FILTER_FLAG_LOG", spec_allow]), "/b");
        let other = with(json!([]), "/a");
        for (a, b) in [(&log, &other), (&other, &log)] {
            let (both, either) = (a.intersection(b).unwrap(), a.union(b).unwrap());
            assert!(both.flags.contains(Flag::Log) && !both.flags.contains(Flag::SpecAllow));
            assert!(either.flags.contains(Flag::SpecAllow));
            let listener = either.listener.as_ref().unwrap();
            assert_eq!(listener.path, "/a");
        }
        let same = log.intersection(&log).unwrap();
        assert_eq!(same.flags, log.flags);
    }

    /// Documents with rules of all kinds for calls that are alike, carried ones and their carriers among them.
    pub(crate) fn document() -> impl Strategy<Value = Value> {
        let action = prop_oneof![
            Just(("SCMP_ACT_ALLOW", None)),
            Just(("SCMP_ACT_LOG", None)),
            Just(("SCMP_ACT_ERRNO", Some(1))),
            Just(("SCMP_ACT_ERRNO", Some(38))),
            Just(("SCMP_ACT_TRAP", None)),
        ];
        let call = prop_oneof![
            Just("socket"),
            Just("socketcall"),
            Just("read"),
            Just("personality"),
            Just("chown32"),
            Just("mseal")
        ];
        let op = prop_oneof![
            Just("SCMP_CMP_EQ"),
            Just("SCMP_CMP_NE"),
            Just("SCMP_CMP_LT"),
            Just("SCMP_CMP_GE"),
            Just("SCMP_CMP_MASKED_EQ"),
        ];
        // Also such as an architecture of 32 bits sees half of.
        let value = || prop_oneof![8 => 0..5u64, 1 => Just(1 << 32), 1 => Just(u64::MAX)];
        let arg = (0..2u8, op, value(), value()).prop_map(|(index, op, value, two)| {
            let mut arg = json!({"index": index, "op": op, "value": value});
            if op == "SCMP_CMP_MASKED_EQ" {
                // Of few bits: the complement of a mask has a part for each.
                arg["value"] = (value & 0x1_0000_0007).into();
                arg["valueTwo"] = two.into();
            }
            arg
        });
        let args = prop::collection::vec(arg, 0..2);
        let rule = (call, action.clone(), args).prop_map(|(call, (action, errno), args)| {
            json!({"names": [call], "action": action, "errnoRet": errno, "args": args})
        });
        let rules = prop::collection::vec(rule, 0..5);
        let x86 = prop_oneof![
            Just(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])),
            Just(json!(["SCMP_ARCH_X86_64"])),
        ];
        (action, x86, rules).prop_map(|((default, errno), arches, rules)| {
            json!({"defaultAction": default, "defaultErrnoRet": errno, "architectures": arches, "syscalls": rules})
        })
    }

    pub(crate) fn read(document: &Value) -> Option<Semantics> {
        // Two rules with one condition and two actions have no semantics, and what 32 bits cannot hold has two.
        let document = parse(document, "").ok()?;
        document.resolve(&TARGET).exact_semantics("").ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_laws_of_sets_hold(a in document(), b in document()) {
            let (Some(a), Some(b)) = (read(&a), read(&b)) else { return Ok(()) };
            let (both, either) = (a.intersection(&b).unwrap(), a.union(&b).unwrap());
            let same = |x: &Semantics, y: &Semantics| {
                x.excess_over(y).is_none() && y.excess_over(x).is_none() && x.flags == y.flags
            };
            // Where a carrier is closed, more is refused than call by call.
            let is_plain = [&a, &b].iter().all(|one| !one.architectures.contains(Arch::X86));
            for one in [&a, &b] {
                prop_assert_eq!(both.excess_over(one), None);
                prop_assert_eq!(one.excess_over(&either), None);
            }
            prop_assert!(same(&both, &b.intersection(&a).unwrap()));
            prop_assert!(same(&either, &b.union(&a).unwrap()));
            prop_assert!(same(&a, &a.union(&a).unwrap()));
            if is_plain || !a.calls.contains_key(&Syscall::SOCKETCALL) {
                prop_assert!(same(&a, &a.intersection(&a).unwrap()));
            }
            if is_plain {
                prop_assert!(same(&a, &a.union(&both).unwrap()));
                prop_assert_eq!(a.excess_over(&b).is_none(), same(&both, &a));
            }
            for name in ["socket", "read", "personality", "chown32", "mseal", "mkdir"] {
                let call = Syscall::named(name).unwrap();
                let values = || (0..6).chain([1 << 32, (1 << 32) + 1, u64::MAX]);
                for first in values() {
                    for second in values() {
                        let args = [first, second, 0, 0, 0, 0].into();
                        let taken = |one: &Semantics| one.decision_for(call).action_for(&args);
                        let (mine, others) = (taken(&a), taken(&b));
                        prop_assert_eq!(taken(&both), stricter(mine, others));
                        prop_assert_eq!(taken(&either), mine.max(others));
                    }
                }
            }
        }

        #[test]
        fn an_intersection_lets_no_more_through_on_any_way(a in document(), b in document()) {
            // How a refused call is refused, and whether an allowed one is recorded, may differ on the way through a carrier.
            let silent = |one: &Value| {
                let text = one.to_string().replace("_LOG", "_ALLOW").replace("_TRAP", "_ERRNO");
                read(&serde_json::from_str(&text).unwrap())
            };
            let (Some(a), Some(b)) = (silent(&a), silent(&b)) else { return Ok(()) };
            let model = |semantics: &Semantics| semantics.profile("").ok()?.model().ok();
            let both = a.intersection(&b).unwrap();
            if let (Some(both), Some(a), Some(b)) = (model(&both), model(&a), model(&b)) {
                prop_assert_eq!(both.excess_over(&a), None);
                prop_assert_eq!(both.excess_over(&b), None);
            }
        }
    }
}
