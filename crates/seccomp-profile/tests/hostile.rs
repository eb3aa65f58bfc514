//! Documents made to take long: the largest there can be, with the most of everything that costs time. Each is either read
//! and written, or refused with a sentence; the work for each has a bound, in sizes and steps that the engine counts.
//!
//! How long each takes is printed (`--nocapture`, and `--release` for true figures), and asserted nowhere: machines differ.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    missing_docs
)]

use std::time::Instant;

use seccomp_profile::{
    Arch, CapabilitySet, Delivery, KernelVersion, MAX_BYTES, Syscall, Target, lint_document,
    parse_slice,
};
use serde_json::{Value, json};

/// Where an answer comes from, and how it begins.
enum Answer {
    /// The reader refuses it.
    Unread(&'static str),
    /// It is read, and what it means is not written.
    Unwritten(&'static str),
    /// What is read is written.
    Written,
    /// It is read. Whether it is too complex to be written, libseccomp and the engine's bounds say.
    Read,
}

use Answer::{Read, Unread, Unwritten, Written};

const TOO_MANY: &str =
    "there are more than 4096 conditions up to here, more than the kernel loads; ";
const TOO_COMPLEX: &str = "has more than about 500 conditions on one call, ";

fn document(syscalls: impl Into<Value>) -> Vec<u8> {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "syscalls": syscalls.into(),
    })
    .to_string()
    .into_bytes()
}

fn rules(many: usize, rule: impl Fn(usize) -> Value) -> Vec<u8> {
    document((0..many).map(rule).collect::<Vec<_>>())
}

fn rule(names: &[&str], args: Value) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ERRNO", "args": args})
}

fn equal(value: usize) -> Value {
    json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": value}])
}

fn mask(index: usize, bits: u64) -> Value {
    json!({"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": bits, "valueTwo": bits})
}

/// Calls that all of the architectures have.
fn names() -> Vec<&'static str> {
    let everywhere = |call: &Syscall| {
        [Arch::X86, Arch::X86_64, Arch::X32]
            .iter()
            .all(|arch| call.number(*arch).is_some())
    };
    Syscall::all()
        .filter(everywhere)
        .map(Syscall::name)
        .collect()
}

