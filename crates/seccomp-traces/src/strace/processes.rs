//! The processes of a trace: which program each runs, on which architecture, and whose a line is that does not say so.
//! Bounded, whatever the trace holds.

use std::collections::HashMap;
use std::rc::Rc;

use super::NamedCall;
use super::line::{comm_of, is_exec, pid};
use super::syscall::{called, has_number, is_spawn, multiplexer};
use crate::call::Called;
use crate::quick_hash::QuickHash;
use seccomp_profile::Arch;

/// More processes than this at once are not remembered: a trace of more has ends that it does not show.
pub const MAX_PROCESSES: usize = 1 << 14;

/// More than this are hardly making another at the same moment.
pub const MAX_SPAWNING: usize = 64;

/// More programs than this are not remembered at once.
const MAX_PROGRAMS: usize = 1000;

/// A program, as its process calls itself and as it was executed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub comm: String,
    pub exe: String,
}

#[derive(Clone, Debug)]
struct Process {
    program: Rc<Program>,
    arch: Arch,
    /// The call that is not finished.
    pending: Option<Pending>,
    /// Whether a thread of it has executed a program and taken its number: the start of that call is in the thread's file.
    superseded: bool,
}

/// A call whose end has not been seen.
#[derive(Clone, Debug)]
pub struct Pending {
    pub name: Rc<str>,
    /// What an execve is about to execute.
    pub path: Option<String>,
}

/// What is remembered of the processes.
#[derive(Debug)]
pub struct Processes {
    native: Arch,
    known: HashMap<u32, Process, QuickHash>,
    /// Programs by their paths, so that one that is executed again is the same.
    programs: HashMap<String, Rc<Program>>,
    /// Those that are making another.
    spawning: Vec<u32>,
    /// Whose lines have no number: 0, or that in the name of the file.
    unnamed: u32,
    /// Whose lines had no number before there were others.
    first: Option<u32>,
    /// Whether strace says when it attaches to a new process.
    announces: bool,
}

impl Processes {
    /// None yet, on a machine of that architecture.
    pub fn new(native: Arch) -> Self {
        Self {
            native,
            known: HashMap::default(),
            programs: HashMap::new(),
            spawning: Vec::new(),
            unnamed: 0,
            first: None,
            announces: false,
        }
    }

    /// A new file begins: of that process alone, if its name has a number.
    pub fn begin(&mut self, pid: Option<u32>) {
        if pid.is_none() {
            self.known.clear();
            self.spawning.clear();
        }
        self.unnamed = pid.unwrap_or(0);
        self.first = None;
    }

    /// strace says that it follows a new process.
    pub fn attach(&mut self, child: u32) {
        if !self.spawning.is_empty() {
            self.announces = true;
            self.process(child);
        }
    }

    /// Whose line it is. strace writes no numbers as long as there is one process, so the first has none until it is not
    /// alone any more, and the last has none again.
    pub fn whose(&mut self, pid: Option<u32>, resumed: Option<&str>) -> u32 {
        let Some(pid) = pid else {
            let mut all = self.known.keys().copied();
            return match (self.unnamed, all.next(), all.next()) {
                (0, Some(only), None) => only,
                (0, ..) => self
                    .first
                    .filter(|first| self.known.contains_key(first))
                    .unwrap_or(0),
                (unnamed, ..) => unnamed,
            };
        };
        if !self.known.contains_key(&pid)
            && let Some(alone) = self.known.get(&0)
        {
            // Unless it may be a child that nobody has told of.
            let resumes = alone
                .pending
                .as_ref()
                .is_some_and(|p| Some(&*p.name) == resumed);
            if resumes || self.announces || !self.spawning.contains(&0) {
                if let Some(alone) = self.known.remove(&0) {
                    self.known.insert(pid, alone);
                }
                for spawning in self.spawning.iter_mut().filter(|p| **p == 0) {
                    *spawning = pid;
                }
                self.first = Some(pid);
            }
        }
        pid
    }

    fn process(&mut self, pid: u32) -> &mut Process {
        if !self.known.contains_key(&pid) {
            if self.known.len() >= MAX_PROCESSES {
                self.known.clear();
                self.spawning.clear();
            }
            let process = self.newcomer();
            self.known.insert(pid, process);
        }
        // Cannot be vacant, and needs no panic to say so.
        self.known.entry(pid).or_insert_with(|| Process {
            program: Rc::default(),
            arch: self.native,
            pending: None,
            superseded: false,
        })
    }

    /// A process not seen before: the child of the one that is making a child, or the first one, whose lines had no
    /// number as long as it was alone.
    fn newcomer(&self) -> Process {
        let mut parents = self.spawning.iter().filter_map(|pid| self.known.get(pid));
        let parent = match parents.next() {
            Some(first) => parents
                .all(|p| p.program == first.program && p.arch == first.arch)
                .then_some(first),
            None => self.known.get(&0),
        };
        Process {
            program: parent.map_or_else(Rc::default, |p| Rc::clone(&p.program)),
            arch: parent.map_or(self.native, |p| p.arch),
            pending: None,
            superseded: false,
        }
    }

    /// What a known process runs, and on which architecture; none if it has a call that is not finished, or is making a process.
    pub fn idle(&self, pid: u32) -> Option<(&Rc<Program>, Arch)> {
        let process = self.known.get(&pid)?;
        let idle = process.pending.is_none() && !self.spawning.contains(&pid);
        idle.then_some((&process.program, process.arch))
    }

