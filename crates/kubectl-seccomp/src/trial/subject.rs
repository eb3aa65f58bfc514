//! What is on trial: a SeccompProfile, or a SeccompPolicy by the SeccompProfile that the operator keeps for it.

use anyhow::anyhow;
use kube::Api;
use kube::core::error_boundary::InvalidObject;

use crate::Failure;
use crate::block::refused;
use crate::cluster::Cluster;
use crate::status::profiles;
use crate::stored::library;
use seccomp_operator_api::{
    SeccompPolicy, SeccompProfile, StoredProfile, define, policy_on_trial, policy_trial_name,
};
use seccomp_profile::Library;

/// What a user names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    Profile(&'a str),
    Policy(&'a str),
}

impl<'a> Subject<'a> {
    /// Reads `NAME`, `profile/NAME` or `policy/NAME`; the kinds are called as kubectl calls them.
    pub fn parse(text: &'a str) -> Result<Self, Failure> {
        let Some((kind, name)) = text.split_once('/') else {
            return Ok(Self::Profile(text));
        };
        let kind = kind.split('.').next().unwrap_or_default();
        match kind.to_ascii_lowercase().as_str() {
            "profile" | "seccompprofile" | "seccompprofiles" | "scp" => Ok(Self::Profile(name)),
            "policy" | "seccomppolicy" | "seccomppolicies" | "scpol" => Ok(Self::Policy(name)),
            _ => Err(Failure::Usage(format!(
                "{kind:?} is not what can be on trial; write profile/NAME or policy/NAME"
            ))),
        }
    }

    /// The policy that a profile is kept for: what is to be done about its trial is to be done to the policy.
    fn owner(self, read: &[Result<SeccompProfile, InvalidObject>]) -> Option<String> {
        let Self::Profile(name) = self else {
            return None;
        };
        let mut profiles = read.iter().flatten();
        let profile = profiles.find(|profile| profile.metadata.name.as_deref() == Some(name))?;
        policy_on_trial(&profile.metadata).map(|(policy, _)| policy.to_owned())
    }

    /// As this command takes it.
    pub fn label(self) -> String {
        match self {
            // These are commands.
            Self::Profile(name @ ("promote" | "drop" | "help")) => format!("profile/{name}"),
            Self::Profile(name) => name.to_owned(),
            Self::Policy(name) => format!("policy/{name}"),
        }
    }
}

/// A profile on trial, among all others.
pub struct Found {
    /// As this command takes it.
    pub label: String,
    pub profile: SeccompProfile,
    /// Whose trial it is, if it is a policy's.
    pub policy: Option<SeccompPolicy>,
    pub library: Library,
}

impl Found {
    pub async fn ask(cluster: &Cluster, text: &str) -> Result<Self, Failure> {
        let listed = profiles(cluster).await;
        let listed = listed.map_err(|refusal| Failure::Other(anyhow!(refusal)))?;
        let read: Vec<_> = listed.into_iter().map(StoredProfile::read).collect();
        let subject = Subject::parse(text)?;
        let of_profile = subject.owner(&read);
        let subject = of_profile.as_deref().map_or(subject, Subject::Policy);
        let policy = match subject {
            Subject::Profile(_) => None,
            Subject::Policy(name) => Some(policy(cluster, name).await?),
        };
        Self::among(subject, policy, read)
    }

    fn among(
        subject: Subject<'_>,
        policy: Option<SeccompPolicy>,
        read: Vec<Result<SeccompProfile, InvalidObject>>,
    ) -> Result<Self, Failure> {
        let library = library(&read);
        let label = subject.label();
        match (subject, policy) {
            (Subject::Policy(name), Some(policy)) => {
                Self::of_policy(name, label, policy, read, library)
            }
            (Subject::Profile(name) | Subject::Policy(name), _) => {
                let profile = profile(name, read)?;
                if profile.spec.trial.is_none() {
                    return Err(Failure::Usage(format!(
                        "SeccompProfile {name:?} is on no trial; put its next version into spec.trial"
                    )));
                }
                Ok(Self {
                    label,
                    profile,
                    policy: None,
                    library,
                })
            }
        }
    }

    fn of_policy(
        name: &str,
        label: String,
        policy: SeccompPolicy,
        read: Vec<Result<SeccompProfile, InvalidObject>>,
        mut library: Library,
    ) -> Result<Self, Failure> {
        let tried = policy.spec.profile_name().unwrap_or_default();
        let kept = policy.spec.trial_profile(library.capabilities(tried));
        let (Some(kept), Some(of_trial)) = (kept, policy_trial_name(name)) else {
            return Err(Failure::Usage(format!(
                "SeccompPolicy {name:?} is on no trial (its mode is {:?}); set spec.mode to Trial",
                policy.spec.mode
            )));
        };
        // It is not there yet, or says something else: what was heard is not of this trial.
        let stored = profile(of_trial.as_str(), read).ok();
        let is_kept = |stored: &SeccompProfile| stored.spec.trial == kept.trial;
        let profile = stored
            .filter(is_kept)
            .unwrap_or_else(|| SeccompProfile::new(of_trial.as_str(), kept));
        library.define(of_trial.as_str(), define(&Ok(profile.clone())));
        Ok(Self {
            label,
            profile,
            policy: Some(policy),
            library,
        })
    }

