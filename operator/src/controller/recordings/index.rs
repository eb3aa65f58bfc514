//! What each recording needs next: a plain function of the recordings, their reports and their profiles, as the watches saw them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;

use super::super::conditions::{ConditionState, dated};
use super::images::{self, Seen};
use super::recorders::{Lack, Recorders};
use super::unheard::{self, Fate, Lost, PodKey};
use crate::{ceilings, recordings};
use kube_support::{Listing, Watched};
use seccomp_operator_api::{
    CallArgument, MAX_IMAGES, ProfileName, Record, RecordedImage, RecordingReport, SeccompProfile,
    SeccompProfileSpec, SeccompRecording, SeccompRecordingReport, SeccompRecordingSpec,
    SeccompRecordingStatus, recording_condition, recording_profile_name,
};
use seccomp_policy::ceiling::Ceilings;
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Library, Syscall, Target, builtin};
use seccomp_recording::profile::{Options, make};
use seccomp_recording::progress::{Over, over};
use seccomp_recording::{Findings, groups, provenance, result_name, status};

/// Namespace and name.
pub type Key = (String, String);

/// A recording as the watch saw it.
#[derive(Clone, Debug)]
pub struct SeenRecording {
    uid: String,
    generation: i64,
    spec: Result<SeccompRecordingSpec, String>,
    status: SeccompRecordingStatus,
}

#[derive(Clone, Debug)]
struct SeenReport {
    owned: bool,
    version: Option<String>,
    report: RecordingReport,
}

/// A profile that records, or has the name of one that would.
#[derive(Clone, Debug)]
struct SeenProfile {
    uid: String,
    record: Option<Record>,
    ready: bool,
    /// Why it is not on a node, or on how many it is.
    waits_for: String,
    deleting: bool,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Recordings {
    by_key: BTreeMap<Key, SeenRecording>,
    reports: BTreeMap<Key, SeenReport>,
    profiles: BTreeMap<String, SeenProfile>,
    /// What all profiles say they were made of.
    made_of: BTreeMap<String, Option<String>>,
    listings: [Listing; 3],
    /// The recorders' pods.
    pub recorders: Recorders,
    /// The images that recordings were seen to run, beside those that their statuses have.
    images: BTreeMap<Key, BTreeSet<RecordedImage>>,
    /// What looks at pods have shown that recorders have lost.
    pub fates: BTreeMap<PodKey, Fate>,
}

/// What else there is when it is decided what recordings need.
#[derive(Debug)]
pub struct Around<'a> {
    pub library: &'a Library,
    /// What profiles are held to, those of recordings too.
    pub ceilings: &'a Ceilings,
    pub profiles_dir: &'a str,
    /// Why admission changes no pod, if it does not.
    pub without_effect: Option<&'a str>,
    /// What keeps containers from starting under a recording.
    pub lack: Option<Lack>,
    pub now: Timestamp,
}

/// The kinds that it is fed with.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Recording,
    Report,
    Profile,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The profile that records is to be there.
    Record {
        name: String,
        spec: Box<SeccompProfileSpec>,
    },
    /// The profile of a recording that is gone is to go.
    Forget { name: String, uid: String },
    /// A report of a recording that is gone is to go: its recorder may write it once more after the recording took it with it.
    Discard {
        namespace: String,
        report: String,
        version: Option<String>,
    },
    /// A report is to be owned by its recording.
    Own {
        namespace: String,
        report: String,
        recording: String,
        uid: String,
    },
    /// The result is to be there as a profile.
    Publish {
        name: String,
        spec: Box<SeccompProfileSpec>,
        annotations: BTreeMap<String, String>,
    },
    /// The status is to be this.
    Status {
        namespace: String,
        name: String,
        status: Box<SeccompRecordingStatus>,
    },
}

fn text(key: &Key) -> String {
    format!("{}/{}", key.0, key.1)
}

pub fn key_of(metadata: &ObjectMeta) -> Key {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    (part(&metadata.namespace), part(&metadata.name))
}

/// Whether a recording's status says that pods are recorded.
pub fn goes_on(recording: &SeccompRecording) -> bool {
    recording.status.as_ref().is_some_and(|status| {
        holds(&status.conditions, recording_condition::RECORDING) && status.ended.is_none()
    })
}

