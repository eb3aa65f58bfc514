//! Files under which container runtimes start a container without any filter, or with less of one than the author wrote,
//! and say nothing: each is refused, with its place, the reason and the remedy.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use seccomp_profile::{
    Arch, BUILTINS, CapabilitySet, Code, Delivery, KernelVersion, Target, builtin, lint_document,
    parse_slice,
};

const AMD64: Target = Target {
    arch: Arch::X86_64,
    kernel: KernelVersion {
        major: 6,
        minor: 12,
    },
    capabilities: CapabilitySet::RUNTIME_DEFAULT,
};

/// What is wrong, the file, the path of the problem, its reason and its remedy (their beginnings).
type Case = (
    &'static str,
    &'static [u8],
    &'static str,
    &'static str,
    &'static str,
);

const UNCONFINED: &str =
    "is missing, and without it container runtimes run the container unconfined";
const NO_CALL: &str = "is not a system call on any architecture, and runtimes ignore it";

const CASES: [Case; 23] = [
    ("an empty object", b"{}", "p.defaultAction", UNCONFINED, "write one of SCMP_ACT_ALLOW, "),
    ("null", b"null", "p", "is null, not an object", "write a seccomp profile"),
    ("an empty file", b"", "p", "cannot be read: EOF", "write one JSON object"),
    ("a file of zeroes, as a crash can leave it", &[0; 512], "p", "cannot be read: expected value", "write one JSON object"),
    ("a list", b"[]", "p", "is a list, not an object", "write a seccomp profile"),
    ("a string", b"\"SCMP_ACT_LOG\"", "p", "is a string, not an object", "write a seccomp profile"),
    (
        "a manifest pasted as a profile",
        br#"{"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "x"}, "spec": {"profile": {"defaultAction": "SCMP_ACT_ERRNO"}}}"#,
        "p.apiVersion",
        "is a field of a Kubernetes object, not of a seccomp profile; a runtime would drop it and run the container unconfined",
        "put here only the object that holds defaultAction and syscalls",
    ),
    (
        "the spec of a manifest",
        br#"{"spec": {"defaultAction": "SCMP_ACT_ERRNO"}}"#,
        "p.spec",
        "is a field of a Kubernetes object, ",
        "put here only the object",
    ),
    (
        "fields that are no rules, and no default",
        br#"{"architectures": ["SCMP_ARCH_X86_64"], "flags": []}"#,
        "p.defaultAction",
        UNCONFINED,
        "write one of ",
    ),
    ("an empty default", br#"{"defaultAction": ""}"#, "p.defaultAction", UNCONFINED, "write one of "),
    ("a default of null", br#"{"defaultAction": null}"#, "p.defaultAction", UNCONFINED, "write one of "),
    (
        "rules without a default",
        br#"{"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}"#,
        "p.defaultAction",
        UNCONFINED,
        "write one of ",
    ),
    (
        "the default in the wrong case, which Go reads and others do not",
        br#"{"DefaultAction": "SCMP_ACT_ERRNO"}"#,
        "p.DefaultAction",
        "is in the wrong case: some runtimes read it all the same, others do not",
        "write \"defaultAction\"",
    ),
    (
        "a misspelt field",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "sycalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}"#,
        "p.sycalls",
        "is not a field here, and runtimes drop it without a word",
        "write \"syscalls\"",
    ),
    (
        "a field twice, of which readers take either",
        br#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultAction": "SCMP_ACT_ALLOW"}"#,
        "p",
        "cannot be read: field `defaultAction` is there twice",
        "write one JSON object",
    ),
    (
        "Docker's old single name with a short action",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "mkdir", "action": "ERRNO"}]}"#,
        "p.syscalls[0].action",
        "\"ERRNO\" is not an action",
        "write \"SCMP_ACT_ERRNO\"",
    ),
    (
        "a rule without names",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO"}]}"#,
        "p.syscalls[0].names",
        "names no system call, so that the rule does nothing",
        "name the calls, or remove the rule",
    ),
    (
        "a misspelt call in a list of denials",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["unshrae"], "action": "SCMP_ACT_ERRNO"}]}"#,
        "p.syscalls[0].names[0]",
        NO_CALL,
        "write \"unshare\"",
    ),
    (
        "a call in upper case",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["UNSHARE"], "action": "SCMP_ACT_ERRNO"}]}"#,
        "p.syscalls[0].names[0]",
        NO_CALL,
        "write \"unshare\"",
    ),
    (
        "a call that does not exist",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["frobnicate"], "action": "SCMP_ACT_ERRNO"}]}"#,
        "p.syscalls[0].names[0]",
        NO_CALL,
        "check its spelling, or remove it",
    ),
    (
        "a call with an argument's index left out, which is 0 to runtimes",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"op": "SCMP_CMP_EQ", "value": 38}]}]}"#,
        "p.syscalls[0].args[0].index",
        "is missing, and runtimes would take the first argument",
        "write 0 to 5",
    ),
    (
        "an error that libseccomp does not take",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095}]}"#,
        "p.syscalls[0].errnoRet",
        "4095 is not an error number",
        "write a whole number from 1 to 4094",
    ),
    (
        "two documents",
        br#"{"defaultAction": "SCMP_ACT_ERRNO"}{"defaultAction": "SCMP_ACT_ALLOW"}"#,
        "p",
        "cannot be read: trailing characters",
        "write one JSON object",
    ),
];

#[test]
fn what_leaves_a_container_open_without_a_word_is_refused() {
    for (what, file, path, reason, remedy) in CASES {
        // Some of them have more than one thing wrong.
        let problems = parse_slice(file, "p").map(|_| ()).expect_err(what);
        let found = problems.iter().any(|problem| {
            problem.path == path
                && (problem.reason.starts_with(reason) || problem.reason.ends_with(reason))
                && problem.remedy.starts_with(remedy)
        });
        assert!(found, "{what}: {problems}");
    }
}

/// A file that is read while somebody writes it, or that was written halfway.
#[test]
fn no_beginning_of_a_profile_passes_for_a_profile() {
    for &name in BUILTINS {
        let whole = builtin(name).unwrap().resolve(&AMD64).to_canonical_json();
        let text = whole.trim_ascii_end();
        assert!(parse_slice(text, "p").is_ok());
        // All ends of a short one, and many of a long one.
        for end in (0..text.len()).step_by(1 + text.len() / 200) {
            let problems = parse_slice(&text[..end], "p").expect_err(name);
            assert!(problems.to_string().starts_with("p: cannot be read: "));
        }
    }
}

/// What is no mistake on every runtime is read, and said.
#[test]
fn what_some_runtimes_lose_is_found_by_lint() {
    let findings = |file: &[u8]| -> Vec<_> {
        let document = parse_slice(file, "").unwrap();
        let findings = lint_document(&document, Delivery::AsIs, &AMD64, "");
        findings.iter().map(|finding| finding.code).collect()
    };
    // containerd drops the rule.
    let single = br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "mkdir", "action": "SCMP_ACT_ERRNO"}]}"#;
    assert!(findings(single).contains(&Code::DockerFormat));
    // cri-dockerd takes Docker's default instead.
    let only_default = br#"{"defaultAction": "SCMP_ACT_LOG"}"#;
    assert!(findings(only_default).contains(&Code::StopsNothing));
    // An older libseccomp does not know the call.
    let new = br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mseal"], "action": "SCMP_ACT_ERRNO"}]}"#;
    assert!(findings(new).contains(&Code::UnknownToOlderRuntimes));
}
