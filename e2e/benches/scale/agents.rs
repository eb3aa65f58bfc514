//! The agents of all these nodes in one process, as they are on a node: nothing of them is replaced but where they are told their node and
//! their token.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use e2e::command::required;
use futures::future::try_join_all;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use seccomp_operator::agent::Agent;

/// What a process is told that is to be the agents.
pub const ROLE: &str = "SCALE_AGENTS";
/// Where a tmpfs is, as a rule.
const MEMORY: &str = "/dev/shm";

/// The process, which ends with this.
pub struct Agents {
    process: Child,
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
        command.env(ROLE, &folder).stdin(Stdio::piped());
        let mut process = command.spawn()?;
        let mut input = process.stdin.take().context("no standard input")?;
        input.write_all(&serde_json::to_vec(tokens)?)?;
        drop(input);
        Ok(Self { process, folder })
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?
            .parse()?;
        Ok(kib * 1024.0)
    }

    /// Fails if they have ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the agents ended: {status}"),
        }
    }
}

/// Is the agents until something ends that must not.
pub fn be(folder: &Path) -> anyhow::Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let tokens: BTreeMap<String, String> = serde_json::from_reader(std::io::stdin())?;
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
        let agents = tokens.into_iter().map(|(node, token)| {
            let mut config = config.clone();
            config.auth_info = AuthInfo {
                token: Some(token.into()),
                ..AuthInfo::default()
            };
            let root = folder.join(&node);
            async move {
                std::fs::create_dir_all(&root)?;
                let agent = Agent {
                    client: Client::try_from(config)?,
                    node,
                    seccomp_root: root,
                    profiles_dir: "profiles".into(),
                    recorder_socket: None,
                    audit: false,
                };
                let (runs, _) = agent.start(&mut Registry::default())?;
                tokio::spawn(runs).await?
            }
        });
        try_join_all(agents).await.map(drop)
    })
}