fn holds(conditions: &[Condition], type_: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == type_ && condition.status == "True")
}

impl Recordings {
    pub fn list_begins(&mut self, kind: Kind) {
        self.listings[kind as usize].begins();
    }

    pub fn list_ends(&mut self, kind: Kind) {
        let keys: Vec<_> = match kind {
            Kind::Recording => self.by_key.keys().map(text).collect(),
            Kind::Report => self.reports.keys().map(text).collect(),
            Kind::Profile => self.made_of.keys().cloned().collect(),
        };
        let gone: BTreeSet<_> = self.listings[kind as usize]
            .ends(keys.iter().map(String::as_str))
            .into_iter()
            .collect();
        match kind {
            Kind::Recording => {
                self.by_key.retain(|key, _| !gone.contains(&text(key)));
                self.images.retain(|key, _| !gone.contains(&text(key)));
            }
            Kind::Report => self.reports.retain(|key, _| !gone.contains(&text(key))),
            Kind::Profile => {
                self.profiles.retain(|name, _| !gone.contains(name));
                self.made_of.retain(|name, _| !gone.contains(name));
            }
        }
    }

    pub fn recording(&mut self, recording: &Watched<SeccompRecording>) {
        let (metadata, spec, status) = match recording {
            Ok(seen) => (&seen.metadata, Ok(seen.spec.clone()), seen.status.clone()),
            Err(unreadable) => {
                let said = format!(
                    "spec: this version of the operator cannot read it: {}",
                    unreadable.error
                );
                (&unreadable.metadata, Err(said), None)
            }
        };
        let key = key_of(metadata);
        self.listings[Kind::Recording as usize].saw(&text(&key));
        let seen = SeenRecording {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            spec,
            status: status.unwrap_or_default(),
        };
        self.by_key.insert(key, seen);
    }

    pub fn report(&mut self, report: &SeccompRecordingReport) {
        let key = key_of(&report.metadata);
        self.listings[Kind::Report as usize].saw(&text(&key));
        let seen = SeenReport {
            owned: report
                .metadata
                .owner_references
                .as_ref()
                .is_some_and(|owners| !owners.is_empty()),
            version: report.metadata.resource_version.clone(),
            report: report.spec.clone(),
        };
        self.reports.insert(key, seen);
    }

    /// Most profiles are none of its business. Whether this one is.
    pub fn profile(&mut self, profile: &SeccompProfile) -> bool {
        let name = profile.metadata.name.clone().unwrap_or_default();
        self.listings[Kind::Profile as usize].saw(&name);
        let annotations = profile.metadata.annotations.as_ref();
        let made_of = annotations.and_then(|all| all.get(provenance::RECORDING));
        self.made_of.insert(name.clone(), made_of.cloned());
        if profile.spec.record.is_none() && !name.starts_with("recording.") {
            return self.profiles.remove(&name).is_some();
        }
        let status = profile.status.clone().unwrap_or_default();
        let generation = profile.metadata.generation;
        let failure = status
            .failures
            .first()
            .map(|failure| format!("node {}: {}", failure.node, failure.message));
        let nodes = status
            .nodes
            .as_ref()
            .map(|nodes| format!("{} nodes have it", nodes.summary));
        let seen = SeenProfile {
            uid: profile.metadata.uid.clone().unwrap_or_default(),
            record: profile.spec.record.clone(),
            ready: status.is_ready() && status.observed_generation == generation,
            waits_for: failure
                .or(nodes)
                .unwrap_or_else(|| "no node has it yet".into()),
            deleting: profile.metadata.deletion_timestamp.is_some(),
        };
        self.profiles.insert(name, seen);
        true
    }

    pub fn gone(&mut self, kind: Kind, metadata: &ObjectMeta) {
        let key = key_of(metadata);
        match kind {
            Kind::Recording => {
                self.images.remove(&key);
                self.by_key.remove(&key);
            }
            Kind::Report => drop(self.reports.remove(&key)),
            Kind::Profile => {
                self.made_of.remove(&key.1);
                self.profiles.remove(&key.1);
            }
        }
    }

