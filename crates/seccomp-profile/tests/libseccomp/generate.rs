//! Random profiles, and the arguments at which a profile's decisions can change.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use seccomp_profile::{Arch, Arguments, Operator, Profile, Rule, parse_slice};
use serde_json::{Value, json};

use super::target;

/// What random profiles are made of.
#[derive(Clone)]
pub struct Shape {
    pub calls: &'static [&'static str],
    pub actions: Vec<Value>,
    /// The node's, with those beside it that the profile can list.
    pub natives: Vec<(Arch, Vec<Arch>)>,
    pub max_rules: usize,
    /// What arguments are compared with.
    pub numbers: Vec<u64>,
}

/// The actions whose value is the same for every profile.
pub fn actions() -> Vec<Value> {
    vec![
        json!({"action": "SCMP_ACT_ALLOW"}),
        json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 1}),
        json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 38}),
        json!({"action": "SCMP_ACT_LOG"}),
        json!({"action": "SCMP_ACT_KILL_PROCESS"}),
        json!({"action": "SCMP_ACT_TRAP"}),
    ]
}

/// Small ones and such as have something in either half.
pub fn numbers() -> Vec<u64> {
    // Those that matter most are half of all.
    let special = [
        0,
        1,
        5,
        16,
        38,
        40,
        0xffff_ffff,
        1 << 32,
        (1 << 32) + 5,
        u64::MAX,
    ];
    special.repeat(6).into_iter().chain(0..64).collect()
}

fn arg(shape: &Shape) -> impl Strategy<Value = Value> + use<> {
    let op = prop::sample::select(vec!["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"]);
    let number = prop::sample::select(shape.numbers.clone());
    (0..2u64, op, number.clone(), number).prop_map(|(index, op, value, two)| {
        let mut arg = json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value});
        if op == "MASKED_EQ" {
            arg["valueTwo"] = two.into();
        }
        arg
    })
}

fn rule(shape: &Shape) -> impl Strategy<Value = Value> + use<> {
    let names = prop::sample::subsequence(shape.calls.to_vec(), 1..3);
    let action = prop::sample::select(shape.actions.clone());
    (names, action, prop::collection::vec(arg(shape), 0..=3)).prop_map(|(names, mut rule, args)| {
        rule["names"] = json!(names);
        rule["args"] = json!(args);
        rule
    })
}

/// As text, which is what a failure should show.
fn document(shape: &Shape) -> impl Strategy<Value = (String, Arch)> + use<> {
    let default: Vec<_> = shape.actions.clone();
    let default = default
        .into_iter()
        .filter(|default| default["action"] != "SCMP_ACT_NOTIFY");
    let natives = prop::sample::select(shape.natives.clone());
    (
        prop::sample::select(default.collect::<Vec<_>>()),
        prop::collection::vec(rule(shape), 0..=shape.max_rules),
        natives,
        any::<bool>(),
    )
        .prop_map(|(default, rules, (arch, beside), log)| {
            let mut document = json!({
                "defaultAction": default["action"],
                "architectures": beside.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "syscalls": rules,
                "listenerPath": "/run/seccomp.sock",
            });
            if log {
                document["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"]);
            }
            if let Some(errno) = default.get("errnoRet") {
                document["defaultErrnoRet"] = errno.clone();
            }
            (document.to_string(), arch)
        })
}

/// Runs `test` on `cases` random profiles and returns how many decisions were compared.
pub fn on_random_profiles(
    shape: &Shape,
    cases: u32,
    test: impl Fn(&Profile, Arch, bool) -> Result<usize, TestCaseError>,
) -> usize {
    // The same profiles each time, so that a change is judged by what it changes; SEED (a number) looks at others, and
    // PROPTEST_CASES at more.
    let number = |name| std::env::var(name).ok().map(|value| value.parse().unwrap());
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(number("SEED").unwrap_or(1)),
        cases: number("PROPTEST_CASES").map_or(cases, |cases| u32::try_from(cases).unwrap()),
        ..ProptestConfig::default()
    });
    let compared = Cell::new(0);
    runner
        .run(
            &(document(shape), any::<bool>()),
            |((document, arch), tree)| {
                if let Ok(document) = parse_slice(document.as_bytes(), "") {
                    let profile = document.resolve(&target(arch));
                    compared.set(compared.get() + test(&profile, arch, tree)?);
                }
                Ok(())
            },
        )
        .unwrap();
    compared.get()
}

/// Arguments around all numbers that a rule compares with, alone and together with those of the other arguments.
pub fn arguments(profile: &Profile) -> Vec<Arguments> {
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
            all.push([at(0), at(1), at(2), at(3), at(4), at(5)].into());
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
            .map(|(first, second)| Arguments::from([first, second, 0, 0, 0, 0])),
    );
    all
}
