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

/// What is known of one of our files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What it was last seen to hold.
    pub digest: Option<Digest>,
    /// When it came to hold that instead of something else, in seconds since 1970. None: it never held anything else, as far as
    /// is known, so that no container can have been created with anything else.
    pub changed: Option<u64>,
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
                    let changed = entry.changed;
                    Some((
                        ProfileName::parse(&name).ok()?,
                        LedgerEntry { digest, changed },
                    ))
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
    pub fn get(&self, name: &ProfileName) -> Option<LedgerEntry> {
        self.0.get(name).copied()
    }

    /// Says what is known of the profile's file, which is ours; whether that is news.
    pub fn set(&mut self, name: &ProfileName, entry: LedgerEntry) -> bool {
        self.0.insert(name.clone(), entry) != Some(entry)
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
        };
        let (a, b) = (
            ProfileName::parse("a").unwrap(),
            ProfileName::parse("b").unwrap(),
        );
        assert!(ledger.set(&a, known) && ledger.set(&b, LedgerEntry::default()));
        assert!(!ledger.set(&a, known));
        assert_eq!(Ledger::parse(&ledger.to_bytes()), ledger);
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
                Some(LedgerEntry::default())
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
