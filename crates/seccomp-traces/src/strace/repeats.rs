//! Lines that say again what an earlier one said, as nearly all of a trace do: they are told apart by their beginnings, counted,
//! and told of together.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::rc::Rc;

use super::line;
use super::processes::Program;
use crate::arguments::Given;
use crate::call::{Call, Called};
use crate::lines::Span;
use crate::quick_hash::QuickHash;
use seccomp_profile::Arch;

/// So many are counted at once; then all are told of.
const MAX_KINDS: usize = 1 << 10;

/// Which part of a call a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// Its end is in a later line.
    Start,
    /// Its start was in an earlier line.
    End,
}

/// The beginning of a line about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub pid: Option<u32>,
    /// Where the call's name is.
    pub name: Span,
    pub part: Part,
}

impl Beginning {
    /// `12 read(`, `[pid 12] read(`, `12 10:20:30.123456 read(`, `read(`, `12 <... read resumed>`; none for anything else, and for a
    /// line that ends otherwise than strace's lines about calls do.
    pub fn read(line: &str) -> Option<Self> {
        let bytes = line.as_bytes();
        // What nearly every line ends with is looked at once.
        let is_odd = matches!(bytes.last(), Some(b'>' | b'd'));
        let is_start = is_odd && line.ends_with(" <unfinished ...>");
        // `<no return ...>`, `strace: Process 12 attached`
        if is_odd && !is_start && (line.ends_with("...>") || line.ends_with(" attached")) {
            return None;
        }
        let (mut pid, mut rest) = match bytes.strip_prefix(b"[pid ") {
            Some(rest) => {
                let end = memchr::memchr(b']', rest)?;
                let pid = line::pid(rest[..end].trim_ascii_start())?;
                (Some(pid), rest[end + 1..].strip_prefix(b" ")?)
            }
            None => (None, bytes),
        };
        loop {
            rest = &rest[length(rest, |b| b == b' ')..];
            let digits = length(rest, |b| b.is_ascii_digit());
            if digits == 0 {
                let resumed = rest.strip_prefix(b"<... ").filter(|_| !is_start);
                let (part, text, follows) = match resumed {
                    Some(text) => (Part::End, text, &b" resumed>"[..]),
                    None if is_start => (Part::Start, rest, &b"("[..]),
                    None => (Part::Whole, rest, &b"("[..]),
                };
                let length = length(text, |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
                let name = Span::new(bytes.len() - text.len(), &text[..length]);
                let is_call = length > 0 && text[length..].starts_with(follows);
                return is_call.then_some(Self { pid, name, part });
            }
            let end = match rest.get(digits)? {
                b' ' => {
                    if pid.is_none() {
                        pid = Some(line::pid(&rest[..digits])?);
                    }
                    digits
                }
                b':' | b'.' => length(rest, |b| matches!(b, b'0'..=b'9' | b':' | b'.')),
                _ => return None,
            };
            rest = rest[end..].strip_prefix(b" ")?;
        }
    }
}

/// How many of the first bytes are such.
fn length(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| !is(*b)).unwrap_or(bytes.len())
}

/// What lines of one kind say.
#[derive(Debug)]
struct Kind {
    program: Rc<Program>,
    arch: Arch,
    name: Rc<str>,
    /// What the kernel was called for: two where the line leaves open which.
    called: [Option<Called>; 2],
    times: u64,
}

/// How often lines of each kind have come since they were told of.
#[derive(Debug, Default)]
pub struct Repeats {
    by_hash: HashMap<u64, Kind, QuickHash>,
    hasher: QuickHash,
}

impl Repeats {
    fn hash(&self, program: &Rc<Program>, arch: Arch, name: &str) -> u64 {
        self.hasher.hash_one((Rc::as_ptr(program), arch, name))
    }

    /// Counts a call whose kind is known, and gives its name; none if it is not.
    pub fn count(&mut self, program: &Rc<Program>, arch: Arch, name: &str) -> Option<&Rc<str>> {
        let hash = self.hash(program, arch, name);
        let kind = self.by_hash.get_mut(&hash)?;
        let same = *kind.name == *name && kind.arch == arch && Rc::ptr_eq(&kind.program, program);
        same.then(|| {
            kind.times += 1;
            &kind.name
        })
    }

    /// Remembers what a line said that has been told of.
    pub fn learn(
        &mut self,
        program: Rc<Program>,
        arch: Arch,
        name: &str,
        called: [Option<Called>; 2],
    ) {
        let hash = self.hash(&program, arch, name);
        self.by_hash.entry(hash).or_insert_with(|| Kind {
            program,
            arch,
            name: name.into(),
            called,
            times: 0,
        });
    }

    pub fn is_full(&self) -> bool {
        self.by_hash.len() >= MAX_KINDS
    }

