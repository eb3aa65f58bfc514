//! `multiplexer-open`: calls that are denied can be made through a multiplexer, by 32-bit programs as a rule.

use super::multiplexed::{Carried, Leak, lost_without, multiplexed};
use super::subject::{Source, Subject, listed};
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::arguments::Arguments;
use crate::condition::ArgIndex;
use crate::errno::Errno;
use crate::syscall::Syscall;

/// Socket families that people stop, by their numbers (kernel `include/linux/socket.h`).
const FAMILIES: &[(u64, &str)] = &[
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
const MAX_FAMILIES: usize = 20;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let groups = multiplexed(subject, Leak::Open).into_iter();
    findings.extend(groups.map(|group| finding(subject, &group)));
}

fn finding(subject: &Subject<'_>, group: &[Carried]) -> Finding {
    let calls: Vec<_> = group.iter().map(|carried| carried.call).collect();
    let (through, arches) = (group[0].through, &group[0].arches);
    let families = match calls[..] {
        [Syscall::SOCKET] => refused_families(subject),
        _ => Vec::new(),
    };
    let what = if families.is_empty() {
        listed(&calls)
    } else {
        format!("sockets of {}", listed(&families))
    };
    let path = subject.place_of_conditions(group[0].call);
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
                lost_without(through),
                listed(arches)
            ),
            Source::Delta { .. } => format!(
                "add \"{through}\" to {}, which takes most 32-bit programs {}, or accept it where none run",
                subject.path("deny"),
                lost_without(through)
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

/// The families of sockets that are refused, as far as they have names.
fn refused_families(subject: &Subject<'_>) -> Vec<String> {
    let decision = subject.semantics.decision_for(Syscall::SOCKET);
    let refused = (0..AF_MAX).filter(|family| {
        let args = Arguments::ZEROS.with(ArgIndex::FIRST, *family);
        decision.action_for(&args).refuses()
    });
    let refused: Vec<_> = refused.collect();
    if refused.len() > MAX_FAMILIES {
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
