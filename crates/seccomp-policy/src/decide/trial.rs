//! What a policy on trial gives: its trial's file, to pods and containers that would have no profile, or `RuntimeDefault`.
//!
//! It decides nothing: the policies after it are asked as well, and what these give but `RuntimeDefault` stays. So nobody has less than
//! without the policy, and nobody is refused more than `RuntimeDefault` refuses.

use std::borrow::Cow;

use super::{Draft, Level};
use crate::pod::SeccompProfile;
use crate::trial::TrialFile;
use crate::view::{Policy, View};

const RUNTIME_DEFAULT: &str = "RuntimeDefault";

fn runtime_default<'a>() -> Cow<'a, SeccompProfile<'a>> {
    Cow::Owned(SeccompProfile {
        type_: RUNTIME_DEFAULT.into(),
        localhost_profile: None,
    })
}

fn is_runtime_default(profile: &SeccompProfile<'_>) -> bool {
    profile.type_ == RUNTIME_DEFAULT
}

impl<'a> Draft<'a> {
    /// Marks what a policy on trial would decide about if it were enforced, as far as no other has before.
    pub(super) fn claim(&mut self, policy: &'a Policy) {
        let replaces = |profile: &SeccompProfile<'_>| {
            is_runtime_default(profile) && policy.replaces(RUNTIME_DEFAULT)
        };
        let Some((pod, containers)) = self.levels.split_first_mut() else {
            return;
        };
        if policy.images.is_empty() {
            let lacks = containers.iter().any(|level| level.stated.is_none());
            let is_free = pod.after.is_none() && lacks;
            let replaced = |level: &Level<'_>| level.after.as_deref().is_some_and(replaces);
            if pod.is_unclaimed() && (is_free || replaced(pod)) {
                pod.claimed = Some(policy);
            }
            for level in containers {
                if level.is_unclaimed() && replaced(level) {
                    level.claimed = Some(policy);
                }
            }
            return;
        }
        for level in containers {
            let effective = level.after.as_deref().or(pod.after.as_deref());
            let is_free = effective.is_none_or(replaces);
            if level.is_unclaimed() && level.is_meant_by(policy) && is_free {
                level.claimed = Some(policy);
            }
        }
    }

    /// Gives what was claimed, after all policies have been asked. Whether anything was given.
    pub(super) fn try_out(&mut self, view: &'a View) -> bool {
        let Some((pod, containers)) = self.levels.split_first_mut() else {
            return false;
        };
        let mut warnings = Vec::new();
        let of_pod = pod.after.clone();
        // What stands there without the trial, if that is more than the runtime's own.
        let mut claims = |level: &Level<'a>| {
            let policy = level.claimed?;
            let effective = level.after.as_ref().or(of_pod.as_ref());
            match effective.filter(|profile| !is_runtime_default(profile)) {
                None => Some(policy),
                Some(kept) => {
                    warnings.push(format!(
                        "SeccompPolicy {:?} (Trial) does not try its profile on {}, which gets {} from another policy",
                        policy.name,
                        level.name(),
                        kept.describe()
                    ));
                    None
                }
            }
        };
        let at_pod = claims(pod);
        let at_containers: Vec<_> = containers.iter().map(&mut claims).collect();
        let mut given = false;
        let mut missing: Vec<&Policy> = Vec::new();
        let mut files =
            |policy: &'a Policy, warnings: &mut Vec<String>| match view.trial_file(policy) {
                Ok(file) => Some(file),
                Err(sentence) => {
                    if !missing.iter().any(|known| std::ptr::eq(*known, policy)) {
                        missing.push(policy);
                        warnings.push(format!(
                            "SeccompPolicy {:?} (Trial) gives RuntimeDefault alone: {sentence}",
                            policy.name
                        ));
                    }
                    None
                }
            };
        if let Some(policy) = at_pod {
            let file = files(policy, &mut warnings);
            // Those that have what the pod level says.
            let inheriting = || {
                let containers = containers.iter().zip(&at_containers);
                containers.filter(|(level, claim)| level.after.is_none() && claim.is_none())
            };
            let fits = |level: &Level<'_>| {
                let fit = file.map(|file| level.fits(&file));
                fit.is_some_and(|fit| fit.is_ok())
            };
            let file = file.filter(|_| {
                inheriting().next().is_none() || inheriting().any(|(level, _)| fits(level))
            });
            given |= pod.try_with(policy, file, &mut warnings);
            for (level, claim) in containers.iter_mut().zip(&at_containers) {
                if let (Some(file), true) = (file, level.after.is_none() && claim.is_none()) {
                    given |= level.keep_from(policy, &file, &mut warnings);
                }
            }
        }
        for (level, policy) in containers.iter_mut().zip(at_containers) {
            let Some(policy) = policy else {
                continue;
            };
            match files(policy, &mut warnings) {
                Some(file) if level.fits(&file).is_ok() => {
                    given |= level.try_with(policy, Some(file), &mut warnings);
                }
                Some(file) => given |= level.keep_from(policy, &file, &mut warnings),
                None => given |= level.try_with(policy, None, &mut warnings),
            }
        }
        self.warnings.append(&mut warnings);
        given
    }
}

