//! How quick and how frugal the operator is on a real cluster, as a table beside the budgets. Run by `make bench-cluster`.
//!
//! Takes what the tests take (see `e2e/src/lib.rs`), a cluster of one node to itself, and in `BENCH_SECCOMP_FOLDER` where the
//! node's seccomp folder is on this machine: a look through the API server would take longer than what is measured.
#![allow(clippy::expect_used)] // a bench that cannot go on stops

mod cluster;
mod files;
mod load;
mod table;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use e2e::admission::InPlace;
use e2e::cluster::Cluster;
use e2e::command::required;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::sleep;

use cluster::{Component, Requests};
use files::{Bare, Folder};
use table::{Table, ms, percentile};

/// How many profiles are applied one by one, and as many for the bare watcher.
const SINGLE: usize = 100;
/// How many are applied at once.
const BURST: usize = 200;
/// How many requests at once a burst is made with.
const AT_ONCE: usize = 8;
/// How many files are changed or removed behind the agent's back.
const DRIFTS: usize = 50;
/// How long nothing happens for the steady state.
const STEADY: Duration = Duration::from_mins(1);
/// Profiles and nodes that a large cluster has.
const LARGE: usize = 1000;
/// Large profiles, as many as fit into what the API server lists within a minute.
const HUGE: usize = 42;

const MIB: f64 = 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let cluster = Cluster::with_operator().await?;
    let folder = required("BENCH_SECCOMP_FOLDER")?;
    let mut table = Table::default();
    load::clear(&cluster).await?;
    for (part, is_wanted) in
        ["latency", "burst", "admission", "huge", "large"].map(|part| (part, is_wanted(part)))
    {
        if !is_wanted {
            continue;
        }
        println!("{part} ...");
        match part {
            "latency" => latency(&cluster, &folder, &mut table).await?,
            "burst" => burst(&cluster, &folder, &mut table).await?,
            "admission" => admission(&cluster, &mut table).await?,
            "huge" => huge(&cluster, &folder, &mut table).await?,
            _ => large(&cluster, &mut table).await?,
        }
        load::clear(&cluster).await?;
    }
    table.print();
    Ok(())
}

/// From the request to the API server to the file: for the agent, and for the bare watcher by turns, so that neither waits
/// for the other's disk.
async fn latency(cluster: &Cluster, folder: &str, table: &mut Table) -> anyhow::Result<()> {
    let mut agents = Folder::watch(&format!("{folder}/profiles"))?;
    let mut bares = Folder::watch(&format!("{folder}/bench-bare"))?;
    let (mut pairs, mut of_bare) = (Vec::new(), BTreeMap::new());
    for i in 0..SINGLE {
        let profile = load::profile(&format!("bench-{i}"), i)?;
        let other = format!("bench-for-bare-{i}");
        of_bare.insert(other.clone(), load::file(&profile)?);
        pairs.push((profile, load::for_nobody(load::profile(&other, i)?)));
    }
    let bare = Bare::start(cluster, &format!("{folder}/bench-bare"), of_bare);
    let (mut agent_took, mut bare_took) = (Vec::new(), Vec::new());
    for (profile, other) in &pairs {
        agent_took.push(agents.create(cluster, profile).await?);
        sleep(Duration::from_millis(100)).await;
        bare_took.push(bares.create(cluster, other).await?);
        sleep(Duration::from_millis(100)).await;
    }
    drop(bare);
    std::fs::remove_dir_all(format!("{folder}/bench-bare"))?;
    let (agent, bare) = (percentile(&agent_took, 50), percentile(&bare_took, 50));
    let ratio = agent.as_secs_f64() / bare.as_secs_f64();
    table.row("apply -> file, p50, a bare watcher", ms(bare), "");
    table.row("apply -> file, p50", ms(agent), "");
    table.check(
        "  of the bare watcher's",
        format!("{:.0} %", 100.0 * ratio),
        "200 %",
        ratio <= 2.0,
    );
    let p99 = percentile(&agent_took, 99);
    table.check(
        "apply -> file, p99",
        ms(p99),
        "50 ms",
        p99 <= Duration::from_millis(50),
    );
    table.row(
        "apply -> file, p99, a bare watcher",
        ms(percentile(&bare_took, 99)),
        "",
    );

    let mut repaired = Vec::new();
    for i in 0..DRIFTS {
        repaired.push(
            agents
                .vandalise(&format!("bench-{i}.json"), i % 2 == 0)
                .await?,
        );
        sleep(Duration::from_millis(20)).await;
    }
    let (p50, worst) = (percentile(&repaired, 50), percentile(&repaired, 100));
    table.row("drift repaired, p50", ms(p50), "");
    table.check(
        "drift repaired, worst",
        ms(worst),
        "50 ms",
        worst <= Duration::from_millis(50),
    );
    Ok(())
}

