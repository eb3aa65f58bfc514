//! What a profile does that its author hardly wants: each finding with a code, the place, a sentence and a remedy.
//!
//! A finding is no error: the engine's errors ([`Problems`](super::Problems)) say what has no meaning at all. Each code has a
//! file of its name. Bounded: work is linear in the document, and at most [`MAX_FINDINGS`] findings are listed.
//!
//! What a profile inherits from its base is said of the base, not of every profile that derives from it.

mod by_flags;
mod code;
mod finding;
mod subject;

mod always_holds;
mod bits_outside_mask;
mod cannot_fork;
mod dangerous_allow;
mod docker_format;
mod faked_success;
mod half_seen_number;
mod hides_fallback;
mod ignored_bits;
mod io_uring_bypass;
mod kills_other_width;
mod kills_probe;
mod kills_thread;
mod lacks_counterparts;
mod lost_deny;
mod many_rules;
mod multiplexed;
mod multiplexer_closed;
mod multiplexer_open;
mod needs_listener;
mod needs_new_runtime;
mod never_holds;
mod new_calls_enosys;
mod new_namespaces;
mod no_container_starts;
mod no_op_rule;
mod no_tracer;
mod open_by_default;
mod open_twin;
mod or_conditions;
mod overridden;
mod programs_need_more;
mod quoted_number;
mod runtime_needs_more;
mod startup;
mod stops_nothing;
mod time64_stopped;
mod too_many_instructions;
mod unknown_call;
mod unknown_field;
mod unknown_to_older_runtimes;
mod unreliable_rules;
mod unused_listener;
mod void_rule;

use super::arch::Arch;
use super::capability::CapabilitySet;
use super::compose::{Chain, Lookup, Spec, field};
use super::delta::Delta;
use super::document::{Architectures, Document};
use super::loader::Loaders;
use super::target::{KernelVersion, Target};
use subject::{Source, Subject};

pub use code::Code;
pub use finding::{Finding, MAX_FINDINGS, Severity};
pub use startup::{Startup, startup};

/// How a profile comes to the container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// The engine writes the file anew for each node, so that libseccomp understands it.
    Rendered,
    /// The runtime reads what the author wrote.
    AsIs,
}

