//! What there is to say of SeccompCeilings: to the author of a profile that is above one, in such a profile's status, and to the author of a
//! ceiling.

use seccomp_operator_api::{CeilingAction, SeccompCeilingSpec};
use seccomp_policy::ceiling::{Breach, Ceiling, Ceilings};
use seccomp_profile::{Arch, Library};

/// Of the profiles that a change changes too, so many are looked at, and of so many is told.
const MAX_AFFECTED: usize = 100;
const MAX_TOLD: usize = 5;
/// Of so many exceptions that name nothing is told.
const MAX_EXCEPTIONS: usize = 5;

/// What the author of a changed profile is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Why the change is refused.
    pub problems: Vec<String>,
    /// What does not keep it from being stored.
    pub warnings: Vec<String>,
}

impl Told {
    fn add(&mut self, action: CeilingAction, sentence: String) {
        match action {
            CeilingAction::Deny => self.problems.push(sentence),
            CeilingAction::Warn => self.warnings.push(sentence),
        }
    }
}

/// Holds a valid profile, and those that change with it, to the ceilings.
///
/// One that was above a ceiling before may be changed so that it allows less, although it stays above: who closes a hole in a hurry need not
/// close all of them.
pub fn hold(name: &str, before: &Library, after: &Library, ceilings: &Ceilings) -> Told {
    let mut told = Told::default();
    if ceilings.is_empty() {
        return told;
    }
    let own = new_breaches(name, before, after, ceilings);
    for (action, breach) in &own {
        told.add(*action, format!("SeccompProfile {name:?} {breach}"));
    }
    if let Some(next) = after.with_next(name) {
        for (action, breach) in new_breaches(name, before, &next, ceilings) {
            if own.iter().all(|(_, own)| *own != breach) {
                told.add(
                    action,
                    format!("once spec.trial is promoted: SeccompProfile {name:?} {breach}"),
                );
            }
        }
    }
    let mut of_others = Told::default();
    for other in after.affected(name).into_iter().take(MAX_AFFECTED) {
        let breaches = ceilings.breaches(other, after);
        if breaches.is_empty()
            || before.contains(other) && ceilings.only_closes(other, before, after)
        {
            continue;
        }
        for breach in breaches {
            let sentence = format!("SeccompProfile {other:?}, which derives from this, {breach}");
            of_others.add(breach.action, sentence);
        }
    }
    told.problems
        .extend(of_others.problems.into_iter().take(MAX_TOLD));
    told.warnings
        .extend(of_others.warnings.into_iter().take(MAX_TOLD));
    told
}

/// The ceilings that a profile is above, and what follows.
fn new_breaches(
    name: &str,
    before: &Library,
    after: &Library,
    ceilings: &Ceilings,
) -> Vec<(CeilingAction, Breach)> {
    let breaches = ceilings.breaches(name, after);
    let denies = breaches
        .iter()
        .any(|breach| breach.action == CeilingAction::Deny);
    let is_known = |breach: &Breach, known: &[Breach]| {
        let mut known = known.iter();
        known.any(|known| known.ceiling == breach.ceiling)
    };
    let known = if denies && ceilings.only_closes(name, before, after) {
        ceilings.breaches(name, before)
    } else {
        Vec::new()
    };
    let action = |breach: Breach| {
        let action = if is_known(&breach, &known) {
            CeilingAction::Warn
        } else {
            breach.action
        };
        (action, breach)
    };
    breaches.into_iter().map(action).collect()
}

/// What the status of a profile says of the ceilings that it is above.
pub fn warnings(name: &str, library: &Library, ceilings: &Ceilings) -> Vec<String> {
    let own = ceilings.breaches(name, library);
    let next = library.with_next(name);
    let next = next.map(|next| ceilings.breaches(name, &next));
    let next = next.into_iter().flatten();
    let next = next.filter(|breach| !own.contains(breach));
    let next: Vec<_> = next
        .map(|breach| format!("once spec.trial is promoted: the profile {breach}"))
        .collect();
    let own = own.iter().map(ToString::to_string);
    own.chain(next).collect()
}

/// Why the operator's own profile of this name would be refused, if so.
pub fn refusal(
    name: &str,
    spec: &seccomp_operator_api::SeccompProfileSpec,
    library: &Library,
    ceilings: &Ceilings,
) -> Option<String> {
    if ceilings.is_empty() {
        return None;
    }
    let mut after = library.clone();
    after.define(name, spec.define().map(Into::into).map_err(Into::into));
    let told = hold(name, library, &after, ceilings);
    told.problems.into_iter().next()
}

