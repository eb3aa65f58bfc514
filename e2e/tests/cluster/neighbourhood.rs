//! What Kubernetes does with pods besides creating them, of pods that got their profile from admission.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{kubectl, plugin, until};
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::{NO_CHMOD, SECCOMP_MODE, Tested, seccomp_mode};

const PATIENCE: Duration = Duration::from_mins(1);
const KILLS_MKDIR: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]
}"#;
/// A file that the script's user owns, whose mode the script tries to change.
const TRIES_CHMOD: &str = "touch /tmp/f; chmod 700 /tmp/f && echo changed; true";

/// The container that all pods here have.
fn container(cluster: &Cluster, script: &str) -> Value {
    json!({
        "name": "c", "image": cluster.tools_image, "imagePullPolicy": "IfNotPresent",
        "command": ["bash", "-c", script],
    })
}

/// A spec with that container, which says nothing of seccomp.
fn spec(cluster: &Cluster, script: &str) -> Value {
    json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container(cluster, script)]})
}

fn pod(namespace: &str, name: &str, spec: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}).to_string()
}

/// Waits until a container's log holds `text`; the log. `of` names a pod, or a container of it too.
async fn log_with(namespace: &str, of: &[&str], text: &str) -> anyhow::Result<String> {
    until(
        &format!("{text:?} in the log of {of:?}"),
        PATIENCE,
        || async {
            let log = kubectl(&[&["logs", "--namespace", namespace], of].concat(), "").await?;
            let log = log.ok()?;
            ensure!(log.contains(text), "it is {log:?}");
            Ok(log)
        },
    )
    .await
}

/// The minor of the API server's version.
async fn minor() -> anyhow::Result<u32> {
    let version = kubectl(&["get", "--raw", "/version"], "").await?.ok()?;
    let version: Value = serde_json::from_str(&version)?;
    let minor = version["minor"].as_str().context("no minor")?;
    Ok(minor.trim_end_matches('+').parse()?)
}

/// A policy that gives `no-chmod` to the pods of namespaces with this label.
async fn no_chmod_for(cluster: &Cluster, label: &str) -> Tested {
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.wait_ready("no-chmod").await?;
    let policy = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": format!("e2e-{label}")},
        "spec": {
            "priority": 10, "namespaceSelector": {"matchLabels": {"e2e": label}},
            "profile": {"type": "Localhost", "name": "no-chmod"},
        },
    });
    cluster.apply(&policy.to_string()).await.map(drop)
}

/// Waits until a bare pod there would get `no-chmod` from every replica.
async fn await_policy(cluster: &Cluster, namespace: &str) -> Tested {
    let bare = pod(namespace, "try", &spec(cluster, ""));
    let create = ["create", "-f", "-", "--dry-run=server", "--output", "json"];
    until("the policy", PATIENCE, || async {
        for _ in 0..4 {
            let stored: Value = serde_json::from_str(&kubectl(&create, &bare).await?.ok()?)?;
            let context = &stored["spec"]["securityContext"];
            let path = &context["seccompProfile"]["localhostProfile"];
            ensure!(path == "profiles/no-chmod.json", "{context}");
        }
        Ok(())
    })
    .await
}

/// A container of `kubectl debug` inherits what the pod was given, unless its own profile says something of seccomp.
#[tokio::test]
async fn debug_containers_inherit_the_profile_unless_they_are_restricted_or_privileged() -> Tested {
    let cluster = Cluster::with_operator().await?;
    if minor().await? < 25 {
        println!("skipped: this Kubernetes has no ephemeral containers");
        return Ok(());
    }
    let namespace = cluster.namespace("e2e-debug", &[("e2e", "debug")]).await?;
    no_chmod_for(&cluster, "debug").await?;
    await_policy(&cluster, &namespace).await?;
    let mut lasting = spec(&cluster, "echo there; sleep infinity");
    lasting["securityContext"] = json!({"runAsUser": 1000});
    cluster.apply(&pod(&namespace, "target", &lasting)).await?;
    log_with(&namespace, &["target"], "there").await?;
    let script = format!("{SECCOMP_MODE}; {TRIES_CHMOD}; echo end");
    // kubectl's `restricted` states RuntimeDefault, which lets chmod happen, and its `sysadmin` is privileged.
    for (profile, mode, changes) in [
        ("baseline", "2", false),
        ("general", "2", false),
        ("restricted", "2", true),
        ("sysadmin", "0", true),
    ] {
        let (name, kind) = (
            format!("--container={profile}"),
            format!("--profile={profile}"),
        );
        let image = format!("--image={}", cluster.tools_image);
        let debug = [
            "debug",
            "target",
            "--namespace",
            &namespace,
            &kind,
            &name,
            &image,
        ];
        let how = ["--image-pull-policy=IfNotPresent", "--", "bash", "-c"];
        kubectl(&[&debug[..], &how, &[&script]].concat(), "")
            .await?
            .ok()?;
        let log = log_with(&namespace, &["target", "-c", profile], "end").await?;
        ensure!(
            seccomp_mode(&log) == Some(mode) && log.contains("changed") == changes,
            "{profile}: {log}"
        );
    }
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccomppolicy", "e2e-debug").await
}

