//! Uninstalling, installing again, and upgrading.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::{Cluster, NAMESPACE, RELEASE};
use e2e::command::{helm, kubectl, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use seccomp_operator_api::IN_USE_FINALIZER;

use super::{
    CHMOD_REFUSED, CHMOD_SCRIPT, NO_CHMOD, SECCOMP_MODE, Tested, await_injection, seccomp_mode,
};

#[tokio::test]
async fn uninstalling_leaves_pods_creatable_and_it_installs_again_in_any_namespace() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-uninstall", &[]).await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.apply_profile("e2e-outlived", NO_CHMOD).await?;
    cluster.wait_ready("e2e-outlived").await?;
    Pod::script(&cluster, &namespace, "user", CHMOD_SCRIPT)
        .localhost("profiles/e2e-outlived.json")
        .log_with(&cluster, CHMOD_REFUSED)
        .await?;
    let finalizers = || async {
        let object = cluster.get(&["seccompprofile", "e2e-outlived"]).await?;
        anyhow::Ok(object.metadata.finalizers.unwrap_or_default())
    };
    until("the finalizer", Duration::from_secs(30), || async {
        let finalizers: Vec<String> = finalizers().await?;
        anyhow::ensure!(finalizers == [IN_USE_FINALIZER], "{finalizers:?}");
        Ok(())
    })
    .await?;
    helm(&[
        "uninstall",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout",
        "3m",
    ])
    .await?
    .ok()?;

    let webhooks = "mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let left = kubectl(&["get", webhooks, "--output", "name"], "")
        .await?
        .ok()?;
    assert!(!left.contains("seccomp-operator"), "{left}");
    let log = Pod::script(&cluster, &namespace, "after", SECCOMP_MODE)
        .run(&cluster)
        .await?;
    assert_eq!(
        seccomp_mode(&log),
        Some("0"),
        "nobody injects any more: {log}"
    );
    // The definitions stay, and the users' profiles with them; and nobody holds one, though a pod uses it.
    cluster.status("no-chmod").await?;
    assert_eq!(finalizers().await?, Vec::<String>::new());
    cluster.delete("seccompprofile", "e2e-outlived").await?;

    let quickly = ["--set", "uninstall.releaseProfiles=false"];
    cluster.install("e2e-elsewhere", &quickly).await?;
    // Its webhook's Service takes a moment to reach the node's rules.
    await_injection(&cluster, &namespace).await?;
    helm(&[
        "uninstall",
        RELEASE,
        "--namespace",
        "e2e-elsewhere",
        "--wait",
        "--timeout",
        "3m",
    ])
    .await?
    .ok()?;
    cluster.delete("namespace", "e2e-elsewhere").await?;
    // Its pod uses a profile that is gone, which other tests would be told.
    cluster.delete("namespace", &namespace).await?;
    cluster.install(NAMESPACE, &[]).await
}

#[tokio::test]
async fn helm_test_passes_where_profiles_reach_nodes() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let test = ["test", RELEASE, "--namespace", NAMESPACE, "--timeout", "3m"];
    let said = helm(&test).await?.ok()?;
    assert!(said.contains("Succeeded"), "{said}");
    // Nothing of it stays.
    let profiles = kubectl(&["get", "seccompprofiles", "--output", "name"], "")
        .await?
        .ok()?;
    assert!(!profiles.contains("-test."), "{profiles}");
    drop(cluster);
    Ok(())
}

#[tokio::test]
async fn an_upgrade_with_other_values_takes_effect() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let policy = || async {
        kubectl(
            &[
                "get",
                "seccomppolicy",
                "default",
                "--ignore-not-found",
                "--output",
                "json",
            ],
            "",
        )
        .await?
        .ok()
    };
    assert!(policy().await?.contains("RuntimeDefault"));
    kubectl(&["delete", "seccomppolicy", "default"], "")
        .await?
        .ok()?;
    until(
        "the default policy that somebody deleted",
        Duration::from_secs(30),
        || async {
            if policy().await?.contains("RuntimeDefault") {
                Ok(())
            } else {
                bail!("it is not there")
            }
        },
    )
    .await?;
    cluster
        .install(NAMESPACE, &["--set", "defaultPolicy.enabled=false"])
        .await?;
    until(
        "the default policy to go",
        Duration::from_secs(30),
        || async {
            let left = policy().await?;
            if left.is_empty() {
                Ok(())
            } else {
                bail!("it is there: {left}")
            }
        },
    )
    .await?;
    cluster
        .install(NAMESPACE, &["--set", "defaultPolicy.spec.mode=Observe"])
        .await?;
    until(
        "the default policy to come back",
        Duration::from_secs(30),
        || async {
            let policy = policy().await?;
            if policy.contains("Observe") {
                Ok(())
            } else {
                bail!("it is {policy:?}")
            }
        },
    )
    .await?;
    cluster.install(NAMESPACE, &[]).await?;
    until(
        "the default policy to be enforced",
        Duration::from_secs(30),
        || async {
            let policy = policy().await?;
            if policy.contains("Enforce") {
                Ok(())
            } else {
                bail!("it is {policy:?}")
            }
        },
    )
    .await
}

