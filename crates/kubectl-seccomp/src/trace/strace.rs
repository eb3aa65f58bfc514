//! What the output of strace says: of `strace -f`, of `-ff -o`, with or without times, numbers, and names of threads,
//! and the tables of `-c`. Pure, but with a memory of the processes, since a line does not name its program.

use std::collections::HashMap;
use std::rc::Rc;

use super::call::{Call, Called, Seen};
use crate::machine;
use seccomp_profile::{Arch, Syscall};

/// More processes than this at once are not remembered: a trace of more has ends that it does not show.
const PROCESSES: usize = 1 << 14;

/// More than this are hardly making another at the same moment.
const SPAWNING: usize = 64;

/// The largest process number (`PID_MAX_LIMIT`). A larger number in its place is a time.
const PID_MAX: u64 = 1 << 22;

/// A program, as its process calls itself and as it was executed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Program {
    comm: String,
    exe: String,
}

#[derive(Clone, Debug)]
struct Process {
    program: Rc<Program>,
    arch: Arch,
    /// The call that is not finished.
    pending: Option<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    name: String,
    /// What an execve is about to execute.
    path: Option<String>,
}

/// The columns of a table that `-c` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    calls: Column,
    syscall: Column,
    arch: Arch,
}

/// Counted from the end that is nearer to the column `errors`, which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    FromLeft(usize),
    FromRight(usize),
}

/// Reads line by line.
#[derive(Debug)]
pub struct Reader {
    native: Arch,
    processes: HashMap<u32, Process>,
    /// Those that are making another.
    spawning: Vec<u32>,
    /// Whose lines have no number: 0, or that in the name of the file.
    unnamed: u32,
    /// Whose lines had no number before there were others.
    first: Option<u32>,
    /// Whether strace says when it attaches to a new process.
    announces: bool,
    /// Whose line was cut by what strace had to say.
    cut: Option<u32>,
    /// Whose line was read last.
    last: u32,
    table: Option<Table>,
    table_arch: Arch,
}

impl Reader {
    /// For a trace made on a machine of that architecture.
    pub fn new(native: Arch) -> Self {
        Self {
            native,
            processes: HashMap::new(),
            spawning: Vec::new(),
            unnamed: 0,
            first: None,
            announces: false,
            cut: None,
            last: 0,
            table: None,
            table_arch: native,
        }
    }

    /// To be called before the first line of each file. `-ff -o out` writes a file `out.PID` for each process.
    pub fn begin(&mut self, name: &str) {
        let pid = name.rsplit_once('.').and_then(|(_, end)| pid(end));
        if pid.is_none() {
            self.processes.clear();
            self.spawning.clear();
        }
        self.unnamed = pid.unwrap_or(0);
        self.first = None;
        self.cut = None;
        self.table = None;
        self.table_arch = self.native;
    }

    /// Reads a line.
    pub fn read(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        if let Some((before, child)) = attached(line) {
            let seen = if before.trim().is_empty() {
                Seen::Silent
            } else {
                let seen = self.read_line(before, found);
                self.cut = Some(self.last);
                seen
            };
            self.attach(child);
            return seen;
        }
        let cut = self.cut.take();
        let seen = self.read_line(line, found);
        match cut {
            Some(pid) if seen != Seen::Used => {
                self.mend(pid, line);
                Seen::Silent
            }
            _ => seen,
        }
    }

    /// What follows when strace had something to say in the middle of a line.
    fn mend(&mut self, pid: u32, rest: &str) {
        let pending = self.processes.get_mut(&pid).map(|p| p.pending.take());
        if let Some(pending) = pending.flatten() {
            match outcome(rest) {
                Some(result) => self.finish(pid, &pending.name, pending.path, result),
                None => self.suspend(pid, &pending.name, pending.path),
            }
        }
    }

    fn attach(&mut self, child: u32) {
        if !self.spawning.is_empty() {
            self.announces = true;
            self.process(child);
        }
    }

    /// Whose line it is. strace writes no numbers as long as there is one process, so the first has none until it is not
    /// alone any more, and the last has none again.
    fn whose(&mut self, pid: Option<u32>, resumed: Option<&str>) -> u32 {
        let Some(pid) = pid else {
            let mut all = self.processes.keys().copied();
            return match (self.unnamed, all.next(), all.next()) {
                (0, Some(only), None) => only,
                (0, ..) => self
                    .first
                    .filter(|first| self.processes.contains_key(first))
                    .unwrap_or(0),
                (unnamed, ..) => unnamed,
            };
        };
        if !self.processes.contains_key(&pid)
            && let Some(alone) = self.processes.get(&0)
        {
            // Unless it may be a child that nobody has told of.
            let resumes = alone
                .pending
                .as_ref()
                .is_some_and(|p| Some(p.name.as_str()) == resumed);
            if resumes || self.announces || !self.spawning.contains(&0) {
                if let Some(alone) = self.processes.remove(&0) {
                    self.processes.insert(pid, alone);
                }
                for spawning in self.spawning.iter_mut().filter(|p| **p == 0) {
                    *spawning = pid;
                }
                self.first = Some(pid);
            }
        }
        pid
    }

