//! AdmissionReviews (`admission.k8s.io/v1`): reads what the decisions need and nothing else, and writes the answers.

use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    let review: Review<T> = serde_json::from_slice(body)?;
    if review.api_version != API_VERSION || review.kind != KIND {
        return Err(ReviewError::Other {
            api_version: review.api_version,
            kind: review.kind,
        });
    }
    review.request.ok_or(ReviewError::NoRequest)
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
        struct Response<'a> {
            uid: &'a str,
            allowed: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            patch_type: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            patch: Option<ByteString>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            warnings: Vec<String>,
        }
        let patch = (!self.patch.is_empty())
            .then(|| ByteString(Value::Array(self.patch).to_string().into_bytes()));
        let response = Response {
            uid,
            allowed: self.denied.is_none(),
            status: self
                .denied
                .map(|message| json!({ "code": 403, "reason": "Forbidden", "message": message })),
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            warnings: self
                .warnings
                .into_iter()
                .map(|warning| warning.chars().take(LONGEST_WARNING).collect())
                .collect(),
        };
        json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response })
            .to_string()
            .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            error(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#)
                .contains("no request")
        );
    }

    #[test]
    fn an_answer_repeats_the_uid_and_carries_the_patch_in_base64() {
        let answer = Answer {
            patch: vec![json!({"op": "remove", "path": "/x"})],
            ..Answer::default()
        };
        let written: Value = serde_json::from_slice(&answer.write("u")).unwrap();
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
        assert!(written["response"].get("patch").is_none());
    }
}
