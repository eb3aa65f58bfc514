//! Whether the spec of a SeccompPolicy is valid, beyond what its schema says. It looks at no other object.

use seccomp_operator_api::{Mode, ProfileName, ProfileType, SeccompPolicySpec};
use seccomp_profile::{BUILTINS, Problem};

use crate::image::ImagePattern;
use crate::selector;

/// All problems of a spec, each with its path, reason and remedy.
#[must_use]
pub fn problems(spec: &SeccompPolicySpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (field, selector) in [
        ("namespaceSelector", &spec.namespace_selector),
        ("podSelector", &spec.pod_selector),
    ] {
        for error in selector.iter().flat_map(selector::problems) {
            problems.push(Problem {
                path: format!("spec.{field}.{}", error.path),
                reason: error.reason,
                remedy: error.remedy.into(),
            });
        }
    }
    for (index, pattern) in spec.images.iter().enumerate() {
        if let Err(error) = ImagePattern::parse(pattern) {
            problems.push(Problem {
                path: format!("spec.images[{index}]"),
                reason: error.to_string(),
                remedy: "write an image as a pod does; the only wildcards are * and ?".into(),
            });
        }
    }
    if spec.mode == Mode::Trial && spec.profile.type_ != ProfileType::Localhost {
        problems.push(Problem {
            path: "spec.mode".into(),
            reason: format!(
                "is Trial, and {:?} is no SeccompProfile that could be tried",
                spec.profile.type_
            ),
            remedy: "set profile.type to Localhost, or mode to Observe".into(),
        });
    }
    let name = match (spec.profile.type_, &spec.profile.name) {
        (ProfileType::Localhost, None) => Some((
            "must be set when type is Localhost".into(),
            "name a SeccompProfile",
        )),
        (ProfileType::Localhost, Some(name)) if ProfileName::parse(name).is_err() => Some((
            format!("{name:?} cannot be the name of a SeccompProfile"),
            "give the name as `kubectl get seccompprofiles` shows it, without a path or .json",
        )),
        // As the base of a next version it would be the built-in.
        (ProfileType::Localhost, Some(name))
            if spec.mode == Mode::Trial && BUILTINS.contains(&name.as_str()) =>
        {
            Some((
                format!("{name:?} has the name of a built-in, and mode Trial cannot try it"),
                "make a SeccompProfile of another name with it as its base, and name that",
            ))
        }
        (ProfileType::RuntimeDefault | ProfileType::Unconfined, Some(_)) => Some((
            "is only for type Localhost".into(),
            "remove it, or set type to Localhost",
        )),
        _ => None,
    };
    problems.extend(name.map(|(reason, remedy): (String, &str)| Problem {
        path: "spec.profile.name".into(),
        reason,
        remedy: remedy.into(),
    }));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> SeccompPolicySpec {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_policy_needs_no_more_than_a_type() {
        let policy = spec(serde_json::json!({"profile": {"type": "RuntimeDefault"}}));
        assert_eq!(problems(&policy), []);
        assert_eq!(policy.mode, Mode::Enforce);
    }

    #[test]
    fn name_and_type_must_go_together() {
        for (profile, part) in [
            (serde_json::json!({"type": "Localhost"}), "must be set"),
            (
                serde_json::json!({"type": "RuntimeDefault", "name": "x"}),
                "only for type Localhost",
            ),
            (
                serde_json::json!({"type": "Localhost", "name": "profiles/x.json"}),
                "cannot be the name",
            ),
        ] {
            let problems = problems(&spec(serde_json::json!({"profile": profile})));
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].path, "spec.profile.name");
            assert!(problems[0].to_string().contains(part), "{}", problems[0]);
        }
    }

    #[test]
    fn only_a_profile_of_the_cluster_can_be_tried() {
        for (profile, expected) in [
            (
                serde_json::json!({"type": "Localhost", "name": "web"}),
                None,
            ),
            (
                serde_json::json!({"type": "RuntimeDefault"}),
                Some("spec.mode: is Trial, and RuntimeDefault is no SeccompProfile"),
            ),
            (
                serde_json::json!({"type": "Localhost", "name": "audit"}),
                Some("spec.profile.name: \"audit\" has the name of a built-in"),
            ),
        ] {
            let policy = serde_json::json!({"mode": "Trial", "profile": profile});
            let problems = problems(&spec(policy));
            let said = problems.first().map(ToString::to_string);
            let is_said = |part: &str| said.as_ref().is_some_and(|said| said.starts_with(part));
            assert!(
                expected.map_or(said.is_none(), is_said),
                "{profile}: {said:?}"
            );
        }
    }

    #[test]
    fn a_pattern_that_no_image_fits_is_a_problem() {
        let problems = problems(&spec(
            serde_json::json!({"profile": {"type": "RuntimeDefault"}, "images": ["nginx", "a|b"]}),
        ));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "spec.images[1]");
    }
}
