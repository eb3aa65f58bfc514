//! How much time of a CPU the profile engine takes, and libseccomp for the same profile in the same run: the ratio says more
//! than the times, which are those of one machine.
//!
//! Prints a table beside the budgets. Docker's own file comes from the folder that `SECCOMP_SHARED_DATA` names, or
//! `../shared/data` beside the workspace; without it, the built-in is read in the form that runtimes take.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};
use seccomp_profile::{
    Arch, CapabilitySet, DOCKER_DEFAULT, Fields, KernelVersion, Profile, RUNTIME_DEFAULT, Spec,
    Syscall, Target, builtin, compose, lint, parse_slice,
};
use serde_json::{Value, json};

#[allow(dead_code)] // the tests use more of it
#[path = "../tests/libseccomp/compile.rs"]
mod compile;

const NODE: Target = Target {
    arch: Arch::X86_64,
    kernel: KernelVersion {
        major: 6,
        minor: 12,
    },
    capabilities: CapabilitySet::RUNTIME_DEFAULT,
};

/// A row of the table: the bench, what it is, and its budget in microseconds.
const ROWS: [(&str, &str, Option<f64>); 7] = [
    (
        "compile",
        "the Docker default profile: read, resolve, compile, write",
        Some(1000.0),
    ),
    (
        "libseccomp",
        "the same by libseccomp: add rules, write BPF",
        None,
    ),
    (
        "derive",
        "runtime-default without AF_ALG sockets and chmod",
        None,
    ),
    ("lint", "findings in the Docker default profile", None),
    ("model", "what libseccomp makes of it, as decisions", None),
    (
        "decide-plain",
        "one decision, of a call with one action",
        None,
    ),
    (
        "decide-by-argument",
        "one decision, of a call with conditions",
        None,
    ),
];

/// The time that this thread has had a CPU: what else the machine does hardly shows.
struct CpuTime;

impl CpuTime {
    fn now() -> Duration {
        Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, start: Duration) -> Duration {
        Self::now().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// As an author has it, and what it comes to on a node.
fn docker_default() -> (Vec<u8>, Profile) {
    let folder = std::env::var("SECCOMP_SHARED_DATA").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned()
    });
    let built_in = builtin(DOCKER_DEFAULT).unwrap().resolve(&NODE);
    let file = fs::read(Path::new(&folder).join("moby-default.json")).unwrap_or_else(|error| {
        println!("no moby-default.json in {folder} ({error}): the built-in is read in its place");
        built_in.canonical("").unwrap().to_canonical_json()
    });
    let profile = parse_slice(&file, "").unwrap().resolve(&NODE);
    (file, profile)
}

fn derived() -> Spec {
    let alg = json!({"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]});
    let deny = [json!("@chmod"), alg];
    let fields = Fields {
        base: Some(RUNTIME_DEFAULT),
        deny: &deny,
        ..Fields::default()
    };
    Spec::parse(&fields, "spec").unwrap()
}

fn engine(criterion: &mut Criterion<CpuTime>) {
    let (file, profile) = docker_default();
    let to_file = || {
        let document = parse_slice(black_box(&file), "").unwrap();
        let canonical = document.resolve(&NODE).canonical("").unwrap();
        canonical.to_canonical_json()
    };
    criterion.bench_function("compile", |bench| bench.iter(to_file));
    criterion.bench_function("libseccomp", |bench| {
        bench.iter(|| compile::compile(black_box(&profile), NODE.arch, true).unwrap());
    });
    let nothing = |_: &str| None;
    let spec = derived();
    criterion.bench_function("derive", |bench| {
        bench.iter(|| {
            let profile = compose(black_box(&spec), &nothing, &NODE, "spec").unwrap();
            profile.to_canonical_json()
        });
    });
    let document = Spec::Document(parse_slice(&file, "").unwrap());
    criterion.bench_function("lint", |bench| {
        bench.iter(|| lint(black_box(&document), &nothing, &NODE, "spec"));
    });
    criterion.bench_function("model", |bench| {
        bench.iter(|| black_box(&profile).model().unwrap());
    });
    let model = profile.model().unwrap();
    for (id, call) in [("decide-plain", "write"), ("decide-by-argument", "socket")] {
        let number = Syscall::named(call).unwrap().number(NODE.arch).unwrap();
        let args = [40, 1, 0, 0, 0, 0].into();
        criterion.bench_function(id, |bench| {
            bench.iter(|| model.decide(NODE.arch, black_box(number), black_box(&args)));
        });
    }
}

/// The median of a bench in microseconds, if it was run.
fn median(output: &Path, id: &str) -> Option<f64> {
    let estimates = fs::read(output.join(id).join("new/estimates.json")).ok()?;
    let estimates: Value = serde_json::from_slice(&estimates).ok()?;
    Some(estimates["median"]["point_estimate"].as_f64()? / 1000.0)
}

fn table(output: &Path) {
    let reference = median(output, "libseccomp");
    println!(
        "\n{:<58} {:>10} {:>10} {:>16}",
        "", "median", "budget", "of libseccomp's"
    );
    for (id, what, budget) in ROWS {
        let Some(median) = median(output, id) else {
            continue;
        };
        let budget = budget.map_or_else(String::new, |budget| format!("{budget:.0} us"));
        let ratio = reference
            .filter(|_| id == "compile")
            .map_or_else(String::new, |reference| {
                format!("{:.0} %", 100.0 * median / reference)
            });
        println!("{what:<58} {median:>7.2} us {budget:>10} {ratio:>16}");
    }
}

fn main() {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("criterion");
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime)
        .output_directory(&output)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    engine(&mut criterion);
    criterion.final_summary();
    table(&output);
}
