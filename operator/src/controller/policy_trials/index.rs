//! What SeccompProfiles policies on trial need: a plain function of the policies and of those profiles, as the watches saw them.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

use crate::trials;
use kube_support::{Listing, Watched};
use seccomp_operator_api::{
    Mode, POLICY_TRIAL_PREFIX, PolicyTrialStatus, SeccompPolicySpec, SeccompProfile,
    SeccompProfileSpec, policy_on_trial, policy_trial_name,
};
use seccomp_policy::validation::problems;
use seccomp_profile::Library;

/// See the module's head.
#[derive(Debug, Default)]
pub struct PolicyTrials {
    policies: BTreeMap<String, SeenPolicy>,
    /// Those whose names begin as theirs do.
    profiles: BTreeMap<String, SeenProfile>,
    listings: [Listing; 2],
    /// Why a policy's profile cannot be tried, as of the last time that all were looked at.
    impossible: BTreeMap<String, String>,
}

#[derive(Debug)]
struct SeenPolicy {
    uid: String,
    /// None if this version of the operator cannot read it.
    spec: Option<SeccompPolicySpec>,
}

#[derive(Debug)]
struct SeenProfile {
    uid: String,
    /// The policy that it is kept for, and its uid; none if somebody else made it.
    owner: Option<(String, String)>,
    /// None if this version of the operator cannot read it.
    spec: Option<SeccompProfileSpec>,
    used_by: i32,
    status: PolicyTrialStatus,
    deleting: bool,
}

/// The kinds that it is fed with.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Policy,
    Profile,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The profile of a policy on trial is to say this.
    Keep {
        profile: String,
        policy: String,
        uid: String,
        spec: Box<SeccompProfileSpec>,
    },
    /// A profile of a policy that is not on trial any more is to go.
    Forget { profile: String, uid: String },
}

/// All that is to be written, and for which policies nothing can be, with why.
#[derive(Debug, Default)]
pub struct Wanted {
    pub steps: Vec<Step>,
    impossible: BTreeMap<String, String>,
}

impl Wanted {
    /// Without what cannot be tried. It takes its time: nobody should have to wait for it.
    #[must_use]
    pub fn assessed(mut self, library: &Library) -> Self {
        self.steps.retain(|step| match step {
            Step::Forget { .. } => true,
            Step::Keep {
                profile,
                policy,
                spec,
                ..
            } => match trials::of_policy(profile, spec, library) {
                Ok(_) => true,
                Err(sentence) => {
                    self.impossible.insert(policy.clone(), sentence);
                    false
                }
            },
        });
        self
    }
}

impl PolicyTrials {
    pub fn list_begins(&mut self, kind: Kind) {
        self.listings[kind as usize].begins();
    }

    pub fn list_ends(&mut self, kind: Kind) {
        let listing = &mut self.listings[kind as usize];
        let gone = match kind {
            Kind::Policy => listing.ends(self.policies.keys().map(String::as_str)),
            Kind::Profile => listing.ends(self.profiles.keys().map(String::as_str)),
        };
        for name in gone {
            self.gone(kind, &name);
        }
    }

