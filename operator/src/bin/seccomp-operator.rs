//! The operator's binary: `controller`, `release` and `crds`. Under the name of kubectl's plugin it is that: an image needs
//! one file for both. No logic here.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seccomp_operator::controller::release;
use seccomp_operator::process::Threads;
use seccomp_operator::{control_plane, logging, process};

/// Seccomp profiles on Kubernetes: distributed to every node, injected into pods, checked before they break something.
#[derive(Parser, Debug)]
#[command(
    version,
    args_override_self = true, // what the chart gives is overridden by its `extraArgs`
    after_help = "Examples:\n  \
    seccomp-operator crds | kubectl apply --server-side -f -\n  \
    seccomp-operator controller --namespace seccomp-operator"
)]
struct Cli {
    #[command(flatten)]
    log: logging::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Keep the status of profiles, serve admission, and look after the webhooks' certificates
    Controller(Box<control_plane::ControlPlaneArgs>),
    /// Let go of every SeccompProfile, before the operator is uninstalled
    Release(release::ReleaseArgs),
    /// Print the custom resource definitions as YAML
    Crds {
        /// Write one file per definition into this folder instead
        #[arg(long, value_name = "DIR")]
        out: Option<std::path::PathBuf>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    if process::is_called(kubectl_seccomp::BINARY) {
        return Ok(kubectl_seccomp::main());
    }
    let cli = Cli::parse();
    match cli.command {
        Command::Controller(args) => {
            process::run(&cli.log, Threads::Many, control_plane::run(*args))
        }
        Command::Release(args) => {
            let released = async { Ok(release::run(args).await?) };
            process::run(&cli.log, Threads::One, released)
        }
        Command::Crds { out } => crds(out.as_deref()).map(|()| ExitCode::SUCCESS),
    }
}

fn crds(out: Option<&std::path::Path>) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for (file, crd) in seccomp_operator_api::crds() {
        let yaml = serde_saphyr::to_string(&crd)?;
        match out {
            Some(dir) => std::fs::write(dir.join(format!("{file}.yaml")), yaml)?,
            None => write!(stdout, "---\n{yaml}")?,
        }
    }
    Ok(())
}
