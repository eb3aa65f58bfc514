//! When to stop: SIGTERM from kubelet, or SIGINT from a terminal.

use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

/// Ends when this process is asked to stop.
pub async fn requested() {
    match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => {
            warn!("signals cannot be handled; this process stops only when it is killed");
            std::future::pending::<()>().await;
        }
    }
}
