//! Whether a SeccompProfile, a SeccompPolicy, a SeccompCeiling, a SeccompRecording or a SeccompSource that is about to be stored means what
//! it seems to.

use admission_review::{Answer, Request};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::admission::Admission;
use seccomp_operator_api::{
    Listening, ProfileName, SeccompCeilingSpec, SeccompPolicySpec, SeccompProfileSpec,
    SeccompRecordingSpec, SeccompSourceSpec, TrialReport, policy_trial_name,
};
use seccomp_policy::ceiling::Ceilings;
use seccomp_policy::conflicts;
use seccomp_policy::view::View;
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Library, Severity, Target};
use seccomp_recorder::observed_profile;

use crate::recordings::{self, Surroundings};
use crate::{ceilings, sources, trials};

/// The fields of an object of ours that validation reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object<'a> {
    /// `metadata`.
    pub metadata: Option<Metadata>,
    /// `spec`, whatever it is: read for itself, so that one that cannot be read is denied with a sentence.
    #[serde(borrow)]
    pub spec: Option<&'a RawValue>,
}

/// An object's `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The object's name.
    pub name: Option<String>,
    /// Set on an object that is being deleted.
    pub deletion_timestamp: Option<String>,
}

impl Object<'_> {
    fn name(&self) -> &str {
        let metadata = self.metadata.as_ref();
        metadata
            .and_then(|metadata| metadata.name.as_deref())
            .unwrap_or_default()
    }

    fn is_being_deleted(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some())
    }

    fn spec(&self) -> &str {
        self.spec.map_or("{}", RawValue::get)
    }
}

/// What is asked of the view when it matters: reviews of pods wait for whoever has it for long.
pub trait Around {
    /// The sentences about a valid policy among the others.
    fn conflicts(&self, name: &str, spec: &SeccompPolicySpec) -> Vec<String>;
    /// What matters to a recording.
    fn surroundings(
        &self,
        namespace: &str,
        name: &str,
        spec: &SeccompRecordingSpec,
    ) -> Surroundings;
    /// Whether this installation asks registries.
    fn pulls(&self) -> bool;
}

impl Around for View {
    fn conflicts(&self, name: &str, spec: &SeccompPolicySpec) -> Vec<String> {
        conflicts::conflicts(name, spec, self)
    }

    fn surroundings(
        &self,
        namespace: &str,
        name: &str,
        spec: &SeccompRecordingSpec,
    ) -> Surroundings {
        Surroundings::of(self, namespace, name, spec)
    }

    fn pulls(&self) -> bool {
        false
    }
}

impl Around for Admission {
    fn conflicts(&self, name: &str, spec: &SeccompPolicySpec) -> Vec<String> {
        Around::conflicts(&*self.view(), name, spec)
    }

    fn surroundings(
        &self,
        namespace: &str,
        name: &str,
        spec: &SeccompRecordingSpec,
    ) -> Surroundings {
        self.view().surroundings(namespace, name, spec)
    }

    fn pulls(&self) -> bool {
        self.pulls
    }
}

/// Of the profiles that derive from a changed one, so many are looked at, and so many are warned of.
const MAX_DEPENDANTS: usize = 20;
const MAX_BROKEN: usize = 5;
/// So many objects and lists a spec may have: as it is understood, one of a few bytes takes hundreds. The kernel takes a filter of
/// at most 4096 conditions.
const MAX_BRACKETS: usize = 32 << 10;
/// So many findings are warned of: the API server takes 4 KiB of warnings in all.
const MAX_FINDINGS: usize = 10;

