//! `kubectl seccomp probe POD`: runs the probe where a container of a pod runs, under its profile.
//!
//! It adds an ephemeral container to the pod, which stays in its list until the pod goes, or makes a pod that it removes. `plan` decides.

mod plan;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};

use crate::cluster::{Cluster, ClusterArgs, block_on};
use crate::{Failure, Findings, output};
use kube_support::error::chain;
use plan::{State, Way};

/// The controller's pods, as the chart labels them.
const CONTROLLER: &str =
    "app.kubernetes.io/part-of=seccomp-operator,app.kubernetes.io/component=controller";
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where to probe.
#[derive(Args, Debug)]
pub struct PodArgs {
    /// The pod whose filter is probed, as NAME or pod/NAME [default: the probe's own].
    pub pod: Option<String>,
    /// The pod's namespace [default: that of the kubeconfig's context].
    #[arg(short, long, value_name = "NAME", requires = "pod")]
    namespace: Option<String>,
    /// The container whose profile is probed [default: the one that `kubectl exec` takes].
    #[arg(short, long, value_name = "NAME", requires = "pod")]
    container: Option<String>,
    /// An image with /kubectl-seccomp in it [default: the operator's, if one may list its pods].
    #[arg(long, value_name = "IMAGE", requires = "pod")]
    image: Option<String>,
    /// How long the image may take to be pulled and the probe to end.
    #[arg(long, value_name = "DURATION", default_value = "2m", requires = "pod", value_parser = seccomp_recording::parse_length)]
    timeout: Duration,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A pod to probe, and how.
pub struct At<'a> {
    pub namespace: &'a str,
    pub container: Option<&'a str>,
    pub image: Option<&'a str>,
    pub timeout: Duration,
}

/// Probes in the pod, with these arguments, and prints what the probe says.
pub fn run(pod: &str, args: &PodArgs, probe: &[String]) -> Result<Findings, Failure> {
    let (log, code) = block_on(async {
        let cluster = args.cluster.connect().await?;
        let at = At {
            namespace: args.namespace.as_ref().unwrap_or(&cluster.namespace),
            container: args.container.as_deref(),
            image: args.image.as_deref(),
            timeout: args.timeout,
        };
        ask(&cluster, pod, &at, probe).await
    })?;
    let (report, said) = plan::split(&log);
    output::print(report)?;
    match code {
        0 => Ok(Findings::None),
        1 => Ok(Findings::Some(said)),
        _ => Err(Failure::Other(anyhow!("no probe can be made there"))),
    }
}

/// What a probe in the pod prints with these arguments, and its exit status.
pub async fn ask(
    cluster: &Cluster,
    pod: &str,
    at: &At<'_>,
    probe: &[String],
) -> Result<(String, u8), Failure> {
    let session = Session {
        pods: Api::namespaced(cluster.client.clone(), at.namespace),
        cluster,
        at,
    };
    let pod = plan::pod_name(pod, at.namespace).map_err(Failure::Usage)?;
    session.probe(pod, probe).await
}

struct Session<'a> {
    pods: Api<Pod>,
    cluster: &'a Cluster,
    at: &'a At<'a>,
}

