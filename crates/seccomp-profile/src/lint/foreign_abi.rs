//! Ways into the kernel past the native system calls: programs of another width, and calls that carry others.

use super::{Code, Finding, Severity, Source, Subject, listed};
use crate::action::Action;
use crate::arch::Arch;
use crate::arguments::Arguments;
use crate::condition::ArgIndex;
use crate::decision::Decision;
use crate::errno::Errno;
use crate::oci::ArchSet;
use crate::syscall::Syscall;

/// Socket families that people stop, by their numbers (kernel `include/linux/socket.h`).
const FAMILIES: [(u64, &str); 14] = [
    (1, "AF_UNIX"),
    (2, "AF_INET"),
    (10, "AF_INET6"),
    (15, "AF_KEY"),
    (16, "AF_NETLINK"),
    (17, "AF_PACKET"),
    (21, "AF_RDS"),
    (29, "AF_CAN"),
    (30, "AF_TIPC"),
    (31, "AF_BLUETOOTH"),
    (38, "AF_ALG"),
    (40, "AF_VSOCK"),
    (43, "AF_SMC"),
    (44, "AF_XDP"),
];

/// One more than the largest number of a socket family (`AF_MAX`).
const AF_MAX: u64 = 46;

/// Who refuses more allows a few, and need not be told the others.
const MANY_FAMILIES: usize = 20;

pub(super) fn of(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    other_widths(subject, findings);
    multiplexers(subject, findings);
}

/// 32-bit architectures that the profile does not name, on a kernel that runs their programs.
fn other_widths(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let named = subject.profile.architectures();
    let [_, widths @ ..] = subject.target.arch.abis() else {
        return;
    };
    // Hardly a kernel runs X32 programs: that one alone is not worth a word.
    let [first, ..] = widths else { return };
    if named.contains(*first) {
        return;
    }
    let missing: Vec<_> = widths
        .iter()
        .filter(|arch| !named.contains(**arch))
        .collect();
    let permits = subject.semantics.default.is_permitted();
    let path = match subject.source {
        Source::Document { .. } => subject.path("architectures"),
        Source::Delta(_) => subject.path("base"),
    };
    findings.push(Finding {
        code: Code::KillsOtherWidth,
        severity: if permits {
            Severity::Warning
        } else {
            Severity::Note
        },
        path,
        reason: format!(
            "{} missing: 32-bit programs on {} nodes are killed with SIGSYS at their first call{}",
            match missing.len() {
                1 => format!("{} is", listed(&missing)),
                _ => format!("{} are", listed(&missing)),
            },
            subject.target.arch.native_name(),
            if permits {
                ", though the default lets calls through"
            } else {
                ""
            }
        ),
        remedy: format!(
            "add {}, or leave it so if no such program runs",
            listed(&missing)
        ),
    });
}

/// A call that another one carries.
struct Carried {
    call: Syscall,
    through: Syscall,
    arches: Vec<Arch>,
}

/// Calls with conditions, or denied ones, and the call that can carry them.
fn multiplexers(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let arches = subject.profile.architectures();
    if !arches.iter().any(Arch::multiplexes) {
        return;
    }
    let mut open: Vec<Carried> = Vec::new();
    let mut closed: Vec<Carried> = Vec::new();
    for (call, decision) in &subject.semantics.calls {
        let actions = decision.actions();
        let refuses = actions.iter().any(|action| action.refuses());
        let permits = actions.iter().any(|action| action.is_permitted());
        let Some((through, carriers)) = carriers(*call, arches) else {
            continue;
        };
        let Some(action) = carried(subject, *call, through) else {
            continue;
        };
        let carried = Carried {
            call: *call,
            through,
            arches: carriers,
        };
        if refuses && action.is_permitted() {
            open.push(carried);
        } else if permits
            && refuses
            && action.refuses()
            && !subject.semantics.calls.contains_key(&through)
        {
            // Nobody said so.
            closed.push(carried);
        }
    }
    for carried in group(open) {
        findings.push(open_finding(subject, &carried));
    }
    for carried in group(closed) {
        findings.push(closed_finding(subject, &carried));
    }
}

/// The call that can carry `call`, and the architectures on which it can.
fn carriers(call: Syscall, arches: ArchSet) -> Option<(Syscall, Vec<Arch>)> {
    let mut through = None;
    let carriers: Vec<_> = arches
        .iter()
        .filter(|arch| match call.multiplexed(*arch) {
            Some((carrier, _)) if carrier.number(*arch).is_some() => {
                through = Some(carrier);
                true
            }
            _ => false,
        })
        .collect();
    Some((through?, carriers))
}

