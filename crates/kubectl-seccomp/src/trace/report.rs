//! The counted calls in words, as data, and as a profile.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::text::{Style, plural, visible};
use crate::{Failure, machine, output};
use seccomp_operator_api::{GROUP, ProfileName};
use seccomp_profile::{
    self, Arch, CapabilitySet, KernelVersion, Problems, Profile, Runtime, Syscall, Target,
    every_program_needs,
};
use seccomp_traces::{ArchCounts, CallCounters, CountsByArch, Lines, total};

/// The counted calls as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    lines: LinesData,
    calls: u64,
    filtered_out: u64,
    architectures: Vec<ArchData>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<ActionData>,
    programs: Vec<ProgramData<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_programs: Vec<ArchData>,
}

#[derive(Serialize)]
struct LinesData {
    read: u64,
    used: u64,
    unreadable: u64,
    lost: u64,
}

impl From<Lines> for LinesData {
    fn from(lines: Lines) -> Self {
        let Lines {
            read,
            used,
            unreadable,
            lost,
        } = lines;
        Self {
            read,
            used,
            unreadable,
            lost,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArchData {
    architecture: String,
    calls: u64,
    syscalls: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<NumberRow>,
    #[serde(skip_serializing_if = "is_zero")]
    more_unknown: u64,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    calls: u64,
}

#[derive(Serialize)]
struct NumberRow {
    number: u32,
    calls: u64,
}

#[derive(Serialize)]
struct ActionData {
    action: &'static str,
    calls: u64,
}

#[derive(Serialize)]
struct ProgramData<'a> {
    comm: &'a str,
    exe: &'a str,
    calls: u64,
    architectures: Vec<ArchData>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn arch_data(calls: &CountsByArch) -> Vec<ArchData> {
    let one = |(arch, counts): (&Arch, &ArchCounts)| ArchData {
        architecture: arch.to_string(),
        calls: counts.calls(),
        syscalls: counts
            .by_calls()
            .into_iter()
            .map(|(call, calls)| Row {
                name: call.name(),
                calls,
            })
            .collect(),
        unknown: counts
            .numbers
            .iter()
            .map(|(number, calls)| NumberRow {
                number: *number,
                calls: *calls,
            })
            .collect(),
        more_unknown: counts.more,
    };
    calls.iter().map(one).collect()
}

/// One JSON object.
pub fn to_json(counters: &CallCounters, lines: Lines) -> serde_json::Result<String> {
    let data = Data {
        lines: lines.into(),
        calls: total(&counters.all),
        filtered_out: counters.left_out,
        architectures: arch_data(&counters.all),
        actions: counters
            .verdicts
            .iter()
            .map(|(action, calls)| ActionData {
                action: action.name(),
                calls: *calls,
            })
            .collect(),
        programs: counters
            .programs()
            .into_iter()
            .map(|p| ProgramData {
                comm: p.comm,
                exe: p.exe,
                calls: p.total(),
                architectures: arch_data(p.calls),
            })
            .collect(),
        other_programs: arch_data(&counters.other_programs),
    };
    Ok(serde_json::to_string_pretty(&data)? + "\n")
}

/// The names, one a line.
pub fn to_names(counters: &CallCounters) -> String {
    counters
        .names()
        .iter()
        .fold(String::new(), |out, call| out + call.name() + "\n")
}

/// Text for people.
pub fn to_text(counters: &CallCounters, style: Style) -> String {
    let mut out = String::new();
    for (arch, counts) in &counters.all {
        let head = format!(
            "{}: {} of {}\n",
            arch.native_name(),
            plural(counts.calls(), "call"),
            plural(counts.syscalls(), "syscall")
        );
        if !out.is_empty() {
            out.push('\n');
        }
        out += &style.bold(&head);
        for (call, calls) in counts.by_calls() {
            let _ = writeln!(out, "{calls:>10}  {call}");
        }
        for (number, calls) in &counts.numbers {
            let _ = writeln!(out, "{calls:>10}  number {number} (unknown)");
        }
        if counts.more > 0 {
            let _ = writeln!(out, "{:>10}  other numbers (unknown)", counts.more);
        }
    }
    if !counters.verdicts.is_empty() {
        out += &style.bold("\nWhat the filter did\n");
        for (verdict, calls) in &counters.verdicts {
            let _ = writeln!(out, "{calls:>10}  {}", verdict.name());
        }
    }
    let programs = counters.programs();
    if programs
        .iter()
        .any(|p| !p.comm.is_empty() || !p.exe.is_empty())
    {
        out += &style.bold("\nPrograms\n");
        let width = programs
            .iter()
            .map(|p| visible(p.comm).chars().count())
            .max();
        let width = width.unwrap_or(0).max(4);
        let _ = writeln!(out, "     CALLS  SYSCALLS  {:width$}  EXE", "COMM");
        for program in programs {
            let syscalls: usize = program.calls.values().map(ArchCounts::syscalls).sum();
            let known = |text: &str| {
                if text.is_empty() {
                    "-".into()
                } else {
                    visible(text)
                }
            };
            let _ = writeln!(
                out,
                "{:>10}  {syscalls:>8}  {:width$}  {}",
                program.total(),
                known(program.comm),
                known(program.exe)
            );
        }
        if !counters.other_programs.is_empty() {
            let calls = total(&counters.other_programs);
            let _ = writeln!(
                out,
                "{calls:>10}            (programs beyond the first thousand)"
            );
        }
    }
    out
}

/// Why no profile can be made.
#[derive(Debug, thiserror::Error)]
pub enum NoProfile {
    /// A profile is for the machines of one kind.
    #[error(
        "the trace is of machines of several kinds ({0}); choose those of one with --arch, and make a profile for each"
    )]
    SeveralMachines(String),
    /// The engine refuses it: a fault of this program's.
    #[error("cannot make a profile of this")]
    Refused(#[source] Problems),
}

/// The flags of clone that make namespaces, as in the runtimes' own profiles.
const NAMESPACES: u32 = 0x7e02_0000;

/// An allowlist of the calls that were made, and of what the runtime needs.
pub fn to_profile(counters: &CallCounters, runtime: Option<Runtime>) -> Result<Profile, NoProfile> {
    let mut natives: Vec<_> = counters
        .all
        .keys()
        .map(|a| machine::native_of(*a))
        .collect();
    // A 32-bit Arm program may run on either kind of machine: on the one that the rest is of.
    if natives.contains(&Arch::Aarch64) {
        natives.retain(|native| *native != Arch::Arm);
    }
    natives.sort_unstable();
    natives.dedup();
    let [native] = natives[..] else {
        let names: Vec<_> = natives.iter().map(|n| n.native_name()).collect();
        return Err(NoProfile::SeveralMachines(names.join(", ")));
    };
    let mut names = counters.names();
    let arches: Vec<_> = counters.all.keys().copied().collect();
    names.extend(every_program_needs(&arches));
    names.extend(
        runtime
            .map(|runtime| runtime.needs(native))
            .unwrap_or_default(),
    );
    let document = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": arches.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "syscalls": rules(names, native, &arches),
    });
    let target = Target {
        arch: native,
        // Nothing in the document depends on these.
        kernel: KernelVersion { major: 6, minor: 0 },
        capabilities: CapabilitySet::EMPTY,
    };
    let document = seccomp_profile::parse(&document, "").map_err(NoProfile::Refused)?;
    Ok(document.resolve(&target))
}

