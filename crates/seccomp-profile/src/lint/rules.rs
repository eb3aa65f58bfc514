//! Rules and changes one by one, as they are written.

use std::collections::HashMap;

use super::{Code, Finding, Severity, Source, Subject, listed};
use crate::action::Action;
use crate::arg_set::{ArgSet, ValueSet};
use crate::condition::{Condition, Operator};
use crate::decision::{Decision, WorkBudget};
use crate::delta::{Delta, DeltaEntry};
use crate::document::Entry;
use crate::semantics::Semantics;
use crate::syscall::Syscall;

/// Of more alternatives than this nobody finds out whether they are everything.
const ALTERNATIVES: usize = 8;

pub(super) fn of(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Source::Document { entries } = &subject.source else {
        return;
    };
    for (i, entry) in entries {
        conditions_of(
            &entry.conditions,
            &subject.path(&format!("syscalls[{i}]")),
            findings,
        );
    }
    half_seen(subject, entries, findings);
    alternatives(subject, entries, findings);
    faked_success(subject, entries, findings);
    void(subject, entries, findings);
}

/// Conditions that say nothing, or the wrong thing.
fn conditions_of(conditions: &[Condition], path: &str, findings: &mut Vec<Finding>) {
    for (i, condition) in conditions.iter().enumerate() {
        let at = || format!("{path}.args[{i}]");
        let mut add = |code, severity, reason: String, remedy: &str| {
            findings.push(Finding {
                code,
                severity,
                path: at(),
                reason,
                remedy: remedy.into(),
            });
        };
        if let Operator::MaskedEqual { mask } = condition.operator
            && mask != 0
            && condition.value & !mask != 0
        {
            add(
                Code::BitsOutsideMask,
                Severity::Warning,
                format!(
                    "expects {:#x} under the mask {mask:#x}, which lacks some of these bits, and they do not count",
                    condition.value
                ),
                "put the mask into value and the bits that it should leave into valueTwo",
            );
        }
        let mut values = ValueSet::satisfying(condition);
        match (values.next(), values.next()) {
            (None, _) => add(
                Code::NeverHolds,
                Severity::Warning,
                format!("{condition} never holds, so that the rule does nothing"),
                "correct the value or the operator, or remove the rule",
            ),
            (Some(all), None) if all == ValueSet::ALL => add(
                Code::AlwaysHolds,
                Severity::Warning,
                format!("{condition} always holds, so that the condition does nothing"),
                match condition.operator {
                    Operator::MaskedEqual { .. } => {
                        "put the mask into value (0 looks at no bit), or remove the condition"
                    }
                    _ => "correct the value or the operator, or remove the condition",
                },
            ),
            _ => {}
        }
    }
}

/// Numbers of more than 32 bits where arguments have 32.
fn half_seen(subject: &Subject<'_>, entries: &[(usize, &Entry)], findings: &mut Vec<Finding>) {
    for (i, entry) in entries {
        let conditions = entry.conditions.iter().enumerate();
        let mut wide = conditions.filter(|(_, condition)| condition.is_wide());
        if let Some((n, condition)) = wide.next()
            && let Some((arch, _)) = subject.profile.narrow(&entry.syscalls)
        {
            findings.push(Finding {
                code: Code::HalfSeenNumber,
                severity: Severity::Warning,
                path: subject.path(&format!("syscalls[{i}].args[{n}]")),
                reason: format!(
                    "compares with {:#x}, and {arch} with its lower half only, {:#x}",
                    condition.value,
                    condition.value & u64::from(u32::MAX)
                ),
                remedy: format!("use numbers of 32 bits, or leave {arch} out of architectures"),
            });
        }
    }
}

