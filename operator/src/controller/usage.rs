//! How much pods use a profile, and what its condition `InUse` says of that.

use std::collections::BTreeMap;
use std::fmt;

/// How much pods use a profile on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUse {
    /// How many pods.
    pub pods: i32,
    /// Running containers with an older content.
    pub outdated: i32,
    /// Why nobody can say what is so now: it is what the node's agent said last.
    pub gone: Option<String>,
}

/// How much a profile is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By node, where any pod uses it.
    pub nodes: BTreeMap<String, NodeUse>,
    /// How many pods use each profile that derives from it, and where.
    pub derived: BTreeMap<String, Usage>,
}

/// How many nodes and profiles a message names.
const MAX_NAMES: usize = 3;

impl Usage {
    /// How many pods use it.
    #[must_use]
    pub fn pods(&self) -> i32 {
        self.nodes
            .values()
            .fold(0, |sum, node| sum.saturating_add(node.pods))
    }

    /// How many running containers have an older content of it.
    #[must_use]
    pub fn outdated(&self) -> i32 {
        self.nodes
            .values()
            .fold(0, |sum, node| sum.saturating_add(node.outdated))
    }

    /// Whether it must not vanish: pods use it, or a profile that derives from it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.nodes.is_empty() || !self.derived.is_empty()
    }

    /// The condition `InUse`. `deleting`: somebody has deleted the profile; `others`: finalizers that are not the operator's.
    #[must_use]
    pub fn condition(&self, deleting: bool, others: &[&str]) -> (bool, &'static str, String) {
        let mut sentences = vec![if self.nodes.is_empty() {
            "no pod uses the profile".to_owned()
        } else {
            format!(
                "pods that use the profile: {}, on {} of the nodes",
                self.pods(),
                self.nodes.len()
            )
        }];
        if self.outdated() > 0 {
            sentences.push(format!(
                "running containers that keep an older content of it until they are created anew: {}",
                self.outdated()
            ));
        }
        if !self.derived.is_empty() {
            let names = self.derived.iter();
            let names = names.map(|(name, usage)| format!("{name} ({})", pods(usage.pods())));
            sentences.push(format!(
                "pods use profiles that have it as their base: {}",
                listed(names.collect())
            ));
        }
        if deleting {
            sentences.extend(self.deletion(others));
        }
        let reason = match (self.nodes.is_empty(), self.derived.is_empty()) {
            (false, _) => "Pods",
            (true, false) => "DerivedProfiles",
            (true, true) => "NoPods",
        };
        (self.is_held(), reason, sentences.join("; "))
    }

    /// What keeps a profile that was deleted from going, and what to do about it.
    fn deletion(&self, others: &[&str]) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.is_held() {
            let mut nodes: BTreeMap<&str, (i32, Option<&str>)> = BTreeMap::new();
            let uses = self.derived.values().flat_map(|usage| &usage.nodes);
            for (node, found) in self.nodes.iter().chain(uses) {
                let sum = nodes.entry(node).or_default();
                *sum = (sum.0.saturating_add(found.pods), found.gone.as_deref());
            }
            let names = nodes
                .iter()
                .map(|(node, (sum, _))| format!("{node} ({})", pods(*sum)));
            sentences.push(format!(
                "the profile was deleted and goes when these pods have gone, or have been made anew with another profile: {}",
                listed(names.collect())
            ));
            let gone: Vec<_> = nodes
                .iter()
                .filter_map(|(node, (_, gone))| Some((node, (*gone)?)))
                .collect();
            if let Some((first, _)) = gone.first() {
                let names = gone.iter().map(|(node, why)| format!("{node} ({why})"));
                sentences.push(format!(
                    "what the last agent said counts where none does its work: {}; if it does not come back, make the operator forget it: kubectl delete seccompnode {first}",
                    listed(names.collect())
                ));
            }
        }
        if !others.is_empty() {
            sentences.push(format!(
                "it also waits for whoever put these finalizers on it: {}",
                others.join(", ")
            ));
        }
        sentences
    }
}

fn pods(count: i32) -> String {
    counted(count, "pod")
}

/// `1 pod`, `2 pods`
#[must_use]
pub fn counted(number: impl fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    let end = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{end}")
}

/// The first few, and how many more there are.
#[must_use]
pub fn listed(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let first = names.into_iter().take(MAX_NAMES).collect::<Vec<_>>();
    let more = match more {
        0 => String::new(),
        _ => format!(" and {more} more"),
    };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(nodes: &[(&str, i32, Option<&str>)]) -> Usage {
        let nodes = nodes.iter().map(|(node, pods, gone)| {
            let found = NodeUse {
                pods: *pods,
                outdated: 0,
                gone: gone.map(str::to_owned),
            };
            ((*node).to_owned(), found)
        });
        Usage {
            nodes: nodes.collect(),
            ..Usage::default()
        }
    }

    #[test]
    fn a_condition_says_who_uses_the_profile() {
        let none = (false, "NoPods", "no pod uses the profile".to_owned());
        assert_eq!(Usage::default().condition(false, &[]), none);
        assert_eq!(Usage::default().condition(false, &["other"]), none);
        let mut usage = on(&[("n1", 2, None), ("n2", 1, None)]);
        let (holds, reason, message) = usage.condition(false, &[]);
        assert!(holds);
        assert_eq!(
            (reason, message.as_str()),
            ("Pods", "pods that use the profile: 3, on 2 of the nodes")
        );
        let derived = BTreeMap::from([("web".to_owned(), on(&[("n1", 1, None)]))]);
        usage.derived = derived.clone();
        assert!(
            usage
                .condition(false, &[])
                .2
                .ends_with("; pods use profiles that have it as their base: web (1 pod)")
        );
        let base = Usage {
            derived,
            ..Usage::default()
        };
        let (holds, reason, message) = base.condition(false, &[]);
        assert!(holds);
        assert_eq!(
            (reason, message.as_str()),
            (
                "DerivedProfiles",
                "no pod uses the profile; pods use profiles that have it as their base: web (1 pod)"
            )
        );
    }

    #[test]
    fn a_deleted_profile_says_what_holds_it_and_what_to_do() {
        let usage = on(&[("n1", 2, None), ("n2", 1, Some("no agent runs there"))]);
        let (_, _, message) = usage.condition(true, &["theirs"]);
        for part in [
            "n1 (2 pods), n2 (1 pod)",
            "n2 (no agent runs there); if it does not come back, make the operator forget it: kubectl delete seccompnode n2",
            "whoever put these finalizers on it: theirs",
        ] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        let usage = Usage {
            derived: BTreeMap::from([("web".to_owned(), usage)]),
            ..Usage::default()
        };
        assert!(
            usage
                .condition(true, &[])
                .2
                .contains("n1 (2 pods), n2 (1 pod)")
        );
        let (holds, reason, message) = Usage::default().condition(true, &["theirs"]);
        assert!(
            !holds && reason == "NoPods" && message.ends_with("on it: theirs"),
            "{message}"
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let count = |n: usize| listed((0..n).map(|n| n.to_string()).collect());
        assert_eq!(count(3), "0, 1, 2");
        assert_eq!(count(5), "0, 1, 2 and 2 more");
    }
}
