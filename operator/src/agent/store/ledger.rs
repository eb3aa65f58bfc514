//! Which files in the profiles folder are ours, what they hold, and since when.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::fs::RenameFlags;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::error::{StoreError, at, io};
use super::file::{self, Found};
use crate::agent::content::Digest;
use kube_support::error::chain;
use seccomp_operator_api::ProfileName;

/// The ledger's file, beside the profiles.
pub const FILE: &str = ".seccomp-operator.ledger.json";
/// No ledger is larger than this; what is, is not one.
const MAX_SIZE: u64 = 16 << 20;

/// So many contents that a file held before are kept.
const MAX_EARLIER: usize = 8;

/// What is known of one of our files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What it was last seen to hold.
    pub digest: Option<Digest>,
    /// When it came to hold that instead of something else, in seconds since 1970. None: it never held anything else, as far as
    /// is known, so that no container can have been created with anything else.
    pub changed: Option<u64>,
    /// What it held before that, as far as is known; the latest last.
    pub earlier: Vec<Held>,
}

/// What a file held for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What.
    pub digest: Digest,
    /// Since when, in seconds since 1970. None: it held nothing before.
    pub since: Option<u64>,
}

impl LedgerEntry {
    /// What is known once the file holds this, which it did not before.
    pub fn changed_to(&self, digest: Digest, at: u64) -> Self {
        let held = self.digest.map(|digest| Held {
            digest,
            since: self.changed,
        });
        // Before a content that nobody knows, nothing is known.
        let mut earlier = held.map_or_else(Vec::new, |held| {
            self.earlier.iter().copied().chain([held]).collect()
        });
        let surplus = earlier.len().saturating_sub(MAX_EARLIER);
        earlier.drain(..surplus);
        Self {
            digest: Some(digest),
            changed: Some(at),
            earlier,
        }
    }

    /// Whether a container that was created at some moment from the one to the other may have been created with something else than
    /// what the file holds now.
    pub fn is_outdated(&self, (earliest, latest): (u64, u64)) -> bool {
        let Some(mut end) = self.changed.filter(|changed| earliest <= *changed) else {
            return false;
        };
        for held in self.earlier.iter().rev() {
            let overlaps = earliest <= end && held.since.is_none_or(|since| latest >= since);
            if overlaps && Some(held.digest) != self.digest {
                return true;
            }
            match held.since {
                Some(since) if earliest <= since => end = since,
                _ => return false,
            }
        }
        true
    }
}

/// The profiles whose files the operator wrote or adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<ProfileName, LedgerEntry>);

/// The ledger's form on disk.
#[derive(Serialize, Deserialize)]
struct Document {
    /// For whoever opens the file.
    about: String,
    version: u32,
    profiles: BTreeMap<String, Recorded>,
}

#[derive(Serialize, Deserialize)]
struct Recorded {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<RecordedHeld>,
}

#[derive(Serialize, Deserialize)]
struct RecordedHeld {
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
}

/// Of any version: only what tells which.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The form of version 1: names alone.
#[derive(Deserialize)]
struct Names {
    profiles: Vec<String>,
}

impl Ledger {
    /// The ledger that lies in the folder; an empty one where there is none.
    pub fn load(folder: &OwnedFd) -> Result<Self, StoreError> {
        let file = match file::open(folder, FILE).map_err(in_ledger)? {
            Found::File(file) => file,
            Found::Unreadable(errno) => return at("open the file")(errno).map_err(in_ledger),
            Found::Nothing | Found::Other(_) => return Ok(Self::default()),
        };
        let mut bytes = Vec::new();
        file.take(MAX_SIZE)
            .read_to_end(&mut bytes)
            .map_err(io("read the file"))
            .map_err(in_ledger)?;
        Ok(Self::parse(&bytes))
    }

    /// Writes the ledger to the folder, for good.
    pub fn save(&self, folder: &OwnedFd) -> Result<(), StoreError> {
        file::publish(folder, FILE, &self.to_bytes(), RenameFlags::empty())
            .and_then(|()| rustix::fs::fsync(folder).or_else(at("sync the profiles folder")))
            .map_err(in_ledger)
    }

    /// Whether no ledger lies in the folder.
    pub fn is_lost(folder: &OwnedFd) -> Result<bool, StoreError> {
        let found = file::open(folder, FILE).map_err(in_ledger)?;
        Ok(matches!(found, Found::Nothing | Found::Other(_)))
    }

