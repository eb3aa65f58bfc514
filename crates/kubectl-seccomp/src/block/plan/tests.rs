//! Tests of what a block makes, changes and reaches.

use super::*;
use crate::call;
use crate::coverage::effective::tests::placed;
use crate::coverage::effective::{File, Files};
use serde_json::json;

fn alg() -> Value {
    json!({"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]})
}

fn calls(texts: &[&str]) -> Vec<Call> {
    let parsed = texts.iter().map(|text| call::parse(text).unwrap());
    parsed.flatten().collect()
}

#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps)] // reads better where it is called
fn profile(name: &str, metadata: Value, spec: Value) -> Result<SeccompProfile, InvalidObject> {
    let mut object = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": metadata, "spec": spec});
    object["metadata"]["name"] = name.into();
    Ok(serde_json::from_value(object).unwrap())
}

#[allow(clippy::needless_pass_by_value)] // reads better where it is called
fn policy_of(name: &str, spec: Value) -> SeccompPolicy {
    let object = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// A pod with one container, which states this.
fn pod(namespace: &str, name: &str, container: &Value) -> Placed {
    let mut container = container.clone();
    container["name"] = "main".into();
    placed(
        namespace,
        name,
        &json!({}),
        json!({"containers": [container], "nodeName": "n1"}),
    )
}

fn with(type_: &str) -> Value {
    json!({"securityContext": {"seccompProfile": {"type": type_}}})
}

fn localhost(path: &str) -> Value {
    json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": path}}})
}

/// The file of a profile, on all nodes.
fn file(name: String) -> (String, File) {
    let path = format!("profiles/{name}.json");
    let file = File {
        name,
        state: true.into(),
        ..File::default()
    };
    (path, file)
}

/// A cluster with the default policy, and these.
fn seen(
    pods: Vec<Placed>,
    profiles: Vec<Result<SeccompProfile, InvalidObject>>,
    policies: Vec<SeccompPolicy>,
) -> Seen {
    let names = profiles.iter().flatten().map(ResourceExt::name_any);
    let namespaces = ["shop", "bank", "legacy"].map(|name| (name.to_owned(), BTreeMap::new()));
    let default = policy_of(
        "default",
        json!({"priority": -1000, "profile": {"type": "RuntimeDefault"}}),
    );
    Seen {
        pods,
        known: Known {
            injects: true,
            profiles_dir: "profiles".into(),
            excluded: ["kube-system".to_owned()].into(),
            namespaces: namespaces.into(),
            ..Known::default()
        },
        surroundings: Surroundings {
            files: Some(Files {
                dir: "profiles".into(),
                profiles: names.map(file).collect(),
                reports: None,
            }),
            ..Surroundings::default()
        },
        profiles,
        policies: policies.into_iter().chain([default]).collect(),
        injects: true,
        outdated: BTreeSet::new(),
    }
}

fn standing_of<'p>(plan: &'p Plan, pod: &str) -> &'p Standing {
    let mut fates = plan.fates.iter();
    &fates
        .find(|fate| fate.pod == pod)
        .unwrap_or_else(|| panic!("no {pod}"))
        .standing
}

fn no_chmod() -> Value {
    json!({"base": "docker-default", "deny": ["@chmod"]})
}

/// The cluster after a plan has been carried out, with all pods as they were.
fn applied(plan: &Plan, before: Seen) -> Seen {
    let mut after = before;
    for object in plan.profiles.values().filter_map(Change::object) {
        after
            .profiles
            .retain(|profile| profile.as_ref().unwrap().name_any() != object.name_any());
        after.profiles.push(Ok(object.clone()));
        let files = after.surroundings.files.as_mut().unwrap();
        let (path, file) = file(object.name_any());
        files.profiles.insert(path, file);
    }
    if let Some(object) = plan.policy.as_ref().and_then(|(_, change)| change.object()) {
        after
            .policies
            .retain(|policy| policy.name_any() != object.name_any());
        after.policies.push(object.clone());
    }
    after
}

#[test]
fn pods_are_reached_by_their_profile_or_by_the_policy_or_it_is_said_why_not() {
    let pods = vec![
        pod("shop", "bare", &json!({})),
        pod("shop", "standard", &with("RuntimeDefault")),
        pod("shop", "open", &with("Unconfined")),
        pod("shop", "own", &localhost("profiles/web.json")),
        pod("shop", "foreign", &localhost("elsewhere/x.json")),
        pod(
            "shop",
            "root",
            &json!({"securityContext": {"privileged": true}}),
        ),
        placed(
            "shop",
            "boxed",
            &json!({}),
            json!({"runtimeClassName": "gvisor", "containers": [{"name": "main"}]}),
        ),
        placed(
            "shop",
            "static",
            &json!({"kubernetes.io/config.mirror": "x"}),
            json!({"containers": [{"name": "main"}]}),
        ),
        pod("kube-system", "dns", &json!({})),
        pod("legacy", "old", &json!({})),
    ];
    let scope = Scope {
        except: ["legacy".to_owned()].into(),
        ..Scope::default()
    };
    let seen = seen(pods, vec![profile("web", json!({}), no_chmod())], vec![]);
    let plan = plan(&calls(&["socket(AF_ALG)", "keyctl"]), &scope, &seen).unwrap();
    let block = || Standing::Restart("emergency-block".into());
    for (name, want) in [
        ("bare", block()),
        ("standard", block()),
        ("open", block()),
        ("own", Standing::Restart("web".into())),
    ] {
        assert_eq!(*standing_of(&plan, name), want, "{name}");
    }
    for (name, part) in [
        ("foreign", "elsewhere/x.json, which is no SeccompProfile"),
        ("root", "the container is privileged"),
        ("boxed", "gvisor is a sandbox"),
        ("static", "static: kubelet"),
        ("dns", "leave its namespace alone"),
    ] {
        let standing = standing_of(&plan, name);
        assert!(
            matches!(standing, Standing::Open(why) if why.contains(part)),
            "{name}: {standing:?}"
        );
    }
    assert!(plan.fates.iter().all(|fate| fate.pod != "old"));
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("leaves out 1 pod")),
        "{:?}",
        plan.notes
    );
    assert!(
        plan.notes.iter().any(|note| note.contains("socketcall")),
        "{:?}",
        plan.notes
    );
    let web = plan.profiles["web"].object().unwrap();
    // What docker-default refuses already is not in the way.
    assert_eq!(web.spec.deny, [json!("@chmod"), alg(), json!("keyctl")]);
    assert_eq!(marked(web), [alg(), json!("keyctl")]);
    let (_, policy) = plan.policy.as_ref().unwrap();
    let policy = &policy.object().unwrap().spec;
    assert_eq!(
        policy.overrides,
        [Overridden::Unconfined, Overridden::RuntimeDefault]
    );
    assert_eq!(
        policy
            .namespace_selector
            .as_ref()
            .unwrap()
            .match_expressions[0]
            .values,
        ["legacy"]
    );
}

