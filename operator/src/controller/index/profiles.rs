//! The profiles: which generation each is at, and which version a node has to have applied to have it.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use super::{Accepted, Index, Kind};
use seccomp_operator_api::{OnTrial, ProfileName, SeccompProfileStatus};
use seccomp_profile::{Arch, Defined, Runtime, Startup, Undefined};

/// A SeccompProfile as the watch saw it.
#[derive(Clone, Debug, Default)]
pub struct SeenProfile {
    /// The object's uid.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// Its resource version, as a number.
    pub version: u64,
    /// The labels of the nodes that should have it; empty for all nodes.
    pub node_selector: BTreeMap<String, String>,
    /// Its next version, if one is on trial.
    pub trial: Option<OnTrial>,
    /// Its status, as it is now.
    pub status: SeccompProfileStatus,
    /// Its finalizers.
    pub finalizers: Vec<String>,
    /// Somebody has deleted it, and finalizers keep it.
    pub deleting: bool,
}

#[derive(Debug)]
pub(super) struct Profile {
    pub(super) seen: SeenProfile,
    /// Where the current generation of its own spec appeared.
    pub(super) revision: u64,
    /// What a node has to have applied to have its current meaning: the latest of its own revision and those of all that it derives
    /// from.
    pub(super) required_version: u64,
    /// What the spec means, or a sentence that says what is wrong with it: worked out when somebody asks, and forgotten when it or
    /// something that it derives from changes.
    pub(super) verdict: OnceCell<Result<Accepted, String>>,
    /// Whether containers start under it, by the nodes' architecture: the same.
    pub(super) startups: RefCell<BTreeMap<Arch, Vec<(Runtime, Startup)>>>,
}

impl Index {
    /// Whether the spec of this form is another than the one that is known.
    #[must_use]
    pub fn is_new(&self, name: &str, seen: &SeenProfile) -> bool {
        self.profiles.get(name).is_none_or(|known| {
            known.seen.uid != seen.uid || known.seen.generation != seen.generation
        })
    }

    /// A profile exists in this form. `define` is called only when its spec is new.
    pub fn profile(&mut self, name: &str, seen: SeenProfile, define: impl FnOnce() -> Defined) {
        self.listings[Kind::Profile as usize].saw(name);
        let new = self.is_new(name, &seen);
        let known = self.profiles.remove(name);
        if let Some(known) = &known {
            self.by_required_version
                .remove(&(known.required_version, name.to_owned()));
        }
        // A status that speaks of another generation, or was written for another object of this name, says nothing here.
        let same = known
            .as_ref()
            .is_none_or(|known| known.seen.uid == seen.uid);
        let current = seen.status.observed_generation == Some(seen.generation);
        let told = seen
            .status
            .revision
            .as_deref()
            .and_then(|text| text.parse().ok());
        let told = told.filter(|_| same && current);
        let known = known.filter(|_| !new);
        let before = known.as_ref().map(|known| known.revision);
        let revision = told.or(before).unwrap_or(seen.version);
        let required_version = known
            .as_ref()
            .map_or(revision, |known| known.required_version);
        let (verdict, startups) = known
            .map(|known| (known.verdict, known.startups))
            .unwrap_or_default();
        let profile = Profile {
            seen,
            revision,
            required_version,
            verdict,
            startups,
        };
        self.by_required_version
            .insert((profile.required_version, name.to_owned()));
        self.profiles.insert(name.to_owned(), profile);
        if new {
            self.bases_dirty(name);
            let defined = ProfileName::parse(name).map_err(|error| error.to_string());
            let defined = defined.map_err(Undefined::from);
            self.library.define(name, defined.and_then(|_| define()));
            self.bases_dirty(name);
        }
        if new || before != Some(revision) {
            self.moved(name);
        }
        self.dirty.insert(name.to_owned());
    }

    /// A profile's spec or revision is another, or it is gone: what derives from it has changed with it.
    pub(super) fn moved(&mut self, name: &str) {
        let dependants = self.library.affected(name);
        let moved: Vec<_> = dependants
            .into_iter()
            .chain([name])
            .map(|name| (name.to_owned(), self.required_version(name)))
            .collect();
        for (name, required_version) in moved {
            let Some(profile) = self.profiles.get_mut(&name) else {
                continue;
            };
            self.by_required_version
                .remove(&(profile.required_version, name.clone()));
            self.by_required_version
                .insert((required_version, name.clone()));
            profile.required_version = required_version;
            profile.verdict.take();
            profile.startups.take();
            self.dirty.insert(name);
        }
    }

    /// What a profile derives from is held while it is used, and no longer.
    pub(super) fn bases_dirty(&mut self, name: &str) {
        if self.uses(name).next().is_some() {
            let bases: Vec<_> = self.library.bases(name).map(str::to_owned).collect();
            self.dirty.extend(bases);
        }
    }

    /// The latest of the revisions of a profile and of all that it derives from.
    fn required_version(&self, name: &str) -> u64 {
        let chain = self.library.bases(name).chain([name]);
        let revisions = chain.filter_map(|name| Some(self.profiles.get(name)?.revision));
        revisions.max().unwrap_or_default()
    }

    /// What a node has to have applied to have everything.
    pub(super) fn newest_version(&self) -> u64 {
        self.by_required_version
            .last()
            .map_or(0, |(version, _)| *version)
    }
}
