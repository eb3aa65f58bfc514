//! What an API server asks: reads what a decision needs of an `AdmissionReview`, and passes over the rest.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{API_VERSION, KIND, compact};

/// So much is repeated of what a caller sent, in characters.
const MAX_ECHO: usize = 256;

/// What is about to happen to an object. `T` holds the fields of the object that matter; texts without escapes borrow from the body.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a, T> {
    /// To be repeated in the answer.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// What kind of object.
    #[serde(borrow, deserialize_with = "object")]
    pub kind: Kind<'a>,
    /// Its name; empty while the API server has yet to generate one.
    #[serde(borrow, default, deserialize_with = "text")]
    pub name: Cow<'a, str>,
    /// Its namespace; empty for an object of the cluster. The object itself may lack it.
    #[serde(borrow, default, deserialize_with = "text")]
    pub namespace: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow)]
    pub operation: Cow<'a, str>,
    /// Whether nothing will be stored, whatever the answer.
    #[serde(default, deserialize_with = "flag")]
    pub dry_run: bool,
    /// The object as it shall be; absent on DELETE.
    ///
    /// In a box, like the other: a request is handed on several times.
    pub object: Option<Box<T>>,
    /// The object as it is; absent on CREATE.
    pub old_object: Option<Box<T>>,
}

/// What kind of object a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kind<'a> {
    /// The API group; empty for the core group.
    #[serde(borrow, default, deserialize_with = "text")]
    pub group: Cow<'a, str>,
    /// For example `Pod`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a, R> {
    #[serde(borrow, default, deserialize_with = "text")]
    api_version: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    kind: Cow<'a, str>,
    request: Option<R>,
}

/// Why a body is not a question. The sentence goes back to the caller.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or not this shape.
    #[error("the body is not an AdmissionReview: {0}")]
    Unreadable(String),
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

impl ReviewError {
    fn unreadable(error: impl fmt::Display) -> Self {
        Self::Unreadable(cut(error.to_string(), MAX_ECHO))
    }
}

/// Reads a question.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Request<'a, T>, ReviewError> {
    // All of it, since what is passed over is not looked at closely.
    let text = std::str::from_utf8(body).map_err(ReviewError::unreadable)?;
    match envelope(text) {
        Ok(request) => request
            .map(|Object(request)| request)
            .ok_or(ReviewError::NoRequest),
        // A body of another version may differ in anything; then its version is what to speak of.
        Err(ReviewError::Unreadable(sentence)) => match envelope::<IgnoredAny>(text) {
            Err(other @ ReviewError::Other { .. }) => Err(other),
            _ => Err(ReviewError::Unreadable(sentence)),
        },
        Err(error) => Err(error),
    }
}

/// Reads an `AdmissionReview` of the version that is served.
fn envelope<'a, R: Deserialize<'a>>(text: &'a str) -> Result<Option<R>, ReviewError> {
    let Object(review): Object<Review<'_, R>> = match compact::read(text) {
        Some(review) => review,
        None => serde_json::from_str(text).map_err(ReviewError::unreadable)?,
    };
    if review.api_version != API_VERSION || review.kind != KIND {
        return Err(ReviewError::Other {
            api_version: cut(review.api_version.into_owned(), 64),
            kind: cut(review.kind.into_owned(), 64),
        });
    }
    Ok(review.request)
}

fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
    text
}

/// An object: the types that serde derives take an array of their fields for one.
pub(crate) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(object)| object)
}

