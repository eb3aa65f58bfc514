//! The server under load: the product's routes, and beside them one that looks at nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::routing::post;
use prometheus_client::registry::Registry;
use seccomp_operator::webhook::certificate::{Lives, Material, Serving};
use seccomp_operator::webhook::connections::{self, Drain, Limits};
use seccomp_operator::webhook::metrics::Metrics;
use seccomp_operator::webhook::server::{self, Admission};
use seccomp_operator::webhook::view::View;
use serde_json::json;
use time::OffsetDateTime;
use tokio::net::TcpListener;

/// Serves until killed; says where, and whom to trust.
pub fn run() -> anyhow::Result<()> {
    // As the product's: as many workers as there are cores, and here that is one.
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let now = OffsetDateTime::now_utc();
    let lives = Lives::default();
    let material = Material::generate(now, lives)?;
    let serving = Arc::new(Serving::default());
    serving.ensure(&material, &["localhost".to_owned()], now, lives)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}\n{}", listener.local_addr()?.port(), material.bundle());
    let metrics = Metrics::new(&mut Registry::default());
    let admission = Arc::new(Admission::new(view()?, metrics.clone()));
    let routes = server::router(admission).route("/allow", post(allow));
    let drain = Arc::new(Drain::default());
    connections::serve(listener, serving, routes, Limits::default(), metrics, drain).await
}

/// Takes the body, as any server must before it answers on a connection that stays, and does not look at it.
///
/// It shares with the product's routes the process, the listener, TLS, HTTP, what looks after connections, the router, and that
/// the whole body is in memory. It does not have the rest of their work: the time limit, the look at the content type, the counting
/// of reviews, the decision, and an answer with a patch in it, which is longer.
async fn allow(_: Bytes) -> ([(header::HeaderName, &'static str); 1], Body) {
    const ALLOWED: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","allowed":true}}"#;
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(ALLOWED),
    )
}

/// A cluster of some size: 200 namespaces, 1,000 profiles, and 100 policies: 60 each for a team's namespaces, 39 for pods of some
/// kind in all namespaces, and the default.
fn view() -> anyhow::Result<View> {
    let mut view = View::new("profiles", ["kube-system".to_owned()]);
    for n in 0..200 {
        let labels = BTreeMap::from([
            ("team".to_owned(), format!("team-{}", n % 60)),
            ("stage".to_owned(), ["dev", "prod"][n % 2].to_owned()),
        ]);
        view.namespace(&format!("ns-{n}"), labels);
    }
    for n in 0..1000 {
        view.profile(&format!("profile-{n}"), true, None);
    }
    for n in 0..60 {
        let spec = json!({
            "priority": n, "profile": {"type": "Localhost", "name": format!("profile-{n}")},
            "namespaceSelector": {"matchLabels": {"team": format!("team-{n}")}, "matchExpressions": [
                {"key": "stage", "operator": "In", "values": ["prod", "canary"]},
            ]},
            "podSelector": {"matchLabels": {"tier": "backend"}},
        });
        view.policy(&format!("team-{n}"), serde_json::from_value(spec)?);
    }
    for n in 0..39 {
        let spec = json!({
            "priority": 100 + n, "profile": {"type": "Localhost", "name": format!("profile-{}", 100 + n)},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": format!("app-{n}")}, "matchExpressions": [
                {"key": "seccomp-operator.io/trial", "operator": "DoesNotExist"},
            ]},
        });
        view.policy(&format!("app-{n}"), serde_json::from_value(spec)?);
    }
    view.policy(
        "default",
        serde_json::from_value(json!({"priority": -1000, "profile": {"type": "RuntimeDefault"}}))?,
    );
    Ok(view)
}
