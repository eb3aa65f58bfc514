//! Words for system calls that the kernel does not have: those of C libraries, of the kernel's sources, and of tools.

use crate::arch::Arch;

use super::{Syscall, named};

/// The other word, and the calls that it means. Where architectures differ, it is all of them; for what a C library makes several calls
/// of, those of today's glibc and musl.
const ALIASES: &[(&str, &str)] = &[
    // C libraries: the function has another name than its call.
    ("_Exit", "exit_group"),
    ("_exit", "exit_group"),
    ("eaccess", "faccessat2 faccessat"),
    ("euidaccess", "faccessat2 faccessat"),
    ("execl", "execve"),
    ("execle", "execve"),
    ("execlp", "execve"),
    ("execv", "execve"),
    ("execvp", "execve"),
    ("execvpe", "execve"),
    ("fexecve", "execveat execve"),
    ("fstatat", "newfstatat fstatat64"),
    ("fstatvfs", "fstatfs"),
    ("futimens", "utimensat"),
    ("futimes", "utimensat futimesat"),
    ("getdomainname", "uname"),
    ("gethostname", "uname"),
    ("initgroups", "setgroups"),
    ("isatty", "ioctl"),
    ("lockf", "fcntl"),
    ("lutimes", "utimensat"),
    ("mkfifo", "mknod mknodat"),
    ("mkfifoat", "mknodat"),
    ("posix_fadvise", "fadvise64"),
    ("posix_fallocate", "fallocate"),
    ("pread", "pread64"),
    ("prlimit", "prlimit64"),
    ("pthread_create", "clone3 clone"),
    ("pthread_exit", "exit"),
    ("pthread_kill", "tgkill"),
    ("pwrite", "pwrite64"),
    ("raise", "tgkill"),
    ("sbrk", "brk"),
    ("setegid", "setresgid"),
    ("seteuid", "setresuid"),
    ("setpgrp", "setpgid"),
    ("shm_open", "openat"),
    ("shm_unlink", "unlink unlinkat"),
    ("sigqueue", "rt_sigqueueinfo"),
    ("sigtimedwait", "rt_sigtimedwait"),
    ("sigwait", "rt_sigtimedwait"),
    ("sigwaitinfo", "rt_sigtimedwait"),
    ("sleep", "clock_nanosleep nanosleep"),
    ("statvfs", "statfs"),
    ("tcgetattr", "ioctl"),
    ("tcsetattr", "ioctl"),
    ("usleep", "clock_nanosleep nanosleep"),
    ("wait", "wait4"),
    ("wait3", "wait4"),
    // Kernel sources, where it is not a prefix or a suffix (see `stripped`).
    ("newfstat", "fstat"),
    ("newlstat", "lstat"),
    ("newstat", "stat"),
    ("newuname", "uname"),
    ("old_getrlimit", "getrlimit"),
    ("old_mmap", "mmap"),
    ("old_select", "select"),
    // The audit tools, and others.
    ("fadvise", "fadvise64"),
    ("getdents", "getdents64"),
    ("llseek", "_llseek"),
    ("madvise1", "madvise"),
    ("mmap64", "mmap mmap2"),
    ("newselect", "_newselect"),
    ("open64", "open openat"),
    ("openat64", "openat"),
    ("lseek64", "lseek _llseek"),
    ("preadv64", "preadv"),
    ("pwritev64", "pwritev"),
    ("sys_kexec_load", "kexec_load"),
    ("sysctl", "_sysctl"),
    ("timerfd", "timerfd_create"),
    ("umount", "umount2"),
];

/// What stands before a call's name in the kernel's and C libraries' sources.
const PREFIXES: &[&str] = &[
    "__arm64_sys_",
    "__do_sys_",
    "__ia32_sys_",
    "__NR_",
    "__riscv_sys_",
    "__s390x_sys_",
    "__se_sys_",
    "__x64_sys_",
    "ksys_",
    "SYS_",
    "sys_",
];

/// What stands behind it in the kernel's.
const SUFFIXES: &[&str] = &["_time32", "()"];

/// The calls that `word` stands for, if the kernel has none of that name. Of a name that it has, what the same is called where there is
/// no call of that name.
pub(super) fn meant_by(word: &str) -> Vec<Syscall> {
    let bare = stripped(word);
    let in_table = ALIASES.iter().find(|(alias, _)| *alias == word);
    match in_table.or_else(|| ALIASES.iter().find(|(alias, _)| *alias == bare)) {
        Some((_, calls)) if bare == word || Syscall::named(bare).is_none() => {
            named(calls).collect()
        }
        _ if bare != word => Syscall::named(bare).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The call of that name on `arch`, or else what the word means there.
pub(super) fn named_on(word: &str, arch: Arch) -> Option<Syscall> {
    let there = |call: &Syscall| call.number(arch).is_some();
    let exact = Syscall::named(word).filter(there);
    exact.or_else(|| meant_by(word).into_iter().find(there))
}

fn stripped(word: &str) -> &str {
    let prefix = PREFIXES.iter().find_map(|prefix| word.strip_prefix(prefix));
    let bare = prefix.unwrap_or(word);
    let suffix = SUFFIXES.iter().find_map(|suffix| bare.strip_suffix(suffix));
    suffix.unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(word: &str) -> Vec<&'static str> {
        meant_by(word).into_iter().map(Syscall::name).collect()
    }

    #[test]
    fn every_alias_means_calls_and_hides_none() {
        for (alias, calls) in ALIASES {
            assert_eq!(
                named(calls).count(),
                calls.split_whitespace().count(),
                "{alias}"
            );
            // A name that is also a call's is one that some architectures lack.
            if let Some(call) = Syscall::named(alias) {
                let lacks = |arch: &&Arch| call.number(**arch).is_none();
                assert!(Arch::ALL.iter().any(|arch| lacks(&arch)), "{alias}");
            }
        }
    }

    #[test]
    fn the_words_of_c_libraries_sources_and_tools_are_understood() {
        for (word, calls) in [
            ("pread", &["pread64"][..]),
            ("pwrite", &["pwrite64"]),
            ("newfstat", &["fstat"]),
            ("fstatat", &["newfstatat", "fstatat64"]),
            ("getdents", &["getdents64"]),
            ("seteuid", &["setresuid"]),
            ("initgroups", &["setgroups"]),
            ("_exit", &["exit_group"]),
            ("sys_openat", &["openat"]),
            ("__x64_sys_openat", &["openat"]),
            ("__NR_openat", &["openat"]),
            ("sys_newuname", &["uname"]),
            ("futex_time32", &["futex"]),
            ("openat()", &["openat"]),
            ("openat", &[]),
            ("opentat", &[]),
            ("sys_", &[]),
        ] {
            assert_eq!(meant(word), calls, "{word}");
        }
    }

    #[test]
    fn an_architecture_has_its_own_word() {
        for (word, arch, call) in [
            ("getdents", Arch::X86_64, Some("getdents")),
            ("getdents", Arch::Aarch64, Some("getdents64")),
            ("umount", Arch::Aarch64, Some("umount2")),
            ("fstatat", Arch::X86_64, Some("newfstatat")),
            ("fstatat", Arch::X86, Some("fstatat64")),
            ("newfstat", Arch::Aarch64, Some("fstat")),
            ("chmod", Arch::Aarch64, None),
            ("frobnicate", Arch::Aarch64, None),
        ] {
            assert_eq!(named_on(word, arch).map(Syscall::name), call, "{word}");
        }
    }
}
