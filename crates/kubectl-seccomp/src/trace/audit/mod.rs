//! What one line of a kernel log, a journal or an audit log says of a call that seccomp stopped or logged. Pure.
//!
//! The record is `AUDIT_SECCOMP`, number 1326, of the kernel's `kernel/auditsc.c`. Its line looks different wherever it is
//! kept, and so do its values once `ausearch -i` has put them into words.

mod needles;
mod record;
mod repeats;
#[cfg(test)]
mod tests;

use super::call::{Call, Seen};
use super::carrier;
use super::copies::Copies;
use super::quick_hash::QuickHash;
use std::hash::BuildHasher as _;

use needles::Needles;
use record::Record;
use repeats::{Repeats, Written};

/// How a record begins, what of, and by which way it came.
const MARKS: [(&str, Kind, Way); 6] = [
    ("type=1326", Kind::Seccomp, Way::Kernel),
    ("type=SECCOMP", Kind::Seccomp, Way::Auditd),
    ("SECCOMP", Kind::Seccomp, Way::Journal),
    ("type=1300", Kind::Rule, Way::Kernel),
    ("type=SYSCALL", Kind::Rule, Way::Auditd),
    ("SYSCALL", Kind::Rule, Way::Journal),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A filter stopped or logged the call.
    Seccomp,
    /// A rule of audit (`auditctl -a always,exit -S all`) was true of it.
    Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Printed by the kernel, which leaves out what comes too fast.
    Kernel,
    /// Written by auditd.
    Auditd,
    /// Received by journald, which has `audit[PID]:` before it, and all of them.
    Journal,
}

/// Reads line by line.
#[derive(Debug)]
pub struct Reader {
    needles: Needles,
    copies: Copies,
    hasher: QuickHash,
    /// The last serial number that the kernel has printed in this input.
    serial: Option<u64>,
    missing: u64,
    whole: bool,
    /// Calls that are counted and not told of yet; none where each record is.
    repeats: Option<Repeats>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            needles: Needles::new(MARKS.map(|(mark, ..)| mark)),
            copies: Copies::default(),
            hasher: QuickHash::default(),
            serial: None,
            missing: 0,
            whole: false,
            repeats: None,
        }
    }
}

impl Reader {
    /// Tells of calls together, and not whose each was.
    pub fn without_pids(self) -> Self {
        let repeats = Some(Repeats::default());
        Self { repeats, ..self }
    }

    /// To be called before the first line of each input.
    pub fn begin(&mut self) {
        self.serial = None;
        self.missing = 0;
        self.whole = false;
    }

    /// Reads a line. A call that another record has told of is not told of again.
    pub fn read(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        // What auditd writes, in nothing else: neither a loss nor a number of the kernel's log is in it.
        if let Some(record) = line.strip_prefix("type=SECCOMP msg=audit(")
            && let Some(end) = memchr::memchr(b')', record.as_bytes())
            && let Some(fields) = record[end..].strip_prefix("):")
        {
            return self.read_record(fields, Kind::Seccomp, Way::Auditd, found);
        }
        let Some(line) = carrier::unwrapped(line) else {
            return Seen::Unreadable;
        };
        let needles = &self.needles;
        if let Some(lost) = lost(needles, &line) {
            return Seen::Lost(lost);
        }
        if let Some(serial) = printed_serial(needles, &line) {
            let before = self.serial.replace(serial).unwrap_or(serial);
            // Several records can have one number; after a boot they begin anew.
            let gap = serial.saturating_sub(before).saturating_sub(1);
            self.missing = self.missing.saturating_add(gap);
        }
        match record(needles, &line) {
            Some((fields, kind, way)) => self.read_record(fields, kind, way, found),
            None => Seen::Silent,
        }
    }

