//! The product on a real cluster: real kubelet, containerd, runc and kernel. One thread, any order. What tests of several
//! modules share is here.

mod admission;
mod audit;
mod block;
mod ceiling;
mod cli;
mod deaths;
mod displaced;
mod engine;
mod faults;
mod files;
mod foreign;
mod injection;
mod install;
mod lifecycle;
mod neighbourhood;
mod nodes;
mod observe;
mod probe;
mod recording;
mod recording_objects;
mod repair;
mod rights;
mod runtime_default;
mod startup;
mod table;
mod trial;
mod upgrade;
mod usage;
mod values;
mod webhook;
mod what_if;
mod whole_run;

use std::time::Duration;

use anyhow::bail;
use e2e::cluster::Cluster;
use e2e::command::{kubectl, until};
use e2e::pods::Pod;
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Target};

type Tested = anyhow::Result<()>;

const NO_CHMOD: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
}"#;
const CHMOD_SCRIPT: &str = "touch test; chmod +x test; while true; do sleep 30; done";
const CHMOD_REFUSED: &str = "chmod: changing permissions of 'test': Operation not permitted";
/// A pod's script that says how it is filtered: `Seccomp: 0` is not at all, `2` is by a filter.
const SECCOMP_MODE: &str = "grep Seccomp: /proc/self/status";

/// The kind of node that the tests run for.
fn this_node() -> Target {
    Target {
        arch: if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else {
            Arch::X86_64
        },
        kernel: KernelVersion { major: 6, minor: 1 },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    }
}

/// The profile that a file's bytes mean there.
fn semantics(bytes: &str) -> anyhow::Result<seccomp_profile::Profile> {
    let document = seccomp_profile::parse_slice(bytes.as_bytes(), "file")?;
    Ok(document.resolve(&this_node()))
}

fn seccomp_mode(log: &str) -> Option<&str> {
    log.split_whitespace()
        .skip_while(|word| *word != "Seccomp:")
        .nth(1)
}

/// Waits until a pod that states no profile gets one.
async fn await_injection(cluster: &Cluster, namespace: &str) -> Tested {
    let pod = Pod::script(cluster, namespace, "bare", SECCOMP_MODE);
    until(
        "a bare pod to get a profile",
        Duration::from_mins(1),
        || async {
            let delete = [
                "delete",
                "pod",
                "bare",
                "--namespace",
                namespace,
                "--ignore-not-found",
                "--wait",
            ];
            kubectl(&delete, "").await?.ok()?;
            pod.create(cluster).await?;
            match pod.spec(cluster).await?["securityContext"]["seccompProfile"]["type"].as_str() {
                Some("RuntimeDefault") => Ok(()),
                other => bail!("the pod has {other:?}"),
            }
        },
    )
    .await
}
