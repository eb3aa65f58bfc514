//! `kubectl seccomp check`: which calls of a trace a profile would stop. `recorded` says the same of a recording.

mod recorded;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Source, nothing, read, warn};
use crate::cluster::ClusterArgs;
use crate::target::TargetArgs;
use crate::text::{Style, plural, visible};
use crate::view::{ActionData, CallEffect, View, words};
use crate::{Failure, Findings, output};
use seccomp_profile::{Action, Arch, Loader};
use seccomp_traces::{Call, CallCounters, Called, Filter, Traces, total};

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The profile: a file, or the name of a built-in; with --recording also that of a SeccompProfile of the cluster.
    profile: PathBuf,
    /// The traces: strace's output, seccomp's audit records, or names of syscalls; `-` for standard input, which is also
    /// read if there are none.
    traces: Vec<PathBuf>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = CheckFormat::Text)]
    output: CheckFormat,
    /// Calls that the profile stops for some arguments are findings too.
    #[arg(long)]
    strict: bool,
    /// The container runtime that loads the filter.
    #[arg(long, value_name = "RUNTIME[=VERSION]", default_value = "runc")]
    runtime: Loader,
    /// Only calls of programs of that name (`*` for any text).
    #[arg(long, value_name = "NAME")]
    comm: Vec<String>,
    #[command(flatten)]
    target: TargetArgs,
    /// Instead of traces: what this SeccompRecording has seen.
    #[arg(long, value_name = "RECORDING", conflicts_with_all = ["traces", "comm"])]
    recording: Option<String>,
    /// Instead of asking the cluster: a file with the recording or its reports, as `kubectl get -o yaml` prints them.
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with_all = ["traces", "comm"])]
    recording_file: Option<PathBuf>,
    /// The recording's namespace [default: that of the kubeconfig's context].
    #[arg(short, long, requires = "recording")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Examples:
  # Would this program still work under that profile?
  strace -f -n -o trace.txt ./server --selftest
  kubectl seccomp check profile.json trace.txt

  # In CI: fail if a release calls what its profile does not allow
  strace -f -n -o '|kubectl-seccomp check profile.json -' ./server --selftest

  # Before a new profile goes out: would it have stopped what the old one logged?
  journalctl _TRANSPORT=audit --since -1d | kubectl seccomp check new.json

  # Would the profile have stopped what a recording saw? What does it allow that was never seen?
  kubectl seccomp check nginx.yaml --recording web -n shop

  # The same without a cluster
  kubectl get seccomprecordings,seccomprecordingreports -n shop -o yaml >recorded.yaml
  kubectl seccomp check nginx.yaml -f recorded.yaml --recording web

  # May these be called?
  echo bpf unshare | tr ' ' '\\n' | kubectl seccomp check profile.json

Where the profile decides by arguments, what strace shows of them is compared: numbers and their names, such as AF_INET,
SOCK_STREAM|SOCK_CLOEXEC or CLONE_NEWUSER, and the registers in records of audit rules. Calls whose arguments are not shown, or not in words that
are known here, are listed apart, and count as findings with --strict. Of a recording's calls the values are compared that it has kept, and what its
base refused each time does not count.

Exit status: 0 nothing is stopped; 1 something is, or there are no calls, or the profile is wrong; 2 wrong use, or a file
cannot be read.";

/// What the profile does with calls that it decides by arguments, where the trace shows those that matter.
#[derive(Debug, Default)]
struct Decided {
    by_call: HashMap<(Arch, Called), DecidedCalls>,
    none: DecidedCalls,
}

#[derive(Debug, Default)]
struct DecidedCalls {
    permitted: u64,
    stopped: u64,
    /// What happens to those that are stopped.
    actions: BTreeSet<Action>,
    /// The first of them.
    example: Option<String>,
}

impl Decided {
    fn add(&mut self, call: &Call<'_>, view: &View) {
        // Conditions are on calls that have names.
        let Called::Known(syscall) = call.called else {
            return;
        };
        let Some(number) = syscall.number(call.arch) else {
            return;
        };
        let CallEffect::ByArguments(decision) = view.effect(call.arch, number) else {
            return;
        };
        let known = call.arguments.known(syscall, call.arch);
        let actions = decision.actions_given(&known);
        let is_permitted = actions.iter().all(|action| action.is_permitted());
        if !is_permitted && actions.iter().any(|action| action.is_permitted()) {
            return;
        }
        let calls = self.by_call.entry((call.arch, call.called)).or_default();
        if is_permitted {
            calls.permitted = calls.permitted.saturating_add(call.times);
        } else {
            calls.stopped = calls.stopped.saturating_add(call.times);
            calls.actions.extend(actions);
            if calls.example.is_none() {
                calls.example = call.arguments.shown().map(short);
            }
        }
    }

    fn of(&self, arch: Arch, called: Called) -> &DecidedCalls {
        self.by_call.get(&(arch, called)).unwrap_or(&self.none)
    }
}

/// As much as a line has room for.
fn short(text: String) -> String {
    const SHOWN: usize = 100;
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

/// A call that the profile does not simply permit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    calls: u64,
    /// What may happen, the strictest first: several if it depends on the arguments.
    actions: Vec<ActionData>,
    /// The first of the calls that are stopped for their arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<String>,
    #[serde(skip)]
    arch: Arch,
    #[serde(skip)]
    words: String,
    programs: Vec<String>,
}

#[derive(Serialize)]
struct Data {
    calls: u64,
    stopped: Vec<Finding>,
    conditional: Vec<Finding>,
}