    fn read_line(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        if let Some(seen) = self.read_table(line, found) {
            return seen;
        }
        let Some(Head {
            pid,
            comm,
            number,
            rest,
        }) = Head::read(line)
        else {
            return Seen::Silent;
        };
        let resumed = resumed(rest);
        let pid = self.whose(pid, resumed.map(|(name, _)| name));
        self.last = pid;
        if let Some(text) = rest.strip_prefix("+++ ") {
            return self.end(pid, text);
        }
        if let Some(text) = marker(rest) {
            return self.mode(text);
        }
        if is_silent(rest) {
            return Seen::Silent;
        }
        if let Some((name, outcome)) = resumed {
            return self.resume(pid, name, outcome, comm, found);
        }
        let Some((name, arguments)) = rest.split_once('(').filter(|(name, _)| is_name(name)) else {
            return Seen::Unreadable;
        };
        let Some((arch, called)) = self.arch_of(pid, name, number) else {
            return Seen::Unreadable;
        };
        let finished = outcome(arguments);
        let path = (name == "execve" || name == "execveat")
            .then(|| first_string(arguments))
            .flatten();
        // The call is the caller's: before it becomes another program.
        self.tell(pid, arch, called, name, number, comm, found);
        match finished {
            Some(result) => self.finish(pid, name, path, result),
            None => self.suspend(pid, name, path),
        }
        Seen::Used
    }

    fn process(&mut self, pid: u32) -> &mut Process {
        if !self.processes.contains_key(&pid) {
            if self.processes.len() >= PROCESSES {
                self.processes.clear();
                self.spawning.clear();
            }
            let process = self.newcomer();
            self.processes.insert(pid, process);
        }
        // Cannot be vacant, and needs no panic to say so.
        self.processes.entry(pid).or_insert_with(|| Process {
            program: Rc::default(),
            arch: self.native,
            pending: None,
        })
    }

    /// A process not seen before: the child of the one that is making a child, or the first one, whose lines had no
    /// number as long as it was alone.
    fn newcomer(&self) -> Process {
        let mut parents = self
            .spawning
            .iter()
            .filter_map(|pid| self.processes.get(pid));
        let parent = match parents.next() {
            Some(first) => parents
                .all(|p| p.program == first.program && p.arch == first.arch)
                .then_some(first),
            None => self.processes.get(&0),
        };
        Process {
            program: parent.map_or_else(Rc::default, |p| Rc::clone(&p.program)),
            arch: parent.map_or(self.native, |p| p.arch),
            pending: None,
        }
    }

    /// Which call that name is. The markers that tell the mode are not in the files of `-o`; a number that the call does
    /// not have on a process's architecture tells as much, or a name that the architecture does not have.
    fn arch_of(&mut self, pid: u32, name: &str, number: Option<u32>) -> Option<(Arch, Called)> {
        let known = match self.processes.get(&pid) {
            Some(process) => process.arch,
            None => self.newcomer().arch,
        };
        let others = machine::family(self.native).iter().copied();
        let arches = || std::iter::once(known).chain(others.clone());
        let named = |arch| Some((arch, called(name, arch)?));
        let numbered = |number| {
            arches().find(|arch| {
                let many = multiplexer(name, *arch).map(Called::Known);
                [called(name, *arch), many]
                    .into_iter()
                    .flatten()
                    .any(|called| has_number(called, *arch, number))
            })
        };
        let (arch, called) = number
            .and_then(numbered)
            .and_then(named)
            .or_else(|| arches().find_map(named))?;
        self.process(pid).arch = arch;
        Some((arch, called))
    }

