//! Who is counted where: what holder and recorder both know. No descriptor is read here.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::answer::Standing;
use crate::ledger::{DESCRIPTORS, TALLIES, WORDS, clear_descriptor, clear_tally};
use crate::link::{Enclosed, Notice};
use crate::message::Subject;
use crate::sys::Memory;

/// The tally of those for whom there is none left; it belongs to nobody.
const REST: u32 = 0;

/// Whose calls a tally has. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) subject: Subject,
    pub(crate) started: u64,
    /// When the last of its descriptors ended; nothing while there is one.
    pub(crate) ended: Option<u64>,
}

/// A filter's descriptor, and the tally that its calls go to.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) listener: Arc<OwnedFd>,
    pub(crate) tally: u32,
    pub(crate) standing: Standing,
}

/// One memory, and what its parts are for.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: Arc<OwnedFd>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) tallies: BTreeMap<u32, Tally>,
    pub(crate) descriptors: BTreeMap<u32, Descriptor>,
}

/// All ledgers: that of the holder itself, and those of holders before it.
#[derive(Debug, Default)]
pub(crate) struct Register {
    pub(crate) ledgers: BTreeMap<u64, Ledger>,
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Whether it is what the kernel gives for a filter with a listener.
pub(crate) fn is_listener(descriptor: &OwnedFd) -> bool {
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    std::fs::read_link(link).is_ok_and(|to| to.as_os_str() == "anon_inode:seccomp notify")
}

impl Ledger {
    fn new(file: OwnedFd) -> io::Result<Self> {
        let memory = Memory::map(file.as_fd(), WORDS)?;
        Ok(Self {
            file: Arc::new(file),
            memory: Arc::new(memory),
            tallies: BTreeMap::new(),
            descriptors: BTreeMap::new(),
        })
    }

    fn standings(&self) -> impl Iterator<Item = &Standing> {
        let descriptors = self.descriptors.values();
        descriptors.map(|descriptor| &descriptor.standing)
    }

    /// The first number that is free.
    fn free<T>(taken: &BTreeMap<u32, T>, all: std::ops::Range<u32>) -> Option<u32> {
        all.into_iter().find(|number| !taken.contains_key(number))
    }

    /// The tally of a subject: the one that it has, a free one, that of the one that ended first, or the rest's.
    fn tally_of(&mut self, subject: &Subject) -> u32 {
        if let Some((tally, _)) = self
            .tallies
            .iter()
            .find(|(_, known)| known.subject == *subject)
        {
            return *tally;
        }
        let free = Self::free(&self.tallies, REST + 1..TALLIES).or_else(|| {
            let ended = self
                .tallies
                .iter()
                .filter_map(|(tally, known)| Some((known.ended?, *tally)));
            ended.min().map(|(_, tally)| tally)
        });
        let (tally, subject) = match free {
            Some(tally) => (tally, subject.clone()),
            None => (REST, Subject::default()),
        };
        if tally != REST || !self.tallies.contains_key(&REST) {
            clear_tally(&self.memory, tally);
            self.tallies.insert(
                tally,
                Tally {
                    subject,
                    started: now(),
                    ended: None,
                },
            );
        }
        tally
    }
}

impl Register {
    /// Opens a ledger of one's own and returns its number.
    pub(crate) fn open(&mut self) -> io::Result<u64> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let ledger = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.ledgers
            .insert(ledger, Ledger::new(Memory::create(WORDS)?)?);
        Ok(ledger)
    }

    /// Whether there is room for one more descriptor, in the ledger and among `most` of all.
    pub(crate) fn has_room(&self, ledger: u64, most: usize) -> bool {
        self.descriptors() < most
            && self
                .ledgers
                .get(&ledger)
                .is_some_and(|ledger| ledger.descriptors.len() < DESCRIPTORS as usize)
    }

    pub(crate) fn descriptors(&self) -> usize {
        self.ledgers
            .values()
            .map(|ledger| ledger.descriptors.len())
            .sum()
    }

