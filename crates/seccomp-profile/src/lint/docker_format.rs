//! `docker-format`: a file has fields that containerd drops.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::algebra::Excess;
use crate::document::{Architectures, Document, Filter};
use crate::oci::ArchSet;
use crate::syscall::Syscall;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(document) = subject.read_as_is() else {
        return;
    };
    let [first, others @ ..] = document.docker_only_fields() else {
        return;
    };
    let (severity, effect) = effect(subject, &as_containerd_reads(document));
    let reads_kernel = !document.entries.iter().any(|entry| {
        let filters = [&entry.includes, &entry.excludes];
        filters
            .into_iter()
            .any(|filter| filter.min_kernel.is_some())
    });
    findings.push(Finding {
        code: Code::DockerFormat,
        severity,
        path: first.clone(),
        reason: format!(
            "belongs to Docker's format{}: containerd and cri-dockerd drop it without a word, and {effect}; Docker reads all of it, CRI-O \
             {}",
            match others.len() {
                0 => String::new(),
                1 => ", and so does another field".into(),
                more => format!(", and so do {more} other fields"),
            },
            if reads_kernel { "too" } else { "all but minKernel" }
        ),
        remedy: "write the profile for one kind of node, in the format of the runtime-spec".into(),
    });
}

/// The document without what the runtime-spec does not have.
fn as_containerd_reads(document: &Document) -> Document {
    let mut read = document.clone();
    if let Architectures::Mapped(_) = read.architectures {
        read.architectures = Architectures::Listed(ArchSet::EMPTY);
    }
    read.default.named = None;
    let is_named_singly = |i: usize| {
        let name = format!("syscalls[{i}].name");
        let mut fields = document.docker_only_fields().iter();
        fields.any(|field| field.ends_with(&name))
    };
    let entries = std::mem::take(&mut read.entries).into_iter().enumerate();
    let entries = entries.filter(|(i, _)| !is_named_singly(*i));
    read.entries = entries
        .map(|(_, mut entry)| {
            (entry.includes, entry.excludes) = (Filter::NONE, Filter::NONE);
            entry.verdict.named = None;
            entry
        })
        .collect();
    read
}

/// What comes of it, compared with what was meant, and how much that matters.
fn effect(subject: &Subject<'_>, read: &Document) -> (Severity, String) {
    let profile = read.resolve(subject.target);
    let Ok(semantics) = profile.semantics() else {
        return (Severity::Error, "the rest is too complex to tell".into());
    };
    if profile.rules().is_empty() && !subject.profile.rules().is_empty() {
        let default = profile.default_action();
        return (
            Severity::Error,
            format!("what is left is {default} for every call"),
        );
    }
    let opened = |call: &Syscall| {
        let decision = semantics.decision_for(*call);
        let meant = subject.semantics.decision_for(*call);
        let less_strict = |now: Action, meant: Action| now.leniency() > meant.leniency();
        decision.find(&meant, less_strict).is_some()
    };
    let opened: Vec<_> = semantics.calls.keys().copied().filter(opened).collect();
    if !opened.is_empty() {
        let effect = format!("what is left allows more: {}", listed(&opened));
        return (Severity::Error, effect);
    }
    let lost = subject
        .profile
        .architectures()
        .without(profile.architectures());
    let lost: Vec<_> = lost.iter().collect();
    match semantics.excess_over(subject.semantics) {
        Some(Excess::Unnamed | Excess::Call(..)) => {
            (Severity::Error, "what is left allows more".into())
        }
        _ if !lost.is_empty() => (
            Severity::Warning,
            format!(
                "what is left allows less: programs of {} are killed",
                listed(&lost)
            ),
        ),
        _ => match subject.semantics.excess_over(&semantics) {
            Some(_) => (Severity::Warning, "what is left allows less".into()),
            None => {
                let differs = |call: &Syscall| {
                    let meant = subject.semantics.decision_for(*call);
                    semantics.decision_for(*call).difference(&meant).is_some()
                };
                let calls = subject.semantics.calls.keys().copied();
                let others: Vec<_> = calls.filter(differs).collect();
                if !others.is_empty() || semantics.default != subject.semantics.default {
                    let calls = if others.is_empty() {
                        "calls that nothing names".to_owned()
                    } else {
                        listed(&others)
                    };
                    let effect = format!("what is left answers {calls} with another error");
                    return (Severity::Warning, effect);
                }
                (
                    Severity::Note,
                    "what is left does the same on such nodes and in such containers".into(),
                )
            }
        },
    }
}
