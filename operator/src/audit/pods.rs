//! Whose a container is, by what runtimes call it: a pure state, fed by a watch of this node's pods.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;
use kube_support::{Listing, WatchEvent};
use seccomp_audit::Container;
use seccomp_policy::localhost::LocalhostProfile;
use seccomp_policy::pod::SeccompProfile;
use tracing::warn;

use crate::stored_pod::UsingPod;

/// How long a pod that is gone is remembered, in seconds: what it called is reported as long.
pub const KEPT: u64 = 3600;
/// So many pods that are gone are remembered: a node may run many short ones.
const MAX_GONE: usize = 1024;
/// So many containers of one name, one after the other, are told from those of others.
const MAX_IDS: usize = 8;
/// What a static pod is called by kubelet and runtime, in the API's copy of it.
const STATIC: &str = "kubernetes.io/config.hash";

/// What a container states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stated {
    /// Nothing.
    #[default]
    Nothing,
    /// The file of this SeccompProfile.
    Managed(String),
    /// Something else, in words.
    Other(String),
}

/// A container of a pod, whichever runs under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfPod {
    /// Its name.
    pub name: String,
    /// What it states.
    pub stated: Stated,
    /// When the one that runs was started, in seconds since 1970.
    pub started: Option<u64>,
    /// The ids that it had, the last one last.
    ids: Vec<String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its containers, all kinds of them.
    pub containers: Vec<OfPod>,
    /// Since when it is gone.
    gone: Option<u64>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Pods {
    profiles_dir: String,
    by_uid: HashMap<String, Pod>,
    /// The uids of static pods, by what kubelet calls them.
    statics: HashMap<String, String>,
    listing: Listing,
}

impl Pods {
    /// Nothing is known yet. `profiles_dir` is the operator's folder below kubelet's seccomp folder.
    pub fn new(profiles_dir: &str) -> Self {
        Self {
            profiles_dir: profiles_dir.to_owned(),
            by_uid: HashMap::new(),
            statics: HashMap::new(),
            listing: Listing::default(),
        }
    }

    /// Something was seen of a pod.
    pub fn take(&mut self, change: WatchEvent<UsingPod>, now: u64) {
        match change {
            WatchEvent::ListBegins => self.listing.begins(),
            WatchEvent::ListEnds => {
                let there = self.by_uid.values().filter(|pod| pod.gone.is_none());
                let there: Vec<_> = there.map(|pod| pod.uid.clone()).collect();
                for gone in self.listing.ends(there.iter().map(String::as_str)) {
                    self.gone(&gone, now);
                }
            }
            WatchEvent::Exists(Ok(pod)) => self.exists(&pod),
            WatchEvent::Exists(Err(unreadable)) => {
                let error = unreadable.error;
                self.listing.saw(uid(&unreadable.metadata));
                warn!(error, "a pod cannot be read; its calls count as unplaced");
            }
            WatchEvent::Deleted(pod) => {
                let metadata = match &pod {
                    Ok(pod) => &pod.metadata,
                    Err(unreadable) => &unreadable.metadata,
                };
                self.gone(uid(metadata), now);
            }
        }
        self.forget(now);
    }

    fn exists(&mut self, pod: &UsingPod) {
        let metadata = &pod.metadata;
        let uid = uid(metadata).to_owned();
        self.listing.saw(&uid);
        let mut annotations = metadata.annotations.iter().flatten();
        if let Some((_, hash)) = annotations.find(|(key, _)| *key == STATIC) {
            self.statics.insert(hash.clone(), uid.clone());
        }
        let before = self.by_uid.remove(&uid).unwrap_or_default().containers;
        let known = Pod {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: uid.clone(),
            containers: containers(pod, &self.profiles_dir, before),
            gone: None,
        };
        self.by_uid.insert(uid, known);
    }

    fn gone(&mut self, uid: &str, now: u64) {
        if let Some(pod) = self.by_uid.get_mut(uid) {
            pod.gone.get_or_insert(now);
        }
    }

    fn forget(&mut self, now: u64) {
        let mut gone: Vec<_> = self.by_uid.values().filter_map(|pod| pod.gone).collect();
        gone.sort_unstable();
        let surplus = gone.len().saturating_sub(MAX_GONE);
        let before = now.saturating_sub(KEPT);
        let before = surplus
            .checked_sub(1)
            .map_or(before, |last| before.max(gone[last] + 1));
        if gone.first().is_none_or(|first| *first >= before) {
            return;
        }
        self.by_uid
            .retain(|_, pod| pod.gone.is_none_or(|at| at >= before));
        let pods = &self.by_uid;
        self.statics.retain(|_, uid| pods.contains_key(uid));
    }

    /// Whether all pods are known.
    pub fn is_known(&self) -> bool {
        self.listing.is_complete()
    }