/// Neither admission nor kubelet's work on a running container takes the filter away.
#[tokio::test]
async fn a_pod_that_is_resized_in_place_runs_on_under_its_profile() -> Tested {
    let cluster = Cluster::with_operator().await?;
    if minor().await? < 33 {
        println!("skipped: this Kubernetes resizes no pods in place");
        return Ok(());
    }
    let namespace = cluster.namespace("e2e-resize", &[]).await?;
    let mut lasting = spec(&cluster, "echo there; sleep infinity");
    lasting["containers"][0]["resources"] =
        json!({"requests": {"memory": "20Mi"}, "limits": {"memory": "100Mi"}});
    cluster.apply(&pod(&namespace, "resized", &lasting)).await?;
    log_with(&namespace, &["resized"], "there").await?;
    let larger =
        json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "120Mi"}}}]}})
            .to_string();
    let patch = [
        "patch",
        "pod",
        "resized",
        "--namespace",
        &namespace,
        "--subresource=resize",
        "--patch",
    ];
    kubectl(&[&patch[..], &[&larger]].concat(), "")
        .await?
        .ok()?;
    until("the new size", PATIENCE, || async {
        let pod = cluster.get(&["pod", "resized", "-n", &namespace]).await?;
        let status = &pod.data["status"]["containerStatuses"][0];
        let (limit, restarts) = (
            &status["resources"]["limits"]["memory"],
            &status["restartCount"],
        );
        ensure!(
            *limit == "120Mi" && *restarts == 0,
            "{limit} after {restarts}"
        );
        let type_ = &pod.data["spec"]["securityContext"]["seccompProfile"]["type"];
        ensure!(*type_ == "RuntimeDefault", "{type_}");
        Ok(())
    })
    .await?;
    let exec = ["exec", "--namespace", &namespace, "resized", "--"];
    let mode = ["grep", "Seccomp:", "/proc/1/status"];
    let mode = kubectl(&[&exec[..], &mode].concat(), "").await?.ok()?;
    ensure!(seccomp_mode(&mode) == Some("2"), "{mode}");
    cluster.delete("namespace", &namespace).await
}

