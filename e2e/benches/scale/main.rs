//! What the operator costs as nodes and profiles become more: real agents of nodes without a machine, the controller as shipped, a real API
//! server and etcd. Run by `make scale` and `make soak`, on a cluster to itself.
//!
//!     cargo bench --bench scale -- [changes] NODES[,NODES...] PROFILES[,PROFILES...]
//!     cargo bench --bench scale -- herds NODES[,NODES...]
//!     cargo bench --bench scale -- lists NODES PODS
//!     cargo bench --bench scale -- soak MINUTES NODES

mod agents;
mod changes;
mod herds;
mod lists;
mod load;
mod measure;
mod nodes;
mod profiles;
mod soak;

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    // Before there is a second thread.
    if let Ok(folder) = std::env::var(agents::ROLE) {
        return agents::be(Path::new(&folder));
    }
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match words.as_slice() {
        ["herds", rest @ ..] => runtime.block_on(herds::run(&numbers(rest, 0, "100")?)),
        ["lists", rest @ ..] => {
            let (nodes, pods) = (number(rest, 0, "1000")?, number(rest, 1, "50000")?);
            runtime.block_on(lists::run(nodes, pods))
        }
        ["soak", rest @ ..] => {
            let (minutes, nodes) = (number(rest, 0, "60")?, number(rest, 1, "30")?);
            runtime.block_on(soak::run(minutes, nodes))
        }
        words => {
            let rest = words.strip_prefix(&["changes"]).unwrap_or(words);
            let (nodes, profiles) = (numbers(rest, 0, "10,100")?, numbers(rest, 1, "10,100")?);
            runtime.block_on(changes::run(&nodes, &profiles))
        }
    }
}

/// Numbers with commas between them, the least first.
fn numbers(words: &[&str], at: usize, default: &str) -> anyhow::Result<Vec<usize>> {
    let text = words.get(at).copied().unwrap_or(default).split(',');
    let numbers = text.map(|number| {
        let read = number.parse::<usize>();
        read.with_context(|| format!("{number:?} is no number"))
    });
    let mut numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    Ok(numbers)
}

fn number(words: &[&str], at: usize, default: &str) -> anyhow::Result<usize> {
    let numbers = numbers(words, at, default)?;
    numbers.last().copied().context("no number")
}