    /// Whose a container is; without a name of a container where only the pod is known.
    pub fn find(&self, container: &Container) -> Option<(&Pod, Option<&OfPod>)> {
        let of = |pod: &'_ Pod| {
            let mut all = pod.containers.iter();
            all.position(|of| of.ids.contains(&container.id))
        };
        let uid = self
            .statics
            .get(&container.pod_uid)
            .unwrap_or(&container.pod_uid);
        if let Some(pod) = self.by_uid.get(uid) {
            // kubelet says a little later what it has started.
            let only = (pod.containers.len() == 1).then_some(0);
            return Some((pod, of(pod).or(only).map(|at| &pod.containers[at])));
        }
        let mut pods = self
            .by_uid
            .values()
            .filter(|_| container.pod_uid.is_empty());
        pods.find_map(|pod| Some((pod, Some(&pod.containers[of(pod)?]))))
    }

    /// Whether nothing more is to come of a container: its pod is forgotten, or another one runs under its name.
    pub fn is_over(&self, container: &Container) -> bool {
        let Some((_, Some(of))) = self.find(container) else {
            return true;
        };
        let last = of.ids.last().filter(|_| !container.id.is_empty());
        last.is_some_and(|last| *last != container.id)
    }

    /// Whether a pod is there, or was within the last hour.
    pub fn has(&self, uid: &str) -> bool {
        self.by_uid.contains_key(uid)
    }

    /// The containers that run and state this SeccompProfile, each with its pod.
    pub fn under<'a>(&'a self, profile: &'a str) -> impl Iterator<Item = (&'a Pod, &'a OfPod)> {
        let there = self.by_uid.values().filter(|pod| pod.gone.is_none());
        let all = there.flat_map(|pod| pod.containers.iter().map(move |of| (pod, of)));
        all.filter(move |(_, of)| {
            of.started.is_some() && matches!(&of.stated, Stated::Managed(name) if name == profile)
        })
    }
}

fn uid(metadata: &ObjectMeta) -> &str {
    metadata.uid.as_deref().unwrap_or_default()
}

/// The containers of a pod, with the ids that those `before` had.
fn containers(pod: &UsingPod, profiles_dir: &str, before: Vec<OfPod>) -> Vec<OfPod> {
    let (spec, status) = (&pod.spec, &pod.status);
    let of_pod = spec.profile();
    let specs = [
        &spec.containers,
        &spec.init_containers,
        &spec.ephemeral_containers,
    ];
    let statuses = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut before: HashMap<_, _> = before.into_iter().map(|of| (of.name, of.ids)).collect();
    let mut all = Vec::new();
    for container in specs.into_iter().flatten() {
        let name = container.name.clone().into_owned();
        let mut statuses = statuses.into_iter().flatten();
        let status = statuses.find(|status| status.name == container.name);
        let id = status.and_then(|status| status.container_id.as_deref());
        let id = id.and_then(|id| Some(id.split_once("://")?.1.to_owned()));
        let mut ids = before.remove(&name).unwrap_or_default();
        if let Some(id) = id.filter(|id| !ids.contains(id)) {
            ids.push(id);
        }
        ids.drain(..ids.len().saturating_sub(MAX_IDS));
        let running = status.and_then(|status| status.state.running.as_ref());
        let started = running.and_then(|running| {
            let Time(at) = running.started_at.as_ref()?;
            u64::try_from(at.as_second()).ok()
        });
        let stated = if container.is_privileged() {
            Stated::Other("Unconfined (privileged)".to_owned())
        } else {
            stated(container.profile().or(of_pod), profiles_dir)
        };
        all.push(OfPod {
            name,
            stated,
            started,
            ids,
        });
    }
    all
}

