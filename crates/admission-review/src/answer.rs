//! What an API server is answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use crate::warnings;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why not; none to allow.
    pub denied: Option<String>,
    /// The text of a JSON patch (RFC 6902); none to change nothing.
    pub patch: Option<Vec<u8>>,
    /// Sentences that kubectl prints, of any length and of several lines if need be: [`write`](Self::write) makes them fit.
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
        let patch = self.patch.unwrap_or_default();
        let mut body = Vec::with_capacity(256 + patch.len() * 2);
        body.extend_from_slice(
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#,
        );
        write_json(&mut body, uid);
        match &self.denied {
            None => body.extend_from_slice(br#","allowed":true"#),
            Some(message) => {
                body.extend_from_slice(br#","allowed":false,"status":"#);
                let (code, reason) = (403, "Forbidden");
                let status = Status {
                    code,
                    reason,
                    message,
                };
                write_json(&mut body, &status);
            }
        }
        if !patch.is_empty() {
            body.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
            body.extend_from_slice(BASE64.encode(patch).as_bytes());
            body.push(b'"');
        }
        if !self.warnings.is_empty() {
            body.extend_from_slice(br#","warnings":"#);
            write_json(&mut body, &warnings::for_api_server(&self.warnings));
        }
        body.extend_from_slice(b"}}");
        body
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
    let failure = Failure {
        api_version: "v1",
        kind: "Status",
        status: "Failure",
        cause: Status {
            code,
            reason,
            message,
        },
    };
    let mut body = Vec::new();
    write_json(&mut body, &failure);
    body
}

/// Writes a value after a text. It has to have string keys and plain values, so that writing it cannot fail.
fn write_json(text: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    drop(serde_json::to_writer(text, value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{API_VERSION, KIND};
    use serde_json::{Value, json};

    #[test]
    fn an_answer_repeats_the_uid_and_carries_the_patch_in_base64() {
        let answer = Answer {
            patch: Some(br#"[{"op":"remove","path":"/x"}]"#.to_vec()),
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
    fn warnings_are_written_so_that_the_api_server_passes_them_on() {
        let answer = Answer {
            warnings: vec!["ü".repeat(300), "one\nother".into()],
            ..Answer::default()
        };
        let written: Value = serde_json::from_slice(&answer.write("u")).unwrap();
        let rest = format!("... {}", "ü".repeat(44));
        assert_eq!(
            written["response"]["warnings"],
            json!(["ü".repeat(256), rest, "one; other"])
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