    pub fn gone(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Policy => drop(self.policies.remove(name)),
            Kind::Profile => drop(self.profiles.remove(name)),
        }
    }

    pub fn policy(&mut self, metadata: &ObjectMeta, spec: Option<&SeccompPolicySpec>) {
        let name = metadata.name.clone().unwrap_or_default();
        self.listings[Kind::Policy as usize].saw(&name);
        let seen = SeenPolicy {
            uid: metadata.uid.clone().unwrap_or_default(),
            spec: spec.cloned(),
        };
        self.policies.insert(name, seen);
    }

    /// Most profiles are none of its business. Whether this one is.
    pub fn profile(&mut self, profile: &Watched<SeccompProfile>) -> bool {
        let (metadata, spec, status) = match profile {
            Ok(profile) => (
                &profile.metadata,
                Some(profile.spec.clone()),
                profile.status.clone(),
            ),
            Err(unreadable) => (&unreadable.metadata, None, None),
        };
        let name = metadata.name.clone().unwrap_or_default();
        if !name.starts_with(POLICY_TRIAL_PREFIX) {
            return false;
        }
        self.listings[Kind::Profile as usize].saw(&name);
        let status = status.unwrap_or_default();
        let used_by = status.used_by.unwrap_or_default();
        let trial = status.trial.unwrap_or_default();
        let owner = policy_on_trial(metadata);
        let seen = SeenProfile {
            uid: metadata.uid.clone().unwrap_or_default(),
            owner: owner.map(|(policy, uid)| (policy.to_owned(), uid.to_owned())),
            spec,
            used_by,
            status: PolicyTrialStatus {
                profile: name.clone(),
                used_by,
                pods: trial.pods,
                count: trial.count,
            },
            deleting: metadata.deletion_timestamp.is_some(),
        };
        self.profiles.insert(name, seen);
        true
    }

    /// Why a policy's profile cannot be tried, if that is known.
    #[must_use]
    pub fn impossible(&self, policy: &str) -> Option<&str> {
        self.impossible.get(policy).map(String::as_str)
    }

    /// What is known of a policy's trial, if it is on one.
    #[must_use]
    pub fn status(&self, policy: &str) -> Option<&PolicyTrialStatus> {
        let seen = self.policies.get(policy)?;
        on_trial(seen)?;
        let profile = self.profiles.get(policy_trial_name(policy)?.as_str())?;
        let is_own = profile.is_of(policy, seen);
        is_own.then_some(&profile.status)
    }

    /// What was found that cannot be.
    pub fn found(&mut self, wanted: &Wanted) {
        self.impossible.clone_from(&wanted.impossible);
    }

    /// All that is to be written, if it can be.
    #[must_use]
    pub fn wanted(&self, library: &Library) -> Wanted {
        let mut wanted = Wanted::default();
        for (policy, seen) in &self.policies {
            match self.keep(policy, seen, library) {
                Ok(step) => wanted.steps.extend(step),
                Err(sentence) => {
                    wanted.impossible.insert(policy.clone(), sentence);
                }
            }
        }
        for (name, profile) in &self.profiles {
            let Some((policy, uid)) = profile.owner.as_ref().filter(|_| !profile.deleting) else {
                continue;
            };
            let is_over = match self.policies.get(policy).filter(|seen| seen.uid == *uid) {
                None => true,
                // While pods run under it, the policy may go back on trial, and has it then.
                Some(seen) => {
                    seen.spec.is_some() && on_trial(seen).is_none() && profile.used_by == 0
                }
            };
            if is_over {
                wanted.steps.push(Step::Forget {
                    profile: name.clone(),
                    uid: profile.uid.clone(),
                });
            }
        }
        wanted
    }

    /// What a policy's profile lacks, or why there can be none.
    fn keep(
        &self,
        policy: &str,
        seen: &SeenPolicy,
        library: &Library,
    ) -> Result<Option<Step>, String> {
        let Some(spec) = on_trial(seen) else {
            return Ok(None);
        };
        let tried = spec.profile_name().unwrap_or_default();
        let wanted = spec.trial_profile(library.capabilities(tried));
        let (Some(wanted), Some(name)) = (wanted, policy_trial_name(policy)) else {
            return Ok(None); // a policy's name may be longer than a profile's
        };
        let name = name.as_str();
        match self.profiles.get(name) {
            Some(profile) if !profile.is_of(policy, seen) => {
                return Err(format!(
                    "there is a SeccompProfile {name:?} that the operator did not make for this policy; remove it"
                ));
            }
            // It goes first, and is made anew.
            Some(profile) if profile.deleting => return Ok(None),
            Some(profile) if profile.says(&wanted) => return Ok(None),
            _ => {}
        }
        Ok(Some(Step::Keep {
            profile: name.to_owned(),
            policy: policy.to_owned(),
            uid: seen.uid.clone(),
            spec: Box::new(wanted),
        }))
    }
}

