//! The recorder's binary, with both of its processes. It is one of its own because it runs on every node. No logic here.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seccomp_operator::process::Threads;
use seccomp_operator::{logging, process, recorder};

/// Records what containers call, where a SeccompRecording asks for it.
#[derive(Parser, Debug)]
#[command(
    name = "seccomp-operator-recorder",
    version,
    after_help = "Example, in two containers of a pod with the folder mounted:\n  \
    seccomp-operator-recorder hold --recorder-dir /host/recorder\n  \
    seccomp-operator-recorder record --recorder-dir /host/recorder --node-name node1"
)]
struct Cli {
    #[command(flatten)]
    log: logging::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Hold the filters that runtimes hand over, and answer nothing
    Hold(recorder::FolderArgs),
    /// Count what comes through them, let it happen, and report it
    Record(recorder::RecordArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        Command::Hold(args) => {
            logging::start(&cli.log)?;
            recorder::hold(args)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Record(args) => process::run(&cli.log, Threads::One, recorder::record(args)),
    }
}
