//! A shell among the processes of a node, to do there what goes wrong on nodes.

use serde_json::json;

use crate::cluster::Cluster;
use crate::command::kubectl;
use crate::pods::Pod;

/// Where the node's log files are, in the shell.
const LOGS: &str = "/var/log/kubernetes";
/// The operator's programs have one name in `comm`; which of them a process is says its command line.
const FUNCTIONS: &str = r#"
processes() { for p in /proc/[0-9]*; do
    read -r c 2>/dev/null <$p/comm && [[ $c == "$1" ]] || continue
    a=" $(tr '\0' ' ' <$p/cmdline) "
    [[ $a == *" ${2:-} "* ]] && echo ${p#/proc/}
done; true; }
"#;

/// A pod that sees the node's processes, its seccomp folder at `/seccomp` and its Kubernetes logs.
pub struct Shell {
    namespace: String,
    name: String,
}

impl Shell {
    /// Starts it in this namespace, on the node that the API server runs on.
    pub async fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        Self::start_on(cluster, namespace, &cluster.control_plane().await?).await
    }

    /// Starts it on this node.
    pub async fn start_on(cluster: &Cluster, namespace: &str, node: &str) -> anyhow::Result<Self> {
        let name = format!("shell-{node}");
        let mounts = json!([
            { "name": "host", "mountPath": "/seccomp" },
            { "name": "logs", "mountPath": LOGS, "readOnly": true },
        ]);
        let volumes = json!([
            { "name": "host", "hostPath": { "path": "/var/lib/kubelet/seccomp", "type": "Directory" } },
            { "name": "logs", "hostPath": { "path": LOGS, "type": "DirectoryOrCreate" } },
        ]);
        let pod = Pod::script(cluster, namespace, &name, "echo there; sleep infinity")
            .host_pid()
            .host_path("", "")
            .with("/spec/volumes", volumes)
            .with("/spec/containers/0/volumeMounts", mounts)
            .with("/spec/containers/0/securityContext", json!({}))
            .on(node);
        pod.log_with(cluster, "there").await?;
        Ok(Self {
            namespace: namespace.to_owned(),
            name,
        })
    }

    /// What a script prints; it has to succeed. `processes COMM [WORD]` prints the ids of the processes of that name that have
    /// the word in their command line.
    pub async fn run(&self, script: &str) -> anyhow::Result<String> {
        let script = format!("set -euo pipefail\n{FUNCTIONS}{script}");
        let exec = ["exec", "--namespace", &self.namespace, &self.name, "--"];
        kubectl(&[&exec[..], &["bash", "-c", &script]].concat(), "")
            .await?
            .ok()
    }
}
