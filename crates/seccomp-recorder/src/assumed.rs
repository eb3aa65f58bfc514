//! The calls that are not recorded but assumed: one table, for the profile and for whoever says what a recording means.

use seccomp_profile::Syscall;

/// What runtimes, shells and language runtimes live on. To trap them has a price that no recording is worth:
///
/// * what a runtime calls between loading the filter and handing its descriptor over would wait for an answer that nobody can give,
///   and the container never starts;
/// * a call that waits for an answer can be interrupted by a signal, and returns an EINTR that it returns nowhere else: pipelines
///   of shells fail;
/// * they are most of what a program calls.
///
/// Docker's default allows all of them, `clone` but for namespaces and `clone3` with ENOSYS: to assume them lowers nothing.
const ASSUMED: &str = "
    read write pread64 pwrite64 readv writev preadv pwritev lseek close close_range
    fstat newfstatat stat lstat statx access faccessat faccessat2 open openat openat2 fstatfs getdents64 getcwd chdir fchdir
    readlink readlinkat mmap munmap mprotect mremap madvise brk
    futex poll ppoll select pselect6 epoll_wait epoll_pwait epoll_ctl epoll_create epoll_create1 eventfd2
    pipe pipe2 dup dup2 dup3 fcntl ioctl
    getpid gettid getppid getuid geteuid getgid getegid getpgrp getpgid getsid setpgid getrlimit prlimit64 uname sysinfo umask
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage sched_yield sched_getaffinity getrandom
    set_robust_list rseq set_tid_address arch_prctl
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sigaltstack restart_syscall kill tgkill
    wait4 waitid exit exit_group execve clone clone3 fork vfork
    accept accept4 recvfrom sendto recvmsg sendmsg shutdown sendfile splice fadvise64 fsync fdatasync
    capget capset prctl setgid setgroups setuid
";

/// The same calls under the names that 32-bit and older ABIs have for them.
const ASSUMED_TWINS: &str = "
    _llseek fstat64 fstatat64 stat64 lstat64 fcntl64 fstatfs64 getdents mmap2 ugetrlimit _newselect pselect6_time64 ppoll_time64
    futex_time64 clock_gettime64 clock_getres_time64 clock_nanosleep_time64 rt_sigtimedwait_time64 recv send sendfile64 waitpid
    sigreturn sigaction sigprocmask sigsuspend signal getuid32 geteuid32 getgid32 getegid32 setuid32 setgid32 setgroups32
    set_thread_area set_tls arm_fadvise64_64 fadvise64_64 recvmmsg_time64 epoll_pwait2 eventfd
";

/// The calls that are assumed, in no order; some exist on other architectures only.
pub fn assumed() -> impl Iterator<Item = Syscall> {
    ASSUMED
        .split_whitespace()
        .chain(ASSUMED_TWINS.split_whitespace())
        .filter_map(Syscall::named)
}

/// Whether a call is assumed instead of recorded.
#[must_use]
pub fn is_assumed(call: Syscall) -> bool {
    assumed().any(|assumed| assumed == call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_that_of_a_call_and_stands_there_once() {
        let names: Vec<_> = ASSUMED
            .split_whitespace()
            .chain(ASSUMED_TWINS.split_whitespace())
            .collect();
        for name in &names {
            assert!(Syscall::named(name).is_some(), "{name}");
        }
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len());
        assert_eq!(ASSUMED.split_whitespace().count(), 120);
    }
}
