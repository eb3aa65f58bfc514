//! Sets of arguments: exact, closed under intersection and difference, each with a member to show.
//!
//! Knows the six arguments of a call as 64-bit numbers; does not know calls or actions.

use super::arguments::Arguments;
use super::condition::{ArgIndex, Condition, Operator, of_bits};

/// Values of one argument: those from `low` to `high` whose bits under `mask` are `bits`. Never empty; `low` and `high`
/// are members; a mask that says no more than the bounds do is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ValueSet {
    low: u64,
    high: u64,
    mask: u64,
    bits: u64,
}

impl ValueSet {
    pub(super) const ALL: Self = Self {
        low: 0,
        high: u64::MAX,
        mask: 0,
        bits: 0,
    };

    /// `None` when there is no such value. `bits` lie under `mask`.
    fn new(low: u64, high: u64, mask: u64, bits: u64) -> Option<Self> {
        let (low, high) = if mask == 0 {
            (low, high)
        } else {
            (at_least(low, mask, bits)?, at_most(high, mask, bits)?)
        };
        if low > high {
            return None;
        }
        let is_range = mask.leading_ones() + mask.trailing_zeros() >= 64;
        // The leading bits that all values between the bounds share.
        let shared = !u64::MAX
            .checked_shr((low ^ high).leading_zeros())
            .unwrap_or(0);
        let mask = if is_range || mask & !shared == 0 {
            0
        } else {
            mask
        };
        Some(Self {
            low,
            high,
            mask,
            bits: bits & mask,
        })
    }

    /// The values that fulfil `condition`, in at most two disjoint sets. As libseccomp has it, the bits of a masked
    /// comparison's value that are not under the mask do not count.
    pub(super) fn satisfying(condition: &Condition) -> impl Iterator<Item = Self> + use<> {
        let value = condition.value;
        let range = |low, high| Self::new(low, high, 0, 0);
        let below = value.checked_sub(1).and_then(|high| range(0, high));
        let above = value.checked_add(1).and_then(|low| range(low, u64::MAX));
        let (first, second) = match condition.operator {
            Operator::NotEqual => (below, above),
            Operator::Less => (below, None),
            Operator::LessOrEqual => (range(0, value), None),
            Operator::Equal => (range(value, value), None),
            Operator::GreaterOrEqual => (range(value, u64::MAX), None),
            Operator::Greater => (above, None),
            Operator::MaskedEqual { mask } => (Self::new(0, u64::MAX, mask, value & mask), None),
        };
        first.into_iter().chain(second)
    }

    pub(super) fn contains(self, value: u64) -> bool {
        (self.low..=self.high).contains(&value) && value & self.mask == self.bits
    }

    /// Whether the two have a member in common.
    fn meets(self, other: Self) -> bool {
        // Of most arguments nothing is said by either.
        if self == other {
            return true;
        }
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        low <= high && (self.mask | other.mask == 0 || self.and(other).is_some())
    }

    fn and(self, other: Self) -> Option<Self> {
        if self == other {
            return Some(self);
        }
        if (self.bits ^ other.bits) & self.mask & other.mask != 0 {
            return None;
        }
        Self::new(
            self.low.max(other.low),
            self.high.min(other.high),
            self.mask | other.mask,
            self.bits | other.bits,
        )
    }

    /// What is in `self` and not in `other`, in disjoint sets.
    fn minus(self, other: Self) -> Vec<Self> {
        if self.and(other).is_none() {
            return vec![self];
        }
        let mut parts = Vec::new();
        // The values that differ first in this bit under the mask, for each bit.
        let (mut mask, mut bits) = (self.mask, self.bits);
        let mut open = other.mask & !self.mask;
        while open != 0 {
            let bit = 1 << open.trailing_zeros();
            let differing = Self::new(self.low, self.high, mask | bit, bits | !other.bits & bit);
            parts.extend(differing);
            (mask, bits) = (mask | bit, bits | other.bits & bit);
            open &= !bit;
        }
        // Those that do not, and are out of bounds.
        let part = |low, high| Self::new(low, high, mask, bits);
        let (below, above) = (other.low.checked_sub(1), other.high.checked_add(1));
        parts.extend(below.and_then(|high| part(self.low, self.high.min(high))));
        parts.extend(above.and_then(|low| part(self.low.max(low), self.high)));
        parts
    }