/// Compares and prints.
pub fn run(args: &CheckArgs) -> Result<Findings, Failure> {
    if args.recording.is_some() || args.recording_file.is_some() {
        return recorded::run(args);
    }
    let (named, profile, target) = match args.target.read_one(Some(&args.profile))? {
        Ok(one) => one,
        Err(faulty) => return Ok(faulty.into()),
    };
    let view = match View::from_profile(&profile, target.arch, args.runtime) {
        Ok(view) => view,
        Err(error) => return Ok(Findings::Some(format!("{}: {error}\n", named.name))),
    };
    let filter = Filter {
        comms: args.comm.clone(),
        ..Filter::default()
    };
    let mut traces = Traces::of_any(target.arch, filter);
    let mut decided = Decided::default();
    let mut decide = |call: &Call<'_>| decided.add(call, &view);
    read(&args.traces, &mut traces, &mut decide)?;
    let reading = traces.end();
    warn(&reading);
    let calls = total(&reading.counters.all);
    if calls == 0 {
        let source = Source {
            what: "system call",
            hint: "give strace's output, audit records or names of syscalls",
            is_shared: true,
        };
        return Ok(Findings::Some(nothing(&reading, &source)));
    }
    let (stopped, conditional) =
        findings(&reading.counters, &decided, &view, profile.default_action());
    let data = Data {
        calls,
        stopped,
        conditional,
    };
    let text = match args.output {
        CheckFormat::Text => to_text(&data, &named.name, Style::for_stdout()),
        CheckFormat::Json => output::json(&data)?,
    };
    output::print(text)?;
    let fine = data.stopped.is_empty() && (!args.strict || data.conditional.is_empty());
    Ok(if fine {
        Findings::None
    } else {
        Findings::Some(String::new())
    })
}

/// What is stopped whatever the arguments, and what is so for some.
fn findings(
    counters: &CallCounters,
    decided: &Decided,
    view: &View,
    default: Action,
) -> (Vec<Finding>, Vec<Finding>) {
    let (mut stopped, mut conditional) = (vec![], vec![]);
    for (arch, counts) in &counters.all {
        let known = counts.by_calls().into_iter();
        let known = known.map(|(call, calls)| (Called::Known(call), calls));
        let numbers = counts.numbers.iter();
        let numbers = numbers.map(|(number, calls)| (Called::Number(*number), *calls));
        for (called, calls) in known.chain(numbers) {
            let (name, number) = match called {
                Called::Known(call) => (Some(call.name()), call.number(*arch)),
                Called::Number(number) => (None, Some(number)),
            };
            // A name in a list may be of another architecture: it cannot be called at all.
            let Some(number) = number else {
                continue;
            };
            let what = view.effect(*arch, number);
            let actions = what.actions();
            if actions.iter().all(|a| a.is_permitted()) {
                continue;
            }
            let finding = |calls, actions: &[Action], words, example| Finding {
                architecture: arch.to_string(),
                name,
                number: name.is_none().then_some(number),
                calls,
                actions: actions.iter().map(|a| (*a).into()).collect(),
                example,
                arch: *arch,
                words,
                programs: programs(counters, *arch, called),
            };
            let CallEffect::ByArguments(_) = &what else {
                let all: Vec<_> = actions.iter().map(|action| words(*action)).collect();
                stopped.push(finding(calls, &actions, all.join(" or "), None));
                continue;
            };
            let by_arguments = decided.of(*arch, called);
            if by_arguments.stopped > 0 {
                let actions: Vec<_> = by_arguments.actions.iter().copied().collect();
                let all: Vec<_> = actions.iter().map(|action| words(*action)).collect();
                let example = by_arguments.example.clone();
                stopped.push(finding(
                    by_arguments.stopped,
                    &actions,
                    all.join(" or "),
                    example,
                ));
            }
            let open = calls.saturating_sub(by_arguments.stopped + by_arguments.permitted);
            if open > 0 {
                let words = what.words(*arch, default);
                conditional.push(finding(open, &actions, words, None));
            }
        }
    }
    (stopped, conditional)
}

/// The programs that made the call, those with the most calls first.
fn programs(counters: &CallCounters, arch: Arch, called: Called) -> Vec<String> {
    const SHOWN: usize = 5;
    counters
        .programs()
        .iter()
        .filter(|p| !p.comm.is_empty() && p.calls.get(&arch).is_some_and(|c| c.has(called)))
        .map(|p| p.comm.to_owned())
        .take(SHOWN)
        .collect()
}

fn to_text(data: &Data, profile: &str, style: Style) -> String {
    let mut out = String::new();
    for (head, findings) in [
        ("Stopped", &data.stopped),
        ("Stopped or not, by arguments", &data.conditional),
    ] {
        if findings.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out += &style.bold(&format!("{head}\n"));
        for finding in findings {
            let name = finding.name.map_or_else(
                || format!("number {}", finding.number.unwrap_or_default()),
                str::to_owned,
            );
            let arch = finding.arch.native_name();
            let _ = write!(
                out,
                "{:>10}  {arch} {name}: {}",
                finding.calls, finding.words
            );
            if let Some(example) = &finding.example {
                let _ = write!(out, " for {}", visible(example));
            }
            if finding.programs.is_empty() {
                out.push('\n');
            } else {
                let _ = writeln!(out, " ({})", visible(&finding.programs.join(", ")));
            }
        }
    }
    if out.is_empty() {
        let calls = plural(data.calls, "call");
        let _ = writeln!(out, "{profile} stops none of the {calls}");
    }
    out
}
