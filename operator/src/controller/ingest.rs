//! Brings what the watches see into the index and into the webhook's view. One task, so that both see things in one order.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, ContainerStatus, Namespace, Node, Pod, PodCondition, Taint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::PartialObjectMeta;
use kube::core::{ClusterResourceScope, DeserializeGuard, ObjectMeta};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::agents::{Agent, Away};
use super::index::{self, Index, SeenProfile};
use super::policies::index::{Policies, Seen as SeenPolicy};
use super::{ControllerArgs, Shared};
use kube_support::{WatchEvent, Watched, resource_version, watch, watch_as};
use seccomp_operator_api::{
    STARTUP_TAINT, SeccompNode, SeccompPolicy, SeccompPolicyStatus, SeccompProfile,
    SeccompProfileStatus, StoredProfile, define,
};
use seccomp_policy::view::{self, View};
use seccomp_profile::Defined;

/// An agent's pod: only where it is, or is meant to be, and how it does.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Pod)]
struct AgentPod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: AgentPodSpec,
    #[serde(default)]
    status: AgentPodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentPodSpec {
    node_name: Option<String>,
    affinity: Option<Affinity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AgentPodStatus {
    conditions: Vec<PodCondition>,
    container_statuses: Vec<ContainerStatus>,
}

impl AgentPod {
    /// Where the pod is, or else where its DaemonSet means it to be.
    fn node(&self) -> Option<&str> {
        let meant = || {
            let affinity = self.spec.affinity.as_ref()?.node_affinity.as_ref()?;
            let required = affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()?;
            let fields = required.node_selector_terms.iter();
            let mut fields = fields.flat_map(|term| term.match_fields.iter().flatten());
            let name = fields.find(|field| field.key == "metadata.name")?;
            name.values.as_ref()?.first().map(String::as_str)
        };
        self.spec.node_name.as_deref().or_else(meant)
    }

    fn agent(&self, now: Timestamp) -> Option<Agent> {
        let condition = |type_: &str| {
            let mut conditions = self.status.conditions.iter();
            conditions.find(|condition| condition.type_ == type_)
        };
        let ready = condition("Ready");
        let created = created(&self.metadata);
        let away = || {
            let changed = ready.and_then(|ready| ready.last_transition_time.as_ref());
            let changed = changed.map(|Time(at)| *at).or(created).unwrap_or(now);
            let waiting =
                |status: &ContainerStatus| status.state.as_ref()?.waiting.as_ref()?.reason.clone();
            let waiting = self.status.container_statuses.iter().find_map(waiting);
            let unscheduled =
                condition("PodScheduled").filter(|scheduled| scheduled.status != "True");
            let reason = |condition: &PodCondition| condition.reason.clone();
            Away {
                since: now.duration_since(changed).try_into().unwrap_or_default(),
                why: waiting
                    .or_else(|| unscheduled.and_then(reason))
                    .or_else(|| ready.and_then(reason)),
            }
        };
        Some(Agent {
            node: self.node()?.to_owned(),
            created,
            away: ready.is_none_or(|ready| ready.status != "True").then(away),
        })
    }
}

/// A Node: of its spec only the taints matter.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Node)]
struct ClusterNode {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ClusterNodeSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ClusterNodeSpec {
    taints: Vec<Taint>,
}

/// The agents' DaemonSet: only how many it wants.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = DaemonSet)]
struct AgentDaemonSet {
    metadata: ObjectMeta,
    #[serde(default)]
    status: AgentDaemonSetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AgentDaemonSetStatus {
    desired_number_scheduled: i32,
}

/// So many profiles are asked for at once: each can have a megabyte.
const PAGE: u32 = 20;

/// One change of any of the kinds.
enum Event {
    Profile(WatchEvent<SeccompProfile>),
    Policy(WatchEvent<SeccompPolicy>),
    Report(WatchEvent<SeccompNode>),
    Node(WatchEvent<ClusterNode>),
    Namespace(WatchEvent<PartialObjectMeta<Namespace>>),
    Agent(WatchEvent<AgentPod>),
    DaemonSet(WatchEvent<AgentDaemonSet>),
}

/// Watches for as long as the process lives.
pub async fn run(client: &Client, args: &ControllerArgs, shared: &Shared) -> anyhow::Result<()> {
    let everywhere = Config::default;
    let agents = Api::namespaced(client.clone(), &args.namespace);
    let daemon_sets = Api::namespaced(client.clone(), &args.namespace);
    let itself = format!("metadata.name={}", args.agent_daemon_set);
    let mut events = pin!(select_all([
        watch_as(
            Api::all(client.clone()),
            everywhere().page_size(PAGE),
            StoredProfile::read
        )
        .map(Event::Profile)
        .boxed(),
        watch(all::<SeccompPolicy>(client), everywhere())
            .map(Event::Policy)
            .boxed(),
        watch(all::<SeccompNode>(client), everywhere())
            .map(Event::Report)
            .boxed(),
        nodes(client, args.startup_taint).map(Event::Node).boxed(),
        watch(all::<PartialObjectMeta<Namespace>>(client), everywhere())
            .map(Event::Namespace)
            .boxed(),
        watch::<AgentPod>(agents, Config::default().labels(&args.agent_selector))
            .map(Event::Agent)
            .boxed(),
        watch::<AgentDaemonSet>(daemon_sets, Config::default().fields(&itself))
            .map(Event::DaemonSet)
            .boxed(),
    ]));
    while let Some(event) = events.next().await {
        take(event, shared);
    }
    anyhow::bail!("the watches ended")
}

/// Nodes: as much of them as is needed. Their taints are not among their metadata, and with the rest of a Node comes every word that
/// kubelet says of it.
fn nodes(client: &Client, taints: bool) -> BoxStream<'static, WatchEvent<ClusterNode>> {
    if taints {
        return watch(all::<ClusterNode>(client), Config::default()).boxed();
    }
    let metadata = |DeserializeGuard(node): DeserializeGuard<PartialObjectMeta<Node>>| {
        node.map(|node| ClusterNode {
            metadata: node.metadata,
            spec: ClusterNodeSpec::default(),
        })
    };
    watch_as(Api::all(client.clone()), Config::default(), metadata).boxed()
}

fn all<K>(client: &Client) -> Api<DeserializeGuard<K>>
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    Api::all(client.clone())
}

fn take(event: Event, shared: &Shared) {
    // The view is taken only by what belongs there, and only for a moment: reviews of pods wait for it.
    let index = || {
        let mut index = shared.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.tick(shared.started.elapsed());
        index
    };
    let view = || {
        shared
            .admission
            .view
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    };
    let ended = match event {
        Event::Profile(change) => {
            // A spec is read once, and while nobody waits for it.
            let defined = match &change {
                WatchEvent::Exists(profile) => {
                    let (name, seen) = profile_of(profile);
                    let new = index().is_new(&name, &seen);
                    new.then(|| define(profile))
                }
                _ => None,
            };
            view_profile(&change, defined.clone(), &mut view());
            shared.policies_changed.notify_one();
            take_profile(&change, defined, &mut index()).then_some(0)
        }
        Event::Policy(change) => {
            // Whoever takes both takes the view first.
            let mut view = view();
            let mut policies = shared
                .policies
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let ended = take_policy(change, &mut view, &mut policies).then_some(1);
            shared.policies_changed.notify_one();
            ended
        }
        Event::Report(change) => take_report(change, &mut index()).then_some(2),
        Event::Node(change) => take_node(&change, &mut index()).then_some(3),
        Event::Namespace(change) => {
            let ended = take_namespace(&change, &mut view()).then_some(4);
            shared.admission.namespace_added.notify_waiters();
            ended
        }
        Event::Agent(change) => take_agent(&change, &mut index()).then_some(5),
        Event::DaemonSet(change) => take_daemon_set(&change, &mut index()).then_some(6),
    };
    if let Some(feed) = ended {
        shared.ready.feeds[feed].store(true, Ordering::Relaxed);
    }
    shared.changed.notify_one();
    shared.nodes_changed.notify_one();
}

// Each of these takes one change of one kind, and says whether a full list has ended with it.

fn take_profile(
    change: &WatchEvent<SeccompProfile>,
    defined: Option<Defined>,
    index: &mut Index,
) -> bool {
    match change {
        WatchEvent::ListBegins => index.list_begins(index::Kind::Profile),
        WatchEvent::ListEnds => {
            index.list_ends(index::Kind::Profile);
            return true;
        }
        WatchEvent::Exists(profile) => {
            let (name, seen) = profile_of(profile);
            index.profile(&name, seen, || defined.unwrap_or_else(|| define(profile)));
        }
        WatchEvent::Deleted(profile) => index.gone(index::Kind::Profile, &name_of(profile)),
    }
    false
}

/// What admission knows of a profile: that it exists, whether all nodes have it, and what it says if that is new.
fn view_profile(change: &WatchEvent<SeccompProfile>, defined: Option<Defined>, view: &mut View) {
    match change {
        WatchEvent::ListBegins => view.list_begins(view::Kind::Profile),
        WatchEvent::ListEnds => view.list_ends(view::Kind::Profile),
        WatchEvent::Exists(profile) => {
            let status = profile
                .as_ref()
                .ok()
                .and_then(|profile| profile.status.as_ref());
            view.profile(
                &name_of(profile),
                status.is_some_and(SeccompProfileStatus::is_ready),
                defined,
            );
        }
        WatchEvent::Deleted(profile) => view.gone(view::Kind::Profile, &name_of(profile)),
    }
}

fn take_policy(
    change: WatchEvent<SeccompPolicy>,
    view: &mut View,
    policies: &mut Policies,
) -> bool {
    match change {
        WatchEvent::ListBegins => {
            view.list_begins(view::Kind::Policy);
            policies.list_begins();
        }
        WatchEvent::ListEnds => {
            view.list_ends(view::Kind::Policy);
            policies.list_ends();
            return true;
        }
        WatchEvent::Exists(Ok(policy)) => {
            let metadata = policy.metadata;
            let name = metadata.name.unwrap_or_default();
            let seen = SeenPolicy {
                generation: metadata.generation.unwrap_or_default(),
                version: metadata.resource_version.unwrap_or_default(),
                spec: Ok(policy.spec.clone()),
                status: policy.status.unwrap_or_default(),
            };
            policies.exists(&name, seen);
            view.policy(&name, policy.spec);
        }
        WatchEvent::Exists(Err(unreadable)) => {
            let name = unreadable.metadata.name.unwrap_or_default();
            warn!(
                policy = name,
                error = unreadable.error,
                "a SeccompPolicy cannot be read and selects nothing"
            );
            view.gone(view::Kind::Policy, &name);
            let seen = SeenPolicy {
                generation: unreadable.metadata.generation.unwrap_or_default(),
                version: unreadable.metadata.resource_version.unwrap_or_default(),
                spec: Err(format!(
                    "spec: this version of the operator cannot read it: {}",
                    unreadable.error
                )),
                status: SeccompPolicyStatus::default(),
            };
            policies.exists(&name, seen);
        }
        WatchEvent::Deleted(policy) => {
            let name = name_of(&policy);
            view.gone(view::Kind::Policy, &name);
            policies.gone(&name);
        }
    }
    false
}

fn take_report(change: WatchEvent<SeccompNode>, index: &mut Index) -> bool {
    match change {
        WatchEvent::ListBegins => index.list_begins(index::Kind::Report),
        WatchEvent::ListEnds => {
            index.list_ends(index::Kind::Report);
            return true;
        }
        WatchEvent::Exists(Ok(report)) => {
            let name = report.metadata.name.clone().unwrap_or_default();
            index.report(&name, &report);
        }
        WatchEvent::Exists(Err(unreadable)) => {
            let name = unreadable.metadata.name.unwrap_or_default();
            warn!(
                node = name,
                error = unreadable.error,
                "a SeccompNode cannot be read; its node counts as not level"
            );
            index.gone(index::Kind::Report, &name);
        }
        WatchEvent::Deleted(report) => index.gone(index::Kind::Report, &name_of(&report)),
    }
    false
}

fn take_node(change: &WatchEvent<ClusterNode>, index: &mut Index) -> bool {
    match change {
        WatchEvent::ListBegins => index.list_begins(index::Kind::Node),
        WatchEvent::ListEnds => {
            index.list_ends(index::Kind::Node);
            return true;
        }
        WatchEvent::Exists(node) => {
            let metadata = metadata_of(node);
            let taints = node.iter().flat_map(|node| &node.spec.taints).enumerate();
            let tainted = taints.filter(|(_, taint)| taint.key == STARTUP_TAINT);
            let seen = index::Node {
                uid: metadata.uid.clone().unwrap_or_default(),
                created: created(metadata),
                labels: metadata.labels.clone().unwrap_or_default(),
                tainted: tainted.map(|(place, _)| place).collect(),
            };
            index.node(&name_of(node), seen);
        }
        WatchEvent::Deleted(node) => index.gone(index::Kind::Node, &name_of(node)),
    }
    false
}

fn created(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|Time(at)| *at)
}

