//! What this node should have, what it has, and what to say of it: a pure state, fed by the watch.
//!
//! It decides which edits the store should make and what the SeccompNode should say. It does no I/O and knows no clock.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;
use super::store::{Done, Edit, StoreError};
use super::usage::Use;
use kube_support::Listing;
use seccomp_operator_api::{NodeFailure, NodeUse, ProfileName, labels_digest, selects};

/// A profile as the watch saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The object's uid: a profile made again under the same name is another profile.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// The object's resource version, as a number; see `kubernetes::resource_version`.
    pub version: u64,
    /// The `status.revision` of that generation, once the controller has given one.
    pub revision: u64,
    /// Labels that a node must have to get the profile.
    pub selector: BTreeMap<String, String>,
    /// Somebody else's file of the profile's name is to be overwritten.
    pub adopt: bool,
}

/// What the SeccompNode should say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The resource version that this node is level with.
    pub level: u64,
    /// What is not as it should be, by profile name.
    pub failures: Vec<NodeFailure>,
    /// Which profiles pods here use, by profile name.
    pub in_use: Vec<NodeUse>,
    /// The digest of the Node's labels that this was decided by, if any profile asks for labels.
    pub labels_digest: Option<String>,
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
    /// Removals that did not succeed.
    unremoved: BTreeMap<ProfileName, NodeFailure>,
    /// Profiles that mean something else now, perhaps, and have to be rendered.
    stale: BTreeSet<ProfileName>,
    /// Names whose file has to be looked at.
    due: BTreeSet<ProfileName>,
    /// The newest resource version since the last full list began.
    newest: u64,
    /// The level last reported, and whether it has to move: only changes that matter to somebody move it, so that the
    /// controller's own status writes do not echo back from every node.
    level: u64,
    level_due: bool,
}

impl State {
    /// A full list begins.
    pub fn list_begins(&mut self) {
        self.listing.begins();
        self.newest = 0;
    }

