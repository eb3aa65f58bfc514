//! Conditions of a status, as Kubernetes dates them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Whether a condition holds, a word for programs that says why, and a sentence for people.
pub type ConditionState = (bool, &'static str, String);

/// Whether a condition holds, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A condition whose date is that of its last flip.
pub fn dated(
    type_: &str,
    (holds, reason, message): (impl Into<Holds>, &'static str, String),
    generation: i64,
    old: &[Condition],
    now: Timestamp,
) -> Condition {
    let status = match holds.into() {
        Holds::True => "True",
        Holds::False => "False",
        Holds::Unknown => "Unknown",
    };
    let old = old
        .iter()
        .find(|old| old.type_ == type_ && old.status == status);
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        observed_generation: Some(generation),
        last_transition_time: old.map_or(Time(now), |old| old.last_transition_time.clone()),
    }
}