    #[allow(clippy::too_many_arguments)]
    fn tell(
        &mut self,
        pid: u32,
        arch: Arch,
        called: Called,
        name: &str,
        number: Option<u32>,
        comm: &str,
        found: &mut dyn FnMut(&Call<'_>),
    ) {
        let program = Rc::clone(&self.process(pid).program);
        let call = Call {
            arch,
            called,
            times: 1,
            pid: Some(pid).filter(|pid| *pid != 0),
            comm: if comm.is_empty() { &program.comm } else { comm },
            exe: &program.exe,
            verdict: None,
        };
        for called in made(name, arch, called, number) {
            found(&Call { called, ..call });
        }
    }

    fn suspend(&mut self, pid: u32, name: &str, path: Option<String>) {
        if is_spawn(name) {
            self.spawning.retain(|p| *p != pid);
            self.spawning.truncate(SPAWNING - 1);
            self.spawning.push(pid);
        }
        self.process(pid).pending = Some(Pending {
            name: name.into(),
            path,
        });
    }

    fn resume(
        &mut self,
        pid: u32,
        name: &str,
        outcome: Option<&str>,
        comm: &str,
        found: &mut dyn FnMut(&Call<'_>),
    ) -> Seen {
        let pending = self.process(pid).pending.take_if(|p| p.name == name);
        if pending.is_none() {
            // Its start was before the trace's.
            let Some((arch, called)) = self.arch_of(pid, name, None) else {
                return Seen::Unreadable;
            };
            self.tell(pid, arch, called, name, None, comm, found);
        }
        if let Some(result) = outcome {
            self.finish(pid, name, pending.and_then(|p| p.path), result);
        }
        Seen::Used
    }

    fn finish(&mut self, pid: u32, name: &str, path: Option<String>, result: &str) {
        self.spawning.retain(|p| *p != pid);
        let value = result.split([' ', '<', '(']).next().unwrap_or("");
        if is_spawn(name) {
            if let Some(child) = self::pid(value) {
                let parent = self.process(pid);
                let child_of = Process {
                    program: Rc::clone(&parent.program),
                    arch: parent.arch,
                    pending: None,
                };
                if self.processes.len() < PROCESSES {
                    self.processes.entry(child).or_insert(child_of);
                }
            }
        } else if value == "0"
            && let Some(path) = path
        {
            let native = self.native;
            let process = self.process(pid);
            process.program = Rc::new(Program {
                comm: comm_of(&path),
                exe: path,
            });
            // Until a marker or a call says otherwise.
            process.arch = native;
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.pending = None;
        }
    }

    /// `exited with 0 +++`, `killed by SIGSYS (core dumped) +++`, `superseded by execve in pid 12 +++`
    fn end(&mut self, pid: u32, text: &str) -> Seen {
        self.spawning.retain(|p| *p != pid);
        let gone = self.processes.remove(&pid);
        // A thread that executes a program takes the number of its process.
        if let Some(other) = text.strip_prefix("superseded by execve in pid ") {
            let other = other.split(' ').next().and_then(self::pid);
            let heir = other.and_then(|other| self.processes.remove(&other));
            let heir = heir.filter(|heir| heir.pending.is_some());
            // What it executes is in its own lines, which may be in another file.
            let unknown = Process {
                program: Rc::default(),
                arch: gone.map_or(self.native, |p| p.arch),
                pending: None,
            };
            self.processes.insert(pid, heir.unwrap_or(unknown));
        }
        Seen::Silent
    }

    /// `1234 runs in 32 bit mode. ]`
    fn mode(&mut self, text: &str) -> Seen {
        let Some((pid, mode)) = text.split_once(" runs in ") else {
            return Seen::Unreadable;
        };
        let (Some(pid), Some(arch)) = (self::pid(pid), mode_arch(mode, self.native)) else {
            return Seen::Unreadable;
        };
        // It names the process even where lines do not.
        let pid = if self.processes.contains_key(&pid) || !self.processes.contains_key(&0) {
            pid
        } else {
            0
        };
        self.process(pid).arch = arch;
        Seen::Silent
    }

    /// Lines of the tables of `-c`.
    fn read_table(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Option<Seen> {
        if let Some(mode) = line.strip_prefix("System call usage summary for ") {
            return Some(match mode_arch(mode, self.native) {
                Some(arch) => {
                    self.table_arch = arch;
                    Seen::Silent
                }
                None => Seen::Unreadable,
            });
        }
        if let Some(table) = Table::of_header(line, self.table_arch) {
            self.table = Some(table);
            return Some(Seen::Silent);
        }
        let table = self.table.clone()?;
        let words: Vec<_> = line.split_whitespace().collect();
        if !words.is_empty() && words.iter().all(|w| w.bytes().all(|b| b == b'-')) {
            return Some(Seen::Silent);
        }
        let (Some(name), Some(Ok(times))) = (
            table.syscall.of(&words),
            table.calls.of(&words).map(str::parse),
        ) else {
            // Behind the table.
            self.table = None;
            return None;
        };
        if name == "total" {
            self.table = None;
            return Some(Seen::Silent);
        }
        let Some(called) = called(name, table.arch) else {
            return Some(Seen::Unreadable);
        };
        for called in made(name, table.arch, called, None) {
            found(&Call {
                arch: table.arch,
                called,
                times,
                pid: None,
                comm: "",
                exe: "",
                verdict: None,
            });
        }
        Some(Seen::Used)
    }
}

impl Table {
    fn of_header(line: &str, arch: Arch) -> Option<Self> {
        let line = line.trim();
        if !(line.starts_with('%') || line.starts_with(|c: char| c.is_ascii_lowercase()))
            || !line.contains("calls")
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
            calls: column("calls")?,
            syscall: column("syscall")?,
            arch,
        })
    }
}

impl Column {
    fn of<'a>(self, words: &[&'a str]) -> Option<&'a str> {
        let at = match self {
            Self::FromLeft(at) => at,
            Self::FromRight(at) => words.len().checked_sub(at + 1)?,
        };
        words.get(at).copied()
    }
}

