//! Which files in the profiles folder are ours, what they hold, and since when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::content::Digest;
use kube_support::error::chain;
use seccomp_operator_api::ProfileName;

/// What is known of one of our files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it was last seen to hold.
    pub digest: Option<Digest>,
    /// When it came to hold that instead of something else, in seconds since 1970. None: it never held anything else, as far as
    /// is known, so that no container can have been created with anything else.
    pub changed: Option<u64>,
}

/// The profiles whose files the operator wrote or adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<ProfileName, Entry>);

/// The ledger's form on disk.
#[derive(Serialize, Deserialize)]
struct Written {
    /// For whoever opens the file.
    about: String,
    version: u32,
    profiles: BTreeMap<String, WrittenEntry>,
}

#[derive(Serialize, Deserialize)]
struct WrittenEntry {
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
    /// Reads a ledger. One that cannot be read is empty: then our files are adopted again by their bytes, and nobody else's
    /// file is touched.
    pub fn parse(bytes: &[u8]) -> Self {
        let read = serde_json::from_slice(bytes).and_then(|Versioned { version }| match version {
            1 => {
                let Names { profiles } = serde_json::from_slice(bytes)?;
                let named = profiles
                    .iter()
                    .filter_map(|name| ProfileName::parse(name).ok());
                Ok(Self(named.map(|name| (name, Entry::default())).collect()))
            }
            2 => {
                let Written { profiles, .. } = serde_json::from_slice(bytes)?;
                let entries = profiles.into_iter().filter_map(|(name, entry)| {
                    let digest = entry.digest.as_deref().and_then(Digest::parse);
                    let changed = entry.changed;
                    Some((ProfileName::parse(&name).ok()?, Entry { digest, changed }))
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
        let written = Written {
            about: "The files in this folder that seccomp-operator wrote. It touches no others."
                .into(),
            version: 2,
            profiles: self
                .0
                .iter()
                .map(|(name, entry)| {
                    let written = WrittenEntry {
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
    pub fn get(&self, name: &ProfileName) -> Option<Entry> {
        self.0.get(name).copied()
    }

    /// Says what is known of the profile's file, which is ours; whether that is news.
    pub fn set(&mut self, name: &ProfileName, entry: Entry) -> bool {
        self.0.insert(name.clone(), entry) != Some(entry)
    }

    /// Drops a name; whether it was there.
    pub fn drop(&mut self, name: &ProfileName) -> bool {
        self.0.remove(name).is_some()
    }
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
        let known = Entry {
            digest: Some(Digest::of(b"a")),
            changed: Some(1_800_000_000),
        };
        let (a, b) = (
            ProfileName::parse("a").unwrap(),
            ProfileName::parse("b").unwrap(),
        );
        assert!(ledger.set(&a, known) && ledger.set(&b, Entry::default()));
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
                Some(Entry::default())
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
