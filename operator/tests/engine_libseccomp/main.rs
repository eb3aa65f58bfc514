//! The model against libseccomp itself: profiles are compiled by the library as runc does it, its BPF is interpreted, and
//! both must say the same for every architecture, call, and arguments around the bounds of every condition.
//!
//! Real profiles come from the folder that `SECCOMP_SHARED_DATA` names, or `../shared/data` beside the workspace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::cell::Cell;
use std::path::{Path, PathBuf};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
    error::SeccompError,
};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use seccomp_operator::profile::{
    Action, Arch, Args, CapabilitySet, Condition, Errno, KernelVersion, Operator, Profile, Rule,
    Syscall, Target, parse, parse_slice,
};
use serde_json::{Value, json};

mod bpf;

use bpf::Program;

fn scmp_arch(arch: Arch) -> ScmpArch {
    match arch {
        Arch::X86 => ScmpArch::X86,
        Arch::X86_64 => ScmpArch::X8664,
        Arch::X32 => ScmpArch::X32,
        Arch::Arm => ScmpArch::Arm,
        Arch::Aarch64 => ScmpArch::Aarch64,
        Arch::Loongarch64 => ScmpArch::Loongarch64,
        Arch::Mips => ScmpArch::Mips,
        Arch::Mips64 => ScmpArch::Mips64,
        Arch::Mips64N32 => ScmpArch::Mips64N32,
        Arch::Mipsel => ScmpArch::Mipsel,
        Arch::Mipsel64 => ScmpArch::Mipsel64,
        Arch::Mipsel64N32 => ScmpArch::Mipsel64N32,
        Arch::Ppc => ScmpArch::Ppc,
        Arch::Ppc64 => ScmpArch::Ppc64,
        Arch::Ppc64Le => ScmpArch::Ppc64Le,
        Arch::Riscv64 => ScmpArch::Riscv64,
        Arch::S390 => ScmpArch::S390,
        Arch::S390X => ScmpArch::S390X,
    }
}

/// Whether the library at hand knows the architecture (`LoongArch` is newer than 2.5.4).
fn is_known(arch: Arch) -> bool {
    ScmpFilterContext::new(ScmpAction::Allow)
        .unwrap()
        .is_arch_present(scmp_arch(arch))
        .is_ok()
}

fn scmp_action(action: Action) -> ScmpAction {
    let errno = action.errno().map_or(0, Errno::get);
    match action {
        Action::KillProcess => ScmpAction::KillProcess,
        Action::KillThread => ScmpAction::KillThread,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(_) => ScmpAction::Errno(errno.into()),
        Action::Notify => ScmpAction::Notify,
        Action::Trace(_) => ScmpAction::Trace(errno),
        Action::Log => ScmpAction::Log,
        Action::Allow => ScmpAction::Allow,
    }
}

fn comparison(condition: &Condition) -> ScmpArgCompare {
    let (op, value) = match condition.operator {
        Operator::NotEqual => (ScmpCompareOp::NotEqual, condition.value),
        Operator::Less => (ScmpCompareOp::Less, condition.value),
        Operator::LessOrEqual => (ScmpCompareOp::LessOrEqual, condition.value),
        Operator::Equal => (ScmpCompareOp::Equal, condition.value),
        Operator::GreaterOrEqual => (ScmpCompareOp::GreaterEqual, condition.value),
        Operator::Greater => (ScmpCompareOp::Greater, condition.value),
        Operator::MaskedEqual { mask } => (ScmpCompareOp::MaskedEqual(mask), condition.value),
    };
    ScmpArgCompare::new(condition.arg.get().into(), op, value)
}

