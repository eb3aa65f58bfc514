//! All pairs, and many triples, of the shapes that rules with conditions have: what the model calls reliable has to be so, and what it
//! refuses should be little more than what libseccomp gets wrong. And how near the number of instructions is to the real one.
//!
//! Beside them random lists of rules, of up to three conditions and with more numbers, as far as the model trusts them.
//!
//! As a test a part of them; with `SHAPES=all` all pairs, 20,000 triples and 20,000 lists, which takes minutes, optimised.

use seccomp_profile::{Arch, Arguments, Miscompilation, Profile, Rule, Syscall, parse};
use serde_json::{Value, json};

use super::bpf::Program;
use super::compile::{Compiled, compile_apart};
use super::target;

const OPS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"];

fn arg(index: u8, op: &str, value: u64) -> Value {
    let mut arg = json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value});
    if op == "MASKED_EQ" {
        arg["value"] = json!(value | 0xff);
        arg["valueTwo"] = json!(value);
    }
    arg
}

/// Conditions of one rule: one on either of two arguments, or one on each.
fn shapes() -> Vec<Value> {
    let mut shapes = Vec::new();
    for op in OPS {
        for value in [1, 5, (1 << 32) + 5] {
            for index in [0, 1] {
                shapes.push(json!([arg(index, op, value)]));
            }
        }
    }
    for first in OPS {
        for second in OPS {
            for (one, two) in [(1, 5), (5, (1 << 32) + 5)] {
                shapes.push(json!([arg(0, first, one), arg(1, second, two)]));
            }
        }
    }
    shapes
}

#[derive(Default)]
struct Tally {
    compared: usize,
    /// The model says so, and it is so.
    reliable: usize,
    /// The model does not trust what libseccomp gets right.
    distrusted: usize,
    /// It gets it wrong, or refuses the rules.
    wrong: usize,
    /// It never comes back from making a filter of them.
    endless: usize,
    /// Two actions for the same arguments, of which versions take different ones.
    overlapping: usize,
    /// The model trusts what libseccomp gets wrong.
    untrue: Vec<String>,
    /// Whether only what the model trusts is compared.
    trusted_only: bool,
    /// Around all numbers that the shapes compare with.
    arguments: Vec<Arguments>,
}

/// Every combination of the numbers around those that two arguments are compared with, in either half.
fn around() -> Vec<Arguments> {
    let low = [0, 1, 2, 4, 5, 6, 0xff, 0x105, 0xffff_ffff];
    let values: Vec<u64> = low
        .iter()
        .flat_map(|low| [*low, low | 1 << 32])
        .chain([2 << 32])
        .collect();
    let pairs = values
        .iter()
        .flat_map(|a| values.iter().map(move |b| (*a, *b)));
    pairs
        .map(|(a, b)| Arguments::from([a, b, 0, 0, 0, 0]))
        .collect()
}

/// The same of three arguments, with fewer numbers.
fn around_three() -> Vec<Arguments> {
    let low = [0, 1, 5, 6, 7];
    let values: Vec<u64> = low.iter().flat_map(|low| [*low, low | 1 << 32]).collect();
    let mut all = Vec::new();
    for a in &values {
        for b in &values {
            all.extend(
                values
                    .iter()
                    .map(|c| Arguments::from([*a, *b, *c, 0, 0, 0])),
            );
        }
    }
    all
}

/// Rules with one to three conditions, which most often begin as the model trusts them to.
fn list(next: &mut impl FnMut() -> usize) -> Vec<Value> {
    const NUMBERS: [u64; 6] = [0, 1, 5, 6, 1 << 32, (1 << 32) + 5];
    let length = 2 + next() % 4;
    let one = |next: &mut dyn FnMut() -> usize| {
        let conditions = 1 + next() % 3;
        let first = next() % (4 - conditions);
        let conditions = (0..conditions).map(|i| {
            let is_last = i + 1 == conditions;
            let op = match next() % 8 {
                0 => OPS[next() % OPS.len()],
                _ if is_last && conditions > 1 => OPS[next() % OPS.len()],
                n => ["EQ", "MASKED_EQ"][n % 2],
            };
            let index = u8::try_from(first + i).unwrap();
            arg(index, op, NUMBERS[next() % NUMBERS.len()])
        });
        conditions.collect()
    };
    (0..length).map(|_| one(next)).collect()
}

impl Tally {
    fn new(arguments: Vec<Arguments>) -> Self {
        Self {
            arguments,
            ..Self::default()
        }
    }

    fn words(&self) -> String {
        format!(
            "{} profiles compared ({} with rules that overlap are not): on single architectures {} trusted and right, {} distrusted and right, {} distrusted and wrong; {} from which libseccomp does not come back",
            self.compared,
            self.overlapping,
            self.reliable,
            self.distrusted,
            self.wrong,
            self.endless
        )
    }

