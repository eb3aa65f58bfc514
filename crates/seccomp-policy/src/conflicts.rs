//! What the author of a SeccompPolicy should know of it: that it selects nothing, that another one is always asked before it,
//! that a profile is missing. Nothing of this is a reason to refuse a policy: what is missing may come, in any order.
//!
//! A pure function of the policy and of what the watches have told. Replicas that have been told the same say the same; one that
//! has not heard of a change of a moment ago yet does not warn of it. `status.warnings` says later what all have heard of.

use crate::constraints::Constraints;
use crate::image::ImagePattern;
use crate::selector;
use crate::view::{Policy, View};
use seccomp_operator_api::{Mode, Overridden, SeccompPolicySpec};

/// Of other policies, so many are named.
const MAX_POLICIES: usize = 3;

/// Sentences about a valid policy of this name that is about to be stored, the harm that it does to others among them.
#[must_use]
pub fn conflicts(name: &str, spec: &SeccompPolicySpec, view: &View) -> Vec<String> {
    if let Some(sentence) = view.without_effect() {
        return vec![sentence.to_owned()];
    }
    let policy = view.read(name, spec.clone());
    let mut conflicts = missing_profile(&policy, view);
    conflicts.extend(standing(&policy, view));
    if selects_nothing(&policy, view).is_none() {
        conflicts.extend(leaves_nothing_for(&policy, view));
        conflicts.extend(leaves_to(&policy, view));
    }
    conflicts
}

/// Sentences about a policy that is in force, for as long as they are true. Whether there is its profile is not among them.
#[must_use]
pub fn standing(policy: &Policy, view: &View) -> Vec<String> {
    if view.without_effect().is_some() {
        return Vec::new();
    }
    let mut conflicts = without_effect(policy);
    conflicts.extend(untried(policy, view));
    // What selects nothing is in nobody's way, and nobody is in its.
    let nothing = selects_nothing(policy, view);
    conflicts.extend(nothing.or_else(|| shadowed(policy, before(policy, view))));
    if conflicts.is_empty() && policy.spec.mode != Mode::Trial {
        let mut before = before(policy, view);
        let other = before.find_map(|other| Some((other, other.leaves(policy)?)));
        conflicts.extend(other.map(|(other, left)| {
            format!(
                "spec.overrides: SeccompPolicy {:?} before this one decides about containers with its images, and leaves an explicit \
                 {left} there as it is; put {left} into its overrides as well",
                other.name
            )
        }));
    }
    conflicts
}

/// Why a policy on trial is tried on no pod, though it selects some: the one that decides about all of them after it gives more.
fn untried(policy: &Policy, view: &View) -> Option<String> {
    if policy.spec.mode != Mode::Trial {
        return None;
    }
    let mut after = view.policies().filter(|other| {
        policy.is_before(other) && other.images.is_empty() && other.takes_from(policy)
    });
    let other = after
        .next()
        .filter(|other| other.profile.type_ != "RuntimeDefault")?;
    Some(format!(
        "spec.mode: Trial tries nothing, since SeccompPolicy {:?} gives {} to all that this one selects; try the next version in spec.trial \
         of that profile, or set mode to Enforce",
        other.name,
        other.profile.describe()
    ))
}

/// A policy after it whose `overrides` do not reach the containers that it decides about.
fn leaves_to(policy: &Policy, view: &View) -> Option<String> {
    let others = view
        .policies()
        .filter(|other| other.name != policy.name && other.can_match());
    let (other, left) = others
        .filter(|other| policy.is_before(other))
        .find_map(|other| Some((other, policy.leaves(other)?)))?;
    Some(format!(
        "spec.images: of containers with these images SeccompPolicy {:?} no longer replaces an explicit {left}, since this one decides \
         about them; put {left} into spec.overrides",
        other.name
    ))
}