/// What runc does with a profile on a node of this architecture (`libcontainer/seccomp/seccomp_linux.go`).
fn compile(profile: &Profile, native: Arch, tree: bool) -> Result<Program, SeccompError> {
    let mut filter = ScmpFilterContext::new(scmp_action(profile.default_action()))?;
    // The library's own idea of native is that of this machine.
    filter.remove_arch(ScmpArch::Native)?;
    filter.add_arch(scmp_arch(native))?;
    for arch in profile
        .architectures()
        .iter()
        .filter(|arch| *arch != native)
    {
        filter.add_arch(scmp_arch(arch))?;
    }
    if tree {
        filter.set_ctl_optimize(2)?;
    }
    for rule in profile
        .rules()
        .iter()
        .filter(|rule| rule.action() != profile.default_action())
    {
        for call in rule.syscalls() {
            add(&mut filter, rule, *call)?;
        }
    }
    let mut file = tempfile::tempfile().unwrap();
    filter.export_bpf(&file)?;
    Ok(Program::read(&mut file, native))
}

fn add(filter: &mut ScmpFilterContext, rule: &Rule, call: Syscall) -> Result<(), SeccompError> {
    let Ok(number) = ScmpSyscall::from_name(call.name()) else {
        return Ok(());
    };
    let action = scmp_action(rule.action());
    let comparisons: Vec<_> = rule.conditions().iter().map(comparison).collect();
    let mut indices: Vec<_> = rule
        .conditions()
        .iter()
        .map(|condition| condition.arg)
        .collect();
    indices.sort_unstable();
    indices.dedup();
    if comparisons.is_empty() {
        filter.add_rule(action, number)?;
    } else if indices.len() == comparisons.len() {
        filter.add_rule_conditional(action, number, &comparisons)?;
    } else {
        for comparison in comparisons {
            filter.add_rule_conditional(action, number, &[comparison])?;
        }
    }
    Ok(())
}

/// Arguments around all numbers that a rule compares with, alone and together with those of the other arguments.
fn arguments(profile: &Profile) -> Vec<Args> {
    let mut values: [Vec<u64>; 6] = Default::default();
    for condition in profile.rules().iter().flat_map(Rule::conditions) {
        let values = &mut values[usize::from(condition.arg.get())];
        let value = condition.value;
        let mut near = vec![value.wrapping_sub(1), value, value.wrapping_add(1)];
        if let Operator::MaskedEqual { mask } = condition.operator {
            near.extend([
                value & mask,
                value | !mask,
                value ^ (mask & mask.wrapping_neg()),
            ]);
        }
        for value in near {
            values.extend([value, value & 0xffff_ffff, value | 1 << 32]);
        }
    }
    values[0].extend(0..25); // the calls inside `socketcall` and `ipc`
    for values in &mut values {
        values.extend([0, u64::MAX]);
        values.sort_unstable();
        values.dedup();
    }
    let mut all = Vec::new();
    for i in 0..values.iter().map(Vec::len).max().unwrap_or(0) {
        for shift in 0..4 {
            let at = |arg: usize| values[arg][(i + shift * arg) % values[arg].len()];
            all.push([at(0), at(1), at(2), at(3), at(4), at(5)]);
        }
    }
    // The first two together: every combination, or as many of them as there is time for.
    let step = (values[0].len() * values[1].len()).div_ceil(2000);
    let pairs = values[0]
        .iter()
        .flat_map(|first| values[1].iter().map(move |second| (*first, *second)));
    all.extend(
        pairs
            .step_by(step)
            .map(|(first, second)| [first, second, 0, 0, 0, 0]),
    );
    all
}

/// The calls that the library at hand knows as the table does: it may be older, and leaves out what it does not know.
fn known_calls() -> Vec<Syscall> {
    Syscall::all()
        .filter(|call| ScmpSyscall::from_name(call.name()).is_ok())
        .collect()
}