    /// Takes what was counted.
    pub fn take(&mut self, mut found: impl FnMut(&Call<'_>)) {
        for (_, kind) in self.by_hash.drain() {
            for called in kind.called.into_iter().flatten() {
                if kind.times > 0 {
                    found(&Call {
                        arch: kind.arch,
                        called,
                        times: kind.times,
                        pid: None,
                        comm: &kind.program.comm,
                        exe: &kind.program.exe,
                        arguments: Given::Nothing,
                        verdict: None,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_beginning_of_a_whole_call_is_told_apart() {
        for (line, want) in [
            ("read(0, \"a\", 1) = 1", Some((None, "read"))),
            ("12 read(0) = 1", Some((Some(12), "read"))),
            ("12    read(0) = 1", Some((Some(12), "read"))),
            ("[pid    12] read(0) = 1", Some((Some(12), "read"))),
            ("12 10:20:30.123456 read(0) = 1", Some((Some(12), "read"))),
            ("10:20:30 read(0) = 1", Some((None, "read"))),
            (
                "12 1700000000.123456 pread64(0) = 1",
                Some((Some(12), "pread64")),
            ),
            ("12      0.000123 read(0) = 1", Some((Some(12), "read"))),
            ("1700000000 read(0) = 1", None),
            ("12 vfork(strace: Process 13 attached", None),
            ("12 +++ exited with 0 +++", None),
            ("12 --- SIGCHLD {si_signo=SIGCHLD} ---", None),
            ("12<sh> read(0) = 1", None),
            ("12 [   0] read(0) = 1", None),
            ("[   0] read(0) = 1", None),
            ("12 Read(0) = 1", None),
            ("12 read", None),
            ("12", None),
            ("12 ", None),
            ("", None),
            ("{\"log\":\"read(0) = 1\"}", None),
        ] {
            let read = Beginning::read(line);
            let parts = read.map(|b| (b.pid, b.name.of(line), b.part));
            let want = want.map(|(pid, name)| (pid, name, Part::Whole));
            assert_eq!(parts, want, "{line}");
        }
        for (line, want) in [
            ("12 read(0 <unfinished ...>", Some(("read", Part::Start))),
            ("read(0 <unfinished ...>", Some(("read", Part::Start))),
            ("12 <... read resumed>) = 0", Some(("read", Part::End))),
            (
                "[pid 12] <... read resumed>\"\", 1) = 0",
                Some(("read", Part::End)),
            ),
            ("12 <... read resumed> <unfinished ...>", None),
            ("12 <... exit resumed>) = ?", Some(("exit", Part::End))),
            ("12 <... x y resumed>) = 0", None),
        ] {
            let read = Beginning::read(line).map(|b| (b.name.of(line), b.part));
            assert_eq!(read, want, "{line}");
        }
    }

    /// How often each program made each call.
    type Counts = std::collections::BTreeMap<String, u64>;

    fn counts(mut reader: Reader, lines: &[String]) -> Counts {
        let mut counts = Counts::new();
        let mut add = |call: &Call<'_>| {
            let call = Call { pid: None, ..*call };
            *counts.entry(call.to_string()).or_default() += call.times;
        };
        reader.begin("trace");
        for line in lines {
            let beginning = Beginning::read(line);
            if !beginning.is_some_and(|beginning| reader.read_repeat(line, beginning)) {
                reader.read(line, &mut add);
            }
        }
        reader.end(&mut add);
        counts
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        let head = prop::sample::select(vec![
            "",
            "1 ",
            "2 ",
            "3  ",
            "[pid 2] ",
            "2 10:20:30 ",
            "3 0.000123 ",
            "2<sh> ",
            "2 [   0] ",
        ]);
        let rest = prop::sample::select(vec![
            "read(0, \"\", 1) = 0",
            "read(0) = -1 EAGAIN (no data)",
            "openat(AT_FDCWD, \"a\") = 3",
            "openat(AT_FDCWD, \"a\") = 3 <0.000012>",
            "socket(AF_UNIX, SOCK_STREAM, 0) = 3",
            "mmap2(NULL) = 0x1000",
            "syscall_0x1ff(0) = 0",
            "none_such(0) = 0",
            "exit_group(0) = ?",
            "execve(\"/bin/ls\", [\"ls\"], 0x1 /* 3 vars */) = 0",
            "execve(\"/bin/no\", [\"no\"], 0x1) = -1 ENOENT (no file)",
            "execve(\"/bin/cat\" <unfinished ...>",
            "<... execve resumed>) = 0",
            "read(0 <unfinished ...>",
            "<... read resumed>\"\", 1) = 0",
            "clone(child_stack=NULL) = 3",
            "vfork() = 2",
            "vfork( <unfinished ...>",
            "<... vfork resumed>) = 3",
            "vfork(strace: Process 3 attached",
            "strace: Process 2 attached",
            ") = 3",
            "+++ exited with 0 +++",
            "+++ superseded by execve in pid 2 +++",
            "--- SIGCHLD {si_signo=SIGCHLD} ---",
            "[ Process PID=2 runs in 32 bit mode. ]",
            "% time     seconds  usecs/call     calls    errors syscall",
            "------ ----------- ----------- --------- --------- ----------------",
            " 50.00    0.000001           1        7           read",
            "100.00    0.000001                     7           total",
            "",
        ]);
        let line = (head, rest).prop_map(|(head, rest)| format!("{head}{rest}"));
        prop::collection::vec(line, 0..60)
    }

    #[test]
    fn a_call_within_a_fork_that_was_cut_ends_the_fork_in_both_ways_of_reading() {
        let lines = [
            "2 vfork(strace: Process 3 attached",
            "[pid 2] read(0 <unfinished ...>",
            "[ Process PID=2 runs in 32 bit mode. ]",
            "2 <... read resumed>\"\", 1) = 0",
            "read(0, \"\", 1) = 0",
        ];
        let lines = lines.map(str::to_owned);
        let one_by_one = Reader::new(Arch::X86_64);
        let together = Reader::new(Arch::X86_64).without_pids();
        assert_eq!(counts(one_by_one, &lines), counts(together, &lines));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn calls_that_are_told_of_together_are_the_same_calls(lines in lines()) {
            let one_by_one = Reader::new(Arch::X86_64);
            let together = Reader::new(Arch::X86_64).without_pids();
            prop_assert_eq!(counts(one_by_one, &lines), counts(together, &lines));
        }
    }
}
