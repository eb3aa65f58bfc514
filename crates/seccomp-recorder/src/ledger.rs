//! The counters, in memory that holder and recorder share, such that a recorder may be killed between any two instructions: whoever
//! comes next knows which calls are counted.
//!
//! One recorder writes at a time. A call is counted in three steps: what will be written goes into the journal, then the journal is
//! made valid, then it is written. Who finds a valid journal writes it once more, which changes nothing if it was written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use seccomp_profile::{Arch, ArgIndex, Syscall};

use crate::answer::Answer;
use crate::arguments::{self, MAX_VALUES};
use crate::sys::{Memory, Notification};

/// How many descriptors a ledger has at once, and how many tallies: two for each container, as a rule.
pub(crate) const DESCRIPTORS: u32 = 4096;
pub(crate) const TALLIES: u32 = 512;
/// How many calls a tally tells apart, and how many values of arguments it keeps.
const ENTRIES: u64 = 1536;
const VALUES: u64 = 2048;

// The layout, in words. The version of it is part of the size, by the last word.
const JOURNAL_VALID: usize = 0;
const JOURNAL_ID: usize = 1;
const JOURNAL_DESCRIPTOR: usize = 2;
const JOURNAL_COUNTER: usize = 3;
const JOURNAL_VALUE: usize = 4;
const JOURNAL_TIME: usize = 5;
const JOURNAL_ANSWER: usize = 6;
const LAST_IDS: usize = 512;
const FIRST_TALLY: usize = LAST_IDS + DESCRIPTORS as usize;
#[allow(clippy::cast_possible_truncation)] // small constants
const TALLY: usize = TALLY_HEADER + ENTRY * ENTRIES as usize + VALUE * VALUES as usize;
/// What a tally begins with: how many entries and values it has, and how many calls it could not tell apart.
const TALLY_HEADER: usize = 8;
const OF_ENTRIES: usize = 0;
const OF_VALUES: usize = 1;
const OF_REST: usize = 2;
/// An entry: architecture and number, calls in the first seconds and later, when it was first and last seen.
const ENTRY: usize = 5;
/// A value: entry and argument, and the value.
const VALUE: usize = 2;
pub(crate) const WORDS: usize = FIRST_TALLY + TALLY * TALLIES as usize;

/// In place of a value: there are more than are kept.
const MORE: u64 = 1 << 63;
/// In place of a call: it was answered unread, after the one who had read it was killed.
const UNNAMED: u64 = u64::MAX;
/// In a key: the call was refused. No number has this bit.
const REFUSED: u64 = 1 << 31;

fn position(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn tally_at(tally: u32) -> usize {
    FIRST_TALLY + TALLY * tally as usize
}

fn entry_at(tally: u32, entry: u64) -> usize {
    tally_at(tally) + TALLY_HEADER + ENTRY * position(entry.min(ENTRIES - 1))
}

fn value_at(tally: u32, value: u64) -> usize {
    entry_at(tally, ENTRIES - 1) + ENTRY + VALUE * position(value.min(VALUES - 1))
}

fn key(call: &Notification, answer: Answer) -> u64 {
    let key = (u64::from(call.arch) << 32 | u64::from(call.number)) & !REFUSED;
    match answer {
        Answer::Proceed => key,
        Answer::Refuse(_) => key | REFUSED,
    }
}

/// An answer as the journal has it.
fn word(answer: Answer) -> u64 {
    match answer {
        Answer::Proceed => 1,
        Answer::Refuse(errno) => 2 + u64::from(errno),
    }
}

/// What makes the counters of a tally quick to find. The memory has all that it knows.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<u64, Entry>,
    values: HashMap<(u64, u8), BTreeSet<u64>>,
    is_read: bool,
}

/// Where a call is counted, and of which of its arguments the values are kept.
#[derive(Clone, Debug)]
struct Entry {
    place: u64,
    kept: Arc<[ArgIndex]>,
}

/// A call to count.
pub(crate) struct Seen<'a> {
    pub(crate) descriptor: u32,
    pub(crate) tally: u32,
    pub(crate) id: u64,
    /// What was called; nothing if nobody knows.
    pub(crate) call: Option<&'a Notification>,
    /// What it is told.
    pub(crate) answer: Answer,
    /// Arguments of which the values are kept beside the usual ones: the same for all of a tally.
    pub(crate) kept: &'a [(Syscall, ArgIndex)],
    /// In seconds since 1970.
    pub(crate) now: u64,
    pub(crate) is_start_up: bool,
}

