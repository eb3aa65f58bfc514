//! A file of somebody else's that has a profile's name: pods start under it, and everybody says so.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{kubectl, plugin, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::{NO_CHMOD, Tested};

const PATIENCE: Duration = Duration::from_mins(1);
const NAME: &str = "e2e-taken";
const PATH: &str = "profiles/e2e-taken.json";
const TRUTH: &str = "starts there under that file";

/// Waits until a policy that refuses is known, or is known to be gone; what the API server says of a pod that states nothing.
async fn answer(namespace: &str, refused: bool) -> anyhow::Result<String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "none"}]},
    });
    let args = ["create", "-f", "-", "--dry-run=server"];
    until("the answer to a pod", PATIENCE, || async {
        let output = kubectl(&args, &pod.to_string()).await?;
        ensure!(
            (output.code != Some(0)) == refused,
            "{}{}",
            output.stdout,
            output.stderr
        );
        Ok(output.stderr)
    })
    .await
}

#[tokio::test]
async fn pods_start_under_a_foreign_file_and_everybody_says_so_and_a_policy_may_refuse_them()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster
        .namespace("e2e-foreign", &[("e2e", "foreign")])
        .await?;
    cluster.delete("seccompprofile", NAME).await?;
    let allows_all = r#"echo '{"defaultAction": "SCMP_ACT_ALLOW"}' >e2e-taken.json"#;
    Viewer::vandalise(&cluster, &namespace, allows_all).await?;
    cluster.apply_profile(NAME, NO_CHMOD).await?;
    until("the conflict in the status", PATIENCE, || async {
        let status = cluster.status(NAME).await?;
        let nodes = status.nodes.clone().context("no counts")?;
        ensure!(nodes.foreign == 1, "{status:?}");
        let failure = status.failures.first().context("no failure")?;
        ensure!(
            failure
                .message
                .contains("pods that start on this node run under it"),
            "{failure:?}"
        );
        Ok(())
    })
    .await?;

    // What the profile refuses goes through: that is the truth which has to be told.
    let script = "touch test; chmod +x test && echo changed; sleep infinity";
    let pod = Pod::script(&cluster, &namespace, "under-it", script)
        .localhost(PATH)
        .on(&cluster.a_worker().await?);
    let printed = until("a warning that is true", PATIENCE, || async {
        let args = [
            "delete",
            "pod",
            "under-it",
            "-n",
            &namespace,
            "--ignore-not-found",
            "--now",
        ];
        kubectl(&args, "").await?.ok()?;
        let printed = pod.create(&cluster).await?;
        ensure!(printed.contains(TRUTH), "{printed}");
        Ok(printed)
    })
    .await?;
    ensure!(!printed.contains("waits"), "{printed}");
    pod.log_with(&cluster, "changed").await?;

    let one = plugin(&["status", NAME]).await?;
    ensure!(
        one.code == Some(1)
            && one
                .stdout
                .contains("pods start under somebody else's file on "),
        "{}",
        one.stdout
    );
    let listed = plugin(&["coverage", "-n", &namespace, "-o", "json"]).await?;
    let data: Value = serde_json::from_str(&listed.stdout)?;
    let row = data["containers"].as_array().context("no rows")?;
    let row = row.iter().find(|row| row["pod"] == "under-it");
    let row = row.context("no row")?;
    ensure!(
        row["foreign"] == true && row["warning"].to_string().contains("runs a foreign file"),
        "{row}"
    );
    ensure!(data["summary"]["foreign"] == 1, "{data}");

    let policy = |deny: bool| {
        json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": NAME},
            "spec": {
                "namespaceSelector": {"matchLabels": {"e2e": "foreign"}}, "profile": {"type": "Localhost", "name": NAME},
                "onConflict": if deny { "Deny" } else { "Warn" },
            },
        })
        .to_string()
    };
    let printed = cluster.apply(&policy(true)).await?;
    ensure!(printed.contains(TRUTH), "{printed}");
    let refused = answer(&namespace, true).await?;
    ensure!(
        refused.contains("onConflict: Deny") && refused.contains(TRUTH),
        "{refused}"
    );
    let what_if = plugin(&["coverage", "-n", &namespace, "--what-if"]).await?;
    ensure!(what_if.stdout.contains("are refused"), "{}", what_if.stdout);
    cluster.apply(&policy(false)).await?;
    let warned = answer(&namespace, false).await?;
    ensure!(warned.contains(TRUTH), "{warned}");
    cluster.apply(&policy(true)).await?;
    answer(&namespace, true).await?;

    // Without the file in the way all is well again.
    for name in ["vandal", "under-it"] {
        let args = ["delete", "pod", name, "-n", &namespace, "--now"];
        kubectl(&args, "").await?.ok()?;
    }
    cluster.delete("seccomppolicy", NAME).await?;
    answer(&namespace, false).await?;
    Viewer::vandalise(&cluster, &namespace, "rm e2e-taken.json").await?;
    cluster.wait_ready(NAME).await?;
    cluster.apply(&policy(true)).await?;
    let printed = answer(&namespace, false).await?;
    ensure!(!printed.contains(TRUTH), "{printed}");
    cluster.delete("seccomppolicy", NAME).await?;
    cluster.delete("seccompprofile", NAME).await
}
