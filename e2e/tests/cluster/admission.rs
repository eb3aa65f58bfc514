//! What the API server stores, says and refuses with the webhooks before it.
//!
//! Most pods here are only sent with `--dry-run=server`: that is the whole way through admission, and nothing runs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{Finished, kubectl, until};
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::{CHMOD_REFUSED, CHMOD_SCRIPT, NO_CHMOD, Tested};

const PATIENCE: Duration = Duration::from_secs(15);
const POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/app";

fn policy(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy",
        "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}

fn pod(namespace: &str, labels: &Value, annotations: &Value, spec: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "p-", "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": spec,
    })
    .to_string()
}

/// The spec of a pod with these images, one container each.
fn images(images: &[&str]) -> Value {
    let name = |at| ["app", "side"][at];
    let container = |(at, image)| json!({"name": name(at), "image": image});
    json!({"containers": images.iter().enumerate().map(container).collect::<Vec<_>>()})
}

async fn send(manifest: &str) -> anyhow::Result<Finished> {
    let args = ["create", "-f", "-", "--dry-run=server", "--output", "json"];
    kubectl(&args, manifest).await
}

/// A pod's spec as it would be stored, and what kubectl printed beside.
async fn stored(manifest: &str) -> anyhow::Result<(Value, String)> {
    let output = send(manifest).await?;
    let warnings = output.stderr.clone();
    let object: Value = serde_json::from_str(&output.ok()?)?;
    Ok((object["spec"].clone(), warnings))
}

fn profile(place: &Value) -> &Value {
    &place["securityContext"]["seccompProfile"]
}

fn type_of(place: &Value) -> &str {
    profile(place)["type"].as_str().unwrap_or_default()
}

fn no_chmod() -> Value {
    json!({"type": "Localhost", "localhostProfile": "profiles/no-chmod.json"})
}

/// Waits until a pod is stored as `test` wants it: the replicas hear of a new policy or label by their watches.
async fn stored_with(
    what: &str,
    manifest: &str,
    test: impl Fn(&Value, &str) -> bool,
) -> anyhow::Result<(Value, String)> {
    // Both replicas have to answer so: several in a row.
    until(what, PATIENCE, || async {
        let mut last = None;
        for _ in 0..4 {
            let (spec, warnings) = stored(manifest).await?;
            ensure!(test(&spec, &warnings), "{spec} {warnings}");
            last = Some((spec, warnings));
        }
        last.context("nothing was sent")
    })
    .await
}

