//! The agent's binary. It is one of its own because it runs on every node: what a process maps counts as its memory, and the
//! agent needs a third of what the controller does. Under the name of the recorder it is that, and under that of the audit reader that: an
//! image needs one file for all three. No logic here.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seccomp_operator::process::Threads;
use seccomp_operator::{agent, audit, logging, process, recorder};

/// Keeps this node's profile files as the SeccompProfiles say.
#[derive(Parser, Debug)]
#[command(
    name = "seccomp-operator-agent",
    version,
    args_override_self = true, // what the chart gives is overridden by its `extraArgs`
    after_help = "Example, in a pod with the folder mounted:\n  \
    seccomp-operator-agent --node-name node1 --seccomp-root /var/lib/kubelet/seccomp"
)]
struct Cli {
    #[command(flatten)]
    log: logging::LogArgs,
    #[command(flatten)]
    agent: agent::AgentArgs,
}

/// Records what containers call, where a SeccompRecording asks for it.
#[derive(Parser, Debug)]
#[command(
    name = recorder::NAME,
    version,
    args_override_self = true, // what the chart gives is overridden by its `extraArgs`
    after_help = "Example, in two containers of a pod with the folder mounted:\n  \
    seccomp-operator-recorder hold --recorder-dir /host/recorder\n  \
    seccomp-operator-recorder record --recorder-dir /host/recorder --node-name node1"
)]
struct RecorderCli {
    #[command(flatten)]
    log: logging::LogArgs,
    #[command(subcommand)]
    command: RecorderCommand,
}

#[derive(Subcommand, Debug)]
enum RecorderCommand {
    /// Hold the filters that runtimes hand over, and answer nothing
    Hold(recorder::FolderArgs),
    /// Count what comes through them, let it happen, and report it
    Record(recorder::RecordArgs),
}

/// Hears what seccomp logs and kills on this node, and reports of which containers it is.
#[derive(Parser, Debug)]
#[command(
    name = audit::NAME,
    version,
    args_override_self = true, // what the chart gives is overridden by its `extraArgs`
    after_help = "Example, in a pod with the node's network and PIDs and the capability AUDIT_READ:\n  \
    seccomp-operator-audit --node-name node1"
)]
struct AuditCli {
    #[command(flatten)]
    log: logging::LogArgs,
    #[command(flatten)]
    audit: audit::AuditArgs,
}

fn main() -> anyhow::Result<ExitCode> {
    if process::is_called(recorder::NAME) {
        return record();
    }
    if process::is_called(audit::NAME) {
        let cli = AuditCli::parse();
        return process::run(&cli.log, Threads::One, audit::run(cli.audit));
    }
    let cli = Cli::parse();
    process::run(&cli.log, Threads::One, agent::run(cli.agent))
}

fn record() -> anyhow::Result<ExitCode> {
    let cli = RecorderCli::parse();
    match cli.command {
        RecorderCommand::Hold(args) => {
            logging::start(&cli.log)?;
            recorder::hold(args)?;
            Ok(ExitCode::SUCCESS)
        }
        RecorderCommand::Record(args) => {
            process::run(&cli.log, Threads::One, recorder::record(args))
        }
    }
}
