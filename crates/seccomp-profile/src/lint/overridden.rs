//! Rules of a document that lose to another rule for the same call. Says nothing itself.

use std::collections::HashMap;

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::document::Entry;
use crate::syscall::Syscall;

/// For each call the rule without conditions that wins over all others: the first that does not say what the default says,
/// for runtimes leave those out.
pub(super) fn winners(subject: &Subject<'_>) -> HashMap<Syscall, (usize, Action)> {
    let default = subject.profile.default_action();
    let mut winners = HashMap::new();
    for (i, entry) in subject.entries() {
        let action = entry.verdict.on(subject.target.arch);
        if action != default && entry.is_unconditional() {
            for call in &entry.syscalls {
                winners.entry(*call).or_insert((*i, action));
            }
        }
    }
    winners
}

/// A rule that has no effect for some of its calls.
pub(super) struct Overridden<'a> {
    pub(super) path: String,
    entry: &'a Entry,
    calls: Vec<Syscall>,
    /// The place and the action of the rule that wins.
    winner: usize,
    wins: Action,
    /// Whether it refuses what the other lets happen.
    pub(super) is_stricter: bool,
}

/// All rules that another one wins over.
pub(super) fn overridden<'a>(subject: &Subject<'a>) -> Vec<Overridden<'a>> {
    let default = subject.profile.default_action();
    let winners = winners(subject);
    let entries = subject.entries().iter();
    let overridden = entries.filter_map(|(i, entry)| {
        let action = entry.verdict.on(subject.target.arch);
        if action == default {
            return None;
        }
        let lost = |call: &Syscall| {
            let (winner, wins) = *winners.get(call)?;
            (winner != *i && wins != action).then_some((*call, winner, wins))
        };
        let lost: Vec<_> = entry.syscalls.iter().filter_map(lost).collect();
        let (_, winner, wins) = *lost.first()?;
        Some(Overridden {
            path: subject.path(&format!("syscalls[{i}]")),
            entry,
            calls: lost.iter().map(|(call, ..)| *call).collect(),
            winner,
            wins,
            is_stricter: action.leniency() < wins.leniency() && action.refuses(),
        })
    });
    overridden.collect()
}

impl Overridden<'_> {
    pub(super) fn finding(self, code: Code, severity: Severity) -> Finding {
        let Self { winner, wins, .. } = self;
        let is_unconditional = self.entry.is_unconditional();
        let why = if is_unconditional {
            "of two rules without conditions the first counts"
        } else {
            "a rule without conditions wins over those with"
        };
        Finding {
            code,
            severity,
            path: self.path,
            reason: format!(
                "has no effect on {}: syscalls[{winner}] says {} of it, and {why}",
                listed(&self.calls),
                wins.name()
            ),
            remedy: if is_unconditional {
                format!("remove it from one of the two, or put this rule before syscalls[{winner}]")
            } else {
                format!(
                    "take it out of syscalls[{winner}], and say there with conditions what is left"
                )
            },
        }
    }
}
