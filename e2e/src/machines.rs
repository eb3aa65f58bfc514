//! The machines that the nodes of the cluster without Docker are: one can be added, cut off, stopped and removed, and has its files on
//! this machine.

use std::path::PathBuf;

use tokio::process::Command;

use crate::command::finish;

/// The command `e2e/cluster/cluster`, for the cluster that the tests run on.
#[derive(Clone)]
pub struct Machines {
    command: String,
}

impl Machines {
    /// Those of the cluster, if it is one without Docker.
    #[must_use]
    pub fn of_cluster() -> Option<Self> {
        let command = std::env::var("E2E_CLUSTER").ok()?;
        Some(Self { command })
    }

    async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.command);
        command.args(args);
        finish(&self.command, command, "").await?.ok()
    }

    /// The names of the nodes, the control plane first.
    pub async fn names(&self) -> anyhow::Result<Vec<String>> {
        let names = self.run(&["node", "list"]).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Starts, joins and waits for every node that there is.
    pub async fn mend(&self) -> anyhow::Result<()> {
        self.run(&["up"]).await.map(drop)
    }

    /// Starts another worker, with a taint unless it is empty, and waits until kubelet calls it ready.
    pub async fn add(&self, node: &str, taint: &str) -> anyhow::Result<()> {
        self.run(&["node", "add", node, taint]).await.map(drop)
    }

    /// Kills a component of the control plane, such as `kube-apiserver`; the node starts it again.
    pub async fn kill(&self, component: &str) -> anyhow::Result<()> {
        self.run(&["kill", component]).await.map(drop)
    }

    /// Takes the node's cable out, or puts it in again.
    pub async fn connect(&self, node: &str, connected: bool) -> anyhow::Result<()> {
        let action = if connected { "join" } else { "cut" };
        self.run(&["node", action, node]).await.map(drop)
    }

    /// Kills all processes of the node.
    pub async fn stop(&self, node: &str) -> anyhow::Result<()> {
        self.run(&["node", "stop", node]).await.map(drop)
    }

    /// Boots a node that was stopped, and waits until kubelet calls it ready.
    pub async fn start(&self, node: &str) -> anyhow::Result<()> {
        self.run(&["node", "start", node]).await.map(drop)
    }

    /// Removes the node with its files; its Node stays.
    pub async fn remove(&self, node: &str) -> anyhow::Result<()> {
        self.run(&["node", "remove", node]).await.map(drop)
    }

    /// Where the node's seccomp folder is on this machine.
    pub async fn seccomp_folder(&self, node: &str) -> anyhow::Result<PathBuf> {
        let path = ["path", "--node", node, "/var/lib/kubelet/seccomp"];
        Ok(self.run(&path).await?.trim().into())
    }
}
