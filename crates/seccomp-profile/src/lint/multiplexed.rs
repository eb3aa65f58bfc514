//! Calls that programs can also make through another one, and what happens to them there. Says nothing itself.

use super::subject::Subject;
use crate::action::Action;
use crate::arch::Arch;
use crate::decision::Decision;
use crate::oci::ArchSet;
use crate::syscall::Syscall;

/// A call that another one carries.
pub(super) struct Carried {
    pub(super) call: Syscall,
    pub(super) through: Syscall,
    pub(super) arches: Vec<Arch>,
}

/// What is wrong with calls that another one carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leak {
    /// They are denied, and come through all the same.
    Open,
    /// They are allowed for some arguments, and come through for none.
    Closed,
}

/// The calls with conditions, or denied ones, of which that is so; those that one call carries on the same architectures
/// together.
pub(super) fn multiplexed(subject: &Subject<'_>, leak: Leak) -> Vec<Vec<Carried>> {
    let arches = subject.profile.architectures();
    if !arches.iter().any(Arch::multiplexes) {
        return Vec::new();
    }
    let calls = subject.semantics.calls.iter();
    let found = calls.filter_map(|(call, decision)| {
        let actions = decision.actions();
        let refuses = actions.iter().any(|action| action.refuses());
        let permits = actions.iter().any(|action| action.is_permitted());
        let (through, arches) = carriers(*call, arches)?;
        let action = carried(subject, *call, through)?;
        let is_so = match leak {
            Leak::Open => refuses && action.is_permitted(),
            // What is said of the carrier itself is meant.
            Leak::Closed => {
                let is_stated = subject.semantics.calls.contains_key(&through);
                permits && refuses && action.refuses() && !is_stated
            }
        };
        is_so.then_some(Carried {
            call: *call,
            through,
            arches,
        })
    });
    grouped(found)
}

/// The call that can carry `call`, and the architectures on which it can.
fn carriers(call: Syscall, arches: ArchSet) -> Option<(Syscall, Vec<Arch>)> {
    let mut through = None;
    let carriers: Vec<_> = arches
        .iter()
        .filter(|arch| match call.multiplexed(*arch) {
            Some((carrier, _)) if carrier.number(*arch).is_some() => {
                through = Some(carrier);
                true
            }
            _ => false,
        })
        .collect();
    Some((through?, carriers))
}

/// What happens to `call` when it comes through `through`: libseccomp makes of each rule for it one for the carrier,
/// without the condition on the first argument, which is the number of the call there.
fn carried(subject: &Subject<'_>, call: Syscall, through: Syscall) -> Option<Action> {
    let default = subject.semantics.default;
    let decision = subject.semantics.calls.get(&through);
    if let Some(action) = decision.and_then(Decision::constant)
        && action != default
    {
        return Some(action);
    }
    if decision.is_some_and(|decision| decision.constant().is_none()) {
        return None; // by arguments that nobody would guess
    }
    let rules = subject.semantics.calls.get(&call)?.rules(default).ok()?;
    let first = rules
        .iter()
        .find(|(conditions, _)| conditions.iter().all(|condition| condition.arg.get() == 0));
    Some(first.map_or(default, |(_, action)| *action))
}

fn grouped(all: impl Iterator<Item = Carried>) -> Vec<Vec<Carried>> {
    let mut groups: Vec<Vec<Carried>> = Vec::new();
    for carried in all {
        let same = |group: &&mut Vec<Carried>| {
            group.first().is_some_and(|first| {
                (first.through, &first.arches) == (carried.through, &carried.arches)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(carried),
            None => groups.push(vec![carried]),
        }
    }
    groups
}

/// What most programs lose without the carrier.
pub(super) fn lost_without(through: Syscall) -> &'static str {
    if through == Syscall::IPC {
        "System V IPC"
    } else {
        "their network"
    }
}
