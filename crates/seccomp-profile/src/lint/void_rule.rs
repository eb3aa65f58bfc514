//! `void-rule`: a rule other than a refusal has no effect, because another one for the call wins.

use super::overridden::overridden;
use super::subject::Subject;
use super::{Code, Finding, Severity};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let lost = overridden(subject).into_iter();
    let others = lost.filter(|rule| !rule.is_stricter);
    findings.extend(others.map(|rule| rule.finding(Code::VoidRule, Severity::Warning)));
}