    /// The name of the profile, as the library has it.
    pub fn name(&self) -> &str {
        self.profile.metadata.name.as_deref().unwrap_or_default()
    }
}

async fn policy(cluster: &Cluster, name: &str) -> Result<SeccompPolicy, Failure> {
    let api: Api<SeccompPolicy> = Api::all(cluster.client.clone());
    let found = api.get_opt(name).await;
    let found = found.map_err(|error| refused::<SeccompPolicy>(name, "get", &error))?;
    found.ok_or_else(|| {
        Failure::Usage(format!(
            "there is no SeccompPolicy {name:?}; `kubectl get seccomppolicies` lists them"
        ))
    })
}

fn profile(
    name: &str,
    read: Vec<Result<SeccompProfile, InvalidObject>>,
) -> Result<SeccompProfile, Failure> {
    let is_wanted = |profile: &Result<SeccompProfile, InvalidObject>| {
        let metadata = match profile {
            Ok(profile) => &profile.metadata,
            Err(unreadable) => &unreadable.metadata,
        };
        metadata.name.as_deref() == Some(name)
    };
    match read.into_iter().find(is_wanted) {
        None => Err(Failure::Usage(format!(
            "there is no SeccompProfile {name:?}; `kubectl get seccompprofiles` lists them, and a SeccompPolicy is policy/NAME"
        ))),
        Some(Err(unreadable)) => Err(Failure::Usage(format!(
            "SeccompProfile {name:?} cannot be read: {}",
            unreadable.error
        ))),
        Some(Ok(profile)) => Ok(profile),
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::unnecessary_wraps)] // as they are read
    pub fn stored(
        name: &str,
        spec: &Value,
        status: &Value,
    ) -> Result<SeccompProfile, InvalidObject> {
        let object = json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": name}, "spec": spec, "status": status,
        });
        Ok(serde_json::from_value(object).unwrap())
    }

    pub fn of_policy(
        mode: &str,
        profiles: Vec<Result<SeccompProfile, InvalidObject>>,
    ) -> Result<Found, Failure> {
        let object = json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": "shop", "uid": "u", "generation": 7},
            "spec": {"mode": mode, "profile": {"type": "Localhost", "name": "web"}},
            "status": {"warnings": ["spec.overrides[0]: stays"], "conditions": [{"type": "Ready", "status": "False", "reason": "TrialPreparing",
                "message": "not on all nodes", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        });
        let policy = serde_json::from_value(object).unwrap();
        Found::among(Subject::Policy("shop"), Some(policy), profiles)
    }

    #[test]
    fn what_is_on_trial_is_named_by_its_kind_or_is_a_profile() {
        for (text, expected, label) in [
            ("web", Subject::Profile("web"), "web"),
            ("profile/web", Subject::Profile("web"), "web"),
            (
                "profile/promote",
                Subject::Profile("promote"),
                "profile/promote",
            ),
            ("scpol/web", Subject::Policy("web"), "policy/web"),
            (
                "SeccompPolicy.seccomp-operator.io/web",
                Subject::Policy("web"),
                "policy/web",
            ),
        ] {
            let subject = Subject::parse(text).unwrap();
            assert_eq!(
                (subject, subject.label().as_str()),
                (expected, label),
                "{text}"
            );
        }
        let owner = json!([{"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "name": "shop", "uid": "u"}]);
        let mut kept = stored(
            "trial.shop",
            &json!({"base": "runtime-default"}),
            &json!({}),
        )
        .unwrap();
        kept.metadata.owner_references = serde_json::from_value(owner).unwrap();
        let read = [Ok(kept)];
        assert_eq!(
            Subject::Profile("trial.shop").owner(&read).as_deref(),
            Some("shop")
        );
        assert_eq!(Subject::Profile("web").owner(&read), None);
        let wrong = Subject::parse("deployment/web").unwrap_err().sentence();
        assert!(
            wrong.contains("write profile/NAME or policy/NAME"),
            "{wrong}"
        );
    }

    #[test]
    fn a_policy_s_trial_is_that_of_the_profile_that_is_kept_for_it() {
        let web = || {
            stored(
                "web",
                &json!({"base": "runtime-default", "deny": ["@chmod"]}),
                &json!({}),
            )
        };
        let kept = |tried: &str| {
            let spec = json!({"base": "runtime-default", "trial": {"base": tried}});
            stored("trial.shop", &spec, &json!({"usedBy": 3}))
        };
        let used_by = |profiles| {
            let found = of_policy("Trial", profiles).unwrap();
            assert_eq!(
                (found.name(), found.label.as_str()),
                ("trial.shop", "policy/shop")
            );
            assert!(found.library.with_next("trial.shop").is_some());
            found.profile.status.and_then(|status| status.used_by)
        };
        assert_eq!(used_by(vec![web(), kept("web")]), Some(3));
        // Of what was tried before, and before anything was.
        assert_eq!(used_by(vec![web(), kept("older")]), None);
        assert_eq!(used_by(vec![web()]), None);
        let none = of_policy("Enforce", vec![web()])
            .map(drop)
            .unwrap_err()
            .sentence();
        assert!(
            none.contains("is on no trial (its mode is Enforce)"),
            "{none}"
        );
    }
}
