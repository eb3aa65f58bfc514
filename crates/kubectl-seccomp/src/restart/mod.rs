//! `kubectl seccomp restart`: makes pods anew whose containers still run under an older content of their profile.
//!
//! A profile reaches a container when it is created. `trial` finds the pods whose policy is not on trial any more, `plan` the workloads,
//! `rollout` how far their controllers are; here is what asks the cluster. `record` and `block` restart by this too.

mod plan;
mod rollout;
mod trial;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ask::{confirmed, show};
use super::cluster::{Cluster, ClusterArgs, Refusal, block_on};
use super::text::{Style, plural};
use super::{Failure, Findings, output};
pub use plan::{Kind, Named, Target};
use plan::{Owners, Plan, plan, render, render_left};
use rollout::Progress;
use seccomp_operator_api::SeccompNode;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many workloads roll out at once: a cluster's whole load need not move in one moment.
const AT_ONCE: usize = 10;
/// The agents report within a few seconds which pods are new.
const LAST_REPORTS: Duration = Duration::from_secs(20);

/// Arguments of `restart`.
#[derive(Args, Debug)]
pub struct RestartArgs {
    /// The workloads whose pods run under an older content of their profile, or under the trial of a policy that is not on trial any more.
    #[arg(long, required = true)]
    outdated: bool,
    /// Those of this namespace [default: that of the kubeconfig's context].
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Those of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Restart without asking.
    #[arg(long)]
    yes: bool,
    /// How long the rollouts may take, all together.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = seccomp_recording::parse_length)]
    timeout: Duration,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
A container keeps the content of its profile that it was created with. This restarts Deployments, StatefulSets and DaemonSets as
`kubectl rollout restart` does, at most ten at once; each goes through its controller's own rollout, so that no more of its pods are
away than its strategy allows. Pods that no such workload makes are listed, and left alone.

Examples:
  # What would be restarted (answer with n)
  kubectl seccomp restart --outdated -A

