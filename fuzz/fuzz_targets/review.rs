//! Bytes to admission: they are read as a plain `serde_json::Value` of them reads; no body makes it panic, every answer is JSON, the
//! patch for a pod applies, leaves nothing to do, and changes nothing but seccomp.
#![no_main]

use std::sync::LazyLock;

use admission_review::{Answer, Request, read, read_head};
use libfuzzer_sys::fuzz_target;
use seccomp_operator::webhook::validate::{Object, answer};
use seccomp_policy::ceiling::Ceiling;
use seccomp_policy::decide::{Decision, decide};
use seccomp_policy::patch;
use seccomp_policy::pod::Pod;
use seccomp_policy::view::View;
use serde::Deserialize;
use serde_json::{Map, Value, json};

static VIEW: LazyLock<View> = LazyLock::new(|| {
    let mut view = View::new("profiles", ["kube-system".to_owned()]);
    view.namespace("shop", [("team".to_owned(), "web".to_owned())].into());
    view.profile("no-chmod", true, None);
    for (name, spec) in [
        (
            "default",
            json!({"priority": -1000, "profile": {"type": "RuntimeDefault"}}),
        ),
        (
            "nginx",
            json!({"images": ["nginx", "*busybox*"], "profile": {"type": "Localhost", "name": "no-chmod"}}),
        ),
        (
            "open",
            json!({"priority": 5, "podSelector": {"matchLabels": {"app": "shop"}}, "overrides": ["Unconfined"],
                "profile": {"type": "Localhost", "name": "no-chmod"}}),
        ),
        (
            "later",
            json!({"priority": 7, "mode": "Observe", "profile": {"type": "Localhost", "name": "none-such"}}),
        ),
    ] {
        view.policy(name, serde_json::from_value(spec).unwrap());
    }
    let ceiling = serde_json::from_value(json!({"base": "runtime-default", "action": "Deny"})).unwrap();
    view.ceilings.exists("top", Ceiling::new(&ceiling));
    view
});

/// What a `Value` is refused for and what is passed over is not: how deep it is nested, how large its numbers are, and halves of
/// characters.
const LIMITS: [&str; 4] = [
    "recursion limit",
    "number out of range",
    "lone leading surrogate",
    "unexpected end of hex escape",
];

fuzz_target!(|bytes: &[u8]| {
    let body = serde_json::from_slice::<Value>(bytes);
    let head = read_head(bytes);
    match read::<Pod<'_>>(bytes) {
        Ok(request) => {
            assert!(head.is_none_or(|head| head.uid == request.uid));
            match &body {
                Ok(body) => assert_eq!(Request::deserialize(&body["request"]).unwrap(), request),
                Err(error) => {
                    let error = error.to_string();
                    assert!(LIMITS.iter().any(|limit| error.contains(limit)), "{error}");
                }
            }
            pod(body.ok().as_ref(), &request);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(request) = read::<Object>(bytes) {
        let ceilings = VIEW.ceilings.all();
        let answer = answer(&request, &VIEW.library(), &ceilings, |_, _| Vec::new());
        assert!(answer.denied.as_ref().is_none_or(|why| !why.is_empty()));
        assert!(answer.patch.is_none());
        written(answer, &request.uid);
    }
});

/// `body` is what `serde_json` makes of it, if it takes it.
fn pod(body: Option<&Value>, request: &Request<'_, Pod<'_>>) {
    let Some(pod) = &request.object else { return };
    let decision = decide(pod, &VIEW.scope(&request.namespace));
    let answer = Answer {
        patch: decision.patch(),
        warnings: decision.warnings.clone(),
        ..Answer::default()
    };
    written(answer, &request.uid);
    let Some(before) = body.map(|body| &body["request"]["object"]) else {
        return;
    };
    // With the fields as they are read elsewhere.
    let other = Pod::deserialize(before).unwrap().into_owned();
    let other = decide(&other, &VIEW.scope(&request.namespace));
    assert_eq!(operations(&decision), operations(&other));
    assert_eq!(
        (decision.reason, &decision.warnings),
        (other.reason, &other.warnings)
    );
    // An API server sends no pod without them.
    if decision.changes.is_empty() || !before["metadata"].is_object() || !before["spec"].is_object()
    {
        return;
    }
    let mut after = before.clone();
    let patch: json_patch::Patch = serde_json::from_value(operations(&decision)).unwrap();
    json_patch::patch(&mut after, &patch).unwrap();
    let text = after.to_string();
    let patched: Pod<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!(
        decide(&patched, &VIEW.scope(&request.namespace)).changes,
        []
    );
    assert_eq!(without_seccomp(after), without_seccomp(before.clone()));
}

fn operations(decision: &Decision<'_>) -> Value {
    serde_json::from_slice(&patch::to_json(&decision.changes)).unwrap()
}

/// What admission leaves alone.
fn without_seccomp(mut pod: Value) -> Value {
    let strip = |context: &mut Value| {
        if let Some(context) = context.as_object_mut() {
            context.remove("seccompProfile");
        }
        if context.as_object().is_some_and(Map::is_empty) {
            *context = Value::Null;
        }
    };
    strip(&mut pod["spec"]["securityContext"]);
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            strip(&mut container["securityContext"]);
        }
    }
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|key, _| {
            !key.contains("seccomp.security.alpha.kubernetes.io") && key != seccomp_policy::given::ANNOTATION
        });
    }
    if pod["metadata"]["annotations"]
        .as_object()
        .is_some_and(Map::is_empty)
    {
        pod["metadata"]["annotations"] = Value::Null;
    }
    pod
}

fn written(answer: Answer, uid: &str) {
    let response: Value = serde_json::from_slice(&answer.write(uid)).unwrap();
    assert_eq!(response["response"]["uid"], uid);
}
