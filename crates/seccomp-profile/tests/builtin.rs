//! The built-in profiles against what runtimes really apply, for every architecture, call and boundary argument.
//!
//! Those come from the folder that `SECCOMP_SHARED_DATA` names, or `../shared/data` beside the workspace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use seccomp_profile::{
    Action, Arch, Arguments, BUILTINS, Capability, CapabilitySet, DOCKER_DEFAULT, Decision, Errno,
    KernelVersion, MAX_BYTES, Model, Profile, RUNTIME_DEFAULT, RUNTIME_DEFAULT_IS, Syscall, Target,
    builtin, parse, parse_slice,
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
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
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
    for &arch in Arch::ALL {
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
fn runtime_default_of_2_1_is_what_containerd_2_1_gave_to_runc() {
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
        assert!(seen["containerd"].as_str().unwrap().starts_with("2.1."));
        let theirs = parse(&seen["seccomp"], "").unwrap().resolve(&target);
        let ours = builtin("runtime-default/containerd-2.1").unwrap();
        let ours = ours.resolve(&target);
        let written = ours.canonical("").unwrap();
        assert_eq!(ours.architectures(), theirs.architectures());
        same(&written, &theirs);
        println!("{name}: {} decisions compared", same(&ours, &theirs));
    }
}

/// What containerd's history says of its lines, for every architecture.
#[test]
fn the_lines_of_containerd_differ_as_documented() {
    let permits = |line: &str, arch, call: &str, first: u64| {
        let profile = builtin(line).unwrap().resolve(&Target { arch, ..AMD64 });
        let number = Syscall::named(call).unwrap().number(arch)?;
        let action = profile.model().unwrap();
        let action = action.decide(arch, number, &[first, 0, 0, 0, 0, 0].into());
        Some(action.is_permitted())
    };
    for &arch in Arch::ALL {
        for (line, io_uring, linux_6_13, af_alg) in [
            ("runtime-default/containerd-1.7", true, false, false),
            ("runtime-default/containerd-2.0", false, false, false),
            ("runtime-default/containerd-2.1", false, false, true),
            ("runtime-default/containerd-2.2", false, true, false),
            ("runtime-default/containerd-2.3", false, true, false),
            ("runtime-default/containerd-2.4", false, true, false),
        ] {
            for (call, first, permitted) in [
                ("io_uring_setup", 0, io_uring),
                ("io_uring_enter", 0, io_uring),
                ("io_uring_register", 0, io_uring),
                ("mseal", 0, linux_6_13),
                ("statmount", 0, linux_6_13),
                ("setxattrat", 0, linux_6_13),
                ("lsm_get_self_attr", 0, linux_6_13),
                ("socket", 37, true),
                ("socket", 38, af_alg),
                ("socket", 39, true),
                ("socket", 40, false),
                ("socket", 41, true),
                ("socket", 45, true),
                ("socket", 46, !line.ends_with("2.4")),
                ("openat", 0, true),
                ("unshare", 0, false),
                ("keyctl", 0, false),
                ("clone3", 0, false),
            ] {
                if let Some(real) = permits(line, arch, call, first) {
                    assert_eq!(real, permitted, "{line} {arch} {call} {first}");
                }
            }
        }
        let resolved = |name| builtin(name).unwrap().resolve(&Target { arch, ..AMD64 });
        assert_eq!(resolved(RUNTIME_DEFAULT), resolved(RUNTIME_DEFAULT_IS));
    }
}

/// As the kernel answered in a container of CRI-O 1.34.0 with runc 1.5.3: of two rules for one call the first counts.
#[test]
fn what_cri_o_applies_is_what_its_containers_were_found_to_get() {
    let usual = CapabilitySet::from_bits(0x5fb);
    let with = |name: &str| usual.with(Capability::named(name).unwrap());
    let (eperm, enosys) = (Action::Errno(Errno::EPERM), Action::Errno(Errno::ENOSYS));
    let line = builtin("runtime-default/cri-o-1.34").unwrap();
    for (capabilities, call, first, action) in [
        (usual, "mount", 0, Action::Allow),
        (usual, "keyctl", 0, Action::Allow),
        (usual, "setns", 0, Action::Allow),
        (usual, "chroot", 0, eperm),
        (usual, "unshare", 0, enosys),
        (usual, "io_uring_setup", 0, enosys),
        (usual, "vmsplice", 0, eperm),
        (usual, "socket", 38, Action::Allow),
        (usual, "socket", 40, Action::Allow),
        (usual, "clone", 0x11, Action::Allow),
        (usual, "clone", 0x1000_0000, eperm),
        (usual, "clone3", 0, enosys),
        (usual, "perf_event_open", 0, eperm),
        (with("CAP_PERFMON"), "perf_event_open", 0, eperm),
        (with("CAP_SYS_ADMIN"), "perf_event_open", 0, enosys),
        (with("CAP_BPF"), "bpf", 0, Action::Allow),
        (with("CAP_SYS_ADMIN"), "unshare", 0, Action::Allow),
        (with("CAP_SYS_ADMIN"), "clone", 0x1000_0000, Action::Allow),
    ] {
        let target = Target {
            capabilities,
            ..AMD64
        };
        let model = line.resolve(&target).model().unwrap();
        let number = Syscall::named(call).unwrap().number(Arch::X86_64).unwrap();
        let args = [first, 0, 0, 0, 0, 0].into();
        let decided = model.decide_under_runc(Arch::X86_64, number, &args);
        assert_eq!(decided, action, "{call} {first:#x} {capabilities:?}");
    }
}

#[test]
fn audit_lets_everything_through_on_every_architecture_that_comes_with_the_native_one() {
    for &arch in Arch::ALL {
        let profile = builtin("audit").unwrap().resolve(&Target { arch, ..AMD64 });
        let model = profile.model().unwrap();
        for caller in profile.architectures().iter() {
            for call in Syscall::all().filter_map(|call| call.number(caller)) {
                assert_eq!(
                    model.decide_under_runc(caller, call, &Arguments::ZEROS),
                    Action::Log
                );
            }
        }
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
        for &arch in Arch::ALL {
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
    for &name in BUILTINS {
        for &arch in Arch::ALL {
            let profile = builtin(name).unwrap().resolve(&Target { arch, ..AMD64 });
            assert!(profile.canonical("").is_ok(), "{name} {arch}");
        }
    }
    assert!(builtin("unconfined").is_none());
}

#[test]
fn what_is_written_stays_as_it_is_and_within_what_runtimes_take_from_registries() {
    for &name in BUILTINS {
        for (arch, capabilities) in Arch::ALL.iter().flat_map(|&arch| {
            [
                CapabilitySet::EMPTY,
                CapabilitySet::RUNTIME_DEFAULT,
                CapabilitySet::from_bits(u64::MAX),
            ]
            .map(|capabilities| (arch, capabilities))
        }) {
            let target = Target {
                arch,
                capabilities,
                ..AMD64
            };
            let written = builtin(name)
                .unwrap()
                .resolve(&target)
                .canonical("")
                .unwrap();
            let bytes = written.to_canonical_json();
            let again = parse_slice(&bytes, "").unwrap().resolve(&target);
            let again = again.canonical("").unwrap();
            assert_eq!(again.to_canonical_json(), bytes, "{name} {arch}");
            // KEP-6061: 128 rules, 1 MiB, no listener.
            assert!(
                written.rules().len() <= 128 && bytes.len() < MAX_BYTES,
                "{name} {arch}"
            );
            assert_eq!(written.listener(), None);
        }
    }
}
