//! What happens to a call, as a function of its arguments.

use super::action::Action;
use super::arg_set::{ArgSet, MAX_REGIONS, Style};
use super::arguments::Arguments;
use super::condition::{ArgIndex, Condition, MAX_CONDITIONAL};
use super::merge;

/// Of how many parts at most it is found out on which arguments they really depend.
const WIDENED: usize = 256;

/// Conditions on one call that are too many, or overlap in too many ways, to tell them apart in bounded time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "has more than about 500 conditions on one call, thousands on all calls, or such as overlap in too many ways"
)]
pub struct TooComplex;

/// How much work is left for the calls of one profile together. Splitting a decision takes time that grows with the square
/// of its parts, and a document can have many calls with many parts.
#[derive(Debug)]
pub(super) struct WorkBudget(usize);

impl WorkBudget {
    /// In parts that are looked at: some milliseconds. A call with 500 single values takes an eighth of it on each
    /// architecture, and so many rules are about what the kernel loads.
    pub(super) const fn for_profile() -> Self {
        Self(2 << 20)
    }

    pub(super) const fn left(&self) -> usize {
        self.0
    }

    pub(super) fn spend(&mut self, parts: usize) -> Result<(), TooComplex> {
        self.0 = self.0.checked_sub(parts).ok_or(TooComplex)?;
        Ok(())
    }
}

/// An action for every combination of arguments.
#[derive(Debug, Clone)]
pub struct Decision {
    /// All arguments that there are.
    universe: &'static ArgSet,
    parts: Parts,
}

/// What a decision consists of. Nearly all calls get one action, and a profile names hundreds on each architecture.
#[derive(Debug, Clone)]
enum Parts {
    /// The same for all arguments that there are.
    One(Action),
    /// Disjoint, and together the universe.
    Many(Vec<(ArgSet, Action)>),
}

impl Decision {
    /// The same for all arguments.
    pub(super) const fn always(action: Action) -> Self {
        Self::within(&ArgSet::ALL, action)
    }

    /// The same for all arguments that there are: those in `universe`.
    pub(super) const fn within(universe: &'static ArgSet, action: Action) -> Self {
        Self {
            universe,
            parts: Parts::One(action),
        }
    }

    /// Its parts, if not all arguments get the same.
    pub(super) fn divided(&self) -> Option<&[(ArgSet, Action)]> {
        match &self.parts {
            Parts::One(_) => None,
            Parts::Many(parts) => Some(parts),
        }
    }

    fn parts(&self) -> impl Iterator<Item = (&ArgSet, Action)> + Clone {
        let (one, many) = match &self.parts {
            Parts::One(action) => (Some((self.universe, *action)), [].as_slice()),
            Parts::Many(parts) => (None, parts.as_slice()),
        };
        let many = many.iter().map(|(region, action)| (region, *action));
        one.into_iter().chain(many)
    }

    /// The parts as a list, to be changed and put back.
    fn take(&mut self) -> Vec<(ArgSet, Action)> {
        match std::mem::replace(&mut self.parts, Parts::Many(Vec::new())) {
            Parts::One(action) => vec![(*self.universe, action)],
            Parts::Many(parts) => parts,
        }
    }

    fn put(&mut self, parts: Vec<(ArgSet, Action)>) {
        self.parts = match parts.split_first() {
            Some(((_, first), others)) if others.iter().all(|(_, action)| action == first) => {
                Parts::One(*first)
            }
            _ => Parts::Many(parts),
        };
    }

    /// The action for these arguments.
    #[must_use]
    pub fn action_for(&self, args: &Arguments) -> Action {
        let mut parts = self.parts();
        let part = parts.find(|(region, _)| region.contains(args));
        part.map_or(Action::KillProcess, |(_, action)| action) // there is always one
    }

    /// The action, if it is the same for all arguments.
    #[must_use]
    pub fn constant(&self) -> Option<Action> {
        let mut parts = self.parts();
        let (_, first) = parts.next()?;
        parts.all(|(_, action)| action == first).then_some(first)
    }

