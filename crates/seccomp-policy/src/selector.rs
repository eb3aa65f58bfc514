//! Label selectors: whether they match, and why one never could. They copy nothing, for every review of a pod asks them.

use std::collections::BTreeMap;

use seccomp_operator_api::label::{
    KEY_REMEDY, VALUE_REMEDY, is_key, is_value, not_a_key, not_a_value,
};
use seccomp_operator_api::{Requirement, RequirementOperator, Selector};

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

/// Whether the labels satisfy the selector. One with [`problems`] matches nothing it should not: `In` without values matches
/// nothing.
#[must_use]
pub fn matches(selector: &Selector, labels: &impl Labels) -> bool {
    let has = |(key, value): (&String, &String)| labels.value(key) == Some(value.as_str());
    let mut requirements = selector.match_expressions.iter();
    selector.match_labels.iter().all(has)
        && requirements.all(|requirement| holds(requirement, labels))
}

/// What the schema cannot say: values where the operator wants them and none where it does not, and the syntax of labels,
/// without which a condition could never hold.
#[must_use]
pub fn problems(selector: &Selector) -> Vec<SelectorError> {
    let mut problems = Vec::new();
    let mut problem = |path: String, reason: String, remedy| {
        problems.push(SelectorError {
            path,
            reason,
            remedy,
        });
    };
    for (key, value) in &selector.match_labels {
        if !is_key(key) {
            problem("matchLabels".into(), not_a_key(key), KEY_REMEDY);
        }
        if !is_value(value) {
            problem(
                format!("matchLabels[{key:?}]"),
                not_a_value(value),
                VALUE_REMEDY,
            );
        }
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let path = format!("matchExpressions[{index}]");
        if !is_key(&requirement.key) {
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
            if !is_value(value) {
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

/// Without copying a thing: every review of a pod comes by here for every policy.
fn holds(requirement: &Requirement, labels: &impl Labels) -> bool {
    let value = labels.value(&requirement.key);
    let listed = || value.is_some_and(|value| requirement.values.iter().any(|one| one == value));
    match requirement.operator {
        RequirementOperator::In => listed(),
        RequirementOperator::NotIn => !listed(),
        RequirementOperator::Exists => value.is_some(),
        RequirementOperator::DoesNotExist => value.is_none(),
    }
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
        assert!(matches(&Selector::default(), &labelled(&[])));
        assert!(matches(&Selector::default(), &labelled(&[("a", "b")])));
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
        assert!(matches(&s, &labelled(&[("app", "web"), ("tier", "edge")])));
        assert!(!matches(&s, &labelled(&[("app", "web"), ("tier", "back")])));
        assert!(!matches(
            &s,
            &labelled(&[("app", "web"), ("tier", "edge"), ("legacy", "")])
        ));
        assert!(!matches(&s, &labelled(&[("tier", "edge")])));
    }

    #[test]
    fn not_in_matches_when_the_label_is_absent() {
        let s = selector(
            serde_json::json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["y"]}]}),
        );
        assert!(matches(&s, &labelled(&[])));
        assert!(!matches(&s, &labelled(&[("x", "y")])));
    }

    #[test]
    fn operators_and_values_must_go_together() {
        let s = selector(serde_json::json!({"matchExpressions": [{"key": "x", "operator": "In"}]}));
        assert_eq!(problems(&s)[0].path, "matchExpressions[0].values");
        let s = selector(
            serde_json::json!({"matchExpressions": [{"key": "x", "operator": "Exists", "values": ["y"]}]}),
        );
        assert_eq!(problems(&s).len(), 1);
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
        let paths: Vec<_> = problems(&s).into_iter().map(|p| p.path).collect();
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
            problems(&s)[3]
                .to_string()
                .starts_with("matchLabels[\"team\"]: \"a b\" cannot be the value of a label")
        );
    }
}
