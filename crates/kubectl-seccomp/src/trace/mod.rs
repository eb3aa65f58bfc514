//! `kubectl seccomp from-strace` and `from-audit`: what programs called, counted, and allowlists made of it.

pub mod check;
pub mod report;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::input::Input;
use super::text::{Style, plural, visible};
use super::{Failure, Findings, machine, output};
use seccomp_operator_api::ProfileName;
use seccomp_profile::Arch;
use seccomp_traces::{Call, Filter, Lines, Progress, Puzzle, Reading, Traces, Verdict, total};

/// What both commands have.
#[derive(Args, Debug)]
struct Common {
    /// The files to read, `-` for standard input, which is also read if there are none.
    files: Vec<PathBuf>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = TraceFormat::Text)]
    output: TraceFormat,
    /// With `-o manifest`: the SeccompProfile's name [default: that of the program with the most calls].
    #[arg(long, value_name = "NAME", value_parser = profile_name)]
    name: Option<String>,
    /// With `-o profile` and `-o manifest`: the container runtime whose own calls the profile must allow as well [default: runc].
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// With `-o profile` and `-o manifest`: write it although more than a tenth of the lines is not understood.
    #[arg(long)]
    allow_unread: bool,
    /// Only calls of programs of that name (`*` for any text; the kernel keeps 15 characters).
    #[arg(long, value_name = "NAME")]
    comm: Vec<String>,
    /// Only calls of programs at that path (`*` for any text).
    #[arg(long, value_name = "PATH")]
    exe: Vec<String>,
    /// Only calls of that process (or thread).
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
}

/// Arguments of `from-strace`.
#[derive(Args, Debug)]
pub struct StraceArgs {
    #[command(flatten)]
    common: Common,
    /// The architecture of the machine that the trace is from [default: this one's].
    #[arg(long, value_parser = machine::argument, value_name = "ARCH")]
    arch: Option<Arch>,
}

/// Arguments of `from-audit`.
#[derive(Args, Debug)]
pub struct AuditArgs {
    #[command(flatten)]
    common: Common,
    /// Only calls on machines of that architecture, those of their 32-bit programs too.
    #[arg(long, value_parser = machine::argument, value_name = "ARCH")]
    arch: Option<Arch>,
    /// Only calls with which the filter did that: kill (either kind), kill-process, kill-thread, trap, errno, notify,
    /// trace, log, allow.
    #[arg(long, value_name = "ACTION", value_delimiter = ',', value_parser = verdicts)]
    action: Vec<Verdicts>,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TraceFormat {
    /// Tables for people.
    Text,
    /// The names of the syscalls, one a line.
    Names,
    /// One JSON object with all counts.
    Json,
    /// A profile that allows these calls and no others.
    Profile,
    /// The same as a SeccompProfile, to be applied or changed.
    Manifest,
}

/// Whose calls a profile allows besides those of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// runc 1.1 to 1.4 (containerd's and Docker's).
    Runc,
    /// crun 1.28 (Podman's and CRI-O's).
    Crun,
    /// Nothing is added.
    None,
}

impl Runtime {
    fn known(self) -> Option<seccomp_profile::Runtime> {
        match self {
            Self::Runc => Some(seccomp_profile::Runtime::Runc),
            Self::Crun => Some(seccomp_profile::Runtime::Crun),
            Self::None => None,
        }
    }
}

fn profile_name(name: &str) -> Result<String, String> {
    let parsed = ProfileName::parse(name).map_err(|error| error.to_string());
    parsed.map(|name| name.as_str().to_owned())
}

/// What one word of `--action` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdicts(Vec<Verdict>);

fn verdicts(word: &str) -> Result<Verdicts, String> {
    if word == "kill" {
        return Ok(Verdicts(vec![Verdict::KillProcess, Verdict::KillThread]));
    }
    let verdict = Verdict::ALL.into_iter().find(|v| v.name() == word);
    verdict.map(|v| Verdicts(vec![v])).ok_or_else(|| {
        let words = Verdict::ALL.map(Verdict::name).join(", ");
        format!("the actions are kill, {words}")
    })
}

