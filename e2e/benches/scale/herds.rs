//! What comes all at once: agents that start together, an API server that comes back to all their watches, an update of the DaemonSet, and a controller
//! that another one follows in the middle of many changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::machines::Machines;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;

use crate::agents::Agents;
use crate::load::{Asked, Load};
use crate::measure::of_controllers;
use crate::nodes;
use crate::profiles::Profiles;

/// So many profiles there are.
const PROFILES: usize = 100;
/// So long after a burst has begun its controller goes.
const INTO_BURST: Duration = Duration::from_secs(2);
const MIB: f64 = 1024.0 * 1024.0;

struct Herd {
    what: &'static str,
    nodes: usize,
    asked: Asked,
    took: Duration,
    /// Of the agents' process, for each of them.
    agent: f64,
    controller: f64,
}

pub async fn run(wanted: &[usize]) -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.install(NAMESPACE, &[]).await?;
    let lives = tokio::spawn(nodes::live(cluster.clone()));
    let load = Load::watch();
    let mut tokens = BTreeMap::new();
    let mut all = Vec::new();
    for &many in wanted {
        println!("{many} nodes ...");
        tokens.extend(nodes::make(&cluster, tokens.len()..many).await?);
        let mut profiles = Profiles::watch(&cluster, many + 1);
        let mut agents = Agents::start(&tokens)?;
        profiles.make(PROFILES).await?;
        let mut herds = Herds {
            cluster: &cluster,
            load: &load,
            agents: &mut agents,
            profiles: &mut profiles,
            nodes: many,
        };
        herds.all(&mut all).await?;
        profiles.remove_all().await?;
    }
    lives.abort();
    print(&all);
    Ok(())
}

/// All of them, on so many nodes.
struct Herds<'a> {
    cluster: &'a Cluster,
    load: &'a Load,
    agents: &'a mut Agents,
    profiles: &'a mut Profiles,
    nodes: usize,
}

impl Herds<'_> {
    async fn all(&mut self, herds: &mut Vec<Herd>) -> anyhow::Result<()> {
        let rest = self.begins().await?;
        herds.push(self.ended("nothing, for a minute", rest).await?);

        let rest = self.begins().await?;
        self.agents.restart()?;
        herds.push(self.ended("all agents start at once", rest).await?);

        let rest = self.begins().await?;
        let machines = Machines::of_cluster().context("only a cluster without Docker can")?;
        machines.kill("kube-apiserver").await?;
        herds.push(self.ended("the API server restarts", rest).await?);

        let rest = self.begins().await?;
        self.agents.roll()?;
        herds.push(
            self.ended("an update: one agent after the other", rest)
                .await?,
        );

        let rest = self.begins().await?;
        let burst: Vec<_> = (0..PROFILES).collect();
        let client = self.cluster.client.clone();
        let (changed, failed_over) = tokio::join!(self.profiles.change(&burst), fail_over(client));
        changed?;
        failed_over?;
        herds.push(self.ended("100 changes, and the leader goes", rest).await?);
        Ok(())
    }

    /// Waits until it is calm; says how calm.
    async fn begins(&mut self) -> anyhow::Result<f64> {
        let rest = self.load.rest().await?;
        self.agents.forget_peak()?;
        self.load.forget();
        Ok(rest)
    }

    /// Waits until it is calm again, and sees to it that everybody still follows.
    async fn ended(&mut self, what: &'static str, rest: f64) -> anyhow::Result<Herd> {
        if what.starts_with("nothing") {
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        let (asked, took) = self.load.until_calm(rest).await?;
        self.agents.check()?;
        let nodes = f64::from(u32::try_from(self.nodes)?);
        let controllers = of_controllers(self.cluster, "process_resident_memory_bytes").await?;
        let herd = Herd {
            what,
            nodes: self.nodes,
            asked,
            took,
            agent: self.agents.peak()? / nodes,
            controller: controllers.into_iter().fold(0.0, f64::max),
        };
        self.profiles.change(&[0]).await?;
        println!("{}", herd.row());
        Ok(herd)
    }
}

/// In the middle of a burst, the replica that leads is deleted; the other one goes on.
async fn fail_over(client: kube::Client) -> anyhow::Result<()> {
    tokio::time::sleep(INTO_BURST).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let lease = leases.list(&kube::api::ListParams::default()).await?;
    let mut holders = lease.items.into_iter().filter_map(|lease| {
        let holder = lease.spec?.holder_identity?;
        holder.contains("controller").then_some(holder)
    });
    let leader = holders.next().context("nobody leads")?;
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let begun = Instant::now();
    // At once, as a node that is gone takes it along.
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete(&leader, &at_once).await?;
    println!(
        "{leader} led; deleted {} ms after it was asked for",
        begun.elapsed().as_millis()
    );
    Ok(())
}

impl Herd {
    fn row(&self) -> String {
        let Self { asked, .. } = self;
        format!(
            "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} |",
            self.what,
            self.nodes,
            asked.requests,
            asked.peak,
            asked.lists,
            asked.writes,
            asked.memory / MIB,
            self.controller / MIB,
            self.agent / MIB,
            self.took.as_secs_f64(),
        )
    }
}

fn print(all: &[Herd]) {
    println!(
        "| | nodes | requests | the most in a second | lists | writes | API server, MiB | controller, MiB | one agent, MiB | until it is calm, s |"
    );
    println!("|{}", "---|".repeat(10));
    for herd in all {
        println!("{}", herd.row());
    }
}
