//! The routes, asked without a socket.

use super::*;
use crate::webhook::admission::LARGE_PODS_AT_ONCE;
use crate::webhook::body::{HEAD, LARGE_BODY, LARGE_PATIENCE, MAX_READ, MAX_REQUEST};
use crate::webhook::metrics::Metrics;
use axum::body::{Body, Bytes};
use axum::http;
use futures::{StreamExt as _, stream};
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};
use seccomp_policy::view::{Kind, OPT_OUT_LABEL, View};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tower::ServiceExt as _;

fn admission() -> Arc<Admission> {
    let mut view = View::new("profiles", []);
    view.namespace("default", BTreeMap::new());
    view.policy(
        "default",
        serde_json::from_value(json!({"profile": {"type": "RuntimeDefault"}})).unwrap(),
    );
    Arc::new(Admission::new(view, Metrics::new(&mut Registry::default())))
}

fn pod_review(namespace: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "the-uid", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": namespace, "object": {"metadata": {}, "spec": {"containers": [{"name": "c"}]}},
        },
    })
}

async fn post(admission: Arc<Admission>, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap();
    let response = router(admission).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    (
        status,
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
    )
}

#[tokio::test]
async fn a_pod_is_patched() {
    let (status, answer) = post(admission(), "/mutate", pod_review("default").to_string()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["response"]["uid"], "the-uid");
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer["response"]["patch"].is_string());
}

#[tokio::test]
async fn a_pod_in_a_namespace_that_was_just_made_waits_for_its_labels() {
    let admission = admission();
    let later = admission.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let labels = BTreeMap::from([(
            "seccomp-operator.io/inject".to_owned(),
            "disabled".to_owned(),
        )]);
        later.view.write().unwrap().namespace("new", labels);
        later.namespace_added.notify_waiters();
    });
    let (_, answer) = post(admission, "/mutate", pod_review("new").to_string()).await;
    assert!(
        answer["response"]["patch"].is_null(),
        "the label came in time"
    );
}

#[tokio::test]
async fn a_pod_of_too_many_containers_is_denied_and_not_left_alone() {
    let mut review = pod_review("default");
    for count in [seccomp_policy::pod::MAX_ITEMS + 1, 1025] {
        review["request"]["object"]["spec"]["initContainers"] = json!(vec![json!({}); count]);
        let (status, answer) = post(admission(), "/mutate", review.to_string()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["response"]["uid"], "the-uid");
        assert_eq!(answer["response"]["allowed"], false);
        let sentence = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(sentence.contains("more than 1024 items"), "{sentence}");
    }
    let nothing = admission();
    nothing.view.write().unwrap().gone(Kind::Policy, "default");
    let (_, answer) = post(nothing, "/mutate", review.to_string()).await;
    assert_eq!(answer["response"]["allowed"], true);
}

/// Admission sees pods before anybody has looked at how many annotations they have.
#[tokio::test]
async fn very_many_annotations_are_not_looked_through_for_each_container() {
    let body = |containers: usize| {
        let mut review = pod_review("default");
        let mut annotations: serde_json::Map<_, _> = (0..200_000)
            .map(|n| (format!("{n:x}"), json!("")))
            .collect();
        annotations.insert(decide::POD_ANNOTATION.into(), json!("unconfined"));
        let object = &mut review["request"]["object"];
        object["metadata"]["annotations"] = annotations.into();
        object["spec"]["containers"] = json!(vec![json!({}); containers]);
        review.to_string()
    };
    let took = async |containers| {
        let body = body(containers);
        assert!(body.len() < MAX_BODY);
        // Time of this thread, which does all of it: what else the machine does hardly shows.
        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let began = now();
        let (_, answer) = post(admission(), "/mutate", body).await;
        assert_eq!(answer["response"]["allowed"], true);
        now().saturating_sub(began)
    };
    // Looking through all of them takes ten times as long.
    let (one, many) = (took(1).await, took(1024).await);
    assert!(many < 5 * one, "{many:?} instead of {one:?}");
}

