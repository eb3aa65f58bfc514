//! The decision, held to the table of cases in `tests/cases.yaml`, and what holds for any pod and any policies.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::given::as_written;
use crate::patch::stated;
use seccomp_operator_api::SeccompPolicySpec;

/// The table; its head says how to read it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    profiles: BTreeMap<String, bool>,
    policies: BTreeMap<String, SeccompPolicySpec>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    policies: Option<Vec<String>>,
    #[serde(rename = "in")]
    namespace: Option<String>,
    pod: Value,
    reason: String,
    #[serde(default)]
    changes: BTreeMap<String, Value>,
    #[serde(default)]
    warnings: Vec<String>,
    /// For other tests.
    #[serde(rename = "engine")]
    _engine: Option<String>,
    #[serde(rename = "stored")]
    _stored: Option<String>,
}

fn table() -> Table {
    serde_saphyr::from_str(include_str!("../../tests/cases.yaml")).unwrap()
}

impl Table {
    fn view<'a>(&self, policies: impl IntoIterator<Item = &'a String>) -> View {
        let mut view = View::new("profiles", ["kube-system".to_owned()]);
        for (name, labels) in &self.namespaces {
            view.namespace(name, labels.clone());
        }
        for (name, ready) in &self.profiles {
            view.profile(name, *ready, None);
        }
        for name in policies {
            let spec = self.policies[name].clone();
            assert_eq!(crate::validation::problems(&spec), [], "{name}");
            view.policy(name, spec);
        }
        view
    }
}

/// A pod as a review brings it.
fn read(text: &str) -> Pod<'_> {
    serde_json::from_str(text).unwrap()
}

/// The pod after a patch, as the API server applies it.
fn patched(pod: &Value, decision: &Decision<'_>) -> Value {
    let mut after = pod.clone();
    // As API servers send it.
    if after.get("metadata").is_none() {
        after["metadata"] = json!({});
    }
    if let Some(patch) = decision.patch() {
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut after, &patch).unwrap();
    }
    after
}

/// The pod with `changes` made to it.
fn changed(pod: &Value, changes: &BTreeMap<String, Value>) -> Value {
    let mut after = pod.clone();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/").replace("~0", "~");
        let parent = after.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(&key).unwrap();
        } else {
            parent.insert(key, value.clone());
        }
    }
    after
}

#[test]
fn the_patch_for_two_containers_of_one_name_applies() {
    let annotations =
        json!({"container.seccomp.security.alpha.kubernetes.io/c": "localhost/a.json"});
    let pod = json!({
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{"name": "c"}, {"name": "c"}]},
    });
    let (table, text) = (table(), pod.to_string());
    let (view, read) = (table.view(&["default".to_owned()]), read(&text));
    let after = patched(&pod, &decide(&read, &view.scope("default")));
    assert_eq!(after["metadata"]["annotations"], json!({}));
    for n in 0..2 {
        let context = &after["spec"]["containers"][n]["securityContext"];
        assert_eq!(context["seccompProfile"]["localhostProfile"], "a.json");
    }
}

#[test]
fn every_case_of_the_table_is_decided_as_it_says() {
    let table = table();
    assert!(table.cases.len() >= 60, "only {}", table.cases.len());
    let default = vec!["default".to_owned()];
    for case in &table.cases {
        let view = table.view(case.policies.as_ref().unwrap_or(&default));
        let namespace = case.namespace.as_deref().unwrap_or("default");
        let name = &case.name;
        let text = case.pod.to_string();
        let pod = read(&text);
        let owned = Pod::deserialize(&case.pod).unwrap();
        assert_eq!(
            pod,
            owned.into_owned(),
            "{name}: not as other sources read it"
        );
        let decision = decide(&pod, &view.scope(namespace));
        assert_eq!(decision.reason.word(), case.reason, "{name}");
        let after = patched(&case.pod, &decision);
        let mut expected = changed(&case.pod, &case.changes);
        if let Some(given) = after["metadata"]["annotations"].get(crate::given::ANNOTATION) {
            assert_eq!(decision.reason, Reason::Injected, "{name}");
            expected["metadata"]["annotations"][crate::given::ANNOTATION] = given.clone();
        }
        let _ = expected
            .as_object_mut()
            .map(|pod| pod.entry("metadata").or_insert(json!({})));
        assert_eq!(after, expected, "{name}");
        // Whoever asks later what would become of the pod, made anew, gets what it got.
        let stored = Pod::deserialize(&after).unwrap().into_owned();
        let bare = as_written(&stored);
        let preview = decide(&bare, &view.scope(namespace));
        assert_eq!(
            stated(&bare, &preview.changes),
            stated(&stored, &[]),
            "{name}"
        );
        // And without policies what its author wrote.
        let nobody = View::new("profiles", []);
        assert!(
            decide(&bare, &nobody.scope(namespace)).changes.is_empty(),
            "{name}"
        );
        let given = decision
            .policies
            .iter()
            .any(|(_, effect)| *effect == Effect::Changes);
        assert_eq!(given, bare != stored, "{name}");
        assert_eq!(
            decision.warnings.len(),
            case.warnings.len(),
            "{name}: {:?}",
            decision.warnings
        );
        for (warning, part) in decision.warnings.iter().zip(&case.warnings) {
            assert!(warning.contains(part), "{name}: {warning}");
        }
        let pod = Pod::deserialize(&after).unwrap();
        let again = decide(&pod, &view.scope(namespace));
        assert!(
            again.changes.is_empty(),
            "{name}: a second pass changes {after}"
        );
    }
}

