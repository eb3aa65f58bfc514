//! The webhook's routes, `/mutate` and `/validate`: from a request to a response, without a socket.
//!
//! A decision is one synchronous function of the body and the view: no lock is held across an await, nothing is asked of the API
//! server. Bodies are bounded, and so is what they may cost together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use admission_review::json::{JsonError, MAX_ITEMS};
use admission_review::{self as review, Answer, Anything, ReviewError};
use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{self, timeout, timeout_at};
use tracing::{debug, error, warn};

use super::metrics::{Metrics, Refusal, Verdict, Webhook};
use super::validate;
use seccomp_operator_api::Mode;
use seccomp_policy::conflicts;
use seccomp_policy::mutate::{self, Pod, Reason};
use seccomp_policy::view::{Scope, View};

/// The largest review: an object of etcd's limit (1.5 MiB), twice (old and new), with room for the rest.
const MAX_BODY: usize = 4 << 20;
/// So much is read of a larger one, and kept of it [`HEAD`], so that its answer has its uid: escapes make texts of up to six times
/// their size of what etcd takes.
const MAX_READ: usize = 64 << 20;
/// API servers write what is asked, some hundred bytes, before the object that it is about.
const HEAD: usize = 16 << 10;
/// Larger ones count as large. Reviews of pods have some kilobytes, of profiles some dozens.
const LARGE_BODY: usize = 64 << 10;
/// So many large bodies are held at once; others wait for their turn, at most [`MAX_REQUEST`], when so much of them has come as
/// is not large yet. Pods have places of their own, since validations may take long.
const LARGE_PODS_AT_ONCE: usize = 6;
/// As [`LARGE_PODS_AT_ONCE`], to be validated: one is, and the next is there when it is done.
const LARGE_OBJECTS_AT_ONCE: usize = 2;
/// So many documents are validated at once, a large one alone: to understand a document takes many times its size.
const VALIDATIONS_AT_ONCE: u32 = 2;
/// How long a request may take until it is answered; of one about a pod, until its body is there, since the answer takes a moment.
const MAX_REQUEST: Duration = Duration::from_secs(10);
/// How long a body may keep a place while it comes. API servers send all of it at once, and wait 5 s for the answer, as installed.
const LARGE_PATIENCE: Duration = Duration::from_secs(2);
/// A pod can reach admission before its new namespace reaches this process' watch; so long we wait for it.
const NAMESPACE_PATIENCE: Duration = Duration::from_millis(500);

/// What the handlers share: the view, and a word when it has changed.
#[derive(Debug)]
pub struct Admission {
    /// What admission knows.
    pub view: RwLock<View>,
    /// Told when a namespace was added to the view.
    pub namespace_added: Notify,
    /// What the handlers count.
    pub metrics: Metrics,
    large_pods: Arc<Semaphore>,
    large_objects: Arc<Semaphore>,
    validations: Arc<Semaphore>,
}