/// The last notification that was counted of a descriptor.
pub(crate) fn last_id(memory: &Memory, descriptor: u32) -> Option<u64> {
    let id = memory.load(LAST_IDS + descriptor.min(DESCRIPTORS - 1) as usize);
    (id != 0).then_some(id)
}

/// What a notification is to be answered that was counted, the last one of all.
pub(crate) fn last_answer(memory: &Memory, descriptor: u32, id: u64) -> Option<Answer> {
    let is_this =
        memory.load(JOURNAL_ID) == id && memory.load(JOURNAL_DESCRIPTOR) == u64::from(descriptor);
    match memory.load(JOURNAL_ANSWER) {
        0 => None,
        _ if !is_this => None,
        1 => Some(Answer::Proceed),
        refused => u16::try_from(refused - 2).ok().map(Answer::Refuse),
    }
}

/// Makes a descriptor's place as new.
pub(crate) fn clear_descriptor(memory: &Memory, descriptor: u32) {
    memory.store(LAST_IDS + descriptor.min(DESCRIPTORS - 1) as usize, 0);
}

/// Makes a tally as new.
pub(crate) fn clear_tally(memory: &Memory, tally: u32) {
    let start = tally_at(tally.min(TALLIES - 1));
    for word in [OF_ENTRIES, OF_VALUES, OF_REST] {
        memory.store(start + word, 0);
    }
}

/// Writes what a recorder that was killed had made up its mind to write.
pub(crate) fn recover(memory: &Memory) {
    if memory.load(JOURNAL_VALID) == 1 {
        write_journal(memory);
    }
}

fn write_journal(memory: &Memory) {
    let counter = position(memory.load(JOURNAL_COUNTER));
    if counter >= FIRST_TALLY {
        memory.store(counter, memory.load(JOURNAL_VALUE));
        // The last time stands at the end of the entry that the counter is in.
        if let Some(entry) = ((counter - FIRST_TALLY) % TALLY).checked_sub(TALLY_HEADER) {
            memory.store(counter - entry % ENTRY + 4, memory.load(JOURNAL_TIME));
        }
    }
    let descriptor = position(memory.load(JOURNAL_DESCRIPTOR)).min(DESCRIPTORS as usize - 1);
    memory.store(LAST_IDS + descriptor, memory.load(JOURNAL_ID));
    memory.store(JOURNAL_VALID, 0);
}

/// Counts a call.
pub(crate) fn count(memory: &Memory, index: &mut Index, seen: &Seen<'_>) {
    index.read(memory, seen.tally, seen.kept);
    let key = seen.call.map_or(UNNAMED, |call| key(call, seen.answer));
    let counter = match index.entry(memory, seen, key) {
        Some(Entry { place, kept }) => {
            if let Some(call) = seen.call {
                for argument in kept.iter().map(|argument| argument.get()) {
                    let value = call.args.get(usize::from(argument)).copied().unwrap_or(0);
                    index.keep(memory, seen.tally, place, argument, value);
                }
            }
            entry_at(seen.tally, place) + if seen.is_start_up { 1 } else { 2 }
        }
        None => tally_at(seen.tally) + OF_REST,
    };
    let value = memory.load(counter) + 1;
    for (at, word) in [
        (JOURNAL_ID, seen.id),
        (JOURNAL_DESCRIPTOR, seen.descriptor.into()),
        (JOURNAL_COUNTER, counter as u64),
        (JOURNAL_VALUE, value),
        (JOURNAL_TIME, seen.now),
        (JOURNAL_ANSWER, word(seen.answer)),
        (JOURNAL_VALID, 1),
    ] {
        memory.store(at, word);
    }
    write_journal(memory);
}

impl Index {
    fn read(&mut self, memory: &Memory, tally: u32, more: &[(Syscall, ArgIndex)]) {
        if self.is_read {
            return;
        }
        self.is_read = true;
        for place in 0..memory.load(tally_at(tally) + OF_ENTRIES).min(ENTRIES) {
            let key = memory.load(entry_at(tally, place));
            let kept = kept(key, more);
            self.entries.insert(key, Entry { place, kept });
        }
        for value in 0..memory.load(tally_at(tally) + OF_VALUES).min(VALUES) {
            let (what, value) = value_of(memory, tally, value);
            self.values.entry(what).or_default().extend(value);
        }
    }