    /// The actions that it takes for some arguments, each once, the strictest first.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<_> = self.parts().map(|(_, action)| action).collect();
        actions.sort_unstable();
        actions.dedup();
        actions
    }

    /// The actions that it takes for arguments of which some are known, each once, the strictest first.
    #[must_use]
    pub fn actions_given(&self, known: &[Option<u64>; 6]) -> Vec<Action> {
        let parts = self.parts();
        let meeting = parts.filter(|(region, _)| region.may_contain(known));
        let mut actions: Vec<_> = meeting.map(|(_, action)| action).collect();
        actions.sort_unstable();
        actions.dedup();
        actions
    }

    /// Its rules: when it takes which action, but for `default`. At most one condition for each argument; all conditions of
    /// a rule hold. In an order and a form that libseccomp combines as meant, if there is one.
    pub fn rules(&self, default: Action) -> Result<Vec<(Vec<Condition>, Action)>, TooComplex> {
        let actions = self
            .actions()
            .into_iter()
            .filter(|action| *action != default);
        let regions: Vec<_> = actions
            .map(|action| (action, self.wide_regions(action)))
            .collect();
        let written = |style| {
            let mut rules = Vec::new();
            for (action, regions) in &regions {
                let lists = ArgSet::conditions(regions.clone(), style, MAX_CONDITIONAL)
                    .ok_or(TooComplex)?;
                rules.extend(lists.into_iter().map(|conditions| (conditions, *action)));
            }
            rules.sort_unstable_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
            Ok(rules)
        };
        let mut rules = written(Style::Free);
        for style in [Style::Ranges, Style::Masks] {
            if rules.as_ref().is_ok_and(|rules| {
                merge::is_reliable(rules, true) && merge::is_reliable(rules, false)
            }) {
                break;
            }
            rules = written(style);
        }
        rules
    }

    /// Where it takes `action`, in regions that are bounded in as few arguments as can be, and may overlap.
    fn wide_regions(&self, action: Action) -> Vec<ArgSet> {
        let regions = |is_taken: bool| -> Vec<ArgSet> {
            let parts = self.parts();
            let parts = parts.filter(|(_, taken)| (*taken == action) == is_taken);
            parts.map(|(region, _)| *region).collect()
        };
        let mut mine = regions(true);
        if self.parts().count() > WIDENED {
            return mine;
        }
        let others = regions(false);
        for region in &mut mine {
            *region = region.widen(&others);
        }
        mine.sort_unstable();
        mine.dedup();
        let is_in_other = |region: &&ArgSet| {
            let mut others = mine.iter().filter(|other| other != region);
            others.any(|other| region.is_in(other))
        };
        mine.iter()
            .filter(|region| !is_in_other(region))
            .copied()
            .collect()
    }

    /// Arguments for which the two take different actions.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Arguments> {
        self.find(other, |mine, others| mine != others)
    }

    /// Arguments in `regions` for which it takes an action of which `test` is true.
    pub(super) fn find_in(
        &self,
        regions: &[ArgSet],
        test: impl Fn(Action) -> bool,
    ) -> Option<Arguments> {
        let mut parts = self.parts().filter(|(_, action)| test(*action));
        parts.find_map(|(part, _)| {
            let common = regions.iter().find_map(|region| part.and(region));
            common.map(|common| common.first())
        })
    }

    /// Arguments for which `test` is true of the actions of the two.
    #[must_use]
    pub fn find(&self, other: &Self, test: impl Fn(Action, Action) -> bool) -> Option<Arguments> {
        self.parts().find_map(|(region, mine)| {
            let mut others = other.parts().filter(|(_, others)| test(mine, *others));
            others.find_map(|(others, _)| Some(region.and(others)?.first()))
        })
    }

    /// Takes `action` in `regions`.
    pub(super) fn set(
        &mut self,
        regions: &[ArgSet],
        action: Action,
        budget: &mut WorkBudget,
    ) -> Result<(), TooComplex> {
        let mut parts = self.take();
        for region in regions
            .iter()
            .filter_map(|region| self.universe.and(region))
        {
            budget.spend(parts.len())?;
            let mut rest = Vec::new();
            parts.retain(|(part, old)| {
                let meets = part.meets(&region);
                if meets {
                    rest.extend(part.minus(&region).into_iter().map(|part| (part, *old)));
                }
                !meets
            });
            parts.append(&mut rest);
            parts.push((region, action));
            bounded(&parts)?;
        }
        self.put(parts);
        Ok(())
    }

    /// Takes `action(old)` in `regions`.
    pub(super) fn change(
        &mut self,
        regions: &[ArgSet],
        action: impl Fn(Action) -> Action,
        budget: &mut WorkBudget,
    ) -> Result<(), TooComplex> {
        let mut parts = self.take();
        for region in regions {
            budget.spend(parts.len())?;
            let mut rest = Vec::new();
            for (part, old) in &mut parts {
                let new = action(*old);
                if new != *old
                    && let Some(common) = part.and(region)
                {
                    rest.extend(part.minus(region).into_iter().map(|part| (part, *old)));
                    (*part, *old) = (common, new);
                }
            }
            parts.append(&mut rest);
            bounded(&parts)?;
        }
        self.put(parts);
        Ok(())
    }

    /// Makes it no laxer for any number than for what the kernel reads of it, the lower `bits` bits of that argument.
    pub(super) fn close_above(
        &mut self,
        arg: ArgIndex,
        bits: u32,
        budget: &mut WorkBudget,
    ) -> Result<(), TooComplex> {
        let read = self.read_by_lower(arg, bits)?;
        let is_laxer = |mine: Action, others: Action| mine.leniency() > others.leniency();
        if self.find(&read, is_laxer).is_none() {
            return Ok(());
        }
        *self = if read.find(self, is_laxer).is_none() {
            read
        } else {
            let stricter = |mine, others| {
                if is_laxer(mine, others) { others } else { mine }
            };
            self.combine(&read, stricter, budget)?
        };
        Ok(())
    }

    /// What it comes to for a kernel that reads the lower `bits` bits of that argument and gives it what they are alone.
    fn read_by_lower(&self, arg: ArgIndex, bits: u32) -> Result<Self, TooComplex> {
        let mut read = self.clone();
        let parts: Vec<_> = self
            .parts()
            .flat_map(|(region, action)| {
                let regions = region.read_by_lower(arg, bits);
                regions.map(move |region| (region, action))
            })
            .collect();
        bounded(&parts)?;
        read.put(parts);
        Ok(read)
    }

    /// The decision that takes `action(mine, others)`.
    pub(super) fn combine(
        &self,
        other: &Self,
        action: impl Fn(Action, Action) -> Action,
        budget: &mut WorkBudget,
    ) -> Result<Self, TooComplex> {
        let mut combined = self.clone();
        let mut parts = Vec::new();
        for (region, mine) in self.parts() {
            budget.spend(other.parts().count())?;
            let both = other.parts().filter_map(|(others_region, others)| {
                Some((region.and(others_region)?, action(mine, others)))
            });
            parts.extend(both);
            bounded(&parts)?;
        }
        combined.put(parts);
        Ok(combined)
    }

    /// Arguments around all its bounds: two decisions that agree on those of both agree everywhere, as a rule.
    pub fn boundaries(&self) -> impl Iterator<Item = Arguments> {
        self.parts().flat_map(|(region, _)| region.boundaries())
    }
}

/// A decision may have parts for 500 single values.
fn bounded(parts: &[(ArgSet, Action)]) -> Result<(), TooComplex> {
    (parts.len() <= MAX_REGIONS).then_some(()).ok_or(TooComplex)
}