impl Admission {
    /// Answers from this view, which the watches feed from now on.
    #[must_use]
    pub fn new(view: View, metrics: Metrics) -> Self {
        Self {
            view: RwLock::new(view),
            namespace_added: Notify::new(),
            metrics,
            large_pods: Arc::new(Semaphore::new(LARGE_PODS_AT_ONCE)),
            large_objects: Arc::new(Semaphore::new(LARGE_OBJECTS_AT_ONCE)),
            validations: Arc::new(Semaphore::new(VALIDATIONS_AT_ONCE as usize)),
        }
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes.
pub fn router(admission: Arc<Admission>) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .method_not_allowed_fallback(async |State(admission): State<Arc<Admission>>| {
            let sentence = "reviews are sent by POST";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            refuse(&admission, Refusal::Route, status, sentence)
        })
        .fallback(async |State(admission): State<Arc<Admission>>| {
            let sentence = "there are /mutate and /validate here";
            refuse(&admission, Refusal::Route, StatusCode::NOT_FOUND, sentence)
        })
        .with_state(admission)
}

async fn mutate(State(admission): State<Arc<Admission>>, request: Request) -> Response {
    let admission = &*admission;
    let started = Instant::now();
    let body = match take_in_time(admission, request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    if body.cut {
        return Box::pin(too_large_for_a_pod(admission, &body.bytes, started)).await;
    }
    let request = match review::read::<Pod<'_>>(&body.bytes) {
        Ok(request) => request,
        Err(error) => {
            let answering = not_about_a_pod(admission, &body.bytes, &error, started);
            return Box::pin(answering).await;
        }
    };
    {
        let view = admission.view();
        let scope = view.scope(&request.namespace);
        if scope.is_known() {
            return about_pod(admission, &request, &scope, started);
        }
    }
    await_namespace(admission, &request.namespace).await;
    let view = admission.view();
    let scope = view.scope(&request.namespace);
    about_pod(admission, &request, &scope, started)
}

fn about_pod(
    admission: &Admission,
    request: &review::Request<'_, Pod<'_>>,
    scope: &Scope<'_>,
    started: Instant,
) -> Response {
    respond(admission, Webhook::Mutate, &request.uid, started, || {
        let Some(pod) = request
            .object
            .as_ref()
            .filter(|_| is_new_pod(&request.kind, &request.operation))
        else {
            return (Answer::allow(), Verdict::NotANewPod);
        };
        let decision = mutate::decide(pod, scope);
        if !request.dry_run {
            decision.count();
        }
        debug!(namespace = %request.namespace, pod = %request.name, reason = ?decision.reason, "a pod was reviewed");
        let verdict = Verdict::Pod(decision.reason);
        let answer = Answer {
            patch: decision.patch(),
            warnings: decision.warnings,
            denied: None,
        };
        (answer, verdict)
    })
}

fn is_new_pod(kind: &review::Kind<'_>, operation: &str) -> bool {
    kind.kind == "Pod" && kind.group.is_empty() && operation == "CREATE"
}

/// A review that cannot be read as one of a pod: one of something else is let through; of a pod that is none, the API server may
/// do what `failurePolicy` says.
async fn not_about_a_pod(
    admission: &Admission,
    body: &[u8],
    error: &ReviewError,
    started: Instant,
) -> Response {
    match review::read::<Anything>(body) {
        Ok(request) if !is_new_pod(&request.kind, &request.operation) => {
            respond(admission, Webhook::Mutate, &request.uid, started, || {
                (Answer::allow(), Verdict::NotANewPod)
            })
        }
        Ok(request) if matches!(error, ReviewError::Unreadable(JsonError::TooMany)) => {
            let sentence = format!(
                "spec.containers or spec.initContainers has more than {MAX_ITEMS} items; make several pods of it"
            );
            deny(
                admission,
                &request.uid,
                &request.namespace,
                started,
                &sentence,
            )
            .await
        }
        _ => unreadable(admission, error),
    }
}

/// A review of which only the beginning was kept.
async fn too_large_for_a_pod(admission: &Admission, head: &[u8], started: Instant) -> Response {
    match review::read_head(head) {
        Some(head) if is_new_pod(&head.kind, &head.operation) => {
            let sentence = format!(
                "the review of this pod has more than {MAX_BODY} bytes; make the pod smaller, or several of it"
            );
            deny(admission, &head.uid, &head.namespace, started, &sentence).await
        }
        Some(head) => respond(admission, Webhook::Mutate, &head.uid, started, || {
            (Answer::allow(), Verdict::NotANewPod)
        }),
        None => too_large(admission),
    }
}

/// Refuses a pod that is too much to look at, if a policy may change pods in its namespace: with `failurePolicy: Ignore` no answer
/// would be a way past every policy.
async fn deny(
    admission: &Admission,
    uid: &str,
    namespace: &str,
    started: Instant,
    sentence: &str,
) -> Response {
    let is_known = admission.view().scope(namespace).is_known();
    if !is_known {
        await_namespace(admission, namespace).await;
    }
    respond(admission, Webhook::Mutate, uid, started, || {
        let view = admission.view();
        let scope = view.scope(namespace);
        if scope.is_excluded() {
            return (Answer::allow(), Verdict::Pod(Reason::NamespaceExcluded));
        }
        let mut answer = Answer::allow();
        let verdict = match scope.mode() {
            Some(Mode::Enforce) => {
                answer.denied = Some(format!("seccomp-operator: {sentence}"));
                Verdict::Invalid
            }
            Some(Mode::Observe) => {
                let warning =
                    format!("a policy that enforces would have this pod denied: {sentence}");
                answer.warnings.push(warning);
                Verdict::Pod(Reason::Observed)
            }
            None => Verdict::Pod(Reason::NoPolicy),
        };
        (answer, verdict)
    })
}

async fn await_namespace(admission: &Admission, namespace: &str) {
    let seen = async {
        loop {
            let added = admission.namespace_added.notified();
            if admission.view().scope(namespace).is_known() {
                return;
            }
            added.await;
        }
    };
    if timeout(NAMESPACE_PATIENCE, seen).await.is_err() {
        warn!(
            namespace,
            "a pod's namespace is not known yet; it is judged without its labels"
        );
    }
}

async fn validate(State(admission): State<Arc<Admission>>, request: Request) -> Response {
    let started = Instant::now();
    let answering = async {
        let body = take(&admission, request, MAX_BODY, &admission.large_objects).await?;
        let places = if body.place.is_some() {
            VALIDATIONS_AT_ONCE
        } else {
            1
        };
        let validations = admission.validations.clone();
        let places = validations.acquire_many_owned(places).await.ok();
        // It takes a while even for a small document that stands on others; reviews of pods must not wait behind it. It goes on
        // when nobody waits for its answer any more, and has its places until then.
        let judging = admission.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let response = judge(&judging, &body.bytes, started);
            drop((body, places));
            response
        });
        Ok(judged.await.unwrap_or_else(|_| failed()))
    };
    let answered = in_time(&admission, answering).await;
    answered.unwrap_or_else(|refused| refused)
}

