//! `quoted-number`: a number in quotes, in a file.

use super::subject::Subject;
use super::{Code, Finding, Severity};
use crate::document::OddityKind;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let quoted = subject.oddities().iter();
    let quoted = quoted.filter(|oddity| oddity.kind == OddityKind::Quoted);
    findings.extend(
        quoted.map(|oddity| Finding::of(&oddity.problem, Code::QuotedNumber, Severity::Error)),
    );
}
