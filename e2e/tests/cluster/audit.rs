//! What the kernel records of a pod under an audit profile, and what audit readers tell of it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::audit::{AuditLog, field};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{plugin, until};
use e2e::pods::Pod;
use serde_json::Value;

use super::Tested;

#[tokio::test]
async fn an_audit_profile_makes_the_kernel_record_what_a_pod_calls() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-audit", &[]).await?;
    cluster
        .apply_profile("e2e-audit", r#"{"defaultAction": "SCMP_ACT_LOG"}"#)
        .await?;
    cluster.wait_ready("e2e-audit").await?;

    let log = AuditLog::listen()?;
    // A shell of a name that nothing else on the machine has: records name the command, not the container.
    let script = "cp /bin/bash /tmp/e2e-audit-bash; /tmp/e2e-audit-bash -c 'ls /; true'; while true; do sleep 30; done";
    Pod::script(&cluster, &namespace, "audit-seccomp", script)
        .localhost("profiles/e2e-audit.json")
        .log_with(&cluster, "tmp")
        .await?;

    let names: &[(&str, &str, &str)] = &[("execve", "59", "221"), ("openat", "257", "56")];
    let mut missing: BTreeSet<_> = names.iter().map(|(name, ..)| *name).collect();
    let complete = log.until(Duration::from_secs(20), |record| {
        if field(record, "comm") == Some("e2e-audit-bash")
            && field(record, "code") == Some("0x7ffc0000")
        {
            let number = field(record, "syscall");
            let named = names.iter().find(|(_, x86_64, aarch64)| {
                number
                    == Some(if cfg!(target_arch = "aarch64") {
                        aarch64
                    } else {
                        x86_64
                    })
            });
            missing
                .extract_if(.., |name| named.is_some_and(|(found, ..)| found == name))
                .for_each(drop);
        }
        missing.is_empty()
    })?;
    assert!(complete, "no audit record of the pod's {missing:?}");
    Ok(())
}

/// Asks for what is logged over and over, with a process each time.
const LOGGED: &str = "while true; do chmod 700 /tmp; sleep 0.2; done";
/// As often as it can, without a process for each time.
const FLOOD: &str = "echo begins; while true; do : >/dev/udp/127.0.0.1/9; done 2>/dev/null";
/// Each of its processes is killed.
const KILLED: &str = "while true; do mkdir /tmp/a; sleep 0.2; done";
const LOGS: &str = "e2e-audit-logs";
const KILLS: &str = "e2e-audit-kills";

/// What the plugin lists of a namespace.
async fn listed(namespace: &str) -> anyhow::Result<Value> {
    let denials = plugin(&["denials", "-n", namespace, "-o", "json"]).await?;
    Ok(serde_json::from_str(&denials.stdout)?)
}

/// What it lists of a pod with this outcome.
fn of<'a>(listed: &'a Value, pod: &str, outcome: &str) -> Option<&'a Value> {
    let mut all = listed["denials"].as_array()?.iter();
    all.find(|denial| denial["pod"] == pod && denial["outcome"] == outcome)
}

/// The report of a node's reader, once there is one of the reader that runs.
async fn report(cluster: &Cluster, node: &str) -> anyhow::Result<Value> {
    until("the reader to report", Duration::from_mins(2), || async {
        let report = cluster.get(&["seccompauditreport", node]).await?;
        ensure!(report.data["hearing"].is_object(), "{:?}", report.data);
        Ok(report.data)
    })
    .await
}

