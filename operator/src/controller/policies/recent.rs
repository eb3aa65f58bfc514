//! What this replica has to say of each policy's pods of the last hour, and when.
//!
//! A review costs no write: the counts are looked at every few seconds, and a policy's entry is written when it says
//! something else than the last time, at most once a minute.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use seccomp_policy::counters::Counts;

/// The last hour, in parts: what is older than all of them is forgotten part by part.
const SLOTS: usize = 12;
const SLOT: Duration = Duration::from_mins(5);
/// The pause between two writes of one entry.
const PAUSE: Duration = Duration::from_mins(1);
/// An entry that stays true is written again after so long, so that nobody takes it for a dead replica's.
const REFRESH: Duration = Duration::from_mins(30);
/// So many entries are written at once; however many policies there are, it is no burst.
const AT_ONCE: usize = 5;

/// The counts of all policies.
#[derive(Debug)]
pub struct Recent {
    start: Instant,
    policies: BTreeMap<String, Window>,
}

/// One policy's.
#[derive(Debug, Default)]
struct Window {
    /// The counters when they were last looked at.
    seen: Counts,
    slots: [Counts; SLOTS],
    /// The number of the slot that is being filled, since the start.
    slot: u64,
    /// What the API server has, as far as this process wrote it.
    written: Counts,
    /// When a write was last tried.
    tried: Option<Instant>,
}

impl Recent {
    /// Nothing has been counted yet.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            policies: BTreeMap::new(),
        }
    }

    /// Looks at the counters of all policies there are.
    pub fn look(&mut self, counters: &[(String, Counts)], now: Instant) {
        let slot = now.duration_since(self.start).as_secs() / SLOT.as_secs();
        let mut before = std::mem::take(&mut self.policies);
        for (name, counts) in counters {
            let mut window = before.remove(name).unwrap_or_default();
            window.add(*counts, slot);
            self.policies.insert(name.clone(), window);
        }
    }

    /// The entries to write now: those that have waited longest first.
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<(String, Counts)> {
        let mut due: Vec<_> = self
            .policies
            .iter()
            .filter(|(_, window)| window.is_due(now))
            .collect();
        due.sort_by_key(|(_, window)| window.tried);
        due.truncate(AT_ONCE);
        due.into_iter()
            .map(|(name, window)| (name.clone(), window.sum()))
            .collect()
    }

    /// A write was tried. When it failed, the next try waits as long as after one that did not.
    pub fn tried(&mut self, name: &str, written: Option<Counts>, now: Instant) {
        if let Some(window) = self.policies.get_mut(name) {
            window.tried = Some(now);
            window.written = written.unwrap_or(window.written);
        }
    }
}

impl Window {
    fn add(&mut self, counts: Counts, slot: u64) {
        for passed in (self.slot + 1..=slot).take(SLOTS) {
            self.slots[index(passed)] = Counts::default();
        }
        // More slots than there are have passed: all were emptied, whichever they were.
        self.slot = slot;
        if counts.matched < self.seen.matched {
            // The policy was made anew.
            self.seen = Counts::default();
        }
        let current = &mut self.slots[index(slot)];
        current.matched += counts.matched - self.seen.matched;
        current.changed += counts.changed.saturating_sub(self.seen.changed);
        self.seen = counts;
    }

    fn sum(&self) -> Counts {
        self.slots
            .iter()
            .fold(Counts::default(), |sum, slot| Counts {
                matched: sum.matched + slot.matched,
                changed: sum.changed + slot.changed,
            })
    }

    fn is_due(&self, now: Instant) -> bool {
        let rested = |pause| {
            self.tried
                .is_none_or(|tried| now.duration_since(tried) >= pause)
        };
        let sum = self.sum();
        (sum != self.written && rested(PAUSE)) || (sum != Counts::default() && rested(REFRESH))
    }
}

