//! What it takes to load the profile: flags, listeners, versions, sizes; and what runtimes make of it.

use super::{Code, Delivery, Finding, Severity, Source, Subject, listed};
use crate::action::Action;
use crate::arch::Arch;
use crate::document::Document;
use crate::model::Miscompilation;
use crate::oci::{Flag, Rule};
use crate::syscall::Syscall;

/// How many rules KEP-6061 lets a runtime take from a registry.
const KEP_6061: usize = 128;

/// How many BPF instructions the kernel loads for one filter (`BPF_MAXINSNS`).
const BPF_MAXINSNS: usize = 4096;

/// libseccomp's versions, the kernels whose calls they know, and the number of the newest, which is the same on all
/// architectures since 424 (but for the bases of X32 and MIPS).
const LIBSECCOMP: [(&str, &str, u32); 3] = [
    ("2.5.4", "5.17", 450),
    ("2.5.5", "6.7", 456),
    ("2.6.0", "6.13", 466),
];

pub(super) fn of(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    unknown_calls(subject, findings);
    too_large(subject, findings);
}

/// What changes cannot bring about, or make no difference to.
pub(super) fn of_document(
    document: &Document,
    delivery: Delivery,
    subject: &Subject<'_>,
    findings: &mut Vec<Finding>,
) {
    if delivery == Delivery::AsIs {
        as_is(document, subject, findings);
    }
    flags(subject, findings);
    listener(subject, findings);
    odd_actions(subject, findings);
    new_calls(subject, findings);
    if document.entries.len() > KEP_6061 {
        findings.push(Finding {
            code: Code::ManyRules,
            severity: Severity::Note,
            path: subject.path("syscalls"),
            reason: format!(
                "has {} rules, and runtimes will take at most {KEP_6061} from a registry (KEP-6061)",
                document.entries.len()
            ),
            remedy: "put several names into one rule, as `kubectl seccomp convert` does".into(),
        });
    }
}