/// Answers a request about an object of ours. What cannot change what is in force (a deletion, a new label)
/// is never refused, or an object that an older version let in could not even be deleted.
///
/// `library` is what all profiles say, and `ceilings` what they are held to; `view` says more of what there is: the sentences about a valid policy
/// among the others, and what matters to a recording.
#[must_use]
pub fn answer(
    request: &Request<'_, Object<'_>>,
    library: &Library,
    ceilings: &Ceilings,
    view: &impl Around,
) -> Answer {
    let Some(object) = &request.object else {
        return Answer::allow();
    };
    let same_spec = request
        .old_object
        .as_ref()
        .is_some_and(|old| old.spec() == object.spec());
    if object.is_being_deleted() || same_spec {
        return Answer::allow();
    }
    let brackets = object.spec().bytes().filter(|b| matches!(b, b'{' | b'['));
    if brackets.count() > MAX_BRACKETS {
        return Answer {
            denied: Some(format!(
                "spec: has more than {MAX_BRACKETS} objects and lists; no seccomp profile needs so many"
            )),
            ..Answer::default()
        };
    }
    let (problems, warnings) = match request.kind.kind.as_ref() {
        "SeccompProfile" => profile(object.name(), object.spec(), library, ceilings),
        "SeccompCeiling" => ceiling(object.spec(), library),
        "SeccompPolicy" => policy(object.name(), object.spec(), library, view),
        "SeccompSource" => {
            let around = sources::Around {
                pulls: view.pulls(),
                // Later it is the source's own.
                is_taken: request.old_object.is_none() && library.contains(object.name()),
            };
            source(object.name(), object.spec(), around)
        }
        "SeccompRecording" => recording(
            (&request.namespace, object.name()),
            object.spec(),
            (library, ceilings),
            view,
        ),
        _ => return Answer::allow(),
    };
    let denied = (!problems.is_empty()).then(|| problems.join("; "));
    Answer {
        denied,
        warnings,
        ..Answer::default()
    }
}

fn profile(
    name: &str,
    spec: &str,
    before: &Library,
    ceilings: &Ceilings,
) -> (Vec<String>, Vec<String>) {
    let name_problem = ProfileName::parse(name).err();
    let mut problems: Vec<_> = name_problem.iter().map(ToString::to_string).collect();
    let mut observe = false;
    let mut trial: Option<TrialReport> = None;
    let defined = match serde_json::from_str::<SeccompProfileSpec>(spec) {
        Ok(spec) => {
            observe = spec.observe;
            trial = spec.trial.as_ref().map(|trial| trial.report);
            spec.define().map_err(Into::into)
        }
        Err(error) => Err(unreadable(&error).into()),
    };
    let mut after = before.clone();
    after.define(name, defined.map(Into::into));
    let mut warnings = Vec::new();
    if let Err(sentence) = after.check(name, "spec") {
        // Files of a folder come in any order, and this replica may not have heard of the base yet.
        let missing = after.missing_base(name);
        if missing.is_some_and(|base| ProfileName::parse(base).is_ok()) {
            warnings.push(format!("no node can have it yet: {sentence}"));
        } else {
            problems.push(sentence.to_string());
        }
    } else {
        let of_trial = trial.map(|report| trials::assess(name, &after, report));
        let of_observing = observe.then(|| observability(name, &after));
        let said = of_observing.map(|said| said.map(Vec::from_iter));
        for said in said.into_iter().chain(of_trial) {
            match said {
                Ok(sentences) => warnings.extend(sentences),
                Err(sentence) => problems.push(sentence),
            }
        }
    }
    if problems.is_empty() {
        let held = ceilings::hold(name, before, &after, ceilings);
        problems.extend(held.problems);
        warnings.extend(held.warnings);
    }
    if problems.is_empty() {
        warnings.extend(broken(name, before, &after));
        warnings.extend(findings(name, &after));
    }
    (problems, warnings)
}

/// Why nodes could not observe a valid profile, or else what its author should know.
fn observability(name: &str, library: &Library) -> Result<Option<String>, String> {
    // Where the socket is has nothing to do with the profile.
    const ANYWHERE: &str = "/recorder";
    let mut is_asked = false;
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let target = Target {
            arch,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        let Ok(profile) = library.compose(name, &target, "spec") else {
            continue;
        };
        let listening = Listening {
            profile: name,
            observes: true,
            trial: None,
        };
        let observed = observed_profile(&profile, ANYWHERE, &listening.to_metadata(), "spec");
        is_asked |= observed.map_err(|error| error.to_string())?.is_some();
    }
    Ok((!is_asked).then(|| {
        "spec.observe: has no effect: the profile refuses no call with an error that could be observed".to_owned()
    }))
}

