//! What happens to a call, as a function of its arguments.

use super::action::Action;
use super::condition::Condition;
use super::model::merge_well;
use super::read::MAX_CONDITIONAL;
use super::region::{Args, Region, Style};

/// How many parts a decision may have: enough for 500 single values. Changing all of them takes time that grows with the
/// square.
const MAX_PARTS: usize = 1024;

/// Of how many parts at most it is found out on which arguments they really depend.
const WIDENED: usize = 256;

/// Conditions on one call that are too many, or overlap in too many ways, to tell them apart in bounded time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has more than about 500 conditions on one call, or such as overlap in too many ways")]
pub struct TooComplex;

/// An action for every combination of arguments.
#[derive(Debug, Clone)]
pub struct Decision {
    /// All arguments that there are.
    universe: Region,
    /// Disjoint, and together the universe.
    parts: Vec<(Region, Action)>,
}

impl Decision {
    /// The same for all arguments.
    pub(super) fn always(action: Action) -> Self {
        Self::within(Region::ALL, action)
    }

    /// The same for all arguments that there are: those in `universe`.
    pub(super) fn within(universe: Region, action: Action) -> Self {
        Self {
            universe,
            parts: vec![(universe, action)],
        }
    }

    /// The action for these arguments.
    #[must_use]
    pub fn of(&self, args: &Args) -> Action {
        let part = self.parts.iter().find(|(region, _)| region.contains(args));
        part.map_or(Action::KillProcess, |(_, action)| *action) // there is always one
    }

    /// The action, if it is the same for all arguments.
    #[must_use]
    pub fn constant(&self) -> Option<Action> {
        let (_, first) = self.parts.first()?;
        let same = self.parts.iter().all(|(_, action)| action == first);
        same.then_some(*first)
    }

    /// The actions that it takes for some arguments, each once, the strictest first.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<_> = self.parts.iter().map(|(_, action)| *action).collect();
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
                let lists = Region::conditions(regions.clone(), style, MAX_CONDITIONAL)
                    .ok_or(TooComplex)?;
                rules.extend(lists.into_iter().map(|conditions| (conditions, *action)));
            }
            rules.sort_unstable_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
            Ok(rules)
        };
        let mut rules = written(Style::Free);
        for style in [Style::Ranges, Style::Masks] {
            if rules
                .as_ref()
                .is_ok_and(|rules| merge_well(rules, true) && merge_well(rules, false))
            {
                break;
            }
            rules = written(style);
        }
        rules
    }

    /// Where it takes `action`, in regions that are bounded in as few arguments as can be, and may overlap.
    fn wide_regions(&self, action: Action) -> Vec<Region> {
        let mut regions: Vec<_> = self.regions(action).copied().collect();
        if self.parts.len() > WIDENED {
            return regions;
        }
        let others = self.parts.iter().filter(|(_, other)| *other != action);
        let others: Vec<_> = others.map(|(region, _)| *region).collect();
        for region in &mut regions {
            *region = region.widen(&others);
        }
        regions.sort_unstable();
        regions.dedup();
        let mut kept: Vec<Region> = Vec::new();
        for region in &regions {
            let is_in_other = |other: &Region| other != region && region.is_in(other);
            if !regions.iter().any(is_in_other) {
                kept.push(*region);
            }
        }
        kept
    }

    /// Arguments for which the two take different actions.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Args> {
        self.find(other, |mine, others| mine != others)
    }

    /// Arguments in `regions` for which it takes an action of which `test` is true.
    pub(super) fn find_in(
        &self,
        regions: &[Region],
        test: impl Fn(Action) -> bool,
    ) -> Option<Args> {
        let mut parts = self.parts.iter().filter(|(_, action)| test(*action));
        parts.find_map(|(part, _)| {
            let common = regions.iter().find_map(|region| part.and(region));
            common.map(|common| common.first())
        })
    }

    /// Arguments for which `test` is true of the actions of the two.
    pub(super) fn find(&self, other: &Self, test: impl Fn(Action, Action) -> bool) -> Option<Args> {
        self.parts.iter().find_map(|(region, mine)| {
            other.parts.iter().find_map(|(others_region, others)| {
                let both = test(*mine, *others).then(|| region.and(others_region));
                both.flatten().map(|both| both.first())
            })
        })
    }

    /// Takes `action` in `regions`.
    pub(super) fn set(&mut self, regions: &[Region], action: Action) -> Result<(), TooComplex> {
        for region in regions {
            let mut parts = Vec::with_capacity(self.parts.len() + 2);
            for (part, old) in self.parts.drain(..) {
                if part.meets(region) {
                    parts.extend(part.minus(region).into_iter().map(|rest| (rest, old)));
                } else {
                    parts.push((part, old));
                }
            }
            parts.extend(self.universe.and(region).map(|region| (region, action)));
            self.parts = bounded(parts)?;
        }
        Ok(())
    }

    /// Takes `action(old)` in `regions`.
    pub(super) fn change(
        &mut self,
        regions: &[Region],
        action: impl Fn(Action) -> Action,
    ) -> Result<(), TooComplex> {
        for region in regions {
            let mut parts = Vec::with_capacity(self.parts.len() + 1);
            for (part, old) in self.parts.drain(..) {
                let new = action(old);
                match part.and(region) {
                    Some(common) if new != old => {
                        parts.extend(part.minus(region).into_iter().map(|rest| (rest, old)));
                        parts.push((common, new));
                    }
                    _ => parts.push((part, old)),
                }
            }
            self.parts = bounded(parts)?;
        }
        Ok(())
    }

    /// The decision that takes `action(mine, others)`.
    pub(super) fn combine(
        &self,
        other: &Self,
        action: impl Fn(Action, Action) -> Action,
    ) -> Result<Self, TooComplex> {
        let mut parts = Vec::new();
        for (region, mine) in &self.parts {
            for (others_region, others) in &other.parts {
                if let Some(both) = region.and(others_region) {
                    parts.push((both, action(*mine, *others)));
                }
            }
        }
        Ok(Self {
            universe: self.universe,
            parts: bounded(parts)?,
        })
    }

    /// Where it takes `action`.
    pub(super) fn regions(&self, action: Action) -> impl Iterator<Item = &Region> {
        self.parts
            .iter()
            .filter(move |(_, taken)| *taken == action)
            .map(|(region, _)| region)
    }

    /// Arguments around all its bounds: two decisions that agree on those of both agree everywhere, as a rule.
    pub fn boundaries(&self) -> impl Iterator<Item = Args> {
        self.parts
            .iter()
            .flat_map(|(region, _)| region.boundaries())
    }
}

fn bounded(parts: Vec<(Region, Action)>) -> Result<Vec<(Region, Action)>, TooComplex> {
    (parts.len() <= MAX_PARTS)
        .then_some(parts)
        .ok_or(TooComplex)
}
