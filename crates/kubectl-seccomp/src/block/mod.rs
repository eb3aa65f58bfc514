//! `kubectl seccomp block`: refuses system calls in a whole cluster or a namespace, and takes that back.
//!
//! `plan` decides what is made and changed, with the `entries` of the calls, and which containers that reaches; `render` shows it, `apply`
//! writes it and waits for the nodes, `verify` looks at what came of it, `undo` takes it back. Restarts are those of `restart`.

mod apply;
pub mod entries;
pub mod plan;
mod render;
mod undo;
mod verify;

use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueEnum};
use kube::Api;
use kube::ResourceExt;
use kube::api::ListParams;

use super::ask::confirmed;
use super::call::{self, Call};
use super::cluster::{Cluster, ClusterArgs, block_on};
use super::restart::{outdated_pods, renew};
use super::status::profiles;
use super::text::{Style, plural};
use super::{Failure, Findings, coverage, output};
pub use apply::refused;
use plan::{Plan, Scope, Seen};
use seccomp_operator_api::{SeccompPolicy, StoredProfile};

/// Arguments of `block`.
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("where").required(true).args(["namespace", "all_namespaces", "undo"]))]
pub struct BlockArgs {
    /// The calls to refuse: names, groups (`@keyring`), or calls with arguments (`socket(AF_ALG)`, `socket:38`).
    #[arg(value_name = "CALL", value_parser = calls, required_unless_present = "undo", conflicts_with = "undo")]
    calls: Vec<Calls>,
    /// In this namespace.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// But not in these.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "namespace"
    )]
    except: Vec<String>,
    /// Then restart the workloads whose pods do not refuse the calls yet.
    #[arg(long)]
    restart: bool,
    /// Instead: take back all that was blocked.
    #[arg(long, conflicts_with_all = ["namespace", "all_namespaces", "except", "no_probe", "image"])]
    undo: bool,
    /// Show the plan, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: `yaml` prints what would be applied, for `kubectl apply` and repositories, and the plan on standard error.
    #[arg(short, long, value_enum, default_value_t = BlockFormat::Text, requires = "dry_run")]
    output: BlockFormat,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Do not probe: no ephemeral container is added to any pod.
    #[arg(long)]
    no_probe: bool,
    /// The image to probe with, with /kubectl-seccomp in it [default: the operator's].
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// How long the nodes, and then the rollouts, may take.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = seccomp_recording::parse_length)]
    timeout: Duration,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BlockFormat {
    /// For people.
    Text,
    /// Manifests.
    Yaml,
}

/// The calls of one argument.
#[derive(Clone, Debug)]
struct Calls(Vec<Call>);

