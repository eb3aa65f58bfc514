//! Profiles by name, and which derives from which: what `base` means while profiles come, change and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::action::Action;
use super::builtin::{BUILTINS, builtin};
use super::capability::CapabilitySet;
use super::compose::{MAX_DEPTH, Spec, check, compose, field};
use super::lint::{Finding, Startup, lint_everywhere, startup};
use super::oci::Profile;
use super::problem::Problems;
use super::runtime::Runtime;
use super::target::Target;

/// What a user asks for under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// A document, or changes to another profile.
    pub spec: Arc<Spec>,
    /// The capability set that it states. Without one it is that of its base, and at the bottom the runtimes' default.
    pub capabilities: Option<CapabilitySet>,
    /// The next version, if it is on trial. What derives from the profile knows nothing of it.
    pub next: Option<Arc<Spec>>,
}

/// A definition, or why there is none.
pub type Defined = Result<Arc<Definition>, Undefined>;

/// Why a profile that is there has no definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undefined {
    /// What its author wrote is wrong.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// The caller could not read what its author wrote, and says so in a sentence of its own.
    #[error("{0}")]
    Unreadable(String),
}

/// The caller's sentence.
impl From<String> for Undefined {
    fn from(sentence: String) -> Self {
        Self::Unreadable(sentence)
    }
}

/// The caller's sentence.
impl From<&str> for Undefined {
    fn from(sentence: &str) -> Self {
        Self::Unreadable(sentence.to_owned())
    }
}

/// Why there is no profile of a name for a kind of node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// The library has no such profile.
    #[error("{at}: there is no profile {name:?}")]
    Missing {
        /// Where the spec is, as the caller said.
        at: String,
        /// The name that was asked for.
        name: String,
    },
    /// The profile has no definition.
    #[error(transparent)]
    Undefined(#[from] Undefined),
    /// A profile that it derives from has no definition.
    #[error(
        "{at}: {base:?} is not valid itself: {}; mend that profile first",
        why.to_string().lines().next().unwrap_or_default()
    )]
    Base {
        /// The path of the field that names the base.
        at: String,
        /// The name of that profile.
        base: String,
        /// Why it has none; the message has the first line of it.
        why: Undefined,
    },
    /// It cannot be composed.
    #[error(transparent)]
    Composition(#[from] Problems),
}

/// All profiles there are.
#[derive(Debug, Clone, Default)]
pub struct Library {
    profiles: BTreeMap<String, Defined>,
    /// For each name those that have it as their base, whether there is a profile of that name or not.
    derived: BTreeMap<String, BTreeSet<String>>,
    /// For each name those whose next version has it as its base.
    tried: BTreeMap<String, BTreeSet<String>>,
}

impl Library {
    /// There is a profile of this name, and this is what it says.
    pub fn define(&mut self, name: &str, defined: Defined) {
        self.remove(name);
        for (base, above) in [
            (base_of(&defined), &mut self.derived),
            (next_base_of(&defined), &mut self.tried),
        ] {
            if let Some(base) = base {
                let above = above.entry(base.to_owned()).or_default();
                above.insert(name.to_owned());
            }
        }
        self.profiles.insert(name.to_owned(), defined);
    }

    /// There is no profile of this name any more.
    pub fn remove(&mut self, name: &str) {
        let Some(defined) = self.profiles.remove(name) else {
            return;
        };
        for (base, names) in [
            (base_of(&defined), &mut self.derived),
            (next_base_of(&defined), &mut self.tried),
        ] {
            if let Some(base) = base
                && let Some(above) = names.get_mut(base)
            {
                above.remove(name);
                if above.is_empty() {
                    names.remove(base);
                }
            }
        }
    }

