//! Which containers of a new pod are recorded, and what they get for it.

use std::borrow::Cow;

use super::{Draft, Pod, is_sandbox};
use crate::patch::Change;
use crate::pod::SeccompProfile;
use crate::view::Recording;
use seccomp_operator_api::RECORDED_ANNOTATION;

/// Says on the pod which recording it has its profile from, unless it says so already. `before` is what is changed before that.
pub fn annotation<'a>(
    pod: &Pod<'_>,
    recording: &Recording,
    before: &[Change<'a>],
) -> Option<Change<'a>> {
    let annotations = &pod.metadata.annotations;
    let said = annotations.get(RECORDED_ANNOTATION) == Some(recording.name.as_str());
    (!said).then(|| Change::Annotate {
        has_annotations: annotations.keys().next().is_some()
            || before
                .iter()
                .any(|change| matches!(change, Change::Annotate { .. })),
        key: RECORDED_ANNOTATION,
        value: recording.name.clone(),
    })
}

impl<'a> Draft<'a> {
    /// Gives the recording's profile to what it records, and says why not where it cannot. Whether anything has it.
    pub(super) fn record(&mut self, recording: &'a Recording) -> bool {
        let name = &recording.name;
        let class = self.runtime_class.filter(|class| is_sandbox(class));
        if let Some(class) = class {
            self.warnings.push(format!(
                "SeccompRecording {name:?} cannot record this pod: runtimeClassName {class:?} is a sandbox by its name, whose kernel the filter never reaches"
            ));
            return false;
        }
        let overrides = recording.spec.overrides;
        let all = recording.spec.containers.is_empty();
        let wants = |container: &str| {
            all || recording
                .spec
                .containers
                .iter()
                .any(|wanted| wanted == container)
        };
        let mut warnings = Vec::new();
        let mut own = |place: &str, stated: &SeccompProfile<'_>| {
            warnings.push(format!(
                "SeccompRecording {name:?} does not record {place}, which states {} for itself; set overrides: true to record it all the same",
                stated.describe()
            ));
        };
        let Some((pod, containers)) = self.levels.split_first_mut() else {
            return false;
        };
        // What a pod got from the recording already, when admission asks again.
        let is_given = |stated: Option<&SeccompProfile<'_>>| stated == Some(&recording.profile);
        let at_pod = pod
            .stated
            .as_deref()
            .filter(|stated| !is_given(Some(stated)));
        let mut recorded = false;
        let pod_is_free = at_pod.is_none() || overrides;
        for level in &mut *containers {
            let Some(container) = level.container.filter(|container| wants(&container.name)) else {
                continue;
            };
            let place = format!("container {:?}", container.name);
            if container.is_privileged() {
                let sentence = format!(
                    "SeccompRecording {name:?} cannot record {place}: it is privileged, and container runtimes apply no filter to it"
                );
                self.warnings.push(sentence);
                continue;
            }
            let stated = level
                .stated
                .as_deref()
                .filter(|stated| !is_given(Some(stated)));
            match stated {
                Some(stated) if !overrides => own(&place, stated),
                // What the pod level says reaches it.
                None if all => recorded |= pod_is_free,
                None if !pod_is_free => {
                    if let Some(stated) = at_pod {
                        own(&place, stated);
                    }
                }
                _ => {
                    level.after = Some(Cow::Borrowed(&recording.profile));
                    level.decided = true;
                    recorded = true;
                }
            }
        }
        if all && let Some(stated) = at_pod.filter(|_| !pod_is_free) {
            own("this pod", stated);
        } else if all && recorded {
            pod.after = Some(Cow::Borrowed(&recording.profile));
            pod.decided = true;
        }
        self.warnings.append(&mut warnings);
        recorded
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::decide::{Pod, Reason, decide};
    use crate::view::View;
    use seccomp_operator_api::RECORDED_ANNOTATION;

    const PATH: &str = "profiles/recording.shop.web.json";

    /// The pod after admission, why, and the warnings.
    fn decided(spec: &Value, pod: &Value, goes_on: bool) -> (Value, Reason, String) {
        let mut view = View::new("profiles", []);
        view.namespace("shop", [].into());
        view.namespace("other", [].into());
        view.profile("recording.shop.web", true, None);
        view.policy(
            "default",
            serde_json::from_value(json!({"profile": {"type": "RuntimeDefault"}})).unwrap(),
        );
        let mut recording = json!({"podSelector": {"matchLabels": {"app": "web"}}});
        for (key, value) in spec.as_object().unwrap() {
            recording[key] = value.clone();
        }
        view.recording(
            "shop",
            "web",
            serde_json::from_value(recording).unwrap(),
            goes_on,
        );
        let namespace = pod["metadata"]["namespace"]
            .as_str()
            .unwrap_or("shop")
            .to_owned();
        let text = pod.to_string();
        let read: Pod<'_> = serde_json::from_str(&text).unwrap();
        let scope = view.scope(&namespace);
        let decision = decide(&read, &scope);
        let mut after = pod.clone();
        if let Some(patch) = decision.patch() {
            let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
            json_patch::patch(&mut after, &patch).unwrap();
        }
        (after, decision.reason, decision.warnings.join("; "))
    }

