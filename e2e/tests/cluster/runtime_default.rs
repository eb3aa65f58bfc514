//! The built-in of the node's own line of containerd, or of CRI-O, against what that really hands to its OCI runtime.

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::pods::Pod;
use seccomp_profile::{
    BUILTINS, Capability, CapabilitySet, KernelVersion, RUNTIME_DEFAULT_IS, Target, builtin, parse,
};
use serde_json::{Value, json};

use super::{Tested, this_node};

/// What a container runtime calls itself, in Kubernetes and in the names of built-ins, and where below which folder it keeps what it hands over
/// for a container.
const RUNTIMES: [(&str, &str, &str, &str); 2] = [
    (
        "containerd://",
        "containerd",
        "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
        "config.json",
    ),
    (
        "cri-o://",
        "cri-o",
        "/run/containers/storage/overlay-containers",
        "userdata/config.json",
    ),
];

#[tokio::test]
async fn the_built_in_of_the_nodes_line_is_what_the_container_runtime_hands_to_its_own() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-runtime-default", &[]).await?;
    let sets = [
        ("none", json!({"drop": ["ALL"]})),
        ("usual", json!({})),
        ("ptrace", json!({"add": ["SYS_PTRACE"]})),
        (
            "some",
            json!({"add": ["BPF", "PERFMON", "SYS_TIME", "SYS_NICE"]}),
        ),
        ("admin", json!({"add": ["SYS_ADMIN"]})),
    ];
    for (name, capabilities) in &sets {
        let pod = Pod::script(&cluster, &namespace, name, "echo there; sleep infinity")
            .profile("RuntimeDefault")
            .with(
                "/spec/containers/0/securityContext",
                json!({"capabilities": capabilities}),
            );
        pod.log_with(&cluster, "there").await?;
    }
    for (name, _) in &sets {
        let pod = cluster
            .get(&["pod", name, "--namespace", &namespace])
            .await?;
        let node = pod.data["spec"]["nodeName"].as_str().context("no node")?;
        let id = pod.data["status"]["containerStatuses"][0]["containerID"].as_str();
        let id = id.context("no container")?;
        let (scheme, runtime, bundles, file) = RUNTIMES
            .into_iter()
            .find(|(scheme, ..)| id.starts_with(scheme))
            .with_context(|| format!("{id} is of no known runtime"))?;
        let id = &id[scheme.len()..];
        let info = cluster.get(&["node", node]).await?.data["status"]["nodeInfo"].clone();
        let version = info["containerRuntimeVersion"].as_str().unwrap_or_default();
        let version = version
            .strip_prefix(scheme)
            .context("another runtime than the container's")?;
        let line: Vec<_> = version.split('.').take(2).collect();
        let line = format!("runtime-default/{runtime}-{}", line.join("."));
        ensure!(
            BUILTINS.contains(&line.as_str()),
            "there is no built-in for {runtime} {version}; the newest of containerd is {RUNTIME_DEFAULT_IS}"
        );

        let reader = format!("{name}-reader");
        let pod = Pod::script(
            &cluster,
            &namespace,
            &reader,
            &format!("cat /bundles/{id}/{file}"),
        )
        .host_path(bundles, "/bundles")
        .with("/spec/containers/0/securityContext", json!({}))
        .on(node);
        let config: Value = serde_json::from_str(&pod.run(&cluster).await?)?;
        let bounding = config["process"]["capabilities"]["bounding"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let bounding: CapabilitySet = bounding
            .iter()
            .map(|name| {
                Capability::named(name.as_str().unwrap_or_default())
                    .with_context(|| name.to_string())
            })
            .collect::<anyhow::Result<_>>()?;
        let target = Target {
            kernel: KernelVersion::from_release(info["kernelVersion"].as_str().unwrap_or_default())
                .context("no kernel")?,
            capabilities: bounding,
            ..this_node()
        };
        let theirs = parse(&config["linux"]["seccomp"], "seccomp")?.resolve(&target);
        let ours = builtin(&line).context("no built-in")?.resolve(&target);
        ensure!(ours.architectures() == theirs.architectures(), "{name}");
        let difference = ours.model()?.difference(&theirs.model()?);
        ensure!(
            difference.is_none(),
            "{line} with {name} differs in {difference:x?}"
        );
    }
    cluster.delete_pods(&namespace).await
}