/// What stands before a call.
struct Head<'a> {
    pid: Option<u32>,
    comm: &'a str,
    /// The call's number, which `-n` prints.
    number: Option<u32>,
    rest: &'a str,
}

impl<'a> Head<'a> {
    /// `[pid 12<name>] `, `12 `, times, `[ 257] `, `[00007f0f3ed9ac44] `, `[label] `; none if nothing else is there.
    fn read(line: &'a str) -> Option<Self> {
        let mut head = Self {
            pid: None,
            comm: "",
            number: None,
            rest: line,
        };
        loop {
            head.rest = head.rest.trim_start();
            let rest = head.rest;
            if rest.is_empty() {
                return None;
            }
            let next = if rest.starts_with("[ Process ") {
                None
            } else if let Some(inside) = rest.strip_prefix('[') {
                inside.split_once("] ").map(|(inside, after)| {
                    if let Some(id) = inside.strip_prefix("pid ") {
                        head.process(id.trim());
                    } else if inside.trim().len() < 8 {
                        head.number = inside.trim().parse().ok();
                    }
                    after
                })
            } else if let Some(inside) = rest.strip_prefix("(+") {
                inside.split_once(')').map(|(_, after)| after)
            } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
                head.leading_number()
            } else {
                None
            };
            match next {
                Some(after) => head.rest = after,
                None => return Some(head),
            }
        }
    }

    /// A process or a time: what follows it.
    fn leading_number(&mut self) -> Option<&'a str> {
        let rest = self.rest;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest.as_bytes().get(digits) {
            Some(b' ') => {
                if self.pid.is_none() {
                    self.process(&rest[..digits]);
                }
                Some(&rest[digits..])
            }
            // The name of a thread may hold anything; strace escapes `<` and `>` in it.
            Some(b'<') => {
                let end = rest.find("> ")? + 1;
                self.process(&rest[..end]);
                Some(&rest[end..])
            }
            Some(b':' | b'.') => {
                let end = rest.find(' ')?;
                let is_time = rest[..end]
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b == b':' || b == b'.');
                is_time.then_some(&rest[end..])
            }
            _ => None,
        }
    }

    /// `12` or `12<name>`
    fn process(&mut self, text: &'a str) {
        let (number, name) = text.split_once('<').unwrap_or((text, ""));
        if let Some(pid) = pid(number) {
            self.pid = Some(pid);
            self.comm = name.strip_suffix('>').unwrap_or(name);
        }
    }
}

fn pid(text: &str) -> Option<u32> {
    let number: u64 = text.parse().ok()?;
    u32::try_from(number)
        .ok()
        .filter(|_| number > 0 && number <= PID_MAX && text.bytes().all(|b| b.is_ascii_digit()))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_spawn(name: &str) -> bool {
    matches!(name, "clone" | "clone3" | "fork" | "vfork")
}

/// Signals, stops, what strace says of itself, stacks (`-k`), calls that it could not read, and the second part of a
/// line that one of strace's own messages has split.
fn is_silent(rest: &str) -> bool {
    const STARTS: [&str; 8] = [
        "--- ",
        "strace: ",
        "> ",
        "????",
        "<unfinished ...>",
        ") = ",
        ", ",
        "<detached ...>",
    ];
    let attached = rest.strip_prefix("Process ").is_some_and(|r| {
        ["attached", "detached", "suspended", "resumed"]
            .iter()
            .any(|end| r.contains(end))
    });
    attached || STARTS.iter().any(|start| rest.starts_with(start))
}

/// `vfork(strace: Process 12 attached`: what stands before the message, and the process.
fn attached(line: &str) -> Option<(&str, u32)> {
    let line = line.strip_suffix(" attached")?;
    let (before, child) = line.rsplit_once("Process ")?;
    Some((
        before.strip_suffix("strace: ").unwrap_or(before),
        pid(child)?,
    ))
}

fn marker(rest: &str) -> Option<&str> {
    let rest = rest.strip_prefix("strace: ").unwrap_or(rest);
    rest.strip_prefix("[ Process PID=")
}

/// The architecture of a mode, in strace's words: `32 bit mode. ]`.
fn mode_arch(mode: &str, native: Arch) -> Option<Arch> {
    let wanted = mode.split(" mode").next()?;
    let find = |arches: &[Arch]| {
        machine::family(native)
            .iter()
            .copied()
            .find(|arch| arches.contains(arch))
    };
    match wanted {
        "64 bit" | "n64" => Some(native),
        "x32" => find(&[Arch::X32]),
        "n32" => find(&[Arch::Mips64N32, Arch::Mipsel64N32]),
        "32 bit" | "31 bit" | "o32" => find(&[
            Arch::X86,
            Arch::Arm,
            Arch::Ppc,
            Arch::S390,
            Arch::Mips,
            Arch::Mipsel,
        ]),
        _ => None,
    }
}

/// `<... read resumed>"", 832) = 832`
fn resumed(rest: &str) -> Option<(&str, Option<&str>)> {
    let (name, after) = rest.strip_prefix("<... ")?.split_once(" resumed>")?;
    Some((name, outcome(after)))
}

/// What a call returned, if it did.
fn outcome(after: &str) -> Option<&str> {
    if after.ends_with("<unfinished ...>") {
        return None;
    }
    after.rfind(") = ").map(|at| &after[at + 4..]).or_else(|| {
        // strace pads short calls: `getpid()                = 12`
        let (before, result) = after.rsplit_once(" = ")?;
        before.trim_end().ends_with(')').then_some(result)
    })
}

/// The first string among arguments. strace escapes quotes in it; the rest of what it escapes is left so.
fn first_string(arguments: &str) -> Option<String> {
    let (_, start) = arguments.split_once('"')?;
    let mut end = 0;
    let bytes = start.as_bytes();
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some(start.get(..end)?.to_owned())
}

/// What the kernel calls a process that executes this: `TASK_COMM_LEN` is 16, with the final NUL.
fn comm_of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut end = name.len().min(15);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].into()
}

