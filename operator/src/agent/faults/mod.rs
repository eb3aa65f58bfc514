//! What can go wrong with a disk, with the process and with those who share the folder, made to happen to the real store.
//!
//! Afterwards every published file is whole (the old one or the new one), nobody else's file was touched, the report says what
//! happened, and once the fault is gone everything is as it should be. This file has what the tests share.

mod calls;
mod disk;
mod hang;
mod others;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::content::Content;
use super::observed::Observed;
use super::state::State;
use super::store::ledger::{FILE as LEDGER, Ledger};
use super::store::{Edit, Store};
use seccomp_operator_api::{NodeFailure, ProfileName};

const PROFILES: &str = "profiles";

/// A folder in memory: what a killed process wrote is the kernel's already, so that no disk is needed.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn named(name: &str) -> ProfileName {
    ProfileName::parse(name).unwrap()
}

/// What a profile's file holds in a generation: long, and all of it says which it is.
fn text(name: &str, generation: u32) -> String {
    format!("{name} {generation}\n").repeat(2000)
}

fn put(name: &str, generation: u32) -> Edit {
    Edit::Write {
        name: named(name),
        content: Content::new(text(name, generation).as_bytes()),
        adopt: false,
    }
}

fn remove(name: &str) -> Edit {
    Edit::Remove(named(name))
}

/// A seccomp folder.
#[derive(Clone)]
struct Folder(PathBuf);

impl Folder {
    fn store(&self) -> Store {
        Store::new(&self.0, Path::new(PROFILES))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(PROFILES).join(file)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(&format!("{name}.json"))).ok()
    }

    /// The generation that a profile's file holds, whole; none if there is no file.
    fn generation(&self, name: &str) -> Option<u32> {
        let held = self.read(name)?;
        let generation = held.split_whitespace().nth(1).and_then(|n| n.parse().ok());
        let whole = generation.is_some_and(|generation| held == text(name, generation));
        assert!(whole, "{name} is half-written: {} bytes", held.len());
        generation
    }

    /// Every name in the profiles folder.
    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// What the ledger says is ours.
    fn ledger(&self) -> BTreeSet<String> {
        let Ok(bytes) = fs::read(self.path(LEDGER)) else {
            return BTreeSet::new();
        };
        let whole = serde_json::from_slice::<serde_json::Value>(&bytes);
        assert!(whole.is_ok(), "the ledger is half-written");
        let ledger = Ledger::parse(&bytes);
        ledger.names().map(|name| name.as_str().into()).collect()
    }
}

/// The store with the state that drives it: what a node reports.
struct Node {
    state: State,
    store: Store,
    owned: BTreeSet<ProfileName>,
    version: u64,
}

impl Node {
    fn new(folder: &Folder) -> Self {
        let mut node = Self {
            state: State::default(),
            store: folder.store(),
            owned: BTreeSet::new(),
            version: 1,
        };
        node.state.list_begins();
        node.state.list_ends();
        node.state.used(BTreeMap::new());
        node
    }

    /// The profile is wanted in this generation.
    fn want(&mut self, name: &str, generation: u32) {
        self.version += 1;
        let name = named(name);
        let observed = Observed {
            uid: "u".into(),
            generation: generation.into(),
            version: self.version,
            revision: 0,
            selector: BTreeMap::new(),
            adopt: false,
        };
        self.state.exists(&name, observed);
        while let Some(name) = self.state.next_stale() {
            let bytes = text(name.as_str(), generation).into_bytes();
            self.state.rendered(&name, Ok(bytes));
        }
    }

    /// Does what is due, what failed too, and says what the node reports.
    fn settle(&mut self) -> Vec<NodeFailure> {
        self.state.retry();
        let edits = self.state.edits(&self.owned);
        let outcomes = self.store.apply(&edits);
        self.state.record(&edits, &outcomes);
        self.owned = self.store.owned();
        self.state.report(&self.owned).unwrap().failures
    }
}

/// The only failure, of this profile, in a sentence that begins so.
fn assert_failure(failures: &[NodeFailure], profile: &str, reason: &str, begins: &str) {
    let [failure] = failures else {
        panic!("{failures:?}")
    };
    assert_eq!(
        (failure.profile.as_str(), failure.reason.as_str()),
        (profile, reason)
    );
    assert!(failure.message.starts_with(begins), "{}", failure.message);
}
