//! What the webhook's handlers share: the view, the metrics, and the places for what costs much.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::{Notify, Semaphore};

use super::metrics::Metrics;
use seccomp_policy::view::View;

/// So many large bodies are held at once; others wait for their turn, at most [`MAX_REQUEST`](super::body::MAX_REQUEST), when so much of them has come as
/// is not large yet. Pods have places of their own, since validations may take long.
pub(super) const LARGE_PODS_AT_ONCE: usize = 6;
/// As [`LARGE_PODS_AT_ONCE`], to be validated: one is, and the next is there when it is done.
pub(super) const LARGE_OBJECTS_AT_ONCE: usize = 2;
/// So many documents are validated at once, a large one alone: to understand a document takes many times its size.
pub(super) const VALIDATIONS_AT_ONCE: u32 = 2;

/// What the handlers share: the view, and a word when it has changed.
#[derive(Debug)]
pub struct Admission {
    /// What admission knows.
    pub view: Arc<RwLock<View>>,
    /// Told when a namespace was added to the view.
    pub namespace_added: Arc<Notify>,
    /// What the handlers count.
    pub metrics: Metrics,
    /// This installation asks registries for what SeccompSources name.
    pub(super) pulls: bool,
    pub(super) large_pods: Arc<Semaphore>,
    pub(super) large_objects: Arc<Semaphore>,
    pub(super) validations: Arc<Semaphore>,
}

impl Admission {
    /// Answers from this view, which the watches feed from now on.
    #[must_use]
    pub fn new(view: View, metrics: Metrics) -> Self {
        Self {
            view: Arc::new(RwLock::new(view)),
            namespace_added: Arc::default(),
            metrics,
            pulls: false,
            large_pods: Arc::new(Semaphore::new(LARGE_PODS_AT_ONCE)),
            large_objects: Arc::new(Semaphore::new(LARGE_OBJECTS_AT_ONCE)),
            validations: Arc::new(Semaphore::new(VALIDATIONS_AT_ONCE as usize)),
        }
    }

    /// The same, and what it says of SeccompSources is said of an installation that pulls, or does not.
    #[must_use]
    pub fn pulling(self, pulls: bool) -> Self {
        Self { pulls, ..self }
    }

    pub(super) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
}
