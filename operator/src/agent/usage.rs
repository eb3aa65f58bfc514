//! Which profiles the pods of this node use, and how many of their containers were created with an older content: a pure
//! state, fed by a watch of this node's pods.
//!
//! A container reads its profile once, when it is created; when it is created anew (a restart), it reads it again. So a profile
//! is *in use* while a pod that may still create a container with it is there. A pod that has finished does not count, nor
//! does what a container states that has ended and, by the pod's restart policy, stays so. What the pod states for all of its
//! containers counts while the pod has not finished: an ephemeral container may ask for it at any time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;

use crate::stored_pod::UsingPod;
use kube_support::Listing;
use seccomp_operator_api::ProfileName;
use seccomp_policy::localhost::LocalhostProfile;
use seccomp_policy::pod::SeccompProfile;

/// How long after a container's creation it may start, in seconds. Kubernetes says only when a container started, in whole
/// seconds; one that started so soon after a change may have been created before it, and counts as older.
const CREATION: u64 = 2;

/// A file that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsedFile {
    /// The profile that it is of.
    pub profile: ProfileName,
    /// In which of the folders that the operator had before; none: in its own.
    pub former: Option<usize>,
}

/// What one pod does with one file: when each running container that is filtered by it started, in seconds since 1970.
type Started = Vec<u64>;

/// Folders below kubelet's seccomp folder.
#[derive(Debug)]
struct Folders {
    own: String,
    /// Those that the operator had before.
    former: Vec<String>,
}

/// How a profile is used on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// By so many pods.
    pub pods: usize,
    /// So many running containers were created with an older content.
    pub outdated: usize,
    /// The pods that these are in, by namespace and name.
    pub outdated_pods: BTreeSet<(String, String)>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Usage {
    folders: Folders,
    /// By namespace and name; only pods that use a profile.
    pods: HashMap<String, BTreeMap<UsedFile, Started>>,
    listing: Listing,
}

impl Usage {
    /// Nothing is known yet. `profiles_dir` is the folder below kubelet's seccomp folder.
    #[must_use]
    pub fn new(profiles_dir: &str) -> Self {
        Self {
            folders: Folders {
                own: profiles_dir.to_owned(),
                former: Vec::new(),
            },
            pods: HashMap::new(),
            listing: Listing::default(),
        }
    }

    /// The folders that the operator had before: paths there lead to profiles as well. To be said before any pod is known.
    pub fn had(&mut self, former: Vec<String>) {
        self.folders.former = former;
    }

    /// The profiles whose files in each of those folders are used; none as long as not all pods are known.
    #[must_use]
    pub fn in_former(&self) -> Option<Vec<BTreeSet<ProfileName>>> {
        if !self.is_known() {
            return None;
        }
        let mut found = vec![BTreeSet::new(); self.folders.former.len()];
        for file in self.pods.values().flat_map(BTreeMap::keys) {
            if let Some(used) = file.former.and_then(|former| found.get_mut(former)) {
                used.insert(file.profile.clone());
            }
        }
        Some(found)
    }

    /// A full list of pods begins.
    pub fn list_begins(&mut self) {
        self.listing.begins();
    }

    /// A full list of pods has ended.
    pub fn list_ends(&mut self) {
        for gone in self.listing.ends(self.pods.keys().map(String::as_str)) {
            self.pods.remove(&gone);
        }
    }

    /// Whether all pods are known. Until then no profile can be said not to be in use.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.listing.is_complete()
    }

    /// A pod exists in this form.
    pub fn pod(&mut self, pod: &UsingPod) {
        let key = key(&pod.metadata);
        self.listing.saw(&key);
        let uses = uses(pod, &self.folders);
        if uses.is_empty() {
            self.pods.remove(&key);
        } else {
            self.pods.insert(key, uses);
        }
    }

    /// A pod exists, and cannot be read. What was known of it stays.
    pub fn unreadable(&mut self, metadata: &ObjectMeta) {
        self.listing.saw(&key(metadata));
    }

    /// A pod is gone.
    pub fn gone(&mut self, metadata: &ObjectMeta) {
        self.pods.remove(&key(metadata));
    }

    /// When the container started last that uses a profile, in seconds since 1970 by this node's clock; 0 if none does.
    #[must_use]
    pub fn latest_start(&self) -> u64 {
        let started = self.pods.values().flat_map(BTreeMap::values).flatten();
        started.copied().max().unwrap_or_default()
    }

    /// The profiles in use. `outdated` says whether a container that was created at some moment from the one to the other, in seconds
    /// since 1970, may have been created with another content of a file than it has now.
    #[must_use]
    pub fn by_profile(
        &self,
        outdated: impl Fn(&UsedFile, (u64, u64)) -> bool,
    ) -> BTreeMap<ProfileName, Use> {
        let mut found: BTreeMap<ProfileName, Use> = BTreeMap::new();
        for (pod, files) in &self.pods {
            let mut last = None;
            for (file, started) in files {
                let old =
                    |started: &&u64| outdated(file, (started.saturating_sub(CREATION), **started));
                let found = found.entry(file.profile.clone()).or_default();
                // A pod may use two files of one profile, which come one after the other.
                if last.replace(&file.profile) != Some(&file.profile) {
                    found.pods += 1;
                }
                let old = started.iter().filter(old).count();
                found.outdated += old;
                if old > 0
                    && let Some((namespace, name)) = pod.split_once('/')
                {
                    let pod = (namespace.to_owned(), name.to_owned());
                    found.outdated_pods.insert(pod);
                }
            }
        }
        found
    }
}

