//! What a label selector demands of each label, so that two selectors can be compared without any object at hand.

use std::collections::{BTreeMap, BTreeSet};

use seccomp_operator_api::{RequirementOperator, Selector};

/// What a selector demands, by label. None at all for a selector that selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints(BTreeMap<String, Constraint>);

/// What is demanded of one label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Constraint {
    /// The values that it may have; any when None.
    allowed: Option<BTreeSet<String>>,
    /// The values that it may not have; never one of `allowed`.
    excluded: BTreeSet<String>,
    /// It has to be there.
    present: bool,
    /// It must not be there.
    absent: bool,
}

impl Constraints {
    /// Reads a selector; none is one that selects everything.
    #[must_use]
    pub fn new(selector: Option<&Selector>) -> Self {
        let mut constraints: BTreeMap<String, Constraint> = BTreeMap::new();
        let Some(selector) = selector else {
            return Self::default();
        };
        for (key, value) in &selector.match_labels {
            let constraint = constraints.entry(key.clone()).or_default();
            constraint.allow(&[value.clone()].into());
        }
        for requirement in &selector.match_expressions {
            let constraint = constraints.entry(requirement.key.clone()).or_default();
            let values: BTreeSet<String> = requirement.values.iter().cloned().collect();
            match requirement.operator {
                RequirementOperator::In => constraint.allow(&values),
                RequirementOperator::NotIn => constraint.excluded.extend(values),
                RequirementOperator::Exists => constraint.present = true,
                RequirementOperator::DoesNotExist => constraint.absent = true,
            }
        }
        for constraint in constraints.values_mut() {
            if let Some(allowed) = &mut constraint.allowed {
                allowed.retain(|value| !constraint.excluded.contains(value));
                constraint.excluded.clear();
            }
        }
        Self(constraints)
    }

    /// A label of which things are demanded that cannot all be true: then the selector selects nothing.
    #[must_use]
    pub fn contradiction(&self) -> Option<&str> {
        let mut contradictions = self.0.iter().filter(|(_, constraint)| {
            (constraint.present && constraint.absent)
                || constraint.allowed.as_ref().is_some_and(BTreeSet::is_empty)
        });
        contradictions.next().map(|(key, _)| key.as_str())
    }

    /// Whether all that `other` selects is selected by this one too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.contradiction().is_some()
            || self.0.iter().all(|(key, ours)| {
                let theirs = other.0.get(key);
                theirs.is_some_and(|theirs| ours.follows_from(theirs))
            })
    }
}

impl Constraint {
    fn allow(&mut self, values: &BTreeSet<String>) {
        self.present = true;
        match &mut self.allowed {
            Some(allowed) => allowed.retain(|value| values.contains(value)),
            None => self.allowed = Some(values.clone()),
        }
    }

    /// Whether a label of which `other` is true fulfils this one.
    fn follows_from(&self, other: &Self) -> bool {
        let allowed = |ours: &BTreeSet<String>| {
            other
                .allowed
                .as_ref()
                .is_some_and(|theirs| theirs.is_subset(ours))
        };
        let excluded = other.absent
            || match &other.allowed {
                Some(theirs) => theirs.is_disjoint(&self.excluded),
                None => self.excluded.is_subset(&other.excluded),
            };
        self.allowed.as_ref().is_none_or(allowed)
            && excluded
            && (!self.present || other.present)
            && (!self.absent || other.absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::matches;
    use proptest::prelude::*;
    use serde_json::json;

    fn selector(json: serde_json::Value) -> Selector {
        serde_json::from_value(json).unwrap()
    }

    fn constraints(json: serde_json::Value) -> Constraints {
        Constraints::new(Some(&selector(json)))
    }

    #[test]
    fn a_selector_that_contradicts_itself_is_found_out() {
        let expressions = |list: serde_json::Value| constraints(json!({"matchExpressions": list}));
        for (contradicts, constraints) in [
            (
                true,
                constraints(
                    json!({"matchLabels": {"a": "x"}, "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x", "y"]}]}),
                ),
            ),
            (
                true,
                expressions(
                    json!([{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "DoesNotExist"}]),
                ),
            ),
            (
                true,
                expressions(
                    json!([{"key": "a", "operator": "In", "values": ["x"]}, {"key": "a", "operator": "In", "values": ["y"]}]),
                ),
            ),
            (
                true,
                constraints(
                    json!({"matchLabels": {"a": "x"}, "matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
                ),
            ),
            (
                false,
                constraints(
                    json!({"matchLabels": {"a": "x"}, "matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}),
                ),
            ),
            (
                false,
                expressions(
                    json!([{"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "a", "operator": "NotIn", "values": ["y"]}]),
                ),
            ),
            (false, Constraints::new(None)),
        ] {
            assert_eq!(
                constraints.contradiction().is_some(),
                contradicts,
                "{constraints:?}"
            );
        }
    }

    #[test]
    fn a_wider_selector_covers_a_narrower_one_and_not_the_other_way_round() {
        let all = json!({});
        let x = json!({"matchLabels": {"a": "x"}});
        let x_or_y =
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]});
        let there = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
        let not_z =
            json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["z"]}]});
        let not_z_or_w =
            json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["z", "w"]}]});
        let gone = json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]});
        let both = json!({"matchLabels": {"a": "x", "b": "y"}});
        for (wide, narrow) in [
            (&all, &x),
            (&x_or_y, &x),
            (&there, &x),
            (&there, &x_or_y),
            (&not_z, &x),
            (&not_z, &not_z_or_w),
            (&not_z, &gone),
            (&x, &both),
        ] {
            let (wide, narrow) = (constraints(wide.clone()), constraints(narrow.clone()));
            assert!(wide.covers(&narrow), "{wide:?} {narrow:?}");
            assert!(!narrow.covers(&wide), "{narrow:?} {wide:?}");
        }
        assert!(Constraints::new(None).covers(&constraints(all.clone())));
        assert!(constraints(all).covers(&Constraints::new(None)));
    }

    fn any_selector() -> impl Strategy<Value = Selector> {
        let word = || prop::sample::select(vec!["x", "y", "z"]);
        let key = || prop::sample::select(vec!["a", "b"]);
        let requirement = (
            key(),
            prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist"]),
            prop::collection::vec(word(), 1..3),
        )
            .prop_map(|(key, operator, values)| {
                let values = if operator.ends_with("In") {
                    values
                } else {
                    Vec::new()
                };
                json!({"key": key, "operator": operator, "values": values})
            });
        (
            prop::collection::btree_map(key(), word(), 0..2),
            prop::collection::vec(requirement, 0..3),
        )
            .prop_map(|(labels, expressions)| {
                selector(json!({"matchLabels": labels, "matchExpressions": expressions}))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_a_covered_selector_selects_the_wider_one_selects_too(
            a in any_selector(), b in any_selector(),
            labels in prop::collection::btree_map("[ab]", "[xyzw]", 0..3),
        ) {
            let (wide, narrow) = (Constraints::new(Some(&a)), Constraints::new(Some(&b)));
            prop_assert!(!wide.covers(&narrow) || !matches(&b, &labels) || matches(&a, &labels));
            prop_assert!(narrow.contradiction().is_none() || !matches(&b, &labels));
        }
    }
}