#[test]
fn the_second_time_there_is_nothing_to_do_and_another_call_is_added() {
    let pods = || {
        vec![
            pod("shop", "bare", &json!({})),
            pod("shop", "own", &localhost("profiles/web.json")),
        ]
    };
    let scope = Scope::default();
    let before = seen(pods(), vec![profile("web", json!({}), no_chmod())], vec![]);
    let first = plan(&calls(&["socket(AF_ALG)"]), &scope, &before).unwrap();
    assert!(first.changes());
    let mut after = applied(&first, before);
    after.outdated = [("shop".to_owned(), "own".to_owned())].into();
    let second = plan(&calls(&["socket(AF_ALG)"]), &scope, &after).unwrap();
    assert!(!second.changes(), "{second:?}");
    // Nobody has made the pods anew.
    assert_eq!(second.to_restart().len(), 2);
    after.outdated.clear();
    after.pods[0] = pod("shop", "bare", &localhost("profiles/emergency-block.json"));
    let third = plan(&calls(&["socket(AF_ALG)"]), &scope, &after).unwrap();
    assert_eq!(*standing_of(&third, "own"), Standing::Covered("web".into()));
    assert_eq!(
        *standing_of(&third, "bare"),
        Standing::Covered("emergency-block".into())
    );
    // A node that could not write the file has another one.
    let files = after.surroundings.files.as_mut().unwrap();
    files.profiles.get_mut("profiles/web.json").unwrap().state = false.into();
    let failed = plan(&calls(&["socket(AF_ALG)"]), &scope, &after).unwrap();
    assert!(
        matches!(standing_of(&failed, "own"), Standing::Open(why) if why.contains("not ready"))
    );
    let more = plan(&calls(&["ioprio_set"]), &scope, &after).unwrap();
    let own = more.profiles["emergency-block"].object().unwrap();
    assert_eq!(own.spec.deny, [alg(), json!("ioprio_set")]);
    assert_eq!(marked(own), own.spec.deny);
    // One that leaves other namespaces out would open what is closed there.
    let narrower = Scope {
        except: ["bank".to_owned()].into(),
        ..Scope::default()
    };
    let refused = plan(&calls(&["ioprio_set"]), &narrower, &after).unwrap_err();
    assert!(refused.contains("say the same with --except"), "{refused}");
}

