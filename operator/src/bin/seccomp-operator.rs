//! The operator's binary: `controller`, `agent`, `release` and `crds`. Under the name of kubectl's plugin it is that: an image needs
//! one file for both. No logic here.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seccomp_operator::{agent, api, cli, controller, logging};

/// Seccomp profiles on Kubernetes: distributed to every node, injected into pods, checked before they break something.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Examples:\n  \
    seccomp-operator crds | kubectl apply --server-side -f -\n  \
    seccomp-operator agent --node-name node1 --seccomp-root /var/lib/kubelet/seccomp\n  \
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
    Controller(Box<controller::ControllerArgs>),
    /// Keep this node's profile files as the SeccompProfiles say
    Agent(agent::AgentArgs),
    /// Let go of every SeccompProfile, before the operator is uninstalled
    Release(controller::release::ReleaseArgs),
    /// Print the custom resource definitions as YAML
    Crds {
        /// Write one file per definition into this folder instead
        #[arg(long, value_name = "DIR")]
        out: Option<std::path::PathBuf>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    if cli::is_called() {
        return Ok(cli::main());
    }
    let cli = Cli::parse();
    let run = match cli.command {
        Command::Crds { out } => return crds(out.as_deref()).map(|()| ExitCode::SUCCESS),
        Command::Agent(args) => {
            let logging = logging::start(&cli.log)?;
            // One thread is plenty for a watch and a few files, and it is what keeps an idle agent small.
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(while_following(logging, agent::run(args)))
        }
        Command::Controller(args) => {
            let logging = logging::start(&cli.log)?;
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?
                .block_on(while_following(logging, controller::run(*args)))
        }
        Command::Release(args) => {
            let logging = logging::start(&cli.log)?;
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(while_following(logging, controller::release::run(args)))
        }
    };
    if let Err(error) = &run {
        tracing::error!(error = format!("{error:#}"), "cannot go on");
        // Shown by `kubectl describe pod`; outside a pod there is no such file, and that is fine.
        let _ = std::fs::write("/dev/termination-log", format!("{error:#}\n"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn while_following(
    logging: logging::Logging,
    run: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::spawn(logging.follow());
    run.await
}

fn crds(out: Option<&std::path::Path>) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for (file, crd) in api::crds() {
        let yaml = serde_saphyr::to_string(&crd)?;
        match out {
            Some(dir) => std::fs::write(dir.join(format!("{file}.yaml")), yaml)?,
            None => write!(stdout, "---\n{yaml}")?,
        }
    }
    Ok(())
}
