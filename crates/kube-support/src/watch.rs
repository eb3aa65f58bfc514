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

use crate::Backoff;
use crate::error::chain;

/// An object as a watch saw it. One that its type cannot hold (written by a newer version, say) still has its metadata,
/// so that it never stops the watch and is never mistaken for a deleted one.
pub type Watched<K> = Result<K, InvalidObject>;

/// What a watch tells.
#[derive(Debug)]
pub enum WatchEvent<K> {
    /// A full list begins: after an interruption, and at the start.
    ListBegins,
    /// An object exists, in this form.
    Exists(Watched<K>),
    /// The full list has ended: what was known before and was not seen since [`WatchEvent::ListBegins`] is gone.
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

/// The interruptions since a watch last told anything. Each is tried again, few are told of: what is away for long must not fill
/// the log.
#[derive(Debug, Default)]
struct Interruptions(u32);

impl Interruptions {
    /// One more; whether to tell of it.
    fn one_more(&mut self) -> bool {
        self.0 = self.0.saturating_add(1);
        self.0.is_power_of_two()
    }

    fn over(&mut self) {
        self.0 = 0;
    }
}

/// Whether the API server does not know what was asked for. It may learn of it: definitions are installed beside the operator.
fn is_unknown(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

/// Watches until dropped. An interrupted watch lists again after a growing pause.
pub fn watch<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
) -> impl Stream<Item = WatchEvent<K>> + Send
where
    K: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
    K::DynamicType: Default,
{
    watch_as(api, config, |mut object: DeserializeGuard<K>| {
        // Nobody here reads who owns which field, and it is often the larger half of an object.
        object.managed_fields_mut().clear();
        object.0
    })
}

/// Like [`watch`], for an object that is taken from the wire as a `W`, managed fields and all, and read by `read`.
pub fn watch_as<W, K>(
    api: Api<W>,
    config: watcher::Config,
    read: impl Fn(W) -> Watched<K> + Send,
) -> impl Stream<Item = WatchEvent<K>> + Send
where
    W: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
    W::DynamicType: Default,
    K: Send,
{
    let kind = W::kind(&W::DynamicType::default()).into_owned();
    let mut interruptions = Interruptions::default();
    watcher(api, config)
        .backoff(Backoff::new(PAUSE.0, PAUSE.1))
        .filter_map(move |event| {
            if !matches!(event, Ok(watcher::Event::Init) | Err(_)) {
                interruptions.over();
            }
            let told = match event {
                Ok(watcher::Event::Init) => Some(WatchEvent::ListBegins),
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    Some(WatchEvent::Exists(read(object)))
                }
                Ok(watcher::Event::InitDone) => Some(WatchEvent::ListEnds),
                Ok(watcher::Event::Delete(object)) => Some(WatchEvent::Deleted(read(object))),
                Err(error) => {
                    let error_chain = chain(&error);
                    match (interruptions.one_more(), is_unknown(&error)) {
                        (true, true) => warn!(
                            kind,
                            error = error_chain,
                            "the API server does not know the kind; are the definitions installed? It is asked again every few seconds"
                        ),
                        (true, false) => warn!(
                            kind,
                            error = error_chain,
                            "the watch was interrupted; it will be tried again"
                        ),
                        (false, _) => {}
                    }
                    None
                }
            };
            std::future::ready(told)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruptions_are_told_of_ever_more_seldom_until_one_is_over() {
        let mut interruptions = Interruptions::default();
        let told = (0..1000).filter(|_| interruptions.one_more()).count();
        assert_eq!(told, 10);
        interruptions.over();
        assert!(interruptions.one_more());
    }

    #[test]
    fn a_kind_that_the_api_server_does_not_know_is_told_from_one_that_it_does_not_show() {
        let refused = |code| {
            // The answer about an unknown path is no Status, and kube makes one of it.
            let status =
                kube::core::Status::failure("no", "Failed to parse error data").with_code(code);
            watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
        };
        assert!(is_unknown(&refused(404)));
        assert!(!is_unknown(&refused(403)));
        assert!(!is_unknown(&watcher::Error::NoResourceVersion));
    }

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