#[tokio::test]
async fn a_bad_body_is_refused_with_a_reason() {
    let (status, answer) = post(admission(), "/mutate", "hello").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["kind"], "Status");
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("not an AdmissionReview")
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    for (path, size) in [
        ("/validate", MAX_BODY + 1),
        ("/mutate", MAX_BODY + 1),
        ("/mutate", MAX_READ + 1),
    ] {
        let (status, _) = post(admission(), path, vec![b' '; size]).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path} {size}");
    }
}

/// A body that comes in parts of this size.
fn in_parts(body: &str, size: usize) -> Body {
    let parts: Vec<_> = body
        .as_bytes()
        .chunks(size)
        .map(Bytes::copy_from_slice)
        .collect();
    Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)))
}

#[tokio::test]
async fn a_pod_that_is_too_much_to_read_is_denied_under_its_uid() {
    // As an API server writes it: what is asked before the object.
    let review = |kind: &str, object: usize| {
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"the-uid","kind":{{"group":"","version":"v1","kind":"{kind}"}},"namespace":"default","operation":"CREATE","userInfo":{{}},"object":{{"spec":{{"containers":[{{"name":"c","args":["{}"]}}]}}}},"dryRun":false}}}}"#,
            "\\u003c".repeat(object / 6)
        )
    };
    let large = review("Pod", MAX_BODY + 1);
    for size in [1000, HEAD, 1 << 20, large.len()] {
        let (status, answer) = post(admission(), "/mutate", in_parts(&large, size)).await;
        assert_eq!(status, StatusCode::OK, "{size}");
        assert_eq!(answer["response"]["uid"], "the-uid");
        assert_eq!(answer["response"]["allowed"], false);
        let sentence = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(sentence.contains("make the pod smaller"), "{sentence}");
    }
    let other = review("ConfigMap", MAX_BODY + 1);
    let (_, answer) = post(admission(), "/mutate", in_parts(&other, 100_000)).await;
    assert_eq!(answer["response"]["allowed"], true);
    let (excluded, observed) = (admission(), admission());
    let labels = BTreeMap::from([(OPT_OUT_LABEL.to_owned(), "disabled".to_owned())]);
    excluded.view.write().unwrap().namespace("default", labels);
    let (_, answer) = post(excluded, "/mutate", in_parts(&large, 100_000)).await;
    assert_eq!(answer["response"]["allowed"], true);
    // Only who may change it needs to look at it.
    let policy = |name: &str, spec: Value| {
        let spec = serde_json::from_value(spec).unwrap();
        observed.view.write().unwrap().policy(name, spec);
    };
    let profile = json!({"type": "RuntimeDefault"});
    policy("default", json!({"mode": "Observe", "profile": profile}));
    let other = json!({"matchLabels": {"team": "other"}});
    policy(
        "other",
        json!({"namespaceSelector": other, "profile": profile}),
    );
    let (_, answer) = post(observed.clone(), "/mutate", in_parts(&large, 100_000)).await;
    assert_eq!(answer["response"]["allowed"], true);
    let warning = answer["response"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("make the pod smaller"), "{warning}");
    for name in ["default", "other"] {
        observed.view.write().unwrap().gone(Kind::Policy, name);
    }
    let (_, answer) = post(observed.clone(), "/mutate", in_parts(&large, 100_000)).await;
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer["response"]["warnings"].is_null(), "{answer}");
    // A namespace that nobody has told of may be selected by any policy.
    let team = json!({"matchLabels": {"team": "web"}});
    policy(
        "team",
        json!({"namespaceSelector": team, "profile": profile}),
    );
    let elsewhere = large.replacen("\"namespace\":\"default\"", "\"namespace\":\"new\"", 1);
    let (_, answer) = post(observed.clone(), "/mutate", in_parts(&elsewhere, 100_000)).await;
    assert_eq!(answer["response"]["allowed"], false);
    let asked = post(observed.clone(), "/mutate", in_parts(&elsewhere, 100_000));
    let told = async {
        tokio::task::yield_now().await;
        observed
            .view
            .write()
            .unwrap()
            .namespace("new", BTreeMap::new());
        observed.namespace_added.notify_waiters();
    };
    let ((_, answer), ()) = tokio::join!(asked, told);
    assert_eq!(answer["response"]["allowed"], true, "it was waited for");
    let most = review("Pod", MAX_BODY - 1000);
    let (_, answer) = post(admission(), "/mutate", in_parts(&most, 100_000)).await;
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer["response"]["patch"].is_string(), "read whole");
}

