//! What a profile does that its author hardly wants: each with a code, the place, a sentence and a remedy.
//!
//! A finding is no error: the engine's errors ([`Problems`](super::Problems)) say what has no meaning at all. Every code is
//! explained in `docs/lint.md`, whose examples are tests. Bounded: work is linear in the document, and at most
//! [`MAX_FINDINGS`] findings are listed.
//!
//! What a profile inherits from its base is said of the base, not of every profile that stands on it.

mod code;

mod bypass;
mod foreign_abi;
mod rules;
mod runtime_support;
mod startup;

use std::fmt;

use super::action::Action;
use super::arch::Arch;
use super::capability::CapabilitySet;
use super::compose::{Chain, Lookup, Spec};
use super::decision::Decision;
use super::delta::{Delta, DeltaEntry};
use super::document::{Architectures, Document, Entry};
use super::errno::{Errno, StatedErrno};
use super::oci::Profile;
use super::semantics::Semantics;
use super::syscall::Syscall;
use super::target::{KernelVersion, Target};

pub use code::Code;

/// How many findings one answer lists. Nobody reads past a screen of them.
pub const MAX_FINDINGS: usize = 50;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing, and nothing to change where it is meant so.
    Note,
    /// The profile does less or more than it seems to.
    Warning,
    /// No container starts, or what the profile says has no effect at all.
    Error,
}

impl Severity {
    /// In lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that the author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of thing, for programs and for `docs/lint.md`.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// The field that it is about, e.g. `spec.profile.syscalls[3].args[0]`.
    pub path: String,
    /// What is so, a lower-case clause that follows "`path`:".
    pub reason: String,
    /// What to do about it, an imperative clause.
    pub remedy: String,
}

/// `path: reason; remedy [code]`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            path,
            reason,
            remedy,
            ..
        } = self;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        write!(f, "{reason}; {remedy} [{code}]")
    }
}

/// How a profile comes to the container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// The engine writes the file anew for each node, so that libseccomp understands it.
    Rendered,
    /// The runtime reads what the author wrote.
    AsIs,
}

/// What is to be known of a spec on nodes of that kind, the most severe first. What is wrong with it altogether
/// [`compose`](super::compose) says; of that, nothing is said here. `at` is where the spec stands, e.g. `spec`.
#[must_use]
pub fn lint(spec: &Spec, lookup: &Lookup<'_>, target: &Target, at: &str) -> Vec<Finding> {
    match spec {
        Spec::Document(document) => {
            let at = format!("{at}.profile");
            lint_document(document, Delivery::Rendered, target, &at)
        }
        Spec::Derived { changes, .. } => derived(spec, changes, lookup, target, at),
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
        for finding in lint(spec, lookup, &target, at) {
            let same = |known: &Finding| (known.code, &known.path) == (finding.code, &finding.path);
            if !findings.iter().any(same) {
                findings.push(finding);
            }
        }
    }
    arranged(findings)
}

/// What is to be known of a document that stands for itself. `at` is where it stands, e.g. `spec.profile`; may be empty.
#[must_use]
pub fn lint_document(
    document: &Document,
    delivery: Delivery,
    target: &Target,
    at: &str,
) -> Vec<Finding> {
    let profile = document.resolve(target);
    // What is too complex has no meaning, which is an error.
    let Ok(semantics) = profile.semantics() else {
        return Vec::new();
    };
    let entries = document.entries.iter().enumerate();
    let subject = Subject {
        target,
        profile: &profile,
        semantics: &semantics,
        source: Source::Document {
            entries: entries
                .filter(|(_, entry)| entry.applies_to(target))
                .collect(),
        },
        at,
    };
    let mut findings = Vec::new();
    runtime_support::of_document(document, delivery, &subject, &mut findings);
    rules::of(&subject, &mut findings);
    findings.extend(subject.findings());
    arranged(findings)
}

fn derived(
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
    let of = |semantics, changes| Subject {
        target,
        profile: &profile,
        semantics,
        source: Source::Delta(changes),
        at,
    };
    let none = Delta::default();
    let inherited = of(&base, &none).findings();
    let subject = of(&semantics, own);
    // What is at a change of its own is the author's, whatever the base says of it.
    let mut findings = subject.findings();
    findings.retain(|finding| !inherited.contains(finding));
    rules::of_changes(own, &base, &subject, &mut findings);
    arranged(findings)
}

/// The most severe first, of a kind in the order of the document; no more than are listed.
fn arranged(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.truncate(MAX_FINDINGS);
    findings
}

/// What the checks look at.
struct Subject<'a> {
    target: &'a Target,
    /// Its rules are those of the document at the bottom.
    profile: &'a Profile,
    /// What it all comes to.
    semantics: &'a Semantics,
    source: Source<'a>,
    at: &'a str,
}

