//! `kubectl seccomp trial`: what the next version of a profile would refuse; `promote` makes it the one in force, `drop` takes it away.
//! `show` says what is known, `change` writes.

mod change;
mod show;

use anyhow::anyhow;
use clap::{Args, Subcommand, ValueEnum};
use k8s_openapi::jiff::Timestamp;
use kube::core::error_boundary::InvalidObject;

use super::cluster::{Cluster, ClusterArgs, block_on};
use super::status::profiles;
use super::stored::library;
use super::text::Style;
use super::{Failure, Findings, output};
use seccomp_operator_api::{SeccompProfile, StoredProfile};
use seccomp_profile::Library;
use show::Shown;

/// Examples, for `--help`.
pub const EXAMPLES: &str = "Examples:
  kubectl seccomp trial no-chmod
  kubectl seccomp trial no-chmod -o json | jq -r '.denials[].call' | sort -u
  kubectl seccomp trial promote no-chmod
  kubectl seccomp trial drop no-chmod --yes

A profile's `spec.trial` is its next version. What that would refuse in addition still happens, and is reported once a minute.

Exit codes: 0 nothing would have been refused, or the change is made; 1 something would have been, or you said no;
2 wrong use or no answer.";

/// Arguments of `trial`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct TrialArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// The SeccompProfile.
    #[arg(required = true)]
    name: Option<String>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = TrialFormat::Text)]
    output: TrialFormat,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make the next version the one in force, after showing what changes.
    Promote(ChangeArgs),
    /// End the trial; the version in force stays.
    Drop(ChangeArgs),
}

#[derive(Args, Debug)]
struct ChangeArgs {
    /// The SeccompProfile.
    name: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TrialFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the subcommand.
pub fn run(args: &TrialArgs) -> Result<Findings, Failure> {
    match &args.action {
        Some(Action::Promote(args)) => block_on(change::promote(args)),
        Some(Action::Drop(args)) => block_on(change::drop(args)),
        None => block_on(shown(args)),
    }
}

async fn shown(args: &TrialArgs) -> Result<Findings, Failure> {
    let cluster = args.cluster.connect().await?;
    let name = args.name.as_deref().unwrap_or_default();
    let found = Found::ask(&cluster, name).await?;
    let shown = Shown::of(&found, Timestamp::now());
    let text = match args.output {
        TrialFormat::Text => shown.text(Style::for_stdout()),
        TrialFormat::Json => output::json(&shown)?,
    };
    output::print(text)?;
    Ok(if shown.is_quiet() {
        Findings::None
    } else {
        Findings::Some(String::new())
    })
}

/// A profile on trial, among all others.
struct Found {
    profile: SeccompProfile,
    library: Library,
}

impl Found {
    async fn ask(cluster: &Cluster, name: &str) -> Result<Self, Failure> {
        let listed = profiles(cluster).await;
        let listed = listed.map_err(|refusal| Failure::Other(anyhow!(refusal)))?;
        let read: Vec<_> = listed.into_iter().map(StoredProfile::read).collect();
        let library = library(&read);
        let is_wanted = |profile: &Result<SeccompProfile, InvalidObject>| {
            let metadata = match profile {
                Ok(profile) => &profile.metadata,
                Err(unreadable) => &unreadable.metadata,
            };
            metadata.name.as_deref() == Some(name)
        };
        let profile = match read.into_iter().find(is_wanted) {
            None => {
                return Err(Failure::Usage(format!(
                    "there is no SeccompProfile {name:?}; `kubectl get seccompprofiles` lists them"
                )));
            }
            Some(Err(unreadable)) => {
                return Err(Failure::Usage(format!(
                    "SeccompProfile {name:?} cannot be read: {}",
                    unreadable.error
                )));
            }
            Some(Ok(profile)) => profile,
        };
        if profile.spec.trial.is_none() {
            return Err(Failure::Usage(format!(
                "SeccompProfile {name:?} is on no trial; put its next version into spec.trial"
            )));
        }
        Ok(Self { profile, library })
    }
}
