//! What is to be said of a profile's next version that is on trial: to its author at admission, and in its status.

use std::collections::BTreeSet;

use seccomp_operator_api::{SeccompProfileSpec, TrialReport};
use seccomp_profile::{
    Arch, CapabilitySet, KernelVersion, Library, Reporting, Severity, Syscall, Target,
};
use seccomp_recorder::Versions;

/// Where a recorder's socket is has nothing to do with the profile.
const ANYWHERE: &str = "/recorder";
/// So many calls a warning names.
const NAMED: usize = 8;
/// So many findings about the next version are warned of.
const FINDINGS: usize = 5;

/// How authors call what they wrote.
struct Words {
    /// Begins a sentence about the trial.
    trial: String,
    /// What is in force meanwhile.
    now: &'static str,
    /// The field that says how it is reported.
    report: &'static str,
    /// Begins a sentence about what comes after it.
    later: &'static str,
}

impl Words {
    fn of_profile() -> Self {
        Self {
            trial: "spec.trial:".into(),
            now: "the profile",
            report: "spec.trial.report",
            later: "once spec.trial is promoted: ",
        }
    }

    fn of_policy(tried: &str) -> Self {
        Self {
            trial: format!("spec.mode: Trial of SeccompProfile {tried:?}"),
            now: "runtime-default",
            report: "spec.report",
            later: "",
        }
    }
}

/// What the author of a valid profile should know of its trial; nothing if there is none. Or why it cannot be tried: nodes have the
/// profile without it.
pub fn assess(name: &str, library: &Library, report: TrialReport) -> Result<Vec<String>, String> {
    let Some(next) = library.with_next(name) else {
        return Ok(Vec::new());
    };
    let words = Words::of_profile();
    let mut warnings = told(name, library, &next, report, &words)?;
    if next.missing_base(name).is_none() {
        warnings.extend(findings(name, library, &next, &words));
    }
    Ok(warnings)
}

/// The same of a policy's trial, before there is the SeccompProfile that is kept for it, under a name and with this spec. What is to be said of
/// the profile that is tried was said to its author.
pub fn of_policy(
    kept: &str,
    spec: &SeccompProfileSpec,
    library: &Library,
) -> Result<Vec<String>, String> {
    let mut library = library.clone();
    let defined = spec.define().map(Into::into).map_err(Into::into);
    library.define(kept, defined);
    let Some((trial, next)) = spec.trial.as_ref().zip(library.with_next(kept)) else {
        return Ok(Vec::new());
    };
    let words = Words::of_policy(trial.base.as_deref().unwrap_or_default());
    told(kept, &library, &next, trial.report, &words)
}

/// What a trial cannot tell.
fn told(
    name: &str,
    library: &Library,
    next: &Library,
    report: TrialReport,
    words: &Words,
) -> Result<Vec<String>, String> {
    let about = &words.trial;
    if let Err(sentence) = next.check(name, "spec") {
        let sentence = format!("{}{sentence}", words.later);
        return if next.missing_base(name).is_some() {
            Ok(vec![format!("{about} is not tried yet: {sentence}")])
        } else {
            Err(sentence)
        };
    }
    let reporting = Reporting::from(report);
    let mut refuses_more = false;
    let (mut unreported, mut left_out) = (BTreeSet::new(), BTreeSet::new());
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let target = Target {
            arch,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        let compose = |library: &Library| library.compose(name, &target, "spec").ok();
        let (Some(now), Some(next)) = (compose(library), compose(next)) else {
            continue;
        };
        let versions = Versions {
            now: &now,
            next: &next,
            reporting,
            observed: false,
        };
        let tried = versions.trial().and_then(|trial| {
            versions.profile(&trial, ANYWHERE, name)?;
            Ok(trial)
        });
        let trial = tried.map_err(|error| match reporting {
            Reporting::Notify => format!("{error}; or set {} to Log", words.report),
            Reporting::Log => error.to_string(),
        })?;
        refuses_more |= trial.refuses_more();
        unreported.extend(trial.unreported);
        left_out.extend(trial.left_out.iter().map(ToString::to_string));
    }
    let mut warnings = Vec::new();
    if !refuses_more {
        warnings.push(format!(
            "{about} refuses nothing that {} does not refuse, so that nothing can be reported; promote it, or leave it out",
            words.now
        ));
    }
    if !unreported.is_empty() {
        warnings.push(format!("{about} {}", unheard(&unreported, reporting)));
    }
    if !left_out.is_empty() {
        let arches: Vec<_> = left_out.into_iter().collect();
        warnings.push(format!(
            "{about} leaves out {}: what programs of it call would be refused, and is not reported",
            arches.join(", ")
        ));
    }
    Ok(warnings)
}

