//! Brings what the watches see into the index and into the webhook's view. One task, so that both see things in one order.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use futures::stream::select_all;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::PartialObjectMeta;
use kube::core::{ClusterResourceScope, DeserializeGuard, ObjectMeta};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::Shared;
use super::index::{self, Index, SeenProfile};
use crate::api::{
    SeccompNode, SeccompPolicy, SeccompProfile, SeccompProfileStatus, StoredProfile, define,
};
use crate::kubernetes::{Change, Watched, resource_version, watch, watch_as};
use crate::profile::Defined;
use crate::webhook::view::{self, View};

/// An agent's pod: of its spec only the node matters.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Pod)]
struct AgentPod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: AgentPodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentPodSpec {
    node_name: Option<String>,
}

/// So many profiles are asked for at once: each can have a megabyte.
const PAGE: u32 = 20;

/// One change of any of the kinds.
enum Event {
    Profile(Change<SeccompProfile>),
    Policy(Change<SeccompPolicy>),
    Report(Change<SeccompNode>),
    Node(Change<PartialObjectMeta<Node>>),
    Namespace(Change<PartialObjectMeta<Namespace>>),
    Agent(Change<AgentPod>),
}

/// Watches for as long as the process lives.
pub async fn run(
    client: &Client,
    namespace: &str,
    agent_selector: &str,
    shared: &Shared,
) -> anyhow::Result<()> {
    let everywhere = Config::default;
    let agents = Api::namespaced(client.clone(), namespace);
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
        watch(all::<PartialObjectMeta<Node>>(client), everywhere())
            .map(Event::Node)
            .boxed(),
        watch(all::<PartialObjectMeta<Namespace>>(client), everywhere())
            .map(Event::Namespace)
            .boxed(),
        watch::<AgentPod>(agents, Config::default().labels(agent_selector))
            .map(Event::Agent)
            .boxed(),
    ]));
    while let Some(event) = events.next().await {
        take(event, shared);
    }
    anyhow::bail!("the watches ended")
}

fn all<K>(client: &Client) -> Api<DeserializeGuard<K>>
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    Api::all(client.clone())
}

fn take(event: Event, shared: &Shared) {
    // The view is taken only by what belongs there, and only for a moment: reviews of pods wait for it.
    let index = || shared.index.lock().unwrap_or_else(PoisonError::into_inner);
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
                Change::Exists(profile) => {
                    let (name, seen) = profile_of(profile);
                    let new = index().is_new(&name, &seen);
                    new.then(|| define(profile))
                }
                _ => None,
            };
            view_profile(&change, defined.clone(), &mut view());
            take_profile(&change, defined, &mut index()).then_some(0)
        }
        Event::Policy(change) => take_policy(change, &mut view()).then_some(1),
        Event::Report(change) => take_report(change, &mut index()).then_some(2),
        Event::Node(change) => take_node(&change, &mut index()).then_some(3),
        Event::Namespace(change) => {
            let ended = take_namespace(&change, &mut view()).then_some(4);
            shared.admission.namespace_added.notify_waiters();
            ended
        }
        Event::Agent(change) => take_agent(&change, &mut index()).then_some(5),
    };
    if let Some(feed) = ended {
        shared.ready.feeds[feed].store(true, Ordering::Relaxed);
    }
    shared.changed.notify_one();
}

// Each of these takes one change of one kind, and says whether a full list has ended with it.

fn take_profile(
    change: &Change<SeccompProfile>,
    defined: Option<Defined>,
    index: &mut Index,
) -> bool {
    match change {
        Change::ListBegins => index.list_begins(index::Kind::Profile),
        Change::ListEnds => {
            index.list_ends(index::Kind::Profile);
            return true;
        }
        Change::Exists(profile) => {
            let (name, seen) = profile_of(profile);
            index.profile(&name, seen, || defined.unwrap_or_else(|| define(profile)));
        }
        Change::Deleted(profile) => index.gone(index::Kind::Profile, &name_of(profile)),
    }
    false
}