/// Several conditions on one argument.
fn alternatives(subject: &Subject<'_>, entries: &[(usize, &Entry)], findings: &mut Vec<Finding>) {
    for (i, entry) in entries {
        let conditions = &entry.conditions;
        let mut seen = [false; 6];
        let twice = conditions
            .iter()
            .find(|condition| std::mem::replace(&mut seen[usize::from(condition.arg.get())], true));
        let Some(twice) = twice else { continue };
        let path = subject.path(&format!("syscalls[{i}].args"));
        let action = entry.verdict.on(subject.target.arch);
        let all = conditions.len() <= ALTERNATIVES && is_everything(conditions);
        let shown: Vec<_> = conditions.iter().map(ToString::to_string).collect();
        let shown = shown[..shown.len().min(4)].join(" or ");
        findings.push(Finding {
            code: Code::OrConditions,
            severity: if all { Severity::Error } else { Severity::Warning },
            path,
            reason: format!(
                "has several conditions on argument {}, and libseccomp takes each of the rule's conditions for one of its own: \
                 {shown}{}",
                twice.arg.get(),
                if all {
                    format!(", which is always so: {} for all arguments", action.name())
                } else {
                    String::new()
                }
            ),
            remedy: "if all of them must hold, write a masked comparison or one rule for each range that is left; if one is \
                     enough, write one rule for each"
                .into(),
        });
    }
}

/// Whether one of the conditions holds for all arguments.
fn is_everything(conditions: &[Condition]) -> bool {
    let mut decision = Decision::always(Action::KillProcess);
    let mut budget = WorkBudget::for_profile();
    let can_tell = conditions.iter().all(|condition| {
        let regions = ArgSet::satisfying(&[*condition]).unwrap_or_default();
        let taken = decision.set(&regions, Action::Allow, &mut budget);
        taken.is_ok()
    });
    can_tell && decision.constant() == Some(Action::Allow)
}

fn faked_success(subject: &Subject<'_>, entries: &[(usize, &Entry)], findings: &mut Vec<Finding>) {
    let arch = subject.target.arch;
    let rules = entries.iter().map(|(i, entry)| {
        let path = subject.path(&format!("syscalls[{i}].errnoRet"));
        (path, entry.verdict.on(arch))
    });
    let default = subject.profile.default_action();
    let all = std::iter::once((subject.path("defaultErrnoRet"), default)).chain(rules);
    for (path, action) in all {
        if action.errno().is_some_and(|errno| errno.get() == 0) {
            findings.push(Finding {
                code: Code::FakedSuccess,
                severity: Severity::Error,
                path,
                reason: "is 0: the call is not made, and returns as if it had succeeded".into(),
                remedy: "write 1 for EPERM, or 38 for ENOSYS".into(),
            });
        }
    }
}

/// What an earlier rule leaves of a call to the later ones.
struct First {
    /// The rule without conditions: it wins over all others.
    winner: Option<(usize, Action)>,
}

/// Rules that have no effect for some of their calls.
fn void(subject: &Subject<'_>, entries: &[(usize, &Entry)], findings: &mut Vec<Finding>) {
    let default = subject.profile.default_action();
    let arch = subject.target.arch;
    let mut firsts: HashMap<Syscall, First> = HashMap::new();
    for (i, entry) in entries {
        let action = entry.verdict.on(arch);
        // Runtimes leave out what the default says.
        if action == default || !entry.is_unconditional() {
            continue;
        }
        for call in &entry.syscalls {
            let first = firsts.entry(*call).or_insert(First { winner: None });
            first.winner.get_or_insert((*i, action));
        }
    }
    for (i, entry) in entries {
        let action = entry.verdict.on(arch);
        let path = subject.path(&format!("syscalls[{i}]"));
        if action == default {
            no_op(subject, entry, &path, &firsts, findings);
            continue;
        }
        let mut lost: Vec<(Syscall, usize, Action)> = Vec::new();
        for call in &entry.syscalls {
            if let Some((winner, wins)) = firsts.get(call).and_then(|first| first.winner)
                && winner != *i
                && wins != action
            {
                lost.push((*call, winner, wins));
            }
        }
        let Some((_, winner, wins)) = lost.first().copied() else {
            continue;
        };
        let calls: Vec<_> = lost.iter().map(|(call, ..)| *call).collect();
        let stricter = action.leniency() < wins.leniency() && action.refuses();
        let why = if entry.is_unconditional() {
            "of two rules without conditions the first counts"
        } else {
            "a rule without conditions wins over those with"
        };
        findings.push(Finding {
            code: if stricter {
                Code::LostDeny
            } else {
                Code::VoidRule
            },
            severity: if stricter {
                Severity::Error
            } else {
                Severity::Warning
            },
            path,
            reason: format!(
                "has no effect on {}: syscalls[{winner}] says {} of it, and {why}",
                listed(&calls),
                wins.name()
            ),
            remedy: if entry.is_unconditional() {
                format!("remove it from one of the two, or put this rule before syscalls[{winner}]")
            } else {
                format!(
                    "take it out of syscalls[{winner}], and say there with conditions what is left"
                )
            },
        });
    }
}