/// The call that strace means on that architecture.
fn called(name: &str, arch: Arch) -> Option<Called> {
    if let Some(number) = name.strip_prefix("syscall_0x") {
        let number = u32::from_str_radix(number, 16).ok()?;
        return Some(Called::numbered(arch, number));
    }
    let call = Syscall::named(name);
    if let Some(call) = call.filter(|call| call.number(arch).is_some()) {
        return Some(Called::Known(call));
    }
    multiplexer(name, arch).map(Called::Known)
}

fn has_number(called: Called, arch: Arch, number: u32) -> bool {
    match called {
        Called::Known(call) => call.number(arch) == Some(number),
        Called::Number(unknown) => unknown == number,
    }
}

/// What the kernel was called for. Of a call that goes through `socketcall` or `ipc` strace prints what it asks for,
/// as of one that does not; unless it prints numbers too, it may have been either.
fn made(
    name: &str,
    arch: Arch,
    called: Called,
    number: Option<u32>,
) -> impl Iterator<Item = Called> {
    let other = multiplexer(name, arch)
        .map(Called::Known)
        .filter(|other| *other != called);
    let both = [Some(called), other];
    let sure = both
        .into_iter()
        .flatten()
        .find(|c| number.is_some_and(|number| has_number(*c, arch, number)));
    match sure {
        Some(_) => [sure, None],
        None => both,
    }
    .into_iter()
    .flatten()
}

