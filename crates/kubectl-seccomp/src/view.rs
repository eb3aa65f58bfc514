//! What a profile does, syscall by syscall: the engine's model as tables show it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::probe::UNFILTERED;
use super::text;
use seccomp_profile::{
    Action, Arch, Arguments, Condition, Decision, Loader, Model, Operator, Profile, Syscall,
    TooComplex,
};

/// A profile, understood.
#[derive(Debug)]
pub struct View {
    model: Model,
    decisions: BTreeMap<(Arch, u32), Decision>,
    loader: Loader,
    arches: Vec<Arch>,
    native: Arch,
}

/// Rules that libseccomp does not read as they are written.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Doubt {
    architecture: String,
    /// The syscall that they are for; none if that is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    #[serde(skip)]
    arch: Arch,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arch = self.arch.native_name();
        match self.name {
            Some(name) => write!(
                f,
                "{arch} {name}: the rules overlap, and libseccomp may combine them otherwise, or refuse them"
            ),
            None => write!(
                f,
                "{arch}: libseccomp makes a filter that ignores the rules"
            ),
        }
    }
}

/// What happens to a syscall.
#[derive(Debug)]
pub enum CallEffect<'v> {
    /// This, whatever the arguments.
    Always(Action),
    /// It depends on them.
    ByArguments(&'v Decision),
}

impl View {
    /// Understands a profile of a node of that architecture.
    pub fn from_profile(
        profile: &Profile,
        native: Arch,
        loader: Loader,
    ) -> Result<Self, TooComplex> {
        let model = profile.clone().as_read_by(loader).model()?;
        let decisions = model.calls();
        Ok(Self {
            decisions: decisions
                .map(|(arch, number, decision)| ((arch, number), decision.clone()))
                .collect(),
            model,
            loader,
            arches: profile.architectures().iter().collect(),
            native,
        })
    }

    /// Its architectures, the native one first.
    pub fn arches(&self) -> impl Iterator<Item = Arch> {
        let others = self.arches.iter().copied().filter(|a| *a != self.native);
        std::iter::once(self.native).chain(others)
    }

    /// Where libseccomp does something else than the rules say, or may.
    pub fn doubts(&self) -> Vec<Doubt> {
        let flaws = self.model.flaws().iter();
        let mut doubts: Vec<_> = flaws
            .map(|flaw| Doubt {
                architecture: flaw.arch().to_string(),
                name: flaw
                    .number()
                    .and_then(|number| Syscall::numbered(flaw.arch(), number))
                    .map(Syscall::name),
                arch: flaw.arch(),
            })
            .collect();
        doubts.dedup();
        doubts
    }

    /// What happens to a call of that number.
    pub fn effect(&self, arch: Arch, number: u32) -> CallEffect<'_> {
        match self.decisions.get(&(arch, number)) {
            Some(decision) => match decision.constant() {
                Some(action) => CallEffect::Always(action),
                None => CallEffect::ByArguments(decision),
            },
            None => CallEffect::Always(self.decide(arch, number, &Arguments::ZEROS)),
        }
    }

    /// What happens to a call with these arguments.
    pub fn decide(&self, arch: Arch, number: u32, args: &Arguments) -> Action {
        self.model.decide_under(self.loader, arch, number, args)
    }

    /// All syscalls of an architecture that a filter is asked about, by number.
    pub fn rows(&self, arch: Arch) -> Vec<(Syscall, CallEffect<'_>)> {
        let mut calls: Vec<_> = Syscall::all()
            .filter_map(|call| Some((call.number(arch)?, call)))
            .filter(|(_, call)| !UNFILTERED.contains(&call.name()))
            .collect();
        calls.sort_unstable();
        let row = |(number, call)| (call, self.effect(arch, number));
        calls.into_iter().map(row).collect()
    }

    /// What happens to a call that no table has: the next number, and all that come after.
    pub fn beyond(&self, arch: Arch) -> CallEffect<'_> {
        let numbers = Syscall::all().filter_map(|call| call.number(arch));
        // Some architectures have numbers of their own far from the others.
        let last = numbers.filter(|n| n & 0xffff < 8000).max().unwrap_or(0);
        self.effect(arch, last + 1)
    }
}

