//! What one profile lets happen that another does not, call by call.
//!
//! A subset test says whether there is such a call ([`Model::excess_over`] names the first); this says which, in the words of people. Unlike
//! that one it does not ask how a call is refused, or whether one that is made is recorded: only who lets it happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::action::Action;
use super::arch::Arch;
use super::decision::{Decision, WorkBudget};
use super::errno::Errno;
use super::model::Model;
use super::syscall::Syscall;

/// So many alternatives of arguments are spelt out for one call.
const ALTERNATIVES: usize = 3;
/// So many calls are named in a sentence.
const NAMED: usize = 8;

/// For which arguments a call happens in addition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extent {
    /// For all.
    All,
    /// For these, as conditions: `arg0 == 38 or arg0 == 40`.
    Where(String),
    /// For some, of more kinds than a sentence has room for.
    Some,
}

/// What a profile lets happen that another does not. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surplus {
    /// The calls, for some arguments or for all, with the architectures that they are made through.
    calls: BTreeMap<Syscall, BTreeMap<Arch, Extent>>,
    /// The architectures through which the other lets no call happen at all.
    architectures: BTreeSet<Arch>,
    /// Whether calls happen in addition that no table has yet.
    unnamed: bool,
}

/// Whether somebody is let do what the other keeps from them. Whoever leaves a call to a listener or a tracer lets less happen than
/// whoever allows it, and more than whoever refuses it.
fn opens(mine: Action, others: Action) -> bool {
    mine.openness() > others.openness()
}

impl Surplus {
    /// Whether there is nothing: a subset.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.architectures.is_empty() && !self.unnamed
    }

    /// The calls, for some arguments or for all.
    pub fn calls(&self) -> impl Iterator<Item = Syscall> {
        self.calls.keys().copied()
    }

    /// The architectures through which calls happen, and through which the other lets none.
    pub fn architectures(&self) -> impl Iterator<Item = Arch> {
        self.architectures.iter().copied()
    }

    /// Whether calls happen in addition that no table has yet.
    #[must_use]
    pub fn has_unnamed(&self) -> bool {
        self.unnamed
    }

    /// Takes what there is on another kind of node in.
    pub fn extend(&mut self, other: Self) {
        for (call, extents) in other.calls {
            let known = self.calls.entry(call).or_default();
            for (arch, extent) in extents {
                known.entry(arch).or_insert(extent);
            }
        }
        self.architectures.extend(other.architectures);
        self.unnamed |= other.unnamed;
    }

    fn words(call: Syscall, extents: &BTreeMap<Arch, Extent>) -> String {
        let is_all = extents.values().any(|extent| *extent == Extent::All);
        // On 32 bits conditions look at the lower halves; the wide architecture's are those that were written.
        let wide = extents.iter().find(|(arch, _)| arch.is_64_bit());
        let first = wide.or_else(|| extents.iter().next());
        match first.map(|(_, extent)| extent) {
            Some(Extent::Where(conditions)) if !is_all => format!("{call} (if {conditions})"),
            Some(Extent::Some) if !is_all => format!("{call} (for some arguments)"),
            _ => call.to_string(),
        }
    }
}

/// `bpf, mount, socket (if arg0 == 38) and 3 more`: at most eight calls by name, and what else there is.
impl fmt::Display for Surplus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut named: Vec<_> = self.calls.iter().collect();
        named.sort_unstable_by_key(|(call, _)| call.name());
        let shown = named.iter().take(NAMED);
        let mut parts: Vec<_> = shown
            .map(|(call, extents)| Self::words(**call, extents))
            .collect();
        if let more @ 1.. = named.len().saturating_sub(NAMED) {
            parts.push(format!("{more} more"));
        }
        if self.unnamed {
            parts.push("calls that no kernel has yet".to_owned());
        }
        if !self.architectures.is_empty() {
            let arches: Vec<_> = self.architectures.iter().map(Arch::to_string).collect();
            parts.push(format!("what programs of {} call", arches.join(" and ")));
        }
        let last = parts.pop().unwrap_or_else(|| "nothing".to_owned());
        if parts.is_empty() {
            f.write_str(&last)
        } else {
            write!(f, "{} and {last}", parts.join(", "))
        }
    }
}

