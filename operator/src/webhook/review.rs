//! AdmissionReviews (`admission.k8s.io/v1`): reads what the decisions need and nothing else, and writes the answers.

use k8s_openapi::ByteString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server cuts longer warnings off.
const LONGEST_WARNING: usize = 250;

/// A question. `T` holds the fields of the object that matter.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<T> {
    api_version: String,
    kind: String,
    #[serde(bound(deserialize = "T: Deserialize<'de>"))]
    request: Option<Request<T>>,
}

/// What is about to happen to an object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<T> {
    /// To be repeated in the answer.
    pub uid: String,
    /// What kind of object.
    pub kind: Kind,
    /// Its name; empty while the API server has yet to generate one.
    #[serde(default)]
    pub name: String,
    /// Its namespace; empty for an object of the cluster. The object itself may lack it.
    #[serde(default)]
    pub namespace: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Whether nothing will be stored, whatever the answer.
    #[serde(default, deserialize_with = "or_default")]
    pub dry_run: bool,
    /// The object as it shall be; absent on DELETE.
    #[serde(default = "none", bound(deserialize = "T: Deserialize<'de>"))]
    pub object: Option<T>,
    /// The object as it is; absent on CREATE.
    #[serde(default = "none", bound(deserialize = "T: Deserialize<'de>"))]
    pub old_object: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What kind of object a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kind {
    /// The API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// For example `Pod`.
    pub kind: String,
}

/// Why a body is not a question. The sentence goes back to the caller.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or not this shape.
    #[error("the body is not an AdmissionReview: {0}")]
    Unreadable(#[from] serde_json::Error),
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
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Request<T>, ReviewError> {
    let review: Review<T> = match serde_json::from_slice(body) {
        Ok(review) => review,
        Err(error) => return Err(explain(body, error)),
    };
    if review.api_version != API_VERSION || review.kind != KIND {
        return Err(other(review.api_version, review.kind));
    }
    review.request.ok_or(ReviewError::NoRequest)
}

/// Reads a question about an object whose form does not matter: what is left to do with one that [`read`] does not take.
pub fn read_around(body: &[u8]) -> Result<Request<()>, ReviewError> {
    let request: Request<IgnoredAny> = read(body)?;
    Ok(Request {
        uid: request.uid,
        kind: request.kind,
        name: request.name,
        namespace: request.namespace,
        operation: request.operation,
        dry_run: request.dry_run,
        object: None,
        old_object: None,
    })
}

/// A body of another version may differ in anything; then its version is what to speak of.
fn explain(body: &[u8], error: serde_json::Error) -> ReviewError {
    #[derive(Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    #[derive(Default)]
    struct Type {
        api_version: String,
        kind: String,
    }
    match serde_json::from_slice::<Type>(body) {
        Ok(seen) if seen.api_version != API_VERSION || seen.kind != KIND => {
            other(seen.api_version, seen.kind)
        }
        _ => ReviewError::Unreadable(error),
    }
}

fn other(mut api_version: String, mut kind: String) -> ReviewError {
    for text in [&mut api_version, &mut kind] {
        if let Some((end, _)) = text.char_indices().nth(64) {
            text.truncate(end);
        }
    }
    ReviewError::Other { api_version, kind }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why not; none to allow.
    pub denied: Option<String>,
    /// JSON patch operations.
    pub patch: Vec<Value>,
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
    #[must_use]
    pub fn write(self, uid: &str) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Review<'a> {
            api_version: &'static str,
            kind: &'static str,
            response: Response<'a>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Response<'a> {
            uid: &'a str,
            allowed: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<Status<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            patch_type: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            patch: Option<ByteString>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            warnings: Vec<String>,
        }
        let patch = (!self.patch.is_empty()).then(|| ByteString(json(&self.patch)));
        let mut warnings = self.warnings;
        for warning in &mut warnings {
            if let Some((end, _)) = warning.char_indices().nth(LONGEST_WARNING) {
                warning.truncate(end);
            }
        }
        json(&Review {
            api_version: API_VERSION,
            kind: KIND,
            response: Response {
                uid,
                allowed: self.denied.is_none(),
                status: self.denied.as_deref().map(|message| Status {
                    code: 403,
                    reason: "Forbidden",
                    message,
                }),
                patch_type: patch.is_some().then_some("JSONPatch"),
                patch,
                warnings,
            },
        })
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

/// What is written here has string keys and plain values, so that writing it cannot fail; an empty body would be the answer.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_question_is_read_with_just_the_fields_that_matter() {
        let body = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {
                "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "namespace": "n",
                "object": {"spec": {}}, "oldObject": null, "userInfo": {"username": "x"}, "dryRun": false,
            },
        });
        let request: Request<Value> = read(body.to_string().as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_str(), request.namespace.as_str()),
            ("u", "n")
        );
        assert!(request.old_object.is_none());
    }

    #[test]
    fn what_is_not_a_question_is_refused_with_a_reason() {
        let error = |body: &str| read::<Value>(body.as_bytes()).unwrap_err().to_string();
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
        assert!(
            read::<super::super::mutate::Pod>(body.to_string().as_bytes()).is_err(),
            "not a Pod"
        );
        let request = read_around(body.to_string().as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_str(), request.kind.kind.as_str()),
            ("u", "ConfigMap")
        );
    }

    #[test]
    fn an_answer_repeats_the_uid_and_carries_the_patch_in_base64() {
        let answer = Answer {
            patch: vec![json!({"op": "remove", "path": "/x"})],
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