fn is_known_on(call: Syscall, arch: Arch, number: u32) -> bool {
    ScmpSyscall::from_name_by_arch(call.name(), scmp_arch(arch))
        .is_ok_and(|known| u32::try_from(known.as_raw_syscall()) == Ok(number))
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
        Ok(program) => program,
        Err(error) => {
            prop_assert!(!model.flaws().is_empty(), "{}", error);
            return Ok(0);
        }
    };
    if !program.is_sound() {
        return Ok(0);
    }
    let arguments = arguments(profile);
    let mut compared = 0;
    for arch in Arch::ALL.into_iter().filter(|arch| is_known(*arch)) {
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
            for args in &arguments {
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

fn action() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"action": "SCMP_ACT_ALLOW"})),
        Just(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 1})),
        Just(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 38})),
        Just(json!({"action": "SCMP_ACT_LOG"})),
        Just(json!({"action": "SCMP_ACT_KILL_PROCESS"})),
        Just(json!({"action": "SCMP_ACT_TRAP"})),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![
            0u64,
            1,
            5,
            16,
            38,
            40,
            0xffff_ffff,
            1 << 32,
            (1 << 32) + 5,
            u64::MAX
        ]),
        0..64u64,
    ]
}

fn arg() -> impl Strategy<Value = Value> {
    let op = prop::sample::select(vec!["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"]);
    (0..2u64, op, number(), number()).prop_map(|(index, op, value, two)| {
        let mut arg = json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value});
        if op == "MASKED_EQ" {
            arg["valueTwo"] = two.into();
        }
        arg
    })
}

fn rule(max_args: usize) -> impl Strategy<Value = Value> {
    let names = prop::sample::subsequence(POOL.to_vec(), 1..3);
    (names, action(), prop::collection::vec(arg(), 0..=max_args)).prop_map(
        |(names, mut rule, args)| {
            rule["names"] = json!(names);
            rule["args"] = json!(args);
            rule
        },
    )
}

/// As text, which is what a failure should show.
fn document(max_args: usize) -> impl Strategy<Value = (String, Arch)> {
    let arch = prop::sample::select(vec![
        Arch::X86_64,
        Arch::Aarch64,
        Arch::S390X,
        Arch::Ppc64Le,
        Arch::Mips64,
    ]);
    (action(), prop::collection::vec(rule(max_args), 0..5), arch).prop_map(
        |(default, rules, arch)| {
            let mut document = json!({
                "defaultAction": default["action"],
                "architectures": Arch::ALL.map(|arch| arch.to_string()),
                "syscalls": rules,
            });
            if let Some(errno) = default.get("errnoRet") {
                document["defaultErrnoRet"] = errno.clone();
            }
            (document.to_string(), arch)
        },
    )
}

/// Runs `test` on random profiles and says how many decisions were compared.
fn on_random_profiles(test: impl Fn(&Profile, Arch, bool) -> Result<usize, TestCaseError>) {
    // The same profiles each time, so that a change is judged by what it changes; SEED (a number) looks at others, and
    // PROPTEST_CASES at more.
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    });
    let compared = Cell::new(0);
    runner
        .run(&(document(3), any::<bool>()), |((document, arch), tree)| {
            if let Ok(document) = parse_slice(document.as_bytes(), "") {
                compared.set(compared.get() + test(&document.resolve(&target(arch)), arch, tree)?);
            }
            Ok(())
        })
        .unwrap();
    println!("{} decisions compared with libseccomp", compared.get());
}

fn pool() -> Vec<Syscall> {
    POOL.into_iter()
        .map(|name| Syscall::named(name).unwrap())
        .collect()
}

#[test]
fn random_profiles_do_what_the_model_says() {
    on_random_profiles(|profile, arch, tree| agree(profile, &pool(), tree, arch));
}

#[test]
fn what_the_engine_writes_of_random_profiles_does_what_they_mean() {
    on_random_profiles(|profile, arch, tree| {
        let Ok(written) = profile.canonical("") else {
            return Ok(0);
        };
        let again = parse_slice(&written.to_canonical_json(), "").unwrap();
        prop_assert_eq!(&again.resolve(&target(arch)), &written);
        let model = profile.model().unwrap();
        if model.flaws().is_empty() {
            prop_assert_eq!(model.difference(&written.model().unwrap()), None);
        }
        agree(&written, &pool(), tree, arch)
    });
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
            "architectures": Arch::ALL.map(|arch| arch.to_string()),
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
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
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
