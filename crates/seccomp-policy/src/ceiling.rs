//! Which SeccompProfiles allow more than a SeccompCeiling does.
//!
//! A ceiling depends on no other object, so what it allows is worked out once for each architecture. Profiles are compared by meaning, with
//! what they derive from, for each architecture of the cluster: on a node only what its file says counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use kube_support::Listing;
use seccomp_operator_api::{CeilingAction, SeccompCeilingSpec};
use seccomp_profile::{
    Arch, CapabilitySet, Definition, KernelVersion, Library, Model, Surplus, Target, compose,
};

/// What no profile may allow more than.
#[derive(Debug)]
pub struct Ceiling {
    /// What becomes of a profile that allows more.
    pub action: CeilingAction,
    exceptions: BTreeSet<String>,
    /// None if nobody can read it.
    spec: Option<SeccompCeilingSpec>,
    definition: Result<Definition, String>,
    /// What it comes to, by the nodes' architecture, once somebody has asked.
    models: BTreeMap<Arch, OnceLock<Result<Model, String>>>,
}

impl Ceiling {
    /// A ceiling that says this. One that is not valid holds nobody to anything, and says so wherever it would.
    #[must_use]
    pub fn new(spec: &SeccompCeilingSpec) -> Self {
        let definition = spec.define().map_err(|problems| {
            let said = problems.to_string();
            said.lines().next().unwrap_or_default().to_owned()
        });
        Self {
            action: spec.action,
            exceptions: spec.exceptions.iter().cloned().collect(),
            spec: Some(spec.clone()),
            definition,
            models: Arch::ALL
                .iter()
                .map(|arch| (*arch, OnceLock::new()))
                .collect(),
        }
    }

    /// One that nobody can read, and why.
    #[must_use]
    pub fn unreadable(sentence: String) -> Self {
        Self {
            definition: Err(sentence),
            spec: None,
            ..Self::new(&SeccompCeilingSpec::default())
        }
    }

    /// What it says, if anybody can read it.
    #[must_use]
    pub fn spec(&self) -> Option<&SeccompCeilingSpec> {
        self.spec.as_ref()
    }

    /// Whether a SeccompProfile of this name may allow more.
    #[must_use]
    pub fn excepts(&self, profile: &str) -> bool {
        self.exceptions.contains(profile)
    }

    /// What is too much of a profile that comes to this on nodes of these architectures. `name` is the ceiling's.
    #[must_use]
    pub fn breach(&self, name: &str, profile: &[(Arch, Model)]) -> Option<Breach> {
        let of_arch = |(arch, model): &(Arch, Model)| (*arch, self.surplus(*arch, model));
        let found: Vec<_> = profile.iter().map(of_arch).collect();
        Breach::of(name, self.action, &found)
    }

    /// What a profile allows on nodes of this architecture that the ceiling does not; an error if nobody can tell what the ceiling allows.
    fn surplus(&self, arch: Arch, profile: &Model) -> Result<Surplus, String> {
        match self.models.get(&arch) {
            Some(model) => match model.get_or_init(|| self.model(arch)) {
                Ok(model) => Ok(profile.surplus_over(model, arch.abis())),
                Err(sentence) => Err(sentence.clone()),
            },
            None => Ok(Surplus::default()),
        }
    }

    /// Why nobody can tell what the ceiling allows on nodes of one of these architectures, if so.
    #[must_use]
    pub fn fault(&self, arches: &[Arch]) -> Option<String> {
        arches.iter().find_map(|arch| self.model(*arch).err())
    }

    fn model(&self, arch: Arch) -> Result<Model, String> {
        let definition = self.definition.as_ref().map_err(Clone::clone)?;
        let capabilities = definition.capabilities;
        let target = Target {
            capabilities: capabilities.unwrap_or(CapabilitySet::RUNTIME_DEFAULT),
            ..target(arch)
        };
        let profile = compose(&definition.spec, &|_| None, &target, "spec");
        let profile = profile.map_err(|problems| problems.to_string())?;
        profile.model().map_err(|error| format!("spec: {error}"))
    }
}

fn target(arch: Arch) -> Target {
    Target {
        arch,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    }
}