    /// The numbers whose lower `bits` bits, as a number of their own, are in the set. The largest sets come first: what is left without
    /// them falls into few parts.
    fn read_by_lower(self, bits: u32) -> Vec<Self> {
        let most = of_bits(bits);
        let Some(own) = Self::new(0, most, 0, 0).and_then(|most| self.and(most)) else {
            return Vec::new();
        };
        let mut found: Vec<_> = if Self::new(0, most, own.mask, own.bits) == Some(own) {
            // Its bounds say nothing.
            vec![(own.mask, own.bits)]
        } else {
            blocks(own.low, own.high)
                .filter(|(mask, start)| (start ^ own.bits) & mask & own.mask == 0)
                .map(|(mask, start)| (mask & most | own.mask, start & most | own.bits))
                .collect()
        };
        found.sort_by_key(|(mask, _)| mask.count_ones());
        let sets = found.into_iter();
        sets.filter_map(|(mask, bits)| Self::new(0, u64::MAX, mask, bits))
            .collect()
    }

    /// The union, if it is one set of this kind.
    fn join(self, other: Self) -> Option<Self> {
        let (a, b) = (self.min(other), self.max(other));
        let adjacent = a.mask == 0 && b.mask == 0 && a.high.checked_add(1) == Some(b.low);
        adjacent.then_some(Self { high: b.high, ..a })
    }

    /// The one value that lies between the two, if there is no other outside of them.
    fn all_but_one(self, other: Self) -> Option<u64> {
        let (a, b) = (self.min(other), self.max(other));
        let gap = a.high.checked_add(1)?;
        let whole = a.mask == 0 && b.mask == 0 && a.low == 0 && b.high == u64::MAX;
        (whole && gap.checked_add(1) == Some(b.low)).then_some(gap)
    }

    /// Conditions of which one holds for each member, and none for any other value; none at all for all values.
    ///
    /// Only if their bound is not over `widest` are they of ranges; otherwise they are of single values and masks.
    /// `SCMP_CMP_LE` is not among them: for 32-bit architectures libseccomp gets it wrong behind another argument.
    fn conditions(self, arg: ArgIndex, widest: u64) -> Vec<Condition> {
        let condition = |operator, value| Condition {
            arg,
            operator,
            value,
        };
        let masked = |mask, bits| match mask {
            u64::MAX => condition(Operator::Equal, bits),
            mask => condition(Operator::MaskedEqual { mask }, bits),
        };
        if self == Self::ALL {
            Vec::new()
        } else if self.low == self.high {
            vec![condition(Operator::Equal, self.low)]
        } else if Self::new(0, u64::MAX, self.mask, self.bits) == Some(self) {
            vec![masked(self.mask, self.bits)]
        } else if self.low == 0 && self.high < widest && self.mask == 0 {
            vec![condition(Operator::Less, self.high.saturating_add(1))]
        } else if self.high == u64::MAX && self.low <= widest && self.mask == 0 {
            vec![condition(Operator::GreaterOrEqual, self.low)]
        } else {
            blocks(self.low, self.high)
                .filter(|(mask, bits)| (bits ^ self.bits) & mask & self.mask == 0)
                .map(|(mask, bits)| masked(mask | self.mask, bits | self.bits))
                .collect()
        }
    }
}

/// The smallest value from `low` on whose bits under `mask` are `bits`.
fn at_least(low: u64, mask: u64, bits: u64) -> Option<u64> {
    let wrong = (low ^ bits) & mask;
    if wrong == 0 {
        return Some(low);
    }
    let highest = wrong.ilog2();
    // Where `low` is too small in its highest wrong bit, setting that bit is enough; where it is too large, the next
    // free zero above must become one.
    let up = if bits >> highest & 1 == 1 {
        highest
    } else {
        let above = u64::MAX.checked_shl(highest + 1).unwrap_or(0);
        let free = !mask & !low & above;
        if free == 0 {
            return None;
        }
        free.trailing_zeros()
    };
    let kept = u64::MAX.checked_shl(up).unwrap_or(0);
    Some(low & kept | 1 << up | bits & !kept)
}

/// The largest value up to `high` whose bits under `mask` are `bits`.
fn at_most(high: u64, mask: u64, bits: u64) -> Option<u64> {
    at_least(!high, mask, !bits & mask).map(|value| !value)
}

/// The aligned blocks that a range consists of, each as the mask and the bits that its values share.
fn blocks(low: u64, high: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut next = Some(low);
    std::iter::from_fn(move || {
        let start = next?;
        let room = high.checked_sub(start)?;
        // The largest power of two that `start` is a multiple of and that fits.
        let fits = room.checked_add(1).map_or(64, u64::ilog2);
        let size = start.trailing_zeros().min(fits);
        let mask = u64::MAX.checked_shl(size).unwrap_or(0);
        next = (start | !mask).checked_add(1);
        Some((mask, start))
    })
}