    /// Takes in a descriptor, and says what others have to hear of it.
    pub(crate) fn add(
        &mut self,
        ledger: u64,
        subject: &Subject,
        mut standing: Standing,
        listener: OwnedFd,
    ) -> Option<(u32, [(Notice, Enclosed); 2])> {
        let number = ledger;
        let ledger = self.ledgers.get_mut(&ledger)?;
        let descriptor = Ledger::free(&ledger.descriptors, 0..DESCRIPTORS)?;
        let tally = ledger.tally_of(subject);
        let of = ledger.tallies.get_mut(&tally)?;
        of.ended = None;
        let of = of.clone();
        clear_descriptor(&ledger.memory, descriptor);
        let listener = Arc::new(listener);
        standing.share(ledger.standings());
        ledger.descriptors.insert(
            descriptor,
            Descriptor {
                listener: Arc::clone(&listener),
                tally,
                standing: standing.clone(),
            },
        );
        Some((
            descriptor,
            [
                (
                    Notice::Tally {
                        ledger: number,
                        tally,
                        of,
                    },
                    None,
                ),
                (
                    Notice::Descriptor {
                        ledger: number,
                        descriptor,
                        tally,
                        standing,
                    },
                    Some(listener),
                ),
            ],
        ))
    }

    /// A descriptor has ended.
    pub(crate) fn end(&mut self, ledger: u64, descriptor: u32, at: u64) {
        let Some(ledger) = self.ledgers.get_mut(&ledger) else {
            return;
        };
        let Some(Descriptor { tally, .. }) = ledger.descriptors.remove(&descriptor) else {
            return;
        };
        let is_open = ledger
            .descriptors
            .values()
            .any(|descriptor| descriptor.tally == tally);
        if let Some(tally) = ledger.tallies.get_mut(&tally).filter(|_| !is_open) {
            tally.ended = Some(at);
        }
    }

    /// Nobody asks for a tally any more. One that is still in use stays.
    pub(crate) fn forget(&mut self, ledger: u64, tally: u32) {
        if let Some(of) = self.ledgers.get_mut(&ledger)
            && let Some(known) = of.tallies.get(&tally)
            && known.ended.is_some()
        {
            of.tallies.remove(&tally);
        }
    }

    /// Lets go of the ledgers that nobody is counted in, but for that of a holder that goes on counting in it. A ledger is handed over once:
    /// whoever is told of what is in them may do this only before it says which ones it has.
    pub(crate) fn drop_empty(&mut self, but: Option<u64>) {
        self.ledgers.retain(|number, of| {
            but == Some(*number) || !of.tallies.is_empty() || !of.descriptors.is_empty()
        });
    }

    /// Everything in the ledgers that are not among `known`.
    pub(crate) fn everything(&self, known: &[u64]) -> Vec<(Notice, Enclosed)> {
        let mut all = Vec::new();
        for (&number, ledger) in self
            .ledgers
            .iter()
            .filter(|(number, _)| !known.contains(number))
        {
            all.push((
                Notice::Ledger { ledger: number },
                Some(Arc::clone(&ledger.file)),
            ));
            for (&tally, of) in &ledger.tallies {
                all.push((
                    Notice::Tally {
                        ledger: number,
                        tally,
                        of: of.clone(),
                    },
                    None,
                ));
            }
            for (&descriptor, of) in &ledger.descriptors {
                let notice = Notice::Descriptor {
                    ledger: number,
                    descriptor,
                    tally: of.tally,
                    standing: of.standing.clone(),
                };
                all.push((notice, Some(Arc::clone(&of.listener))));
            }
        }
        all
    }

