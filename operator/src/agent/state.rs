//! What this node should have, what it has, and what to say of it: a pure state, fed by the watch.
//!
//! It decides which edits the store should make and what the SeccompNode should say. It does no I/O and knows no clock.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;
use super::observed::Observed;
use super::store::{Done, Edit, StoreError};
use super::usage::Use;
use kube_support::Listing;
use seccomp_operator_api::{
    NodeFailure, NodeUse, PodReference, ProfileName, labels_digest, selects,
};

/// What the SeccompNode should say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Every change of the profile list up to this resource version is on the disk, or among the failures.
    pub applied_version: u64,
    /// What is not as it should be, by profile name.
    pub failures: Vec<NodeFailure>,
    /// Which profiles pods here use, by profile name.
    pub in_use: Vec<NodeUse>,
    /// The digest of the Node's labels that this was decided by, if any profile asks for labels.
    pub labels_digest: Option<String>,
    /// The agent ends once this is published.
    pub last: bool,
}

/// What the node should have of one profile.
#[derive(Debug)]
struct Wanted {
    uid: String,
    generation: i64,
    selector: BTreeMap<String, String>,
    adopt: bool,
    /// What the file should hold; the last good content when the newest generation cannot be rendered.
    content: Option<Content>,
    /// Why the newest generation cannot be rendered.
    invalid: Option<String>,
    /// Why the file is not as it should be.
    failed: Option<NodeFailure>,
    /// The file has held the content since it was wanted.
    settled: bool,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct State {
    wanted: BTreeMap<ProfileName, Wanted>,
    /// The Node's labels, once they are known.
    labels: Option<BTreeMap<String, String>>,
    /// The profiles that pods here use, once they are known.
    used: Option<BTreeMap<ProfileName, Use>>,
    listing: Listing,
    /// The files that somebody else keeps changing, and how often they were put right at least.
    tampered: BTreeMap<ProfileName, u64>,
    /// Why the files are not where kubelet looks for them.
    displaced: Option<String>,
    /// Removals that did not succeed.
    unremoved: BTreeMap<ProfileName, NodeFailure>,
    /// Profiles that mean something else now, perhaps, and have to be rendered.
    stale: BTreeSet<ProfileName>,
    /// Names whose file has to be looked at.
    due: BTreeSet<ProfileName>,
    /// The newest resource version since the last full list began.
    newest: u64,
    /// The version last reported, and whether it has to move: only changes that matter to somebody move it, so that the
    /// controller's own status writes do not echo back from every node.
    applied_version: u64,
    version_due: bool,
}

impl State {
    /// A full list begins.
    pub fn list_begins(&mut self) {
        self.listing.begins();
        self.newest = 0;
    }

    /// A full list has ended: profiles that were not in it are gone, and named.
    pub fn list_ends(&mut self) -> Vec<ProfileName> {
        self.version_due |= !self.listing.is_complete();
        let known = self.wanted.keys().map(ProfileName::as_str);
        let gone = self.listing.ends(known);
        let gone: Vec<_> = gone
            .iter()
            .filter_map(|name| ProfileName::parse(name).ok())
            .collect();
        for name in &gone {
            self.deleted(name);
        }
        gone
    }

    /// Whether all profiles are known.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listing.is_complete()
    }

    /// A profile exists in this form. Says whether its spec is new, and then it is stale.
    pub fn exists(&mut self, name: &ProfileName, seen: Observed) -> bool {
        self.newest = self.newest.max(seen.version);
        self.listing.saw(name.as_str());
        // The controller waits for this node to have applied a version that it has not reported yet. Normally it has; but
        // a controller that was away when the profile changed can only name a later version.
        self.version_due |= seen.revision > self.applied_version;
        let known = self.wanted.get_mut(name);
        if let Some(known) = known
            && known.uid == seen.uid
            && known.generation == seen.generation
        {
            // An annotation does not make a new generation.
            if std::mem::replace(&mut known.adopt, seen.adopt) != seen.adopt {
                self.due.insert(name.clone());
            }
            return false;
        }
        let known = self.wanted.remove(name);
        let wanted = Wanted {
            uid: seen.uid,
            generation: seen.generation,
            selector: seen.selector,
            adopt: seen.adopt,
            content: known.and_then(|known| known.content),
            invalid: None,
            failed: None,
            settled: false,
        };
        self.wanted.insert(name.clone(), wanted);
        self.unremoved.remove(name);
        self.stale.insert(name.clone());
        self.version_due = true;
        true
    }

