//! Whether anything is left of what comes and goes: for an hour, or as long as is asked for, nodes join and leave, pods start and stop, profiles change.
//! At the end memory has not grown, nothing is left of nodes and pods that are gone, and every status is right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::until;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use seccomp_operator_api::{SeccompNode, SeccompProfile};
use serde_json::json;

use crate::agents::Agents;
use crate::measure::of_controllers;
use crate::nodes;
use crate::profiles::Profiles;

const PROFILES: usize = 20;
const PODS: usize = 60;
const PODS_NAMESPACE: &str = "default";
/// Between two steps: each changes a profile and replaces a pod.
const STEP: Duration = Duration::from_secs(3);
/// A tenth of the nodes leaves in an hour, and so many at least in any run.
const LEAVES_AN_HOUR: usize = 10;
const LEAST_LEAVES: usize = 6;
/// So many looks at memory there are in a run.
const LOOKS: u32 = 120;
/// What is under way is over then, and what was not there from the start is loaded.
const WARM: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_mins(3);
/// From the second quarter of a run to its last, memory may grow by so much of it, and by so many MiB.
const NOISE: (f64, f64) = (0.05, 1.5);
const MIB: f64 = 1024.0 * 1024.0;

pub async fn run(minutes: usize, many: usize) -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.install(NAMESPACE, &[]).await?;
    let lives = tokio::spawn(nodes::live(cluster.clone()));
    println!("{many} nodes, {PROFILES} profiles, {PODS} pods, {minutes} minutes ...");
    let tokens = nodes::make(&cluster, 0..many).await?;
    let profiles = Profiles::watch(&cluster, many + 1);
    let mut soak = Soak {
        agents: Agents::start(&tokens)?,
        cluster: &cluster,
        profiles,
        nodes: tokens.into_keys().collect(),
        next_node: many,
        next_pod: 0,
        pods: Vec::new(),
        memory: BTreeMap::new(),
    };
    soak.profiles.make(PROFILES).await?;
    soak.churn(Duration::from_secs(u64::try_from(minutes)? * 60))
        .await?;
    let found = soak.settled().await;
    lives.abort();
    let mut wrong = found?;
    wrong.extend(soak.grown());
    if wrong.is_empty() {
        println!("nothing is left, and nothing grows");
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

struct Soak<'a> {
    cluster: &'a Cluster,
    agents: Agents,
    profiles: Profiles,
    nodes: Vec<String>,
    next_node: usize,
    next_pod: usize,
    /// Those that run, the oldest first.
    pods: Vec<String>,
    /// Resident bytes, look by look.
    memory: BTreeMap<&'static str, Vec<f64>>,
}

