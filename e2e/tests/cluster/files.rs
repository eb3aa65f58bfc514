//! From a SeccompProfile to a node's file and a pod under it, and what is refused on the way.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, profile};
use e2e::command::{kubectl, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use seccomp_operator_api::condition;

use super::{CHMOD_REFUSED, CHMOD_SCRIPT, NO_CHMOD, Tested, semantics};

#[tokio::test]
async fn the_no_chmod_pod_cannot_chmod() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-no-chmod", &[]).await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    let waited = cluster.wait_ready("no-chmod").await?;
    assert!(waited.contains("condition met"), "{waited}");
    let status = cluster.status("no-chmod").await?;
    assert_eq!(
        status.localhost_profile.as_deref(),
        Some("profiles/no-chmod.json")
    );

    let viewer = Viewer::start(&cluster, &namespace).await?;
    let file = viewer.read("profiles/no-chmod.json").await?;
    assert_eq!(semantics(&file)?.rules(), semantics(NO_CHMOD)?.rules());
    assert_eq!(
        semantics(&file)?.default_action(),
        semantics(NO_CHMOD)?.default_action()
    );

    let pod = Pod::script(&cluster, &namespace, "no-chmod-seccomp", CHMOD_SCRIPT)
        .localhost("profiles/no-chmod.json");
    pod.log_with(&cluster, CHMOD_REFUSED).await?;
    Ok(())
}

#[tokio::test]
async fn an_update_reaches_the_file_and_a_deletion_removes_it() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-update", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    cluster.delete("seccompprofile", "e2e-update").await?;
    cluster.apply_profile("e2e-update", NO_CHMOD).await?;
    cluster.wait_ready("e2e-update").await?;
    assert_eq!(
        cluster.status("e2e-update").await?.observed_generation,
        Some(1)
    );

    cluster
        .apply_profile("e2e-update", &NO_CHMOD.replace("\"chmod\"", "\"mkdir\""))
        .await?;
    cluster.wait_ready("e2e-update").await?;
    let status = cluster.status("e2e-update").await?;
    assert_eq!(status.observed_generation, Some(2));
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == condition::READY)
        .context("no Ready condition")?;
    assert_eq!(
        (ready.status.as_str(), ready.observed_generation),
        ("True", Some(2))
    );
    // Ready means that it is there: no waiting.
    assert!(
        viewer
            .read("profiles/e2e-update.json")
            .await?
            .contains("\"mkdir\"")
    );

    cluster.delete("seccompprofile", "e2e-update").await?;
    viewer.await_absence("profiles/e2e-update.json").await
}

#[tokio::test]
async fn what_happened_to_a_file_is_in_what_kubectl_describes() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-described", &[]).await?;
    cluster.delete("seccompprofile", "e2e-described").await?;
    cluster.apply_profile("e2e-described", NO_CHMOD).await?;
    cluster.wait_ready("e2e-described").await?;
    Viewer::vandalise(&cluster, &namespace, "rm e2e-described.json").await?;
    let describe = ["describe", "seccompprofile", "e2e-described"];
    until("the Event", Duration::from_secs(15), || async {
        let described = kubectl(&describe, "").await?.ok()?;
        let events = described.split("Events:").nth(1).context("no Events")?;
        ensure!(
            events.contains("FileChanged") && events.contains("seccomp-operator-agent"),
            "{described}"
        );
        Ok(())
    })
    .await?;
    cluster.delete("seccompprofile", "e2e-described").await
}

#[tokio::test]
async fn bad_input_is_refused_at_apply_and_nothing_on_the_node_changes() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-bad", &[]).await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.wait_ready("no-chmod").await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    let before = viewer.snapshot().await?;

    let rule =
        |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    let long = "n".repeat(201);
    // Docker's format is taken; a mistake in it is one as anywhere.
    let docker = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BFP"]}}]}"#;
    for (name, document, expected) in [
        (
            "e2e-bad",
            "{}".to_owned(),
            &["spec.profile", "defaultAction"][..],
        ),
        (
            "e2e-bad",
            r#"{"defaultAction": "SCMP_ACT_PERHAPS"}"#.to_owned(),
            &["spec.profile.defaultAction", "SCMP_ACT_PERHAPS"],
        ),
        (
            "e2e-bad",
            rule(r#"{"names": ["chmod"], "action": "DENY"}"#),
            &["spec.profile.syscalls[0].action", "DENY"],
        ),
        (
            "e2e-bad",
            rule(
                r#"{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 38, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            &["spec.profile.syscalls[0].args[0].index", "6"],
        ),
        (
            "e2e-bad",
            docker.to_owned(),
            &[
                "spec.profile.archMap",
                "spec.profile.syscalls[0].includes.caps[0]",
                "CAP_BPF",
            ],
        ),
        (
            "e2e-bad",
            format!("{{\"x\": {}1{}}}", "[".repeat(500), "]".repeat(500)),
            &["spec: is nested too deeply"],
        ),
        (
            &long,
            NO_CHMOD.to_owned(),
            &["metadata.name", "201 characters"],
        ),
        (
            "No_Chmod",
            NO_CHMOD.to_owned(),
            &["metadata.name", "No_Chmod"],
        ),
    ] {
        let output = cluster.try_apply(&profile(name, &document)).await?;
        assert!(
            !output.success,
            "{name} {document} was taken: {}",
            output.stdout
        );
        let missing: Vec<_> = expected
            .iter()
            .filter(|part| !output.stderr.contains(**part))
            .collect();
        assert!(
            missing.is_empty(),
            "{name} {document}: no {missing:?} in {}",
            output.stderr
        );
    }
    // A refused update leaves the file and the object as they were.
    assert!(!cluster.try_apply(&profile("no-chmod", "{}")).await?.success);
    assert_eq!(viewer.snapshot().await?, before);
    assert_eq!(
        cluster
            .status("no-chmod")
            .await?
            .nodes
            .map(|nodes| nodes.failed),
        Some(0)
    );
    Ok(())
}