/// A SeccompProfile with that document, as YAML.
pub fn to_manifest(name: &str, profile: &Profile) -> Result<String, Failure> {
    let document: Value = serde_json::from_slice(&profile.to_canonical_json())?;
    output::yaml(&json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "SeccompProfile",
        "metadata": {"name": name},
        "spec": {"profile": document},
    }))
}

/// The name of the program with the most calls, as far as an object may have it.
pub fn likely_name(counters: &CallCounters) -> String {
    let programs = counters.programs();
    let most = programs.iter().max_by_key(|program| program.total());
    let comm = most.map_or("", |program| program.comm);
    let plain = comm
        .to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let name = plain.trim_matches('-');
    if ProfileName::parse(name).is_ok() {
        name.to_owned()
    } else {
        "traced".to_owned()
    }
}

/// The rules of an allowlist of these calls. A trace shows the calls of one C library on one kernel: what is new is answered so that
/// others use what is allowed. `clone` makes processes and threads, and namespaces only where the trace shows that the program
/// deals with them; the flags of `clone3` cannot be seen.
fn rules(mut names: BTreeSet<Syscall>, native: Arch, arches: &[Arch]) -> Vec<Value> {
    let call = Syscall::named;
    let has =
        |names: &BTreeSet<Syscall>, name| call(name).is_some_and(|call| names.contains(&call));
    let mut rules = Vec::new();
    let makes_namespaces = ["setns", "unshare"]
        .into_iter()
        .any(|name| has(&names, name));
    let clones = ["clone", "clone3"]
        .into_iter()
        .any(|name| has(&names, name));
    if clones && !makes_namespaces {
        names.retain(|call| !["clone", "clone3"].contains(&call.name()));
        // On s390x the flags are the second argument.
        let index = u8::from(native == Arch::S390X);
        let flags = json!([{"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": NAMESPACES, "valueTwo": 0}]);
        rules.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": flags}));
    }
    let mut allowed: Vec<_> = names.iter().copied().collect();
    let words = |calls: &[Syscall]| calls.iter().map(|call| call.name()).collect::<Vec<_>>();
    rules.push(json!({"names": words(&allowed), "action": "SCMP_ACT_ALLOW"}));
    if clones {
        allowed.extend(call("clone"));
    }
    let answered = seccomp_profile::to_answer_enosys(&allowed, arches);
    if !answered.is_empty() {
        let enosys = 38;
        rules.push(
            json!({"names": words(&answered), "action": "SCMP_ACT_ERRNO", "errnoRet": enosys}),
        );
    }
    rules
}
