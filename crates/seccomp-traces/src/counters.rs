//! Counts calls: by architecture and syscall, by program, by what a filter did. Bounded, whatever the trace holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::call::{Call, Called, Verdict};
use seccomp_profile::{Arch, Syscall};

/// How many programs are told apart. Names of programs are for any process to choose.
const PROGRAMS: usize = 1000;

/// How many unknown numbers of an architecture are told apart.
const NUMBERS: usize = 1000;

/// Which calls count.
#[derive(Debug, Default)]
pub struct Filter {
    /// Architectures of calls; empty for all.
    pub arches: Vec<Arch>,
    /// Names of programs, `*` for any text; empty for all.
    pub comms: Vec<String>,
    /// Paths of programs, likewise.
    pub exes: Vec<String>,
    /// Processes; empty for all.
    pub pids: Vec<u32>,
    /// What the filter did; empty for all.
    pub verdicts: Vec<Verdict>,
}

/// What the kernel keeps of a name (`TASK_COMM_LEN` without the final NUL).
const COMM: usize = 15;

impl Filter {
    /// Whether a call counts.
    fn passes(&self, call: &Call<'_>) -> bool {
        let comm = |pattern: &String| {
            matches(pattern, call.comm)
                || pattern.len() > COMM
                    && pattern.as_bytes().get(..COMM) == Some(call.comm.as_bytes())
        };
        (self.arches.is_empty() || self.arches.contains(&call.arch))
            && (self.comms.is_empty() || self.comms.iter().any(comm))
            && (self.exes.is_empty() || self.exes.iter().any(|p| matches(p, call.exe)))
            && (self.pids.is_empty() || call.pid.is_some_and(|pid| self.pids.contains(&pid)))
            && (self.verdicts.is_empty()
                || call.verdict.is_some_and(|v| self.verdicts.contains(&v)))
    }
}

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<_> = rest.split('*').collect();
    let end = parts.pop().unwrap_or("");
    for part in parts {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(end)
}

/// The calls of one architecture.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ArchCounts {
    /// By syscall.
    pub known: HashMap<Syscall, u64>,
    /// By number, where that has no name.
    pub numbers: BTreeMap<u32, u64>,
    /// Of more such numbers than are told apart.
    pub more: u64,
}

impl ArchCounts {
    fn add(&mut self, called: Called, times: u64) {
        let count = match called {
            Called::Known(call) => self.known.entry(call).or_default(),
            Called::Number(number) => {
                if self.numbers.len() < NUMBERS || self.numbers.contains_key(&number) {
                    self.numbers.entry(number).or_default()
                } else {
                    &mut self.more
                }
            }
        };
        *count = count.saturating_add(times);
    }

    /// Whether the call is among them.
    #[must_use]
    pub fn has(&self, called: Called) -> bool {
        match called {
            Called::Known(call) => self.known.contains_key(&call),
            Called::Number(number) => self.numbers.contains_key(&number),
        }
    }

    /// All calls.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.known
            .values()
            .chain(self.numbers.values())
            .fold(self.more, |sum, n| sum.saturating_add(*n))
    }

    /// How many syscalls.
    #[must_use]
    pub fn syscalls(&self) -> usize {
        self.known.len() + self.numbers.len()
    }

    /// The syscalls by number of calls, then by name.
    #[must_use]
    pub fn by_calls(&self) -> Vec<(Syscall, u64)> {
        let mut calls: Vec<_> = self.known.iter().map(|(c, n)| (*c, *n)).collect();
        calls.sort_unstable_by_key(|(call, times)| (std::cmp::Reverse(*times), *call));
        calls
    }
}

/// Calls by architecture.
pub type CountsByArch = BTreeMap<Arch, ArchCounts>;

/// All that was counted.
#[derive(Debug, Default)]
pub struct CallCounters {
    /// Every call that counts.
    pub all: CountsByArch,
    /// By program: its name, a NUL, its path.
    programs: HashMap<String, CountsByArch>,
    /// Calls of more programs than are told apart.
    pub other_programs: CountsByArch,
    /// By what the filter did.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Calls that the filter of this tool has left out.
    pub left_out: u64,
    key: String,
}

/// A program and its calls.
#[derive(Debug)]
pub struct Program<'a> {
    /// The name; empty if it is not known.
    pub comm: &'a str,
    /// The path; empty if it is not known.
    pub exe: &'a str,
    /// Its calls.
    pub calls: &'a CountsByArch,
}

impl Program<'_> {
    /// How many calls.
    #[must_use]
    pub fn total(&self) -> u64 {
        total(self.calls)
    }
}

/// How many calls.
#[must_use]
pub fn total(calls: &CountsByArch) -> u64 {
    calls
        .values()
        .fold(0, |sum, counts| sum.saturating_add(counts.calls()))
}

impl CallCounters {
    /// Counts a call if it passes; whether it does.
    pub(crate) fn add_of(&mut self, call: &Call<'_>, filter: &Filter) -> bool {
        let counts = filter.passes(call);
        if counts {
            self.add(call);
        } else {
            self.left_out = self.left_out.saturating_add(call.times);
        }
        counts
    }