    fn entry(&mut self, memory: &Memory, seen: &Seen<'_>, key: u64) -> Option<Entry> {
        if let Some(found) = self.entries.get(&key) {
            return Some(found.clone());
        }
        let many = tally_at(seen.tally) + OF_ENTRIES;
        let entry = memory.load(many);
        if entry >= ENTRIES {
            return None;
        }
        for (offset, word) in [key, 0, 0, seen.now, seen.now].into_iter().enumerate() {
            memory.store(entry_at(seen.tally, entry) + offset, word);
        }
        memory.store(many, entry + 1);
        let found = Entry {
            place: entry,
            kept: kept(key, seen.kept),
        };
        self.entries.insert(key, found.clone());
        Some(found)
    }

    fn keep(&mut self, memory: &Memory, tally: u32, entry: u64, argument: u8, value: u64) {
        let values = self.values.entry((entry, argument)).or_default();
        if values.contains(&value) || values.len() > MAX_VALUES {
            return;
        }
        values.insert(value);
        let many = tally_at(tally) + OF_VALUES;
        let next = memory.load(many);
        if next < VALUES {
            let is_more = values.len() > MAX_VALUES || next == VALUES - 1;
            let what = entry << 8 | u64::from(argument);
            memory.store(
                value_at(tally, next),
                if is_more { what | MORE } else { what },
            );
            memory.store(value_at(tally, next) + 1, value);
            memory.store(many, next + 1);
        }
    }
}

/// The entry and argument that a value is of, and the value; none if there are more than are kept.
fn value_of(memory: &Memory, tally: u32, value: u64) -> ((u64, u8), Option<u64>) {
    let what = memory.load(value_at(tally, value));
    #[allow(clippy::cast_possible_truncation)] // that is where the argument is
    let argument = what as u8;
    let entry = (what & !MORE) >> 8;
    (
        (entry, argument),
        (what & MORE == 0).then(|| memory.load(value_at(tally, value) + 1)),
    )
}

/// The architecture and call of a key, as far as the tables know it.
fn named(key: u64) -> Option<(Arch, Syscall)> {
    #[allow(clippy::cast_possible_truncation)] // the lower half
    let (audit, number) = ((key >> 32) as u32, (key & !REFUSED) as u32);
    let arch = Arch::of_call(audit, number)?;
    Some((arch, Syscall::numbered(arch, number)?))
}

fn kept(key: u64, more: &[(Syscall, ArgIndex)]) -> Arc<[ArgIndex]> {
    let named = named(key);
    named
        .map_or_else(Vec::new, |(_, call)| arguments::kept(call, more))
        .into()
}

/// What was counted for one container, or for what was executed into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The calls, in the order in which they were first seen.
    pub calls: Vec<Count>,
    /// Calls that were answered and nobody knows which: a recorder was killed while it read them.
    pub unnamed: u64,
    /// Calls of numbers that no table has, or of more calls than are told apart.
    pub nameless: u64,
}

/// How often a call was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    #[allow(missing_docs)]
    pub arch: Arch,
    #[allow(missing_docs)]
    pub call: Syscall,
    /// Whether it was refused each time. What was let happen is another entry.
    pub refused: bool,
    /// How often within the first seconds of a container, and later.
    pub start_up: u64,
    #[allow(missing_docs)]
    pub steady: u64,
    /// When it was first and last made, in seconds since 1970.
    pub first_seen: u64,
    #[allow(missing_docs)]
    pub last_seen: u64,
    /// The values that arguments had, of those that are kept.
    pub arguments: Vec<Arguments>,
}

/// The values of one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Its position, from 0.
    pub index: u8,
    /// The values, ascending; empty if there were more than are kept.
    pub values: Vec<u64>,
    #[allow(missing_docs)]
    pub more: bool,
}

