//! The model against libseccomp itself: profiles are compiled by the library as runc does it, its BPF is interpreted, and
//! both must say the same for every architecture, call, and arguments around the bounds of every condition. And against the
//! kernel: see `kernel`.
//!
//! Real profiles come from the folder that `SECCOMP_SHARED_DATA` names, or `../shared/data` beside the workspace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use libseccomp::ScmpSyscall;
use proptest::prelude::*;
use seccomp_profile::{
    Arch, CapabilitySet, Delta, KernelVersion, MAX_INSTRUCTIONS, Profile, RUNTIME_DEFAULT, Rule,
    Spec, Syscall, Target, compose, parse, parse_slice,
};
use serde_json::{Value, json};

mod bpf;
mod compile;
mod generate;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod shapes;

use bpf::Program;
use compile::{compile, is_known, is_known_on};
use generate::{Shape, actions, arguments, numbers, on_random_profiles};

/// The calls that the library at hand knows as the table does: it may be older, and leaves out what it does not know.
fn known_calls() -> Vec<Syscall> {
    Syscall::all()
        .filter(|call| is_known_anywhere(*call))
        .collect()
}

fn is_known_anywhere(call: Syscall) -> bool {
    ScmpSyscall::from_name(call.name()).is_ok()
}

/// Compares all decisions; returns how many there were.
fn agree(
    profile: &Profile,
    calls: &[Syscall],
    tree: bool,
    native: Arch,
) -> Result<usize, TestCaseError> {
    let Ok(model) = profile.model() else {
        return Ok(0);
    };
    let program = match compile(profile, native, tree) {
        Ok(instructions) => {
            let (made, predicted) = (instructions.len() / 8, profile.instructions());
            // Of calls that the library does not know it makes nothing.
            let all = profile.rules().iter().flat_map(Rule::syscalls);
            let is_whole = all.copied().all(is_known_anywhere);
            prop_assert!(
                made <= *predicted.end() && (!is_whole || made >= *predicted.start()),
                "{} instructions, and not {:?}",
                made,
                predicted
            );
            Program::read(&instructions, native)
        }
        Err(error) => {
            prop_assert!(!model.flaws().is_empty(), "{}", error);
            return Ok(0);
        }
    };
    if !program.is_sound() {
        return Ok(0);
    }
    let arguments = arguments(profile);
    let looks = model
        .calls()
        .filter(|(_, _, decision)| decision.constant().is_none());
    let looks: BTreeSet<_> = looks.map(|(arch, number, _)| (arch, number)).collect();
    let mut compared = 0;
    for arch in Arch::ALL.iter().copied().filter(|arch| is_known(*arch)) {
        // What is wrong with one call can be shared with others.
        if model.flaws().iter().any(|flaw| flaw.arch() == arch) {
            continue;
        }
        let numbers = calls.iter().filter_map(|call| {
            call.number(arch)
                .filter(|number| is_known_on(*call, arch, *number))
        });
        let mut numbers: Vec<_> = numbers.collect();
        numbers.extend([
            9_999,
            if arch == Arch::X32 {
                0x4000_0fff
            } else {
                0x0fff_ffff
            },
        ]);
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            // Of hundreds of calls at which arguments are not looked at, a few arguments each are enough to see that.
            let many = calls.len() > POOL.len() && !looks.contains(&(arch, number));
            let step = if many { 16 } else { 1 };
            for args in arguments.iter().step_by(step) {
                let (ours, real) = (
                    model.decide(arch, number, args),
                    program.run(arch, number, args),
                );
                prop_assert_eq!(
                    ours,
                    real,
                    "{} {:?} {:x?}",
                    arch,
                    Syscall::numbered(arch, number),
                    args
                );
                compared += 1;
            }
        }
    }
    Ok(compared)
}

fn target(arch: Arch) -> Target {
    Target {
        arch,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    }
}

/// Plain calls, some that not every architecture has, and some that are made through another.
const POOL: [&str; 10] = [
    "read",
    "socket",
    "socketcall",
    "bind",
    "semop",
    "ipc",
    "clone",
    "personality",
    "openat",
    "chown32",
];

/// Profiles of all byte orders.
fn everywhere() -> Shape {
    let natives = [
        Arch::X86_64,
        Arch::Aarch64,
        Arch::S390X,
        Arch::Ppc64Le,
        Arch::Mips64,
    ];
    Shape {
        calls: &POOL,
        actions: actions(),
        natives: natives.map(|native| (native, Arch::ALL.to_vec())).to_vec(),
        max_rules: 4,
        numbers: numbers(),
    }
}

/// Three calls that compare with the same few numbers, so that libseccomp runs pieces of code of one for another.
fn sharing() -> Shape {
    Shape {
        calls: &["read", "bind", "openat"],
        actions: vec![
            json!({"action": "SCMP_ACT_ALLOW"}),
            json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 1}),
        ],
        natives: [Arch::X86_64, Arch::S390X]
            .map(|native| (native, vec![Arch::X86, Arch::X32, Arch::S390]))
            .to_vec(),
        max_rules: 7,
        numbers: vec![0, 1, 5, 1 << 32, (1 << 32) + 5],
    }
}

