//! A cluster with the operator on it, as a user would have put it there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use seccomp_operator_api::{SeccompProfile, SeccompProfileStatus};

use crate::command::{Finished, helm, kubectl, required, until};

/// The release, and the namespace that it is in.
pub const RELEASE: &str = "seccomp-operator";
/// See [`RELEASE`].
pub const NAMESPACE: &str = "seccomp-operator";

/// The cluster.
#[derive(Clone)]
pub struct Cluster {
    /// For what kubectl says too little of.
    pub client: Client,
    /// The image with bash and coreutils.
    pub tools_image: String,
    /// The operator's image.
    pub operator_image: String,
}

impl Cluster {
    /// The cluster, whatever is on it.
    pub async fn connect() -> anyhow::Result<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let kubeconfig = Kubeconfig::read_from(Path::new(&required("E2E_KUBECONFIG")?))?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self {
            client: Client::try_from(config)?,
            tools_image: required("E2E_TOOLS_IMAGE")?,
            operator_image: required("E2E_OPERATOR_IMAGE")?,
        })
    }

    /// A client that says with this token who it is, and has no other right to be heard.
    pub async fn client_with(token: &str) -> anyhow::Result<Client> {
        let mut kubeconfig = Kubeconfig::read_from(Path::new(&required("E2E_KUBECONFIG")?))?;
        let user = serde_json::json!({ "token": token });
        for named in &mut kubeconfig.auth_infos {
            named.auth_info = Some(serde_json::from_value(user.clone())?);
        }
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// The cluster with the operator installed by Helm and working: what most tests begin with.
    pub async fn with_operator() -> anyhow::Result<Self> {
        let cluster = Self::connect().await?;
        cluster.install(NAMESPACE, &[]).await?;
        Ok(cluster)
    }

    /// Installs the operator, or makes sure that it is as this chart and these images would have it. `more` are more
    /// arguments for helm.
    pub async fn install(&self, namespace: &str, more: &[&str]) -> anyhow::Result<()> {
        let wait = ["--wait", "--timeout", "3m"];
        self.install_only(namespace, &[&wait, more].concat()).await
    }

    /// Like [`install`](Self::install), without waiting until it works.
    pub async fn install_only(&self, namespace: &str, more: &[&str]) -> anyhow::Result<()> {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/seccomp-operator");
        let (repository, tag) = self
            .operator_image
            .rsplit_once(':')
            .context("the operator's image needs a tag")?;
        let (repository, tag) = (
            format!("image.repository={repository}"),
            format!("image.tag={tag}"),
        );
        let args = [
            "upgrade",
            "--install",
            RELEASE,
            chart,
            "--namespace",
            namespace,
            "--create-namespace",
            "--set",
            &repository,
            "--set-string",
            &tag,
            // The definitions may have stayed from a release of another namespace.
            "--take-ownership",
        ];
        helm(&[&args, more].concat())
            .await?
            .ok()
            .context("the operator could not be installed")?;
        Ok(())
    }

    /// `kubectl apply -f -`.
    pub async fn try_apply(&self, manifest: &str) -> anyhow::Result<Finished> {
        kubectl(&["apply", "-f", "-"], manifest).await
    }

    /// `kubectl apply -f -` of something that has to be taken; what kubectl printed, warnings and all.
    pub async fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        let output = self.try_apply(manifest).await?;
        let stderr = output.stderr.clone();
        Ok(output.ok().with_context(|| manifest.to_owned())? + &stderr)
    }

    /// `kubectl apply` of a SeccompProfile with this document.
    pub async fn apply_profile(&self, name: &str, document: &str) -> anyhow::Result<String> {
        self.apply(&profile(name, document)).await
    }

    /// `kubectl wait --for=condition=Ready`, as a user would do it.
    pub async fn wait_ready(&self, profile: &str) -> anyhow::Result<String> {
        let name = format!("seccompprofile/{profile}");
        kubectl(
            &["wait", "--for=condition=Ready", &name, "--timeout=30s"],
            "",
        )
        .await?
        .ok()
    }

    /// A profile's status.
    pub async fn status(&self, profile: &str) -> anyhow::Result<SeccompProfileStatus> {
        let api: Api<SeccompProfile> = Api::all(self.client.clone());
        api.get(profile)
            .await?
            .status
            .context("the profile has no status yet")
    }

    /// A namespace for one test, with these labels. One that an earlier run left is removed first.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<String> {
        self.delete("namespace", name).await?;
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect();
        let object = serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
        self.apply(&object.to_string()).await?;
        let version = kubectl(&["get", "--raw", "/version"], "").await?.ok()?;
        let version: serde_json::Value = serde_json::from_str(&version)?;
        let minor = version["minor"].as_str().unwrap_or_default();
        // Before Kubernetes 1.24 no pod is created until its account has a token, which takes long after an outage.
        let has_tokens = minor
            .trim_end_matches('+')
            .parse()
            .is_ok_and(|n: u32| n < 24);
        until(
            "the namespace's service account",
            Duration::from_mins(1),
            || async {
                let account = self
                    .get(&["serviceaccount", "default", "--namespace", name])
                    .await?;
                if has_tokens && account.data.get("secrets").is_none() {
                    bail!("it has no token yet");
                }
                Ok(())
            },
        )
        .await?;
        Ok(name.to_owned())
    }

    /// Deletes an object of the cluster and waits until it is gone.
    pub async fn delete(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        let args = [
            "delete",
            kind,
            name,
            "--ignore-not-found",
            "--wait",
            "--timeout=90s",
        ];
        kubectl(&args, "").await?.ok().map(drop)
    }

    /// Deletes all pods of a namespace at once, and waits until they are gone.
    pub async fn delete_pods(&self, namespace: &str) -> anyhow::Result<()> {
        let args = ["delete", "pods", "--all", "--namespace", namespace, "--now"];
        kubectl(&args, "").await?.ok().map(drop)
    }

    /// The pods of a component of the operator, also those that are about to go.
    pub async fn pods_of(&self, component: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        let selector = format!("app.kubernetes.io/component={component}");
        let pods = self
            .get(&["pods", "--namespace", NAMESPACE, "--selector", &selector])
            .await?;
        Ok(pods.data["items"].as_array().context("no pods")?.clone())
    }

    /// The nodes that are ready, by name.
    pub async fn nodes(&self) -> anyhow::Result<Vec<String>> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes.list(&ListParams::default()).await?;
        let mut names: Vec<_> = nodes
            .items
            .into_iter()
            .filter(is_ready)
            .filter_map(|node| node.metadata.name)
            .collect();
        names.sort();
        Ok(names)
    }

    /// The node that the API server runs on, where the cluster says which that is.
    pub async fn control_plane(&self) -> anyhow::Result<String> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let labelled = ListParams::default().labels("node-role.kubernetes.io/control-plane");
        let node = nodes.list(&labelled).await?.items.into_iter().next();
        node.and_then(|node| node.metadata.name)
            .context("no node says that it is the control plane")
    }

    /// One node for a test that is about one, always the same: not the control plane where there is another.
    pub async fn a_worker(&self) -> anyhow::Result<String> {
        let control_plane = self.control_plane().await?;
        let nodes = self.nodes().await?;
        let worker = nodes.iter().find(|node| **node != control_plane);
        Ok(worker.unwrap_or(&control_plane).clone())
    }

    /// Reads any object by `kubectl get -o json`.
    pub async fn get(&self, args: &[&str]) -> anyhow::Result<DynamicObject> {
        let json = kubectl(&[&["get", "-o", "json"], args].concat(), "")
            .await?
            .ok()?;
        Ok(serde_json::from_str(&json)?)
    }
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The manifest of a SeccompProfile with this document.
#[must_use]
pub fn profile(name: &str, document: &str) -> String {
    format!(
        r#"{{"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {{"name": "{name}"}}, "spec": {{"profile": {document}}}}}"#
    )
}
