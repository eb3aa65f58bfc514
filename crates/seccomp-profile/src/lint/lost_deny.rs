//! `lost-deny`: a refusal has no effect, because another rule for the call wins.

use super::overridden::overridden;
use super::subject::Subject;
use super::{Code, Finding, Severity};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let lost = overridden(subject).into_iter();
    let denials = lost.filter(|rule| rule.is_stricter);
    findings.extend(denials.map(|rule| rule.finding(Code::LostDeny, Severity::Error)));
}
