//! `no-container-starts`: the profile refuses what every version of the runtime calls after it has loaded the filter, or cannot
//! be loaded at all.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::runtime::Runtime;
use crate::syscall::Syscall;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    byte_orders(subject, findings);
    needs(subject, findings);
}

/// Architectures of another byte order than the node's.
fn byte_orders(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    let written = subject.written_architectures().iter();
    let others = written.filter(|arch| arch.is_big_endian() != native.is_big_endian());
    let others: Vec<_> = others.collect();
    if others.is_empty() {
        return;
    }
    findings.push(Finding {
        code: Code::NoContainerStarts,
        severity: Severity::Error,
        path: subject.path("architectures"),
        reason: format!(
            "has {}, whose byte order is not that of {} nodes: libseccomp makes no filter, and no container starts there with any \
             runtime",
            listed(&others),
            native.native_name()
        ),
        remedy: format!(
            "remove {} from {}, and write a file of its own for such nodes",
            listed(&others),
            subject.path("architectures")
        ),
    });
}

fn needs(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    let refused = |calls: Vec<Syscall>| {
        let calls = calls.into_iter();
        let refused = calls.filter(|call| subject.refusal(*call).is_some());
        refused.collect::<Vec<_>>()
    };
    let asked = subject.loaders.asked().map(|asked| asked.runtime);
    let runtime = match asked {
        Some(Runtime::Crun) => Runtime::Crun,
        _ => Runtime::Runc,
    };
    let missing = refused(runtime.must_have(native));
    let Some(first) = missing.first() else { return };
    // crun needs less than runc.
    let crun_starts = asked.is_none() && refused(Runtime::Crun.needs(native)).is_empty();
    findings.push(Finding {
        code: Code::NoContainerStarts,
        severity: if crun_starts {
            Severity::Warning
        } else {
            Severity::Error
        },
        path: subject.place_that_refuses(*first),
        reason: format!(
            "refuses {}, which {} itself calls after it has loaded the filter: no container starts{}",
            listed(&missing),
            runtime.name(),
            if crun_starts { " but with crun" } else { "" }
        ),
        remedy: subject.allow_too(&refused(runtime.needs(native))),
    });
}
