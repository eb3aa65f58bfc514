//! What there is to say of SeccompRecordings: to the author of one, and in the status of one that cannot record.

use std::collections::BTreeSet;

use seccomp_operator_api::{
    Merge, ProfileName, Record, SeccompProfileSpec, SeccompRecordingSpec, recording_profile_name,
};
use seccomp_policy::ceiling::Ceilings;
use seccomp_policy::constraints::Constraints;
use seccomp_policy::selector;
use seccomp_policy::view::{View, recording_key};
use seccomp_profile::{BUILTINS, Library, Problem, meant_builtin};
use seccomp_recording::{problems, result_name};

use crate::ceilings::{self, Told};

/// What of the cluster matters to a recording, beside what profiles say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// A profile that has the name of what the recording makes, or one of those names, and was not made of it.
    pub taken: Option<String>,
    /// Pods of the recording's namespace are left alone.
    pub is_excluded: bool,
    /// Why admission changes no pod, if it does not.
    pub without_effect: Option<&'static str>,
}

impl Surroundings {
    /// As this view has them.
    pub fn of(view: &View, namespace: &str, name: &str, spec: &SeccompRecordingSpec) -> Self {
        let result = result_name(namespace, name, spec);
        let recording = recording_key(namespace, name);
        let taken = view.not_made_of(&recording, &result, spec.merge != Merge::All);
        Self {
            taken: taken.map(str::to_owned),
            is_excluded: view.is_excluded(namespace),
            without_effect: view.without_effect(),
        }
    }
}

/// What is wrong with a recording whatever else there is.
pub fn faults(name: &str, spec: &SeccompRecordingSpec) -> Vec<Problem> {
    let of_selector = selector::problems(&spec.pod_selector).into_iter();
    let mut faults: Vec<_> = of_selector
        .map(|error| Problem {
            path: format!("spec.podSelector.{}", error.path),
            reason: error.reason,
            remedy: error.remedy.into(),
        })
        .collect();
    let constraints = Constraints::new(Some(&spec.pod_selector));
    if let Some(key) = constraints.contradiction().filter(|_| faults.is_empty()) {
        faults.push(Problem {
            path: "spec.podSelector".into(),
            reason: format!(
                "selects no pod: what it demands of the label {key:?} contradicts itself"
            ),
            remedy: "take one of the demands away".into(),
        });
    }
    let assumed: Vec<_> = seccomp_recorder::assumed().collect();
    faults.extend(problems(name, spec, &assumed));
    faults
}

/// The profile that a recording records with.
pub fn recording_spec(
    namespace: &str,
    name: &str,
    uid: &str,
    spec: &SeccompRecordingSpec,
) -> SeccompProfileSpec {
    SeccompProfileSpec {
        base: Some(spec.base.clone()),
        record: Some(Record {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            arguments: spec.arguments.clone(),
        }),
        ..SeccompProfileSpec::default()
    }
}

/// Why nothing is made under a name that somebody else's profile has.
pub fn taken(name: &str) -> String {
    format!(
        "there is a SeccompProfile {name:?} that was not made of this recording, and it is left as it is; set spec.profileName to \
         another name, or delete that profile"
    )
}

/// What the author of a recording is told.
pub fn assess(
    namespace: &str,
    name: &str,
    spec: &SeccompRecordingSpec,
    (library, ceilings): (&Library, &Ceilings),
    around: &Surroundings,
) -> Told {
    let mut told = Told::default();
    let faults = faults(name, spec);
    told.problems.extend(faults.iter().map(ToString::to_string));
    told.problems.extend(base_fault(&spec.base, library));
    if told.problems.is_empty() {
        of_base(namespace, name, spec, (library, ceilings), &mut told);
    }
    if let Some(other) = around.taken.as_deref().filter(|_| spec.create) {
        // Which containers and workloads there will be, nobody knows yet.
        if spec.merge == Merge::All {
            let field = spec
                .profile_name
                .as_ref()
                .map_or("spec.create", |_| "spec.profileName");
            told.problems.push(format!("{field}: {}", taken(other)));
        } else {
            told.warnings.push(format!(
                "spec.merge: should the recording come to a profile of that name: {}",
                taken(other)
            ));
        }
    }
    if !told.problems.is_empty() {
        told.warnings.clear();
        return told;
    }
    told.warnings.extend(doubts(spec));
    if around.is_excluded {
        told.warnings.push(format!(
            "metadata.namespace: pods of namespace {namespace:?} are left alone, so that none is recorded; record in another namespace"
        ));
    }
    told.warnings.extend(
        around
            .without_effect
            .map(|why| format!("no pod is recorded: {why}")),
    );
    told
}