impl CallEffect<'_> {
    /// Whether the two are the same for all arguments.
    pub fn is_same(&self, other: &CallEffect<'_>) -> bool {
        match (self, other) {
            (Self::Always(a), CallEffect::Always(b)) => a == b,
            (Self::ByArguments(a), CallEffect::ByArguments(b)) => a.difference(b).is_none(),
            // One that is the same for all arguments is an `Always`.
            _ => false,
        }
    }

    /// Whether there are arguments for which `test` is true of its action and the other's.
    pub fn any(&self, other: &CallEffect<'_>, test: impl Fn(Action, Action) -> bool) -> bool {
        match (self, other) {
            (Self::ByArguments(mine), CallEffect::ByArguments(others)) => {
                mine.find(others, test).is_some()
            }
            (Self::Always(mine), _) => other.actions().into_iter().any(|other| test(*mine, other)),
            (_, CallEffect::Always(other)) => {
                self.actions().into_iter().any(|mine| test(mine, *other))
            }
        }
    }

    /// The actions that it may be, the strictest first.
    pub fn actions(&self) -> Vec<Action> {
        match self {
            Self::Always(action) => vec![*action],
            Self::ByArguments(decision) => decision.actions(),
        }
    }

    /// When it is what: `allowed if arg0 == 0; otherwise EPERM`.
    pub fn words(&self, arch: Arch, default: Action) -> String {
        let decision = match self {
            Self::Always(action) => return words(*action),
            Self::ByArguments(decision) => decision,
        };
        let (otherwise, cases) = cases(decision, arch, default);
        let cases = cases.iter().map(|(action, conditions)| {
            format!("{} if {}; ", words(*action), conditions.join(" or "))
        });
        format!(
            "{}otherwise {}",
            cases.collect::<String>(),
            words(otherwise)
        )
    }
}

/// When a decision is what: for each action but the last its alternatives, each of conditions that hold together.
pub fn cases(
    decision: &Decision,
    arch: Arch,
    default: Action,
) -> (Action, Vec<(Action, Vec<String>)>) {
    let actions = decision.actions();
    let otherwise = if actions.contains(&default) {
        default
    } else {
        actions.first().copied().unwrap_or(default)
    };
    let mut cases = Vec::<(Action, Vec<String>)>::new();
    let Ok(rules) = decision.rules(otherwise) else {
        // More ways than the kernel would load instructions for: nobody would read the list either.
        let others = actions.into_iter().filter(|action| *action != otherwise);
        let many = || vec!["the arguments are of more kinds than can be listed".to_owned()];
        return (otherwise, others.map(|action| (action, many())).collect());
    };
    for (conditions, action) in rules {
        let all: Vec<_> = conditions
            .into_iter()
            .filter_map(|condition| on(arch, condition))
            .map(|condition| condition.to_string())
            .collect();
        let all = all.join(" and ");
        match cases.iter_mut().find(|(a, _)| *a == action) {
            Some((_, alternatives)) => alternatives.push(all),
            None => cases.push((action, vec![all])),
        }
    }
    (otherwise, cases)
}

/// The condition as far as it says anything of arguments as wide as the architecture's.
fn on(arch: Arch, condition: Condition) -> Option<Condition> {
    const WIDTH: u64 = u32::MAX as u64;
    if arch.is_64_bit() {
        return Some(condition);
    }
    match condition.operator {
        Operator::Less if condition.value > WIDTH => None,
        Operator::LessOrEqual if condition.value >= WIDTH => None,
        Operator::MaskedEqual { mask } => (mask & WIDTH != 0).then_some(Condition {
            operator: Operator::MaskedEqual { mask: mask & WIDTH },
            ..condition
        }),
        _ => Some(condition),
    }
}

/// The word for an action.
pub fn words(action: Action) -> String {
    match action {
        Action::Allow => "allowed".into(),
        Action::Log => "logged".into(),
        Action::Errno(errno) if errno.get() == 0 => "faked success".into(),
        Action::Errno(errno) => text::errno_name(i32::from(errno.get())),
        Action::Trap => "SIGSYS".into(),
        Action::KillThread => "kills the thread".into(),
        Action::KillProcess => "kills the process".into(),
        Action::Notify => "asks the listener".into(),
        Action::Trace(_) => "asks a tracer".into(),
        other => other.to_string(),
    }
}

/// An action as data.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionData {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_name: Option<String>,
}

impl From<Action> for ActionData {
    fn from(action: Action) -> Self {
        let errno = action.errno().map(seccomp_profile::Errno::get);
        Self {
            action: action.name(),
            errno,
            errno_name: errno
                .filter(|errno| *errno != 0)
                .map(|errno| text::errno_name(i32::from(errno))),
        }
    }
}
