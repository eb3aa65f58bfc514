//! Tests over whole profiles; each code has an example in `docs/lint.md`, which `tests/lint.rs` reads.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{Fields, builtin, parse};

pub(super) const AMD64: Target = Target {
    arch: Arch::X86_64,
    kernel: KernelVersion {
        major: 6,
        minor: 12,
    },
    capabilities: CapabilitySet::RUNTIME_DEFAULT,
};

pub(super) fn nothing(_: &str) -> Option<Arc<Spec>> {
    None
}

fn of_document(document: &Value) -> Vec<Finding> {
    lint_document(
        &parse(document, "").unwrap(),
        Delivery::Rendered,
        &AMD64,
        "",
    )
}

pub(super) fn derived_from(base: &str, lists: &Value) -> Spec {
    let list = |key: &str| lists[key].as_array().cloned().unwrap_or_default();
    let fields = Fields {
        profile: None,
        base: Some(base),
        allow: &list("allow"),
        log: &list("log"),
        deny: &list("deny"),
    };
    Spec::parse(&fields, "spec").unwrap()
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, &'static str)> {
    findings
        .iter()
        .map(|finding| (finding.code.name(), finding.severity.name()))
        .collect()
}

#[test]
fn the_runtimes_own_profiles_have_true_findings_alone() {
    let ignored = ("ignored-bits", "warning");
    for (name, families, of_sockets) in [
        (
            "runtime-default/containerd-2.1",
            "AF_VSOCK (40)",
            vec![ignored],
        ),
        ("runtime-default", "AF_ALG (38) and AF_VSOCK (40)", vec![]),
        (
            "docker-default",
            "AF_ALG (38) and AF_VSOCK (40)",
            vec![ignored],
        ),
    ] {
        let findings = lint_document(builtin(name).unwrap(), Delivery::Rendered, &AMD64, "");
        let expected = [of_sockets.clone(), vec![("multiplexer-open", "warning")]].concat();
        assert_eq!(codes(&findings), expected, "{name}");
        let start = format!(
            "denies sockets of {families} to direct calls only: programs of SCMP_ARCH_X86 also make them through socketcall"
        );
        let multiplexer = findings.last().unwrap();
        assert!(multiplexer.reason.starts_with(&start), "{multiplexer}");
        // On arm64 sockets have no other way.
        let arm64 = Target {
            arch: Arch::Aarch64,
            ..AMD64
        };
        let findings = lint_document(builtin(name).unwrap(), Delivery::Rendered, &arm64, "");
        assert_eq!(codes(&findings), of_sockets);
    }
    let audit = lint_document(builtin("audit").unwrap(), Delivery::Rendered, &AMD64, "");
    assert_eq!(codes(&audit), [("stops-nothing", "note")]);
}

