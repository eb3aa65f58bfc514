//! `multiplexer-closed`: calls that are allowed cannot be made through a multiplexer.

use super::multiplexed::{Carried, Leak, lost_without, multiplexed};
use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let groups = multiplexed(subject, Leak::Closed).into_iter();
    findings.extend(groups.map(|group| finding(subject, &group)));
}

fn finding(subject: &Subject<'_>, group: &[Carried]) -> Finding {
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
            lost_without(through).trim_start_matches("their ")
        ),
    }
}