fn judge(admission: &Admission, body: &[u8], started: Instant) -> Response {
    match review::read(body) {
        Ok(request) => respond(admission, Webhook::Validate, &request.uid, started, || {
            // The view is asked for a moment only, so that pods need not wait for a profile to be read.
            let library = admission.view().library();
            let answer = validate::answer(&request, &library, |name, spec| {
                conflicts::conflicts(name, spec, &admission.view())
            });
            let verdict = match (&answer.denied, answer.warnings.is_empty()) {
                (Some(_), _) => Verdict::Invalid,
                (None, true) => Verdict::Valid,
                (None, false) => Verdict::Warned,
            };
            (answer, verdict)
        }),
        Err(error) => unreadable(admission, &error),
    }
}

/// A body, and for a large one its place among those that are taken at once.
#[derive(Debug)]
pub struct Taken {
    bytes: Bytes,
    /// There was more than is read of any review; the rest is gone.
    cut: bool,
    place: Option<OwnedSemaphorePermit>,
}

/// What a request about a pod brings, if that is there before long; else the response to give.
pub fn take_in_time(
    admission: &Admission,
    request: Request,
) -> impl Future<Output = Result<Taken, Response>> {
    let taking = take(admission, request, MAX_READ, &admission.large_pods);
    in_time(admission, taking)
}

/// A client that sends its body a byte at a time does not keep its place for ever.
///
/// No `async fn`, like [`take`]: each would keep a second copy of what it is given, and each request allocates what these keep.
fn in_time<T>(
    admission: &Admission,
    taking: impl Future<Output = Result<T, Response>>,
) -> impl Future<Output = Result<T, Response>> {
    timeout(MAX_REQUEST, taking).map(|taken| taken.unwrap_or_else(|_| Err(too_slow(admission))))
}

