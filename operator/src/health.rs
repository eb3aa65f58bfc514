//! `/livez` and `/readyz`, for kubelet.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

/// Why this process is not ready, or nothing when it is. Called for each request; must not block.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The routes: `/livez` says only that this process runs (it never depends on the API server, else an outage there would
/// restart every agent), `/readyz` says what `ready` says.
pub fn router(ready: Readiness) -> Router {
    Router::new().route("/livez", get(|| async { "ok" })).route(
        "/readyz",
        get(move || {
            let answer = match ready() {
                Ok(()) => (StatusCode::OK, "ok".to_owned()),
                Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
            };
            std::future::ready(answer)
        }),
    )
}

/// Listens on all addresses, by IPv6 where the machine has it.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    }
}

/// Serves the routes until dropped.
pub async fn serve(port: u16, ready: Readiness) -> anyhow::Result<()> {
    let listener = listen(port).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on port {port} for health checks: {error}")
    })?;
    axum::serve(listener, router(ready)).await?;
    // axum::serve ends only with an error or a shutdown signal that it was not given; a pause keeps a loop from spinning.
    tokio::time::sleep(Duration::from_secs(1)).await;
    anyhow::bail!("the health server ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    async fn status(path: &str, ready: Result<(), String>) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router(Arc::new(move || ready.clone()))
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
}
