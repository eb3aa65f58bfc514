//! What is read of the objects of Kubernetes that are watched: far less than they hold.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Affinity, ContainerStatus, Node, Pod, PodCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::Deserialize;

use seccomp_operator_api::without_managed_fields;

use crate::controller::agents::{Agent, Away};

/// The pod of an agent or of a recorder: only where it is, or is meant to be, and how it does.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Pod)]
pub struct AgentPod {
    #[serde(deserialize_with = "without_managed_fields")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: AgentPodSpec,
    #[serde(default)]
    pub status: AgentPodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPodSpec {
    pub node_name: Option<String>,
    pub affinity: Option<Affinity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentPodStatus {
    pub conditions: Vec<PodCondition>,
    pub container_statuses: Vec<ContainerStatus>,
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

    /// The agent in it, unless nobody knows where that is meant to be.
    pub fn agent(&self, now: Timestamp) -> Option<Agent> {
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
pub struct ClusterNode {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ClusterNodeSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterNodeSpec {
    pub taints: Vec<Taint>,
}

/// The agents' DaemonSet: only how many it wants.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = DaemonSet)]
pub struct AgentDaemonSet {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub status: AgentDaemonSetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentDaemonSetStatus {
    pub desired_number_scheduled: i32,
}

/// When an object was created.
pub fn created(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|Time(at)| *at)
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
