//! Pods that try something out, and what they say.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::command::{kubectl, until};

/// A pod to be.
pub struct Pod {
    object: Value,
}

impl Pod {
    /// A pod with bash and coreutils that runs `script`.
    #[must_use]
    pub fn script(cluster: &Cluster, namespace: &str, name: &str, script: &str) -> Self {
        let container = json!({ "image": cluster.tools_image, "command": ["/bin/bash", "-c", "--"], "args": [script] });
        Self::with_container(namespace, name, container)
    }

    /// A pod that says which system calls its seccomp filter stops.
    #[must_use]
    pub fn probe(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        let command = json!(["/kubectl-seccomp", "probe", "--output", "json"]);
        Self::with_container(
            namespace,
            name,
            json!({ "image": cluster.operator_image, "command": command }),
        )
    }

    fn with_container(namespace: &str, name: &str, mut container: Value) -> Self {
        container["name"] = "test-container".into();
        container["imagePullPolicy"] = "IfNotPresent".into();
        container["securityContext"] = json!({ "allowPrivilegeEscalation": false });
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container] },
        });
        Self { object }
    }

    /// The pod of this manifest.
    #[must_use]
    pub fn of(object: Value) -> Self {
        Self { object }
    }

    /// With `seccompProfile: {type: ...}` at pod level.
    #[must_use]
    pub fn profile(mut self, type_: &str) -> Self {
        self.object["spec"]["securityContext"] = json!({ "seccompProfile": { "type": type_ } });
        self
    }

    /// With `seccompProfile: {type: Localhost, ...}` at pod level.
    #[must_use]
    pub fn localhost(mut self, path: &str) -> Self {
        self.object["spec"]["securityContext"] =
            json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": path } });
        self
    }

    /// With the node's processes in sight.
    #[must_use]
    pub fn host_pid(mut self) -> Self {
        self.object["spec"]["hostPID"] = true.into();
        self
    }

    /// On this node, whatever taints it has.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.object["spec"]["nodeName"] = node.into();
        self.object["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
        self
    }

    /// For this node alone, once the scheduler may put a pod there.
    #[must_use]
    pub fn waiting_for(mut self, node: &str) -> Self {
        self.object["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        self
    }

    /// Started again whenever it has ended.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.object["spec"]["restartPolicy"] = "Always".into();
        self
    }

    /// With what is at a JSON pointer replaced.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        if let Some(place) = self.object.pointer_mut(pointer) {
            *place = value;
        }
        self
    }

    /// With a folder of the node at `path` in the container, read-only.
    #[must_use]
    pub fn host_path(mut self, host: &str, path: &str) -> Self {
        self.object["spec"]["volumes"] =
            json!([{ "name": "host", "hostPath": { "path": host, "type": "Directory" } }]);
        self.object["spec"]["containers"][0]["volumeMounts"] =
            json!([{ "name": "host", "mountPath": path, "readOnly": true }]);
        self
    }

    /// Creates the pod; what kubectl printed, warnings and all.
    pub async fn create(&self, cluster: &Cluster) -> anyhow::Result<String> {
        cluster.apply(&self.object.to_string()).await
    }

    fn place(&self) -> (&str, &str) {
        let metadata = &self.object["metadata"];
        (
            metadata["namespace"].as_str().unwrap_or_default(),
            metadata["name"].as_str().unwrap_or_default(),
        )
    }

    /// Creates the pod and waits until its log holds `text`; the whole log.
    pub async fn log_with(&self, cluster: &Cluster, text: &str) -> anyhow::Result<String> {
        self.create(cluster).await?;
        let (namespace, name) = self.place();
        until(
            &format!("{text:?} in the log of pod {namespace}/{name}"),
            Duration::from_mins(1),
            || async {
                let log = kubectl(&["logs", "--namespace", namespace, name], "")
                    .await?
                    .ok()?;
                if !log.contains(text) {
                    bail!(
                        "its log is {log:?}, its state {}",
                        state(cluster, namespace, name).await?
                    );
                }
                Ok(log)
            },
        )
        .await
    }

    /// Creates the pod and waits until it has ended; its log.
    pub async fn run(&self, cluster: &Cluster) -> anyhow::Result<String> {
        self.run_within(cluster, Duration::from_mins(1)).await
    }

    /// As [`run`](Self::run), of a pod that takes its time.
    pub async fn run_within(
        &self,
        cluster: &Cluster,
        patience: Duration,
    ) -> anyhow::Result<String> {
        self.create(cluster).await?;
        let (namespace, name) = self.place();
        until(
            &format!("the end of pod {namespace}/{name}"),
            patience,
            || async {
                let pod = cluster
                    .get(&["pod", name, "--namespace", namespace])
                    .await?;
                match pod.data["status"]["phase"].as_str() {
                    Some("Succeeded" | "Failed") => Ok(()),
                    phase => bail!(
                        "its phase is {phase:?}, its state {}",
                        state(cluster, namespace, name).await?
                    ),
                }
            },
        )
        .await?;
        kubectl(&["logs", "--namespace", namespace, name], "")
            .await?
            .ok()
    }

    /// What kubelet and scheduler complained of about the pod.
    pub async fn complaints(&self, cluster: &Cluster) -> anyhow::Result<Vec<String>> {
        let (namespace, name) = self.place();
        let of_it = format!("involvedObject.name={name},type=Warning");
        let events = [
            "events",
            "--namespace",
            namespace,
            "--field-selector",
            &of_it,
        ];
        let events = cluster.get(&events).await?.data["items"].clone();
        let events = events.as_array().into_iter().flatten();
        let messages = events.filter_map(|event| event["message"].as_str());
        Ok(messages.map(str::to_owned).collect())
    }

    /// The node that the pod is on.
    pub async fn node(&self, cluster: &Cluster) -> anyhow::Result<String> {
        let spec = self.spec(cluster).await?;
        let node = spec["nodeName"].as_str();
        Ok(node.context("the pod has no node yet")?.to_owned())
    }

    /// The pod's spec as the API server has it now.
    pub async fn spec(&self, cluster: &Cluster) -> anyhow::Result<Value> {
        let (namespace, name) = self.place();
        Ok(cluster
            .get(&["pod", name, "--namespace", namespace])
            .await?
            .data["spec"]
            .clone())
    }
}

async fn state(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<String> {
    let pod = cluster
        .get(&["pod", name, "--namespace", namespace])
        .await
        .context("the pod is gone")?;
    Ok(pod.data["status"]["containerStatuses"][0]["state"].to_string())
}
