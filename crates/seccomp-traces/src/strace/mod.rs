//! What the output of strace says: of `strace -f`, of `-ff -o`, with or without times, numbers, and names of threads,
//! and the tables of `-c`. Pure, but with a memory of the processes, since a line does not name its program.
//!
//! [`line`] takes one line apart, [`syscall`] knows what strace's names mean, [`processes`] remembers who runs what, and
//! [`table`] reads the tables. Here lines become calls.

mod line;
mod processes;
mod repeats;
mod syscall;
mod table;
#[cfg(test)]
mod tests;

use super::arguments::Given;
use super::call::{Call, Called, Seen};
use line::Head;
use processes::Processes;
use repeats::{Part, Repeats};
use seccomp_profile::Arch;
use std::rc::Rc;
use syscall::{is_spawn, kernel_calls, mode_arch};
use table::Tables;

pub use repeats::Beginning;

/// Reads line by line.
#[derive(Debug)]
pub struct Reader {
    native: Arch,
    processes: Processes,
    tables: Tables,
    /// Whose line was cut by what strace had to say.
    cut: Option<u32>,
    /// Whose line was read last.
    last: u32,
    /// Whether ltrace has written this.
    ltrace: bool,
    /// Calls that are counted and not told of yet; none where each line is.
    repeats: Option<Repeats>,
}

/// A call as a line names it.
#[derive(Clone, Copy)]
struct NamedCall<'a> {
    name: &'a str,
    number: Option<u32>,
    arch: Arch,
    called: Called,
}

impl Reader {
    /// For a trace made on a machine of that architecture.
    pub fn new(native: Arch) -> Self {
        Self {
            native,
            processes: Processes::new(native),
            tables: Tables::new(native),
            cut: None,
            last: 0,
            ltrace: false,
            repeats: None,
        }
    }

    /// Tells of calls together, and not whose each was.
    pub fn without_pids(self) -> Self {
        let repeats = Some(Repeats::default());
        Self { repeats, ..self }
    }

    /// To be called before the first line of each file. `-ff -o out` writes a file `out.PID` for each process.
    pub fn begin(&mut self, name: &str) {
        let pid = name.rsplit_once('.').and_then(|(_, end)| line::pid(end));
        self.processes.begin(pid);
        self.tables = Tables::new(self.native);
        self.cut = None;
        self.ltrace = false;
    }

