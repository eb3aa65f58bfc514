//! Records that say again what an earlier one said but for their time, process and address, as nearly all of a log do: they are
//! compared as they are written, counted, and told of together.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};

use super::needles::Needles;
use crate::arguments::Given;
use crate::call::{Call, Called, Verdict};
use crate::lines::Span;
use crate::quick_hash::QuickHash;
use seccomp_profile::Arch;

/// So many are counted at once; then all are told of.
const MAX_KINDS: usize = 1 << 10;

/// A record of seccomp in the kernel's own form.
#[derive(Clone, Debug)]
pub struct Written {
    pub pid: u32,
    /// From the program's name to the address.
    what: Span,
    code: Span,
    /// A number for records of its kind.
    kind: u64,
    /// A number for the record.
    pub number: u64,
}

impl Written {
    /// `auid=0 uid=0 gid=0 ses=1 pid=12 comm="a" exe="/bin/a" sig=0 arch=c000003e syscall=83 compat=0 ip=0x47b567 code=0x7ffc0000`: none of
    /// anything else, so that whoever looks for each field finds the same.
    pub fn read(needles: &Needles, hasher: &QuickHash, record: &str) -> Option<Self> {
        fn last<'a>(text: &'a str, key: &str) -> Option<(&'a str, &'a str)> {
            let at = memchr::memrchr(b' ', text.as_bytes())?;
            Some((&text[..at], text[at + 1..].strip_prefix(key)?))
        }
        let (rest, code) = last(record, "code=")?;
        let (rest, address) = last(rest, "ip=0x")?;
        let at = needles.pid.find(rest)?;
        let after = &rest[at + " pid=".len()..];
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let pid = after[..digits].parse().ok()?;
        // A process has no say in what comes before its name.
        let what = after[digits..].strip_prefix(" comm=")?;
        let mut hasher = hasher.build_hasher();
        hasher.write(what.as_bytes());
        hasher.write(code.as_bytes());
        let kind = hasher.finish();
        hasher.write(&rest.as_bytes()[..at]);
        hasher.write_u32(pid);
        hasher.write(address.as_bytes());
        Some(Self {
            pid,
            what: Span::new(rest.len() - what.len(), what),
            code: Span::new(record.len() - code.len(), code),
            kind,
            number: hasher.finish(),
        })
    }
}

/// What records of one kind say.
#[derive(Debug)]
pub struct Kind {
    what: Box<str>,
    code: Box<str>,
    pub arch: Arch,
    pub called: Called,
    comm: Box<str>,
    exe: Box<str>,
    verdict: Option<Verdict>,
    pub times: u64,
}

/// How often records of each kind have come since they were told of.
#[derive(Debug, Default)]
pub struct Repeats {
    by_hash: HashMap<u64, Kind, QuickHash>,
}

impl Repeats {
    /// What an earlier record of the same words said.
    pub fn find(&mut self, written: &Written, record: &str) -> Option<&mut Kind> {
        let kind = self.by_hash.get_mut(&written.kind);
        let (what, code) = (written.what.of(record), written.code.of(record));
        kind.filter(|kind| *kind.what == *what && *kind.code == *code)
    }

    /// Remembers what a record said that has been told of.
    pub fn learn(&mut self, written: &Written, record: &str, call: &Call<'_>) {
        self.by_hash.entry(written.kind).or_insert_with(|| Kind {
            what: written.what.of(record).into(),
            code: written.code.of(record).into(),
            arch: call.arch,
            called: call.called,
            comm: call.comm.into(),
            exe: call.exe.into(),
            verdict: call.verdict,
            times: 0,
        });
    }

    pub fn is_full(&self) -> bool {
        self.by_hash.len() >= MAX_KINDS
    }

