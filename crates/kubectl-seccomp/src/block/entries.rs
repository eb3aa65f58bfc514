//! What `spec.deny` of a profile says of a call that is to be refused, so that it is refused whatever else a program passes. Pure.

use serde_json::{Value, json};

use crate::call::Call;
use seccomp_profile::{Arch, Syscall, to_answer_enosys};

/// The type of a socket is in these bits of its argument; those above are `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
pub const SOCKET_TYPE: u64 = 0xf;

/// Arguments that are flags: such a call is refused with whatever other flags. (Of `clone` on s390x it is the second.)
const FLAGS: &[(&str, usize)] = &[
    ("clone", 0),
    ("finit_module", 2),
    ("mmap", 2),
    ("mount", 3),
    ("mprotect", 2),
    ("open", 1),
    ("openat", 2),
    ("perf_event_open", 4),
    ("setns", 1),
    ("umount2", 1),
    ("unlinkat", 2),
    ("unshare", 0),
];

/// The entries for these calls, each once.
pub fn entries(calls: &[Call]) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for entry in calls.iter().flat_map(of_call) {
        if !all.contains(&entry) {
            all.push(entry);
        }
    }
    all
}

fn of_call(call: &Call) -> Vec<Value> {
    let name = call.syscall.name();
    let known = call.args.iter().enumerate();
    let conditions: Vec<_> = known
        .filter_map(|(at, value)| Some(condition(name, at, (*value)?)))
        .collect();
    let mut entry = json!({ "name": name });
    if !conditions.is_empty() {
        entry["args"] = conditions.into();
    }
    if looks_unknown(call.syscall) {
        entry["errno"] = "ENOSYS".into();
    }
    let only_name = entry.as_object().is_some_and(|fields| fields.len() == 1);
    let mut entries = vec![if only_name { name.into() } else { entry }];
    if name == "clone" && call.args[0].is_some() {
        // It takes the same flags from memory, where no filter sees them; C libraries then use `clone`.
        entries.push(json!({ "name": "clone3", "errno": "ENOSYS" }));
    }
    entries
}

fn condition(name: &str, at: usize, value: u64) -> Value {
    let is_flags = value != 0 && FLAGS.contains(&(name, at));
    let mask = match name {
        _ if is_flags => Some(value),
        "socket" | "socketpair" if at == 1 && value <= SOCKET_TYPE => Some(SOCKET_TYPE),
        _ => None,
    };
    match mask {
        Some(mask) => {
            json!({ "index": at, "op": "SCMP_CMP_MASKED_EQ", "value": number(mask), "valueTwo": number(value) })
        }
        None => json!({ "index": at, "op": "SCMP_CMP_EQ", "value": number(value) }),
    }
}

/// API servers round what has more than 63 bits.
pub fn number(value: u64) -> Value {
    match i64::try_from(value) {
        Ok(small) => small.into(),
        Err(_) => format!("{value:#x}").into(),
    }
}

/// Whether programs do without the call if the kernel seems not to have it.
fn looks_unknown(call: Syscall) -> bool {
    let others: Vec<_> = Syscall::all().filter(|other| *other != call).collect();
    to_answer_enosys(&others, &[Arch::X86_64, Arch::Aarch64]).contains(&call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call;

    #[test]
    fn a_call_is_refused_with_whatever_else_is_passed() {
        let of = |texts: &[&str]| {
            let calls: Vec<_> = texts
                .iter()
                .flat_map(|text| call::parse(text).unwrap())
                .collect();
            Value::from(entries(&calls))
        };
        let equal =
            |index: u64, value: u64| json!({"index": index, "op": "SCMP_CMP_EQ", "value": value});
        let masked = |index: u64, mask: u64, value: u64| json!({"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value});
        for (texts, want) in [
            (&["keyctl"][..], json!(["keyctl"])),
            (
                &["@keyring", "keyctl"],
                json!(["add_key", "keyctl", "request_key"]),
            ),
            (
                &["socket(AF_ALG)"],
                json!([{"name": "socket", "args": [equal(0, 38)]}]),
            ),
            // With SOCK_CLOEXEC too.
            (
                &["socket(AF_INET, SOCK_RAW)"],
                json!([{"name": "socket", "args": [equal(0, 2), masked(1, 15, 3)]}]),
            ),
            (
                &["unshare(CLONE_NEWUSER)"],
                json!([{"name": "unshare", "args": [masked(0, 0x1000_0000, 0x1000_0000)]}]),
            ),
            (
                &["clone(CLONE_NEWUSER)"],
                json!([{"name": "clone", "args": [masked(0, 0x1000_0000, 0x1000_0000)]}, {"name": "clone3", "errno": "ENOSYS"}]),
            ),
            // What C libraries try first has to seem unknown.
            (
                &["openat2"],
                json!([{"name": "openat2", "errno": "ENOSYS"}]),
            ),
            (
                &["personality:0xffffffffffffffff"],
                json!([{"name": "personality", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": "0xffffffffffffffff"}]}]),
            ),
        ] {
            assert_eq!(of(texts), want, "{texts:?}");
        }
    }
}