#[tokio::test]
async fn what_nobody_reads_is_no_hiding_place_for_what_is_not_json() {
    let good = pod_review("default").to_string();
    for (from, to) in [
        ("\"metadata\":{}", "\"metadata\":{\"managedFields\":[}"),
        (
            "\"metadata\":{}",
            "\"metadata\":{\"managedFields\":[{\"a\":\"b}]}",
        ),
        ("\"metadata\":{}", "\"metadata\":{},\"status\":nothing"),
        ("\"metadata\":{}", "\"metadata\":{},\"metadata\":{}"),
        ("\"spec\":", "\"spec\":{},\"\\u0073pec\":"),
        ("\"uid\":", "\"x\":1 \"uid\":"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let (status, answer) = post(admission(), "/mutate", bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{to}: {answer}");
    }
    for end in ["}", ",", "null", "{}"] {
        let (status, _) = post(admission(), "/mutate", format!("{good}{end}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{end}");
    }
}

/// A body of which so much comes, and then nothing.
fn stalled(bytes: usize) -> Body {
    let part = || Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 1 << 10]));
    let came = stream::iter(std::iter::repeat_with(part).take(bytes >> 10));
    Body::from_stream(came.chain(stream::pending()))
}

/// A pod's review of more than [`LARGE_BODY`].
fn large_review() -> Body {
    let large = format!("{}{}", pod_review("default"), " ".repeat(LARGE_BODY));
    in_parts(&large, 1000)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up_and_keeps_no_place() {
    let admission = admission();
    let begun = tokio::time::Instant::now();
    let slow = (0..20).map(|_| post(admission.clone(), "/mutate", stalled(LARGE_BODY)));
    let large = async {
        let (status, _) = post(admission.clone(), "/mutate", large_review()).await;
        (status, begun.elapsed())
    };
    let (slow, large) = tokio::join!(futures::future::join_all(slow), large);
    for (status, answer) in slow {
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer["reason"], "Timeout");
    }
    assert_eq!(begun.elapsed().as_secs(), MAX_REQUEST.as_secs());
    assert_eq!(large, (StatusCode::OK, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_large_body_that_does_not_come_whole_keeps_its_place_for_a_moment() {
    let admission = admission();
    let begun = tokio::time::Instant::now();
    let slow = (0..LARGE_PODS_AT_ONCE)
        .map(|_| post(admission.clone(), "/mutate", stalled(LARGE_BODY * 2)));
    let large = async {
        let (status, _) = post(admission.clone(), "/mutate", large_review()).await;
        (status, begun.elapsed().as_secs())
    };
    let (slow, large) = tokio::join!(futures::future::join_all(slow), large);
    for (status, _) in slow {
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    }
    // It waited, and an API server was still there.
    assert_eq!(large, (StatusCode::OK, LARGE_PATIENCE.as_secs()));
    let free = admission.large_pods.available_permits();
    assert_eq!(free, LARGE_PODS_AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn large_objects_that_are_validated_do_not_keep_large_pods_waiting() {
    let admission = admission();
    let validated = (0..20).map(|_| post(admission.clone(), "/validate", stalled(LARGE_BODY * 2)));
    let begun = tokio::time::Instant::now();
    let pod = async {
        let (status, _) = post(admission.clone(), "/mutate", large_review()).await;
        (status, begun.elapsed())
    };
    let (_, pod) = tokio::join!(futures::future::join_all(validated), pod);
    assert_eq!(pod, (StatusCode::OK, Duration::ZERO));
}

#[tokio::test]
async fn a_bad_profile_is_denied() {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "seccomp-operator.io", "version": "v1alpha1", "kind": "SeccompProfile"},
            "operation": "CREATE", "name": "x", "object": {"metadata": {"name": "x"}, "spec": {"profile": {}}},
        },
    });
    let (_, answer) = post(admission(), "/validate", review.to_string()).await;
    assert_eq!(answer["response"]["allowed"], false);
}
