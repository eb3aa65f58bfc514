//! `kubectl seccomp`: the kubectl plugin and offline tool.
//!
//! Each subcommand has a module. This one reads the command line and turns what a subcommand found into an exit code:
//! 0 nothing found, 1 findings, 2 wrong use or no way to do it. The binary of this crate calls [`main`], and so does the
//! operator's when it is started under the plugin's name: an image has one file for both.
//!
//! | module | is for |
//! |---|---|
//! | `convert`, `merge`, `diff`, `explain`, `lint` | commands on profiles: each asks the engine and prints |
//! | `test` | `test`: files that say what a profile must do with calls |
//! | `take_over`, `allow_list` | other operators' SeccompProfiles, and what they hold them to, as this one's, for `convert` |
//! | `trace` | `from-strace`, `from-audit` and `check`: what is made of the calls that `seccomp-traces` reads |
//! | `probe` | `probe`: the one module that makes system calls by hand (`probe/kernel`), here or in a pod (`probe/pod`) |
//! | `status`, `coverage` | commands on a cluster: they list, decide in pure functions (`survey`, `effective`, `what_if`), and print |
//! | `denials` | what nodes' recorders report of observed profiles (`watch`), and what would allow it (`suggest`) |
//! | `record` | makes a recording, restarts a workload, and takes both back (`plan`) |
//! | `restart` | restarts what runs under an older content of its profile (`plan`, `rollout`) |
//! | `block` | refuses calls everywhere by profiles and a policy (`plan`), restarts, verifies, and takes it back |
//! | `schema` | `schema`: what editors and CI know of the files that people write |
//! | `completion` | completion in shells and through kubectl |
//! | `artifact` | `push`, `pull` and `verify`: profiles in registries |
//! | `call` | a call with arguments, as users write it |
//! | `document`, `target` | profiles as users write them, and the kind of node they are resolved for |
//! | `view` | what a profile does, syscall by syscall, as tables show it |
//! | `cluster` | kubeconfig, lists, and what to say when there is no answer |
//! | `stored`, `manifest` | a cluster's profiles for the engine, and as their authors write them |
//! | `ask` | questions and progress |
//! | `openness` | how much of the kernel a profile leaves open, by groups of calls |
//! | `html` | reports as one page: the one module that makes markup |
//! | `input`, `output`, `junit`, `markdown`, `table`, `text`, `machine` | reading files, writing to standard output, and words for people |
//!
//! Nothing but `record`, `restart`, `block` and `probe POD` changes a cluster, and nothing looks for one where none is needed.

mod allow_list;
mod artifact;
mod ask;
mod block;
mod call;
mod cluster;
mod completion;
mod convert;
mod coverage;
mod denials;
mod diff;
mod document;
mod explain;
mod html;
mod input;
mod junit;
mod lint;
mod machine;
mod manifest;
mod markdown;
mod merge;
mod openness;
mod output;
mod probe;
mod progress;
mod record;
mod restart;
mod schema;
mod status;
mod stored;
mod table;
mod take_over;
mod target;
mod test;
mod text;
mod trace;
mod trial;
mod view;
mod why;

pub use completion::BINARY;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use kube_support::error::chain;

/// Create, convert, check and explain seccomp profiles, and show what they do in a cluster.
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-seccomp",
    bin_name = "kubectl seccomp",
    version,
    max_term_width = 120
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show the state of profiles and nodes, and the reason of each failure.
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// List the profile of each running container, and what policies would change.
    #[command(after_help = coverage::EXAMPLES)]
    Coverage(Box<coverage::CoverageArgs>),
    /// Say whether seccomp is why a pod does not start, or was killed, and what to do.
    #[command(after_help = why::EXAMPLES)]
    Why(why::WhyArgs),
    /// List the calls that observed profiles have refused, by pod and container.
    #[command(after_help = denials::EXAMPLES)]
    Denials(denials::DenialsArgs),
    /// Show what the next version of a profile would refuse, and make it the one in force or drop it.
    #[command(after_help = trial::EXAMPLES)]
    Trial(Box<trial::TrialArgs>),
    /// Restart what still runs under an older content of its profile.
    #[command(after_help = restart::EXAMPLES)]
    Restart(restart::RestartArgs),
    /// Refuse system calls everywhere, in one command, and take that back.
    #[command(after_help = block::EXAMPLES)]
    Block(Box<block::BlockArgs>),
    /// Record what a workload calls, and make a profile of it.
    #[command(after_help = record::EXAMPLES)]
    Record(Box<record::RecordArgs>),
    /// Test which syscalls the filter in force stops, without executing any.
    #[command(after_help = probe::EXAMPLES)]
    Probe(Box<probe::ProbeArgs>),
    /// Count the syscalls in the output of strace, and make an allowlist of them.
    #[command(after_help = trace::STRACE_EXAMPLES)]
    FromStrace(trace::StraceArgs),
    /// Count the syscalls that seccomp stopped or logged, from kernel, journal and audit logs, and make an allowlist.
    #[command(after_help = trace::AUDIT_EXAMPLES)]
    FromAudit(trace::AuditArgs),
    /// Convert a profile of any format to the JSON that a container runtime reads.
    #[command(after_help = convert::EXAMPLES)]
    Convert(convert::ConvertArgs),
    /// Push a profile to an OCI registry, in the form that container runtimes take.
    #[command(after_help = artifact::PUSH_EXAMPLES)]
    Push(Box<artifact::PushArgs>),
    /// Pull a profile from an OCI registry.
    #[command(after_help = artifact::PULL_EXAMPLES)]
    Pull(Box<artifact::PullArgs>),
    /// Say who signed a profile in an OCI registry.
    #[command(after_help = artifact::VERIFY_EXAMPLES)]
    Verify(Box<artifact::VerifyArgs>),
    /// Show what a profile does with each syscall.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// Compare two profiles by what they do.
    #[command(after_help = diff::EXAMPLES)]
    Diff(diff::DiffArgs),
    /// Find rules that do less, or more, than they seem to.
    #[command(after_help = lint::EXAMPLES)]
    Lint(lint::LintArgs),
    /// Merge several profiles into one, by what they do.
    #[command(after_help = merge::EXAMPLES)]
    Merge(merge::MergeArgs),
    /// Test profiles by what they must do with calls.
    #[command(after_help = test::EXAMPLES)]
    Test(test::TestArgs),
    /// Find the syscalls of a trace that a profile would stop.
    #[command(after_help = trace::check::EXAMPLES)]
    Check(trace::check::CheckArgs),
    /// Print the JSON Schema of profiles, manifests or test files.
    #[command(after_help = schema::EXAMPLES)]
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell.
    #[command(after_help = completion::EXAMPLES)]
    Completion(completion::CompletionArgs),
}

