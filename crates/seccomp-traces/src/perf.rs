//! What perf, ftrace and bpftrace say of calls: lines and tables of `perf trace`, tracepoints as `perf script` and the kernel's own
//! `trace_pipe` print them, and maps of bpftrace. Pure.
//!
//! All of them see a number and not the ABI that it is of, and take it for one of the machine's own.

use super::arguments::{Given, Known};
use super::call::{Call, Called, Seen};
use seccomp_profile::{Arch, Syscall};

/// Reads line by line.
#[derive(Debug)]
pub struct Reader {
    native: Arch,
    /// Whose calls the next table of `perf trace -s` counts.
    program: Option<String>,
    in_table: bool,
    /// Whether there were tracepoints, which stacks may follow.
    has_events: bool,
    /// Whether anything of this kind was read.
    is_used: bool,
}

/// Who made a call.
#[derive(Clone, Copy, Default)]
struct Caller<'a> {
    comm: &'a str,
    pid: Option<u32>,
}

impl Reader {
    /// For a machine of that architecture.
    pub fn new(native: Arch) -> Self {
        Self {
            native,
            program: None,
            in_table: false,
            has_events: false,
            is_used: false,
        }
    }

    /// To be called before the first line of each input.
    pub fn begin(&mut self) {
        self.program = None;
        self.in_table = false;
        self.has_events = false;
    }

