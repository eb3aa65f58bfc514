//! `half-seen-number`: a rule compares with a number of more than 32 bits where arguments have 32.

use super::subject::Subject;
use super::{Code, Finding, Severity};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (i, entry) in subject.entries() {
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
