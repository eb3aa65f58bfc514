//! `no-container-starts`: the profile refuses what every version of the runtime calls after it has loaded the filter.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::runtime::Runtime;
use crate::syscall::Syscall;

/// What runc needs. crun needs less than runc, so that a profile which does for runc does for it.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    let is_refused = |call: &Syscall| subject.refusal(*call).is_some();
    let needed = Runtime::Runc.must_have(native).into_iter();
    let missing: Vec<_> = needed.filter(is_refused).collect();
    if let Some(first) = missing.first() {
        let crun = Runtime::Crun.needs(native);
        let crun_starts = !crun.iter().any(is_refused);
        findings.push(Finding {
            code: Code::NoContainerStarts,
            severity: if crun_starts { Severity::Warning } else { Severity::Error },
            path: subject.place_that_refuses(*first),
            reason: format!(
                "refuses {}, which runc itself calls after it has loaded the filter: no container starts{}",
                listed(&missing),
                if crun_starts { " but with crun" } else { "" }
            ),
            remedy: "allow what the runtime itself needs as well".into(),
        });
    }
}