/// Which conditions are written: libseccomp cannot combine all of them (see `merge::is_reliable`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// All.
    Free,
    /// Ranges only with a bound of 32 bits.
    Ranges,
    /// Single values and masks only.
    Masks,
}

impl Style {
    /// The largest bound that a range may have.
    fn widest(self) -> u64 {
        match self {
            Self::Free => u64::MAX,
            Self::Ranges => u32::MAX.into(),
            Self::Masks => 0,
        }
    }
}

/// How many regions a set of arguments may consist of.
pub(super) const MAX_REGIONS: usize = 1024;

/// Arguments of a call: a set of values for each of the six, all combinations of them. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ArgSet([ValueSet; 6]);

impl ArgSet {
    pub(super) const ALL: Self = Self([ValueSet::ALL; 6]);

    /// All arguments that 32 bits can hold.
    pub(super) const ALL_32_BIT: Self = Self(
        [ValueSet {
            high: u32::MAX as u64,
            ..ValueSet::ALL
        }; 6],
    );

    /// Where all `conditions` hold, in disjoint regions. `None` if they are more than [`MAX_REGIONS`].
    pub(super) fn satisfying(conditions: &[Condition]) -> Option<Vec<Self>> {
        let mut regions = vec![Self::ALL];
        for condition in conditions {
            let arg = condition.arg.position();
            let narrowed = regions.iter().flat_map(|region| {
                let narrowed =
                    ValueSet::satisfying(condition).filter_map(|values| region.0[arg].and(values));
                narrowed.map(|values| region.with(arg, values))
            });
            regions = narrowed.collect();
            if regions.len() > MAX_REGIONS {
                return None;
            }
        }
        Some(regions)
    }

    /// The arguments that are in the set if of this one only the lower `bits` bits are read.
    pub(super) fn read_by_lower(&self, arg: ArgIndex, bits: u32) -> impl Iterator<Item = Self> {
        let values = self.0[arg.position()].read_by_lower(bits).into_iter();
        values.map(move |values| self.with(arg.position(), values))
    }

    /// Its part in which that argument has no more than `bits` bits.
    pub(super) fn below(&self, arg: ArgIndex, bits: u32) -> Option<Self> {
        let most = of_bits(bits);
        let most = ValueSet::new(0, most, 0, 0)?;
        let values = self.0[arg.position()].and(most)?;
        Some(self.with(arg.position(), values))
    }

    fn with(mut self, arg: usize, values: ValueSet) -> Self {
        self.0[arg] = values;
        self
    }

    pub(super) fn contains(&self, args: &Arguments) -> bool {
        self.0
            .iter()
            .zip(args.iter())
            .all(|(values, arg)| values.contains(arg))
    }

    /// Whether it has a member in which these arguments are what is known of them.
    pub(super) fn may_contain(&self, known: &[Option<u64>; 6]) -> bool {
        let mut all = self.0.iter().zip(known);
        all.all(|(values, known)| known.is_none_or(|value| values.contains(value)))
    }

    /// One of its members.
    pub(super) fn first(&self) -> Arguments {
        self.0.map(|values| values.low).into()
    }

