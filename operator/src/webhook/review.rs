//! AdmissionReviews (`admission.k8s.io/v1`): reads what the decisions need and nothing else, and writes the answers.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::json::{JsonError, Read, Reader};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server cuts longer warnings off.
const LONGEST_WARNING: usize = 250;

/// What is about to happen to an object. `T` holds the fields of the object that matter; all texts are parts of the body.
#[derive(Debug)]
pub struct Request<'a, T> {
    /// To be repeated in the answer.
    pub uid: Cow<'a, str>,
    /// What kind of object.
    pub kind: Kind<'a>,
    /// Its name; empty while the API server has yet to generate one.
    pub name: Cow<'a, str>,
    /// Its namespace; empty for an object of the cluster. The object itself may lack it.
    pub namespace: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: Cow<'a, str>,
    /// Whether nothing will be stored, whatever the answer.
    pub dry_run: bool,
    /// The object as it shall be; absent on DELETE.
    pub object: Option<T>,
    /// The object as it is; absent on CREATE.
    pub old_object: Option<T>,
}

/// What kind of object a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind<'a> {
    /// The API group; empty for the core group.
    pub group: Cow<'a, str>,
    /// For example `Pod`.
    pub kind: Cow<'a, str>,
}

impl<'a, T: Read<'a>> Read<'a> for Request<'a, T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let (mut uid, mut kind, mut name, mut namespace) = (None, None, None, None);
        let (mut operation, mut dry_run, mut object, mut old_object) = (None, None, None, None);
        reader.object(|reader, key| match key {
            "uid" => reader.member(&mut uid, Reader::string),
            "kind" => reader.member(&mut kind, Kind::read),
            "name" => reader.member(&mut name, Reader::string),
            "namespace" => reader.member(&mut namespace, Reader::string),
            "operation" => reader.member(&mut operation, Reader::string),
            "dryRun" => reader.member(&mut dry_run, Reader::boolean),
            "object" => reader.member(&mut object, T::read),
            "oldObject" => reader.member(&mut old_object, T::read),
            _ => reader.skip().map(drop),
        })?;
        Ok(Self {
            uid: uid.ok_or(JsonError::Missing("uid"))?,
            kind: kind.ok_or(JsonError::Missing("kind"))?,
            name: name.unwrap_or_default(),
            namespace: namespace.unwrap_or_default(),
            operation: operation.ok_or(JsonError::Missing("operation"))?,
            dry_run: dry_run.unwrap_or_default(),
            object,
            old_object,
        })
    }
}

impl<'a> Read<'a> for Kind<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let (mut group, mut kind) = (None, None);
        reader.object(|reader, key| match key {
            "group" => reader.member(&mut group, Reader::string),
            "kind" => reader.member(&mut kind, Reader::string),
            _ => reader.skip().map(drop),
        })?;
        Ok(Self {
            group: group.unwrap_or_default(),
            kind: kind.ok_or(JsonError::Missing("kind"))?,
        })
    }
}

/// An object whose form does not matter.
#[derive(Debug)]
pub struct Anything;

impl<'a> Read<'a> for Anything {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        reader.skip().map(|_| Self)
    }
}

/// Why a body is not a question. The sentence goes back to the caller.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or not this shape.
    #[error("the body is not an AdmissionReview: {0}")]
    Unreadable(#[from] JsonError),
    /// Another version or kind.
    #[error(
        "the body is {kind:?} of {api_version:?}, and only {KIND:?} of {API_VERSION:?} is served"
    )]
    Other {
        /// What it says it is.
        api_version: String,
        /// What it says it is.
        kind: String,
    },
    /// Nothing is asked.
    #[error("the AdmissionReview has no request")]
    NoRequest,
}

