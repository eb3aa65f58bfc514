//! The folder that kubelet takes profiles from is another one than the agent has mounted, or the definition of profiles goes: what the
//! operator stands on is taken away, and it says so and goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use kube::Api;
use kube::api::ListParams;
use seccomp_operator_api::SeccompNode;

use super::{CHMOD_REFUSED, CHMOD_SCRIPT, NO_CHMOD, Tested};

/// Long enough for an agent to notice, to say so, to end and to be started again.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a script in kubelet's folder on one node.
async fn on_the_node(cluster: &Cluster, namespace: &str, name: &str, script: &str) -> Tested {
    let script = format!("cd /kubelet && {script} && echo done");
    let pod = Pod::script(cluster, namespace, name, &script)
        .host_path("/var/lib/kubelet", "/kubelet")
        .with("/spec/containers/0/volumeMounts/0/readOnly", false.into())
        .on(&cluster.a_worker().await?);
    let log = pod.run(cluster).await?;
    ensure!(log == "done\n", "the script says {log}");
    Ok(())
}

/// How often agents have been started again.
async fn restarts(cluster: &Cluster) -> anyhow::Result<i64> {
    let agents = cluster.pods_of("agent").await?;
    let counts = agents.iter().map(|pod| {
        let count = &pod["status"]["containerStatuses"][0]["restartCount"];
        count.as_i64().unwrap_or_default()
    });
    Ok(counts.sum())
}

/// The reasons that the nodes' reports have had since, for one profile.
fn reasons(cluster: &Cluster, profile: &'static str) -> Arc<Mutex<BTreeSet<String>>> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let (reports, found) = (
        Api::<SeccompNode>::all(cluster.client.clone()),
        seen.clone(),
    );
    tokio::spawn(async move {
        loop {
            let nodes = reports.list(&ListParams::default()).await;
            let failures = nodes
                .into_iter()
                .flatten()
                .flat_map(|node| node.spec.failures);
            let reasons = failures.filter(|failure| failure.profile == profile);
            if let Ok(mut found) = found.lock() {
                found.extend(reasons.map(|failure| failure.reason));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    seen
}

#[tokio::test]
async fn a_seccomp_folder_that_is_replaced_under_the_agent_is_noticed_and_the_new_one_is_filled()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-displaced", &[]).await?;
    cluster.apply_profile("e2e-displaced", NO_CHMOD).await?;
    cluster.wait_ready("e2e-displaced").await?;
    for (name, script) in [
        ("renamed", "mv seccomp seccomp.old && mkdir seccomp"),
        // The agent puts back what it sees removed, as long as it can.
        (
            "removed",
            "rm -r seccomp.old && until rm -rf seccomp 2>/dev/null; do :; done",
        ),
    ] {
        let before = restarts(&cluster).await?;
        let seen = reasons(&cluster, "e2e-displaced");
        on_the_node(&cluster, &namespace, name, script).await?;
        let began = Instant::now();
        let pod = Pod::script(&cluster, &namespace, &format!("after-{name}"), CHMOD_SCRIPT)
            .localhost("profiles/e2e-displaced.json")
            .on(&cluster.a_worker().await?);
        pod.log_with(&cluster, CHMOD_REFUSED).await?;
        println!("{name}: a pod started after {:.1?}", began.elapsed());
        until("the agent to have ended", PATIENCE, || async {
            ensure!(restarts(&cluster).await? > before, "not yet");
            Ok(())
        })
        .await?;
        until("a report without failures", PATIENCE, || async {
            cluster.wait_ready("e2e-displaced").await
        })
        .await?;
        let seen = seen.lock().ok().context("poisoned")?.clone();
        ensure!(seen.contains("FolderReplaced"), "{name}: {seen:?}");
    }
    let node = cluster.a_worker().await?;
    let described = kubectl(&["describe", "node", &node], "").await?.ok()?;
    ensure!(described.contains("FolderReplaced"), "{described}");
    let agent = [
        "describe",
        "pods",
        "-n",
        NAMESPACE,
        "-l",
        "app.kubernetes.io/component=agent",
    ];
    let described = kubectl(&agent, "").await?.ok()?;
    ensure!(
        described.contains("kubelet's seccomp folder was removed"),
        "{described}"
    );
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-displaced").await
}

#[tokio::test]
async fn the_definition_of_profiles_can_be_deleted_while_pods_use_one() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-undefined", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    cluster.apply_profile("e2e-undefined", NO_CHMOD).await?;
    cluster.wait_ready("e2e-undefined").await?;
    let pod = Pod::script(&cluster, &namespace, "user", CHMOD_SCRIPT)
        .localhost("profiles/e2e-undefined.json");
    pod.log_with(&cluster, CHMOD_REFUSED).await?;
    until("the finalizer", PATIENCE, || async {
        let profile = cluster.get(&["seccompprofile", "e2e-undefined"]).await?;
        let finalizers = profile.metadata.finalizers.unwrap_or_default();
        ensure!(!finalizers.is_empty(), "none yet");
        Ok(())
    })
    .await?;
    let began = Instant::now();
    let definition = "seccompprofiles.seccomp-operator.io";
    let delete = ["delete", "crd", definition, "--timeout=60s"];
    let deleted = kubectl(&delete, "").await?;
    println!("the definition was gone after {:.1?}", began.elapsed());
    // Whatever came of it, the other tests need it.
    if !deleted.success {
        let patch = r#"{"metadata": {"finalizers": null}}"#;
        let release = [
            "patch",
            "seccompprofile",
            "e2e-undefined",
            "--type=merge",
            "--patch",
            patch,
        ];
        kubectl(&release, "").await?.ok()?;
    }
    let kept = viewer.on(&pod.node(&cluster).await?);
    let kept = kept.read("profiles/e2e-undefined.json").await;
    cluster.install(NAMESPACE, &[]).await?;
    deleted.ok().context("the definition is still there")?;
    kept.context("a pod uses the file")?;

    cluster.delete("namespace", &namespace).await?;
    let again = cluster.namespace("e2e-undefined", &[]).await?;
    let viewer = Viewer::start(&cluster, &again).await?;
    viewer.await_absence("profiles/e2e-undefined.json").await?;
    until("profiles to be taken again", PATIENCE, || async {
        cluster.apply_profile("e2e-defined", NO_CHMOD).await?;
        cluster.wait_ready("e2e-defined").await
    })
    .await?;
    cluster.delete("namespace", &again).await?;
    cluster.delete("seccompprofile", "e2e-defined").await
}
