//! `kubectl seccomp probe`: which syscalls the seccomp filter in force really stops, found out without executing any.

mod kernel;
mod names;
mod plan;
mod pod;
mod render;
mod report;
mod status;
mod sweep;

use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use kernel::Call;
use names::Abi;
pub use plan::UNFILTERED;
use plan::{Probe, Trial};
pub use pod::{At, ask};
pub use report::Decision;
use report::{AbiState, NamedCall, Native, OtherAbi, ProbeReport, Rows, UnknownNumber};
use status::Status;
use sweep::{Method, SweepError};

use super::text::Style;
use super::{Failure, Findings, output};
use seccomp_profile::{Arguments, Syscall};

/// Arguments of `probe`.
#[derive(Args, Debug)]
pub struct ProbeArgs {
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = ProbeFormat::Text)]
    output: ProbeFormat,
    /// Also probe this call: a syscall of this architecture and up to five arguments (`socket(AF_ALG)` or `socket:38,5`).
    #[arg(long = "call", value_name = "CALL", value_parser = plan::custom)]
    calls: Vec<Probe>,
    /// Exit with 1 unless each of these is stopped, whatever its arguments: syscall names, or calls as in the output
    /// (`unshare(CLONE_NEWUSER)`).
    #[arg(long, value_name = "CALL", value_delimiter = ' ', num_args = 1)]
    must_stop: Vec<String>,
    /// Exit with 1 unless each of these is permitted, whatever its arguments.
    #[arg(long, value_name = "CALL", value_delimiter = ' ', num_args = 1)]
    must_permit: Vec<String>,
    #[command(flatten)]
    at: pod::PodArgs,
}

impl ProbeArgs {
    /// Whether this very process is what is probed.
    pub fn is_here(&self) -> bool {
        self.at.pod.is_none()
    }