/// 159 is what a filter that kills gives: a container can be started again for that alone, in a pod that restarts nothing.
#[tokio::test]
async fn a_rule_of_a_container_restarts_what_a_filter_killed_and_why_names_the_profile() -> Tested {
    let cluster = Cluster::with_operator().await?;
    if minor().await? < 35 {
        println!("skipped: this Kubernetes restarts no container by its exit code");
        return Ok(());
    }
    let namespace = cluster.namespace("e2e-rules", &[]).await?;
    cluster.delete("seccompprofile", "e2e-rules").await?;
    cluster.apply_profile("e2e-rules", KILLS_MKDIR).await?;
    cluster.wait_ready("e2e-rules").await?;
    for (name, script) in [("killed", "exec mkdir /tmp/made"), ("fails", "exit 3")] {
        let mut spec = spec(&cluster, script);
        spec["securityContext"] = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/e2e-rules.json"}});
        spec["containers"][0]["restartPolicy"] = "Never".into();
        spec["containers"][0]["restartPolicyRules"] =
            json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [159]}}]);
        cluster.apply(&pod(&namespace, name, &spec)).await?;
    }
    let status = async |name: &str| {
        let pod = cluster.get(&["pod", name, "-n", &namespace]).await?;
        anyhow::Ok(pod.data["status"].clone())
    };
    until("a restart", PATIENCE, || async {
        let status = status("killed").await?;
        let of = &status["containerStatuses"][0];
        let code = &of["lastState"]["terminated"]["exitCode"];
        ensure!(of["restartCount"] != 0 && *code == 159, "{of}");
        Ok(())
    })
    .await?;
    until("the end of the other", PATIENCE, || async {
        let status = status("fails").await?;
        let of = &status["containerStatuses"][0];
        ensure!(
            status["phase"] == "Failed" && of["restartCount"] == 0,
            "{status}"
        );
        Ok(())
    })
    .await?;
    until("an explanation", PATIENCE, || async {
        let why = plugin(&["why", "killed", "-n", &namespace]).await?;
        let said = why.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let right = why.code == Some(1) && said.contains("kills for mkdir and mkdirat");
        ensure!(right, "{}{}", why.stdout, why.stderr);
        Ok(())
    })
    .await?;
    cluster.delete_pods(&namespace).await?;
    cluster.delete("seccompprofile", "e2e-rules").await
}

/// A filter is loaded in a user namespace as well, and the file of a profile is read by the runtime, outside.
#[tokio::test]
async fn a_pod_with_users_of_its_own_runs_under_the_profile_it_was_given() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let nodes = cluster.get(&["nodes"]).await?;
    // kubelet creates none otherwise: "can't set `spec.hostUsers: false`, runtime does not support user namespaces".
    if !nodes.data.to_string().contains(r#""userNamespaces":true"#) {
        println!(
            "skipped: no node's runtime says that it has user namespaces, as runc says from 1.2 on"
        );
        return Ok(());
    }
    let namespace = cluster
        .namespace("e2e-userns", &[("e2e", "userns")])
        .await?;
    no_chmod_for(&cluster, "userns").await?;
    await_policy(&cluster, &namespace).await?;
    let script = format!("cat /proc/self/uid_map; {SECCOMP_MODE}; {TRIES_CHMOD}; echo end");
    let mut own = spec(&cluster, &script);
    own["hostUsers"] = false.into();
    cluster.apply(&pod(&namespace, "own", &own)).await?;
    let log = log_with(&namespace, &["own"], "end").await?;
    let outside = log.split_whitespace().nth(1);
    ensure!(outside.is_some_and(|first| first != "0"), "{log}");
    ensure!(
        seccomp_mode(&log) == Some("2") && !log.contains("changed"),
        "{log}"
    );
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccomppolicy", "e2e-userns").await
}