    /// Learns what the other end knows.
    pub(crate) fn learn(&mut self, notice: &Notice, enclosed: Option<OwnedFd>) -> io::Result<()> {
        let no_ledger = || invalid("names a ledger that was not handed over");
        match notice {
            Notice::Ledger { ledger } => {
                let file = enclosed.ok_or_else(|| invalid("is a ledger without its memory"))?;
                if !self.ledgers.contains_key(ledger) {
                    self.ledgers.insert(*ledger, Ledger::new(file)?);
                }
            }
            Notice::Tally { ledger, tally, of } if *tally < TALLIES => {
                let ledger = self.ledgers.get_mut(ledger).ok_or_else(no_ledger)?;
                ledger.tallies.insert(*tally, of.clone());
            }
            Notice::Descriptor {
                ledger,
                descriptor,
                tally,
                standing,
            } if *descriptor < DESCRIPTORS && *tally < TALLIES => {
                let listener = enclosed.filter(is_listener);
                let listener = listener.ok_or_else(|| invalid("is a descriptor of no filter"))?;
                let ledger = self.ledgers.get_mut(ledger).ok_or_else(no_ledger)?;
                let mut standing = standing.clone();
                standing.share(ledger.standings());
                let known = Descriptor {
                    listener: Arc::new(listener),
                    tally: *tally,
                    standing,
                };
                ledger.descriptors.insert(*descriptor, known);
            }
            Notice::Ended {
                ledger,
                descriptor,
                at,
            } => self.end(*ledger, *descriptor, *at),
            Notice::Tally { .. } | Notice::Descriptor { .. } => {
                return Err(invalid("is of no place in a ledger"));
            }
            Notice::Hello { .. } | Notice::Forget { .. } | Notice::Ready | Notice::Stop => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn subject(id: usize, exec: bool) -> Subject {
        Subject {
            container_id: id.to_string(),
            exec,
            ..Subject::default()
        }
    }

    fn standing(id: usize) -> Standing {
        id.to_string().into()
    }

    #[test]
    fn a_container_and_what_is_executed_into_it_have_a_tally_each() {
        let mut register = Register::default();
        let own = register.open().unwrap();
        let mut add = |id, exec| {
            register
                .add(own, &subject(id, exec), Standing::default(), null())
                .unwrap()
                .0
        };
        let all = [add(1, false), add(1, true), add(1, true), add(2, false)];
        assert_eq!(all, [0, 1, 2, 3]);
        let tallies = |register: &Register| -> Vec<_> {
            register.ledgers[&own]
                .descriptors
                .values()
                .map(|d| d.tally)
                .collect()
        };
        assert_eq!(tallies(&register), [1, 2, 2, 3]);
        register.end(own, 1, 50);
        assert_eq!(register.ledgers[&own].tallies[&2].ended, None);
        register.forget(own, 2);
        register.end(own, 2, 60);
        assert_eq!(register.ledgers[&own].tallies[&2].ended, Some(60));
        register.forget(own, 2);
        assert_eq!(
            register.ledgers[&own]
                .tallies
                .keys()
                .copied()
                .collect::<Vec<_>>(),
            [1, 3]
        );
    }

    #[test]
    fn where_no_tally_is_left_the_first_that_ended_makes_room() {
        let mut register = Register::default();
        let own = register.open().unwrap();
        // A container that ended leaves its descriptor, and its tally until it is forgotten.
        for id in 1..TALLIES as usize {
            let (descriptor, _) = register
                .add(own, &subject(id, false), standing(id), null())
                .unwrap();
            if id == 5 || id == 9 {
                register.end(own, descriptor, if id == 5 { 20 } else { 10 });
            }
        }
        let tally_of = |register: &mut Register, id| {
            let (descriptor, _) = register
                .add(own, &subject(id, false), standing(id), null())
                .unwrap();
            let of = &register.ledgers[&own].descriptors[&descriptor];
            // Who has no place of his own is answered as ever.
            assert_eq!(of.standing, standing(id));
            of.tally
        };
        assert_eq!(
            [1000, 1001, 1002, 1003].map(|id| tally_of(&mut register, id)),
            [9, 5, REST, REST]
        );
        assert_eq!(
            register.ledgers[&own].tallies[&REST].subject,
            Subject::default()
        );
    }

    #[test]
    fn who_was_told_of_a_ledger_is_told_of_the_next_container_in_it() {
        let mut register = Register::default();
        let ledger = 7;
        let memory = Memory::create(WORDS).unwrap();
        register
            .learn(&Notice::Ledger { ledger }, Some(memory))
            .unwrap();
        let tally = |id: usize| Notice::Tally {
            ledger,
            tally: 1,
            of: Tally {
                subject: subject(id, false),
                started: 1,
                ended: Some(2),
            },
        };
        register.learn(&tally(1), None).unwrap();
        register.forget(ledger, 1);
        assert!(register.ledgers[&ledger].tallies.is_empty());
        register.learn(&tally(2), None).unwrap();
        register.drop_empty(None);
        assert!(register.ledgers.contains_key(&ledger));
        register.forget(ledger, 1);
        register.drop_empty(Some(ledger));
        assert!(register.ledgers.contains_key(&ledger));
        register.drop_empty(None);
        assert!(register.ledgers.is_empty());
    }

    #[test]
    fn what_is_handed_over_is_checked() {
        let mut register = Register::default();
        let ledger = 7;
        assert!(
            register
                .learn(&Notice::Ledger { ledger }, Some(null()))
                .is_err()
        );
        assert!(register.learn(&Notice::Ledger { ledger }, None).is_err());
        let memory = Memory::create(WORDS).unwrap();
        register
            .learn(&Notice::Ledger { ledger }, Some(memory))
            .unwrap();
        let descriptor = Notice::Descriptor {
            ledger,
            descriptor: 1,
            tally: 1,
            standing: Standing::default(),
        };
        assert!(
            register.learn(&descriptor, Some(null())).is_err(),
            "a file is no listener"
        );
        let outside = Notice::Tally {
            ledger,
            tally: TALLIES,
            of: Tally::default(),
        };
        assert!(register.learn(&outside, None).is_err());
    }
}
