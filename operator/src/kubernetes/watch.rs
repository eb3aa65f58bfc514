//! A watch that goes on for as long as the process: errors back off and are logged, unreadable objects are handed on as such.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::Backoff;
use crate::logging::chain;

/// An object as a watch saw it. One that its type cannot hold (written by a newer version, say) still has its metadata,
/// so that it never stops the watch and is never mistaken for a deleted one.
pub type Watched<K> = Result<K, InvalidObject>;

/// What a watch says.
#[derive(Debug)]
pub enum Change<K> {
    /// A full list begins: after an interruption, and at the start.
    ListBegins,
    /// An object exists, in this form.
    Exists(Watched<K>),
    /// The full list has ended: what was known before and was not seen since [`Change::ListBegins`] is gone.
    ListEnds,
    /// The object of this name (and namespace) was deleted.
    Deleted(Watched<K>),
}

/// The first and the longest pause after an interruption. Short, since nothing new reaches a node meanwhile; a watch that
/// resumes costs the API server little.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Finds out what is gone after a full list.
#[derive(Debug, Default)]
pub struct Listing {
    /// What the full list that has begun and not ended has shown.
    seen: Option<BTreeSet<String>>,
    complete: bool,
}

impl Listing {
    /// A full list begins.
    pub fn begins(&mut self) {
        self.seen = Some(BTreeSet::new());
    }

    /// Whether a full list has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.seen.is_some()
    }

    /// Whether a full list has ended: until then, what is not known may be there all the same.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// An object of this name exists.
    pub fn saw(&mut self, name: &str) {
        if let Some(seen) = &mut self.seen {
            seen.insert(name.to_owned());
        }
    }

    /// The full list has ended: those of `known` that were not seen since it began.
    pub fn ends<'a>(&mut self, known: impl Iterator<Item = &'a str>) -> Vec<String> {
        let Some(seen) = self.seen.take() else {
            return Vec::new();
        };
        self.complete = true;
        known
            .filter(|name| !seen.contains(*name))
            .map(str::to_owned)
            .collect()
    }
}

/// Watches until dropped. An interrupted watch lists again after a growing pause.
pub fn watch<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
) -> impl Stream<Item = Change<K>> + Send
where
    K: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
    K::DynamicType: Default,
{
    watch_as(api, config, |object: DeserializeGuard<K>| object.0)
}

/// Like [`watch`], for an object that is taken from the wire as a `W` and read by `read`.
pub fn watch_as<W, K>(
    api: Api<W>,
    config: watcher::Config,
    read: impl Fn(W) -> Watched<K> + Send,
) -> impl Stream<Item = Change<K>> + Send
where
    W: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
    W::DynamicType: Default,
    K: Send,
{
    let kind = W::kind(&W::DynamicType::default()).into_owned();
    watcher(api, config)
        .backoff(Backoff::new(PAUSE.0, PAUSE.1))
        .filter_map(move |event| {
            // Nobody here reads who owns which field, and it is often the larger half of an object.
            let slim = |mut object: W| {
                object.managed_fields_mut().clear();
                read(object)
            };
            let change = match event {
                Ok(watcher::Event::Init) => Some(Change::ListBegins),
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    Some(Change::Exists(slim(object)))
                }
                Ok(watcher::Event::InitDone) => Some(Change::ListEnds),
                Ok(watcher::Event::Delete(object)) => Some(Change::Deleted(slim(object))),
                Err(error) => {
                    warn!(
                        kind,
                        error = chain(&error),
                        "the watch was interrupted; it will be tried again"
                    );
                    None
                }
            };
            std::future::ready(change)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_and_is_not_in_a_full_list_is_gone() {
        let mut listing = Listing::default();
        assert!(listing.ends(["a"].into_iter()).is_empty());
        listing.begins();
        listing.saw("a");
        assert!(!listing.is_complete());
        assert_eq!(listing.ends(["a", "b"].into_iter()), ["b"]);
        assert!(listing.is_complete());
        listing.begins();
        assert!(listing.is_complete(), "what is known stays known meanwhile");
    }
}