impl Soak<'_> {
    async fn churn(&mut self, time: Duration) -> anyhow::Result<()> {
        tokio::time::sleep(WARM).await;
        let leaves =
            self.nodes.len() * LEAVES_AN_HOUR / 100 * usize::try_from(time.as_secs())? / 3600;
        let leaves = leaves.max(LEAST_LEAVES);
        let (leave_each, look_each) = (time / u32::try_from(leaves + 1)?, time / LOOKS);
        let begun = Instant::now();
        let (mut step, mut left, mut looks) = (0, 0_u32, 0_u32);
        while begun.elapsed() < time {
            let passed = begun.elapsed();
            if passed >= look_each * looks {
                looks += 1;
                self.look().await?;
            }
            if passed >= leave_each * (left + 1) {
                left += 1;
                self.replace_node(step).await?;
            }
            self.replace_pod(step).await?;
            // Every tenth time all at once.
            let which: Vec<_> = if step % 10 == 9 {
                (0..PROFILES).collect()
            } else {
                vec![step % PROFILES]
            };
            self.profiles.change(&which).await?;
            self.agents.check()?;
            step += 1;
            tokio::time::sleep(STEP).await;
        }
        println!(
            "{step} changes, {} pods, {left} nodes came and went",
            self.next_pod
        );
        Ok(())
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let agents = self.agents.memory()?;
        let controllers = of_controllers(self.cluster, "process_resident_memory_bytes").await?;
        let controller = controllers.into_iter().fold(0.0, f64::max);
        for (of, bytes) in [("all agents", agents), ("a controller", controller)] {
            self.memory.entry(of).or_default().push(bytes / MIB);
        }
        Ok(())
    }

    /// A node leaves, another one joins.
    async fn replace_node(&mut self, step: usize) -> anyhow::Result<()> {
        let goes = self.nodes.remove(step % self.nodes.len());
        self.agents.remove(&goes)?;
        let nodes: Api<Node> = Api::all(self.cluster.client.clone());
        nodes.delete(&goes, &DeleteParams::default()).await?;
        let number = self.next_node;
        self.next_node += 1;
        for (node, token) in nodes::make(self.cluster, number..number + 1).await? {
            self.agents.add(&node, &token)?;
            self.nodes.push(node);
        }
        Ok(())
    }

    /// A pod that uses a profile starts, and once there are enough the oldest one ends.
    async fn replace_pod(&mut self, step: usize) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), PODS_NAMESPACE);
        let name = format!("soak-{:06}", self.next_pod);
        self.next_pod += 1;
        let file = format!("profiles/{}.json", Profiles::name(step % PROFILES));
        let pod = json!({
            "metadata": {"name": name, "labels": {"soak": "yes"}},
            "spec": {
                "nodeName": self.nodes[step % self.nodes.len()],
                "containers": [{"name": "main", "image": "none"}],
                "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": file}},
            },
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?)
            .await?;
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        let running = json!({"status": {"phase": "Running", "containerStatuses": [{
            "name": "main", "image": "none", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": now}},
        }]}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(running))
            .await?;
        self.pods.push(name);
        if self.pods.len() > PODS {
            let oldest = self.pods.remove(0);
            delete_pod(&pods, &oldest).await?;
        }
        Ok(())
    }

    /// Ends all pods, waits until everything has followed, and says what is left.
    async fn settled(&mut self) -> anyhow::Result<Vec<String>> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), PODS_NAMESPACE);
        for pod in std::mem::take(&mut self.pods) {
            delete_pod(&pods, &pod).await?;
        }
        self.profiles
            .change(&(0..PROFILES).collect::<Vec<_>>())
            .await?;
        let client = &self.cluster.client;
        let profiles: Api<SeccompProfile> = Api::all(client.clone());
        let reports: Api<SeccompNode> = Api::all(client.clone());
        let nodes: Api<Node> = Api::all(client.clone());
        let everything = ListParams::default();
        let all = self.nodes.len() + 1;
        let is_right = || async {
            let listed = profiles.list(&everything).await?;
            for profile in &listed {
                let name = profile.name_any();
                ensure!(
                    profile.finalizers().is_empty(),
                    "{name} has finalizers: {:?}",
                    profile.finalizers()
                );
                let status = profile
                    .status
                    .as_ref()
                    .with_context(|| format!("{name} has no status"))?;
                let summary = status
                    .nodes
                    .as_ref()
                    .map(|nodes| nodes.summary.clone())
                    .unwrap_or_default();
                ensure!(
                    status.is_ready() && summary == format!("{all}/{all}"),
                    "{name} is on {summary} nodes, of {all}"
                );
                ensure!(
                    status.used_by == Some(0),
                    "{name} is used by {:?} pods, of none",
                    status.used_by
                );
            }
            let nodes: BTreeSet<_> = nodes
                .list_metadata(&everything)
                .await?
                .items
                .iter()
                .map(ResourceExt::name_any)
                .collect();
            let reported: BTreeSet<_> = reports
                .list(&everything)
                .await?
                .items
                .iter()
                .map(ResourceExt::name_any)
                .collect();
            ensure!(
                nodes.len() == all,
                "there are {} nodes, not {all}",
                nodes.len()
            );
            ensure!(
                reported == nodes,
                "reports without a node, or nodes without one: {:?}",
                reported.symmetric_difference(&nodes)
            );
            anyhow::Ok(())
        };
        let found = until("what is gone to leave nothing", PATIENCE, is_right).await;
        Ok(found
            .err()
            .map(|error| format!("{error:#}"))
            .into_iter()
            .collect())
    }

    /// What takes more memory towards the end than before.
    fn grown(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (of, looks) in &self.memory {
            let quarter = looks.len() / 4;
            let (early, late) = (
                median(&looks[quarter..2 * quarter]),
                median(&looks[looks.len() - quarter..]),
            );
            println!(
                "memory of {of}: {early:.1} MiB in the second quarter, {late:.1} MiB in the last"
            );
            if late > early * (1.0 + NOISE.0) + NOISE.1 {
                wrong.push(format!("{of} grew from {early:.1} to {late:.1} MiB"));
            }
        }
        wrong
    }
}

/// No kubelet says that it has ended.
async fn delete_pod(pods: &Api<Pod>, name: &str) -> anyhow::Result<()> {
    match pods
        .delete(name, &DeleteParams::default().grace_period(0))
        .await
    {
        Ok(_) => Ok(()),
        // It went with its node.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