/// A profile that is above a ceiling, in words that follow its name: `allows more than SeccompCeiling "default": bpf and mount; ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The ceiling's name.
    pub ceiling: String,
    /// What becomes of such a profile.
    pub action: CeilingAction,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// On nodes of these architectures, or on all.
    Surplus(Surplus, Option<Vec<Arch>>),
    /// Nobody can tell.
    Unknown(String),
}

impl Breach {
    /// What is too much, of a profile that was compared for these architectures. None if nothing is.
    fn of(
        ceiling: &str,
        action: CeilingAction,
        found: &[(Arch, Result<Surplus, String>)],
    ) -> Option<Self> {
        let breach = |action, what| Self {
            ceiling: ceiling.to_owned(),
            action,
            what,
        };
        let mut all = Surplus::default();
        let mut arches = Vec::new();
        for (arch, surplus) in found {
            match surplus {
                Err(sentence) => {
                    return Some(breach(CeilingAction::Warn, What::Unknown(sentence.clone())));
                }
                Ok(surplus) if !surplus.is_empty() => {
                    all.extend(surplus.clone());
                    arches.push(*arch);
                }
                Ok(_) => {}
            }
        }
        let on_some = (arches.len() < found.len()).then_some(arches);
        (!all.is_empty()).then(|| breach(action, What::Surplus(all, on_some)))
    }
}

impl Breach {
    /// `allows more than SeccompCeiling "default": bpf and mount`.
    #[must_use]
    pub fn reason(&self) -> String {
        let ceiling = &self.ceiling;
        match &self.what {
            What::Unknown(_) => {
                format!("is not held to SeccompCeiling {ceiling:?}, which is not valid")
            }
            What::Surplus(surplus, None) => {
                format!("allows more than SeccompCeiling {ceiling:?}: {surplus}")
            }
            What::Surplus(surplus, Some(arches)) => {
                let on: Vec<_> = arches.iter().map(|arch| arch.native_name()).collect();
                let on = on.join(" and ");
                format!("allows more on {on} nodes than SeccompCeiling {ceiling:?}: {surplus}")
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match &self.what {
            What::Unknown(sentence) => format!("mend the ceiling: {sentence}"),
            What::Surplus(surplus, _) => format!(
                "{}, or have the profile named in the ceiling's spec.exceptions",
                remedy(surplus)
            ),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason(), self.remedy())
    }
}

/// What to do about it in the profile.
fn remedy(surplus: &Surplus) -> &'static str {
    if surplus.has_unnamed() {
        "refuse calls by default (another base or defaultAction)"
    } else if surplus.calls().next().is_none() {
        "leave these architectures out"
    } else {
        "deny them"
    }
}

/// All ceilings of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Ceilings {
    by_name: BTreeMap<String, Arc<Ceiling>>,
    architectures: Vec<Arch>,
}

impl Ceilings {
    /// A ceiling exists in this form.
    pub fn exists(&mut self, name: &str, ceiling: Ceiling) {
        self.by_name.insert(name.to_owned(), Arc::new(ceiling));
    }

    /// A ceiling is gone.
    pub fn gone(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// The ceiling of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Ceiling> {
        self.by_name.get(name).map(Arc::as_ref)
    }

    /// The nodes of the cluster are of these architectures. Without any, all that Kubernetes runs on count.
    pub fn on(&mut self, architectures: Vec<Arch>) {
        self.architectures = architectures;
    }

