//! How many instructions a profile's filter has: the kernel loads no more than [`MAX_INSTRUCTIONS`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::arch::Arch;
use super::condition::{ArgIndex, Condition, Operator};
use super::model::Clauses;
use super::oci::{Profile, Rule};

/// How many instructions the kernel loads for one filter (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// What every filter has: it loads the architecture and stops what has another one, and ends.
const FRAME: usize = 4;

/// What every architecture has: it is compared, and the number of the call is loaded; `x86_64` and X32 are told apart by it.
const OF_ARCH: usize = 5;

/// So many masks are compiled as they are counted, or nearly.
const FEW_MASKS: usize = 16;

impl Profile {
    /// How many instructions libseccomp makes of its rules, at least and at most, whether as a list of calls or as a tree (as runc 1.2
    /// has it for more than 32 rules). Linear in its rules.
    ///
    /// A call is compared with its number. Conditions are a tree of comparisons of 32 bits, what several rules of a call begin with is
    /// there once, and pieces that look the same in several calls are. What is not known are those pieces, and the jumps
    /// that libseccomp adds where one is too far for eight bits: so there are two numbers (`tests/libseccomp` compares them).
    #[must_use]
    pub fn instructions(&self) -> RangeInclusive<usize> {
        let (mut least, mut most) = (2, FRAME);
        let mut targets = BTreeSet::from([self.default_action()]);
        for (arch, calls) in self.clauses() {
            least += 1;
            most += OF_ARCH;
            let (mut number, mut pieces) = (0, BTreeSet::new());
            for clauses in calls {
                targets.extend(clauses.actions());
                let tree = Tree::of(&clauses, arch);
                // Behind several conditions others are made again.
                let several = clauses.conditional_rules().any(|rule| rule.len() > 1)
                    && clauses.conditional_rules().count() > 1;
                most += 1 + tree.instructions() * if several { 3 } else { 1 };
                number += 1;
                pieces.extend(tree.comparisons());
            }
            // A rule that is part of another is left out.
            least += number + pieces.len() / 2;
            // Of a tree each four calls have a branch.
            most += number / 4 + 2;
        }
        // A jump of more than 255 needs one on the way, for each place where it can end; the rest is what was seen.
        most += most / 8 + (most / 32 + 3) * targets.len();
        // Of masks on 64 bits, or beside other conditions, libseccomp repeats more than is known here: twice as much was the most that was seen.
        if self.rules().iter().map(repeated_masks).sum::<usize>() > FEW_MASKS {
            most *= 2;
        }
        least..=most
    }
}

/// The masks of a rule, but for one that is all of its conditions and is about 32 bits: of a value of so many bits that is denied there are
/// 32, and libseccomp makes of them what is counted.
fn repeated_masks(rule: &Rule) -> usize {
    let masks = rule
        .conditions()
        .iter()
        .filter_map(|condition| match condition.operator {
            Operator::MaskedEqual { mask } => Some(mask),
            _ => None,
        });
    let is_alone = rule.conditions().len() == 1;
    masks
        .filter(|mask| !is_alone || *mask > u64::from(u32::MAX))
        .count()
}

/// A comparison of 32 bits, as far as it is known: the argument, which half, the mask and what it is compared with.
type Comparison = (ArgIndex, bool, u32, u8, u32);

/// The comparisons of one call's rules, those that follow each below it.
#[derive(Default)]
struct Tree(BTreeMap<Comparison, Tree>);

impl Tree {
    fn of(clauses: &Clauses, arch: Arch) -> Self {
        let mut tree = Self::default();
        for conditions in clauses.conditional_rules() {
            let mut conditions: Vec<&Condition> = conditions.iter().collect();
            // The order in which libseccomp looks at arguments.
            conditions.sort_by_key(|condition| condition.arg);
            tree.add(&conditions, arch);
        }
        tree
    }

    /// What follows a condition stands behind each way in which it can hold.
    fn add(&mut self, conditions: &[&Condition], arch: Arch) {
        let [first, others @ ..] = conditions else {
            return;
        };
        for way in ways(first, arch) {
            let mut here = &mut *self;
            for comparison in way {
                here = here.0.entry(comparison).or_default();
            }
            here.add(others, arch);
        }
    }

    /// Each comparison is a jump. What is compared is loaded, and masked, once for comparisons for equality that stand side by side, and
    /// anew for each where there are others among them.
    fn instructions(&self) -> usize {
        let mut groups = BTreeMap::<_, (usize, BTreeSet<u8>)>::new();
        for (arg, high, mask, word, _) in self.0.keys() {
            let group = groups.entry((arg, high, mask)).or_default();
            group.0 += 1;
            group.1.insert(*word);
        }
        let loads = groups.iter().map(|((.., mask), (number, words))| {
            let times = if words.len() > 1 { *number } else { 1 };
            // Behind another mask it is loaded again.
            times * if **mask == u32::MAX { 1 } else { 3 }
        });
        let below = self.0.values().map(|below| 1 + below.instructions());
        loads.sum::<usize>() + below.sum::<usize>()
    }

    fn comparisons(&self) -> BTreeSet<Comparison> {
        let mut all: BTreeSet<_> = self.0.keys().copied().collect();
        for below in self.0.values() {
            all.extend(below.comparisons());
        }
        all
    }
}

/// The ways in which a condition can hold, each as the comparisons that are made: where arguments have 64 bits, a range or "not that
/// value" by the upper half alone, or by the lower one as well.
#[allow(clippy::cast_possible_truncation)] // halves
fn ways(condition: &Condition, arch: Arch) -> Vec<Vec<Comparison>> {
    let Condition {
        arg,
        operator,
        value,
    } = *condition;
    let (mask, word) = match operator {
        Operator::MaskedEqual { mask } => (mask, 0),
        Operator::Equal | Operator::NotEqual => (u64::MAX, 0),
        Operator::Greater | Operator::LessOrEqual => (u64::MAX, 1),
        Operator::GreaterOrEqual | Operator::Less => (u64::MAX, 2),
    };
    let upper = |word| (arg, true, (mask >> 32) as u32, word, (value >> 32) as u32);
    let lower = (arg, false, mask as u32, word, value as u32);
    if !arch.is_64_bit() {
        return vec![vec![lower]];
    }
    match operator {
        Operator::Equal | Operator::MaskedEqual { .. } => {
            let both = [upper(0), lower].into_iter();
            vec![both.filter(|(_, _, mask, ..)| *mask != 0).collect()]
        }
        Operator::NotEqual => vec![vec![upper(0)], vec![upper(0), lower]],
        _ => vec![vec![upper(1)], vec![upper(0), lower]],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{CapabilitySet, KernelVersion, Target, parse};

    fn of(args: &serde_json::Value) -> RangeInclusive<usize> {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args}],
        });
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        parse(&document, "")
            .unwrap()
            .resolve(&target)
            .instructions()
    }

    #[test]
    fn conditions_are_counted_as_they_are_compiled() {
        // libseccomp makes 17 instructions of it.
        let two = of(&json!([
            {"index": 0, "op": "SCMP_CMP_NE", "value": 38},
            {"index": 1, "op": "SCMP_CMP_NE", "value": 40},
        ]));
        assert!(two.contains(&17) && *two.end() < 40, "{two:?}");
        let none = of(&json!([]));
        assert!(none.end() < two.end());
    }
}
