//! The names that strace prints for numbers, as far as filters are written on them. Knows neither calls nor lines.

use seccomp_profile::Arch;

/// By the kernel's `include/uapi` (`asm-generic` where architectures differ). A name that is missing here is one that is not known.
#[rustfmt::skip]
const CONSTANTS: [(&str, u64); 333] = [
    ("AF_UNSPEC", 0), ("AF_UNIX", 1), ("AF_LOCAL", 1), ("AF_INET", 2), ("AF_AX25", 3), ("AF_IPX", 4), ("AF_APPLETALK", 5), ("AF_NETROM", 6),
    ("AF_BRIDGE", 7), ("AF_ATMPVC", 8), ("AF_X25", 9), ("AF_INET6", 10), ("AF_ROSE", 11), ("AF_DECnet", 12), ("AF_NETBEUI", 13),
    ("AF_SECURITY", 14), ("AF_KEY", 15), ("AF_NETLINK", 16), ("AF_ROUTE", 16), ("AF_PACKET", 17), ("AF_ASH", 18), ("AF_ECONET", 19),
    ("AF_ATMSVC", 20), ("AF_RDS", 21), ("AF_SNA", 22), ("AF_IRDA", 23), ("AF_PPPOX", 24), ("AF_WANPIPE", 25), ("AF_LLC", 26), ("AF_IB", 27),
    ("AF_MPLS", 28), ("AF_CAN", 29), ("AF_TIPC", 30), ("AF_BLUETOOTH", 31), ("AF_IUCV", 32), ("AF_RXRPC", 33), ("AF_ISDN", 34), ("AF_PHONET", 35),
    ("AF_IEEE802154", 36), ("AF_CAIF", 37), ("AF_ALG", 38), ("AF_NFC", 39), ("AF_VSOCK", 40), ("AF_KCM", 41), ("AF_QIPCRTR", 42), ("AF_SMC", 43),
    ("AF_XDP", 44), ("AF_MCTP", 45),
    ("SOCK_STREAM", 1), ("SOCK_DGRAM", 2), ("SOCK_RAW", 3), ("SOCK_RDM", 4), ("SOCK_SEQPACKET", 5), ("SOCK_DCCP", 6), ("SOCK_PACKET", 10),
    ("SOCK_CLOEXEC", 0o2_000_000), ("SOCK_NONBLOCK", 0o4000),
    ("IPPROTO_IP", 0), ("IPPROTO_ICMP", 1), ("IPPROTO_IGMP", 2), ("IPPROTO_IPIP", 4), ("IPPROTO_TCP", 6), ("IPPROTO_EGP", 8), ("IPPROTO_PUP", 12),
    ("IPPROTO_UDP", 17), ("IPPROTO_IDP", 22), ("IPPROTO_TP", 29), ("IPPROTO_DCCP", 33), ("IPPROTO_IPV6", 41), ("IPPROTO_RSVP", 46),
    ("IPPROTO_GRE", 47), ("IPPROTO_ESP", 50), ("IPPROTO_AH", 51), ("IPPROTO_MTP", 92), ("IPPROTO_BEETPH", 94), ("IPPROTO_ENCAP", 98),
    ("IPPROTO_PIM", 103), ("IPPROTO_COMP", 108), ("IPPROTO_SCTP", 132), ("IPPROTO_UDPLITE", 136), ("IPPROTO_MPLS", 137), ("IPPROTO_RAW", 255),
    ("IPPROTO_ICMPV6", 58), ("IPPROTO_MPTCP", 262),
    ("NETLINK_ROUTE", 0), ("NETLINK_USERSOCK", 2), ("NETLINK_FIREWALL", 3), ("NETLINK_SOCK_DIAG", 4), ("NETLINK_NFLOG", 5), ("NETLINK_XFRM", 6),
    ("NETLINK_SELINUX", 7), ("NETLINK_ISCSI", 8), ("NETLINK_AUDIT", 9), ("NETLINK_FIB_LOOKUP", 10), ("NETLINK_CONNECTOR", 11),
    ("NETLINK_NETFILTER", 12), ("NETLINK_IP6_FW", 13), ("NETLINK_DNRTMSG", 14), ("NETLINK_KOBJECT_UEVENT", 15), ("NETLINK_GENERIC", 16),
    ("NETLINK_SCSITRANSPORT", 18), ("NETLINK_ECRYPTFS", 19), ("NETLINK_RDMA", 20), ("NETLINK_CRYPTO", 21), ("NETLINK_SMC", 22),
    ("CLONE_VM", 0x100), ("CLONE_FS", 0x200), ("CLONE_FILES", 0x400), ("CLONE_SIGHAND", 0x800), ("CLONE_PIDFD", 0x1000), ("CLONE_PTRACE", 0x2000),
    ("CLONE_VFORK", 0x4000), ("CLONE_PARENT", 0x8000), ("CLONE_THREAD", 0x0001_0000), ("CLONE_NEWNS", 0x0002_0000), ("CLONE_SYSVSEM", 0x0004_0000),
    ("CLONE_SETTLS", 0x0008_0000), ("CLONE_PARENT_SETTID", 0x0010_0000), ("CLONE_CHILD_CLEARTID", 0x0020_0000), ("CLONE_DETACHED", 0x0040_0000),
    ("CLONE_UNTRACED", 0x0080_0000), ("CLONE_CHILD_SETTID", 0x0100_0000), ("CLONE_NEWCGROUP", 0x0200_0000), ("CLONE_NEWUTS", 0x0400_0000),
    ("CLONE_NEWIPC", 0x0800_0000), ("CLONE_NEWUSER", 0x1000_0000), ("CLONE_NEWPID", 0x2000_0000), ("CLONE_NEWNET", 0x4000_0000),
    ("CLONE_IO", 0x8000_0000), ("CLONE_NEWTIME", 0x80),
    ("PER_LINUX", 0), ("PER_LINUX32", 8), ("PER_BSD", 6), ("PER_SVR4", 0x0410_0001),
    ("UNAME26", 0x0002_0000), ("ADDR_NO_RANDOMIZE", 0x0004_0000), ("MMAP_PAGE_ZERO", 0x0010_0000), ("ADDR_COMPAT_LAYOUT", 0x0020_0000),
    ("READ_IMPLIES_EXEC", 0x0040_0000), ("ADDR_LIMIT_32BIT", 0x0080_0000), ("SHORT_INODE", 0x0100_0000), ("WHOLE_SECONDS", 0x0200_0000),
    ("STICKY_TIMEOUTS", 0x0400_0000), ("ADDR_LIMIT_3GB", 0x0800_0000), ("FDPIC_FUNCPTRS", 0x0008_0000),
    ("PR_SET_PDEATHSIG", 1), ("PR_GET_PDEATHSIG", 2), ("PR_GET_DUMPABLE", 3), ("PR_SET_DUMPABLE", 4), ("PR_GET_KEEPCAPS", 7),
    ("PR_SET_KEEPCAPS", 8), ("PR_SET_NAME", 15), ("PR_GET_NAME", 16), ("PR_GET_SECCOMP", 21), ("PR_SET_SECCOMP", 22), ("PR_CAPBSET_READ", 23),
    ("PR_CAPBSET_DROP", 24), ("PR_GET_TSC", 25), ("PR_SET_TSC", 26), ("PR_GET_SECUREBITS", 27), ("PR_SET_SECUREBITS", 28),
    ("PR_SET_TIMERSLACK", 29), ("PR_GET_TIMERSLACK", 30), ("PR_SET_MM", 35), ("PR_SET_CHILD_SUBREAPER", 36), ("PR_GET_CHILD_SUBREAPER", 37),
    ("PR_SET_NO_NEW_PRIVS", 38), ("PR_GET_NO_NEW_PRIVS", 39), ("PR_SET_THP_DISABLE", 41), ("PR_GET_THP_DISABLE", 42), ("PR_CAP_AMBIENT", 47),
    ("PR_GET_SPECULATION_CTRL", 52), ("PR_SET_SPECULATION_CTRL", 53), ("PR_SET_IO_FLUSHER", 57), ("PR_GET_IO_FLUSHER", 58),
    ("PR_SET_SYSCALL_USER_DISPATCH", 59), ("PR_SCHED_CORE", 62), ("PR_SET_PTRACER", 0x5961_6d61), ("PR_SET_VMA", 0x5356_4d41),
    ("PTRACE_TRACEME", 0), ("PTRACE_PEEKTEXT", 1), ("PTRACE_PEEKDATA", 2), ("PTRACE_PEEKUSER", 3), ("PTRACE_POKETEXT", 4), ("PTRACE_POKEDATA", 5),
    ("PTRACE_POKEUSER", 6), ("PTRACE_CONT", 7), ("PTRACE_KILL", 8), ("PTRACE_SINGLESTEP", 9), ("PTRACE_ATTACH", 16), ("PTRACE_DETACH", 17),
    ("PTRACE_SYSCALL", 24), ("PTRACE_SETOPTIONS", 0x4200), ("PTRACE_GETEVENTMSG", 0x4201), ("PTRACE_GETSIGINFO", 0x4202),
    ("PTRACE_SETSIGINFO", 0x4203), ("PTRACE_GETREGSET", 0x4204), ("PTRACE_SETREGSET", 0x4205), ("PTRACE_SEIZE", 0x4206),
    ("PTRACE_INTERRUPT", 0x4207), ("PTRACE_LISTEN", 0x4208), ("PTRACE_GET_SYSCALL_INFO", 0x420e),
    ("SECCOMP_SET_MODE_STRICT", 0), ("SECCOMP_SET_MODE_FILTER", 1), ("SECCOMP_GET_ACTION_AVAIL", 2), ("SECCOMP_GET_NOTIF_SIZES", 3),
    ("SECCOMP_FILTER_FLAG_TSYNC", 1), ("SECCOMP_FILTER_FLAG_LOG", 2), ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 4),
    ("SECCOMP_FILTER_FLAG_NEW_LISTENER", 8), ("SECCOMP_MODE_DISABLED", 0), ("SECCOMP_MODE_STRICT", 1), ("SECCOMP_MODE_FILTER", 2),
    ("KEYCTL_GET_KEYRING_ID", 0), ("KEYCTL_JOIN_SESSION_KEYRING", 1), ("KEYCTL_UPDATE", 2), ("KEYCTL_REVOKE", 3), ("KEYCTL_CHOWN", 4),
    ("KEYCTL_SETPERM", 5), ("KEYCTL_DESCRIBE", 6), ("KEYCTL_CLEAR", 7), ("KEYCTL_LINK", 8), ("KEYCTL_UNLINK", 9), ("KEYCTL_SEARCH", 10),
    ("KEYCTL_READ", 11), ("KEYCTL_INSTANTIATE", 12), ("KEYCTL_NEGATE", 13), ("KEYCTL_SET_REQKEY_KEYRING", 14), ("KEYCTL_SET_TIMEOUT", 15),
    ("KEYCTL_ASSUME_AUTHORITY", 16), ("KEYCTL_GET_SECURITY", 17), ("KEYCTL_SESSION_TO_PARENT", 18), ("KEYCTL_REJECT", 19),
    ("KEYCTL_INVALIDATE", 21), ("KEYCTL_GET_PERSISTENT", 22),
    ("PROT_NONE", 0), ("PROT_READ", 1), ("PROT_WRITE", 2), ("PROT_EXEC", 4), ("PROT_GROWSDOWN", 16_777_216), ("PROT_GROWSUP", 33_554_432),
    ("MADV_NORMAL", 0), ("MADV_RANDOM", 1), ("MADV_SEQUENTIAL", 2), ("MADV_WILLNEED", 3), ("MADV_DONTNEED", 4), ("MADV_FREE", 8),
    ("MADV_REMOVE", 9), ("MADV_DONTFORK", 10), ("MADV_HUGEPAGE", 14), ("MADV_NOHUGEPAGE", 15), ("MADV_DONTDUMP", 16),
    ("F_DUPFD", 0), ("F_GETFD", 1), ("F_SETFD", 2), ("F_GETFL", 3), ("F_SETFL", 4), ("F_DUPFD_CLOEXEC", 1030), ("F_SETPIPE_SZ", 1031),
    ("F_GETPIPE_SZ", 1032), ("F_ADD_SEALS", 1033), ("F_GET_SEALS", 1034),
    ("O_RDONLY", 0o0), ("O_WRONLY", 0o1), ("O_RDWR", 0o2), ("O_CREAT", 0o100), ("O_EXCL", 0o200), ("O_NOCTTY", 0o400), ("O_TRUNC", 0o1000),
    ("O_APPEND", 0o2000), ("O_NONBLOCK", 0o4000), ("O_CLOEXEC", 0o2_000_000),
    ("S_IFIFO", 0o10000), ("S_IFCHR", 0o20000), ("S_IFDIR", 0o40000), ("S_IFBLK", 0o60000), ("S_IFREG", 0o100_000), ("S_IFLNK", 0o120_000),
    ("S_IFSOCK", 0o140_000),
    ("SIGHUP", 1), ("SIGINT", 2), ("SIGQUIT", 3), ("SIGILL", 4), ("SIGTRAP", 5), ("SIGABRT", 6), ("SIGBUS", 7), ("SIGFPE", 8), ("SIGKILL", 9),
    ("SIGUSR1", 10), ("SIGSEGV", 11), ("SIGUSR2", 12), ("SIGPIPE", 13), ("SIGALRM", 14), ("SIGTERM", 15), ("SIGCHLD", 17), ("SIGCONT", 18),
    ("SIGSTOP", 19), ("SIGTSTP", 20), ("SIGTTIN", 21), ("SIGTTOU", 22),
    ("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c), ("TIOCGWINSZ", 0x5413), ("TIOCSWINSZ", 0x5414), ("TIOCSCTTY", 0x540e), ("TIOCNOTTY", 0x5422),
    ("TIOCGPGRP", 0x540f), ("TIOCSPGRP", 0x5410), ("TIOCGPTN", 0x8004_5430), ("TIOCSPTLCK", 0x4004_5431), ("TIOCEXCL", 0x540c),
    ("TIOCCONS", 0x541d), ("TIOCGSID", 0x5429), ("TIOCSETD", 0x5423),
    ("BPF_MAP_CREATE", 0), ("BPF_PROG_LOAD", 5), ("FSCONFIG_SET_FLAG", 0), ("FSCONFIG_SET_STRING", 1),
    ("SOL_IP", 0), ("SOL_PACKET", 263), ("PACKET_RX_RING", 5), ("PACKET_VERSION", 10), ("IPT_SO_SET_REPLACE", 64),
    ("TCGETS", 0x5401), ("TCSETS", 0x5402), ("TCSETSW", 0x5403), ("TCSETSF", 0x5404), ("TCSBRK", 0x5409), ("TCFLSH", 0x540b),
    ("FIONREAD", 0x541b), ("FIONBIO", 0x5421), ("FIOCLEX", 0x5451), ("FIONCLEX", 0x5450),
];

