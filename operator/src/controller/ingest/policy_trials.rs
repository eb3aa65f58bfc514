//! Brings policies on trial, and the SeccompProfiles that are kept for them, into what `policy_trials` decides by.

use super::{metadata_of, name_of};
use crate::controller::policy_trials::index::{Kind, PolicyTrials};
use kube_support::WatchEvent;
use seccomp_operator_api::{SeccompPolicy, SeccompProfile};

pub(super) fn take_policy_on_trial(change: &WatchEvent<SeccompPolicy>, trials: &mut PolicyTrials) {
    match change {
        WatchEvent::ListBegins => trials.list_begins(Kind::Policy),
        WatchEvent::ListEnds => trials.list_ends(Kind::Policy),
        WatchEvent::Exists(policy) => {
            let spec = policy.as_ref().ok().map(|policy| &policy.spec);
            trials.policy(metadata_of(policy), spec);
        }
        WatchEvent::Deleted(policy) => trials.gone(Kind::Policy, &name_of(policy)),
    }
}

/// Whether it has to do with a trial.
pub(super) fn take_trial_profile(
    change: &WatchEvent<SeccompProfile>,
    trials: &mut PolicyTrials,
) -> bool {
    match change {
        WatchEvent::ListBegins => trials.list_begins(Kind::Profile),
        WatchEvent::ListEnds => trials.list_ends(Kind::Profile),
        WatchEvent::Exists(profile) => return trials.profile(profile),
        WatchEvent::Deleted(profile) => trials.gone(Kind::Profile, &name_of(profile)),
    }
    true
}
