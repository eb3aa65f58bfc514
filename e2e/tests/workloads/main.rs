//! Real programs under load (`e2e/images/workloads`), each in five ways: as it is, under strace, recorded, and twice under the profile that was
//! made of it. They work alike in all of them, and what was recorded is what strace saw.
//!
//! Each prints `outcome: ...`, which has to be the same, and `rate: ...`, which is compared.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use e2e::pods::Pod;
use serde_json::{Value, json};

type Tested = anyhow::Result<()>;

const IMAGE: &str = "seccomp-operator.local/workloads:e2e";
const GROUP: &str = "e2e-workload";
/// How long one way of one workload may take; strace is the slowest.
const PATIENCE: Duration = Duration::from_mins(4);

/// A program, and what else is known of it.
struct Workload {
    name: &'static str,
    /// What part of the rate without a recording it has to keep.
    keeps: f64,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "nginx",
        keeps: 0.95,
    },
    Workload {
        name: "redis",
        keeps: 0.95,
    },
    Workload {
        name: "postgresql",
        keeps: 0.95,
    },
    Workload {
        name: "python",
        keeps: 0.9,
    },
    Workload {
        name: "node",
        keeps: 0.85,
    },
    Workload {
        name: "go",
        keeps: 0.9,
    },
    Workload {
        name: "jvm",
        keeps: 0.85,
    },
    Workload {
        name: "shells",
        keeps: 0.9,
    },
];

/// What one way of a workload came to.
#[derive(Debug)]
struct Ran {
    outcome: String,
    rate: f64,
    log: String,
}

/// A pod on that node, whose namespace gives it `runtime-default`.
fn pod(namespace: &str, name: &str, node: &str, command: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "workload", "image": IMAGE, "imagePullPolicy": "Never", "command": command}],
        },
    })
}

async fn run(cluster: &Cluster, object: &Value) -> anyhow::Result<Ran> {
    let metadata = &object["metadata"];
    let (namespace, name) = (&metadata["namespace"], &metadata["name"]);
    let (namespace, name) = (namespace.as_str(), name.as_str());
    let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
    let pod = Pod::of(object.clone());
    let log = pod.run_within(cluster, PATIENCE).await?;
    let phase = cluster.get(&["pod", name, "-n", namespace]).await?;
    ensure!(
        phase.data["status"]["phase"] == "Succeeded",
        "{name} failed: {log}"
    );
    let said = |key: &str| {
        log.lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::to_owned)
            .with_context(|| format!("{name} says no {key:?}: {log}"))
    };
    Ok(Ran {
        outcome: said("outcome: ")?,
        rate: said("rate: ")?.trim().parse()?,
        log,
    })
}

/// The names in the table of `strace -c -U name`.
fn traced(log: &str) -> BTreeSet<String> {
    let table = log.rsplit_once("TABLE\n").map_or("", |(_, table)| table);
    let names = table.lines().skip(2).map(str::trim);
    let names = names.filter(|name| !name.is_empty() && !name.starts_with('-') && *name != "total");
    names.map(str::to_owned).collect()
}

/// The calls in a recording's status, and those that it only assumes.
async fn recorded(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> anyhow::Result<(BTreeSet<String>, BTreeSet<String>)> {
    until("the recording's end", Duration::from_mins(2), || async {
        let args = ["seccomprecording", name, "-n", namespace];
        let status = cluster.get(&args).await?.data["status"].clone();
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let of = |type_: &str| {
            let mut conditions = conditions.clone();
            conditions
                .find(|condition| condition["type"] == type_)
                .map(|condition| condition["status"] == "True")
        };
        ensure!(of("Complete") == Some(true), "{status}");
        ensure!(of("Degraded") == Some(false), "{status}");
        let names = |values: &Value, key: Option<&str>| {
            let values = values.as_array().into_iter().flatten();
            let names = values.filter_map(|value| key.map_or(value, |key| &value[key]).as_str());
            names.map(str::to_owned).collect()
        };
        Ok((
            names(&status["calls"], Some("name")),
            names(&status["assumed"], None),
        ))
    })
    .await
}

async fn patch(namespace: &str, name: &str, patch: &Value) -> Tested {
    let object = format!("seccomprecording/{name}");
    let args = ["patch", &object, "-n", namespace, "--type=merge", "-p"];
    let patch = patch.to_string();
    kubectl(&[&args[..], &[patch.as_str()]].concat(), "")
        .await?
        .ok()
        .map(drop)
}

/// Runs a workload under a recording, which makes that profile; what it came to, the calls that were recorded, and those assumed.
async fn run_recorded(
    cluster: &Cluster,
    namespace: &str,
    node: &str,
    name: &str,
    profile: &str,
) -> anyhow::Result<(Ran, BTreeSet<String>, BTreeSet<String>)> {
    let recording = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecording",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {GROUP: name}}, "create": true, "profileName": profile, "stop": {"after": "1h"}, "overrides": true},
    });
    cluster.apply(&recording.to_string()).await?;
    let wait = [
        "wait",
        "--for=condition=Recording",
        &format!("seccomprecording/{name}"),
        "-n",
        namespace,
        "--timeout=120s",
    ];
    kubectl(&wait, "").await?.ok()?;
    let mut object = pod(
        namespace,
        &format!("{name}-recorded"),
        node,
        &json!([format!("/workloads/{name}")]),
    );
    object["metadata"]["labels"] = json!({GROUP: name});
    let under_recording = run(cluster, &object).await?;
    until(
        "the report of the container's end",
        Duration::from_mins(1),
        || async {
            let args = ["seccomprecording", name, "-n", namespace];
            let status = cluster.get(&args).await?.data["status"].clone();
            let counts = &status["containers"];
            ensure!(counts["were"] == 1 && counts["now"] == 0, "{counts}");
            Ok(())
        },
    )
    .await?;
    patch(namespace, name, &json!({"spec": {"stop": {"after": "1s"}}})).await?;
    let (calls, assumed) = recorded(cluster, namespace, name).await?;
    Ok((under_recording, calls, assumed))
}