fn pool() -> Vec<Syscall> {
    POOL.into_iter()
        .map(|name| Syscall::named(name).unwrap())
        .collect()
}

#[test]
fn random_profiles_do_what_the_model_says() {
    let compared = on_random_profiles(&everywhere(), 256, |profile, arch, tree| {
        agree(profile, &pool(), tree, arch)
    });
    println!("{compared} decisions compared with libseccomp");
}

#[test]
fn calls_that_share_code_do_what_the_model_says() {
    let compared = on_random_profiles(&sharing(), 256, |profile, arch, tree| {
        agree(profile, &pool(), tree, arch)
    });
    println!("{compared} decisions compared with libseccomp");
}

#[test]
fn what_the_engine_writes_of_random_profiles_does_what_they_mean() {
    let compared = on_random_profiles(&everywhere(), 256, |profile, arch, tree| {
        let Ok(written) = profile.canonical("") else {
            return Ok(0);
        };
        let bytes = written.to_canonical_json();
        let again = parse_slice(&bytes, "").unwrap().resolve(&target(arch));
        prop_assert_eq!(&again, &written);
        prop_assert_eq!(again.to_canonical_json(), bytes);
        prop_assert_eq!(again.canonical(""), Ok(written.clone()));
        let model = profile.model().unwrap();
        if model.flaws().is_empty() {
            prop_assert_eq!(model.difference(&written.model().unwrap()), None);
        }
        agree(&written, &pool(), tree, arch)
    });
    println!("{compared} decisions compared with libseccomp");
}

/// How many instructions large profiles have: hundreds of calls, with and without conditions.
#[test]
fn the_number_of_instructions_is_within_what_is_predicted() {
    let ops = ["EQ", "NE", "GT"];
    let calls = known_calls().into_iter();
    let calls = calls.filter(|call| call.number(Arch::X86_64).is_some());
    let calls: Vec<_> = calls.map(Syscall::name).collect();
    let mut margin = (1.0_f64, 1.0_f64);
    for number in [10, 60, 200] {
        for (conditions, others) in [(0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (5, 0), (8, 1)] {
            // Compiling takes time that grows with the square.
            let number = if conditions > 2 {
                number.min(60)
            } else {
                number
            };
            let rules = calls.iter().take(number).enumerate().flat_map(|(i, call)| {
                (0..conditions.max(1)).map(move |k| {
                    let arg = json!({"index": k % 2, "op": format!("SCMP_CMP_{}", ops[k % 3]), "value": i * 8 + k + 1});
                    let args = if conditions == 0 { json!([]) } else { json!([arg]) };
                    json!({"names": [call], "action": "SCMP_ACT_ALLOW", "args": args})
                })
            });
            let document = json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": (["SCMP_ARCH_X86", "SCMP_ARCH_X32"][..others]),
                "syscalls": rules.collect::<Vec<_>>(),
            });
            let Ok(document) = parse(&document, "") else {
                continue; // more conditions than are read
            };
            let profile = document.resolve(&target(Arch::X86_64));
            for tree in [false, true] {
                // It fails with more than the kernel loads.
                let Ok(bytes) = compile(&profile, Arch::X86_64, tree) else {
                    assert!(*profile.instructions().end() > MAX_INSTRUCTIONS);
                    continue;
                };
                let (made, predicted) = (bytes.len() / 8, profile.instructions());
                assert!(
                    predicted.contains(&made),
                    "{made} {predicted:?} {number} {conditions}"
                );
                if made > 100 {
                    let ratio = |a: usize, b: usize| {
                        f64::from(u32::try_from(a).unwrap()) / f64::from(u32::try_from(b).unwrap())
                    };
                    margin.0 = margin.0.max(ratio(*predicted.end(), made));
                    margin.1 = margin.1.max(ratio(made, *predicted.start()));
                }
            }
        }
    }
    println!(
        "of filters with more than 100 instructions: at most {:.2} times, at least 1/{:.2}",
        margin.0, margin.1
    );
    assert!(margin.0 < 1.8, "{margin:?}");
}