/// What admission knows of a profile: that it exists, whether all nodes have it, and what it says if that is new.
fn view_profile(change: &Change<SeccompProfile>, defined: Option<Defined>, view: &mut View) {
    match change {
        Change::ListBegins => view.list_begins(view::Kind::Profile),
        Change::ListEnds => view.list_ends(view::Kind::Profile),
        Change::Exists(profile) => {
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
        Change::Deleted(profile) => view.gone(view::Kind::Profile, &name_of(profile)),
    }
}

fn take_policy(change: Change<SeccompPolicy>, view: &mut View) -> bool {
    match change {
        Change::ListBegins => view.list_begins(view::Kind::Policy),
        Change::ListEnds => {
            view.list_ends(view::Kind::Policy);
            return true;
        }
        Change::Exists(Ok(policy)) => {
            view.policy(&policy.metadata.name.unwrap_or_default(), policy.spec);
        }
        Change::Exists(Err(unreadable)) => {
            let name = unreadable.metadata.name.unwrap_or_default();
            warn!(
                policy = name,
                error = unreadable.error,
                "a SeccompPolicy cannot be read and selects nothing"
            );
            view.gone(view::Kind::Policy, &name);
        }
        Change::Deleted(policy) => view.gone(view::Kind::Policy, &name_of(&policy)),
    }
    false
}

fn take_report(change: Change<SeccompNode>, index: &mut Index) -> bool {
    match change {
        Change::ListBegins => index.list_begins(index::Kind::Report),
        Change::ListEnds => {
            index.list_ends(index::Kind::Report);
            return true;
        }
        Change::Exists(Ok(report)) => {
            let name = report.metadata.name.clone().unwrap_or_default();
            index.report(&name, &report);
        }
        Change::Exists(Err(unreadable)) => {
            let name = unreadable.metadata.name.unwrap_or_default();
            warn!(
                node = name,
                error = unreadable.error,
                "a SeccompNode cannot be read; its node counts as not level"
            );
            index.gone(index::Kind::Report, &name);
        }
        Change::Deleted(report) => index.gone(index::Kind::Report, &name_of(&report)),
    }
    false
}

fn take_node(change: &Change<PartialObjectMeta<Node>>, index: &mut Index) -> bool {
    match change {
        Change::ListBegins => index.list_begins(index::Kind::Node),
        Change::ListEnds => {
            index.list_ends(index::Kind::Node);
            return true;
        }
        Change::Exists(node) => {
            let metadata = metadata_of(node);
            let labels = metadata.labels.clone().unwrap_or_default();
            let linux = labels
                .get("kubernetes.io/os")
                .is_none_or(|os| os == "linux");
            let uid = metadata.uid.clone().unwrap_or_default();
            index.node(&name_of(node), &uid, linux, labels);
        }
        Change::Deleted(node) => index.gone(index::Kind::Node, &name_of(node)),
    }
    false
}

fn take_namespace(change: &Change<PartialObjectMeta<Namespace>>, view: &mut View) -> bool {
    match change {
        Change::ListBegins => view.list_begins(view::Kind::Namespace),
        Change::ListEnds => {
            view.list_ends(view::Kind::Namespace);
            return true;
        }
        Change::Exists(namespace) => {
            let labels = metadata_of(namespace).labels.clone().unwrap_or_default();
            view.namespace(&name_of(namespace), labels);
        }
        Change::Deleted(namespace) => view.gone(view::Kind::Namespace, &name_of(namespace)),
    }
    false
}

fn take_agent(change: &Change<AgentPod>, index: &mut Index) -> bool {
    match change {
        Change::ListBegins => index.list_begins(index::Kind::Agent),
        Change::ListEnds => {
            index.list_ends(index::Kind::Agent);
            return true;
        }
        Change::Exists(pod) => {
            let node = pod
                .as_ref()
                .ok()
                .and_then(|pod| pod.spec.node_name.as_deref());
            index.agent(&name_of(pod), node);
        }
        Change::Deleted(pod) => index.gone(index::Kind::Agent, &name_of(pod)),
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
    };
    (name_of(profile), seen)
}
