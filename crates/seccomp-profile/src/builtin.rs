//! Profiles that come with the engine, to build others on.
//!
//! Each is written as a document with conditions on capabilities, kernel and architecture, and is resolved for a node as
//! any other document is. `tests/builtin.rs` compares them with what runtimes really apply.
//!
//! A caller may have a profile of a built-in's name (`audit` is one that people use). As a base that name always is the
//! built-in; names with a slash cannot be those of Kubernetes objects.

mod cri_o;

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::document::Document;
use super::problem::Problems;
use super::read::parse;
use super::suggest::suggestion;

/// What containerd applies as `RuntimeDefault`: that of the newest line that is known, [`RUNTIME_DEFAULT_IS`].
pub const RUNTIME_DEFAULT: &str = "runtime-default";
/// The built-in that [`RUNTIME_DEFAULT`] is another name for.
pub const RUNTIME_DEFAULT_IS: &str = "runtime-default/containerd-2.4";
/// What Docker applies by default (moby's `default.json`).
pub const DOCKER_DEFAULT: &str = "docker-default";
/// Everything is let through and recorded in the audit log.
pub const AUDIT: &str = "audit";

/// The names of all of them.
pub const BUILTINS: &[&str] = &[
    RUNTIME_DEFAULT,
    "runtime-default/containerd-2.4",
    "runtime-default/containerd-2.3",
    "runtime-default/containerd-2.2",
    "runtime-default/containerd-2.1",
    "runtime-default/containerd-2.0",
    "runtime-default/containerd-1.7",
    cri_o::NAME,
    DOCKER_DEFAULT,
    AUDIT,
];

/// What one line of containerd applies.
///
/// 2.1 was compared with what 2.1.9 hands to runc on amd64, with and without `CAP_SYS_ADMIN`, and 2.4 with what 2.4.2 does; for other
/// architectures and capabilities they follow Docker's, from which containerd's comes. The others are 2.1 with what containerd's history
/// says of them.
#[derive(Clone, Copy)]
struct Line {
    name: &'static str,
    /// Calls up to Linux 6.13, from 2.2.0 on (containerd#11839), those of `lsm` for everybody.
    linux_6_13: bool,
    /// Taken away in 2.0 and left in 1.7 (containerd#9320).
    io_uring: bool,
    sockets: Sockets,
}

/// Which sockets are let through.
#[derive(Clone, Copy)]
enum Sockets {
    /// All but those of `AF_VSOCK`.
    ButVsock,
    /// All but those of `AF_ALG` and `AF_VSOCK` (containerd#13327 for CVE-2026-31431: from 1.7.32, 2.0.9, 2.2.4 and 2.3.1 on).
    ButAlgAndVsock,
    /// Those of the other families that Linux has, and of no number beyond: from 2.4.0 on.
    Known,
}

const LINES: [Line; 6] = [
    Line {
        name: "runtime-default/containerd-2.4",
        linux_6_13: true,
        io_uring: false,
        sockets: Sockets::Known,
    },
    Line {
        name: "runtime-default/containerd-2.3",
        linux_6_13: true,
        io_uring: false,
        sockets: Sockets::ButAlgAndVsock,
    },
    Line {
        name: "runtime-default/containerd-2.2",
        linux_6_13: true,
        io_uring: false,
        sockets: Sockets::ButAlgAndVsock,
    },
    Line {
        name: "runtime-default/containerd-2.1",
        linux_6_13: false,
        io_uring: false,
        sockets: Sockets::ButVsock,
    },
    Line {
        name: "runtime-default/containerd-2.0",
        linux_6_13: false,
        io_uring: false,
        sockets: Sockets::ButAlgAndVsock,
    },
    Line {
        name: "runtime-default/containerd-1.7",
        linux_6_13: false,
        io_uring: true,
        sockets: Sockets::ButAlgAndVsock,
    },
];

/// Read once: a base is asked for whenever a profile that derives from it is composed.
static DOCUMENTS: LazyLock<Vec<(&'static str, Document)>> = LazyLock::new(|| {
    let lines = LINES.iter().map(|line| (line.name, runtime_default(*line)));
    let others = [
        (cri_o::NAME, cri_o::document()),
        (DOCKER_DEFAULT, docker_default()),
        (AUDIT, audit()),
    ];
    let all = lines.chain(others);
    all.filter_map(|(name, document)| Some((name, document.ok()?))) // tests read all of them
        .collect()
});

/// The built-in that a misspelt name was most likely meant to be.
#[must_use]
pub fn meant_builtin(name: &str) -> Option<&'static str> {
    suggestion(name, BUILTINS.iter().copied())
}

/// The built-in of that name.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static Document> {
    let name = if name == RUNTIME_DEFAULT {
        RUNTIME_DEFAULT_IS
    } else {
        name
    };
    let (_, document) = DOCUMENTS.iter().find(|(known, _)| *known == name)?;
    Some(document)
}

/// Allowed to everybody, by both.
const COMMON: &str = "_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd \
    eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark \
    fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock \
    fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex \
    futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu \
    getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer \
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 \
    getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr inotify_add_watch \
    inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 \
    io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek \
    lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat \
    mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap msgctl msgget msgrcv msgsnd msync \
    munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open \
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv \
    preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink \
    readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat \
    renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max \
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield \
    seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto \
    set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 \
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid \
    setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr shmat shmctl shmdt shmget \
    shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs \
    statfs64 statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname \
    unlink unlinkat utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

/// Linux 6.8 to 6.13.
const LINUX_6_13: &str = "getxattrat listmount listxattrat mseal removexattrat riscv_hwprobe setxattrat statmount uretprobe";

