//! JSON of the right shape: objects with known fields, lists, strings.

use serde_json::{Map, Value};

use super::Reader;
use super::messages::{kind, quoted_key};
use crate::document::OddityKind;
use crate::problem::Path;
use crate::suggest::suggestion;

impl Reader {
    pub(super) fn object<'v>(
        &mut self,
        value: &'v Value,
        path: &Path<'_>,
        what: &str,
    ) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.problems.add(path, || {
                (
                    format!("is {}, not an object", kind(value)),
                    format!("write {what}"),
                )
            });
        }
        map
    }

    pub(super) fn string<'v>(
        &mut self,
        value: &'v Value,
        path: &Path<'_>,
        what: &str,
    ) -> Option<&'v str> {
        let text = value.as_str();
        if text.is_none() {
            self.problems.add(path, || {
                (
                    format!("is {}, not a string", kind(value)),
                    format!("write {what}"),
                )
            });
        }
        text
    }

    /// The elements of a list that may be absent or null, as Go writes an empty one.
    pub(super) fn list<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        path: &Path<'_>,
        key: &str,
    ) -> &'v [Value] {
        self.check_list(map, path, key);
        self.list_ref(map, key)
    }

    #[allow(clippy::unused_self)] // reads beside `list`
    pub(super) fn list_ref<'v>(&self, map: &'v Map<String, Value>, key: &str) -> &'v [Value] {
        map.get(key)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn check_list(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) {
        if let Some(value) = map
            .get(key)
            .filter(|value| !value.is_null() && !value.is_array())
        {
            self.problems.add(&path.key(key), || {
                (
                    format!("is {}, not a list", kind(value)),
                    "write it in [ ]".into(),
                )
            });
        }
    }

    pub(super) fn fields(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        known: &[&'static str],
    ) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let here = quoted_key(key);
            let here = path.key(&here);
            if let Some(name) = known.iter().find(|name| name.eq_ignore_ascii_case(key)) {
                self.problems.add(&here, || {
                    (
                        "is in the wrong case: some runtimes read it all the same, others do not"
                            .into(),
                        format!("write {name:?}"),
                    )
                });
                continue;
            }
            let meant = || suggestion(key, known.iter().copied());
            let what = |meant: Option<&str>| {
                (
                    "is not a field here, and runtimes drop it without a word".into(),
                    match meant {
                        Some(name) => format!("write {name:?}"),
                        None => format!("remove it; the fields here are {}", known.join(", ")),
                    },
                )
            };
            if self.as_is {
                // `_comment` and `$schema` are meant to be ignored.
                let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic());
                let meant = meant().filter(|_| is_word);
                let kind = OddityKind::Field {
                    name: key.clone(),
                    is_misspelt: meant.is_some(),
                };
                self.odd(kind, &here, || what(meant));
            } else {
                self.problems.add(&here, || what(meant()));
            }
        }
    }
}
