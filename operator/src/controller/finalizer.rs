//! Holds a profile that pods use, by a finalizer of the operator's own: what to do about it, and as which patch.
//!
//! The operator changes nothing else of a user's object. A patch is bound to the version of the object that it was decided by, so that
//! nobody else's finalizer is lost.

use kube_support::JsonPatch;
use seccomp_operator_api::IN_USE_FINALIZER;

/// What to do about the finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put it on.
    Hold,
    /// Take it off.
    Release,
}

/// Whether one of these finalizers is the operator's.
#[must_use]
pub fn is_held(finalizers: &[String]) -> bool {
    finalizers.iter().any(|name| name == IN_USE_FINALIZER)
}

/// What to do, if anything. Nothing can be put on an object that is being deleted: the API server refuses it.
#[must_use]
pub fn step(used: bool, finalizers: &[String], deleting: bool) -> Option<Step> {
    match (used, is_held(finalizers)) {
        (true, false) if !deleting => Some(Step::Hold),
        (false, true) => Some(Step::Release),
        _ => None,
    }
}

/// The step as a patch of the object whose version and finalizers these are.
#[must_use]
pub fn patch(step: Step, version: &str, finalizers: &[String]) -> JsonPatch {
    let patch = JsonPatch::of_version(version);
    match step {
        Step::Hold if finalizers.is_empty() => {
            patch.add(&["metadata", "finalizers"], vec![IN_USE_FINALIZER])
        }
        Step::Hold => patch.add(&["metadata", "finalizers", "-"], IN_USE_FINALIZER),
        Step::Release => {
            // From the end, so that the others keep their places.
            let ours = finalizers.iter().enumerate().rev();
            let ours = ours.filter(|(_, name)| *name == IN_USE_FINALIZER);
            ours.fold(patch, |patch, (place, _)| {
                patch.remove(&["metadata", "finalizers", &place.to_string()])
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_profile_is_held_while_it_is_used_and_never_once_it_is_being_deleted() {
        let (ours, theirs) = (names(&["x", IN_USE_FINALIZER]), names(&["x"]));
        for (used, finalizers, deleting, expected) in [
            (true, &theirs, false, Some(Step::Hold)),
            (true, &theirs, true, None),
            (true, &ours, false, None),
            (true, &ours, true, None),
            (false, &ours, false, Some(Step::Release)),
            (false, &ours, true, Some(Step::Release)),
            (false, &theirs, true, None),
        ] {
            assert_eq!(
                step(used, finalizers, deleting),
                expected,
                "{used} {finalizers:?} {deleting}"
            );
        }
    }

    #[test]
    fn a_patch_touches_no_finalizer_of_others_and_fits_one_version_only() {
        let patched = |finalizers: Option<&[&str]>, which: Step| {
            let mut object = json!({ "metadata": { "resourceVersion": "7" } });
            let known = finalizers.map(names).unwrap_or_default();
            if finalizers.is_some() {
                object["metadata"]["finalizers"] = json!(known);
            }
            let mut other = object.clone();
            other["metadata"]["resourceVersion"] = "8".into();
            let patch = patch(which, "7", &known);
            assert!(json_patch::patch(&mut other, patch.operations()).is_err());
            json_patch::patch(&mut object, patch.operations()).unwrap();
            object["metadata"]["finalizers"].clone()
        };
        assert_eq!(patched(None, Step::Hold), json!([IN_USE_FINALIZER]));
        assert_eq!(
            patched(Some(&["x"]), Step::Hold),
            json!(["x", IN_USE_FINALIZER])
        );
        assert_eq!(
            patched(Some(&["x", IN_USE_FINALIZER, "y"]), Step::Release),
            json!(["x", "y"])
        );
        assert_eq!(
            patched(
                Some(&[IN_USE_FINALIZER, "y", IN_USE_FINALIZER]),
                Step::Release
            ),
            json!(["y"])
        );
        assert_eq!(
            patched(Some(&[IN_USE_FINALIZER]), Step::Release),
            Value::Array(vec![])
        );
    }
}