async fn what_is_heard_is_told(cluster: &Cluster, namespace: &str) -> Tested {
    let heard = until("the calls to be listed", Duration::from_mins(2), || async {
        let listed = listed(namespace).await?;
        let logged = of(&listed, "logs", "Logged").context("nothing logged")?;
        ensure!(logged["profile"] == LOGS, "{logged}");
        ensure!(logged["container"] == "test-container", "{logged}");
        let unplaced = listed["audit"]["unplacedCount"].as_i64();
        let killed = of(&listed, "kills", "Killed");
        ensure!(killed.is_some() || unplaced > Some(0), "{listed}");
        Ok((killed.cloned(), unplaced))
    });
    println!("killed, and calls without a container: {:?}", heard.await?);
    let status = || async {
        let object = cluster.get(&["seccompprofile", LOGS]).await?;
        let denials = object.data["status"]["denials"].as_array().cloned();
        let mut all = denials.into_iter().flatten();
        ensure!(
            all.any(|denial| denial["pod"] == "logs"),
            "{:?}",
            object.data
        );
        Ok(())
    };
    until("the status to say it", Duration::from_mins(2), status).await?;
    let events = || async {
        let events = cluster.get(&["events", "-n", namespace]).await?;
        let all = events.data["items"].as_array().cloned();
        let said = all.into_iter().flatten().filter(|event| {
            event["reason"] == "SeccompLogged" && event["involvedObject"]["name"] == "logs"
        });
        let said: Vec<_> = said.collect();
        ensure!((1..=2).contains(&said.len()), "{said:?}");
        Ok(())
    };
    until("the pod to be told", Duration::from_mins(1), events).await
}

/// However often it is called, a report is written once a minute.
async fn a_flood_is_bounded(cluster: &Cluster, node: &str) -> Tested {
    let version = async || {
        let report = cluster.get(&["seccompauditreport", node]).await?;
        let length = report.data.to_string().len();
        ensure!(length < 600_000, "{length} bytes");
        anyhow::Ok(report.metadata.resource_version)
    };
    let mut versions = BTreeSet::new();
    for _ in 0..20 {
        versions.insert(version().await?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(versions.len() <= 2, "{versions:?} within 20 s");
    Ok(())
}

#[tokio::test]
async fn audit_reader_tells_what_is_logged_and_killed_or_that_it_hears_nothing() -> Tested {
    let cluster = Cluster::with_operator().await?;
    cluster
        .install(NAMESPACE, &["--set", "audit.enabled=true"])
        .await?;
    let namespace = cluster.namespace("e2e-audit-reader", &[]).await?;
    let logs = format!(
        "apiVersion: seccomp-operator.io/v1alpha1\nkind: SeccompProfile\nmetadata: {{name: {LOGS}}}\n\
        spec: {{base: runtime-default, log: [\"@chmod\", socket]}}"
    );
    cluster.apply(&logs).await?;
    let kills = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#;
    cluster.apply_profile(KILLS, kills).await?;
    for profile in [LOGS, KILLS] {
        cluster.wait_ready(profile).await?;
    }
    let node = cluster.a_worker().await?;
    for (pod, script, profile) in [
        ("logs", LOGGED, LOGS),
        ("kills", KILLED, KILLS),
        ("floods", FLOOD, LOGS),
    ] {
        let path = format!("profiles/{profile}.json");
        let pod = Pod::script(&cluster, &namespace, pod, script);
        pod.localhost(&path).on(&node).create(&cluster).await?;
    }
    let hearing = report(&cluster, &node).await?["hearing"].clone();
    println!("{node}: {hearing}");
    if hearing["hears"] == true {
        what_is_heard_is_told(&cluster, &namespace).await?;
        a_flood_is_bounded(&cluster, &node).await?;
    } else {
        // The node is a container, or has a network of its own: the kernel tells it nothing.
        ensure!(
            ["Silent", "Contained", "Elsewhere"]
                .contains(&hearing["reason"].as_str().unwrap_or_default()),
            "{hearing}"
        );
        let said = plugin(&["denials", "-n", &namespace]).await?.stdout;
        let expected = "nothing is heard of what is killed and logged on ";
        ensure!(said.contains(expected) && said.contains(&node), "{said}");
    }
    cluster.delete_pods(&namespace).await?;
    // Nobody would keep the reports up.
    cluster.install(NAMESPACE, &[]).await?;
    until("the reports to go", Duration::from_mins(2), || async {
        let reports = cluster.get(&["seccompauditreports"]).await?;
        let left = reports.data["items"].as_array().context("no list")?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}
