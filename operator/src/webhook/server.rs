//! The webhook server: TLS, HTTP, and the two routes `/mutate` and `/validate`.
//!
//! A handler is one synchronous function of the body and the view: no lock is held across an await, nothing is asked of the API
//! server. Everything from outside is bounded: the time for a handshake and for a request's head, the body, the connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, warn};

use super::certificate::Serving;
use super::mutate::{self, Pod};
use super::review::{self, Answer, ReviewError};
use super::validate;
use super::view::View;
use crate::logging::chain;

/// The largest review: an object of etcd's limit (1.5 MiB), twice (old and new), with room for the rest.
const LARGEST_BODY: usize = 4 << 20;
/// How long a request may take from its head to its answer; the answer itself takes a moment.
const LONGEST_REQUEST: Duration = Duration::from_secs(10);
/// How long a client may take for the TLS handshake and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many connections are served at once; API servers keep a few alive each.
const MOST_CONNECTIONS: usize = 2048;
/// How many reviews one connection carries at once.
const MOST_STREAMS: u32 = 100;
/// How long open requests may take after a stop was asked for.
const LAST_ORDERS: Duration = Duration::from_secs(10);
/// A pod can reach admission before its new namespace reaches this process' watch; so long we wait for it.
const NAMESPACE_PATIENCE: Duration = Duration::from_millis(500);

/// What the handlers share: the view, and a word when it has changed.
#[derive(Debug)]
pub struct Admission {
    /// What admission knows.
    pub view: RwLock<View>,
    /// Told when a namespace was added to the view.
    pub namespace_added: Notify,
}

/// The routes, without a socket.
pub fn router(admission: Arc<Admission>) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn(in_time))
        .with_state(admission)
}

/// A client that sends its body a byte at a time does not keep its place for ever.
async fn in_time(request: Request, next: Next) -> Response {
    match timeout(LONGEST_REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response(),
    }
}

async fn mutate(State(admission): State<Arc<Admission>>, body: Bytes) -> Response {
    let request: review::Request<Pod> = match review::read(&body) {
        Ok(request) => request,
        Err(error) => return refuse(&error),
    };
    let known = |admission: &Admission| {
        admission
            .view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .knows_namespace(&request.namespace)
    };
    if !known(&admission) {
        let seen = async {
            loop {
                let added = admission.namespace_added.notified();
                if known(&admission) {
                    return;
                }
                added.await;
            }
        };
        if timeout(NAMESPACE_PATIENCE, seen).await.is_err() {
            warn!(
                namespace = request.namespace,
                "a pod's namespace is not known yet; it is judged without its labels"
            );
        }
    }
    respond(&request.uid, || {
        let Some(pod) = request
            .object
            .as_ref()
            .filter(|_| request.kind.kind == "Pod" && request.operation == "CREATE")
        else {
            return Answer::allow();
        };
        let view = admission
            .view
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let decision = mutate::decide(pod, &request.namespace, &view);
        debug!(namespace = request.namespace, pod = request.name, reason = ?decision.reason, "a pod was reviewed");
        Answer {
            patch: decision.patch,
            warnings: decision.warnings,
            denied: None,
        }
    })
}

async fn validate(State(admission): State<Arc<Admission>>, body: Bytes) -> Response {
    match review::read(&body) {
        Ok(request) => respond(&request.uid, || {
            // Reading a large profile takes a while: the view is asked for a moment only, so that pods need not wait.
            let view = || {
                admission
                    .view
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
            };
            let library = view().library();
            validate::answer(&request, &library, |name| view().concern_by_name(name))
        }),
        Err(error) => refuse(&error),
    }
}

/// A panic in a decision must cost one answer, not the connection and all reviews on it.
fn respond(uid: &str, decide: impl FnOnce() -> Answer) -> Response {
    match catch_unwind(AssertUnwindSafe(decide)) {
        Ok(answer) => (
            [(header::CONTENT_TYPE, "application/json")],
            Body::from(answer.write(uid)),
        )
            .into_response(),
        Err(_) => {
            error!(
                uid,
                "the decision on a review failed; the API server does what failurePolicy says"
            );
            (StatusCode::INTERNAL_SERVER_ERROR, "the decision failed").into_response()
        }
    }
}

fn refuse(error: &ReviewError) -> Response {
    (StatusCode::BAD_REQUEST, error.to_string()).into_response()
}

/// Serves the routes on `listener` until `stop`; then lets open requests finish.
pub async fn serve(
    listener: TcpListener,
    serving: Arc<Serving>,
    router: Router,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (accepted, place) = tokio::select! {
            accepted = async {
                let place = places.clone().acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely; waiting is all that helps.
                warn!(error = chain(&error), "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            // Port scanners, load balancers' probes and clients that do not trust us yet end here, in silence.
            let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await else {
                return;
            };
            // By what the handshake agreed on, not by the first bytes: waiting for those would have no time limit.
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(router));
            let ended = if http2 {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .keep_alive_interval(Duration::from_secs(30))
                    .max_concurrent_streams(MOST_STREAMS);
                watcher.watch(builder.serve_connection(io, service)).await
            } else {
                let mut builder = http1::Builder::new();
                builder
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE);
                watcher.watch(builder.serve_connection(io, service)).await
            };
            if let Err(error) = ended {
                debug!(error = chain(&error), "a connection ended early");
            }
        });
    }
    drop(listener);
    if timeout(LAST_ORDERS, graceful.shutdown()).await.is_err() {
        warn!("some connections were still open at the end");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http;
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
        Arc::new(Admission {
            view: RwLock::new(view),
            namespace_added: Notify::new(),
        })
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

    async fn post(
        admission: Arc<Admission>,
        path: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
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
        let (status, answer) =
            post(admission(), "/mutate", pod_review("default").to_string()).await;
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
            sleep(Duration::from_millis(50)).await;
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
    async fn a_bad_body_is_refused_with_a_reason() {
        let (status, answer) = post(admission(), "/mutate", "hello").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer.as_str().unwrap().contains("not an AdmissionReview"));
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused() {
        let (status, _) = post(admission(), "/validate", vec![b' '; LARGEST_BODY + 1]).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
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
}
