//! Whether a profile's status tells the truth, asked all the while: what it says of nodes is compared with the files on their machines.
//!
//! The profile is one whose generation shows in its file, see [`document`]. Files only go forward, so that those that are looked at
//! after the status have to bear it out, however long that took.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Api;
use seccomp_operator_api::SeccompProfile;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::machines::Machines;

/// A profile's document that refuses `chmod` with the number of its generation.
#[must_use]
pub fn document(generation: i64) -> String {
    let refused = json!({
        "names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": generation,
    });
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused] }).to_string()
}

/// The generation that such a profile's file is of.
fn generation(file: &[u8]) -> Option<i64> {
    let file: Value = serde_json::from_slice(file).ok()?;
    let mut rules = file["syscalls"].as_array()?.iter();
    rules.find_map(|rule| rule["errnoRet"].as_i64())
}

/// See the module's head. It goes on until it is ended.
pub struct Watch {
    files: Arc<Mutex<BTreeMap<String, PathBuf>>>,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often the status was compared with the files.
    pub samples: usize,
    /// What it said, as `generation ready/desired reason`, in the order in which it said so.
    pub said: Vec<String>,
    /// What was not so.
    pub lies: BTreeSet<String>,
    /// How many nodes there are to be at least.
    least: i32,
}

impl Watch {
    /// Begins, with all machines that there are.
    pub async fn start(
        cluster: &Cluster,
        machines: &Machines,
        profile: &str,
    ) -> anyhow::Result<Self> {
        let watch = Self {
            files: Arc::default(),
            seen: Arc::default(),
            task: tokio::spawn(async {}),
        };
        let nodes = machines.names().await?;
        for node in &nodes {
            watch.add(machines, profile, node).await?;
        }
        watch.expect(nodes.len());
        let (files, seen) = (watch.files.clone(), watch.seen.clone());
        let api: Api<SeccompProfile> = Api::all(cluster.client.clone());
        let name = profile.to_owned();
        let task = tokio::spawn(async move {
            loop {
                // A server that is away says nothing.
                if let Ok(profile) = api.get(&name).await {
                    let files = lock(&files).clone();
                    lock(&seen).compare(&profile, &files);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(Self { task, ..watch })
    }

    /// A machine may count from now on, and has to once [`expect`](Self::expect) says how many do.
    pub async fn add(&self, machines: &Machines, profile: &str, node: &str) -> anyhow::Result<()> {
        let folder = machines.seccomp_folder(node).await?;
        let file = folder.join(format!("profiles/{profile}.json"));
        lock(&self.files).insert(node.to_owned(), file);
        Ok(())
    }

    /// The profile is not Ready on fewer nodes from now on.
    pub fn expect(&self, nodes: usize) {
        lock(&self.seen).least = i32::try_from(nodes).unwrap_or(i32::MAX);
    }

    /// A machine counts no longer.
    pub fn remove(&self, node: &str) {
        lock(&self.files).remove(node);
    }

    /// The generation that is on a machine.
    #[must_use]
    pub fn on(&self, node: &str) -> Option<i64> {
        let files = lock(&self.files);
        generation(&std::fs::read(files.get(node)?).ok()?)
    }

    /// Ends; what was seen.
    #[must_use]
    pub fn end(self) -> Seen {
        self.task.abort();
        lock(&self.seen).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    /// One sample: the status as it was before the files are read.
    fn compare(&mut self, profile: &SeccompProfile, files: &BTreeMap<String, PathBuf>) {
        let Some(status) = &profile.status else {
            return;
        };
        let (Some(told), Some(nodes)) = (status.observed_generation, &status.nodes) else {
            return;
        };
        let on = |file: &PathBuf| std::fs::read(file).ok().and_then(|file| generation(&file));
        let on: BTreeMap<_, _> = files
            .iter()
            .map(|(node, file)| (node, on(file).unwrap_or_default()))
            .collect();
        let have = on.values().filter(|generation| **generation >= told);
        let have = i32::try_from(have.count()).unwrap_or(i32::MAX);
        let ready = status.condition(seccomp_operator_api::condition::READY);
        let said = format!(
            "{told} {} {}",
            nodes.summary,
            ready.map(|ready| ready.reason.as_str()).unwrap_or_default()
        );
        if nodes.ready > have {
            self.lies
                .insert(format!("{said}: {have} machines have it: {on:?}"));
        }
        if status.is_ready() && have < nodes.desired.max(self.least) {
            self.lies.insert(format!(
                "{said}: Ready is True, and the machines have {on:?}"
            ));
        }
        self.samples += 1;
        if self.said.last() != Some(&said) {
            self.said.push(said);
        }
    }
}
