//! What should be written of a profile: its status, and the finalizer that holds it.

use k8s_openapi::jiff::Timestamp;

use super::Index;
use super::profiles::{Profile, SeenProfile};
use crate::controller::conditions::{ConditionState, Holds, dated};
use crate::controller::finalizer::{self, Step};
use crate::controller::usage::Usage;
use crate::{ceilings, trials};
use seccomp_operator_api::{
    IN_USE_FINALIZER, NodeCounts, ProfileName, SeccompProfileStatus, condition,
};
use seccomp_profile::Severity;

/// How many failures a profile's status names.
const MAX_FAILURES: usize = 10;
/// How many warnings it holds, and how long they are.
const MAX_WARNINGS: usize = 10;
const MAX_WARNING: usize = 1024;

/// What should be written of a profile.
#[derive(Debug, PartialEq)]
pub struct ProfileWrite {
    /// The resource version of the object that it is for.
    pub version: u64,
    /// What to do about the finalizer, and the finalizers as they are; comes first.
    pub finalizer: Option<(Step, Vec<String>)>,
    /// All of the status, if it has to change.
    pub status: Option<SeccompProfileStatus>,
}

/// What the status says of a valid spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) default_action: String,
    pub(super) warnings: Vec<String>,
}

impl Index {
    /// What should be written of a profile, if anything. `now` dates conditions that flip.
    #[must_use]
    pub fn wanted(&self, name: &str, now: Timestamp) -> Option<ProfileWrite> {
        let profile = self.profiles.get(name)?;
        let usage = self.usage(name);
        let status = self.status(name, profile, &usage, now);
        let write = ProfileWrite {
            status: (status != profile.seen.status).then_some(status),
            ..self.holding(profile, &usage)
        };
        (write.status.is_some() || write.finalizer.is_some()).then_some(write)
    }

    /// The same without the status: a profile is held, or let go, without waiting for nodes.
    #[must_use]
    pub fn wanted_finalizer(&self, name: &str) -> Option<ProfileWrite> {
        let profile = self.profiles.get(name)?;
        let write = self.holding(profile, &self.usage(name));
        write.finalizer.is_some().then_some(write)
    }

    fn holding(&self, profile: &Profile, usage: &Usage) -> ProfileWrite {
        let SeenProfile {
            finalizers,
            deleting,
            version,
            ..
        } = &profile.seen;
        let held = usage.is_held() && !self.definition_goes;
        let step = finalizer::step(held, finalizers, *deleting);
        ProfileWrite {
            version: *version,
            finalizer: step.map(|step| (step, finalizers.clone())),
            status: None,
        }
    }

    pub(super) fn status(
        &self,
        name: &str,
        profile: &Profile,
        usage: &Usage,
        now: Timestamp,
    ) -> SeccompProfileStatus {
        let generation = profile.seen.generation;
        let file = ProfileName::parse(name);
        let verdict = profile.verdict.get_or_init(|| self.judge(name)).clone();
        let rollout = self.rollout(name, profile.required_version, &profile.seen.node_selector);
        let others = profile.seen.finalizers.iter().map(String::as_str);
        let others: Vec<_> = others.filter(|name| *name != IN_USE_FINALIZER).collect();
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let accepted = match &verdict {
            Ok(_) => (true, "Valid", "the profile is valid".to_owned()),
            Err(sentence) => (false, "Invalid", sentence.clone()),
        };
        let ready = match &verdict {
            Ok(_) => rollout.condition(generation),
            Err(_) => {
                let message = format!(
                    "generation {generation} is not valid; nodes keep the last generation that was"
                );
                (false, "NotAccepted", message)
            }
        };
        let startable = match &verdict {
            Ok(_) => self.startable(name, profile),
            Err(_) => {
                let message = format!("generation {generation} is not valid");
                (Holds::Unknown, "NotAccepted", message)
            }
        };
        let in_use = usage.condition(profile.seen.deleting, &others);
        let conditions = [
            (condition::ACCEPTED, told(accepted)),
            (condition::READY, told(ready)),
            (condition::STARTABLE, startable),
            (condition::IN_USE, told(in_use)),
        ];
        let old = &profile.seen.status.conditions;
        let verdict = verdict.ok();
        SeccompProfileStatus {
            observed_generation: Some(generation),
            revision: Some(profile.revision.to_string()),
            localhost_profile: file
                .ok()
                .map(|file| file.localhost_profile(&self.profiles_dir)),
            default_action: verdict
                .as_ref()
                .map(|accepted| accepted.default_action.clone()),
            warnings: verdict
                .map(|accepted| accepted.warnings)
                .unwrap_or_default(),
            nodes: Some(NodeCounts {
                desired: count(rollout.desired),
                ready: count(rollout.ready),
                failed: count(rollout.failed.len()),
                foreign: count(rollout.foreign()),
                summary: {
                    let going = if profile.seen.deleting {
                        ", deleted"
                    } else {
                        ""
                    };
                    format!("{}/{}{going}", rollout.ready, rollout.desired)
                },
            }),
            conditions: conditions
                .into_iter()
                .map(|(type_, state)| dated(type_, state, generation, old, now))
                .collect(),
            failures: rollout.failed.into_iter().take(MAX_FAILURES).collect(),
            used_by: Some(usage.pods()),
            outdated: Some(usage.outdated()),
            denials: self.denials_of(name),
            trial: self.trial_of(name, &profile.seen, now),
        }
    }

    /// What the status says of the spec, or what is wrong with it, for every architecture that Kubernetes runs on.
    pub(super) fn judge(&self, name: &str) -> Result<Accepted, String> {
        let checked = self.library.check(name, "spec");
        let default = checked.map_err(|error| error.to_string())?;
        let findings = self.library.lint(name, "spec");
        let warnings = findings
            .iter()
            .filter(|finding| finding.severity >= Severity::Warning)
            .map(ToString::to_string);
        let profile = self.profiles.get(name);
        let trial = profile.and_then(|profile| profile.seen.trial.as_ref());
        let of_trial = trial.map(|trial| trials::assess(name, &self.library, trial.report));
        let of_trial = of_trial.map(|assessed| {
            assessed
                .unwrap_or_else(|sentence| vec![format!("spec.trial: is not tried: {sentence}")])
        });
        let above = ceilings::warnings(name, &self.library, &self.ceilings);
        let warnings = above
            .into_iter()
            .chain(of_trial.into_iter().flatten())
            .chain(warnings);
        let short = |warning: String| warning.chars().take(MAX_WARNING).collect();
        Ok(Accepted {
            default_action: default.to_string(),
            warnings: warnings.take(MAX_WARNINGS).map(short).collect(),
        })
    }
}

/// The state of a condition that is one or the other.
fn told((holds, reason, message): ConditionState) -> (Holds, &'static str, String) {
    (holds.into(), reason, message)
}