    /// A call of a known process that makes neither a process nor a program has begun, and its end is in a later line.
    pub fn suspend_plain(&mut self, pid: u32, name: Rc<str>) {
        if let Some(process) = self.known.get_mut(&pid) {
            process.pending = Some(Pending { name, path: None });
        }
    }

    /// Such a call ends; whether the process had begun it. One that was making a process has more to end.
    pub fn resume_plain(&mut self, pid: u32, name: &str) -> bool {
        if is_spawn(name) || is_exec(name) || self.spawning.contains(&pid) {
            return false;
        }
        let process = self.known.get_mut(&pid);
        process.is_some_and(|p| p.pending.take_if(|p| *p.name == *name).is_some())
    }

    /// The program that a process runs.
    pub fn program(&mut self, pid: u32) -> Rc<Program> {
        Rc::clone(&self.process(pid).program)
    }

    /// Which call that name is. The markers that tell the mode are not in the files of `-o`; a number that the call does
    /// not have on a process's architecture tells as much, or a name that the architecture does not have.
    pub fn resolve<'n>(
        &mut self,
        pid: u32,
        name: &'n str,
        number: Option<u32>,
    ) -> Option<NamedCall<'n>> {
        let known = match self.known.get(&pid) {
            Some(process) => process.arch,
            None => self.newcomer().arch,
        };
        let others = self.native.abis().iter().copied();
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
        Some(NamedCall {
            name,
            number,
            arch,
            called,
        })
    }

    /// strace says on which architecture a process runs. It names the process even where lines do not.
    pub fn set_arch(&mut self, pid: u32, arch: Arch) {
        let pid = if self.known.contains_key(&pid) || !self.known.contains_key(&0) {
            pid
        } else {
            0
        };
        self.process(pid).arch = arch;
    }

    /// A call has begun and its end is in a later line.
    pub fn suspend(&mut self, pid: u32, name: &str, path: Option<String>) {
        if is_spawn(name) {
            self.spawning.retain(|p| *p != pid);
            self.spawning.truncate(MAX_SPAWNING - 1);
            self.spawning.push(pid);
        }
        self.process(pid).pending = Some(Pending {
            name: name.into(),
            path,
        });
    }

    /// The call that a known process has not finished.
    pub fn take_pending(&mut self, pid: u32) -> Option<Pending> {
        self.known.get_mut(&pid)?.pending.take()
    }

    /// Whether what the process goes on with was begun by a thread that took its number; it is said once.
    pub fn was_superseded(&mut self, pid: u32) -> bool {
        std::mem::take(&mut self.process(pid).superseded)
    }

    /// The call of that name, if it is what the process has not finished.
    pub fn resume(&mut self, pid: u32, name: &str) -> Option<Pending> {
        self.process(pid).pending.take_if(|p| *p.name == *name)
    }

    /// A call has come back.
    pub fn finish(&mut self, pid: u32, name: &str, path: Option<String>, result: &str) {
        self.spawning.retain(|p| *p != pid);
        let value = result.split([' ', '<', '(']).next().unwrap_or("");
        if is_spawn(name) {
            if let Some(child) = self::pid(value) {
                let parent = self.process(pid);
                let child_of = Process {
                    program: Rc::clone(&parent.program),
                    arch: parent.arch,
                    pending: None,
                    superseded: false,
                };
                if self.known.len() < MAX_PROCESSES {
                    self.known.entry(child).or_insert(child_of);
                }
            }
        } else if value == "0"
            && let Some(path) = path
        {
            let native = self.native;
            let program = self.executed(path);
            let process = self.process(pid);
            process.program = program;
            // Until a marker or a call says otherwise.
            process.arch = native;
        }
        if let Some(process) = self.known.get_mut(&pid) {
            process.pending = None;
        }
    }

    fn executed(&mut self, path: String) -> Rc<Program> {
        if let Some(program) = self.programs.get(&path) {
            return Rc::clone(program);
        }
        if self.programs.len() >= MAX_PROGRAMS {
            self.programs.clear();
        }
        let program = Rc::new(Program {
            comm: comm_of(&path),
            exe: path.clone(),
        });
        self.programs.insert(path, Rc::clone(&program));
        program
    }

    /// `exited with 0 +++`, `killed by SIGSYS (core dumped) +++`, `superseded by execve in pid 12 +++`
    pub fn end(&mut self, pid: u32, text: &str) {
        self.spawning.retain(|p| *p != pid);
        let gone = self.known.remove(&pid);
        // A thread that executes a program takes the number of its process.
        if let Some(other) = text.strip_prefix("superseded by execve in pid ") {
            let other = other.split(' ').next().and_then(self::pid);
            let heir = other.and_then(|other| self.known.remove(&other));
            let heir = heir.filter(|heir| heir.pending.is_some());
            // What it executes is in its own lines, which may be in another file.
            let unknown = Process {
                program: Rc::default(),
                arch: gone.map_or(self.native, |p| p.arch),
                pending: None,
                superseded: false,
            };
            let heir = heir.unwrap_or(Process {
                superseded: true,
                ..unknown
            });
            self.known.insert(pid, heir);
        }
    }

    #[cfg(test)]
    pub fn remembered(&self) -> (usize, usize) {
        (self.known.len(), self.spawning.len())
    }
}