fn missing_profile(policy: &Policy, view: &View) -> Vec<String> {
    if policy.spec.mode == Mode::Trial {
        return view.untriable(policy).into_iter().collect();
    }
    let profile = policy.spec.profile_name();
    profile
        .and_then(|name| view.warning_by_name(name))
        .into_iter()
        .collect()
}

/// Parts of the policy that change nothing.
fn without_effect(policy: &Policy) -> Vec<String> {
    let mut sentences = Vec::new();
    for (index, overridden) in policy.spec.overrides.iter().enumerate() {
        let stated = overridden.word();
        if policy.spec.mode == Mode::Trial && *overridden == Overridden::Unconfined {
            sentences.push(format!(
                "spec.overrides[{index}]: an explicit {stated} stays while the policy is on trial, since nothing is refused to such a pod \
                 today; set mode to Enforce to have it replaced"
            ));
        } else if !policy.replaces(stated) {
            sentences.push(format!(
                "spec.overrides[{index}]: {stated} is not replaced with {}; remove it, or give another profile",
                policy.profile.describe()
            ));
        }
    }
    let patterns = || policy.images.iter().enumerate();
    for (index, pattern) in patterns() {
        let covered = patterns().find(|(other, wider)| {
            let covers = *other != index && wider.covers(pattern);
            // Of two that are the same the second is too many.
            covers && (*other < index || !pattern.covers(wider))
        });
        if let Some((other, _)) = covered {
            sentences.push(format!(
                "spec.images[{index}]: every image that it matches is matched by spec.images[{other}] already; remove it"
            ));
        }
    }
    sentences
}

/// Why no pod can ever be selected, or none as things are.
fn selects_nothing(policy: &Policy, view: &View) -> Option<String> {
    for (field, constraints) in [
        ("namespaceSelector", &policy.namespaces),
        ("podSelector", &policy.pods),
    ] {
        if let Some(key) = constraints.contradiction() {
            return Some(format!(
                "spec.{field}: can never match: what it demands of the label {key:?} contradicts itself"
            ));
        }
    }
    let selector = policy.spec.namespace_selector.as_ref()?;
    let mut selected = view
        .namespaces()
        .filter(|(_, labels)| selector::matches(selector, *labels))
        .map(|(name, _)| name)
        .peekable();
    if selected.peek().is_none() {
        return Some("spec.namespaceSelector: selects none of the namespaces that there are; is it spelled as on their labels?".to_owned());
    }
    selected.all(|name| view.is_excluded(name)).then(|| {
        "spec.namespaceSelector: selects only namespaces that are left alone (kube-system, the operator's own, and those that are excluded or opted out)".to_owned()
    })
}

/// The policies that are asked before one.
fn before<'a>(policy: &'a Policy, view: &'a View) -> impl Iterator<Item = &'a Policy> {
    view.policies()
        .filter(|other| other.name != policy.name && other.can_match() && other.is_before(policy))
}

