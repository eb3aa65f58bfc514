//! What an API server asks: reads what the decisions need and nothing else.

use std::borrow::Cow;

use crate::json::{JsonError, Read, Reader};
use crate::{API_VERSION, KIND};

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
    ///
    /// In a box, like the other: a request is handed on several times.
    pub object: Option<Box<T>>,
    /// The object as it is; absent on CREATE.
    pub old_object: Option<Box<T>>,
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
            b"uid" => reader.member(&mut uid, Reader::string),
            b"kind" => reader.member(&mut kind, Kind::read),
            b"name" => reader.member(&mut name, Reader::string),
            b"namespace" => reader.member(&mut namespace, Reader::string),
            b"operation" => reader.member(&mut operation, Reader::string),
            b"dryRun" => reader.member(&mut dry_run, Reader::boolean),
            b"object" => reader.member(&mut object, Box::read),
            b"oldObject" => reader.member(&mut old_object, Box::read),
            _ => reader.skip(),
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
            b"group" => reader.member(&mut group, Reader::string),
            b"kind" => reader.member(&mut kind, Reader::string),
            _ => reader.skip(),
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
        reader.skip().map(|()| Self)
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

/// What the beginning of a question says, when there is too much of it to be read whole.
#[derive(Debug)]
pub struct Head<'a> {
    /// To be repeated in the answer.
    pub uid: Cow<'a, str>,
    /// What kind of object.
    pub kind: Kind<'a>,
    /// Its namespace; empty for an object of the cluster.
    pub namespace: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: Cow<'a, str>,
}

/// Reads the beginning of a body. None if it does not get as far as all that, or is no question.
#[must_use]
pub fn read_head(beginning: &[u8]) -> Option<Head<'_>> {
    let text = beginning.utf8_chunks().next()?.valid();
    let mut reader = Reader::new(text.as_bytes()).ok()?;
    let (mut api_version, mut review) = (None, None);
    let (mut uid, mut kind, mut namespace, mut operation) = (None, None, None, None);
    // The text ends somewhere; what was read before that counts.
    let _ = reader.object(|reader, key| match key {
        b"apiVersion" => reader.member(&mut api_version, Reader::string),
        b"kind" => reader.member(&mut review, Reader::string),
        b"request" => reader.object(|reader, key| match key {
            b"uid" => reader.member(&mut uid, Reader::string),
            b"kind" => reader.member(&mut kind, Kind::read),
            b"namespace" => reader.member(&mut namespace, Reader::string),
            b"operation" => reader.member(&mut operation, Reader::string),
            _ => reader.skip(),
        }),
        _ => reader.skip(),
    });
    let served = api_version? == API_VERSION && review? == KIND;
    let (uid, kind, operation) = (uid?, kind?, operation?);
    served.then_some(Head {
        uid,
        kind,
        namespace: namespace.unwrap_or_default(),
        operation,
    })
}

/// Reads an `AdmissionReview` of the version that is served, and its request by `request`.
fn envelope<'a, T>(
    body: &'a [u8],
    request: impl Fn(&mut Reader<'a>) -> Result<T, JsonError>,
) -> Result<Option<T>, ReviewError> {
    let mut reader = Reader::new(body)?;
    let (mut api_version, mut kind, mut asked) = (None, None, None);
    reader.object(|reader, key| match key {
        b"apiVersion" => reader.member(&mut api_version, Reader::string),
        b"kind" => reader.member(&mut kind, Reader::string),
        b"request" => reader.member(&mut asked, &request),
        _ => reader.skip(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An object that has metadata.
    struct Named;

    impl<'a> Read<'a> for Named {
        fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
            reader.object(|reader, key| match key {
                b"metadata" => reader.object(|reader, _| reader.skip()),
                _ => reader.skip(),
            })?;
            Ok(Self)
        }
    }
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
    fn a_question_that_is_cut_off_in_its_object_still_says_what_is_asked() {
        let body = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {
                "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "namespace": "n",
                "zzz": "üüü", // where the object is: what is compared is sorted here
            },
        });
        let body = body.to_string();
        let object = body.find("zzz").unwrap();
        for end in object..body.len() {
            let head = read_head(&body.as_bytes()[..end]).unwrap();
            assert_eq!(
                (head.uid.as_ref(), head.operation.as_ref()),
                ("u", "CREATE")
            );
            assert_eq!(
                (head.kind.kind.as_ref(), head.namespace.as_ref()),
                ("Pod", "n")
            );
        }
        for end in 0..body.find("uid").unwrap() {
            assert!(read_head(&body.as_bytes()[..end]).is_none());
        }
        assert!(read_head(body.replace("k8s.io/v1", "k8s.io/v2").as_bytes()).is_none());
    }

    #[test]
    fn a_question_about_an_object_of_another_form_still_has_its_uid() {
        let body = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {"uid": "u", "kind": {"group": "", "kind": "ConfigMap"}, "operation": "CREATE", "object": {"metadata": 7}},
        });
        let body = body.to_string();
        assert!(read::<Named>(body.as_bytes()).is_err());
        let request = read::<Anything>(body.as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_ref(), request.kind.kind.as_ref()),
            ("u", "ConfigMap")
        );
    }
}