fn take(
    admission: &Admission,
    request: Request,
    most: usize,
    places: &Arc<Semaphore>,
) -> impl Future<Output = Result<Taken, Response>> {
    let is_json = is_json(request.headers());
    let body = request.into_body();
    async move {
        if !is_json {
            return Err(refuse(
                admission,
                Refusal::ContentType,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "reviews are sent as application/json",
            ));
        }
        let expected = body.size_hint().exact();
        if expected.is_some_and(|bytes| bytes > most as u64) {
            return Err(too_large(admission));
        }
        let mut chunks = body.into_data_stream();
        let first = chunks
            .next()
            .await
            .transpose()
            .map_err(|_| cut_off(admission))?;
        let first = first.unwrap_or_default();
        let next = chunks.next().await;
        if next.is_none() && first.len() <= LARGE_BODY {
            // Nearly always: then the bytes stay where they came to.
            return Ok(Taken {
                bytes: first,
                cut: false,
                place: None,
            });
        }
        // Apart, since each request allocates what its future may keep.
        let gathering = gather(admission, first, next, chunks, most, places);
        Box::pin(gathering).await
    }
}

/// A body that comes in several parts, or is large.
async fn gather(
    admission: &Admission,
    first: Bytes,
    mut next: Option<Result<Bytes, axum::Error>>,
    mut chunks: BodyDataStream,
    most: usize,
    places: &Arc<Semaphore>,
) -> Result<Taken, Response> {
    let mut kept = Vec::with_capacity(first.len() * 2);
    let mut read = 0;
    let mut chunk = first;
    let mut place = None;
    let mut patience = time::Instant::now();
    loop {
        read += chunk.len();
        if read > most {
            return Err(too_large(admission));
        }
        let room = if read > MAX_BODY {
            place = None; // for those who bring something
            kept.truncate(HEAD);
            kept.shrink_to(HEAD);
            HEAD - kept.len()
        } else {
            if read > LARGE_BODY && place.is_none() {
                place = places.clone().acquire_owned().await.ok();
                patience = time::Instant::now() + LARGE_PATIENCE;
            }
            chunk.len()
        };
        kept.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        match next {
            Some(came) => chunk = came.map_err(|_| cut_off(admission))?,
            None => break,
        }
        next = if place.is_some() {
            let coming = timeout_at(patience, chunks.next());
            coming.await.map_err(|_| too_slow(admission))?
        } else {
            chunks.next().await
        };
    }
    Ok(Taken {
        bytes: kept.into(),
        cut: read > MAX_BODY,
        place,
    })
}

fn cut_off(admission: &Admission) -> Response {
    let sentence = "the body did not come whole";
    refuse(
        admission,
        Refusal::CutOff,
        StatusCode::BAD_REQUEST,
        sentence,
    )
}

fn too_slow(admission: &Admission) -> Response {
    let sentence = "the request took too long";
    let status = StatusCode::REQUEST_TIMEOUT;
    refuse(admission, Refusal::TooSlow, status, sentence)
}

fn too_large(admission: &Admission) -> Response {
    refuse(
        admission,
        Refusal::TooLarge,
        StatusCode::PAYLOAD_TOO_LARGE,
        &format!("the body has more than {MAX_BODY} bytes"),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let essence = value.and_then(|value| value.as_bytes().split(|byte| *byte == b';').next());
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/json")
    })
}