    /// Whether the two have a member in common.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .all(|(mine, others)| mine.meets(*others))
    }

    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        if !self.meets(other) {
            return None;
        }
        let mut common = *self;
        for (mine, others) in common.0.iter_mut().zip(other.0) {
            *mine = mine.and(others)?;
        }
        Some(common)
    }

    /// What is in `self` and not in `other`, in disjoint regions.
    pub(super) fn minus(&self, other: &Self) -> Vec<Self> {
        if !self.meets(other) {
            return vec![*self];
        }
        let mut rest = *self;
        let mut parts = Vec::new();
        for arg in (0..6).filter(|arg| self.0[*arg] != other.0[*arg]) {
            parts.extend(
                rest.0[arg]
                    .minus(other.0[arg])
                    .into_iter()
                    .map(|values| rest.with(arg, values)),
            );
            if let Some(common) = rest.0[arg].and(other.0[arg]) {
                rest = rest.with(arg, common);
            }
        }
        parts
    }

    /// The argument in which the two differ, if it is the only one.
    fn differ_in(&self, other: &Self) -> Option<usize> {
        let mut different = (0..6).filter(|arg| self.0[*arg] != other.0[*arg]);
        different.next().filter(|_| different.next().is_none())
    }

    /// The union, if it is one region.
    pub(super) fn join(&self, other: &Self) -> Option<Self> {
        let arg = self.differ_in(other)?;
        Some(self.with(arg, self.0[arg].join(other.0[arg])?))
    }

    /// Lists of conditions, at most one for each argument: for each member of `regions` all of one list hold, and none
    /// for any other arguments. `None` if they are more than `most`.
    pub(super) fn conditions(
        mut regions: Vec<Self>,
        style: Style,
        most: usize,
    ) -> Option<Vec<Vec<Condition>>> {
        regions.sort_unstable();
        regions.dedup_by(|next, region| match region.join(next) {
            Some(joined) => {
                *region = joined;
                true
            }
            None => false,
        });
        let mut lists = Vec::new();
        for Holed { region, holes } in Holed::all(regions, style) {
            let mut of_region = vec![Vec::new()];
            for (arg, values) in ArgIndex::ALL.iter().copied().zip(region.0) {
                let choices = match holes[arg.position()] {
                    Some(value) => vec![Condition {
                        arg,
                        operator: Operator::NotEqual,
                        value,
                    }],
                    None => values.conditions(arg, style.widest()),
                };
                if choices.is_empty() {
                    continue;
                }
                if lists.len() + of_region.len() * choices.len() > most {
                    return None;
                }
                let with = |list: &Vec<_>, choice| [list.as_slice(), &[choice]].concat();
                let longer = of_region
                    .iter()
                    .flat_map(|list| choices.iter().map(move |choice| with(list, *choice)));
                of_region = longer.collect();
            }
            lists.append(&mut of_region);
        }
        // Regions may overlap, and so may the blocks that they fall into.
        lists.sort_unstable();
        lists.dedup();
        Some(lists)
    }

    /// The region without a bound on an argument, for each argument on which it can be without one and still have nothing
    /// of `others`.
    pub(super) fn widen(mut self, others: &[Self]) -> Self {
        for arg in 0..6 {
            let wider = self.with(arg, ValueSet::ALL);
            if !others.iter().any(|other| wider.meets(other)) {
                self = wider;
            }
        }
        self
    }

    /// Whether all of it is in `other`.
    pub(super) fn is_in(&self, other: &Self) -> bool {
        self.and(other) == Some(*self)
    }

    /// Arguments at which its conditions start or stop to hold: for each argument the values at and next to its bounds,
    /// the other arguments being of the region.
    pub(super) fn boundaries(&self) -> impl Iterator<Item = Arguments> {
        let inside = self.first();
        ArgIndex::ALL.iter().flat_map(move |arg| {
            let ValueSet {
                low,
                high,
                mask,
                bits,
            } = self.0[arg.position()];
            let values = [
                low,
                low.wrapping_sub(1),
                low.wrapping_add(1),
                high,
                high.wrapping_add(1),
                bits ^ (mask & mask.wrapping_neg()),
            ];
            values
                .into_iter()
                .map(move |value| inside.with(*arg, value))
        })
    }
}

/// A region without one value of some arguments, which is written as "not that value".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Holed {
    region: ArgSet,
    holes: [Option<u64>; 6],
}

impl Holed {
    /// The regions, those joined that lie on both sides of one value.
    fn all(regions: Vec<ArgSet>, style: Style) -> Vec<Self> {
        let whole = |region| Self {
            region,
            holes: [None; 6],
        };
        let mut all: Vec<_> = regions.into_iter().map(whole).collect();
        if style == Style::Masks {
            return all;
        }
        // One argument after the other: regions that differ only there stand side by side.
        for arg in (0..6).rev() {
            all.sort_unstable_by_key(|holed| (holed.without(arg), holed.region.0[arg]));
            all.dedup_by(|next, holed| match holed.join(next, arg) {
                Some(joined) => {
                    *holed = joined;
                    true
                }
                None => false,
            });
        }
        all
    }

    fn without(&self, arg: usize) -> Self {
        let region = self.region.with(arg, ValueSet::ALL);
        Self { region, ..*self }
    }

