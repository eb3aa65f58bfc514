//! Every value of the chart on a real cluster, while pods are created all the time. Each row follows the one before, so that
//! every value is taken and given up again by an upgrade of what works.

mod rows;
mod seen;
mod stand_ins;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::admission::{is_injected, pod};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use self::rows::{ELSEWHERE, Injection, ROWS, Row};
use super::{NO_CHMOD, Tested};

/// Accounts that the chart does not make.
const OWN_ACCOUNTS: [&str; 4] = [
    "e2e-own-controller",
    "e2e-own-agent",
    "e2e-own-recorder",
    "e2e-own-audit",
];

/// Pods that state no profile, created without a pause.
struct Creator {
    namespace: String,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    injected: usize,
    bare: usize,
    refused: Vec<String>,
}

impl Creator {
    async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let namespace = cluster.namespace("e2e-values", &[]).await?;
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(create(pods, seen.clone()));
        Ok(Self {
            namespace,
            seen,
            task,
        })
    }

    /// What became of the pods since the last time that this was asked.
    fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn create(pods: Api<Pod>, seen: Arc<Mutex<Seen>>) {
    loop {
        let created = match pod("values-") {
            Ok(pod) => pods
                .create(&PostParams::default(), &pod)
                .await
                .map_err(Into::into),
            Err(error) => Err(error),
        };
        let name = created
            .as_ref()
            .ok()
            .and_then(|pod| pod.metadata.name.clone());
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match created {
                Ok(pod) if is_injected(&pod) => seen.injected += 1,
                Ok(_) => seen.bare += 1,
                Err(error) => seen.refused.push(format!("{error:#}")),
            }
        }
        if let Some(name) = name {
            // What stays goes with the namespace.
            drop(pods.delete(&name, &DeleteParams::default()).await);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The arguments for helm that a row stands for.
fn arguments(row: &Row, image: &str) -> anyhow::Result<Vec<String>> {
    let (name, tag) = image.rsplit_once(':').context("the image has no tag")?;
    let (registry, repository) = name.split_once('/').context("the image has no registry")?;
    let mut arguments = Vec::new();
    for set in row.set {
        let set = set
            .replace("$REGISTRY", registry)
            .replace("$REPOSITORY", repository)
            .replace("$TAG", tag);
        arguments.extend(["--set-json".to_owned(), set]);
    }
    Ok(arguments)
}

/// The paths of all values of a chart; a list and a map without members are one value.
fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(value, &path, into);
            }
        }
        _ => {
            into.insert(path.to_owned());
        }
    }
}

#[test]
fn every_value_has_a_row_that_changes_it() -> Tested {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../charts/seccomp-operator/values.yaml"
    );
    let defaults: Value = serde_saphyr::from_str(&std::fs::read_to_string(file)?)?;
    let mut all = BTreeSet::new();
    leaves(&defaults, "", &mut all);
    let covers = |key: &str, leaf: &str| {
        leaf == key
            || leaf
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    let mut left = all.clone();
    left.retain(|leaf| !ELSEWHERE.iter().any(|(key, _)| covers(key, leaf)));
    for row in ROWS {
        for set in row.set {
            let (key, value) = set.split_once('=').with_context(|| (*set).to_owned())?;
            let value: Value = serde_json::from_str(value).with_context(|| (*set).to_owned())?;
            let pointer = format!("/{}", key.replace('.', "/"));
            let default = defaults.pointer(&pointer);
            ensure!(
                default.is_some(),
                "{key} of {} is no value of the chart",
                row.name
            );
            left.retain(|leaf| !covers(key, leaf) || default == Some(&value));
        }
    }
    ensure!(left.is_empty(), "no row changes {left:?}");
    Ok(())
}

#[tokio::test]
async fn every_value_works_and_no_pod_is_missed_meanwhile() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let prefix = "e2e.example.com/values";
    let worker = cluster.a_worker().await?;
    kubectl(&["label", "node", &worker, &format!("{prefix}=yes")], "")
        .await?
        .ok()?;
    stand_ins::define(&cluster).await?;
    for account in OWN_ACCOUNTS {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": NAMESPACE},
        });
        cluster.apply(&account.to_string()).await?;
    }
    let creator = Creator::start(&cluster).await?;
    let mut failed = Vec::new();
    for (at, row) in ROWS.iter().enumerate() {
        println!("{}", row.name);
        if let Err(error) = works(&cluster, &creator, at, row).await {
            println!("{}: {error:#}", row.name);
            failed.push(format!("{}: {error:#}", row.name));
        }
    }
    creator.take();
    cluster.install(NAMESPACE, &[]).await?;
    let last = creator.take();
    creator.task.abort();
    cluster.delete("namespace", &creator.namespace).await?;
    cluster.delete("namespace", "e2e-values-excluded").await?;
    cluster.delete("seccompprofile", "e2e-values").await?;
    for account in OWN_ACCOUNTS {
        kubectl(
            &[
                "delete",
                "serviceaccount",
                account,
                "--namespace",
                NAMESPACE,
            ],
            "",
        )
        .await?
        .ok()?;
    }
    stand_ins::undefine(&cluster).await?;
    kubectl(&["label", "node", &worker, &format!("{prefix}-")], "")
        .await?
        .ok()?;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    ensure!(last.refused.is_empty(), "back to the defaults: {last:?}");
    Ok(())
}

/// Installs a row over whatever is installed, and looks at what it does.
async fn works(cluster: &Cluster, creator: &Creator, at: usize, row: &Row) -> Tested {
    let arguments = arguments(row, &cluster.operator_image)?;
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    creator.take();
    if row.name == "cert-manager" {
        // Controllers wait for the Secret, as they would for cert-manager.
        cluster.install_only(NAMESPACE, &arguments).await?;
        until("the certificates", Duration::from_secs(30), || {
            stand_ins::issue_certificates(cluster)
        })
        .await?;
    }
    cluster.install(NAMESPACE, &arguments).await?;
    let mut meanwhile = creator.take();
    let soon = Duration::from_secs(20);
    until("pods to get what they should", soon, || async {
        creator.take();
        sleep(Duration::from_secs(1)).await;
        let now = creator.take();
        let (wrong, right) = if row.injection == Injection::Nothing {
            (now.injected, now.bare)
        } else {
            (now.bare, now.injected)
        };
        ensure!(wrong == 0 && right > 0 && now.refused.is_empty(), "{now:?}");
        Ok(())
    })
    .await?;
    // Agents work: what is applied, with another errno each time, comes to all nodes that they are on.
    let document = NO_CHMOD.replace("\"errnoRet\": 1", &format!("\"errnoRet\": {}", at + 1));
    cluster.apply_profile("e2e-values", &document).await?;
    cluster.wait_ready("e2e-values").await?;
    seen::as_set(cluster, row.name).await?;
    let since = creator.take();
    meanwhile.refused.extend(since.refused);
    println!(
        "{}: {} pods got a profile while it was installed, {} none",
        row.name, meanwhile.injected, meanwhile.bare
    );
    ensure!(
        meanwhile.refused.is_empty(),
        "pods were refused: {:?}",
        meanwhile.refused
    );
    ensure!(
        row.injection != Injection::All || meanwhile.bare == 0,
        "{} pods were missed",
        meanwhile.bare
    );
    Ok(())
}
