//! What to change in a new pod: a pure function of the pod and of what admission knows.
//!
//! The profile goes to the pod level, because ephemeral containers inherit from there. What a container says for itself wins
//! over the pod level in kubelet, so it is left alone unless a policy overrides an explicit `Unconfined`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::view::{Policy, View};
use crate::api::Mode;

/// The annotations that meant what the fields mean now. The API server refuses a pod whose annotation and field differ, so one
/// that is left behind can make a pod impossible to create.
const POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// Kubelet's mark on the image of a static pod.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The fields of a pod that the decision needs; all others are skipped when a review is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// `metadata`.
    pub metadata: Metadata,
    /// `spec`.
    pub spec: Spec,
}

/// A pod's `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// May be absent: then `null` is taken for none as well.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// May be absent.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

/// A pod's `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// The pod level.
    pub security_context: Option<SecurityContext>,
    /// `containers`.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    /// `initContainers`.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    /// `os`.
    pub os: Option<Os>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    pub name: String,
    /// The container level.
    pub security_context: Option<SecurityContext>,
}

/// A pod's or a container's `securityContext`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecurityContext {
    /// `seccompProfile`.
    pub seccomp_profile: Option<SeccompProfile>,
    /// Containers only.
    pub privileged: Option<bool>,
}

/// `seccompProfile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SeccompProfile {
    /// `RuntimeDefault`, `Localhost`, `Unconfined`, or what the API server will refuse.
    #[serde(rename = "type")]
    pub type_: String,
    /// The path, for `Localhost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub localhost_profile: Option<String>,
}

/// `os`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Os {
    /// `linux` or `windows`.
    pub name: String,
}

fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl SeccompProfile {
    fn is_unconfined(&self) -> bool {
        self.type_ == "Unconfined"
    }

    /// For a warning.
    fn describe(&self) -> String {
        match &self.localhost_profile {
            Some(path) => format!("{} {path}", self.type_),
            None => self.type_.clone(),
        }
    }

    /// The value of a legacy annotation as a field; none for one that means nothing.
    fn from_annotation(value: &str) -> Option<Self> {
        let of = |type_: &str, path: Option<&str>| {
            Some(Self {
                type_: type_.into(),
                localhost_profile: path.map(Into::into),
            })
        };
        match value {
            "runtime/default" | "docker/default" => of("RuntimeDefault", None),
            "unconfined" => of("Unconfined", None),
            _ => of("Localhost", Some(value.strip_prefix("localhost/")?)),
        }
    }
}

/// Why a pod was changed or left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pod got a profile.
    Injected,
    /// Everything in the pod states a profile already.
    AlreadySet,
    /// No enforced policy selects the pod.
    NoPolicy,
    /// The namespace is left alone.
    NamespaceExcluded,
    /// Seccomp is a matter of Linux; the API server refuses the field on a Windows pod.
    Windows,
    /// Kubelet runs a static pod whatever its mirror says.
    MirrorPod,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// JSON patch operations (RFC 6902); empty to leave the pod as it is.
    pub patch: Vec<Value>,
    /// Sentences that kubectl prints.
    pub warnings: Vec<String>,
    /// Why.
    pub reason: Reason,
}

impl Decision {
    fn leave(reason: Reason) -> Self {
        Self {
            patch: Vec::new(),
            warnings: Vec::new(),
            reason,
        }
    }
}

/// Decides on a pod that is about to be created in `namespace`.
#[must_use]
pub fn decide(pod: &Pod, namespace: &str, view: &View) -> Decision {
    if view.is_excluded(namespace) {
        return Decision::leave(Reason::NamespaceExcluded);
    }
    if pod.spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return Decision::leave(Reason::Windows);
    }
    if pod.metadata.annotations.contains_key(MIRROR_ANNOTATION) {
        return Decision::leave(Reason::MirrorPod);
    }
    let mut decision = Decision::leave(Reason::NoPolicy);
    for policy in view.policies_for(namespace, &pod.metadata.labels) {
        let mut draft = Draft::of(pod);
        let placed = draft.apply(&view.profile_of(policy), policy);
        if policy.spec.mode == Mode::Observe {
            if placed {
                let would = view.profile_of(policy).describe();
                decision.warnings.push(format!(
                    "SeccompPolicy {:?} (Observe) would set {would} on this pod",
                    policy.name
                ));
            }
            continue;
        }
        decision.reason = if placed {
            Reason::Injected
        } else {
            Reason::AlreadySet
        };
        decision.warnings.append(&mut draft.warnings);
        decision.patch = draft.patch();
    }
    warn_about_effect(pod, &decision.patch, view, &mut decision.warnings);
    decision
}