#[test]
fn a_policy_that_gives_a_profile_of_ours_goes_on_doing_so() {
    let web = policy_of(
        "web",
        json!({"priority": 10, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}},
        "profile": {"type": "Localhost", "name": "web"}}),
    );
    let debug = policy_of(
        "debug",
        json!({"priority": 50, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "bank"}},
        "profile": {"type": "Unconfined"}}),
    );
    let pods = vec![
        pod("shop", "bare", &json!({})),
        pod("shop", "standard", &with("RuntimeDefault")),
        pod("bank", "debugged", &json!({})),
        pod("legacy", "old", &json!({})),
    ];
    let seen = seen(
        pods,
        vec![profile("web", json!({}), no_chmod())],
        vec![web, debug],
    );
    let plan = plan(&calls(&["ioprio_set"]), &Scope::default(), &seen).unwrap();
    assert_eq!(*standing_of(&plan, "bare"), Standing::Restart("web".into()));
    assert_eq!(
        *standing_of(&plan, "old"),
        Standing::Restart("emergency-block".into())
    );
    for (name, policy) in [
        ("standard", "SeccompPolicy \"web\""),
        ("debugged", "SeccompPolicy \"debug\""),
    ] {
        let standing = standing_of(&plan, name);
        assert!(
            matches!(standing, Standing::Open(why) if why.contains(policy)),
            "{name}: {standing:?}"
        );
    }
    assert_eq!(plan.policy.unwrap().1.object().unwrap().spec.priority, 9);
}

#[test]
fn a_profile_that_refuses_the_calls_is_left_as_it_is_and_one_that_is_broken_is_named() {
    let pods = vec![
        pod("shop", "tight", &localhost("profiles/tight.json")),
        pod("shop", "broken", &localhost("profiles/broken.json")),
    ];
    let profiles = vec![
        profile("tight", json!({}), json!({"base": "runtime-default"})),
        profile("broken", json!({}), json!({"base": "no-such"})),
        profile(
            "recording.shop.web",
            json!({}),
            json!({"base": "runtime-default/containerd-2.1", "record": {"namespace": "shop", "name": "web", "uid": "1"}}),
        ),
        // Nobody uses it yet.
        profile(
            "idle",
            json!({}),
            json!({"base": "runtime-default/containerd-2.1"}),
        ),
    ];
    let seen = seen(pods, profiles, vec![]);
    let plan = plan(&calls(&["socket(AF_ALG)"]), &Scope::default(), &seen).unwrap();
    assert_eq!(plan.profiles["tight"], Change::Stands);
    assert_eq!(
        *standing_of(&plan, "tight"),
        Standing::Covered("tight".into())
    );
    assert!(
        matches!(standing_of(&plan, "broken"), Standing::Open(why) if why.contains("cannot be changed"))
    );
    assert!(matches!(plan.profiles["idle"], Change::Changed(_)));
    assert!(!plan.profiles.contains_key("recording.shop.web"));
}

#[test]
fn one_namespace_leaves_the_profiles_of_others_alone() {
    let pods = vec![pod("shop", "own", &localhost("profiles/web.json"))];
    let profiles = vec![
        profile("web", json!({}), no_chmod()),
        profile("bank", json!({}), no_chmod()),
    ];
    let scope = Scope {
        namespace: Some("shop".into()),
        ..Scope::default()
    };
    let plan = plan(
        &calls(&["ioprio_set"]),
        &scope,
        &seen(pods, profiles, vec![]),
    )
    .unwrap();
    let names: Vec<_> = plan.profiles.keys().map(String::as_str).collect();
    assert_eq!(names, ["emergency-block-shop", "web"]);
}

#[test]
fn where_no_policy_has_an_effect_only_profiles_are_changed() {
    let pods = vec![
        pod("shop", "own", &localhost("profiles/web.json")),
        pod("shop", "bare", &json!({})),
    ];
    let mut seen = seen(pods, vec![profile("web", json!({}), no_chmod())], vec![]);
    seen.injects = false;
    let plan = plan(&calls(&["ioprio_set"]), &Scope::default(), &seen).unwrap();
    assert_eq!(plan.policy, None);
    assert_eq!(plan.profiles.keys().collect::<Vec<_>>(), ["web"]);
    assert_eq!(*standing_of(&plan, "own"), Standing::Restart("web".into()));
    assert!(
        matches!(standing_of(&plan, "bare"), Standing::Open(why) if why.contains("no policy gives it another"))
    );
}

#[test]
fn what_somebody_else_has_made_under_the_name_is_not_taken() {
    let taken = profile("emergency-block", json!({}), no_chmod());
    let refused = plan(
        &calls(&["bpf"]),
        &Scope::default(),
        &seen(vec![], vec![taken], vec![]),
    )
    .unwrap_err();
    assert!(refused.contains("no block has made"), "{refused}");
}
