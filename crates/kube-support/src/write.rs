//! Calls with a time limit, and server-side apply of typed fields.

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// No single call to the API server takes longer. kube's client retries by itself, for hours if let.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server said no, or could not be reached.
    #[error("the API server did not take it")]
    Refused(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut,
    /// A patch's test did not hold.
    #[error("the object is not as it was any more")]
    Overtaken(#[source] kube::Error),
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
            Self::Overtaken(_) => true,
            _ => false,
        }
    }
}

/// Runs one call to the API server within the time limit.
pub async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    tokio::time::timeout(CALL_TIMEOUT, call)
        .await
        .map_err(|_| WriteError::TimedOut)?
        .map_err(WriteError::from)
}

/// What becomes of an apply when another field manager has set one of its fields to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflicts {
    /// The field is taken over.
    Force,
    /// The apply fails ([`WriteError::is_conflict`]).
    Refuse,
}

/// An object as one field manager applies it: what it owns of the metadata, and of the rest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Applied<'a, F> {
    api_version: Cow<'static, str>,
    kind: Cow<'static, str>,
    metadata: &'a ObjectMeta,
    #[serde(flatten)]
    fields: &'a F,
}

impl<'a, F: Serialize> Applied<'a, F> {
    fn new<K: Resource<DynamicType = ()>>(metadata: &'a ObjectMeta, fields: &'a F) -> Self {
        Self {
            api_version: K::api_version(&()),
            kind: K::kind(&()),
            metadata,
            fields,
        }
    }
}

/// Applies an object server-side as `manager`, which owns `metadata` and `fields` of it afterwards and nothing else. `metadata` has the
/// object's name; with a resource version in it the apply fails when the object is another by now.
pub async fn apply<K, F>(
    api: &Api<K>,
    manager: &str,
    conflicts: Conflicts,
    metadata: &ObjectMeta,
    fields: &F,
) -> Result<K, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    F: Serialize + Debug,
{
    let (name, params) = (name_of(metadata), params(manager, conflicts));
    let object = Patch::Apply(Applied::new::<K>(metadata, fields));
    bounded(api.patch(name, &params, &object)).await
}

/// Like [`apply`], of the status subresource; fields of others are taken over.
pub async fn apply_status<K, S>(
    api: &Api<K>,
    manager: &str,
    metadata: &ObjectMeta,
    status: &S,
) -> Result<K, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    S: Serialize + Debug,
{
    #[derive(Debug, Serialize)]
    struct Status<'a, S> {
        status: &'a S,
    }
    let (name, params) = (name_of(metadata), params(manager, Conflicts::Force));
    let status = Status { status };
    let object = Patch::Apply(Applied::new::<K>(metadata, &status));
    bounded(api.patch_status(name, &params, &object)).await
}

fn name_of(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

fn params(manager: &str, conflicts: Conflicts) -> PatchParams {
    let params = PatchParams::apply(manager);
    match conflicts {
        Conflicts::Force => params.force(),
        Conflicts::Refuse => params,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Node;
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// Method and path of each call, and what was sent.
    type Asked = Arc<Mutex<Vec<(String, Value)>>>;

    /// An API server that takes everything, and what it was asked.
    fn api_server() -> (Api<Node>, Asked) {
        let asked = Asked::default();
        let log = asked.clone();
        let answer = move |request: Request<Body>| {
            let log = log.clone();
            async move {
                let asks = format!("{} {}", request.method(), request.uri());
                let sent = request.into_body().collect_bytes().await.unwrap();
                let sent = serde_json::from_slice(&sent).unwrap();
                log.lock().unwrap().push((asks, sent));
                let body = Body::from(json!({ "metadata": {} }).to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(Response::new(body))
            }
        };
        let client = Client::new(tower::service_fn(answer), "default");
        (Api::all(client), asked)
    }

    fn named(name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        }
    }

    #[tokio::test]
    async fn an_apply_names_the_kind_and_the_fields_of_the_manager_and_no_others() {
        #[derive(Debug, Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            pod_cidr: &'static str,
        }
        let (api, asked) = api_server();
        let fields = Fields { pod_cidr: "x" };
        for conflicts in [Conflicts::Force, Conflicts::Refuse] {
            apply(&api, "me", conflicts, &named("n1"), &fields)
                .await
                .unwrap();
        }
        let asked = asked.lock().unwrap();
        let object = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" }, "podCidr": "x",
        });
        assert_eq!(
            *asked,
            [
                (
                    "PATCH /api/v1/nodes/n1?&force=true&fieldManager=me".to_owned(),
                    object.clone()
                ),
                ("PATCH /api/v1/nodes/n1?&fieldManager=me".to_owned(), object),
            ]
        );
    }

    #[tokio::test]
    async fn a_status_is_applied_to_the_version_that_it_was_decided_by() {
        let (api, asked) = api_server();
        let metadata = ObjectMeta {
            resource_version: Some("7".into()),
            ..named("n1")
        };
        let status = json!({ "phase": "Running" });
        apply_status(&api, "me", &metadata, &status).await.unwrap();
        let asked = asked.lock().unwrap();
        let (asks, object) = &asked[0];
        assert!(
            asks.starts_with("PATCH /api/v1/nodes/n1/status?&force=true"),
            "{asks}"
        );
        assert_eq!(object["metadata"]["resourceVersion"], "7");
        assert_eq!(object["status"], status);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_never_answered_ends() {
        let never = bounded(std::future::pending::<kube::Result<()>>());
        assert!(matches!(never.await, Err(WriteError::TimedOut)));
    }
}
