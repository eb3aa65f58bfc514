//! What the cluster says of the operator: its memory, its requests to the API server, and whether it is done.

use std::time::Duration;

use anyhow::{Context as _, bail};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use e2e::metrics::{scrape, sum};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use seccomp_operator_api::condition;

use crate::load;

/// A part of the operator.
#[derive(Clone, Copy)]
pub enum Component {
    /// The one agent.
    Agent,
    /// The controllers, which serve admission as well.
    Controller,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Controller => "controller",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Agent => 8082,
            Self::Controller => 8081,
        }
    }

    fn workload(self) -> &'static str {
        match self {
            Self::Agent => "daemonset",
            Self::Controller => "deployment",
        }
    }

    fn selector(self) -> String {
        format!("app.kubernetes.io/component={}", self.name())
    }
}

async fn pods(cluster: &Cluster, component: Component) -> anyhow::Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let selected = ListParams::default().labels(&component.selector());
    let pods = api.list(&selected).await?.items;
    let pods: Vec<_> = pods
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    if pods.is_empty() {
        bail!("there is no pod of the {}", component.name());
    }
    Ok(pods)
}

/// The resident memory of the component's largest process, in bytes, as it says itself.
pub async fn memory(cluster: &Cluster, component: Component) -> anyhow::Result<f64> {
    let mut largest: f64 = 0.0;
    for pod in pods(cluster, component).await? {
        let path = format!(
            "/api/v1/namespaces/{NAMESPACE}/pods/{}:{}/proxy/metrics",
            pod.name_any(),
            component.port()
        );
        let metrics = scrape(&path).await?;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        let bytes: f64 = line.context("no memory among the metrics")?.parse()?;
        largest = largest.max(bytes);
    }
    Ok(largest)
}

/// How often the containers of the component were started again.
pub async fn restarts(cluster: &Cluster, component: Component) -> anyhow::Result<i32> {
    let pods = pods(cluster, component).await?;
    let statuses = pods.iter().filter_map(|pod| pod.status.as_ref());
    let containers = statuses.filter_map(|status| status.container_statuses.as_ref());
    Ok(containers
        .flatten()
        .map(|status| status.restart_count)
        .sum())
}

/// New processes, and until they are ready.
pub async fn restart(cluster: &Cluster, component: Component) -> anyhow::Result<()> {
    let selector = component.selector();
    drop(pods(cluster, component).await?);
    let args = [
        "rollout",
        "restart",
        component.workload(),
        "--namespace",
        NAMESPACE,
        "--selector",
        &selector,
    ];
    kubectl(&args, "").await?.ok()?;
    let args = [
        "rollout",
        "status",
        component.workload(),
        "--namespace",
        NAMESPACE,
        "--selector",
        &selector,
        "--timeout=3m",
    ];
    kubectl(&args, "").await?.ok()?;
    Ok(())
}

/// Until all of these profiles are on every node that they should be on, as their statuses say.
pub async fn await_ready(cluster: &Cluster, names: &[String]) -> anyhow::Result<()> {
    let is_ready = |profile: &seccomp_operator_api::SeccompProfile| {
        let conditions = profile.status.iter().flat_map(|status| &status.conditions);
        let mut ready = conditions.filter(|one| one.type_ == condition::READY);
        ready.any(|one| one.status == "True")
    };
    until(
        "the profiles to be ready",
        Duration::from_mins(3),
        || async {
            let profiles = load::profiles(cluster).list(&ListParams::default()).await?;
            let ready = profiles.iter().filter(|profile| is_ready(profile)).count();
            if ready < names.len() {
                bail!("{ready} of {} are ready", names.len());
            }
            Ok(())
        },
    )
    .await
}

/// The API server's own counts of the requests that it has answered.
pub struct Requests(String);

impl Requests {
    /// As they are now.
    pub async fn read() -> anyhow::Result<Self> {
        scrape("/metrics").await.map(Self)
    }

    fn count(&self, is_counted: impl Fn(&str) -> bool) -> usize {
        let count = sum(&self.0, "apiserver_request_total", |labels| {
            let mut writes = ["POST", "PUT", "PATCH", "APPLY", "DELETE"].iter();
            writes.any(|verb| labels.contains(&format!("verb=\"{verb}\""))) && is_counted(labels)
        });
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a whole number, printed as a float
        let count = count as usize;
        count
    }

    /// Writes of a resource of the operator's group, its status included.
    pub fn writes(&self, resource: &str) -> usize {
        let resource = format!("resource=\"{resource}\"");
        self.count(|labels| labels.contains(&resource))
    }

    /// Writes of all that the operator writes, but for the Lease, and for Events, which look like everybody's.
    pub fn of_operator(&self) -> usize {
        self.count(|labels| {
            labels.contains("group=\"seccomp-operator.io\"")
                || labels.contains("group=\"admissionregistration.k8s.io\"")
        })
    }
}
