//! The profiles and nodes that a bench makes, and removes again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use e2e::cluster::Cluster;
use e2e::command::{kubectl, until};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use seccomp_operator_api::{SeccompNode, SeccompProfile, SeccompProfileSpec};
use seccomp_profile::{
    Arch, CapabilitySet, DOCKER_DEFAULT, KernelVersion, Target, builtin, compose,
};
use serde_json::{Value, json};

/// On what is not a profile.
const LABEL: &str = "seccomp-operator.io/bench";

/// The SeccompProfiles of the cluster.
pub fn profiles(cluster: &Cluster) -> Api<SeccompProfile> {
    Api::all(cluster.client.clone())
}

fn target() -> Target {
    Target {
        arch: if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else {
            Arch::X86_64
        },
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    }
}

/// A profile as people have them: every other one is Docker's default as a whole document, the others are built on
/// `runtime-default`. No two are the same.
pub fn profile(name: &str, i: usize) -> anyhow::Result<SeccompProfile> {
    let deny = json!({"name": "ioctl", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": i}]});
    let spec = if i.is_multiple_of(2) {
        let docker = builtin(DOCKER_DEFAULT).context("no built-in")?;
        let bytes = docker.resolve(&target()).to_canonical_json();
        let mut document: Value = serde_json::from_slice(&bytes)?;
        let own = json!({"names": ["acct"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": i}]});
        document["syscalls"]
            .as_array_mut()
            .context("no rules")?
            .push(own);
        SeccompProfileSpec {
            profile: Some(document),
            ..Default::default()
        }
    } else {
        SeccompProfileSpec {
            base: Some("runtime-default".into()),
            deny: vec![json!("@chmod"), deny],
            ..Default::default()
        }
    };
    Ok(SeccompProfile::new(name, spec))
}

/// A profile of 0.9 MB, most of it a list that names calls again and again.
pub fn huge(name: &str, i: usize) -> anyhow::Result<SeccompProfile> {
    let mut profile = profile(name, 2 * i)?;
    let document = profile.spec.profile.as_mut().context("no document")?;
    let names = vec!["clock_nanosleep_time64"; 900_000 / 25];
    let rule = json!({"names": names, "action": "SCMP_ACT_ALLOW"});
    document["syscalls"]
        .as_array_mut()
        .context("no rules")?
        .push(rule);
    Ok(profile)
}

/// The profile, for nodes that there are none of.
pub fn for_nobody(mut profile: SeccompProfile) -> SeccompProfile {
    profile.spec.node_selector = BTreeMap::from([(LABEL.to_owned(), "nobody".to_owned())]);
    profile
}

/// The bytes that an agent writes for a profile that derives from nothing but built-ins.
pub fn file(profile: &SeccompProfile) -> anyhow::Result<Vec<u8>> {
    let definition = profile.spec.define()?;
    let rendered = compose(&definition.spec, &|_| None, &target(), "spec")?;
    Ok(rendered.to_canonical_json())
}

/// Nodes that are only objects, each with a report. They are of Windows, so that no agents are started for them.
pub async fn nodes(cluster: &Cluster, many: usize) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let reports: Api<SeccompNode> = Api::all(cluster.client.clone());
    let create = async |i: usize| -> anyhow::Result<()> {
        let name = format!("bench-node-{i}");
        let labels = BTreeMap::from([
            (LABEL.to_owned(), "node".to_owned()),
            ("kubernetes.io/hostname".to_owned(), name.clone()),
            ("kubernetes.io/os".to_owned(), "windows".to_owned()),
        ]);
        let metadata = json!({"name": name, "labels": labels});
        let node = json!({"metadata": metadata, "spec": {"unschedulable": true}});
        let node = nodes
            .create(&PostParams::default(), &serde_json::from_value(node)?)
            .await?;
        let owner = json!([{
            "apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid().unwrap_or_default(),
        }]);
        let report = json!({
            "metadata": {"name": name, "labels": labels, "ownerReferences": owner},
            "appliedResourceVersion": "1", "failed": 0,
            "node": {"architecture": "amd64", "kernelVersion": "6.12.0", "agentVersion": "0.1.0"},
        });
        reports
            .create(&PostParams::default(), &serde_json::from_value(report)?)
            .await?;
        Ok(())
    };
    stream::iter(0..many)
        .map(create)
        .buffer_unordered(crate::AT_ONCE)
        .try_for_each(async |()| Ok(()))
        .await
}

/// Removes everything that a bench made, also an earlier one.
pub async fn clear(cluster: &Cluster) -> anyhow::Result<()> {
    for kind in ["node", "seccompnode"] {
        let args = [
            "delete",
            kind,
            "--selector",
            LABEL,
            "--ignore-not-found",
            "--wait=false",
        ];
        kubectl(&args, "").await?.ok()?;
    }
    let args = ["delete", "seccompprofiles", "--all", "--wait=false"];
    kubectl(&args, "").await?.ok()?;
    until(
        "the profiles to be gone",
        Duration::from_mins(2),
        || async {
            let left = profiles(cluster).list(&ListParams::default()).await?.items;
            if left.is_empty() {
                return Ok(());
            }
            bail!("{} are left", left.len())
        },
    )
    .await
}