/// Many at once, what they cost the API server, and how much memory they take.
async fn burst(cluster: &Cluster, folder: &str, table: &mut Table) -> anyhow::Result<()> {
    cluster::restart(cluster, Component::Agent).await?;
    sleep(Duration::from_secs(10)).await;
    let idle = cluster::memory(cluster, Component::Agent).await?;
    table.row("agent memory, no profile", mib(idle), "");

    let mut files = Folder::watch(&format!("{folder}/profiles"))?;
    let before = Requests::read().await?;
    let names = apply(cluster, "bench-burst", BURST, load::profile).await?;
    let applied = Instant::now();
    let last = files.await_all(&names).await?;
    let late = last.saturating_duration_since(applied);
    table.check(
        "burst of 200: last apply -> last file",
        ms(late),
        "1000 ms",
        late <= Duration::from_secs(1),
    );
    cluster::await_ready(cluster, &names).await?;
    sleep(Duration::from_secs(5)).await;
    let after = Requests::read().await?;
    let reports = after.writes("seccompnodes") - before.writes("seccompnodes");
    table.check(
        "  writes of the SeccompNode",
        reports.to_string(),
        "3",
        reports <= 3,
    );
    let statuses = after.writes("seccompprofiles") - before.writes("seccompprofiles") - BURST;
    table.row(
        "  writes of the status of profiles",
        statuses.to_string(),
        "",
    );

    let memory = cluster::memory(cluster, Component::Agent).await?;
    table.check(
        "agent memory, 200 profiles, after the burst",
        mib(memory),
        "10 MiB",
        memory <= 10.0 * MIB,
    );
    cluster::restart(cluster, Component::Agent).await?;
    sleep(Duration::from_secs(10)).await;
    let memory = cluster::memory(cluster, Component::Agent).await?;
    table.check(
        "agent memory, 200 profiles, after a restart",
        mib(memory),
        "10 MiB",
        memory <= 10.0 * MIB,
    );

    let before = Requests::read().await?;
    sleep(STEADY).await;
    let after = Requests::read().await?;
    let writes = after.of_operator() - before.of_operator();
    table.check(
        "writes in a steady minute, but for the Lease",
        writes.to_string(),
        "0",
        writes == 0,
    );
    Ok(())
}

/// Pods through the API server, with admission and without.
async fn admission(cluster: &Cluster, table: &mut Table) -> anyhow::Result<()> {
    let InPlace {
        with,
        without,
        review,
        calls,
        requests,
        ..
    } = InPlace::measure(cluster).await?;
    table.row(
        "pods created, where they get a profile",
        format!("{with:.0}/s"),
        "",
    );
    table.row(
        "pods created, where admission is not asked",
        format!("{without:.0}/s"),
        "",
    );
    table.row("  a review, as the API server measures it", ms(review), "");
    for (by, count) in [("the controllers", calls), ("the API server", requests)] {
        let what = format!("  calls of the operator, counted by {by}");
        table.check(&what, format!("{count:.0}"), "0", count < 0.5);
    }
    Ok(())
}

/// The largest profiles that fit into the API server's objects, and an agent that has to list them all at its start.
async fn huge(cluster: &Cluster, folder: &str, table: &mut Table) -> anyhow::Result<()> {
    let mut files = Folder::watch(&format!("{folder}/profiles"))?;
    let names = apply(cluster, "bench-huge", HUGE, load::huge).await?;
    files.await_all(&names).await?;
    let memory = cluster::memory(cluster, Component::Agent).await?;
    table.row("agent memory, 42 profiles of 0.9 MB", mib(memory), "");
    // Of the pod that is about to go, and then of the one that had to list them all.
    let killed = cluster::restarts(cluster, Component::Agent).await?;
    cluster::restart(cluster, Component::Agent).await?;
    sleep(Duration::from_secs(10)).await;
    let memory = cluster::memory(cluster, Component::Agent).await?;
    table.row("  after a restart", mib(memory), "");
    let restarts = killed + cluster::restarts(cluster, Component::Agent).await?;
    table.check(
        "  killed for its memory (limit 64 MiB)",
        restarts.to_string(),
        "0",
        restarts == 0,
    );
    Ok(())
}

/// A cluster of a thousand nodes, as far as the controller can see.
async fn large(cluster: &Cluster, table: &mut Table) -> anyhow::Result<()> {
    cluster::restart(cluster, Component::Controller).await?;
    sleep(Duration::from_secs(10)).await;
    let idle = cluster::memory(cluster, Component::Controller).await?;
    table.row("controller and webhook memory, no profile", mib(idle), "");
    load::nodes(cluster, LARGE).await?;
    let names = apply(cluster, "bench-large", LARGE, load::profile).await?;
    cluster::await_ready(cluster, &names).await?;
    sleep(Duration::from_secs(10)).await;
    let memory = cluster::memory(cluster, Component::Controller).await?;
    table.check(
        "controller and webhook memory, 1000 profiles, 1000 nodes",
        mib(memory),
        "40 MiB",
        memory <= 40.0 * MIB,
    );
    cluster::restart(cluster, Component::Controller).await?;
    sleep(Duration::from_secs(20)).await;
    let memory = cluster::memory(cluster, Component::Controller).await?;
    table.check(
        "  after a restart",
        mib(memory),
        "40 MiB",
        memory <= 40.0 * MIB,
    );
    let agent = cluster::memory(cluster, Component::Agent).await?;
    table.row("agent memory, 1000 profiles", mib(agent), "");
    Ok(())
}

/// Creates profiles, some at once; their names.
async fn apply(
    cluster: &Cluster,
    prefix: &str,
    many: usize,
    profile: impl Fn(&str, usize) -> anyhow::Result<seccomp_operator_api::SeccompProfile>,
) -> anyhow::Result<Vec<String>> {
    let api = load::profiles(cluster);
    let names: Vec<_> = (0..many).map(|i| format!("{prefix}-{i}")).collect();
    let objects: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(i, name)| profile(name, i))
        .collect::<Result<_, _>>()?;
    stream::iter(&objects)
        .map(|object| async {
            api.create(&kube::api::PostParams::default(), object)
                .await
                .context("a profile was refused")
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    if names.is_empty() {
        bail!("no profile was applied");
    }
    Ok(names)
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / MIB)
}
