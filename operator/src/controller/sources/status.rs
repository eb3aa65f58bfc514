//! What a source's status says of a pull, and whether that is worth an Event.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::super::conditions::dated;
use kube_support::events::{EventRequest, reference};
use seccomp_operator_api::source_condition::{INVALID, PROFILE_TAKEN, PULLED, READY, SUSPENDED};
use seccomp_operator_api::{SeccompSource, SeccompSourceStatus};

/// How much of what others say is repeated, in bytes.
const MAX_SENTENCE: usize = 1500;
/// As it stands in the definition.
const MAX_SIGNER: usize = 1024;

/// What came of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The SeccompProfile is what the artifact says.
    Kept {
        /// The artifact.
        digest: String,
        /// Who signed it, where that was asked for.
        signed_by: Option<String>,
    },
    /// It is as it was, for this reason.
    Failed(Failure),
    /// Nothing was done.
    Suspended,
}

/// Why a profile is not what its source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of [`seccomp_operator_api::source_condition`].
    pub reason: &'static str,
    /// A sentence with a remedy.
    pub message: String,
}

impl Failure {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// The status after a pull.
pub fn after(
    old: &SeccompSourceStatus,
    (name, generation): (&str, i64),
    outcome: &Outcome,
    now: Timestamp,
) -> SeccompSourceStatus {
    let mut status = SeccompSourceStatus {
        observed_generation: Some(generation),
        ..old.clone()
    };
    if let Outcome::Kept { digest, signed_by } = outcome {
        status.digest = Some(digest.clone());
        status.signed_by = signed_by.as_deref().map(|by| shown(by, MAX_SIGNER));
        status.last_pulled = Some(Time(now));
    }
    let state = match outcome {
        Outcome::Kept { digest, .. } => {
            let signed = match &status.signed_by {
                Some(by) => format!("signed by {by}"),
                None => "no signature was asked for".to_owned(),
            };
            (
                true,
                PULLED,
                format!("SeccompProfile {name:?} is {digest}; {signed}"),
            )
        }
        Outcome::Failed(failure) => {
            let message = shown(&failure.message, MAX_SENTENCE);
            let rest = stays(name, failure.reason, old.digest.as_deref());
            (false, failure.reason, format!("{message}; {rest}"))
        }
        Outcome::Suspended => {
            let rest = stays(name, SUSPENDED, old.digest.as_deref());
            let message = format!("spec.suspend keeps the registry from being asked; {rest}");
            (old.digest.is_some(), SUSPENDED, message)
        }
    };
    status.conditions = vec![dated(READY, state, generation, &old.conditions, now)];
    status
}

/// What there is meanwhile.
fn stays(name: &str, reason: &str, digest: Option<&str>) -> String {
    match digest {
        _ if reason == PROFILE_TAKEN => format!("SeccompProfile {name:?} is left as it is"),
        Some(digest) => format!("SeccompProfile {name:?} stays as it is ({digest})"),
        None => format!("there is no SeccompProfile {name:?} of it yet"),
    }
}

/// The Event of a status that says something new: another artifact, or another reason why there is none. What goes on is told once.
pub fn event(
    old: &SeccompSourceStatus,
    new: &SeccompSourceStatus,
    (name, uid): (&str, &str),
) -> Option<(EventRequest, u64)> {
    let ready = new.ready()?;
    let is_told = ready.reason == SUSPENDED
        || old.ready().is_some_and(|before| {
            before.reason == ready.reason
                && before.status == ready.status
                && old.digest == new.digest
        });
    if is_told {
        return None;
    }
    let kept = ready.reason == PULLED;
    let request = EventRequest {
        regarding: reference::<SeccompSource>(name, uid),
        warning: !kept,
        reason: reason_of(ready),
        action: if kept { "Apply" } else { "Keep" },
        note: ready.message.clone(),
    };
    // The same for whoever leads next, should this one have written no status.
    let since = ready.last_transition_time.0.as_second();
    let what = (
        uid,
        &ready.reason,
        &new.digest,
        since,
        ready.observed_generation,
    );
    let incident = BuildHasherDefault::<DefaultHasher>::default().hash_one(what);
    Some((request, incident))
}

/// The reason as Events have it.
fn reason_of(ready: &Condition) -> &'static str {
    use seccomp_operator_api::source_condition as reasons;
    let known = [
        reasons::PULLED,
        reasons::PULL_FAILED,
        reasons::PULL_SECRET_UNUSABLE,
        reasons::NOT_SIGNED,
        reasons::UNFIT,
        reasons::PROFILE_TAKEN,
        reasons::PROFILE_REFUSED,
    ];
    known
        .into_iter()
        .find(|reason| *reason == ready.reason)
        .unwrap_or(INVALID)
}

