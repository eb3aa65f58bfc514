//! Counts the calls that this process makes to the API server, as a layer around kube's client.
//!
//! One count per call, after the retries that kube makes by itself. A watch counts when it begins; so `watch` calls say how
//! often watches were resumed, and `list` calls how often one had to start from scratch.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response, Uri};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};

/// The code of a call that got no answer.
const NO_ANSWER: &str = "none";

/// What was asked for, and what came of it. The kinds are those that this program asks for, so there are few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    verb: &'static str,
    resource: String,
    code: String,
}

/// The counters of a process.
#[derive(Clone, Debug, Default)]
pub struct Requests(Family<Call, Counter>);

impl Requests {
    /// Counters that the registry knows, as `api_requests`; a prefix is the caller's to give.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let requests = Self::default();
        registry.register(
            "api_requests",
            "Calls to the API server",
            requests.0.clone(),
        );
        requests
    }

    fn count(&self, (verb, resource): (&'static str, String), code: String) {
        let call = Call {
            verb,
            resource,
            code,
        };
        self.0.get_or_create(&call).inc();
    }
}

impl<S> Layer<S> for Requests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            requests: self.clone(),
        }
    }
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    requests: Requests,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let what = asked_for(request.method(), request.uri());
        let requests = self.requests.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = match &answer {
                Ok(response) => response.status().as_str().to_owned(),
                Err(_) => NO_ANSWER.to_owned(),
            };
            requests.count(what, code);
            answer
        })
    }
}

/// The verb and the resource of a call, in RBAC's words.
fn asked_for(method: &Method, uri: &Uri) -> (&'static str, String) {
    let path = uri.path();
    let below = path
        .strip_prefix("/api/")
        .and_then(|rest| rest.split_once('/'))
        .or_else(|| {
            let (_group, rest) = path.strip_prefix("/apis/")?.split_once('/')?;
            rest.split_once('/')
        });
    let mut parts: Vec<_> = below.map_or_else(Vec::new, |(_version, rest)| {
        rest.split('/').filter(|part| !part.is_empty()).collect()
    });
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts.drain(..2);
    }
    let named = parts.len() > 1;
    let resource = match parts[..] {
        [] => "none".to_owned(),
        [resource] | [resource, _] => resource.to_owned(),
        [resource, _, part, ..] => format!("{resource}/{part}"),
    };
    let watches = || {
        uri.query()
            .unwrap_or_default()
            .split('&')
            .any(|part| part == "watch=true" || part == "watch=1")
    };
    let verb = match *method {
        Method::GET if named => "get",
        Method::GET if watches() => "watch",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    (verb, resource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use tower::{ServiceBuilder, ServiceExt as _, service_fn};

    #[test]
    fn a_call_is_named_in_the_words_of_rbac() {
        for (method, uri, verb, resource) in [
            (Method::GET, "/api/v1/nodes?limit=20", "list", "nodes"),
            (Method::GET, "/api/v1/nodes/node1", "get", "nodes"),
            (
                Method::GET,
                "/api/v1/namespaces?&watch=true&timeoutSeconds=290",
                "watch",
                "namespaces",
            ),
            (Method::GET, "/api/v1/namespaces/a", "get", "namespaces"),
            (Method::GET, "/api/v1/namespaces/a/pods", "list", "pods"),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/b?",
                "update",
                "leases",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/a/events",
                "create",
                "events",
            ),
            (
                Method::PATCH,
                "/apis/example.com/v1alpha1/widgets/x/status?force=true",
                "patch",
                "widgets/status",
            ),
            (Method::GET, "/version", "list", "none"),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(
                asked_for(&method, &uri),
                (verb, resource.to_owned()),
                "{uri}"
            );
        }
    }

    #[tokio::test]
    async fn calls_are_counted_by_what_came_of_them() {
        let requests = Requests::default();
        let service = ServiceBuilder::new()
            .layer(requests.clone())
            .service(service_fn(async |request: Request<()>| {
                match request.uri().path() {
                    "/api/v1/nodes" => Ok(Response::builder()
                        .status(StatusCode::FORBIDDEN)
                        .body(())
                        .unwrap()),
                    _ => Err("no answer"),
                }
            }));
        for path in ["/api/v1/nodes", "/api/v1/nodes", "/api/v1/pods"] {
            drop(
                service
                    .clone()
                    .oneshot(Request::get(path).body(()).unwrap())
                    .await,
            );
        }
        let count = |resource: &str, code: &str| {
            let call = Call {
                verb: "list",
                resource: resource.into(),
                code: code.into(),
            };
            requests.0.get(&call).map_or(0, |counter| counter.get())
        };
        assert_eq!(
            (
                count("nodes", "403"),
                count("pods", NO_ANSWER),
                count("pods", "200")
            ),
            (2, 1, 0)
        );
    }
}
