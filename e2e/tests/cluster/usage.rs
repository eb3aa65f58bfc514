//! Who uses a profile and who should have it, as nodes and statuses know it.

use std::time::Duration;

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::command::{kubectl, plugin, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use seccomp_operator_api::{SeccompProfileStatus, condition};
use serde_json::{Value, json};

use super::{CHMOD_REFUSED, CHMOD_SCRIPT, NO_CHMOD, Tested};

const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until the status of a profile is as `test` wants it.
async fn status_with(
    cluster: &Cluster,
    profile: &str,
    what: &str,
    test: impl Fn(&SeccompProfileStatus) -> bool,
) -> anyhow::Result<SeccompProfileStatus> {
    until(what, PATIENCE, || async {
        let status = cluster.status(profile).await?;
        ensure!(test(&status), "{status:?}");
        Ok(status)
    })
    .await
}

fn in_use(status: &SeccompProfileStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|c| c.type_ == condition::IN_USE && c.status == "True")
}

#[tokio::test]
async fn a_file_stays_while_a_pod_uses_it_and_the_status_says_how_many_do() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-usage", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    cluster.delete("seccompprofile", "e2e-used").await?;
    cluster.apply_profile("e2e-used", NO_CHMOD).await?;
    cluster.wait_ready("e2e-used").await?;
    status_with(&cluster, "e2e-used", "no use", |status| {
        status.used_by == Some(0) && !in_use(status)
    })
    .await?;

    let pod =
        Pod::script(&cluster, &namespace, "user", CHMOD_SCRIPT).localhost("profiles/e2e-used.json");
    pod.log_with(&cluster, CHMOD_REFUSED).await?;
    status_with(&cluster, "e2e-used", "one user", |status| {
        status.used_by == Some(1) && in_use(status) && status.outdated == Some(0)
    })
    .await?;

    // Kubernetes tells the second of a start: a change within it may have come before the start.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // The container keeps what it was created with.
    cluster
        .apply_profile("e2e-used", &NO_CHMOD.replace("\"chmod\"", "\"mkdir\""))
        .await?;
    status_with(&cluster, "e2e-used", "an outdated container", |status| {
        status.outdated == Some(1)
    })
    .await?;
    let data = plugin(&["status", "e2e-used", "-o", "json"]).await?;
    let data: Value = serde_json::from_str(&data.stdout)?;
    let pods = &data["profiles"][0]["outdatedPods"];
    assert_eq!(pods[0]["namespace"], namespace.as_str(), "{data}");
    assert_eq!((&pods[0]["name"], &pods[1]), (&"user".into(), &Value::Null));
    let text = plugin(&["status", "e2e-used"]).await?.stdout;
    assert!(text.contains(&format!("{namespace}/user")), "{text}");
    let columns = kubectl(&["get", "seccompprofile", "e2e-used"], "")
        .await?
        .ok()?;
    assert!(columns.contains("OUTDATED"), "{columns}");

    // What it was created with is what is there again.
    cluster.apply_profile("e2e-used", NO_CHMOD).await?;
    status_with(&cluster, "e2e-used", "no outdated container", |status| {
        status.outdated == Some(0)
    })
    .await?;

    // With nobody to hold the profile the file stays all the same.
    kubectl(
        &["delete", "seccompprofile", "e2e-used", "--wait=false"],
        "",
    )
    .await?
    .ok()?;
    let strip = r#"{"metadata": {"finalizers": null}}"#;
    let patch = [
        "patch",
        "seccompprofile",
        "e2e-used",
        "--type=merge",
        "--patch",
        strip,
    ];
    kubectl(&patch, "").await?.ok()?;
    until("the pending removal", PATIENCE, || async {
        let nodes = kubectl(&["get", "seccompnodes", "-o", "json"], "")
            .await?
            .ok()?;
        ensure!(nodes.contains("\"pendingRemoval\": true"), "{nodes}");
        Ok(())
    })
    .await?;
    let viewer = viewer.on(&pod.node(&cluster).await?);
    viewer.read("profiles/e2e-used.json").await?;
    let delete = ["delete", "pod", "user", "-n", &namespace, "--now"];
    kubectl(&delete, "").await?.ok()?;
    viewer.await_absence("profiles/e2e-used.json").await
}