  # In a script, after a profile was changed
  kubectl seccomp restart --outdated -n shop --yes --timeout 15m

Exit status: 0 nothing is outdated any more; 1 something still is; 2 wrong use, or the cluster cannot be asked.";

/// Restarts what is outdated.
pub fn run(args: &RestartArgs) -> Result<Findings, Failure> {
    block_on(async {
        let cluster = args.cluster.connect().await?;
        let namespace = args.namespace.as_ref().unwrap_or(&cluster.namespace);
        let scope = (!args.all_namespaces).then_some(namespace.as_str());
        restart_outdated(&cluster, args, scope).await
    })
}

async fn restart_outdated(
    cluster: &Cluster,
    args: &RestartArgs,
    scope: Option<&str>,
) -> Result<Findings, Failure> {
    let begun = Instant::now();
    let (mut tried, mut failed) = (BTreeSet::new(), BTreeMap::new());
    loop {
        let wanted = wanted_pods(cluster, scope).await?;
        let mut found = plan_for(cluster, &wanted, scope).await?;
        found.targets.retain(|target, _| !tried.contains(target));
        if tried.is_empty() {
            if found == Plan::default() {
                output::print("Nothing is outdated.\n")?;
                return Ok(Findings::None);
            }
            output::print(render(&found, Style::for_stdout()))?;
        }
        if found.targets.is_empty() {
            failed.extend(found.left.into_iter().map(|((namespace, name), why)| {
                // A workload is named with its kind.
                let kind = if name.contains('/') { "" } else { "pod/" };
                (format!("{kind}{name} in namespace {namespace}"), why)
            }));
            break;
        }
        let what = plural(found.targets.len(), "workload");
        if tried.is_empty() && !args.yes && !confirmed(&format!("Restart {what}?"), "to restart")? {
            return Err(Failure::Usage("nothing was restarted".into()));
        }
        let targets: Vec<_> = found.targets.into_keys().collect();
        let left = args.timeout.saturating_sub(begun.elapsed());
        let unfinished = roll_out(cluster, &targets, left).await?;
        let is_over = !unfinished.is_empty();
        failed.extend(
            unfinished
                .into_iter()
                .map(|(target, why)| (target.place(), why)),
        );
        tried.extend(targets);
        if is_over {
            break;
        }
        // A node names a part of its outdated pods at most: there may be more of them.
        await_reports(cluster, scope, &tried).await?;
    }
    if failed.is_empty() {
        eprintln!("Nothing is outdated any more.");
        return Ok(Findings::None);
    }
    let lines = failed.iter().map(|(what, why)| format!("{what}: {why}\n"));
    Ok(Findings::Some(format!(
        "Still outdated:\n{}",
        lines.collect::<String>()
    )))
}

/// Waits until the nodes' reports name no pod of what was restarted, or for long enough.
async fn await_reports(
    cluster: &Cluster,
    scope: Option<&str>,
    tried: &BTreeSet<Target>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    while begun.elapsed() < LAST_REPORTS {
        let wanted = wanted_pods(cluster, scope).await?;
        let found = plan_for(cluster, &wanted, scope).await?;
        if !found.targets.keys().any(|target| tried.contains(target)) {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The pods that another file, or another content of theirs, would be given to if they were made anew.
async fn wanted_pods(cluster: &Cluster, scope: Option<&str>) -> Result<BTreeSet<Named>, Failure> {
    let mut wanted = outdated_pods(cluster, scope).await?;
    wanted.extend(trial::left_pods(cluster, scope).await?);
    Ok(wanted)
}

/// The pods that run under an older content of a profile, in one namespace or in all.
pub async fn outdated_pods(
    cluster: &Cluster,
    scope: Option<&str>,
) -> Result<BTreeSet<Named>, Refusal> {
    let reports: Api<SeccompNode> = Api::all(cluster.client.clone());
    let kind = "seccompnodes.seccomp-operator.io";
    let everything = ListParams::default();
    let reports = cluster.list(&reports, &everything, kind, "the cluster");
    let reports = reports.await?;
    let used = reports.iter().flat_map(|report| &report.spec.in_use);
    let pods = used.flat_map(|used| &used.outdated_pods);
    Ok(pods
        .filter(|pod| scope.is_none_or(|namespace| pod.namespace == namespace))
        .map(|pod| (pod.namespace.clone(), pod.name.clone()))
        .collect())
}

/// Makes these pods anew, but for those that no workload makes, which it lists; a line about each workload that did not finish.
pub async fn renew(
    cluster: &Cluster,
    wanted: &BTreeSet<Named>,
    scope: Option<&str>,
    timeout: Duration,
) -> Result<String, Failure> {
    let found = plan_for(cluster, wanted, scope).await?;
    output::print(render_left(&found, Style::for_stdout()))?;
    let targets: Vec<_> = found.targets.into_keys().collect();
    let unfinished = roll_out(cluster, &targets, timeout).await?;
    let lines = unfinished
        .iter()
        .map(|(target, why)| format!("{}: {why}\n", target.place()));
    Ok(lines.collect())
}

/// The workloads that make these pods; what cannot be rolled out is among what is left.
async fn plan_for(
    cluster: &Cluster,
    wanted: &BTreeSet<Named>,
    scope: Option<&str>,
) -> Result<Plan, Failure> {
    if wanted.is_empty() {
        return Ok(Plan::default());
    }
    let pods = owners::<Pod>(cluster, scope, "pods").await?;
    let sets = owners::<ReplicaSet>(cluster, scope, "replicasets.apps").await?;
    let mut found = plan(wanted, &pods, &sets);
    let targets: Vec<_> = found.targets.keys().cloned().collect();
    for target in targets {
        let object = get(&cluster.client, &target).await?;
        if let Some(why) = rollout::obstacle(target.kind, &object.data) {
            found.targets.remove(&target);
            let place = (target.namespace.clone(), target.to_string());
            found.left.insert(place, why.to_owned());
        }
    }
    Ok(found)
}

async fn owners<K>(cluster: &Cluster, scope: Option<&str>, kind: &str) -> Result<Owners, Refusal>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
{
    let client = cluster.client.clone();
    let (api, place): (Api<PartialObjectMeta<K>>, _) = match scope {
        Some(namespace) => (
            Api::namespaced(client, namespace),
            format!("the namespace {namespace}"),
        ),
        None => (
            Api::all(client),
            "all namespaces; -n asks for those of one".to_owned(),
        ),
    };
    let everything = ListParams::default();
    let all = cluster.list(&api, &everything, kind, &place);
    let controller = |owner: &&OwnerReference| owner.controller == Some(true);
    let owner = |object: PartialObjectMeta<K>| {
        let owner = object.owner_references().iter().find(controller).cloned();
        let place = (object.namespace().unwrap_or_default(), object.name_any());
        (place, owner)
    };
    Ok(all.await?.into_iter().map(owner).collect())
}

fn api(client: &Client, target: &Target) -> Api<DynamicObject> {
    let resource = match target.kind {
        Kind::Deployment => ApiResource::erase::<Deployment>(&()),
        Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        Kind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
    };
    Api::namespaced_with(client.clone(), &target.namespace, &resource)
}

async fn get(client: &Client, target: &Target) -> Result<DynamicObject, Failure> {
    let found = api(client, target).get(&target.name).await;
    found
        .with_context(|| format!("cannot read {}", target.place()))
        .map_err(Failure::Other)
}

/// As `kubectl rollout restart` does it.
pub async fn restart(client: &Client, target: &Target) -> Result<(), Failure> {
    let now = Timestamp::now().to_string();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    let patch = Patch::Strategic(patch);
    let params = PatchParams::default();
    let done = api(client, target)
        .patch(&target.name, &params, &patch)
        .await;
    done.map(drop)
        .with_context(|| format!("cannot restart {}", target.place()))
        .map_err(Failure::Other)
}

/// Restarts these workloads, a few at a time, and waits until all pods are new; those that did not finish, and why.
async fn roll_out(
    cluster: &Cluster,
    targets: &[Target],
    timeout: Duration,
) -> Result<Vec<(Target, String)>, Failure> {
    let (begun, mut shown) = (Instant::now(), None);
    let mut waiting: VecDeque<&Target> = targets.iter().collect();
    let (mut rolling, mut failed) = (Vec::<&Target>::new(), Vec::new());
    let mut done = 0;
    loop {
        while rolling.len() < AT_ONCE
            && let Some(target) = waiting.pop_front()
        {
            match restart(&cluster.client, target).await {
                Ok(()) => rolling.push(target),
                Err(failure) => failed.push((target.clone(), failure.sentence())),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let mut now = Vec::new();
        for target in std::mem::take(&mut rolling) {
            // One answer that does not come ends nothing.
            let object = get(&cluster.client, target).await;
            match object.map(|object| rollout::progress(target.kind, &to_value(object))) {
                Ok(Progress::Done) => done += 1,
                Ok(Progress::Stuck(why)) => failed.push((target.clone(), why)),
                Ok(Progress::Rolls { new, of }) => {
                    now.push(format!("{target} {new}/{of}"));
                    rolling.push(target);
                }
                Err(_) => rolling.push(target),
            }
        }
        let more = match now.as_slice() {
            [] => String::new(),
            rolls => format!("; {}", super::table::few(rolls, 3)),
        };
        let line = format!(
            "{done} of {} restarted{more}",
            plural(targets.len(), "workload")
        );
        if rolling.is_empty() && waiting.is_empty() {
            shown = None;
            show(&line, &mut shown);
            if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                eprintln!();
            }
            return Ok(failed);
        }
        show(&line, &mut shown);
        if begun.elapsed() > timeout {
            eprintln!();
            let why = |verb: &str| {
                let seconds = timeout.as_secs();
                format!("{verb} within {seconds} s (--timeout)")
            };
            let late = rolling
                .iter()
                .map(|target| ((*target).clone(), why("did not finish")));
            failed.extend(late);
            let never = waiting
                .iter()
                .map(|target| ((*target).clone(), why("was not begun")));
            failed.extend(never);
            return Ok(failed);
        }
    }
}

/// With its generation, which stands apart from the rest.
fn to_value(object: DynamicObject) -> serde_json::Value {
    let generation = object.metadata.generation;
    let mut value = object.data;
    value["metadata"] = json!({ "generation": generation });
    value
}