fn stated(profile: Option<&SeccompProfile<'_>>, profiles_dir: &str) -> Stated {
    let Some(profile) = profile else {
        return Stated::Nothing;
    };
    let path = profile.path().filter(|_| profile.type_ == "Localhost");
    let name = path.and_then(|path| LocalhostProfile::parse(path, profiles_dir).into_name());
    match name {
        Some(name) => Stated::Managed(name.as_str().to_owned()),
        None => Stated::Other(profile.describe()),
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stored_pod::StoredPod;

    const ID: &str = "3c9dcb8b3d1b2bd7b3e7a4b0b5b3c9dcb8b3d1b2bd7b3e7a4b0b5b3c9dcb8b3d";

    pub fn exists(object: &Value) -> WatchEvent<UsingPod> {
        let stored: StoredPod = serde_json::from_str(&object.to_string()).unwrap();
        WatchEvent::Exists(stored.read())
    }

    /// A pod with a container `web` of this id, and one `side` that states `RuntimeDefault`.
    pub fn pod(uid: &str, path: &str, id: &str) -> Value {
        json!({
            "metadata": {"name": format!("pod-{uid}"), "namespace": "shop", "uid": uid},
            "spec": {
                "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": path}},
                "containers": [{"name": "web"}, {"name": "side", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}],
            },
            "status": {"containerStatuses": [
                {"name": "web", "containerID": format!("containerd://{id}"), "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
            ]},
        })
    }

    fn container(pod_uid: &str, id: &str) -> Container {
        let (pod_uid, id) = (pod_uid.to_owned(), id.to_owned());
        Container { pod_uid, id }
    }

    fn found(pods: &Pods, pod_uid: &str, id: &str) -> Option<(String, Option<String>, Stated)> {
        let (pod, of) = pods.find(&container(pod_uid, id))?;
        let stated = of.map(|of| of.stated.clone()).unwrap_or_default();
        Some((pod.name.clone(), of.map(|of| of.name.clone()), stated))
    }

    #[test]
    fn a_container_is_found_by_its_id_and_by_its_pod() {
        let mut pods = Pods::new("profiles");
        pods.take(exists(&pod("u1", "./profiles//tight.json", ID)), 0);
        let tight = Stated::Managed("tight".into());
        let web = Some(("pod-u1".to_owned(), Some("web".to_owned()), tight.clone()));
        assert_eq!(found(&pods, "u1", ID), web);
        assert_eq!(found(&pods, "", ID), web, "only its id is seen");
        assert_eq!(
            found(&pods, "u1", "another"),
            Some(("pod-u1".into(), None, Stated::Nothing))
        );
        assert_eq!(found(&pods, "u2", ID), None);
        assert_eq!(pods.under("tight").count(), 1);
        // The container was started again, and what is left of the first is still its.
        pods.take(exists(&pod("u1", "profiles/tight.json", "next")), 0);
        assert_eq!(
            (found(&pods, "u1", ID), found(&pods, "u1", "next")),
            (web.clone(), web)
        );
        let is_over = |uid, id| pods.is_over(&container(uid, id));
        let over = [("u1", ID), ("u2", "next"), ("u1", "next"), ("u1", "")];
        assert_eq!(
            over.map(|(uid, id)| is_over(uid, id)),
            [true, true, false, true]
        );
        for n in 0..100 {
            pods.take(exists(&pod("u1", "profiles/tight.json", &n.to_string())), 0);
        }
        assert_eq!(pods.by_uid["u1"].containers[0].ids.len(), MAX_IDS);
    }

    #[test]
    fn what_is_stated_is_the_container_s_own_or_the_pod_s() {
        let mut pods = Pods::new("profiles");
        let mut object = pod("u1", "other/tight.json", ID);
        object["spec"]["containers"][1]["securityContext"] = json!({"privileged": true});
        pods.take(exists(&object), 0);
        let containers = &pods.by_uid["u1"].containers;
        let stated: Vec<_> = containers.iter().map(|of| of.stated.clone()).collect();
        let other = |text: &str| Stated::Other(text.to_owned());
        assert_eq!(
            stated,
            [
                other("Localhost other/tight.json"),
                other("Unconfined (privileged)")
            ]
        );
    }

    #[test]
    fn a_static_pod_is_found_by_what_kubelet_calls_it() {
        let mut object = pod("u1", "profiles/tight.json", ID);
        object["metadata"]["annotations"] = json!({STATIC: "0a5ee5ed"});
        let mut pods = Pods::new("profiles");
        pods.take(exists(&object), 0);
        assert!(found(&pods, "0a5ee5ed", ID).is_some());
    }

    #[test]
    fn a_pod_that_is_gone_is_known_for_an_hour_and_not_for_ever() {
        let mut pods = Pods::new("profiles");
        pods.take(WatchEvent::ListBegins, 0);
        pods.take(exists(&pod("u1", "profiles/tight.json", ID)), 0);
        pods.take(WatchEvent::ListEnds, 0);
        pods.take(WatchEvent::ListBegins, 100);
        pods.take(WatchEvent::ListEnds, 100);
        assert!(found(&pods, "u1", ID).is_some() && pods.under("tight").count() == 0);
        pods.take(WatchEvent::ListEnds, 100 + KEPT);
        assert!(pods.has("u1"));
        pods.take(WatchEvent::ListEnds, 101 + KEPT);
        assert!(!pods.has("u1"));
        for n in 0..3000 {
            let object = pod(&format!("v{n}"), "profiles/tight.json", ID);
            pods.take(exists(&object), n);
            let stored: StoredPod = serde_json::from_str(&object.to_string()).unwrap();
            pods.take(WatchEvent::Deleted(stored.read()), n);
        }
        assert!(pods.by_uid.len() <= MAX_GONE && pods.has("v2999"));
    }
}