#[test]
fn the_table_s_cases_have_names_of_their_own_and_use_every_policy() {
    let table = table();
    let names: std::collections::BTreeSet<_> = table.cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), table.cases.len());
    for policy in table.policies.keys().filter(|name| *name != "default") {
        let uses = |case: &Case| case.policies.iter().flatten().any(|name| name == policy);
        assert!(table.cases.iter().any(uses), "{policy}");
    }
}

#[test]
fn a_decision_names_the_policies_that_speak_of_the_pod_and_what_each_does() {
    let table = table();
    let all = ["observe", "nginx", "web", "override", "default"].map(str::to_owned);
    let view = table.view(&all);
    let pod = json!({"spec": {"containers": [{"name": "a", "image": "nginx"}, {"name": "b"}]}});
    let pod = Pod::deserialize(&pod).unwrap();
    let decision = decide(&pod, &view.scope("default"));
    let effects: Vec<_> = decision
        .policies
        .iter()
        .map(|(policy, effect)| (policy.name.as_str(), *effect))
        .collect();
    assert_eq!(
        effects,
        [
            ("observe", Effect::WouldChange),
            ("nginx", Effect::Changes),
            ("override", Effect::Changes)
        ]
    );
}

#[test]
fn reasons_have_words_of_their_own() {
    let words: std::collections::BTreeSet<_> = Reason::ALL.map(Reason::word).into();
    assert_eq!(words.len(), Reason::ALL.len());
}

fn profile() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "RuntimeDefault"})),
        Just(json!({"type": "Unconfined"})),
        Just(json!({"type": "Localhost", "localhostProfile": "profiles/web.json"})),
    ]
}

fn context() -> impl Strategy<Value = Option<Value>> {
    let some = (prop::option::of(profile()), any::<bool>()).prop_map(|(profile, privileged)| {
        let mut context = json!({});
        if let Some(profile) = profile {
            context["seccompProfile"] = profile;
        }
        if privileged {
            context["privileged"] = true.into();
        }
        context
    });
    prop::option::of(some)
}

fn image() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "nginx",
        "nginx:1.27",
        "redis",
        "ghcr.io/a/b@sha256:1",
        "",
    ])
}

prop_compose! {
    fn container(name: &'static str)(context in context(), image in image()) -> Value {
        let mut container = json!({"name": name, "image": image});
        if let Some(context) = context {
            container["securityContext"] = context;
        }
        container
    }
}

prop_compose! {
    fn pod()(
        context in context(), a in container("a"), b in container("b"), init in prop::option::of(container("i")),
        annotations in prop::collection::btree_map(
            prop::sample::select(vec![
                "seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/a",
                "container.seccomp.security.alpha.kubernetes.io/i", "other",
            ]),
            prop::sample::select(vec!["runtime/default", "unconfined", "localhost/profiles/web.json", "nonsense"]), 0..3),
    ) -> Value {
        let mut pod = json!({"metadata": {"labels": {"app": "shop"}, "annotations": annotations}, "spec": {"containers": [a, b]}});
        if let Some(context) = context {
            pod["spec"]["securityContext"] = context;
        }
        if let Some(init) = init {
            pod["spec"]["initContainers"] = json!([init]);
        }
        pod
    }
}