#[tokio::test]
async fn a_profile_goes_to_the_nodes_that_it_selects_and_to_no_others() -> Tested {
    const LABEL: &str = "e2e-seccomp-profile";
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-selector", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    let manifest = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "e2e-selecting"},
        "spec": {"base": "docker-default", "deny": ["@chmod"], "nodeSelector": {LABEL: "yes"}},
    });
    cluster.apply(&manifest.to_string()).await?;
    let desired = |n: i32| {
        move |status: &SeccompProfileStatus| {
            status
                .nodes
                .as_ref()
                .is_some_and(|nodes| nodes.desired == n && nodes.ready == n)
        }
    };
    status_with(&cluster, "e2e-selecting", "no node", desired(0)).await?;
    viewer.await_absence("profiles/e2e-selecting.json").await?;

    let label = |value: &str| {
        let label = format!("{LABEL}{value}");
        async move {
            kubectl(&["label", "nodes", "--all", "--overwrite", &label], "")
                .await?
                .ok()
        }
    };
    label("=yes").await?;
    cluster.wait_ready("e2e-selecting").await?;
    let status = cluster.status("e2e-selecting").await?;
    assert!(status.nodes.is_some_and(|nodes| nodes.desired > 0));
    viewer.read("profiles/e2e-selecting.json").await?;

    label("-").await?;
    viewer.await_absence("profiles/e2e-selecting.json").await?;
    status_with(&cluster, "e2e-selecting", "no node again", desired(0)).await?;
    cluster.delete("seccompprofile", "e2e-selecting").await
}

#[tokio::test]
async fn a_deletion_shows_in_kubectl_get_and_at_the_policy_that_names_the_profile() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster
        .namespace("e2e-deleted", &[("e2e", "deleted")])
        .await?;
    cluster.delete("seccompprofile", "e2e-deleted").await?;
    cluster.apply_profile("e2e-deleted", NO_CHMOD).await?;
    cluster.wait_ready("e2e-deleted").await?;
    let policy = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": "e2e-deleted"},
        "spec": {"priority": 50, "namespaceSelector": {"matchLabels": {"e2e": "deleted"}}, "profile": {"type": "Localhost", "name": "e2e-deleted"}},
    });
    cluster.apply(&policy.to_string()).await?;
    // A path is what it means, however it is written.
    Pod::script(&cluster, &namespace, "user", "sleep infinity")
        .localhost("./profiles//e2e-deleted.json")
        .create(&cluster)
        .await?;
    status_with(&cluster, "e2e-deleted", "one user", |status| {
        status.used_by == Some(1) && in_use(status)
    })
    .await?;
    kubectl(
        &["delete", "seccompprofile", "e2e-deleted", "--wait=false"],
        "",
    )
    .await?
    .ok()?;
    until("the deletion to show", PATIENCE, || async {
        let shown = kubectl(&["get", "seccompprofile", "e2e-deleted"], "")
            .await?
            .ok()?;
        ensure!(shown.contains(", deleted "), "{shown}");
        let policy = cluster
            .get(&["seccomppolicy", "e2e-deleted"])
            .await?
            .data
            .to_string();
        ensure!(policy.contains("ProfileDeleted"), "{policy}");
        Ok(())
    })
    .await?;
    let warned = Pod::script(&cluster, &namespace, "late", "true")
        .create(&cluster)
        .await?;
    ensure!(warned.contains("was deleted and goes when"), "{warned}");
    cluster.delete("seccomppolicy", "e2e-deleted").await?;
    cluster.delete("namespace", &namespace).await
}

#[tokio::test]
async fn a_node_selector_that_no_node_fits_is_named_and_one_that_none_can_fit_is_refused() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    let profile = |selector: serde_json::Value| {
        json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "e2e-nowhere"},
            // What a null stands for is absent.
            "spec": {"base": "audit", "profile": null, "nodeSelector": selector},
        })
        .to_string()
    };
    cluster.apply(&profile(json!({"e2e-disk": "none"}))).await?;
    status_with(&cluster, "e2e-nowhere", "the reason", |status| {
        status.conditions.iter().any(|c| {
            c.reason == "NoNodes"
                && c.message
                    .starts_with("spec.nodeSelector selects no node, of ")
        })
    })
    .await?;
    for (selector, part) in [
        (json!({"disk type": "ssd"}), "cannot be the key of a label"),
        (json!({"disk": "s s d"}), "cannot be the value of a label"),
    ] {
        let refused = cluster.try_apply(&profile(selector)).await?;
        ensure!(
            !refused.success && refused.stderr.contains(part),
            "{refused:?}"
        );
    }
    cluster.delete("seccompprofile", "e2e-nowhere").await
}

#[tokio::test]
async fn optional_fields_are_explained_with_their_types_and_with_what_is_below_them() -> Tested {
    let _installed = Cluster::with_operator().await?;
    for (field, part) in [
        ("seccomppolicy.spec.namespaceSelector", "matchLabels"),
        ("seccompprofile.spec.base", "<string>"),
        ("seccompprofile.status.nodes", "desired"),
    ] {
        // The API server publishes its definitions some seconds after it has them.
        until("the definitions", PATIENCE, || async {
            let explained = kubectl(&["explain", field], "").await?.ok()?;
            ensure!(explained.contains(part), "{field}: {explained}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
