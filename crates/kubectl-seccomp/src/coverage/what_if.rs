//! What the policies would make of the pods that exist, were they created anew: by the very decision of the webhook.

use std::collections::{BTreeMap, BTreeSet};

use seccomp_policy::pod::Pod;
use serde::Serialize;

use super::effective::Placed;
use seccomp_operator_api::{Mode, SeccompPolicySpec};
use seccomp_policy::decide::{Effect, Place, Reason, SeccompProfile, decide};
use seccomp_policy::given::as_written;
use seccomp_policy::patch::stated;
use seccomp_policy::profile_state::ProfileState;
use seccomp_policy::view::View;

/// What admission knows, as far as it can be asked for.
#[derive(Debug, Default)]
pub struct Known {
    /// Whether the operator's webhook gives pods profiles, as far as one may know.
    pub injects: bool,
    /// The folder below kubelet's seccomp folder.
    pub profiles_dir: String,
    /// Namespaces that are left alone.
    pub excluded: BTreeSet<String>,
    /// The labels of namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// SeccompProfiles, and how they stand.
    pub profiles: BTreeMap<String, ProfileState>,
    /// The policies.
    pub policies: BTreeMap<String, SeccompPolicySpec>,
}

/// What would become of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Where.
    pub namespace: String,
    /// Which.
    pub pod: String,
    /// Why it would be changed, or not.
    pub reason: &'static str,
    /// What would stand there that does not now.
    pub changes: Vec<AssignedProfile>,
    /// The policies that would give it.
    pub policies: Vec<By>,
    /// What kubectl would print.
    pub warnings: Vec<String>,
}

/// One place in a pod, and what would stand there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignedProfile {
    /// The container; none for the pod level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What would stand there; nothing where a policy gave something that none would give again.
    pub profile: Option<SeccompProfile<'static>>,
}

/// A policy that would change a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct By {
    pub name: String,
    /// How it is now. What observes or is on trial is taken for enforced here: that is the question.
    pub mode: Mode,
}

/// Asks for every pod. Policies that only observe, or are on trial, are taken for enforced.
pub fn outcomes(pods: &[Placed], known: &Known) -> Vec<Outcome> {
    let mut view = View::new(&known.profiles_dir, known.excluded.iter().cloned());
    for (name, labels) in &known.namespaces {
        view.namespace(name, labels.clone());
    }
    for (name, state) in &known.profiles {
        view.profile(name, state.clone(), None);
    }
    for (name, spec) in &known.policies {
        let enforced = SeccompPolicySpec {
            mode: Mode::Enforce,
            ..spec.clone()
        };
        view.policy(name, enforced);
    }
    pods.iter()
        .map(|placed| outcome(placed, &view, known))
        .collect()
}

fn outcome(placed: &Placed, view: &View, known: &Known) -> Outcome {
    // What policies gave it then is no wish of its author's.
    let written = as_written(&placed.pod);
    let decision = decide(&written, &view.scope(&placed.namespace));
    let (before, after) = (
        stated(&placed.pod, &[]),
        stated(&written, &decision.changes),
    );
    let by = decision
        .policies
        .iter()
        .filter(|(_, effect)| *effect == Effect::Changes);
    Outcome {
        namespace: placed.namespace.clone(),
        pod: placed.name.clone(),
        reason: decision.reason.word(),
        changes: before
            .into_iter()
            .zip(after)
            // What is refused is not changed.
            .filter(|_| decision.denied.is_none())
            .filter(|(before, after)| before != after)
            .map(|(_, (place, profile))| AssignedProfile {
                container: container_at(place, &placed.pod),
                profile: profile.map(|profile| profile.clone().into_owned()),
            })
            .collect(),
        policies: by
            .map(|(policy, _)| By {
                name: policy.name.clone(),
                mode: known
                    .policies
                    .get(&policy.name)
                    .map_or(Mode::Enforce, |spec| spec.mode),
            })
            .collect(),
        warnings: decision
            .denied
            .into_iter()
            .chain(decision.warnings)
            .collect(),
    }
}