/// For which arguments `mine` opens what `others` does not; none if for no arguments.
fn extent(mine: &Decision, others: &Decision, budget: &mut WorkBudget) -> Option<Extent> {
    const OTHERWISE: Action = Action::Errno(Errno::EPERM);
    mine.find(others, opens)?;
    if let (Some(_), Some(_)) = (mine.constant(), others.constant()) {
        return Some(Extent::All);
    }
    let surplus = |mine, others| {
        if opens(mine, others) {
            Action::Allow
        } else {
            OTHERWISE
        }
    };
    let combined = mine.combine(others, surplus, budget);
    Some(match combined {
        Ok(both) if both.constant().is_some() => Extent::All,
        Ok(both) => match both.rules(OTHERWISE) {
            Ok(rules) if rules.len() <= ALTERNATIVES => {
                let alternatives = rules.iter().map(|(conditions, _)| {
                    let all: Vec<_> = conditions.iter().map(ToString::to_string).collect();
                    all.join(" and ")
                });
                Extent::Where(alternatives.collect::<Vec<_>>().join(" or "))
            }
            _ => Extent::Some,
        },
        Err(_) => Extent::Some,
    })
}

impl Model {
    /// What it lets happen that `other` does not, through these ways into the kernel: those of a node are its architecture's
    /// [`Arch::abis`]. It is empty exactly if `other` lets everything happen that this does.
    #[must_use]
    pub fn surplus_over(&self, other: &Self, through: &[Arch]) -> Surplus {
        let mut surplus = Surplus::default();
        let mut named = BTreeSet::new();
        let mut budget = WorkBudget::for_profile();
        for (arch, number, mine, others) in self.beside(other) {
            if !self.architectures.contains(arch) || !through.contains(&arch) {
                continue;
            }
            named.insert((arch, number));
            if !other.architectures.contains(arch) {
                if mine
                    .actions()
                    .into_iter()
                    .any(|action| action.openness() > 0)
                {
                    surplus.architectures.insert(arch);
                }
                continue;
            }
            if let (Some(extent), Some(call)) = (
                extent(mine, others, &mut budget),
                Syscall::numbered(arch, number),
            ) {
                surplus.calls.entry(call).or_default().insert(arch, extent);
            }
        }
        let own = self.architectures.iter();
        for arch in own.filter(|arch| through.contains(arch)) {
            if !other.architectures.contains(arch) {
                if self.default.openness() > 0 {
                    surplus.architectures.insert(arch);
                }
                continue;
            }
            if !opens(self.default, other.default) {
                continue;
            }
            surplus.unnamed = true;
            for call in Syscall::all() {
                let number = call.number(arch);
                if number.is_some_and(|number| !named.contains(&(arch, number))) {
                    let extents = surplus.calls.entry(call).or_default();
                    extents.insert(arch, Extent::All);
                }
            }
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::algebra::tests::{document, read};
    use crate::{Arguments, CapabilitySet, KernelVersion, Target, builtin, parse};

    const TARGET: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn model(document: &Value) -> Model {
        let document = parse(document, "").unwrap();
        document.resolve(&TARGET).model().unwrap()
    }

    fn built_in(name: &str) -> Model {
        builtin(name).unwrap().resolve(&TARGET).model().unwrap()
    }

    fn list(rules: &Value) -> Model {
        model(&json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules,
        }))
    }

    #[test]
    fn what_is_too_much_is_named_with_its_arguments() {
        let allow = |names: &[&str]| json!({"names": names, "action": "SCMP_ACT_ALLOW"});
        let socket = |op: &str, value: u64| json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": op, "value": value}]});
        let ceiling = list(&json!([
            allow(&["read", "write"]),
            socket("SCMP_CMP_LT", 30)
        ]));
        for (rules, said) in [
            (json!([allow(&["read"])]), "nothing"),
            (json!([allow(&["read", "bpf"])]), "bpf"),
            (
                json!([allow(&["ptrace", "bpf", "mount"])]),
                "bpf, mount and ptrace",
            ),
            (json!([socket("SCMP_CMP_EQ", 38)]), "socket (if arg0 == 38)"),
            (json!([socket("SCMP_CMP_EQ", 2)]), "nothing"),
            (json!([allow(&["socket"])]), "socket (if arg0 >= 30)"),
            (
                json!([{"names": ["bpf"], "action": "SCMP_ACT_LOG"}, {"names": ["mount"], "action": "SCMP_ACT_TRACE"},
                    {"names": ["read"], "action": "SCMP_ACT_LOG"}, {"names": ["ptrace"], "action": "SCMP_ACT_TRAP"}]),
                "bpf and mount",
            ),
        ] {
            let surplus = list(&rules).surplus_over(&ceiling, Arch::X86_64.abis());
            assert_eq!(surplus.to_string(), said, "{rules}");
            assert_eq!(surplus.is_empty(), said == "nothing");
        }
    }

