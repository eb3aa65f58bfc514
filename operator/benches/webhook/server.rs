//! The server under load: the product's routes, and beside them one that looks at nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use admission_review::Answer;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use prometheus_client::registry::Registry;
use seccomp_operator::pki::{Lives, Material, Serving};
use seccomp_operator::webhook::connections::{self, Drain, Limits};
use seccomp_operator::webhook::metrics::{Metrics, Verdict, Webhook};
use seccomp_operator::webhook::server::{self, Admission};
use seccomp_policy::decide::Reason;
use seccomp_policy::view::View;
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
    let beside = Router::new().route("/allow", post(allow));
    let routes = server::router(admission.clone()).merge(beside.with_state(admission));
    let drain = Arc::new(Drain::default());
    connections::serve(listener, serving, routes, Limits::default(), metrics, drain).await;
    Ok(())
}

/// Takes the body, as any server must before it answers on a connection that stays, and does not look at it.
///
/// It has all of the server that is not the decision: TLS, HTTP, the router, what looks after connections, the look at the content
/// type, the time limit, the whole body in memory, the counting of reviews. Its answer has no patch in it, and so is shorter.
async fn allow(State(admission): State<Arc<Admission>>, request: Request) -> Response {
    const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
    let started = Instant::now();
    match server::take_in_time(&admission, request).await {
        Ok(_) => server::respond(&admission, Webhook::Mutate, UID, started, || {
            (Answer::allow(), Verdict::Pod(Reason::NoPolicy))
        }),
        Err(refused) => refused,
    }
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