/// Reads a question.
pub fn read<'a, T: Read<'a>>(body: &'a [u8]) -> Result<Request<'a, T>, ReviewError> {
    match envelope(body, Request::read) {
        Ok(request) => request.ok_or(ReviewError::NoRequest),
        // A body of another version may differ in anything; then its version is what to speak of.
        Err(ReviewError::Unreadable(error)) => match envelope(body, Anything::read) {
            Err(other @ ReviewError::Other { .. }) => Err(other),
            _ => Err(ReviewError::Unreadable(error)),
        },
        Err(error) => Err(error),
    }
}

/// Reads an `AdmissionReview` of the version that is served, and its request by `request`.
fn envelope<'a, T>(
    body: &'a [u8],
    request: impl Fn(&mut Reader<'a>) -> Result<T, JsonError>,
) -> Result<Option<T>, ReviewError> {
    let mut reader = Reader::new(body)?;
    let (mut api_version, mut kind, mut asked) = (None, None, None);
    reader.object(|reader, key| match key {
        "apiVersion" => reader.member(&mut api_version, Reader::string),
        "kind" => reader.member(&mut kind, Reader::string),
        "request" => reader.member(&mut asked, &request),
        _ => reader.skip().map(drop),
    })?;
    reader.end()?;
    let (api_version, kind) = (api_version.unwrap_or_default(), kind.unwrap_or_default());
    if api_version != API_VERSION || kind != KIND {
        return Err(other(api_version.into_owned(), kind.into_owned()));
    }
    Ok(asked)
}

fn other(mut api_version: String, mut kind: String) -> ReviewError {
    for text in [&mut api_version, &mut kind] {
        if let Some((end, _)) = text.char_indices().nth(64) {
            text.truncate(end);
        }
    }
    ReviewError::Other { api_version, kind }
}

/// Operations of a JSON patch, written; nothing for none.
#[must_use]
pub fn patch(operations: &[impl Serialize]) -> Vec<u8> {
    if operations.is_empty() {
        return Vec::new();
    }
    json(&operations)
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why not; none to allow.
    pub denied: Option<String>,
    /// A JSON patch as [`patch`] writes it; empty to change nothing.
    pub patch: Vec<u8>,
    /// Sentences that kubectl prints.
    pub warnings: Vec<String>,
}

impl Answer {
    /// Lets the object be as it is.
    #[must_use]
    pub fn allow() -> Self {
        Self::default()
    }

    /// The body of the response to the request with this uid.
    ///
    /// Written by hand: this is the greater part of what is left to do once a pod was read.
    #[must_use]
    pub fn write(self, uid: &str) -> Vec<u8> {
        let mut body = String::with_capacity(256 + self.patch.len() * 4 / 3);
        body.push_str(
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#,
        );
        push(&mut body, &uid);
        match &self.denied {
            None => body.push_str(r#","allowed":true"#),
            Some(message) => {
                body.push_str(r#","allowed":false,"status":"#);
                push(
                    &mut body,
                    &Status {
                        code: 403,
                        reason: "Forbidden",
                        message,
                    },
                );
            }
        }
        if !self.patch.is_empty() {
            body.push_str(r#","patchType":"JSONPatch","patch":""#);
            BASE64.encode_string(&self.patch, &mut body);
            body.push('"');
        }
        if !self.warnings.is_empty() {
            let mut warnings = self.warnings;
            for warning in &mut warnings {
                if let Some((end, _)) = warning.char_indices().nth(LONGEST_WARNING) {
                    warning.truncate(end);
                }
            }
            body.push_str(r#","warnings":"#);
            push(&mut body, &warnings);
        }
        body.push_str("}}");
        body.into_bytes()
    }
}

/// Why something is refused, as Kubernetes' API says it.
#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'a str,
    message: &'a str,
}

/// The body of a response that is no answer: a `Status`, whose message the API server shows to whoever made the request.
#[must_use]
pub fn failure(code: u16, message: &str) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Failure<'a> {
        api_version: &'static str,
        kind: &'static str,
        status: &'static str,
        #[serde(flatten)]
        cause: Status<'a>,
    }
    let reason = match code {
        404 => "NotFound",
        405 => "MethodNotAllowed",
        408 => "Timeout",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        500 => "InternalError",
        _ => "BadRequest",
    };
    json(&Failure {
        api_version: "v1",
        kind: "Status",
        status: "Failure",
        cause: Status {
            code,
            reason,
            message,
        },
    })
}

fn push(body: &mut String, value: &impl Serialize) {
    body.push_str(&serde_json::to_string(value).unwrap_or_default());
}

/// What is written here has string keys and plain values, so that writing it cannot fail; an empty body would be the answer.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::pod::Pod;
    use serde_json::{Value, json};

    #[test]
    fn a_question_is_read_with_just_the_fields_that_matter() {
        let body = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {
                "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "namespace": "n",
                "object": {"spec": {}}, "oldObject": null, "userInfo": {"username": "x"}, "dryRun": false,
            },
        });
        let body = body.to_string();
        let request: Request<'_, Anything> = read(body.as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_ref(), request.namespace.as_ref()),
            ("u", "n")
        );
        assert!(request.old_object.is_none());
    }

    #[test]
    fn what_is_not_a_question_is_refused_with_a_reason() {
        let error = |body: &str| read::<Anything>(body.as_bytes()).unwrap_err().to_string();
        assert!(error("hello").starts_with("the body is not an AdmissionReview"));
        assert!(
            error(r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#)
                .contains("v1beta1")
        );
        assert!(
            error(r#"{"apiVersion":"admission.k8s.io/v2","kind":"AdmissionReview","request":[]}"#)
                .contains("v2"),
            "another version may look different"
        );
        assert!(
            error(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#)
                .contains("no request")
        );
        let long = format!(
            r#"{{"apiVersion":"v1","kind":"{}"}}"#,
            "K".repeat(1_000_000)
        );
        assert!(
            error(&long).len() < 300,
            "what a caller sends is not echoed whole"
        );
    }

    #[test]
    fn a_question_about_an_object_of_another_form_still_has_its_uid() {
        let body = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {"uid": "u", "kind": {"group": "", "kind": "ConfigMap"}, "operation": "CREATE", "object": {"metadata": 7}},
        });
        let body = body.to_string();
        assert!(read::<Pod<'_>>(body.as_bytes()).is_err(), "not a Pod");
        let request = read::<Anything>(body.as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_ref(), request.kind.kind.as_ref()),
            ("u", "ConfigMap")
        );
    }

    #[test]
    fn an_answer_repeats_the_uid_and_carries_the_patch_in_base64() {
        let answer = Answer {
            patch: patch(&[json!({"op": "remove", "path": "/x"})]),
            ..Answer::default()
        };
        let written: Value = serde_json::from_slice(&answer.write("u")).unwrap();
        assert_eq!(written["apiVersion"], API_VERSION);
        assert_eq!(written["kind"], KIND);
        assert_eq!(written["response"]["uid"], "u");
        assert_eq!(written["response"]["allowed"], true);
        assert_eq!(written["response"]["patchType"], "JSONPatch");
        assert_eq!(
            written["response"]["patch"],
            "W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL3gifV0="
        );
    }

    #[test]
    fn a_denial_says_why() {
        let answer = Answer {
            denied: Some("no".into()),
            ..Answer::default()
        };
        let written: Value = serde_json::from_slice(&answer.write("u")).unwrap();
        assert_eq!(written["response"]["allowed"], false);
        assert_eq!(written["response"]["status"]["message"], "no");
        assert_eq!(written["response"]["status"]["code"], 403);
        assert!(written["response"].get("patch").is_none());
    }

    #[test]
    fn a_warning_is_cut_between_characters() {
        let answer = Answer {
            warnings: vec!["ü".repeat(300), "short".into()],
            ..Answer::default()
        };
        let written: Value = serde_json::from_slice(&answer.write("u")).unwrap();
        assert_eq!(
            written["response"]["warnings"],
            json!(["ü".repeat(LONGEST_WARNING), "short"])
        );
    }

    #[test]
    fn a_failure_is_a_status() {
        let written: Value = serde_json::from_slice(&failure(400, "no")).unwrap();
        assert_eq!(
            written,
            json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 400, "reason": "BadRequest", "message": "no"})
        );
    }
}