/// Warns about profiles that are not there, and about containers that no profile reaches.
fn warn_about_effect(pod: &Pod, patch: &[Value], view: &View, warnings: &mut Vec<String>) {
    let stated = levels(pod).filter_map(|(_, context)| {
        context?
            .seccomp_profile
            .as_ref()?
            .localhost_profile
            .as_deref()
    });
    let injected = patch
        .iter()
        .filter_map(|op| op["value"]["localhostProfile"].as_str());
    let mut paths: Vec<_> = stated.chain(injected).collect();
    paths.sort_unstable();
    paths.dedup();
    warnings.extend(paths.into_iter().filter_map(|path| view.concern(path)));
    if !patch.is_empty() {
        let privileged = |container: &&Container| {
            container
                .security_context
                .as_ref()
                .and_then(|context| context.privileged)
                .unwrap_or_default()
        };
        for container in pod
            .spec
            .init_containers
            .iter()
            .chain(&pod.spec.containers)
            .filter(privileged)
        {
            warnings.push(format!(
                "container {:?} is privileged: container runtimes apply no seccomp profile to it",
                container.name
            ));
        }
    }
}

/// Every place in a pod that can state a profile, with its path in the pod.
fn levels(pod: &Pod) -> impl Iterator<Item = (String, Option<&SecurityContext>)> {
    let spec = &pod.spec;
    let containers = [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
    ];
    let containers = containers.into_iter().flat_map(|(field, containers)| {
        let contexts = containers
            .iter()
            .map(|container| container.security_context.as_ref())
            .enumerate();
        contexts.map(move |(index, context)| (format!("/spec/{field}/{index}"), context))
    });
    std::iter::once(("/spec".to_owned(), spec.security_context.as_ref())).chain(containers)
}

/// One place in a pod that can state a profile.
struct Level {
    path: String,
    has_context: bool,
    before: Option<SeccompProfile>,
    after: Option<SeccompProfile>,
}

/// A pod as it is becoming.
struct Draft {
    /// The pod level first, then the containers.
    levels: Vec<Level>,
    /// Annotations to drop.
    dropped: Vec<String>,
    warnings: Vec<String>,
}

impl Draft {
    /// The pod with its legacy annotations turned into fields.
    fn of(pod: &Pod) -> Self {
        let mut draft = Self {
            levels: Vec::new(),
            dropped: Vec::new(),
            warnings: Vec::new(),
        };
        let names = pod
            .spec
            .init_containers
            .iter()
            .chain(&pod.spec.containers)
            .map(|container| Some(container.name.as_str()));
        for ((path, context), container) in levels(pod).zip(std::iter::once(None).chain(names)) {
            let key = container.map_or_else(
                || POD_ANNOTATION.to_owned(),
                |name| format!("{CONTAINER_ANNOTATION}{name}"),
            );
            let before = context.and_then(|context| context.seccomp_profile.clone());
            let legacy = pod
                .metadata
                .annotations
                .get(&key)
                .and_then(|value| SeccompProfile::from_annotation(value));
            if let Some(legacy) = &legacy {
                if let Some(field) = before.as_ref().filter(|field| *field != legacy) {
                    draft.warnings.push(format!(
                        "annotation {key} says {} where the field says {}; the annotation was dropped",
                        legacy.describe(),
                        field.describe()
                    ));
                }
                draft.dropped.push(key);
            }
            let after = before.clone().or(legacy);
            draft.levels.push(Level {
                path,
                has_context: context.is_some(),
                before,
                after,
            });
        }
        draft
    }