fn take_namespace(change: &WatchEvent<PartialObjectMeta<Namespace>>, view: &mut View) -> bool {
    match change {
        WatchEvent::ListBegins => view.list_begins(view::Kind::Namespace),
        WatchEvent::ListEnds => {
            view.list_ends(view::Kind::Namespace);
            return true;
        }
        WatchEvent::Exists(namespace) => {
            let labels = metadata_of(namespace).labels.clone().unwrap_or_default();
            view.namespace(&name_of(namespace), labels);
        }
        WatchEvent::Deleted(namespace) => view.gone(view::Kind::Namespace, &name_of(namespace)),
    }
    false
}

fn take_agent(change: &WatchEvent<AgentPod>, index: &mut Index) -> bool {
    match change {
        WatchEvent::ListBegins => index.list_begins(index::Kind::Agent),
        WatchEvent::ListEnds => {
            index.list_ends(index::Kind::Agent);
            return true;
        }
        WatchEvent::Exists(pod) => {
            // One that cannot be read is there all the same, but who knows where.
            let agent = pod
                .as_ref()
                .ok()
                .and_then(|pod| pod.agent(Timestamp::now()));
            index.agent(&name_of(pod), agent);
        }
        WatchEvent::Deleted(pod) => index.gone(index::Kind::Agent, &name_of(pod)),
    }
    false
}

