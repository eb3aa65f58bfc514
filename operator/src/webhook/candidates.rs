//! Which policies to ask about a pod, so that a review does not take the longer the more policies there are: of those that select its
//! namespace only those that can speak of it by its labels.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::api::{Labels, Selector};

/// The policies that select a namespace, by their positions in a list that is in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Those that may speak of any pod.
    of_any: Vec<usize>,
    /// Those that demand a value of a label: by the label's key and the value. Of several such labels the first counts.
    by_label: BTreeMap<String, HashMap<String, Vec<usize>>>,
}

impl Candidates {
    /// From positions and `podSelector`s.
    pub fn new<'a>(policies: impl IntoIterator<Item = (usize, Option<&'a Selector>)>) -> Self {
        let mut candidates = Self::default();
        for (position, selector) in policies {
            let demanded = selector.and_then(|selector| selector.match_labels.first_key_value());
            match demanded {
                Some((key, value)) => {
                    let by_value = candidates.by_label.entry(key.clone()).or_default();
                    by_value.entry(value.clone()).or_default().push(position);
                }
                None => candidates.of_any.push(position),
            }
        }
        candidates
    }

    /// Those that may speak of a pod with these labels, and few others; in their order.
    pub fn for_pod(&self, labels: &impl Labels) -> Cow<'_, [usize]> {
        let mut positions = Cow::from(&self.of_any);
        for (key, by_value) in &self.by_label {
            if let Some(found) = labels.value(key).and_then(|value| by_value.get(value)) {
                positions.to_mut().extend(found);
            }
        }
        if let Cow::Owned(positions) = &mut positions {
            positions.sort_unstable();
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let speaks = |position: &usize| {
                let selector: Option<&Selector> = selectors[*position].as_ref();
                selector.is_none_or(|selector| selector.matches(&pod))
            };
            let all = selectors.iter().map(Option::as_ref).enumerate();
            let mut asked = Candidates::new(all).for_pod(&pod).into_owned();
            asked.retain(speaks);
            let expected: Vec<usize> = (0..selectors.len()).filter(speaks).collect();
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
        let candidates = Candidates::new(selectors.iter().map(Some).enumerate());
        let pod = BTreeMap::from([("team".to_owned(), "7".to_owned())]);
        assert_eq!(*candidates.for_pod(&pod), [7]);
    }
}