#[tokio::test]
async fn profiles_in_use_are_kept_where_they_were_when_the_folder_changes() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-folder", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    for name in ["e2e-before", "e2e-unused"] {
        cluster.apply_profile(name, NO_CHMOD).await?;
        cluster.wait_ready(name).await?;
    }
    let patience = Duration::from_mins(1);
    let used_by = |number: i32, path: &'static str| {
        let cluster = &cluster;
        until("the use and the path", patience, move || async move {
            let status = cluster.status("e2e-before").await?;
            let says = (status.used_by, status.localhost_profile.as_deref());
            ensure!(says == (Some(number), Some(path)), "{says:?}");
            Ok(())
        })
    };
    let user = |name: &str, path: &str| {
        let script = "echo started; sleep infinity";
        Pod::script(&cluster, &namespace, name, script).localhost(path)
    };
    let old = user("old", "profiles/e2e-before.json");
    old.log_with(&cluster, "started").await?;
    let its_node = viewer.on(&old.node(&cluster).await?);
    used_by(1, "profiles/e2e-before.json").await?;

    cluster
        .install(NAMESPACE, &["--set", "profilesDir=team/profiles"])
        .await?;
    let notes = ["get", "notes", RELEASE, "--namespace", NAMESPACE];
    let notes = helm(&notes).await?.ok()?;
    ensure!(
        notes.contains("profilesDir was profiles and is team/profiles"),
        "{notes}"
    );
    used_by(1, "team/profiles/e2e-before.json").await?;
    viewer.await_absence("profiles/e2e-unused.json").await?;
    viewer.read("team/profiles/e2e-unused.json").await?;
    // Both follow the profile, and it is held for the sake of the pod.
    cluster
        .apply_profile("e2e-before", &NO_CHMOD.replace("\"chmod\"", "\"mkdir\""))
        .await?;
    let follows = |content: &str| content.contains("\"mkdir\"");
    its_node
        .await_file("profiles/e2e-before.json", follows)
        .await?;
    viewer
        .await_file("team/profiles/e2e-before.json", follows)
        .await?;
    let profile = cluster.get(&["seccompprofile", "e2e-before"]).await?;
    ensure!(profile.metadata.finalizers.unwrap_or_default() == [IN_USE_FINALIZER]);
    user("new", "team/profiles/e2e-before.json")
        .log_with(&cluster, "started")
        .await?;
    used_by(2, "team/profiles/e2e-before.json").await?;

    let delete = ["delete", "pod", "old", "--namespace", &namespace, "--now"];
    kubectl(&delete, "").await?.ok()?;
    viewer.await_absence("profiles/e2e-before.json").await?;
    used_by(1, "team/profiles/e2e-before.json").await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.install(NAMESPACE, &[]).await?;
    for name in ["e2e-before", "e2e-unused"] {
        cluster.wait_ready(name).await?;
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_edit_of_the_default_policy_keeps_one_field_and_the_others_follow_the_values() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    cluster.install(NAMESPACE, &[]).await?;
    let policy = || async {
        let policy = cluster.get(&["seccomppolicy", "default"]).await?.data;
        let conditions = policy["status"]["conditions"].as_array();
        let found = conditions
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "AsInstalled");
        let condition = found.context("no condition AsInstalled yet")?.clone();
        anyhow::Ok((policy["spec"].clone(), condition))
    };
    let patience = Duration::from_mins(1);
    until("the policy to be as installed", patience, || async {
        let (_, condition) = policy().await?;
        ensure!(condition["status"] == "True", "{condition}");
        Ok(())
    })
    .await?;
    let patch = r#"{"spec": {"mode": "Observe"}}"#;
    let args = [
        "patch",
        "seccomppolicy",
        "default",
        "--type=merge",
        "--patch",
        patch,
    ];
    kubectl(&args, "").await?.ok()?;
    until("the edit to be told of", patience, || async {
        let (_, condition) = policy().await?;
        let message = condition["message"].as_str().unwrap_or_default();
        ensure!(condition["status"] == "False", "{condition}");
        ensure!(
            message.contains("spec.mode is \"Observe\"") && message.contains("kubectl"),
            "{message}"
        );
        Ok(())
    })
    .await?;
    cluster
        .install(NAMESPACE, &["--set", "defaultPolicy.spec.priority=-900"])
        .await?;
    until("the other field to follow", patience, || async {
        let (spec, condition) = policy().await?;
        ensure!(
            spec["priority"] == -900 && spec["mode"] == "Observe",
            "{spec}"
        );
        ensure!(condition["status"] == "False", "{condition}");
        Ok(())
    })
    .await?;
    let notes = helm(&["get", "notes", RELEASE, "--namespace", NAMESPACE])
        .await?
        .ok()?;
    ensure!(
        notes.contains("defaultPolicy.spec.mode has no effect"),
        "{notes}"
    );
    kubectl(&["delete", "seccomppolicy", "default"], "")
        .await?
        .ok()?;
    cluster.install(NAMESPACE, &[]).await?;
    until("the policy of the values", patience, || async {
        let (spec, condition) = policy().await?;
        ensure!(
            spec["priority"] == -1000 && spec["mode"] == "Enforce",
            "{spec}"
        );
        ensure!(condition["status"] == "True", "{condition}");
        Ok(())
    })
    .await
}