/// Why no profile can have it as its base, whatever comes. One that is not there may be in the next file of a folder.
fn base_fault(base: &str, library: &Library) -> Option<String> {
    if BUILTINS.contains(&base) {
        return None;
    }
    if let Err(error) = ProfileName::parse(base) {
        return Some(format!(
            "spec.base: {base:?} is neither a built-in nor the name of a SeccompProfile: {error}"
        ));
    }
    if library.contains(base) {
        return None;
    }
    let meant = meant_builtin(base)?;
    Some(format!(
        "spec.base: there is no SeccompProfile {base:?}; did you mean {meant:?}?"
    ))
}

/// What the profile to record with comes to.
fn of_base(
    namespace: &str,
    name: &str,
    spec: &SeccompRecordingSpec,
    (library, ceilings): (&Library, &Ceilings),
    told: &mut Told,
) {
    let profile = recording_profile_name(namespace, name);
    let made = recording_spec(namespace, name, "", spec);
    let mut after = library.clone();
    after.define(&profile, made.define().map(Into::into).map_err(Into::into));
    let base = &spec.base;
    match after.check(&profile, "spec") {
        Err(_) if after.missing_base(&profile) == Some(base) => told.warnings.push(format!(
            "spec.base: there is no SeccompProfile {base:?} yet, and nothing is recorded before there is; make it, or name one of {}",
            BUILTINS.join(", ")
        )),
        Err(sentence) => told.problems.push(format!(
            "spec.base: nothing can be recorded under {base:?}: {sentence}"
        )),
        Ok(default) => {
            if let Some(sentence) = ceilings::refusal(&profile, &made, library, ceilings) {
                told.problems.push(format!(
                    "spec.base: recorded pods may call what it allows: {sentence}"
                ));
            }
            if default.is_permitted() {
                told.warnings.push(format!(
                    "spec.base: {base:?} refuses only what it names, and recorded pods may call all the rest; record under \"runtime-default\" \
                     unless they need more"
                ));
            }
        }
    }
}