#[test]
fn closing_af_alg_is_said_to_reach_as_far_as_it_does() {
    let deny = json!({"deny": [{"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]}]});
    let spec = derived_from("runtime-default", &deny);
    let said: Vec<_> = lint_everywhere(&spec, &nothing, CapabilitySet::RUNTIME_DEFAULT, "spec")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        [
            "spec.deny[0]: denies sockets of AF_ALG (38) and AF_VSOCK (40) to direct calls only: programs of SCMP_ARCH_X86 also \
          make them through socketcall, whose arguments are in memory, where no filter sees them; add \"socketcall\" to \
          spec.deny, which takes most 32-bit programs their network, or accept it where none run [multiplexer-open]"
        ]
    );
    let both = json!({"deny": ["socketcall", deny["deny"][0]]});
    let both = derived_from("runtime-default", &both);
    assert_eq!(lint(&both, &nothing, &AMD64, "spec"), []);
}

#[test]
fn chmod_alone_is_not_enough() {
    let arches = [
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_ARM",
    ];
    let no_chmod = |names: &[&str]| {
        of_document(&json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": arches,
            "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}],
        }))
    };
    let findings = no_chmod(&["chmod"]);
    assert_eq!(
        codes(&findings),
        [("open-twin", "warning"), ("open-by-default", "note")]
    );
    assert_eq!(
        findings[0].to_string(),
        "syscalls[0]: denies chmod, and fchmod, fchmodat and fchmodat2, which do the same, stay open; \
         add fchmod and fchmodat to syscalls[0].names, and answer fchmodat2 with ENOSYS (SCMP_ACT_ERRNO with errnoRet 38) [open-twin]"
    );
    let findings = no_chmod(&["chmod", "fchmod", "fchmodat", "fchmodat2"]);
    assert_eq!(
        codes(&findings),
        [
            ("open-by-default", "note"),
            ("unknown-to-older-runtimes", "note")
        ]
    );
    let group = derived_from("docker-default", &json!({"deny": ["@chmod"]}));
    assert_eq!(lint(&group, &nothing, &AMD64, "spec"), []);
}

#[test]
fn the_remedy_for_a_carrier_in_a_document_closes_it() {
    let document = |socketcall: Value| {
        let mut rules = vec![
            json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "op": "SCMP_CMP_LT", "value": 38},
            ]}),
        ];
        rules.extend(socketcall.as_array().unwrap().clone());
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": rules,
        })
    };
    let is_open = |document: &Value| {
        let found = of_document(document);
        let said = found
            .iter()
            .any(|finding| finding.code == Code::MultiplexerOpen);
        // What is said is so: `socketcall(SYS_SOCKET)` of i386.
        let model = parse(document, "")
            .unwrap()
            .resolve(&AMD64)
            .model()
            .unwrap();
        assert_eq!(
            model
                .decide(Arch::X86, 102, &[1, 0, 0, 0, 0, 0].into())
                .is_permitted(),
            said
        );
        said
    };
    let rule = |action: &str, errno: u16| json!([{"names": ["socketcall"], "action": action, "errnoRet": errno}]);
    assert!(is_open(&document(
        json!([{"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"}])
    )));
    assert!(is_open(&document(json!([]))));
    assert!(is_open(&document(rule("SCMP_ACT_ERRNO", 1))));
    assert!(!is_open(&document(rule("SCMP_ACT_ERRNO", 13))));
    let remedy = of_document(&document(json!([])));
    assert!(
        remedy
            .iter()
            .any(|finding| finding.remedy.contains("errnoRet 13")),
        "{remedy:#?}"
    );
}

#[test]
fn to_keep_clone_from_making_namespaces_leaves_fork_alone() {
    let denied = |rules: Value| {
        let document = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
        let found = of_document(&document).into_iter();
        let twins = found.filter(|finding| finding.code == Code::OpenTwin);
        twins.map(|finding| finding.reason).collect::<Vec<_>>()
    };
    let namespaces = json!([{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0x1000_0000, "valueTwo": 0x1000_0000}]);
    let clone = |clone3: &str| {
        json!([
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": namespaces},
            {"names": [clone3], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ])
    };
    assert_eq!(denied(clone("clone3")), [""; 0]);
    assert_eq!(
        denied(clone("mseal")),
        ["denies clone for some arguments, and clone3, which does the same, stays open"]
    );
    let fork = json!([{"names": ["fork"], "action": "SCMP_ACT_ERRNO"}]);
    assert_eq!(
        denied(fork),
        ["denies fork, and vfork, clone and clone3, which do the same, stay open"]
    );
}

#[test]
fn a_document_with_changes_beside_it_is_linted_by_what_both_come_to() {
    let document = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}],
    });
    let found = |deny: &[Value]| -> Vec<String> {
        let fields = Fields {
            profile: Some(&document),
            deny,
            ..Fields::default()
        };
        let spec = Spec::parse(&fields, "spec").unwrap();
        let findings = lint(&spec, &nothing, &AMD64, "spec");
        let twins = findings
            .iter()
            .filter(|finding| finding.code == Code::OpenTwin);
        twins.map(|finding| finding.path.clone()).collect()
    };
    assert_eq!(found(&[json!("bpf")]), ["spec.profile.syscalls[0]"]);
    assert_eq!(found(&[json!("@chmod")]), Vec::<String>::new());
    assert_eq!(found(&[json!("@chmod"), json!("chown")]), ["spec.deny[1]"]);
}

/// What is advised against the open twins of a call that a document denies, with other rules before it.
fn advice(call: &str, others: &[Value], default: &str) -> Vec<String> {
    let denial = json!({"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": 13});
    let rules: Vec<_> = others.iter().cloned().chain([denial]).collect();
    let document = json!({"defaultAction": default, "syscalls": rules});
    let found = of_document(&document).into_iter();
    let twins = found.filter(|finding| finding.code == Code::OpenTwin);
    twins.map(|finding| finding.remedy).collect()
}