impl<'a> Level<'a> {
    fn is_unclaimed(&self) -> bool {
        self.claimed.is_none() && !self.decided
    }

    fn fits(&self, file: &TrialFile<'_>) -> Result<(), String> {
        self.container
            .map_or(Ok(()), |container| file.fits(container))
    }

    /// Gives the file, or without it `RuntimeDefault` where that is not so yet. Whether anything was given.
    fn try_with(
        &mut self,
        policy: &'a Policy,
        file: Option<TrialFile<'a>>,
        warnings: &mut Vec<String>,
    ) -> bool {
        let Some(file) = file else {
            let is_new = !self.after.as_deref().is_some_and(is_runtime_default);
            if is_new {
                self.after = Some(runtime_default());
                self.by = Some(policy);
            }
            return is_new;
        };
        if let Some(stated) = self.stated.as_deref() {
            warnings.push(format!(
                "SeccompPolicy {:?} (Trial) replaced the {} of {} with {}",
                policy.name,
                stated.describe(),
                self.name(),
                file.profile.describe()
            ));
        }
        self.after = Some(Cow::Borrowed(file.profile));
        self.by = Some(policy);
        true
    }

    /// Gives `RuntimeDefault` to a container to which the file would refuse what that does not, and says why.
    fn keep_from(
        &mut self,
        policy: &'a Policy,
        file: &TrialFile<'_>,
        warnings: &mut Vec<String>,
    ) -> bool {
        let Err(capability) = self.fits(file) else {
            return false;
        };
        warnings.push(format!(
            "SeccompPolicy {:?} (Trial) gives RuntimeDefault alone to {}, which has {capability}, for which RuntimeDefault lets more happen; \
             list it in spec.capabilities of the SeccompProfile to have it tried there as well",
            policy.name,
            self.name()
        ));
        self.try_with(policy, None, warnings)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seccomp_operator_api::{SeccompPolicySpec, SeccompProfileSpec};
    use serde_json::{Value, json};

    use crate::decide::{Effect, Pod, Reason, decide};
    use crate::patch::stated;
    use crate::pod::SeccompProfile;
    use crate::view::View;

    fn policy(value: &Value) -> SeccompPolicySpec {
        let spec = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(crate::validation::problems(&spec), [], "{value}");
        spec
    }

    /// The policy `web` is on trial; `more` is added to it. `is_ready`: its file is on all nodes.
    fn view(more: &Value, others: &Value, is_ready: bool) -> View {
        let mut view = View::new("profiles", []);
        view.namespace("shop", [].into());
        let mut web = json!({"mode": "Trial", "profile": {"type": "Localhost", "name": "web"}});
        for (key, value) in more.as_object().unwrap() {
            web[key] = value.clone();
        }
        let spec = policy(&web);
        let profile: SeccompProfileSpec = spec
            .trial_profile(seccomp_profile::CapabilitySet::RUNTIME_DEFAULT)
            .unwrap();
        let defined = profile.define().map(Into::into).map_err(Into::into);
        view.profile("trial.web", is_ready, Some(defined));
        view.profile("web", true, None);
        view.profile("other", true, None);
        view.policy("web", spec);
        for (name, spec) in others.as_object().unwrap() {
            view.policy(name, policy(spec));
        }
        view
    }

    /// What the pod states afterwards, the pod level first; why; and the warnings.
    fn decided(view: &View, spec: &Value) -> (Vec<String>, Reason, String) {
        let text = json!({"metadata": {}, "spec": spec}).to_string();
        let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
        let decision = decide(&pod, &view.scope("shop"));
        let after = stated(&pod, &decision.changes).into_iter();
        let words = after
            .map(|(_, profile)| profile.map_or_else(|| "-".to_owned(), SeccompProfile::describe));
        (
            words.collect(),
            decision.reason,
            decision.warnings.join("\n"),
        )
    }

    const FILE: &str = "Localhost profiles/trial.web.json";
    const OTHER: &str = "Localhost profiles/other.json";
    const DEFAULT: &str = "RuntimeDefault";

    fn container(context: &Value) -> Value {
        json!({"name": "c", "image": "nginx:1", "securityContext": context})
    }

    fn one(context: &Value) -> Value {
        json!({"containers": [container(context)]})
    }

    fn by_default() -> Value {
        json!({"default": {"priority": -1000, "profile": {"type": "RuntimeDefault"}}})
    }

    #[test]
    fn a_pod_without_a_profile_gets_the_file_or_runtime_default_until_that_is_there() {
        for others in [json!({}), by_default()] {
            let ready = view(&json!({}), &others, true);
            let (after, reason, warnings) = decided(&ready, &one(&json!({})));
            assert_eq!(
                (&after[..], reason),
                (&[FILE.into(), "-".into()][..], Reason::Injected)
            );
            assert_eq!(warnings, "");
            let early = view(&json!({}), &others, false);
            let (after, reason, warnings) = decided(&early, &one(&json!({})));
            assert_eq!(
                (&after[..], reason),
                (&[DEFAULT.into(), "-".into()][..], Reason::Injected)
            );
            assert!(
                warnings.contains(
                    "gives RuntimeDefault alone: SeccompProfile \"trial.web\" is not ready"
                ),
                "{warnings}"
            );
        }
    }

    #[test]
    fn what_a_pod_states_stays_but_a_runtime_default_that_the_policy_overrides() {
        let stating = |type_: &str| json!({"seccompProfile": {"type": type_}});
        for (overrides, type_, expected) in [
            (json!([]), DEFAULT, DEFAULT),
            (json!([]), "Unconfined", "Unconfined"),
            (json!(["RuntimeDefault", "Unconfined"]), DEFAULT, FILE),
            // Nothing is refused to it today.
            (
                json!(["RuntimeDefault", "Unconfined"]),
                "Unconfined",
                "Unconfined",
            ),
        ] {
            let view = view(&json!({"overrides": overrides}), &by_default(), true);
            let at_pod = json!({"securityContext": stating(type_), "containers": [{"name": "c"}]});
            let (after, ..) = decided(&view, &at_pod);
            assert_eq!(after, [expected, "-"], "{overrides} {type_}");
            let (after, ..) = decided(&view, &one(&stating(type_)));
            // A pod whose containers all state one is left alone at its level.
            assert_eq!(after, ["-", expected], "{overrides} {type_}");
        }
    }

    #[test]
    fn what_other_policies_give_stays() {
        let gives = |priority: i32, type_: &str| {
            let mut profile = json!({"type": type_});
            if type_ == "Localhost" {
                profile["name"] = "other".into();
            }
            json!({"other": {"priority": priority, "profile": profile}})
        };
        for (priority, type_, expected) in [
            (-5, "Localhost", OTHER),
            (-5, "Unconfined", "Unconfined"),
            (-5, DEFAULT, FILE),
            (5, "Localhost", OTHER),
            // It decides before the trial is asked.
            (5, DEFAULT, DEFAULT),
        ] {
            let view = view(&json!({}), &gives(priority, type_), true);
            let (after, _, warnings) = decided(&view, &one(&json!({})));
            assert_eq!(after, [expected, "-"], "{priority} {type_}");
            let is_told = warnings
                .contains("SeccompPolicy \"web\" (Trial) does not try its profile on this pod");
            assert_eq!(is_told, priority < 0 && type_ != DEFAULT, "{warnings}");
        }
    }

    #[test]
    fn a_container_that_the_file_would_refuse_more_than_runtime_default_gets_that() {
        let admin = json!({"capabilities": {"add": ["SYS_ADMIN"]}});
        let view = view(&json!({}), &by_default(), true);
        let two = json!({"containers": [container(&json!({})), container(&admin)]});
        let (after, _, warnings) = decided(&view, &two);
        assert_eq!(after, [FILE, "-", DEFAULT]);
        assert!(warnings.contains("which has SYS_ADMIN"), "{warnings}");
        let (after, _, warnings) = decided(&view, &one(&admin));
        assert_eq!(after, [DEFAULT, "-"]);
        assert!(warnings.is_empty(), "{warnings}");
    }

    #[test]
    fn a_policy_for_an_image_is_tried_on_the_containers_that_have_it() {
        let more = json!({"images": ["nginx"]});
        let two = json!({"containers": [container(&json!({})), {"name": "d", "image": "redis"}]});
        let (after, ..) = decided(&view(&more, &by_default(), true), &two);
        assert_eq!(after, [DEFAULT, FILE, "-"]);
        let (after, ..) = decided(&view(&more, &json!({}), true), &two);
        assert_eq!(after, ["-", FILE, "-"]);
        let admin = json!({"capabilities": {"add": ["SYS_ADMIN"]}});
        let (after, ..) = decided(&view(&more, &json!({}), true), &one(&admin));
        assert_eq!(after, ["-", DEFAULT]);
        let other =
            json!({"other": {"priority": -5, "profile": {"type": "Localhost", "name": "other"}}});
        let (after, ..) = decided(&view(&more, &other, true), &two);
        assert_eq!(after, [OTHER, "-", "-"]);
    }

    #[test]
    fn a_trial_counts_the_pods_that_it_has_given_something() {
        let view = view(&json!({}), &by_default(), true);
        let of = |spec: &Value| {
            let text = json!({"metadata": {}, "spec": spec}).to_string();
            let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
            let decision = decide(&pod, &view.scope("shop"));
            let mut policies = decision.policies.iter();
            policies.find(|(policy, _)| policy.name == "web").unwrap().1
        };
        assert_eq!(of(&one(&json!({}))), Effect::Changes);
        let own = json!({"seccompProfile": {"type": "Unconfined"}});
        assert_eq!(of(&one(&own)), Effect::Nothing);
    }

    fn context() -> impl Strategy<Value = Value> {
        let profile = prop_oneof![
            3 => Just(Value::Null),
            1 => Just(json!({"type": "RuntimeDefault"})),
            1 => Just(json!({"type": "Unconfined"})),
            1 => Just(json!({"type": "Localhost", "localhostProfile": "a.json"})),
        ];
        let add = prop_oneof![3 => Just(json!([])), 1 => Just(json!(["SYS_ADMIN"])), 1 => Just(json!(["NET_ADMIN"]))];
        (profile, add).prop_map(
            |(profile, add)| json!({"seccompProfile": profile, "capabilities": {"add": add}}),
        )
    }

    fn pod() -> impl Strategy<Value = Value> {
        let image = prop_oneof![Just("nginx"), Just("redis")];
        let containers = prop::collection::vec((context(), image), 1..4);
        (context(), containers).prop_map(|(pod, containers)| {
            let containers = containers.into_iter().enumerate();
            let containers: Vec<_> = containers
                .map(|(n, (context, image))| json!({"name": format!("c{n}"), "image": image, "securityContext": context}))
                .collect();
            json!({"securityContext": {"seccompProfile": pod["seccompProfile"]}, "containers": containers})
        })
    }

    fn some_policy() -> impl Strategy<Value = Value> {
        let profile = prop_oneof![
            Just(json!({"type": "RuntimeDefault"})),
            Just(json!({"type": "Unconfined"})),
            Just(json!({"type": "Localhost", "name": "other"})),
        ];
        let images = prop_oneof![2 => Just(json!([])), 1 => Just(json!(["nginx"]))];
        let overrides = prop_oneof![2 => Just(json!([])), 1 => Just(json!(["RuntimeDefault"])), 1 => Just(json!(["Unconfined", "RuntimeDefault"]))];
        (profile, images, overrides, -2..3).prop_map(|(profile, images, overrides, priority)| {
            json!({"priority": priority, "profile": profile, "images": images, "overrides": overrides})
        })
    }

    proptest! {
        /// The promise: a policy on trial, whatever it says and among whatever others, leaves each container what it would have without
        /// it; but where that is no profile or `RuntimeDefault`, it has that or the file that refuses no more.
        #[test]
        fn a_trial_gives_nobody_less_and_refuses_nobody_more_than_runtime_default(
            spec in pod(), others in prop::collection::vec(some_policy(), 0..3),
            trial in some_policy(), is_ready in any::<bool>(),
        ) {
            let others: serde_json::Map<_, _> = others.into_iter().enumerate().map(|(n, other)| (format!("p{n}"), other)).collect();
            let others = Value::Object(others);
            let mut trial = trial;
            trial["profile"] = json!({"type": "Localhost", "name": "web"});
            let with = view(&trial, &others, is_ready);
            let mut without = view(&trial, &others, is_ready);
            without.gone(crate::view::Kind::Policy, "web");
            let effective = |view: &View| -> Vec<String> {
                let (words, ..) = decided(view, &spec);
                words[1..].iter().map(|own| if own == "-" { words[0].clone() } else { own.clone() }).collect()
            };
            let (before, after) = (effective(&without), effective(&with));
            for (n, (before, after)) in before.iter().zip(&after).enumerate() {
                let is_same = before == after;
                let is_free = before == "-" || before == DEFAULT;
                prop_assert!(is_same || is_free && (after == FILE && is_ready || after == DEFAULT), "{n}: {before} became {after}");
                if after == FILE {
                    let add = &spec["containers"][n]["securityContext"]["capabilities"]["add"];
                    prop_assert!(add != &json!(["SYS_ADMIN"]), "{n}");
                }
            }
        }
    }
}
