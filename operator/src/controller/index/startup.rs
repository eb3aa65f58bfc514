//! Whether containers start under a profile on the nodes that should have it: the condition `Startable`.
//!
//! Of a container runtime nodes say the version that answers kubelet, containerd's or CRI-O's, not that of runc or crun below it. So
//! what depends on that one is unknown.

use std::collections::{BTreeMap, BTreeSet};

use super::Index;
use super::profiles::Profile;
use crate::controller::agents::Standing;
use crate::controller::conditions::Holds;
use crate::controller::usage::listed;
use seccomp_operator_api::selects;
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Runtime, Startup, Target};

/// What containers are started with on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Platform {
    arch: Arch,
    runtime: Below,
}

/// What is below the runtime that answers kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Below {
    /// containerd and Docker start containers with runc, unless they are set up otherwise.
    Runc,
    /// CRI-O has been shipped with either; of others nothing is known.
    Any,
}

impl Platform {
    /// The platform of a node that reports this architecture and runtime; none of an architecture that the engine does not know.
    pub(super) fn new(architecture: &str, container_runtime: Option<&str>) -> Option<Self> {
        let name = container_runtime.and_then(|runtime| runtime.split("://").next());
        Some(Self {
            arch: Arch::from_node(architecture)?,
            runtime: match name {
                Some("containerd" | "docker") => Below::Runc,
                _ => Below::Any,
            },
        })
    }

    /// What is so with all the runtimes that there may be.
    fn judge(self, by_runtime: &[(Runtime, Startup)]) -> Startup {
        let may_be =
            |runtime: Runtime| self.runtime == Below::Any || matches!(runtime, Runtime::Runc);
        let found = by_runtime.iter().filter(|(runtime, _)| may_be(*runtime));
        let found: BTreeSet<_> = found.map(|(_, startup)| startup).collect();
        match (found.first(), found.last()) {
            (Some(first @ Startup::Never(_)), _) => (*first).clone(),
            (_, Some(Startup::Depends(why) | Startup::Never(why))) => Startup::Depends(why.clone()),
            _ => Startup::Starts,
        }
    }
}

impl Index {
    /// The condition `Startable` of a valid profile.
    pub(super) fn startable(&self, name: &str, profile: &Profile) -> (Holds, &'static str, String) {
        let mut nodes: BTreeMap<Platform, Vec<String>> = BTreeMap::new();
        for (node, seen) in &self.nodes {
            let managed = !matches!(self.standings.get(node), None | Some(Standing::Unmanaged));
            let platform = self.reports.get(node).and_then(|report| report.platform);
            if let Some(platform) = platform
                && managed
                && selects(&profile.seen.node_selector, &seen.labels)
            {
                nodes.entry(platform).or_default().push(node.clone());
            }
        }
        let all: usize = nodes.values().map(Vec::len).sum();
        let mut known = profile.startups.borrow_mut();
        let judged: Vec<_> = nodes
            .into_iter()
            .map(|(platform, nodes)| {
                let by_runtime = known
                    .entry(platform.arch)
                    .or_insert_with(|| self.library.startup(name, &target(platform.arch)));
                (platform.judge(by_runtime), nodes)
            })
            .collect();
        summed_up(&judged, all)
    }
}

/// A node of that architecture; the capabilities are the profile's.
fn target(arch: Arch) -> Target {
    Target {
        arch,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    }
}

fn summed_up(judged: &[(Startup, Vec<String>)], all: usize) -> (Holds, &'static str, String) {
    if judged.is_empty() {
        let sentence = "no node has said yet what runtime it has";
        return (Holds::Unknown, "NoNodes", sentence.to_owned());
    }
    let of = |wanted: fn(Startup) -> Option<String>| {
        let mut sentence = None;
        let mut nodes = Vec::new();
        for (startup, those) in judged.iter().cloned() {
            if let Some(why) = wanted(startup) {
                sentence.get_or_insert(why);
                nodes.extend(those);
            }
        }
        nodes.sort();
        let sentence = sentence?;
        Some(if nodes.len() == all {
            sentence
        } else {
            format!("on {}: {sentence}", listed(nodes))
        })
    };
    let never = of(|startup| match startup {
        Startup::Never(why) => Some(why),
        _ => None,
    });
    if let Some(sentence) = never {
        let message = format!("{sentence}; allow what the runtime itself calls as well");
        return (Holds::False, "NoContainerStarts", message);
    }
    let depends = of(|startup| match startup {
        Startup::Depends(why) => Some(why),
        _ => None,
    });
    match depends {
        Some(sentence) => (
            Holds::Unknown,
            "DependsOnRuntime",
            format!("{sentence}; nodes do not say which version they have"),
        ),
        None => (
            Holds::True,
            "RuntimeCallsAllowed",
            "nothing is refused that the nodes' runtimes are known to call themselves".to_owned(),
        ),
    }
}
