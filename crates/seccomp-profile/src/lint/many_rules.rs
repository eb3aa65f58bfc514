//! `many-rules`: more rules than a runtime takes from a registry.

use super::subject::{Source, Subject};
use super::{Code, Finding, Severity};

/// How many rules KEP-6061 lets a runtime take from a registry.
const MAX_RULES: usize = 128;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Source::Document { document, .. } = subject.source else {
        return;
    };
    let rules = document.entries.len();
    if rules > MAX_RULES {
        findings.push(Finding {
            code: Code::ManyRules,
            severity: Severity::Note,
            path: subject.path("syscalls"),
            reason: format!(
                "has {rules} rules, and runtimes will take at most {MAX_RULES} from a registry (KEP-6061)"
            ),
            remedy: "put names with the same action and conditions into one rule".into(),
        });
    }
}
