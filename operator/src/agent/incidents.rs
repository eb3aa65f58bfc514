//! Containers of this node that a seccomp profile keeps from starting, or ends: a pure state, fed by the watch of this node's pods.
//!
//! kubelet tries again and again, and each try changes the pod. So a pod is explained once for each thing that can be said of it, and
//! again only after an hour, when the API server has forgotten the Event.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::ObjectMeta;
use tokio::time::Instant;

use crate::stored_pod::UsingPod;
use kube_support::Listing;
use kube_support::events::EventRequest;
use seccomp_diagnosis::{Certainty, Explanation, Failure, Reason, failures};

/// How long API servers keep Events, unless they are told otherwise.
const REMEMBERED: Duration = Duration::from_hours(1);
/// So many different things are said of one pod; more would be another thing with each try.
const MAX_SAID: usize = 16;

/// Something to say of a pod.
#[derive(Debug)]
pub struct Incident {
    /// What is the matter.
    pub reason: Reason,
    /// The Event.
    pub event: EventRequest,
    /// The same for the same thing, whoever says it.
    pub id: u64,
}

/// A pod with a container that failed, still to be explained.
#[derive(Debug)]
struct Pending {
    metadata: ObjectMeta,
    failure: Failure,
}

/// See the module's head.
#[derive(Debug)]
pub struct Incidents {
    profiles_dir: String,
    pending: Vec<Pending>,
    /// By the pod's uid: what was said of it, and when.
    said: HashMap<String, HashMap<u64, Instant>>,
    listing: Listing,
}

impl Incidents {
    /// Nothing is known yet. `profiles_dir` is the operator's folder below kubelet's seccomp folder.
    #[must_use]
    pub fn new(profiles_dir: &str) -> Self {
        Self {
            profiles_dir: profiles_dir.to_owned(),
            pending: Vec::new(),
            said: HashMap::new(),
            listing: Listing::default(),
        }
    }

    /// A full list of pods begins.
    pub fn list_begins(&mut self) {
        self.listing.begins();
    }

    /// A full list of pods has ended.
    pub fn list_ends(&mut self) {
        for gone in self.listing.ends(self.said.keys().map(String::as_str)) {
            self.said.remove(&gone);
        }
    }

    /// A pod exists in this form.
    pub fn pod(&mut self, pod: &UsingPod) {
        let uid = uid(&pod.metadata);
        self.listing.saw(uid);
        self.pending
            .retain(|pending| self::uid(&pending.metadata) != uid);
        // What is being deleted is nobody's trouble any more.
        if pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        let failures = failures(&pod.spec, &pod.status, &self.profiles_dir);
        self.pending
            .extend(failures.into_iter().map(|failure| Pending {
                metadata: pod.metadata.clone(),
                failure,
            }));
    }

    /// A pod is gone.
    pub fn gone(&mut self, metadata: &ObjectMeta) {
        let uid = uid(metadata);
        self.said.remove(uid);
        self.pending
            .retain(|pending| self::uid(&pending.metadata) != uid);
    }

    /// What there is to say now, and was not said already.
    pub fn due(
        &mut self,
        now: Instant,
        explain: impl Fn(&Failure) -> Explanation,
    ) -> Vec<Incident> {
        let mut due = Vec::new();
        for Pending { metadata, failure } in std::mem::take(&mut self.pending) {
            let explanation = explain(&failure);
            if explanation.certainty == Certainty::No {
                continue;
            }
            let incident = incident(&metadata, &failure, &explanation);
            let said = self.said.entry(uid(&metadata).to_owned()).or_default();
            said.retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
            if said.len() < MAX_SAID && !said.contains_key(&incident.id) {
                said.insert(incident.id, now);
                due.push(incident);
            }
        }
        due
    }
}

fn uid(metadata: &ObjectMeta) -> &str {
    metadata.uid.as_deref().unwrap_or_default()
}

