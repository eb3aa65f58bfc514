//! Which workloads have to be restarted so that these pods are made anew, and which pods nobody makes anew. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::table::Table;
use crate::text::{Style, plural};

/// The kinds of workload that can be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

/// A workload to restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub namespace: String,
    pub kind: Kind,
    pub name: String,
}

impl Target {
    /// Which one it is of those of all namespaces, in words.
    pub fn place(&self) -> String {
        format!("{self} in namespace {}", self.namespace)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Deployment => "deployment",
            Kind::StatefulSet => "statefulset",
            Kind::DaemonSet => "daemonset",
        };
        write!(f, "{kind}/{}", self.name)
    }
}

/// A namespace and a name in it.
pub type Named = (String, String);

/// The owners of what is in a namespace, by namespace and name; none where it has none.
pub type Owners = BTreeMap<Named, Option<OwnerReference>>;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The workloads, and how many of the pods are theirs.
    pub targets: BTreeMap<Target, usize>,
    /// The pods that no restart makes anew, and why.
    pub left: BTreeMap<Named, String>,
}

/// Finds the workloads of these pods. A pod that is not there any more needs no restart.
pub fn plan(wanted: &BTreeSet<Named>, pods: &Owners, replica_sets: &Owners) -> Plan {
    let mut plan = Plan::default();
    for pod in wanted {
        let Some(owner) = pods.get(pod) else {
            continue;
        };
        match workload(&pod.0, owner.as_ref(), replica_sets) {
            Ok(target) => *plan.targets.entry(target).or_default() += 1,
            Err(why) => {
                plan.left.insert(pod.clone(), why);
            }
        }
    }
    plan
}

fn workload(
    namespace: &str,
    owner: Option<&OwnerReference>,
    replica_sets: &Owners,
) -> Result<Target, String> {
    let Some(owner) = owner else {
        return Err("nothing makes it anew: delete it, and create it again".into());
    };
    let target = |kind, owner: &OwnerReference| Target {
        namespace: namespace.to_owned(),
        kind,
        name: owner.name.clone(),
    };
    let is_of_apps = owner.api_version.starts_with("apps/");
    match owner.kind.as_str() {
        "StatefulSet" if is_of_apps => Ok(target(Kind::StatefulSet, owner)),
        "DaemonSet" if is_of_apps => Ok(target(Kind::DaemonSet, owner)),
        "ReplicaSet" if is_of_apps => {
            let set = (namespace.to_owned(), owner.name.clone());
            let above = replica_sets.get(&set).and_then(Option::as_ref);
            let deployment = above.filter(|above| above.kind == "Deployment");
            deployment
                .map(|deployment| target(Kind::Deployment, deployment))
                .ok_or_else(|| {
                    format!(
                        "it is of ReplicaSet {}, which makes it anew once it is deleted",
                        owner.name
                    )
                })
        }
        "Job" => Err(format!(
            "it is of Job {}: let it end, or delete the Job and create it again",
            owner.name
        )),
        "Node" => Err("it is static: kubelet makes it from a file of its node".into()),
        kind => Err(format!(
            "it is of {kind} {}, which is not known here: restart it by its own means",
            owner.name
        )),
    }
}

/// The plan for people.
pub fn render(plan: &Plan, style: Style) -> String {
    let mut out = String::new();
    if !plan.targets.is_empty() {
        let mut table = Table::new(["NAMESPACE", "WORKLOAD", "PODS"]);
        for (target, pods) in &plan.targets {
            table.row([
                target.namespace.clone(),
                target.to_string(),
                pods.to_string(),
            ]);
        }
        out += &table.lines(style);
    }
    out + &render_left(plan, style)
}

/// The pods that stay as they are, for people.
pub fn render_left(plan: &Plan, style: Style) -> String {
    if plan.left.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["NAMESPACE", "POD", "NOT RESTARTED"]);
    for ((namespace, pod), why) in &plan.left {
        table.row([namespace.clone(), pod.clone(), why.clone()]);
    }
    format!(
        "\n{} cannot be restarted:\n{}",
        plural(plan.left.len(), "pod"),
        table.lines(style)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps)] // as an object has it
    fn owner(api_version: &str, kind: &str, name: &str) -> Option<OwnerReference> {
        Some(OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            name: name.into(),
            controller: Some(true),
            ..OwnerReference::default()
        })
    }

    fn named(name: &str) -> Named {
        ("shop".to_owned(), name.to_owned())
    }

    #[test]
    fn pods_are_restarted_by_the_workload_that_makes_them() {
        let pods = Owners::from([
            (named("web-1-a"), owner("apps/v1", "ReplicaSet", "web-1")),
            (named("web-1-b"), owner("apps/v1", "ReplicaSet", "web-1")),
            (named("db-0"), owner("apps/v1", "StatefulSet", "db")),
            (named("log-x"), owner("apps/v1", "DaemonSet", "log")),
            (named("other"), owner("apps/v1", "DaemonSet", "other")),
            (named("lone-a"), owner("apps/v1", "ReplicaSet", "lone")),
            (named("job-a"), owner("batch/v1", "Job", "job")),
            (named("bare"), None),
            (named("etcd"), owner("v1", "Node", "n1")),
            (named("odd"), owner("example.com/v1", "StatefulSet", "odd")),
        ]);
        let sets = Owners::from([
            (named("web-1"), owner("apps/v1", "Deployment", "web")),
            (named("lone"), None),
        ]);
        let wanted = pods.keys().filter(|(_, name)| name != "other").cloned();
        let gone = named("gone");
        let plan = plan(&wanted.chain([gone]).collect(), &pods, &sets);
        let targets: Vec<_> = plan
            .targets
            .iter()
            .map(|(target, pods)| (target.to_string(), *pods))
            .collect();
        let expected = [
            ("deployment/web", 2),
            ("statefulset/db", 1),
            ("daemonset/log", 1),
        ];
        assert_eq!(
            targets,
            expected.map(|(name, pods)| (name.to_owned(), pods))
        );
        for (pod, part) in [
            ("bare", "nothing makes it anew"),
            ("job-a", "it is of Job job"),
            ("lone-a", "ReplicaSet lone"),
            ("etcd", "static"),
            ("odd", "restart it by its own means"),
        ] {
            assert!(plan.left[&named(pod)].contains(part), "{pod}: {plan:?}");
        }
        assert_eq!(plan.left.len(), 5);
    }
}
