//! The agent's binary. It is one of its own because it runs on every node: what a process maps counts as its memory, and the
//! agent needs a third of what the controller does. No logic here.

use std::process::ExitCode;

use clap::Parser;
use seccomp_operator::process::Threads;
use seccomp_operator::{agent, logging, process};

/// Keeps this node's profile files as the SeccompProfiles say.
#[derive(Parser, Debug)]
#[command(
    name = "seccomp-operator-agent",
    version,
    after_help = "Example, in a pod with the folder mounted:\n  \
    seccomp-operator-agent --node-name node1 --seccomp-root /var/lib/kubelet/seccomp"
)]
struct Cli {
    #[command(flatten)]
    log: logging::LogArgs,
    #[command(flatten)]
    agent: agent::AgentArgs,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    process::run(&cli.log, Threads::One, agent::run(cli.agent))
}