/// A rule that says what the default says.
fn no_op(
    subject: &Subject<'_>,
    entry: &Entry,
    path: &str,
    firsts: &HashMap<Syscall, First>,
    findings: &mut Vec<Finding>,
) {
    let action = subject.profile.default_action();
    let others: Vec<_> = entry
        .syscalls
        .iter()
        .filter_map(|call| Some((*call, firsts.get(call)?.winner?.0)))
        .collect();
    let severity = if others.is_empty() {
        Severity::Note
    } else {
        Severity::Warning
    };
    let (reason, remedy) = match others.first() {
        None => (
            format!("does nothing: {} is the default", action.name()),
            "remove it, or leave it for its readers".to_owned(),
        ),
        Some((call, other)) => (
            format!(
                "does nothing, not even for {call}: {} is the default, so runtimes leave the rule out, and syscalls[{other}] counts",
                action.name()
            ),
            format!("remove {call} here or from syscalls[{other}]"),
        ),
    };
    findings.push(Finding {
        code: Code::NoOpRule,
        severity,
        path: path.to_owned(),
        reason,
        remedy,
    });
}

impl Entry {
    /// Whether it holds for all arguments: it has no condition, or only such as look at nothing.
    fn is_unconditional(&self) -> bool {
        let looks_at_nothing =
            |condition: &Condition| condition.operator == Operator::MaskedEqual { mask: 0 };
        self.conditions.iter().all(looks_at_nothing)
    }
}

/// Changes that change nothing.
pub(super) fn of_changes(
    own: &Delta,
    base: &Semantics,
    subject: &Subject<'_>,
    findings: &mut Vec<Finding>,
) {
    let lists: [(&str, &[DeltaEntry]); 3] = [
        ("allow", &own.allow),
        ("log", &own.log),
        ("deny", &own.deny),
    ];
    for (list, changes) in lists {
        for (i, change) in changes.iter().enumerate() {
            let path = subject.path(&format!("{list}[{i}]"));
            conditions_of(&change.conditions, &path, findings);
            if change
                .errno
                .is_some_and(|errno| errno.on(subject.target.arch).get() == 0)
            {
                findings.push(Finding {
                    code: Code::FakedSuccess,
                    severity: Severity::Error,
                    path: format!("{path}.errno"),
                    reason: "is 0: the call is not made, and returns as if it had succeeded".into(),
                    remedy: "write EPERM or ENOSYS".into(),
                });
            }
            let Some(regions) = ArgSet::satisfying(&change.conditions) else {
                continue;
            };
            if regions.is_empty() {
                if change.conditions.len() > 1 {
                    findings.push(Finding {
                        code: Code::NeverHolds,
                        severity: Severity::Warning,
                        path: format!("{path}.args"),
                        reason: "never hold together: here several conditions on one argument are a range".into(),
                        remedy: "write an entry for each if one of them is enough".into(),
                    });
                }
                continue;
            }
            // A denial is a wish for whatever the base will be.
            let wanted = match list {
                "allow" => Action::Allow,
                "log" => Action::Log,
                _ => continue,
            };
            let keeps = |call: &Syscall| {
                let old = base.decision_for(*call);
                old.find_in(&regions, |action| action != wanted).is_none()
            };
            if change.calls.iter().all(keeps) {
                findings.push(Finding {
                    code: Code::NoOpRule,
                    severity: Severity::Note,
                    path,
                    reason: format!(
                        "does nothing: the base has {} so already",
                        listed(&change.calls)
                    ),
                    remedy: "remove it, or leave it against a base that changes".into(),
                });
            }
        }
    }
}
