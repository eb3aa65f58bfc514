//! Which policies select a namespace, remembered from one review to the next: a namespace has few that do, and its labels hardly
//! ever change.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Positions in a list of policies, by namespace. Whoever changes the list or a namespace's labels has it forgotten.
#[derive(Debug, Default)]
pub struct Selection(RwLock<HashMap<String, Arc<[usize]>>>);

impl Selection {
    /// What is remembered of a namespace, or else what `select` says.
    pub fn of(&self, namespace: &str, select: impl FnOnce() -> Arc<[usize]>) -> Arc<[usize]> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(selected) = known.get(namespace) {
            return selected.clone();
        }
        drop(known);
        let selected = select();
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(namespace.to_owned(), selected.clone());
        selected
    }

    /// A namespace has other labels, or is gone.
    pub fn forget(&mut self, namespace: &str) {
        let known = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        known.remove(namespace);
    }

    /// The list has changed.
    pub fn forget_all(&mut self) {
        let known = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        known.clear();
    }
}
