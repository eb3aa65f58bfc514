//! What a profile really does: the filter that a runtime's libseccomp makes of its rules.
//!
//! The order of rules, conditions on one argument, and calls that an architecture passes through another call mean
//! things to libseccomp that the document does not show. Source: runc `libcontainer/seccomp/seccomp_linux.go`, libseccomp
//! `db.c` and `syscalls.c`, both compared with the library itself in `tests/libseccomp`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::action::Action;
use super::arch::Arch;
use super::arg_set::ArgSet;
use super::arguments::Arguments;
use super::condition::{ArgIndex, Condition, Operator};
use super::decision::{Decision, TooComplex, WorkBudget};
use super::errno::Errno;
use super::loader::Loader;
use super::memo::{Memo, remembered};
use super::merge;
use super::oci::{ArchSet, Profile, Rule};
use super::runtime::Runtime;
use super::syscall::Syscall;

/// The bit in a call's number that tells X32 from `X86_64`.
const X32_BIT: u32 = 0x4000_0000;

/// The decisions of a filter.
#[derive(Debug, Clone)]
pub struct Model {
    pub(super) default: Action,
    /// The default for a call that no rule speaks of.
    otherwise: Decision,
    pub(super) architectures: ArchSet,
    states_architectures: bool,
    calls: BTreeMap<(Arch, u32), Decision>,
    last: BTreeMap<Arch, u32>,
    flaws: Vec<Miscompilation>,
}

/// Where libseccomp does not do what the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Miscompilation {
    /// Two rules have different actions under the same arguments. Depending on its version and on the rules' order
    /// libseccomp refuses to load the profile or takes either; the model takes the stricter.
    Overlap {
        /// Where.
        arch: Arch,
        /// The number of the call.
        number: u32,
        /// Arguments that both rules match.
        args: Arguments,
    },
    /// libseccomp may get the combination of the conditions wrong: see `merge::is_reliable`.
    Merge {
        /// Where.
        arch: Arch,
        /// The number of the call.
        number: u32,
    },
    /// As [`Miscompilation::Overlap`], of a call that the architecture does not have: libseccomp refuses to load the profile.
    Refused {
        /// Where.
        arch: Arch,
        /// Which.
        call: Syscall,
    },
    /// All rules for the architecture are void. libseccomp loads a call's number where it checks the first call of its
    /// list, and forgets to if that call is not one of the architecture: then it compares other calls with the number
    /// of the architecture. First are those without conditions (2.5.4 to 2.6.1 at least, `_gen_bpf_syscalls`).
    NumberNotLoaded {
        /// Where.
        arch: Arch,
    },
}

impl Miscompilation {
    /// Where it is.
    #[must_use]
    pub fn arch(&self) -> Arch {
        match self {
            Self::Overlap { arch, .. }
            | Self::Merge { arch, .. }
            | Self::Refused { arch, .. }
            | Self::NumberNotLoaded { arch } => *arch,
        }
    }

    /// The number of the call that it is about, if it is about one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Overlap { number, .. } | Self::Merge { number, .. } => Some(*number),
            Self::Refused { .. } | Self::NumberNotLoaded { .. } => None,
        }
    }
}

