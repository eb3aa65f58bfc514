//! `bits-outside-mask`: a masked comparison expects bits that the mask does not have.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::condition::Operator;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (path, condition) in subject.conditions() {
        if let Operator::MaskedEqual { mask } = condition.operator
            && mask != 0
            && condition.value & !mask != 0
        {
            findings.push(Finding {
                code: Code::BitsOutsideMask,
                severity: Severity::Warning,
                path,
                reason: format!(
                    "expects {:#x} under the mask {mask:#x}, which lacks some of these bits, and they do not count",
                    condition.value
                ),
                remedy: "put the mask into value and the bits that it should leave into valueTwo".into(),
            });
        }
    }
}
