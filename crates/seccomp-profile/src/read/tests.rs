//! What the reader refuses, and what it says then.
#![allow(clippy::too_many_lines, clippy::needless_pass_by_value)] // tables of documents

use serde_json::json;

use super::conflicts::MAX_SAME;
use super::*;
use crate::{Arch, KernelVersion};
use crate::{CapabilitySet, Target};

/// A document with one rule.
fn rule(rule: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

/// A document with one rule with one condition.
fn arg(arg: Value) -> Value {
    rule(json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [arg]}))
}

fn said(document: &Value) -> Vec<String> {
    match parse(document, "spec.profile") {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn what_runs_a_container_unconfined_or_does_nothing_is_refused_with_a_remedy() {
    let conflicting = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["bind", "socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": "0x2", "op": "SCMP_CMP_EQ"}]},
    ]});
    for (document, expected) in [
        (
            json!({}),
            "spec.profile.defaultAction: is missing, and without it container runtimes run the container unconfined; write one of SCMP_ACT_ALLOW, ",
        ),
        (
            json!(null),
            "spec.profile: is null, not an object; write a seccomp profile",
        ),
        (
            json!([]),
            "spec.profile: is a list, not an object; write a seccomp profile",
        ),
        (
            json!({"defaultAction": ""}),
            "spec.profile.defaultAction: is missing, and without it container runtimes run the container unconfined; write one of ",
        ),
        (
            json!({"defaultAction": null}),
            "spec.profile.defaultAction: is missing, and without it ",
        ),
        (
            json!({"defaultAction": 1}),
            "spec.profile.defaultAction: is a number, not a string; write one of ",
        ),
        (
            json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "spec": {}}),
            "spec.profile.apiVersion: is a field of a Kubernetes object, not of a seccomp profile; a runtime would drop it and run the container unconfined; put here only the object that holds defaultAction and syscalls",
        ),
        (
            json!({"spec": {"defaultAction": "SCMP_ACT_LOG"}}),
            "spec.profile.spec: is a field of a Kubernetes object, ",
        ),
        (
            json!({"DEFAULTACTION": "SCMP_ACT_LOG"}),
            "spec.profile.DEFAULTACTION: is in the wrong case: some runtimes read it all the same, others do not; write \"defaultAction\"",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "syscall": []}),
            "spec.profile.syscall: is not a field here, and runtimes drop it without a word; write \"syscalls\"",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "profiles": []}),
            "spec.profile.profiles: is not a field here, and runtimes drop it without a word; remove it; the fields here are defaultAction, ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_DENY"}),
            "spec.profile.defaultAction: \"SCMP_ACT_DENY\" is not an action; write \"SCMP_ACT_ERRNO\"",
        ),
        (
            json!({"defaultAction": "allow"}),
            "spec.profile.defaultAction: \"allow\" is not an action; write \"SCMP_ACT_ALLOW\"",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_EERNO"}),
            "spec.profile.defaultAction: \"SCMP_ACT_EERNO\" is not an action; write \"SCMP_ACT_ERRNO\"",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/x.sock"}),
            "spec.profile.defaultAction: SCMP_ACT_NOTIFY cannot be the default: ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "spec.profile.defaultErrnoRet: does not go with SCMP_ACT_ALLOW: crun refuses it, runc ignores it; remove it, ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095}),
            "spec.profile.defaultErrnoRet: 4095 is not an error number; write a whole number from 1 to 4094, ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}),
            "spec.profile.defaultErrnoRet: -1 is not an error number; ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": "EPERM"}),
            "spec.profile.defaultErrnoRet: is a string, not a number; ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYSS"}),
            "spec.profile.defaultErrno: \"ENOSYSS\" is not the name of an error; write \"ENOSYS\"",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "defaultErrnoRet": 1}),
            "spec.profile.defaultErrno: \"ENOSYS\" contradicts defaultErrnoRet, which is 1; remove defaultErrnoRet",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "architectures": ["amd64"]}),
            "spec.profile.architectures[0]: \"amd64\" is not the name of an architecture here; write \"SCMP_ARCH_X86_64\"",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_NATIVE"]}),
            "spec.profile.architectures[0]: \"SCMP_ARCH_NATIVE\" is not an architecture to runc; remove it: ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_PARISC"]}),
            "spec.profile.architectures[0]: \"SCMP_ARCH_PARISC\" is not an architecture that container runtimes know; ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64"], "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}),
            "spec.profile.archMap: stands beside architectures, and Docker takes only one; remove one of the two",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "flags": ["LOG"]}),
            "spec.profile.flags[0]: \"LOG\" is not a flag that runtimes know; write \"SECCOMP_FILTER_FLAG_LOG\"",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "listenerPath": "agent.sock"}),
            "spec.profile.listenerPath: \"agent.sock\" is not an absolute path; ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "listenerMetadata": "x"}),
            "spec.profile.listenerMetadata: has nobody to go to: ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": {}}),
            "spec.profile.syscalls: is an object, not a list; write it in [ ]",
        ),
        (
            rule(json!("read")),
            "spec.profile.syscalls[0]: is a string, not an object; write a rule with names and an action",
        ),
        (
            rule(json!({"action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].names: names no system call, so that the rule does nothing; ",
        ),
        (
            rule(json!({"names": [], "action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].names: names no system call, so that the rule does nothing; ",
        ),
        (
            rule(json!({"names": "read", "action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].names: is a string, not a list; write it in [ ]",
        ),
        (
            rule(json!({"names": [""], "action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].names[0]: \"\" is not a system call on any architecture, and runtimes ignore it; ",
        ),
        (
            rule(json!({"names": ["read", "chmdo"], "action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].names[1]: \"chmdo\" is not a system call on any architecture, and runtimes ignore it; write \"chmod\"",
        ),
        (
            rule(json!({"names": ["MKDIR"], "action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].names[0]: \"MKDIR\" is not a system call on any architecture, and runtimes ignore it; write \"mkdir\"",
        ),
        (
            rule(json!({"names": ["sys_mkdir"], "action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].names[0]: \"sys_mkdir\" is not a system call on any architecture, and runtimes ignore it; write \"mkdir\"",
        ),
        (
            rule(json!({"names": ["@chmod"], "action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].names[0]: \"@chmod\" is a group, and a profile names single calls; ",
        ),
        (
            rule(json!({"names": ["read"], "name": "write", "action": "SCMP_ACT_ERRNO"})),
            "spec.profile.syscalls[0].name: stands beside names; put it into names",
        ),
        (
            rule(json!({"names": ["read"]})),
            "spec.profile.syscalls[0].action: is missing; write one of ",
        ),
        (
            rule(json!({"names": ["read"], "action": "ERRNO"})),
            "spec.profile.syscalls[0].action: \"ERRNO\" is not an action; write \"SCMP_ACT_ERRNO\"",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1})),
            "spec.profile.syscalls[0].errnoRet: does not go with SCMP_ACT_ALLOW: ",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "errno": "EPERM"})),
            "spec.profile.syscalls[0].errno: does not go with SCMP_ACT_ALLOW: ",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536})),
            "spec.profile.syscalls[0].errnoRet: 65536 is not an error number; ",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"})),
            "spec.profile.syscalls[0].action: needs somebody to answer, and the profile has no listenerPath; ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}),
            "spec.profile.syscalls[0].names: SCMP_ACT_NOTIFY cannot be used for write: ",
        ),
        (
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["SYS_ADMIN"]}}),
            ),
            "spec.profile.syscalls[0].includes.caps[0]: \"SYS_ADMIN\" is not a capability; write \"CAP_SYS_ADMIN\"",
        ),
        (
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "excludes": {"arches": ["x86_64"]}}),
            ),
            "spec.profile.syscalls[0].excludes.arches[0]: \"x86_64\" is not how this field names an architecture; write \"amd64\"",
        ),
        (
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "4.8.0"}}),
            ),
            "spec.profile.syscalls[0].includes.minKernel: \"4.8.0\" is not a kernel version; write two numbers up to 255, such as \"4.8\"",
        ),
        (
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": {"cap": ["CAP_BPF"]}}),
            ),
            "spec.profile.syscalls[0].includes.cap: is not a field here, and runtimes drop it without a word; write \"caps\"",
        ),
        (
            arg(json!({"index": 6, "value": 1, "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].index: 6 is not the index of one of a call's six arguments; write 0 to 5: ",
        ),
        (
            arg(json!({"value": 1, "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].index: is missing, and runtimes would take the first argument; ",
        ),
        (
            arg(json!({"index": 0, "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].value: is missing; ",
        ),
        (
            arg(json!({"index": 0, "value": 1})),
            "spec.profile.syscalls[0].args[0].op: is missing; write one of SCMP_CMP_EQ, ",
        ),
        (
            arg(json!({"index": 0, "value": 1, "op": "EQ"})),
            "spec.profile.syscalls[0].args[0].op: \"EQ\" is not an operator; write \"SCMP_CMP_EQ\"",
        ),
        (
            arg(json!({"index": 0, "value": 1, "op": "SCMP_CMP_MASKED"})),
            "spec.profile.syscalls[0].args[0].op: \"SCMP_CMP_MASKED\" is not an operator; ",
        ),
        (
            arg(json!({"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].valueTwo: is not looked at by SCMP_CMP_EQ; ",
        ),
        (
            arg(json!({"index": 0, "value": 18_446_744_073_709_551_615.0, "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].value: 1.8446744073709552e+19 is a floating-point number, which has lost the last digits of a 64-bit value; write it as a whole number, ",
        ),
        (
            arg(json!({"index": 0, "value": 1.0, "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].value: 1.0 is a floating-point number, ",
        ),
        (
            arg(json!({"index": 0, "value": -1, "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].value: -1 is negative, and arguments are compared unsigned; write the value as the kernel sees it, ",
        ),
        (
            arg(json!({"index": 0, "value": "0x10000000000000000", "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].value: \"0x10000000000000000\" is not a 64-bit number; ",
        ),
        (
            arg(json!({"index": 0, "value": "0x", "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].value: \"0x\" is not a 64-bit number; ",
        ),
        (
            arg(json!({"index": 0, "value": "+1", "op": "SCMP_CMP_EQ"})),
            "spec.profile.syscalls[0].args[0].value: \"+1\" is not a 64-bit number; ",
        ),
        (
            conflicting,
            "spec.profile.syscalls[1]: gives socket another action than syscalls[0] under the same condition, and no container starts with both; remove one of the two",
        ),
    ] {
        let said = said(&document);
        assert!(
            said.len() == 1 && said[0].starts_with(expected),
            "{document}\n  expected {expected}\n  said {said:#?}"
        );
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_documents_order() {
    let document = json!({"defaultAction": "SCMP_ACT_ERRNO", "flags": ["X"], "syscalls": [
        {"names": ["reed"], "action": "SCMP_ACT_ALOW"},
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 9, "value": "x", "op": "LT"}]},
    ]});
    let paths: Vec<_> = parse(&document, "")
        .unwrap_err()
        .iter()
        .map(|problem| problem.path.clone())
        .collect();
    assert_eq!(
        paths,
        [
            "flags[0]",
            "syscalls[0].names[0]",
            "syscalls[0].action",
            "syscalls[1].args[0].index",
            "syscalls[1].args[0].value"
        ]
    );
}

#[test]
fn a_document_of_problems_lists_fifty_and_counts_the_rest() {
    let names: Vec<_> = (0..1000).map(|n| format!("nonsense{n}")).collect();
    let problems = parse(
        &rule(json!({"names": names, "action": "SCMP_ACT_ERRNO"})),
        "",
    )
    .unwrap_err();
    assert_eq!((problems.iter().count(), problems.len()), (50, 1000));
    assert!(problems.to_string().ends_with("\nand 950 more"));
}

#[test]
fn a_long_or_strange_word_is_cut_and_escaped_in_messages() {
    let said = said(&rule(
        json!({"names": ["x\u{1b}[2J".repeat(10_000)], "action": "SCMP_ACT_ERRNO"}),
    ));
    assert!(
        said[0].len() < 400 && !said[0].contains('\u{1b}'),
        "{said:?}"
    );
    let key = "k\n".repeat(10_000);
    let said = self::said(&json!({"defaultAction": "SCMP_ACT_LOG", key: 1}));
    assert!(said[0].len() < 400 && !said[0].contains('\n'), "{said:?}");
}

#[test]
fn bytes_are_read_strictly_too() {
    let said = |bytes: &[u8]| parse_slice(bytes, "p").unwrap_err().to_string();
    for (bytes, expected) in [
        (&b""[..], "p: cannot be read: EOF while parsing a value"),
        (
            b"{\"defaultAction\": \"SCMP_ACT_LOG\"",
            "p: cannot be read: EOF while parsing an object",
        ),
        (
            b"{\"defaultAction\": \"SCMP_ACT_LOG\"} x",
            "p: cannot be read: trailing characters",
        ),
        (
            b"{\"defaultAction\": \"SCMP_ACT_LOG\", \"syscalls\": [], \"syscalls\": []}",
            "p: cannot be read: field `syscalls` is there twice",
        ),
        (b"null", "p: is null, not an object"),
        (b"\xff\xfe", "p: cannot be read: expected value"),
    ] {
        assert!(said(bytes).starts_with(expected), "{}", said(bytes));
    }
    assert!(said("[".repeat(100_000).as_bytes()).contains("recursion limit exceeded"));
    assert!(
        said(&vec![b' '; MAX_BYTES + 1]).starts_with("p: is 1048577 bytes long, more than 1048576")
    );
}

#[test]
fn what_containerd_would_drop_is_known() {
    let document = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrno": "EPERM",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "harmless to lose", "includes": {}, "excludes": {"caps": []}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "errno": "13", "excludes": {"minKernel": "5.0"}},
        ],
    });
    assert_eq!(
        parse(&document, "").unwrap().docker_only_fields(),
        [
            "defaultErrno",
            "archMap",
            "syscalls[1].includes",
            "syscalls[2].name",
            "syscalls[2].errno",
            "syscalls[2].excludes"
        ]
    );
}

#[test]
fn one_condition_may_have_two_actions_where_no_node_has_both() {
    let two = |first: Value, second: Value| {
        let mut rules = [first, second];
        for (rule, action) in rules.iter_mut().zip(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"]) {
            rule["names"] = json!(["clone"]);
            rule["action"] = json!(action);
            rule["args"] = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]);
        }
        said(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})).is_empty()
    };
    let caps = json!({"caps": ["CAP_SYS_ADMIN"]});
    assert!(two(json!({"includes": caps}), json!({"excludes": caps})));
    assert!(two(
        json!({"includes": {"arches": ["amd64"]}}),
        json!({"includes": {"arches": ["arm64"]}})
    ));
    assert!(two(
        json!({"excludes": {"arches": ["s390x"]}}),
        json!({"includes": {"arches": ["s390x"]}})
    ));
    assert!(two(
        json!({"includes": {"minKernel": "5.0"}}),
        json!({"excludes": {"minKernel": "4.19"}})
    ));
    assert!(!two(
        json!({"includes": {"minKernel": "4.19"}}),
        json!({"excludes": {"minKernel": "5.0"}})
    ));
    assert!(!two(
        json!({"includes": caps}),
        json!({"includes": {"caps": ["CAP_BPF"]}})
    ));
    assert!(!two(json!({}), json!({"includes": caps})));
}

#[test]
fn rules_with_the_same_condition_are_not_compared_without_end() {
    // No two of them say something else of the same node, and each pair had to be looked at to know.
    let rule = |n: usize| {
        let (verdict, filter) = if n.is_multiple_of(2) {
            ("SCMP_ACT_ALLOW", "includes")
        } else {
            ("SCMP_ACT_LOG", "excludes")
        };
        json!({"names": ["clone"], "action": verdict, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}], filter: {"caps": ["CAP_BPF"]}})
    };
    let rules = |many: usize| {
        let rules: Vec<_> = (0..many).map(rule).collect();
        said(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}))
    };
    assert_eq!(rules(MAX_SAME), [""; 0]);
    assert_eq!(
        rules(MAX_SAME + 1),
        [
            "spec.profile.syscalls[64]: is rule 65 for clone with the same conditions; remove those that say the same, or let \
             includes and excludes tell fewer cases apart"
        ]
    );
}

#[test]
fn the_engines_built_in_limits_leave_room_for_the_largest_real_profiles() {
    let path = std::env::var_os("SECCOMP_SHARED_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        std::path::PathBuf::from,
    );
    for name in ["moby-default.json", "containers-common-seccomp.json"] {
        let Ok(bytes) = std::fs::read(path.join(name)) else {
            eprintln!("skipped: {} is not there", path.join(name).display());
            continue;
        };
        let document = parse_slice(&bytes, "").unwrap();
        for &arch in Arch::ALL {
            let kernel = KernelVersion {
                major: 6,
                minor: 18,
            };
            let target = Target {
                arch,
                kernel,
                capabilities: CapabilitySet::RUNTIME_DEFAULT,
            };
            let profile = document.resolve(&target);
            assert!(profile.rules().len() > 5);
            let again = parse_slice(&profile.to_canonical_json(), "").unwrap();
            // The same with the architectures written out.
            let again_written = again.resolve(&target).to_canonical_json();
            assert_eq!(again_written, profile.to_canonical_json());
            assert!(again.docker_only_fields().is_empty());
        }
        assert!(!document.docker_only_fields().is_empty());
    }
}

/// What is odd of a document as runtimes read it: `path: reason; remedy`.
fn odd(document: &Value) -> Vec<String> {
    let document = parse_as_is(document, "").unwrap();
    let oddities = document.oddities.iter();
    oddities.map(|oddity| oddity.problem.to_string()).collect()
}

#[test]
fn what_runtimes_drop_of_a_file_is_odd_and_the_rest_is_read() {
    for (document, expected) in [
        (
            json!({"$schema": "x", "defaultAction": "SCMP_ACT_ALLOW", "_comment": ["y"]}),
            &[
                "$schema: is not a field here, and runtimes drop it without a word; remove it; ",
                "_comment: is not a field here, ",
            ][..],
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscall": []}),
            &[
                "syscall: is not a field here, and runtimes drop it without a word; write \"syscalls\"",
            ],
        ),
        (
            rule(
                json!({"names": ["pread", "read", "fstatat", "zzyzzy", "@chmod"], "action": "SCMP_ACT_ERRNO"}),
            ),
            &[
                "syscalls[0].names[0]: \"pread\" is not a system call on any architecture, and runtimes ignore it; write \"pread64\"",
                "syscalls[0].names[2]: \"fstatat\" is not a system call on any architecture, and runtimes ignore it; write \"newfstatat\" \
                 and \"fstatat64\", of which each architecture has its own",
                "syscalls[0].names[3]: \"zzyzzy\" is not a system call on any architecture, and runtimes ignore it; check its spelling",
                "syscalls[0].names[4]: \"@chmod\" is a group, and a profile names single calls; name the calls of the group",
            ],
        ),
        (
            rule(json!({"names": [], "action": "SCMP_ACT_ERRNO"})),
            &["syscalls[0].names: names no system call, "],
        ),
        (
            arg(json!({"index": 0, "op": "SCMP_CMP_EQ", "value": 1, "valueTwo": 2})),
            &["syscalls[0].args[0].valueTwo: is not looked at by SCMP_CMP_EQ; "],
        ),
        (
            arg(json!({"index": 0, "op": "SCMP_CMP_EQ", "value": "100"})),
            &[
                "syscalls[0].args[0].value: is a string: runc, containerd and youki start no container with it, and crun takes it for 0; \
               write the number without quotes",
            ],
        ),
    ] {
        let odd = odd(&document);
        assert_eq!(odd.len(), expected.len(), "{document}: {odd:#?}");
        for (said, start) in odd.iter().zip(expected) {
            let start = start.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.starts_with(&start), "{said}\n{start}");
        }
        // Elsewhere it is an error, but for a number in quotes.
        let is_quoted = document.to_string().contains("\"100\"");
        assert_eq!(parse(&document, "").is_ok(), is_quoted, "{document}");
    }
}

#[test]
fn the_rules_of_a_file_keep_their_places_and_what_starts_no_container_is_refused() {
    let document = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["nothing_such"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["read", "pread"], "action": "SCMP_ACT_ERRNO"},
    ]});
    let read = parse_as_is(&document, "").unwrap();
    assert_eq!(read.oddities().count(), 2);
    let calls: Vec<_> = read
        .entries
        .iter()
        .map(|entry| entry.syscalls.len())
        .collect();
    assert_eq!(calls, [0, 1]);
    for (document, start) in [
        (
            json!({"defaultaction": "SCMP_ACT_ALLOW"}),
            "defaultaction: is in the wrong case: ",
        ),
        (
            rule(json!({"action": "SCMP_ACT_ERRNO"})),
            "syscalls[0].names: names no system call",
        ),
        (
            rule(json!({"names": null, "action": "SCMP_ACT_ERRNO"})),
            "syscalls[0].names: names no system call",
        ),
        (
            rule(json!({"names": ["nothing_such"]})),
            "syscalls[0].action: is missing; ",
        ),
        (
            arg(json!({"index": 0, "op": "SCMP_CMP_EQ", "value": 1e30})),
            "syscalls[0].args[0].value: 1e+30 is not a whole number of 64 bits, and runtimes start no container with it; write it in digits alone",
        ),
        (
            arg(json!({"index": 0, "op": "SCMP_CMP_EQ", "value": "AF_ALG"})),
            "syscalls[0].args[0].value: \"AF_ALG\" is not a 64-bit number; write a whole number in digits, without quotes",
        ),
    ] {
        let said = parse_as_is(&document, "").unwrap_err().to_string();
        assert!(said.starts_with(start), "{said}\n{start}");
    }
}

#[test]
fn a_file_of_oddities_lists_fifty_of_each_kind() {
    let names: Vec<_> = (0..500).map(|i| format!("no_call_{i}")).collect();
    let mut document = rule(json!({"names": names, "action": "SCMP_ACT_ERRNO"}));
    for i in 0..500 {
        document[format!("_{i}")] = json!(i);
    }
    assert_eq!(odd(&document).len(), 2 * ODDITIES_LISTED);
}