    /// The same for a probe elsewhere.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.output == ProbeFormat::Json {
            words.push("--output=json".to_owned());
        }
        for probe in &self.calls {
            if let Trial::Named { label, .. } = &probe.trial {
                words.push(format!("--call={label}"));
            }
        }
        words.extend(
            self.must_stop
                .iter()
                .map(|call| format!("--must-stop={call}")),
        );
        words.extend(
            self.must_permit
                .iter()
                .map(|call| format!("--must-permit={call}")),
        );
        words
    }
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProbeFormat {
    /// Text for people.
    Text,
    /// One JSON object.
    Json,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Every syscall is called and none is executed: a filter of this program's own, stacked on the one in force, catches the
calls that the latter lets through. So EPERM from the filter is told from EPERM for want of a capability, calls that end
or fork a process can be probed like any other, and nothing in the container changes. It needs no privilege and no file
of the container but, if it is there, /proc/self/status. Under a filter that logs what it stops, the probed calls are logged.

With POD it runs beside the pod's containers, under the profile of one of them, with the user and capabilities that its
securityContext states: as an ephemeral container, which stays in the pod's list, ended, or in a pod of its own on the same
node, which is removed (Kubernetes 1.22 and before, and pods that have ended). That takes the rights to get pods and pods/log,
and to patch pods/ephemeralcontainers or to create and delete pods. The image of the container that is probed does not matter.

Examples:
  # The filter of a pod's container
  kubectl seccomp probe web-0 -n shop --container main

  # Fail unless the pod's profile stops these, with an image of one's own registry
  kubectl seccomp probe web-0 --image registry.example/seccomp-operator:0.1.0 --must-stop 'chmod bpf'

  # A call with arguments of one's own
  kubectl seccomp probe web-0 --call socket:38,5

  # In a running container that has a shell: the filter of that very container
  kubectl exec -i web-0 -- sh -c 'cd /tmp && cat >kubectl-seccomp && chmod +x kubectl-seccomp && ./kubectl-seccomp probe' <kubectl-seccomp

  # In CI: fail unless the profile closes these
  kubectl seccomp probe --must-stop 'unshare(CLONE_NEWUSER) bpf socket(AF_ALG)' --must-permit 'openat'

  # The names of the stopped syscalls, for a script
  kubectl seccomp probe -o json | jq -r '.native.stopped[].name'

Exit status: 0 done; 1 --must-stop or --must-permit is not met; 2 wrong use, or no probe can be made.";

/// Whether it begins with a syscall's name, or is a number.
fn is_call(wanted: &str) -> bool {
    let name = wanted.split(['(', ':']).next().unwrap_or_default();
    Syscall::named(name).is_some() || name.starts_with(|first: char| first.is_ascii_digit())
}

/// Probes and prints.
pub fn run(args: &ProbeArgs) -> Result<Findings, Failure> {
    if let Some(name) = &args.at.pod {
        // Before anything is added to the pod. What its own architecture lacks, the probe there says.
        let named = args.must_stop.iter().chain(&args.must_permit);
        if let Some(wanted) = named.into_iter().find(|wanted| !is_call(wanted)) {
            return Err(Failure::Usage(format!(
                "`{wanted}` is no syscall of any architecture"
            )));
        }
        return pod::run(name, &args.at, &args.words());
    }
    let native = Abi::native().map_err(|error| Failure::Usage(error.to_string()))?;
    for wanted in args.must_stop.iter().chain(&args.must_permit) {
        if !is_known(native, wanted, &args.calls) {
            return Err(Failure::Usage(format!(
                "`{wanted}` is neither a syscall of {} nor a call that is probed",
                native.as_str()
            )));
        }
    }
    let report = probe(native, &args.calls)?;
    let text = match args.output {
        ProbeFormat::Text => report.to_text(Style::for_stdout()),
        ProbeFormat::Json => output::json(&report)?,
    };
    output::print(text)?;
    let unmet = unmet(&report, args);
    if unmet.is_empty() {
        Ok(Findings::None)
    } else {
        Ok(Findings::Some(unmet))
    }
}

fn is_known(native: Abi, wanted: &str, calls: &[Probe]) -> bool {
    plan::filtered(native).any(|s| s.name == wanted)
        || plan::second_round(native, |_| false, |_| false, calls)
            .iter()
            .any(|p| matches!(&p.trial, Trial::Named { label, .. } if label == wanted))
}

/// One line for each expectation that is not met.
fn unmet(report: &ProbeReport, args: &ProbeArgs) -> String {
    let call = |wanted: &str| report.calls.iter().find(|c| c.call == wanted);
    let mut lines = String::new();
    for wanted in &args.must_stop {
        if !call(wanted).map_or_else(|| report.native.stops(wanted), |c| c.decision.stops()) {
            let _ = writeln!(lines, "{wanted}: not stopped");
        }
    }
    for wanted in &args.must_permit {
        if !call(wanted).map_or_else(
            || report.native.permits(wanted),
            |c| c.decision == Decision::Permitted,
        ) {
            let _ = writeln!(lines, "{wanted}: not permitted");
        }
    }
    lines
}

fn probe(native: Abi, extra: &[Probe]) -> Result<ProbeReport, Failure> {
    // Without /proc, less is known and nothing else changes.
    let status = Status::parse(&read("/proc/self/status").unwrap_or_default());
    let (
        method,
        Round {
            mut rows,
            traps_told,
        },
    ) = first_sweep(native, &status)?;
    let decision = |nr: u32| {
        rows.iter()
            .find(|(p, _)| p.abi == native && p.nr == nr)
            .map_or(Decision::Silent, |(_, d)| *d)
    };
    let alive = |nr| {
        matches!(
            decision(nr),
            Decision::Permitted | Decision::Errno(_) | Decision::Untold
        )
    };
    let open = |abi| {
        let decisions: Vec<_> = rows
            .iter()
            .filter(|(p, _)| p.abi == abi)
            .map(|(_, d)| *d)
            .collect();
        AbiState::from_decisions(&decisions) == AbiState::Filtered
    };
    let second = decide(
        &plan::trials(native),
        plan::second_round(native, alive, open, extra),
        method,
    )?;
    rows.extend(second.rows);
    Ok(report(
        native,
        status,
        method,
        &rows,
        traps_told && second.traps_told,
    ))
}

/// What the filter in force for this process does with native calls, in their order. The sixth argument marks the probe, and is no choice.
pub fn decide_all(calls: &[(Syscall, Arguments)]) -> Result<Vec<Decision>, Failure> {
    let native = Abi::native().map_err(|error| Failure::Usage(error.to_string()))?;
    let status = Status::parse(&read("/proc/self/status").unwrap_or_default());
    let (method, _) = first_sweep(native, &status)?;
    let probes: Option<Vec<_>> = calls
        .iter()
        .map(|(call, args)| plan::chosen(native, *call, *args))
        .collect();
    let probes = probes.ok_or_else(|| {
        let reason = "a call is none that a filter is asked about here";
        Failure::Usage(reason.into())
    })?;
    let round = decide(&plan::trials(native), probes, method)?;
    Ok(round
        .rows
        .into_iter()
        .map(|(_, decision)| decision)
        .collect())
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The first round, by the better method that works here.
fn first_sweep(native: Abi, status: &Status) -> Result<(Method, Round), Failure> {
    let refused = match decide(
        &plan::trials(native),
        plan::first_round(native),
        Method::Listener,
    ) {
        Ok(decided) => return Ok((Method::Listener, decided)),
        Err(error @ (SweepError::ForeignListener | SweepError::Executed)) => {
            return Err(error.into());
        }
        Err(error) => error,
    };
    // A tracer would be asked, and could have the calls executed.
    if status.tracer != Some(0) {
        return Err(refused.into());
    }
    match decide(
        &plan::trials_of_all(native),
        plan::first_round(native),
        Method::AbsentTracer,
    ) {
        Ok(decided) => Ok((Method::AbsentTracer, decided)),
        Err(error @ SweepError::Executed) => Err(error.into()),
        Err(_) => Err(refused.into()),
    }
}

/// Probes with what became of them.
struct Round {
    rows: Vec<(Probe, Decision)>,
    traps_told: bool,
}

fn decide(trials: &[Call], probes: Vec<Probe>, method: Method) -> Result<Round, SweepError> {
    let calls: Vec<_> = probes.iter().map(Probe::call).collect();
    let sweep = sweep::sweep(trials, &calls, method)?;
    let rows = probes
        .into_iter()
        .zip(sweep.outcomes.into_iter().map(Decision::from))
        .collect();
    Ok(Round {
        rows,
        traps_told: sweep.traps_told,
    })
}

fn report(
    native: Abi,
    status: Status,
    method: Method,
    rows: &Rows,
    traps_told: bool,
) -> ProbeReport {
    let gathered = Native::gather(native, rows);
    let with = |wanted: fn(&Trial) -> bool| rows.iter().filter(move |(p, _)| wanted(&p.trial));
    ProbeReport {
        kernel: read("/proc/sys/kernel/osrelease")
            .map_or_else(|| "unknown".into(), |r| r.trim().into()),
        architecture: native.as_str(),
        status,
        method: match method {
            Method::Listener => "listener",
            Method::AbsentTracer => "absentTracer",
        },
        calls: with(|t| matches!(t, Trial::Named { .. }))
            .filter_map(|(p, d)| match &p.trial {
                Trial::Named { label, .. } => Some(NamedCall {
                    call: label.clone(),
                    decision: *d,
                }),
                _ => None,
            })
            .collect(),
        unknown_numbers: with(|t| matches!(t, Trial::UnknownNumber))
            .map(|(p, d)| UnknownNumber {
                number: p.nr,
                decision: *d,
            })
            .collect(),
        other_abis: native
            .foreign()
            .iter()
            .map(|abi| OtherAbi::gather(*abi, rows, &gathered))
            .collect(),
        native: gathered,
        limits: report::limits(native, method, traps_told),
    }
}