prop_compose! {
    fn policy()(
        priority in -2..2, observe in prop::bool::weighted(0.2), overrides in prop::sample::subsequence(vec!["Unconfined", "RuntimeDefault"], 0..3),
        images in prop::collection::vec(prop::sample::select(vec!["nginx", "*:1.*", "ghcr.io/*"]), 0..2),
        profile in prop::sample::select(vec![
            json!({"type": "RuntimeDefault"}), json!({"type": "Unconfined"}), json!({"type": "Localhost", "name": "no-chmod"}),
        ]),
        selector in prop::option::weighted(0.3, prop::sample::select(vec!["shop", "other"])),
    ) -> SeccompPolicySpec {
        let mode = if observe { "Observe" } else { "Enforce" };
        let mut spec = json!({
            "priority": priority, "mode": mode, "overrides": overrides, "images": images, "profile": profile,
        });
        if let Some(app) = selector {
            spec["podSelector"] = json!({"matchLabels": {"app": app}});
        }
        serde_json::from_value(spec).unwrap()
    }
}

#[test]
fn a_policy_for_an_image_is_asked_again_for_what_the_pod_has_got() {
    let policy = |images: Value, profile: Value, overrides: &str| -> SeccompPolicySpec {
        let spec = json!({"images": images, "profile": profile, "overrides": [overrides]});
        serde_json::from_value(spec).unwrap()
    };
    let own = json!({"type": "Localhost", "name": "no-chmod"});
    let mut view = View::new("profiles", []);
    view.policy("a-nginx", policy(json!(["nginx"]), own, "RuntimeDefault"));
    let standard = json!({"type": "RuntimeDefault"});
    view.policy("b-all", policy(json!([]), standard, "Unconfined"));
    let pod = json!({"metadata": {}, "spec": {
        "securityContext": {"seccompProfile": {"type": "Unconfined"}},
        "containers": [{"name": "a", "image": "nginx:1.27"}, {"name": "b", "image": "redis"}],
    }});
    let text = pod.to_string();
    let read = read(&text);
    let decision = decide(&read, &view.scope("default"));
    let effects: Vec<_> = decision
        .policies
        .iter()
        .map(|(_, effect)| *effect)
        .collect();
    assert_eq!(effects, [Effect::Changes; 2]);
    assert_eq!(
        decision.warnings[..2],
        [
            "SeccompPolicy \"b-all\" replaced the Unconfined of this pod with RuntimeDefault",
            "SeccompPolicy \"a-nginx\" replaced the RuntimeDefault of container \"a\" with Localhost profiles/no-chmod.json",
        ]
    );
    let after = patched(&pod, &decision);
    let containers = &after["spec"]["containers"];
    let given = &containers[0]["securityContext"]["seccompProfile"];
    assert_eq!(given["localhostProfile"], "profiles/no-chmod.json");
    assert!(containers[1].get("securityContext").is_none());
    let again = Pod::deserialize(&after).unwrap();
    assert!(decide(&again, &view.scope("default")).changes.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_second_pass_over_the_own_output_changes_nothing(
        pod in pod(), policies in prop::collection::vec(policy(), 0..6),
    ) {
        let mut view = View::new("profiles", []);
        for (index, spec) in policies.into_iter().enumerate() {
            view.policy(&format!("p{index}"), spec);
        }
        let text = pod.to_string();
        let read = read(&text);
        prop_assert_eq!(&read, &Pod::deserialize(&pod).unwrap());
        let first = decide(&read, &view.scope("default"));
        let after = patched(&pod, &first);
        let read = Pod::deserialize(&after).unwrap();
        let second = decide(&read, &view.scope("default"));
        prop_assert!(second.changes.is_empty(), "{:?} changes {}", second.changes, after);
    }

    #[test]
    fn only_seccomp_profiles_and_legacy_annotations_ever_change(
        pod in pod(), policies in prop::collection::vec(policy(), 0..6),
    ) {
        let mut view = View::new("profiles", []);
        for (index, spec) in policies.into_iter().enumerate() {
            view.policy(&format!("p{index}"), spec);
        }
        let read = Pod::deserialize(&pod).unwrap();
        let without = |mut pod: Value| {
            pod["metadata"]["annotations"].as_object_mut().unwrap().retain(|key, _| !key.contains("seccomp"));
            let spec = pod["spec"].as_object_mut().unwrap();
            let mut places = vec![spec];
            while let Some(place) = places.pop() {
                if let Some(context) = place.get_mut("securityContext") {
                    context.as_object_mut().unwrap().remove("seccompProfile");
                    if context.as_object().unwrap().is_empty() {
                        place.remove("securityContext");
                    }
                }
                for (key, value) in place.iter_mut() {
                    if key.ends_with("ontainers") {
                        places.extend(value.as_array_mut().unwrap().iter_mut().filter_map(Value::as_object_mut));
                    }
                }
            }
            pod
        };
        let after = patched(&pod, &decide(&read, &view.scope("default")));
        prop_assert_eq!(without(after), without(pod));
    }
}