impl Profile {
    /// The filter that a runtime's libseccomp makes of it; an error if its conditions take too long to tell apart.
    pub fn model(&self) -> Result<Model, TooComplex> {
        let mut model = Model {
            default: self.default_action,
            otherwise: Decision::always(self.default_action),
            architectures: self.architectures,
            states_architectures: self.states_architectures,
            calls: BTreeMap::new(),
            last: BTreeMap::new(),
            flaws: Vec::new(),
        };
        let filters: Vec<_> = self
            .architectures
            .iter()
            .map(|arch| (arch, self.filter(arch)))
            .collect();
        let void = filters
            .iter()
            .filter(|(arch, filter)| !loads_number(*arch, filter, &filters));
        let void = void.map(|(arch, _)| Miscompilation::NumberNotLoaded { arch: *arch });
        model.flaws.extend(void);
        let budget = &mut WorkBudget::for_profile();
        let mut calls = Vec::new();
        for (arch, filter) in filters {
            let is_64_bit = arch.is_64_bit();
            let shared = filter.sharing();
            for (number, clauses) in filter.calls {
                if !merge::is_reliable(&clauses.conditional, is_64_bit) || shared.contains(&number)
                {
                    model.flaws.push(Miscompilation::Merge { arch, number });
                }
                let (decision, overlap) =
                    clauses.decision(is_64_bit, self.default_action, budget)?;
                let overlap = overlap.map(|args| Miscompilation::Overlap { arch, number, args });
                model.flaws.extend(overlap);
                calls.push(((arch, number), decision));
            }
            for (call, clauses) in filter.foreign {
                let (_, overlap) = clauses.decision(is_64_bit, self.default_action, budget)?;
                model
                    .flaws
                    .extend(overlap.map(|_| Miscompilation::Refused { arch, call }));
            }
            let named = self.rules.iter().flat_map(|rule| &rule.syscalls);
            if let Some(last) = named.filter_map(|call| call.number(arch)).max() {
                model.last.insert(arch, last);
            }
        }
        // They are in order: a map is made of them quicker than it grows.
        model.calls = calls.into_iter().collect();
        Ok(model)
    }

    /// For each architecture what libseccomp has for each call, those made through another one included.
    pub(super) fn clauses(&self) -> impl Iterator<Item = (Arch, impl Iterator<Item = Clauses>)> {
        self.architectures.iter().map(|arch| {
            let calls = self.filter(arch).calls;
            (arch, calls.into_values())
        })
    }

    /// The rules that libseccomp has for an architecture.
    fn filter(&self, arch: Arch) -> Filter {
        let mut filter = Filter::default();
        // Runtimes leave out what the default says anyway.
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.action != self.default_action)
        {
            for conditions in rule.alternatives() {
                for call in &rule.syscalls {
                    if let Some((through, number)) = call.multiplexed(arch) {
                        let first = Condition {
                            arg: ArgIndex::FIRST,
                            operator: Operator::Equal,
                            value: number,
                        };
                        let others = conditions
                            .iter()
                            .filter(|condition| condition.arg != first.arg);
                        let conditions: Vec<_> = others.copied().chain([first]).collect();
                        filter.add(arch, through, &conditions, rule.action);
                    }
                    filter.add(arch, *call, conditions, rule.action);
                }
            }
        }
        filter
    }
}

/// Whether libseccomp loads the number of a call before it looks at it; see [`Miscompilation::NumberNotLoaded`].
fn loads_number(arch: Arch, filter: &Filter, all: &[(Arch, Filter)]) -> bool {
    let of = |arch| all.iter().find(|(other, _)| *other == arch);
    match (arch, of(Arch::X86_64), of(Arch::X32)) {
        // These two are told apart by that number. Together they have one list of calls, the native one's first.
        (Arch::X86_64 | Arch::X32, Some((_, native)), Some((_, other))) => {
            native.loads_number() && (other.foreign.is_empty() || native.has_first())
        }
        (Arch::X86_64 | Arch::X32, ..) => true,
        _ => filter.loads_number(),
    }
}

/// The rules for one architecture.
#[derive(Default)]
struct Filter {
    /// By the number of the call.
    calls: BTreeMap<u32, Clauses>,
    /// Those for calls that the architecture does not have: no such call is made, but libseccomp can refuse their rules.
    foreign: BTreeMap<Syscall, Clauses>,
}

impl Filter {
    fn add(&mut self, arch: Arch, call: Syscall, conditions: &[Condition], action: Action) {
        let clauses = match call.number(arch) {
            Some(number) => self.calls.entry(number).or_default(),
            // Where calls are multiplexed, libseccomp leaves the others out.
            None if arch.multiplexes() && call.multiplexed(arch).is_none() => return,
            None => self.foreign.entry(call).or_default(),
        };
        clauses.add(conditions, arch.is_64_bit(), action);
    }

