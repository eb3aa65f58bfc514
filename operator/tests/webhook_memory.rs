//! What hostile bodies make admission take of memory, in a process of their own.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use prometheus_client::registry::Registry;
use seccomp_operator::webhook::metrics::Metrics;
use seccomp_operator::webhook::server::{Admission, router};
use seccomp_policy::view::View;
use serde_json::json;
use tower::ServiceExt as _;

const BODY: usize = 1 << 20;
/// So many times its size a body may take at most.
const MAX_RESIDENT: usize = 25;

fn admission() -> Arc<Admission> {
    let mut view = View::new("profiles", []);
    view.namespace("default", BTreeMap::new());
    let spec = json!({"images": ["*"], "overrides": ["Unconfined"], "profile": {"type": "RuntimeDefault"}});
    view.policy("all", serde_json::from_value(spec).unwrap());
    Arc::new(Admission::new(view, Metrics::new(&mut Registry::default())))
}

fn review(kind: &str, object: &str) -> String {
    let group = if kind == "Pod" {
        ""
    } else {
        "seccomp-operator.io"
    };
    format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","operation":"CREATE",
            "namespace":"default","kind":{{"group":"{group}","kind":"{kind}"}},"object":{object}}}}}"#
    )
}

/// As many of `part` as have a body's size.
fn many(part: &str) -> String {
    let all = part.repeat(BODY / part.len());
    all.trim_end_matches(',').to_owned()
}

fn pod(metadata: &str, spec: &str) -> String {
    review(
        "Pod",
        &format!(r#"{{"metadata":{{{metadata}}},"spec":{{{spec}}}}}"#),
    )
}

fn profile(document: &str) -> String {
    review(
        "SeccompProfile",
        &format!(r#"{{"metadata":{{"name":"x"}},"spec":{{"profile":{document}}}}}"#),
    )
}

/// Of this process, in bytes; `VmHWM` is the most that there ever was of `VmRSS`.
fn memory(what: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let number = line.unwrap().trim_matches([':', ' ', '\t', 'k', 'B']);
    number.parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn no_body_takes_many_times_its_size() {
    let bodies = [
        ("brackets", "/mutate", many("[")),
        ("braces", "/mutate", many(r#"{"a":"#)),
        (
            "escapes",
            "/mutate",
            review("Pod", &format!(r#""{}""#, many("\\u0041"))),
        ),
        (
            "containers",
            "/mutate",
            pod("", &format!(r#""containers":[{}]"#, many("{},"))),
        ),
        (
            "labels",
            "/mutate",
            pod(&format!(r#""labels":{{{}}}"#, many(r#""":"","#)), ""),
        ),
        (
            "a name",
            "/mutate",
            pod(
                "",
                &format!(r#""containers":[{{"name":"{}"}}]"#, many("\\n")),
            ),
        ),
        (
            "another kind",
            "/mutate",
            format!(r#"{{"kind":"{}"}}"#, many("\\u00fc")),
        ),
        (
            "a depth",
            "/validate",
            profile(&format!("{}{}", "[".repeat(BODY / 2), "]".repeat(BODY / 2))),
        ),
        (
            "fields",
            "/validate",
            profile(&format!("{{{}}}", many(r#""a":1,"#))),
        ),
        ("items", "/validate", profile(&format!("[{}]", many("0,")))),
        (
            "objects",
            "/validate",
            profile(&format!(
                r#"{{"defaultAction":"SCMP_ACT_LOG","syscalls":[{}]}}"#,
                many("{},")
            )),
        ),
        (
            "members",
            "/validate",
            profile(&format!("[{}]", many(r#"{"":0},"#))),
        ),
        (
            "names",
            "/validate",
            profile(&format!(
                r#"{{"defaultAction":"SCMP_ACT_LOG","syscalls":[{{"action":"SCMP_ACT_ALLOW","names":[{}]}}]}}"#,
                many(r#""","#)
            )),
        ),
    ];
    let routes = router(admission());
    let mut excess = Vec::new();
    for (name, path, body) in bodies {
        let size = body.len();
        // From now on the most is what there is now.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let took = memory("VmHWM").saturating_sub(before);
        println!(
            "{name}: {} for {took} bytes, {} times the body",
            response.status(),
            took / size
        );
        if took > MAX_RESIDENT * size {
            excess.push((name, took / size));
        }
    }
    assert_eq!(excess, [], "times the size of the body");
}
