//! Filters whose decisions are known, made here without libseccomp and loaded into a process on its way to a program.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccomp_profile::{Arch, Syscall};

pub const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub const LOG: u32 = libc::SECCOMP_RET_LOG;
pub const TRACE: u32 = libc::SECCOMP_RET_TRACE;
pub const TRAP: u32 = libc::SECCOMP_RET_TRAP;
pub const KILL_THREAD: u32 = libc::SECCOMP_RET_KILL_THREAD;
pub const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;

pub const fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

/// A filter in the making: of the rules for a call, the first that matches counts.
pub struct Filter {
    default: u32,
    /// For calls that are not of the native ABI.
    pub foreign: u32,
    rules: Vec<Rule>,
}

struct Rule {
    nr: u32,
    /// Argument, mask, value: compares the low half.
    condition: Option<(u32, u32, u32)>,
    action: u32,
}

impl Filter {
    pub fn new(default: u32) -> Self {
        Self {
            default,
            foreign: ALLOW,
            rules: vec![],
        }
    }

    pub fn rule(self, name: &str, action: u32) -> Self {
        self.rules([name], action)
    }

    pub fn rules<'a>(mut self, names: impl IntoIterator<Item = &'a str>, action: u32) -> Self {
        self.rules.extend(names.into_iter().map(|name| Rule {
            nr: nr(name),
            condition: None,
            action,
        }));
        self
    }

    pub fn when(mut self, name: &str, condition: (u32, u32, u32), action: u32) -> Self {
        self.rules.push(Rule {
            nr: nr(name),
            condition: Some(condition),
            action,
        });
        self
    }

    fn compile(&self) -> Vec<libc::sock_filter> {
        const ARCH: u32 = if cfg!(target_arch = "x86_64") {
            0xc000_003e
        } else {
            0xc000_00b7
        };
        let op = |code: u32, jt, jf, k| libc::sock_filter {
            code: u16::try_from(code).unwrap(),
            jt,
            jf,
            k,
        };
        let load = |k| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, k);
        let ret = |k| op(libc::BPF_RET | libc::BPF_K, 0, 0, k);
        let equal = |k, jt, jf| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, k);
        let mut program = vec![
            load(4),
            equal(ARCH, 1, 0),
            ret(self.foreign),
            load(0),
            op(
                libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K,
                0,
                1,
                0x4000_0000,
            ),
            ret(self.foreign),
        ];
        for rule in &self.rules {
            program.push(load(0));
            match rule.condition {
                None => program.push(equal(rule.nr, 0, 1)),
                Some((arg, mask, value)) => program.extend([
                    equal(rule.nr, 0, 4),
                    load(16 + 8 * arg),
                    op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask),
                    equal(value, 0, 1),
                ]),
            }
            program.push(ret(rule.action));
        }
        program.push(ret(self.default));
        program
    }
}

const NATIVE: Arch = if cfg!(target_arch = "aarch64") {
    Arch::Aarch64
} else {
    Arch::X86_64
};

pub fn number(name: &str) -> Option<u32> {
    Syscall::named(name)?.number(NATIVE)
}

pub fn nr(name: &str) -> u32 {
    number(name).unwrap_or_else(|| panic!("{name}?"))
}

pub fn all_names() -> impl Iterator<Item = &'static str> {
    let mut calls: Vec<_> = Syscall::all()
        .filter(|call| call.number(NATIVE).is_some())
        .collect();
    calls.sort_by_key(|call| call.number(NATIVE));
    calls
        .into_iter()
        .map(Syscall::name)
        .filter(|name| !["uprobe", "uretprobe"].contains(name))
}

/// What the tool needs to start and to probe, here and with other C libraries and architectures.
pub const NEEDED: &str = "execve arch_prctl brk set_tid_address set_robust_list rseq prlimit64 getrandom access faccessat \
    open openat read pread64 write close fstat newfstatat statx mmap munmap mprotect mremap readlink readlinkat poll ppoll \
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack sched_getaffinity gettid getpid futex prctl seccomp clone wait4 \
    pipe2 fcntl ioctl exit_group exit";

pub fn needed() -> Vec<&'static str> {
    NEEDED
        .split_whitespace()
        .filter(|name| number(name).is_some())
        .collect()
}

/// Has the filter loaded on the way to the program; with `listener`, the program inherits
/// the filter's listener under that number.
pub fn load_first(command: &mut Command, filter: &Filter, listener: Option<i32>) {
    let program = filter.compile();
    let load = move || {
        let program = libc::sock_fprog {
            len: u16::try_from(program.len()).map_err(io::Error::other)?,
            filter: program.as_ptr().cast_mut(),
        };
        let flags = if listener.is_some() {
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        } else {
            0
        };
        // SAFETY: the program outlives the calls, which only read it.
        let loaded = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        match (i32::try_from(loaded), listener) {
            // As it is, it would close on exec, and the filter forget it.
            // SAFETY: makes a copy of the descriptor under a number that nobody uses.
            (Ok(fd @ 0..), Some(number)) if unsafe { libc::dup2(fd, number) } == number => Ok(()),
            (Ok(0), None) => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec, only system calls are made.
    unsafe { command.pre_exec(load) };
}