    /// What is wrong with all that was read.
    pub fn caveat(&self) -> Option<&'static str> {
        let may_be_wrong = self.is_used && self.native.abis().len() > 1;
        may_be_wrong.then_some(
            "perf and bpftrace name the calls of 32-bit programs as if they were 64-bit ones, and do not say which are; \
             for those trace with strace -n",
        )
    }

    /// Reads a line; none if it is of none of these tools.
    pub fn read(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Option<Seen> {
        let seen = self
            .event(line, found)
            .or_else(|| self.line(line, found))
            .or_else(|| self.map(line, found))
            .or_else(|| self.table(line, found))?;
        self.is_used |= seen == Seen::Used;
        Some(seen)
    }

    fn tell(
        &self,
        called: Called,
        caller: Caller<'_>,
        times: u64,
        arguments: Given<'_>,
        found: &mut dyn FnMut(&Call<'_>),
    ) -> Seen {
        found(&Call {
            arch: self.native,
            called,
            times,
            pid: caller.pid,
            comm: caller.comm,
            exe: "",
            arguments,
            verdict: None,
        });
        Seen::Used
    }

    fn named(&self, name: &str) -> Option<Called> {
        Syscall::named_on(name, self.native)
            .filter(|_| is_name(name))
            .map(Called::Known)
    }

    /// `known  6127 [001]  12.345678: raw_syscalls:sys_enter: NR 59 (7ffe, 55, 7f, 0, 0, 0)`, `... syscalls:sys_enter_openat: dfd: 0x3`,
    /// and what may follow it: a stack.
    fn event(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Option<Seen> {
        if self.has_events {
            let first = line.split_whitespace().next().unwrap_or("");
            let is_address = first.len() >= 8 && first.bytes().all(|b| b.is_ascii_hexdigit());
            if line.is_empty() || is_address && line.starts_with([' ', '\t']) {
                return Some(Seen::Silent);
            }
        }
        if let Some((before, event)) = split_event(line, "sys_enter: NR ") {
            self.has_events = true;
            let (number, arguments) = event.split_once(' ').unwrap_or((event, ""));
            let number = number.parse::<i64>().ok();
            let number = number.and_then(|number| {
                let unsigned = u32::try_from(number);
                unsigned
                    .or_else(|_| i32::try_from(number).map(i32::cast_unsigned))
                    .ok()
            });
            let Some(number) = number else {
                return Some(Seen::Unreadable);
            };
            let given = Given::Registers(registers(arguments));
            let called = Called::numbered(self.native, number);
            return Some(self.tell(called, caller(before), 1, given, found));
        }
        if let Some((before, event)) = split_event(line, "syscalls:sys_enter_") {
            self.has_events = true;
            let name = event.split(':').next().unwrap_or(event);
            let Some(called) = self.named(name) else {
                return Some(Seen::Unreadable);
            };
            return Some(self.tell(called, caller(before), 1, Given::Nothing, found));
        }
        let is_exit = split_event(line, "sys_exit: NR ").is_some()
            || split_event(line, "syscalls:sys_exit_").is_some();
        is_exit.then_some(Seen::Silent)
    }

    /// `5.806 ( 0.080 ms): known/6127 futex(uaddr: 0x7f) = 0`, `5.806 (         ): known/6127 futex(uaddr: 0x7f) ...` and
    /// `5.806 ( 0.080 ms): known/6127  ... [continued]: futex()) = 0`; `?` for the time of a call that began before.
    fn line(&self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Option<Seen> {
        let (time, rest) = line.trim_start().split_once(" (")?;
        let is_time = time == "?" || time.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let (duration, rest) = rest.split_once("): ")?;
        let duration = duration.trim();
        if !is_time || !(duration.is_empty() || duration.ends_with("ms")) {
            return None;
        }
        if let Some((before, after)) = rest.split_once(" ... [continued]: ") {
            if time != "?" {
                return Some(Seen::Silent);
            }
            let called = after.split_once('(').and_then(|(name, _)| self.named(name));
            return Some(match called {
                Some(called) => self.tell(called, slashed(before), 1, Given::Nothing, found),
                None => Seen::Unreadable,
            });
        }
        let (before, _) = rest.split_once('(')?;
        let (before, name) = before.rsplit_once(' ').unwrap_or(("", before));
        // Other events that it was asked for.
        if name.contains(':') {
            return Some(Seen::Silent);
        }
        Some(match self.named(name) {
            Some(called) => self.tell(called, slashed(before), 1, Given::Nothing, found),
            None => Seen::Unreadable,
        })
    }

    /// `@[known, 59]: 3`, `@calls[59]: 3`, `@[tracepoint:syscalls:sys_enter_openat]: 3`
    fn map(&self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Option<Seen> {
        if ["Attaching ", "Attached "]
            .iter()
            .any(|start| line.starts_with(start))
            && line.contains(" probe")
        {
            return Some(Seen::Silent);
        }
        let (name, rest) = line.strip_prefix('@')?.split_once('[')?;
        let (key, times) = rest.rsplit_once("]: ")?;
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return None;
        }
        let mut numbers = Vec::new();
        let mut comm = "";
        for part in key.split(", ") {
            if let Some(name) = part.strip_prefix("tracepoint:syscalls:sys_enter_") {
                numbers.push(self.named(name));
            } else if let Ok(number) = part.parse() {
                numbers.push(Some(Called::numbered(self.native, number)));
            } else {
                comm = part;
            }
        }
        // Of several numbers nobody can tell which is the call's.
        Some(match (&numbers[..], times.trim().parse()) {
            ([Some(called)], Ok(times)) => {
                let caller = Caller { comm, pid: None };
                self.tell(*called, caller, times, Given::Nothing, found)
            }
            _ => Seen::Unreadable,
        })
    }

    /// The tables of `perf trace -s`: ` known (6139), 115 events, 49.1%`, headings, and a row for each call.
    fn table(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Option<Seen> {
        let words: Vec<_> = line.split_whitespace().collect();
        if line.trim() == "Summary of events:" {
            return Some(Seen::Silent);
        }
        if let Some(program) = summed(line) {
            self.program = Some(program.to_owned());
            self.in_table = false;
            return Some(Seen::Silent);
        }
        let program = self.program.as_deref()?;
        match words[..] {
            ["syscall", "calls", "errors", "total", "min", ..] => {
                self.in_table = true;
                Some(Seen::Silent)
            }
            [] => Some(Seen::Silent),
            [first, ..] if first.bytes().all(|b| b == b'-') || first == "(msec)" => {
                Some(Seen::Silent)
            }
            [name, times, ..] if self.in_table && line.starts_with(' ') => {
                let caller = Caller {
                    comm: program,
                    pid: None,
                };
                Some(match (self.named(name), times.parse()) {
                    (Some(called), Ok(times)) => {
                        self.tell(called, caller, times, Given::Nothing, found)
                    }
                    _ => Seen::Unreadable,
                })
            }
            _ => {
                self.in_table = false;
                self.program = None;
                None
            }
        }
    }
}

/// What stands before and behind the words, where they begin an event.
fn split_event<'l>(line: &'l str, words: &str) -> Option<(&'l str, &'l str)> {
    let (before, event) = line.split_once(words)?;
    let before = before.strip_suffix("raw_syscalls:").unwrap_or(before);
    let before = before.trim_end().strip_suffix(':')?;
    // The time stands there, and no text that somebody may have written.
    let time = before.rsplit([' ', '\t']).next()?;
    let is_time = !time.is_empty() && time.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_time.then_some((before, event))
}

/// `known  6127 [001]  12.345678` of perf, `known-6127    [001] d..2. 12.345678` of ftrace.
fn caller(before: &str) -> Caller<'_> {
    let before = before
        .rsplit_once(" [")
        .map_or(before, |(before, _)| before)
        .trim();
    let split = before.rfind([' ', '-']);
    let (comm, pid) = split.map_or(("", before), |at| (&before[..at], &before[at + 1..]));
    let pid = pid.split('/').next_back().unwrap_or(pid).parse().ok();
    match pid {
        Some(_) => Caller {
            comm: comm.trim(),
            pid,
        },
        None => Caller::default(),
    }
}

/// `known/6127`; nothing where there is one process only.
fn slashed(before: &str) -> Caller<'_> {
    match before.trim().rsplit_once('/') {
        Some((comm, pid)) => Caller {
            comm: if comm.starts_with(':') { "" } else { comm },
            pid: pid.parse().ok(),
        },
        None => Caller::default(),
    }
}

/// `(7ffe, 55, 7f, 0, 0, 0)`
fn registers(arguments: &str) -> Known {
    let mut known = [None; 6];
    let inside = arguments
        .trim()
        .strip_prefix('(')
        .and_then(|a| a.strip_suffix(')'));
    for (value, digits) in known.iter_mut().zip(inside.unwrap_or("").split(',')) {
        *value = u64::from_str_radix(digits.trim(), 16).ok();
    }
    known
}

/// ` known (6139), 115 events, 49.1%`, ` total, 248 events`: the program, empty for all.
fn summed(line: &str) -> Option<&str> {
    let (who, events) = line
        .strip_prefix(' ')?
        .trim_start()
        .rsplit_once("), ")
        .or_else(|| {
            let events = line.trim_start().strip_prefix("total, ")?;
            Some(("", events))
        })?;
    let is_count = events
        .split_once(" events")
        .is_some_and(|(count, _)| !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()));
    let comm = who.rsplit_once(" (").map_or("", |(comm, _)| comm);
    is_count.then_some(comm)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, usize) {
        let mut reader = Reader::new(Arch::X86_64);
        let (mut calls, mut strange) = (Vec::new(), 0);
        for line in text.lines() {
            let seen = reader.read(line, &mut |call| {
                calls.push(format!("{call} x{}", call.times));
            });
            strange += usize::from(matches!(seen, None | Some(Seen::Unreadable)));
        }
        assert_eq!(reader.caveat().is_some(), !calls.is_empty());
        (calls, strange)
    }

    #[test]
    fn lines_of_perf_trace_are_calls_each_once() {
        let text = "\
     0.000 ( 0.012 ms): known/6127 openat(dfd: CWD, filename: \"/etc/a (b) = 3\", flags: RDONLY|CLOEXEC) = 3
     5.806 (         ): known/6127 futex(uaddr: 0x7f, op: WAIT) ...
     5.806 ( 0.080 ms): my thr/6128 getppid() = 
     5.806 ( 0.080 ms): known/6127  ... [continued]: futex())                          = 0
         ? (         ): known/6127  ... [continued]: execve())                         = 0
     6.000 (         ): :6129/6129 exit_group() = ?
     7.000 ( 0.001 ms): getuid() = 0
     8.000 (         ): known/6127 sched:sched_switch(prev_comm: \"a\")
";
        let (calls, strange) = read(text);
        assert_eq!(strange, 0);
        assert_eq!(
            calls,
            [
                "amd64 openat 6127 known - x1",
                "amd64 futex 6127 known - x1",
                "amd64 getppid 6128 my thr - x1",
                "amd64 execve 6127 known - x1",
                "amd64 exit_group 6129 - - x1",
                "amd64 getuid - - - x1",
            ]
        );
    }

    #[test]
    fn tables_of_perf_trace_are_of_the_program_above_them() {
        let row =
            "   mmap                  8      0     0.049     0.004     0.006     0.009      8.30%";
        let heads = "\
   syscall            calls  errors  total       min       avg       max       stddev
                                     (msec)    (msec)    (msec)    (msec)        (%)
   --------------- --------  ------ -------- --------- --------- ---------     ------";
        let text = format!(
            "\n Summary of events:\n\n known (6139), 115 events, 49.1%\n\n{heads}\n{row}\n\n total, 248 events\n\n{heads}\n{row}\n"
        );
        // The lines that are empty before any table are nobody's.
        let (calls, strange) = read(text.trim_start());
        assert_eq!(calls, ["amd64 mmap - known - x8", "amd64 mmap - - - x8"]);
        assert_eq!(strange, 1, "the one before the first table");
    }

    #[test]
    fn tracepoints_are_read_as_perf_script_and_ftrace_print_them() {
        let text = "\
           known  6127 [001]  1234.567890: raw_syscalls:sys_enter: NR 59 (7ffe, 55, 7f, 0, 0, 0)
           known  6127 [001]  1234.567891:  raw_syscalls:sys_exit: NR 59 = 0
         my thr  6127/6128 [001]  1234.567892: syscalls:sys_enter_openat: dfd: 0xffffff9c, filename: 0x7f
\t    7f12a3e75829 getppid+0x9 (/usr/lib/libc.so.6)

           known-6127    [001] .....  1234.567893: sys_enter: NR 999 (0, 0, 0, 0, 0, 0)
           known  6127 [001]  1234.567894: raw_syscalls:sys_enter: NR -1 (0, 0, 0, 0, 0, 0)
";
        let (calls, strange) = read(text);
        assert_eq!(strange, 0);
        assert_eq!(
            calls,
            [
                "amd64 execve 6127 known - x1",
                "amd64 openat 6128 my thr - x1",
                "amd64 999 6127 known - x1",
                "amd64 4294967295 6127 known - x1",
            ]
        );
        assert_eq!(
            registers("(7ffe, 55, x)")[..3],
            [Some(0x7ffe), Some(0x55), None]
        );
    }

    #[test]
    fn maps_of_bpftrace_count_numbers_and_probes() {
        let text = "\
Attaching 1 probe...
@[known, 59]: 3
@calls[999]: 2
@[tracepoint:syscalls:sys_enter_openat]: 7
@[1234, 59]: 3
";
        let (calls, strange) = read(text);
        assert_eq!(strange, 1, "whether 1234 or 59 is the call");
        assert_eq!(
            calls,
            [
                "amd64 execve - known - x3",
                "amd64 999 - - - x2",
                "amd64 openat - - - x7",
            ]
        );
    }

    #[test]
    fn lines_of_others_are_left_to_others() {
        for line in [
            "openat(AT_FDCWD, \"1.0: raw_syscalls:sys_enter: NR 59 (\", O_RDONLY) = 3",
            "12 getpid() = 12",
            "12 10:20:30 (+     0.000012) getpid() = 12",
            "[ 110] getppid()",
            " 60.00    0.000300           3       100        42 openat",
            "hello (a), 3 things",
            "@ home",
        ] {
            assert_eq!(read(line), (vec![], 1), "{line}");
        }
    }
}