/// What is most often denied on top of a default: single values of an argument of 32 bits. Written out, each is a mask a bit.
#[test]
fn denied_values_of_an_int_are_predicted_as_what_they_take() {
    let mut margin = 1.0_f64;
    for number in [1_u64, 2, 3, 4, 8, 12, 16, 24] {
        let denied = (0..number).map(|i| {
            json!({"name": "ioctl", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": 0x5412 + i * 0x1_2345}]})
        });
        let denied: Vec<_> = denied.collect();
        let definition = Spec::Derived {
            base: RUNTIME_DEFAULT.into(),
            changes: Delta::parse(&[], &[], &denied, "spec").unwrap(),
        };
        let profile = compose(&definition, &|_| None, &target(Arch::X86_64), "spec").unwrap();
        let predicted = profile.instructions();
        for tree in [false, true] {
            let made = compile(&profile, Arch::X86_64, tree).unwrap().len() / 8;
            println!("{number} denied, tree {tree}: {made}, and {predicted:?} predicted");
            assert!(predicted.contains(&made), "{number}: {made} {predicted:?}");
            let ratio = |a: usize, b: usize| {
                f64::from(u32::try_from(a).unwrap()) / f64::from(u32::try_from(b).unwrap())
            };
            margin = margin.max(ratio(*predicted.end(), made));
        }
    }
    assert!(margin < 2.1, "{margin}");
}

/// Profiles on which random tests with more cases failed once.
#[test]
fn what_was_found_once_stays_mended() {
    let arg = |index: u8, op: &str, value: u64| json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value});
    let rule = |names: &[&str], args: &[Value]| json!({"names": names, "action": "SCMP_ACT_ERRNO", "args": args});
    let equals = |index, value| arg(index, "EQ", value);
    let found = [
        // A piece of code that two calls share, run with another argument loaded.
        json!([
            rule(&["getuid"], &[equals(0, 0)]),
            rule(&["getuid"], &[equals(0, 16)]),
            rule(&["bind"], &[equals(0, 0)]),
            rule(&["bind"], &[equals(0, 16)]),
            rule(&["bind"], &[equals(0, 1), equals(1, 1)]),
        ]),
        json!([
            rule(
                &["read", "socketcall"],
                &[
                    json!({"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xffff_ffff_u64, "valueTwo": 5}),
                    arg(0, "LT", 1),
                ],
            ),
            rule(&["bind"], &[equals(1, 1)]),
        ]),
        // What socketpair becomes on x86 looks like a condition of another call, and is not taken for it.
        json!([
            rule(&["personality"], &[equals(0, 8)]),
            rule(&["socketcall"], &[equals(0, 1), equals(1, 2)]),
            rule(&["socketpair"], &[]),
        ]),
        // A condition that never holds.
        json!([
            rule(&["read"], &[arg(0, "LT", 0)]),
            rule(&["read"], &[equals(1, 1)])
        ]),
    ];
    for (syscalls, arch) in found
        .iter()
        .flat_map(|found| [Arch::X86_64, Arch::S390X, Arch::Arm].map(|arch| (found, arch)))
    {
        let document = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": Arch::ALL.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "syscalls": syscalls,
        });
        let profile = parse(&document, "").unwrap().resolve(&target(arch));
        for tree in [false, true] {
            agree(&profile, &pool(), tree, arch).unwrap();
            if let Ok(written) = profile.canonical("") {
                assert_eq!(written.canonical("").as_ref(), Ok(&written));
                agree(&written, &pool(), tree, arch).unwrap();
            }
        }
    }
}

#[test]
fn real_profiles_do_what_the_model_says_and_so_does_what_the_engine_writes_of_them() {
    let Some(folder) = shared_data() else {
        return;
    };
    let read = |name: &str| -> Value {
        let text = std::fs::read(folder.join(name)).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let calls = known_calls();
    let mut compared = 0;
    for (name, section) in [
        ("moby-default.json", ""),
        ("containers-common-seccomp.json", ""),
        ("runtime-default/default.json", "/seccomp"),
        ("runtime-default/sysadmin.json", "/seccomp"),
    ] {
        let document = parse(read(name).pointer(section).unwrap(), "").unwrap();
        let natives = [
            Arch::X86_64,
            Arch::Aarch64,
            Arch::Arm,
            Arch::Ppc64Le,
            Arch::Riscv64,
            Arch::Mips64,
            Arch::S390X,
        ];
        for (arch, bits) in natives
            .into_iter()
            .flat_map(|arch| [(arch, 0), (arch, 0xa804_25fb), (arch, u64::MAX)])
        {
            let target = Target {
                capabilities: CapabilitySet::from_bits(bits),
                ..target(arch)
            };
            let profile = document.resolve(&target);
            let written = profile.canonical("").unwrap();
            let (model, rewritten) = (profile.model().unwrap(), written.model().unwrap());
            assert_eq!(model.flaws(), [], "{name} {arch}");
            assert_eq!(rewritten.flaws(), [], "{name} {arch}");
            assert_eq!(model.difference(&rewritten), None, "{name} {arch}");
            for (profile, tree) in [(&profile, false), (&written, true)] {
                compared += agree(profile, &calls, tree, arch).unwrap();
            }
        }
    }
    println!("{compared} decisions compared with libseccomp");
}

fn shared_data() -> Option<PathBuf> {
    let folder = std::env::var_os("SECCOMP_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        println!(
            "skipped: {} is not there; SECCOMP_SHARED_DATA can name another place",
            folder.display()
        );
        return None;
    }
    Some(folder)
}