/// What a subcommand found.
#[derive(Debug, PartialEq, Eq)]
enum Findings {
    /// Nothing to complain of.
    None,
    /// This, in lines.
    Some(String),
}

/// Why a subcommand could not do its work.
#[derive(Debug)]
enum Failure {
    /// It was asked for something that makes no sense.
    Usage(String),
    /// Standard output takes no more.
    Stdout(std::io::Error),
    /// Something else stood in the way.
    Other(anyhow::Error),
}

impl Failure {
    /// What went wrong with several things as one failure, if anything did.
    fn all(failures: Vec<Self>) -> Option<Self> {
        let sentences = failures.into_iter().map(|failure| failure.sentence());
        let sentences: Vec<_> = sentences.collect();
        (!sentences.is_empty()).then(|| Self::Usage(sentences.join("\nerror: ")))
    }

    fn sentence(&self) -> String {
        match self {
            Self::Usage(message) => message.clone(),
            Self::Stdout(error) => error.to_string(),
            Self::Other(error) => chain(error.as_ref()),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// All commands with their arguments and help, for what is made of them: man pages, completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the tool with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let result = match completion::asked(std::env::args_os()) {
        Some(words) => completion::complete(&words, &mut command()),
        None => run(&Cli::parse()),
    };
    ExitCode::from(end(result))
}

/// Runs `probe` in this very process, if that is what the arguments ask for, and gives the exit code. The rest, help and wrong use too,
/// is for [`main`].
fn early_probe() -> Option<u8> {
    let cli = Cli::try_parse().ok()?;
    match &cli.command {
        Command::Probe(args) if args.is_here() => Some(end(probe::run(args))),
        _ => None,
    }
}

/// Says what has to be said, and gives the exit code.
fn end(result: Result<Findings, Failure>) -> u8 {
    match result {
        Ok(Findings::None) => 0,
        Ok(Findings::Some(findings)) => {
            eprint!("{findings}");
            1
        }
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            2
        }
        // A reader that has seen enough (`| head`) is no failure.
        Err(Failure::Stdout(error)) if error.kind() == ErrorKind::BrokenPipe => 0,
        Err(Failure::Stdout(error)) => {
            eprintln!("error: cannot write to standard output: {error}");
            2
        }
        Err(Failure::Other(error)) => {
            eprintln!("error: {}", chain(error.as_ref()));
            2
        }
    }
}

fn run(cli: &Cli) -> Result<Findings, Failure> {
    match &cli.command {
        Command::Status(args) => status::run(args),
        Command::Coverage(args) => coverage::run(args),
        Command::Why(args) => why::run(args),
        Command::Denials(args) => denials::run(args),
        Command::Trial(args) => trial::run(args),
        Command::Restart(args) => restart::run(args),
        Command::Block(args) => block::run(args),
        Command::Record(args) => record::run(args),
        Command::Probe(args) => probe::run(args),
        Command::FromStrace(args) => trace::from_strace(args),
        Command::FromAudit(args) => trace::from_audit(args),
        Command::Convert(args) => convert::run(args),
        Command::Push(args) => artifact::push(args),
        Command::Pull(args) => artifact::pull(args),
        Command::Verify(args) => artifact::verify(args),
        Command::Explain(args) => explain::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Lint(args) => lint::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Test(args) => test::run(args),
        Command::Check(args) => trace::check::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completion(args) => completion::script(args, command()),
    }
}