/// The one call through which an architecture offers (or once offered) many.
fn multiplexer(name: &str, arch: Arch) -> Option<Syscall> {
    let multiplexer = match name {
        "socket" | "bind" | "connect" | "listen" | "accept" | "getsockname" | "getpeername"
        | "socketpair" | "send" | "recv" | "sendto" | "recvfrom" | "shutdown" | "setsockopt"
        | "getsockopt" | "sendmsg" | "recvmsg" | "accept4" | "recvmmsg" | "sendmmsg" => {
            "socketcall"
        }
        "semop" | "semget" | "semctl" | "semtimedop" | "msgsnd" | "msgrcv" | "msgget"
        | "msgctl" | "shmat" | "shmdt" | "shmget" | "shmctl" => "ipc",
        _ => return None,
    };
    Syscall::named(multiplexer).filter(|call| call.number(arch).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls of a trace, and how many of its lines were not understood.
    fn trace(native: Arch, files: &[(&str, &str)]) -> (Vec<String>, usize) {
        let mut reader = Reader::new(native);
        let (mut calls, mut unreadable) = (vec![], 0);
        for (name, text) in files {
            reader.begin(name);
            for line in text.lines() {
                let seen = reader.read(line, &mut |call| {
                    let times = if call.times == 1 {
                        String::new()
                    } else {
                        format!(" x{}", call.times)
                    };
                    calls.push(format!("{call}{times}"));
                });
                unreadable += usize::from(seen == Seen::Unreadable);
            }
        }
        (calls, unreadable)
    }

    fn amd64(text: &str) -> Vec<String> {
        let (calls, unreadable) = trace(Arch::X86_64, &[("trace", text)]);
        assert_eq!(unreadable, 0, "{text}");
        calls
    }

    #[test]
    fn a_call_is_found_behind_whatever_strace_puts_before_it() {
        for (line, want) in [
            (
                "openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY|O_CLOEXEC) = 3",
                "amd64 openat - - -",
            ),
            (
                "getpid()                                = 12",
                "amd64 getpid - - -",
            ),
            ("12 getpid() = 12", "amd64 getpid 12 - -"),
            ("12    getpid() = 12", "amd64 getpid 12 - -"),
            ("[pid    12] getpid() = 12", "amd64 getpid 12 - -"),
            ("[pid    12<sh>] getpid() = 12<sh>", "amd64 getpid 12 sh -"),
            ("12<my [app> getpid() = 12", "amd64 getpid 12 my [app -"),
            ("12 06:51:10 getpid() = 12", "amd64 getpid 12 - -"),
            ("12 06:51:10.123456 getpid() = 12", "amd64 getpid 12 - -"),
            ("12 1795474870.398123 getpid() = 12", "amd64 getpid 12 - -"),
            ("12 1795474870 getpid() = 12", "amd64 getpid 12 - -"),
            ("1795474870.398123 getpid() = 12", "amd64 getpid - - -"),
            (
                "12      0.000012 getpid() = 12 <0.000004>",
                "amd64 getpid 12 - -",
            ),
            (
                "12 06:51:10 (+     0.000012) getpid() = 12",
                "amd64 getpid 12 - -",
            ),
            ("[00007f0f3ed9ac44] getpid() = 12", "amd64 getpid - - -"),
            ("[pid 12] [  39] getpid() = 12", "amd64 getpid 12 - -"),
            ("12 [docker-default] getpid() = 12", "amd64 getpid 12 - -"),
            (
                "12 syscall_0x1ce(0, 0, 0) = -1 ENOSYS (Function not implemented)",
                "amd64 mseal 12 - -",
            ),
            (
                "12 syscall_0x3e7(0, 0, 0) = -1 ENOSYS (Function not implemented)",
                "amd64 999 12 - -",
            ),
            ("12 exit_group(0) = ?", "amd64 exit_group 12 - -"),
            (
                "12 futex(0x7f, FUTEX_WAIT, 1, NULL <unfinished ...>",
                "amd64 futex 12 - -",
            ),
            (
                "12 restart_syscall(<... resuming interrupted read ...>) = 0",
                "amd64 restart_syscall 12 - -",
            ),
            (
                "12 write(1, \"a) = 5\\n <unfinished ...>\", 24) = 24",
                "amd64 write 12 - -",
            ),
            (
                "12 pause() = ? ERESTARTNOHAND (To be restarted if no handler)",
                "amd64 pause 12 - -",
            ),
        ] {
            assert_eq!(amd64(line), [want], "{line}");
        }
    }

    #[test]
    fn what_strace_says_besides_calls_is_silent() {
        for line in [
            "",
            "12 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=13} ---",
            "12 --- stopped by SIGSTOP ---",
            "12 +++ exited with 0 +++",
            "[pid 12] +++ killed by SIGSYS (core dumped) +++",
            "strace: Process 13 attached",
            "Process 13 attached (waiting for parent)",
            "strace: Process 13 detached",
            " <detached ...>",
            " > /usr/lib/x86_64-linux-gnu/libc.so.6(__read+0x12) [0x10e1f2]",
            "????( <unfinished ...>",
            ", child_tidptr=0x7f5) = 13",
        ] {
            assert_eq!(amd64(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn what_a_traced_program_prints_between_is_not_taken_for_calls() {
        for line in [
            "hello, world",
            "f(x) = 3",
            "total 12",
            "12",
            "drwxr-xr-x 2 root root 40 Nov 24 tmp",
            "printf(\"x\")",
        ] {
            assert_eq!(trace(Arch::X86_64, &[("t", line)]), (vec![], 1), "{line}");
        }
    }

    #[test]
    fn an_interrupted_line_is_one_call() {
        let calls = amd64(
            "\
12 read(0,  <unfinished ...>
13 wait4(-1,  <unfinished ...>
12 <... read resumed>\"a\", 1) = 1
13 <... wait4 resumed>NULL, 0, NULL) = 12
14 <... nanosleep resumed>NULL) = 0
",
        );
        assert_eq!(
            calls,
            [
                "amd64 read 12 - -",
                "amd64 wait4 13 - -",
                "amd64 nanosleep 14 - -"
            ]
        );
    }

    #[test]
    fn programs_are_followed_through_forks_and_executions() {
        let calls = amd64("\
100 execve(\"/bin/sh\", [\"sh\", \"-c\", \"ls; true\"], 0x7ffe /* 9 vars */) = 0
100 brk(NULL) = 0x55
100 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID <unfinished ...>
101 getpid( <unfinished ...>
100 <... clone resumed>, child_tidptr=0x7f) = 101
101 <... getpid resumed>) = 101
101 execve(\"/usr/bin/nosuch\", [\"ls\"], 0x55 /* 9 vars */) = -1 ENOENT (No such file or directory)
101 execve(\"/usr/bin/a-name-longer-than-the-kernel-keeps\", [\"ls\"], 0x55 /* 9 vars */ <unfinished ...>
100 wait4(-1,  <unfinished ...>
101 <... execve resumed>) = 0
101 exit_group(0) = ?
101 +++ exited with 0 +++
100 <... wait4 resumed>[{WIFEXITED(s)}], 0, NULL) = 101
");
        let long = "a-name-longer-t /usr/bin/a-name-longer-than-the-kernel-keeps";
        assert_eq!(
            calls,
            [
                "amd64 execve 100 - -",
                "amd64 brk 100 sh /bin/sh",
                "amd64 clone 100 sh /bin/sh",
                "amd64 getpid 101 sh /bin/sh",
                "amd64 execve 101 sh /bin/sh",
                "amd64 execve 101 sh /bin/sh",
                "amd64 wait4 100 sh /bin/sh",
                &format!("amd64 exit_group 101 {long}"),
            ]
        );
    }

    #[test]
    fn the_first_process_gets_its_number_when_it_is_no_longer_alone() {
        let calls = amd64(
            "\
execve(\"/bin/sh\", [\"sh\"], 0x7ffe /* 9 vars */) = 0
vfork(strace: Process 101 attached
 <unfinished ...>
[pid   101] getpid() = 101
[pid   100] <... vfork resumed>) = 101
[pid   100] getppid() = 1
",
        );
        assert_eq!(
            calls,
            [
                "amd64 execve - - -",
                "amd64 vfork - sh /bin/sh",
                "amd64 getpid 101 sh /bin/sh",
                "amd64 getppid 100 sh /bin/sh",
            ]
        );
    }

    #[test]
    fn a_thread_that_executes_becomes_its_process() {
        let calls = amd64(
            "\
100 execve(\"/bin/a\", [\"a\"], 0x7ffe /* 9 vars */) = 0
100 futex(0x1, FUTEX_WAIT <unfinished ...>
101 execve(\"/bin/b\", [\"b\"], 0x7ffe /* 9 vars */ <unfinished ...>
100 <... futex resumed>) = ?
100 +++ superseded by execve in pid 101 +++
100 <... execve resumed>) = 0
100 getpid() = 100
",
        );
        assert_eq!(calls.last().unwrap(), "amd64 getpid 100 b /bin/b");
        assert_eq!(calls.len(), 4, "{calls:?}");
        // With -ff its execve is in another file.
        let file = "\
execve(\"/bin/a\", [\"a\"], 0x7ffe /* 9 vars */) = 0
clone3({flags=CLONE_THREAD}, 88) = 101
+++ superseded by execve in pid 101 +++
<... execve resumed>) = 0
getpid() = 100
";
        let (calls, _) = trace(Arch::X86_64, &[("out.100", file)]);
        assert_eq!(calls.last().unwrap(), "amd64 getpid 100 - -");
    }

    #[test]
    fn the_markers_of_32_bit_mode_are_heeded() {
        let calls = amd64(
            "\
12 execve(\"./hello32\", [\"hello32\"], 0x7ffe /* 9 vars */) = 0
strace: [ Process PID=12 runs in 32 bit mode. ]
12 brk(NULL) = 0x55
12 socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 [ 359] socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 [ 102] socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 execve(\"/bin/b\", [\"b\"], 0x7ffe /* 9 vars */) = 0
[ Process PID=12 runs in 64 bit mode. ]
12 socket(AF_UNIX, SOCK_STREAM, 0) = 3
[ Process PID=12 runs in x32 mode. ]
12 getpid() = 12
",
        );
        let all: Vec<_> = calls
            .iter()
            .map(|c| c.split(" 12").next().unwrap())
            .collect();
        assert_eq!(
            all,
            [
                "amd64 execve",
                "x86 brk",
                "x86 socket",
                "x86 socketcall",
                "x86 socket",
                "x86 socketcall",
                "x86 execve",
                "amd64 socket",
                "x32 getpid",
            ]
        );
        let alone = amd64(
            "\
execve(\"./hello32\", [\"hello32\"], 0x7ffe /* 9 vars */) = 0
strace: [ Process PID=12 runs in 32 bit mode. ]
getpid() = 12
",
        );
        assert_eq!(alone[1], "x86 getpid - hello32 ./hello32");
    }

    #[test]
    fn without_markers_a_name_that_only_one_architecture_has_tells_it() {
        let calls = amd64(
            "\
12 execve(\"./hello32\", [\"hello32\"], 0x7ffe /* 9 vars */) = 0
12 mmap2(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0) = 0xf7
12 close(3) = 0
12 execve(\"/bin/b\", [\"b\"], 0x7ffe /* 9 vars */) = 0
12 close(3) = 0
",
        );
        let all: Vec<_> = calls
            .iter()
            .map(|c| c.split(" 12").next().unwrap())
            .collect();
        assert_eq!(
            all,
            [
                "amd64 execve",
                "x86 mmap2",
                "x86 close",
                "x86 execve",
                "amd64 close"
            ]
        );
    }

    #[test]
    fn numbers_tell_the_architecture_too() {
        let calls = amd64(
            "\
12 [  59] execve(\"./hello32\", [\"hello32\"], 0x7ffe /* 9 vars */) = 0
12 [  20] getpid() = 12
12 [ 102] socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 [ 359] socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 [  11] execve(\"/bin/b\", [\"b\"], 0x7ffe /* 9 vars */) = 0
12 [  39] getpid() = 12
12 [9999] getuid() = 0
",
        );
        let all: Vec<_> = calls
            .iter()
            .map(|c| c.split(" 12").next().unwrap())
            .collect();
        assert_eq!(
            all,
            [
                "amd64 execve",
                "x86 getpid",
                "x86 socketcall",
                "x86 socket",
                "x86 execve",
                "amd64 getpid",
                "amd64 getuid",
            ]
        );
    }

    #[test]
    fn modes_are_those_of_the_machine() {
        let mark = "[ Process PID=12 runs in 32 bit mode. ]\n12 getpid() = 12";
        assert_eq!(
            trace(Arch::Aarch64, &[("t", mark)]).0,
            ["arm getpid 12 - -"]
        );
        assert_eq!(
            trace(Arch::Riscv64, &[("t", mark)]),
            (vec!["riscv64 getpid 12 - -".into()], 1)
        );
        let mark = "[ Process PID=12 runs in 31 bit mode. ]\n12 getpid() = 12";
        assert_eq!(trace(Arch::S390X, &[("t", mark)]).0, ["s390 getpid 12 - -"]);
        assert_eq!(
            trace(Arch::Aarch64, &[("t", "openat(1) = 3\nopen(1) = 3")]).0,
            ["arm64 openat - - -", "arm open - - -"]
        );
        assert_eq!(trace(Arch::Riscv64, &[("t", "open(1) = 3")]), (vec![], 1));
    }

    #[test]
    fn each_file_of_ff_is_a_process() {
        let (calls, unreadable) = trace(
            Arch::X86_64,
            &[
                (
                    "out.100",
                    "execve(\"/bin/sh\", [\"sh\"], 0x7 /* 9 vars */) = 0\nvfork() = 101\n+++ exited with 0 +++",
                ),
                ("out.101", "getpid() = 101"),
            ],
        );
        assert_eq!(unreadable, 0);
        assert_eq!(
            calls,
            [
                "amd64 execve 100 - -",
                "amd64 vfork 100 sh /bin/sh",
                "amd64 getpid 101 sh /bin/sh"
            ]
        );
    }

    #[test]
    fn tables_are_read_by_their_columns() {
        let calls = amd64(
            "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000300           3       100        42 openat
 40.00    0.000200           2        50           read
  0.00    0.000000           0         1           syscall_0x3e7
------ ----------- ----------- --------- --------- ----------------
100.00    0.000500           3       151        42 total
System call usage summary for 32 bit mode:
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
  0.00    0.000000           0         2           mmap2
  0.00    0.000000           0         3         1 connect
------ ----------- ----------- --------- --------- ----------------
100.00    0.000000           0         5         1 total
",
        );
        assert_eq!(
            calls,
            [
                "amd64 openat - - - x100",
                "amd64 read - - - x50",
                "amd64 999 - - -",
                "x86 mmap2 - - - x2",
                "x86 connect - - - x3",
                "x86 socketcall - - - x3",
            ]
        );
        // strace -c -U name,calls,errors,max-time
        let calls = amd64(
            "\
syscall              calls    errors    longest
---------------- --------- --------- ----------
read                    50               0.0001
openat                 100        42     0.0001
---------------- --------- --------- ----------
total                  150        42     0.0001
",
        );
        assert_eq!(calls, ["amd64 read - - - x50", "amd64 openat - - - x100"]);
    }

    #[test]
    fn a_trace_and_its_table_may_be_in_one_output() {
        let calls = amd64(
            "\
getpid()                                = 12
+++ exited with 0 +++
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
  0.00    0.000000           0         1           getpid
------ ----------- ----------- --------- --------- ----------------
100.00    0.000000           0         1           total
getuid() = 0
",
        );
        assert_eq!(
            calls,
            [
                "amd64 getpid - - -",
                "amd64 getpid - - -",
                "amd64 getuid - - -"
            ]
        );
    }

    #[test]
    fn an_endless_number_of_processes_does_not_fill_the_memory() {
        let mut reader = Reader::new(Arch::X86_64);
        for pid in 1..20_000 {
            reader.read(&format!("{pid} vfork( <unfinished ...>"), &mut |_| {});
            assert!(reader.processes.len() <= PROCESSES && reader.spawning.len() <= SPAWNING);
        }
    }

    proptest::proptest! {
        /// Whatever follows what, every line is read, and a call that is made once counts once.
        #[test]
        fn no_line_is_too_strange(
            lines in proptest::collection::vec(
                "([0-9<>\\[\\] :.]|pid|read\\(|clone\\(|execve\\(\"|\\) = [0-9]|<unfinished ...>|<... read resumed>|\\+\\+\\+ |superseded by execve in pid [0-9]|% time calls syscall|\\PC){0,12}",
                0..20,
            )
        ) {
            let mut reader = Reader::new(Arch::X86_64);
            reader.begin("x.5");
            for line in &lines {
                let mut calls = 0;
                let seen = reader.read(line, &mut |_| calls += 1);
                proptest::prop_assert_eq!(seen == Seen::Used, calls > 0, "{}", line);
                proptest::prop_assert!(calls <= 2, "{}", line);
            }
        }
    }
}
