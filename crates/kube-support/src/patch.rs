//! JSON patches (RFC 6902): what a decision changes of an object that others write too.

use std::fmt::Debug;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation};
use kube::Api;
use kube::api::{PartialObjectMeta, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{WriteError, bounded};

/// The operations of a patch, in their order. Places are paths of field names and positions: `["metadata", "finalizers", "0"]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPatch(Vec<PatchOperation>);

impl JsonPatch {
    /// A patch of the object as it was at this resource version, and of no other.
    #[must_use]
    pub fn of_version(version: &str) -> Self {
        Self::default().test(&["metadata", "resourceVersion"], version)
    }

    /// The patch fails unless `value` is at this place.
    #[must_use]
    pub fn test(self, place: &[&str], value: impl Into<Value>) -> Self {
        self.with(PatchOperation::Test(TestOperation {
            path: PointerBuf::from_tokens(place.iter().copied()),
            value: value.into(),
        }))
    }

    /// Sets a field, or inserts into a list; `-` is the place after its last item.
    #[must_use]
    pub fn add(self, place: &[&str], value: impl Into<Value>) -> Self {
        self.with(PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(place.iter().copied()),
            value: value.into(),
        }))
    }

    /// Removes a field, or an item of a list: those after it move up.
    #[must_use]
    pub fn remove(self, place: &[&str]) -> Self {
        self.with(PatchOperation::Remove(RemoveOperation {
            path: PointerBuf::from_tokens(place.iter().copied()),
        }))
    }

    fn with(mut self, operation: PatchOperation) -> Self {
        self.0.push(operation);
        self
    }

    /// Whether it changes nothing, and tests nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The operations, for whoever applies them without an API server.
    #[must_use]
    pub fn operations(&self) -> &[PatchOperation] {
        &self.0
    }
}

/// Patches an object as `manager`; the object as it is then.
pub async fn patch<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    patch: JsonPatch,
) -> Result<K, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    overtaken(bounded(api.patch(name, &params(manager), &json(patch))).await)
}

/// Like [`patch`], where only the metadata are asked for afterwards.
pub async fn patch_metadata<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    patch: JsonPatch,
) -> Result<PartialObjectMeta<K>, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    overtaken(bounded(api.patch_metadata(name, &params(manager), &json(patch))).await)
}

/// Like [`patch`], of the status subresource.
pub async fn patch_status<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    patch: JsonPatch,
) -> Result<K, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    overtaken(bounded(api.patch_status(name, &params(manager), &json(patch))).await)
}

fn params(manager: &str) -> PatchParams {
    PatchParams {
        field_manager: Some(manager.into()),
        ..PatchParams::default()
    }
}

fn json(patch: JsonPatch) -> kube::api::Patch<()> {
    kube::api::Patch::Json(Patch(patch.0))
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// A test that does not hold is an unprocessable patch to the API server.
fn overtaken<T>(outcome: Result<T, WriteError>) -> Result<T, WriteError> {
    match outcome {
        Err(WriteError::Refused(error)) if code(&error) == Some(422) => {
            Err(WriteError::Overtaken(error))
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response, StatusCode};
    use k8s_openapi::api::core::v1::Node;
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_is_made_of_tests_and_changes_in_their_order() {
        let patch = JsonPatch::of_version("7")
            .test(&["webhooks", "0", "name"], "a/b")
            .add(&["metadata", "labels", "example.com/a~b"], "x")
            .remove(&["spec"]);
        let written = json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": "7" },
            { "op": "test", "path": "/webhooks/0/name", "value": "a/b" },
            { "op": "add", "path": "/metadata/labels/example.com~1a~0b", "value": "x" },
            { "op": "remove", "path": "/spec" },
        ]);
        assert_eq!(json!(patch.operations()), written);
    }

    /// What becomes of a patch that the API server answers with this code.
    async fn answered(code: StatusCode) -> WriteError {
        let answer = move |_: Request<Body>| async move {
            let status = json!({
                "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": "", "code": code.as_u16(),
            });
            let body = Body::from(status.to_string().into_bytes());
            let response = Response::builder().status(code).body(body).unwrap();
            Ok::<_, std::convert::Infallible>(response)
        };
        let api: Api<Node> = Api::all(Client::new(tower::service_fn(answer), "default"));
        let patched = patch_metadata(&api, "n1", "me", JsonPatch::of_version("7")).await;
        patched.unwrap_err()
    }

    #[tokio::test]
    async fn a_patch_whose_test_does_not_hold_is_overtaken_and_any_other_refused() {
        let overtaken = answered(StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(matches!(overtaken, WriteError::Overtaken(_)) && overtaken.is_conflict());
        let refused = answered(StatusCode::FORBIDDEN).await;
        assert!(matches!(refused, WriteError::Refused(_)) && !refused.is_conflict());
    }
}