fn incident(metadata: &ObjectMeta, failure: &Failure, explanation: &Explanation) -> Incident {
    let container = &failure.container;
    let Explanation {
        sentence, remedy, ..
    } = explanation;
    let note = format!("container {container}: {sentence}. Remedy: {remedy}");
    let mut hasher = DefaultHasher::new();
    (uid(metadata), &note).hash(&mut hasher);
    Incident {
        reason: explanation.reason,
        event: EventRequest {
            regarding: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                uid: metadata.uid.clone(),
                ..ObjectReference::default()
            },
            warning: true,
            reason: explanation.reason.word(),
            action: "Explain",
            note,
        },
        id: hasher.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored_pod::StoredPod;
    use seccomp_diagnosis::explain;
    use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Library, Target};
    use serde_json::{Value, json};

    const MISSING: &str = "cannot load seccomp profile \"/var/lib/kubelet/seccomp/profiles/a.json\": open \
                           /var/lib/kubelet/seccomp/profiles/a.json: no such file or directory";

    fn pod(uid: &str, state: &Value) -> UsingPod {
        let object = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": uid},
            "spec": {
                "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/a.json"}},
                "containers": [{"name": "c"}],
            },
            "status": {"containerStatuses": [{"name": "c", "state": state}]},
        });
        let stored: StoredPod = serde_json::from_str(&object.to_string()).unwrap();
        stored.read().unwrap()
    }

    fn notes(incidents: &mut Incidents, now: Instant) -> Vec<(u64, String)> {
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        let none = Library::default();
        let explain = |failure: &Failure| explain(failure, Some(&none), &target, None);
        let due = incidents.due(now, explain).into_iter();
        due.map(|incident| (incident.id, incident.event.note))
            .collect()
    }

    #[test]
    fn each_thing_is_said_once_of_a_pod_and_again_when_its_event_is_forgotten() {
        let now = Instant::now();
        let waiting = |message: &str| json!({"waiting": {"reason": "CreateContainerError", "message": message}});
        let missing = || pod("1", &waiting(MISSING));
        let mut incidents = Incidents::new("profiles");
        for _ in 0..3 {
            incidents.pod(&missing());
        }
        let first = notes(&mut incidents, now);
        assert_eq!(first.len(), 1);
        assert!(
            first[0]
                .1
                .contains("container c: there is no SeccompProfile a."),
            "{first:?}"
        );
        incidents.pod(&missing());
        assert_eq!(notes(&mut incidents, now), []);
        // Another thing.
        incidents.pod(&pod(
            "1",
            &waiting("decoding seccomp profile failed \"/x\": unexpected end of JSON input"),
        ));
        assert_eq!(notes(&mut incidents, now).len(), 1);
        incidents.pod(&missing());
        assert_eq!(notes(&mut incidents, now + REMEMBERED), first);
        // An agent that started anew finds the same name for it.
        let mut again = Incidents::new("profiles");
        again.pod(&missing());
        assert_eq!(notes(&mut again, now), first);
        let other = pod("2", &waiting(MISSING));
        again.pod(&other);
        assert_ne!(notes(&mut again, now)[0].0, first[0].0);
    }

    #[test]
    fn nothing_is_kept_of_pods_that_are_gone() {
        let now = Instant::now();
        let state = json!({"waiting": {"reason": "CreateContainerError", "message": MISSING}});
        let mut incidents = Incidents::new("profiles");
        incidents.list_begins();
        for uid in ["1", "2"] {
            incidents.pod(&pod(uid, &state));
        }
        incidents.list_ends();
        assert_eq!(notes(&mut incidents, now).len(), 2);
        incidents.gone(&pod("1", &state).metadata);
        assert_eq!(incidents.said.len(), 1);
        incidents.list_begins();
        incidents.list_ends();
        assert!(incidents.said.is_empty());
        incidents.pod(&pod("3", &state));
        incidents.gone(&pod("3", &state).metadata);
        assert_eq!(notes(&mut incidents, now), []);
    }
}
