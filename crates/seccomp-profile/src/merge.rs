//! What libseccomp makes of several conditional rules for one call. Knows conditions and actions, neither decisions nor filters.

use std::collections::{BTreeMap, BTreeSet};

use super::action::Action;
use super::condition::{ArgIndex, Condition, Operator};

/// Whether it is certain that libseccomp combines the conditional rules of a call as meant.
///
/// A comparison of 64 bits is up to three of 32 bits to it, in a tree, and it mends the trees of several rules wrongly:
/// where a range is not the last of several conditions, what follows it is shared, and changes for other rules as well
/// (`_db_tree_add`); it finds a rule to be part of another that compares with the same value to the contrary
/// (`_db_tree_prune`); from the lower half of one comparison it comes to the upper half of the next without loading it
/// (`_gen_bpf_chain`). What is certain was found by trying: `tests/libseccomp`.
pub(super) fn is_reliable(rules: &[(Vec<Condition>, Action)], is_64_bit: bool) -> bool {
    // Nearly all calls have none.
    if rules.is_empty() {
        return true;
    }
    let all = || rules.iter().flat_map(|(conditions, _)| conditions);
    let many = || {
        rules
            .iter()
            .enumerate()
            .filter(|(_, (conditions, _))| conditions.len() > 1)
    };
    // On 32 bits, `SCMP_CMP_LE` does the contrary behind another condition (`_db_rule_gen_arg_32`).
    let inverts = |conditions: &[Condition]| {
        let last = conditions.iter().map(|condition| condition.arg).max();
        let at_most = |condition: &&Condition| condition.operator == Operator::LessOrEqual;
        conditions.len() > 1
            && conditions
                .iter()
                .filter(at_most)
                .any(|condition| Some(condition.arg) >= last || conditions.len() > 2)
    };
    if !is_64_bit && many().any(|(_, (conditions, _))| inverts(conditions)) {
        return false;
    }
    // Values with different upper halves, compared in three rules of which one goes on to another argument: what is compared then may not
    // be loaded.
    let one_upper = ArgIndex::ALL.iter().all(|arg| {
        let mut uppers = all().filter(|condition| condition.arg == *arg);
        let first = uppers.next().map(|condition| condition.value >> 32);
        uppers.all(|condition| Some(condition.value >> 32) == first)
    });
    let loads = rules.len() < 3 || one_upper || many().next().is_none();
    // Of single values and masks it makes what they say, of 64 bits too.
    if rules.len() <= 1 || loads && all().all(is_value) {
        return true;
    }
    // A rule that can never hold makes libseccomp refuse the call's other rules.
    let largest = if is_64_bit { u64::MAX } else { u32::MAX.into() };
    let never = |condition: &Condition| match condition.operator {
        Operator::Less => condition.value == 0,
        Operator::Greater => condition.value >= largest,
        _ => false,
    };
    if all().any(never) {
        return false;
    }
    // Ranges, and all but one value, have the same upper half in all rules.
    let same_upper = ArgIndex::ALL.iter().all(|arg| {
        let mut ranges = all().filter(|condition| condition.arg == *arg && !is_value(condition));
        let upper = |condition: &Condition| condition.value >> 32;
        let first = ranges.next().map(upper);
        ranges.all(|condition| Some(upper(condition)) == first)
    });
    // Several conditions are of values that 32 bits hold, and no rule before them, or of the same action, excludes one.
    let excluding = rules
        .iter()
        .enumerate()
        .filter_map(|(i, rule)| match rule.0[..] {
            [
                Condition {
                    arg,
                    operator: Operator::NotEqual,
                    ..
                },
            ] => Some((arg, i, rule.1)),
            _ => None,
        });
    let excluding: Vec<_> = excluding.collect();
    let mut first = BTreeMap::new();
    for (arg, i, _) in &excluding {
        first.entry(*arg).or_insert(*i);
    }
    let actions: BTreeSet<_> = excluding
        .iter()
        .map(|(arg, _, action)| (*arg, *action))
        .collect();
    let plain = many().all(|(i, (conditions, action))| {
        conditions.iter().all(|condition| {
            let arg = condition.arg;
            let before = first.get(&arg).is_some_and(|first| *first < i);
            is_value(condition)
                && condition.value >> 32 == 0
                && !(condition.operator == Operator::Equal
                    && (before || actions.contains(&(arg, *action))))
        })
    });
    loads && same_upper && (plain || is_led_by_values(rules))
}

fn is_value(condition: &Condition) -> bool {
    matches!(
        condition.operator,
        Operator::Equal | Operator::MaskedEqual { .. }
    )
}

/// Whether rules with one condition ask for single values and masks, and each rule with several asks for them first, and for a range of
/// its last argument only; all of the latter begin with the same argument. One rule may have ranges first.
fn is_led_by_values(rules: &[(Vec<Condition>, Action)]) -> bool {
    let is_led = |conditions: &[Condition]| {
        let last = conditions.iter().map(|condition| condition.arg).max();
        let mut earlier = conditions.iter().filter(|c| Some(c.arg) != last);
        earlier.all(is_value)
    };
    let (many, single): (Vec<_>, Vec<_>) = rules
        .iter()
        .map(|(conditions, _)| conditions.as_slice())
        .partition(|conditions| conditions.len() > 1);
    let others = many.iter().filter(|conditions| !is_led(conditions)).count();
    let excludes = |condition: &Condition| condition.operator == Operator::NotEqual;
    let firsts = many.iter().map(|conditions| {
        let args = conditions.iter().map(|condition| condition.arg);
        args.min()
    });
    let firsts: BTreeSet<_> = firsts.collect();
    firsts.len() == 1
        && others <= 1
        && !many.iter().copied().flatten().any(excludes)
        && single.iter().copied().flatten().all(is_value)
}