    #[test]
    fn an_open_profile_is_above_every_list_and_a_list_above_no_open_one() {
        let (audit, default) = (built_in("audit"), built_in("runtime-default"));
        let surplus = audit.surplus_over(&default, Arch::X86_64.abis());
        assert!(surplus.has_unnamed());
        let said = surplus.to_string();
        assert!(
            said.starts_with("_sysctl, acct, ")
                && said.ends_with(" more and calls that no kernel has yet"),
            "{said}"
        );
        assert!(default.surplus_over(&audit, Arch::X86_64.abis()).is_empty());
        let said = list(&json!([]))
            .surplus_over(&default, Arch::X86_64.abis())
            .to_string();
        assert_eq!(said, "nothing");
    }

    #[test]
    fn a_call_that_is_left_to_a_listener_is_less_than_one_that_is_allowed() {
        let one = |action: &str| {
            let rules = json!([{"names": ["mount"], "action": action}]);
            model(
                &json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/run/a.sock", "syscalls": rules}),
            )
        };
        let above = |mine: &str, others: &str| {
            !one(mine)
                .surplus_over(&one(others), Arch::X86_64.abis())
                .is_empty()
        };
        assert!(above("SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"));
        assert!(!above("SCMP_ACT_NOTIFY", "SCMP_ACT_ALLOW"));
        assert!(above("SCMP_ACT_NOTIFY", "SCMP_ACT_KILL_PROCESS"));
        assert!(!above("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"));
    }

    #[test]
    fn an_architecture_is_too_much_only_where_something_happens_through_it() {
        let of = |default: &str, rules: Value| {
            let arches = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
            model(&json!({"defaultAction": default, "architectures": arches, "syscalls": rules}))
        };
        let ceiling = list(&json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]));
        let both = of(
            "SCMP_ACT_ERRNO",
            json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]),
        );
        let said = both.surplus_over(&ceiling, Arch::X86_64.abis()).to_string();
        assert_eq!(said, "what programs of SCMP_ARCH_X86 call");
        // No program of it runs on such a node.
        assert!(both.surplus_over(&ceiling, Arch::Aarch64.abis()).is_empty());
        let nothing = of("SCMP_ACT_ERRNO", json!([]));
        assert!(
            nothing
                .surplus_over(&ceiling, Arch::X86_64.abis())
                .is_empty()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// There is nothing exactly if every call that happens under the one happens under the other.
        #[test]
        fn nothing_is_too_much_exactly_if_all_that_happens_may_happen(a in document(), b in document()) {
            let model = |document: &Value| read(document)?.profile("").ok()?.model().ok();
            let (Some(a), Some(b)) = (model(&a), model(&b)) else { return Ok(()) };
            let surplus = a.surplus_over(&b, Arch::X86_64.abis());
            let calls = ["socket", "socketcall", "read", "personality", "chown32", "mseal", "mkdir", "bind"];
            let calls: Vec<_> = calls.iter().filter_map(|name| Syscall::named(name)).collect();
            let values = || (0..8).chain([1 << 32, (1 << 32) + 1, (1 << 32) + 4, u64::MAX - 1, u64::MAX]);
            for arch in [Arch::X86_64, Arch::X86] {
                let mut happens_more = BTreeSet::new();
                for call in &calls {
                    let Some(number) = call.number(arch) else { continue };
                    let pairs = values().flat_map(|first| values().map(move |second| (first, second)));
                    for (first, second) in pairs {
                        let args: Arguments = [first, second, 0, 0, 0, 0].into();
                        if opens(a.decide(arch, number, &args), b.decide(arch, number, &args)) {
                            happens_more.insert(*call);
                        }
                    }
                }
                if surplus.is_empty() {
                    prop_assert_eq!(&happens_more, &BTreeSet::new(), "{}", arch);
                }
                if surplus.architectures.contains(&arch) {
                    prop_assert!(!happens_more.is_empty(), "{arch}");
                    continue;
                }
                let named = surplus.calls.iter().filter(|(call, extents)| extents.contains_key(&arch) && calls.contains(call));
                let named: BTreeSet<_> = named.map(|(call, _)| *call).collect();
                prop_assert_eq!(named, happens_more, "{}", arch);
            }
        }
    }
}
