//! Pods in front of admission, and what it costs to create them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, NAMESPACE};
use crate::command::{kubectl, until};
use crate::metrics::{scrape, sum};

/// A pod that nobody schedules, so that only its creation costs anything. `name` is the beginning of its name.
pub fn pod(name: &str) -> anyhow::Result<Pod> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": name},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "none"}]},
    }))?)
}

/// Whether admission gave it a profile.
#[must_use]
pub fn is_injected(pod: &Pod) -> bool {
    let context = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref());
    context.is_some_and(|context| context.seccomp_profile.is_some())
}

/// That a pod which is created in a namespace gets a profile.
pub async fn injects(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = pods.create(&dry_run, &pod("try-")?).await?;
    ensure!(is_injected(&pod), "a pod got no profile");
    Ok(())
}

/// How many pods [`InPlace`] creates.
pub const PODS: u32 = 200;

/// What it costs to create [`PODS`] pods through the API server.
#[derive(Debug)]
pub struct InPlace {
    /// How many are created in a second where each gets a profile.
    pub with: f64,
    /// The same where admission is not asked.
    pub without: f64,
    /// How many reviews the API server asked for.
    pub reviews: f64,
    /// How long it waited for one, as it measures that itself.
    pub review: Duration,
    /// How many calls to the API server the controllers count in the meantime.
    pub calls: f64,
    /// How many requests about the operator's kinds the API server counts in the meantime.
    pub requests: f64,
}

impl InPlace {
    /// Creates them, eight at a time, in two namespaces that it makes and removes.
    pub async fn measure(cluster: &Cluster) -> anyhow::Result<Self> {
        let with = cluster.namespace("e2e-admission-with", &[]).await?;
        let opt_out = ("seccomp-operator.io/inject", "disabled");
        let without = cluster
            .namespace("e2e-admission-without", &[opt_out])
            .await?;
        let soon = Duration::from_secs(20);
        until("pods to be injected", soon, || injects(cluster, &with)).await?;
        let before = AdmissionCounters::read(cluster).await?;
        let injected = creations(cluster, &with).await?;
        let after = AdmissionCounters::read(cluster).await?;
        let alone = creations(cluster, &without).await?;
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &with);
        for pod in pods.list(&ListParams::default()).await? {
            ensure!(
                is_injected(&pod),
                "a pod got no profile: {:?}",
                pod.metadata
            );
        }
        for namespace in [with, without] {
            kubectl(&["delete", "namespace", &namespace, "--wait=false"], "")
                .await?
                .ok()?;
        }
        let reviews = after.reviews - before.reviews;
        let review = Duration::try_from_secs_f64((after.seconds - before.seconds) / reviews);
        Ok(Self {
            with: injected,
            without: alone,
            reviews,
            review: review.context("no review was counted")?,
            calls: after.calls - before.calls,
            requests: after.requests - before.requests,
        })
    }
}

/// Counters of the API server and the controllers, since their processes began.
struct AdmissionCounters {
    calls: f64,
    requests: f64,
    seconds: f64,
    reviews: f64,
}

impl AdmissionCounters {
    async fn read(cluster: &Cluster) -> anyhow::Result<Self> {
        let calls = calls_of_controllers(cluster).await?;
        let metrics = scrape("/metrics").await?;
        let ours = |suffix: &str| {
            let metric = format!("apiserver_admission_webhook_admission_duration_seconds_{suffix}");
            sum(&metrics, &metric, |labels| {
                labels.contains(r#"name="pods.seccomp-operator.io""#)
                    && !labels.contains(r#"rejected="true""#)
            })
        };
        let requests = sum(&metrics, "apiserver_request_total", |labels| {
            labels.contains(r#"group="seccomp-operator.io""#) && !labels.contains(r#"verb="WATCH""#)
        });
        Ok(Self {
            calls,
            requests,
            seconds: ours("sum"),
            reviews: ours("count"),
        })
    }
}

/// All calls of all controllers to the API server, but for the Lease that they hold and the watches that go on.
async fn calls_of_controllers(cluster: &Cluster) -> anyhow::Result<f64> {
    let mut calls = 0.0;
    for pod in cluster.pods_of("controller").await? {
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8081/proxy/metrics");
        calls += sum(
            &scrape(&path).await?,
            "seccomp_operator_api_requests_total",
            |labels| !labels.contains("leases") && !labels.contains(r#"verb="watch""#),
        );
    }
    Ok(calls)
}

/// Creates the pods. How many per second.
async fn creations(cluster: &Cluster, namespace: &str) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        tasks.spawn(async move {
            for _ in 0..PODS / 8 {
                pods.create(&PostParams::default(), &pod("many-")?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(f64::from(PODS) / started.elapsed().as_secs_f64())
}
