//! The profiles that pods get at admission, and what they stop.

use anyhow::Context as _;
use e2e::cluster::Cluster;
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::{CHMOD_REFUSED, CHMOD_SCRIPT, NO_CHMOD, SECCOMP_MODE, Tested, seccomp_mode};

/// How many system calls the filter of a pod stops, by its own probe.
fn stopped(probe: &str) -> anyhow::Result<usize> {
    let report: Value = serde_json::from_str(probe).with_context(|| probe.to_owned())?;
    let calls = report["native"]["stopped"].as_array();
    Ok(calls
        .with_context(|| format!("the probe's report has no list of stopped calls: {report}"))?
        .len())
}

#[tokio::test]
async fn runtime_default_filters_and_stops_more_calls_than_unconfined() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-default", &[]).await?;
    let mode = Pod::script(&cluster, &namespace, "mode", SECCOMP_MODE)
        .profile("RuntimeDefault")
        .run(&cluster)
        .await?;
    assert_eq!(seccomp_mode(&mode), Some("2"), "{mode}");

    let default = Pod::probe(&cluster, &namespace, "default-seccomp")
        .profile("RuntimeDefault")
        .run(&cluster)
        .await?;
    let unconfined = Pod::probe(&cluster, &namespace, "unconfined")
        .profile("Unconfined")
        .run(&cluster)
        .await?;
    let (default, unconfined) = (stopped(&default)?, stopped(&unconfined)?);
    println!("RuntimeDefault stops {default} system calls, Unconfined {unconfined}");
    assert_eq!(unconfined, 0);
    assert!(default > 40, "only {default}");
    Ok(())
}

#[tokio::test]
async fn a_pod_without_a_profile_gets_runtime_default_and_is_filtered() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-bare", &[]).await?;
    let pod = Pod::script(&cluster, &namespace, "bare", SECCOMP_MODE);
    let log = pod.run(&cluster).await?;
    assert_eq!(
        pod.spec(&cluster).await?["securityContext"],
        json!({"seccompProfile": {"type": "RuntimeDefault"}})
    );
    assert_eq!(seccomp_mode(&log), Some("2"), "{log}");

    let own = Pod::script(&cluster, &namespace, "own", SECCOMP_MODE).profile("Unconfined");
    let log = own.run(&cluster).await?;
    assert_eq!(
        own.spec(&cluster).await?["securityContext"]["seccompProfile"]["type"],
        "Unconfined"
    );
    assert_eq!(seccomp_mode(&log), Some("0"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_policy_gives_the_pods_of_its_namespaces_a_profile() -> Tested {
    let cluster = Cluster::with_operator().await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.wait_ready("no-chmod").await?;
    let policy = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": "e2e-no-chmod"},
        "spec": {
            "priority": 10,
            "namespaceSelector": {"matchLabels": {"e2e": "policy"}},
            "profile": {"type": "Localhost", "name": "no-chmod"},
        },
    });
    cluster.apply(&policy.to_string()).await?;
    let namespace = cluster
        .namespace("e2e-policy", &[("e2e", "policy")])
        .await?;
    let pod = Pod::script(&cluster, &namespace, "bare", CHMOD_SCRIPT);
    pod.log_with(&cluster, CHMOD_REFUSED).await?;
    assert_eq!(
        pod.spec(&cluster).await?["securityContext"]["seccompProfile"],
        json!({"type": "Localhost", "localhostProfile": "profiles/no-chmod.json"})
    );

    let own = Pod::script(
        &cluster,
        &namespace,
        "own",
        "touch t && chmod +x t && echo done",
    )
    .profile("RuntimeDefault");
    assert_eq!(own.run(&cluster).await?, "done\n");

    cluster.delete("seccomppolicy", "e2e-no-chmod").await
}
