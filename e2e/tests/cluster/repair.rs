//! Files, reports, certificates and configurations that somebody else changes or deletes: the operator puts them right, or works
//! without them.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::{Cluster, NAMESPACE, RELEASE};
use e2e::command::{kubectl, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use serde_json::Value;

use super::{NO_CHMOD, Tested, await_injection};

#[tokio::test]
async fn files_that_somebody_changes_on_a_node_are_put_right_and_other_files_are_left_alone()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-drift", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    for name in ["e2e-edited", "e2e-removed", "e2e-in-the-way"] {
        cluster.delete("seccompprofile", name).await?;
    }
    for name in ["e2e-edited", "e2e-removed"] {
        cluster.apply_profile(name, NO_CHMOD).await?;
        cluster.wait_ready(name).await?;
    }
    let right = viewer.read("profiles/e2e-edited.json").await?;
    let script =
        "echo '{}' > e2e-edited.json; rm e2e-removed.json; echo theirs > e2e-in-the-way.json";
    Viewer::vandalise(&cluster, &namespace, script).await?;
    for name in ["e2e-edited", "e2e-removed"] {
        viewer
            .await_file(&format!("profiles/{name}.json"), |content| content == right)
            .await?;
    }

    cluster.apply_profile("e2e-in-the-way", NO_CHMOD).await?;
    until(
        "the conflict in the status",
        Duration::from_secs(15),
        || async {
            let status = cluster.status("e2e-in-the-way").await?;
            let failure = status.failures.first().context("no failure yet")?;
            assert_eq!(failure.reason, "Conflict");
            Ok(())
        },
    )
    .await?;
    let vandalised = viewer.on(&cluster.a_worker().await?);
    assert_eq!(
        vandalised.read("profiles/e2e-in-the-way.json").await?,
        "theirs\n"
    );
    kubectl(
        &[
            "delete",
            "pod",
            "vandal",
            "--namespace",
            &namespace,
            "--wait",
        ],
        "",
    )
    .await?
    .ok()?;
    Viewer::vandalise(&cluster, &namespace, "rm e2e-in-the-way.json").await?;
    cluster.wait_ready("e2e-in-the-way").await?;
    for name in ["e2e-edited", "e2e-removed", "e2e-in-the-way"] {
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tampering_that_goes_on_never_wins_and_the_profile_is_not_ready_meanwhile() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-tampering", &[]).await?;
    cluster.apply_profile("e2e-tampered", NO_CHMOD).await?;
    cluster.wait_ready("e2e-tampered").await?;
    // Five times a second for 40 seconds, and beside it how often the file is found wrong.
    let script = "cd /seccomp/profiles; right=$(<e2e-tampered.json); for ((n = 0; n < 200; n++)); do echo '{}' >e2e-tampered.json
        for ((look = 0; look < 10; look++)); do sleep 0.02; [[ $(<e2e-tampered.json) == \"$right\" ]] || ((wrong++)); ((looks++)); done
        done; echo found wrong $((wrong)) of $((looks)) times";
    let tamperer = Pod::script(&cluster, &namespace, "tamperer", script)
        .host_path("/var/lib/kubelet/seccomp", "/seccomp")
        .with("/spec/containers/0/volumeMounts/0/readOnly", false.into());
    tamperer.create(&cluster).await?;
    until(
        "the profile not to be ready",
        Duration::from_secs(30),
        || async {
            let status = cluster.status("e2e-tampered").await?;
            let failure = status.failures.first().context("no failure yet")?;
            ensure!(
                failure.reason == "Tampered" && !status.is_ready(),
                "{failure:?}"
            );
            ensure!(
                failure.message.contains("put right at least"),
                "{failure:?}"
            );
            Ok(())
        },
    )
    .await?;
    let log = tamperer.log_with(&cluster, "found wrong").await?;
    let numbers: Vec<u32> = log
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [wrong, looks] = numbers[..] else {
        bail!("{log}")
    };
    println!("under tampering {}", log.trim());
    ensure!(wrong * 4 < looks, "{log}");
    let ready = [
        "wait",
        "--for=condition=Ready",
        "seccompprofile/e2e-tampered",
        "--timeout=120s",
    ];
    kubectl(&ready, "").await?.ok()?;
    cluster.delete("seccompprofile", "e2e-tampered").await
}

#[tokio::test]
async fn a_report_that_somebody_edits_is_put_right_and_lets_no_profile_go() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-edited-report", &[]).await?;
    cluster.apply_profile("e2e-held", NO_CHMOD).await?;
    cluster.wait_ready("e2e-held").await?;
    Pod::script(&cluster, &namespace, "user", "sleep infinity")
        .localhost("profiles/e2e-held.json")
        .create(&cluster)
        .await?;
    let used = || async {
        let nodes = cluster.get(&["seccompnodes"]).await?.data["items"].clone();
        let nodes = nodes.as_array().context("no list")?.clone();
        let uses = |node: &&Value| {
            let uses = node["inUse"].as_array().into_iter().flatten();
            uses.into_iter().any(|used| used["profile"] == "e2e-held")
        };
        let node = nodes.iter().find(uses).context("no node uses it")?;
        Ok(node["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    let node = until("the use to be told", Duration::from_secs(30), used).await?;
    until("the finalizer", Duration::from_secs(30), || async {
        let profile = cluster.get(&["seccompprofile", "e2e-held"]).await?;
        ensure!(
            profile
                .metadata
                .finalizers
                .is_some_and(|all| !all.is_empty()),
            "none yet"
        );
        Ok(())
    })
    .await?;
    let delete = ["delete", "seccompprofile", "e2e-held", "--wait=false"];
    kubectl(&delete, "").await?.ok()?;
    for _ in 0..10 {
        let patch = r#"{"inUse": [], "failures": [{"profile": "e2e-held", "reason": "Other", "message": "not so"}]}"#;
        let args = [
            "patch",
            "seccompnode",
            &node,
            "--type=merge",
            "--patch",
            patch,
        ];
        kubectl(&args, "").await?.ok()?;
        until(
            "the report to be put right",
            Duration::from_secs(5),
            || async {
                let node = cluster.get(&["seccompnode", &node]).await?.data;
                ensure!(
                    node["failures"].as_array().is_none_or(Vec::is_empty),
                    "{node:#}"
                );
                used().await
            },
        )
        .await?;
    }
    // It is being deleted, and held.
    cluster.get(&["seccompprofile", "e2e-held"]).await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-held").await
}

#[tokio::test]
async fn reports_of_agents_that_somebody_deletes_come_back() -> Tested {
    Cluster::with_operator().await?;
    let reports = || async {
        kubectl(&["get", "seccompnodes", "--output", "name"], "")
            .await?
            .ok()
    };
    let before = until("the agents' reports", Duration::from_secs(30), || async {
        let reports = reports().await?;
        if reports.is_empty() {
            bail!("there are none")
        }
        Ok(reports)
    })
    .await?;
    kubectl(&["delete", "seccompnodes", "--all"], "")
        .await?
        .ok()?;
    until(
        "the agents' reports to come back",
        Duration::from_secs(30),
        || async {
            let now = reports().await?;
            if now == before {
                Ok(())
            } else {
                bail!("there are {now:?}")
            }
        },
    )
    .await
}

#[tokio::test]
async fn the_certificate_authority_and_the_trust_in_it_come_back() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-trust", &[]).await?;
    let secrets = kubectl(
        &[
            "get",
            "secrets",
            "--namespace",
            NAMESPACE,
            "--output",
            "name",
        ],
        "",
    )
    .await?
    .ok()?;
    let secret = secrets
        .lines()
        .find(|name| name.ends_with("webhook-ca"))
        .context("no Secret")?;
    kubectl(&["delete", secret, "--namespace", NAMESPACE], "")
        .await?
        .ok()?;
    until(
        "the Secret to come back",
        Duration::from_secs(30),
        || async {
            kubectl(&["get", secret, "--namespace", NAMESPACE], "")
                .await?
                .ok()
        },
    )
    .await?;

    let configuration = pods_configuration().await?;
    let wipe = r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#;
    kubectl(
        &["patch", &configuration, "--type=json", "--patch", wipe],
        "",
    )
    .await?
    .ok()?;
    until(
        "the trust to come back",
        Duration::from_secs(30),
        || async {
            let bundle = "jsonpath={.webhooks[0].clientConfig.caBundle}";
            let bundle = kubectl(&["get", &configuration, "--output", bundle], "")
                .await?
                .ok()?;
            if bundle.is_empty() {
                bail!("it is empty")
            }
            Ok(())
        },
    )
    .await?;
    await_injection(&cluster, &namespace).await
}

#[tokio::test]
async fn without_the_configuration_for_pods_profiles_are_still_taken() -> Tested {
    let cluster = Cluster::with_operator().await?;
    kubectl(&["delete", &pods_configuration().await?], "")
        .await?
        .ok()?;
    // Long enough for a replica that takes this for a reason to be unready to be out of service.
    tokio::time::sleep(Duration::from_secs(12)).await;
    cluster.apply_profile("e2e-without", NO_CHMOD).await?;
    cluster.wait_ready("e2e-without").await?;
    cluster.delete("seccompprofile", "e2e-without").await?;
    cluster.install(NAMESPACE, &[]).await
}

/// The name of the webhook configuration for pods.
async fn pods_configuration() -> anyhow::Result<String> {
    let list = kubectl(
        &["get", "mutatingwebhookconfigurations", "--output", "name"],
        "",
    )
    .await?
    .ok()?;
    Ok(list
        .lines()
        .find(|name| name.contains(RELEASE))
        .context("no configuration")?
        .to_owned())
}