impl Session<'_> {
    async fn probe(&self, name: &str, probe: &[String]) -> Result<(String, u8), Failure> {
        let of_pod = |why| Failure::Usage(format!("pod {name:?} {why}"));
        let found = self.pods.get_opt(name).await;
        let found = found.map_err(|error| self.refused("get", "pods", &error))?;
        let pod = found.ok_or_else(|| {
            of_pod(format!(
                "is not in the namespace {}; -n names another",
                self.at.namespace
            ))
        })?;
        let container = plan::container(&pod, self.at.container).map_err(of_pod)?;
        let image = self.image().await?;
        // Two probes of one pod are two containers.
        let probe_name = format!(
            "seccomp-probe-{:08x}",
            RandomState::new().hash_one(name) >> 32
        );
        let minor = self.cluster.minor_version().await;
        if plan::way(&pod, minor).map_err(of_pod)? == Way::Ephemeral {
            let patch = plan::ephemeral(&probe_name, container, &image, probe);
            let params = PatchParams::default();
            let patch = Patch::Strategic(patch);
            match self
                .pods
                .patch_ephemeral_containers(name, &params, &patch)
                .await
            {
                Ok(_) => return self.outcome(name, &probe_name).await,
                // The pod is there: it is ephemeral containers that the API server does not know.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    return Err(self.refused("patch", "pods/ephemeralcontainers", &error));
                }
            }
        }
        let copy = plan::copy(&probe_name, &pod, container, &image, probe);
        let made = self
            .pods
            .create(&PostParams::default(), &serde_json::from_value(copy)?)
            .await;
        let made = made.map_err(|error| self.refused("create", "pods", &error))?;
        let outcome = tokio::select! {
            outcome = self.of_copy(&made, plan::profile(&pod, container), &probe_name) => outcome,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                Err(Failure::Other(anyhow!("stopped")))
            }
        };
        let now = DeleteParams::default().grace_period(0);
        self.pods.delete(&probe_name, &now).await.map_err(|error| {
            Failure::Other(anyhow!(
                "the pod of the probe is left over ({}); run: kubectl delete pod {probe_name} -n {}",
                chain(&error),
                self.at.namespace
            ))
        })?;
        outcome
    }

    /// What a copy comes to, if it has the same profile: a policy may have given it another.
    async fn of_copy(
        &self,
        made: &Pod,
        wanted: Option<serde_json::Value>,
        name: &str,
    ) -> Result<(String, u8), Failure> {
        let own = plan::container(made, Some(name)).map_err(|why| Failure::Other(anyhow!(why)))?;
        if plan::profile(made, own) != wanted {
            return Err(Failure::Other(anyhow!(
                "admission gives a pod like this one another profile than it has: it has none, or was created before a policy was \
                 changed; create it anew, and probe it then"
            )));
        }
        self.outcome(name, name).await
    }

    /// Waits until the probe in a container of the pod has ended.
    async fn outcome(&self, pod: &str, container: &str) -> Result<(String, u8), Failure> {
        let begun = Instant::now();
        loop {
            let seen = self.pods.get(pod).await;
            let seen = seen.map_err(|error| self.refused("get", "pods", &error))?;
            match plan::state(&seen, container) {
                State::Ended(code) => {
                    let params = LogParams {
                        container: Some(container.to_owned()),
                        ..LogParams::default()
                    };
                    let log = self.pods.logs(pod, &params).await;
                    let log = log.map_err(|error| self.refused("get", "pods/log", &error))?;
                    return Ok((log, code));
                }
                State::Failed(why) => return Err(Failure::Other(anyhow!("no probe there: {why}"))),
                State::Waits(why) if begun.elapsed() > self.at.timeout => {
                    let seconds = self.at.timeout.as_secs();
                    let sentence =
                        format!("the probe did not end within {seconds} s (--timeout): {why}");
                    return Err(Failure::Other(anyhow!(sentence)));
                }
                State::Waits(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// The image to run.
    async fn image(&self) -> Result<String, Failure> {
        if let Some(image) = self.at.image {
            return Ok(image.to_owned());
        }
        let all: Api<Pod> = Api::all(self.cluster.client.clone());
        let found = self
            .cluster
            .list(
                &all,
                &ListParams::default().labels(CONTROLLER),
                "pods",
                "all namespaces",
            )
            .await;
        let images = found.iter().flatten().filter_map(|pod| {
            let container = pod.spec.as_ref()?.containers.first()?;
            container.image.clone()
        });
        images.into_iter().next().ok_or_else(|| {
            let why = match &found {
                Ok(_) => "no pod of the operator is in the cluster".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            Failure::Usage(format!(
                "name an image that has /kubectl-seccomp in it with --image: {why}"
            ))
        })
    }

    fn refused(&self, verb: &str, what: &str, error: &kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) if status.code == 403 => Failure::Usage(format!(
                "you may not {verb} {what} in the namespace {}: {}",
                self.at.namespace, status.message
            )),
            error => Failure::Other(anyhow!("cannot {verb} {what}: {}", chain(error))),
        }
    }
}
