//! `needs-new-runtime`: older runtimes do not know flags.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::oci::Flag;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let flags = subject.profile.flags();
    if flags.is_empty() {
        return;
    }
    let since = if flags.contains(Flag::WaitKillableRecv) {
        "1.5"
    } else {
        "1.2"
    };
    let names: Vec<_> = flags.iter().map(Flag::name).collect();
    findings.push(Finding {
        code: Code::NeedsNewRuntime,
        severity: Severity::Warning,
        path: subject.path("flags"),
        reason: format!(
            "{}: no container starts with a runc before {since}, which refuses {}",
            listed(&names),
            if since == "1.2" { "all flags" } else { "it" }
        ),
        remedy: "make sure that all nodes have a newer one, or leave flags out".into(),
    });
}
