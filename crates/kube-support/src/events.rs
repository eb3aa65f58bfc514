//! Kubernetes Events: what `kubectl describe` shows under an object.
//!
//! Whoever posts decides what is worth an Event, and how often; here nothing is merged, and nothing waits: Events that the
//! API server does not take fast enough are dropped, since a log has them too.
//!
//! They are core/v1 Events without `eventTime`: of an object of the cluster `kubectl describe` finds those alone whose object has no
//! namespace, and Kubernetes 1.20 takes these in no other form.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource};
use std::hash::{BuildHasher as _, RandomState};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{debug, warn};

use crate::bounded;
use crate::error::chain;

/// Events that wait to be written.
const QUEUE: usize = 32;
/// The API server's limit for a note, in bytes.
const MAX_NOTE: usize = 1024;
/// Where Events of objects of the cluster lie.
const NAMESPACE_OF_CLUSTER: &str = "default";
/// The API server's limit for an object's name, in bytes.
const MAX_NAME: usize = 253;

/// What happened.
#[derive(Clone, Debug)]
pub struct EventRequest {
    /// The object that it happened to.
    pub regarding: ObjectReference,
    /// Something is wrong, and people should know; otherwise it is for the record.
    pub warning: bool,
    /// Why, in one word for programs.
    pub reason: &'static str,
    /// What was done about it, in one word for programs.
    pub action: &'static str,
    /// A sentence for people.
    pub note: String,
}

/// Where to post.
#[derive(Clone, Debug)]
pub struct Events(Sender<(EventRequest, Incident)>);

/// Requests of one incident lead to one Event; none: each is of its own.
type Incident = Option<u64>;

/// Writes what is posted, as `controller` (a component) on `instance` (a node or pod). The future has to be polled.
pub fn events(
    client: Client,
    controller: &'static str,
    instance: String,
) -> (Events, impl Future<Output = ()>) {
    let (sender, receiver) = channel(QUEUE);
    (
        Events(sender),
        write(client, controller, instance, receiver),
    )
}

impl Events {
    /// Posts an Event, or drops it when too many wait.
    pub fn post(&self, request: EventRequest) {
        self.send(request, None);
    }

    /// Posts an Event unless there is one of that incident already, whoever posted it: one that started anew must not say it again.
    pub fn post_once(&self, request: EventRequest, incident: u64) {
        self.send(request, Some(incident));
    }

    fn send(&self, request: EventRequest, incident: Incident) {
        if let Err(error) = self.0.try_send((request, incident)) {
            debug!(%error, "an Event was dropped");
        }
    }
}

/// A reference to an object of the cluster, as Events have it.
#[must_use]
pub fn reference<K>(name: &str, uid: &str) -> ObjectReference
where
    K: Resource<DynamicType = ()>,
{
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

async fn write(
    client: Client,
    controller: &'static str,
    instance: String,
    mut requests: Receiver<(EventRequest, Incident)>,
) {
    while let Some((request, incident)) = requests.recv().await {
        let event = event(request, incident, controller, &instance);
        let namespace = event.metadata.namespace.as_deref();
        let api: Api<Event> =
            Api::namespaced(client.clone(), namespace.unwrap_or(NAMESPACE_OF_CLUSTER));
        match bounded(api.create(&PostParams::default(), &event)).await {
            Ok(_) => {}
            Err(error) if incident.is_some() && error.is_conflict() => {}
            Err(error) => warn!(error = chain(&error), "an Event could not be written"),
        }
    }
}

fn event(request: EventRequest, incident: Incident, controller: &str, instance: &str) -> Event {
    let now = Timestamp::now();
    let about = request.regarding.name.as_deref().unwrap_or("unknown");
    let unique = incident.unwrap_or_else(|| RandomState::new().hash_one(now.as_nanosecond()));
    let unique = format!(".{unique:016x}");
    let namespace = request.regarding.namespace.as_deref();
    Event {
        metadata: ObjectMeta {
            name: Some(cut(about.to_owned(), MAX_NAME - unique.len()) + &unique),
            namespace: Some(namespace.unwrap_or(NAMESPACE_OF_CLUSTER).to_owned()),
            ..ObjectMeta::default()
        },
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        type_: Some(if request.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(request.reason.to_owned()),
        action: Some(request.action.to_owned()),
        message: Some(cut(request.note, MAX_NOTE)),
        involved_object: request.regarding,
        // What `kubectl describe` names as the sender.
        source: Some(EventSource {
            component: Some(controller.to_owned()),
            host: Some(instance.to_owned()),
        }),
        reporting_component: Some(controller.to_owned()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        ..Event::default()
    }
}

/// The longest beginning of `text` that has at most `most` bytes.
fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Node;

    #[test]
    fn an_event_is_what_the_api_server_takes() {
        let request = EventRequest {
            regarding: reference::<Node>("node1", "uid"),
            warning: true,
            reason: "FileChanged",
            action: "Restore",
            note: "ä".repeat(600),
        };
        let event = event(request, None, "agent", "node1");
        let involved = &event.involved_object;
        assert_eq!(involved.api_version.as_deref(), Some("v1"));
        assert_eq!(involved.kind.as_deref(), Some("Node"));
        assert_eq!(event.message.unwrap().len(), 1024);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert!(event.metadata.name.unwrap().starts_with("node1."));
    }

    #[test]
    fn kubectl_describe_finds_the_event_of_an_object_without_a_namespace_and_kubernetes_1_20_takes_it()
     {
        let request = |namespace: Option<&str>| EventRequest {
            regarding: ObjectReference {
                namespace: namespace.map(str::to_owned),
                ..reference::<Node>("node1", "uid")
            },
            warning: true,
            reason: "FileChanged",
            action: "Restore",
            note: String::new(),
        };
        let of_the_cluster = event(request(None), None, "agent", "node1");
        let namespace = of_the_cluster.metadata.namespace.as_deref();
        assert_eq!(namespace, Some("default"));
        // What is asked for is `involvedObject.namespace=`; with `eventTime` 1.20 would demand that it be `default`.
        assert_eq!(of_the_cluster.involved_object.namespace, None);
        assert!(of_the_cluster.event_time.is_none() && of_the_cluster.last_timestamp.is_some());
        let elsewhere = event(request(Some("web")), None, "agent", "node1");
        let namespaces = [
            elsewhere.metadata.namespace,
            elsewhere.involved_object.namespace,
        ];
        assert_eq!(namespaces, [Some("web".to_owned()), Some("web".to_owned())]);
    }

    #[test]
    fn an_event_about_an_object_with_the_longest_name_has_a_name_that_is_not_longer() {
        let request = EventRequest {
            regarding: reference::<Node>(&"n".repeat(MAX_NAME), "uid"),
            warning: false,
            reason: "Seen",
            action: "None",
            note: String::new(),
        };
        let name = event(request, None, "agent", "node1")
            .metadata
            .name
            .unwrap();
        assert_eq!(name.len(), MAX_NAME);
    }
}
