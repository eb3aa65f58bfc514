//! Names that only the kubeconfig and the cluster know, for completion. Whoever presses a key waits for them: what does not come within
//! a moment, for whatever reason, is not offered.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::cluster::{Cluster, ClusterArgs, block_on};
use seccomp_operator_api::{SeccompPolicy, SeccompProfile, SeccompRecording};

/// How long a shell waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a word may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    Contexts,
    Namespaces,
    Profiles,
    /// Profiles, and `policy/shop` and so on.
    Trials,
    Recordings,
    /// `deployment/web` and so on.
    Workloads,
    Pods,
    /// Those of this pod.
    Containers(String),
}

impl Names {
    /// What the value of an option, or of the first argument, names in a command.
    pub fn of(command: &str, argument: &str, first: Option<&str>) -> Option<Self> {
        Some(match (command, argument) {
            (_, "context") => Self::Contexts,
            (_, "namespace" | "exclude_namespace" | "except") => Self::Namespaces,
            ("trial" | "promote" | "drop", "name") => Self::Trials,
            ("status", "name") | ("denials", "profile") => Self::Profiles,
            ("record", "workload") => Self::Workloads,
            ("record", "from") => Self::Recordings,
            ("probe" | "why" | "denials", "pod") => Self::Pods,
            ("probe" | "why", "container") => Self::Containers(first?.to_owned()),
            _ => return None,
        })
    }
}

/// The options before the word that say where to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Where {
    pub kubeconfig: Option<String>,
    pub context: Option<String>,
    pub namespace: Option<String>,
}

/// The names, as far as they can be had.
pub fn ask(names: &Names, at: &Where) -> Vec<String> {
    let args = ClusterArgs::at(at.kubeconfig.as_deref(), at.context.as_deref(), PATIENCE);
    if *names == Names::Contexts {
        return args.contexts();
    }
    let found = block_on(async {
        let cluster = args.connect().await?;
        let listed = tokio::time::timeout(PATIENCE, list(&cluster, names, at)).await;
        Ok(listed.unwrap_or_default())
    });
    found.unwrap_or_default()
}

async fn list(cluster: &Cluster, names: &Names, at: &Where) -> Vec<String> {
    let client = || cluster.client.clone();
    let namespace = at.namespace.as_ref().unwrap_or(&cluster.namespace);
    match names {
        Names::Contexts => Vec::new(),
        Names::Namespaces => of_kind::<Namespace>(&Api::all(client()), "").await,
        Names::Profiles => of_kind::<SeccompProfile>(&Api::all(client()), "").await,
        Names::Trials => {
            let mut all = of_kind::<SeccompProfile>(&Api::all(client()), "").await;
            all.extend(of_kind::<SeccompPolicy>(&Api::all(client()), "policy/").await);
            all
        }
        Names::Recordings => within::<SeccompRecording>(cluster, namespace, "").await,
        Names::Pods => within::<Pod>(cluster, namespace, "").await,
        Names::Workloads => {
            let mut all = within::<Deployment>(cluster, namespace, "deployment/").await;
            all.extend(within::<StatefulSet>(cluster, namespace, "statefulset/").await);
            all.extend(within::<DaemonSet>(cluster, namespace, "daemonset/").await);
            all
        }
        Names::Containers(pod) => {
            let pods: Api<Pod> = Api::namespaced(client(), namespace);
            let spec = pods.get(pod).await.ok().and_then(|pod| pod.spec);
            let containers = spec.into_iter().flat_map(|spec| {
                let init = spec.init_containers.unwrap_or_default();
                spec.containers.into_iter().chain(init)
            });
            containers.map(|container| container.name).collect()
        }
    }
}

async fn within<K>(cluster: &Cluster, namespace: &str, prefix: &str) -> Vec<String>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    of_kind::<K>(&Api::namespaced(cluster.client.clone(), namespace), prefix).await
}

async fn of_kind<K: Clone + DeserializeOwned + Debug>(api: &Api<K>, prefix: &str) -> Vec<String> {
    let listed = api.list_metadata(&ListParams::default()).await;
    let objects = listed.map(|list| list.items).unwrap_or_default();
    objects
        .iter()
        .map(|object| {
            format!(
                "{prefix}{}",
                object.metadata.name.as_deref().unwrap_or_default()
            )
        })
        .collect()
}