    /// To be called after the last line of each file.
    pub fn end(&mut self, found: &mut dyn FnMut(&Call<'_>)) {
        let Some(repeats) = &mut self.repeats else {
            return;
        };
        repeats.take(|call| {
            self.tables.tell(call.arch, call.called, call.times);
            found(call);
        });
    }

    /// Reads a line that begins so if it is of a kind that was read before; whether it is.
    pub fn read_repeat(&mut self, line: &str, beginning: Beginning) -> bool {
        let Some(repeats) = &mut self.repeats else {
            return false;
        };
        if self.cut.is_some() || self.ltrace || self.tables.is_open() {
            return false;
        }
        let name = beginning.name.of(line);
        let pid = beginning
            .pid
            .unwrap_or_else(|| self.processes.whose(None, None));
        let is_read = match (beginning.part, self.processes.idle(pid)) {
            (Part::End, _) => self.processes.resume_plain(pid, name),
            (_, None) => false,
            (part, Some((program, arch))) => match repeats.count(program, arch, name) {
                Some(name) => {
                    if part == Part::Start {
                        self.processes.suspend_plain(pid, Rc::clone(name));
                    }
                    true
                }
                None => false,
            },
        };
        if is_read {
            self.last = pid;
        }
        is_read
    }

    /// Reads a line.
    pub fn read(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        if let Some((before, child)) = line::attached(line) {
            let seen = if before.trim().is_empty() {
                Seen::Silent
            } else {
                let seen = self.read_line(before, found);
                self.cut = Some(self.last);
                seen
            };
            self.processes.attach(child);
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
        if let Some(pending) = self.processes.take_pending(pid) {
            match line::outcome(rest) {
                Some(result) => self
                    .processes
                    .finish(pid, &pending.name, pending.path, result),
                None => self.processes.suspend(pid, &pending.name, pending.path),
            }
        }
    }

    fn read_line(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        if self.tables.is_open() || self.repeats.as_ref().is_some_and(Repeats::is_full) {
            self.end(found);
        }
        if let Some(seen) = self.tables.read(line, found) {
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
        let resumed = line::resumed(rest);
        let pid = self.processes.whose(pid, resumed.map(|(name, _)| name));
        self.last = pid;
        if let Some(text) = rest.strip_prefix("+++ ") {
            self.processes.end(pid, text);
            return Seen::Silent;
        }
        if let Some(text) = line::marker(rest) {
            return self.mode(text);
        }
        if line::is_silent(rest) {
            return Seen::Silent;
        }
        if let Some((name, outcome)) = resumed {
            return self.resume(pid, name, outcome, comm, found);
        }
        let Some((name, arguments)) = rest.split_once('(') else {
            return Seen::Unreadable;
        };
        let name = match line::ltrace_syscall(name) {
            Some(name) => {
                self.ltrace = true;
                name
            }
            // A function of a library, which may have a system call's name.
            None if self.ltrace => return Seen::Silent,
            None if name == "__libc_start_main" => {
                self.ltrace = true;
                return Seen::Unreadable;
            }
            None => name,
        };
        if !line::is_name(name) {
            return Seen::Unreadable;
        }
        let Some(call) = self.processes.resolve(pid, name, number) else {
            return Seen::Unreadable;
        };
        let path = line::is_exec(name)
            .then(|| line::first_string(arguments))
            .flatten();
        // The call is the caller's: before it becomes another program.
        let given = Given::Printed {
            name,
            text: arguments,
        };
        self.tell(pid, comm, call, given, found);
        if number.is_none() && comm.is_empty() && !line::is_exec(name) && !is_spawn(name) {
            self.learn(pid, call);
        }
        match line::outcome(arguments) {
            Some(result) => self.processes.finish(pid, name, path, result),
            None => self.processes.suspend(pid, name, path),
        }
        Seen::Used
    }

    /// Remembers a call that changes nothing of what is known of its process.
    fn learn(&mut self, pid: u32, named: NamedCall<'_>) {
        if let Some(repeats) = &mut self.repeats {
            let mut called = kernel_calls(named);
            let called = [called.next(), called.next()];
            let program = self.processes.program(pid);
            repeats.learn(program, named.arch, named.name, called);
        }
    }

    fn tell(
        &mut self,
        pid: u32,
        comm: &str,
        named: NamedCall<'_>,
        arguments: Given<'_>,
        found: &mut dyn FnMut(&Call<'_>),
    ) {
        let program = self.processes.program(pid);
        let own = line::unescaped(comm);
        let call = Call {
            arch: named.arch,
            called: named.called,
            times: 1,
            pid: Some(pid).filter(|pid| *pid != 0),
            comm: if comm.is_empty() { &program.comm } else { &own },
            exe: &program.exe,
            arguments,
            verdict: None,
        };
        for called in kernel_calls(named) {
            self.tables.tell(named.arch, called, 1);
            found(&Call { called, ..call });
        }
    }

    fn resume(
        &mut self,
        pid: u32,
        name: &str,
        outcome: Option<&str>,
        comm: &str,
        found: &mut dyn FnMut(&Call<'_>),
    ) -> Seen {
        let pending = self.processes.resume(pid, name);
        if pending.is_none() && !(line::is_exec(name) && self.processes.was_superseded(pid)) {
            // Its start was before the trace's.
            let Some(call) = self.processes.resolve(pid, name, None) else {
                return Seen::Unreadable;
            };
            self.tell(pid, comm, call, Given::Nothing, found);
        }
        if let Some(result) = outcome {
            let path = pending.and_then(|p| p.path);
            self.processes.finish(pid, name, path, result);
        }
        Seen::Used
    }

    /// `1234 runs in 32 bit mode. ]`
    fn mode(&mut self, text: &str) -> Seen {
        let Some((pid, mode)) = text.split_once(" runs in ") else {
            return Seen::Unreadable;
        };
        let (Some(pid), Some(arch)) = (line::pid(pid), mode_arch(mode, self.native)) else {
            return Seen::Unreadable;
        };
        self.processes.set_arch(pid, arch);
        Seen::Silent
    }
}