    /// A full list has ended: profiles that were not in it are gone, and named.
    pub fn list_ends(&mut self) -> Vec<ProfileName> {
        self.level_due |= !self.listing.is_complete();
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

    /// A profile exists in this form. Says whether its spec is new, and then it is stale.
    pub fn exists(&mut self, name: &ProfileName, seen: Seen) -> bool {
        self.newest = self.newest.max(seen.version);
        self.listing.saw(name.as_str());
        // The controller waits for this node to be level with a version that it has not reported yet. Normally it has; but
        // a controller that was away when the profile changed can only name a later version.
        self.level_due |= seen.revision > self.level;
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
        self.level_due = true;
        true
    }

    /// What these profiles stand on has changed.
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
                    (StoreError::Conflict | StoreError::Obstacle(_), _) => "Conflict",
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
    pub fn is_level(&self) -> bool {
        let known = self.labels.is_some() || !self.needs_labels();
        let idle = self.stale.is_empty() && self.due.is_empty();
        self.listing.is_complete() && !self.listing.is_open() && known && idle
    }

    /// How many profiles the node should have, and of how many it has the newest generation.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let ready = |wanted: &&Wanted| {
            wanted.settled && wanted.invalid.is_none() && wanted.failed.is_none()
        };
        (
            self.wanted.len(),
            self.wanted.values().filter(ready).count(),
        )
    }

    /// What to say now; nothing before the first full list of profiles, and of pods: what pods use must not seem to be
    /// unused. `owned` are the profiles whose files are ours. Call it when nothing is stale and no edit is due.
    pub fn report(&mut self, owned: &BTreeSet<ProfileName>) -> Option<Report> {
        if !self.listing.is_complete() || self.used.is_none() {
            return None;
        }
        // A list comes in the order of names, not of versions: before its end, what was seen says nothing of the rest.
        if self.level_due && !self.listing.is_open() {
            self.level = self.newest;
            self.level_due = false;
        }
        let of_wanted = self.wanted.iter().filter_map(|(name, wanted)| {
            self.belongs(wanted).filter(|belongs| *belongs)?;
            let invalid = |message: String| NodeFailure {
                profile: name.as_str().into(),
                reason: "Invalid".into(),
                message,
            };
            let failed = wanted.failed.clone();
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
            pending_removal: owned.contains(name) && self.is_orphan(name),
        });
        let labels = self.labels.as_ref().filter(|_| self.needs_labels());
        Some(Report {
            level: self.level,
            failures,
            in_use: in_use.collect(),
            labels_digest: labels.map(labels_digest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn named(name: &str) -> ProfileName {
        ProfileName::parse(name).unwrap()
    }

    fn seen(generation: i64, version: u64) -> Seen {
        Seen {
            uid: "u".into(),
            generation,
            version,
            revision: 0,
            selector: BTreeMap::new(),
            adopt: false,
        }
    }

    #[allow(clippy::unnecessary_wraps)] // it stands in for a function that can fail
    fn ok(content: &str) -> Result<Vec<u8>, String> {
        Ok(content.as_bytes().to_vec())
    }

    /// The profile exists, and means `content` if it is rendered at all.
    fn exists(state: &mut State, name: &str, seen: Seen, content: Result<Vec<u8>, String>) {
        if state.exists(&named(name), seen) {
            assert_eq!(state.next_stale(), Some(named(name)));
            state.rendered(&named(name), content);
        }
        assert_eq!(state.next_stale(), None);
    }

    /// Carries out what is due as a store would that never fails.
    fn settle(state: &mut State, owned: &mut BTreeSet<ProfileName>) -> Vec<String> {
        let edits = state.edits(owned);
        let mut log = Vec::new();
        let outcomes: Vec<_> = edits
            .iter()
            .map(|edit| match edit {
                Edit::Write {
                    name,
                    content,
                    adopt,
                } => {
                    owned.insert(name.clone());
                    let content = String::from_utf8(content.bytes().unwrap()).unwrap();
                    let over = if *adopt { " over what is there" } else { "" };
                    log.push(format!("write {name} {content}{over}"));
                    Ok(Done::Written)
                }
                Edit::Remove(name) => {
                    owned.remove(name);
                    log.push(format!("remove {name}"));
                    Ok(Done::Removed)
                }
            })
            .collect();
        state.record(&edits, &outcomes);
        log
    }

    fn started(profiles: &[(&str, u64)]) -> (State, BTreeSet<ProfileName>) {
        let mut state = State::default();
        let mut owned = BTreeSet::new();
        state.list_begins();
        for (name, version) in profiles {
            exists(&mut state, name, seen(1, *version), ok("1"));
        }
        state.list_ends();
        state.used(BTreeMap::new());
        settle(&mut state, &mut owned);
        state.report(&owned);
        (state, owned)
    }

    #[test]
    fn nothing_is_removed_before_the_full_list_is_known() {
        let mut state = State::default();
        state.used(BTreeMap::new());
        let mut owned = BTreeSet::from([named("orphan"), named("kept")]);
        state.list_begins();
        exists(&mut state, "kept", seen(1, 5), ok("k"));
        assert_eq!(settle(&mut state, &mut owned), ["write kept k"]);
        assert!(!state.is_level());
        state.list_ends();
        assert_eq!(settle(&mut state, &mut owned), ["remove orphan"]);
        assert!(state.is_level());
    }

    #[test]
    fn a_status_write_neither_renders_nor_writes_nor_reports() {
        let (mut state, owned) = started(&[("a", 10)]);
        let before = state.report(&owned);
        let status_write = Seen {
            revision: 10,
            ..seen(1, 11)
        };
        assert!(!state.exists(&named("a"), status_write));
        assert!(state.edits(&owned).is_empty());
        assert_eq!(state.report(&owned), before);
    }

    #[test]
    fn a_new_generation_is_written_and_moves_the_level() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        assert_eq!(state.report(&owned).unwrap().level, 10);
        exists(&mut state, "a", seen(2, 12), ok("2"));
        assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
        assert_eq!(state.report(&owned).unwrap().level, 12);
    }

    #[test]
    fn a_profile_made_again_under_the_same_name_is_another_one() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        exists(
            &mut state,
            "a",
            Seen {
                uid: "other".into(),
                ..seen(1, 12)
            },
            ok("2"),
        );
        assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
    }

    #[test]
    fn a_controller_that_asks_for_a_later_version_gets_an_answer() {
        let (mut state, owned) = started(&[("a", 10)]);
        exists(
            &mut state,
            "a",
            Seen {
                revision: 15,
                ..seen(1, 16)
            },
            ok("1"),
        );
        assert_eq!(state.report(&owned).unwrap().level, 16);
    }

    #[test]
    fn a_profile_missing_from_a_new_list_is_removed() {
        let (mut state, mut owned) = started(&[("a", 10), ("b", 11)]);
        state.list_begins();
        exists(&mut state, "b", seen(1, 11), ok("1"));
        state.list_ends();
        assert_eq!(settle(&mut state, &mut owned), ["remove a"]);
    }

    #[test]
    fn the_level_stays_while_a_list_is_under_way() {
        let (mut state, mut owned) = started(&[("a", 10), ("z", 11)]);
        state.list_begins();
        exists(&mut state, "a", seen(2, 50), ok("2"));
        settle(&mut state, &mut owned);
        assert_eq!(state.report(&owned).unwrap().level, 11);
        assert!(!state.is_level());
        exists(&mut state, "z", seen(2, 45), ok("2"));
        state.list_ends();
        settle(&mut state, &mut owned);
        assert_eq!(state.report(&owned).unwrap().level, 50);
    }

    #[test]
    fn an_invalid_generation_keeps_the_last_good_file_and_says_why() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        exists(&mut state, "a", seen(2, 12), Err("spec.profile: no".into()));
        assert_eq!(settle(&mut state, &mut owned), ["write a 1"]);
        let report = state.report(&owned).unwrap();
        assert_eq!(report.level, 12);
        assert_eq!(report.failures[0].reason, "Invalid");
        assert_eq!(report.failures[0].message, "spec.profile: no");
        assert_eq!(state.counts(), (1, 0));
    }

    #[test]
    fn an_invalid_first_generation_writes_nothing() {
        let mut state = State::default();
        state.list_begins();
        exists(&mut state, "a", seen(1, 1), Err("no".into()));
        state.list_ends();
        let owned = BTreeSet::new();
        state.used(BTreeMap::new());
        assert!(state.edits(&owned).is_empty());
        assert_eq!(state.report(&owned).unwrap().failures.len(), 1);
    }

    #[test]
    fn a_file_that_somebody_touched_is_looked_at_and_a_repair_is_told_from_an_update() {
        let (mut state, owned) = started(&[("a", 10)]);
        state.touched(&named("a"));
        state.touched(&named("not-ours"));
        let edits = state.edits(&owned);
        assert_eq!(edits.len(), 1);
        assert!(state.record(&edits, &[Ok(Done::Unchanged)]).is_empty());
        state.touched(&named("a"));
        let edits = state.edits(&owned);
        assert_eq!(state.record(&edits, &[Ok(Done::Written)]), [&named("a")]);
        exists(&mut state, "a", seen(2, 12), ok("2"));
        let edits = state.edits(&owned);
        assert!(state.record(&edits, &[Ok(Done::Written)]).is_empty());
    }

    #[test]
    fn a_failed_write_is_reported_and_tried_again_until_it_succeeds() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        exists(&mut state, "a", seen(2, 12), ok("2"));
        let edits = state.edits(&owned);
        state.record(
            &edits,
            &[Err(StoreError::Io {
                step: "write the file",
                errno: Errno::NOSPC,
            })],
        );
        let report = state.report(&owned).unwrap();
        assert_eq!(report.failures[0].reason, "WriteFailed");
        assert!(
            report.failures[0]
                .message
                .contains("No space left on device")
        );
        assert!(state.edits(&owned).is_empty());
        state.retry();
        assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
        assert!(state.report(&owned).unwrap().failures.is_empty());
    }

    #[test]
    fn a_removal_that_failed_is_reported_and_tried_again() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        state.deleted(&named("a"));
        let edits = state.edits(&owned);
        state.record(
            &edits,
            &[Err(StoreError::Io {
                step: "remove the file",
                errno: Errno::ROFS,
            })],
        );
        assert_eq!(
            state.report(&owned).unwrap().failures[0].reason,
            "RemoveFailed"
        );
        assert_eq!(settle(&mut state, &mut owned), ["remove a"]);
        assert!(state.report(&owned).unwrap().failures.is_empty());
    }

    #[test]
    fn a_profile_whose_base_changes_is_rendered_again_and_its_file_follows() {
        let (mut state, mut owned) = started(&[("a", 10), ("b", 11)]);
        state.stale(["a", "unknown"]);
        assert!(!state.is_level());
        assert_eq!(state.next_stale(), Some(named("a")));
        assert_eq!(state.next_stale(), None);
        state.rendered(&named("a"), ok("2"));
        assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
        assert!(state.is_level());
    }

    #[test]
    fn a_profile_whose_base_goes_keeps_its_file_and_says_why_until_it_comes_back() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        state.stale(["a"]);
        let name = state.next_stale().unwrap();
        state.rendered(&name, Err("spec.base: gone".into()));
        assert_eq!(settle(&mut state, &mut owned), ["write a 1"]);
        assert_eq!(
            state.report(&owned).unwrap().failures[0].message,
            "spec.base: gone"
        );
        state.rendered(&name, ok("1"));
        settle(&mut state, &mut owned);
        assert!(state.report(&owned).unwrap().failures.is_empty());
    }

    fn selecting(version: u64, labels: &[(&str, &str)]) -> Seen {
        Seen {
            selector: labelled(labels),
            ..seen(1, version)
        }
    }

    fn labelled(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        labels.collect()
    }

    fn by_pods(uses: &[(&str, usize)]) -> BTreeMap<ProfileName, Use> {
        let used = |pods| Use { pods, outdated: 0 };
        uses.iter()
            .map(|(name, pods)| (named(name), used(*pods)))
            .collect()
    }

    #[test]
    fn a_profile_is_where_its_selector_says_and_goes_when_the_labels_do() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        exists(&mut state, "gpu", selecting(11, &[("gpu", "yes")]), ok("g"));
        assert!(settle(&mut state, &mut owned).is_empty());
        assert!(
            !state.is_level(),
            "nobody knows yet whether it belongs here"
        );
        assert_eq!(state.report(&owned).unwrap().labels_digest, None);
        state.labels(labelled(&[("gpu", "no")]));
        assert!(settle(&mut state, &mut owned).is_empty());
        assert!(state.is_level());
        let without = state.report(&owned).unwrap().labels_digest;
        assert!(without.is_some());
        state.labels(labelled(&[("gpu", "yes"), ("more", "")]));
        assert_eq!(settle(&mut state, &mut owned), ["write gpu g"]);
        assert_ne!(state.report(&owned).unwrap().labels_digest, without);
        state.labels(labelled(&[]));
        assert_eq!(settle(&mut state, &mut owned), ["remove gpu"]);
        state.deleted(&named("gpu"));
        assert_eq!(state.report(&owned).unwrap().labels_digest, None);
    }

    #[test]
    fn a_profile_that_is_not_for_this_node_is_no_failure_here() {
        let (mut state, owned) = started(&[]);
        state.labels(labelled(&[]));
        exists(
            &mut state,
            "gpu",
            selecting(11, &[("gpu", "yes")]),
            Err("no".into()),
        );
        assert!(state.report(&owned).unwrap().failures.is_empty());
        state.labels(labelled(&[("gpu", "yes")]));
        assert_eq!(state.report(&owned).unwrap().failures[0].reason, "Invalid");
    }

    #[test]
    fn a_file_that_a_pod_uses_stays_until_the_pod_is_gone() {
        let (mut state, mut owned) = started(&[("a", 10), ("b", 11)]);
        state.used(by_pods(&[("a", 2), ("b", 1), ("foreign", 1)]));
        let report = state.report(&owned).unwrap();
        let names = |report: &Report| {
            let uses = report.in_use.iter();
            uses.map(|found| (found.profile.clone(), found.pods, found.pending_removal))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&report),
            [("a".to_owned(), 2, false), ("b".to_owned(), 1, false)]
        );
        state.deleted(&named("a"));
        // The other one selects no node any more.
        exists(
            &mut state,
            "b",
            Seen {
                generation: 2,
                ..selecting(12, &[("x", "y")])
            },
            ok("1"),
        );
        state.labels(labelled(&[]));
        assert!(settle(&mut state, &mut owned).is_empty());
        let report = state.report(&owned).unwrap();
        assert_eq!(
            names(&report),
            [("a".to_owned(), 2, true), ("b".to_owned(), 1, true)]
        );
        state.used(by_pods(&[("b", 1)]));
        assert_eq!(settle(&mut state, &mut owned), ["remove a"]);
        state.used(by_pods(&[]));
        assert_eq!(settle(&mut state, &mut owned), ["remove b"]);
    }

    #[test]
    fn nothing_is_removed_nor_reported_before_the_pods_are_known() {
        let mut state = State::default();
        let mut owned = BTreeSet::from([named("orphan")]);
        state.list_begins();
        exists(&mut state, "a", seen(1, 5), ok("1"));
        state.list_ends();
        assert_eq!(settle(&mut state, &mut owned), ["write a 1"]);
        assert!(state.is_level(), "files do not wait for it");
        assert_eq!(state.report(&owned), None);
        state.used(by_pods(&[]));
        assert_eq!(settle(&mut state, &mut owned), ["remove orphan"]);
        assert!(state.report(&owned).is_some());
    }

    #[test]
    fn an_annotation_to_adopt_is_acted_on_though_the_generation_stays() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        let adopting = Seen {
            adopt: true,
            ..seen(1, 11)
        };
        exists(&mut state, "a", adopting.clone(), ok("1"));
        assert_eq!(
            settle(&mut state, &mut owned),
            ["write a 1 over what is there"]
        );
        exists(&mut state, "a", adopting, ok("1"));
        assert!(settle(&mut state, &mut owned).is_empty());
    }
}
