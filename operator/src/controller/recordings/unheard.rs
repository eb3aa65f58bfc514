//! Pods of whose containers a recorder has nothing any more, since both of its processes had ended: their calls fail, and no probe need show
//! it. A pure state: which they are, and what is to be done about each.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::Resource as _;

use super::container_statuses;
use seccomp_operator_api::{RecordingReport, SeccompRecordingSpec};

/// Namespace and uid of a pod.
pub type PodKey = (String, String);

/// So many pods are named in a sentence.
const NAMED: usize = 3;

/// A pod that recorders reported to have lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub node: String,
    pub recording: String,
    /// The ids of its containers that nobody hears.
    pub containers: BTreeSet<String>,
    /// Whether the recording has it replaced.
    pub replace: bool,
}

/// What a look at such a pod has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It, or those containers of it, do not run any more.
    Over,
    /// It runs, and its calls fail.
    Runs {
        /// Somebody makes it anew once it is gone.
        is_controlled: bool,
        /// It is being deleted.
        leaves: bool,
        /// Why it could not be evicted.
        refusal: Option<String>,
    },
}

/// The pods that the reports of a recording name as lost.
pub fn lost<'a>(
    namespace: &str,
    recording: &str,
    spec: &SeccompRecordingSpec,
    reports: impl Iterator<Item = &'a RecordingReport>,
) -> Vec<Lost> {
    let mut pods = BTreeMap::<&str, Lost>::new();
    for report in reports {
        let unheard = report.containers.iter();
        for container in unheard.filter(|container| container.unheard) {
            let pod = pods.entry(&container.pod_uid).or_insert_with(|| Lost {
                namespace: namespace.to_owned(),
                pod: container.pod.clone(),
                uid: container.pod_uid.clone(),
                node: report.node.clone(),
                recording: recording.to_owned(),
                containers: BTreeSet::new(),
                replace: spec.replace_unheard,
            });
            pod.containers.insert(container.container_id.clone());
        }
    }
    pods.into_values().collect()
}

/// What has become of a lost pod, as the API server has it.
pub fn fate(lost: &Lost, pod: Option<&Pod>) -> Fate {
    let Some(pod) = pod.filter(|pod| pod.meta().uid.as_deref() == Some(&lost.uid)) else {
        return Fate::Over;
    };
    let mut running = container_statuses(pod).filter(|container| {
        let runs = container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some());
        // containerd://0123
        let id = container.container_id.as_deref().unwrap_or_default();
        let id = id.rsplit_once("//").map_or(id, |(_, id)| id);
        runs && lost.containers.contains(id)
    });
    if running.next().is_none() {
        return Fate::Over;
    }
    let owners = pod.meta().owner_references.iter().flatten();
    Fate::Runs {
        is_controlled: owners
            .into_iter()
            .any(|owner| owner.controller == Some(true)),
        leaves: pod.meta().deletion_timestamp.is_some(),
        refusal: None,
    }
}

/// Whether a pod is to be evicted: nobody would make one anew that nothing controls.
pub fn is_to_go(lost: &Lost, fate: &Fate) -> bool {
    let is_free = matches!(
        fate,
        Fate::Runs {
            is_controlled: true,
            leaves: false,
            ..
        }
    );
    lost.replace && is_free
}

/// What is said to the pod.
pub fn note(lost: &Lost) -> String {
    format!(
        "the recorder of node {} had ended altogether while SeccompRecording {:?} recorded this pod: calls that are not assumed fail with ENOSYS, \
         whatever probes say; delete the pod, so that one is made that is recorded again",
        lost.node, lost.recording
    )
}