#[allow(clippy::too_many_lines)] // a table
fn documents() -> Vec<(&'static str, Vec<u8>, Answer)> {
    let names = names();
    let all: Vec<_> = Syscall::all().map(Syscall::name).collect();
    let text = |text: &str| format!(r#"{{"defaultAction": "SCMP_ACT_LOG", {text}}}"#).into_bytes();
    let value = |value: &str| {
        text(&format!(
            r#""syscalls": [{{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{{"index": 0, "op": "SCMP_CMP_EQ", "value": {value}}}]}}]"#
        ))
    };
    vec![
        (
            "too long",
            vec![b' '; MAX_BYTES + 1],
            Unread("is 1048577 bytes long, more than 1048576; "),
        ),
        (
            "nothing but spaces",
            vec![b' '; MAX_BYTES],
            Unread("cannot be read: EOF"),
        ),
        (
            "deep lists",
            "[".repeat(MAX_BYTES).into_bytes(),
            Unread("cannot be read: recursion limit exceeded"),
        ),
        (
            "deep objects",
            "{\"a\":".repeat(MAX_BYTES / 5).into_bytes(),
            Unread("cannot be read: recursion limit exceeded"),
        ),
        (
            "deep in a rule",
            text(&format!(
                r#""syscalls": [{{"names": {}"#,
                "[".repeat(500_000)
            )),
            Unread("cannot be read: recursion limit exceeded"),
        ),
        (
            "a hundred thousand names that are none",
            document([rule(&vec!["clock_gettimf"; 60_000], json!([]))]),
            Unread("syscalls[0].names[0]: \"clock_gettimf\" is not a system call"),
        ),
        (
            "a hundred thousand names",
            document([rule(&vec!["read"; 100_000], json!([]))]),
            Written,
        ),
        (
            "a name without end",
            document([rule(&["x".repeat(1_000_000).as_str()], json!([]))]),
            Unread("syscalls[0].names[0]: \"xxxxxxxxxx"),
        ),
        (
            "a field without end",
            text(&format!("\"{}\": 1", "x".repeat(1_000_000))),
            Unread("\"xxxxxxxxxx"),
        ),
        (
            "very many fields",
            text(
                &(0..70_000)
                    .map(|n| format!("\"f{n}\": 1"))
                    .collect::<Vec<_>>()
                    .join(","),
            ),
            Unread("f0: is not a field here"),
        ),
        (
            "very many flags",
            text(&format!(
                "\"flags\": {:?}",
                vec!["SECCOMP_FILTER_FLAG_LOG"; 30_000]
            )),
            Written,
        ),
        (
            "very many architectures",
            text(&format!(
                "\"architectures\": {:?}",
                vec!["SCMP_ARCH_X86"; 50_000]
            )),
            Written,
        ),
        (
            "very many maps of architectures",
            text(&format!(
                "\"archMap\": [{}]",
                vec![r#"{"architecture":"SCMP_ARCH_X86"}"#; 30_000].join(",")
            )),
            Written,
        ),
        (
            "a listener without end",
            text(&format!("\"listenerPath\": \"/{}\"", "x".repeat(1_000_000))),
            Written,
        ),
        (
            "very many rules without conditions",
            rules(15_000, |n| rule(&[names[n % names.len()]], json!([]))),
            Written,
        ),
        (
            "all calls in very many rules",
            rules(160, |_| rule(&all, json!([]))),
            Written,
        ),
        (
            "very many rules with conditions",
            rules(9_000, |n| rule(&["read"], equal(n))),
            Unread(TOO_MANY),
        ),
        (
            "as many rules with conditions as there can be",
            rules(4_096, |n| rule(&["read"], equal(n))),
            Unwritten(TOO_COMPLEX),
        ),
        (
            "the same rule with a condition again and again",
            rules(4_096, |_| rule(&["read"], equal(1))),
            Unread("syscalls[64]: is rule 65 for read with the same conditions; "),
        ),
        (
            "contradictions",
            rules(
                4_096,
                |n| json!({"names": ["read"], "action": if n % 2 == 0 { "SCMP_ACT_LOG" } else { "SCMP_ACT_TRAP" }, "args": equal(1)}),
            ),
            Unread(
                "syscalls[1]: gives read another action than syscalls[0] under the same condition",
            ),
        ),
        (
            "one rule with very many conditions",
            document([rule(
                &["read"],
                Value::Array((0..15_000).map(|n| equal(n)[0].clone()).collect()),
            )]),
            Unread(TOO_MANY),
        ),
        (
            "500 numbers on one call",
            rules(500, |n| rule(&["read"], equal(2 * n))),
            Written,
        ),
        (
            "masks of all kinds on one call",
            rules(2_000, |n| {
                rule(&["read"], json!([mask(n % 6, 3 << (n % 61))]))
            }),
            Read,
        ),
        (
            "masks of six arguments on one call",
            rules(680, |n| {
                rule(
                    &["read"],
                    Value::Array(
                        (0..6)
                            .map(|arg| mask(arg, 5 << ((n + 7 * arg) % 60)))
                            .collect(),
                    ),
                )
            }),
            Read,
        ),
        (
            "a few masks on each of hundreds of calls",
            rules(4_000, |n| {
                rule(
                    &[names[n / 10 % names.len()]],
                    json!([mask(n % 2, 1 << (n % 10))]),
                )
            }),
            Read,
        ),
        (
            "a few ranges on each of hundreds of calls",
            rules(4_000, |n| {
                rule(
                    &[names[n / 10 % names.len()]],
                    json!([{"index": n % 6, "op": "SCMP_CMP_GE", "value": n % 10}]),
                )
            }),
            Read,
        ),
        (
            "inequalities of six arguments on all calls",
            document([rule(
                &names,
                Value::Array(
                    (0..6)
                        .map(|arg| json!({"index": arg, "op": "SCMP_CMP_NE", "value": 7}))
                        .collect(),
                ),
            )]),
            Read,
        ),
        (
            "ranges that need many masks",
            rules(60, |n| {
                json!({"names": [names[n]], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "op": "SCMP_CMP_GT", "value": 1}, {"index": 0, "op": "SCMP_CMP_LT", "value": u64::MAX - 1}]})
            }),
            Written,
        ),
        (
            "a number that overflows",
            value("1e400"),
            Unread("cannot be read: number out of range"),
        ),
        (
            "a number with a large exponent",
            value("1e308"),
            Unread("syscalls[0].args[0].value: 1e+308 is a floating-point number"),
        ),
        (
            "a number with a vast exponent",
            value("0e999999999999999999"),
            Unread("syscalls[0].args[0].value: 0.0 is a floating-point number"),
        ),
        (
            "minus zero",
            value("-0"),
            Unread("syscalls[0].args[0].value: -0.0 is a floating-point number"),
        ),
        (
            "two to the 64th",
            value("18446744073709551616"),
            Unread("syscalls[0].args[0].value: 1.8446744073709552e+19 is a floating-point number"),
        ),
        (
            "a number without end",
            value(&"9".repeat(1_000_000)),
            Unread("cannot be read: number out of range"),
        ),
        (
            "a fraction without end",
            value(&format!("0.{}", "1".repeat(1_000_000))),
            Unread("syscalls[0].args[0].value: 0.11111"),
        ),
        (
            "digits without end",
            value(&format!("\"{}\"", "9".repeat(1_000_000))),
            Unread("syscalls[0].args[0].value: \"9999999999"),
        ),
        (
            "zeroes without end",
            value(&format!("\"{}1\"", "0".repeat(1_000_000))),
            Written,
        ),
    ]
}

