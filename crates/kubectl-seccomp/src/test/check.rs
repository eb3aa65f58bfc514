//! What a profile does with the calls of its cases, by the engine. Reads no file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::expect::{self, Expected};
use super::file::{Abi, Case, Suite, TestTarget};
use crate::document::Named;
use crate::target;
use crate::view::{CallEffect, View};
use seccomp_profile::{
    Action, Arch, CapabilitySet, DecidedCall, Library, Loader, Place, Runtime, Spec, Syscall,
    Target,
};
use seccomp_traces::Known;

/// What came of a case.
#[derive(Debug)]
pub struct Outcome {
    /// What the case is called.
    pub name: String,
    /// How many calls were looked at, each on each node through each entry.
    pub calls: usize,
    /// What is not as expected.
    pub failures: Vec<Failed>,
    /// Why it was left out, if it was.
    pub skipped: Option<String>,
}

/// A call that is not dealt with as expected.
#[derive(Debug)]
pub struct Failed {
    /// The call and where: `socket(AF_ALG) on amd64`; empty for the case as a whole.
    pub what: String,
    /// What happens, and by which rule.
    pub reason: String,
}

/// The profile of a suite on the nodes that cases ask for, each understood once.
pub struct Subject<'a> {
    named: &'a Named,
    library: &'a Library,
    views: HashMap<(Target, Loader), Result<View, String>>,
}

impl<'a> Subject<'a> {
    pub fn new(named: &'a Named, library: &'a Library) -> Self {
        Self {
            named,
            library,
            views: HashMap::new(),
        }
    }

    /// What comes of each case of the suite.
    pub fn test(&mut self, suite: &Suite) -> Vec<Outcome> {
        let cases = suite.cases.iter();
        cases
            .map(|case| self.test_one(case, &suite.target))
            .collect()
    }

    fn test_one(&mut self, case: &Case, on: &TestTarget) -> Outcome {
        let on = case.target.or(on);
        let mut outcome = Outcome {
            name: name(case),
            calls: 0,
            failures: Vec::new(),
            skipped: None,
        };
        let whole = |reason: String| Failed {
            what: String::new(),
            reason,
        };
        let loader = on.runtime().unwrap_or_else(|| Loader::any(Runtime::Runc));
        for arch in on.arches() {
            let target = Target {
                arch,
                kernel: on.kernel(),
                capabilities: on.capabilities().unwrap_or_else(|| self.capabilities()),
            };
            let (named, library) = (self.named, self.library);
            let view = match self.view(target, loader) {
                Ok(view) => view,
                Err(reason) => {
                    outcome.failures.push(whole(reason.clone()));
                    continue;
                }
            };
            let abis = abis(&on, view, arch);
            for calls in case.call.iter() {
                let mut found = 0;
                for (call, abi) in calls.iter().flat_map(|call| {
                    let abis = abis.iter();
                    abis.map(move |abi| (call, *abi))
                }) {
                    let Some(number) = call.syscall.number(abi) else {
                        continue;
                    };
                    found += 1;
                    let asked = Asked {
                        call: call.syscall,
                        abi,
                        number,
                        target,
                    };
                    let reason = match call.known(abi) {
                        Ok(known) => asked.unmet(case.expect.0, &known, view, |decided| {
                            place(named, library, decided, &target)
                        }),
                        Err(reason) => Some(reason),
                    };
                    outcome.failures.extend(reason.map(|reason| Failed {
                        what: asked.words(&call.text),
                        reason,
                    }));
                }
                outcome.calls += found;
                if found == 0 && !calls.is_group() && on.arches().len() == 1 {
                    let names: Vec<_> = abis.iter().map(|abi| abi.native_name()).collect();
                    let names = names.join(" and ");
                    outcome.failures.push(whole(format!(
                        "{calls} is no call of {names}; leave it out, or name another arch or abi"
                    )));
                }
            }
        }
        if outcome.calls == 0 && outcome.failures.is_empty() {
            let reason = "none of the architectures has any of the calls".to_owned();
            outcome.failures.push(whole(reason));
        }
        outcome
    }