/// Pod Security admission looks at a pod after webhooks changed it.
#[tokio::test]
async fn a_pod_that_lacks_nothing_but_a_profile_passes_as_restricted_because_it_gets_one() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    if minor().await? < 23 {
        println!("skipped: this Kubernetes has no Pod Security admission");
        return Ok(());
    }
    let mut restricted = spec(&cluster, SECCOMP_MODE);
    restricted["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 1000});
    restricted["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let enforce = ("pod-security.kubernetes.io/enforce", "restricted");
    let namespace = cluster.namespace("e2e-restricted", &[enforce]).await?;
    cluster.apply(&pod(&namespace, "bare", &restricted)).await?;
    let log = log_with(&namespace, &["bare"], "Seccomp:").await?;
    ensure!(seccomp_mode(&log) == Some("2"), "{log}");
    // The opposite: without admission's profile it is refused for that alone.
    let opt_out = ("seccomp-operator.io/inject", "disabled");
    let alone = cluster
        .namespace("e2e-restricted-alone", &[enforce, opt_out])
        .await?;
    let refused = cluster.try_apply(&pod(&alone, "bare", &restricted)).await?;
    let why = refused.stderr.trim_end();
    ensure!(
        !refused.success
            && why.contains(r#""restricted:latest": seccompProfile (pod or container"#),
        "{why}"
    );
    for namespace in [namespace, alone] {
        cluster.delete("namespace", &namespace).await?;
    }
    Ok(())
}

#[tokio::test]
async fn pods_of_jobs_and_of_cron_jobs_get_their_profile_like_any_other() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-jobs", &[]).await?;
    let template = json!({"template": {"spec": spec(&cluster, SECCOMP_MODE)}});
    let versions = kubectl(&["api-versions"], "").await?.ok()?;
    let of_cron_job = if versions.lines().any(|version| version == "batch/v1beta1") {
        "batch/v1beta1"
    } else {
        "batch/v1"
    };
    for (version, kind, spec) in [
        ("batch/v1", "Job", template.clone()),
        (
            of_cron_job,
            "CronJob",
            json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": template}}),
        ),
    ] {
        let metadata = json!({"name": "once", "namespace": namespace});
        let object =
            json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        cluster.apply(&object.to_string()).await?;
    }
    let from = [
        "create",
        "job",
        "now",
        "--from=cronjob/once",
        "-n",
        &namespace,
    ];
    kubectl(&from, "").await?.ok()?;
    for job in ["job/once", "job/now"] {
        let log = log_with(&namespace, &[job], "Seccomp:").await?;
        ensure!(seccomp_mode(&log) == Some("2"), "{job}: {log}");
    }
    cluster.delete("namespace", &namespace).await
}

/// kubelet runs what lies in its folder and asks nobody: admission sees the mirror of a pod that runs already.
#[tokio::test]
async fn a_static_pod_runs_under_the_profile_of_its_file_and_under_none_without() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-static", &[]).await?;
    cluster.apply_profile("e2e-static", NO_CHMOD).await?;
    cluster.wait_ready("e2e-static").await?;
    let node = cluster.a_worker().await?;
    let folder = Pod::script(&cluster, &namespace, "folder", "echo there; sleep infinity")
        .host_path("/var/lib/kubernetes/manifests", "/manifests")
        .with("/spec/containers/0/volumeMounts/0/readOnly", false.into())
        .on(&node);
    folder.log_with(&cluster, "there").await?;
    let put = async |name: &str, security: Value| {
        let script = format!("{SECCOMP_MODE}; {TRIES_CHMOD}; echo end; sleep infinity");
        let mut spec = spec(&cluster, &script);
        spec["securityContext"] = security;
        let exec = ["exec", "-i", "folder", "--namespace", &namespace, "--"];
        // kubelet overlooks what begins with a dot, and takes the other whole.
        let file =
            format!("cat >/manifests/.{name} && mv /manifests/.{name} /manifests/e2e-{name}.json");
        let write = ["bash", "-c", &file];
        kubectl(&[&exec[..], &write].concat(), &pod(&namespace, name, &spec))
            .await?
            .ok()
    };
    let own = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/e2e-static.json"}});
    put("own", own).await?;
    put("bare", json!({})).await?;
    for (name, mode, changes) in [("own", "2", false), ("bare", "0", true)] {
        let mirror = format!("{name}-{node}");
        let log = log_with(&namespace, &[&mirror], "end").await?;
        ensure!(
            seccomp_mode(&log) == Some(mode) && log.contains("changed") == changes,
            "{name}: {log}"
        );
        let mirror = cluster.get(&["pod", &mirror, "-n", &namespace]).await?;
        let stated = &mirror.data["spec"]["securityContext"]["seccompProfile"];
        ensure!(stated.is_null() == (name == "bare"), "{name}: {stated}");
    }
    // A file that a static pod uses is used.
    until("the use", PATIENCE, || async {
        let profile = cluster.get(&["seccompprofile", "e2e-static"]).await?;
        let finalizers = profile.metadata.finalizers.unwrap_or_default();
        ensure!(!finalizers.is_empty(), "{}", profile.data["status"]);
        Ok(())
    })
    .await?;
    let remove = ["exec", "folder", "--namespace", &namespace, "--", "bash"];
    let all = ["-c", "rm /manifests/e2e-*.json"];
    kubectl(&[&remove[..], &all].concat(), "").await?.ok()?;
    until("the static pods to end", PATIENCE, || async {
        let list = ["get", "pods", "-n", &namespace, "--output", "name"];
        let left = kubectl(&list, "").await?.ok()?;
        ensure!(left == "pod/folder\n", "{left}");
        Ok(())
    })
    .await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-static").await
}