/// What may be meant, and hardly is.
fn doubts(spec: &SeccompRecordingSpec) -> Vec<String> {
    let mut doubts = Vec::new();
    let ends = spec
        .stop
        .as_ref()
        .is_some_and(|stop| stop.after.is_some() || stop.quiet_for.is_some());
    if !ends {
        let create = if spec.create {
            ", and spec.create never makes a profile"
        } else {
            ""
        };
        doubts.push(format!(
            "spec.stop: is not set: the recording goes on until it is deleted{create}; set stop.after or stop.quietFor"
        ));
    }
    if spec.overrides && BUILTINS.contains(&spec.base.as_str()) {
        doubts.push(format!(
            "spec.overrides: pods that state a profile of their own run under {:?} meanwhile, even where theirs refuses more; name theirs as \
             spec.base to keep what it refuses",
            spec.base
        ));
    }
    let mut seen = BTreeSet::new();
    let twice = spec.containers.iter().find(|name| !seen.insert(*name));
    doubts
        .extend(twice.map(|name| format!("spec.containers: names {name:?} twice; once is enough")));
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_policy::ceiling::Ceiling;
    use serde_json::{Value, json};

    fn spec(changes: &Value) -> SeccompRecordingSpec {
        let mut spec = json!({"podSelector": {}, "stop": {"after": "1h"}});
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn library(profiles: &[(&str, Value)]) -> Library {
        let mut library = Library::default();
        for (name, spec) in profiles {
            let spec: SeccompProfileSpec = serde_json::from_value(spec.clone()).unwrap();
            library.define(name, spec.define().map(Into::into).map_err(Into::into));
        }
        library
    }

    fn told(changes: &Value, around: &Surroundings) -> Told {
        let profiles = [
            (
                "web",
                json!({"base": "runtime-default", "deny": ["@chmod"]}),
            ),
            (
                "open",
                json!({"profile": {"defaultAction": "SCMP_ACT_ALLOW"}}),
            ),
            ("orphan", json!({"base": "nowhere"})),
            ("circle", json!({"base": "circle"})),
        ];
        let library = library(&profiles);
        assess(
            "shop",
            "r",
            &spec(changes),
            (&library, &Ceilings::default()),
            around,
        )
    }

    #[test]
    fn a_plain_recording_is_taken_without_a_word() {
        let none = Surroundings::default();
        for changes in [
            json!({}),
            json!({"base": "web"}),
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "create": true, "merge": "PerPod"}),
        ] {
            assert_eq!(told(&changes, &none), Told::default(), "{changes}");
        }
    }

    #[test]
    fn what_could_never_record_is_refused_with_the_field_and_a_remedy() {
        let none = Surroundings::default();
        for (changes, parts) in [
            (
                json!({"podSelector": {"matchLabels": {"a b": "c"}}}),
                ["spec.podSelector.matchLabels: ", "a b"],
            ),
            (
                json!({"podSelector": {"matchLabels": {"app": "a"}, "matchExpressions": [
                    {"key": "app", "operator": "NotIn", "values": ["a"]}]}}),
                ["spec.podSelector: selects no pod", "\"app\""],
            ),
            (
                json!({"stop": {"after": "soon"}}),
                ["spec.stop.after: ", "soon"],
            ),
            (
                json!({"base": "A/b"}),
                ["spec.base: ", "neither a built-in"],
            ),
            (
                json!({"base": "runtime-defualt"}),
                ["spec.base: ", "did you mean \"runtime-default\""],
            ),
            (json!({"base": "orphan"}), ["spec.base: ", "nowhere"]),
            (json!({"base": "circle"}), ["spec.base: ", "circle"]),
            (
                json!({"arguments": [{"call": "sockopt", "index": 0}]}),
                ["spec.arguments[0]: ", "sockopt"],
            ),
        ] {
            let told = told(&changes, &none);
            assert_eq!(told.problems.len(), 1, "{changes}: {:?}", told.problems);
            let said = &told.problems[0];
            assert!(
                parts.iter().all(|part| said.contains(part)),
                "{changes}: {said}"
            );
            assert_eq!(told.warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_only_doubtful_is_warned_of() {
        let none = Surroundings::default();
        for (changes, part) in [
            (
                json!({"stop": null}),
                "spec.stop: is not set: the recording goes on until it is deleted; ",
            ),
            (
                json!({"stop": {}, "create": true}),
                "spec.create never makes a profile",
            ),
            (json!({"overrides": true}), "spec.overrides: "),
            (
                json!({"base": "not-yet"}),
                "spec.base: there is no SeccompProfile \"not-yet\" yet",
            ),
            (
                json!({"base": "open"}),
                "spec.base: \"open\" refuses only what it names",
            ),
            (json!({"containers": ["a", "a"]}), "spec.containers: "),
        ] {
            let told = told(&changes, &none);
            assert_eq!(told.problems, Vec::<String>::new(), "{changes}");
            assert!(
                told.warnings.len() == 1 && told.warnings[0].contains(part),
                "{changes}: {:?}",
                told.warnings
            );
        }
        let excluded = Surroundings {
            is_excluded: true,
            ..none
        };
        assert!(told(&json!({}), &excluded).warnings[0].starts_with("metadata.namespace: "));
    }

    #[test]
    fn no_recording_takes_the_name_of_a_profile_that_it_did_not_make() {
        let mut view = View::new("profiles", []);
        let made = |of: Option<&str>| seccomp_policy::profile_state::ProfileState {
            made_of: of.map(str::to_owned),
            ..true.into()
        };
        view.profile("web", made(None), None);
        view.profile("shop.r", made(Some("shop/r")), None);
        view.profile("mine.app", made(Some("shop/other")), None);
        view.profile("mines", made(None), None);
        for (changes, denied, warned) in [
            (json!({"create": true, "profileName": "web"}), true, false),
            (json!({"profileName": "web"}), false, false),
            (json!({"create": true}), false, false),
            (json!({"create": true, "profileName": "mine"}), false, false),
            (
                json!({"create": true, "profileName": "mine", "merge": "PerContainer"}),
                false,
                true,
            ),
        ] {
            let around = Surroundings::of(&view, "shop", "r", &spec(&changes));
            let told = told(&changes, &around);
            let said = (!told.problems.is_empty(), !told.warnings.is_empty());
            assert_eq!(said, (denied, warned), "{changes}: {told:?}");
        }
    }

    #[test]
    fn no_recording_lets_pods_do_more_than_a_ceiling() {
        let ceiling = json!({"base": "runtime-default", "deny": ["@chmod"], "action": "Deny"});
        let mut ceilings = Ceilings::default();
        ceilings.exists(
            "top",
            Ceiling::new(&serde_json::from_value(ceiling).unwrap()),
        );
        let told = assess(
            "shop",
            "r",
            &spec(&json!({})),
            (&Library::default(), &ceilings),
            &Surroundings::default(),
        );
        assert!(
            told.problems[0].contains("SeccompCeiling \"top\""),
            "{told:?}"
        );
    }
}
