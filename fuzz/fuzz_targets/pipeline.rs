//! The whole way of a spec: a base, changes to it and changes to those, composed, written, read again, and asked about
//! arguments around the numbers that the changes compare with. What must happen is worked out here by the plainest rules.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use seccomp_profile::{
    Action, Arch, ArgIndex, Arguments, BUILTINS, CapabilitySet, Excess, Fields, KernelVersion,
    Model, Profile, Spec, Syscall, Target, compose, parse_slice,
};
use serde_json::{Value, json};

/// Plain calls, some that not every architecture has, some that are made through another, and some that built-ins treat
/// in a special way.
const CALLS: [&str; 16] = [
    "read",
    "socket",
    "bind",
    "semop",
    "clone",
    "clone3",
    "personality",
    "openat",
    "chown32",
    "ioctl",
    "mount",
    "keyctl",
    "chmod",
    "fchmodat2",
    "kill",
    "io_uring_setup",
];
const OPERATORS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"];

fuzz_target!(|bytes: &[u8]| {
    let _ = run(&mut Unstructured::new(bytes));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let target = Target {
        arch: *u.choose(&[Arch::X86_64, Arch::Aarch64, Arch::S390X, Arch::Riscv64])?,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::from_bits(*u.choose(&[0xa804_25fb, 0, u64::MAX])?),
    };
    // Built-ins have hundreds of calls, and take long.
    let document = if u.ratio(7, 8)? {
        Some(document(u)?)
    } else {
        None
    };
    let bottom = match &document {
        Some(_) => "document".to_owned(),
        None => (*u.choose(BUILTINS)?).to_owned(),
    };
    let read = |profile: &Value| {
        let fields = Fields {
            profile: Some(profile),
            ..Fields::default()
        };
        Spec::parse(&fields, "spec").ok().map(Arc::new)
    };
    let document = match document.as_ref().map(read) {
        Some(None) => return Ok(()),
        Some(Some(document)) => Some(document),
        None => None,
    };
    let changes = [lists(u)?, lists(u)?];
    let derived = |base: &str, [allow, log, deny]: &[Vec<Value>; 3]| {
        let fields = Fields {
            profile: None,
            base: Some(base),
            allow,
            log,
            deny,
        };
        Spec::parse(&fields, "spec").ok().map(Arc::new)
    };
    let Some(middle) = derived(&bottom, &changes[0]) else {
        return Ok(());
    };
    let Some(top) = derived("middle", &changes[1]) else {
        return Ok(());
    };
    let Some(nothing) = derived(&bottom, &Default::default()) else {
        return Ok(());
    };
    let lookup = |name: &str| match name {
        "document" => document.clone(),
        "middle" => Some(Arc::clone(&middle)),
        _ => None,
    };
    let composed = |spec: &Spec| compose(spec, &lookup, &target, "spec").ok();
    let mut before = composed(&nothing).map(|profile| checked(&profile, &target));
    for (spec, changes) in [(&middle, &changes[0]), (&top, &changes[1])] {
        let after = composed(spec).map(|profile| checked(&profile, &target));
        if let (Some(before), Some(after)) = (&before, &after) {
            compare(before, after, changes);
            combine(&before.0, &after.0, changes);
        }
        before = after;
    }
    Ok(())
}

/// The model of a composed profile, which is sound, canonical, and read as it is written.
fn checked(profile: &Profile, target: &Target) -> (Profile, Model) {
    let read = parse_slice(&profile.to_canonical_json(), "")
        .unwrap()
        .resolve(target);
    assert_eq!(&read, profile);
    assert_eq!(profile.canonical("spec").as_ref(), Ok(profile));
    let model = profile.model().unwrap();
    assert_eq!(model.flaws(), []);
    (profile.clone(), model)
}

/// That `changes` are what made `after` of `before`, and nothing else.
fn compare(
    (profile, before): &(Profile, Model),
    (_, after): &(Profile, Model),
    changes: &[Vec<Value>; 3],
) {
    let arguments = arguments(changes);
    for arch in profile.architectures().iter() {
        for call in CALLS.iter().filter_map(|name| Syscall::named(name)) {
            let Some(number) = call.number(arch) else {
                continue;
            };
            for args in &arguments {
                let args = if arch.is_64_bit() {
                    *args
                } else {
                    args.lower_halves()
                };
                let (old, new) = (
                    before.decide(arch, number, &args),
                    after.decide(arch, number, &args),
                );
                let named =
                    |list: &Vec<Value>| list.iter().any(|change| matches(change, call, &args));
                let [allowed, logged, denied] = changes.each_ref().map(named);
                let right = match (denied, logged, allowed) {
                    (true, ..) => new.refuses(),
                    (_, true, _) => new == Action::Log,
                    (_, _, true) => new == Action::Allow,
                    _ => new == old,
                };
                assert!(
                    right,
                    "{arch} {call} {args:x?}: {old} became {new} by {changes:?}"
                );
            }
        }
    }
}

/// That union, intersection and subset are what they say.
fn combine(one: &Profile, other: &Profile, changes: &[Vec<Value>; 3]) {
    let arches: Vec<_> = one.architectures().iter().collect();
    // A subset is one for those who can make the call.
    let reachable = |call: &Syscall| arches.iter().any(|arch| call.number(*arch).is_some());
    let (Ok(one), Ok(other)) = (one.semantics(), other.semantics()) else {
        return;
    };
    let excess = one.excess_over(&other);
    if let Some(Excess::Call(call, args)) = &excess {
        let (mine, others) = (
            one.decision_for(*call).action_for(args),
            other.decision_for(*call).action_for(args),
        );
        assert!(mine.leniency() > others.leniency());
    }
    let (Ok(both), Ok(either)) = (one.intersection(&other), one.union(&other)) else {
        return;
    };
    for call in CALLS.iter().filter_map(|name| Syscall::named(name)) {
        let [mine, others, both, either] =
            [&one, &other, &both, &either].map(|semantics| semantics.decision_for(call));
        for args in arguments(changes) {
            let [mine, others, both, either] = [&mine, &others, &both, &either]
                .map(|decision| decision.action_for(&args).leniency());
            assert_eq!(both, mine.min(others), "{call} {args:x?}");
            assert_eq!(either, mine.max(others), "{call} {args:x?}");
            assert!(
                excess.is_some() || mine <= others || !reachable(&call),
                "{call} {args:x?}"
            );
        }
    }
}

fn matches(change: &Value, call: Syscall, args: &Arguments) -> bool {
    let name = change.as_str().or_else(|| change["name"].as_str());
    let holds = |arg: &Value| {
        let real = args.get(ArgIndex::new(arg["index"].as_u64().unwrap()).unwrap());
        let value = arg["value"].as_u64().unwrap();
        match arg["op"].as_str().unwrap().trim_start_matches("SCMP_CMP_") {
            "EQ" => real == value,
            "NE" => real != value,
            "LT" => real < value,
            "LE" => real <= value,
            "GE" => real >= value,
            "GT" => real > value,
            _ => real & value == arg["valueTwo"].as_u64().unwrap() & value,
        }
    };
    name == Some(call.name())
        && change["args"]
            .as_array()
            .is_none_or(|args| args.iter().all(holds))
}

/// Arguments around the numbers that changes compare with.
fn arguments(changes: &[Vec<Value>; 3]) -> Vec<Arguments> {
    let mut numbers = vec![0, 1, u64::MAX, 1 << 32];
    for arg in changes
        .iter()
        .flatten()
        .filter_map(|change| change["args"].as_array())
        .flatten()
    {
        let (value, two) = (
            arg["value"].as_u64().unwrap(),
            arg["valueTwo"].as_u64().unwrap_or(0),
        );
        numbers.extend([
            value.wrapping_sub(1),
            value,
            value.wrapping_add(1),
            two,
            two ^ 1,
        ]);
    }
    numbers.truncate(24);
    let pairs = numbers.iter().flat_map(|first| {
        numbers
            .iter()
            .map(move |second| [*first, *second, 0, 0, 0, 0].into())
    });
    pairs.collect()
}

fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    const NUMBERS: [u64; 10] = [
        0,
        1,
        5,
        16,
        38,
        40,
        0x7e02_0000,
        0xffff_ffff,
        1 << 32,
        u64::MAX,
    ];
    if u.ratio(1, 2)? {
        Ok(*u.choose(&NUMBERS)?)
    } else {
        u.int_in_range(0..=64)
    }
}