/// Adds what it finds.
type Check = fn(&Subject<'_>, &mut Vec<Finding>);

/// Of a document alone: what changes to a base cannot bring about, or make no difference to.
const OF_DOCUMENT: &[Check] = &[
    docker_format::check,
    quoted_number::check,
    unknown_call::check,
    unknown_field::check,
    unreliable_rules::check,
    needs_new_runtime::check,
    needs_listener::check,
    unused_listener::check,
    no_tracer::check,
    kills_thread::check,
    new_calls_enosys::check,
    many_rules::check,
    half_seen_number::check,
    or_conditions::check,
    lost_deny::check,
    void_rule::check,
];

/// Of what the author wrote: rules and changes one by one.
const OF_SOURCE: &[Check] = &[
    bits_outside_mask::check,
    never_holds::check,
    always_holds::check,
    faked_success::check,
    no_op_rule::check,
];

/// Of what it all comes to.
const OF_SEMANTICS: &[Check] = &[
    no_container_starts::check,
    runtime_needs_more::check,
    programs_need_more::check,
    kills_probe::check,
    hides_fallback::check,
    time64_stopped::check,
    lacks_counterparts::check,
    open_twin::check,
    cannot_fork::check,
    io_uring_bypass::check,
    stops_nothing::check,
    open_by_default::check,
    dangerous_allow::check,
    new_namespaces::check,
    kills_other_width::check,
    ignored_bits::check,
    multiplexer_open::check,
    multiplexer_closed::check,
    unknown_to_older_runtimes::check,
    too_many_instructions::check,
];

fn run(checks: &[Check], subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for check in checks {
        check(subject, findings);
    }
}

/// What its author should know of a spec on nodes of that kind, the most severe first. What is wrong with it altogether
/// [`compose`](super::compose) says; of that, nothing is said here. `at` is the path of the spec, e.g. `spec`.
#[must_use]
pub fn lint(spec: &Spec, lookup: &Lookup<'_>, target: &Target, at: &str) -> Vec<Finding> {
    lint_under(Loaders::ALL, spec, lookup, target, at)
}

/// [`lint`], for these runtimes only.
#[must_use]
pub fn lint_under(
    loaders: Loaders,
    spec: &Spec,
    lookup: &Lookup<'_>,
    target: &Target,
    at: &str,
) -> Vec<Finding> {
    match spec {
        Spec::Document(document) => {
            let at = field(at, "profile");
            lint_document_under(loaders, document, Delivery::Rendered, target, &at)
        }
        Spec::Changed { document, changes } => {
            let own = field(at, "profile");
            let of_document = |changes: &Delta, checks: &[&[Check]]| {
                lint_rules(
                    loaders,
                    document,
                    Delivery::Rendered,
                    target,
                    &own,
                    changes,
                    checks,
                )
            };
            let mut findings = of_document(&Delta::default(), &[OF_DOCUMENT, OF_SOURCE]);
            // What the document denies may stay open, and its changes may close it.
            findings.extend(of_document(changes, &[&[open_twin::check]]));
            findings.extend(lint_derived(loaders, spec, changes, lookup, target, at));
            arranged(findings)
        }
        Spec::Derived { changes, .. } => lint_derived(loaders, spec, changes, lookup, target, at),
    }
}

/// [`lint`] for the kinds of node that a cluster is likely to have and that the profile speaks of: amd64 and arm64, with
/// a current kernel. What is so on several is said once.
#[must_use]
pub fn lint_everywhere(
    spec: &Spec,
    lookup: &Lookup<'_>,
    capabilities: CapabilitySet,
    at: &str,
) -> Vec<Finding> {
    let chain = Chain::follow(spec, lookup, at).ok();
    let document = chain.as_ref().and_then(Chain::document);
    let mut findings: Vec<Finding> = Vec::new();
    for arch in document.map(Document::likely_natives).unwrap_or_default() {
        let target = Target {
            arch,
            kernel: KernelVersion::CURRENT,
            capabilities,
        };
        let same = |a: &Finding, b: &Finding| (a.code, &a.path) == (b.code, &b.path);
        let mut new = lint(spec, lookup, &target, at);
        new.retain(|finding| !findings.iter().any(|known| same(known, finding)));
        findings.append(&mut new);
    }
    arranged(findings)
}

/// What the author should know of a document that derives from nothing. `at` is its path, e.g. `spec.profile`; may be empty.
#[must_use]
pub fn lint_document(
    document: &Document,
    delivery: Delivery,
    target: &Target,
    at: &str,
) -> Vec<Finding> {
    lint_document_under(Loaders::ALL, document, delivery, target, at)
}

/// [`lint_document`], for these runtimes only.
#[must_use]
pub fn lint_document_under(
    loaders: Loaders,
    document: &Document,
    delivery: Delivery,
    target: &Target,
    at: &str,
) -> Vec<Finding> {
    let checks = &[OF_DOCUMENT, OF_SOURCE, OF_SEMANTICS];
    let none = Delta::default();
    arranged(lint_rules(
        loaders, document, delivery, target, at, &none, checks,
    ))
}

/// What these checks find of a document, with the changes that stand beside it.
fn lint_rules(
    loaders: Loaders,
    document: &Document,
    delivery: Delivery,
    target: &Target,
    at: &str,
    changes: &Delta,
    checks: &[&[Check]],
) -> Vec<Finding> {
    let profile = document.resolve(target);
    // What is too complex has no semantics, which is an error.
    let Ok(mut semantics) = profile.semantics() else {
        return Vec::new();
    };
    if semantics.change(changes, target.arch).is_err() {
        return Vec::new();
    }
    let entries = document.entries.iter().enumerate();
    let subject = Subject {
        target,
        profile: &profile,
        semantics: &semantics,
        source: Source::Document {
            document,
            delivery,
            entries: entries
                .filter(|(_, entry)| entry.applies_to(target))
                .collect(),
        },
        loaders,
        at,
    };
    let mut findings = Vec::new();
    for checks in checks {
        run(checks, &subject, &mut findings);
    }
    findings
}

fn lint_derived(
    loaders: Loaders,
    spec: &Spec,
    own: &Delta,
    lookup: &Lookup<'_>,
    target: &Target,
    at: &str,
) -> Vec<Finding> {
    let Ok(chain) = Chain::follow(spec, lookup, at) else {
        return Vec::new();
    };
    let Some(document) = chain.document() else {
        return Vec::new();
    };
    let profile = document.resolve(target);
    let Ok(mut base) = profile.semantics() else {
        return Vec::new();
    };
    for changes in chain
        .changes()
        .filter(|changes| !std::ptr::eq(*changes, own))
    {
        if base.change(changes, target.arch).is_err() {
            return Vec::new();
        }
    }
    let mut semantics = base.clone();
    if semantics.change(own, target.arch).is_err() {
        return Vec::new();
    }
    // What the document beside its changes comes to is its author's too.
    let (below, inherits) = match spec {
        Spec::Changed { .. } => ("profile", false),
        Spec::Document(_) | Spec::Derived { .. } => ("base", true),
    };
    let none = Delta::default();
    let subject = |semantics, changes| Subject {
        target,
        profile: &profile,
        semantics,
        source: Source::Delta {
            changes,
            base: &base,
            below,
        },
        loaders,
        at,
    };
    let mut inherited = Vec::new();
    if inherits {
        run(OF_SEMANTICS, &subject(&base, &none), &mut inherited);
    }
    let subject = subject(&semantics, own);
    // What is at a change of its own is the author's, whatever the base says of it.
    let mut findings = Vec::new();
    run(OF_SEMANTICS, &subject, &mut findings);
    findings.retain(|finding| !inherited.contains(finding));
    run(OF_SOURCE, &subject, &mut findings);
    arranged(findings)
}

/// The most severe first, of a kind in the order of the checks; no more than are listed.
fn arranged(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.truncate(MAX_FINDINGS);
    findings
}

impl Document {
    /// The native architectures of the nodes that it is likely meant for: amd64 and arm64, or those of the ones that
    /// Kubernetes runs on that it names.
    fn likely_natives(&self) -> Vec<Arch> {
        let is_named = |arch: &Arch| match &self.architectures {
            Architectures::Listed(arches) => arches.contains(*arch),
            Architectures::Mapped(map) => map.iter().any(|(native, _)| native == arch),
        };
        let likely = &[Arch::X86_64, Arch::Aarch64];
        let named = |arches: &[Arch]| arches.iter().copied().filter(is_named).collect::<Vec<_>>();
        let found = [named(likely), named(Arch::KUBERNETES), likely.to_vec()];
        let first = found.into_iter().find(|natives| !natives.is_empty());
        first.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