    /// The calls of which libseccomp may run a piece of code that it made for another call.
    ///
    /// Pieces that look the same are made once, also across calls, and one that compares an argument relies on what was
    /// loaded before it. Where a call has a rule with several conditions, that is not always the argument meant (2.5.4, found
    /// by trying): it takes another rule of the call that compares one of its earlier arguments with a number with which
    /// another call compares it too.
    fn sharing(&self) -> BTreeSet<u32> {
        let conditional = || {
            let calls = self.calls.iter();
            calls.filter(|(_, clauses)| clauses.unconditional.is_none())
        };
        let has_many = |clauses: &Clauses| {
            let mut rules = clauses.conditional.iter();
            rules.any(|(conditions, _)| conditions.len() > 1)
        };
        // Hardly a profile has such a rule, and this is asked of every one.
        if !conditional().any(|(_, clauses)| has_many(clauses)) {
            return BTreeSet::new();
        }
        // What is compared first in a call is loaded there, and does not look the same as what is compared without.
        let mut calls_with = BTreeMap::<Condition, BTreeSet<u32>>::new();
        for (number, clauses) in conditional().filter(|(_, clauses)| clauses.conditional.len() > 1)
        {
            for condition in clauses
                .conditional
                .iter()
                .flat_map(|(conditions, _)| conditions)
            {
                calls_with.entry(*condition).or_default().insert(*number);
            }
        }
        let is_shared = |condition: &Condition| {
            let calls = calls_with.get(condition);
            calls.is_some_and(|calls| calls.len() > 1)
        };
        let shares = |clauses: &Clauses| {
            let rules = || clauses.conditional.iter().enumerate();
            // The rules that compare an argument as another call does.
            let mut comparing = BTreeMap::<ArgIndex, BTreeSet<usize>>::new();
            for (rule, (conditions, _)) in rules() {
                for condition in conditions.iter().filter(|condition| is_shared(condition)) {
                    comparing.entry(condition.arg).or_default().insert(rule);
                }
            }
            let mut many = rules().filter(|(_, (conditions, _))| conditions.len() > 1);
            many.any(|(rule, (conditions, _))| {
                let args = || conditions.iter().map(|condition| condition.arg);
                let mut earlier = args().filter(|arg| Some(*arg) != args().max());
                earlier.any(|arg| {
                    let mut others = comparing.get(&arg).into_iter().flatten();
                    others.any(|other| *other != rule)
                })
            })
        };
        let sharing = conditional().filter(|(_, clauses)| shares(clauses));
        sharing.map(|(number, _)| *number).collect()
    }

    /// Whether the first of its calls is one that the architecture has; see [`Miscompilation::NumberNotLoaded`].
    fn loads_number(&self) -> bool {
        self.foreign.is_empty() || self.has_first()
    }

    /// Whether one of its calls has a rule without conditions.
    fn has_first(&self) -> bool {
        self.calls
            .values()
            .any(|clauses| clauses.unconditional.is_some())
    }
}

impl Rule {
    /// The lists of conditions that it becomes.
    pub(super) fn alternatives(&self) -> impl Iterator<Item = &[Condition]> {
        alternatives(&self.conditions)
    }
}

/// The lists that the conditions of a rule become: one, but for several conditions on one argument each is one, and so is
/// each other condition beside them.
pub(super) fn alternatives(conditions: &[Condition]) -> impl Iterator<Item = &[Condition]> {
    let mut seen = [false; 6];
    let twice = conditions
        .iter()
        .any(|condition| std::mem::replace(&mut seen[usize::from(condition.arg.get())], true));
    let size = if twice { 1 } else { conditions.len().max(1) };
    // `chunks` has none for no condition, and that is one rule.
    let none = conditions.is_empty().then_some(&[] as &[_]);
    none.into_iter().chain(conditions.chunks(size))
}

/// What rules say of one call.
#[derive(Default)]
pub(super) struct Clauses {
    /// The first rule without a condition. It makes all others void, earlier and later ones.
    unconditional: Option<Action>,
    /// Those before it.
    conditional: Vec<(Vec<Condition>, Action)>,
}