/// Answers a review, and counts it. A panic in a decision must cost one answer, not the connection.
pub fn respond(
    admission: &Admission,
    webhook: Webhook,
    uid: &str,
    started: Instant,
    decide: impl FnOnce() -> (Answer, Verdict),
) -> Response {
    let decided = catch_unwind(AssertUnwindSafe(|| {
        let (answer, verdict) = decide();
        (answer.write(uid), verdict)
    }));
    let (response, verdict) = match decided {
        Ok((body, verdict)) => (json(StatusCode::OK, body), verdict),
        Err(_) => {
            error!(
                uid,
                "the decision on a review failed; the API server does what failurePolicy says"
            );
            (failed(), Verdict::Failed)
        }
    };
    admission
        .metrics
        .reviewed(webhook, verdict, started.elapsed());
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// No answer. The sentence reaches whoever made the request to the API server; the reason is counted.
fn refuse(admission: &Admission, reason: Refusal, status: StatusCode, sentence: &str) -> Response {
    admission.metrics.refused(reason);
    failure(status, sentence)
}

fn unreadable(admission: &Admission, error: &ReviewError) -> Response {
    refuse(
        admission,
        Refusal::Unreadable,
        StatusCode::BAD_REQUEST,
        &error.to_string(),
    )
}

fn failed() -> Response {
    failure(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the decision failed; the controller's log says more",
    )
}

fn failure(status: StatusCode, sentence: &str) -> Response {
    let message = format!("seccomp-operator: {sentence}");
    json(status, review::failure(status.as_u16(), &message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http;
    use futures::stream;
    use prometheus_client::registry::Registry;
    use rustix::time::{ClockId, clock_gettime};
    use seccomp_policy::view::{Kind, OPT_OUT_LABEL};
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
        Arc::new(Admission::new(view, Metrics::new(&mut Registry::default())))
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
            tokio::time::sleep(Duration::from_millis(50)).await;
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
    async fn a_pod_of_too_many_containers_is_denied_and_not_left_alone() {
        let mut review = pod_review("default");
        review["request"]["object"]["spec"]["initContainers"] = json!(vec![json!({}); 1025]);
        let (status, answer) = post(admission(), "/mutate", review.to_string()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["response"]["uid"], "the-uid");
        assert_eq!(answer["response"]["allowed"], false);
        let sentence = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(sentence.contains("more than 1024 items"), "{sentence}");
        let nothing = admission();
        nothing.view.write().unwrap().gone(Kind::Policy, "default");
        let (_, answer) = post(nothing, "/mutate", review.to_string()).await;
        assert_eq!(answer["response"]["allowed"], true);
    }

    /// Admission sees pods before anybody has looked at how many annotations they have.
    #[tokio::test]
    async fn very_many_annotations_are_not_looked_through_for_each_container() {
        let body = |containers: usize| {
            let mut review = pod_review("default");
            let mut annotations: serde_json::Map<_, _> = (0..200_000)
                .map(|n| (format!("{n:x}"), json!("")))
                .collect();
            annotations.insert(mutate::POD_ANNOTATION.into(), json!("unconfined"));
            let object = &mut review["request"]["object"];
            object["metadata"]["annotations"] = annotations.into();
            object["spec"]["containers"] = json!(vec![json!({}); containers]);
            review.to_string()
        };
        let took = async |containers| {
            let body = body(containers);
            assert!(body.len() < MAX_BODY);
            // Time of this thread, which does all of it: what else the machine does hardly shows.
            let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
            let began = now();
            let (_, answer) = post(admission(), "/mutate", body).await;
            assert_eq!(answer["response"]["allowed"], true);
            now().saturating_sub(began)
        };
        // Looking through all of them takes ten times as long.
        let (one, many) = (took(1).await, took(1024).await);
        assert!(many < 5 * one, "{many:?} instead of {one:?}");
    }

    #[tokio::test]
    async fn a_bad_body_is_refused_with_a_reason() {
        let (status, answer) = post(admission(), "/mutate", "hello").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(answer["kind"], "Status");
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("not an AdmissionReview")
        );
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused() {
        for (path, size) in [
            ("/validate", MAX_BODY + 1),
            ("/mutate", MAX_BODY + 1),
            ("/mutate", MAX_READ + 1),
        ] {
            let (status, _) = post(admission(), path, vec![b' '; size]).await;
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path} {size}");
        }
    }

    /// A body that comes in parts of this size.
    fn in_parts(body: &str, size: usize) -> Body {
        let parts: Vec<_> = body
            .as_bytes()
            .chunks(size)
            .map(Bytes::copy_from_slice)
            .collect();
        Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn a_pod_that_is_too_much_to_read_is_denied_under_its_uid() {
        // As an API server writes it: what is asked before the object.
        let review = |kind: &str, object: usize| {
            format!(
                r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"the-uid","kind":{{"group":"","version":"v1","kind":"{kind}"}},"namespace":"default","operation":"CREATE","userInfo":{{}},"object":{{"spec":{{"containers":[{{"name":"c","args":["{}"]}}]}}}},"dryRun":false}}}}"#,
                "\\u003c".repeat(object / 6)
            )
        };
        let large = review("Pod", MAX_BODY + 1);
        for size in [1000, HEAD, 1 << 20, large.len()] {
            let (status, answer) = post(admission(), "/mutate", in_parts(&large, size)).await;
            assert_eq!(status, StatusCode::OK, "{size}");
            assert_eq!(answer["response"]["uid"], "the-uid");
            assert_eq!(answer["response"]["allowed"], false);
            let sentence = answer["response"]["status"]["message"].as_str().unwrap();
            assert!(sentence.contains("make the pod smaller"), "{sentence}");
        }
        let other = review("ConfigMap", MAX_BODY + 1);
        let (_, answer) = post(admission(), "/mutate", in_parts(&other, 100_000)).await;
        assert_eq!(answer["response"]["allowed"], true);
        let (excluded, observed) = (admission(), admission());
        let labels = BTreeMap::from([(OPT_OUT_LABEL.to_owned(), "disabled".to_owned())]);
        excluded.view.write().unwrap().namespace("default", labels);
        let (_, answer) = post(excluded, "/mutate", in_parts(&large, 100_000)).await;
        assert_eq!(answer["response"]["allowed"], true);
        // Only who may change it needs to look at it.
        let policy = |name: &str, spec: Value| {
            let spec = serde_json::from_value(spec).unwrap();
            observed.view.write().unwrap().policy(name, spec);
        };
        let profile = json!({"type": "RuntimeDefault"});
        policy("default", json!({"mode": "Observe", "profile": profile}));
        let other = json!({"matchLabels": {"team": "other"}});
        policy(
            "other",
            json!({"namespaceSelector": other, "profile": profile}),
        );
        let (_, answer) = post(observed.clone(), "/mutate", in_parts(&large, 100_000)).await;
        assert_eq!(answer["response"]["allowed"], true);
        let warning = answer["response"]["warnings"][0].as_str().unwrap();
        assert!(warning.contains("make the pod smaller"), "{warning}");
        for name in ["default", "other"] {
            observed.view.write().unwrap().gone(Kind::Policy, name);
        }
        let (_, answer) = post(observed.clone(), "/mutate", in_parts(&large, 100_000)).await;
        assert_eq!(answer["response"]["allowed"], true);
        assert!(answer["response"]["warnings"].is_null(), "{answer}");
        // A namespace that nobody has told of may be selected by any policy.
        let team = json!({"matchLabels": {"team": "web"}});
        policy(
            "team",
            json!({"namespaceSelector": team, "profile": profile}),
        );
        let elsewhere = large.replacen("\"namespace\":\"default\"", "\"namespace\":\"new\"", 1);
        let (_, answer) = post(observed.clone(), "/mutate", in_parts(&elsewhere, 100_000)).await;
        assert_eq!(answer["response"]["allowed"], false);
        let asked = post(observed.clone(), "/mutate", in_parts(&elsewhere, 100_000));
        let told = async {
            tokio::task::yield_now().await;
            observed
                .view
                .write()
                .unwrap()
                .namespace("new", BTreeMap::new());
            observed.namespace_added.notify_waiters();
        };
        let ((_, answer), ()) = tokio::join!(asked, told);
        assert_eq!(answer["response"]["allowed"], true, "it was waited for");
        let most = review("Pod", MAX_BODY - 1000);
        let (_, answer) = post(admission(), "/mutate", in_parts(&most, 100_000)).await;
        assert_eq!(answer["response"]["allowed"], true);
        assert!(answer["response"]["patch"].is_string(), "read whole");
    }

    #[tokio::test]
    async fn what_nobody_reads_is_no_hiding_place_for_what_is_not_json() {
        let good = pod_review("default").to_string();
        for (from, to) in [
            ("\"metadata\":{}", "\"metadata\":{\"managedFields\":[}"),
            (
                "\"metadata\":{}",
                "\"metadata\":{\"managedFields\":[{\"a\":\"b}]}",
            ),
            ("\"metadata\":{}", "\"metadata\":{},\"status\":nothing"),
            ("\"metadata\":{}", "\"metadata\":{},\"metadata\":{}"),
            ("\"spec\":", "\"spec\":{},\"\\u0073pec\":"),
            ("\"uid\":", "\"x\":1 \"uid\":"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            let (status, answer) = post(admission(), "/mutate", bad).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{to}: {answer}");
        }
        for end in ["}", ",", "null", "{}"] {
            let (status, _) = post(admission(), "/mutate", format!("{good}{end}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{end}");
        }
    }

    /// A body of which so much comes, and then nothing.
    fn stalled(bytes: usize) -> Body {
        let part = || Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 1 << 10]));
        let came = stream::iter(std::iter::repeat_with(part).take(bytes >> 10));
        Body::from_stream(came.chain(stream::pending()))
    }

    /// A pod's review of more than [`LARGE_BODY`].
    fn large_review() -> Body {
        let large = format!("{}{}", pod_review("default"), " ".repeat(LARGE_BODY));
        in_parts(&large, 1000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up_and_keeps_no_place() {
        let admission = admission();
        let begun = tokio::time::Instant::now();
        let slow = (0..20).map(|_| post(admission.clone(), "/mutate", stalled(LARGE_BODY)));
        let large = async {
            let (status, _) = post(admission.clone(), "/mutate", large_review()).await;
            (status, begun.elapsed())
        };
        let (slow, large) = tokio::join!(futures::future::join_all(slow), large);
        for (status, answer) in slow {
            assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
            assert_eq!(answer["reason"], "Timeout");
        }
        assert_eq!(begun.elapsed().as_secs(), MAX_REQUEST.as_secs());
        assert_eq!(large, (StatusCode::OK, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_that_does_not_come_whole_keeps_its_place_for_a_moment() {
        let admission = admission();
        let begun = tokio::time::Instant::now();
        let slow = (0..LARGE_PODS_AT_ONCE)
            .map(|_| post(admission.clone(), "/mutate", stalled(LARGE_BODY * 2)));
        let large = async {
            let (status, _) = post(admission.clone(), "/mutate", large_review()).await;
            (status, begun.elapsed().as_secs())
        };
        let (slow, large) = tokio::join!(futures::future::join_all(slow), large);
        for (status, _) in slow {
            assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        }
        // It waited, and an API server was still there.
        assert_eq!(large, (StatusCode::OK, LARGE_PATIENCE.as_secs()));
        let free = admission.large_pods.available_permits();
        assert_eq!(free, LARGE_PODS_AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn large_objects_that_are_validated_do_not_keep_large_pods_waiting() {
        let admission = admission();
        let validated =
            (0..20).map(|_| post(admission.clone(), "/validate", stalled(LARGE_BODY * 2)));
        let begun = tokio::time::Instant::now();
        let pod = async {
            let (status, _) = post(admission.clone(), "/mutate", large_review()).await;
            (status, begun.elapsed())
        };
        let (_, pod) = tokio::join!(futures::future::join_all(validated), pod);
        assert_eq!(pod, (StatusCode::OK, Duration::ZERO));
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
