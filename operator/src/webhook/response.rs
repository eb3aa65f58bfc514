//! The webhook's responses: the answer to a review, or a `Status` that says why there is none. Each is counted here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use admission_review::{self as review, Answer, ReviewError};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use tracing::error;

use super::admission::Admission;
use super::metrics::{Refusal, Verdict, Webhook};

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
pub(super) fn refuse(
    admission: &Admission,
    reason: Refusal,
    status: StatusCode,
    sentence: &str,
) -> Response {
    admission.metrics.refused(reason);
    failure(status, sentence)
}

pub(super) fn unreadable(admission: &Admission, error: &ReviewError) -> Response {
    refuse(
        admission,
        Refusal::Unreadable,
        StatusCode::BAD_REQUEST,
        &error.to_string(),
    )
}

pub(super) fn failed() -> Response {
    failure(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the decision failed; the controller's log says more",
    )
}

fn failure(status: StatusCode, sentence: &str) -> Response {
    let message = format!("seccomp-operator: {sentence}");
    json(status, review::failure(status.as_u16(), &message))
}
