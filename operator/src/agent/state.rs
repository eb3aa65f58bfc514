//! What this node should have, what it has, and what to say of it: a pure state, fed by the watch.
//!
//! It decides which edits the store should make and what the SeccompNode should say. It does no I/O and knows no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::store::{Done, Edit, StoreError};
use crate::api::{NodeFailure, ProfileName};
use crate::kubernetes::Listing;

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
}

/// What the SeccompNode should say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The resource version that this node is level with.
    pub level: u64,
    /// What is not as it should be, by profile name.
    pub failures: Vec<NodeFailure>,
}

/// What the node should have of one profile.
#[derive(Debug)]
struct Wanted {
    uid: String,
    generation: i64,
    /// The file's bytes; the last good ones when the newest generation cannot be rendered.
    content: Option<Arc<[u8]>>,
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
    listing: Listing,
    /// A full list has been seen: from then on, what is not wanted is an orphan.
    listed: bool,
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
        let known = self.wanted.keys().map(ProfileName::as_str);
        let gone = self.listing.ends(known);
        let gone: Vec<_> = gone
            .iter()
            .filter_map(|name| ProfileName::parse(name).ok())
            .collect();
        for name in &gone {
            self.deleted(name);
        }
        self.level_due |= !self.listed;
        self.listed = true;
        gone
    }

    /// A profile exists in this form. Says whether its spec is new, and then it is stale.
    pub fn exists(&mut self, name: &ProfileName, seen: Seen) -> bool {
        self.newest = self.newest.max(seen.version);
        self.listing.saw(name.as_str());
        // The controller waits for this node to be level with a version that it has not reported yet. Normally it has; but
        // a controller that was away when the profile changed can only name a later version.
        self.level_due |= seen.revision > self.level;
        let known = self.wanted.get(name);
        if known.is_some_and(|known| known.uid == seen.uid && known.generation == seen.generation) {
            return false;
        }
        let wanted = Wanted {
            uid: seen.uid,
            generation: seen.generation,
            content: known.and_then(|known| known.content.clone()),
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
                if wanted.content.as_deref() != Some(bytes.as_slice()) {
                    wanted.content = Some(bytes.into());
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

    /// A file of this name was touched by somebody, perhaps by us.
    pub fn touched(&mut self, name: &str) {
        if let Ok(name) = ProfileName::parse(name)
            && self.wanted.contains_key(&name)
        {
            self.due.insert(name);
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

    /// The edits that are due. `owned` are the profiles whose files are ours: once the full list is known, those that nobody
    /// wants are removed.
    pub fn edits(&mut self, owned: &BTreeSet<ProfileName>) -> Vec<Edit> {
        let mut names = std::mem::take(&mut self.due);
        if self.listed {
            names.extend(
                owned
                    .iter()
                    .filter(|name| !self.wanted.contains_key(name))
                    .cloned(),
            );
        }
        let edit = |name: ProfileName| match self.wanted.get(&name) {
            Some(wanted) => wanted
                .content
                .clone()
                .map(|content| Edit::Write(name, content)),
            None => Some(Edit::Remove(name)),
        };
        names.into_iter().filter_map(edit).collect()
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
                    (StoreError::Conflict(_), _) => "Conflict",
                    (_, Edit::Write(..)) => "WriteFailed",
                    (_, Edit::Remove(_)) => "RemoveFailed",
                };
                NodeFailure {
                    profile: name.as_str().into(),
                    reason: reason.into(),
                    message: error.to_string(),
                }
            };
            let failure = outcome.as_ref().err().map(failure);
            if let Some(wanted) = self.wanted.get_mut(name) {
                if wanted.settled && matches!(outcome, Ok(Done::Written)) {
                    repaired.push(name);
                }
                wanted.settled |= failure.is_none();
                wanted.failed = failure;
            } else if let Some(failure) = failure {
                self.unremoved.insert(name.clone(), failure);
            } else {
                self.unremoved.remove(name);
            }
        }
        repaired
    }

    /// Whether the node has dealt with every profile there is.
    #[must_use]
    pub fn is_level(&self) -> bool {
        self.listed && !self.listing.is_open() && self.stale.is_empty() && self.due.is_empty()
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

    /// What to say now; nothing before the first full list. Call it when nothing is stale and no edit is due.
    pub fn report(&mut self) -> Option<Report> {
        if !self.listed {
            return None;
        }
        // A list comes in the order of names, not of versions: before its end, what was seen says nothing of the rest.
        if self.level_due && !self.listing.is_open() {
            self.level = self.newest;
            self.level_due = false;
        }
        let invalid = self.wanted.iter().filter_map(|(name, wanted)| {
            let message = wanted.invalid.clone()?;
            Some(NodeFailure {
                profile: name.as_str().into(),
                reason: "Invalid".into(),
                message,
            })
        });
        let failed = self
            .wanted
            .values()
            .filter(|wanted| wanted.invalid.is_none())
            .filter_map(|wanted| wanted.failed.clone());
        let mut failures: Vec<_> = invalid
            .chain(failed)
            .chain(self.unremoved.values().cloned())
            .collect();
        failures.sort_by(|a, b| a.profile.cmp(&b.profile));
        Some(Report {
            level: self.level,
            failures,
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
                Edit::Write(name, content) => {
                    owned.insert(name.clone());
                    log.push(format!("write {name} {}", String::from_utf8_lossy(content)));
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
        settle(&mut state, &mut owned);
        state.report();
        (state, owned)
    }

    #[test]
    fn nothing_is_removed_before_the_full_list_is_known() {
        let mut state = State::default();
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
        let before = state.report();
        let status_write = Seen {
            revision: 10,
            ..seen(1, 11)
        };
        assert!(!state.exists(&named("a"), status_write));
        assert!(state.edits(&owned).is_empty());
        assert_eq!(state.report(), before);
    }

    #[test]
    fn a_new_generation_is_written_and_moves_the_level() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        assert_eq!(state.report().unwrap().level, 10);
        exists(&mut state, "a", seen(2, 12), ok("2"));
        assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
        assert_eq!(state.report().unwrap().level, 12);
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
        let (mut state, _) = started(&[("a", 10)]);
        exists(
            &mut state,
            "a",
            Seen {
                revision: 15,
                ..seen(1, 16)
            },
            ok("1"),
        );
        assert_eq!(state.report().unwrap().level, 16);
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
        assert_eq!(state.report().unwrap().level, 11);
        assert!(!state.is_level());
        exists(&mut state, "z", seen(2, 45), ok("2"));
        state.list_ends();
        settle(&mut state, &mut owned);
        assert_eq!(state.report().unwrap().level, 50);
    }

    #[test]
    fn an_invalid_generation_keeps_the_last_good_file_and_says_why() {
        let (mut state, mut owned) = started(&[("a", 10)]);
        exists(&mut state, "a", seen(2, 12), Err("spec.profile: no".into()));
        assert_eq!(settle(&mut state, &mut owned), ["write a 1"]);
        let report = state.report().unwrap();
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
        assert!(state.edits(&BTreeSet::new()).is_empty());
        assert_eq!(state.report().unwrap().failures.len(), 1);
    }

    #[test]
    fn a_file_that_somebody_touched_is_looked_at_and_a_repair_is_told_from_an_update() {
        let (mut state, owned) = started(&[("a", 10)]);
        state.touched("a");
        state.touched("not-ours");
        let edits = state.edits(&owned);
        assert_eq!(edits.len(), 1);
        assert!(state.record(&edits, &[Ok(Done::Unchanged)]).is_empty());
        state.touched("a");
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
        let report = state.report().unwrap();
        assert_eq!(report.failures[0].reason, "WriteFailed");
        assert!(
            report.failures[0]
                .message
                .contains("No space left on device")
        );
        assert!(state.edits(&owned).is_empty());
        state.retry();
        assert_eq!(settle(&mut state, &mut owned), ["write a 2"]);
        assert!(state.report().unwrap().failures.is_empty());
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
        assert_eq!(state.report().unwrap().failures[0].reason, "RemoveFailed");
        assert_eq!(settle(&mut state, &mut owned), ["remove a"]);
        assert!(state.report().unwrap().failures.is_empty());
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
            state.report().unwrap().failures[0].message,
            "spec.base: gone"
        );
        state.rendered(&name, ok("1"));
        settle(&mut state, &mut owned);
        assert!(state.report().unwrap().failures.is_empty());
    }
}
