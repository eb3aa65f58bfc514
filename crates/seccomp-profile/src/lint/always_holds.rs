//! `always-holds`: a condition holds for every argument.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::arg_set::ValueSet;
use crate::condition::Operator;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (path, condition) in subject.conditions() {
        let mut values = ValueSet::satisfying(condition);
        if values.next() != Some(ValueSet::ALL) {
            continue;
        }
        findings.push(Finding {
            code: Code::AlwaysHolds,
            severity: Severity::Warning,
            path,
            reason: format!("{condition} always holds, so that the condition does nothing"),
            remedy: match condition.operator {
                Operator::MaskedEqual { .. } => {
                    "put the mask into value (0 looks at no bit), or remove the condition"
                }
                _ => "correct the value or the operator, or remove the condition",
            }
            .into(),
        });
    }
}