/// Of Linux 6.8; Docker lets them through with `CAP_SYS_ADMIN` only.
const LSM: &str = "lsm_get_self_attr lsm_list_modules lsm_set_self_attr";

/// Calls that are allowed with a capability.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    (
        "CAP_SYS_TIME",
        "clock_settime clock_settime64 settimeofday stime",
    ),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];

/// Calls that are allowed on nodes of some architectures.
const BY_ARCHITECTURE: [(&[&str], &str); 6] = [
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    (&["ppc64le"], "swapcontext sync_file_range2"),
    (&["riscv64"], "riscv_flush_icache"),
    (
        &["s390", "s390x"],
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ),
];

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID` and `NEWNET`.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// The last family of Linux 6.12.
const AF_MCTP: u64 = 45;
/// What `personality` may be set to: Linux, 32-bit addresses, `UNAME26`, both, and the question what it is.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

fn runtime_default(line: Line) -> Result<Document, Problems> {
    let mut rules = common_rules();
    if line.linux_6_13 {
        rules.push(allow(LINUX_6_13));
        rules.push(allow(LSM));
    }
    if line.io_uring {
        rules.push(allow("io_uring_enter io_uring_register io_uring_setup"));
    }
    match line.sockets {
        Sockets::ButVsock => rules.push(allow_where("socket", 0, "NE", AF_VSOCK)),
        Sockets::ButAlgAndVsock => rules.extend(sockets_but_alg_and_vsock()),
        Sockets::Known => {
            rules.push(allow_where("socket", 0, "LT", AF_ALG));
            let others = [AF_ALG + 1].into_iter().chain(AF_VSOCK + 1..=AF_MCTP);
            rules.extend(others.map(|family| allow_where("socket", 0, "EQ", family)));
        }
    }
    document(&rules)
}

fn docker_default() -> Result<Document, Problems> {
    let mut rules = common_rules();
    rules.push(allow(LINUX_6_13));
    rules.extend(sockets_but_alg_and_vsock());
    rules.push(with(
        allow(LSM),
        "includes",
        json!({"caps": ["CAP_SYS_ADMIN"]}),
    ));
    document(&rules)
}

fn audit() -> Result<Document, Problems> {
    parse(
        &json!({"defaultAction": "SCMP_ACT_LOG", "archMap": architectures()}),
        "",
    )
}

/// Two `SCMP_CMP_NE` on one argument would mean either, and let everything through.
fn sockets_but_alg_and_vsock() -> [Value; 3] {
    [
        allow_where("socket", 0, "LT", AF_ALG),
        allow_where("socket", 0, "EQ", AF_ALG + 1),
        allow_where("socket", 0, "GT", AF_VSOCK),
    ]
}

fn document(rules: &[Value]) -> Result<Document, Problems> {
    let document = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": architectures(),
        "syscalls": rules,
    });
    parse(&document, "")
}

/// For each native architecture, those that programs on it may also use.
fn architectures() -> Value {
    let with = |native: &str, others: &[&str]| {
        let name = |arch: &&str| format!("SCMP_ARCH_{arch}");
        let others: Vec<_> = others.iter().map(name).collect();
        json!({"architecture": name(&native), "subArchitectures": others})
    };
    json!([
        with("X86_64", &["X86", "X32"]),
        with("AARCH64", &["ARM"]),
        with("MIPS64", &["MIPS", "MIPS64N32"]),
        with("MIPS64N32", &["MIPS", "MIPS64"]),
        with("MIPSEL64", &["MIPSEL", "MIPSEL64N32"]),
        with("MIPSEL64N32", &["MIPSEL", "MIPSEL64"]),
        with("S390X", &["S390"]),
    ])
}

fn common_rules() -> Vec<Value> {
    let mut rules = vec![allow(COMMON)];
    rules.extend(PERSONALITIES.map(|value| allow_where("personality", 0, "EQ", value)));
    // Before 4.8 a traced process could get around a filter.
    let traces = allow("process_vm_readv process_vm_writev ptrace");
    rules.push(with(traces, "includes", json!({"minKernel": "4.8"})));
    for (capability, calls) in BY_CAPABILITY {
        rules.push(with(
            allow(calls),
            "includes",
            json!({"caps": [capability]}),
        ));
    }
    for (architectures, calls) in BY_ARCHITECTURE {
        rules.push(with(
            allow(calls),
            "includes",
            json!({"arches": architectures}),
        ));
    }
    // New namespaces only for who may have them. On s390 the flags are the second argument; those of `clone3` are in
    // memory, and programs fall back to `clone` if it does not exist.
    let clone = |arg| {
        json!({
            "names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": arg, "op": "SCMP_CMP_MASKED_EQ", "value": NEW_NAMESPACES, "valueTwo": 0}],
        })
    };
    let s390 = json!(["s390", "s390x"]);
    rules.push(with(
        clone(0),
        "excludes",
        json!({"caps": ["CAP_SYS_ADMIN"], "arches": s390}),
    ));
    let second = with(clone(1), "includes", json!({"arches": s390}));
    rules.push(with(second, "excludes", json!({"caps": ["CAP_SYS_ADMIN"]})));
    let clone3 = json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38});
    rules.push(with(clone3, "excludes", json!({"caps": ["CAP_SYS_ADMIN"]})));
    rules
}

fn allow(calls: &str) -> Value {
    let calls: Vec<_> = calls.split_whitespace().collect();
    json!({"names": calls, "action": "SCMP_ACT_ALLOW"})
}

fn allow_where(call: &str, index: u8, op: &str, value: u64) -> Value {
    let arg = json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value});
    with(allow(call), "args", json!([arg]))
}

fn with(mut rule: Value, field: &str, value: Value) -> Value {
    rule[field] = value;
    rule
}