/// What a tally says. A recorder may be counting meanwhile.
pub(crate) fn counts(memory: &Memory, tally: u32) -> Counts {
    let start = tally_at(tally);
    let mut counts = Counts {
        nameless: memory.load(start + OF_REST),
        ..Counts::default()
    };
    let mut values = HashMap::<u64, Vec<Arguments>>::new();
    for value in 0..memory.load(start + OF_VALUES).min(VALUES) {
        let ((entry, index), value) = value_of(memory, tally, value);
        let of_entry = values.entry(entry).or_default();
        let position = of_entry
            .iter()
            .position(|known| known.index == index)
            .unwrap_or_else(|| {
                of_entry.push(Arguments {
                    index,
                    values: Vec::new(),
                    more: false,
                });
                of_entry.len() - 1
            });
        if let Some(known) = of_entry.get_mut(position) {
            known.values.extend(value);
            known.more |= value.is_none();
        }
    }
    for entry in 0..memory.load(start + OF_ENTRIES).min(ENTRIES) {
        let [key, start_up, steady, first_seen, last_seen] =
            [0, 1, 2, 3, 4].map(|offset| memory.load(entry_at(tally, entry) + offset));
        if key == UNNAMED {
            counts.unnamed = start_up + steady;
        } else if let Some((arch, call)) = named(key) {
            let mut arguments = values.remove(&entry).unwrap_or_default();
            arguments.sort_unstable_by_key(|argument| argument.index);
            for argument in &mut arguments {
                argument.values.sort_unstable();
                if argument.more {
                    argument.values.clear();
                }
            }
            counts.calls.push(Count {
                arch,
                call,
                refused: key & REFUSED != 0,
                start_up,
                steady,
                first_seen,
                last_seen,
                arguments,
            });
        } else {
            counts.nameless += start_up + steady;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn memory() -> Memory {
        Memory::map(Memory::create(WORDS).unwrap().as_fd(), WORDS).unwrap()
    }

    fn call(id: u64, name: &str, first: u64) -> Notification {
        let number = Syscall::named(name).unwrap().number(Arch::X86_64).unwrap();
        Notification {
            id,
            arch: Arch::X86_64.audit_arch(),
            number,
            args: [first, 1, 2, 3, 4, 5],
        }
    }

    fn seen(call: Option<&Notification>, id: u64) -> Seen<'_> {
        Seen {
            descriptor: 3,
            tally: 7,
            id,
            call,
            answer: Answer::Proceed,
            kept: &[],
            now: 1000 + id,
            is_start_up: id < 3,
        }
    }

    #[test]
    fn calls_are_counted_by_number_and_time() {
        let (memory, mut index) = (memory(), Index::default());
        for id in 1..=5 {
            count(&memory, &mut index, &seen(Some(&call(id, "mkdir", 0)), id));
        }
        count(&memory, &mut index, &seen(None, 6));
        let i386 = Notification {
            arch: Arch::X86.audit_arch(),
            number: 39,
            ..call(7, "mkdir", 0)
        };
        count(&memory, &mut index, &seen(Some(&i386), 7));
        let unknown = Notification {
            number: 9999,
            ..i386
        };
        count(&memory, &mut index, &seen(Some(&unknown), 8));
        let counts = counts(&memory, 7);
        let said: Vec<_> = counts
            .calls
            .iter()
            .map(|c| {
                (
                    c.arch,
                    c.call.name(),
                    c.start_up,
                    c.steady,
                    c.first_seen,
                    c.last_seen,
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                (Arch::X86_64, "mkdir", 2, 3, 1001, 1005),
                (Arch::X86, "mkdir", 0, 1, 1007, 1007)
            ]
        );
        assert_eq!((counts.unnamed, counts.nameless), (1, 1));
        assert_eq!(super::counts(&memory, 8), Counts::default());
        assert_eq!((last_id(&memory, 3), last_id(&memory, 4)), (Some(8), None));
    }

    #[test]
    fn what_was_refused_is_apart_and_a_successor_knows_what_to_answer() {
        let (memory, mut index) = (memory(), Index::default());
        let socket = |id, domain| call(id, "socket", domain);
        let refused = Answer::Refuse(13);
        for (id, domain, answer) in [(1, 2, Answer::Proceed), (2, 40, refused), (3, 16, refused)] {
            let (call, of) = (socket(id, domain), seen(None, id));
            let seen = Seen {
                call: Some(&call),
                answer,
                ..of
            };
            count(&memory, &mut index, &seen);
            assert_eq!(last_answer(&memory, 3, id), Some(answer));
        }
        assert_eq!(last_answer(&memory, 3, 2), None);
        assert_eq!(last_answer(&memory, 4, 3), None);
        assert_eq!(last_answer(&self::memory(), 0, 0), None);
        let said: Vec<_> = counts(&memory, 7).calls;
        let said: Vec<_> = said
            .iter()
            .map(|c| {
                let domain = c.arguments[0].values.clone();
                (c.call.name(), c.refused, c.start_up + c.steady, domain)
            })
            .collect();
        assert_eq!(
            said,
            [
                ("socket", false, 1, vec![2]),
                ("socket", true, 2, vec![16, 40])
            ]
        );
    }

    #[test]
    fn values_are_kept_until_there_are_too_many() {
        let (memory, mut index) = (memory(), Index::default());
        let mut id = 0;
        let mut make = |name: &str, first: u64, index: &mut Index| {
            id += 1;
            count(&memory, index, &seen(Some(&call(id, name, first)), id));
        };
        for domain in [2, 1, 2, 10] {
            make("socket", domain, &mut index);
        }
        for persona in 0..100 {
            make("personality", persona, &mut index);
        }
        // Another recorder goes on where this one ends.
        let mut again = Index::default();
        make("socket", 2, &mut again);
        make("socket", 16, &mut again);
        make("personality", 1000, &mut again);
        let calls = counts(&memory, 7).calls;
        let domain = Arguments {
            index: 0,
            values: vec![1, 2, 10, 16],
            more: false,
        };
        let kind = Arguments {
            index: 1,
            values: vec![1],
            more: false,
        };
        assert_eq!(calls[0].arguments, [domain, kind]);
        assert_eq!(
            calls[1].arguments,
            [Arguments {
                index: 0,
                values: vec![],
                more: true
            }]
        );
    }

    #[test]
    fn values_of_other_arguments_are_kept_where_it_is_asked_for() {
        let (memory, mut index) = (memory(), Index::default());
        let mkdir = call(1, "mkdir", 0);
        let asked = [(Syscall::named("mkdir").unwrap(), ArgIndex::new(1).unwrap())];
        for (id, mode) in [(1, 0o700), (2, 0o755), (3, 0o700)] {
            let mut mkdir = mkdir;
            mkdir.args[1] = mode;
            let of_it = Seen {
                kept: &asked,
                ..seen(Some(&mkdir), id)
            };
            count(&memory, &mut index, &of_it);
        }
        let modes = Arguments {
            index: 1,
            values: vec![0o700, 0o755],
            more: false,
        };
        assert_eq!(counts(&memory, 7).calls[0].arguments, [modes]);
    }

    /// A memory that forgets every write from the n-th on is that of a recorder that was killed before it.
    #[test]
    fn a_call_is_counted_once_wherever_its_recorder_was_killed() {
        let (memory, mut index) = (memory(), Index::default());
        count(&memory, &mut index, &seen(Some(&call(1, "mkdir", 0)), 1));
        // Killed before the journal was valid: nothing is counted, and the id says so.
        memory.store(JOURNAL_ID, 2);
        memory.store(JOURNAL_VALUE, 99);
        recover(&memory);
        assert_eq!(
            (counts(&memory, 7).calls[0].start_up, last_id(&memory, 3)),
            (1, Some(1))
        );
        // Killed after: it is counted, however much of it was written.
        for written in [false, true] {
            let counter = entry_at(7, 0) + 1;
            for (at, word) in [
                (JOURNAL_ID, 2),
                (JOURNAL_DESCRIPTOR, 3),
                (JOURNAL_COUNTER, counter as u64),
                (JOURNAL_VALUE, 2),
                (JOURNAL_TIME, 1500),
                (JOURNAL_VALID, 1),
            ] {
                memory.store(at, word);
            }
            if written {
                memory.store(counter, 2);
            }
            recover(&memory);
            let mkdir = &counts(&memory, 7).calls[0];
            assert_eq!(
                (
                    mkdir.start_up,
                    mkdir.first_seen,
                    mkdir.last_seen,
                    last_id(&memory, 3)
                ),
                (2, 1001, 1500, Some(2))
            );
        }
    }

    #[test]
    fn a_full_tally_counts_on() {
        let (memory, mut index) = (memory(), Index::default());
        for number in 0..2000_u32 {
            let id = u64::from(number) + 1;
            let call = Notification {
                number,
                ..call(id, "mkdir", 0)
            };
            count(&memory, &mut index, &seen(Some(&call), id));
        }
        let counts = counts(&memory, 7);
        let named: u64 = counts
            .calls
            .iter()
            .map(|call| call.start_up + call.steady)
            .sum();
        assert_eq!(named + counts.nameless, 2000);
        assert_eq!(super::counts(&memory, 8), Counts::default());
    }
}