    /// The profile of this name, if there is one that can be read.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Definition>> {
        self.profiles.get(name)?.as_ref().ok()
    }

    /// Whether there is a profile of this name, readable or not.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.profiles.contains_key(name)
    }

    /// All profiles that a change of this one changes too: those that derive from it, and from those.
    #[must_use]
    pub fn dependants(&self, name: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![name];
        while let Some(below) = open.pop() {
            for above in self.derived.get(below).into_iter().flatten() {
                if above != name && found.insert(above.as_str()) {
                    open.push(above);
                }
            }
        }
        found
    }

    /// All profiles of which a change of this one changes what nodes have: its [`Self::dependants`], and those of which the next version
    /// derives from one of these.
    #[must_use]
    pub fn affected(&self, name: &str) -> BTreeSet<&str> {
        let mut found = self.dependants(name);
        let below = found.iter().copied().chain([name]);
        let tried = below.filter_map(|name| self.tried.get(name)).flatten();
        let tried: Vec<_> = tried.map(String::as_str).collect();
        found.extend(tried);
        found.remove(name);
        found
    }

    /// The library as it will be once the next version of this profile is the one in force, if one is on trial.
    #[must_use]
    pub fn with_next(&self, name: &str) -> Option<Self> {
        let definition = self.get(name)?;
        let next = Definition {
            spec: definition.next.clone()?,
            capabilities: definition.capabilities,
            next: None,
        };
        let mut library = self.clone();
        library.define(name, Ok(next.into()));
        Some(library)
    }

    /// The profiles that this one derives from, the nearest first, as far as they are known; built-ins are none.
    pub fn bases<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let mut below = self.get(name).and_then(|definition| base(definition));
        // In a circle it would never end.
        std::iter::from_fn(move || {
            let (name, _) = self.profiles.get_key_value(below?)?;
            below = self.get(name).and_then(|definition| base(definition));
            Some(name.as_str())
        })
        .take(MAX_DEPTH + 1)
    }

    /// The base that there is no profile for, of this one or of one that it derives from.
    #[must_use]
    pub fn missing_base(&self, name: &str) -> Option<&str> {
        let last = self.bases(name).last().unwrap_or(name);
        base(self.get(last)?).filter(|below| !self.profiles.contains_key(*below))
    }

    /// The profile of this name for a node of this kind, in canonical form. The capabilities are the definition's, not the
    /// target's. `at` is the path of the spec, e.g. `spec`.
    pub fn compose(&self, name: &str, target: &Target, at: &str) -> Result<Profile, LibraryError> {
        let definition = self.readable(name, at)?;
        let target = Target {
            capabilities: self.capabilities(name),
            ..*target
        };
        Ok(compose(
            &definition.spec,
            &|name| self.spec(name),
            &target,
            at,
        )?)
    }

    /// Composes the profile of this name for every architecture that Kubernetes runs on, and gives its default action.
    pub fn check(&self, name: &str, at: &str) -> Result<Action, LibraryError> {
        let definition = self.readable(name, at)?;
        let capabilities = self.capabilities(name);
        check(&definition.spec, &|name| self.spec(name), capabilities, at)?;
        Ok(self.default_action(definition))
    }

    /// What is to be known of the profile of this name on the nodes that a cluster is likely to have, the most severe first.
    /// Nothing of one that cannot be composed.
    #[must_use]
    pub fn lint(&self, name: &str, at: &str) -> Vec<Finding> {
        let Some(definition) = self.get(name) else {
            return Vec::new();
        };
        let capabilities = self.capabilities(name);
        lint_everywhere(&definition.spec, &|name| self.spec(name), capabilities, at)
    }

    /// Whether containers start under the profile of this name on nodes of this kind, by their runtime. Nothing of one that cannot
    /// be composed. The capabilities are the definition's.
    #[must_use]
    pub fn startup(&self, name: &str, target: &Target) -> Vec<(Runtime, Startup)> {
        let Ok(profile) = self.compose(name, target, "spec") else {
            return Vec::new();
        };
        let runtimes = Runtime::ALL.iter();
        runtimes
            .map(|runtime| (*runtime, startup(&profile, *runtime, target)))
            .collect()
    }

    /// The capability set that the profile of this name is resolved for.
    #[must_use]
    pub fn capabilities(&self, name: &str) -> CapabilitySet {
        let own = self.get(name).and_then(|own| own.capabilities);
        own.or_else(|| {
            self.bases(name)
                .find_map(|base| self.get(base)?.capabilities)
        })
        .unwrap_or(CapabilitySet::RUNTIME_DEFAULT)
    }

    /// The definition of this name, if it and all that it derives from can be read.
    fn readable(&self, name: &str, at: &str) -> Result<&Arc<Definition>, LibraryError> {
        let definition = match self.profiles.get(name) {
            Some(Ok(definition)) => definition,
            Some(Err(why)) => return Err(why.clone().into()),
            None => {
                return Err(LibraryError::Missing {
                    at: at.to_owned(),
                    name: name.to_owned(),
                });
            }
        };
        for below in self.bases(name) {
            if let Some(Err(why)) = self.profiles.get(below) {
                return Err(LibraryError::Base {
                    at: field(at, "base"),
                    base: below.to_owned(),
                    why: why.clone(),
                });
            }
        }
        Ok(definition)
    }

    fn spec(&self, name: &str) -> Option<Arc<Spec>> {
        Some(self.get(name)?.spec.clone())
    }

    /// What happens to a call that no rule speaks of: what the document at the bottom says. The definition is known to be
    /// complete.
    fn default_action(&self, definition: &Definition) -> Action {
        let mut spec = definition.spec.clone();
        loop {
            spec = match spec.as_ref() {
                Spec::Document(document) | Spec::Changed { document, .. } => {
                    return document.default_action();
                }
                Spec::Derived { base, .. } => match (builtin(base), self.spec(base)) {
                    (Some(document), _) => return document.default_action(),
                    (None, Some(below)) => below,
                    (None, None) => return Action::Allow,
                },
            };
        }
    }
}

