//! What was heard, counted: by container and call, in bounded room. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::cgroup::Container;
use crate::record::Call;

/// So many calls are counted, those of each container apart.
pub const MAX_CALLS: usize = 4096;
/// So many of them of one container: one that calls all there is leaves room for others.
const MAX_OF_CONTAINER: usize = 1024;
/// So many calls are counted whose container is not known, those of each thread name apart.
pub const MAX_UNPLACED: usize = 64;

/// How often, and when, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How often.
    pub times: u64,
    /// When first.
    pub first: u64,
    /// When last.
    pub last: u64,
}

/// Calls of one kind of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Whose they are.
    pub container: Arc<Container>,
    /// The call.
    pub call: Call,
    /// How often.
    pub count: Count,
}

/// Calls of one kind of a process whose container could not be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// The thread's name.
    pub comm: String,
    /// The call.
    pub call: Call,
    /// How often.
    pub count: Count,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Ledger {
    placed: HashMap<(Arc<Container>, Call), Count>,
    /// How many calls of each container are counted.
    kinds: HashMap<Arc<Container>, usize>,
    unplaced: HashMap<(String, Call), Count>,
    /// Calls for which there was no room, by what they were.
    more: u64,
    unplaced_times: u64,
    host_times: u64,
}

impl Count {
    fn add(&mut self, times: u64, now: u64) {
        self.times = self.times.saturating_add(times);
        self.last = self.last.max(now);
    }

    const fn new(times: u64, now: u64) -> Self {
        Self {
            times,
            first: now,
            last: now,
        }
    }
}

impl Ledger {
    /// A container made a call so often.
    pub fn placed(&mut self, container: &Arc<Container>, call: Call, times: u64, now: u64) {
        let is_full = self.placed.len() >= MAX_CALLS;
        match self.placed.entry((container.clone(), call)) {
            Entry::Occupied(mut entry) => entry.get_mut().add(times, now),
            Entry::Vacant(entry) => {
                let kinds = self.kinds.get(container).copied().unwrap_or_default();
                if is_full || kinds >= MAX_OF_CONTAINER {
                    self.more = self.more.saturating_add(times);
                    return;
                }
                self.kinds.insert(container.clone(), kinds + 1);
                entry.insert(Count::new(times, now));
            }
        }
    }

    /// A process made a call so often whose container cannot be told.
    pub fn unplaced(&mut self, comm: String, call: Call, times: u64, now: u64) {
        self.unplaced_times = self.unplaced_times.saturating_add(times);
        let is_full = self.unplaced.len() >= MAX_UNPLACED;
        match self.unplaced.entry((comm, call)) {
            Entry::Occupied(mut entry) => entry.get_mut().add(times, now),
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(entry) => {
                entry.insert(Count::new(times, now));
            }
        }
    }

    /// A process of no pod made a call so often.
    pub fn host(&mut self, times: u64) {
        self.host_times = self.host_times.saturating_add(times);
    }

    /// Lets go of what was last heard before a time: all of these containers, and what has no container.
    pub fn forget(&mut self, before: u64, is_gone: impl Fn(&Container) -> bool) {
        self.placed
            .retain(|(container, _), count| count.last >= before || !is_gone(container));
        self.unplaced.retain(|_, count| count.last >= before);
        self.kinds.clear();
        for (container, _) in self.placed.keys() {
            *self.kinds.entry(container.clone()).or_default() += 1;
        }
    }

    /// What containers called.
    pub fn calls(&self) -> impl Iterator<Item = Placed> {
        self.placed.iter().map(|((container, call), count)| Placed {
            container: container.clone(),
            call: *call,
            count: *count,
        })
    }

    /// What processes called whose container could not be told; of many names only the first.
    pub fn strays(&self) -> impl Iterator<Item = Unplaced> {
        self.unplaced.iter().map(|((comm, call), count)| Unplaced {
            comm: comm.clone(),
            call: *call,
            count: *count,
        })
    }

    /// How often containers called what is not counted, for there are too many different calls.
    #[must_use]
    pub const fn more(&self) -> u64 {
        self.more
    }

    /// How often processes called whose container could not be told.
    #[must_use]
    pub const fn unplaced_times(&self) -> u64 {
        self.unplaced_times
    }

    /// How often processes called that are in no pod.
    #[must_use]
    pub const fn host_times(&self) -> u64 {
        self.host_times
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    fn call(number: u32) -> Call {
        Call {
            arch: 0xc000_003e,
            number,
            outcome: Outcome::Logged,
        }
    }

    fn container(pod: &str) -> Arc<Container> {
        Arc::new(Container {
            pod_uid: pod.to_owned(),
            id: String::new(),
        })
    }

    #[test]
    fn who_calls_all_there_is_leaves_room_for_others_and_none_is_more_than_counted() {
        let mut ledger = Ledger::default();
        let loud = container("loud");
        for number in 0..100_000 {
            ledger.placed(&loud, call(number), 1, 5);
        }
        let quiet = container("quiet");
        ledger.placed(&quiet, call(1), 1, 6);
        ledger.placed(&quiet, call(1), 1, 9);
        let (first, last, times) = (6, 9, 2);
        let of_quiet = ledger.calls().find(|placed| placed.container == quiet);
        assert_eq!(of_quiet.unwrap().count, Count { times, first, last });
        assert_eq!(ledger.calls().count(), MAX_OF_CONTAINER + 1);
        assert_eq!(ledger.more(), 100_000 - MAX_OF_CONTAINER as u64);
        for pod in 0..10_000 {
            ledger.placed(&container(&pod.to_string()), call(1), 1, 5);
        }
        assert_eq!(ledger.calls().count(), MAX_CALLS);
    }

    #[test]
    fn names_that_processes_give_themselves_take_bounded_room() {
        let mut ledger = Ledger::default();
        for name in 0..10_000 {
            ledger.unplaced(name.to_string(), call(1), 1, 5);
        }
        assert_eq!(ledger.strays().count(), MAX_UNPLACED);
        assert_eq!(ledger.unplaced_times(), 10_000);
    }

    #[test]
    fn what_is_over_goes_and_makes_room() {
        let mut ledger = Ledger::default();
        let (gone, there) = (container("gone"), container("there"));
        for pod in [&gone, &there] {
            ledger.placed(pod, call(1), 1, 5);
        }
        ledger.placed(&gone, call(2), 1, 50);
        ledger.unplaced("x".into(), call(1), 1, 5);
        ledger.forget(40, |container| *container == *gone);
        let mut left: Vec<_> = ledger
            .calls()
            .map(|left| (left.container.pod_uid.clone(), left.call.number))
            .collect();
        left.sort();
        assert_eq!(left, [("gone".to_owned(), 2), ("there".to_owned(), 1)]);
        assert_eq!((ledger.strays().count(), ledger.kinds[&gone]), (0, 1));
    }
}
