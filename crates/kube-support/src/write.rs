//! Server-side apply with a time limit.

use std::fmt::Debug;
use std::time::Duration;

use kube::Api;
use kube::api::{PartialObjectMeta, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// No single call to the API server takes longer. kube's client retries by itself, for hours if let.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server said no, or could not be reached.
    #[error("the API server did not take it")]
    Refused(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("the API server did not answer within {} s", LIMIT.as_secs())]
    TimedOut,
    /// A patch's test did not hold.
    #[error("the object is not as it was any more")]
    Overtaken,
}

impl WriteError {
    /// Whether the object was not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(kube::Error::Api(status)) if status.is_not_found())
    }

    /// Whether somebody else was first.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Refused(kube::Error::Api(status)) => {
                status.is_conflict() || status.is_already_exists()
            }
            Self::Overtaken => true,
            _ => false,
        }
    }
}

/// Runs one call to the API server within the time limit.
pub async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    tokio::time::timeout(LIMIT, call)
        .await
        .map_err(|_| WriteError::TimedOut)?
        .map_err(WriteError::from)
}

/// Applies `object` server-side as `manager`, taking over fields that others had set.
pub async fn apply<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    object: &Value,
) -> Result<K, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    bounded(api.patch(
        name,
        &PatchParams::apply(manager).force(),
        &Patch::Apply(object),
    ))
    .await
}

/// Like [`apply`], on the status subresource.
pub async fn apply_status<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    object: &Value,
) -> Result<K, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    bounded(api.patch_status(
        name,
        &PatchParams::apply(manager).force(),
        &Patch::Apply(object),
    ))
    .await
}

/// Applies a patch that tests what it was decided by; what the object's metadata are then.
pub async fn apply_tested<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    patch: json_patch::Patch,
) -> Result<PartialObjectMeta<K>, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams {
        field_manager: Some(manager.into()),
        ..PatchParams::default()
    };
    let patch = Patch::Json::<()>(patch);
    match bounded(api.patch_metadata(name, &params, &patch)).await {
        // A test that fails is an unprocessable patch to the API server.
        Err(WriteError::Refused(kube::Error::Api(status))) if status.code == 422 => {
            Err(WriteError::Overtaken)
        }
        outcome => outcome,
    }
}
