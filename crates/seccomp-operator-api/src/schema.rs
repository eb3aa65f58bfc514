//! Schemas that several kinds share, with the bounds that the API server needs and Kubernetes' own types lack.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A label selector, as everywhere in Kubernetes. An empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must all be there with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels that must all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label's value relates to `values`.
    pub operator: RequirementOperator,
    /// The values for `In` and `NotIn`; empty for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label's value relates to the values of a [`Requirement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequirementOperator {
    /// The label is there, with one of the values.
    In,
    /// The label is not there, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// What makes a selector unusable. `path` is relative to the selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}; {remedy}")]
pub struct SelectorError {
    /// For example `matchExpressions[2].values`.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// An object's labels.
pub trait Labels {
    /// The value of the label with this key.
    fn value(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Selector {
    /// Whether the labels satisfy this selector. A selector with [`problems`](Self::problems) matches nothing it should not:
    /// `In` without values matches nothing.
    #[must_use]
    pub fn matches(&self, labels: &impl Labels) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.value(key) == Some(value.as_str()))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.holds(labels))
    }

    /// What the schema cannot say: values where the operator wants them and none where it does not, and the syntax of labels,
    /// without which a condition could never hold.
    #[must_use]
    pub fn problems(&self) -> Vec<SelectorError> {
        let mut problems = Vec::new();
        let mut problem = |path: String, reason: String, remedy| {
            problems.push(SelectorError {
                path,
                reason,
                remedy,
            });
        };
        for (key, value) in &self.match_labels {
            if !is_label_key(key) {
                problem("matchLabels".into(), not_a_key(key), KEY_REMEDY);
            }
            if !is_label_value(value) {
                problem(
                    format!("matchLabels[{key:?}]"),
                    not_a_value(value),
                    VALUE_REMEDY,
                );
            }
        }
        for (index, requirement) in self.match_expressions.iter().enumerate() {
            let path = format!("matchExpressions[{index}]");
            if !is_label_key(&requirement.key) {
                problem(
                    format!("{path}.key"),
                    not_a_key(&requirement.key),
                    KEY_REMEDY,
                );
            }
            match (requirement.operator, requirement.values.is_empty()) {
                (RequirementOperator::In | RequirementOperator::NotIn, true) => problem(
                    format!("{path}.values"),
                    "must not be empty when operator is In or NotIn".into(),
                    "add a value, or use Exists or DoesNotExist",
                ),
                (RequirementOperator::Exists | RequirementOperator::DoesNotExist, false) => {
                    problem(
                        format!("{path}.values"),
                        "must be empty when operator is Exists or DoesNotExist".into(),
                        "remove the values, or use In or NotIn",
                    );
                }
                _ => {}
            }
            for (at, value) in requirement.values.iter().enumerate() {
                if !is_label_value(value) {
                    problem(
                        format!("{path}.values[{at}]"),
                        not_a_value(value),
                        VALUE_REMEDY,
                    );
                }
            }
        }
        problems
    }
}

const KEY_REMEDY: &str = "write a name of at most 63 letters, digits, '-', '_' and '.', after a DNS subdomain and '/' if it has a prefix";
const VALUE_REMEDY: &str = "write at most 63 letters, digits, '-', '_' and '.', the first and last a letter or digit, or nothing";

fn not_a_key(key: &str) -> String {
    format!("{key:?} cannot be the key of a label, so no object has it")
}

fn not_a_value(value: &str) -> String {
    format!("{value:?} cannot be the value of a label, so no object has it")
}

/// A label's name or value, when not empty.
fn is_label_word(word: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = word.as_bytes();
    bytes.len() <= 63 && end(bytes.first()) && end(bytes.last()) && bytes.iter().all(|&b| inside(b))
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_word(value)
}

fn is_label_key(key: &str) -> bool {
    let Some((prefix, name)) = key.split_once('/') else {
        return is_label_word(key);
    };
    let lower = |label: &str| {
        let end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = label.as_bytes();
        end(bytes.first())
            && end(bytes.last())
            && bytes
                .iter()
                .all(|&b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    prefix.len() <= 253 && prefix.split('.').all(lower) && is_label_word(name)
}

impl Requirement {
    /// Without copying a thing: every review of a pod comes by here for every policy.
    fn holds(&self, labels: &impl Labels) -> bool {
        let value = labels.value(&self.key);
        let listed = || value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator {
            RequirementOperator::In => listed(),
            RequirementOperator::NotIn => !listed(),
            RequirementOperator::Exists => value.is_some(),
            RequirementOperator::DoesNotExist => value.is_none(),
        }
    }
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 63 },
        "description": "Labels that must all be there with these values.",
    })
}