impl SeenProfile {
    fn is_of(&self, policy: &str, seen: &SeenPolicy) -> bool {
        let mut owner = self.owner.iter();
        owner.any(|(name, uid)| name == policy && *uid == seen.uid)
    }

    /// Whether it says all of this. What a block adds to it meanwhile is not the operator's.
    fn says(&self, wanted: &SeccompProfileSpec) -> bool {
        let fields = |spec: &SeccompProfileSpec| {
            (
                spec.base.clone(),
                spec.capabilities.clone(),
                spec.trial.clone(),
            )
        };
        self.spec.as_ref().map(fields) == Some(fields(wanted))
    }
}

/// What a policy says, if it is on trial.
fn on_trial(seen: &SeenPolicy) -> Option<&SeccompPolicySpec> {
    let spec = seen.spec.as_ref()?;
    (spec.mode == Mode::Trial && problems(spec).is_empty()).then_some(spec)
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::define;
    use serde_json::{Value, json};

    use super::*;

    fn policy(mode: &str, report: &str) -> SeccompPolicySpec {
        let spec = json!({"mode": mode, "report": report, "profile": {"type": "Localhost", "name": "web"}});
        serde_json::from_value(spec).unwrap()
    }

    fn metadata(name: &str, uid: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            uid: Some(uid.into()),
            ..ObjectMeta::default()
        }
    }

    fn seen(mode: &str) -> PolicyTrials {
        let mut trials = PolicyTrials::default();
        trials.policy(&metadata("p", "1"), Some(&policy(mode, "Notify")));
        trials
    }

    #[allow(clippy::unnecessary_wraps)] // as a watch has it
    fn profile(owner: Option<&str>, spec: &Value, status: &Value) -> Watched<SeccompProfile> {
        let owner = owner.map(|uid| {
            json!([{"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "name": "p", "uid": uid}])
        });
        let object = json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "spec": spec, "status": status,
            "metadata": {"name": "trial.p", "uid": "7", "ownerReferences": owner},
        });
        Ok(serde_json::from_value(object).unwrap())
    }

    /// A library with the profile `web`.
    fn library(spec: &Value) -> Library {
        let mut library = Library::default();
        let spec: SeccompProfileSpec = serde_json::from_value(spec.clone()).unwrap();
        library.define("web", define(&Ok(SeccompProfile::new("web", spec))));
        library
    }

    fn web() -> Library {
        library(&json!({"base": "runtime-default", "deny": ["@chmod"]}))
    }

    fn kept() -> Value {
        json!({"base": "runtime-default", "trial": {"base": "web"}})
    }

    fn steps(trials: &mut PolicyTrials, library: &Library) -> Vec<Step> {
        let wanted = trials.wanted(library).assessed(library);
        trials.found(&wanted);
        wanted.steps
    }

    fn says(steps: &[Step]) -> Vec<Value> {
        let said = steps.iter().map(|step| match step {
            Step::Keep {
                profile,
                policy,
                uid,
                spec,
            } => json!([profile, policy, uid, **spec]),
            Step::Forget { profile, uid } => json!([profile, uid]),
        });
        said.collect()
    }

    #[test]
    fn a_policy_on_trial_has_its_profile_made_and_mended() {
        let made = vec![json!(["trial.p", "p", "1", kept()])];
        let mut trials = seen("Trial");
        assert_eq!(says(&steps(&mut trials, &web())), made);
        trials.profile(&profile(Some("1"), &kept(), &json!({})));
        assert_eq!(steps(&mut trials, &web()), []);
        // What a block adds stays.
        let mut blocked = kept();
        blocked["deny"] = json!(["bpf"]);
        trials.profile(&profile(Some("1"), &blocked, &json!({})));
        assert_eq!(steps(&mut trials, &web()), []);
        let other = json!({"base": "runtime-default", "trial": {"base": "older"}});
        trials.profile(&profile(Some("1"), &other, &json!({})));
        assert_eq!(says(&steps(&mut trials, &web())), made);
        for mode in ["Enforce", "Observe"] {
            assert_eq!(steps(&mut seen(mode), &web()), [], "{mode}");
        }
    }

    #[test]
    fn the_profile_is_for_the_capabilities_of_the_one_that_is_tried() {
        let admin = library(&json!({"base": "runtime-default", "capabilities": ["SYS_ADMIN"]}));
        let mut trials = seen("Trial");
        let said = says(&steps(&mut trials, &admin));
        assert_eq!(said[0][3]["capabilities"], json!(["SYS_ADMIN"]));
        let few = library(&json!({"base": "runtime-default", "capabilities": []}));
        assert_eq!(says(&steps(&mut trials, &few))[0][3], kept());
    }

    #[test]
    fn a_profile_goes_with_its_trial_once_no_pod_uses_it() {
        let used = json!({"usedBy": 2});
        let goes = vec![json!(["trial.p", "7"])];
        for (mode, owner, status, expected) in [
            ("Enforce", "1", &json!({}), &goes),
            ("Enforce", "1", &used, &vec![]),
            // The policy was made anew, or is another by now: what was kept for the last one goes, as soon as pods let it.
            ("Trial", "0", &used, &goes),
            ("Trial", "1", &json!({}), &vec![]),
        ] {
            let mut trials = seen(mode);
            trials.profile(&profile(Some(owner), &kept(), status));
            assert_eq!(
                says(&steps(&mut trials, &web())),
                *expected,
                "{mode} {owner} {status}"
            );
        }
        let mut trials = PolicyTrials::default();
        trials.profile(&profile(Some("1"), &kept(), &used));
        assert_eq!(says(&steps(&mut trials, &web())), goes);
        // Who cannot be read may be on trial.
        trials.policy(&metadata("p", "1"), None);
        assert_eq!(steps(&mut trials, &web()), []);
    }

    #[test]
    fn a_profile_of_somebody_else_s_stays_and_is_said_to_be_in_the_way() {
        let mut trials = seen("Trial");
        trials.profile(&profile(None, &json!({"base": "audit"}), &json!({})));
        assert_eq!(steps(&mut trials, &web()), []);
        assert!(trials.impossible("p").unwrap().contains("did not make"));
        assert_eq!(trials.status("p"), None);
        trials.gone(Kind::Profile, "trial.p");
        assert_eq!(steps(&mut trials, &web()).len(), 1);
        assert_eq!(trials.impossible("p"), None);
    }

    #[test]
    fn what_cannot_be_tried_is_not_made_and_why_is_known() {
        let circle = library(&json!({"base": "trial.p"}));
        let mut trials = seen("Trial");
        assert_eq!(steps(&mut trials, &circle), []);
        let why = trials.impossible("p").unwrap();
        assert!(why.contains("leads in a circle"), "{why}");
        // It may come: it is only not tried until then.
        assert_eq!(steps(&mut trials, &Library::default()).len(), 1);
    }

    #[test]
    fn the_pods_on_trial_are_those_of_the_profile() {
        let mut trials = seen("Trial");
        assert_eq!(trials.status("p"), None);
        let status = json!({"usedBy": 3, "trial": {"digest": "d", "since": null, "pods": 2, "containers": 2, "count": 12}});
        trials.profile(&profile(Some("1"), &kept(), &status));
        let known = trials.status("p").unwrap();
        assert_eq!((known.used_by, known.pods, known.count), (3, 2, 12));
        trials.policy(&metadata("p", "1"), Some(&policy("Enforce", "Notify")));
        assert_eq!(trials.status("p"), None);
    }
}