#[test]
fn clone_is_denied_by_its_flags_and_what_is_new_is_answered_with_enosys() {
    let denied = |call| advice(call, &[], "SCMP_ACT_ALLOW");
    assert_eq!(
        denied("unshare"),
        [
            "answer clone3 with ENOSYS (SCMP_ACT_ERRNO with errnoRet 38), and deny clone where SCMP_CMP_MASKED_EQ of argument 0 holds \
          with value 0x10000000 and valueTwo 0x10000000 (CLONE_NEWUSER)"
        ]
    );
    assert_eq!(
        denied("fork"),
        [
            "add vfork to syscalls[0].names, and answer clone3 with ENOSYS (SCMP_ACT_ERRNO with errnoRet 38), and deny clone where \
          SCMP_CMP_MASKED_EQ of argument 0 holds with value 0x10000 and valueTwo 0x0 (without CLONE_THREAD)"
        ]
    );
    // What is newer is for programs to do without.
    for new in ["faccessat2", "openat2", "clone3", "fchmodat2"] {
        assert_eq!(denied(new), [""; 0], "{new}");
    }
    assert_eq!(
        denied("mount"),
        ["answer move_mount with ENOSYS (SCMP_ACT_ERRNO with errnoRet 38)"]
    );
}

#[test]
fn what_runtimes_need_is_not_advised_to_be_denied() {
    assert_eq!(
        advice("creat", &[], "SCMP_ACT_ALLOW"),
        [
            "remove creat from syscalls[0].names (openat cannot be denied, since container runtimes need it)"
        ]
    );
    // runc 1.1 calls it if `faccessat2` fails.
    assert_eq!(
        advice("access", &[], "SCMP_ACT_ALLOW"),
        [
            "remove access from syscalls[0].names (faccessat cannot be denied, since container runtimes need it)"
        ]
    );
    let spec = derived_from("runtime-default", &json!({"deny": ["execveat"]}));
    let found = lint(&spec, &nothing, &AMD64, "spec");
    assert_eq!(
        found[0].remedy,
        "remove execveat from spec.deny (execve cannot be denied, since container runtimes need it)"
    );
}

#[test]
fn what_a_rule_allows_is_taken_out_of_it_since_a_later_denial_would_be_void() {
    let allow = json!({"names": ["chmod", "fchmod", "fchmodat"], "action": "SCMP_ACT_ALLOW"});
    let others = [json!({"names": ["read"], "action": "SCMP_ACT_LOG"}), allow];
    assert_eq!(
        advice(
            "chown",
            &[json!({"names": ["fchownat", "read"], "action": "SCMP_ACT_ALLOW"})],
            "SCMP_ACT_ERRNO"
        ),
        ["remove fchownat from syscalls[0].names"]
    );
    assert_eq!(advice("link", &others, "SCMP_ACT_ERRNO"), [""; 0]);
}

#[test]
fn changes_are_told_as_changes() {
    let deny = |call: &str| {
        let spec = derived_from("audit", &json!({"deny": [call]}));
        let found = lint(&spec, &nothing, &AMD64, "spec").into_iter();
        let mut twins = found.filter(|finding| finding.code == Code::OpenTwin);
        twins.next().unwrap().remedy
    };
    assert_eq!(
        deny("unshare"),
        "add {name: clone3, errno: ENOSYS} to spec.deny, and add {name: clone, args: [{index: 0, op: SCMP_CMP_MASKED_EQ, \
         value: 0x10000000, valueTwo: 0x10000000}]} to spec.deny"
    );
    assert_eq!(
        deny("chmod"),
        "add fchmod and fchmodat to spec.deny, and add {name: fchmodat2, errno: ENOSYS} to spec.deny"
    );
}

/// An allowlist that has what runc needs but one call that is newer than what it names.
fn lacking(call: &str, architectures: &Value) -> Value {
    let needs = crate::Runtime::Runc.needs(Arch::X86_64);
    let needs = needs.iter().map(|call| call.name());
    let names: Vec<_> = needs
        .filter(|name| *name != call)
        .chain(["clone"])
        .collect();
    let clone =
        json!([{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0x7e02_0000, "valueTwo": 0}]);
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": architectures,
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": clone},
        ],
    })
}