fn take_daemon_set(change: &WatchEvent<AgentDaemonSet>, index: &mut Index) -> bool {
    match change {
        WatchEvent::ListBegins => index.list_begins(index::Kind::DaemonSet),
        WatchEvent::ListEnds => {
            index.list_ends(index::Kind::DaemonSet);
            return true;
        }
        WatchEvent::Exists(daemon_set) => {
            let wanted = daemon_set.as_ref().ok().map(|daemon_set| {
                usize::try_from(daemon_set.status.desired_number_scheduled).unwrap_or_default()
            });
            index.daemon_set(&name_of(daemon_set), wanted);
        }
        WatchEvent::Deleted(daemon_set) => index.gone(index::Kind::DaemonSet, &name_of(daemon_set)),
    }
    false
}

fn metadata_of<K: Resource>(object: &Watched<K>) -> &ObjectMeta {
    match object {
        Ok(object) => object.meta(),
        Err(unreadable) => &unreadable.metadata,
    }
}

fn name_of<K: Resource>(object: &Watched<K>) -> String {
    metadata_of(object).name.clone().unwrap_or_default()
}

fn profile_of(profile: &Watched<SeccompProfile>) -> (String, SeenProfile) {
    let metadata = metadata_of(profile);
    let seen = SeenProfile {
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        version: metadata
            .resource_version
            .as_deref()
            .map_or(0, resource_version),
        node_selector: profile
            .as_ref()
            .map(|profile| profile.spec.node_selector.clone())
            .unwrap_or_default(),
        status: profile
            .as_ref()
            .ok()
            .and_then(|profile| profile.status.clone())
            .unwrap_or_default(),
        finalizers: metadata.finalizers.clone().unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
    };
    (name_of(profile), seen)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn agent(spec: &Value, status: &Value) -> Option<Agent> {
        let pod = json!({
            "metadata": { "name": "p", "creationTimestamp": "2026-01-01T00:00:00Z" }, "spec": spec, "status": status,
        });
        let pod: AgentPod = serde_json::from_value(pod).unwrap();
        pod.agent("2026-01-01T00:10:00Z".parse().unwrap())
    }

    #[test]
    fn an_agent_s_pod_says_where_it_is_and_how_it_does() {
        let on = json!({ "nodeName": "n1", "containers": [] });
        let ready = |status: &str| json!([{ "type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:09:50Z" }]);
        let found = agent(&on, &json!({ "conditions": ready("True") })).unwrap();
        assert_eq!((found.node.as_str(), found.away), ("n1", None));
        let state = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let container = json!([{ "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": state }]);
        let status = json!({ "conditions": ready("False"), "containerStatuses": container });
        let away = agent(&on, &status).unwrap().away.unwrap();
        assert_eq!(away.since, Duration::from_secs(10));
        assert_eq!(away.why.as_deref(), Some("CrashLoopBackOff"));
    }

    #[test]
    fn a_pod_that_has_no_node_yet_is_where_its_daemon_set_means_it_to_be() {
        let term = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n2"] }] });
        let affinity = json!({ "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] },
        }});
        let unscheduled =
            json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }]);
        let found = agent(
            &json!({ "affinity": affinity }),
            &json!({ "conditions": unscheduled }),
        );
        let found = found.unwrap();
        assert_eq!(found.node, "n2");
        let away = found.away.unwrap();
        assert_eq!(away.since, Duration::from_mins(10), "since it was created");
        assert_eq!(away.why.as_deref(), Some("Unschedulable"));
        assert_eq!(agent(&json!({}), &json!({})), None);
    }
}