    /// Gives the profile to what lacks one. Whether anything did.
    fn apply(&mut self, profile: &SeccompProfile, policy: &Policy) -> bool {
        let mut placed = false;
        if policy.spec.override_unconfined && !profile.is_unconfined() {
            let unconfined = |level: &&mut Level| {
                level
                    .after
                    .as_ref()
                    .is_some_and(SeccompProfile::is_unconfined)
            };
            for level in self.levels.iter_mut().filter(unconfined) {
                level.after = Some(profile.clone());
                placed = true;
            }
        }
        if let Some((pod, containers)) = self.levels.split_first_mut()
            && pod.after.is_none()
            && containers.iter().any(|container| container.after.is_none())
        {
            pod.after = Some(profile.clone());
            placed = true;
        }
        placed
    }

    fn patch(&self) -> Vec<Value> {
        let mut patch = Vec::new();
        for level in self
            .levels
            .iter()
            .filter(|level| level.before != level.after)
        {
            if !level.has_context {
                patch.push(json!({ "op": "add", "path": format!("{}/securityContext", level.path), "value": {} }));
            }
            // `add` on a member that exists replaces it.
            let path = format!("{}/securityContext/seccompProfile", level.path);
            patch.push(json!({ "op": "add", "path": path, "value": level.after }));
        }
        for key in &self.dropped {
            let pointer = key.replace('~', "~0").replace('/', "~1");
            patch.push(
                json!({ "op": "remove", "path": format!("/metadata/annotations/{pointer}") }),
            );
        }
        patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SeccompPolicySpec;

    fn view(policies: &[(&str, Value)]) -> View {
        let mut view = View::new("profiles", ["kube-system".to_owned()]);
        view.namespace("default", BTreeMap::new());
        view.namespace("web", BTreeMap::from([("team".into(), "web".into())]));
        view.namespace(
            "out",
            BTreeMap::from([("seccomp-operator.io/inject".into(), "disabled".into())]),
        );
        view.profile("no-chmod", true, None);
        view.profile("late", false, None);
        for (name, spec) in policies {
            view.policy(
                name,
                serde_json::from_value::<SeccompPolicySpec>(spec.clone()).unwrap(),
            );
        }
        view
    }

    fn default_view() -> View {
        view(&[("default", json!({"profile": {"type": "RuntimeDefault"}}))])
    }

    /// The decision, and the pod after its patch.
    fn run(pod: &Value, namespace: &str, view: &View) -> (Decision, Value) {
        let decision = decide(
            &serde_json::from_value(pod.clone()).unwrap(),
            namespace,
            view,
        );
        let mut after = pod.clone();
        let patch: json_patch::Patch =
            serde_json::from_value(Value::Array(decision.patch.clone())).unwrap();
        json_patch::patch(&mut after, &patch).unwrap();
        let again = decide(
            &serde_json::from_value(after.clone()).unwrap(),
            namespace,
            view,
        );
        assert!(again.patch.is_empty(), "a second pass changes {after}");
        (decision, after)
    }

    fn bare() -> Value {
        json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}})
    }

    #[test]
    fn a_bare_pod_gets_the_profile_at_pod_level() {
        let (decision, pod) = run(&bare(), "default", &default_view());
        assert_eq!(decision.reason, Reason::Injected);
        assert_eq!(
            pod["spec"]["securityContext"],
            json!({"seccompProfile": {"type": "RuntimeDefault"}})
        );
        assert!(decision.warnings.is_empty());
    }

    #[test]
    fn other_pod_level_settings_stay() {
        let pod =
            json!({"spec": {"securityContext": {"runAsUser": 7}, "containers": [{"name": "c"}]}});
        let (_, pod) = run(&pod, "default", &default_view());
        assert_eq!(
            pod["spec"]["securityContext"],
            json!({"runAsUser": 7, "seccompProfile": {"type": "RuntimeDefault"}})
        );
    }

    #[test]
    fn a_null_security_context_counts_as_none() {
        let pod = json!({"spec": {"securityContext": null, "containers": [{"name": "c", "securityContext": null}]}});
        let (_, pod) = run(&pod, "default", &default_view());
        assert_eq!(
            pod["spec"]["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
    }

    #[test]
    fn a_pod_that_states_its_own_keeps_it() {
        for profile in [
            json!({"type": "Unconfined"}),
            json!({"type": "RuntimeDefault"}),
            json!({"type": "Localhost", "localhostProfile": "x.json"}),
        ] {
            let pod = json!({"spec": {"securityContext": {"seccompProfile": profile}, "containers": [{"name": "c"}]}});
            let (decision, after) = run(&pod, "default", &default_view());
            assert_eq!(decision.reason, Reason::AlreadySet);
            assert_eq!(after, pod);
        }
    }

    #[test]
    fn containers_that_state_their_own_keep_it_while_others_inherit() {
        let own =
            json!({"name": "own", "securityContext": {"seccompProfile": {"type": "Unconfined"}}});
        let pod = json!({"spec": {"containers": [own, {"name": "bare"}]}});
        let (decision, after) = run(&pod, "default", &default_view());
        assert_eq!(decision.reason, Reason::Injected);
        assert_eq!(after["spec"]["containers"], pod["spec"]["containers"]);
        assert_eq!(
            after["spec"]["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
    }

    #[test]
    fn a_pod_whose_containers_all_state_their_own_is_left_alone() {
        let own = json!({"name": "own", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}});
        let pod = json!({"spec": {"containers": [own.clone()], "initContainers": [own]}});
        assert_eq!(
            run(&pod, "default", &default_view()).0.reason,
            Reason::AlreadySet
        );
    }

    #[test]
    fn an_init_container_without_a_profile_counts() {
        let own = json!({"name": "own", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}});
        let pod = json!({"spec": {"containers": [own], "initContainers": [{"name": "init"}]}});
        assert_eq!(
            run(&pod, "default", &default_view()).0.reason,
            Reason::Injected
        );
    }

    #[test]
    fn windows_mirror_and_excluded_pods_are_left_alone() {
        let view = default_view();
        let windows = json!({"spec": {"os": {"name": "windows"}, "containers": [{"name": "c"}]}});
        assert_eq!(run(&windows, "default", &view).0.reason, Reason::Windows);
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": {"containers": [{"name": "c"}]}});
        assert_eq!(run(&mirror, "default", &view).0.reason, Reason::MirrorPod);
        assert_eq!(
            run(&bare(), "kube-system", &view).0.reason,
            Reason::NamespaceExcluded
        );
        assert_eq!(
            run(&bare(), "out", &view).0.reason,
            Reason::NamespaceExcluded
        );
    }

    #[test]
    fn without_a_policy_nothing_happens() {
        assert_eq!(
            run(&bare(), "default", &view(&[])).0.reason,
            Reason::NoPolicy
        );
    }

    #[test]
    fn the_highest_priority_wins_then_the_name() {
        let localhost = |name: &str, priority: i32| json!({"priority": priority, "profile": {"type": "Localhost", "name": name}});
        let v = view(&[
            ("b", localhost("bb", 5)),
            ("a", localhost("aa", 5)),
            ("z", localhost("zz", 1)),
        ]);
        let (_, pod) = run(&bare(), "default", &v);
        assert_eq!(
            pod["spec"]["securityContext"]["seccompProfile"]["localhostProfile"],
            "profiles/aa.json"
        );
    }

    #[test]
    fn selectors_choose_by_namespace_and_pod_labels() {
        let v = view(&[
            ("default", json!({"profile": {"type": "RuntimeDefault"}})),
            (
                "web",
                json!({
                    "priority": 10, "namespaceSelector": {"matchLabels": {"team": "web"}},
                    "podSelector": {"matchLabels": {"app": "shop"}},
                    "profile": {"type": "Localhost", "name": "no-chmod"},
                }),
            ),
        ]);
        let shop = json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "c"}]}});
        let profile = |pod: &Value, namespace| {
            run(pod, namespace, &v).1["spec"]["securityContext"]["seccompProfile"]["type"].clone()
        };
        assert_eq!(profile(&shop, "web"), "Localhost");
        assert_eq!(profile(&shop, "default"), "RuntimeDefault");
        assert_eq!(profile(&bare(), "web"), "RuntimeDefault");
    }

    #[test]
    fn a_namespace_can_be_selected_by_its_name_on_any_kubernetes() {
        let v = view(&[(
            "p",
            json!({
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}, "profile": {"type": "RuntimeDefault"},
            }),
        )]);
        assert_eq!(run(&bare(), "default", &v).0.reason, Reason::Injected);
        assert_eq!(run(&bare(), "web", &v).0.reason, Reason::NoPolicy);
    }

    #[test]
    fn observe_says_what_it_would_do_and_lower_policies_still_apply() {
        let v = view(&[
            (
                "trial",
                json!({"priority": 10, "mode": "Observe", "profile": {"type": "Localhost", "name": "no-chmod"}}),
            ),
            ("default", json!({"profile": {"type": "RuntimeDefault"}})),
        ]);
        let (decision, pod) = run(&bare(), "default", &v);
        assert_eq!(
            pod["spec"]["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(
            decision.warnings,
            [
                "SeccompPolicy \"trial\" (Observe) would set Localhost profiles/no-chmod.json on this pod"
            ]
        );
    }

    #[test]
    fn observe_is_silent_about_a_pod_that_a_legacy_annotation_covers() {
        let v = view(&[(
            "trial",
            json!({"mode": "Observe", "profile": {"type": "RuntimeDefault"}}),
        )]);
        let pod = json!({
            "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "runtime/default"}},
            "spec": {"containers": [{"name": "c"}]},
        });
        let (decision, after) = run(&pod, "default", &v);
        assert!(decision.warnings.is_empty());
        assert_eq!(after, pod);
    }

    #[test]
    fn an_explicit_unconfined_is_replaced_only_when_a_policy_overrides_it() {
        let v = view(&[(
            "p",
            json!({"overrideUnconfined": true, "profile": {"type": "RuntimeDefault"}}),
        )]);
        let unconfined = json!({"seccompProfile": {"type": "Unconfined"}});
        let pod = json!({"spec": {"securityContext": unconfined, "containers": [{"name": "c", "securityContext": unconfined}]}});
        let (_, after) = run(&pod, "default", &v);
        assert_eq!(
            after["spec"]["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(
            after["spec"]["containers"][0]["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
    }

    #[test]
    fn legacy_annotations_become_fields_and_are_dropped() {
        let pod = json!({
            "metadata": {"annotations": {
                "seccomp.security.alpha.kubernetes.io/pod": "localhost/profiles/no-chmod.json",
                "container.seccomp.security.alpha.kubernetes.io/c": "runtime/default",
                "other": "stays",
            }},
            "spec": {"containers": [{"name": "c"}]},
        });
        let (decision, after) = run(&pod, "default", &default_view());
        assert_eq!(after["metadata"]["annotations"], json!({"other": "stays"}));
        assert_eq!(
            after["spec"]["securityContext"]["seccompProfile"]["localhostProfile"],
            "profiles/no-chmod.json"
        );
        assert_eq!(
            after["spec"]["containers"][0]["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert!(decision.warnings.is_empty());
    }

    #[test]
    fn an_annotation_that_contradicts_its_field_is_dropped_with_a_warning() {
        let pod = json!({
            "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}},
            "spec": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "c"}]},
        });
        let (decision, after) = run(&pod, "default", &default_view());
        assert_eq!(after["metadata"]["annotations"], json!({}));
        assert_eq!(decision.warnings.len(), 1);
    }

    #[test]
    fn profiles_that_are_missing_or_not_ready_are_warned_about() {
        let stating = |path: &str| json!({"spec": {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": path}}, "containers": [{"name": "c"}]}});
        let warnings = |path| run(&stating(path), "default", &default_view()).0.warnings;
        assert!(warnings("profiles/no-chmod.json").is_empty());
        assert!(warnings("profiles/late.json")[0].contains("not ready"));
        assert!(warnings("profiles/absent.json")[0].contains("no SeccompProfile \"absent\""));
        assert!(warnings("profiles/absent")[0].contains("not the path"));
        assert!(
            warnings("elsewhere/x.json").is_empty(),
            "other folders are somebody else's"
        );
    }

    #[test]
    fn a_privileged_container_is_warned_about_when_the_pod_gets_a_profile() {
        let pod = json!({"spec": {"containers": [{"name": "c", "securityContext": {"privileged": true}}]}});
        let (decision, _) = run(&pod, "default", &default_view());
        assert!(decision.warnings[0].contains("\"c\" is privileged"));
    }
}