fn under(loader: &str, document: &Value) -> Vec<Finding> {
    let loaders = Loaders::only(loader.parse().unwrap());
    let document = parse(document, "").unwrap();
    lint_document_under(loaders, &document, Delivery::AsIs, &AMD64, "")
}

#[test]
fn what_the_piece_of_runc_answers_with_enosys_hides_nothing_there() {
    // `faccessat2` is 439 and the newest; `epoll_pwait2` is 441, and `clone3` 435.
    let stated = lacking("mseal", &json!(["SCMP_ARCH_X86_64"]));
    let unstated = lacking("mseal", &json!([]));
    let hidden = |loader: &str, document: &Value| {
        let found = under(loader, document).into_iter();
        let mut found = found.filter(|finding| finding.code == Code::HidesFallback);
        found.next().map(|finding| finding.reason)
    };
    let answers = |calls: &str| {
        format!(
            "answers {calls} with an error other than ENOSYS, so that programs fail that would use an older call instead, which is allowed"
        )
    };
    assert_eq!(hidden("runc=1.3.6", &stated), Some(answers("clone3")));
    assert_eq!(hidden("runc=1.1.5", &stated), Some(answers("clone3")));
    let all = "clone3 and epoll_pwait2";
    assert_eq!(hidden("runc=1.1.5", &unstated), Some(answers(all)));
    assert_eq!(hidden("crun", &stated), Some(answers(all)));
    assert_eq!(hidden("youki=0.7.0", &stated), Some(answers(all)));
    // To who asks for none it is said where it is so.
    let found = lint_document(&parse(&stated, "").unwrap(), Delivery::AsIs, &AMD64, "");
    let hides = found
        .iter()
        .filter(|finding| finding.code == Code::HidesFallback);
    let hides: Vec<_> = hides
        .map(|finding| (finding.severity, finding.reason.as_str()))
        .collect();
    assert_eq!(
        hides,
        [
            (Severity::Warning, answers("clone3").as_str()),
            (
                Severity::Note,
                format!("under crun and youki, {}", answers("epoll_pwait2")).as_str()
            ),
        ]
    );
}

#[test]
fn what_a_runtime_needs_is_asked_of_that_version() {
    let needs_more = |loader: &str, call: &str, architectures: &Value| {
        let found = under(loader, &lacking(call, architectures)).into_iter();
        let mut found = found.filter(|finding| finding.code == Code::RuntimeNeedsMore);
        found.next().map(|finding| finding.reason)
    };
    let stated = json!(["SCMP_ARCH_X86_64"]);
    let statx = "refuses statx, which runc 1.3.6 itself calls: containers do not start with that";
    assert_eq!(
        needs_more("runc=1.3.6", "statx", &stated).as_deref(),
        Some(statx)
    );
    assert_eq!(needs_more("runc=1.1.5", "statx", &stated), None);
    // With `openat2` (437) named, `faccessat2` (439) is newer than all, and runc falls back where it says ENOSYS itself.
    assert_eq!(needs_more("runc=1.1.5", "faccessat2", &stated), None);
    let faccessat2 = needs_more("runc=1.1.5", "faccessat2", &json!([]));
    assert_eq!(
        faccessat2.as_deref(),
        Some(
            "refuses faccessat2, which runc 1.1.5 without allowPrivilegeEscalation: false itself calls: containers do not start with that"
        )
    );
    assert_eq!(
        needs_more("crun=1.28", "read", &stated).as_deref(),
        Some(
            "refuses pselect6, read, setresgid and setresuid, which crun 1.28 without allowPrivilegeEscalation: false itself calls: \
             containers do not start with that"
        )
    );
}

#[test]
fn a_list_of_what_is_allowed_that_hands_the_rest_to_a_tracer_starts_nothing() {
    let document = json!({
        "defaultAction": "SCMP_ACT_TRACE",
        "syscalls": [{"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}],
    });
    let found = of_document(&document);
    assert_eq!(found[0].code, Code::NoContainerStarts, "{found:#?}");
}

#[test]
fn what_refuses_a_call_that_a_runtime_needs_is_to_go() {
    let spec = derived_from("runtime-default", &json!({"deny": ["statx"]}));
    let found = lint(&spec, &nothing, &AMD64, "spec");
    assert_eq!(found[0].code, Code::RuntimeNeedsMore);
    assert_eq!(found[0].remedy, "remove statx from spec.deny");
    let document = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_KILL"}],
    });
    assert_eq!(
        of_document(&document)[0].remedy,
        "remove execve from syscalls[0].names"
    );
}