fn key(metadata: &ObjectMeta) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
}

/// The files that a pod uses.
fn uses(pod: &UsingPod, folders: &Folders) -> BTreeMap<UsedFile, Started> {
    let mut found: BTreeMap<UsedFile, Started> = BTreeMap::new();
    if matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return found;
    }
    let stated =
        |profile: Option<&SeccompProfile<'_>>| profile.map(|profile| file_of(profile, folders));
    let of_pod = stated(pod.spec.profile());
    if let Some(Some(profile)) = &of_pod {
        found.entry(profile.clone()).or_default();
    }
    let (spec, status) = (&pod.spec, &pod.status);
    for (containers, statuses, ephemeral) in [
        (&spec.containers, &status.container_statuses, false),
        (
            &spec.init_containers,
            &status.init_container_statuses,
            false,
        ),
        (
            &spec.ephemeral_containers,
            &status.ephemeral_container_statuses,
            true,
        ),
    ] {
        for container in containers {
            let of_container = stated(container.profile());
            let Some(profile) = of_container.or_else(|| of_pod.clone()).flatten() else {
                continue;
            };
            let state = statuses.iter().find(|status| status.name == container.name);
            let policy = if ephemeral {
                Some("Never")
            } else {
                container
                    .restart_policy
                    .as_deref()
                    .or(spec.restart_policy.as_deref())
            };
            let ended = state.and_then(|status| status.state.terminated.as_ref());
            if ended.is_some_and(|ended| stays_ended(policy, ended.exit_code)) {
                continue;
            }
            let started = found.entry(profile).or_default();
            // A privileged container is not filtered, whatever it states.
            if container.is_privileged() {
                continue;
            }
            let running = state.and_then(|status| status.state.running.as_ref());
            started.extend(running.and_then(|running| {
                let Time(at) = running.started_at.as_ref()?;
                u64::try_from(at.as_second()).ok()
            }));
        }
    }
    found
}

/// Whether a container that ended so is not created anew. None is `Always`, as everywhere in Kubernetes.
fn stays_ended(restart_policy: Option<&str>, exit_code: i32) -> bool {
    match restart_policy {
        Some("Never") => true,
        Some("OnFailure") => exit_code == 0,
        _ => false,
    }
}

