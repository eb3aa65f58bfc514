//! The built-in profiles against what runtimes really apply, for every architecture, call and boundary argument.
//!
//! Those come from the folder that `SECCOMP_SHARED_DATA` names, or `../shared/data` beside the workspace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use seccomp_operator::profile::{
    Arch, BUILTINS, Capability, CapabilitySet, DOCKER_DEFAULT, Decision, KernelVersion, Model,
    Profile, RUNTIME_DEFAULT, Syscall, Target, builtin, parse,
};
use serde_json::Value;

const AMD64: Target = Target {
    arch: Arch::X86_64,
    kernel: KernelVersion {
        major: 6,
        minor: 18,
    },
    capabilities: CapabilitySet::RUNTIME_DEFAULT,
};

fn shared_data(name: &str) -> Option<Value> {
    let folder = std::env::var_os("SECCOMP_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if !path.is_file() {
        println!(
            "skipped: {} is not there; SECCOMP_SHARED_DATA can name another place",
            path.display()
        );
        return None;
    }
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// Compares all decisions under runc, its answer to unknown calls included; returns how many there were.
fn same(ours: &Profile, theirs: &Profile) -> usize {
    let (ours, theirs) = (ours.model().unwrap(), theirs.model().unwrap());
    assert_eq!(ours.difference(&theirs), None);
    let boundaries = |model: &Model| -> Vec<_> {
        model
            .calls()
            .flat_map(|(_, _, decision): (_, _, &Decision)| {
                decision.boundaries().collect::<Vec<_>>()
            })
            .collect()
    };
    let mut args = boundaries(&ours);
    args.extend(boundaries(&theirs));
    args.sort_unstable();
    args.dedup();
    let mut compared = 0;
    for arch in Arch::ALL {
        let numbers = Syscall::all().filter_map(|call| call.number(arch));
        for number in numbers.chain([0xfff, 0x4000_0fff]) {
            for args in &args {
                let of = |model: &Model| model.decide_under_runc(arch, number, args);
                assert_eq!(of(&ours), of(&theirs), "{arch} {number} {args:x?}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn runtime_default_is_what_containerd_gave_to_runc() {
    for name in [
        "runtime-default/default.json",
        "runtime-default/sysadmin.json",
    ] {
        let Some(seen) = shared_data(name) else {
            return;
        };
        let capabilities = seen["bounding"].as_array().unwrap().iter();
        let target = Target {
            capabilities: capabilities
                .map(|name| Capability::named(name.as_str().unwrap()).unwrap())
                .collect(),
            ..AMD64
        };
        let theirs = parse(&seen["seccomp"], "").unwrap().resolve(&target);
        let ours = builtin(RUNTIME_DEFAULT).unwrap().resolve(&target);
        println!("{name}: {} decisions compared", same(&ours, &theirs));
    }
}

#[test]
fn docker_default_is_dockers_for_every_architecture_kernel_and_capability() {
    let Some(document) = shared_data("moby-default.json") else {
        return;
    };
    let (theirs, ours) = (
        parse(&document, "").unwrap(),
        builtin(DOCKER_DEFAULT).unwrap(),
    );
    let mut compared = 0;
    let sets = (0..=41).map(|n| CapabilitySet::from_bits(if n == 41 { u64::MAX } else { 1 << n }));
    for capabilities in sets.chain([CapabilitySet::EMPTY, CapabilitySet::RUNTIME_DEFAULT]) {
        for arch in Arch::ALL {
            for major in [4, 6] {
                let kernel = KernelVersion { major, minor: 4 };
                let target = Target {
                    arch,
                    kernel,
                    capabilities,
                };
                let (ours, theirs) = (ours.resolve(&target), theirs.resolve(&target));
                assert_eq!(ours.architectures(), theirs.architectures());
                assert_eq!(
                    ours.model().unwrap().difference(&theirs.model().unwrap()),
                    None,
                    "{target:?}"
                );
                if capabilities == CapabilitySet::RUNTIME_DEFAULT {
                    compared += same(&ours, &theirs);
                }
            }
        }
    }
    println!("{compared} decisions compared");
}

#[test]
fn all_can_be_written_for_every_architecture() {
    for name in BUILTINS {
        for arch in Arch::ALL {
            let profile = builtin(name).unwrap().resolve(&Target { arch, ..AMD64 });
            assert!(profile.canonical("").is_ok(), "{name} {arch}");
        }
    }
    assert!(builtin("unconfined").is_none());
}