/// What is said of one code, of a document on nodes of an architecture.
pub(super) fn said_of(code: Code, document: &Value, arch: Arch) -> Vec<String> {
    let target = Target { arch, ..AMD64 };
    let document = parse(document, "").unwrap();
    let found = lint_document(&document, Delivery::AsIs, &target, "").into_iter();
    let found = found.filter(|finding| finding.code == code);
    found
        .map(|finding| format!("{}; {}", finding.reason, finding.remedy))
        .collect()
}

#[test]
fn what_every_program_needs_is_missed() {
    let list = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["exit_group", "rt_sigreturn"], "action": "SCMP_ACT_ALLOW"}],
    });
    assert_eq!(
        said_of(Code::ProgramsNeedMore, &list, Arch::X86_64),
        [
            "refuses exit and restart_syscall, which every program needs: threads do not end and a sleep fails when the program is \
          stopped and goes on; allow exit, restart_syscall"
        ]
    );
    let denied = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["exit"], "action": "SCMP_ACT_ERRNO"}]});
    let said = said_of(Code::ProgramsNeedMore, &denied, Arch::X86_64);
    assert!(
        said[0].ends_with("; remove exit from syscalls[0].names"),
        "{said:?}"
    );
}

#[test]
fn what_libraries_only_try_is_not_to_kill() {
    let kill = json!({"names": ["rseq", "reboot"], "action": "SCMP_ACT_KILL"});
    let listed = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [kill]});
    let said = said_of(Code::KillsProbe, &listed, Arch::X86_64);
    assert!(
        said[0].ends_with(
            "; remove rseq from syscalls[0].names, and answer rseq with ENOSYS (SCMP_ACT_ERRNO with errnoRet 38)"
        ),
        "{said:?}"
    );
    // runc answers itself what is newer than all that is named.
    let by_default = json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["clone3"], "action": "SCMP_ACT_ALLOW"}]});
    let said = said_of(Code::KillsProbe, &by_default, Arch::X86_64);
    assert!(
        said[0].starts_with("kills programs for io_uring_setup, pidfd_open, rseq and statx,"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("under crun and youki, kills programs for close_range, "),
        "{said:?}"
    );
}

#[test]
fn programs_of_32_bits_try_times_of_64_first() {
    let list = |arches: Value| {
        json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": arches,
        "syscalls": [{"names": ["clock_gettime", "futex", "openat2"], "action": "SCMP_ACT_ALLOW"}]})
    };
    let both = list(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    let said = said_of(Code::Time64Stopped, &both, Arch::X86_64);
    assert!(
        said[0].starts_with("stops clock_gettime64 and futex_time64 of SCMP_ARCH_X86,"),
        "{said:?}"
    );
    assert!(
        said[0].ends_with("; allow clock_gettime64, futex_time64"),
        "{said:?}"
    );
    assert_eq!(
        said_of(Code::Time64Stopped, &list(json!([])), Arch::X86_64),
        [""; 0]
    );
    let arm = said_of(
        Code::Time64Stopped,
        &list(json!(["SCMP_ARCH_ARM"])),
        Arch::Aarch64,
    );
    assert!(arm[0].contains("of SCMP_ARCH_ARM"), "{arm:?}");
}

#[test]
fn a_list_made_on_amd64_lacks_what_arm64_has_instead() {
    let list = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["open", "poll", "stat", "fork", "openat"], "action": "SCMP_ACT_ALLOW"},
    ]});
    assert_eq!(
        said_of(Code::LacksCounterparts, &list, Arch::Aarch64),
        [
            "allows fork, poll and stat, which arm64 nodes do not have, and not clone, ppoll and newfstatat, which programs call there \
          instead; allow clone, ppoll, newfstatat"
        ]
    );
    assert_eq!(
        said_of(Code::LacksCounterparts, &list, Arch::X86_64),
        [""; 0]
    );
    // Of an object both are looked at.
    let document = parse(&list, "").unwrap();
    let found = lint_everywhere(
        &Spec::Document(document),
        &nothing,
        CapabilitySet::RUNTIME_DEFAULT,
        "spec",
    );
    assert!(
        found
            .iter()
            .any(|finding| finding.code == Code::LacksCounterparts)
    );
}

