//! Files, reports, certificates and configurations that somebody else changes or deletes: the operator puts them right, or works
//! without them.

use std::time::Duration;

use anyhow::{Context as _, bail};
use e2e::cluster::{Cluster, NAMESPACE, RELEASE};
use e2e::command::{kubectl, until};
use e2e::node::Viewer;

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
    assert_eq!(
        viewer.read("profiles/e2e-in-the-way.json").await?,
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
