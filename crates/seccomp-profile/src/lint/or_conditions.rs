//! `or-conditions`: several conditions on one argument, which libseccomp takes for alternatives.

use std::collections::BTreeSet;

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::arg_set::ArgSet;
use crate::condition::Condition;
use crate::decision::{Decision, WorkBudget};

/// Of more alternatives than this nobody finds out whether they are everything.
const MAX_ALTERNATIVES: usize = 8;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (i, entry) in subject.entries() {
        let conditions = &entry.conditions;
        let mut seen = BTreeSet::new();
        let twice = conditions
            .iter()
            .find(|condition| !seen.insert(condition.arg));
        let Some(twice) = twice else { continue };
        let action = entry.verdict.on(subject.target.arch);
        let all = conditions.len() <= MAX_ALTERNATIVES && is_everything(conditions);
        let shown: Vec<_> = conditions.iter().map(ToString::to_string).collect();
        let shown = shown[..shown.len().min(4)].join(" or ");
        findings.push(Finding {
            code: Code::OrConditions,
            severity: if all { Severity::Error } else { Severity::Warning },
            path: subject.path(&format!("syscalls[{i}].args")),
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