    /// Those that the profile itself is for.
    fn capabilities(&self) -> CapabilitySet {
        let definition = &self.named.definition;
        let of_base = || {
            let base = definition.spec.base();
            base.map(|base| self.library.capabilities(base))
        };
        let stated = definition.capabilities.or_else(of_base);
        stated.unwrap_or(CapabilitySet::RUNTIME_DEFAULT)
    }

    fn view(&mut self, target: Target, loader: Loader) -> Result<&View, &String> {
        let view = match self.views.entry((target, loader)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let profile = target::resolve_quietly(self.named, self.library, &target);
                let profile = profile.map_err(|faulty| faulty.to_string().trim_end().to_owned());
                unknown.insert(profile.and_then(|profile| {
                    let view = View::from_profile(&profile, target.arch, loader);
                    view.map_err(|error| error.to_string())
                }))
            }
        };
        view.as_ref()
    }
}

/// What a case is called: its own name, or what it says.
pub fn name(case: &Case) -> String {
    case.name.clone().unwrap_or_else(|| {
        let calls: Vec<_> = case.call.iter().map(ToString::to_string).collect();
        format!("{}: {}", calls.join(", "), case.expect.0)
    })
}

/// Through which entries calls are made on nodes of that architecture.
fn abis(on: &TestTarget, view: &View, arch: Arch) -> Vec<Arch> {
    let Some(stated) = &on.abi else {
        return vec![arch];
    };
    let mut abis = Vec::new();
    for abi in stated.iter() {
        match abi.0 {
            Abi::Native => abis.push(arch),
            Abi::All => abis.extend(view.arches()),
            Abi::One(abi) => abis.extend(arch.abis().iter().filter(|known| **known == abi)),
        }
    }
    let mut seen = Vec::new();
    abis.retain(|abi| {
        let is_new = !seen.contains(abi);
        seen.push(*abi);
        is_new
    });
    abis
}

/// A call of a case, on one node through one entry.
struct Asked {
    call: Syscall,
    abi: Arch,
    number: u32,
    target: Target,
}

impl Asked {
    fn words(&self, call: &str) -> String {
        let native = self.target.arch.native_name();
        if self.abi == self.target.arch {
            format!("{call} on {native}")
        } else {
            format!("{call} on {native} through {}", self.abi.native_name())
        }
    }

    /// What happens instead of what is expected, and where the profile says so.
    fn unmet(
        &self,
        expected: Expected,
        known: &Known,
        view: &View,
        place: impl Fn(&DecidedCall) -> Option<Place>,
    ) -> Option<String> {
        let actions = match view.effect(self.abi, self.number) {
            CallEffect::Always(action) => vec![action],
            CallEffect::ByArguments(decision) => decision.actions_given(known),
        };
        if actions.iter().all(|action| expected.is_met_by(*action)) {
            return None;
        }
        let is_listed = view.arches().any(|arch| arch == self.abi);
        let by = |action: Action| {
            let decided = DecidedCall {
                arch: self.abi,
                call: self.call,
                known: *known,
                action,
            };
            let by = match place(&decided) {
                _ if !is_listed => {
                    format!("the profile has no {}", self.abi.native_name())
                }
                Some(place) => format!("by {place}"),
                None => {
                    "the runtime answers so to calls that are newer than all that the profile names"
                        .into()
                }
            };
            format!("{} ({by})", expect::word(action))
        };
        Some(match actions.as_slice() {
            [action] => format!("is {}", by(*action)),
            actions => {
                let actions: Vec<_> = actions.iter().map(|action| by(*action)).collect();
                format!(
                    "depends on arguments that are not stated: {}",
                    actions.join(" or ")
                )
            }
        })
    }
}

/// Where the profile, or one that it derives from, says so.
fn place(
    named: &Named,
    library: &Library,
    decided: &DecidedCall,
    target: &Target,
) -> Option<Place> {
    let lookup = |name: &str| Some(library.get(name)?.spec.clone());
    let spec = named.definition.spec.as_ref();
    match (spec, named.origin.as_is()) {
        (Spec::Document(document), Some(at)) => document.place(decided, target, at),
        (Spec::Document(document), None) if named.object().is_none() => {
            document.place(decided, target, "")
        }
        _ => spec.place(decided, &lookup, target, "spec"),
    }
}