/// What is wrong with a ceiling, or what its author should know.
pub fn assess(spec: &SeccompCeilingSpec, library: &Library) -> Told {
    if let Err(problems) = spec.define() {
        return Told {
            problems: problems.iter().map(ToString::to_string).collect(),
            warnings: Vec::new(),
        };
    }
    if let Some(sentence) = Ceiling::new(spec).fault(Arch::KUBERNETES) {
        return Told {
            problems: vec![sentence],
            warnings: Vec::new(),
        };
    }
    let named = spec.exceptions.iter().enumerate();
    let absent = named.filter(|(_, name)| !library.contains(name));
    let sentences = absent.take(MAX_EXCEPTIONS).map(|(i, name)| {
        format!(
            "spec.exceptions[{i}]: there is no SeccompProfile {name:?}; whoever creates it is not held to the ceiling"
        )
    });
    Told {
        problems: Vec::new(),
        warnings: sentences.collect(),
    }
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::{SeccompProfile, SeccompProfileSpec, define};
    use serde_json::{Value, json};

    use super::*;

    fn library(specs: &Value) -> Library {
        let mut library = Library::default();
        for (name, spec) in specs.as_object().unwrap() {
            let spec: SeccompProfileSpec = serde_json::from_value(spec.clone()).unwrap();
            library.define(name, define(&Ok(SeccompProfile::new(name, spec))));
        }
        library
    }

    fn ceiling(spec: &Value) -> Ceilings {
        let mut ceilings = Ceilings::default();
        let spec = serde_json::from_value(spec.clone()).unwrap();
        ceilings.exists("top", Ceiling::new(&spec));
        ceilings.on(vec![Arch::X86_64]);
        ceilings
    }

    fn deny() -> Ceilings {
        ceiling(&json!({"base": "runtime-default", "action": "Deny", "exceptions": ["excepted"]}))
    }

    /// What is said when `name` becomes `spec` among `others`.
    fn applied(name: &str, spec: &Value, others: &Value, ceilings: &Ceilings) -> Told {
        let before = library(others);
        let mut all = others.clone();
        all[name] = spec.clone();
        hold(name, &before, &library(&all), ceilings)
    }

    #[test]
    fn a_profile_above_a_ceiling_is_refused_or_warned_of_as_the_ceiling_says() {
        let more = json!({"base": "runtime-default", "allow": ["mount"]});
        let none = json!({});
        let refused = applied("x", &more, &none, &deny());
        assert_eq!((refused.problems.len(), refused.warnings.len()), (1, 0));
        assert!(
            refused.problems[0].starts_with(
                "SeccompProfile \"x\" allows more than SeccompCeiling \"top\": mount; "
            ),
            "{refused:?}"
        );
        let warns = ceiling(&json!({"base": "runtime-default"}));
        let warned = applied("x", &more, &none, &warns);
        assert_eq!((warned.problems.len(), warned.warnings.len()), (0, 1));
        assert_eq!(applied("excepted", &more, &none, &deny()), Told::default());
        let less = json!({"base": "runtime-default", "deny": ["@chmod"]});
        assert_eq!(applied("x", &less, &none, &deny()), Told::default());
        assert_eq!(
            applied("x", &more, &none, &Ceilings::default()),
            Told::default()
        );
    }

    #[test]
    fn what_is_above_a_new_ceiling_may_be_closed_bit_by_bit_and_not_opened_further() {
        let stored = json!({"x": {"base": "runtime-default", "allow": ["mount", "bpf"]}});
        for (spec, is_denied) in [
            (
                json!({"base": "runtime-default", "allow": ["mount"]}),
                false,
            ),
            (
                json!({"base": "runtime-default", "allow": ["mount", "bpf"], "deny": ["@chmod"]}),
                false,
            ),
            (
                json!({"base": "runtime-default", "allow": ["mount", "bpf", "swapoff"]}),
                true,
            ),
            (
                json!({"base": "runtime-default", "allow": ["mount", "swapon"]}),
                true,
            ),
        ] {
            let told = applied("x", &spec, &stored, &deny());
            assert_eq!(!told.problems.is_empty(), is_denied, "{spec} {told:?}");
            assert_eq!(told.warnings.is_empty(), is_denied, "{spec} {told:?}");
        }
    }

    #[test]
    fn the_next_version_counts_before_it_is_promoted() {
        let spec = json!({"base": "runtime-default", "trial": {"allow": ["mount"]}});
        let told = applied("x", &spec, &json!({}), &deny());
        assert!(
            told.problems[0]
                .starts_with("once spec.trial is promoted: SeccompProfile \"x\" allows more than"),
            "{told:?}"
        );
        let library = library(&json!({"x": spec}));
        let status = warnings("x", &library, &deny());
        assert!(
            status.len() == 1
                && status[0].starts_with("once spec.trial is promoted: the profile allows more"),
            "{status:?}"
        );
    }

    #[test]
    fn what_derives_from_a_changed_profile_counts_where_that_makes_it_allow_more() {
        let open = json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        ]}});
        let closed = json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO"}});
        // With more capabilities more of the same base is in force.
        let above = json!({"base": "low", "capabilities": ["SYS_ADMIN"]});
        let told = applied(
            "low",
            &open,
            &json!({"low": closed, "high": above}),
            &deny(),
        );
        assert!(
            told.problems[0].starts_with(
                "SeccompProfile \"high\", which derives from this, allows more than SeccompCeiling \"top\": mount; "
            ),
            "{told:?}"
        );
        // It was so before, and nobody makes it worse.
        let less = json!({"profile": {"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": open["profile"]["syscalls"]}});
        let told = applied("low", &less, &json!({"low": open, "high": above}), &deny());
        assert_eq!(told, Told::default());
        // An exception is for the profile of that name alone.
        let told = applied(
            "excepted",
            &json!({"base": "audit"}),
            &json!({"excepted": {"base": "runtime-default"}, "high": {"base": "excepted"}}),
            &deny(),
        );
        assert!(
            told.problems.len() == 1 && told.problems[0].contains("\"high\""),
            "{told:?}"
        );
    }

    #[test]
    fn the_author_of_a_ceiling_is_told_what_is_wrong_with_it() {
        let known = library(&json!({"web": {"base": "audit"}}));
        let assess = |spec: Value| assess(&serde_json::from_value(spec).unwrap(), &known);
        let fine = assess(json!({"base": "runtime-default", "exceptions": ["web"]}));
        assert_eq!(fine, Told::default());
        let absent = assess(json!({"base": "runtime-default", "exceptions": ["web", "wbe"]}));
        assert_eq!(
            absent.warnings,
            [
                "spec.exceptions[1]: there is no SeccompProfile \"wbe\"; whoever creates it is not held to the ceiling"
            ]
        );
        let own = assess(json!({"base": "web"}));
        assert!(
            own.problems[0].starts_with("spec.base: \"web\" is no built-in"),
            "{own:?}"
        );
    }
}