fn index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn counts(matched: u64, changed: u64) -> Counts {
        Counts { matched, changed }
    }

    fn counters(of: &[(&str, u64, u64)]) -> Vec<(String, Counts)> {
        of.iter()
            .map(|(name, matched, changed)| ((*name).to_owned(), counts(*matched, *changed)))
            .collect()
    }

    /// Writes all that is due; how many writes that were.
    fn write(recent: &mut Recent, now: Instant) -> Vec<(String, Counts)> {
        let due = recent.due(now);
        for (name, counts) in &due {
            recent.tried(name, Some(*counts), now);
        }
        due
    }

    #[test]
    fn the_first_pod_is_told_at_once_and_more_of_them_a_minute_later() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        recent.look(&counters(&[("a", 0, 0)]), start);
        assert_eq!(write(&mut recent, start), []);
        recent.look(&counters(&[("a", 1, 1)]), start + SECOND);
        assert_eq!(
            write(&mut recent, start + SECOND),
            [("a".to_owned(), counts(1, 1))]
        );
        for second in 2..=60 {
            let now = start + SECOND * second;
            recent.look(&counters(&[("a", u64::from(second), 1)]), now);
            assert_eq!(write(&mut recent, now), [], "second {second}");
        }
        let now = start + SECOND * 61;
        assert_eq!(write(&mut recent, now), [("a".to_owned(), counts(60, 1))]);
        // And nothing more while nothing happens.
        assert_eq!(write(&mut recent, now + PAUSE * 3), []);
    }

    #[test]
    fn pods_of_more_than_an_hour_ago_are_forgotten() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        recent.look(&counters(&[("a", 7, 2)]), start);
        write(&mut recent, start);
        let before = start + SLOT * 11;
        recent.look(&counters(&[("a", 10, 3)]), before);
        assert_eq!(recent.due(before), [("a".to_owned(), counts(10, 3))]);
        recent.look(&counters(&[("a", 10, 3)]), start + SLOT * 12);
        assert_eq!(recent.due(before + SLOT), [("a".to_owned(), counts(3, 1))]);
        let late = start + SLOT * 1000;
        recent.look(&counters(&[("a", 10, 3)]), late);
        assert_eq!(recent.due(late), [("a".to_owned(), counts(0, 0))]);
        write(&mut recent, late);
        assert_eq!(
            recent.due(late + REFRESH * 2),
            [],
            "nothing is said of nothing"
        );
    }

    #[test]
    fn an_entry_that_stays_true_is_said_again_now_and_then() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        recent.look(&counters(&[("a", 1, 0)]), start);
        write(&mut recent, start);
        assert_eq!(recent.due(start + SECOND * 60 * 29), []);
        assert_eq!(recent.due(start + REFRESH).len(), 1);
    }

    #[test]
    fn a_write_that_failed_is_tried_again_after_the_pause() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        recent.look(&counters(&[("a", 1, 0)]), start);
        recent.tried("a", None, start);
        assert_eq!(recent.due(start + SECOND * 59), []);
        assert_eq!(recent.due(start + PAUSE).len(), 1);
    }

    #[test]
    fn a_policy_that_is_made_anew_begins_at_nothing() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        recent.look(&counters(&[("a", 5, 5)]), start);
        recent.look(&counters(&[]), start);
        recent.look(&counters(&[("a", 2, 1)]), start);
        assert_eq!(recent.due(start), [("a".to_owned(), counts(2, 1))]);
        // Within one look.
        recent.look(&counters(&[("a", 1, 1)]), start);
        assert_eq!(recent.due(start), [("a".to_owned(), counts(3, 2))]);
    }

    #[test]
    fn of_many_policies_only_some_are_written_at_once_and_none_waits_for_ever() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        let names: Vec<_> = (0..12).map(|n| format!("p{n}")).collect();
        let all: Vec<_> = names
            .iter()
            .map(|name| (name.clone(), counts(1, 1)))
            .collect();
        recent.look(&all, start);
        let mut written = Vec::new();
        for second in 0..3 {
            let due = write(&mut recent, start + SECOND * second);
            assert!(due.len() <= AT_ONCE);
            written.extend(due.into_iter().map(|(name, _)| name));
        }
        written.sort();
        let mut names = names;
        names.sort();
        assert_eq!(written, names);
    }
}
