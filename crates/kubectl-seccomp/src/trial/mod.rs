//! `kubectl seccomp trial`: what the next version of a profile, or the profile of a policy on trial, would refuse; `promote` puts it in
//! force, `drop` takes it away. `subject` says what is on trial, `show` what is known, `change` writes.

mod change;
mod show;
mod subject;

use clap::{Args, Subcommand, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use super::cluster::{ClusterArgs, block_on};
use super::text::Style;
use super::{Failure, Findings, output};
use show::Shown;
use subject::Found;

/// Examples, for `--help`.
pub const EXAMPLES: &str = "Examples:
  kubectl seccomp trial no-chmod
  kubectl seccomp trial no-chmod -o json | jq -r '.denials[].call' | sort -u
  kubectl seccomp trial promote no-chmod
  kubectl seccomp trial drop no-chmod --yes

  # A SeccompPolicy with mode Trial: promote has it enforced, drop deletes it
  kubectl seccomp trial policy/shop
  kubectl seccomp trial promote policy/shop

A profile's `spec.trial` is its next version; a policy with `mode: Trial` tries its profile on pods that have none. What would be refused in
addition still happens, and is reported once a minute. A name alone is that of a SeccompProfile.

Exit codes: 0 nothing would have been refused, or the change is made; 1 something would have been, or you said no;
2 wrong use or no answer.";

/// Arguments of `trial`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct TrialArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// The SeccompProfile, or policy/NAME for a SeccompPolicy; profile/NAME is the same as NAME.
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
    /// Put what is tried in force, after showing what changes.
    Promote(ChangeArgs),
    /// End the trial: the version of a profile in force stays, and a policy is deleted.
    Drop(ChangeArgs),
}

#[derive(Args, Debug)]
struct ChangeArgs {
    /// The SeccompProfile, or policy/NAME for a SeccompPolicy.
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
