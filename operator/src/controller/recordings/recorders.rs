//! Where recorders run, and which of them do nothing: a pure state. Under a recording no container starts on a node whose recorder is away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::controller::agents::Agent;
use kube_support::Listing;

/// The recorders' pods as the watch saw them.
#[derive(Debug, Default)]
pub struct Recorders {
    pods: BTreeMap<String, Agent>,
    listing: Listing,
}

/// What keeps containers from starting under a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Recorders are there, or were, and do nothing: they will.
    Away(String),
    /// No recorder is meant to be on some of the nodes.
    Missing(String),
}

impl Recorders {
    pub fn list_begins(&mut self) {
        self.listing.begins();
    }

    pub fn list_ends(&mut self) {
        let known = self.pods.keys().map(String::as_str);
        for gone in self.listing.ends(known) {
            self.pods.remove(&gone);
        }
    }

    /// A recorder's pod exists. One that has no node to be on concerns nobody.
    pub fn pod(&mut self, name: &str, recorder: Option<Agent>) {
        self.listing.saw(name);
        match recorder {
            Some(recorder) => self.pods.insert(name.to_owned(), recorder),
            None => self.pods.remove(name),
        };
    }

    pub fn gone(&mut self, name: &str) {
        self.pods.remove(name);
    }

    /// What these nodes lack, whose agents do their work: a node that is down has more to lack than its recorder.
    pub fn lack(&self, nodes: &BTreeSet<String>) -> Option<Lack> {
        let mut away = Vec::new();
        let mut missing = Vec::new();
        for node in nodes {
            let pods = self.pods.values().filter(|pod| pod.node == *node);
            let pods: Vec<_> = pods.map(|pod| pod.away.as_ref()).collect();
            // In an update there are two: the next one is there before the last one goes.
            match pods.first() {
                None => missing.push(node.as_str()),
                Some(Some(first)) if pods.iter().all(Option::is_some) => {
                    let why = first.why.iter().map(|why| format!(" ({why})"));
                    away.push(format!("{node}{}", why.collect::<String>()));
                }
                Some(_) => {}
            }
        }
        if let Some(named) = some(&away) {
            return Some(Lack::Away(format!(
                "recorders that are not ready: {named}; under the recording no container would start there"
            )));
        }
        let named = some(&missing)?;
        if self.pods.is_empty() {
            return Some(Lack::Away(format!("nodes without a recorder: {named}")));
        }
        Some(Lack::Missing(format!(
            "nodes without a recorder: {named}; under the recording no container starts there; see recorder.nodeSelector and recorder.tolerations"
        )))
    }
}

/// The first of them, and how many more there are.
fn some(names: &[impl AsRef<str>]) -> Option<String> {
    const NAMED: usize = 3;
    if names.is_empty() {
        return None;
    }
    let first: Vec<_> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let mut text = first.join(", ");
    if names.len() > NAMED {
        let _ = write!(text, " and {} more", names.len() - NAMED);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::agents::Away;

    fn recorder(node: &str, away: Option<&str>) -> Agent {
        let away = away.map(|why| Away {
            why: Some(why.into()),
            ..Away::default()
        });
        Agent {
            node: node.into(),
            away,
            ..Agent::default()
        }
    }

    fn nodes(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_node_lacks_a_recorder_that_is_not_ready_and_has_no_other() {
        let mut known = Recorders::default();
        let all = nodes(&["n1", "n2"]);
        let Some(Lack::Away(said)) = known.lack(&all) else {
            panic!("none is anywhere")
        };
        assert_eq!(said, "nodes without a recorder: n1, n2");
        known.pod("a", Some(recorder("n1", None)));
        known.pod("b", Some(recorder("n2", Some("CrashLoopBackOff"))));
        let Some(Lack::Away(said)) = known.lack(&all) else {
            panic!("one is not ready")
        };
        assert!(said.contains(": n2 (CrashLoopBackOff); "), "{said}");
        // Its agent is away as well: the node is down.
        assert_eq!(known.lack(&nodes(&["n1"])), None);
        known.pod("c", Some(recorder("n2", None)));
        assert_eq!(known.lack(&all), None);
        known.gone("b");
        assert_eq!(known.lack(&all), None);
        known.gone("c");
        assert!(matches!(known.lack(&all), Some(Lack::Missing(said)) if said.contains(": n2; ")));
        // A list that does not have one says that it is gone.
        known.list_begins();
        known.list_ends();
        assert!(matches!(known.lack(&all), Some(Lack::Away(_))));
    }

    #[test]
    fn of_many_nodes_some_are_named() {
        assert_eq!(
            some(&["a", "b", "c", "d", "e"]).unwrap(),
            "a, b, c and 2 more"
        );
    }
}
