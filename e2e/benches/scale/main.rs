//! What the operator costs as nodes and profiles become more: real agents of nodes without a machine, the controller as shipped, a real API
//! server and etcd. Run by `make scale`, on a cluster to itself.
//!
//!     cargo bench --bench scale -- NODES[,NODES...] PROFILES[,PROFILES...]

mod agents;
mod measure;
mod nodes;
mod profiles;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use e2e::cluster::{Cluster, NAMESPACE};

use agents::Agents;
use measure::{Measured, growth, print};
use profiles::Profiles;

/// Changes one after the other, for the median.
const SINGLE: usize = 15;
/// At most so many at once.
const BURST: usize = 100;
/// What is still under way from before is over then.
const SETTLED: Duration = Duration::from_secs(12);

fn main() -> anyhow::Result<()> {
    // Before there is a second thread.
    if let Ok(folder) = std::env::var(agents::ROLE) {
        return agents::be(Path::new(&folder));
    }
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let numbers = |at: usize| -> anyhow::Result<Vec<usize>> {
        let text = words.get(at).map_or("10,100", String::as_str);
        let mut numbers = text
            .split(',')
            .map(|number| {
                number
                    .parse()
                    .with_context(|| format!("{number:?} is no number"))
            })
            .collect::<Result<Vec<usize>, _>>()?;
        numbers.sort_unstable();
        Ok(numbers)
    };
    let (nodes, profiles) = (numbers(0)?, numbers(1)?);
    tokio::runtime::Runtime::new()?.block_on(scale(&nodes, &profiles))
}

async fn scale(wanted_nodes: &[usize], wanted_profiles: &[usize]) -> anyhow::Result<()> {
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