    /// The two in one, if they leave out one value of the argument and differ in nothing else.
    fn join(&self, next: &Self, arg: usize) -> Option<Self> {
        let same = self.without(arg) == next.without(arg) && self.holes[arg].is_none();
        let hole = self.region.0[arg].all_but_one(next.region.0[arg])?;
        let mut joined = self.without(arg);
        joined.holes[arg] = Some(hole);
        same.then_some(joined)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers at which comparisons go wrong: small ones, powers of two, and their neighbours.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..8u64,
            (0..64u32, -1..2i64).prop_map(|(shift, by)| (1u64 << shift).wrapping_add_signed(by)),
            any::<u64>(),
            Just(u64::MAX),
        ]
    }

    fn condition(args: u64) -> impl Strategy<Value = Condition> {
        let operator = prop_oneof![
            Just(Operator::NotEqual),
            Just(Operator::Less),
            Just(Operator::LessOrEqual),
            Just(Operator::Equal),
            Just(Operator::GreaterOrEqual),
            Just(Operator::Greater),
            number().prop_map(|mask| Operator::MaskedEqual { mask }),
        ];
        (0..args, operator, number()).prop_map(|(arg, operator, value)| Condition {
            arg: ArgIndex::new(arg).unwrap(),
            operator,
            value,
        })
    }

    fn holds(condition: &Condition, args: &Arguments) -> bool {
        let (arg, value) = (args.get(condition.arg), condition.value);
        match condition.operator {
            Operator::NotEqual => arg != value,
            Operator::Less => arg < value,
            Operator::LessOrEqual => arg <= value,
            Operator::Equal => arg == value,
            Operator::GreaterOrEqual => arg >= value,
            Operator::Greater => arg > value,
            Operator::MaskedEqual { mask } => arg & mask == value & mask,
        }
    }

    fn hold(conditions: &[Condition], args: &Arguments) -> bool {
        conditions.iter().all(|condition| holds(condition, args))
    }

    /// How many of `regions` have `args`.
    fn count(regions: &[ArgSet], args: &Arguments) -> usize {
        regions
            .iter()
            .filter(|region| region.contains(args))
            .count()
    }

    fn args() -> impl Strategy<Value = Arguments> {
        (number(), number()).prop_map(|(first, second)| [first, second, 0, 0, 0, 0].into())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn regions_are_what_conditions_say(
            a in prop::collection::vec(condition(2), 0..4),
            b in prop::collection::vec(condition(2), 0..4),
            args in args(),
            style in prop::sample::select(vec![Style::Free, Style::Ranges, Style::Masks]),
        ) {
            let (ra, rb) = (ArgSet::satisfying(&a).unwrap(), ArgSet::satisfying(&b).unwrap());
            let mut tried = vec![args];
            tried.extend(ra.iter().chain(&rb).flat_map(|region| region.boundaries().collect::<Vec<_>>()));
            for args in tried {
                let in_a = hold(&a, &args);
                prop_assert_eq!(count(&ra, &args), usize::from(in_a));
                for region in &ra {
                    prop_assert!(hold(&a, &region.first()));
                    for other in &rb {
                        let both = region.contains(&args) && other.contains(&args);
                        let common = region.and(other);
                        prop_assert_eq!(common.is_some_and(|common| common.contains(&args)), both);
                        let rest = region.minus(other);
                        prop_assert_eq!(count(&rest, &args), usize::from(region.contains(&args) && !other.contains(&args)));
                    }
                }
                let Some(written) = ArgSet::conditions(ra.clone(), style, 10_000) else { continue };
                prop_assert_eq!(written.iter().any(|list| hold(list, &args)), in_a);
            }
        }
    }

    #[test]
    fn a_range_is_written_in_few_conditions() {
        let written = |conditions: &[(Operator, u64)]| {
            let conditions: Vec<_> = conditions
                .iter()
                .map(|(operator, value)| Condition {
                    arg: ArgIndex::ALL[0],
                    operator: *operator,
                    value: *value,
                })
                .collect();
            let lists =
                ArgSet::conditions(ArgSet::satisfying(&conditions).unwrap(), Style::Ranges, 99)
                    .unwrap();
            let lists: Vec<_> = lists
                .iter()
                .map(|list| list.iter().map(ToString::to_string).collect::<String>())
                .collect();
            lists.join(", ")
        };
        assert_eq!(written(&[(Operator::NotEqual, 38)]), "arg0 != 38");
        assert_eq!(written(&[(Operator::LessOrEqual, 37)]), "arg0 < 38");
        assert_eq!(written(&[(Operator::Greater, 40)]), "arg0 >= 41");
        assert_eq!(
            written(&[(Operator::Greater, 16), (Operator::Less, 38)]),
            "arg0 == 17, arg0 & 0xfffffffffffffff8 == 0x18, arg0 & 0xfffffffffffffffc == 0x14, arg0 & 0xfffffffffffffffc == 0x20, arg0 & 0xfffffffffffffffe == 0x12, arg0 & 0xfffffffffffffffe == 0x24"
        );
        assert_eq!(written(&[(Operator::Less, 0)]), "");
    }
}
