//! A policy on trial: the file that pods get instead of its profile, and which containers can have it.
//!
//! Under that file `runtime-default` is in force, as if the pod were given `RuntimeDefault`, and what the policy's profile would refuse in
//! addition is reported. Nothing that works under `RuntimeDefault` is refused by it, so that it is given to nobody of whom that is not
//! certain.

use std::sync::{Arc, LazyLock};

use seccomp_operator_api::{SeccompPolicySpec, policy_trial_name};
use seccomp_profile::{
    Arch, CapabilitySet, Definition, KernelVersion, RUNTIME_DEFAULT, Target, builtin,
};

use crate::pod::{Container, SeccompProfile};
use crate::view::{Policy, View};

/// The file for a policy on trial.
#[derive(Clone, Debug)]
pub struct PolicyTrial {
    /// The SeccompProfile that the operator keeps for it.
    pub profile_name: String,
    /// What is written into a pod's `seccompProfile`.
    pub profile: SeccompProfile<'static>,
    /// What that SeccompProfile says, but for its capabilities.
    expected: Arc<Definition>,
}

impl PolicyTrial {
    /// Of a policy of this name, if it is on trial and its name leaves room for the profile's.
    pub(crate) fn new(policy: &str, spec: &SeccompPolicySpec, profiles_dir: &str) -> Option<Self> {
        let expected = spec.trial_profile(CapabilitySet::RUNTIME_DEFAULT)?;
        let name = policy_trial_name(policy)?;
        Some(Self {
            profile: SeccompProfile {
                type_: "Localhost".into(),
                localhost_profile: Some(name.localhost_profile(profiles_dir).into()),
            },
            profile_name: name.as_str().to_owned(),
            expected: expected.define().ok()?.into(),
        })
    }
}

/// A file that pods can get: all nodes have it, and it is what it should be.
#[derive(Clone, Copy, Debug)]
pub struct TrialFile<'a> {
    /// What is written into a pod's `seccompProfile`.
    pub profile: &'a SeccompProfile<'static>,
    /// The capabilities that `runtime-default` is resolved for in it.
    capabilities: CapabilitySet,
}

impl View {
    /// The file for a policy on trial, or a sentence why pods get `RuntimeDefault` meanwhile.
    pub fn trial_file<'a>(&'a self, policy: &'a Policy) -> Result<TrialFile<'a>, String> {
        let Some(trial) = &policy.trial else {
            return Err(format!(
                "the name of SeccompPolicy {:?} is too long for the SeccompProfile that a trial takes",
                policy.name
            ));
        };
        let name = &trial.profile_name;
        let Some(state) = self.profile_state(name) else {
            return Err(format!("the SeccompProfile {name:?} is being made"));
        };
        let library = self.library_now();
        let is_expected = library.get(name).is_some_and(|definition| {
            (&definition.spec, &definition.next) == (&trial.expected.spec, &trial.expected.next)
        });
        if !is_expected {
            return Err(format!(
                "the SeccompProfile {name:?} does not say what the operator writes for this trial, or not yet"
            ));
        }
        match state.warning(name) {
            Some(sentence) => Err(sentence),
            None => Ok(TrialFile {
                profile: &trial.profile,
                capabilities: library.capabilities(name),
            }),
        }
    }
}

impl View {
    /// A sentence, if nothing is tried of a policy on trial, or its profile stops everything: pods start all the same.
    #[must_use]
    pub fn untriable(&self, policy: &Policy) -> Option<String> {
        let name = policy.spec.profile_name()?;
        match self.profile_state(name) {
            None => Some(format!(
                "there is no SeccompProfile {name:?}, and nothing is tried until there is"
            )),
            Some(state) if state.deleted => state.warning(name),
            Some(state) => {
                let why = state.starts_nothing.as_ref()?;
                Some(format!("SeccompProfile {name:?}, which is tried, {why}"))
            }
        }
    }
}

impl TrialFile<'_> {
    /// Whether it lets happen to this container all that `RuntimeDefault` does, or the capability that speaks against it, in words.
    pub fn fits(&self, container: &Container<'_>) -> Result<(), String> {
        // No filter is applied to it.
        if container.is_privileged() {
            return Ok(());
        }
        let Some(capabilities) = container.capabilities() else {
            return Err("a capability that is not known".to_owned());
        };
        let mut more = capabilities.iter();
        let more = more.find(|one| MATTERING.contains(*one) && !self.capabilities.contains(*one));
        more.map_or(Ok(()), |one| Err(one.bare_name().to_owned()))
    }
}

/// The capabilities by which `runtime-default` lets more happen.
static MATTERING: LazyLock<CapabilitySet> = LazyLock::new(|| {
    let all = CapabilitySet::from_bits(u64::MAX);
    let is_other = |one: CapabilitySet, other: CapabilitySet| {
        let document = builtin(RUNTIME_DEFAULT);
        [Arch::X86_64, Arch::Aarch64].into_iter().any(|arch| {
            let [one, other] = [one, other].map(|capabilities| {
                document.map(|document| {
                    document.resolve(&Target {
                        arch,
                        kernel: KernelVersion::CURRENT,
                        capabilities,
                    })
                })
            });
            one != other
        })
    };
    let matters = all.iter().filter(|one| {
        let without: CapabilitySet = all.iter().filter(|other| other != one).collect();
        is_other(all, without) || is_other(CapabilitySet::EMPTY, CapabilitySet::EMPTY.with(*one))
    });
    matters.collect()
});

