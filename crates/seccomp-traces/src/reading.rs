//! Inputs are read, and what they tell of is counted.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::audit;
use crate::call::{Call, Seen};
use crate::counters::{CallCounters, Filter};
use crate::lines;
use crate::parser::{AnyLines, Parser, Tracers};
use seccomp_profile::Arch;

/// How many lines were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// All lines.
    pub read: u64,
    /// Those that told of calls.
    pub used: u64,
    /// Those that were not understood.
    pub unreadable: u64,
    /// How many records the kernel said it had left out.
    pub lost: u64,
}

/// The first line that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// The input that it is in.
    pub input: String,
    /// Which line of it, from 1.
    pub number: u64,
    /// How it begins, as it is: not everything in it need be harmless to a terminal.
    pub start: String,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// The calls.
    pub counters: CallCounters,
    /// The lines.
    pub lines: Lines,
    /// The first line that was not understood.
    pub puzzle: Option<Puzzle>,
    /// What is wrong with what was.
    pub caveat: Option<&'static str>,
}

/// How far an input is read, for another thread to show while it is.
#[derive(Debug, Default)]
pub struct Progress {
    lines: AtomicU64,
    used: AtomicU64,
}

impl Progress {
    fn set(&self, lines: u64, used: u64) {
        self.lines.store(lines, Ordering::Relaxed);
        self.used.store(used, Ordering::Relaxed);
    }

    /// The lines of this input.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// The lines of all inputs that told of calls.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Reads traces of one form.
pub struct Traces {
    form: Form,
    counts: Counts,
}

enum Form {
    Tracers(Box<Tracers>),
    Audit(Box<audit::Reader>),
    Any(Box<AnyLines>),
}

struct Counts {
    filter: Filter,
    reading: Reading,
}

impl Traces {
    /// What strace, perf and bpftrace write on a machine of that architecture. If the filter names no processes, calls that are alike
    /// are told of together, and not whose each was.
    #[must_use]
    pub fn of_tracers(native: Arch, filter: Filter) -> Self {
        let mut tracers = Tracers::new(native);
        if filter.pids.is_empty() {
            tracers.strace = tracers.strace.without_pids();
        }
        Self::new(Form::Tracers(Box::new(tracers)), filter)
    }

    /// The records of audit, wherever they are kept. If the filter names no processes, calls that are alike are told of together, and not
    /// whose each was.
    #[must_use]
    pub fn of_audit(filter: Filter) -> Self {
        let mut records = audit::Reader::default();
        if filter.pids.is_empty() {
            records = records.without_pids();
        }
        Self::new(Form::Audit(Box::new(records)), filter)
    }

    /// Lines of either form, and names of calls. Each call is told of by itself, with its arguments as far as its line has them.
    #[must_use]
    pub fn of_any(native: Arch, filter: Filter) -> Self {
        Self::new(Form::Any(Box::new(AnyLines::new(native))), filter)
    }

    fn new(form: Form, filter: Filter) -> Self {
        let reading = Reading::default();
        let counts = Counts { filter, reading };
        Self { form, counts }
    }

    /// Reads an input of that name to its end, large pieces at once, and calls `counted` with what it counts. A second thread reads.
    pub fn read(
        &mut self,
        name: &str,
        from: Box<dyn Read + Send>,
        progress: Option<&Progress>,
        counted: &mut dyn FnMut(&Call<'_>),
    ) -> io::Result<()> {
        let counts = &mut self.counts;
        match &mut self.form {
            Form::Tracers(parser) => counts.read(parser.as_mut(), name, from, progress, counted),
            Form::Audit(parser) => counts.read(parser.as_mut(), name, from, progress, counted),
            Form::Any(parser) => counts.read(parser.as_mut(), name, from, progress, counted),
        }
    }

    /// What was read of all inputs.
    #[must_use]
    pub fn end(self) -> Reading {
        self.counts.reading
    }
}

impl Counts {
    fn read<P: Parser>(
        &mut self,
        parser: &mut P,
        name: &str,
        from: Box<dyn Read + Send>,
        progress: Option<&Progress>,
        counted: &mut dyn FnMut(&Call<'_>),
    ) -> io::Result<()> {
        let Self { filter, reading } = self;
        parser.begin(name);
        let (mut number, mut lost) = (0_u64, 0_u64);
        lines::for_each(from, parser.glance(), |line, glance| {
            number += 1;
            let counters = &mut reading.counters;
            let mut count = |call: &Call<'_>| {
                if counters.add_of(call, filter) {
                    counted(call);
                }
            };
            match parser.read(line, glance, &mut count) {
                Seen::Used => reading.lines.used += 1,
                Seen::Silent => {}
                Seen::Lost(records) => lost = lost.saturating_add(records),
                Seen::Unreadable => {
                    reading.lines.unreadable += 1;
                    reading.puzzle.get_or_insert_with(|| Puzzle {
                        input: name.to_owned(),
                        number,
                        start: line.chars().take(80).collect(),
                    });
                }
            }
            if let Some(progress) = progress {
                progress.set(number, reading.lines.used);
            }
        })?;
        let counters = &mut reading.counters;
        parser.end(&mut |call| {
            if counters.add_of(call, filter) {
                counted(call);
            }
        });
        reading.lines.read += number;
        // Both tell of the same.
        let lost = parser.missing().map_or(0, |missing| lost.max(missing));
        reading.lines.lost = reading.lines.lost.saturating_add(lost);
        reading.caveat = parser.caveat();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::counters::total;

    fn read(mut traces: Traces, inputs: &[&'static str]) -> (Reading, u64) {
        let mut told = 0;
        for (n, text) in inputs.iter().enumerate() {
            let from = Box::new(Cursor::new(text.as_bytes()));
            let name = format!("input {n}");
            traces
                .read(&name, from, None, &mut |call| told += call.times)
                .unwrap();
        }
        (traces.end(), told)
    }

    #[test]
    fn what_is_counted_is_told_of_and_what_is_not_understood_is_shown() {
        let inputs = [
            "7 getpid() = 7\n7 getpid() = 7\n",
            "7 getpid() = 7\nhello\nhi\n",
        ];
        for pids in [vec![], vec![7]] {
            let filter = Filter {
                pids,
                ..Filter::default()
            };
            let (reading, told) = read(Traces::of_tracers(Arch::X86_64, filter), &inputs);
            assert_eq!((total(&reading.counters.all), told), (3, 3));
            let lines = Lines {
                read: 5,
                used: 3,
                unreadable: 2,
                lost: 0,
            };
            let puzzle = Puzzle {
                input: "input 1".into(),
                number: 2,
                start: "hello".into(),
            };
            assert_eq!((reading.lines, reading.puzzle), (lines, Some(puzzle)));
        }
    }

    #[test]
    fn what_does_not_pass_is_left_out_and_not_told_of() {
        let filter = Filter {
            arches: vec![Arch::Aarch64],
            ..Filter::default()
        };
        let traces = Traces::of_any(Arch::X86_64, filter);
        let (reading, told) = read(traces, &["7 getpid() = 7\nmkdir\n"]);
        assert_eq!((reading.counters.left_out, told), (2, 0));
    }
}
