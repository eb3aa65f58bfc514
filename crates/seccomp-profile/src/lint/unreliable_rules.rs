//! `unreliable-rules`: libseccomp does not combine the rules of a file as they say.

use std::collections::BTreeSet;

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::model::Miscompilation;

/// Further ones are of the same kind, as a rule.
const MAX_PLACES: usize = 5;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if subject.read_as_is().is_none() {
        return;
    }
    let Ok(model) = subject.profile.model() else {
        return;
    };
    let mut places = BTreeSet::new();
    for flaw in model.flaws() {
        let (reason, _) = flaw.explained();
        let severity = match flaw {
            Miscompilation::Merge { .. } => Severity::Warning,
            _ => Severity::Error,
        };
        let path = flaw
            .call()
            .and_then(|call| subject.entry_of(call))
            .unwrap_or_else(|| subject.path("syscalls"));
        if places.len() < MAX_PLACES && places.insert(path.clone()) {
            findings.push(Finding {
                code: Code::UnreliableRules,
                severity,
                path,
                reason,
                remedy:
                    "write the profile in canonical form, whose rules libseccomp combines as meant"
                        .into(),
            });
        }
    }
}