#[tokio::test]
async fn policies_decide_by_namespace_priority_image_and_mode() -> Tested {
    let cluster = Cluster::with_operator().await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.wait_ready("no-chmod").await?;
    let namespace = cluster
        .namespace("e2e-admission", &[("e2e", "admission")])
        .await?;
    let here = json!({"matchLabels": {"e2e": "admission"}});
    let none = json!({});

    // The default policy, at pod level.
    let bare = pod(&namespace, &none, &none, &images(&["nginx", "redis"]));
    let (spec, _) = stored(&bare).await?;
    assert_eq!(type_of(&spec), "RuntimeDefault");
    assert!(profile(&spec["containers"][0]).is_null(), "{spec}");

    // One for an image, at container level; the rest is the default policy's.
    let localhost = json!({"type": "Localhost", "name": "no-chmod"});
    let for_nginx = json!({"priority": 20, "namespaceSelector": here, "images": ["nginx"], "profile": localhost});
    cluster
        .apply(&policy("e2e-admission-nginx", &for_nginx))
        .await?;
    let (spec, _) = stored_with("the image's policy", &bare, |spec, _| {
        *profile(&spec["containers"][0]) == no_chmod()
    })
    .await?;
    assert_eq!(type_of(&spec), "RuntimeDefault");
    assert!(profile(&spec["containers"][1]).is_null(), "{spec}");

    // One for some pods, before the default policy and after the image's.
    let for_shop = json!({
        "priority": 10, "namespaceSelector": here, "podSelector": {"matchLabels": {"app": "shop"}}, "profile": localhost,
    });
    cluster
        .apply(&policy("e2e-admission-shop", &for_shop))
        .await?;
    let shop = pod(
        &namespace,
        &json!({"app": "shop"}),
        &none,
        &images(&["redis"]),
    );
    stored_with("the pods' policy", &shop, |spec, _| {
        *profile(spec) == no_chmod()
    })
    .await?;
    assert_eq!(type_of(&stored(&bare).await?.0), "RuntimeDefault");

    // One that observes says what it would do, and the next one does what it says.
    let observes = json!({
        "priority": 30, "namespaceSelector": here, "mode": "Observe", "overrides": ["Unconfined"], "profile": localhost,
    });
    cluster
        .apply(&policy("e2e-admission-observe", &observes))
        .await?;
    let says = r#"SeccompPolicy "e2e-admission-observe" (Observe) would set Localhost profiles/no-chmod.json on this pod"#;
    let redis = pod(&namespace, &none, &none, &images(&["redis"]));
    let (spec, _) =
        stored_with("the warning", &redis, |_, warnings| warnings.contains(says)).await?;
    assert_eq!(type_of(&spec), "RuntimeDefault");
    for name in ["nginx", "shop", "observe"] {
        cluster
            .delete("seccomppolicy", &format!("e2e-admission-{name}"))
            .await?;
    }
    stored_with("the policies to be gone", &bare, |spec, warnings| {
        profile(&spec["containers"][0]).is_null() && warnings.is_empty()
    })
    .await?;

    // A label on the namespace opts out, and its removal opts in again.
    let label = async |label: &str| {
        kubectl(&["label", "namespace", &namespace, label], "")
            .await?
            .ok()
    };
    label("seccomp-operator.io/inject=disabled").await?;
    stored_with("the namespace to be left alone", &bare, |spec, _| {
        profile(spec).is_null()
    })
    .await?;
    label("seccomp-operator.io/inject-").await?;
    stored_with("the namespace to be back", &bare, |spec, _| {
        type_of(spec) == "RuntimeDefault"
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_profile_for_an_image_stops_the_containers_that_have_it() -> Tested {
    let cluster = Cluster::with_operator().await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.wait_ready("no-chmod").await?;
    let namespace = cluster
        .namespace("e2e-images", &[("e2e", "images")])
        .await?;
    let (repository, _) = cluster
        .tools_image
        .rsplit_once(':')
        .context("the image needs a tag")?;
    let spec = json!({
        "namespaceSelector": {"matchLabels": {"e2e": "images"}}, "images": [format!("{repository}:*")],
        "profile": {"type": "Localhost", "name": "no-chmod"},
    });
    cluster.apply(&policy("e2e-images", &spec)).await?;
    let tools = pod(
        &namespace,
        &json!({}),
        &json!({}),
        &images(&[&cluster.tools_image]),
    );
    stored_with("the image's policy", &tools, |spec, _| {
        *profile(&spec["containers"][0]) == no_chmod()
    })
    .await?;
    let pod = Pod::script(&cluster, &namespace, "tools", CHMOD_SCRIPT);
    pod.log_with(&cluster, CHMOD_REFUSED).await?;
    assert_eq!(type_of(&pod.spec(&cluster).await?), "RuntimeDefault");
    cluster.delete("seccomppolicy", "e2e-images").await?;
    cluster.delete("namespace", &namespace).await
}

#[tokio::test]
async fn legacy_annotations_become_fields_and_make_no_pod_impossible() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-legacy", &[]).await?;
    let annotations = json!({POD_ANNOTATION: "unconfined", CONTAINER_ANNOTATION: "localhost/profiles/no-chmod.json"});
    let two = images(&["nginx", "redis"]);
    let (spec, _) = stored(&pod(&namespace, &json!({}), &annotations, &two)).await?;
    assert_eq!(type_of(&spec), "Unconfined");
    assert_eq!(*profile(&spec["containers"][0]), no_chmod());

    // The API server refuses a pod whose annotation and field differ; with the webhook before it, the field stands.
    let mut differs = images(&["nginx"]);
    differs["securityContext"] = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    let annotations = json!({POD_ANNOTATION: "unconfined"});
    let alone = cluster
        .namespace(
            "e2e-legacy-alone",
            &[("seccomp-operator.io/inject", "disabled")],
        )
        .await?;
    until("the API server's own answer", PATIENCE, || async {
        let refused = send(&pod(&alone, &json!({}), &annotations, &differs)).await?;
        ensure!(!refused.success, "it was taken");
        ensure!(refused.stderr.contains("must match"), "{}", refused.stderr);
        Ok(())
    })
    .await?;
    let (spec, warnings) = stored(&pod(&namespace, &json!({}), &annotations, &differs)).await?;
    assert_eq!(type_of(&spec), "RuntimeDefault");
    assert!(
        warnings.contains("says Unconfined where the field says RuntimeDefault"),
        "{warnings}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_applied_is_checked_and_a_dry_run_is_checked_alike() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let bad = policy("e2e-checked", &json!({"profile": {"type": "Localhost"}}));
    let missing = policy(
        "e2e-checked",
        &json!({"priority": -7, "namespaceSelector": {"matchLabels": {"e2e": "nobody"}},
            "profile": {"type": "Localhost", "name": "e2e-absent"}}),
    );
    cluster.delete("seccomppolicy", "e2e-checked").await?;
    for dry_run in ["--dry-run=server", "--dry-run=none"] {
        let args = ["apply", "-f", "-", dry_run];
        let refused = kubectl(&args, &bad).await?;
        assert!(!refused.success, "{}", refused.stdout);
        let sentence = "spec.profile.name: must be set when type is Localhost";
        assert!(refused.stderr.contains(sentence), "{}", refused.stderr);

        let taken = kubectl(&args, &missing).await?;
        assert!(taken.success, "{}", taken.stderr);
        let sentence = r#"Warning: there is no SeccompProfile "e2e-absent""#;
        assert!(taken.stderr.contains(sentence), "{}", taken.stderr);
        let there = kubectl(&["get", "seccomppolicy", "e2e-checked"], "").await?;
        assert_eq!(there.success, dry_run == "--dry-run=none");

        let profile = e2e::cluster::profile("e2e-checked", r#"{"defaultAction": "SCMP_ACT_NO"}"#);
        let refused = kubectl(&args, &profile).await?;
        assert!(
            refused.stderr.contains("spec.profile.defaultAction"),
            "{}",
            refused.stderr
        );
    }
    cluster.delete("seccomppolicy", "e2e-checked").await
}

#[tokio::test]
async fn profiles_and_policies_can_be_deleted_while_nobody_answers_for_them() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let gone = policy(
        "e2e-gone",
        &json!({"priority": -7, "profile": {"type": "RuntimeDefault"}}),
    );
    cluster.apply(&gone).await?;
    cluster.apply_profile("e2e-gone", NO_CHMOD).await?;
    cluster.wait_ready("e2e-gone").await?;
    let list = ["get", "validatingwebhookconfigurations", "--output", "name"];
    let list = kubectl(&list, "").await?.ok()?;
    let configuration = list
        .lines()
        .find(|name| name.contains("seccomp-operator"))
        .context("no configuration")?;
    let service = async |name: &str| {
        let patches: Vec<_> = (0..2)
            .map(|at| json!({"op": "replace", "path": format!("/webhooks/{at}/clientConfig/service/name"), "value": name}))
            .collect();
        let patch = Value::Array(patches).to_string();
        let args = ["patch", configuration, "--type=json", "--patch", &patch];
        kubectl(&args, "").await?.ok()
    };
    let right = cluster.get(&[configuration]).await?.data["webhooks"][0]["clientConfig"]["service"]
        ["name"]
        .clone();
    service("nowhere").await?;
    let other = policy(
        "e2e-gone",
        &json!({"priority": -8, "profile": {"type": "RuntimeDefault"}}),
    );
    let refused = until("the webhook to be away", PATIENCE, || async {
        let refused = cluster.try_apply(&other).await?;
        ensure!(!refused.success, "a change was taken");
        Ok(refused.stderr)
    })
    .await;
    let deleted = async {
        cluster.delete("seccomppolicy", "e2e-gone").await?;
        cluster.delete("seccompprofile", "e2e-gone").await
    }
    .await;
    service(right.as_str().context("no service")?).await?;
    assert!(refused?.contains("seccomp-operator.io"));
    deleted?;
    // And all is as before.
    until("the webhook to be back", PATIENCE, || async {
        cluster.apply(&gone).await
    })
    .await?;
    cluster.delete("seccomppolicy", "e2e-gone").await
}

#[tokio::test]
async fn a_policy_s_status_says_whether_its_profile_is_there_and_how_many_pods_it_changed() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster
        .namespace("e2e-policy-status", &[("e2e", "policy-status")])
        .await?;
    cluster.delete("seccompprofile", "e2e-counted").await?;
    cluster.delete("seccomppolicy", "e2e-counted").await?;
    let spec = json!({
        "priority": 40, "namespaceSelector": {"matchLabels": {"e2e": "policy-status"}},
        "profile": {"type": "Localhost", "name": "e2e-counted"},
    });
    cluster.apply(&policy("e2e-counted", &spec)).await?;
    let status = async |what: &str, test: &dyn Fn(&Value) -> bool| {
        // A replica writes its counts at most once a minute: what it counts just after it wrote comes late.
        until(what, Duration::from_secs(80), || async {
            let policy = cluster.get(&["seccomppolicy", "e2e-counted"]).await?;
            let status = policy.data["status"].clone();
            ensure!(test(&status), "{status}");
            Ok(status)
        })
        .await
    };
    let ready = |status: &Value, holds: &str, reason: &str| {
        let conditions = status["conditions"].as_array();
        conditions.into_iter().flatten().any(|condition| {
            condition["type"] == "Ready"
                && condition["status"] == holds
                && condition["reason"] == reason
        })
    };
    status("the missing profile", &|status| {
        ready(status, "False", "ProfileMissing")
    })
    .await?;
    cluster.apply_profile("e2e-counted", NO_CHMOD).await?;
    let name = ["wait", "--for=condition=Ready", "seccomppolicy/e2e-counted"];
    kubectl(&[&name[..], &["--timeout=30s"]].concat(), "")
        .await?
        .ok()?;

    // Pods that no node takes; a dry run is none. The second states its own.
    let mut spec = images(&["nginx"]);
    spec["nodeSelector"] = json!({"e2e": "nowhere"});
    let bare = pod(&namespace, &json!({}), &json!({}), &spec);
    spec["securityContext"] = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    let own = pod(&namespace, &json!({}), &json!({}), &spec);
    for manifest in [&bare, &bare, &own] {
        stored(manifest).await?;
    }
    let manifests = [&bare, &bare, &own].map(String::as_str);
    kubectl(&["create", "-f", "-"], &manifests.join("\n---\n"))
        .await?
        .ok()?;
    status("the pods that were counted", &|status| {
        status["pods"] == json!({"matched": 3, "changed": 2})
    })
    .await?;

    // An entry that nobody keeps goes.
    let dead = json!([{"op": "add", "path": "/status/replicas/-",
        "value": {"name": "dead", "matched": 100, "changed": 1, "updated": "2020-01-01T00:00:00Z"}}]);
    let args = [
        "patch",
        "seccomppolicy",
        "e2e-counted",
        "--subresource=status",
        "--type=json",
        "--patch",
    ];
    kubectl(&[&args[..], &[&dead.to_string()]].concat(), "")
        .await?
        .ok()?;
    let status = status("the dead replica to go", &|status| {
        !status.to_string().contains("dead")
    })
    .await?;
    assert_eq!(status["pods"], json!({"matched": 3, "changed": 2}));
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccomppolicy", "e2e-counted").await?;
    cluster.delete("seccompprofile", "e2e-counted").await
}