fn args(u: &mut Unstructured<'_>) -> Result<Vec<Value>> {
    let mut args = Vec::new();
    for _ in 0..u.int_in_range(0..=2)? {
        let op = *u.choose(&OPERATORS)?;
        let mut arg = json!({"index": u.int_in_range(0..=1)?, "op": format!("SCMP_CMP_{op}"), "value": number(u)?});
        if op == "MASKED_EQ" {
            arg["valueTwo"] = number(u)?.into();
        }
        args.push(arg);
    }
    Ok(args)
}

fn lists(u: &mut Unstructured<'_>) -> Result<[Vec<Value>; 3]> {
    let mut lists: [Vec<Value>; 3] = Default::default();
    for list in &mut lists {
        for _ in 0..u.int_in_range(0..=3)? {
            let name = *u.choose(&CALLS)?;
            list.push(if u.ratio(1, 3)? {
                json!(name)
            } else {
                json!({"name": name, "args": args(u)?})
            });
        }
    }
    Ok(lists)
}

fn document(u: &mut Unstructured<'_>) -> Result<Value> {
    const ACTIONS: [&str; 5] = ["ALLOW", "ERRNO", "LOG", "KILL_PROCESS", "TRAP"];
    let mut rules = Vec::new();
    for _ in 0..u.int_in_range(0..=5)? {
        let names = [*u.choose(&CALLS)?, *u.choose(&CALLS)?];
        rules.push(json!({"names": names, "action": format!("SCMP_ACT_{}", u.choose(&ACTIONS)?), "args": args(u)?}));
    }
    let architectures = [
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_S390",
    ];
    let some = u.int_in_range(0..=architectures.len())?;
    Ok(json!({
        "defaultAction": format!("SCMP_ACT_{}", u.choose(&ACTIONS)?),
        "architectures": architectures[..some],
        "syscalls": rules,
    }))
}
