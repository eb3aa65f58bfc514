//! The webhook's routes, `/mutate` and `/validate`: from a request to a response, without a socket.
//!
//! A decision is one synchronous function of the body and the view: no lock is held across an await, nothing is asked of the API
//! server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use admission_review::{self as review, Answer, ReviewError};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde::de::IgnoredAny;
use tokio::time::timeout;
use tracing::{debug, warn};

pub use super::admission::Admission;
use super::admission::VALIDATIONS_AT_ONCE;
pub use super::body::take_in_time;
use super::body::{MAX_BODY, in_time, take, too_large};
use super::metrics::{Refusal, Verdict, Webhook};
pub use super::response::respond;
use super::response::{failed, refuse, unreadable};
use super::validate;
use seccomp_operator_api::Mode;
use seccomp_policy::decide::{self, Pod, Reason};
use seccomp_policy::view::Scope;

/// A pod with more containers of a kind is too much to look at.
const MAX_CONTAINERS: usize = 1024;
/// A pod can reach admission before its new namespace reaches this process' watch; so long we wait for it.
const NAMESPACE_PATIENCE: Duration = Duration::from_millis(500);

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
        Err(error) => return not_about_a_pod(admission, &body.bytes, &error, started),
    };
    if has_too_many_containers(&request) {
        let sentence = format!(
            "spec.containers or spec.initContainers has more than {MAX_CONTAINERS} items; make several pods of it"
        );
        let (uid, namespace) = (&request.uid, &request.namespace);
        return Box::pin(deny(admission, uid, namespace, started, &sentence)).await;
    }
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
        let decision = decide::decide(pod, scope);
        if !request.dry_run {
            decision.count();
        }
        debug!(namespace = %request.namespace, pod = %request.name, reason = ?decision.reason, "a pod was reviewed");
        let verdict = Verdict::Pod(decision.reason);
        let answer = Answer {
            patch: decision.patch(),
            warnings: decision.warnings,
            denied: decision
                .denied
                .map(|sentence| format!("seccomp-operator: {sentence}")),
        };
        (answer, verdict)
    })
}

fn has_too_many_containers(request: &review::Request<'_, Pod<'_>>) -> bool {
    let spec = request.object.as_ref().map(|pod| &pod.spec);
    is_new_pod(&request.kind, &request.operation)
        && spec.is_some_and(|spec| {
            spec.containers.len().max(spec.init_containers.len()) > MAX_CONTAINERS
        })
}

fn is_new_pod(kind: &review::Kind<'_>, operation: &str) -> bool {
    kind.kind == "Pod" && kind.group.is_empty() && operation == "CREATE"
}

/// A review that cannot be read as one of a pod: one of something else is let through; of a pod that is none, the API server may
/// do what `failurePolicy` says.
fn not_about_a_pod(
    admission: &Admission,
    body: &[u8],
    error: &ReviewError,
    started: Instant,
) -> Response {
    match review::read::<IgnoredAny>(body) {
        Ok(request) if !is_new_pod(&request.kind, &request.operation) => {
            respond(admission, Webhook::Mutate, &request.uid, started, || {
                (Answer::allow(), Verdict::NotANewPod)
            })
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
            Some(Mode::Observe | Mode::Trial) => {
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
        // It takes a while even for a small document that derives from others; reviews of pods must not wait behind it. It goes on
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
            let (library, ceilings) = {
                let view = admission.view();
                (view.library(), view.ceilings.all())
            };
            let answer = validate::answer(&request, &library, &ceilings, admission);
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

#[cfg(test)]
mod tests;