/// As [`Answer`], with what was said.
enum Given {
    Unread(String),
    Unwritten(String),
    Written,
}

/// All that is done with a document between `kubectl apply` and a node's file.
fn whole_way(bytes: &[u8]) -> Given {
    let document = match parse_slice(bytes, "") {
        Ok(document) => document,
        Err(problems) => return Given::Unread(problems.to_string()),
    };
    let target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };
    let _ = lint_document(&document, Delivery::Rendered, &target, "");
    match document.resolve(&target).canonical("") {
        Ok(profile) => {
            let written = profile.to_canonical_json();
            assert!(written.len() <= MAX_BYTES + 4096, "{}", written.len());
            Given::Written
        }
        Err(problems) => Given::Unwritten(problems.to_string()),
    }
}

#[test]
fn every_hostile_document_is_answered() {
    let mut wrong = Vec::new();
    for (what, bytes, expected) in documents() {
        let begin = Instant::now();
        let answer = whole_way(&bytes);
        let time = begin.elapsed();
        let (how, said) = match &answer {
            Given::Written => ("written", ""),
            Given::Unread(said) => ("unread", said.as_str()),
            Given::Unwritten(said) => ("unwritten", said.as_str()),
        };
        let right = match (&answer, &expected) {
            (Given::Written, Written | Read) => true,
            (Given::Unwritten(said), Read) => said.contains("; "),
            (Given::Unread(said), Unread(start)) | (Given::Unwritten(said), Unwritten(start)) => {
                said.contains(start)
            }
            _ => false,
        };
        let said = said.chars().take(100).collect::<String>();
        println!(
            "{time:>10.1?}  {:>9} bytes  {what}: {how} {said}",
            bytes.len()
        );
        assert!(bytes.len() <= MAX_BYTES + 1, "{what}");
        if !right {
            wrong.push(format!("{what}: {how} {said}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
}
