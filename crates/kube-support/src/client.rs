//! How a process finds its API server.

use kube::client::ClientBuilder;
use kube::{Client, Config};

use crate::Requests;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither the environment of a pod nor a kubeconfig names an API server.
    #[error("neither a pod's service account nor a kubeconfig says where the API server is")]
    Unknown(#[from] kube::config::InferConfigError),
    /// This process is no pod, or has no service account.
    #[error("this process has no service account of a pod")]
    NotInCluster(#[from] kube::config::InClusterError),
    /// The address or the credentials are of no use.
    #[error("no client can be made of the configuration")]
    Unusable(#[from] kube::Error),
}

/// A client for the cluster that this process runs in, or for the current kubeconfig context. Its calls are
/// counted by `requests`.
pub async fn client(requests: &Requests) -> Result<Client, ClientError> {
    provide_tls();
    build(Config::infer().await?, requests)
}

/// A client for the cluster that this process is a pod of. A binary that needs no other cannot read a kubeconfig, and is
/// smaller by a sixth.
pub fn in_cluster_client(requests: &Requests) -> Result<Client, ClientError> {
    provide_tls();
    build(Config::incluster()?, requests)
}

/// One TLS provider for the whole process; a second call loses the race and is harmless.
fn provide_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn build(config: Config, requests: &Requests) -> Result<Client, ClientError> {
    Ok(ClientBuilder::try_from(config)?
        .with_layer(requests)
        .build())
}
