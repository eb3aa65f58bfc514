//! The agents of all these nodes in one process, as they are on a node: nothing of them is replaced but where they are told their node and
//! their token.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::command::required;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use seccomp_operator::agent::Agent;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// What a process is told that is to be the agents.
pub const ROLE: &str = "SCALE_AGENTS";
/// Where a tmpfs is, as a rule.
const MEMORY: &str = "/dev/shm";
/// How long one agent may take to be in sync.
const PATIENCE: Duration = Duration::from_mins(2);
const DONE: &str = "done";

/// The process, which ends with this.
pub struct Agents {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Drop for Agents {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Agents {
    /// Starts those of the nodes that have these tokens.
    pub fn start(tokens: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let folder = Path::new(MEMORY).join(format!("scale-{}", std::process::id()));
        let mut command = Command::new(std::env::current_exe()?);
        let piped = command.env(ROLE, &folder).stdin(Stdio::piped());
        let mut process = piped.stdout(Stdio::piped()).spawn()?;
        let mut input = process.stdin.take().context("no standard input")?;
        let output = process.stdout.take().context("no standard output")?;
        input.write_all(&serde_json::to_vec(tokens)?)?;
        input.write_all(b"\n")?;
        Ok(Self {
            process,
            input,
            output: BufReader::new(output),
            folder,
        })
    }

    /// All of them end, and start at once.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.tell("restart")
    }

    /// One after the other ends, starts, and is in sync before the next does.
    pub fn roll(&mut self) -> anyhow::Result<()> {
        self.tell("roll")
    }

    /// The agent of this node ends, and its files go with the node.
    pub fn remove(&mut self, node: &str) -> anyhow::Result<()> {
        self.tell(&format!("remove {node}"))
    }

    /// Another node has an agent, with this token.
    pub fn add(&mut self, node: &str, token: &str) -> anyhow::Result<()> {
        self.tell(&format!("add {node} {token}"))
    }

    fn tell(&mut self, what: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{what}")?;
        let mut answer = String::new();
        tokio::task::block_in_place(|| self.output.read_line(&mut answer))?;
        ensure!(answer.trim() == DONE, "the agents did not {what}: {answer}");
        Ok(())
    }

    /// Seconds of CPU time that they have taken.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks: u32 = times.filter_map(|time| time.parse::<u32>().ok()).sum();
        Ok(f64::from(ticks) / f64::from(u32::try_from(rustix::param::clock_ticks_per_second())?))
    }

    /// Resident bytes.
    pub fn memory(&self) -> anyhow::Result<f64> {
        self.status("VmRSS:")
    }

    /// The most resident bytes since the last [`forget_peak`](Self::forget_peak).
    pub fn peak(&self) -> anyhow::Result<f64> {
        self.status("VmHWM:")
    }

    /// See [`peak`](Self::peak).
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        // proc(5): 5 resets VmHWM.
        Ok(std::fs::write(
            format!("/proc/{}/clear_refs", self.process.id()),
            "5",
        )?)
    }

    fn status(&self, field: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib: f64 = line
            .and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("no {field}"))?
            .parse()?;
        Ok(kib * 1024.0)
    }

    /// Fails if they have ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the agents ended: {status}"),
        }
    }
}

/// Is the agents until something ends that must not.
pub fn be(folder: &Path) -> anyhow::Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (heard, mut told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut lines = std::io::stdin().lines().map_while(Result::ok);
        while lines.next().is_some_and(|line| heard.send(line).is_ok()) {}
    });
    // A watch of a folder, a descriptor of its ledger, and connections, for each of them.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(Path::new(&required("E2E_KUBECONFIG")?))?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let tokens = told.recv().await.context("no tokens")?;
        let mut fleet = Fleet {
            config,
            folder,
            tokens: serde_json::from_str(&tokens)?,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        fleet.start_all()?;
        loop {
            tokio::select! {
                Some(ended) = fleet.tasks.join_next() => match ended {
                    Ok(ended) => ended.context("an agent ended")?,
                    Err(ended) if ended.is_cancelled() => {}
                    Err(ended) => return Err(ended.into()),
                },
                line = told.recv() => {
                    let Some(line) = line else { return Ok(()) };
                    fleet.obey(&line).await?;
                    println!("{DONE}");
                }
            }
        }
    })
}

/// An agent that runs, and whether it is in sync.
struct Running {
    task: AbortHandle,
    ready: Box<dyn Fn() -> bool + Send>,
}

struct Fleet<'a> {
    config: Config,
    folder: &'a Path,
    tokens: BTreeMap<String, String>,
    running: BTreeMap<String, Running>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Fleet<'_> {
    async fn obey(&mut self, line: &str) -> anyhow::Result<()> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["restart"] => {
                self.running.clear();
                self.tasks.abort_all();
                self.start_all()
            }
            ["roll"] => {
                for node in self.tokens.keys().cloned().collect::<Vec<_>>() {
                    self.stop(&node);
                    self.start(&node)?;
                    self.in_sync(&node).await?;
                }
                Ok(())
            }
            ["remove", node] => {
                self.stop(node);
                self.tokens.remove(*node);
                // What it was writing may still come; all goes in the end.
                let _ = std::fs::remove_dir_all(self.folder.join(node));
                Ok(())
            }
            ["add", node, token] => {
                self.tokens.insert((*node).to_owned(), (*token).to_owned());
                self.start(node)
            }
            _ => bail!("what is {line:?}?"),
        }
    }

    fn start_all(&mut self) -> anyhow::Result<()> {
        let nodes: Vec<_> = self.tokens.keys().cloned().collect();
        nodes.iter().try_for_each(|node| self.start(node))
    }

    fn stop(&mut self, node: &str) {
        if let Some(running) = self.running.remove(node) {
            running.task.abort();
        }
    }

    fn start(&mut self, node: &str) -> anyhow::Result<()> {
        let token = self.tokens.get(node).context("no token")?.clone();
        let mut config = self.config.clone();
        config.auth_info = AuthInfo {
            token: Some(token.into()),
            ..AuthInfo::default()
        };
        let root = self.folder.join(node);
        std::fs::create_dir_all(&root)?;
        let agent = Agent {
            client: Client::try_from(config)?,
            node: node.to_owned(),
            seccomp_root: root,
            profiles_dir: "profiles".into(),
            recorder_socket: None,
            audit: false,
        };
        let (runs, ready) = agent.start(&mut Registry::default())?;
        let running = Running {
            task: self.tasks.spawn(runs),
            ready: Box::new(move || ready().is_ok()),
        };
        self.running.insert(node.to_owned(), running);
        Ok(())
    }

    async fn in_sync(&self, node: &str) -> anyhow::Result<()> {
        let running = self.running.get(node).context("no agent")?;
        let synced = async {
            while !(running.ready)() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, synced).await;
        waited.with_context(|| format!("{node} is not in sync after {PATIENCE:?}"))
    }
}
