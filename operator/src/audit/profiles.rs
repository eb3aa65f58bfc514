//! Which profiles are on trial, and which of the calls that the kernel logs under them it logs for that: a pure state, fed by a watch of the
//! SeccompProfiles. The engine decides.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_support::{Listing, WatchEvent};
use seccomp_operator_api::{SeccompProfile, TrialReport, define};
use seccomp_profile::{Library, Semantics, Syscall, Target};

/// A profile's trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnTrial {
    /// What tells the next version from others.
    pub digest: String,
    /// Whether the kernel is to log what it would refuse, wherever there is a recorder or not.
    pub logs: bool,
    /// Since when it is on trial, in seconds since 1970, as far as the controller has said.
    pub since: Option<u64>,
}

/// The two versions of a profile.
type Versions = (Semantics, Semantics);

/// See the module's head.
#[derive(Debug)]
pub struct Profiles {
    target: Target,
    library: Library,
    trials: HashMap<String, OnTrial>,
    /// Of those that were asked for since the last change of any profile; none where one of the two cannot be worked out.
    versions: HashMap<String, Option<Box<Versions>>>,
    known: BTreeSet<String>,
    listing: Listing,
}

impl Profiles {
    /// Nothing is known yet. `target` is what this node is.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            library: Library::default(),
            trials: HashMap::new(),
            versions: HashMap::new(),
            known: BTreeSet::new(),
            listing: Listing::default(),
        }
    }

    /// Something was seen of a profile.
    pub fn take(&mut self, change: WatchEvent<SeccompProfile>) {
        match change {
            WatchEvent::ListBegins => self.listing.begins(),
            WatchEvent::ListEnds => {
                for gone in self.listing.ends(self.known.iter().map(String::as_str)) {
                    self.gone(&gone);
                }
            }
            WatchEvent::Exists(profile) => {
                let metadata = match &profile {
                    Ok(profile) => &profile.metadata,
                    Err(unreadable) => &unreadable.metadata,
                };
                let name = metadata.name.clone().unwrap_or_default();
                self.listing.saw(&name);
                let trial = profile.as_ref().ok().and_then(on_trial);
                match trial {
                    Some(trial) => self.trials.insert(name.clone(), trial),
                    None => self.trials.remove(&name),
                };
                self.library.define(&name, define(&profile));
                self.known.insert(name);
                self.versions.clear();
            }
            WatchEvent::Deleted(profile) => {
                let metadata = match &profile {
                    Ok(profile) => &profile.metadata,
                    Err(unreadable) => &unreadable.metadata,
                };
                self.gone(metadata.name.as_deref().unwrap_or_default());
            }
        }
    }

    fn gone(&mut self, name: &str) {
        self.trials.remove(name);
        self.library.remove(name);
        self.known.remove(name);
        self.versions.clear();
    }

    /// The profiles that are on trial.
    pub fn trials(&self) -> impl Iterator<Item = (&str, &OnTrial)> {
        self.trials
            .iter()
            .map(|(name, trial)| (name.as_str(), trial))
    }

    /// The next version that would refuse a call that the kernel has logged under the profile, if it was logged for that.
    pub fn would_refuse(&mut self, profile: &str, call: Syscall) -> Option<String> {
        let trial = self.trials.get(profile)?;
        let (library, target) = (&self.library, &self.target);
        let compose = |library: &Library| {
            let composed = library.compose(profile, target, "spec").ok()?;
            composed.exact_semantics("spec").ok()
        };
        let versions = self.versions.entry(profile.to_owned()).or_insert_with(|| {
            let next = library.with_next(profile)?;
            Some(Box::new((compose(library)?, compose(&next)?)))
        });
        let (now, next) = versions.as_deref()?;
        now.is_logged_for(next, call).then(|| trial.digest.clone())
    }
}

fn on_trial(profile: &SeccompProfile) -> Option<OnTrial> {
    let trial = profile.spec.trial.as_ref()?;
    let digest = trial.digest();
    let status = profile
        .status
        .as_ref()
        .and_then(|status| status.trial.as_ref());
    let status = status.filter(|status| status.digest == digest);
    let since = status.and_then(|status| {
        let Time(since) = status.since.as_ref()?;
        u64::try_from(since.as_second()).ok()
    });
    Some(OnTrial {
        digest,
        logs: trial.report == TrialReport::Log,
        since,
    })
}

#[cfg(test)]
pub mod tests {
    use seccomp_profile::{Arch, CapabilitySet, KernelVersion};
    use serde_json::{Value, json};

    use super::*;

    pub const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion { major: 6, minor: 1 },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    pub fn exists(name: &str, spec: &Value) -> WatchEvent<SeccompProfile> {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        WatchEvent::Exists(Ok(SeccompProfile::new(name, spec)))
    }

    fn call(name: &str) -> Syscall {
        Syscall::named(name).unwrap()
    }

    #[test]
    fn a_logged_call_is_the_trial_s_where_the_version_in_force_logs_none() {
        let mut profiles = Profiles::new(AMD64);
        let trial = json!({"deny": ["@chmod", "mkdir"], "report": "Log"});
        let spec = json!({"base": "base", "log": ["mkdir"], "trial": trial});
        profiles.take(exists("web", &spec));
        assert_eq!(profiles.would_refuse("web", call("chmod")), None, "no base");
        profiles.take(exists("base", &json!({"base": "runtime-default"})));
        let digest = profiles.trials["web"].digest.clone();
        assert_eq!(profiles.would_refuse("web", call("chmod")), Some(digest));
        assert_eq!(profiles.would_refuse("web", call("mkdir")), None, "its own");
        assert_eq!(profiles.would_refuse("web", call("read")), None);
        assert_eq!(profiles.would_refuse("base", call("chmod")), None);
        profiles.take(exists("web", &json!({"base": "base"})));
        assert_eq!(profiles.would_refuse("web", call("chmod")), None);
    }

    #[test]
    fn what_is_gone_is_on_no_trial() {
        let mut profiles = Profiles::new(AMD64);
        profiles.take(WatchEvent::ListBegins);
        profiles.take(exists(
            "web",
            &json!({"base": "runtime-default", "trial": {"deny": ["mkdir"]}}),
        ));
        profiles.take(WatchEvent::ListEnds);
        assert_eq!(profiles.trials().count(), 1);
        profiles.take(WatchEvent::ListBegins);
        profiles.take(WatchEvent::ListEnds);
        assert_eq!(profiles.trials().count(), 0);
    }
}
