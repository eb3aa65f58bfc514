//! Which policies to ask about a pod, so that a review does not take the longer the more policies there are: of those that select its
//! namespace only those that can select it by its labels.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use seccomp_operator_api::Selector;

use crate::selector::Labels;

/// The policies of a list that demand a value of a label, by the label's key and the value. Of several such labels the first counts.
///
/// Policies are their positions in the list, which is in the order in which they are asked.
#[derive(Debug, Default)]
pub struct LabelIndex(BTreeMap<String, HashMap<String, Vec<u32>>>);

impl LabelIndex {
    /// Of the `podSelector`s of a list.
    pub fn new<'a>(selectors: impl IntoIterator<Item = Option<&'a Selector>>) -> Self {
        let mut labels_index = Self::default();
        for (position, selector) in (0..).zip(selectors) {
            if let Some((key, value)) = demanded(selector) {
                let by_value = labels_index.0.entry(key.clone()).or_default();
                by_value.entry(value.clone()).or_default().push(position);
            }
        }
        labels_index
    }
}

/// The policies that select a namespace: some bytes for each, since there may be many namespaces.
#[derive(Debug, Default)]
pub struct PolicyIndex {
    /// Those that demand no value of a label.
    of_any: Vec<u32>,
    /// Those that demand a value of a label.
    demanding: Vec<u32>,
}

impl PolicyIndex {
    /// From positions in their order, and `podSelector`s.
    pub fn new<'a>(policies: impl IntoIterator<Item = (u32, Option<&'a Selector>)>) -> Self {
        let mut selecting = Self::default();
        for (position, selector) in policies {
            match demanded(selector) {
                Some(_) => selecting.demanding.push(position),
                None => selecting.of_any.push(position),
            }
        }
        selecting
    }

    /// Those that may select a pod with these labels, and few others; in their order. `labels_index` is of the same list.
    pub fn for_pod(&self, labels_index: &LabelIndex, labels: &impl Labels) -> Cow<'_, [u32]> {
        let mut positions = Cow::from(&self.of_any);
        for (key, by_value) in &labels_index.0 {
            let found = labels.value(key).and_then(|value| by_value.get(value));
            for position in found.into_iter().flatten() {
                if self.demanding.binary_search(position).is_ok() {
                    positions.to_mut().push(*position);
                }
            }
        }
        if let Cow::Owned(positions) = &mut positions {
            positions.sort_unstable();
        }
        positions
    }
}

fn demanded(selector: Option<&Selector>) -> Option<(&String, &String)> {
    selector?.match_labels.first_key_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::matches;
    use proptest::prelude::*;

    /// Few labels and values, so that they meet.
    fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map("[a-d]", "[x-z]", 0..4)
    }

    proptest! {
        #[test]
        fn nobody_who_speaks_of_a_pod_is_left_out_and_the_order_stays(
            selectors in prop::collection::vec(prop::option::of(labels()), 0..12), pod in labels(),
        ) {
            let selectors: Vec<_> = selectors
                .into_iter()
                .map(|labels| labels.map(|match_labels| Selector { match_labels, ..Selector::default() }))
                .collect();
            let selects = |position: &u32| {
                let selector: Option<&Selector> = selectors[*position as usize].as_ref();
                selector.is_none_or(|selector| matches(selector, &pod))
            };
            let all = || selectors.iter().map(Option::as_ref);
            let labels_index = LabelIndex::new(all());
            // Those at odd positions do not select the namespace.
            let selecting = (0..).zip(all()).filter(|(position, _)| position % 2 == 0);
            let mut asked = PolicyIndex::new(selecting).for_pod(&labels_index, &pod).into_owned();
            asked.retain(selects);
            let expected: Vec<u32> = (0..).take(selectors.len()).step_by(2).filter(selects).collect();
            prop_assert_eq!(asked, expected);
        }
    }

    #[test]
    fn whoever_demands_another_value_is_not_asked() {
        let team = |n: usize| Selector {
            match_labels: [("team".to_owned(), n.to_string())].into(),
            ..Selector::default()
        };
        let selectors: Vec<_> = (0..100).map(team).collect();
        let labels_index = LabelIndex::new(selectors.iter().map(Some));
        let selecting = PolicyIndex::new((0..).zip(selectors.iter().map(Some)));
        let pod = BTreeMap::from([("team".to_owned(), "7".to_owned())]);
        assert_eq!(*selecting.for_pod(&labels_index, &pod), [7]);
    }
}