/// The name of the profile that a definition derives from, unless it is a built-in.
fn base(definition: &Definition) -> Option<&str> {
    own_base(&definition.spec)
}

fn own_base(spec: &Spec) -> Option<&str> {
    spec.base().filter(|base| !BUILTINS.contains(base))
}

fn next_base_of(defined: &Defined) -> Option<&str> {
    own_base(defined.as_ref().ok()?.next.as_deref()?)
}

fn base_of(defined: &Defined) -> Option<&str> {
    base(defined.as_ref().ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Arch, Arguments, Capability, Fields, KernelVersion, Syscall, parse};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::EMPTY,
    };

    fn derived(base: &str, deny: &[Value]) -> Definition {
        let fields = Fields {
            base: Some(base),
            deny,
            ..Fields::default()
        };
        Definition {
            spec: Arc::new(Spec::parse(&fields, "spec").unwrap()),
            capabilities: None,
            next: None,
        }
    }

    fn document(document: &Value) -> Definition {
        Definition {
            spec: Arc::new(Spec::Document(parse(document, "spec.profile").unwrap())),
            capabilities: None,
            next: None,
        }
    }

    /// `c` on `b` on `a` on a built-in, and `other` alone.
    fn chain() -> Library {
        let mut library = Library::default();
        library.define("c", Ok(derived("b", &[]).into()));
        library.define("b", Ok(derived("a", &[json!("@chmod")]).into()));
        library.define("a", Ok(derived("docker-default", &[]).into()));
        library.define("other", Ok(derived("audit", &[]).into()));
        library
    }

    #[test]
    fn a_profile_on_trial_changes_with_what_its_next_version_derives_from() {
        let mut library = chain();
        let next = derived("a", &[json!("ptrace")]).spec;
        let tried = Definition {
            next: Some(next),
            ..derived("audit", &[])
        };
        library.define("tried", Ok(tried.into()));
        library.define("above", Ok(derived("tried", &[]).into()));
        assert_eq!(library.dependants("a"), BTreeSet::from(["b", "c"]));
        assert_eq!(library.affected("a"), BTreeSet::from(["b", "c", "tried"]));
        assert_eq!(library.affected("tried"), BTreeSet::from(["above"]));
        assert!(library.with_next("a").is_none());
        let next = library.with_next("tried").unwrap();
        assert_eq!(next.bases("tried").collect::<Vec<_>>(), ["a"]);
        assert_eq!(library.bases("tried").count(), 0);
        library.remove("tried");
        assert_eq!(library.affected("a"), BTreeSet::from(["b", "c"]));
        // On itself it would be in a circle.
        let circle = Definition {
            next: Some(derived("a", &[]).spec),
            ..derived("audit", &[])
        };
        library.define("a", Ok(circle.into()));
        let said = said(&library.with_next("a").unwrap(), "a");
        assert!(said.starts_with("spec.base: leads in a circle"), "{said}");
    }

    fn said(library: &Library, name: &str) -> String {
        let error = library.compose(name, &AMD64, "spec").unwrap_err();
        error.to_string()
    }

    #[test]
    fn a_change_reaches_all_that_derive_from_it_and_nobody_else() {
        let mut library = chain();
        assert_eq!(library.dependants("a"), BTreeSet::from(["b", "c"]));
        assert_eq!(library.dependants("c"), BTreeSet::new());
        assert_eq!(library.dependants("docker-default"), BTreeSet::new());
        assert_eq!(library.bases("c").collect::<Vec<_>>(), ["b", "a"]);
        library.define("b", Ok(derived("other", &[]).into()));
        assert_eq!(library.dependants("a"), BTreeSet::new());
        assert_eq!(library.dependants("other"), BTreeSet::from(["b", "c"]));
    }

    #[test]
    fn a_base_that_is_missing_or_wrong_is_named_and_mends_by_itself() {
        let mut library = chain();
        assert!(library.compose("c", &AMD64, "spec").is_ok());
        library.remove("a");
        assert_eq!(library.missing_base("c"), Some("a"));
        assert_eq!(library.dependants("a"), BTreeSet::from(["b", "c"]));
        let expected =
            "spec.base: \"a\", the base of \"b\", is neither a built-in nor a known profile; ";
        assert!(
            said(&library, "c").starts_with(expected),
            "{}",
            said(&library, "c")
        );
        library.define("a", Err("spec.profile: is no good\nand more".into()));
        assert_eq!(library.missing_base("c"), None);
        assert_eq!(
            said(&library, "c"),
            "spec.base: \"a\" is not valid itself: spec.profile: is no good; mend that profile first"
        );
        library.define("a", Ok(derived("audit", &[]).into()));
        assert!(library.compose("c", &AMD64, "spec").is_ok());
        assert_eq!(library.check("c", "spec"), Ok(Action::Log));
    }

    #[test]
    fn a_circle_ends() {
        let mut library = chain();
        library.define("a", Ok(derived("c", &[]).into()));
        assert_eq!(library.dependants("a"), BTreeSet::from(["b", "c"]));
        assert_eq!(library.missing_base("a"), None);
        assert!(
            said(&library, "c").starts_with("spec.base: leads in a circle: b -> a -> c -> b; ")
        );
        assert!(library.check("c", "spec").is_err());
        library.define("self", Ok(derived("self", &[]).into()));
        assert!(said(&library, "self").contains("circle"));
    }

    #[test]
    fn capabilities_are_those_of_the_nearest_that_states_some() {
        let docker = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
        ]});
        let bpf = CapabilitySet::EMPTY.with(Capability::named("BPF").unwrap());
        let with = |definition: Definition, capabilities| {
            Ok(Arc::new(Definition {
                capabilities: Some(capabilities),
                ..definition
            }))
        };
        let mut library = Library::default();
        let allows_bpf = |library: &Library, name: &str| {
            let profile = library.compose(name, &AMD64, "spec").unwrap();
            let number = Syscall::named("bpf").unwrap().number(Arch::X86_64).unwrap();
            let model = profile.model().unwrap();
            model.decide(Arch::X86_64, number, &Arguments::ZEROS) == Action::Allow
        };
        library.define("base", Ok(document(&docker).into()));
        library.define("on", Ok(derived("base", &[]).into()));
        assert!(!allows_bpf(&library, "base") && !allows_bpf(&library, "on"));
        library.define("base", with(document(&docker), bpf));
        assert!(allows_bpf(&library, "base") && allows_bpf(&library, "on"));
        library.define("on", with(derived("base", &[]), CapabilitySet::EMPTY));
        assert!(allows_bpf(&library, "base") && !allows_bpf(&library, "on"));
    }
}
