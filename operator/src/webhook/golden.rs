//! Reviews as a real API server sent them, byte by byte, and what the handlers answer.
//!
//! `operator/tests/data/admission/golden/NAME.in.json` is the body that a webhook got from Kubernetes 1.20; `NAME.out.json`
//! is our answer, with the patch as JSON where the API server gets it in base64. With `UPDATE_GOLDEN=1` the answers are written instead
//! of compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use k8s_openapi::ByteString;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::metrics::Metrics;
use super::server::{Admission, router};
use seccomp_policy::view::View;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/admission/golden");

/// A cluster with a default policy, one for the namespace that the reviews come from, and one for an image.
fn admission() -> Arc<Admission> {
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
            json!({
                "images": ["nginx"], "namespaceSelector": {"matchLabels": {"team": "web"}},
                "profile": {"type": "Localhost", "name": "no-chmod"},
            }),
        ),
        (
            "later",
            json!({"priority": 5, "mode": "Observe", "podSelector": {"matchLabels": {"app": "shop"}},
                "overrides": ["Unconfined"], "profile": {"type": "Localhost", "name": "no-chmod"}}),
        ),
    ] {
        view.policy(name, serde_json::from_value(spec).unwrap());
    }
    let metrics = Metrics::new(&mut Registry::default());
    Arc::new(Admission::new(view, metrics))
}

async fn post(path: &str, body: Vec<u8>) -> Value {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let response = router(admission()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let mut answer: Value = serde_json::from_slice(&bytes).unwrap();
    if let Some(patch) = answer["response"].get_mut("patch") {
        let ByteString(bytes) = serde_json::from_value(patch.clone()).unwrap();
        *patch = serde_json::from_slice(&bytes).unwrap();
    }
    answer
}

fn recorded() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(FOLDER).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(".in.json"));
    paths.sort();
    paths
}

fn route(review: &Value) -> &'static str {
    match review["request"]["kind"]["kind"].as_str() {
        Some("Pod") => "/mutate",
        _ => "/validate",
    }
}

#[tokio::test]
async fn reviews_of_a_real_api_server_are_answered_as_they_were() {
    let recorded = recorded();
    assert!(recorded.len() >= 19, "only {}", recorded.len());
    for path in recorded {
        let body = std::fs::read(&path).unwrap();
        let review: Value = serde_json::from_slice(&body).unwrap();
        let answer = post(route(&review), body).await;
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        let golden = path.to_str().unwrap().replace(".in.json", ".out.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let pretty = serde_json::to_string_pretty(&answer).unwrap();
            std::fs::write(&golden, pretty + "\n").unwrap();
        }
        let expected: Value = serde_json::from_slice(&std::fs::read(&golden).unwrap()).unwrap();
        let name = Path::new(&golden).file_name().unwrap().display();
        assert_eq!(answer, expected, "{name}");
    }
}

#[tokio::test]
async fn a_review_that_comes_again_with_our_changes_in_it_is_left_alone() {
    for path in recorded() {
        let body = std::fs::read(&path).unwrap();
        let mut review: Value = serde_json::from_slice(&body).unwrap();
        let answer = post(route(&review), body).await;
        let Some(patch) = answer["response"].get("patch") else {
            continue;
        };
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
        json_patch::patch(&mut review["request"]["object"], &patch).unwrap();
        let again = post(route(&review), review.to_string().into_bytes()).await;
        assert!(again["response"].get("patch").is_none(), "{again}");
    }
}

#[tokio::test]
async fn an_unreadable_object_can_still_be_deleted() {
    for name in ["profile-delete", "policy-delete"] {
        let body = std::fs::read(format!("{FOLDER}/{name}.in.json")).unwrap();
        let mut review: Value = serde_json::from_slice(&body).unwrap();
        review["request"]["oldObject"]["spec"] = json!("nonsense");
        let answer = post("/validate", review.to_string().into_bytes()).await;
        assert_eq!(answer["response"]["allowed"], true, "{answer}");
    }
}