/// A text that borrows wherever it stands: inside of other types `Cow` is always read as a copy.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// `null` is taken for none, as Kubernetes takes it.
fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    let text: Option<Text<'_>> = Option::deserialize(deserializer)?;
    Ok(text.map(|Text(text)| text).unwrap_or_default())
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An object that has metadata.
    #[derive(Debug, Deserialize)]
    struct Named {
        #[serde(rename = "metadata")]
        _metadata: Vec<IgnoredAny>,
    }

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
        let request: Request<'_, IgnoredAny> = read(body.as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_ref(), request.namespace.as_ref()),
            ("u", "n")
        );
        assert!(request.old_object.is_none());
        assert!(matches!(request.namespace, Cow::Borrowed(_)));
        let escaped = body.replace("\"n\"", "\"\\u006e\"");
        let request: Request<'_, IgnoredAny> = read(escaped.as_bytes()).unwrap();
        assert!(matches!(request.namespace, Cow::Owned(text) if text == "n"));
    }

    #[test]
    fn what_is_not_a_question_is_refused_with_a_reason() {
        let error = |body: &str| read::<IgnoredAny>(body.as_bytes()).unwrap_err().to_string();
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
        let long = "K".repeat(1_000_000);
        for body in [
            format!(r#"{{"apiVersion":"v1","kind":"{long}"}}"#),
            format!(r#"{{"request":{{"dryRun":"{long}"}}}}"#),
        ] {
            let sentence = error(&body);
            assert!(
                sentence.len() < 350,
                "what a caller sends is not echoed whole: {sentence}"
            );
        }
    }

    fn with(members: &str) -> String {
        format!(
            r#"{{"apiVersion":"{API_VERSION}","kind":"{KIND}","request":{{"uid":"u","kind":{{"kind":"Pod"}},"operation":"CREATE"{members}}}}}"#
        )
    }

    #[test]
    fn what_is_no_json_is_refused_wherever_it_stands() {
        let refused = |body: &[u8]| read::<IgnoredAny>(body).is_err();
        assert!(!refused(with("").as_bytes()));
        for members in [
            ",",
            ":1",
            r#","x""#,
            r#","x":"#,
            r#","x":[1,]"#,
            r#","x":[}"#,
            r#","x":{]"#,
            r#","x":{"a":"b}"#,
            r#","x":nothing"#,
            r#","x":01"#,
            r#","x":+1"#,
            r#","x":.5"#,
            r#","x":"\x""#,
            r#","x":"\u12g4""#,
            ",\"x\":\"a\nb\"",
            r#","object":[[]"#,
            r#","uid":"v""#,
            r#","\u0075id":"v""#,
            r#","dryRun":1"#,
        ] {
            assert!(refused(with(members).as_bytes()), "{members}");
        }
        for body in ["[]", r#"["admission.k8s.io/v1","AdmissionReview",null]"#] {
            assert!(refused(body.as_bytes()), "{body}");
        }
        let whole = with("");
        let kind = whole.replace(r#"{"kind":"Pod"}"#, r#"["","Pod"]"#);
        assert!(kind != whole && refused(kind.as_bytes()));
        for end in ["}", ",", "null", "{}", "\0", "\u{a0}"] {
            assert!(refused(format!("{}{end}", with("")).as_bytes()), "{end}");
        }
        let whole = with(r#","x":{"y":["é"]}"#);
        for end in 0..whole.len() {
            assert!(refused(&whole.as_bytes()[..end]), "{end}");
        }
        for bad in [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80"] {
            let body = with(r#","x":{"y":"?"}"#);
            let (before, after) = body.split_once('?').unwrap();
            assert!(refused(
                &[before.as_bytes(), bad, after.as_bytes()].concat()
            ));
        }
    }

    #[test]
    fn what_is_passed_over_may_be_nested_deeply_and_hold_any_number() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        for value in [deep.as_str(), "1e999999", "-0", "\"\\ud800\""] {
            let body = with(&format!(r#","object":{value},"x":{value}"#));
            assert!(read::<IgnoredAny>(body.as_bytes()).is_ok());
        }
        let short = with(&format!(r#","x":{}"#, &deep[1..]));
        assert!(read::<IgnoredAny>(short.as_bytes()).is_err());
    }

    #[test]
    fn a_question_about_an_object_of_another_form_still_has_its_uid() {
        let body = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {"uid": "u", "kind": {"group": "", "kind": "ConfigMap"}, "operation": "CREATE", "object": {"metadata": 7}},
        });
        let body = body.to_string();
        assert!(read::<Named>(body.as_bytes()).is_err());
        let request = read::<IgnoredAny>(body.as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_ref(), request.kind.kind.as_ref()),
            ("u", "ConfigMap")
        );
    }
}