/// The policies after it that it, together with those before them, leaves nothing.
fn leaves_nothing_for(policy: &Policy, view: &View) -> Option<String> {
    if shadowed(policy, before(policy, view)).is_some() {
        return None;
    }
    let names: Vec<_> = view
        .policies()
        .filter(|other| other.name != policy.name && other.can_match())
        .filter(|other| policy.is_before(other) && policy.takes_from(other))
        .filter(|other| {
            // As it was stored, if it was, it does not count.
            let ahead = || before(other, view).filter(|ahead| ahead.name != policy.name);
            shadowed(other, ahead()).is_none() && shadowed(other, ahead().chain([policy])).is_some()
        })
        .map(|other| format!("{:?}", other.name))
        .collect();
    let more = match names.len().saturating_sub(MAX_POLICIES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed = names[..names.len().min(MAX_POLICIES)].join(", ");
    (!names.is_empty()).then(|| {
        format!("with this one before it, there is nothing left for SeccompPolicy {listed}{more}")
    })
}

/// Why nothing is left for a policy after those that come before it.
fn shadowed<'a>(policy: &Policy, before: impl Iterator<Item = &'a Policy>) -> Option<String> {
    let mut taken: Vec<(&Policy, &ImagePattern)> = Vec::new();
    for other in before.filter(|other| other.takes_from(policy)) {
        if other.images.is_empty() {
            return Some(format!(
                "nothing is left for this policy: SeccompPolicy {:?} (priority {}) comes before it and selects all that it selects",
                other.name, other.spec.priority
            ));
        }
        taken.extend(other.images.iter().map(|pattern| (other, pattern)));
    }
    let mut names = Vec::new();
    for image in &policy.images {
        let (other, _) = taken.iter().find(|(_, pattern)| pattern.covers(image))?;
        let name = format!("{:?}", other.name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| {
        format!(
            "nothing is left for this policy: SeccompPolicy {} before it decides about all of its images",
            names[..names.len().min(MAX_POLICIES)].join(", ")
        )
    })
}

impl Policy {
    /// Whether it is asked before another: highest priority first, then by name.
    fn is_before(&self, other: &Self) -> bool {
        self.order(other).is_lt()
    }

    /// Whether it selects every pod that another selects, and decides about it.
    fn takes_from(&self, other: &Self) -> bool {
        self.spec.mode == Mode::Enforce
            && self.namespaces.covers(&other.namespaces)
            && self.pods.covers(&other.pods)
    }

    /// What containers that it decides about keep and another, asked after it, would replace. What the two select has to meet for
    /// certain: one's selectors cover the other's.
    fn leaves(&self, other: &Self) -> Option<&'static str> {
        let meet =
            |mine: &Constraints, others: &Constraints| mine.covers(others) || others.covers(mine);
        let decides = self.spec.mode == Mode::Enforce && !self.images.is_empty();
        if !decides || !meet(&self.namespaces, &other.namespaces) || !meet(&self.pods, &other.pods)
        {
            return None;
        }
        let mut replaced = other.spec.overrides.iter().map(|stated| stated.word());
        // One that gives the same by itself means it so.
        replaced.find(|stated| {
            other.replaces(stated) && !self.replaces(stated) && self.profile.type_ != *stated
        })
    }

    fn can_match(&self) -> bool {
        let contradicts = |constraints: &Constraints| constraints.contradiction().is_some();
        !contradicts(&self.namespaces) && !contradicts(&self.pods)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::view::Engine;

    fn view(policies: &Value) -> View {
        let mut view = View::new("profiles", ["kube-system".to_owned()]);
        for (name, team) in [
            ("shop", "web"),
            ("kube-system", "system"),
            ("bank", "money"),
        ] {
            view.namespace(name, BTreeMap::from([("team".to_owned(), team.to_owned())]));
        }
        view.profile("no-chmod", true, None);
        view.profile("late", false, None);
        for (name, spec) in policies.as_object().unwrap() {
            view.policy(name, serde_json::from_value(spec.clone()).unwrap());
        }
        view
    }

    fn conflicts_of(spec: &Value, policies: &Value) -> Vec<String> {
        let spec: SeccompPolicySpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(crate::validation::problems(&spec), []);
        conflicts("mine", &spec, &view(policies))
    }

    fn with(spec: &Value, more: &Value) -> Value {
        let mut spec = spec.clone();
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }

    const RUNTIME_DEFAULT: fn() -> Value = || json!({"profile": {"type": "RuntimeDefault"}});

    type Case = (Value, Value, Option<&'static str>);

    /// Each case has one conflict, with this in its sentence, or none.
    fn check(cases: impl IntoIterator<Item = Case>) {
        for (spec, policies, expected) in cases {
            let conflicts = conflicts_of(&spec, &policies);
            let count = usize::from(expected.is_some());
            assert_eq!(conflicts.len(), count, "{spec} {policies}: {conflicts:?}");
            for (warning, part) in conflicts.iter().zip(expected) {
                assert!(warning.contains(part), "{spec} {policies}: {warning}");
            }
        }
    }

    fn selecting(more: &Value) -> Value {
        with(&RUNTIME_DEFAULT(), more)
    }

    fn default() -> Value {
        json!({"default": {"priority": -1000, "profile": {"type": "RuntimeDefault"}}})
    }

    #[test]
    fn a_profile_that_is_not_there_and_parts_without_effect_are_told() {
        let localhost = |name: &str| json!({"profile": {"type": "Localhost", "name": name}});
        let images = |images: &[&str]| selecting(&json!({"images": images}));
        let none = || json!({});
        check([
            (RUNTIME_DEFAULT(), none(), None),
            (localhost("no-chmod"), none(), None),
            (
                localhost("absent"),
                none(),
                Some("there is no SeccompProfile \"absent\""),
            ),
            (localhost("late"), none(), Some("\"late\" is not ready")),
            (
                json!({"overrides": ["Unconfined"], "profile": {"type": "Unconfined"}}),
                none(),
                Some("spec.overrides[0]: Unconfined is not replaced"),
            ),
            (
                selecting(&json!({"overrides": ["Unconfined"]})),
                none(),
                None,
            ),
            (
                selecting(&json!({"overrides": ["Unconfined", "RuntimeDefault"]})),
                none(),
                Some("spec.overrides[1]: RuntimeDefault is not replaced with RuntimeDefault"),
            ),
            (
                images(&["nginx:1.*", "redis", "nginx"]),
                none(),
                Some("spec.images[0]: every image that it matches is matched by spec.images[2]"),
            ),
            (
                images(&["nginx", "docker.io/nginx"]),
                none(),
                Some("spec.images[1]"),
            ),
        ]);
    }

    #[test]
    fn a_policy_on_trial_is_told_of_what_it_does_not_try() {
        let trial = |more: &Value| {
            let profile = json!({"type": "Localhost", "name": "no-chmod"});
            with(&json!({"mode": "Trial", "profile": profile}), more)
        };
        let later = |profile: &Value| json!({"later": {"priority": -5, "profile": profile}});
        let web = json!({"namespaceSelector": {"matchLabels": {"team": "web"}}});
        let of_web = |profile: &Value| json!({"later": with(&web, &json!({"priority": -5, "profile": profile}))});
        let file = json!({"type": "Localhost", "name": "no-chmod"});
        check([
            (trial(&json!({})), default(), None),
            (
                trial(&json!({"profile": {"type": "Localhost", "name": "absent"}})),
                default(),
                Some("there is no SeccompProfile \"absent\", and nothing is tried until there is"),
            ),
            // Its own file is not used.
            (
                trial(&json!({"profile": {"type": "Localhost", "name": "late"}})),
                default(),
                None,
            ),
            (
                trial(&json!({"overrides": ["RuntimeDefault"]})),
                default(),
                None,
            ),
            (
                trial(&json!({"overrides": ["Unconfined"]})),
                default(),
                Some("an explicit Unconfined stays while the policy is on trial"),
            ),
            (
                trial(&json!({})),
                later(&file),
                Some("Trial tries nothing, since SeccompPolicy \"later\" gives Localhost"),
            ),
            (
                trial(&json!({})),
                later(&json!({"type": "Unconfined"})),
                Some("gives Unconfined to all that this one selects"),
            ),
            (trial(&json!({})), of_web(&file), None),
            (
                trial(&json!({"priority": -2000})),
                default(),
                Some("SeccompPolicy \"default\" (priority -1000) comes before it"),
            ),
        ]);
    }

    #[test]
    fn an_unconfined_that_nobody_replaces_is_told() {
        let strict = |more: &Value| with(&selecting(&json!({"overrides": ["Unconfined"]})), more);
        let tools = |more: &Value| {
            with(
                &selecting(&json!({"priority": 5, "images": ["tools"]})),
                more,
            )
        };
        let by = |name: &str, spec: Value| json!({name: spec});
        let web = json!({"namespaceSelector": {"matchLabels": {"team": "web"}}});
        let money = json!({"namespaceSelector": {"matchLabels": {"team": "money"}}});
        let hole = Some("SeccompPolicy \"tools\" before this one decides about containers");
        let made =
            Some("of containers with these images SeccompPolicy \"strict\" no longer replaces");
        check([
            (strict(&json!({})), by("tools", tools(&json!({}))), hole),
            (strict(&web), by("tools", tools(&json!({}))), hole),
            (strict(&json!({})), by("tools", tools(&web)), hole),
            (strict(&web), by("tools", tools(&money)), None),
            (tools(&json!({})), by("strict", strict(&web)), made),
            // One that replaces it by itself, changes nothing, or comes later leaves no hole.
            (
                strict(&json!({})),
                by("tools", tools(&json!({"overrides": ["Unconfined"]}))),
                None,
            ),
            (
                strict(&json!({})),
                by("tools", tools(&json!({"mode": "Observe"}))),
                None,
            ),
            (
                strict(&web),
                by("tools", tools(&json!({"priority": -5}))),
                None,
            ),
        ]);
    }

    #[test]
    fn selectors_that_select_nothing_are_told() {
        let contradicting = json!({
            "matchLabels": {"app": "x"}, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}],
        });
        let by = |field: &str, selector: &Value| (selecting(&json!({field: selector})), default());
        let team = |team: &str| json!({"matchLabels": {"team": team}});
        let case = |(spec, policies), expected| (spec, policies, expected);
        check([
            case(
                by("podSelector", &contradicting),
                Some("spec.podSelector: can never match: what it demands of the label \"app\""),
            ),
            case(
                by("namespaceSelector", &contradicting),
                Some("spec.namespaceSelector: can never match"),
            ),
            case(
                by("namespaceSelector", &team("wbe")),
                Some("selects none of the namespaces"),
            ),
            case(
                by("namespaceSelector", &team("system")),
                Some("only namespaces that are left alone"),
            ),
            case(
                by(
                    "namespaceSelector",
                    &json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}}),
                ),
                None,
            ),
        ]);
    }

    #[test]
    fn policies_that_leave_each_other_nothing_are_told() {
        let nginx =
            json!({"priority": 5, "images": ["nginx"], "profile": {"type": "RuntimeDefault"}});
        let web = json!({"matchLabels": {"team": "web"}});
        let low = |more: &Value| with(&selecting(&json!({"priority": -2000})), more);
        let by_nginx = || json!({"nginx": nginx});
        check([
            // Others before it.
            (
                low(&json!({})),
                default(),
                Some("SeccompPolicy \"default\" (priority -1000) comes before it"),
            ),
            (
                low(&json!({"namespaceSelector": web})),
                default(),
                Some("\"default\""),
            ),
            (
                low(&json!({"mode": "Observe"})),
                default(),
                Some("\"default\""),
            ),
            (
                selecting(&json!({"namespaceSelector": web})),
                default(),
                None,
            ),
            (
                selecting(&json!({"images": ["nginx:1"]})),
                by_nginx(),
                Some("SeccompPolicy \"nginx\" before it decides about all of its images"),
            ),
            (
                selecting(&json!({"images": ["nginx:1", "redis"]})),
                by_nginx(),
                None,
            ),
            (RUNTIME_DEFAULT(), by_nginx(), None),
            (
                RUNTIME_DEFAULT(),
                json!({"first": with(&nginx, &json!({"images": [], "mode": "Observe"}))}),
                None,
            ),
            // Equals go by name.
            (
                RUNTIME_DEFAULT(),
                json!({"a": RUNTIME_DEFAULT()}),
                Some("SeccompPolicy \"a\" (priority 0)"),
            ),
            (
                RUNTIME_DEFAULT(),
                json!({"z": RUNTIME_DEFAULT()}),
                Some("nothing left for SeccompPolicy \"z\""),
            ),
            // It before others.
            (
                RUNTIME_DEFAULT(),
                default(),
                Some("nothing left for SeccompPolicy \"default\""),
            ),
            (selecting(&json!({"mode": "Observe"})), default(), None),
            (selecting(&json!({"images": ["*"]})), default(), None),
            (
                selecting(&json!({"priority": 9, "images": ["*"]})),
                by_nginx(),
                Some("nothing left for SeccompPolicy \"nginx\""),
            ),
            // Who was left nothing before is not this one's doing.
            (
                RUNTIME_DEFAULT(),
                json!({"high": selecting(&json!({"priority": 1, "namespaceSelector": web})),
                    "low": selecting(&json!({"priority": -1, "namespaceSelector": web}))}),
                None,
            ),
        ]);
    }

    #[test]
    fn where_something_else_injects_no_policy_has_an_effect() {
        let view = view(&json!({})).injected_by(Engine::None);
        let spec = serde_json::from_value(RUNTIME_DEFAULT()).unwrap();
        assert!(conflicts("mine", &spec, &view)[0].contains("injection.engine is none"));
    }

    #[test]
    fn images_may_be_taken_by_several_policies_together() {
        let of = |images: &[&str]| json!({"priority": 5, "images": images, "profile": {"type": "RuntimeDefault"}});
        let policies = json!({"a": of(&["nginx"]), "b": of(&["redis", "ghcr.io/*"])});
        let mine = with(&of(&["ghcr.io/x/*", "nginx:1"]), &json!({"priority": 0}));
        let conflicts = conflicts_of(&mine, &policies);
        assert!(
            conflicts[0].contains("SeccompPolicy \"b\", \"a\" before it decides"),
            "{conflicts:?}"
        );
    }

    #[test]
    fn a_policy_that_changes_is_not_compared_with_what_it_was() {
        let policies = json!({"mine": {"priority": 10, "profile": {"type": "RuntimeDefault"}}});
        assert_eq!(
            conflicts_of(&RUNTIME_DEFAULT(), &policies),
            Vec::<String>::new()
        );
    }

    #[test]
    fn replicas_that_were_told_the_same_in_another_order_say_the_same() {
        let specs: Vec<_> = (0..5)
            .map(|n| {
                let selector = json!({"matchLabels": {"n": (n % 2).to_string()}});
                let more = json!({"priority": -n / 2, "podSelector": selector});
                (format!("p{n}"), with(&RUNTIME_DEFAULT(), &more))
            })
            .collect();
        let specs_conflicts = |view: &View| -> Vec<_> {
            let of = |(name, spec): &(String, Value)| {
                conflicts(name, &serde_json::from_value(spec.clone()).unwrap(), view)
            };
            specs.iter().map(of).collect()
        };
        let told = |order: &mut dyn Iterator<Item = &(String, Value)>| {
            let mut view = view(&json!({}));
            for (name, spec) in order {
                // As it was before, and then as it is.
                view.policy(name, serde_json::from_value(RUNTIME_DEFAULT()).unwrap());
                view.policy(name, serde_json::from_value(spec.clone()).unwrap());
            }
            specs_conflicts(&view)
        };
        let first = told(&mut specs.iter());
        assert!(
            first.iter().any(|conflicts| !conflicts.is_empty()),
            "{first:?}"
        );
        assert_eq!(first, told(&mut specs.iter().rev()));
    }

    #[test]
    fn of_many_only_a_few_are_named() {
        let policies: serde_json::Map<_, _> = (0..6)
            .map(|n| {
                (
                    format!("z{n}"),
                    with(
                        &RUNTIME_DEFAULT(),
                        &json!({"podSelector": {"matchLabels": {"n": n.to_string()}}}),
                    ),
                )
            })
            .collect();
        let conflicts = conflicts_of(&RUNTIME_DEFAULT(), &Value::Object(policies));
        assert!(
            conflicts[0].ends_with("SeccompPolicy \"z0\", \"z1\", \"z2\" and 3 more"),
            "{conflicts:?}"
        );
        assert!(
            conflicts
                .iter()
                .all(|warning| warning.chars().count() <= 250)
        );
    }
}