    fn add(&mut self, call: &Call<'_>) {
        let add = |to: &mut CountsByArch| {
            to.entry(call.arch)
                .or_default()
                .add(call.called, call.times);
        };
        add(&mut self.all);
        if let Some(verdict) = call.verdict {
            let count = self.verdicts.entry(verdict).or_default();
            *count = count.saturating_add(call.times);
        }
        self.key.clear();
        self.key.push_str(call.comm);
        self.key.push('\0');
        self.key.push_str(call.exe);
        if let Some(program) = self.programs.get_mut(&self.key) {
            add(program);
        } else if self.programs.len() < PROGRAMS {
            add(self.programs.entry(self.key.clone()).or_default());
        } else {
            add(&mut self.other_programs);
        }
    }

    /// The programs by number of calls, then by name.
    #[must_use]
    pub fn programs(&self) -> Vec<Program<'_>> {
        let mut programs: Vec<_> = self
            .programs
            .iter()
            .map(|(key, calls)| {
                let (comm, exe) = key.split_once('\0').unwrap_or((key, ""));
                Program { comm, exe, calls }
            })
            .collect();
        programs.sort_by_key(|p| (std::cmp::Reverse(p.total()), p.comm, p.exe));
        programs
    }

    /// The names of the syscalls.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Syscall> {
        self.all
            .values()
            .flat_map(|counts| counts.known.keys().copied())
            .collect()
    }

    /// How many calls were of numbers without a name.
    #[must_use]
    pub fn nameless(&self) -> u64 {
        self.all.values().fold(0, |sum, c| {
            c.numbers
                .values()
                .fold(sum.saturating_add(c.more), |sum, n| sum.saturating_add(*n))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::arguments::Given;
    use super::*;

    fn call<'a>(name: &str, comm: &'a str, exe: &'a str) -> Call<'a> {
        Call {
            arch: Arch::X86_64,
            called: Called::Known(Syscall::named(name).unwrap()),
            times: 1,
            pid: Some(7),
            comm,
            exe,
            arguments: Given::Nothing,
            verdict: Some(Verdict::Log),
        }
    }

    #[test]
    fn calls_are_counted_by_syscall_program_and_verdict() {
        let mut counters = CallCounters::default();
        let all = Filter::default();
        counters.add_of(
            &Call {
                times: 3,
                ..call("read", "sh", "/bin/sh")
            },
            &all,
        );
        counters.add_of(&call("write", "sh", "/bin/sh"), &all);
        counters.add_of(&call("read", "ls", "/bin/ls"), &all);
        counters.add_of(
            &Call {
                arch: Arch::X86,
                called: Called::Number(999),
                ..call("read", "ls", "/bin/ls")
            },
            &all,
        );
        let amd64: Vec<_> = counters.all[&Arch::X86_64]
            .by_calls()
            .into_iter()
            .map(|(c, n)| (c.name(), n))
            .collect();
        assert_eq!(amd64, [("read", 4), ("write", 1)]);
        let programs: Vec<_> = counters
            .programs()
            .iter()
            .map(|p| (p.comm, p.exe, p.total()))
            .collect();
        assert_eq!(programs, [("sh", "/bin/sh", 4), ("ls", "/bin/ls", 2)]);
        assert_eq!(counters.verdicts[&Verdict::Log], 6);
        assert_eq!((counters.nameless(), total(&counters.all)), (1, 6));
    }

    #[test]
    fn filters_leave_out_what_does_not_match() {
        let comm = |s: &str| Filter {
            comms: vec![s.into()],
            ..Filter::default()
        };
        let exe = |s: &str| Filter {
            exes: vec![s.into()],
            ..Filter::default()
        };
        let this = call("read", "a-name-longer-t", "/usr/bin/a-name-longer-than");
        for (filter, passes) in [
            (Filter::default(), true),
            (comm("a-name-longer-t"), true),
            (comm("a-name-longer-than"), true),
            (comm("a-name"), false),
            (comm("a-*"), true),
            (comm(""), false),
            (exe("/usr/bin/*"), true),
            (exe("*/a-*-longer*"), true),
            (exe("/bin/*"), false),
            (exe("/usr/bin/*-longer"), false),
            (exe("*-name*-than-*"), false),
            (exe("*"), true),
            (
                Filter {
                    arches: vec![Arch::X86, Arch::X86_64],
                    ..Filter::default()
                },
                true,
            ),
            (
                Filter {
                    arches: vec![Arch::X86],
                    ..Filter::default()
                },
                false,
            ),
            (
                Filter {
                    pids: vec![7],
                    ..Filter::default()
                },
                true,
            ),
            (
                Filter {
                    pids: vec![8],
                    ..Filter::default()
                },
                false,
            ),
            (
                Filter {
                    verdicts: vec![Verdict::Log, Verdict::Trap],
                    ..Filter::default()
                },
                true,
            ),
            (
                Filter {
                    verdicts: vec![Verdict::Trap],
                    ..Filter::default()
                },
                false,
            ),
        ] {
            let mut counters = CallCounters::default();
            counters.add_of(&this, &filter);
            assert_eq!(
                (total(&counters.all), counters.left_out),
                if passes { (1, 0) } else { (0, 1) },
                "{filter:?}"
            );
        }
    }

    #[test]
    fn names_that_never_end_do_not_fill_the_memory() {
        let mut counters = CallCounters::default();
        for n in 0..3000u32 {
            let name = n.to_string();
            let call = Call {
                called: Called::Number(10_000 + n),
                ..call("read", &name, "")
            };
            counters.add_of(&call, &Filter::default());
        }
        assert_eq!(counters.programs().len(), PROGRAMS);
        assert_eq!(total(&counters.other_programs), 2000);
        assert_eq!(counters.all[&Arch::X86_64].more, 2000);
        assert_eq!(total(&counters.all), 3000);
    }
}
