//! Which files in the profiles folder are ours.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::api::ProfileName;
use crate::logging::chain;

/// The names of the profiles whose files the operator wrote or adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(BTreeSet<ProfileName>);

/// The ledger's form on disk.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    /// For whoever opens the file.
    about: &'a str,
    version: u32,
    profiles: Vec<String>,
}

impl Ledger {
    /// Reads a ledger. One that cannot be read is empty: then our files are adopted again by their bytes, and nobody else's
    /// file is touched.
    pub fn parse(bytes: &[u8]) -> Self {
        match serde_json::from_slice::<Written<'_>>(bytes) {
            Ok(written) if written.version == 1 => Self(
                written
                    .profiles
                    .iter()
                    .filter_map(|name| ProfileName::parse(name).ok())
                    .collect(),
            ),
            Ok(written) => {
                warn!(
                    version = written.version,
                    "the ledger was written by another version and is not used"
                );
                Self::default()
            }
            Err(error) => {
                warn!(
                    error = chain(&error),
                    "the ledger cannot be read and is begun anew"
                );
                Self::default()
            }
        }
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let written = Written {
            about: "The files in this folder that seccomp-operator wrote. It touches no others.",
            version: 1,
            profiles: self.0.iter().map(|name| name.as_str().to_owned()).collect(),
        };
        // Strings and a number always serialise.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// All names.
    pub fn names(&self) -> &BTreeSet<ProfileName> {
        &self.0
    }

    /// Whether the profile's file is ours.
    pub fn contains(&self, name: &ProfileName) -> bool {
        self.0.contains(name)
    }

    /// Adds names; whether any was new.
    pub fn extend(&mut self, names: impl Iterator<Item = ProfileName>) -> bool {
        let before = self.0.len();
        self.0.extend(names);
        self.0.len() != before
    }

    /// Drops names; whether any was there.
    pub fn drop_all<'a>(&mut self, names: impl Iterator<Item = &'a ProfileName>) -> bool {
        let before = self.0.len();
        for name in names {
            self.0.remove(name);
        }
        self.0.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_reads_back_as_it_was_written() {
        let mut ledger = Ledger::default();
        assert!(
            ledger.extend(
                ["a", "b"]
                    .into_iter()
                    .map(|n| ProfileName::parse(n).unwrap())
            )
        );
        assert_eq!(Ledger::parse(&ledger.to_bytes()), ledger);
    }

    #[test]
    fn names_that_could_lead_out_of_the_folder_are_not_taken_from_a_ledger() {
        let ledger =
            Ledger::parse(br#"{"about":"","version":1,"profiles":["../../etc/passwd","ok"]}"#);
        assert_eq!(
            ledger
                .names()
                .iter()
                .map(ProfileName::as_str)
                .collect::<Vec<_>>(),
            ["ok"]
        );
    }

    #[test]
    fn an_unreadable_ledger_is_empty() {
        for bytes in [
            &b""[..],
            b"{",
            br#"{"about":"","version":2,"profiles":["a"]}"#,
        ] {
            assert_eq!(Ledger::parse(bytes), Ledger::default());
        }
    }
}
