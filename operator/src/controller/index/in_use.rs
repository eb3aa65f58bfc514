//! How pods use a profile, by what the nodes' agents have reported.

use std::collections::BTreeMap;

use super::Index;
use crate::controller::agents::Standing;
use crate::controller::usage::{NodeUse, Usage};

impl Index {
    /// How pods use a profile, on all nodes that exist.
    pub(super) fn uses(&self, profile: &str) -> impl Iterator<Item = (String, NodeUse)> {
        self.nodes.keys().filter_map(move |node| {
            let (pods, outdated) = *self.reports.get(node)?.in_use.get(profile)?;
            let gone = match self.standings.get(node) {
                Some(Standing::Managed) => None,
                Some(Standing::Gone(why)) => Some(why.clone()),
                Some(Standing::Unmanaged) | None => Some("no agent runs there".to_owned()),
            };
            let found = NodeUse {
                pods,
                outdated,
                gone,
            };
            Some((node.clone(), found))
        })
    }

    /// How much a profile is used, by itself and by those that derive from it.
    pub(super) fn usage(&self, profile: &str) -> Usage {
        let derived = self.library.dependants(profile).into_iter();
        let derived = derived.filter_map(|name| {
            let nodes: BTreeMap<_, _> = self.uses(name).collect();
            let usage = Usage {
                nodes,
                ..Usage::default()
            };
            usage.is_held().then_some((name.to_owned(), usage))
        });
        Usage {
            nodes: self.uses(profile).collect(),
            derived: derived.collect(),
        }
    }
}