    /// Takes what was counted.
    pub fn take(&mut self, mut found: impl FnMut(&Call<'_>)) {
        for (_, kind) in self.by_hash.drain() {
            if kind.times > 0 {
                found(&Call {
                    arch: kind.arch,
                    called: kind.called,
                    times: kind.times,
                    pid: None,
                    comm: &kind.comm,
                    exe: &kind.exe,
                    arguments: Given::Nothing,
                    verdict: kind.verdict,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::Reader;
    use super::*;
    use crate::call::Seen;

    /// How often each program made each call, and what became of the lines.
    fn counts(mut reader: Reader, lines: &[String]) -> (BTreeMap<String, u64>, Vec<Seen>) {
        let mut counts = BTreeMap::new();
        let mut add = |call: &Call<'_>| {
            let call = Call { pid: None, ..*call };
            *counts.entry(call.to_string()).or_default() += call.times;
        };
        reader.begin();
        let seen = lines
            .iter()
            .map(|line| reader.read(line, reader.glance()(line), &mut add))
            .collect();
        reader.end(&mut add);
        (counts, seen)
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        let head = prop::sample::select(vec![
            "type=SECCOMP msg=audit(1.2:3): ",
            "type=SECCOMP msg=audit(1.2:4): ",
            "node=a type=SECCOMP msg=audit(1.2:3): ",
            "audit: type=1326 audit(1.2:3): ",
            "audit[12]: SECCOMP ",
            "type=SYSCALL msg=audit(1.2:3): arch=c000003e syscall=83 a0=1 pid=12 ",
        ]);
        let pid = prop::sample::select(vec!["pid=12", "pid=13", "pid=", "pid=12 pid=14"]);
        let comm = prop::sample::select(vec![
            "comm=\"a\"",
            "comm=\"b\"",
            "comm=61",
            "comm=a pid=7 arch=40000003",
            "comm=\"a ip=0x1 code=0x0\"",
            "",
        ]);
        let rest = prop::sample::select(vec![
            "exe=\"/bin/a\" sig=0 arch=c000003e syscall=83 compat=0 ip=0x47b567 code=0x7ffc0000",
            "exe=\"/bin/a\" sig=0 arch=c000003e syscall=84 compat=0 ip=0x47b567 code=0x7ffc0000",
            "exe=\"/bin/a\" sig=0 arch=c000003e syscall=83 compat=0 ip=0x47b568 code=0x50000",
            "exe=\"/bin/a\" sig=0 arch=40000003 syscall=83 compat=1 ip=0x1 code=0x50000\u{1d}AUID=\"unset\"",
            "exe=\"/bin/a\" sig=0 arch=40000003 syscall=83 compat=1 ip=0x1 code=0x50000\u{1d} arch=c000003e",
            "exe=\"/bin/a\" sig=0 arch=c000003e syscall=83 compat=0 ip=0x47b567 code=0x7ffc0000 ",
            "exe=\"/bin/a\" sig=SIG0 arch=x86_64 syscall=mkdir compat=0 ip=0x7f12 code=log ",
            "exe=\"/bin/a\" sig=0 arch=c000003e syscall=83 compat=0 ip= code=0x0",
            "exe=\"/bin/a\" sig=0 arch=c000003e",
        ]);
        let line = (head, pid, comm, rest).prop_map(|(head, pid, comm, rest)| {
            format!("{head}auid=0 uid=0 gid=0 ses=1 subj=unconfined {pid} {comm} {rest}")
        });
        prop::collection::vec(line, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn records_that_are_told_of_together_are_the_same_calls(lines in lines()) {
            let one_by_one = Reader::default();
            let together = Reader::default().without_pids();
            prop_assert_eq!(counts(one_by_one, &lines), counts(together, &lines));
        }
    }

    #[test]
    fn more_kinds_than_are_counted_at_once_lose_no_call() {
        let line = |n: usize| {
            format!(
                "type=SECCOMP msg=audit(1.2:{n}): auid=0 pid=12 comm=\"a{n}\" exe=\"/bin/a\" sig=0 arch=c000003e syscall=83 compat=0 ip=0x1 code=0x0"
            )
        };
        let lines: Vec<_> = (0..3 * MAX_KINDS).map(line).collect();
        let twice = [lines.clone(), lines].concat();
        let (counts, _) = counts(Reader::default().without_pids(), &twice);
        assert_eq!(
            counts.values().sum::<u64>(),
            u64::try_from(6 * MAX_KINDS).unwrap()
        );
        assert_eq!(counts.len(), 3 * MAX_KINDS);
    }
}