/// The file of a SeccompProfile that a pod's or container's profile means, if any.
fn file_of(profile: &SeccompProfile<'_>, folders: &Folders) -> Option<UsedFile> {
    if profile.type_ != "Localhost" {
        return None;
    }
    let path = profile.path()?;
    let inside = |folder: &str, former| {
        let profile = LocalhostProfile::parse(path, folder).into_name()?;
        Some(UsedFile { profile, former })
    };
    let former = folders.former.iter().enumerate();
    let mut former = former.filter_map(|(which, folder)| inside(folder, Some(which)));
    inside(&folders.own, None).or_else(|| former.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored_pod::StoredPod;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: &Value, status: &Value) -> UsingPod {
        let object = json!({
            "metadata": {"name": name, "namespace": "n"}, "spec": spec, "status": status,
            "more": "than this agent reads",
        });
        let stored: StoredPod = serde_json::from_str(&object.to_string()).unwrap();
        stored.read().unwrap()
    }

    fn localhost(path: &str) -> Value {
        json!({"seccompProfile": {"type": "Localhost", "localhostProfile": path}})
    }

    fn running(container: &str, at: &str) -> Value {
        json!({"name": container, "state": {"running": {"startedAt": at}}})
    }

    fn own(folder: &str) -> Folders {
        Folders {
            own: folder.to_owned(),
            former: Vec::new(),
        }
    }

    fn used(spec: &Value, status: &Value) -> Vec<String> {
        let found = uses(&pod("p", spec, status), &own("profiles"));
        found.keys().map(|file| file.profile.to_string()).collect()
    }

    #[test]
    fn profiles_are_found_at_every_level() {
        let spec = json!({
            "securityContext": localhost("profiles/of-pod.json"),
            "containers": [
                {"name": "a", "securityContext": localhost("profiles/of-container.json")},
                {"name": "b"},
                {"name": "c", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
            ],
            "initContainers": [{"name": "i", "securityContext": localhost("profiles/of-init.json")}],
            "ephemeralContainers": [{"name": "e", "securityContext": localhost("profiles/of-ephemeral.json")}],
        });
        assert_eq!(
            used(&spec, &json!({"phase": "Pending"})),
            ["of-container", "of-ephemeral", "of-init", "of-pod"]
        );
    }

    #[test]
    fn only_paths_that_lead_to_a_profile_of_ours_count() {
        for (path, expected) in [
            ("profiles/a.json", Some("a")),
            ("./profiles//a.json", Some("a")),
            ("profiles/./a.json", Some("a")),
            ("a.json", None),
            ("profiles/sub/a.json", None),
            ("profiles/a", None),
            ("profiles/A_b.json", None),
            ("profilesa.json", None),
            ("", None),
        ] {
            let spec = json!({"securityContext": localhost(path)});
            let found = used(&spec, &json!({}));
            assert_eq!(found.first().map(String::as_str), expected, "{path}");
        }
        let found = uses(
            &pod(
                "p",
                &json!({"securityContext": localhost("x/y/a.json")}),
                &json!({}),
            ),
            &own("x/y"),
        );
        assert_eq!(found.len(), 1);
        let default = json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}});
        assert!(used(&default, &json!({})).is_empty());
    }

    #[test]
    fn what_has_finished_for_good_does_not_count() {
        let context = localhost("profiles/a.json");
        let ended = |code: i32| json!([{"name": "c", "state": {"terminated": {"exitCode": code}}}]);
        let container = json!([{"name": "c", "securityContext": context}]);
        for (spec, status, counts) in [
            (
                json!({"containers": container}),
                json!({"phase": "Succeeded"}),
                false,
            ),
            (
                json!({"containers": container}),
                json!({"phase": "Failed"}),
                false,
            ),
            (
                json!({"containers": container}),
                json!({"phase": "Unknown"}),
                true,
            ),
            (json!({"containers": container}), json!({}), true),
            // A container that ended is created anew, unless the pod says otherwise.
            (
                json!({"containers": container}),
                json!({"containerStatuses": ended(0)}),
                true,
            ),
            (
                json!({"restartPolicy": "OnFailure", "containers": container}),
                json!({"containerStatuses": ended(1)}),
                true,
            ),
            (
                json!({"restartPolicy": "OnFailure", "containers": container}),
                json!({"containerStatuses": ended(0)}),
                false,
            ),
            (
                json!({"restartPolicy": "Never", "containers": container}),
                json!({"containerStatuses": ended(1)}),
                false,
            ),
            // A sidecar has a policy of its own; an ephemeral container is never created anew.
            (
                json!({"restartPolicy": "Never", "initContainers": [{"name": "c", "restartPolicy": "Always", "securityContext": context}]}),
                json!({"initContainerStatuses": ended(0)}),
                true,
            ),
            (
                json!({"ephemeralContainers": container}),
                json!({"ephemeralContainerStatuses": ended(0)}),
                false,
            ),
            // What the pod states is there for an ephemeral container to come.
            (
                json!({"restartPolicy": "Never", "securityContext": context, "containers": [{"name": "c"}]}),
                json!({"containerStatuses": ended(0)}),
                true,
            ),
        ] {
            assert_eq!(!used(&spec, &status).is_empty(), counts, "{spec} {status}");
        }
    }

    #[test]
    fn running_containers_from_before_a_change_are_outdated() {
        let mut usage = Usage::new("profiles");
        let spec = json!({
            "securityContext": localhost("profiles/a.json"),
            "containers": [
                {"name": "before"},
                {"name": "just-after"},
                {"name": "after"},
                {"name": "unfiltered", "securityContext": {"privileged": true}},
                {"name": "other", "securityContext": localhost("profiles/b.json")},
                {"name": "waiting"},
            ],
        });
        let status = json!({"phase": "Running", "containerStatuses": [
            running("before", "2026-01-01T00:00:00Z"),
            running("just-after", "2026-01-01T00:00:12Z"),
            running("after", "2026-01-01T00:00:13Z"),
            running("unfiltered", "2026-01-01T00:00:00Z"),
            running("other", "2026-01-01T00:00:00Z"),
            {"name": "waiting", "state": {"waiting": {"reason": "ContainerCreating"}}},
        ]});
        usage.pod(&pod("p", &spec, &status));
        let a = ProfileName::parse("a").unwrap();
        // Midnight of that day and ten seconds.
        let outdated = |file: &UsedFile, (earliest, _): (u64, u64)| {
            file.profile == a && earliest <= 1_767_225_610
        };
        assert_eq!(usage.latest_start(), 1_767_225_613);
        let found = usage.by_profile(outdated);
        assert_eq!(
            found[&a],
            Use {
                pods: 1,
                outdated: 2,
                outdated_pods: BTreeSet::from([("n".to_owned(), "p".to_owned())]),
            }
        );
        let b = ProfileName::parse("b").unwrap();
        assert_eq!(
            found[&b],
            Use {
                pods: 1,
                ..Use::default()
            }
        );
        assert_eq!(usage.by_profile(|_, _| false)[&a].outdated, 0);
    }

    #[test]
    fn a_file_in_a_folder_that_the_operator_had_before_counts_as_a_use_of_its_profile() {
        let mut usage = Usage::new("new");
        usage.had(vec!["old".to_owned(), "older".to_owned()]);
        assert_eq!(usage.in_former(), None);
        usage.list_begins();
        let both = json!({
            "securityContext": localhost("old/a.json"),
            "containers": [{"name": "c"}, {"name": "d", "securityContext": localhost("new/a.json")}],
        });
        let status = json!({"phase": "Running", "containerStatuses": [
            running("c", "2026-01-01T00:00:00Z"), running("d", "2026-01-01T00:00:00Z"),
        ]});
        usage.pod(&pod("both", &both, &status));
        for (name, path) in [
            ("older", "older/a.json"),
            ("new", "new/b.json"),
            ("elsewhere", "x/a.json"),
        ] {
            usage.pod(&pod(
                name,
                &json!({"securityContext": localhost(path)}),
                &json!({}),
            ));
        }
        usage.list_ends();
        let [a, b] = ["a", "b"].map(|name| ProfileName::parse(name).unwrap());
        // Only the file in the first of the two has changed since the container was created.
        let outdated = |file: &UsedFile, _: (u64, u64)| file.former == Some(0);
        let found = usage.by_profile(outdated);
        assert_eq!(
            found[&a],
            Use {
                pods: 2,
                outdated: 1,
                outdated_pods: BTreeSet::from([("n".to_owned(), "both".to_owned())]),
            }
        );
        assert_eq!(
            found[&b],
            Use {
                pods: 1,
                ..Use::default()
            }
        );
        let only_a = BTreeSet::from([a]);
        assert_eq!(usage.in_former(), Some(vec![only_a.clone(), only_a]));
    }

    #[test]
    fn pods_come_change_finish_and_go() {
        let mut usage = Usage::new("profiles");
        let count = |usage: &Usage| {
            let found = usage.by_profile(|_, _| false);
            found.values().map(|found| found.pods).sum::<usize>()
        };
        let spec = json!({"securityContext": localhost("profiles/a.json")});
        let status = |phase: &str| json!({"phase": phase});
        assert!(!usage.is_known());
        usage.list_begins();
        for name in ["p", "q", "r"] {
            usage.pod(&pod(name, &spec, &status("Running")));
        }
        usage.list_ends();
        assert!(usage.is_known());
        assert_eq!(count(&usage), 3);
        usage.pod(&pod("p", &spec, &status("Succeeded")));
        assert_eq!(count(&usage), 2);
        usage.gone(&pod("q", &spec, &json!({})).metadata);
        assert_eq!(count(&usage), 1);
        usage.list_begins();
        usage.unreadable(&pod("r", &spec, &json!({})).metadata);
        usage.list_ends();
        assert_eq!(count(&usage), 1, "a pod that cannot be read is still there");
        usage.list_begins();
        usage.list_ends();
        assert_eq!(count(&usage), 0);
    }
}
