//! Brings what the watches see into the index and into the view that admission answers from. One task, so that both see things in
//! one order. `objects` says what is read of each object, `ceilings` keeps what profiles are held to.

mod ceilings;
mod objects;
mod policy_trials;
mod reports;

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt as _;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use k8s_openapi::jiff::Timestamp;
use kube::api::PartialObjectMeta;
use kube::core::{ClusterResourceScope, DeserializeGuard, ObjectMeta};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::index::{self, Index, SeenProfile};
use super::policies::index::{Policies, SeenPolicy};
use super::recordings::index::{self as recordings, Recordings};
use super::recordings::recorders::Recorders;
use super::{ControllerArgs, ControllerError, Shared, sources};
use kube_support::{WatchEvent, Watched, resource_version, watch, watch_as};
use objects::{AgentDaemonSet, AgentPod, ClusterNode, ClusterNodeSpec, created};
use policy_trials::{take_policy_on_trial, take_trial_profile};
use seccomp_operator_api::{
    STARTUP_TAINT, SeccompAuditReport, SeccompCeiling, SeccompDenialReport, SeccompNode,
    SeccompPolicy, SeccompPolicyStatus, SeccompProfile, SeccompRecording, SeccompRecordingReport,
    StoredProfile, define,
};
use seccomp_policy::profile_state::ProfileState;
use seccomp_policy::view::{self, View};
use seccomp_profile::Defined;
use seccomp_recording::provenance;

/// So many profiles are asked for at once: each can have a megabyte.
const PAGE: u32 = 20;

/// The watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Profiles,
    Policies,
    SeccompNodes,
    Nodes,
    Namespaces,
    Agents,
    DaemonSet,
    Recordings,
    RecordingReports,
    Recorders,
    DenialReports,
    Ceilings,
    AuditReports,
}

impl Source {
    pub const ALL: [Self; 13] = [
        Self::Profiles,
        Self::Policies,
        Self::SeccompNodes,
        Self::Nodes,
        Self::Namespaces,
        Self::Agents,
        Self::DaemonSet,
        Self::Recordings,
        Self::RecordingReports,
        Self::Recorders,
        Self::DenialReports,
        Self::Ceilings,
        Self::AuditReports,
    ];
}

/// What any of the watches tells.
#[allow(clippy::large_enum_variant)] // one at a time, and a profile is what comes most
enum Event {
    Profile(WatchEvent<SeccompProfile>),
    Policy(WatchEvent<SeccompPolicy>),
    Report(WatchEvent<SeccompNode>),
    Node(WatchEvent<ClusterNode>),
    Namespace(WatchEvent<PartialObjectMeta<Namespace>>),
    Agent(WatchEvent<AgentPod>),
    DaemonSet(WatchEvent<AgentDaemonSet>),
    Recording(WatchEvent<SeccompRecording>),
    RecordingReport(WatchEvent<SeccompRecordingReport>),
    Recorder(WatchEvent<AgentPod>),
    DenialReport(WatchEvent<SeccompDenialReport>),
    Ceiling(WatchEvent<SeccompCeiling>),
    AuditReport(WatchEvent<SeccompAuditReport>),
}

/// Watches for as long as the process lives.
pub async fn run(
    client: &Client,
    args: &ControllerArgs,
    shared: &Shared,
) -> Result<(), ControllerError> {
    let everywhere = Config::default;
    let agents = Api::namespaced(client.clone(), &args.namespace);
    let recorders = Api::namespaced(client.clone(), &args.namespace);
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
        watch_as(all::<SeccompNode>(client), everywhere(), |found| found.0)
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
        watch::<SeccompRecording>(Api::all(client.clone()), everywhere())
            .map(Event::Recording)
            .boxed(),
        watch::<SeccompRecordingReport>(Api::all(client.clone()), everywhere().page_size(PAGE))
            .map(Event::RecordingReport)
            .boxed(),
        watch::<AgentPod>(recorders, Config::default().labels(&args.recorder_selector))
            .map(Event::Recorder)
            .boxed(),
        watch(
            all::<SeccompDenialReport>(client),
            everywhere().page_size(PAGE)
        )
        .map(Event::DenialReport)
        .boxed(),
        watch(all::<SeccompCeiling>(client), everywhere().page_size(PAGE))
            .map(Event::Ceiling)
            .boxed(),
        watch(
            all::<SeccompAuditReport>(client),
            everywhere().page_size(PAGE)
        )
        .map(Event::AuditReport)
        .boxed(),
    ]));
    while let Some(event) = events.next().await {
        take(event, args, shared);
    }
    Err(ControllerError::WatchesEnded)
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

