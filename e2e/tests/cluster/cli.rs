//! What `kubectl seccomp` says of a real cluster, run as kubectl's plugin.

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{Finished, kubectl, plugin, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::{NO_CHMOD, Tested};

/// The plugin's exit code.
async fn code(args: &[&str]) -> anyhow::Result<(i32, Finished)> {
    let output = plugin(args).await?;
    let code = output.code.context("the plugin was killed")?;
    Ok((code, output))
}

fn holds(text: &str, parts: &[&str]) -> Tested {
    for part in parts {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn status_shows_profiles_and_nodes_and_why_one_failed() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-cli-status", &[]).await?;
    cluster.delete("seccompprofile", "e2e-foreign").await?;
    cluster.apply_profile("e2e-cli", NO_CHMOD).await?;
    cluster.wait_ready("e2e-cli").await?;
    let (well, output) = code(&["status"]).await?;
    assert_eq!(well, 0, "{}{}", output.stdout, output.stderr);
    holds(
        &output.stdout,
        &["PROFILE", "profiles/e2e-cli.json", "NODES", "in sync"],
    )?;
    assert!(!output.stdout.contains("note:"), "{}", output.stdout);
    assert!(
        output
            .stdout
            .lines()
            .all(|line| line.chars().count() <= 120)
    );

    Viewer::vandalise(&cluster, &namespace, "echo {} >e2e-foreign.json").await?;
    cluster.apply_profile("e2e-foreign", NO_CHMOD).await?;
    until(
        "the failure to show",
        std::time::Duration::from_secs(20),
        || async {
            let (failed, output) = code(&["status", "e2e-foreign", "-o", "json"]).await?;
            let data: Value = serde_json::from_str(&output.stdout)?;
            let profile = &data["profiles"][0];
            ensure!(
                failed == 1 && profile["state"] == "Failed",
                "{failed}: {data}"
            );
            ensure!(profile["failures"][0]["reason"] == "Conflict", "{data}");
            Ok(())
        },
    )
    .await?;
    let (failed, output) = code(&["status"]).await?;
    assert_eq!(failed, 1, "{}", output.stdout);
    holds(
        &output.stdout,
        &["FAILURES", "e2e-foreign on ", "Conflict", "1 failing"],
    )?;
    assert_eq!(code(&["status", "e2e-cli"]).await?.0, 0);
    let (none, output) = code(&["status", "e2e-nothing"]).await?;
    assert_eq!(none, 2);
    holds(
        &output.stderr,
        &["there is no SeccompProfile \"e2e-nothing\""],
    )?;

    cluster.delete("seccompprofile", "e2e-foreign").await?;
    let args = ["delete", "pod", "vandal", "--namespace", &namespace];
    kubectl(&args, "").await?.ok()?;
    Viewer::vandalise(&cluster, &namespace, "rm e2e-foreign.json").await?;
    cluster.delete("seccompprofile", "e2e-cli").await
}

#[tokio::test]
async fn status_says_what_its_user_may_not_see() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let user = ["--as", "e2e-reader"];
    let (refused, output) = code(&[&["status"], &user[..]].concat()).await?;
    assert_eq!(refused, 2);
    holds(
        &output.stderr,
        &[
            "you may not list seccompprofiles.seccomp-operator.io in the cluster",
            "the verb list",
        ],
    )?;
    let kinds = ["seccompprofiles", "seccompnodes"];
    for object in [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "e2e-reader"},
            "rules": [{"apiGroups": ["seccomp-operator.io"], "resources": kinds, "verbs": ["list"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "e2e-reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "e2e-reader"},
            "subjects": [{"kind": "User", "name": "e2e-reader"}]}),
    ] {
        cluster.apply(&object.to_string()).await?;
    }
    let args = [&["status", "--fail-on", "never"], &user[..]].concat();
    let seen = until(
        "the role to count",
        std::time::Duration::from_secs(10),
        || async {
            let (code, output) = code(&args).await?;
            ensure!(code == 0, "{}", output.stderr);
            Ok(output.stdout)
        },
    )
    .await?;
    holds(
        &seen,
        &[
            "NODES   ",
            "note: you may not list nodes",
            "you may not list pods",
        ],
    )?;
    cluster.delete("clusterrolebinding", "e2e-reader").await?;
    cluster.delete("clusterrole", "e2e-reader").await
}

#[tokio::test]
async fn coverage_shows_what_filters_each_container_and_what_policies_would_change() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-coverage", &[]).await?;
    let idle = "sleep infinity";
    let privileged = json!({"privileged": true});
    for pod in [
        Pod::script(&cluster, &namespace, "bare", idle),
        Pod::script(&cluster, &namespace, "open", idle).profile("Unconfined"),
        Pod::script(&cluster, &namespace, "missing", idle).localhost("profiles/e2e-gone.json"),
        Pod::script(&cluster, &namespace, "privileged", idle)
            .with("/spec/containers/0/securityContext", privileged),
    ] {
        pod.create(&cluster).await?;
    }
    let (listed, output) = code(&["coverage", "-n", &namespace]).await?;
    assert_eq!(listed, 0, "{}", output.stderr);
    let squeezed: Vec<_> = output
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    holds(
        &squeezed.join("\n"),
        &[
            "bare test-container RuntimeDefault pod\n",
            "missing test-container Localhost profiles/e2e-gone.json pod there is no SeccompProfile \"e2e-gone\"",
            "open test-container Unconfined pod\n",
            "privileged test-container RuntimeDefault pod not enforced: the container is privileged",
        ],
    )?;
    holds(
        &squeezed.join(" "),
        &[
            "4 pods, 4 containers: 1 RuntimeDefault, 1 Localhost, 1 Unconfined, 1 privileged (not enforced); profiles with a warning: 1",
        ],
    )?;
    let gate = ["coverage", "-n", &namespace, "--fail-on", "unconfined"];
    assert_eq!(code(&gate).await?.0, 1);
    let label = [
        "label",
        "pod",
        "bare",
        "e2e=good",
        "--namespace",
        &namespace,
    ];
    kubectl(&label, "").await?.ok()?;
    let (passed, output) = code(&[&gate[..], &["-l", "e2e=good"]].concat()).await?;
    assert_eq!(passed, 0, "{}", output.stdout);

    // The operator's own namespace is excluded, and its pods state what they want.
    let (_, output) = code(&["coverage", "-n", e2e::cluster::NAMESPACE, "--what-if"]).await?;
    holds(&output.stdout, &["are in excluded namespaces"])?;
    // What a policy that nobody has applied would do: only `open` lacks what it gives, and only when it is overridden.
    let policy = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": "e2e-strict"},
        "spec": {"priority": 1000, "overrides": ["Unconfined"], "profile": {"type": "RuntimeDefault"}}});
    let file = std::env::temp_dir().join(format!("e2e-policy-{}.json", std::process::id()));
    std::fs::write(&file, policy.to_string())?;
    let path = file.to_str().context("a path that is no text")?;
    let args = ["coverage", "-n", &namespace, "--what-if", "-o", "json"];
    let (_, before) = code(&args).await?;
    let (_, after) = code(&[&args[..], &["--policy", path]].concat()).await?;
    std::fs::remove_file(&file)?;
    let (before, after): (Value, Value) = (
        serde_json::from_str(&before.stdout)?,
        serde_json::from_str(&after.stdout)?,
    );
    assert_eq!(
        before["summary"],
        json!({"already_set": 2, "injected": 2}),
        "{before}"
    );
    assert_eq!(
        after["summary"],
        json!({"already_set": 1, "injected": 3}),
        "{after}"
    );
    let open = after["pods"]
        .as_array()
        .context("no pods")?
        .iter()
        .find(|pod| pod["pod"] == "open");
    assert_eq!(
        open.context("no pod open")?["policies"][0]["name"],
        "e2e-strict"
    );
    Ok(())
}