/// A profile document in whatever form people have it. Its schema is the engine's work: the API server would answer with less.
pub(super) fn document(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true,
        "description": "A whole seccomp profile document: an OCI runtime-spec `linux.seccomp` object, or one in Docker's and Podman's \
            format. Numbers of 2^63 and more must be strings (\"18446744073709551615\" or \"0x...\"): the API server rounds them \
            otherwise. At most 1 MiB.",
    })
}

pub(super) fn allow(_: &mut SchemaGenerator) -> Schema {
    changes("System calls to allow on top of `base`.")
}

pub(super) fn log(_: &mut SchemaGenerator) -> Schema {
    changes("System calls to allow and have the kernel record. Stronger than `allow`.")
}

pub(super) fn deny(_: &mut SchemaGenerator) -> Schema {
    changes("System calls to deny. Stronger than `allow` and `log`.")
}

/// Changes to a base. An entry is a string or an object, which a structural schema cannot say; the engine checks it.
fn changes(what: &str) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 1024,
        "description": what,
        "items": {
            "x-kubernetes-preserve-unknown-fields": true,
            "description": "A name (chmod), a group (@chmod), or {name, args: [{index, op, value, valueTwo}], errno}: the calls whose \
                arguments fulfil all of the conditions; errno (EPERM, or a number) is for deny only.",
        },
    })
}

/// `Vec<Condition>`, as in every Kubernetes API, with bounds.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "description": "What is known of this object's state, one entry per aspect.",
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "reason": { "type": "string", "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn selector(json: serde_json::Value) -> Selector {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert!(Selector::default().matches(&labelled(&[])));
        assert!(Selector::default().matches(&labelled(&[("a", "b")])));
    }

    #[test]
    fn labels_and_expressions_must_all_hold() {
        let s = selector(serde_json::json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "edge"]},
                {"key": "legacy", "operator": "DoesNotExist"},
            ],
        }));
        assert!(s.matches(&labelled(&[("app", "web"), ("tier", "edge")])));
        assert!(!s.matches(&labelled(&[("app", "web"), ("tier", "back")])));
        assert!(!s.matches(&labelled(&[
            ("app", "web"),
            ("tier", "edge"),
            ("legacy", "")
        ])));
        assert!(!s.matches(&labelled(&[("tier", "edge")])));
    }

    #[test]
    fn not_in_matches_when_the_label_is_absent() {
        let s = selector(
            serde_json::json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["y"]}]}),
        );
        assert!(s.matches(&labelled(&[])));
        assert!(!s.matches(&labelled(&[("x", "y")])));
    }

    #[test]
    fn operators_and_values_must_go_together() {
        let s = selector(serde_json::json!({"matchExpressions": [{"key": "x", "operator": "In"}]}));
        assert_eq!(s.problems()[0].path, "matchExpressions[0].values");
        let s = selector(
            serde_json::json!({"matchExpressions": [{"key": "x", "operator": "Exists", "values": ["y"]}]}),
        );
        assert_eq!(s.problems().len(), 1);
    }

    #[test]
    fn a_label_that_no_object_can_have_is_a_problem() {
        let s = selector(serde_json::json!({
            "matchLabels": {"team": "a b", "-x": "", "example.com/ok": "v1", "Example.com/x": "y", "a/b/c": ""},
            "matchExpressions": [
                {"key": "ok", "operator": "In", "values": ["fine", "", "not-"]},
                {"key": "", "operator": "Exists"},
            ],
        }));
        let paths: Vec<_> = s.problems().into_iter().map(|p| p.path).collect();
        assert_eq!(
            paths,
            [
                "matchLabels",
                "matchLabels",
                "matchLabels",
                "matchLabels[\"team\"]",
                "matchExpressions[0].values[2]",
                "matchExpressions[1].key",
            ]
        );
        assert!(
            s.problems()[3]
                .to_string()
                .starts_with("matchLabels[\"team\"]: \"a b\" cannot be the value of a label")
        );
    }
}