fn flags(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
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

fn listener(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(listener) = subject.profile.listener() else {
        return;
    };
    let mut rules = subject.profile.rules().iter();
    if rules.any(|rule| rule.action() == Action::Notify) {
        findings.push(Finding {
            code: Code::NeedsListener,
            severity: Severity::Warning,
            path: subject.path("listenerPath"),
            reason: format!(
                "no container starts while nobody listens on {:?}, and runtimes take no such profile from a registry (KEP-6061)",
                listener.path
            ),
            remedy: "make sure that the agent is there before the pods, on every node".into(),
        });
    } else {
        findings.push(Finding {
            code: Code::UnusedListener,
            severity: Severity::Warning,
            path: subject.path("listenerPath"),
            reason: "is never asked: no rule has SCMP_ACT_NOTIFY".into(),
            remedy: "remove it, or give the calls to be asked about SCMP_ACT_NOTIFY".into(),
        });
    }
}

fn odd_actions(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Source::Document { entries } = &subject.source else {
        return;
    };
    let default = (
        subject.path("defaultAction"),
        subject.profile.default_action(),
    );
    let rules = entries.iter().map(|(i, entry)| {
        let path = subject.path(&format!("syscalls[{i}].action"));
        (path, entry.verdict.on(subject.target.arch))
    });
    let (mut traced, mut killed) = (false, false);
    for (path, action) in std::iter::once(default).chain(rules) {
        match action {
            Action::Trace(_) if !traced => {
                traced = true;
                findings.push(Finding {
                    code: Code::NoTracer,
                    severity: Severity::Warning,
                    path,
                    reason: "asks a tracer, and a container has none: the call fails with ENOSYS"
                        .into(),
                    remedy: "use SCMP_ACT_LOG to see calls, or SCMP_ACT_ERRNO to deny them".into(),
                });
            }
            Action::KillThread if !killed => {
                killed = true;
                findings.push(Finding {
                    code: Code::KillsThread,
                    severity: Severity::Note,
                    path,
                    reason: "kills the calling thread only: a program with several goes on without it, and may hang".into(),
                    remedy: "use SCMP_ACT_KILL_PROCESS".into(),
                });
            }
            _ => {}
        }
    }
}

/// A default that kills, of which runc makes `ENOSYS` for new calls.
fn new_calls(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let default = subject.profile.default_action();
    if !matches!(
        default,
        Action::KillProcess | Action::KillThread | Action::Trap
    ) {
        return;
    }
    let native = subject.target.arch;
    let calls = subject.profile.rules().iter().flat_map(Rule::syscalls);
    let last = calls
        .filter_map(|call| Some((call.number(native)?, *call)))
        .max();
    let Some((_, last)) = last else { return };
    findings.push(Finding {
        code: Code::NewCallsEnosys,
        severity: Severity::Note,
        path: subject.path("defaultAction"),
        reason: format!(
            "does not happen to calls newer than {last}, the newest that a rule names: runc answers them with ENOSYS, without \
             a record"
        ),
        remedy: "name a newer call in a rule to move the limit; crun has none".into(),
    });
}

/// Denied calls that the libseccomp of older runtimes does not know.
fn unknown_calls(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let default = subject.semantics.default;
    for (path, calls, _) in subject.denials() {
        let mut unknown: Vec<(u32, Syscall)> = calls
            .iter()
            .filter(|call| {
                // Where the default is no less strict, nothing is lost.
                let refused = subject.semantics.decision_for(**call).actions();
                refused
                    .into_iter()
                    .any(|action| action.refuses() && action.leniency() < default.leniency())
            })
            .filter_map(|call| Some((unified(*call)?, *call)))
            .filter(|(number, _)| *number > LIBSECCOMP[0].2)
            .collect();
        unknown.sort_unstable();
        let Some((oldest, _)) = unknown.first() else {
            continue;
        };
        let (version, kernel, _) = LIBSECCOMP
            .iter()
            .rev()
            .find(|(.., newest)| newest < oldest)
            .unwrap_or(&LIBSECCOMP[0]);
        let calls: Vec<_> = unknown.iter().map(|(_, call)| *call).collect();
        findings.push(Finding {
            code: Code::UnknownToOlderRuntimes,
            severity: Severity::Note,
            path,
            reason: format!(
                "denies {}, and runtimes with libseccomp {version} or older, which knows the calls of Linux {kernel}, drop that \
                 without a word",
                listed(&calls)
            ),
            remedy: "make sure that nodes with newer kernels have newer runtimes, or deny by default and allow by name".into(),
        });
    }
}

/// The number of a call of those that are the same on all architectures.
fn unified(call: Syscall) -> Option<u32> {
    call.number(Arch::Aarch64).filter(|number| *number >= 424)
}

/// More rules than the kernel has instructions for: each takes one at least.
fn too_large(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let default = subject.semantics.default;
    let arches = |call: &Syscall| {
        let arches = subject.profile.architectures().iter();
        arches.filter(|arch| call.number(*arch).is_some()).count()
    };
    let mut instructions = 0;
    let calls = subject.semantics.calls.iter();
    for (call, decision) in calls.filter(|(call, _)| subject.is_reachable(**call)) {
        instructions += arches(call)
            * match decision.constant() {
                Some(action) => usize::from(action != default),
                // What cannot be written takes more conditions than that.
                None => decision
                    .rules(default)
                    .map_or(BPF_MAXINSNS + 1, |rules| rules.len()),
            };
        if instructions > BPF_MAXINSNS {
            break;
        }
    }
    if instructions > BPF_MAXINSNS {
        findings.push(Finding {
            code: Code::TooManyInstructions,
            severity: Severity::Error,
            path: match subject.source {
                Source::Document { .. } => subject.path("syscalls"),
                Source::Delta(_) => subject.path("deny"),
            },
            reason: format!(
                "takes more than {BPF_MAXINSNS} instructions, and the kernel loads no more: no container starts"
            ),
            remedy: "use fewer and wider conditions (SCMP_CMP_MASKED_EQ, ranges), or name fewer architectures".into(),
        });
    }
}

/// What runtimes make of the document when they read it as it is.
fn as_is(document: &Document, subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if let [first, others @ ..] = document.docker_only_fields() {
        findings.push(Finding {
            code: Code::DockerFormat,
            severity: Severity::Error,
            path: first.clone(),
            reason: format!(
                "belongs to Docker's format{}: containerd drops it without a word, and what is left allows far more",
                match others.len() {
                    0 => String::new(),
                    1 => ", and so does another field".into(),
                    more => format!(", and so do {more} other fields"),
                }
            ),
            remedy: "write the file with `kubectl seccomp convert`, or make it a SeccompProfile".into(),
        });
    }
    let Ok(model) = subject.profile.model() else {
        return;
    };
    let mut seen: Vec<(Option<u32>, String)> = Vec::new();
    for flaw in model.flaws() {
        let (reason, _) = flaw.explained();
        let severity = match flaw {
            Miscompilation::Merge { .. } => Severity::Warning,
            _ => Severity::Error,
        };
        let call = flaw.call();
        let path = call
            .and_then(|call| subject.entry_of(call))
            .unwrap_or_else(|| subject.path("syscalls"));
        if seen.len() >= 5 || seen.iter().any(|(_, known)| *known == path) {
            continue;
        }
        seen.push((flaw.number(), path.clone()));
        findings.push(Finding {
            code: Code::UnreliableRules,
            severity,
            path,
            reason,
            remedy: "write the file with `kubectl seccomp convert`, which finds rules that libseccomp combines as meant".into(),
        });
    }
}

impl Subject<'_> {
    /// The first entry with a call.
    fn entry_of(&self, call: Syscall) -> Option<String> {
        let Source::Document { entries } = &self.source else {
            return None;
        };
        let of_call = entries
            .iter()
            .find(|(_, entry)| entry.syscalls.contains(&call));
        of_call.map(|(i, _)| self.path(&format!("syscalls[{i}]")))
    }
}