/// A text of others as people can be shown it.
fn shown(text: &str, most: usize) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut visible: String = visible.collect();
    if visible.len() > most {
        visible.truncate(visible.floor_char_boundary(most));
        visible.push('…');
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_operator_api::source_condition::{NOT_SIGNED, PULL_FAILED};

    const NAME: (&str, i64) = ("nginx", 3);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn kept(digest: &str) -> Outcome {
        Outcome::Kept {
            digest: digest.into(),
            signed_by: None,
        }
    }

    fn failed(reason: &'static str) -> Outcome {
        Outcome::Failed(Failure::new(reason, "the registry is away"))
    }

    fn told(old: &SeccompSourceStatus, new: &SeccompSourceStatus) -> Option<(&'static str, bool)> {
        event(old, new, ("nginx", "u1")).map(|(request, _)| (request.reason, request.warning))
    }

    #[test]
    fn a_failure_leaves_the_last_artifact_in_the_status_and_says_so() {
        let none = SeccompSourceStatus::default();
        let first = after(&none, NAME, &failed(PULL_FAILED), at(10));
        let said = &first.conditions[0];
        assert_eq!(
            (said.status.as_str(), said.reason.as_str()),
            ("False", PULL_FAILED)
        );
        assert_eq!(
            said.message,
            "the registry is away; there is no SeccompProfile \"nginx\" of it yet"
        );
        let pulled = after(&first, NAME, &kept("sha256:a"), at(20));
        assert_eq!(pulled.digest.as_deref(), Some("sha256:a"));
        assert_eq!(pulled.last_pulled, Some(Time(at(20))));
        let away = after(&pulled, ("nginx", 4), &failed(PULL_FAILED), at(30));
        assert_eq!(away.digest, pulled.digest);
        assert_eq!(away.last_pulled, pulled.last_pulled);
        assert_eq!(away.observed_generation, Some(4));
        assert!(
            away.conditions[0]
                .message
                .ends_with("; SeccompProfile \"nginx\" stays as it is (sha256:a)")
        );
    }

    #[test]
    fn an_incident_is_told_once_and_a_new_one_again() {
        let none = SeccompSourceStatus::default();
        let first = after(&none, NAME, &kept("sha256:a"), at(10));
        assert_eq!(told(&none, &first), Some((PULLED, false)));
        let again = after(&first, NAME, &kept("sha256:a"), at(20));
        assert_eq!(told(&first, &again), None);
        let moved = after(&again, NAME, &kept("sha256:b"), at(30));
        assert_eq!(told(&again, &moved), Some((PULLED, false)));
        let away = after(&moved, NAME, &failed(PULL_FAILED), at(40));
        assert_eq!(told(&moved, &away), Some((PULL_FAILED, true)));
        let still = after(&away, NAME, &failed(PULL_FAILED), at(50));
        assert_eq!(told(&away, &still), None);
        // Whoever writes it: one incident is one Event.
        let incident = |old, new| event(old, new, ("nginx", "u1")).unwrap().1;
        assert_eq!(incident(&moved, &away), incident(&moved, &still));
        let unsigned = after(&still, NAME, &failed(NOT_SIGNED), at(60));
        assert_eq!(told(&still, &unsigned), Some((NOT_SIGNED, true)));
        assert_ne!(incident(&moved, &away), incident(&still, &unsigned));
        let back = after(&unsigned, NAME, &kept("sha256:b"), at(70));
        assert_eq!(told(&unsigned, &back), Some((PULLED, false)));
        let later = after(&back, NAME, &failed(PULL_FAILED), at(80));
        assert_ne!(incident(&moved, &away), incident(&back, &later));
    }

    #[test]
    fn a_suspended_source_keeps_what_it_has() {
        let none = SeccompSourceStatus::default();
        let suspended = after(&none, NAME, &Outcome::Suspended, at(10));
        assert_eq!(suspended.conditions[0].status, "False");
        assert_eq!(told(&none, &suspended), None);
        let pulled = after(&none, NAME, &kept("sha256:a"), at(10));
        let suspended = after(&pulled, NAME, &Outcome::Suspended, at(20));
        assert_eq!(suspended.conditions[0].status, "True");
        assert_eq!(suspended.digest, pulled.digest);
    }

    #[test]
    fn what_others_say_is_cut_and_has_no_control_characters() {
        let long = Failure::new(PULL_FAILED, format!("\u{1b}[31mä{}", "x".repeat(5000)));
        let none = SeccompSourceStatus::default();
        let status = after(&none, NAME, &Outcome::Failed(long), at(10));
        let message = &status.conditions[0].message;
        assert!(
            message.len() < 1700 && !message.contains('\u{1b}'),
            "{message}"
        );
    }
}