    /// Reads a ledger. One that cannot be read is empty: then our files are adopted again by their bytes, and nobody else's
    /// file is touched.
    pub fn parse(bytes: &[u8]) -> Self {
        let read = serde_json::from_slice(bytes).and_then(|Versioned { version }| match version {
            1 => {
                let Names { profiles } = serde_json::from_slice(bytes)?;
                let named = profiles
                    .iter()
                    .filter_map(|name| ProfileName::parse(name).ok());
                Ok(Self(
                    named.map(|name| (name, LedgerEntry::default())).collect(),
                ))
            }
            2 => {
                let Document { profiles, .. } = serde_json::from_slice(bytes)?;
                let entries = profiles.into_iter().filter_map(|(name, entry)| {
                    let digest = entry.digest.as_deref().and_then(Digest::parse);
                    let earlier = entry.earlier.into_iter().map(|held| {
                        Some(Held {
                            digest: Digest::parse(&held.digest)?,
                            since: held.since,
                        })
                    });
                    let entry = LedgerEntry {
                        digest,
                        changed: entry.changed,
                        // A gap would make what is left say more than is known.
                        earlier: earlier.collect::<Option<_>>().unwrap_or_default(),
                    };
                    Some((ProfileName::parse(&name).ok()?, entry))
                });
                Ok(Self(entries.collect()))
            }
            version => {
                warn!(
                    version,
                    "the ledger was written by another version and is not used"
                );
                Ok(Self::default())
            }
        });
        read.unwrap_or_else(|error| {
            warn!(
                error = chain(&error),
                "the ledger cannot be read and is begun anew"
            );
            Self::default()
        })
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let written = Document {
            about: "The files in this folder that seccomp-operator wrote. It touches no others."
                .into(),
            version: 2,
            profiles: self
                .0
                .iter()
                .map(|(name, entry)| {
                    let written = Recorded {
                        digest: entry.digest.map(|digest| digest.to_string()),
                        changed: entry.changed,
                        earlier: entry
                            .earlier
                            .iter()
                            .map(|held| RecordedHeld {
                                digest: held.digest.to_string(),
                                since: held.since,
                            })
                            .collect(),
                    };
                    (name.as_str().to_owned(), written)
                })
                .collect(),
        };
        // Strings and numbers always serialise.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &ProfileName> {
        self.0.keys()
    }

    /// Whether no file is ours.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of the profile's file, if it is ours.
    pub fn get(&self, name: &ProfileName) -> Option<&LedgerEntry> {
        self.0.get(name)
    }

    /// Says what is known of the profile's file, which is ours; whether that is news.
    pub fn set(&mut self, name: &ProfileName, entry: LedgerEntry) -> bool {
        if self.0.get(name) == Some(&entry) {
            return false;
        }
        self.0.insert(name.clone(), entry);
        true
    }

    /// Drops a name; whether it was there.
    pub fn drop(&mut self, name: &ProfileName) -> bool {
        self.0.remove(name).is_some()
    }
}

fn in_ledger(error: StoreError) -> StoreError {
    StoreError::Ledger(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ledger: &Ledger) -> Vec<&str> {
        ledger.names().map(ProfileName::as_str).collect()
    }

    #[test]
    fn a_ledger_reads_back_as_it_was_written() {
        let mut ledger = Ledger::default();
        let known = LedgerEntry {
            digest: Some(Digest::from_content(b"a")),
            changed: Some(1_800_000_000),
            earlier: vec![Held {
                digest: Digest::from_content(b"b"),
                since: None,
            }],
        };
        let (a, b) = (
            ProfileName::parse("a").unwrap(),
            ProfileName::parse("b").unwrap(),
        );
        assert!(ledger.set(&a, known.clone()) && ledger.set(&b, LedgerEntry::default()));
        assert!(!ledger.set(&a, known));
        assert_eq!(Ledger::parse(&ledger.to_bytes()), ledger);
    }

    #[test]
    fn a_container_is_outdated_unless_all_that_it_may_have_been_created_with_is_what_is_there_now()
    {
        let digest = |content: &str| Digest::from_content(content.as_bytes());
        let first = LedgerEntry {
            digest: Some(digest("a")),
            ..LedgerEntry::default()
        };
        assert!(!first.is_outdated((0, 2)));
        let second = first.changed_to(digest("b"), 100);
        for (created, outdated) in [
            ((1, 3), true),
            ((99, 101), true),
            ((100, 102), true),
            ((101, 103), false),
        ] {
            assert_eq!(second.is_outdated(created), outdated, "{created:?}");
        }
        let back = second.changed_to(digest("a"), 200);
        for (created, outdated) in [
            ((1, 3), false),
            ((97, 99), false),
            ((98, 100), true),
            ((150, 152), true),
            ((200, 202), true),
            ((201, 203), false),
        ] {
            assert_eq!(back.is_outdated(created), outdated, "{created:?}");
        }
        // What was there before the first that is known may have been anything.
        let unknown = LedgerEntry {
            digest: None,
            changed: Some(50),
            ..LedgerEntry::default()
        };
        let known = unknown.changed_to(digest("a"), 100);
        assert_eq!(known.earlier, []);
        let again = known
            .changed_to(digest("b"), 200)
            .changed_to(digest("a"), 300);
        assert!(again.is_outdated((99, 101)) && !again.is_outdated((101, 103)));
        let many = (1..100).fold(first, |entry, n| {
            entry.changed_to(digest(&n.to_string()), n * 10)
        });
        assert_eq!(many.earlier.len(), MAX_EARLIER);
        assert!(many.is_outdated((1, 3)));
    }

    #[test]
    fn names_that_could_lead_out_of_the_folder_are_not_taken_from_a_ledger() {
        for bytes in [
            br#"{"about":"","version":1,"profiles":["../../etc/passwd","ok"]}"#.as_slice(),
            br#"{"about":"","version":2,"profiles":{"../../etc/passwd":{},"ok":{"digest":"no"}}}"#,
        ] {
            let ledger = Ledger::parse(bytes);
            assert_eq!(names(&ledger), ["ok"]);
            assert_eq!(
                ledger.get(&ProfileName::parse("ok").unwrap()),
                Some(&LedgerEntry::default())
            );
        }
    }

    #[test]
    fn an_unreadable_ledger_is_empty() {
        for bytes in [
            &b""[..],
            b"{",
            br#"{"about":"","version":3,"profiles":["a"]}"#,
            br#"{"about":"","version":2,"profiles":["a"]}"#,
        ] {
            assert_eq!(Ledger::parse(bytes), Ledger::default());
        }
    }
}