impl Clauses {
    /// Its rules with conditions, if they count.
    pub(super) fn conditional_rules(&self) -> impl Iterator<Item = &[Condition]> {
        let counts = self.unconditional.is_none();
        let rules = self.conditional.iter().filter(move |_| counts);
        rules.map(|(conditions, _)| conditions.as_slice())
    }

    pub(super) fn actions(&self) -> impl Iterator<Item = Action> {
        let conditional = self.conditional.iter().map(|(_, action)| *action);
        self.unconditional.into_iter().chain(conditional)
    }

    pub(super) fn add(&mut self, conditions: &[Condition], is_64_bit: bool, action: Action) {
        if self.unconditional.is_some() {
            return;
        }
        let seen = conditions
            .iter()
            .filter_map(|condition| seen(condition, is_64_bit));
        let seen: Vec<_> = seen.collect();
        if seen.is_empty() {
            self.unconditional = Some(action);
        } else {
            self.conditional.push((seen, action));
        }
    }

    /// The decision, and arguments for which two rules have different actions.
    pub(super) fn decision(
        self,
        is_64_bit: bool,
        default: Action,
        budget: &mut WorkBudget,
    ) -> Result<Decided, TooComplex> {
        let Self {
            unconditional,
            conditional,
        } = self;
        let (mut decision, mut overlap) = (Decision::within(universe(is_64_bit), default), None);
        if !conditional.is_empty() {
            let key = (conditional, is_64_bit, default);
            (decision, overlap) = remembered(&DECIDED, key, weight, budget, decided)?;
        }
        if let Some(action) = unconditional {
            decision = Decision::within(universe(is_64_bit), action);
        }
        Ok((decision, overlap))
    }
}

/// A decision, and arguments for which two rules have different actions.
type Decided = (Decision, Option<Arguments>);

/// Rules with conditions, whether the architecture has 64 bits, and the default.
type Conditional = (Vec<(Vec<Condition>, Action)>, bool, Action);

fn weight((conditional, ..): &Conditional, (decision, _): &Decided) -> usize {
    let conditions = conditional.iter().map(|(of, _)| of.len() + 1);
    conditions.sum::<usize>() + decision.divided().map_or(1, <[_]>::len)
}

thread_local! {
    static DECIDED: RefCell<Memo<Conditional, Decided>> = RefCell::default();
}

/// All arguments that there are.
fn universe(is_64_bit: bool) -> &'static ArgSet {
    if is_64_bit {
        &ArgSet::ALL
    } else {
        &ArgSet::ALL_32_BIT
    }
}

fn decided(
    (conditional, is_64_bit, default): &Conditional,
    budget: &mut WorkBudget,
) -> Result<Decided, TooComplex> {
    let mut decision = Decision::within(universe(*is_64_bit), *default);
    let mut overlap = None;
    let mut rules: Vec<_> = conditional.iter().collect();
    rules.sort_by_key(|(_, action)| std::cmp::Reverse(*action));
    for (conditions, action) in rules {
        let regions = ArgSet::satisfying(conditions).ok_or(TooComplex)?;
        overlap =
            overlap.or_else(|| decision.find_in(&regions, |old| old != *default && old != *action));
        decision.set(&regions, *action, budget)?;
    }
    Ok((decision, overlap))
}

/// The condition as libseccomp compiles it: of 32-bit arguments it sees the lower half of all its numbers, and a mask
/// without bits is no condition.
fn seen(condition: &Condition, is_64_bit: bool) -> Option<Condition> {
    let width = if is_64_bit {
        u64::MAX
    } else {
        u64::from(u32::MAX)
    };
    let operator = match condition.operator {
        Operator::MaskedEqual { mask } => Operator::MaskedEqual { mask: mask & width },
        operator => operator,
    };
    (operator != Operator::MaskedEqual { mask: 0 }).then_some(Condition {
        operator,
        value: condition.value & width,
        ..*condition
    })
}

