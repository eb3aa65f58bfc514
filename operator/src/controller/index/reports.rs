//! What the nodes' agents have reported.

use std::collections::BTreeMap;

use super::startup::Platform;
use super::{Index, Kind};
use kube_support::resource_version;
use seccomp_operator_api::{NodeFailure, SeccompNode};

/// What a node's agent said last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NodeReport {
    /// The agent has dealt with every change of the profile list up to this resource version.
    pub(super) applied_version: u64,
    pub(super) failures: BTreeMap<String, (String, String)>,
    /// The pods that use each profile, and the running containers with an older content of it.
    pub(super) in_use: BTreeMap<String, (i32, i32)>,
    /// By which labels of its node the agent decided, once a profile asks for labels.
    pub(super) labels_digest: Option<String>,
    /// What the node starts containers with.
    pub(super) platform: Option<Platform>,
}

impl NodeReport {
    /// Whether every file that could be on the node is.
    pub(super) fn has_written(&self) -> bool {
        let mut failures = self.failures.values();
        let lacking = [NodeFailure::WRITE_FAILED, NodeFailure::FOLDER_REPLACED];
        failures.all(|(reason, _)| !lacking.contains(&reason.as_str()))
    }
}

impl Index {
    /// A node's agent says this.
    pub fn report(&mut self, name: &str, report: &SeccompNode) {
        self.listings[Kind::SeccompNode as usize].saw(name);
        let owners = report
            .metadata
            .owner_references
            .iter()
            .flatten()
            .filter(|owner| owner.kind == "Node");
        self.owners.insert(
            name.to_owned(),
            owners.map(|owner| owner.uid.clone()).collect(),
        );
        let new = NodeReport {
            applied_version: resource_version(&report.spec.applied_resource_version),
            failures: report
                .spec
                .failures
                .iter()
                .map(|failure| {
                    (
                        failure.profile.clone(),
                        (failure.reason.clone(), failure.message.clone()),
                    )
                })
                .collect(),
            in_use: report
                .spec
                .in_use
                .iter()
                .map(|used| (used.profile.clone(), (used.pods, used.outdated)))
                .collect(),
            labels_digest: report.spec.node.labels_digest.clone(),
            platform: Platform::new(
                &report.spec.node.architecture,
                report.spec.node.container_runtime.as_deref(),
            ),
        };
        let Some(old) = self.reports.insert(name.to_owned(), new) else {
            self.update_standing(name);
            return self.all_dirty();
        };
        let new = &self.reports[name];
        if old == *new {
            return;
        }
        let (low, high) = (
            old.applied_version.min(new.applied_version),
            old.applied_version.max(new.applied_version),
        );
        let moved = self
            .by_required_version
            .range((low.saturating_add(1), String::new())..(high.saturating_add(1), String::new()))
            .map(|(_, name)| name.clone());
        let differing = old
            .failures
            .iter()
            .filter(|(name, failure)| new.failures.get(*name) != Some(failure));
        let differing = differing.chain(
            new.failures
                .iter()
                .filter(|(name, failure)| old.failures.get(*name) != Some(failure)),
        );
        let used = old.in_use.keys().chain(new.in_use.keys());
        let used = used.filter(|name| old.in_use.get(*name) != new.in_use.get(*name));
        // What a profile derives from is in use with it.
        let used = used.flat_map(|name| self.library.bases(name).chain([name.as_str()]));
        let touched: Vec<_> = moved
            .chain(differing.map(|(name, _)| name.clone()))
            .chain(used.map(str::to_owned))
            .collect();
        let relabelled = old.labels_digest != new.labels_digest;
        let other_platform = old.platform != new.platform;
        self.dirty.extend(
            touched
                .into_iter()
                .filter(|name| self.profiles.contains_key(name)),
        );
        if relabelled {
            self.selecting_dirty();
        }
        if other_platform {
            self.all_dirty();
        }
    }
}
