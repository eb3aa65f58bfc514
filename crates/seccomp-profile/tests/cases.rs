//! Cases that other tools got wrong once: unions of profiles, and the order of actions.
//!
//! They come from the folder that `SECCOMP_SHARED_DATA` names, or `../shared/data` beside the workspace.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use seccomp_profile::{
    Action, Arch, CapabilitySet, Errno, KernelVersion, Semantics, Syscall, Target, parse,
};
use serde_json::{Value, json};

fn cases() -> Option<Value> {
    let folder = std::env::var_os("SECCOMP_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join("cases.json");
    if !path.is_file() {
        println!(
            "skipped: {} is not there; SECCOMP_SHARED_DATA can name another place",
            path.display()
        );
        return None;
    }
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// The cases speak of calls by letters.
const LETTERS: [(&str, &str); 9] = [
    ("a", "accept"),
    ("b", "bind"),
    ("c", "connect"),
    ("d", "dup"),
    ("e", "epoll_create"),
    ("f", "flock"),
    ("x", "chmod"),
    ("y", "chown"),
    ("z", "link"),
];

fn name(letter: &str) -> &'static str {
    LETTERS
        .iter()
        .find(|(known, _)| *known == letter)
        .unwrap()
        .1
}

/// What a list of `[letters, action, conditions]` means where all else is denied.
fn semantics(rules: &Value) -> Semantics {
    let rules = rules.as_array().unwrap().iter().map(|rule| {
        let names: Vec<_> = rule[0].as_str().unwrap().split(',').map(name).collect();
        let args = rule[2].as_array().into_iter().flatten();
        let args: Vec<_> = args
            .map(|arg| json!({"index": arg[0], "op": "SCMP_CMP_EQ", "value": arg[1]}))
            .collect();
        let action = format!("SCMP_ACT_{}", rule[1].as_str().unwrap());
        json!({"names": names, "action": action, "args": args})
    });
    let rules: Vec<_> = rules.collect();
    let target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };
    let document = parse(
        &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}),
        "",
    );
    document.unwrap().resolve(&target).semantics().unwrap()
}

fn action(name: &str) -> Action {
    Action::named(&format!("SCMP_ACT_{name}"), None).unwrap()
}

#[test]
fn a_union_is_what_either_allows() {
    let Some(cases) = cases() else { return };
    let cases = cases["union_syscalls"].as_array().unwrap();
    let mut compared = 0;
    for case in cases {
        let union = semantics(&case["base"])
            .union(&semantics(&case["add"]))
            .unwrap();
        let decide = |call: &str, args: [u64; 6]| {
            let decision = union.decision_for(Syscall::named(call).unwrap());
            decision.action_for(&args.into())
        };
        if let Some(want) = case["want"].as_array() {
            for (letter, call) in LETTERS {
                let want = want.iter().find(|want| want[0] == letter);
                let want = want.map_or(Action::Errno(Errno::EPERM), |want| {
                    action(want[1].as_str().unwrap())
                });
                assert_eq!(decide(call, [0; 6]), want, "{case}");
                compared += 1;
            }
        } else {
            // Either condition is enough, and it takes one.
            assert_eq!(case["correct"], "two entries (OR)");
            for (args, allowed) in [
                ([0, 2, 3, 0, 0, 0], true),
                ([0, 2, 0, 0, 0, 0], true),
                ([0, 0, 3, 0, 0, 0], true),
                ([0, 0, 0, 0, 0, 0], false),
            ] {
                assert_eq!(decide("accept", args).is_permitted(), allowed, "{case}");
                compared += 1;
            }
        }
    }
    assert!(compared > 50);
}

#[test]
fn actions_are_ordered_as_the_kernel_orders_them() {
    let Some(cases) = cases() else { return };
    let order = cases["action_order_restrictive_first"].as_array().unwrap();
    let order: Vec<Vec<_>> = order
        .iter()
        .map(|names| names.as_str().unwrap().split('=').map(action).collect())
        .collect();
    assert_eq!(order.len(), 8);
    for same in &order {
        assert!(same.iter().all(|action| action == &same[0]), "{same:?}");
    }
    for (stricter, looser) in order.iter().zip(&order[1..]) {
        assert!(
            stricter[0].leniency() < looser[0].leniency(),
            "{stricter:?} {looser:?}"
        );
        assert_eq!(stricter[0].min(looser[0]), stricter[0]);
    }
}