/// Shown below the options of `from-strace`.
pub const STRACE_EXAMPLES: &str = "\
Reads what strace prints or writes: with -f or without, with times (-t, -r, -T), numbers (-n), names of threads (-Y), one
file for each process (-ff -o), and the tables of -c. Programs are told apart by their execve calls. Also what perf trace prints (-s too),
perf script of raw_syscalls and syscalls events, and maps of bpftrace with numbers (@[comm, args.id] = count()).

32-bit programs are kept apart by the numbers of their calls (strace -n), by strace's message `[ Process PID=... runs in
32 bit mode. ]`, which it does not write to the file of -o, or else by the first name that only one architecture has.
Where strace shows a socket call that a 32-bit program may have made through socketcall, both count, unless there are
numbers.

Examples:
  # What does this program call?
  strace -f -n -o trace.txt ./server --selftest
  kubectl seccomp from-strace trace.txt

  # A profile for it, in one go
  strace -f -o '|kubectl-seccomp from-strace -o profile >server.json' ./server --selftest

  # A SeccompProfile of it, to which a call is added by hand that the trace does not hold, and one taken away
  kubectl seccomp from-strace -o manifest --name server trace.txt >server.yaml
  printf '  allow: [getrandom]\n  deny: [ptrace]\n' >>server.yaml
  kubectl seccomp lint server.yaml && kubectl apply -f server.yaml

  # Only what nginx itself calls, not the shell that starts it
  kubectl seccomp from-strace --comm nginx -o names trace.txt

  # One file for each process
  strace -ff -o /tmp/t ./server; kubectl seccomp from-strace -o profile /tmp/t.*

  # A trace from an arm64 machine, for a node with crun
  kubectl seccomp from-strace --arch arm64 --runtime crun -o profile trace.txt

A profile (-o profile, -o manifest) denies with EPERM what the trace does not hold: trace all that the program does. It allows besides
what the container runtime calls itself (--runtime), and what no program can end without (exit_group, rt_sigreturn, ...).
New calls whose older ones were made get ENOSYS, so that programs fall back to those. Where the trace holds neither unshare nor setns,
clone is allowed without the flags that make namespaces, and clone3, whose flags no filter sees, gets ENOSYS too.
Each name is allowed for all architectures of the profile.

Exit status: 0 done; 1 no call found, or no profile because more than a tenth of the lines is not understood; 2 wrong use,
or a file cannot be read. Lines that are not understood, such as the traced program's own output, are counted on standard
error.";

/// Shown below the options of `from-audit`.
pub const AUDIT_EXAMPLES: &str = "\
Reads the kernel's seccomp records (type 1326) wherever they are kept: dmesg and syslog (also in JSON), `journalctl` (any
-o), /var/log/audit/audit.log, `ausearch` (also -i), and what Docker, rsyslog, Fluent Bit and Cloud Logging make of them;
records of audit rules (type SYSCALL) too. A call counts once, however many of these hold it. Architectures are kept apart, whatever the line says of names. Profiles
with SCMP_ACT_LOG are logged always, denials only under SECCOMP_FILTER_FLAG_LOG, kills always.

Examples:
  # What did programs call under a profile that logs?
  journalctl _TRANSPORT=audit --since -1h | kubectl seccomp from-audit

  # A profile of what nginx called
  kubectl seccomp from-audit --comm nginx --action log -o profile /var/log/audit/audit.log

  # What is being denied on this node, and to whom?
  dmesg | kubectl seccomp from-audit --action errno,kill

  # The names of the calls, for a script
  ausearch -m SECCOMP --raw | kubectl seccomp from-audit -o names

Into its own log (dmesg, journalctl -k) the kernel writes 10 lines in 5 seconds and leaves the others out; what it says
about that, and what is missing between the serial numbers, is counted on standard error. An allowlist from such a log
lacks calls. journalctl _TRANSPORT=audit and auditd have them all.

Exit status: 0 done; 1 no call found, or no profile because more than a tenth of the records is not understood; 2 wrong
use, or a file cannot be read.";

/// Counts the calls in strace's output.
pub fn from_strace(args: &StraceArgs) -> Result<Findings, Failure> {
    let native = args.arch.unwrap_or(machine::HOST);
    let mut traces = Traces::of_tracers(native, args.common.filter());
    let source = Source {
        what: "system call",
        hint: "is it what strace, perf or bpftrace writes?",
        is_shared: false,
    };
    read(&args.common.files, &mut traces, &mut |_| {})?;
    args.common.write(&traces.end(), &source)
}

/// Counts the calls in seccomp's records.
pub fn from_audit(args: &AuditArgs) -> Result<Findings, Failure> {
    let machine = args.arch.map(machine::native_of);
    let mut traces = Traces::of_audit(Filter {
        arches: machine.map_or_else(Vec::new, |machine| machine.abis().to_vec()),
        verdicts: args.action.iter().flat_map(|v| v.0.clone()).collect(),
        ..args.common.filter()
    });
    let source = Source {
        what: "seccomp record",
        hint: "the kernel logs what a profile denies only if the profile has SECCOMP_FILTER_FLAG_LOG, and to auditd \
               where that runs",
        is_shared: true,
    };
    read(&args.common.files, &mut traces, &mut |_| {})?;
    args.common.write(&traces.end(), &source)
}

/// What a command reads, in words.
struct Source {
    what: &'static str,
    hint: &'static str,
    /// Whether lines of others stand between, which are passed over.
    is_shared: bool,
}

impl Source {
    /// How many lines should have told of calls.
    fn lines(&self, lines: Lines) -> u64 {
        if self.is_shared {
            lines.used + lines.unreadable
        } else {
            lines.read
        }
    }

    /// Whether more than a tenth of them is not understood.
    fn is_misread(&self, lines: Lines) -> bool {
        lines.unreadable.saturating_mul(10) > self.lines(lines)
    }
}

/// A count that runs while a pipe goes on, on a terminal.
struct Count {
    progress: Arc<Progress>,
    /// Dropped to end it.
    stop: Option<mpsc::Sender<()>>,
    shows: Option<JoinHandle<()>>,
}

impl Count {
    /// None where nobody waits: for files, and where there is no terminal.
    fn of(input: &Input) -> Option<Self> {
        let may_go_on = *input == Input::Stdin && !std::io::stdin().is_terminal();
        let is_seen = may_go_on && std::io::stderr().is_terminal();
        is_seen.then(Self::start)
    }

    /// Shows on a thread of its own, since a pipe may pause after any line.
    fn start() -> Self {
        let progress = Arc::<Progress>::default();
        let (stop, stopped) = mpsc::channel();
        let shown = Arc::clone(&progress);
        let shows = std::thread::spawn(move || {
            let mut last = 0;
            while stopped.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout)
            {
                let (lines, used) = (shown.lines(), shown.used());
                if lines != last {
                    let text = plural(lines, "line");
                    eprint!("\r{text}, {used} of them about calls\x1b[K");
                }
                last = lines;
            }
            if last > 0 {
                eprint!("\r\x1b[K");
            }
        });
        Self {
            progress,
            stop: Some(stop),
            shows: Some(shows),
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.stop = None;
        // Nothing may be written behind it before it has cleared its line.
        let _ = self.shows.take().map(JoinHandle::join);
    }
}

/// Reads all files, and calls `counted` with what counts.
fn read(
    files: &[PathBuf],
    traces: &mut Traces,
    counted: &mut dyn FnMut(&Call<'_>),
) -> Result<(), Failure> {
    for input in Input::all(files) {
        let count = Count::of(&input);
        let progress = count.as_ref().map(|count| count.progress.as_ref());
        let from = input.open_unbuffered()?;
        traces
            .read(&input.name(), from, progress, counted)
            .map_err(|error| input.unreadable(error))?;
    }
    Ok(())
}

impl Common {
    fn filter(&self) -> Filter {
        Filter {
            comms: self.comm.clone(),
            exes: self.exe.clone(),
            pids: self.pid.clone(),
            ..Filter::default()
        }
    }

    fn runtime(&self) -> Option<seccomp_profile::Runtime> {
        self.runtime.unwrap_or(Runtime::Runc).known()
    }

    fn write(&self, reading: &Reading, source: &Source) -> Result<Findings, Failure> {
        let is_profile = matches!(self.output, TraceFormat::Profile | TraceFormat::Manifest);
        if self.runtime.is_some() && !is_profile {
            return Err(Failure::Usage(
                "--runtime goes with -o profile and -o manifest".into(),
            ));
        }
        if self.name.is_some() && self.output != TraceFormat::Manifest {
            return Err(Failure::Usage("--name goes with -o manifest".into()));
        }
        let Reading {
            counters, lines, ..
        } = reading;
        warn(reading);
        if total(&counters.all) == 0 {
            return Ok(Findings::Some(nothing(reading, source)));
        }
        if is_profile && !self.allow_unread && source.is_misread(*lines) {
            return Ok(Findings::Some(format!(
                "no profile is written: {} of {} not understood, so that it would deny calls that the program makes; \
                 --allow-unread writes it all the same\n",
                lines.unreadable,
                plural(source.lines(*lines), "line"),
            )));
        }
        let text = match self.output {
            TraceFormat::Text => report::to_text(counters, Style::for_stdout()).into_bytes(),
            TraceFormat::Names => report::to_names(counters).into_bytes(),
            TraceFormat::Json => report::to_json(counters, *lines)?.into_bytes(),
            TraceFormat::Profile => {
                report::to_profile(counters, self.runtime())?.to_canonical_json()
            }
            TraceFormat::Manifest => {
                let profile = report::to_profile(counters, self.runtime())?;
                let name = self.name.clone();
                let name = name.unwrap_or_else(|| report::likely_name(counters));
                report::to_manifest(&name, &profile)?.into_bytes()
            }
        };
        output::print(text)?;
        Ok(Findings::None)
    }
}

/// What the user should know and the output does not say.
fn warn(reading: &Reading) {
    let Reading {
        counters,
        lines,
        puzzle,
        caveat,
    } = reading;
    if let Some(caveat) = caveat {
        eprintln!("warning: {caveat}");
    }
    if let Some(Puzzle {
        input,
        number,
        start,
    }) = puzzle
    {
        eprintln!(
            "warning: {} of {} not understood; the first is line {number} of {input}: {}",
            lines.unreadable,
            plural(lines.read, "line"),
            visible(start)
        );
    }
    if lines.lost > 0 {
        eprintln!(
            "warning: the kernel left out at least {}, whose calls are missing here",
            plural(lines.lost, "record")
        );
    }
    let nameless = counters.nameless();
    if nameless > 0 {
        eprintln!(
            "warning: {} of numbers that are no syscalls of Linux {} or before; names and profiles are without them",
            plural(nameless, "call"),
            seccomp_profile::SYSCALLS_OF_KERNEL
        );
    }
}

/// Why there is nothing to write.
fn nothing(reading: &Reading, source: &Source) -> String {
    let Reading {
        counters, lines, ..
    } = reading;
    if counters.left_out > 0 {
        return format!(
            "none of the {} is of the programs, processes, actions and machines asked for\n",
            plural(counters.left_out, "call")
        );
    }
    format!(
        "no {} in {}: {}\n",
        source.what,
        plural(lines.read, "line"),
        source.hint
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_go_by_their_names() {
        assert_eq!(verdicts("errno"), Ok(Verdicts(vec![Verdict::Errno])));
        assert_eq!(verdicts("kill").map(|v| v.0.len()), Ok(2));
        assert!(verdicts("deny").is_err_and(|e| e.contains("kill-process")));
    }
}