fn unheard(calls: &BTreeSet<Syscall>, reporting: Reporting) -> String {
    let names: Vec<_> = calls.iter().take(NAMED).map(|call| call.name()).collect();
    let more = match calls.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let why = match reporting {
        Reporting::Notify => {
            "a recorder cannot hear of calls that runtimes and shells live on, or that programs of 32 bits make in another way; with report: Log the kernel logs most of them"
        }
        Reporting::Log => "programs of 32 bits make them in another way",
    };
    format!(
        "would refuse {}{more} in addition, and that is not reported: {why}",
        names.join(", ")
    )
}

/// What is worth a warning of the next version and not of the one in force.
fn findings(name: &str, library: &Library, next: &Library, words: &Words) -> Vec<String> {
    let told = |library: &Library| {
        let findings = library.lint(name, "spec");
        let findings = findings.iter();
        let severe = findings.filter(|finding| finding.severity >= Severity::Warning);
        severe.map(ToString::to_string).collect::<Vec<_>>()
    };
    let known = told(library);
    let new = told(next)
        .into_iter()
        .filter(|finding| !known.contains(finding));
    let new = new.take(FINDINGS);
    new.map(|finding| format!("{}{finding}", words.later))
        .collect()
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::{SeccompProfile, SeccompProfileSpec, define};
    use serde_json::{Value, json};

    use super::*;

    fn assessed(spec: &Value) -> Result<Vec<String>, String> {
        let spec: SeccompProfileSpec = serde_json::from_value(spec.clone()).unwrap();
        let report = spec.trial.as_ref().map(|trial| trial.report);
        let mut library = Library::default();
        library.define("x", define(&Ok(SeccompProfile::new("x", spec))));
        assess("x", &library, report.unwrap_or_default())
    }

    #[test]
    fn the_author_of_a_trial_is_told_what_it_cannot_tell() {
        for (spec, expected) in [
            (json!({"base": "runtime-default"}), None),
            (
                json!({"base": "runtime-default", "trial": {"deny": ["@chmod"]}}),
                None,
            ),
            (
                json!({"base": "runtime-default", "trial": {"deny": ["mount"]}}),
                Some("spec.trial: refuses nothing that the profile does not refuse"),
            ),
            (
                json!({"base": "runtime-default", "trial": {"deny": ["sendto"]}}),
                Some(
                    "spec.trial: would refuse sendto in addition, and that is not reported: a recorder cannot hear",
                ),
            ),
            (
                json!({"base": "runtime-default", "trial": {"deny": ["chmod"]}}),
                Some("once spec.trial is promoted: spec.deny[0]: denies chmod"),
            ),
            (
                json!({"base": "runtime-default", "trial": {"base": "later"}}),
                Some(
                    "spec.trial: is not tried yet: once spec.trial is promoted: spec.base: \"later\" is neither",
                ),
            ),
            (
                json!({"profile": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]},
                    "trial": {"profile": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}}}),
                Some("spec.trial: leaves out SCMP_ARCH_X86: "),
            ),
        ] {
            let said = assessed(&spec).unwrap();
            let is_said =
                expected.is_none_or(|expected| said.iter().any(|said| said.starts_with(expected)));
            assert!(
                is_said && said.is_empty() == expected.is_none(),
                "{spec}: {said:?}"
            );
        }
    }

    #[test]
    fn a_trial_that_no_node_can_have_is_said_with_what_to_do() {
        let circle = assessed(
            &json!({"base": "runtime-default", "trial": {"base": "x", "deny": ["chmod"]}}),
        );
        let said = circle.unwrap_err();
        assert!(
            said.starts_with("once spec.trial is promoted: spec.base: leads in a circle"),
            "{said}"
        );
        let listened = json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/run/a.sock", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["read", "chmod"], "action": "SCMP_ACT_ALLOW"}, {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
        let mut spec = json!({"profile": listened, "trial": {"deny": ["@chmod"]}});
        let said = assessed(&spec).unwrap_err();
        assert!(
            said.contains("a listener of its own")
                && said.ends_with("set spec.trial.report to Log"),
            "{said}"
        );
        spec["trial"]["report"] = "Log".into();
        assert!(assessed(&spec).is_ok());
    }
}
