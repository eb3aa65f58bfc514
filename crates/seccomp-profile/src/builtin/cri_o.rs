//! What CRI-O applies as `RuntimeDefault`.
//!
//! It is the profile of containers/common, which Podman applies as well, with rules of CRI-O's own for new namespaces. Where containerd's leaves a
//! call to its default, this one refuses by name what is known, with `EPERM`, and answers all else with `ENOSYS`. It lets through `mount`,
//! `keyctl` and others that containerd ties to a capability, and sockets of all families but one protocol: what they need, the kernel asks for.

use serde_json::{Value, json};

use super::{
    BY_ARCHITECTURE, COMMON, NEW_NAMESPACES, PERSONALITIES, allow, allow_where, architectures, with,
};
use crate::document::Document;
use crate::problem::Problems;
use crate::read::parse;

/// The line of it that is written here: of containers/common 0.63, compared with what 1.34.0 hands to runc on amd64.
pub(super) const NAME: &str = "runtime-default/cri-o-1.34";

/// Allowed to everybody, beside those of [`COMMON`] that are not [`REFUSED`].
const MORE: &str = "fanotify_init fsconfig fsmount fsopen fspick get_mempolicy keyctl mbind mount mount_setattr move_mount \
    open_tree pidfd_getfd pivot_root process_vm_readv process_vm_writev ptrace reboot set_mempolicy setns signal syslog umount umount2";

/// Refused to everybody.
const REFUSED: &str = "bdflush cachestat futex_requeue futex_wait futex_waitv futex_wake io_pgetevents io_pgetevents_time64 \
    kexec_file_load kexec_load map_shadow_stack migrate_pages move_pages nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname \
    pciconfig_iobase pciconfig_read pciconfig_write sgetmask ssetmask swapoff swapon syscall sysfs uselib userfaultfd ustat vm86 vm86old \
    vmsplice";

/// Calls that are allowed with a capability, and those that are refused without it.
const BY_CAPABILITY: [(&str, &str, &str); 9] = [
    (
        "CAP_DAC_READ_SEARCH",
        "open_by_handle_at",
        "open_by_handle_at",
    ),
    (
        "CAP_SYS_ADMIN",
        "bpf lookup_dcookie quotactl quotactl_fd setdomainname sethostname setns",
        "lookup_dcookie perf_event_open quotactl quotactl_fd setdomainname sethostname setns",
    ),
    ("CAP_SYS_CHROOT", "chroot", "chroot"),
    (
        "CAP_SYS_MODULE",
        "delete_module finit_module init_module query_module",
        "delete_module finit_module init_module query_module",
    ),
    ("CAP_SYS_PACCT", "acct", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp process_madvise",
        "kcmp process_madvise",
    ),
    ("CAP_SYS_RAWIO", "ioperm iopl", "ioperm iopl"),
    (
        "CAP_SYS_TIME",
        "clock_settime clock_settime64 settimeofday stime",
        "clock_settime clock_settime64 settimeofday stime",
    ),
    ("CAP_SYS_TTY_CONFIG", "vhangup", "vhangup"),
];

const EPERM: u16 = 1;
const EINVAL: u16 = 22;
const ENOSYS: u16 = 38;
const AF_NETLINK: u64 = 16;
const NETLINK_AUDIT: u64 = 9;
const S390: [&str; 2] = ["s390", "s390x"];

/// In the order of CRI-O's, for some calls are in two rules.
pub(super) fn document() -> Result<Document, Problems> {
    let refused: Vec<_> = REFUSED.split_whitespace().collect();
    let common = COMMON.split_whitespace();
    let common: Vec<_> = common.filter(|call| !refused.contains(call)).collect();
    let mut rules = vec![
        refuse(REFUSED, EPERM),
        allow(&common.join(" ")),
        allow(MORE),
    ];
    rules.extend(PERSONALITIES.map(|value| allow_where("personality", 0, "EQ", value)));
    for (architectures, calls) in BY_ARCHITECTURE {
        rules.push(includes(allow(calls), json!({"arches": architectures})));
    }
    for (capability, allowed, refused) in BY_CAPABILITY {
        rules.push(includes(allow(allowed), json!({"caps": [capability]})));
        rules.push(excludes(
            refuse(refused, EPERM),
            json!({"caps": [capability]}),
        ));
    }
    rules.extend(sockets());
    for (call, capability) in [("bpf", "CAP_BPF"), ("perf_event_open", "CAP_PERFMON")] {
        let neither = json!({"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]});
        rules.push(excludes(refuse(call, EPERM), neither));
        rules.push(includes(allow(call), json!({"caps": [capability]})));
    }
    rules.extend(namespaces());
    parse(
        &json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": ENOSYS,
            "archMap": architectures(), "syscalls": rules,
        }),
        "",
    )
}

/// All but those that could write to the audit log.
fn sockets() -> [Value; 4] {
    let without = |rule| excludes(rule, json!({"caps": ["CAP_AUDIT_WRITE"]}));
    let audit = json!([
        {"index": 0, "op": "SCMP_CMP_EQ", "value": AF_NETLINK},
        {"index": 2, "op": "SCMP_CMP_EQ", "value": NETLINK_AUDIT},
    ]);
    [
        without(with(refuse("socket", EINVAL), "args", audit)),
        without(allow_where("socket", 2, "NE", NETLINK_AUDIT)),
        without(allow_where("socket", 0, "NE", AF_NETLINK)),
        includes(allow("socket"), json!({"caps": ["CAP_AUDIT_WRITE"]})),
    ]
}

/// New ones for who may have them. Unlike containerd's, `clone` refuses each with `EPERM`.
fn namespaces() -> Vec<Value> {
    let admin = || json!({"caps": ["CAP_SYS_ADMIN"]});
    let mut rules = vec![includes(allow("clone clone3 unshare"), admin())];
    for (index, is_s390) in [(0, false), (1, true)] {
        let none = json!([{"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": NEW_NAMESPACES, "valueTwo": 0}]);
        let each: Vec<_> = (0..u64::BITS)
            .map(|bit| 1u64 << bit)
            .filter(|flag| NEW_NAMESPACES & flag != 0)
            .map(|flag| json!({"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": flag, "valueTwo": flag}))
            .collect();
        let any = with(refuse("clone", EPERM), "args", json!(each));
        let (none, any) = (with(allow("clone"), "args", none), any);
        rules.extend(if is_s390 {
            [
                includes(none, json!({"arches": S390})),
                excludes(includes(any, json!({"arches": S390})), admin()),
            ]
        } else {
            let either = json!({"caps": ["CAP_SYS_ADMIN"], "arches": S390});
            [
                excludes(none, json!({"arches": S390})),
                excludes(any, either),
            ]
        });
    }
    rules.push(excludes(refuse("clone3", ENOSYS), admin()));
    rules
}

fn refuse(calls: &str, errno: u16) -> Value {
    let rule = with(allow(calls), "action", "SCMP_ACT_ERRNO".into());
    with(rule, "errnoRet", errno.into())
}

fn includes(rule: Value, condition: Value) -> Value {
    with(rule, "includes", condition)
}

fn excludes(rule: Value, condition: Value) -> Value {
    with(rule, "excludes", condition)
}
