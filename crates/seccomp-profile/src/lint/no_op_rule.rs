//! `no-op-rule`: a rule says what the default says, or a change what the base does already.

use std::collections::HashMap;

use super::overridden::winners;
use super::subject::{List, Source, Subject, listed};
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::arg_set::ArgSet;
use crate::document::Entry;
use crate::syscall::Syscall;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let default = subject.profile.default_action();
    let winners = winners(subject);
    for (i, entry) in subject.entries() {
        if entry.verdict.on(subject.target.arch) == default {
            let path = subject.path(&format!("syscalls[{i}]"));
            findings.push(rule_like_default(default, entry, path, &winners));
        }
    }
    changes(subject, findings);
}

fn rule_like_default(
    default: Action,
    entry: &Entry,
    path: String,
    winners: &HashMap<Syscall, (usize, Action)>,
) -> Finding {
    let mut calls = entry.syscalls.iter();
    let other = calls.find_map(|call| Some((*call, winners.get(call)?.0)));
    let (severity, reason, remedy) = match other {
        None => (
            Severity::Note,
            format!("does nothing: {} is the default", default.name()),
            "remove it, or leave it for its readers".to_owned(),
        ),
        Some((call, other)) => (
            Severity::Warning,
            format!(
                "does nothing, not even for {call}: {} is the default, so runtimes leave the rule out, and syscalls[{other}] counts",
                default.name()
            ),
            format!("remove {call} here or from syscalls[{other}]"),
        ),
    };
    Finding {
        code: Code::NoOpRule,
        severity,
        path,
        reason,
        remedy,
    }
}

fn changes(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Source::Delta { base, below, .. } = subject.source else {
        return;
    };
    for (list, path, change) in subject.changes() {
        let wanted = match list {
            List::Allow => Action::Allow,
            List::Log => Action::Log,
            // A denial is a wish for whatever the base will be.
            List::Deny => continue,
        };
        let Some(regions) = ArgSet::satisfying(&change.conditions) else {
            continue;
        };
        let keeps = |call: &Syscall| {
            let old = base.decision_for(*call);
            old.find_in(&regions, |action| action != wanted).is_none()
        };
        // What never holds has a code of its own.
        if !regions.is_empty() && change.calls.iter().all(keeps) {
            findings.push(Finding {
                code: Code::NoOpRule,
                severity: Severity::Note,
                path,
                reason: format!(
                    "does nothing: the {below} has {} so already",
                    listed(&change.calls)
                ),
                remedy: format!("remove it, or leave it against a {below} that changes"),
            });
        }
    }
}
