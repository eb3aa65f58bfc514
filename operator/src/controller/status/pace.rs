//! How often one status is written. What all nodes have answered is told at once; how far the nodes have got is told after a moment, in
//! which nearby nodes all answer, and seldom: its number of writes then depends on how long a rollout takes, and not on how many
//! nodes there are.

use std::time::Duration;

use tokio::time::Instant;

/// The pause between two writes that do not wait for nodes.
const PAUSE: Duration = Duration::from_secs(1);
/// So long nodes are waited for before a status says that they are.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause after the first write that says how far the nodes have got, and after each that follows: so long, and so much longer for each node that is
/// still waited for. Nodes answer one after the other, and the API server takes so many answers a second and no more; a pause that did not grow with
/// them would cost a large cluster more writes than a small one.
const PROGRESS: [(Duration, Duration); 2] = [
    (Duration::from_secs(5), Duration::from_millis(20)),
    (Duration::from_secs(30), Duration::from_millis(100)),
];
/// The pause after a write of something that had changed meanwhile, and after one that failed.
const AFTER_CONFLICT: Duration = Duration::from_millis(100);
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What is remembered of the writes of one status.
#[derive(Debug, Default)]
pub struct Pace {
    /// Since when nodes have been waited for.
    waiting_since: Option<Instant>,
    /// No write is due before: of a status that waits for no node, and of one that does.
    settled_from: Option<Instant>,
    progress_from: Option<Instant>,
    /// When a change that was held back may be written.
    due: Option<Instant>,
}

impl Pace {
    /// Whether a status that has changed may be written now; if not, it is due later. `waits`: it waits for nodes.
    pub fn may_write(&mut self, waits: bool, now: Instant) -> bool {
        let from = if waits {
            let since = *self.waiting_since.get_or_insert(now);
            self.progress_from.max(Some(since + PATIENCE))
        } else {
            self.waiting_since = None;
            self.settled_from
        };
        self.due = from.filter(|from| *from > now);
        self.due.is_none()
    }

    /// When a change that was held back may be written; none if there is none.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The status was written. `waits`: for so many nodes.
    pub fn written(&mut self, waits: u32, now: Instant) {
        if waits > 0 {
            let [first, following] = PROGRESS;
            let is_first = self.progress_from.is_none();
            let (pause, each) = if is_first { first } else { following };
            self.progress_from = Some(now + pause + each * waits);
        } else {
            self.settled_from = Some(now + PAUSE);
            self.progress_from = None;
        }
    }

    /// The object had changed before the write.
    pub fn outrun(&mut self, now: Instant) {
        self.rest_until(now + AFTER_CONFLICT);
    }

    /// The write failed.
    pub fn failed(&mut self, now: Instant) {
        self.rest_until(now + AFTER_FAILURE);
    }

    fn rest_until(&mut self, until: Instant) {
        self.settled_from = self.settled_from.max(Some(until));
        self.progress_from = self.progress_from.max(Some(until));
        self.due = Some(until);
    }

    /// The status says already what it should.
    pub fn unchanged(&mut self) {
        self.waiting_since = None;
    }

    /// Whether there is nothing left to remember.
    pub fn is_over(&self, now: Instant) -> bool {
        let times = [self.settled_from, self.progress_from, self.due];
        self.waiting_since.is_none() && times.into_iter().flatten().all(|time| time <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a status is written that is looked at every 50 ms, of which `waits` says for how many nodes it waits; it always has changed.
    fn writes(seconds: u64, waits: impl Fn(Duration) -> u32) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut writes = vec![];
        for at in (0..seconds * 1000).step_by(50) {
            let passed = Duration::from_millis(at);
            let now = start + passed;
            if pace.may_write(waits(passed) > 0, now) {
                pace.written(waits(passed), now);
                writes.push(at);
            }
            assert!(pace.due().is_none_or(|due| due > now));
        }
        writes
    }

    /// One node is waited for until then.
    fn until(last: Duration) -> impl Fn(Duration) -> u32 {
        move |passed| u32::from(passed < last)
    }

    #[test]
    fn what_all_nodes_have_answered_is_written_at_once() {
        assert_eq!(writes(1, until(Duration::from_millis(300))), [300]);
        // Also right after it was written how far they had got.
        let slow = until(Duration::from_millis(1100));
        assert_eq!(writes(2, slow), [1000, 1100]);
    }

    #[test]
    fn a_rollout_costs_three_writes_at_most_however_many_nodes_answer_in_it() {
        // So many milliseconds from one node's answer to the next: a slow API server.
        const EACH: u64 = 100;
        for nodes in [1, 3, 10, 100, 1000, 5000_u64] {
            let rollout = |passed: Duration| {
                let answered = u64::try_from(passed.as_millis()).unwrap() / EACH;
                u32::try_from(nodes.saturating_sub(answered)).unwrap()
            };
            let writes = writes(nodes * EACH / 1000 + 1, rollout);
            assert!(writes.len() <= 3, "{nodes}: {writes:?}");
            assert!(writes[0] <= 1000, "{nodes}: {writes:?}");
            assert!(writes.contains(&(nodes * EACH)), "{nodes}: {writes:?}");
        }
    }

    #[test]
    fn how_far_a_rollout_has_got_that_does_not_end_is_told_ever_again() {
        assert_eq!(writes(80, |_| 10), [1000, 6200, 37_200, 68_200]);
    }

    #[test]
    fn a_status_that_changes_all_the_time_is_written_once_a_second() {
        assert_eq!(writes(4, |_| 0), [0, 1000, 2000, 3000]);
        // Nodes that come and go do not make it more often.
        let flaps = |passed: Duration| u32::from(passed.as_millis() % 200 < 100);
        assert_eq!(writes(4, flaps).len(), 4);
    }

    #[test]
    fn a_write_that_failed_is_tried_again_after_a_pause() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!(pace.may_write(false, start));
        pace.failed(start);
        assert_eq!(pace.due(), Some(start + AFTER_FAILURE));
        assert!(!pace.may_write(false, start + PAUSE));
        assert!(pace.may_write(false, start + AFTER_FAILURE));
        pace.outrun(start + AFTER_FAILURE);
        assert!(pace.may_write(false, start + AFTER_FAILURE + AFTER_CONFLICT));
    }

    #[test]
    fn nothing_is_remembered_of_what_rests() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!(pace.may_write(false, start));
        pace.written(0, start);
        assert!(!pace.is_over(start));
        assert!(pace.is_over(start + PAUSE));
        assert!(!pace.may_write(true, start + PAUSE));
        assert!(!pace.is_over(start + 2 * PAUSE));
        pace.unchanged();
        assert!(pace.is_over(start + 3 * PAUSE));
    }
}