#[test]
fn no_filter_is_made_for_architectures_of_both_byte_orders() {
    let both = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X"],
        "syscalls": [{"names": ["reboot", "io_uring_setup"], "action": "SCMP_ACT_ERRNO"}]});
    let starts_none =
        "libseccomp makes no filter, and no container starts there with any runtime; remove ";
    let said = said_of(Code::NoContainerStarts, &both, Arch::X86_64);
    assert!(
        said[0].contains(starts_none)
            && said[0]
                .starts_with("has SCMP_ARCH_S390X, whose byte order is not that of amd64 nodes"),
        "{said:?}"
    );
    let said = said_of(Code::NoContainerStarts, &both, Arch::S390X);
    assert!(
        said[0].starts_with("has SCMP_ARCH_X86_64, whose"),
        "{said:?}"
    );
    // A node gets its own architectures only where the operator writes.
    assert!(!codes(&of_document(&both)).contains(&("no-container-starts", "error")));
}

#[test]
fn architectures_that_older_runtimes_do_not_know_are_told() {
    let with = |arch: &str| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", arch],
            "syscalls": [{"names": ["reboot", "io_uring_setup"], "action": "SCMP_ACT_ERRNO"}]})
    };
    let said = |arch| said_of(Code::NeedsNewRuntime, &with(arch), Arch::X86_64);
    let start = "SCMP_ARCH_RISCV64: no container starts with runc before 1.2; ";
    assert!(said("SCMP_ARCH_RISCV64")[0].starts_with(start));
    let start = "SCMP_ARCH_LOONGARCH64: no container starts with runc before 1.4.1, nor with a libseccomp before 2.6; ";
    assert!(said("SCMP_ARCH_LOONGARCH64")[0].starts_with(start));
    assert_eq!(said("SCMP_ARCH_AARCH64"), [""; 0]);
}

#[test]
fn what_containerd_makes_of_dockers_format_is_told_as_it_is() {
    let list = |rule: Value, more: &Value| {
        let mut document = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
        for (key, value) in more.as_object().unwrap() {
            document[key] = value.clone();
        }
        let document = parse(&document, "").unwrap();
        let found = lint_document(&document, Delivery::AsIs, &AMD64, "").into_iter();
        let mut found = found.filter(|finding| finding.code == Code::DockerFormat);
        let found = found.next().unwrap();
        (found.severity, found.reason)
    };
    let allow = |more: Value| {
        let mut rule = json!({"names": ["read", "mount"], "action": "SCMP_ACT_ALLOW"});
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        rule
    };
    let map = json!({"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]});
    let none = json!({});
    for (rule, more, severity, effect) in [
        (
            allow(json!({})),
            &map,
            Severity::Warning,
            "what is left allows less: programs of SCMP_ARCH_X86 are killed",
        ),
        (
            allow(json!({"includes": {"caps": ["CAP_SYS_ADMIN"]}})),
            &none,
            Severity::Error,
            "what is left allows more: mount and read",
        ),
        (
            json!({"name": "read", "action": "SCMP_ACT_ALLOW"}),
            &none,
            Severity::Error,
            "what is left is SCMP_ACT_ERRNO(EPERM) for every call",
        ),
        (
            json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errno": "ENOSYS"}),
            &none,
            Severity::Warning,
            "what is left answers clone3 with another error",
        ),
        (
            allow(json!({"includes": {"arches": ["amd64"]}})),
            &none,
            Severity::Note,
            "what is left does the same on such nodes and in such containers",
        ),
    ] {
        let (found, reason) = list(rule, more);
        assert!(reason.contains(effect), "{reason}");
        assert!(
            reason.ends_with("; Docker reads all of it, CRI-O too"),
            "{reason}"
        );
        assert_eq!(found, severity, "{reason}");
    }
    let (_, reason) = list(allow(json!({"includes": {"minKernel": "4.8"}})), &none);
    assert!(reason.ends_with("CRI-O all but minKernel"), "{reason}");
}