fn take(event: Event, args: &ControllerArgs, shared: &Shared) {
    // The view is taken only by what belongs there, and only for a moment: reviews of pods wait for it.
    let index = || {
        let mut index = shared.index();
        index.tick(shared.started.elapsed());
        index
    };
    let view = || shared.view_mut();
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
            if take_recording_profile(&change, &mut shared.recordings()) {
                shared.recordings_changed.notify_one();
            }
            if args.sources {
                sources::take_profile(&change, shared);
            }
            if take_trial_profile(&change, &mut shared.policy_trials()) || defined.is_some() {
                shared.policy_trials_changed.notify_one();
            }
            take_profile(&change, defined, &mut index()).then_some(Source::Profiles)
        }
        Event::Policy(change) => {
            take_policy_on_trial(&change, &mut shared.policy_trials());
            shared.policy_trials_changed.notify_one();
            // Whoever takes both takes the view first.
            let mut view = view();
            let mut policies = shared.policies();
            let ended = take_policy(change, &mut view, &mut policies).then_some(Source::Policies);
            shared.policies_changed.notify_one();
            ended
        }
        Event::Report(change) => take_report(change, &mut index()).then_some(Source::SeccompNodes),
        Event::Node(change) => {
            let ended = take_node(&change, &mut index()).then_some(Source::Nodes);
            ceilings::follow_nodes(shared);
            ended
        }
        Event::Namespace(change) => {
            let ended = take_namespace(&change, &mut view()).then_some(Source::Namespaces);
            shared.admission.namespace_added.notify_waiters();
            ended
        }
        Event::Agent(change) => take_agent(&change, &mut index()).then_some(Source::Agents),
        Event::DaemonSet(change) => {
            take_daemon_set(&change, &mut index()).then_some(Source::DaemonSet)
        }
        Event::Recording(change) => {
            // Whoever takes both takes the view first.
            let mut view = view();
            let ended = take_recording(&change, &mut view, &mut shared.recordings());
            shared.recordings_changed.notify_one();
            ended.then_some(Source::Recordings)
        }
        Event::RecordingReport(change) => {
            let ended = take_recording_report(&change, &mut shared.recordings());
            shared.recordings_changed.notify_one();
            ended.then_some(Source::RecordingReports)
        }
        Event::Recorder(change) => {
            let ended = take_recorder(&change, &mut shared.recordings().recorders);
            shared.recordings_changed.notify_one();
            ended.then_some(Source::Recorders)
        }
        Event::DenialReport(change) => {
            reports::take_denials(&change, &mut index()).then_some(Source::DenialReports)
        }
        Event::AuditReport(change) => {
            reports::take_audit(&change, &mut index()).then_some(Source::AuditReports)
        }
        Event::Ceiling(change) => ceilings::take(change, shared).then_some(Source::Ceilings),
    };
    if let Some(source) = ended {
        shared.ready.listed(source);
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

/// What admission knows of a profile: that it exists, how it stands, and what it says if that is new.
fn view_profile(change: &WatchEvent<SeccompProfile>, defined: Option<Defined>, view: &mut View) {
    match change {
        WatchEvent::ListBegins => view.list_begins(view::Kind::Profile),
        WatchEvent::ListEnds => view.list_ends(view::Kind::Profile),
        WatchEvent::Exists(profile) => {
            let status = profile
                .as_ref()
                .ok()
                .and_then(|profile| profile.status.as_ref());
            let metadata = metadata_of(profile);
            let made_of = metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(provenance::RECORDING));
            let state = ProfileState {
                made_of: made_of.cloned(),
                deleted: metadata.deletion_timestamp.is_some(),
                ..status.map(ProfileState::new).unwrap_or_default()
            };
            view.profile(&name_of(profile), state, defined);
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
        WatchEvent::ListBegins => index.list_begins(index::Kind::SeccompNode),
        WatchEvent::ListEnds => {
            index.list_ends(index::Kind::SeccompNode);
            return true;
        }
        WatchEvent::Exists(Ok(report)) => {
            let name = report.metadata.name.clone().unwrap_or_default();
            if let Some(manager) = other_writer(&report.metadata) {
                warn!(
                    node = name,
                    manager,
                    "somebody else has written into a SeccompNode; it is passed over until its agent has put it right"
                );
            } else {
                index.report(&name, &report);
            }
        }
        WatchEvent::Exists(Err(unreadable)) => {
            let name = unreadable.metadata.name.unwrap_or_default();
            warn!(
                node = name,
                error = unreadable.error,
                "a SeccompNode cannot be read; its node counts as behind"
            );
            index.gone(index::Kind::SeccompNode, &name);
        }
        WatchEvent::Deleted(report) => index.gone(index::Kind::SeccompNode, &name_of(&report)),
    }
    false
}

/// Who has written a part of a node's report beside the operator: what stands there says nothing of the node. It would let a
/// profile go that pods use.
fn other_writer(metadata: &ObjectMeta) -> Option<&str> {
    const OURS: &str = "seccomp-operator";
    let entries = metadata.managed_fields.iter().flatten();
    let reports = |entry: &&ManagedFieldsEntry| {
        let fields = entry
            .fields_v1
            .as_ref()
            .and_then(|fields| fields.0.as_object());
        fields.is_some_and(|fields| fields.keys().any(|field| field != "f:metadata"))
    };
    let managers = entries
        .filter(reports)
        .filter_map(|entry| entry.manager.as_deref());
    managers
        .into_iter()
        .find(|manager| !manager.starts_with(OURS))
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
            let seen = index::SeenNode {
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

fn take_recorder(change: &WatchEvent<AgentPod>, recorders: &mut Recorders) -> bool {
    match change {
        WatchEvent::ListBegins => recorders.list_begins(),
        WatchEvent::ListEnds => {
            recorders.list_ends();
            return true;
        }
        WatchEvent::Exists(pod) => {
            let recorder = pod
                .as_ref()
                .ok()
                .and_then(|pod| pod.agent(Timestamp::now()));
            recorders.pod(&name_of(pod), recorder);
        }
        WatchEvent::Deleted(pod) => recorders.gone(&name_of(pod)),
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

fn take_recording(
    change: &WatchEvent<SeccompRecording>,
    view: &mut View,
    recordings: &mut Recordings,
) -> bool {
    match change {
        WatchEvent::ListBegins => {
            view.list_begins(view::Kind::Recording);
            recordings.list_begins(recordings::Kind::Recording);
        }
        WatchEvent::ListEnds => {
            view.list_ends(view::Kind::Recording);
            recordings.list_ends(recordings::Kind::Recording);
            return true;
        }
        WatchEvent::Exists(recording) => {
            recordings.recording(recording);
            let (namespace, name) = recordings::key_of(metadata_of(recording));
            match recording {
                Ok(seen) => {
                    view.recording(
                        &namespace,
                        &name,
                        seen.spec.clone(),
                        recordings::goes_on(seen),
                    );
                }
                Err(unreadable) => {
                    warn!(
                        namespace,
                        recording = name,
                        error = unreadable.error,
                        "a SeccompRecording cannot be read and records nothing"
                    );
                    view.gone(
                        view::Kind::Recording,
                        &view::recording_key(&namespace, &name),
                    );
                }
            }
        }
        WatchEvent::Deleted(recording) => {
            let metadata = metadata_of(recording);
            recordings.gone(recordings::Kind::Recording, metadata);
            let (namespace, name) = recordings::key_of(metadata);
            view.gone(
                view::Kind::Recording,
                &view::recording_key(&namespace, &name),
            );
        }
    }
    false
}

fn take_recording_report(
    change: &WatchEvent<SeccompRecordingReport>,
    recordings: &mut Recordings,
) -> bool {
    match change {
        WatchEvent::ListBegins => recordings.list_begins(recordings::Kind::Report),
        WatchEvent::ListEnds => {
            recordings.list_ends(recordings::Kind::Report);
            return true;
        }
        WatchEvent::Exists(Ok(report)) => recordings.report(report),
        WatchEvent::Exists(Err(unreadable)) => {
            let (namespace, report) = recordings::key_of(&unreadable.metadata);
            let error = &unreadable.error;
            warn!(
                namespace,
                report, error, "a SeccompRecordingReport cannot be read"
            );
            recordings.gone(recordings::Kind::Report, &unreadable.metadata);
        }
        WatchEvent::Deleted(report) => {
            recordings.gone(recordings::Kind::Report, metadata_of(report));
        }
    }
    false
}

/// Whether the profile is one that records.
fn take_recording_profile(
    change: &WatchEvent<SeccompProfile>,
    recordings: &mut Recordings,
) -> bool {
    match change {
        WatchEvent::ListBegins => recordings.list_begins(recordings::Kind::Profile),
        WatchEvent::ListEnds => recordings.list_ends(recordings::Kind::Profile),
        WatchEvent::Exists(Ok(profile)) => return recordings.profile(profile),
        WatchEvent::Exists(Err(unreadable)) => {
            recordings.gone(recordings::Kind::Profile, &unreadable.metadata);
        }
        WatchEvent::Deleted(profile) => {
            recordings.gone(recordings::Kind::Profile, metadata_of(profile));
        }
    }
    true
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
        trial: profile
            .as_ref()
            .ok()
            .and_then(|profile| profile.spec.on_trial()),
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
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_report_that_somebody_else_has_written_into_is_known_by_who_owns_its_fields() {
        let written = |entries: Value| -> Option<String> {
            let metadata: ObjectMeta =
                serde_json::from_value(json!({"managedFields": entries})).unwrap();
            other_writer(&metadata).map(str::to_owned)
        };
        let entry = |manager: &str, fields: Value| json!({"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields});
        let agent = entry(
            "seccomp-operator-agent",
            json!({"f:inUse": {}, "f:failures": {}}),
        );
        let controller = entry(
            "seccomp-operator",
            json!({"f:node": {"f:containerRuntime": {}}}),
        );
        let labelled = entry("kubectl-label", json!({"f:metadata": {"f:labels": {}}}));
        assert_eq!(written(json!([agent, controller, labelled])), None);
        assert_eq!(written(json!([])), None);
        let edited = entry("kubectl-edit", json!({"f:inUse": {}}));
        assert_eq!(written(json!([agent, edited])), Some("kubectl-edit".into()));
    }
}
