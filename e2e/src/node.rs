//! The nodes' seccomp folders, seen through pods that mount them.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::command::{kubectl, until};
use crate::pods::Pod;

/// A pod on each node that shows the node's files. What is said of "the nodes" is said of those that were ready at its start.
pub struct Viewer {
    namespace: String,
    nodes: Vec<String>,
}

impl Viewer {
    /// Starts the pods in this namespace.
    pub async fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        let nodes = cluster.nodes().await?;
        let pods = nodes.iter().map(|node| {
            Pod::script(
                cluster,
                namespace,
                &pod_on(node),
                "echo there; sleep infinity",
            )
            .host_path("/var/lib/kubelet/seccomp", "/seccomp")
            .with("/spec/containers/0/securityContext", json!({}))
            .on(node)
        });
        for pod in pods.clone() {
            pod.create(cluster).await?;
        }
        for pod in pods {
            pod.log_with(cluster, "there").await?;
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            nodes,
        })
    }

    /// The same of one node only.
    #[must_use]
    pub fn on(&self, node: &str) -> Self {
        Self {
            namespace: self.namespace.clone(),
            nodes: vec![node.to_owned()],
        }
    }

    /// What a script prints on each node, in the order of their names; it has to succeed on all of them.
    async fn bash(&self, script: &str) -> anyhow::Result<Vec<String>> {
        let mut running = JoinSet::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let (namespace, node, script) =
                (self.namespace.clone(), node.clone(), script.to_owned());
            running.spawn(async move {
                let pod = pod_on(&node);
                let exec = ["exec", "--namespace", &namespace, &pod, "--"];
                let ran = kubectl(&[&exec[..], &["bash", "-c", &script]].concat(), "").await;
                let printed = ran.and_then(crate::command::Finished::ok);
                printed
                    .with_context(|| format!("on {node}"))
                    .map(|printed| (place, printed))
            });
        }
        let mut printed = Vec::new();
        while let Some(ran) = running.join_next().await {
            printed.push(ran??);
        }
        printed.sort();
        Ok(printed.into_iter().map(|(_, printed)| printed).collect())
    }

    /// The bytes of a file below the seccomp folder, which have to be the same on all nodes.
    pub async fn read(&self, path: &str) -> anyhow::Result<String> {
        let mut files = self.bash(&format!("cat /seccomp/{path}")).await?;
        let file = files.pop().context("no nodes")?;
        for (other, node) in files.iter().zip(&self.nodes) {
            ensure!(
                *other == file,
                "on {node} {path} holds {other}, elsewhere {file}"
            );
        }
        Ok(file)
    }

    /// Every profile file of every node with its inode, time of change and checksum: equal when nothing happened to any of them.
    pub async fn snapshot(&self) -> anyhow::Result<String> {
        let script = "cd /seccomp/profiles && for f in *.json; do stat -c '%n %i %z' \"$f\"; sha256sum \"$f\"; done";
        Ok(self.bash(script).await?.concat())
    }

    /// Runs a script in the profiles folder of [`Cluster::a_worker`], as somebody there who may change it.
    pub async fn vandalise(cluster: &Cluster, namespace: &str, script: &str) -> anyhow::Result<()> {
        let script = format!("cd /seccomp/profiles && {script} && echo done");
        let pod = Pod::script(cluster, namespace, "vandal", &script)
            .host_path("/var/lib/kubelet/seccomp", "/seccomp")
            .with("/spec/containers/0/volumeMounts/0/readOnly", false.into())
            .on(&cluster.a_worker().await?);
        let log = pod.run(cluster).await?;
        if log != "done\n" {
            bail!("the script says {log}");
        }
        Ok(())
    }

    /// Waits until a file is there on all nodes, with something in it that `accept` likes.
    pub async fn await_file(
        &self,
        path: &str,
        accept: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        until(
            &format!("{path} on the nodes"),
            Duration::from_secs(15),
            || async {
                let content = self.read(path).await?;
                if accept(&content) {
                    Ok(content)
                } else {
                    bail!("it holds {content}")
                }
            },
        )
        .await
    }

    /// Waits until a file is gone from all nodes.
    pub async fn await_absence(&self, path: &str) -> anyhow::Result<()> {
        until(
            &format!("{path} to go from the nodes"),
            Duration::from_secs(15),
            || async {
                let absent = self.bash(&format!("test ! -e /seccomp/{path}")).await;
                absent.context("it is there").map(drop)
            },
        )
        .await
    }
}

fn pod_on(node: &str) -> String {
    format!("viewer-{node}")
}