/// All five ways; a line for people.
async fn tried(
    cluster: &Cluster,
    namespace: &str,
    node: &str,
    workload: &Workload,
) -> anyhow::Result<String> {
    let Workload { name, keeps } = workload;
    let program = format!("/workloads/{name}");
    let plain = pod(namespace, &format!("{name}-plain"), node, &json!([program]));
    let plain = run(cluster, &plain).await?;

    let script = format!(
        "strace -f -qq -c -U name -o /tmp/table {program}; code=$?; echo TABLE; cat /tmp/table; exit $code"
    );
    let strace = pod(
        namespace,
        &format!("{name}-strace"),
        node,
        &json!(["bash", "-c", script]),
    );
    let strace = run(cluster, &strace).await?;
    let seen = traced(&strace.log);
    ensure!(seen.len() > 10, "{}", strace.log);

    let profile = format!("e2e-made-of-{name}");
    cluster.delete("seccompprofile", &profile).await?;
    let (under_recording, calls, assumed) =
        run_recorded(cluster, namespace, node, name, &profile).await?;
    cluster.wait_ready(&profile).await?;

    let localhost = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": format!("profiles/{profile}.json")}});
    let mut under_profile = vec![];
    for turn in ["first", "second"] {
        let mut object = pod(
            namespace,
            &format!("{name}-{turn}"),
            node,
            &json!([program]),
        );
        object["spec"]["securityContext"] = localhost.clone();
        under_profile.push(run(cluster, &object).await?);
    }

    for (way, ran) in [
        ("under strace", &strace),
        ("recorded", &under_recording),
        ("under its profile", &under_profile[0]),
        ("under its profile once more", &under_profile[1]),
    ] {
        ensure!(
            ran.outcome == plain.outcome,
            "{name} {way}: {:?}, not {:?}",
            ran.outcome,
            plain.outcome
        );
    }
    let missing: Vec<_> = seen
        .iter()
        .filter(|call| !calls.contains(*call) && !assumed.contains(*call))
        .collect();
    let extra: Vec<_> = calls.iter().filter(|call| !seen.contains(*call)).collect();
    let kept = under_recording.rate / plain.rate;
    let best = under_profile[0].rate.max(under_profile[1].rate) / plain.rate;
    let mut line = String::new();
    write!(
        line,
        "{name:<12}{:>10.0}{:>9.0} %{:>9.1} %{:>9.0} %{:>8}{:>8}",
        plain.rate,
        100.0 * kept,
        100.0 * strace.rate / plain.rate,
        100.0 * best,
        calls.len(),
        seen.len(),
    )?;
    println!("{line}  missing: {missing:?}  not in strace: {extra:?}");
    let mut faults = vec![];
    if !missing.is_empty() {
        faults.push(format!("strace saw what was not recorded: {missing:?}"));
    }
    if !extra.is_empty() {
        faults.push(format!("strace did not see what was recorded: {extra:?}"));
    }
    if std::env::var_os("RATES").is_some() && kept < *keeps {
        faults.push(format!(
            "{:.0} % of the rate, not {:.0} %",
            100.0 * kept,
            100.0 * keeps
        ));
    }
    cluster.delete("seccompprofile", &profile).await?;
    if !faults.is_empty() {
        bail!("{name}: {}", faults.join("; "));
    }
    Ok(line)
}

#[tokio::test]
async fn programs_work_as_ever_when_recorded_and_under_what_was_made_of_it() -> Tested {
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "recorder.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-workloads", &[]).await?;
    let node = cluster.a_worker().await?;
    let only = std::env::var("WORKLOADS").unwrap_or_default();
    let chosen = |workload: &&Workload| {
        only.is_empty() || only.split_whitespace().any(|name| name == workload.name)
    };
    let mut faults = vec![];
    println!(
        "{:<12}{:>10}{:>11}{:>11}{:>11}{:>8}{:>8}",
        "", "plain/s", "recorded", "strace", "profile", "calls", "strace"
    );
    for workload in WORKLOADS.iter().filter(chosen) {
        if let Err(error) = tried(&cluster, &namespace, &node, workload).await {
            println!("{}: {error:#}", workload.name);
            faults.push(format!("{}: {error:#}", workload.name));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    cluster.delete("namespace", &namespace).await?;
    cluster.install(NAMESPACE, &[]).await
}