#[cfg(test)]
mod tests {
    use seccomp_profile::Capability;
    use serde_json::{Value, json};

    use super::*;
    use crate::profile_state::ProfileState;

    fn spec(mode: &str) -> SeccompPolicySpec {
        let spec = json!({"mode": mode, "profile": {"type": "Localhost", "name": "web"}});
        serde_json::from_value(spec).unwrap()
    }

    /// A view in which `trial.p` is there in this state, and says this.
    fn view(state: impl Into<ProfileState>, says: &Value) -> View {
        let mut view = View::new("profiles", []);
        view.policy("p", spec("Trial"));
        let says: seccomp_operator_api::SeccompProfileSpec =
            serde_json::from_value(says.clone()).unwrap();
        let defined = says.define().map(Into::into).map_err(Into::into);
        view.profile("trial.p", state, Some(defined));
        view
    }

    #[test]
    fn pods_get_the_file_only_once_all_nodes_have_what_it_should_be() {
        let good = json!({"base": "runtime-default", "trial": {"base": "web"}});
        let deleted = ProfileState {
            ready: true,
            deleted: true,
            ..ProfileState::default()
        };
        let foreign = ProfileState {
            ready: true,
            foreign: Some("n1".into()),
            ..ProfileState::default()
        };
        let tighter =
            json!({"base": "runtime-default", "deny": ["chmod"], "trial": {"base": "web"}});
        for (state, says, expected) in [
            (true.into(), &good, None),
            (false.into(), &good, Some("is not ready on all nodes")),
            (deleted, &good, Some("was deleted")),
            (foreign, &good, Some("a file that is not the operator's")),
            (true.into(), &tighter, Some("does not say what")),
            (
                true.into(),
                &json!({"base": "web", "trial": {"base": "web"}}),
                Some("does not say what"),
            ),
            (
                true.into(),
                &json!({"base": "runtime-default", "trial": {"base": "other"}}),
                Some("does not say what"),
            ),
        ] {
            let state: ProfileState = state;
            let view = view(state, says);
            let file = view.trial_file(view.find("p").unwrap());
            match expected {
                None => assert_eq!(file.unwrap().profile.path(), Some("profiles/trial.p.json")),
                Some(part) => assert!(file.unwrap_err().contains(part), "{says} {part}"),
            }
        }
        let mut none = View::new("profiles", []);
        none.policy("p", spec("Trial"));
        let why = none.trial_file(none.find("p").unwrap()).unwrap_err();
        assert!(why.ends_with("is being made"), "{why}");
        none.policy("q", spec("Enforce"));
        assert!(none.find("q").unwrap().trial.is_none());
    }

    #[test]
    fn a_container_that_runtime_default_lets_do_more_does_not_fit() {
        let fits = |of_file: &Value, of_container: &Value| {
            let mut says = json!({"base": "runtime-default", "trial": {"base": "web"}});
            if !of_file.is_null() {
                says["capabilities"] = of_file.clone();
            }
            let view = view(true, &says);
            let file = view.trial_file(view.find("p").unwrap()).unwrap();
            let text = json!({"name": "c", "securityContext": of_container}).to_string();
            let container: Container<'_> = serde_json::from_str(&text).unwrap();
            file.fits(&container)
        };
        let with = |add: &str| json!({"capabilities": {"add": [add]}});
        let no = |capability: &str| Err(capability.to_owned());
        for (of_file, of_container, expected) in [
            (json!(null), json!({}), Ok(())),
            // Runtimes' profiles do not ask for it.
            (json!(null), with("NET_ADMIN"), Ok(())),
            (json!(null), with("SYS_ADMIN"), no("SYS_ADMIN")),
            (json!(null), json!({"privileged": true}), Ok(())),
            (
                json!(null),
                with("NEWER"),
                no("a capability that is not known"),
            ),
            (
                json!(["SYS_ADMIN", "SYS_CHROOT"]),
                with("SYS_ADMIN"),
                Ok(()),
            ),
            (json!(["SYS_ADMIN"]), with("SYS_ADMIN"), no("SYS_CHROOT")),
            (
                json!(["SYS_ADMIN"]),
                json!({"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}}),
                Ok(()),
            ),
        ] {
            assert_eq!(
                fits(&of_file, &of_container),
                expected,
                "{of_file} {of_container}"
            );
        }
    }

    #[test]
    fn the_capabilities_that_matter_are_those_of_the_runtimes_conditions() {
        for (name, matters) in [
            ("SYS_ADMIN", true),
            ("SYS_PTRACE", true),
            ("BPF", true),
            ("SYS_CHROOT", true),
            ("NET_ADMIN", false),
            ("CHOWN", false),
        ] {
            let one = Capability::named(name).unwrap();
            assert_eq!(MATTERING.contains(one), matters, "{name}");
        }
    }
}