impl AssignedProfile {
    /// For a table.
    pub fn describe(&self) -> String {
        self.profile
            .as_ref()
            .map_or_else(|| "none".to_owned(), SeccompProfile::describe)
    }
}

/// The name of the container at a place; none for the pod level.
fn container_at(place: Place, pod: &Pod<'_>) -> Option<String> {
    let container = match place {
        Place::Pod => None,
        Place::InitContainer(index) => pod.spec.init_containers.get(index),
        Place::Container(index) => pod.spec.containers.get(index),
    };
    container.map(|container| container.name.to_string())
}

/// Pods by what would become of them.
pub fn counts(outcomes: &[Outcome]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.reason).or_default() += 1;
    }
    counts
}

/// What a reason means, for a sentence.
pub fn semantics(reason: &str) -> &str {
    let reason = Reason::ALL.into_iter().find(|known| known.word() == reason);
    match reason {
        Some(Reason::Injected) => "get a profile from policies",
        Some(Reason::Recorded) => "are recorded",
        Some(Reason::Conflict) => "are refused",
        Some(Reason::Converted) => "have legacy annotations turned into fields",
        Some(Reason::AlreadySet) => "state what they want",
        Some(Reason::NoPolicy) => "no policy speaks of",
        Some(Reason::NamespaceExcluded) => "are in excluded namespaces",
        Some(Reason::Windows) => "are for Windows",
        Some(Reason::MirrorPod) => "are static",
        _ => "are left alone",
    }
}

#[cfg(test)]
mod tests {
    use super::super::effective::tests::placed;
    use super::*;
    use serde_json::{Value, json};

    fn spec(json: Value) -> SeccompPolicySpec {
        serde_json::from_value(json).unwrap()
    }

    fn known(policies: &[(&str, Value)]) -> Known {
        Known {
            injects: true,
            profiles_dir: "profiles".into(),
            excluded: BTreeSet::from(["kube-system".to_owned()]),
            namespaces: BTreeMap::from([(
                "web".to_owned(),
                BTreeMap::from([("team".to_owned(), "web".to_owned())]),
            )]),
            profiles: BTreeMap::from([("tight".to_owned(), true.into())]),
            policies: policies
                .iter()
                .map(|(name, json)| ((*name).to_owned(), spec(json.clone())))
                .collect(),
        }
    }

