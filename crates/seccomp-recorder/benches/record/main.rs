//! What a recorded call and an observed refusal cost, beside a loop in C that answers and keeps nothing, and beside the kernel alone: in
//! turns, in containers that runc starts.
//!
//!     cargo bench -p seccomp-recorder --bench record
//!
//! Needs root, runc and a C compiler.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../../tests/place/mod.rs"]
mod place;

use std::process::Command;
use std::time::Instant;

use place::{PATIENCE, Place, Running, base, host, raw};
use seccomp_profile::{Profile, Syscall};
use seccomp_recorder::recording_profile;

const TURNS: usize = 7;
/// Calls before the clock starts: caches and the scheduler settle.
const WARM: u32 = 2_000;
const TIMES: u32 = 50_000;
/// The recorder and the loop do the same system calls for one of a container's.
const RECORDED: f64 = 1.2;
/// A refusal is answered by an error instead of "go on".
const REFUSED: f64 = 1.3;
/// The same filter but for what it does with other calls.
const PERMITTED: f64 = 1.1;

/// `runtime-default` allows it, and it is none of those that are assumed.
const ALLOWED: &str = "getpriority";
/// `runtime-default` refuses it.
const DENIED: &str = "keyctl";

fn main() {
    if let Some(role) = place::role() {
        let words: Vec<_> = role.split(' ').collect();
        let ["calls", name] = words[..] else {
            panic!("no role {role}")
        };
        return calls(name);
    }
    let Some(place) = Place::new() else { return };
    let (_holder, _recorder, _bare) = (place.hold(), place.record("recorder"), bare(&place));
    let socket = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let recording =
        |name| recording_profile(&base(), &socket(name), "shop/web/1", &[], "").unwrap();
    let ways: [(&str, &str, Profile); 6] = [
        ("allowed, by the kernel", ALLOWED, base()),
        ("allowed, observed profile", ALLOWED, place.observed()),
        ("allowed, bare loop in C", ALLOWED, recording("bare.sock")),
        ("allowed, recorded", ALLOWED, recording("notify.sock")),
        ("refused, by the kernel", DENIED, base()),
        ("refused, observed profile", DENIED, place.observed()),
    ];
    let mut took: [Vec<f64>; 6] = Default::default();
    for turn in 0..TURNS {
        for (at, (_, call, profile)) in ways.iter().enumerate() {
            took[at].push(nanoseconds(&place, &format!("c{turn}-{at}"), call, profile));
        }
    }
    let median = took.map(|mut took| {
        took.sort_by(f64::total_cmp);
        (took[TURNS / 2], took[0], took[TURNS - 1])
    });
    println!(
        "{:<28}{:>10}{:>10}{:>10}",
        "one call, ns", "median", "least", "most"
    );
    for ((name, ..), (median, least, most)) in ways.iter().zip(&median) {
        println!("{name:<28}{median:>10.0}{least:>10.0}{most:>10.0}");
    }
    let [kernel, observed, bare, recorded, _, refused] = median.map(|(median, ..)| median);
    println!();
    for (what, times, budget) in [
        ("recorded beside the loop in C", recorded / bare, RECORDED),
        (
            "an observed refusal beside a recorded call",
            refused / recorded,
            REFUSED,
        ),
        (
            "an allowed call, observed beside not",
            observed / kernel,
            PERMITTED,
        ),
    ] {
        let met = if times <= budget { "met" } else { "NOT MET" };
        println!("{what}: {times:.2} times, budget {budget:.1}: {met}");
    }
}

/// Calls what needs no argument to be allowed or refused, and writes how many nanoseconds one took.
fn calls(name: &str) {
    let number = Syscall::named(name).unwrap().number(host()).unwrap();
    for _ in 0..WARM {
        let _ = raw(number);
    }
    let began = Instant::now();
    for _ in 0..TIMES {
        let _ = raw(number);
    }
    println!("{}", began.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES));
}

fn nanoseconds(place: &Place, name: &str, call: &str, profile: &Profile) -> f64 {
    let container = place.output_under(profile, name, &format!("calls {call}"));
    container.trim().parse().unwrap()
}

/// The loop in C, listening.
fn bare(place: &Place) -> Running {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/record/bare.c");
    let (program, socket) = (place.path("bare"), place.path("bare.sock"));
    let compiled = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(compiled.unwrap().success(), "cc has not compiled {source}");
    let running = Running(Command::new(&program).arg(&socket).spawn().unwrap());
    let began = Instant::now();
    while !socket.exists() {
        assert!(began.elapsed() < PATIENCE, "{}", socket.display());
        std::thread::yield_now();
    }
    running
}
