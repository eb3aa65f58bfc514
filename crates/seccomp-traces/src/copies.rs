//! Calls that a log holds more than once: the journal has what the kernel printed and what audit sent, and audit rules make
//! a record of a call that a filter has logged already. Bounded, whatever the log holds.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};

use super::quick_hash::QuickHash;

/// More than these are not remembered at once. Copies stand close to each other. A table of 8192 places is full with them.
const REMEMBERED: usize = 7 << 10;

/// How many sources are told apart.
const SOURCES: usize = 3;

/// Counts what each source has of everything. What several have happened as often as the one says that has the most.
#[derive(Debug, Default)]
pub struct Copies {
    state: QuickHash,
    seen: HashMap<u64, [u32; SOURCES], QuickHash>,
}

impl Copies {
    /// Whether the source has now told of it more often than any other has.
    pub fn is_new(&mut self, what: impl Hash, source: usize) -> bool {
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        let times = self.seen.entry(self.state.hash_one(what)).or_default();
        let most = times.iter().copied().max().unwrap_or(0);
        let Some(own) = times.get_mut(source) else {
            return true;
        };
        *own = own.saturating_add(1);
        *own > most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_sources_have_counts_once() {
        let mut copies = Copies::default();
        let mut count =
            |sources: &[usize]| sources.iter().filter(|s| copies.is_new("a", **s)).count();
        assert_eq!(count(&[0, 2, 0, 2]), 2);
        // The kernel leaves some out.
        assert_eq!(count(&[2, 2, 2, 0]), 3);
        assert_eq!(count(&[0, 0, 0]), 1);
        assert!(copies.is_new("b", 2));
    }

    #[test]
    fn a_log_that_never_ends_does_not_fill_the_memory() {
        let mut copies = Copies::default();
        for n in 0..3 * REMEMBERED {
            assert!(copies.is_new(n, 0));
        }
        assert!(copies.seen.len() <= REMEMBERED);
    }
}
