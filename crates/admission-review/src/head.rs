//! The beginning of a question that is too large to be read whole: API servers write what is asked before the object.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::question::{Kind, Object, Text};
use crate::{API_VERSION, KIND};

/// What the beginning of a question says.
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
    let mut found = Found::default();
    // The text ends somewhere; what was read before that counts.
    let _ = EnvelopeVisitor(&mut found).deserialize(&mut serde_json::Deserializer::from_str(text));
    let served = found.api_version?.0 == API_VERSION && found.review?.0 == KIND;
    let (uid, kind, operation) = (found.uid?, found.kind?, found.operation?);
    served.then_some(Head {
        uid: uid.0,
        kind: kind.0,
        namespace: found.namespace.map(|text| text.0).unwrap_or_default(),
        operation: operation.0,
    })
}

/// What was read before the text ended: serde's derived types would lose it.
#[derive(Default)]
struct Found<'a> {
    api_version: Option<Text<'a>>,
    review: Option<Text<'a>>,
    uid: Option<Text<'a>>,
    kind: Option<Object<Kind<'a>>>,
    namespace: Option<Text<'a>>,
    operation: Option<Text<'a>>,
}

struct EnvelopeVisitor<'r, 'a>(&'r mut Found<'a>);

impl<'de> DeserializeSeed<'de> for EnvelopeVisitor<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionReview")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let found = self.0;
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "apiVersion" => once(&mut found.api_version, &mut map)?,
                "kind" => once(&mut found.review, &mut map)?,
                "request" => map.next_value_seed(RequestVisitor(found))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct RequestVisitor<'r, 'a>(&'r mut Found<'a>);

impl<'de> DeserializeSeed<'de> for RequestVisitor<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RequestVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let found = self.0;
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "uid" => once(&mut found.uid, &mut map)?,
                "kind" => once(&mut found.kind, &mut map)?,
                "namespace" => once(&mut found.namespace, &mut map)?,
                "operation" => once(&mut found.operation, &mut map)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads a member that may be there once.
fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    place: &mut Option<T>,
    map: &mut A,
) -> Result<(), A::Error> {
    if place.is_some() {
        return Err(A::Error::custom("a member comes twice"));
    }
    *place = map.next_value()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let twice = body.replacen("\"uid\"", "\"uid\":\"v\",\"uid\"", 1);
        let head = read_head(twice.as_bytes()).unwrap();
        assert_eq!(head.uid, "v", "reading ends where a member comes twice");
    }
}
