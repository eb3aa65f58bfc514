//! The line of a file on which a field stands, for reports that point at it. Knows nothing of profiles.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The documents of a file, with their lines.
pub struct Lines(Vec<Spanned<Tree>>);

impl Lines {
    /// Of a text in YAML or JSON; nothing of any other.
    pub fn of(text: &str) -> Self {
        Self(serde_saphyr::from_multiple(text).unwrap_or_default())
    }

    /// The line of a path such as `spec.profile.syscalls[0].names` in the object of that name, or in the first document: of as much of
    /// the path as is there.
    pub fn line(&self, object: Option<&str>, path: &str) -> Option<u64> {
        let mut documents = self.0.iter();
        let mut at = match object {
            Some(name) => documents.find_map(|document| document.value.object(name, document))?,
            None => documents.next()?,
        };
        for step in steps(path) {
            match at.value.child(step) {
                Some(child) => at = child,
                None => break,
            }
        }
        Some(at.referenced.line()).filter(|line| *line > 0)
    }
}

/// A value, as far as it has places.
enum Tree {
    Map(Vec<(String, Spanned<Self>)>),
    List(Vec<Spanned<Self>>),
    Text(String),
    Other,
}

impl Tree {
    fn child(&self, step: Step<'_>) -> Option<&Spanned<Self>> {
        match (self, step) {
            (Self::Map(fields), Step::Field(name)) => {
                let field = fields.iter().find(|(field, _)| field == name);
                field.map(|(_, value)| value)
            }
            (Self::List(items), Step::Item(i)) => items.get(i),
            _ => None,
        }
    }

    /// The object of that name: itself, or one of a list.
    fn object<'t>(&'t self, name: &str, own: &'t Spanned<Self>) -> Option<&'t Spanned<Self>> {
        let metadata = self.child(Step::Field("metadata"));
        let of_own = metadata.and_then(|metadata| metadata.value.child(Step::Field("name")));
        if of_own.is_some_and(|own| matches!(&own.value, Self::Text(text) if text == name)) {
            return Some(own);
        }
        match &self.child(Step::Field("items"))?.value {
            Self::List(items) => {
                let mut items = items.iter();
                items.find_map(|item| item.value.object(name, item))
            }
            _ => None,
        }
    }
}

/// A part of a path.
#[derive(Clone, Copy)]
enum Step<'p> {
    Field(&'p str),
    Item(usize),
}

fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .flat_map(|part| {
            let mut parts = part.split('[');
            let field = parts.next().filter(|field| !field.is_empty());
            let items = parts.filter_map(|item| item.strip_suffix(']')?.parse().ok());
            field
                .map(Step::Field)
                .into_iter()
                .chain(items.map(Step::Item))
        })
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_i128<E>(self, _: i128) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_u128<E>(self, _: u128) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Tree>()? {
                    match key {
                        Tree::Text(key) => fields.push((key, map.next_value()?)),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Tree::Map(fields))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFESTS: &str = "\
# two of them
apiVersion: v1
metadata: {name: a}
spec:
  deny:
    - bpf
    - name: socket
      args:
        - {index: 0, value: 38}
---
kind: List
items:
  - metadata:
      name: b
    spec: {base: audit}
";

    #[test]
    fn a_field_is_found_on_its_line() {
        let lines = Lines::of(MANIFESTS);
        for (object, path, line) in [
            (None, "", 2),
            (None, "spec.deny[0]", 6),
            (Some("a"), "spec.deny[1]", 7),
            (Some("a"), "spec.deny[1].args[0].value", 9),
            (Some("a"), "spec.deny[1].errno", 7),
            (Some("b"), "spec.base", 15),
        ] {
            assert_eq!(lines.line(object, path), Some(line), "{object:?} {path}");
        }
        assert_eq!(lines.line(Some("c"), "spec"), None);
    }

    #[test]
    fn json_has_lines_too_and_other_texts_have_none() {
        let json = Lines::of(
            "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\",\n  \"syscalls\": [\n    {\"names\": [\"bpf\"],\n\t\"action\": 1}\n  ]\n}",
        );
        assert_eq!(json.line(None, "syscalls[0].names"), Some(4));
        assert_eq!(json.line(None, "syscalls[0].action"), Some(5));
        assert_eq!(Lines::of("{").line(None, "a"), None);
        assert_eq!(Lines::of("").line(None, "a"), None);
    }
}
