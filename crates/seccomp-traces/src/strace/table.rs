//! The tables of `-c`: a row for each syscall, under headings that the user may choose.

use std::collections::HashMap;

use super::NamedCall;
use super::syscall::{called, kernel_calls, mode_arch};
use crate::arguments::Given;
use crate::call::{Call, Called, Seen};
use seccomp_profile::Arch;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    /// A list of names has none.
    calls: Option<Column>,
    syscall: Column,
    arch: Arch,
    /// Whether the line below the headings has been seen.
    ruled: bool,
}

/// Counted from the end that is nearer to the column `errors`, which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    FromLeft(usize),
    FromRight(usize),
}

/// Reads tables wherever they stand among lines.
#[derive(Debug)]
pub struct Tables {
    native: Arch,
    /// The table that the next line may be of.
    current: Option<Table>,
    /// The architecture of the next table.
    arch: Arch,
    /// The calls of the lines, which the table of `-C` behind them counts again.
    told: HashMap<(Arch, Called), u64>,
}

/// More unknown numbers than this make no difference.
const TOLD: usize = 1 << 12;

impl Tables {
    /// None yet, on a machine of that architecture.
    pub fn new(native: Arch) -> Self {
        Self {
            native,
            current: None,
            arch: native,
            told: HashMap::new(),
        }
    }

    /// Whether the next line may be of a table.
    pub fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// Lines have told of that call, so often.
    pub fn tell(&mut self, arch: Arch, called: Called, times: u64) {
        if self.told.len() < TOLD || self.told.contains_key(&(arch, called)) {
            *self.told.entry((arch, called)).or_default() += times;
        }
    }

    /// Reads a line; `None` if it is not of a table.
    pub fn read(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Option<Seen> {
        if let Some(mode) = line.strip_prefix("System call usage summary for ") {
            return Some(match mode_arch(mode, self.native) {
                Some(arch) => {
                    self.arch = arch;
                    Seen::Silent
                }
                None => Seen::Unreadable,
            });
        }
        if let Some(table) = Table::from_header(line, self.arch) {
            self.current = Some(table);
            return Some(Seen::Silent);
        }
        let table = self.current.as_mut()?;
        let words: Vec<_> = line.split_whitespace().collect();
        if !words.is_empty() && words.iter().all(|w| w.bytes().all(|b| b == b'-')) {
            table.ruled = true;
            return Some(Seen::Silent);
        }
        let times = match table.calls {
            Some(calls) => calls.word(&words).and_then(|word| word.parse().ok()),
            None => Some(1).filter(|_| table.ruled && words.len() == 1),
        };
        let (Some(name), Some(times)) = (table.syscall.word(&words), times) else {
            // Behind the table.
            self.current = None;
            return None;
        };
        if name == "total" {
            self.current = None;
            return Some(Seen::Silent);
        }
        let arch = table.arch;
        let Some(called) = called(name, arch) else {
            return Some(Seen::Unreadable);
        };
        let named = NamedCall {
            name,
            number: None,
            arch,
            called,
        };
        for called in kernel_calls(named) {
            let told = self.told.get_mut(&(arch, called));
            let before = told.map_or(0, |told| {
                let before = times.min(*told);
                *told -= before;
                before
            });
            if times == before {
                continue;
            }
            found(&Call {
                arch,
                called,
                times: times - before,
                pid: None,
                comm: "",
                exe: "",
                arguments: Given::Nothing,
                verdict: None,
            });
        }
        Some(Seen::Used)
    }
}

impl Table {
    fn from_header(line: &str, arch: Arch) -> Option<Self> {
        let line = line.trim();
        if !(line.starts_with('%') || line.starts_with(|c: char| c.is_ascii_lowercase()))
            || !line.contains("syscall")
        {
            return None;
        }
        let words: Vec<_> = line.split_whitespace().filter(|w| *w != "%").collect();
        let titles = [
            "time",
            "seconds",
            "usecs/call",
            "calls",
            "errors",
            "syscall",
            "shortest",
            "longest",
            "total-time",
            "min-time",
            "max-time",
            "avg-time",
            "wall-total",
            "wall-min",
            "wall-max",
            "wall-avg",
        ];
        if !words.iter().all(|w| titles.contains(w)) {
            return None;
        }
        let errors = words
            .iter()
            .position(|w| *w == "errors")
            .unwrap_or(words.len());
        let column = |title| {
            let at = words.iter().position(|w| *w == title)?;
            Some(if at < errors {
                Column::FromLeft(at)
            } else {
                Column::FromRight(words.len() - 1 - at)
            })
        };
        Some(Self {
            calls: column("calls"),
            syscall: column("syscall")?,
            arch,
            ruled: false,
        })
    }
}

impl Column {
    fn word<'a>(self, words: &[&'a str]) -> Option<&'a str> {
        let at = match self {
            Self::FromLeft(at) => at,
            Self::FromRight(at) => words.len().checked_sub(at + 1)?,
        };
        words.get(at).copied()
    }
}
