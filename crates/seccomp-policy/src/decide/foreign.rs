//! Pods that would run under somebody else's file: a policy may have them refused.
//!
//! A pod does not say which node it comes to, so that it counts if the profile has such a file on any node.

use super::Effect;
use crate::localhost::LocalhostProfile;
use crate::view::{Policy, View};
use seccomp_operator_api::{ADOPT_ANNOTATION, Mode, OnConflict};

/// Why a pod with these `localhostProfile`s is refused, if it is, and what policies that only observe say of it.
pub(super) fn refusal(
    policies: &[(&Policy, Effect)],
    paths: &[&str],
    view: &View,
) -> (Option<String>, Vec<String>) {
    let mut refusing = policies
        .iter()
        .map(|(policy, _)| *policy)
        .filter(|policy| policy.spec.on_conflict == OnConflict::Deny)
        .peekable();
    if refusing.peek().is_none() {
        return (None, Vec::new());
    }
    let foreign = paths.iter().find_map(|path| {
        let name = LocalhostProfile::parse(path, view.profiles_dir()).into_name()?;
        view.profile_state(name.as_str())?
            .foreign_sentence(name.as_str())
    });
    let Some(sentence) = foreign else {
        return (None, Vec::new());
    };
    let (mut denied, mut warnings) = (None, Vec::new());
    for policy in refusing {
        let name = &policy.name;
        match policy.spec.mode {
            Mode::Enforce => {
                denied.get_or_insert_with(|| {
                    format!(
                        "SeccompPolicy {name:?} (onConflict: Deny) refuses this pod: {sentence}; remove the file there, or annotate the \
                         profile with {ADOPT_ANNOTATION}=true to have it overwritten"
                    )
                });
            }
            mode @ (Mode::Observe | Mode::Trial) => warnings.push(format!(
                "SeccompPolicy {name:?} ({mode:?}) would refuse this pod: {sentence}"
            )),
        }
    }
    (denied, warnings)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::decide::{Reason, decide};
    use crate::pod::Pod;
    use crate::profile_state::ProfileState;
    use crate::view::View;

    fn view(policies: &[(&str, Value)]) -> View {
        let mut view = View::new("profiles", []);
        view.namespace("shop", [].into());
        view.profile("web", true, None);
        let foreign = ProfileState {
            foreign: Some("n1".into()),
            ..ProfileState::default()
        };
        view.profile("taken", foreign, None);
        for (name, spec) in policies {
            view.policy(name, serde_json::from_value(spec.clone()).unwrap());
        }
        view
    }

    fn decided(
        policies: &[(&str, Value)],
        profile: Option<&str>,
    ) -> (Reason, Option<String>, String) {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}});
        if let Some(name) = profile {
            let path = format!("profiles/{name}.json");
            pod["spec"]["securityContext"]["seccompProfile"] =
                json!({"type": "Localhost", "localhostProfile": path});
        }
        let text = pod.to_string();
        let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
        let view = view(policies);
        let decision = decide(&pod, &view.scope("shop"));
        assert_eq!(
            decision.denied.is_some(),
            decision.reason == Reason::Conflict
        );
        assert!(decision.denied.is_none() || decision.changes.is_empty());
        (
            decision.reason,
            decision.denied.clone(),
            decision.warnings.join("\n"),
        )
    }

    #[test]
    fn a_pod_that_would_run_under_a_foreign_file_is_warned_of_and_refused_where_a_policy_says_so() {
        let gives = |name: &str, more: Value| {
            let mut spec = json!({"profile": {"type": "Localhost", "name": name}});
            spec.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            spec
        };
        let deny = || json!({"onConflict": "Deny"});
        let observing = json!({"onConflict": "Deny", "mode": "Observe", "priority": 5});
        let default = json!({"profile": {"type": "RuntimeDefault"}, "onConflict": "Deny"});
        let truth = "starts there under that file";
        for (policies, profile, reason, warned) in [
            (
                vec![("p", gives("taken", json!({})))],
                None,
                Reason::Injected,
                true,
            ),
            (
                vec![("p", gives("taken", deny()))],
                None,
                Reason::Conflict,
                true,
            ),
            (
                vec![("p", gives("web", deny()))],
                None,
                Reason::Injected,
                false,
            ),
            // What it states for itself counts as well.
            (
                vec![("p", default.clone())],
                Some("taken"),
                Reason::Conflict,
                true,
            ),
            (
                vec![("p", default.clone())],
                Some("web"),
                Reason::AlreadySet,
                false,
            ),
            (vec![], Some("taken"), Reason::NoPolicy, true),
            (
                vec![
                    ("o", gives("web", observing)),
                    ("p", gives("taken", json!({}))),
                ],
                None,
                Reason::Injected,
                true,
            ),
        ] {
            let (found, denied, warnings) = decided(&policies, profile);
            assert_eq!(found, reason, "{policies:?} {profile:?}");
            assert_eq!(warnings.contains(truth), warned, "{policies:?}: {warnings}");
            if let Some(denied) = denied {
                assert!(
                    denied.starts_with(
                        "SeccompPolicy \"p\" (onConflict: Deny) refuses this pod: on n1 "
                    ) && denied.contains(truth)
                        && denied.contains("seccomp-operator.io/adopt=true"),
                    "{denied}"
                );
            }
            let observes = policies.iter().any(|(name, _)| *name == "o");
            assert_eq!(
                warnings.contains("(Observe) would refuse this pod"),
                observes
            );
        }
    }
}