    /// What these profiles derive from has changed.
    pub fn stale<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let names = names
            .into_iter()
            .filter_map(|name| ProfileName::parse(name).ok());
        self.stale
            .extend(names.filter(|name| self.wanted.contains_key(name)));
    }

    /// A profile that has to be rendered; each is named once.
    pub fn next_stale(&mut self) -> Option<ProfileName> {
        self.stale.pop_first()
    }

    /// What a profile's file should hold, or a sentence that says why nothing.
    pub fn rendered(&mut self, name: &ProfileName, content: Result<Vec<u8>, String>) {
        let Some(wanted) = self.wanted.get_mut(name) else {
            return;
        };
        match content {
            Ok(bytes) => {
                let content = Content::new(&bytes);
                if wanted.content.as_ref() != Some(&content) {
                    wanted.content = Some(content);
                    wanted.settled = false;
                }
                wanted.invalid = None;
            }
            // The last good file is worth more than none: a pod that restarts now would otherwise not start.
            Err(sentence) => wanted.invalid = Some(sentence),
        }
        self.due.insert(name.clone());
    }

    /// A profile is gone.
    pub fn deleted(&mut self, name: &ProfileName) {
        if self.wanted.remove(name).is_some() {
            self.stale.remove(name);
            self.due.insert(name.clone());
        }
    }

    /// The Node has these labels.
    pub fn labels(&mut self, labels: BTreeMap<String, String>) {
        if self.labels.as_ref() != Some(&labels) {
            self.labels = Some(labels);
            let selecting = self
                .wanted
                .iter()
                .filter(|(_, wanted)| !wanted.selector.is_empty());
            self.due.extend(selecting.map(|(name, _)| name.clone()));
        }
    }

    /// Whether any profile asks for labels, so that the Node's have to be known.
    #[must_use]
    pub fn needs_labels(&self) -> bool {
        self.wanted
            .values()
            .any(|wanted| !wanted.selector.is_empty())
    }

    /// Somebody else keeps changing these files.
    pub fn tampered(&mut self, tampered: BTreeMap<ProfileName, u64>) {
        self.tampered = tampered;
    }

    /// The files are not where kubelet looks for them, for this reason.
    pub fn displaced(&mut self, what: String) {
        self.displaced = Some(what);
    }

    /// Pods here use these profiles.
    pub fn used(&mut self, used: BTreeMap<ProfileName, Use>) {
        self.used = Some(used);
    }

    /// Whether a file of this profile belongs here. None: that cannot be told before the Node's labels are known.
    fn belongs(&self, wanted: &Wanted) -> Option<bool> {
        if wanted.selector.is_empty() {
            return Some(true);
        }
        let labels = self.labels.as_ref()?;
        Some(selects(&wanted.selector, labels))
    }

    /// Whether the profile's file, which is ours, has nothing to do here any more.
    fn is_orphan(&self, name: &ProfileName) -> bool {
        match self.wanted.get(name) {
            Some(wanted) => self.belongs(wanted) == Some(false),
            // Before the first full list, what is not known may be there all the same.
            None => self.listing.is_complete(),
        }
    }

    /// The object's uid, of a profile that exists.
    #[must_use]
    pub fn uid(&self, name: &ProfileName) -> Option<&str> {
        self.wanted.get(name).map(|wanted| wanted.uid.as_str())
    }

    /// A file of this name was touched by somebody, perhaps by us.
    pub fn touched(&mut self, name: &ProfileName) {
        if self.wanted.contains_key(name) {
            self.due.insert(name.clone());
        }
    }

    /// Everything should be compared with the disk.
    pub fn resync(&mut self) {
        self.due.extend(self.wanted.keys().cloned());
        self.due.extend(self.unremoved.keys().cloned());
    }

    /// What failed should be tried again.
    pub fn retry(&mut self) {
        let failed = self
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.failed.is_some())
            .map(|(name, _)| name.clone());
        self.due.extend(failed);
        self.due.extend(self.unremoved.keys().cloned());
    }

    /// Whether [`retry`](Self::retry) would do anything.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        !self.unremoved.is_empty() || self.wanted.values().any(|wanted| wanted.failed.is_some())
    }

    /// The edits that are due. `owned` are the profiles whose files are ours: once the full list is known, those that have
    /// nothing to do here are removed, but for what a pod uses, or may use as long as the pods are not known.
    pub fn edits(&mut self, owned: &BTreeSet<ProfileName>) -> Vec<Edit> {
        let due = std::mem::take(&mut self.due);
        let write = |name: ProfileName| {
            let wanted = self.wanted.get(&name)?;
            let belongs = self.belongs(wanted) == Some(true);
            let content = wanted.content.clone().filter(|_| belongs)?;
            let adopt = wanted.adopt;
            Some(Edit::Write {
                name,
                content,
                adopt,
            })
        };
        let unused = |name: &&ProfileName| {
            let used = self.used.as_ref();
            used.is_some_and(|used| !used.contains_key(*name))
        };
        let orphans = owned.iter().filter(|name| self.is_orphan(name));
        let removals = orphans.filter(unused).cloned().map(Edit::Remove);
        due.into_iter().filter_map(write).chain(removals).collect()
    }

    /// What came of the edits. Gives the profiles whose file had been right, and had to be put right again.
    pub fn record<'a>(
        &mut self,
        edits: &'a [Edit],
        outcomes: &[Result<Done, StoreError>],
    ) -> Vec<&'a ProfileName> {
        let mut repaired = Vec::new();
        for (edit, outcome) in edits.iter().zip(outcomes) {
            let name = edit.name();
            let failure = |error: &StoreError| {
                let reason = match (error, edit) {
                    (error, _) if error.is_foreign_file() => NodeFailure::CONFLICT,
                    (StoreError::Obstacle(_), _) => NodeFailure::OBSTACLE,
                    (_, Edit::Write { .. }) => NodeFailure::WRITE_FAILED,
                    (_, Edit::Remove(_)) => "RemoveFailed",
                };
                NodeFailure {
                    profile: name.as_str().into(),
                    reason: reason.into(),
                    message: error.to_string(),
                }
            };
            let failure = outcome.as_ref().err().map(failure);
            let wanted = self.wanted.get_mut(name);
            match (edit, wanted, failure) {
                (Edit::Write { .. }, Some(wanted), failure) => {
                    if wanted.settled && matches!(outcome, Ok(Done::Written)) {
                        repaired.push(name);
                    }
                    wanted.settled |= failure.is_none();
                    wanted.failed = failure;
                    self.unremoved.remove(name);
                }
                (Edit::Write { .. }, None, _) => {}
                (Edit::Remove(_), wanted, failure) => {
                    // Should it belong here again one day, it begins anew.
                    if let Some(wanted) = wanted {
                        (wanted.settled, wanted.failed) = (false, None);
                    }
                    match failure {
                        Some(failure) => self.unremoved.insert(name.clone(), failure),
                        None => self.unremoved.remove(name),
                    };
                }
            }
        }
        repaired
    }

    /// Whether the node has dealt with every profile there is.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        let known = self.labels.is_some() || !self.needs_labels();
        let idle = self.stale.is_empty() && self.due.is_empty();
        self.listing.is_complete() && !self.listing.is_open() && known && idle
    }

    /// How many profiles the node should have, and of how many it has the newest generation.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let ready = |wanted: &&Wanted| {
            self.displaced.is_none()
                && wanted.settled
                && wanted.invalid.is_none()
                && wanted.failed.is_none()
        };
        (
            self.wanted.len(),
            self.wanted.values().filter(ready).count(),
        )
    }

    /// What to say now; nothing before the first full list of profiles, and of pods: what pods use must not seem to be
    /// unused. `owned` are the profiles whose files are ours. Call it when nothing is stale and no edit is due.
    pub fn report(&mut self, owned: &BTreeSet<ProfileName>) -> Option<NodeReport> {
        if !self.listing.is_complete() || self.used.is_none() {
            return None;
        }
        // A list comes in the order of names, not of versions: before its end, what was seen says nothing of the rest.
        if self.version_due && !self.listing.is_open() {
            self.applied_version = self.newest;
            self.version_due = false;
        }
        let of_wanted = self.wanted.iter().filter_map(|(name, wanted)| {
            self.belongs(wanted).filter(|belongs| *belongs)?;
            let displaced = |what: &String| NodeFailure {
                profile: name.as_str().into(),
                reason: NodeFailure::FOLDER_REPLACED.into(),
                message: format!(
                    "{what}: pods do not find {}. The agent starts anew, and writes it into the folder that is there now",
                    name.file_name()
                ),
            };
            if let Some(what) = &self.displaced {
                return Some(displaced(what));
            }
            let invalid = |message: String| NodeFailure {
                profile: name.as_str().into(),
                reason: "Invalid".into(),
                message,
            };
            let tampered = || {
                let repairs = self.tampered.get(name)?;
                Some(NodeFailure {
                    profile: name.as_str().into(),
                    reason: NodeFailure::TAMPERED.into(),
                    message: format!(
                        "somebody else keeps changing {}: it was put right at least {repairs} times; pods that start in between run \
                         with what they find. Find who writes there, mostly an older way of distributing profiles",
                        name.file_name()
                    ),
                })
            };
            let failed = wanted.failed.clone().or_else(tampered);
            wanted.invalid.clone().map(invalid).or(failed)
        });
        let mut failures: Vec<_> = of_wanted.chain(self.unremoved.values().cloned()).collect();
        failures.sort_by(|a, b| a.profile.cmp(&b.profile));
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        // A pod may name a file that has nothing to do with us.
        let ours = |name: &ProfileName| self.wanted.contains_key(name) || owned.contains(name);
        let used = self.used.iter().flatten().filter(|(name, _)| ours(name));
        let in_use = used.map(|(name, found)| NodeUse {
            profile: name.as_str().into(),
            pods: count(found.pods),
            outdated: count(found.outdated),
            outdated_pods: (found.outdated_pods.iter())
                .map(|(namespace, name)| PodReference {
                    namespace: namespace.clone(),
                    name: name.clone(),
                })
                .collect(),
            pending_removal: owned.contains(name) && self.is_orphan(name),
        });
        let labels = self.labels.as_ref().filter(|_| self.needs_labels());
        Some(NodeReport {
            applied_version: self.applied_version,
            failures,
            in_use: in_use.collect(),
            labels_digest: labels.map(labels_digest),
            last: false,
        })
    }
}

#[cfg(test)]
mod tests;
