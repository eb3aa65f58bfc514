//! How much time of a CPU an agent takes for one change of a profile: the whole agent in a process of its own, from the watch event over the
//! file to the report, with what the controller writes about the change coming back to it.
//!
//!     cargo bench -p seccomp-operator --bench agent -- [PROFILES] [CHANGES]
//!
//! This process is its API server, over TLS, so that what an API server costs is not counted. CPU time is the process's own
//! (`CLOCK_PROCESS_CPUTIME_ID`), less what the agent takes in as long a time when nothing happens; what else the machine does hardly shows. Beside
//! it the same change is worked out by what a process keeps of earlier ones and by nothing, one after the other.

mod agent;
mod engine;
mod server;

use std::time::Duration;

use agent::Agent;
use server::Server;

/// Apart enough that each is reported by itself.
const APART: Duration = Duration::from_millis(2100);
/// What is still under way from before is over then.
const SETTLED: Duration = Duration::from_secs(8);
/// Milliseconds.
const BUDGET: f64 = 1.0;

fn main() -> anyhow::Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if words.first().is_some_and(|word| word == agent::ROLE) {
        return agent::be(&words[1..]);
    }
    let number = |at: usize, default: usize| words.get(at).map_or(Ok(default), |word| word.parse());
    let (profiles, changes) = (number(0, 100)?, number(1, 20)?);
    tokio::runtime::Runtime::new()?.block_on(measure(profiles, changes))
}

async fn measure(profiles: usize, changes: usize) -> anyhow::Result<()> {
    let server = Server::start(profiles).await?;
    let mut agent = Agent::start(&server)?;
    server.reported().await?;
    tokio::time::sleep(SETTLED).await;
    let count = f64::from(u32::try_from(changes)?);
    // Each kind of change is done once before it counts.
    let row = |what: &str, value: f64, unit: &str, budget: &str| {
        println!("{what:<64}{value:>9.2} {unit:<4}{budget}");
    };
    let before = agent.cpu()?;
    tokio::time::sleep(APART * u32::try_from(changes)?).await;
    let idle = agent.cpu()?.saturating_sub(before).as_secs_f64() * 1000.0;
    println!("{profiles} profiles that derive from runtime-default, {changes} changes");
    row("nothing, for as long as one change", idle / count, "ms", "");
    for (what, budget, derived) in [
        (
            "one change of a profile that derives from runtime-default",
            Some(BUDGET),
            true,
        ),
        (
            "one change of a whole document (Docker's default)",
            None,
            false,
        ),
    ] {
        server.change(0, derived).await?;
        tokio::time::sleep(APART).await;
        let (before, written) = (agent.cpu()?, server.writes());
        for change in 0..changes {
            server.change(change % profiles, derived).await?;
            tokio::time::sleep(APART).await;
        }
        let took = agent.cpu()?.saturating_sub(before).as_secs_f64() * 1000.0;
        let took = (took - idle) / count;
        let verdict = match budget {
            Some(budget) if took > budget => format!("budget {budget} ms: NOT MET"),
            Some(budget) => format!("budget {budget} ms"),
            None => String::new(),
        };
        row(what, took, "ms", &verdict);
        let written = f64::from(u32::try_from(server.writes() - written)?);
        row("  reports for it", written / count, "", "");
    }
    engine::print();
    Ok(())
}
