//! `needs-new-runtime`: older runtimes refuse flags and architectures.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::arch::Arch;
use crate::loader::{Generation, Loaders};
use crate::oci::Flag;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let flags = subject.profile.flags().iter().collect::<Vec<_>>();
    for (loaders, flags) in refused(subject, &flags, Generation::takes_flag) {
        let names: Vec<_> = flags.into_iter().map(Flag::name).collect();
        findings.push(finding(
            subject,
            "flags",
            format!("{}: no container starts with {loaders}", listed(&names)),
            "make sure that all nodes have a newer one, or leave flags out",
        ));
    }
    let arches = subject.written_architectures().iter().collect::<Vec<_>>();
    for (loaders, arches) in refused(subject, &arches, Generation::takes_architecture) {
        let library = if arches.contains(&Arch::Loongarch64) {
            ", nor with a libseccomp before 2.6"
        } else {
            ""
        };
        findings.push(finding(
            subject,
            "architectures",
            format!("{}: no container starts with {loaders}{library}", listed(&arches)),
            "make sure that all nodes have a newer one, or leave it out of the file for nodes of other architectures",
        ));
    }
}

/// What some runtimes refuse, by those that do.
fn refused<T: Copy>(
    subject: &Subject<'_>,
    all: &[T],
    takes: fn(Generation, T) -> bool,
) -> Vec<(Loaders, Vec<T>)> {
    let mut refused = Vec::<(Loaders, Vec<T>)>::new();
    for one in all {
        let loaders = subject
            .loaders
            .for_which(|generation| !takes(generation, *one));
        match refused.iter_mut().find(|(same, _)| *same == loaders) {
            _ if loaders.is_empty() => {}
            Some((_, others)) => others.push(*one),
            None => refused.push((loaders, vec![*one])),
        }
    }
    refused
}

fn finding(subject: &Subject<'_>, field: &str, reason: String, remedy: &str) -> Finding {
    let version = subject.loaders.asked().and_then(|asked| asked.version);
    Finding {
        code: Code::NeedsNewRuntime,
        // Who names a version has it.
        severity: if version.is_some() {
            Severity::Error
        } else {
            Severity::Warning
        },
        path: subject.path(field),
        reason,
        remedy: remedy.into(),
    }
}
