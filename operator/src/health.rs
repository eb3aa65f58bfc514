//! `/livez` and `/readyz`, for kubelet, and `/metrics`, for Prometheus.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::metrics;

/// Why this process is not ready, or nothing when it is. Called for each request; must not block.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The routes: `/livez` says only that this process runs (it never depends on the API server, else an outage there would
/// restart every agent), `/readyz` says what `ready` says, `/metrics` what is registered.
pub fn router(ready: Readiness, registry: Arc<Registry>) -> Router {
    let readyz = move || {
        let answer = match ready() {
            Ok(()) => (StatusCode::OK, "ok".to_owned()),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        };
        std::future::ready(answer)
    };
    let metrics = move || {
        let answer = match metrics::encode(&registry) {
            Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        std::future::ready(answer)
    };
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
}

/// Listens on all addresses, by IPv6 where the machine has it.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    }
}

/// Why nobody can ask how this process is.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The port is taken, or not ours to take.
    #[error("cannot listen on port {port} for health checks and metrics")]
    Listen {
        /// The port.
        port: u16,
        /// Why not.
        source: std::io::Error,
    },
    /// The server failed.
    #[error("the health server failed")]
    Serve(#[source] std::io::Error),
    /// The server ended without an error.
    #[error("the health server ended")]
    Ended,
}

/// Serves the routes until dropped.
pub async fn serve(
    port: u16,
    ready: Readiness,
    registry: Arc<Registry>,
) -> Result<(), HealthError> {
    let listener = listen(port)
        .await
        .map_err(|source| HealthError::Listen { port, source })?;
    axum::serve(listener, router(ready, registry))
        .await
        .map_err(HealthError::Serve)?;
    // axum::serve ends only with an error or a shutdown signal that it was not given; a pause keeps a loop from spinning.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Err(HealthError::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    async fn status(path: &str, ready: Result<(), String>) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router(
            Arc::new(move || ready.clone()),
            Arc::new(metrics::registry()),
        )
        .oneshot(request)
        .await
        .unwrap()
        .status()
    }

    #[tokio::test]
    async fn liveness_does_not_depend_on_readiness() {
        assert_eq!(
            status("/livez", Err("not yet".into())).await,
            StatusCode::OK
        );
        assert_eq!(
            status("/readyz", Err("not yet".into())).await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(status("/readyz", Ok(())).await, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_in_the_openmetrics_format() {
        let router = router(Arc::new(|| Ok(())), Arc::new(metrics::registry()));
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("application/openmetrics-text")
        );
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(
            text.contains("seccomp_operator_build_info{version=\""),
            "{text}"
        );
        let resident = text
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(
            resident.unwrap().parse::<u64>().unwrap() > 100_000,
            "{text}"
        );
        assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
    }
}
