//! What `kubectl seccomp coverage -A` and `status` take of a large cluster: CPU time, memory, bytes and requests. The nodes and pods have no machine:
//! each pod is an object that states the node that it is on.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::required;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _};
use seccomp_operator_api::SeccompNode;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::nodes;
use crate::profiles::Profiles;

const AT_ONCE: usize = 32;
const PROFILES: usize = 20;
const NAMESPACES: usize = 50;
/// What both are held to, on a machine with nothing else to do.
const MOST_SECONDS: f64 = 5.0;
const MOST_MIB: f64 = 200.0;

pub async fn run(wanted_nodes: usize, wanted_pods: usize) -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.install(NAMESPACE, &[]).await?;
    let lives = tokio::spawn(nodes::live(cluster.clone()));
    println!("{wanted_nodes} nodes, {wanted_pods} pods ...");
    nodes::make(&cluster, 0..wanted_nodes).await?;
    // Nobody has to have them: the one agent that there is will do.
    let mut profiles = Profiles::watch(&cluster, 1);
    profiles.begin(PROFILES).await?;
    make_reports(&cluster, wanted_nodes).await?;
    make_pods(&cluster, wanted_nodes, wanted_pods).await?;
    println!("| | user + system, s | from start to end, s | the most resident, MiB | lines |");
    println!("|---|---|---|---|---|");
    for words in [
        &["coverage", "-A"][..],
        &["coverage", "-A", "-o", "json"],
        &["coverage", "-A", "--what-if"],
        &["status"],
        &["status", "-o", "json"],
    ] {
        // The first one may find caches empty.
        for _ in 0..2 {
            measured(words).await?;
        }
    }
    println!("budget: {MOST_SECONDS} s and {MOST_MIB} MiB");
    lives.abort();
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    for number in 0..NAMESPACES {
        let name = namespace(number);
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &name);
        let at_once = DeleteParams::default().grace_period(0);
        pods.delete_collection(&at_once, &ListParams::default())
            .await?;
        namespaces.delete(&name, &DeleteParams::default()).await?;
    }
    Ok(())
}

fn namespace(number: usize) -> String {
    format!("scale-{number:03}")
}

/// As the agents of these nodes would write them.
async fn make_reports(cluster: &Cluster, nodes: usize) -> anyhow::Result<()> {
    let reports: Api<SeccompNode> = Api::all(cluster.client.clone());
    let make = async |number: usize| -> anyhow::Result<()> {
        let name = nodes::name(number);
        let report = json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompNode", "metadata": {"name": name},
            "appliedResourceVersion": u64::MAX.to_string(), "failed": 0, "failures": [], "inUse": [],
            "node": {"architecture": "amd64", "kernelVersion": "6.12.0", "agentVersion": "0.1.0"},
        });
        let params = PatchParams::apply("seccomp-operator-agent").force();
        reports.patch(&name, &params, &Patch::Apply(report)).await?;
        Ok(())
    };
    let made = stream::iter(0..nodes).map(make).buffer_unordered(AT_ONCE);
    made.try_for_each(async |()| Ok(())).await
}

async fn make_pods(cluster: &Cluster, nodes: usize, many: usize) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    for number in 0..NAMESPACES {
        let applied = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}});
        let params = PatchParams::apply("scale").force();
        namespaces
            .patch(&namespace(number), &params, &Patch::Apply(applied))
            .await?;
    }
    // Kubernetes makes it a moment after the namespace.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let make = async |number: usize| -> anyhow::Result<()> {
        let pods: Api<Pod> =
            Api::namespaced(cluster.client.clone(), &namespace(number % NAMESPACES));
        let pod: Pod = serde_json::from_value(pod(number, nodes))?;
        let name = pod.meta().name.clone().context("no name")?;
        match pods.create(&PostParams::default(), &pod).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        pods.patch_status(
            &name,
            &PatchParams::default(),
            &Patch::Merge(status(number)),
        )
        .await?;
        Ok(())
    };
    let made = stream::iter(0..many).map(make).buffer_unordered(AT_ONCE);
    made.try_for_each(async |()| Ok(())).await
}

/// As Deployments make them: two containers, probes, resources, environment, and a volume for the token.
fn pod(number: usize, nodes: usize) -> Value {
    let profile = match number % 4 {
        0 => json!({"type": "RuntimeDefault"}),
        1 => {
            json!({"type": "Localhost", "localhostProfile": format!("profiles/scale-{:04}.json", number % PROFILES)})
        }
        2 => json!({"type": "Unconfined"}),
        _ => Value::Null,
    };
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:1.{}", number % 7),
            "ports": [{"containerPort": 8080, "name": "http"}],
            "env": (0..10).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-of-{n}")})).collect::<Vec<_>>(),
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
        })
    };
    let mut security = json!({"runAsNonRoot": true});
    if !profile.is_null() {
        security["seccompProfile"] = profile;
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("web-{number:06}"),
            "labels": {"app": "web", "pod-template-hash": format!("{:08x}", number % 1000), "tier": "front"},
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": format!("{number:064x}")},
        },
        "spec": {
            "nodeName": nodes::name(number % nodes.max(1)),
            "containers": [container("web"), container("sidecar")],
            "securityContext": security,
        },
    })
}

fn status(number: usize) -> Value {
    let now = "2026-01-01T00:00:00Z";
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:1"), "imageID": format!("sha256:{number:064x}"),
            "containerID": format!("containerd://{number:064x}"), "ready": true, "restartCount": 0, "started": true,
            "state": {"running": {"startedAt": now}},
        })
    };
    json!({"status": {
        "phase": "Running", "conditions": conditions, "podIP": "10.0.0.1", "startTime": now,
        "containerStatuses": [container("web"), container("sidecar")],
    }})
}

/// Runs the plugin, and says what it took.
async fn measured(words: &[&str]) -> anyhow::Result<()> {
    let tests = std::env::current_exe()?;
    let built = tests.ancestors().nth(2).context("no folder of binaries")?;
    let before = of_children();
    let begun = Instant::now();
    let mut command = tokio::process::Command::new(built.join("kubectl-seccomp"));
    let mut child = command
        .args(words)
        .env("KUBECONFIG", required("E2E_KUBECONFIG")?)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().context("no output")?;
    let (mut piece, mut lines, mut most) = (vec![0; 1 << 16], 0, 0.0_f64);
    let id = child.id().context("no process")?;
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            read = output.read(&mut piece) => match read? {
                0 => break,
                read => lines += piece[..read].split(|byte| *byte == b'\n').count() - 1,
            },
            _ = looks.tick() => most = most.max(peak(id).unwrap_or_default()),
        }
    }
    most = most.max(peak(id).unwrap_or_default());
    let status = child.wait().await?;
    // 1 says that there are findings.
    ensure!(matches!(status.code(), Some(0 | 1)), "{words:?}: {status}");
    let took = begun.elapsed().as_secs_f64();
    println!(
        "| {} | {:.2} | {took:.2} | {most:.1} | {lines} |",
        words.join(" "),
        of_children().saturating_sub(before).as_secs_f64(),
    );
    Ok(())
}

/// The CPU time of all children that have ended.
fn of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit_once(')')
        .map(|(_, fields)| fields)
        .unwrap_or_default();
    // cutime and cstime, proc(5).
    let ticks = fields.split_whitespace().skip(13).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

fn peak(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}
