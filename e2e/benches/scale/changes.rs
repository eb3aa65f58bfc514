//! What one change costs, and many at once, at each size.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::cluster::{Cluster, NAMESPACE};

use crate::agents::Agents;
use crate::measure::{self, Measured, growth, print, stored};
use crate::nodes;
use crate::profiles::Profiles;

/// Changes one after the other, for the median.
const SINGLE: usize = 15;
/// At most so many at once.
const BURST: usize = 100;
/// What is still under way from before is over then.
const SETTLED: Duration = Duration::from_secs(12);

pub async fn run(wanted_nodes: &[usize], wanted_profiles: &[usize]) -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    // Each agent's pod is bound to a node, which makes its token that node's. The one real agent stays out of it.
    cluster.install(NAMESPACE, &[]).await?;
    let lives = tokio::spawn(nodes::live(cluster.clone()));
    let mut tokens = BTreeMap::new();
    let mut all = Vec::new();
    for &many in wanted_nodes {
        println!("{many} nodes ...");
        tokens.extend(nodes::make(&cluster, tokens.len()..many).await?);
        let mut agents = Agents::start(&tokens)?;
        // The cluster's own node has an agent, too.
        let mut profiles = Profiles::watch(&cluster, many + 1);
        for &number in wanted_profiles {
            println!("{many} nodes, {number} profiles ...");
            let measured = measured(&cluster, &mut profiles, &mut agents, many, number).await;
            agents.check()?;
            let measured = measured?;
            println!("{measured}");
            all.push(measured);
        }
        profiles.remove_all().await?;
    }
    lives.abort();
    print(&all);
    growth(&all);
    stored(&all);
    Ok(())
}

async fn measured(
    cluster: &Cluster,
    profiles: &mut Profiles,
    agents: &mut Agents,
    nodes: usize,
    number: usize,
) -> anyhow::Result<Measured> {
    let made = profiles.make(number).await?;
    tokio::time::sleep(SETTLED).await;
    let before = measure::Counts::read(cluster, agents).await?;
    let mut times = Vec::new();
    for change in 0..SINGLE {
        times.push(profiles.change(&[change % number]).await?);
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    tokio::time::sleep(SETTLED).await;
    let between = measure::Counts::read(cluster, agents).await?;
    let burst: Vec<_> = (0..number.min(BURST)).collect();
    let burst_took = profiles.change(&burst).await?;
    tokio::time::sleep(SETTLED).await;
    let after = measure::Counts::read(cluster, agents).await?;
    Ok(Measured {
        nodes,
        profiles: number,
        made,
        times,
        single: between.since(&before, SINGLE),
        burst: burst.len(),
        burst_took,
        in_burst: after.since(&between, burst.len()),
        state: measure::State::read(cluster, agents, nodes).await?,
    })
}