/// The number behind a name, where `arch` has the same as most.
pub fn value(name: &str, arch: Arch) -> Option<u64> {
    let is_mips = matches!(
        arch,
        Arch::Mips
            | Arch::Mips64
            | Arch::Mips64N32
            | Arch::Mipsel
            | Arch::Mipsel64
            | Arch::Mipsel64N32
    );
    let is_ppc = matches!(arch, Arch::Ppc | Arch::Ppc64 | Arch::Ppc64Le);
    let is_any = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let differs = is_any(&["TIOC", "TC", "FIO"]) && (is_mips || is_ppc)
        || is_any(&["SOCK_", "SIG", "O_"]) && is_mips;
    let known = CONSTANTS.iter().find(|(known, _)| *known == name);
    known.filter(|_| !differs).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_the_numbers_of_the_c_library() {
        let of = |name| value(name, Arch::X86_64);
        for (name, number) in [
            ("AF_ALG", libc::AF_ALG),
            ("AF_VSOCK", libc::AF_VSOCK),
            ("AF_NETLINK", libc::AF_NETLINK),
            ("SOCK_CLOEXEC", libc::SOCK_CLOEXEC),
            ("SOCK_NONBLOCK", libc::SOCK_NONBLOCK),
            ("IPPROTO_SCTP", libc::IPPROTO_SCTP),
            ("CLONE_NEWUSER", libc::CLONE_NEWUSER),
            ("CLONE_NEWNS", libc::CLONE_NEWNS),
            ("CLONE_THREAD", libc::CLONE_THREAD),
            ("ADDR_NO_RANDOMIZE", libc::ADDR_NO_RANDOMIZE),
            ("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS),
            ("O_CLOEXEC", libc::O_CLOEXEC),
            ("SIGCHLD", libc::SIGCHLD),
        ] {
            assert_eq!(of(name), u64::try_from(number).ok(), "{name}");
        }
        assert_eq!(of("TIOCSTI"), Some(0x5412));
        assert_eq!(of("S_IFCHR"), Some(0o20000));
        assert_eq!(of("AF_NONE"), None);
        assert_eq!(value("SOCK_STREAM", Arch::Mips), None);
        assert_eq!(value("TIOCSTI", Arch::Ppc64Le), None);
        assert_eq!(value("AF_ALG", Arch::Mips), Some(38));
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<_> = CONSTANTS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CONSTANTS.len());
    }
}
