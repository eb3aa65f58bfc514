//! How many pods a policy has matched and changed, counted where reviews are answered: two additions, and no lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::decide::Effect;

/// Counts since the policy was first seen by this process. Lives as long as the policy, whatever happens to its spec.
#[derive(Debug, Default)]
pub struct Counters {
    matched: AtomicU64,
    changed: AtomicU64,
}

/// Pods that a policy selected and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// It selected them.
    pub matched: u64,
    /// It gave them a profile; or would have, if it only observes.
    pub changed: u64,
}

impl Counters {
    /// A pod was reviewed that the policy selects.
    pub fn count(&self, effect: Effect) {
        self.matched.fetch_add(1, Ordering::Relaxed);
        if effect != Effect::Nothing {
            self.changed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            matched: self.matched.load(Ordering::Relaxed),
            changed: self.changed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_matched_is_not_counted_as_changed() {
        let counters = Counters::default();
        for effect in [Effect::Nothing, Effect::Changes, Effect::WouldChange] {
            counters.count(effect);
        }
        let expected = Counts {
            matched: 3,
            changed: 2,
        };
        assert_eq!(counters.counts(), expected);
    }
}
