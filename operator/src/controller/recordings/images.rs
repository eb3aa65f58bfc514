//! Which images recorded containers really run, by their digests: runtimes hand over names only, and a tag may be another image tomorrow. What
//! a pod's status says is kept in the recording's, since pods go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Resource as _};
use tokio::time::Instant;
use tracing::debug;

use super::super::Shared;
use super::container_statuses;
use super::index::Key;
use super::unheard::PodKey;
use kube_support::bounded;
use kube_support::error::chain;
use seccomp_operator_api::{RecordedImage, RecordingReport};

/// So many pods are looked at in one turn.
const AT_ONCE: usize = 16;
/// A pod that does not say yet what its containers run is looked at so often, and so far apart.
const TRIES: u32 = 4;
const AGAIN: Duration = Duration::from_secs(10);

/// A pod that was recorded, and the images of its containers as the runtime named them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub recording: Key,
    pub pod: String,
    pub uid: String,
    pub images: BTreeMap<String, String>,
}

/// The pods of a recording's reports, as far as these still tell them apart.
pub fn seen<'a>(key: &Key, reports: impl Iterator<Item = &'a RecordingReport>) -> Vec<Seen> {
    let mut pods = BTreeMap::<&str, Seen>::new();
    let containers = reports.flat_map(|report| &report.containers);
    for container in containers.filter(|container| container.merged.is_none()) {
        let Some(image) = &container.image else {
            continue;
        };
        let pod = pods.entry(&container.pod_uid).or_insert_with(|| Seen {
            recording: key.clone(),
            pod: container.pod.clone(),
            uid: container.pod_uid.clone(),
            images: BTreeMap::new(),
        });
        pod.images
            .insert(container.container.clone(), image.clone());
    }
    pods.into_values().collect()
}

/// What a pod's containers run; nothing while it does not say.
pub fn digests(seen: &Seen, pod: &Pod) -> Vec<RecordedImage> {
    let digests = container_statuses(pod).filter_map(|status| {
        // docker.io/library/nginx@sha256:0123, or of an image that no registry has sha256:0123
        let id = status
            .image_id
            .rsplit_once('@')
            .map_or(status.image_id.as_str(), |(_, id)| id);
        Some(RecordedImage {
            name: seen.images.get(&status.name)?.clone(),
            digest: id.starts_with("sha256:").then(|| id.to_owned())?,
        })
    });
    digests.collect()
}

/// When and how often pods were looked at.
#[derive(Debug, Default)]
pub struct Looks(BTreeMap<PodKey, (Instant, u32)>);

/// Looks at the pods that are new.
pub async fn learn(client: &Client, shared: &Shared, looks: &mut Looks) {
    let all = shared.recordings().seen();
    let key = |seen: &Seen| (seen.recording.0.clone(), seen.uid.clone());
    let keys: BTreeSet<_> = all.iter().map(key).collect();
    looks.0.retain(|key, _| keys.contains(key));
    let is_due = |seen: &&Seen| {
        let look = looks.0.get(&key(seen));
        look.is_none_or(|(at, tries)| *tries < TRIES && at.elapsed() >= AGAIN)
    };
    let due: Vec<_> = all.iter().filter(is_due).take(AT_ONCE).collect();
    for seen in due {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &seen.recording.0);
        let look = looks.0.entry(key(seen)).or_insert((Instant::now(), 0));
        *look = (Instant::now(), look.1 + 1);
        match bounded(pods.get_opt(&seen.pod)).await {
            Ok(Some(pod)) if pod.meta().uid.as_deref() == Some(&seen.uid) => {
                let found = digests(seen, &pod);
                if found.len() >= seen.images.len() {
                    look.1 = TRIES;
                }
                shared.recordings().runs(&seen.recording, found);
            }
            Ok(_) => look.1 = TRIES,
            Err(error) => {
                let (pod, error) = (&seen.pod, chain(&error));
                debug!(pod, error, "what a recorded pod runs is not known yet");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_s_image_is_known_by_its_digest_once_its_pod_says_so() {
        let container = |name: &str, image: &str| json!({"pod": "web-1", "podUid": "u", "container": name, "containerId": name, "image": image, "started": null});
        let report: RecordingReport = serde_json::from_value(json!({
            "recording": {"name": "r", "uid": "u"}, "node": "n", "recorderVersion": "1",
            "containers": [container("app", "docker.io/library/nginx:1"), container("own", "localhost/own:dev"), container("late", "late:1")],
        }))
        .unwrap();
        let key = ("shop".to_owned(), "r".to_owned());
        let seen = seen(&key, [&report].into_iter());
        assert_eq!(seen.len(), 1);
        let status = |name: &str, id: &str| json!({"name": name, "image": "", "imageID": id, "ready": true, "restartCount": 0});
        let pod: Pod = serde_json::from_value(json!({"status": {"containerStatuses": [
            status("app", "docker.io/library/nginx@sha256:aa"), status("own", "sha256:bb"), status("late", ""), status("other", "x@sha256:cc"),
        ]}}))
        .unwrap();
        let found = digests(&seen[0], &pod);
        let found: Vec<_> = found
            .iter()
            .map(|of| (of.name.as_str(), of.digest.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("docker.io/library/nginx:1", "sha256:aa"),
                ("localhost/own:dev", "sha256:bb")
            ]
        );
        assert_eq!(digests(&seen[0], &Pod::default()), []);
    }
}
