//! What a container runtime itself calls between loading the filter and executing the container's program: an
//! allowlist without it starts no container.
//!
//! Found out on `x86_64` by taking names away from an `SCMP_ACT_ERRNO` profile until containers did not start, as root
//! and not. Without `noNewPrivileges` (`allowPrivilegeEscalation: false` in Kubernetes) the filter is loaded before the
//! runtime gives up its capabilities and changes the user; with it, last of all. The sets change with versions (runc
//! 1.2.8 and 1.3.3 began to need `openat2` and `statx`), so allow more than any one of them needs.

use super::arch::Arch;
use super::syscall::{Syscall, named};

/// The container runtimes with sets of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Runtime {
    /// runc 1.1 to 1.4 (containerd's and Docker's).
    Runc,
    /// crun 1.28 (Podman's and CRI-O's).
    Crun,
    /// youki 0.7. What it calls itself is not measured but for `accept4`: it is taken to need all that the others do.
    Youki,
}

/// What one version was seen to need: with one of these refused, no container starts.
pub(super) struct Measured {
    runtime: Runtime,
    pub(super) version: (u16, u16, u16),
    no_new_privileges: bool,
    calls: &'static str,
}

impl Measured {
    /// The calls that the architecture has.
    pub(super) fn calls(&self, native: Arch) -> Vec<Syscall> {
        calls([self.calls].into_iter(), native)
    }

    /// As words: `runc 1.3.6 without allowPrivilegeEscalation: false`.
    pub(super) fn words(&self) -> String {
        let (major, minor, patch) = self.version;
        let patch = if patch == 0 {
            String::new()
        } else {
            format!(".{patch}")
        };
        let version = format!("{} {major}.{minor}{patch}", self.runtime.name());
        if self.no_new_privileges {
            version
        } else {
            format!("{version} without allowPrivilegeEscalation: false")
        }
    }
}

const MEASURED: &[Measured] = &[
    Measured {
        runtime: Runtime::Runc,
        version: (1, 1, 5),
        no_new_privileges: false,
        calls: "capget capset chdir close execve faccessat2 fstat fstatfs getcwd getdents64 getppid newfstatat openat \
                prctl read setgid setgroups setuid write",
    },
    Measured {
        runtime: Runtime::Runc,
        version: (1, 1, 5),
        no_new_privileges: true,
        calls: "close execve fstatfs getdents64 openat write",
    },
    Measured {
        runtime: Runtime::Runc,
        version: (1, 3, 6),
        no_new_privileges: false,
        calls: "capget capset chdir close execve fstat fstatfs futex getcwd getdents64 getppid newfstatat openat openat2 \
                prctl read setgid setgroups setuid statx write",
    },
    Measured {
        runtime: Runtime::Runc,
        version: (1, 3, 6),
        no_new_privileges: true,
        calls: "close execve fstat fstatfs futex getdents64 openat openat2 statx write",
    },
    Measured {
        runtime: Runtime::Crun,
        version: (1, 28, 0),
        no_new_privileges: false,
        calls: "capset execve prctl pselect6 read rt_sigaction rt_sigprocmask setresgid setresuid write",
    },
    Measured {
        runtime: Runtime::Crun,
        version: (1, 28, 0),
        no_new_privileges: true,
        calls: "execve",
    },
];

/// What runc was seen to call besides, also by the Go runtime, which may make these at any moment, from any thread.
/// Without `futex` and `rt_sigreturn` one start in twenty failed. The list of runc 1.4.2 is among them.
const RUNC_BESIDES: &str = "arch_prctl brk close_range epoll_ctl epoll_pwait exit exit_group fchown fcntl futex getpid gettid \
    getuid madvise mmap mprotect munmap nanosleep recvfrom rt_sigaction rt_sigprocmask rt_sigreturn sched_yield \
    set_tid_address sigaltstack tgkill";

/// What crun calls besides, and can do without.
const CRUN_BESIDES: &str = "close close_range";

/// What youki was seen to call that the others do not.
const YOUKI_BESIDES: &str = "accept4";

/// What no trace need hold and every program needs: to end, to return from a signal, to go on after a stop. The tables of
/// `strace -c` are without calls that do not return, and the kernel makes `restart_syscall` of an interrupted sleep.
const ALWAYS: &str = "exit exit_group restart_syscall rt_sigreturn sigreturn";

/// What 32-bit architectures have instead, or besides: their C libraries and Go use the wider form where there is one.
const WIDE: &[(&str, &str)] = &[
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
    ("setresuid", "setresuid32"),
    ("setuid", "setuid32"),
];

