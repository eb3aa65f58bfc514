//! How this project talks to the API server: watches that never end, writes that never hang, and a leader.
//!
//! Nothing here knows what the objects mean.

mod backoff;
pub mod error;
pub mod events;
pub mod leader;
mod requests;
mod watch;
mod write;

pub use backoff::Backoff;
pub use requests::Requests;
pub use watch::{Change, Listing, Watched, watch, watch_as};
pub use write::{WriteError, apply, apply_status, apply_tested, bounded};

use kube::client::ClientBuilder;
use kube::{Client, Config};

/// Resource versions are numbers on every API server there is (and by promise since Kubernetes 1.35); one that is not
/// counts as the oldest.
#[must_use]
pub fn resource_version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// A client for the cluster that this process runs in, or for the current kubeconfig context. Its calls are
/// counted by `requests`.
pub async fn client(requests: &Requests) -> anyhow::Result<Client> {
    provide_tls();
    build(Config::infer().await?, requests)
}

/// A client for the cluster that this process is a pod of. A binary that needs no other cannot read a kubeconfig, and is
/// smaller by a sixth.
pub fn client_of_pod(requests: &Requests) -> anyhow::Result<Client> {
    provide_tls();
    build(Config::incluster()?, requests)
}

/// One TLS provider for the whole process; a second call loses the race and is harmless.
fn provide_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn build(config: Config, requests: &Requests) -> anyhow::Result<Client> {
    Ok(ClientBuilder::try_from(config)?
        .with_layer(requests)
        .build())
}