    #[test]
    fn a_policy_that_observes_is_asked_what_it_would_do_if_it_were_enforced() {
        let known = known(&[
            (
                "default",
                json!({"priority": -1000, "profile": {"type": "RuntimeDefault"}}),
            ),
            (
                "tight",
                json!({"priority": 5, "mode": "Observe", "namespaceSelector": {"matchLabels": {"team": "web"}},
                    "profile": {"type": "Localhost", "name": "tight"}}),
            ),
        ]);
        let bare = || json!({"containers": [{"name": "c", "image": "nginx"}]});
        let own = json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "c"}]});
        let pods = [
            placed("web", "a", &json!({}), bare()),
            placed("default", "b", &json!({}), bare()),
            placed("kube-system", "c", &json!({}), bare()),
            placed("web", "d", &json!({}), own),
        ];
        let outcomes = outcomes(&pods, &known);
        let given = |index: usize| -> Vec<String> {
            let changes = outcomes[index].changes.iter();
            let profiles = changes.filter_map(|change| change.profile.as_ref());
            profiles.map(SeccompProfile::describe).collect()
        };
        assert_eq!(given(0), ["Localhost profiles/tight.json"]);
        let by = &outcomes[0].policies[0];
        assert_eq!((by.name.as_str(), by.mode), ("tight", Mode::Observe));
        assert_eq!(given(1), ["RuntimeDefault"]);
        assert_eq!(outcomes[1].policies[0].mode, Mode::Enforce);
        assert_eq!(
            (outcomes[2].reason, given(2).len()),
            ("namespace_excluded", 0)
        );
        assert_eq!((outcomes[3].reason, given(3).len()), ("already_set", 0));
        assert_eq!(counts(&outcomes)["injected"], 2);
    }

    #[test]
    fn a_change_names_the_container_that_it_is_for() {
        let known = known(&[(
            "nginx",
            json!({"images": ["nginx*"], "profile": {"type": "Localhost", "name": "tight"}}),
        )]);
        let spec = json!({
            "initContainers": [{"name": "first", "image": "nginx:1"}],
            "containers": [{"name": "other", "image": "redis"}, {"name": "main", "image": "nginx:1", "securityContext": {}}],
        });
        let outcomes = outcomes(&[placed("web", "a", &json!({}), spec)], &known);
        let named: Vec<_> = outcomes[0]
            .changes
            .iter()
            .map(|c| c.container.as_deref())
            .collect();
        assert_eq!(named, [Some("first"), Some("main")]);
    }

    #[test]
    fn what_a_policy_gave_is_asked_anew_and_what_an_author_wrote_is_not() {
        let runtime_default = json!({"seccompProfile": {"type": "RuntimeDefault"}});
        let given = json!({"seccomp-operator.io/given": r#"[{"policy":"default"}]"#});
        let echo = json!({"seccomp-operator.io/given": r#"[{"policy":"default"}]"#,
            "seccomp.security.alpha.kubernetes.io/pod": "runtime/default"});
        let spec = json!({"securityContext": runtime_default, "containers": [{"name": "c"}]});
        let overridden = json!({"seccomp-operator.io/given": r#"[{"container":"c","policy":"default","replaced":"Unconfined"}]"#});
        let container = json!({"containers": [{"name": "c", "securityContext": runtime_default}]});
        let default = json!({"profile": {"type": "RuntimeDefault"}});
        let tight = json!({"profile": {"type": "Localhost", "name": "tight"}});
        let overrides = json!({"overrides": ["Unconfined"], "profile": {"type": "RuntimeDefault"}});
        let nothing = &[][..];
        for (annotations, spec, policies, reason, changes) in [
            (
                &json!({}),
                &spec,
                &[("p", &tight)][..],
                "already_set",
                nothing,
            ),
            (
                &given,
                &spec,
                &[("p", &tight)],
                "injected",
                &["Localhost profiles/tight.json"][..],
            ),
            (
                &echo,
                &spec,
                &[("p", &tight)],
                "injected",
                &["Localhost profiles/tight.json"],
            ),
            (&given, &spec, &[("p", &default)], "injected", nothing),
            (&given, &spec, &[], "no_policy", &["none"]),
            (
                &overridden,
                &container,
                &[("p", &overrides)],
                "injected",
                nothing,
            ),
            (
                &overridden,
                &container,
                &[("p", &default)],
                "already_set",
                &["Unconfined"],
            ),
            (
                &json!({"seccomp-operator.io/given": "no JSON"}),
                &spec,
                &[("p", &tight)],
                "already_set",
                nothing,
            ),
        ] {
            let policies: Vec<_> = policies
                .iter()
                .map(|(name, spec)| (*name, (*spec).clone()))
                .collect();
            let pods = [placed("web", "a", annotations, spec.clone())];
            let outcome = outcomes(&pods, &known(&policies)).remove(0);
            let found: Vec<_> = outcome
                .changes
                .iter()
                .map(AssignedProfile::describe)
                .collect();
            assert_eq!(
                (outcome.reason, found),
                (reason, changes.iter().map(|c| (*c).to_owned()).collect()),
                "{annotations} {policies:?}"
            );
        }
    }

    #[test]
    fn every_reason_has_a_meaning() {
        for reason in Reason::ALL {
            let observed = reason == Reason::Observed;
            assert_eq!(
                semantics(reason.word()) == "are left alone",
                observed,
                "{reason:?}"
            );
        }
    }
}
