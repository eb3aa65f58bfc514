//! Which calls a profile refuses to a runtime, or kills for.

use seccomp_profile::{Action, Arch, Arguments, Loader, Model, Runtime, Syscall};

/// Whether the profile refuses the call, at least for arguments that are all zero, or for all.
pub(crate) fn is_refused(model: &Model, arch: Arch, runtime: Runtime, call: Syscall) -> bool {
    let Some(number) = call.number(arch) else {
        return false;
    };
    let action = model.decide_under(Loader::any(runtime), arch, number, &Arguments::ZEROS);
    action.refuses() || matches!(action, Action::Trace(_))
}

/// Of these calls those that the profile refuses.
pub(crate) fn refused(
    model: &Model,
    arch: Arch,
    runtime: Runtime,
    calls: Vec<Syscall>,
) -> Vec<&'static str> {
    let calls = calls.into_iter();
    calls
        .filter(|call| is_refused(model, arch, runtime, *call))
        .map(Syscall::name)
        .collect()
}

/// What a profile kills for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kills {
    /// Nothing.
    Nothing,
    /// These calls, for some arguments at least.
    Calls(Vec<&'static str>),
    /// Whatever it does not name.
    Rest,
}

/// What the profile sends SIGSYS for, to programs of that architecture.
pub(crate) fn kills(model: &Model, arch: Arch) -> Kills {
    let is_kill = |action: Action| {
        matches!(
            action,
            Action::KillProcess | Action::KillThread | Action::Trap
        )
    };
    // A number that no call has.
    if is_kill(model.decide(arch, u32::MAX >> 2, &Arguments::ZEROS)) {
        return Kills::Rest;
    }
    let named = model.calls().filter(|(of, ..)| *of == arch);
    let named = named.filter(|(_, _, decision)| decision.actions().into_iter().any(is_kill));
    let mut names: Vec<_> = named
        .filter_map(|(_, number, _)| Syscall::numbered(arch, number))
        .map(Syscall::name)
        .collect();
    names.sort_unstable();
    if names.is_empty() {
        Kills::Nothing
    } else {
        Kills::Calls(names)
    }
}

/// `a`, `a and b`, `a, b, c and 9 more`.
pub(crate) fn listed(names: &[&str]) -> String {
    const MOST: usize = 8;
    let shown = names.iter().take(MOST).copied().collect::<Vec<_>>();
    match (shown.split_last(), names.len().saturating_sub(MOST)) {
        (None, _) => String::new(),
        (Some((last, [])), 0) => (*last).to_owned(),
        (Some((last, others)), 0) => format!("{} and {last}", others.join(", ")),
        (Some(_), more) => format!("{} and {more} more", shown.join(", ")),
    }
}