    /// All that is to be written.
    pub fn steps(&self, around: &Around<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, profile) in &self.profiles {
            let Some(record) = profile.record.as_ref().filter(|_| !profile.deleting) else {
                continue;
            };
            let owner = self
                .by_key
                .get(&(record.namespace.clone(), record.name.clone()));
            if owner.is_none_or(|owner| owner.uid != record.uid) {
                steps.push(Step::Forget {
                    name: name.clone(),
                    uid: profile.uid.clone(),
                });
            }
        }
        for ((namespace, report), seen) in &self.reports {
            let of = &seen.report.recording;
            let recording = self.by_key.get(&(namespace.clone(), of.name.clone()));
            if recording.is_none_or(|recording| recording.uid != of.uid) {
                steps.push(Step::Discard {
                    namespace: namespace.clone(),
                    report: report.clone(),
                    version: seen.version.clone(),
                });
            }
        }
        for (key, recording) in &self.by_key {
            self.own(key, recording, &mut steps);
            if recording.status.ended.is_none() {
                self.of_one(key, recording, around, &mut steps);
            }
        }
        steps
    }

    /// The pods of recordings that go on.
    pub fn seen(&self) -> Vec<Seen> {
        let on = self
            .by_key
            .iter()
            .filter(|(_, recording)| recording.status.ended.is_none());
        on.flat_map(|(key, recording)| {
            let reports = self
                .reports_of(key, recording)
                .map(|(_, seen)| &seen.report);
            images::seen(key, reports)
        })
        .collect()
    }

    /// Containers of a recording run these.
    pub fn runs(&mut self, key: &Key, images: Vec<RecordedImage>) {
        if self.by_key.contains_key(key) {
            self.images.entry(key.clone()).or_default().extend(images);
        }
    }

    /// The images of a recording, those that are known already first.
    fn images_of(&self, key: &Key, recording: &SeenRecording) -> Vec<RecordedImage> {
        let mut images = recording.status.images.clone();
        let learned = self.images.get(key).into_iter().flatten();
        let new: Vec<_> = learned
            .filter(|image| !images.contains(image))
            .cloned()
            .collect();
        images.extend(new);
        images.truncate(MAX_IMAGES);
        images
    }

    /// The pods that recorders have lost, of all recordings that are there.
    pub fn lost(&self) -> Vec<Lost> {
        let known = self.by_key.iter();
        known
            .flat_map(|(key, recording)| self.lost_of(key, recording))
            .collect()
    }

    fn lost_of(&self, key: &Key, recording: &SeenRecording) -> Vec<Lost> {
        let Ok(spec) = &recording.spec else {
            return Vec::new();
        };
        let reports = self
            .reports_of(key, recording)
            .map(|(_, seen)| &seen.report);
        unheard::lost(&key.0, &key.1, spec, reports)
    }

    fn reports_of<'a>(
        &'a self,
        key: &'a Key,
        recording: &'a SeenRecording,
    ) -> impl Iterator<Item = (&'a Key, &'a SeenReport)> {
        self.reports.iter().filter(move |(at, seen)| {
            let of = &seen.report.recording;
            at.0 == key.0 && of.name == key.1 && of.uid == recording.uid
        })
    }

    fn own(&self, key: &Key, recording: &SeenRecording, steps: &mut Vec<Step>) {
        let unowned = self
            .reports_of(key, recording)
            .filter(|(_, seen)| !seen.owned);
        steps.extend(unowned.map(|((namespace, report), _)| Step::Own {
            namespace: namespace.clone(),
            report: report.clone(),
            recording: key.1.clone(),
            uid: recording.uid.clone(),
        }));
    }

    /// Whether new pods are recorded, and why not.
    fn recording_state(
        &self,
        key: &Key,
        recording: &SeenRecording,
        spec: &SeccompRecordingSpec,
        (end, around): (Option<Over>, &Around<'_>),
        steps: &mut Vec<Step>,
    ) -> ConditionState {
        let lack = around.lack.as_ref();
        let name = recording_profile_name(&key.0, &key.1);
        let is_own = |profile: &&SeenProfile| {
            let record = profile.record.as_ref();
            record.is_some_and(|record| record.uid == recording.uid)
        };
        let goes_on = holds(&recording.status.conditions, recording_condition::RECORDING);
        match self.profiles.get(&name).filter(is_own) {
            None => {
                let made = recordings::recording_spec(&key.0, &key.1, &recording.uid, spec);
                let refusal = ceilings::refusal(&name, &made, around.library, around.ceilings);
                if let Some(sentence) = refusal {
                    let sentence = format!(
                        "the profile to record with allows what spec.base does: {sentence}"
                    );
                    return (false, "AboveCeiling", sentence);
                }
                steps.push(Step::Record {
                    name: name.clone(),
                    spec: Box::new(made),
                });
                let sentence = format!("the SeccompProfile {name:?} is being made");
                (false, "Preparing", sentence)
            }
            Some(_) if end.is_some() => {
                let sentence =
                    "the recording has ended; pods that started under it go on as they are";
                (false, "Ended", sentence.into())
            }
            Some(profile) if !profile.ready && !goes_on => {
                let sentence = format!(
                    "the SeccompProfile {name:?} is not on all nodes: {}",
                    profile.waits_for
                );
                (false, "Preparing", sentence)
            }
            // A node that is new has it soon, and a recorder that is away is back soon: no reason to stop, but one not to begin.
            Some(_) if let Some(Lack::Away(sentence)) = lack.filter(|_| !goes_on) => {
                (false, recording_condition::RECORDER_AWAY, sentence.clone())
            }
            Some(_) => {
                let sentence = "new pods that the recording selects are recorded; those that run already once they are made again";
                (true, "Recording", sentence.into())
            }
        }
    }

    fn of_one(
        &self,
        key: &Key,
        recording: &SeenRecording,
        around: &Around<'_>,
        steps: &mut Vec<Step>,
    ) {
        let now = around.now;
        let name = recording_profile_name(&key.0, &key.1);
        let assumed: Vec<Syscall> = seccomp_recorder::assumed().collect();
        let wrong = match &recording.spec {
            Err(said) => Some(said.clone()),
            Ok(spec) => {
                let faults = recordings::faults(&key.1, spec);
                faults.first().map(ToString::to_string)
            }
        };
        let old = &recording.status.conditions;
        let reports: Vec<_> = self
            .reports_of(key, recording)
            .map(|(_, seen)| &seen.report)
            .collect();
        let findings = Findings::new(reports.iter().copied());
        let mut next = status::observed(&findings, &assumed, now);
        next.observed_generation = Some(recording.generation);
        next.images = self.images_of(key, recording);
        let refused = wrong.map(|sentence| ("Invalid", sentence)).or_else(|| {
            let foreign = self.profiles.get(&name).is_some_and(|profile| {
                profile
                    .record
                    .as_ref()
                    .is_none_or(|record| (&record.namespace, &record.name) != (&key.0, &key.1))
            });
            let sentence = format!(
                "there is a SeccompProfile {name:?} that the operator did not make; remove it"
            );
            foreign.then_some(("Conflict", sentence))
        });
        let refused = refused.or_else(|| Some(("NoAdmission", around.without_effect?.to_owned())));
        let end = match (&refused, &recording.spec) {
            (None, Ok(spec)) => over(&findings, spec.stop.as_ref(), now).ok(),
            _ => None,
        };
        let recording_state = match (&refused, &recording.spec) {
            (Some((reason, sentence)), _) => (false, *reason, sentence.clone()),
            (None, Err(sentence)) => (false, "Invalid", sentence.clone()),
            (None, Ok(spec)) => {
                next.localhost_profile = Some(format!("{}/{name}.json", around.profiles_dir));
                self.recording_state(key, recording, spec, (end, around), steps)
            }
        };
        let mut gaps = findings.gaps.clone();
        if findings.nameless() > 0 {
            gaps.push(format!(
                "calls whose names this version does not know: {}",
                findings.nameless()
            ));
        }
        if let (Some(_), Ok(spec)) = (end, &recording.spec) {
            next.ended = Some(Time(now));
            if spec.create {
                match results(
                    key,
                    spec,
                    (&reports, &next.images),
                    (&assumed, &self.made_of),
                    around,
                ) {
                    Ok(published) => {
                        next.profiles = published.iter().filter_map(published_name).collect();
                        steps.extend(published);
                    }
                    Err(sentence) => gaps.push(sentence),
                }
            }
        }
        let complete: ConditionState = match end {
            Some(Over::After) => (true, "TimeIsUp", "the time of stop.after has passed".into()),
            Some(Over::Quiet) => (
                true,
                "NothingNew",
                "no call was new for the time of stop.quietFor".into(),
            ),
            None => (false, "NotEnded", "the recording has not ended".into()),
        };
        let lack = around.lack.as_ref().filter(|_| recording_state.0);
        let lost = unheard::sentence(&self.lost_of(key, recording), &self.fates);
        let degraded = degraded(refused.as_ref(), lack, lost, &gaps);
        let states = [
            (recording_condition::RECORDING, recording_state),
            (recording_condition::COMPLETE, complete),
            (recording_condition::DEGRADED, degraded),
        ];
        next.conditions = states
            .map(|(type_, state)| dated(type_, state, recording.generation, old, now))
            .into();
        if next != recording.status {
            steps.push(Step::Status {
                namespace: key.0.clone(),
                name: key.1.clone(),
                status: Box::new(next),
            });
        }
    }
}

