//! Profiles that are made and changed, and when all nodes have them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use e2e::cluster::Cluster;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use seccomp_operator_api::SeccompProfile;
use serde_json::json;
use tokio::sync::watch;

const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_mins(10);

/// The newest generation of each profile that is ready on all nodes, and when that was heard.
type Ready = BTreeMap<String, (i64, Instant)>;

/// The profiles of the cluster.
pub struct Profiles {
    api: Api<SeccompProfile>,
    ready: watch::Receiver<Ready>,
    watches: tokio::task::JoinHandle<()>,
    /// How often any was changed: no two contents are the same.
    changes: u64,
    made: usize,
}

impl Drop for Profiles {
    fn drop(&mut self) {
        self.watches.abort();
    }
}

fn name(number: usize) -> String {
    format!("scale-{number:04}")
}

impl Profiles {
    /// The name of a profile.
    pub fn name(number: usize) -> String {
        name(number)
    }

    /// Ready is what so many nodes have.
    pub fn watch(cluster: &Cluster, nodes: usize) -> Self {
        let api: Api<SeccompProfile> = Api::all(cluster.client.clone());
        let (heard, ready) = watch::channel(Ready::new());
        let changes = watcher(api.clone(), watcher::Config::default()).default_backoff();
        let watches = tokio::spawn(async move {
            let mut changes = std::pin::pin!(changes.applied_objects());
            while let Some(profile) = changes.next().await {
                let now = Instant::now();
                let Ok(profile) = profile else { continue };
                if let Some(generation) = is_ready(&profile, nodes) {
                    heard.send_modify(|ready| {
                        let known = ready.entry(profile.name_any()).or_insert((0, now));
                        if known.0 < generation {
                            *known = (generation, now);
                        }
                    });
                }
            }
        });
        Self {
            api,
            ready,
            watches,
            changes: 0,
            made: 0,
        }
    }

    /// Makes what is missing of so many, and says how long that took until all nodes had them.
    pub async fn make(&mut self, number: usize) -> anyhow::Result<Duration> {
        let lacking: Vec<_> = (self.made..number).collect();
        self.made = self.made.max(number);
        self.change(&lacking).await
    }

    /// Makes so many, and waits for no node.
    pub async fn begin(&mut self, number: usize) -> anyhow::Result<()> {
        let which: Vec<_> = (0..number).collect();
        self.apply(&which).await.map(drop)
    }

    /// Changes these; gives their generations.
    async fn apply(&mut self, which: &[usize]) -> anyhow::Result<BTreeMap<String, i64>> {
        let changes = which.iter().map(|number| {
            self.changes += 1;
            (name(*number), self.changes)
        });
        let changes: Vec<_> = changes.collect();
        stream::iter(changes)
            .map(async |(name, change)| -> anyhow::Result<_> {
                let deny = json!({"name": "ioctl", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": change}]});
                let profile = json!({
                    "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": name},
                    "spec": {"base": "runtime-default", "deny": ["keyctl", deny]},
                });
                let params = PatchParams::apply("scale").force();
                let written = self.api.patch(&name, &params, &Patch::Apply(profile)).await?;
                Ok((name, written.metadata.generation.context("no generation")?))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Changes these, and says how long it took from the first request until all nodes had all of them.
    pub async fn change(&mut self, which: &[usize]) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let generations = self.apply(which).await?;
        let mut last = begun;
        let is_done = |ready: &Ready| {
            generations.iter().all(|(name, generation)| {
                ready
                    .get(name)
                    .is_some_and(|(ready, _)| ready >= generation)
            })
        };
        let done = tokio::time::timeout(PATIENCE, self.ready.wait_for(is_done)).await;
        let Ok(done) = done else {
            bail!(
                "not all of {} profiles are ready after {PATIENCE:?}",
                generations.len()
            );
        };
        let done = done?;
        for name in generations.keys() {
            last = last.max(done.get(name).map_or(begun, |(_, heard)| *heard));
        }
        Ok(last - begun)
    }

    /// Removes all of them, and waits until none is left.
    pub async fn remove_all(&mut self) -> anyhow::Result<()> {
        self.api
            .delete_collection(&DeleteParams::default(), &kube::api::ListParams::default())
            .await?;
        e2e::command::until("the profiles to go", PATIENCE, || async {
            let left = self
                .api
                .list_metadata(&kube::api::ListParams::default())
                .await?;
            anyhow::ensure!(left.items.is_empty(), "{} are left", left.items.len());
            Ok(())
        })
        .await?;
        self.made = 0;
        Ok(())
    }
}

/// The generation that all of so many nodes have.
fn is_ready(profile: &SeccompProfile, nodes: usize) -> Option<i64> {
    let status = profile.status.as_ref()?;
    let has = status.nodes.as_ref()?;
    let all = usize::try_from(has.desired).ok()? >= nodes;
    (all && status.is_ready())
        .then_some(status.observed_generation)
        .flatten()
}