fn calls(text: &str) -> Result<Calls, String> {
    call::parse(text).map(Calls)
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Every SeccompProfile that pods use there gets the calls into its `deny`. Pods without a profile, with RuntimeDefault or with
Unconfined get the SeccompProfile emergency-block (runtime-default without the calls), by a SeccompPolicy of that name, when they are
made anew. Pods that cannot be reached are listed with the reason. What is made and changed is marked, so that --undo
takes back exactly that; a second run changes nothing, and one with other calls adds them.

Examples:
  # What would be done, and which pods it would not reach
  kubectl seccomp block 'socket(AF_ALG)' -A --dry-run

  # Everywhere, now, with restarts; afterwards one pod of each profile is probed
  kubectl seccomp block 'socket(AF_ALG)' keyctl -A --except legacy --restart

  # As manifests, for a repository that would otherwise put the profiles back
  kubectl seccomp block 'socket(AF_ALG)' -A --dry-run -o yaml >block.yaml

  # Once the kernels are patched
  kubectl seccomp block --undo --restart

Exit status: 0 all containers refuse the calls; 1 some do not, with the reasons; 2 wrong use, or the cluster cannot be asked.";

/// Blocks, or takes it back.
pub fn run(args: &BlockArgs) -> Result<Findings, Failure> {
    block_on(async {
        let cluster = args.cluster.connect().await?;
        if args.undo {
            undo::run(&cluster, args).await
        } else {
            block(&cluster, args).await
        }
    })
}

async fn block(cluster: &Cluster, args: &BlockArgs) -> Result<Findings, Failure> {
    let calls: Vec<Call> = args
        .calls
        .iter()
        .flat_map(|calls| calls.0.clone())
        .collect();
    let scope = Scope {
        namespace: args.namespace.clone(),
        except: args.except.iter().cloned().collect(),
    };
    let seen = see(cluster, &scope).await?;
    let plan = decide(&calls, &scope, &seen)?;
    let text = render::plan(&calls, &plan, Style::for_stdout());
    if args.dry_run {
        if args.output == BlockFormat::Yaml {
            eprint!("{text}");
            output::print(render::manifests(&plan)?)?;
        } else {
            output::print(text)?;
        }
        return Ok(Findings::None);
    }
    output::print(text)?;
    let restarts = args.restart && !plan.to_restart().is_empty();
    if (plan.changes() || restarts) && !args.yes {
        let question = match (plan.changes(), restarts) {
            (true, true) => "Apply this, and restart the workloads?",
            (true, false) => "Apply this?",
            (false, _) => "Restart the workloads?",
        };
        if !confirmed(question, "to apply the plan")? {
            return Err(Failure::Usage("nothing was changed".into()));
        }
    }
    let begun = Instant::now();
    apply::apply(cluster, &plan, args.timeout).await?;
    let mut unfinished = String::new();
    if args.restart {
        let wanted = plan.to_restart();
        let left = args.timeout.saturating_sub(begun.elapsed());
        unfinished = renew(cluster, &wanted, scope.namespace.as_deref(), left).await?;
    }
    let found = verify::verify(cluster, &calls, &scope, args).await?;
    Ok(match unfinished + &found {
        found if found.is_empty() => Findings::None,
        found => Findings::Some(found),
    })
}

fn decide(calls: &[Call], scope: &Scope, seen: &Seen) -> Result<Plan, Failure> {
    plan::plan(calls, scope, seen).map_err(Failure::Usage)
}

/// All that the plan is made of.
async fn see(cluster: &Cluster, scope: &Scope) -> Result<Seen, Failure> {
    let mut notes = Vec::new();
    let known = coverage::known(cluster, &mut notes).await?;
    for name in scope.except.iter().chain(&scope.namespace) {
        if !known.namespaces.is_empty() && !known.namespaces.contains_key(name) {
            return Err(Failure::Usage(format!(
                "there is no namespace {name:?}; `kubectl get namespaces` lists them"
            )));
        }
    }
    let stored = profiles(cluster).await?;
    let api: Api<SeccompPolicy> = Api::all(cluster.client.clone());
    let kind = "seccomppolicies.seccomp-operator.io";
    let everything = ListParams::default();
    let policies = cluster.list(&api, &everything, kind, "the cluster").await?;
    let seen = Seen {
        pods: coverage::pods(cluster, scope.namespace.as_deref(), None).await?,
        surroundings: coverage::surroundings(cluster, &mut notes).await?,
        injects: known.injects,
        profiles: stored.into_iter().map(StoredProfile::read).collect(),
        policies,
        outdated: outdated_pods(cluster, scope.namespace.as_deref()).await?,
        known,
    };
    // What one may not see here would make a plan that promises too much.
    match notes.into_iter().next() {
        Some(note) => Err(Failure::Usage(note)),
        None => Ok(seen),
    }
}

/// `3 profiles` or the name of the one.
fn named(names: &[String]) -> String {
    match names {
        [one] => one.clone(),
        many => plural(many.len(), "profile"),
    }
}

/// The names of objects, for a sentence.
fn names<K: kube::Resource>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}