    fn pod(context: &Value, containers: &Value) -> Value {
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"securityContext": context, "containers": containers}})
    }

    fn localhost() -> Value {
        json!({"type": "Localhost", "localhostProfile": PATH})
    }

    #[test]
    fn a_selected_pod_gets_the_recording_s_profile_and_says_so() {
        let (after, reason, warnings) =
            decided(&json!({}), &pod(&json!({}), &json!([{"name": "c"}])), true);
        assert_eq!(
            after["spec"]["securityContext"]["seccompProfile"],
            localhost()
        );
        assert_eq!(
            after["metadata"]["annotations"],
            json!({"seccomp-operator.io/recorded-by": "web"})
        );
        assert_eq!((reason, warnings.as_str()), (Reason::Recorded, ""));
        // Asked again, it changes nothing.
        let (again, reason, _) = decided(&json!({}), &after, true);
        assert_eq!((again, reason), (after, Reason::Recorded));
    }

    #[test]
    fn a_pod_that_is_not_selected_is_as_without_the_recording() {
        let containers = json!([{"name": "c"}]);
        let mut other_label = pod(&json!({}), &containers);
        other_label["metadata"]["labels"]["app"] = "db".into();
        let mut elsewhere = pod(&json!({}), &containers);
        elsewhere["metadata"]["namespace"] = "other".into();
        for (pod, goes_on) in [
            (other_label, true),
            (elsewhere, true),
            (pod(&json!({}), &containers), false),
        ] {
            let (after, reason, _) = decided(&json!({}), &pod, goes_on);
            assert_eq!(
                after["spec"]["securityContext"]["seccompProfile"],
                json!({"type": "RuntimeDefault"})
            );
            assert_eq!(
                after["metadata"]["annotations"].get(RECORDED_ANNOTATION),
                None
            );
            assert_eq!(reason, Reason::Injected);
        }
    }

    #[test]
    fn what_states_a_profile_is_recorded_only_if_the_recording_overrides_it() {
        let states = json!({"seccompProfile": {"type": "RuntimeDefault"}});
        for pod in [
            pod(&states, &json!([{"name": "c"}])),
            pod(
                &json!({}),
                &json!([{"name": "c", "securityContext": states}]),
            ),
        ] {
            let (after, reason, warnings) = decided(&json!({}), &pod, true);
            assert_eq!(after, pod);
            assert_eq!(reason, Reason::AlreadySet);
            assert!(warnings.contains("set overrides: true"), "{warnings}");
            let (after, reason, _) = decided(&json!({"overrides": true}), &pod, true);
            let spec = &after["spec"];
            let places = [
                &spec["securityContext"],
                &spec["containers"][0]["securityContext"],
            ];
            assert!(
                places
                    .iter()
                    .any(|place| place["seccompProfile"] == localhost())
            );
            assert!(
                places
                    .iter()
                    .all(|place| place["seccompProfile"]["type"] != "RuntimeDefault")
            );
            assert_eq!(reason, Reason::Recorded);
        }
    }

    #[test]
    fn named_containers_are_recorded_and_the_others_get_what_policies_say() {
        let containers = json!([{"name": "web"}, {"name": "proxy"}]);
        let (after, _, _) = decided(
            &json!({"containers": ["web"]}),
            &pod(&json!({}), &containers),
            true,
        );
        assert_eq!(
            after["spec"]["containers"][0]["securityContext"]["seccompProfile"],
            localhost()
        );
        assert_eq!(after["spec"]["containers"][1].get("securityContext"), None);
        assert_eq!(
            after["spec"]["securityContext"]["seccompProfile"],
            json!({"type": "RuntimeDefault"})
        );
        let (after, reason, _) = decided(
            &json!({"containers": ["absent"]}),
            &pod(&json!({}), &containers),
            true,
        );
        assert_eq!(
            (
                reason,
                after["metadata"]["annotations"].get(RECORDED_ANNOTATION)
            ),
            (Reason::Injected, None)
        );
    }

    #[test]
    fn where_no_filter_reaches_a_warning_says_that_nothing_is_recorded() {
        let privileged = json!([{"name": "c", "securityContext": {"privileged": true}}]);
        let (after, reason, warnings) = decided(&json!({}), &pod(&json!({}), &privileged), true);
        assert!(
            warnings.contains("cannot record container \"c\": it is privileged"),
            "{warnings}"
        );
        assert_eq!(
            (
                reason,
                after["metadata"]["annotations"].get(RECORDED_ANNOTATION)
            ),
            (Reason::Injected, None)
        );
        let mut sandboxed = pod(&json!({}), &json!([{"name": "c"}]));
        sandboxed["spec"]["runtimeClassName"] = "kata-qemu".into();
        let (after, reason, warnings) = decided(&json!({}), &sandboxed, true);
        assert!(
            warnings.contains("cannot record this pod: runtimeClassName"),
            "{warnings}"
        );
        assert_eq!(
            (
                reason,
                after["metadata"]["annotations"].get(RECORDED_ANNOTATION)
            ),
            (Reason::Injected, None)
        );
    }
}
