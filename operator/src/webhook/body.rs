//! The bodies of requests: how much of them is read, how many large ones are held at once, and how long they may take. It knows
//! nothing of what is in them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{BodyDataStream, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{self, timeout, timeout_at};

use super::admission::Admission;
use super::metrics::Refusal;
use super::response::refuse;

/// The largest review: an object of etcd's limit (1.5 MiB), twice (old and new), with room for the rest.
pub(super) const MAX_BODY: usize = 4 << 20;
/// So much is read of a larger one, and kept of it [`HEAD`], so that its answer has its uid: escapes make texts of up to six times
/// their size of what etcd takes.
pub(super) const MAX_READ: usize = 64 << 20;
/// API servers write what is asked, some hundred bytes, before the object that it is about.
pub(super) const HEAD: usize = 16 << 10;
/// Larger ones count as large. Reviews of pods have some kilobytes, of profiles some dozens.
pub(super) const LARGE_BODY: usize = 64 << 10;
/// How long a request may take until it is answered; of one about a pod, until its body is there, since the answer takes a moment.
pub(super) const MAX_REQUEST: Duration = Duration::from_secs(10);
/// How long a body may keep a place while it comes. API servers send all of it at once, and wait 5 s for the answer, as installed.
pub(super) const LARGE_PATIENCE: Duration = Duration::from_secs(2);

/// A body, and for a large one its place among those that are taken at once.
#[derive(Debug)]
pub struct ReceivedBody {
    pub(super) bytes: Bytes,
    /// There was more than is read of any review; the rest is gone.
    pub(super) cut: bool,
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// What a request about a pod brings, if that is there before long; else the response to give.
pub fn take_in_time(
    admission: &Admission,
    request: Request,
) -> impl Future<Output = Result<ReceivedBody, Response>> {
    let taking = take(admission, request, MAX_READ, &admission.large_pods);
    in_time(admission, taking)
}

/// A client that sends its body a byte at a time does not keep its place for ever.
///
/// No `async fn`, like [`take`]: each would keep a second copy of what it is given, and each request allocates what these keep.
pub(super) fn in_time<T>(
    admission: &Admission,
    taking: impl Future<Output = Result<T, Response>>,
) -> impl Future<Output = Result<T, Response>> {
    timeout(MAX_REQUEST, taking).map(|taken| taken.unwrap_or_else(|_| Err(too_slow(admission))))
}

pub(super) fn take(
    admission: &Admission,
    request: Request,
    most: usize,
    places: &Arc<Semaphore>,
) -> impl Future<Output = Result<ReceivedBody, Response>> {
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
            return Ok(ReceivedBody {
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
) -> Result<ReceivedBody, Response> {
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
    Ok(ReceivedBody {
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

pub(super) fn too_large(admission: &Admission) -> Response {
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
