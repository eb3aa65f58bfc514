//! The node's seccomp folder, seen through a pod that mounts it.

use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use crate::cluster::Cluster;
use crate::command::{kubectl, until};
use crate::pods::Pod;

/// A pod that shows a node's files.
pub struct Viewer {
    namespace: String,
}

impl Viewer {
    /// Starts it in this namespace.
    pub async fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        let pod = Pod::script(cluster, namespace, "viewer", "echo there; sleep infinity")
            .host_path("/var/lib/kubelet/seccomp", "/seccomp")
            .with("/spec/containers/0/securityContext", json!({}));
        pod.log_with(cluster, "there").await?;
        Ok(Self {
            namespace: namespace.to_owned(),
        })
    }

    async fn bash(&self, script: &str) -> anyhow::Result<String> {
        kubectl(
            &[
                "exec",
                "--namespace",
                &self.namespace,
                "viewer",
                "--",
                "bash",
                "-c",
                script,
            ],
            "",
        )
        .await?
        .ok()
    }

    /// The bytes of a file below the seccomp folder.
    pub async fn read(&self, path: &str) -> anyhow::Result<String> {
        self.bash(&format!("cat /seccomp/{path}")).await
    }

    /// Every profile file with its inode, time of change and checksum: equal when nothing happened to any of them.
    pub async fn snapshot(&self) -> anyhow::Result<String> {
        self.bash("cd /seccomp/profiles && for f in *.json; do stat -c '%n %i %z' \"$f\"; sha256sum \"$f\"; done").await
    }

    /// Runs a script in the profiles folder, as somebody on the node who may change it.
    pub async fn vandalise(cluster: &Cluster, namespace: &str, script: &str) -> anyhow::Result<()> {
        let script = format!("cd /seccomp/profiles && {script} && echo done");
        let pod = Pod::script(cluster, namespace, "vandal", &script)
            .host_path("/var/lib/kubelet/seccomp", "/seccomp")
            .with("/spec/containers/0/volumeMounts/0/readOnly", false.into());
        let log = pod.run(cluster).await?;
        if log != "done\n" {
            bail!("the script says {log}");
        }
        Ok(())
    }

    /// Waits until a file is there, with something in it that `accept` likes.
    pub async fn await_file(
        &self,
        path: &str,
        accept: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        until(
            &format!("{path} on the node"),
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

    /// Waits until a file is gone.
    pub async fn await_absence(&self, path: &str) -> anyhow::Result<()> {
        until(
            &format!("{path} to go from the node"),
            Duration::from_secs(15),
            || async {
                match self.bash(&format!("test ! -e /seccomp/{path}")).await {
                    Ok(_) => Ok(()),
                    Err(_) => bail!("it is there"),
                }
            },
        )
        .await
    }
}
