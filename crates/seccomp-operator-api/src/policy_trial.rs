//! A SeccompPolicy on trial, and the SeccompProfile that the operator keeps for it: `runtime-default` in force, and the policy's profile as
//! its next version.

use kube::core::ObjectMeta;
use seccomp_profile::{CapabilitySet, RUNTIME_DEFAULT};

use super::policy::{Mode, SeccompPolicySpec};
use super::profile::SeccompProfileSpec;
use super::trial::Trial;
use super::{GROUP, ProfileName};

/// What the names of such profiles begin with.
pub const POLICY_TRIAL_PREFIX: &str = "trial.";
/// The kind that owns them.
pub const POLICY_KIND: &str = "SeccompPolicy";

/// The name of the profile for a policy on trial; none where the policy's name leaves no room for it.
#[must_use]
pub fn policy_trial_name(policy: &str) -> Option<ProfileName> {
    ProfileName::parse(&format!("{POLICY_TRIAL_PREFIX}{policy}")).ok()
}

/// The policy that a profile is kept for while that is on trial, and its uid, if the profile is one of these.
#[must_use]
pub fn policy_on_trial(profile: &ObjectMeta) -> Option<(&str, &str)> {
    let policy = profile.name.as_deref()?.strip_prefix(POLICY_TRIAL_PREFIX)?;
    let mut owners = profile.owner_references.iter().flatten();
    let owner = owners.find(|owner| {
        let is_ours = owner.api_version.split('/').next() == Some(GROUP);
        is_ours && owner.kind == POLICY_KIND && owner.name == policy
    })?;
    Some((policy, &owner.uid))
}

impl SeccompPolicySpec {
    /// What the profile says that is kept for the policy, if it is on trial. `capabilities` are those that the policy's profile is resolved
    /// for: containers that have more than the runtimes give have to keep what `runtime-default` lets them do with these.
    #[must_use]
    pub fn trial_profile(&self, capabilities: CapabilitySet) -> Option<SeccompProfileSpec> {
        let tried = self.profile_name().filter(|_| self.mode == Mode::Trial)?;
        let is_usual = CapabilitySet::RUNTIME_DEFAULT.contains_all(capabilities);
        let names = capabilities.iter().map(|one| one.bare_name().to_owned());
        Some(SeccompProfileSpec {
            base: Some(RUNTIME_DEFAULT.to_owned()),
            capabilities: (!is_usual).then(|| names.collect()),
            trial: Some(Trial {
                base: Some(tried.to_owned()),
                report: self.report,
                ..Trial::default()
            }),
            ..SeccompProfileSpec::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> SeccompPolicySpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_policy_on_trial_has_a_profile_with_runtime_default_in_force() {
        let of = |mode: &str, capabilities: &[&str]| {
            let policy = spec(
                json!({"mode": mode, "report": "Log", "profile": {"type": "Localhost", "name": "web"}}),
            );
            let capabilities = CapabilitySet::parse(capabilities, "").unwrap();
            let profile = policy.trial_profile(capabilities)?;
            assert!(profile.define().unwrap().next.is_some());
            Some(serde_json::to_value(profile).unwrap())
        };
        let trial = json!({"base": "web", "report": "Log"});
        for (mode, capabilities, expected) in [
            ("Enforce", &["CHOWN"][..], None),
            ("Observe", &["CHOWN"], None),
            (
                "Trial",
                &["CHOWN"],
                Some(json!({"base": "runtime-default", "trial": trial})),
            ),
            (
                "Trial",
                &["SYS_ADMIN", "CHOWN"],
                Some(
                    json!({"base": "runtime-default", "capabilities": ["CHOWN", "SYS_ADMIN"], "trial": trial}),
                ),
            ),
        ] {
            assert_eq!(of(mode, capabilities), expected, "{mode} {capabilities:?}");
        }
    }

    #[test]
    fn a_profile_is_a_policys_by_its_name_and_its_owner() {
        let of = |name: &str, version: &str, kind: &str, owner: &str| {
            let metadata = json!({"name": name, "ownerReferences": [{"apiVersion": version, "kind": kind, "name": owner, "uid": "u"}]});
            let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
            policy_on_trial(&metadata).map(|(policy, uid)| (policy.to_owned(), uid.to_owned()))
        };
        let ours = "seccomp-operator.io/v1alpha1";
        assert_eq!(
            of("trial.web", ours, "SeccompPolicy", "web"),
            Some(("web".into(), "u".into()))
        );
        assert_eq!(of("trial.web", ours, "SeccompPolicy", "db"), None);
        assert_eq!(of("trial.web", ours, "SeccompRecording", "web"), None);
        assert_eq!(of("trial.web", "apps/v1", "SeccompPolicy", "web"), None);
        assert_eq!(of("web", ours, "SeccompPolicy", "web"), None);
        assert!(policy_trial_name("web").is_some());
        assert!(policy_trial_name(&"x".repeat(253)).is_none());
    }
}