/// What happens to `call` when it comes through `through`: libseccomp makes of each rule for it one for the carrier,
/// without the condition on the first argument, which is the number of the call there.
fn carried(subject: &Subject<'_>, call: Syscall, through: Syscall) -> Option<Action> {
    let default = subject.semantics.default;
    let decision = subject.semantics.calls.get(&through);
    if let Some(action) = decision.and_then(Decision::constant)
        && action != default
    {
        return Some(action);
    }
    if decision.is_some_and(|decision| decision.constant().is_none()) {
        return None; // by arguments that nobody would guess
    }
    let rules = subject.semantics.calls.get(&call)?.rules(default).ok()?;
    let first = rules
        .iter()
        .find(|(conditions, _)| conditions.iter().all(|condition| condition.arg.get() == 0));
    Some(first.map_or(default, |(_, action)| *action))
}

/// Those that one call carries on the same architectures, together.
fn group(all: Vec<Carried>) -> Vec<Vec<Carried>> {
    let mut groups: Vec<Vec<Carried>> = Vec::new();
    for carried in all {
        let same = |group: &&mut Vec<Carried>| {
            group.first().is_some_and(|first| {
                (first.through, &first.arches) == (carried.through, &carried.arches)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(carried),
            None => groups.push(vec![carried]),
        }
    }
    groups
}

fn open_finding(subject: &Subject<'_>, group: &[Carried]) -> Finding {
    let calls: Vec<_> = group.iter().map(|carried| carried.call).collect();
    let (through, arches) = (group[0].through, &group[0].arches);
    let socket = Syscall::named("socket").filter(|socket| calls.contains(socket));
    let families = socket.map(|socket| refused_families(subject, socket));
    let what = match families {
        Some(families) if !families.is_empty() && calls.len() == 1 => {
            format!("sockets of {}", listed(&families))
        }
        _ => listed(&calls),
    };
    let path = calls
        .iter()
        .map(|call| subject.place_of_conditions(*call))
        .next()
        .unwrap_or_default();
    Finding {
        code: Code::MultiplexerOpen,
        severity: Severity::Warning,
        path,
        reason: format!(
            "denies {what} to direct calls only: programs of {} also make them through {through}, whose arguments are in \
             memory, where no filter sees them",
            listed(arches)
        ),
        remedy: match subject.source {
            Source::Document { .. } => format!(
                "give {through} no other rule than one with SCMP_ACT_ERRNO and {}, which takes most 32-bit programs {}, or leave \
                 {} out of architectures, which kills them",
                stated_errno(subject.semantics.default),
                loses(through),
                listed(arches)
            ),
            Source::Delta(_) => format!(
                "add \"{through}\" to {}, which takes most 32-bit programs {}, or accept it where none run",
                subject.path("deny"),
                loses(through)
            ),
        },
    }
}

/// An error that is not the default's: runtimes leave out a rule that says what the default says, and then the rules for the
/// carried calls let the carrier through.
fn stated_errno(default: Action) -> &'static str {
    match default.errno() {
        Some(Errno::EPERM) => "errnoRet 13 (one that says what the default says is left out)",
        _ => "errnoRet 1",
    }
}

fn loses(through: Syscall) -> &'static str {
    if through.name() == "ipc" {
        "System V IPC"
    } else {
        "their network"
    }
}

fn closed_finding(subject: &Subject<'_>, group: &[Carried]) -> Finding {
    let calls: Vec<_> = group.iter().map(|carried| carried.call).collect();
    let (through, arches) = (group[0].through, &group[0].arches);
    Finding {
        code: Code::MultiplexerClosed,
        severity: Severity::Warning,
        path: subject.place_of_conditions(group[0].call),
        reason: format!(
            "refuses {} for some arguments, and for all arguments to programs of {} that make it through {through}, whose \
             arguments no filter sees",
            listed(&calls),
            listed(arches)
        ),
        remedy: format!(
            "accept that most 32-bit programs lose {}, or allow {through} and with it what was to be refused",
            loses(through).trim_start_matches("their ")
        ),
    }
}

/// The families of sockets that are refused, as far as they have names.
fn refused_families(subject: &Subject<'_>, socket: Syscall) -> Vec<String> {
    let decision = subject.semantics.decision_for(socket);
    let refused = (0..AF_MAX).filter(|family| {
        let args = Arguments::ZEROS.with(ArgIndex::FIRST, *family);
        decision.action_for(&args).refuses()
    });
    let refused: Vec<_> = refused.collect();
    if refused.len() > MANY_FAMILIES {
        return Vec::new();
    }
    let name = |family: &u64| {
        let known = FAMILIES.iter().find(|(number, _)| number == family);
        known.map_or_else(
            || format!("family {family}"),
            |(number, name)| format!("{name} ({number})"),
        )
    };
    refused.iter().map(name).collect()
}

impl Subject<'_> {
    /// The place that has conditions on a call, or else denies it.
    fn place_of_conditions(&self, call: Syscall) -> String {
        match &self.source {
            Source::Document { entries } => {
                let of_call = entries.iter().find(|(_, entry)| {
                    entry.syscalls.contains(&call) && !entry.conditions.is_empty()
                });
                match of_call {
                    Some((i, _)) => self.path(&format!("syscalls[{i}]")),
                    None => self.place_that_refuses(call),
                }
            }
            Source::Delta(_) => self.place_that_refuses(call),
        }
    }
}
