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
use crate::lines::Span;
use std::hash::BuildHasher as _;
use std::sync::Arc;

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

/// What is seen of a record without those before it.
#[derive(Debug)]
struct Sight {
    /// Where among the fields the kernel's own are.
    record: Span,
    /// Whether whoever looks for each field has to find those of the kernel.
    is_sure: bool,
    written: Option<Written>,
}

impl Sight {
    fn of(needles: &Needles, hasher: &QuickHash, fields: &str, kind: Kind) -> Self {
        // Where it nearly always is, it need not be searched for.
        let is_first = fields.starts_with(" auid=");
        let auid = if is_first {
            Some(1)
        } else {
            needles.auid.find(fields)
        };
        let start = auid.unwrap_or(0);
        let record = &fields[start..];
        let end = memchr::memchr(0x1d, record.as_bytes()).unwrap_or(record.len());
        let (record, added) = record.split_at(end);
        let record = record.trim_end();
        let is_sure = auid.is_some_and(|at| at <= 1)
            && (added.is_empty()
                || [&needles.arch, &needles.syscall, &needles.code]
                    .iter()
                    .all(|key| key.find(added).is_none()));
        let written = match kind {
            Kind::Seccomp => Written::read(needles, hasher, record),
            Kind::Rule => None,
        };
        Self {
            record: Span::new(start, record),
            is_sure,
            written,
        }
    }
}

/// What is seen of a line of auditd's.
#[derive(Debug)]
pub struct Glance {
    /// Where the record's fields begin.
    fields: Span,
    sight: Sight,
}

impl Glance {
    /// What auditd writes, in nothing else: neither a loss nor a number of the kernel's log is in it.
    fn at(needles: &Needles, hasher: &QuickHash, line: &str) -> Option<Self> {
        let record = line.strip_prefix("type=SECCOMP msg=audit(")?;
        let end = memchr::memchr(b')', record.as_bytes())?;
        let fields = record[end..].strip_prefix("):")?;
        Some(Self {
            fields: Span::new(line.len() - fields.len(), fields),
            sight: Sight::of(needles, hasher, fields, Kind::Seccomp),
        })
    }
}

/// Reads line by line.
#[derive(Debug)]
pub struct Reader {
    needles: Arc<Needles>,
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
            needles: Arc::new(Needles::new(MARKS.map(|(mark, ..)| mark))),
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

    /// What glances at lines for [`Self::read`].
    pub fn glance(&self) -> impl Fn(&str) -> Option<Glance> + Sync + use<> {
        let (needles, hasher) = (Arc::clone(&self.needles), self.hasher.clone());
        move |line| Glance::at(&needles, &hasher, line)
    }

    /// Reads a line. A call that another record has told of is not told of again.
    pub fn read(
        &mut self,
        line: &str,
        glance: Option<Glance>,
        found: &mut dyn FnMut(&Call<'_>),
    ) -> Seen {
        if let Some(Glance { fields, sight }) = glance {
            let fields = fields.of(line);
            return self.read_record(fields, &sight, Kind::Seccomp, Way::Auditd, found);
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
            Some((fields, kind, way)) => {
                let sight = Sight::of(needles, &self.hasher, fields, kind);
                self.read_record(fields, &sight, kind, way, found)
            }
            None => Seen::Silent,
        }
    }

    fn read_record(
        &mut self,
        fields: &str,
        sight: &Sight,
        kind: Kind,
        way: Way,
        found: &mut dyn FnMut(&Call<'_>),
    ) -> Seen {
        let record = sight.record.of(fields);
        let copies = &mut self.copies;
        let mut is_new = |record: u64, pid: Option<u32>, arch, called| {
            copies.is_new(record, way as usize)
                && pid.is_none_or(|pid| copies.is_new((pid, arch, called), kind as usize))
        };
        let known = match (&mut self.repeats, &sight.written) {
            (Some(repeats), Some(written)) if sight.is_sure => repeats.find(written, record),
            _ => None,
        };
        if let (Some(known), Some(written)) = (known, &sight.written) {
            self.whole |= way == Way::Journal;
            if is_new(written.number, Some(written.pid), known.arch, known.called) {
                known.times += 1;
                return Seen::Used;
            }
            return Seen::Silent;
        }
        let Some(parts) = Record::read(&self.needles, fields, kind) else {
            return Seen::Unreadable;
        };
        self.whole |= way == Way::Journal;
        let call = parts.call();
        let number = match &sight.written {
            Some(written) => written.number,
            None => self.hasher.hash_one((record, kind as u8)),
        };
        let is_new = is_new(number, call.pid, call.arch, call.called);
        if let (Some(repeats), Some(written)) = (&mut self.repeats, &sight.written)
            && sight.is_sure
        {
            if repeats.is_full() {
                repeats.take(&mut *found);
            }
            repeats.learn(written, record, &call);
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