impl Runtime {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Runc, Self::Crun, Self::Youki];

    /// Its program's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Youki => "youki",
        }
    }

    /// What an allowlist should have for it on a machine of that architecture: all that any version is known to call.
    #[must_use]
    pub fn needs(self, native: Arch) -> Vec<Syscall> {
        let measured = MEASURED.iter();
        let measured = measured.filter(|set| set.runtime == self || self == Self::Youki);
        let besides: &[&str] = match self {
            Self::Runc => &[RUNC_BESIDES],
            Self::Crun => &[CRUN_BESIDES],
            Self::Youki => &[RUNC_BESIDES, CRUN_BESIDES, YOUKI_BESIDES],
        };
        let lists = measured.map(|set| set.calls).chain(besides.iter().copied());
        calls(lists, native)
    }

    /// What every known version needs, whatever the container's security context: without one of these nothing starts.
    #[must_use]
    pub fn must_have(self, native: Arch) -> Vec<Syscall> {
        let measured = MEASURED.iter().filter(|set| set.runtime == self);
        let all = measured
            .map(|set| calls([set.calls].into_iter(), native))
            .reduce(|common, set| {
                common
                    .into_iter()
                    .filter(|call| set.contains(call))
                    .collect()
            });
        all.unwrap_or_default()
    }

    /// What its versions were seen to need; of each, first without `noNewPrivileges`, which need all that is needed with it.
    pub(super) fn measured(self) -> impl Iterator<Item = &'static Measured> {
        MEASURED.iter().filter(move |set| set.runtime == self)
    }

    /// Whether some version was seen to need a call.
    pub(super) fn was_seen_to_need(self, call: Syscall) -> bool {
        let mut sets = self.measured();
        sets.any(|set| named(set.calls).any(|known| known == call))
    }
}

/// The calls that every program on these architectures needs.
pub fn every_program_needs(arches: &[Arch]) -> impl Iterator<Item = Syscall> {
    named(ALWAYS).filter(|call| arches.iter().any(|arch| call.number(*arch).is_some()))
}

/// The calls of these lists that the architecture has, those that it has instead included; sorted, each once.
fn calls<'l>(lists: impl Iterator<Item = &'l str>, native: Arch) -> Vec<Syscall> {
    let mut calls: Vec<_> = lists
        .flat_map(str::split_whitespace)
        .flat_map(|name| {
            let wide = WIDE.iter().filter(move |(narrow, _)| *narrow == name);
            std::iter::once(name).chain(wide.map(|(_, wide)| *wide))
        })
        .filter_map(Syscall::named)
        .filter(|call| call.number(native).is_some())
        .collect();
    calls.sort_unstable();
    calls.dedup();
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(calls: Vec<Syscall>) -> Vec<&'static str> {
        calls.into_iter().map(Syscall::name).collect()
    }

    #[test]
    fn every_name_is_one() {
        let measured = MEASURED.iter().map(|set| set.calls);
        for list in measured.chain([RUNC_BESIDES, CRUN_BESIDES, YOUKI_BESIDES, ALWAYS]) {
            for name in list.split_whitespace() {
                assert!(Syscall::named(name).is_some(), "{name}");
            }
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
        let needs = |runtime: Runtime, arch| names(runtime.needs(arch));
        let x86_64 = needs(Runtime::Runc, Arch::X86_64);
        assert!(x86_64.contains(&"arch_prctl") && !x86_64.contains(&"setuid32"));
        let aarch64 = needs(Runtime::Runc, Arch::Aarch64);
        assert!(aarch64.contains(&"newfstatat") && !aarch64.contains(&"arch_prctl"));
        let arm = needs(Runtime::Runc, Arch::Arm);
        assert!(arm.contains(&"setuid32") && arm.contains(&"mmap2") && !arm.contains(&"mmap"));
        assert!(needs(Runtime::Crun, Arch::Arm).contains(&"setresuid32"));
    }

    #[test]
    fn what_every_version_needs_is_little() {
        let must = |runtime: Runtime| names(runtime.must_have(Arch::X86_64)).join(" ");
        assert_eq!(
            must(Runtime::Runc),
            "close execve fstatfs getdents64 openat write"
        );
        assert_eq!(must(Runtime::Crun), "execve");
    }

    #[test]
    fn a_need_is_told_with_the_version_that_has_it() {
        let needs = |name| Runtime::Runc.was_seen_to_need(Syscall::named(name).unwrap());
        assert!(needs("openat2") && needs("capset") && !needs("mkdir"));
        let words: Vec<_> = Runtime::Runc.measured().map(Measured::words).collect();
        assert_eq!(
            words[0],
            "runc 1.1.5 without allowPrivilegeEscalation: false"
        );
        assert_eq!(words[3], "runc 1.3.6");
        assert_eq!(
            Runtime::Crun.measured().last().unwrap().words(),
            "crun 1.28"
        );
    }
}
