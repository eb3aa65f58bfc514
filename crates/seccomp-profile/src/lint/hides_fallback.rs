//! `hides-fallback`: a new call is answered so that programs do not fall back to the old one.

use super::subject::{Subject, enosys, listed};
use super::{Code, Finding};
use crate::action::Action;
use crate::fallback::new_calls;
use crate::syscall::Syscall;

/// New calls that are refused with an error that does not make C libraries try the old one, and under which runtimes.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    let calls = hidden_by_rules(subject).into_iter();
    for (loaders, calls) in
        subject.refused_by_loaders(native, calls, |action| action != enosys(native))
    {
        let Some(first) = calls.first() else { continue };
        findings.push(Finding {
            code: Code::HidesFallback,
            severity: subject.severity_under(loaders),
            path: subject.place_that_refuses(*first),
            reason: format!(
                "{}answers {} with an error other than ENOSYS, so that programs fail that would use an older call instead, which is \
                 allowed",
                subject.under(loaders),
                listed(&calls)
            ),
            remedy: format!(
                "{}, or allow {}",
                subject.make_known_or_unknown(&calls).join(", and "),
                if calls.len() == 1 { "it" } else { "them" }
            ),
        });
    }
}

/// Those that the rules refuse with another error than `ENOSYS`.
fn hidden_by_rules(subject: &Subject<'_>) -> Vec<Syscall> {
    let native = subject.target.arch;
    let misleads = |action: Action| matches!(action, Action::Errno(_)) && action != enosys(native);
    let hidden = new_calls(native).filter_map(|(new, old)| {
        let misled = subject.always(new).is_some_and(misleads);
        let is_open = |call| subject.is_open_for_some(call);
        let is_hidden = misled && !is_denied_by_name(subject, new);
        (is_hidden && old.into_iter().any(is_open)).then_some(new)
    });
    hidden.collect()
}

/// Who denies a call by name wants it to fail.
fn is_denied_by_name(subject: &Subject<'_>, call: Syscall) -> bool {
    let denials = subject.denials();
    denials.iter().any(|(_, calls, _)| calls.contains(&call))
}