    fn read_record(
        &mut self,
        fields: &str,
        kind: Kind,
        way: Way,
        found: &mut dyn FnMut(&Call<'_>),
    ) -> Seen {
        let needles = &self.needles;
        let auid = needles.auid.find(fields);
        let same_record = auid.map_or(fields, |at| &fields[at..]);
        let end = memchr::memchr(0x1d, same_record.as_bytes()).unwrap_or(same_record.len());
        let (same_record, added) = same_record.split_at(end);
        let same_record = same_record.trim_end();
        let copies = &mut self.copies;
        let mut is_new = |record: u64, pid: Option<u32>, arch, called| {
            copies.is_new(record, way as usize)
                && pid.is_none_or(|pid| copies.is_new((pid, arch, called), kind as usize))
        };
        // Whoever looks for each field has to find those of the kernel.
        let is_sure = auid.is_some_and(|at| at <= 1)
            && (added.is_empty()
                || [&needles.arch, &needles.syscall, &needles.code]
                    .iter()
                    .all(|key| key.find(added).is_none()));
        let mut written = None;
        if let Some(repeats) = &mut self.repeats
            && kind == Kind::Seccomp
            && let Some(parts) = Written::read(needles, same_record)
        {
            let (of_kind, own) = repeats.hashes(&parts);
            if is_sure && let Some(known) = repeats.find(of_kind, &parts) {
                self.whole |= way == Way::Journal;
                if is_new(own, Some(parts.pid), known.arch, known.called) {
                    known.times += 1;
                    return Seen::Used;
                }
                return Seen::Silent;
            }
            written = Some((parts, of_kind, own));
        }
        let Some(record) = Record::read(needles, fields, kind) else {
            return Seen::Unreadable;
        };
        self.whole |= way == Way::Journal;
        let call = record.call();
        let own = match written {
            Some((.., own)) => own,
            None => self.hasher.hash_one((same_record, kind as u8)),
        };
        let is_new = is_new(own, call.pid, call.arch, call.called);
        if let (Some(repeats), Some((parts, of_kind, _)), true) =
            (&mut self.repeats, &written, is_sure)
        {
            if repeats.is_full() {
                repeats.take(&mut *found);
            }
            repeats.learn(*of_kind, parts, &record);
        }
        if is_new {
            found(&call);
            Seen::Used
        } else {
            Seen::Silent
        }
    }

    /// To be called after the last line of each input.
    pub fn end(&mut self, found: &mut dyn FnMut(&Call<'_>)) {
        if let Some(repeats) = &mut self.repeats {
            repeats.take(found);
        }
    }

    /// How many records are missing between the serial numbers of this input; none where audit's own way holds all.
    pub fn missing(&self) -> Option<u64> {
        (!self.whole).then_some(self.missing)
    }
}

/// The serial number of a record, of any type, that the kernel has printed: `audit: type=1326 audit(1795474870.398:22725):`
fn printed_serial(needles: &Needles, line: &str) -> Option<u64> {
    let rest = needles.printed.after(line)?;
    let (kind, rest) = rest.split_once(" audit(")?;
    let (time, _) = rest
        .split_once(')')
        .filter(|_| kind.bytes().all(|b| b.is_ascii_digit()))?;
    time.rsplit_once(':')?.1.parse().ok()
}

/// How many records the kernel says it has left out, if that is what the line says.
fn lost(needles: &Needles, line: &str) -> Option<u64> {
    if let Some(rest) = needles.suppressed.after(line) {
        return rest.split_once(" callbacks suppressed")?.0.parse().ok();
    }
    // `audit: audit_lost=7 audit_rate_limit=0 audit_backlog_limit=64`, the total so far: that some are lost is enough.
    needles.audit_lost.find(line).map(|_| 1)
}

/// The part of the line that holds the record's fields.
fn record<'l>(needles: &Needles, line: &'l str) -> Option<(&'l str, Kind, Way)> {
    let marks = MARKS.into_iter().zip(&needles.marks);
    marks.into_iter().find_map(|((mark, kind, way), needle)| {
        let at = needle.find_all(line).find(|at| {
            let before = line[..*at].chars().next_back();
            let after = line[at + mark.len()..].chars().next();
            before.is_none_or(char::is_whitespace) && after.is_none_or(char::is_whitespace)
        })?;
        let fields = &line[at + mark.len()..];
        // The bare word may stand in anybody's message.
        let is_record = mark.starts_with("type=") || needles.syscall.find(fields).is_some();
        is_record.then_some((fields, kind, way))
    })
}