    /// The architectures that profiles are compared for.
    #[must_use]
    pub fn architectures(&self) -> &[Arch] {
        if self.architectures.is_empty() {
            Arch::KUBERNETES
        } else {
            &self.architectures
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The ceilings that a profile is above. Nothing of one that cannot be composed: it is on no node.
    #[must_use]
    pub fn breaches(&self, profile: &str, library: &Library) -> Vec<Breach> {
        let above = self
            .by_name
            .iter()
            .filter(|(_, ceiling)| !ceiling.excepts(profile));
        let above: Vec<_> = above.collect();
        if above.is_empty() {
            return Vec::new();
        }
        let models: Vec<_> = self.models(profile, library).collect();
        let held = above.into_iter();
        held.filter_map(|(name, ceiling)| ceiling.breach(name, &models))
            .collect()
    }

    /// Whether a profile allows nothing that it did not allow before, on any node.
    #[must_use]
    pub fn only_closes(&self, profile: &str, before: &Library, after: &Library) -> bool {
        let before: BTreeMap<_, _> = self.models(profile, before).collect();
        let mut after = self.models(profile, after);
        after.all(|(arch, model)| {
            let before = before.get(&arch);
            before.is_some_and(|before| model.surplus_over(before, arch.abis()).is_empty())
        })
    }

    fn models(&self, profile: &str, library: &Library) -> impl Iterator<Item = (Arch, Model)> {
        self.architectures().iter().filter_map(move |arch| {
            let profile = library.compose(profile, &target(*arch), "spec").ok()?;
            Some((*arch, profile.model().ok()?))
        })
    }
}

/// The ceilings as watches feed them.
#[derive(Debug, Default)]
pub struct WatchedCeilings {
    /// Lent to reviews that take their time.
    ceilings: Arc<Ceilings>,
    listing: Listing,
}

impl WatchedCeilings {
    /// A full list begins.
    pub fn list_begins(&mut self) {
        self.listing.begins();
    }

    /// A full list has ended.
    pub fn list_ends(&mut self) {
        let known = self.ceilings.by_name.keys().map(String::as_str);
        for name in self.listing.ends(known) {
            self.gone(&name);
        }
    }

    /// A ceiling exists in this form.
    pub fn exists(&mut self, name: &str, ceiling: Ceiling) {
        self.listing.saw(name);
        Arc::make_mut(&mut self.ceilings).exists(name, ceiling);
    }

    /// A ceiling is gone.
    pub fn gone(&mut self, name: &str) {
        Arc::make_mut(&mut self.ceilings).gone(name);
    }

    /// The nodes of the cluster are of these architectures.
    pub fn on(&mut self, architectures: Vec<Arch>) {
        Arc::make_mut(&mut self.ceilings).on(architectures);
    }

    /// Whether these are the architectures that it knows of.
    #[must_use]
    pub fn is_on(&self, architectures: &[Arch]) -> bool {
        self.ceilings.architectures == architectures
    }

    /// All ceilings, as of now.
    #[must_use]
    pub fn all(&self) -> Arc<Ceilings> {
        self.ceilings.clone()
    }
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::SeccompProfileSpec;
    use serde_json::{Value, json};

    use super::*;

    fn library(specs: &Value) -> Library {
        let mut library = Library::default();
        for (name, spec) in specs.as_object().unwrap() {
            let spec: SeccompProfileSpec = serde_json::from_value(spec.clone()).unwrap();
            library.define(name, spec.define().map(Into::into).map_err(Into::into));
        }
        library
    }

    fn ceilings(specs: &Value) -> Ceilings {
        let mut ceilings = Ceilings::default();
        for (name, spec) in specs.as_object().unwrap() {
            let spec: SeccompCeilingSpec = serde_json::from_value(spec.clone()).unwrap();
            ceilings.exists(name, Ceiling::new(&spec));
        }
        ceilings
    }

    fn said(ceilings: &Ceilings, profile: &Value) -> Vec<String> {
        let library = library(&json!({"x": profile}));
        let breaches = ceilings.breaches("x", &library);
        breaches.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_profile_above_a_ceiling_is_told_of_with_the_calls_the_ceiling_and_the_remedy() {
        let mut held = ceilings(&json!({"default": {"base": "runtime-default"}}));
        for within in [
            json!({"base": "runtime-default"}),
            json!({"base": "runtime-default", "deny": ["@chmod"], "log": ["openat"]}),
            json!({"base": "runtime-default/containerd-2.4"}),
            json!({"profile": {"defaultAction": "SCMP_ACT_KILL_PROCESS"}}),
        ] {
            assert!(said(&held, &within).is_empty(), "{within}");
        }
        let more = json!({"base": "runtime-default", "allow": ["mount", "bpf"]});
        let expected = "allows more than SeccompCeiling \"default\": bpf and mount; deny them, or have the profile named in the ceiling's \
                        spec.exceptions";
        assert_eq!(said(&held, &more), [expected]);
        let open = said(&held, &json!({"base": "audit"}));
        assert!(
            open[0].contains(" more and calls that no kernel has yet; refuse calls by default"),
            "{open:?}"
        );
        // What a container with more capabilities would be allowed is allowed to every container that has the profile.
        let capable = json!({"base": "runtime-default", "capabilities": ["SYS_ADMIN"]});
        let admin = said(&held, &capable);
        assert!(
            admin[0].contains("bpf") && admin[0].contains("more"),
            "{admin:?}"
        );
        held.exists(
            "default",
            Ceiling::new(
                &serde_json::from_value(
                    json!({"base": "runtime-default", "capabilities": ["SYS_ADMIN"]}),
                )
                .unwrap(),
            ),
        );
        assert!(said(&held, &capable).is_empty());
    }

    #[test]
    fn only_the_architectures_of_the_cluster_count_and_those_with_too_much_are_named() {
        let profile = json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        ]}});
        let mut held = ceilings(&json!({"default": {"base": "runtime-default"}}));
        held.on(vec![Arch::X86_64]);
        assert!(said(&held, &profile).is_empty());
        held.on(vec![Arch::X86_64, Arch::Aarch64]);
        let both = said(&held, &profile);
        assert!(
            both[0]
                .starts_with("allows more on arm64 nodes than SeccompCeiling \"default\": mount; "),
            "{both:?}"
        );
        held.on(vec![Arch::Aarch64]);
        assert!(said(&held, &profile)[0].starts_with("allows more than SeccompCeiling"));
    }

    #[test]
    fn each_ceiling_counts_by_itself_and_exceptions_are_by_name() {
        let held = ceilings(&json!({
            "a": {"base": "runtime-default", "action": "Deny", "exceptions": ["x"]},
            "b": {"base": "runtime-default", "deny": ["@chmod"]},
            "c": {"base": "web"},
        }));
        let library = library(&json!({"x": {"base": "audit"}, "y": {"base": "runtime-default"}}));
        let names = |profile: &str| {
            let breaches = held.breaches(profile, &library);
            let of = |breach: &Breach| (breach.ceiling.clone(), breach.action);
            breaches.iter().map(of).collect::<Vec<_>>()
        };
        let warn = |name: &str| (name.to_owned(), CeilingAction::Warn);
        assert_eq!(names("x"), [warn("b"), warn("c")]);
        assert_eq!(names("y"), [warn("b"), warn("c")]);
        let wrong = held.breaches("y", &library)[1].to_string();
        assert!(
            wrong.starts_with(
                "is not held to SeccompCeiling \"c\", which is not valid; mend the ceiling: spec.base: "
            ),
            "{wrong}"
        );
        assert!(held.breaches("absent", &library).is_empty());
    }

    #[test]
    fn a_profile_is_judged_with_what_it_derives_from() {
        let held = ceilings(&json!({"default": {"base": "runtime-default", "action": "Deny"}}));
        let before = library(&json!({
            "low": {"base": "runtime-default"}, "high": {"base": "low", "deny": ["@chmod"]},
        }));
        let after = library(&json!({
            "low": {"base": "runtime-default", "allow": ["mount"]}, "high": {"base": "low", "deny": ["@chmod"]},
        }));
        assert!(held.breaches("high", &before).is_empty());
        let breach = &held.breaches("high", &after)[0];
        assert_eq!(breach.action, CeilingAction::Deny);
        assert!(breach.to_string().contains(": mount; "));
        assert!(held.only_closes("high", &after, &before));
        assert!(!held.only_closes("high", &before, &after));
        assert!(!held.only_closes("high", &Library::default(), &after));
    }

    #[test]
    fn a_full_list_takes_away_what_it_does_not_hold() {
        let mut watched = WatchedCeilings::default();
        let some = || Ceiling::new(&SeccompCeilingSpec::default());
        watched.exists("a", some());
        watched.list_begins();
        watched.exists("b", some());
        watched.list_ends();
        let all = watched.all();
        assert_eq!(all.by_name.keys().collect::<Vec<_>>(), ["b"]);
    }
}