/// What the author wrote.
enum Source<'a> {
    /// The entries of `syscalls` that apply to the target, with their places.
    Document { entries: Vec<(usize, &'a Entry)> },
    /// Changes to a base.
    Delta(&'a Delta),
}

impl Subject<'_> {
    /// The checks of what it comes to.
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        startup::of(self, &mut findings);
        bypass::of(self, &mut findings);
        foreign_abi::of(self, &mut findings);
        runtime_support::of(self, &mut findings);
        findings
    }

    /// What happens to a call, if that does not depend on its arguments.
    fn always(&self, call: Syscall) -> Option<Action> {
        let decision = self.semantics.calls.get(&call);
        decision.map_or(Some(self.semantics.default), Decision::constant)
    }

    /// Whether a call is made, whatever its arguments.
    fn is_open(&self, call: Syscall) -> bool {
        self.always(call).is_some_and(Action::is_permitted)
    }

    /// Whether some architecture of the profile has the call.
    fn is_reachable(&self, call: Syscall) -> bool {
        let mut arches = self.profile.architectures().iter();
        arches.any(|arch| call.number(arch).is_some())
    }

    /// What the author denies by name: the place, the calls, and whether for some arguments only. What an answer of
    /// `ENOSYS` says is "use an older call instead", which denies nothing.
    fn denials(&self) -> Vec<(String, &[Syscall], bool)> {
        let denies = |action: Action| action.refuses() && action != enosys(self.target.arch);
        match &self.source {
            Source::Document { entries } => entries
                .iter()
                .filter(|(_, entry)| denies(entry.verdict.on(self.target.arch)))
                .map(|(i, entry)| {
                    let path = self.path(&format!("syscalls[{i}]"));
                    (
                        path,
                        entry.syscalls.as_slice(),
                        !entry.conditions.is_empty(),
                    )
                })
                .collect(),
            Source::Delta(changes) => changes
                .deny
                .iter()
                .enumerate()
                .filter(|(_, change)| {
                    let errno = change.errno.map(|errno| errno.on(self.target.arch));
                    errno.is_none_or(|errno| denies(Action::Errno(errno)))
                })
                .map(|(i, change)| {
                    let path = self.path(&format!("deny[{i}]"));
                    (path, change.calls.as_slice(), !change.conditions.is_empty())
                })
                .collect(),
        }
    }

    /// The place that permits a call.
    fn place_that_permits(&self, call: Syscall) -> String {
        match &self.source {
            Source::Document { entries } => {
                let of_call = entries.iter().find(|(_, entry)| {
                    entry.syscalls.contains(&call) && entry.verdict.action.is_permitted()
                });
                match of_call {
                    Some((i, _)) => self.path(&format!("syscalls[{i}]")),
                    None => self.path("defaultAction"),
                }
            }
            Source::Delta(changes) => {
                let of_call = |(_, change): &(usize, &DeltaEntry)| change.calls.contains(&call);
                let allowed = changes.allow.iter().enumerate().find(of_call);
                let logged = changes.log.iter().enumerate().find(of_call);
                match (logged, allowed) {
                    (Some((i, _)), _) => self.path(&format!("log[{i}]")),
                    (None, Some((i, _))) => self.path(&format!("allow[{i}]")),
                    (None, None) => self.path("base"),
                }
            }
        }
    }

    /// The place that refuses a call: a rule, or else what says it of all calls.
    fn place_that_refuses(&self, call: Syscall) -> String {
        let denials = self.denials();
        let of_call = denials.iter().find(|(_, calls, _)| calls.contains(&call));
        match (of_call, &self.source) {
            (Some((path, ..)), _) => path.clone(),
            (None, Source::Document { .. }) => self.path("defaultAction"),
            (None, Source::Delta(_)) => self.path("base"),
        }
    }

    /// The path of one of its fields.
    fn path(&self, field: &str) -> String {
        if self.at.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.at)
        }
    }

    /// How the author names further calls to be denied: `add "x" and "y" to spec.deny`.
    fn deny_too(&self, calls: &[Syscall], place: &str) -> String {
        match &self.source {
            Source::Document { .. } => format!("add {} to {place}.names", listed(calls)),
            Source::Delta(_) => format!("add {} to {}", listed(calls), self.path("deny")),
        }
    }
}

impl Document {
    /// The native architectures of the nodes that it is likely meant for: amd64 and arm64, or those of the ones that
    /// Kubernetes runs on that it names.
    fn likely_natives(&self) -> Vec<Arch> {
        let named = |arch: &Arch| match &self.architectures {
            Architectures::Listed(arches) => arches.contains(*arch),
            Architectures::Mapped(map) => map.iter().any(|(native, _)| native == arch),
        };
        let likely = &[Arch::X86_64, Arch::Aarch64];
        let mut natives: Vec<_> = likely.iter().copied().filter(named).collect();
        if natives.is_empty() {
            natives = Arch::KUBERNETES.iter().copied().filter(named).collect();
        }
        if natives.is_empty() {
            natives = likely.to_vec();
        }
        natives
    }
}

/// `ENOSYS` as an action.
fn enosys(arch: Arch) -> Action {
    let errno = StatedErrno::named("ENOSYS");
    Action::Errno(errno.map_or(Errno::ENOSYS, |errno| errno.on(arch)))
}

/// The calls of these names, in that order.
fn named(names: &str) -> impl Iterator<Item = Syscall> {
    names.split_whitespace().filter_map(Syscall::named)
}

/// `a`, `a and b`, `a, b and c`, `a, b, c and 4 more`
fn listed<T: fmt::Display>(words: &[T]) -> String {
    const SHOWN: usize = 8;
    let shown = &words[..words.len().min(SHOWN)];
    let mut shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
    if words.len() > SHOWN {
        shown.push(format!("{} more", words.len() - SHOWN));
    }
    match shown.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests;
