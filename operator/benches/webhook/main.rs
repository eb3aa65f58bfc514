//! How fast the webhook answers: the product's own server over TLS, in a process of its own on one core, driven by this process
//! from another core, with 100 policies and 1,000 profiles.
//!
//!     cargo bench -p seccomp-operator --bench webhook
//!
//! Beside it, in the same run and in turns, the same server answers `allowed` without looking at what it was sent: what TLS and
//! HTTP cost, and so the most that any webhook on this machine could do. The server has no client of the API server at all, so a
//! review cannot cause a call.

mod client;
mod review;
mod server;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long each measurement runs, and how often each is taken; the best of them counts, since whatever else runs on the
/// machine only ever makes one worse.
const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;

/// What is held to with eight connections. The main peer, measured the same way, answers 188 reviews/s.
const MIN_RATE: f64 = 300.0 * 188.0;
const MAX_P99: Duration = Duration::from_millis(1);

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    drop(rustls::crypto::ring::default_provider().install_default());
    if args.next().as_deref() == Some("--serve") {
        let core = args.next().context("no core")?.parse()?;
        pin(core)?;
        return server::run();
    }
    let cores = cores()?;
    let (Some(first), Some(last)) = (cores.first(), cores.last()) else {
        anyhow::bail!("no cores")
    };
    if first == last {
        println!("there is one core only, which server and client share: the figures say little");
    }
    let mut server = Server::start(*first)?;
    pin(*last)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(1)
        .build()?;
    runtime.block_on(measure(&mut server))
}

async fn measure(server: &mut Server) -> anyhow::Result<()> {
    let body = review::body();
    println!(
        "webhook, one core, TLS, keep-alive; 100 policies, 1,000 profiles, a review of {} bytes",
        body.len()
    );
    println!(
        "{:<14}{:>14}{:>14}{:>9}{:>12}{:>12}",
        "connections", "allow-all/s", "mutate/s", "share", "p50", "p99"
    );
    let mut met = true;
    for connections in [1, 8] {
        let mutate = client::Load::new(server.port, &server.authority, "/mutate", &body)?;
        let allow = client::Load::new(server.port, &server.authority, "/allow", &body)?;
        let mut best = [0_f64; 2];
        for _ in 0..ROUNDS {
            for (best, load) in best.iter_mut().zip([&allow, &mutate]) {
                *best = best.max(load.closed_loop(connections, ROUND).await?);
            }
        }
        let [allowed, mutated] = best;
        let share = mutated / allowed;
        let mut latencies = Vec::new();
        for _ in 0..ROUNDS {
            latencies.push(mutate.open_loop(connections, mutated / 2.0, ROUND).await?);
        }
        latencies.sort_by_key(|latency| latency.p99);
        let latency = latencies.first().context("no rounds")?;
        println!(
            "{connections:<14}{allowed:>14.0}{mutated:>14.0}{:>8.0}%{:>12?}{:>12?}",
            share * 100.0,
            latency.p50,
            latency.p99
        );
        if connections == 8 {
            met = mutated >= MIN_RATE && latency.p99 < MAX_P99;
        }
    }
    println!(
        "{:<14}{:>14}{:>14}{:>9}{:>12}{:>12}   API calls: 0 (the server has no client){}",
        "budget at 8",
        "",
        format!(">= {MIN_RATE:.0}"),
        "",
        "",
        format!("< {MAX_P99:?}"),
        if met { "" } else { "   NOT MET" }
    );
    println!("p50 and p99 at half the rate of mutate/s, counted from when a review was due");
    println!("server memory after it: {} MiB", server.resident()?);
    Ok(())
}

fn cores() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// The server's process.
struct Server {
    child: Child,
    port: u16,
    /// Its certificate authority, in PEM.
    authority: String,
}

impl Server {
    fn start(core: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", &core.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let port = lines.next().context("the server ended")??.parse()?;
        let authority = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .fold(String::new(), |pem, line| pem + &line + "\n");
        Ok(Self {
            child,
            port,
            authority,
        })
    }

    /// Resident memory, in MiB.
    fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