/// What the author should know of a profile that is taken. What is only worth knowing is left to `kubectl seccomp lint`.
fn findings(name: &str, library: &Library) -> Vec<String> {
    let findings = library.lint(name, "spec");
    let mut told = findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Warning);
    let mut sentences: Vec<_> = told
        .by_ref()
        .take(MAX_FINDINGS)
        .map(ToString::to_string)
        .collect();
    match told.count() {
        0 => {}
        more => sentences.push(format!(
            "and {more} more; `kubectl seccomp lint` tells all of it"
        )),
    }
    sentences
}

/// Sentences about profiles that derive from this one and are not valid any more after it has changed. They are no reason to refuse
/// it: who mends a base in a hurry need not own what derives from it, and nodes keep the last files that were valid.
fn broken(name: &str, before: &Library, after: &Library) -> Vec<String> {
    let dependants = after.dependants(name).into_iter().take(MAX_DEPENDANTS);
    let broken = dependants.filter_map(|dependant| {
        let sentence = after.check(dependant, "spec").err()?;
        before.check(dependant, "spec").ok()?;
        Some(format!(
            "SeccompProfile {dependant:?} derives from this and is not valid with it (nodes keep its last file): {sentence}"
        ))
    });
    broken.take(MAX_BROKEN).collect()
}

fn policy(
    name: &str,
    spec: &str,
    library: &Library,
    view: &impl Around,
) -> (Vec<String>, Vec<String>) {
    let spec = match serde_json::from_str::<SeccompPolicySpec>(spec) {
        Ok(spec) => spec,
        Err(error) => return (vec![unreadable(&error)], Vec::new()),
    };
    let problems: Vec<_> = seccomp_policy::validation::problems(&spec)
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut warnings = Vec::new();
    if problems.is_empty() {
        warnings = view.conflicts(name, &spec);
        warnings.extend(of_trial(name, &spec, library));
    }
    (problems, warnings)
}

/// What the author of a policy on trial should know of what that cannot tell. Nothing here is a reason to refuse it: the profile may change,
/// and pods start meanwhile.
fn of_trial(name: &str, spec: &SeccompPolicySpec, library: &Library) -> Vec<String> {
    let tried = spec.profile_name().unwrap_or_default();
    let kept = policy_trial_name(name).zip(spec.trial_profile(library.capabilities(tried)));
    // That there is none is said already.
    let Some((kept, profile)) = kept.filter(|_| library.get(tried).is_some()) else {
        return Vec::new();
    };
    trials::of_policy(kept.as_str(), &profile, library).unwrap_or_else(|sentence| {
        vec![format!(
            "spec.mode: SeccompProfile {tried:?} cannot be tried, and pods get RuntimeDefault: {sentence}"
        )]
    })
}

fn ceiling(spec: &str, library: &Library) -> (Vec<String>, Vec<String>) {
    match serde_json::from_str::<SeccompCeilingSpec>(spec) {
        Ok(spec) => {
            let told = ceilings::assess(&spec, library);
            (told.problems, told.warnings)
        }
        Err(error) => (vec![unreadable(&error)], Vec::new()),
    }
}

fn recording(
    (namespace, name): (&str, &str),
    spec: &str,
    held: (&Library, &Ceilings),
    view: &impl Around,
) -> (Vec<String>, Vec<String>) {
    match serde_json::from_str::<SeccompRecordingSpec>(spec) {
        Ok(spec) => {
            let around = view.surroundings(namespace, name, &spec);
            let told = recordings::assess(namespace, name, &spec, held, &around);
            (told.problems, told.warnings)
        }
        Err(error) => (vec![unreadable(&error)], Vec::new()),
    }
}

fn source(name: &str, spec: &str, around: sources::Around) -> (Vec<String>, Vec<String>) {
    match serde_json::from_str::<SeccompSourceSpec>(spec) {
        Ok(spec) => {
            let told = sources::assess(name, &spec, around);
            (told.problems, told.warnings)
        }
        Err(error) => (vec![unreadable(&error)], Vec::new()),
    }
}

/// Why a spec is not even of the right shape.
fn unreadable(error: &serde_json::Error) -> String {
    let error = error.to_string();
    if error.contains("recursion limit") {
        return "spec: is nested too deeply; no seccomp profile needs more than five levels".into();
    }
    format!("spec: {error}; see `kubectl explain` for what it may hold")
}

#[cfg(test)]
mod tests;