/// Whether calls may be missing. What keeps it from recording at all comes first, then what keeps pods from starting and from working.
fn degraded(
    refused: Option<&(&'static str, String)>,
    lack: Option<&Lack>,
    lost: Option<String>,
    gaps: &[String],
) -> ConditionState {
    if let Some((reason, sentence)) = refused {
        return (true, reason, sentence.clone());
    }
    if let Some(Lack::Away(sentence) | Lack::Missing(sentence)) = lack {
        return (true, recording_condition::RECORDER_AWAY, sentence.clone());
    }
    if let Some(sentence) = lost {
        return (true, recording_condition::PODS_UNHEARD, sentence);
    }
    let Some((first, more)) = gaps.split_first() else {
        return (false, "AsExpected", "nothing is known to be missing".into());
    };
    let more = match more.len() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    (
        true,
        recording_condition::CALLS_MISSING,
        format!("{first}{more}"),
    )
}

fn published_name(step: &Step) -> Option<String> {
    match step {
        Step::Publish { name, .. } => Some(name.clone()),
        _ => None,
    }
}

/// The profiles that a recording comes to.
fn results(
    key: &Key,
    spec: &SeccompRecordingSpec,
    (reports, images): (&[&RecordingReport], &[RecordedImage]),
    (assumed, made_of): (&[Syscall], &BTreeMap<String, Option<String>>),
    around: &Around<'_>,
) -> Result<Vec<Step>, String> {
    let name = result_name(&key.0, &key.1, spec);
    let groups = groups(spec.merge, &name, reports);
    let arguments = spec.arguments.iter().filter_map(CallArgument::known);
    let arguments: Vec<_> = arguments.collect();
    let options = Options {
        assumed,
        without_exec: spec.without_exec,
        arguments: &arguments,
    };
    groups
        .into_iter()
        .map(|(name, findings)| {
            if let Err(error) = ProfileName::parse(&name) {
                return Err(format!(
                    "no profile {name:?} was made: {error}; set spec.profileName to a shorter one, or merge: All"
                ));
            }
            let recording = text(key);
            let is_own = |made_of: &Option<String>| made_of.as_ref() == Some(&recording);
            if made_of.get(&name).is_some_and(|made_of| !is_own(made_of)) {
                let sentence = recordings::taken(&name);
                return Err(format!("no profile {name:?} was made: {sentence}"));
            }
            let base = |arch| base(&spec.base, around.library, arch);
            let made = make(&findings, options, base)
                .map_err(|error| format!("no profile {name:?} was made: {error}"))?;
            let annotations = provenance::annotations(&recording, &findings, &made, (around.now, images));
            let spec = SeccompProfileSpec {
                profile: Some(made.document),
                ..SeccompProfileSpec::default()
            };
            if let Some(sentence) = ceilings::refusal(&name, &spec, around.library, around.ceilings)
            {
                return Err(format!("no profile {name:?} was made: {sentence}"));
            }
            Ok(Step::Publish {
                annotations,
                spec: Box::new(spec),
                name,
            })
        })
        .collect()
}

/// What pods were recorded under, on a machine of this architecture.
fn base(name: &str, library: &Library, arch: Arch) -> Result<seccomp_profile::Profile, String> {
    let target = Target {
        arch,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };
    match builtin(name) {
        Some(document) => document
            .resolve(&target)
            .canonical("base")
            .map_err(|problems| problems.to_string()),
        None => library
            .compose(name, &target, "base")
            .map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests;