/// What a recording says of its lost pods; none if none of them runs.
pub fn sentence(lost: &[Lost], fates: &BTreeMap<PodKey, Fate>) -> Option<String> {
    let mut names = Vec::new();
    let (mut stay, mut refused) = (false, None);
    for pod in lost {
        let key = (pod.namespace.clone(), pod.uid.clone());
        if let Some(fate @ Fate::Runs { refusal, .. }) = fates.get(&key) {
            names.push(pod.pod.as_str());
            stay |= !is_to_go(pod, fate) && !matches!(fate, Fate::Runs { leaves: true, .. });
            refused = refused.or(refusal.as_deref().map(|why| (pod.pod.as_str(), why)));
        }
    }
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let last = lost.first().filter(|_| !names.is_empty())?;
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let remedy = match (last.replace, stay, refused) {
        (_, _, Some((pod, why))) => format!("{pod} cannot be evicted: {why}"),
        (true, true, None) => {
            "those that no controller makes anew are not evicted; delete them".to_owned()
        }
        (true, false, None) => "they are evicted".to_owned(),
        (false, ..) => "delete them, or set spec.replaceUnheard".to_owned(),
    };
    Some(format!(
        "pods whose calls fail, since both processes of a recorder had ended: {}{more}; {remedy}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of_reports(replace: bool) -> Vec<Lost> {
        let container = |pod: &str, id: &str, unheard: bool| json!({"pod": pod, "podUid": format!("u-{pod}"), "container": "c", "containerId": id, "started": null, "unheard": unheard});
        let report: RecordingReport = serde_json::from_value(json!({
            "recording": {"name": "r", "uid": "u"}, "node": "n1", "recorderVersion": "1",
            "containers": [container("web-1", "a", true), container("web-1", "b", true), container("web-2", "c", false)],
        }))
        .unwrap();
        let spec = SeccompRecordingSpec {
            replace_unheard: replace,
            ..SeccompRecordingSpec::default()
        };
        lost("shop", "r", &spec, [&report].into_iter())
    }

    fn pod(changes: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "web-1", "uid": "u-web-1", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]},
            "status": {"containerStatuses": [{
                "name": "c", "containerID": "containerd://b", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {}}}]},
        });
        for (pointer, value) in changes.as_object().unwrap() {
            *pod.pointer_mut(pointer).unwrap() = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_pod_is_lost_while_a_container_of_it_runs_that_nobody_hears() {
        let lost = of_reports(true);
        assert_eq!(lost.len(), 1);
        let lost = &lost[0];
        assert_eq!((lost.pod.as_str(), lost.containers.len()), ("web-1", 2));
        for (changes, expected) in [
            (json!({}), true),
            (json!({"/metadata/uid": "another"}), false),
            (
                json!({"/status/containerStatuses/0/containerID": "containerd://later"}),
                false,
            ),
            (
                json!({"/status/containerStatuses/0/state": {"terminated": {"exitCode": 0}}}),
                false,
            ),
        ] {
            let fate = fate(lost, Some(&pod(&changes)));
            assert_eq!(fate != Fate::Over, expected, "{changes}");
        }
        assert_eq!(fate(lost, None), Fate::Over);
    }

    #[test]
    fn only_what_is_made_anew_is_evicted_and_only_if_the_recording_says_so() {
        for (replace, changes, expected) in [
            (true, json!({}), true),
            (false, json!({}), false),
            (true, json!({"/metadata/ownerReferences": []}), false),
            (
                true,
                json!({"/metadata/ownerReferences/0/controller": false}),
                false,
            ),
        ] {
            let lost = &of_reports(replace)[0];
            let fate = fate(lost, Some(&pod(&changes)));
            assert_eq!(is_to_go(lost, &fate), expected, "{replace} {changes}");
        }
        let mut leaving = pod(&json!({}));
        leaving.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let lost = &of_reports(true)[0];
        assert!(!is_to_go(lost, &fate(lost, Some(&leaving))));
    }

    #[test]
    fn a_recording_names_the_pods_and_what_becomes_of_them() {
        let key = ("shop".to_owned(), "u-web-1".to_owned());
        let runs = |is_controlled, refusal: Option<&str>| Fate::Runs {
            is_controlled,
            leaves: false,
            refusal: refusal.map(str::to_owned),
        };
        for (replace, fate, expected) in [
            (
                false,
                runs(true, None),
                Some("web-1; delete them, or set spec.replaceUnheard"),
            ),
            (true, runs(true, None), Some("web-1; they are evicted")),
            (
                true,
                runs(false, None),
                Some("are not evicted; delete them"),
            ),
            (
                true,
                runs(true, Some("budget")),
                Some("web-1 cannot be evicted: budget"),
            ),
            (true, Fate::Over, None),
        ] {
            let said = sentence(&of_reports(replace), &[(key.clone(), fate)].into());
            assert_eq!(said.is_some(), expected.is_some());
            let said = said.unwrap_or_default();
            assert!(said.ends_with(expected.unwrap_or_default()), "{said}");
        }
        assert_eq!(sentence(&of_reports(true), &BTreeMap::new()), None);
    }
}
