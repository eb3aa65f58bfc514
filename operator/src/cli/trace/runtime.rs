//! What a container runtime itself calls between loading the filter and executing the container's program: an
//! allowlist without it starts no container.
//!
//! Found out on `x86_64` by taking names away from an `SCMP_ACT_ERRNO` profile until containers did not start, with and
//! without `noNewPrivileges`, as root and not. The sets are unions over the versions named; they change with versions,
//! so allow more than any one of them needs. Last revised for runc 1.4.2 and crun 1.28.

use clap::ValueEnum;

use crate::profile::{Arch, Syscall};

/// The container runtimes with a set of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// runc 1.1 to 1.4 (containerd's and Docker's).
    Runc,
    /// crun 1.28 (Podman's and CRI-O's).
    Crun,
    /// Nothing is added.
    None,
}

/// The calls that runc was seen to make, whose absence is fatal on some version.
const RUNC: &str = "capget capset chdir close execve exit_group faccessat2 fchown fcntl fstat fstatfs getcwd getdents64 \
    getppid getuid newfstatat openat openat2 prctl read setgid setgroups setuid statx write close_range";

/// The calls that the Go runtime may make at any moment, from any thread.
const GO: &str = "arch_prctl brk epoll_ctl epoll_pwait exit exit_group futex getpid gettid madvise mmap mprotect munmap \
    nanosleep recvfrom rt_sigaction rt_sigprocmask rt_sigreturn sched_yield set_tid_address sigaltstack tgkill";

/// The calls that crun makes.
const CRUN: &str = "capset close close_range execve prctl pselect6 read rt_sigaction rt_sigprocmask setresgid setresuid \
    write";

/// What no trace need hold and every program needs: to end, to return from a signal, to go on after a stop. The tables of
/// `strace -c` are without calls that do not return, and the kernel makes `restart_syscall` of an interrupted sleep.
const ALWAYS: &str = "exit exit_group restart_syscall rt_sigreturn sigreturn";

/// The calls that every program on these architectures needs.
pub fn always(arches: &[Arch]) -> impl Iterator<Item = Syscall> {
    ALWAYS
        .split(' ')
        .filter_map(Syscall::named)
        .filter(|call| arches.iter().any(|arch| call.number(*arch).is_some()))
}

/// What 32-bit architectures have instead, or besides: their C libraries and Go use the wider form where there is one.
const WIDE: [(&str, &str); 13] = [
    ("fchown", "fchown32"),
    ("fcntl", "fcntl64"),
    ("fstat", "fstat64"),
    ("fstatfs", "fstatfs64"),
    ("futex", "futex_time64"),
    ("getuid", "getuid32"),
    ("mmap", "mmap2"),
    ("newfstatat", "fstatat64"),
    ("pselect6", "pselect6_time64"),
    ("setgid", "setgid32"),
    ("setgroups", "setgroups32"),
    ("setresgid", "setresgid32"),
    ("setuid", "setuid32"),
];

impl Runtime {
    /// What it needs on a machine of that architecture.
    pub fn needs(self, native: Arch) -> Vec<Syscall> {
        let names: &[&str] = match self {
            Self::Runc => &[RUNC, GO],
            Self::Crun => &[CRUN],
            Self::None => &[],
        };
        let mut needed: Vec<_> = names
            .iter()
            .flat_map(|names| names.split_whitespace())
            .flat_map(|name| {
                let wide = WIDE.iter().filter(move |(narrow, _)| *narrow == name);
                std::iter::once(name).chain(wide.map(|(_, wide)| *wide))
            })
            .chain((self == Self::Crun).then_some("setresuid32"))
            .filter_map(Syscall::named)
            .filter(|call| call.number(native).is_some())
            .collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(runtime: Runtime, arch: Arch) -> Vec<&'static str> {
        runtime.needs(arch).into_iter().map(Syscall::name).collect()
    }

    #[test]
    fn every_name_is_one() {
        for name in [RUNC, GO, CRUN, ALWAYS].join(" ").split_whitespace() {
            assert!(Syscall::named(name).is_some(), "{name}");
        }
        for (narrow, wide) in WIDE {
            assert!(
                Syscall::named(narrow).is_some() && Syscall::named(wide).is_some(),
                "{wide}"
            );
        }
    }

    #[test]
    fn an_architecture_gets_the_names_that_it_has() {
        let x86_64 = needs(Runtime::Runc, Arch::X86_64);
        assert!(x86_64.contains(&"arch_prctl") && !x86_64.contains(&"setuid32"));
        let aarch64 = needs(Runtime::Runc, Arch::Aarch64);
        assert!(aarch64.contains(&"newfstatat") && !aarch64.contains(&"arch_prctl"));
        let arm = needs(Runtime::Runc, Arch::Arm);
        assert!(arm.contains(&"setuid32") && arm.contains(&"mmap2") && !arm.contains(&"mmap"));
        assert!(needs(Runtime::Crun, Arch::Arm).contains(&"setresuid32"));
        assert_eq!(needs(Runtime::None, Arch::X86_64), [""; 0]);
    }
}
