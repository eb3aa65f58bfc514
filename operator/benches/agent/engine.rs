//! The engine's part of a change: a plain function on one thread.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use seccomp_profile::{
    Arch, CapabilitySet, Fields, KernelVersion, RUNTIME_DEFAULT, Spec, Target, compose,
};
use serde_json::json;

pub const NODE: Target = Target {
    arch: Arch::X86_64,
    kernel: KernelVersion {
        major: 6,
        minor: 12,
    },
    capabilities: CapabilitySet::RUNTIME_DEFAULT,
};

fn spec(change: u64) -> Spec {
    let ioctl =
        json!({"name": "ioctl", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": change}]});
    let deny = [json!("keyctl"), ioctl];
    let fields = Fields {
        base: Some(RUNTIME_DEFAULT),
        deny: &deny,
        ..Fields::default()
    };
    Spec::parse(&fields, "spec").unwrap_or_else(|problems| unreachable!("{problems}"))
}

fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The least of several rounds, in milliseconds.
fn least(mut work: impl FnMut(u64)) -> f64 {
    const ROUNDS: u64 = 30;
    const EACH: u64 = 10;
    let rounds = (0..ROUNDS).map(|round| {
        let before = now();
        for change in 0..EACH {
            work(round * EACH + change);
        }
        now().saturating_sub(before).as_secs_f64() * 1000.0 / 10.0
    });
    rounds.fold(f64::INFINITY, f64::min)
}

pub fn print() {
    let nothing = |_: &str| None;
    let row = |what: &str, took: f64| println!("{what:<64}{took:>9.3} ms");
    row(
        "read the spec",
        least(|change| drop(black_box(spec(change)))),
    );
    row(
        "compose it",
        least(|change| drop(black_box(compose(&spec(change), &nothing, &NODE, "spec")))),
    );
    row(
        "compose it, write it, read it back",
        least(|change| {
            let Ok(profile) = compose(&spec(change), &nothing, &NODE, "spec") else {
                return;
            };
            let bytes = profile.to_canonical_json();
            let again = seccomp_profile::parse_slice(&bytes, "").map(|again| again.resolve(&NODE));
            assert!(again.is_ok_and(|again| again == profile));
        }),
    );
}