    fn compare(&mut self, rules: &[(&Value, &str)]) {
        let rules: Vec<_> = rules
            .iter()
            .map(|(args, action)| json!({"names": ["read"], "action": action, "args": args}))
            .collect();
        for (native, beside) in [
            (Arch::X86_64, "SCMP_ARCH_X86"),
            (Arch::S390X, "SCMP_ARCH_S390"),
        ] {
            let document = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": [beside], "syscalls": rules});
            let Ok(document) = parse(&document, "") else {
                continue;
            };
            self.one(&document.resolve(&target(native)), native);
        }
    }

    fn one(&mut self, profile: &Profile, native: Arch) {
        let Ok(model) = profile.model() else {
            return;
        };
        let flaws = model.flaws();
        if flaws
            .iter()
            .any(|flaw| !matches!(flaw, Miscompilation::Merge { .. }))
        {
            self.overlapping += 1;
            return;
        }
        let read = Syscall::named("read").unwrap();
        let flawed = |arch: Arch| flaws.iter().any(|flaw| flaw.arch() == arch);
        if self.trusted_only && profile.architectures().iter().all(flawed) {
            return;
        }
        self.compared += 1;
        let program = match compile_apart(profile, native) {
            Compiled::Made(bytes) => {
                let (made, predicted) = (bytes.len() / 8, profile.instructions());
                assert!(
                    predicted.contains(&made),
                    "{made} {predicted:?} {profile:?}"
                );
                Some(Program::read(&bytes, native))
            }
            Compiled::Refused => None,
            Compiled::Endless => {
                self.endless += 1;
                None
            }
        };
        for arch in profile.architectures().iter() {
            let number = read.number(arch).unwrap();
            let agrees = program.as_ref().is_some_and(|program| {
                self.arguments
                    .iter()
                    .all(|args| model.decide(arch, number, args) == program.run(arch, number, args))
            });
            match (flawed(arch), agrees) {
                (false, true) => self.reliable += 1,
                (true, true) => self.distrusted += 1,
                (true, false) => self.wrong += 1,
                (false, false) => self.untrue.push(format!("{arch}: {}", in_words(profile))),
            }
        }
    }
}

/// `SCMP_ACT_ALLOW if arg0 == 1 and arg1 < 5; SCMP_ACT_LOG if arg0 == 2`
fn in_words(profile: &Profile) -> String {
    let rule = |rule: &Rule| {
        let conditions = rule.conditions().iter().map(ToString::to_string);
        let conditions: Vec<_> = conditions.collect();
        format!("{} if {}", rule.action(), conditions.join(" and "))
    };
    let rules: Vec<_> = profile.rules().iter().map(rule).collect();
    rules.join("; ")
}

fn actions(first: usize) -> [&'static str; 3] {
    [
        "SCMP_ACT_ALLOW",
        ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"][first % 2],
        ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"][first / 2 % 2],
    ]
}

#[test]
fn pairs_and_triples_of_rules_do_what_the_model_says() {
    let all = std::env::var("SHAPES").is_ok_and(|shapes| shapes == "all");
    let shapes = shapes();
    let mut pairs = Tally::new(around());
    let step = if all { 1 } else { 41 };
    let both = shapes
        .iter()
        .flat_map(|a| shapes.iter().map(move |b| (a, b)));
    for (i, (a, b)) in both.enumerate().filter(|(i, _)| i % step == 0) {
        let kinds: &[usize] = if all { &[0, 1] } else { &[i % 2][..] };
        for kind in kinds {
            let [first, second, _] = actions(*kind);
            pairs.compare(&[(a, first), (b, second)]);
        }
    }
    let mut triples = Tally::new(around());
    // A generator of its own, so that each run has the same.
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    for _ in 0..if all { 20_000 } else { 300 } {
        let [a, b, c] = [next(), next(), next()].map(|i| &shapes[i % shapes.len()]);
        let [first, second, third] = actions(next());
        triples.compare(&[(a, first), (b, second), (c, third)]);
    }
    let mut lists = Tally {
        trusted_only: true,
        ..Tally::new(around_three())
    };
    for _ in 0..if all { 20_000 } else { 300 } {
        let list = list(&mut next);
        let kinds = next();
        let rules = list.iter().enumerate();
        let rules: Vec<_> = rules
            .map(|(i, args)| (args, actions(kinds >> i)[1]))
            .collect();
        lists.compare(&rules);
    }
    println!(
        "pairs: {}\ntriples: {}\nlists: {}",
        pairs.words(),
        triples.words(),
        lists.words()
    );
    for tally in [&pairs, &triples, &lists] {
        let first: Vec<_> = tally.untrue.iter().take(9).collect();
        assert!(
            tally.untrue.is_empty(),
            "{} trusted and wrong: {first:#?}",
            tally.untrue.len()
        );
    }
    assert!(pairs.reliable > 300 && triples.reliable > 20 && lists.reliable > 100);
}