impl Model {
    /// What the filter does with a call of that number through that architecture. The number is that of [`Syscall::number`]: on X32
    /// it has bit 30 set, and a number of `X86_64` with that bit is one of X32. A call through an architecture that the
    /// profile does not list kills the thread. On architectures of 32 bits only the lower halves of arguments count.
    #[must_use]
    pub fn decide(&self, arch: Arch, number: u32, args: &Arguments) -> Action {
        let arch = match arch {
            Arch::X86_64 if number & X32_BIT != 0 => Arch::X32,
            arch => arch,
        };
        if !self.architectures.contains(arch) {
            return Action::KillThread;
        }
        let args = if arch.is_64_bit() {
            *args
        } else {
            args.lower_halves()
        };
        self.calls
            .get(&(arch, number))
            .map_or(self.default, |decision| decision.action_for(&args))
    }

    /// What happens to a call when the newest runc loads the filter: [`Self::decide_under`].
    #[must_use]
    pub fn decide_under_runc(&self, arch: Arch, number: u32, args: &Arguments) -> Action {
        self.decide_under(Loader::any(Runtime::Runc), arch, number, args)
    }

    /// What happens to a call when that runtime loads the filter. Unless the default lets calls through, runc puts a piece before
    /// it that answers `ENOSYS` to calls newer than any that the profile names, so that programs fall back to older ones:
    /// [`Loader::answers_new_calls_with_enosys`].
    #[must_use]
    pub fn decide_under(
        &self,
        loader: Loader,
        arch: Arch,
        number: u32,
        args: &Arguments,
    ) -> Action {
        let lenient = matches!(self.default, Action::Allow | Action::Log | Action::Trace(_));
        let has_stub = !lenient && loader.answers_new_calls_with_enosys(self.states_architectures);
        let arch = match arch {
            Arch::X86_64 if number & X32_BIT != 0 => Arch::X32,
            arch => arch,
        };
        // Number 0 of s390 stands for calls with large numbers, which its kernel could not pass on.
        let large = matches!(arch, Arch::S390 | Arch::S390X) && number == 0;
        match self.last.get(&arch) {
            Some(last) if has_stub && (number > *last || large) => Action::Errno(Errno::ENOSYS),
            _ => self.decide(arch, number, args),
        }
    }

    /// Where libseccomp does not do what the rules say, or may not. Of a profile in canonical
    /// form there is none.
    #[must_use]
    pub fn flaws(&self) -> &[Miscompilation] {
        &self.flaws
    }

    /// A call that the two decide differently: its architecture, number and arguments. Where defaults or architectures differ, it is a
    /// call of a number (`u32::MAX`) that no architecture has.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<(Arch, u32, Arguments)> {
        if self.architectures != other.architectures || self.default != other.default {
            let arch = self.architectures.iter().next()?;
            return Some((arch, u32::MAX, Arguments::ZEROS));
        }
        self.beside(other)
            .find_map(|(arch, number, mine, others)| Some((arch, number, mine.difference(others)?)))
    }

    /// The calls that rules of either speak of, with what happens to them under both.
    pub(super) fn beside<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (Arch, u32, &'a Decision, &'a Decision)> {
        let (mut mine, mut others) = (self.calls.iter().peekable(), other.calls.iter().peekable());
        std::iter::from_fn(move || {
            let keys = [mine.peek(), others.peek()].map(|next| next.map(|(key, _)| **key));
            let key = keys.into_iter().flatten().min()?;
            let is_next = |(next, _): &(&(Arch, u32), &Decision)| **next == key;
            let of_mine = mine
                .next_if(is_next)
                .map_or(&self.otherwise, |(_, decision)| decision);
            let of_others = others
                .next_if(is_next)
                .map_or(&other.otherwise, |(_, decision)| decision);
            Some((key.0, key.1, of_mine, of_others))
        })
    }

    /// The calls that rules speak of, with what happens to them.
    pub fn calls(&self) -> impl Iterator<Item = (Arch, u32, &Decision)> {
        self.calls
            .iter()
            .map(|((arch, number), decision)| (*arch, *number, decision))
    }
}
