//! What was worked out of the conditions on one call, kept for when the same is asked again. A profile that changes in one call has hundreds of
//! others, and what derives from a base has its conditions; working those out is most of the time that composing takes.
//!
//! What is kept is a function of its key and of nothing else, so that no answer depends on what was asked before: neither a result nor what it
//! takes of a [`WorkBudget`]. Each thread has its own, of a bounded size.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::thread::LocalKey;

use super::decision::{TooComplex, WorkBudget};

/// How much one generation of answers may weigh, in parts and conditions of keys and answers: each has 200 bytes at most. A runtime's default has
/// some hundreds.
const MOST: usize = 1024;

/// What weighs more than this is not kept: it would push out everything else.
const HEAVY: usize = MOST / 4;

/// An answer.
#[derive(Clone)]
struct Kept<V> {
    value: V,
    /// How much of a budget it takes to work it out.
    spent: usize,
    weight: usize,
}

/// Answers in two generations. Once the younger one is full it is the older one, which is forgotten; what is asked for again is young again.
pub(super) struct Memo<K, V> {
    young: HashMap<K, Kept<V>>,
    old: HashMap<K, Kept<V>>,
    weight: usize,
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            weight: 0,
        }
    }
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    fn find(&mut self, key: &K) -> Option<Kept<V>> {
        if let Some(kept) = self.young.get(key) {
            return Some(kept.clone());
        }
        let (key, kept) = self.old.remove_entry(key)?;
        self.keep(key, kept.clone());
        Some(kept)
    }

    fn keep(&mut self, key: K, kept: Kept<V>) {
        if kept.weight > HEAVY {
            return;
        }
        if self.weight + kept.weight > MOST {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += kept.weight;
        self.young.insert(key, kept);
    }
}

/// The answer to `key`, which `work` gives when it is not known; either way it takes the same of the budget. `weigh`: how many parts and conditions
/// key and answer have.
pub(super) fn remembered<K: Eq + Hash, V: Clone>(
    memo: &'static LocalKey<RefCell<Memo<K, V>>>,
    key: K,
    weigh: impl FnOnce(&K, &V) -> usize,
    budget: &mut WorkBudget,
    work: impl FnOnce(&K, &mut WorkBudget) -> Result<V, TooComplex>,
) -> Result<V, TooComplex> {
    // At a thread's end there may be none any more.
    let found = memo.try_with(|memo| memo.borrow_mut().find(&key));
    if let Ok(Some(kept)) = found {
        budget.spend(kept.spent)?;
        return Ok(kept.value);
    }
    let before = budget.left();
    let value = work(&key, budget)?;
    let kept = Kept {
        value: value.clone(),
        spent: before - budget.left(),
        weight: weigh(&key, &value),
    };
    let _ = memo.try_with(|memo| memo.borrow_mut().keep(key, kept));
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static SQUARES: RefCell<Memo<usize, usize>> = RefCell::default();
    }

    /// The square, which costs as much as it is, and whether it had to be worked out.
    fn square(of: usize, weight: usize, budget: &mut WorkBudget) -> Option<(usize, bool)> {
        let mut worked = false;
        let square = remembered(
            &SQUARES,
            of,
            |_, _| weight,
            budget,
            |of, budget| {
                worked = true;
                budget.spend(of * of)?;
                Ok(of * of)
            },
        );
        Some((square.ok()?, worked))
    }

    #[test]
    fn what_is_remembered_costs_as_much_of_a_budget_as_what_is_worked_out() {
        let mut budgets = [WorkBudget::for_profile(), WorkBudget::for_profile()];
        let [first, again] = &mut budgets;
        assert_eq!(square(1000, 1, first), Some((1_000_000, true)));
        assert_eq!(square(1000, 1, again), Some((1_000_000, false)));
        assert_eq!(first.left(), again.left());
        assert_eq!(square(1000, 1, again), Some((1_000_000, false)));
        assert_eq!(square(1000, 1, again), None, "too little is left");
    }

    #[test]
    fn its_size_is_bounded_and_what_is_asked_for_stays() {
        let budget = &mut WorkBudget::for_profile();
        assert_eq!(square(1, 1, budget), Some((1, true)));
        for of in 0..20 {
            square(of % 7 + 10, HEAVY, budget).unwrap();
            assert_eq!(square(1, 1, budget), Some((1, false)), "{of}");
        }
        SQUARES.with_borrow(|memo| assert!(memo.young.len() + memo.old.len() <= 10));
        let heavy = HEAVY + 1;
        assert_eq!(square(2, heavy, budget), Some((4, true)));
        assert_eq!(square(2, heavy, budget), Some((4, true)));
    }
}
