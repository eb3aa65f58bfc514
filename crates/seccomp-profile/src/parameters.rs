//! How much of an argument the kernel reads.
//!
//! A filter sees six numbers of 64 bits. Where the kernel's function takes an `int`, it gets the lower half of the number, and of a file mode
//! the lower 16 bits, whatever stands above. Source: the definitions (`SYSCALL_DEFINE`) of Linux 6.12.

use super::condition::ArgIndex;
use super::syscall::Syscall;

/// The calls, and their arguments that are read as `int`, `unsigned int` or a type of that size.
const INTS: &[(&str, &[u8])] = &[
    ("accept", &[0]),
    ("accept4", &[0, 3]),
    ("arch_prctl", &[0]),
    ("bind", &[0, 2]),
    ("bpf", &[0, 2]),
    ("clock_adjtime", &[0]),
    ("clock_gettime", &[0]),
    ("clock_nanosleep", &[0, 1]),
    ("clock_settime", &[0]),
    ("close_range", &[0, 1, 2]),
    ("connect", &[0, 2]),
    ("dup3", &[0, 1, 2]),
    ("epoll_create1", &[0]),
    ("epoll_ctl", &[0, 1, 2]),
    ("eventfd2", &[0, 1]),
    ("faccessat", &[0, 2]),
    ("faccessat2", &[0, 2, 3]),
    ("fanotify_init", &[0, 1]),
    ("fanotify_mark", &[0, 1, 3]),
    ("fchmod", &[0]),
    ("fchmodat", &[0]),
    ("fchmodat2", &[0, 3]),
    ("fchown", &[0, 1, 2]),
    ("fchownat", &[0, 2, 3, 4]),
    ("fcntl", &[0, 1]),
    ("finit_module", &[0, 2]),
    ("flock", &[0, 1]),
    ("fsconfig", &[0, 1, 4]),
    ("fsmount", &[0, 1, 2]),
    ("fsopen", &[1]),
    ("fspick", &[0, 2]),
    ("futex", &[1, 2, 5]),
    ("getrandom", &[2]),
    ("getsockopt", &[0, 1, 2]),
    ("inotify_init1", &[0]),
    ("io_uring_enter", &[0, 1, 2, 3]),
    ("io_uring_register", &[0, 1, 3]),
    ("io_uring_setup", &[0]),
    ("ioctl", &[0, 1]),
    ("ioprio_set", &[0, 1, 2]),
    ("kcmp", &[0, 1, 2]),
    ("keyctl", &[0]),
    ("kill", &[0, 1]),
    ("landlock_restrict_self", &[0, 1]),
    ("linkat", &[0, 2, 4]),
    ("listen", &[0, 1]),
    ("madvise", &[2]),
    ("membarrier", &[0, 1, 2]),
    ("memfd_create", &[1]),
    ("memfd_secret", &[0]),
    ("mkdirat", &[0]),
    ("mknod", &[2]),
    ("mknodat", &[0, 3]),
    ("mount_setattr", &[0, 2]),
    ("move_mount", &[0, 2, 4]),
    ("msgctl", &[0, 1]),
    ("name_to_handle_at", &[0, 4]),
    ("open", &[1]),
    ("open_by_handle_at", &[0, 2]),
    ("open_tree", &[0, 2]),
    ("openat", &[0, 2]),
    ("openat2", &[0]),
    ("perf_event_open", &[1, 2, 3]),
    ("personality", &[0]),
    ("pidfd_getfd", &[0, 1, 2]),
    ("pidfd_open", &[0, 1]),
    ("pidfd_send_signal", &[0, 1, 3]),
    ("pipe2", &[1]),
    ("prctl", &[0]),
    ("prlimit64", &[0, 1]),
    ("quotactl", &[0]),
    ("quotactl_fd", &[0, 1]),
    ("reboot", &[0, 1, 2]),
    ("recvfrom", &[0, 3]),
    ("recvmmsg", &[0, 2, 3]),
    ("recvmsg", &[0, 2]),
    ("renameat2", &[0, 2, 4]),
    ("sched_setattr", &[0, 2]),
    ("sched_setscheduler", &[0, 1]),
    ("seccomp", &[0, 1]),
    ("semctl", &[0, 1, 2]),
    ("sendmmsg", &[0, 2, 3]),
    ("sendmsg", &[0, 2]),
    ("sendto", &[0, 3]),
    ("setns", &[0, 1]),
    ("setpriority", &[0, 1, 2]),
    ("setrlimit", &[0]),
    ("setsockopt", &[0, 1, 2, 4]),
    ("shmctl", &[0, 1]),
    ("shmget", &[0, 2]),
    ("shutdown", &[0, 1]),
    ("signalfd4", &[0, 3]),
    ("socket", &[0, 1, 2]),
    ("socketpair", &[0, 1, 2]),
    ("splice", &[0, 2, 5]),
    ("statx", &[0, 2, 3]),
    ("symlinkat", &[1]),
    ("syslog", &[0, 2]),
    ("tgkill", &[0, 1, 2]),
    ("timerfd_create", &[0, 1]),
    ("tkill", &[0, 1]),
    ("umount2", &[1]),
    ("unlinkat", &[0, 2]),
    ("userfaultfd", &[0]),
    ("wait4", &[0, 2]),
    ("waitid", &[0, 1, 3]),
];

/// The same for those that are read as a file mode.
const MODES: &[(&str, &[u8])] = &[
    ("chmod", &[1]),
    ("creat", &[1]),
    ("fchmod", &[1]),
    ("fchmodat", &[2]),
    ("fchmodat2", &[2]),
    ("mkdir", &[1]),
    ("mkdirat", &[2]),
    ("mknod", &[1]),
    ("mknodat", &[2]),
    ("mq_open", &[2]),
    ("open", &[2]),
    ("openat", &[3]),
];

/// How many of an argument's lower bits the kernel reads, if it is known not to read all.
pub(super) fn bits_read(call: Syscall, arg: ArgIndex) -> Option<u32> {
    let is_among = |table: &[(&str, &[u8])]| {
        let found = table.iter().find(|(name, _)| *name == call.name());
        found.is_some_and(|(_, args)| args.contains(&arg.get()))
    };
    if is_among(MODES) {
        Some(16)
    } else if is_among(INTS) {
        Some(32)
    } else {
        None
    }
}

/// The arguments of a call that are not read whole, and how many bits of each.
pub(super) fn read_in_part(call: Syscall) -> impl Iterator<Item = (ArgIndex, u32)> {
    let all = ArgIndex::ALL.iter();
    all.filter_map(move |arg| Some((*arg, bits_read(call, *arg)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_name_calls_each_once() {
        for table in [INTS, MODES] {
            assert!(table.is_sorted_by(|(a, _), (b, _)| a < b));
            for (name, args) in table {
                assert!(
                    Syscall::named(name).is_some_and(|call| call.name() == *name),
                    "{name}"
                );
                assert!(
                    args.is_sorted() && args.iter().all(|arg| *arg < 6),
                    "{name}"
                );
            }
        }
        let of =
            |name| read_in_part(Syscall::named(name).unwrap()).map(|(arg, bits)| (arg.get(), bits));
        assert!(of("fchmodat").eq([(0, 32), (2, 16)]));
        assert!(of("read").eq([]));
    }
}
