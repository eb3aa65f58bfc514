//! Admission in front of a stream of pods: through rolling updates, renewed certificates and what people do to them, and without
//! a controller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::admission::{InPlace, injects, is_injected, pod};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use seccomp_operator::pki::{Lives, Material};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::Tested;

const DEPLOYMENT: &str = "deployment/seccomp-operator-controller";
/// The name of both webhook configurations.
const CONFIGURATION: &str = "seccomp-operator.seccomp-operator";
const SECRET: &str = "seccomp-operator-webhook-ca";
const SOON: Duration = Duration::from_secs(20);

fn dry_run() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

/// How many pods each task of a [`Stream`] creates at least, however soon it is to end: what the test does may take less time than a few pods.
const LEAST: usize = 8;

/// Pods that are created, in a dry run, one after the other for as long as this lives.
struct Stream {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<(usize, Duration, Vec<String>)>,
}

impl Stream {
    fn start(cluster: &Cluster, namespace: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
            let stop = stop.clone();
            tasks.spawn(async move {
                let (mut count, mut slowest, mut failures) = (0, Duration::ZERO, Vec::new());
                while count < LEAST || !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let created = async {
                        pods.create(&dry_run(), &pod("stream-")?)
                            .await
                            .context("refused")
                    };
                    match created.await {
                        Ok(pod) if is_injected(&pod) => {}
                        Ok(_) => failures.push("a pod got no profile".to_owned()),
                        Err(error) => failures.push(format!("{error:#}")),
                    }
                    count += 1;
                    slowest = slowest.max(started.elapsed());
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
                (count, slowest, failures)
            });
        }
        Self { stop, tasks }
    }

    /// Ends it. None may have failed.
    async fn end(mut self, what: &str) -> Tested {
        self.stop.store(true, Ordering::Relaxed);
        let (mut count, mut slowest, mut failures) = (0, Duration::ZERO, Vec::new());
        while let Some(ended) = self.tasks.join_next().await {
            let (more, took, mut failed) = ended?;
            count += more;
            slowest = slowest.max(took);
            failures.append(&mut failed);
        }
        println!(
            "{what}: {count} pods, {} failures, the slowest took {slowest:?}",
            failures.len()
        );
        failures.sort_unstable();
        failures.dedup();
        ensure!(failures.is_empty(), "{what}: {failures:#?}");
        Ok(())
    }
}

async fn secret(cluster: &Cluster) -> anyhow::Result<Secret> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    Ok(api.get(SECRET).await?)
}

async fn authority(cluster: &Cluster) -> anyhow::Result<ByteString> {
    let data = secret(cluster).await?.data.context("the Secret is empty")?;
    data.get("ca.crt").cloned().context("there is no ca.crt")
}

async fn bundle(cluster: &Cluster) -> anyhow::Result<ByteString> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let webhooks = api.get(CONFIGURATION).await?.webhooks;
    let webhook = webhooks
        .into_iter()
        .flatten()
        .next()
        .context("no webhook")?;
    webhook.client_config.ca_bundle.context("no caBundle")
}

async fn restored(cluster: &Cluster, sound: &ByteString, what: &str) -> Tested {
    let started = Instant::now();
    until(
        &format!("the Secret to be mended: {what}"),
        SOON,
        || async {
            ensure!(
                authority(cluster).await? == *sound,
                "it holds another authority"
            );
            let data = secret(cluster).await?.data.unwrap_or_default();
            Material::read(&data)?;
            Ok(())
        },
    )
    .await?;
    println!(
        "{what}: the Secret was as before after {:?}",
        started.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn no_pod_is_missed_while_controllers_roll_authorities_change_and_the_secret_is_damaged()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-webhook-stream", &[]).await?;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);

    let stream = Stream::start(&cluster, &namespace);
    kubectl(
        &["--namespace", NAMESPACE, "rollout", "restart", DEPLOYMENT],
        "",
    )
    .await?
    .ok()?;
    rolled_out().await?;
    stream.end("a rolling update").await?;

    // A successor that lives for 24 s: it signs 2 s after the API server knows it, and gives way to another after 16 s.
    let stream = Stream::start(&cluster, &namespace);
    let lives = Lives {
        authority: time::Duration::seconds(24),
        ..Lives::default()
    };
    let short = Material::generate(OffsetDateTime::now_utc(), lives)?.write();
    let first = authority(&cluster).await?;
    let next: serde_json::Map<String, Value> = short
        .iter()
        .map(|(name, bytes)| Ok((format!("next-{name}"), serde_json::to_value(bytes)?)))
        .collect::<anyhow::Result<_>>()?;
    let patch = Patch::Merge(json!({ "data": next }));
    secrets
        .patch(SECRET, &PatchParams::default(), &patch)
        .await?;
    until("the successor to sign", SOON, || async {
        ensure!(
            authority(&cluster).await? == short["ca.crt"],
            "another signs"
        );
        Ok(())
    })
    .await?;
    until(
        "its own successor to sign",
        Duration::from_secs(40),
        || async {
            let now = authority(&cluster).await?;
            ensure!(now != short["ca.crt"] && now != first, "the old one signs");
            Ok(())
        },
    )
    .await?;
    stream.end("two changes of the authority").await?;

    let stream = Stream::start(&cluster, &namespace);
    let sound = authority(&cluster).await?;
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    restored(&cluster, &sound, "deleted").await?;
    for (what, data) in [
        (
            "emptied",
            json!({"ca.crt": null, "ca.key": null, "ca.validity": null}),
        ),
        (
            "corrupted",
            json!({"ca.crt": ByteString(b"nonsense".to_vec())}),
        ),
        (
            "with the key of another authority",
            json!({"ca.key": short["ca.key"]}),
        ),
    ] {
        let patch = Patch::Merge(json!({ "data": data }));
        secrets
            .patch(SECRET, &PatchParams::default(), &patch)
            .await?;
        restored(&cluster, &sound, what).await?;
    }
    stream.end("a Secret that somebody damaged").await?;

    let trusted = bundle(&cluster).await?;
    change_webhook(&cluster, json!({"clientConfig": {"caBundle": null}})).await?;
    until("the caBundle that somebody took away", SOON, || async {
        ensure!(bundle(&cluster).await? == trusted, "it is another");
        injects(&cluster, &namespace).await
    })
    .await
}

async fn rolled_out() -> Tested {
    kubectl(
        &[
            "--namespace",
            NAMESPACE,
            "rollout",
            "status",
            DEPLOYMENT,
            "--timeout=120s",
        ],
        "",
    )
    .await?
    .ok()
    .map(drop)
}

async fn scale(replicas: u8) -> Tested {
    let replicas = format!("--replicas={replicas}");
    kubectl(
        &["--namespace", NAMESPACE, "scale", DEPLOYMENT, &replicas],
        "",
    )
    .await?
    .ok()
    .map(drop)
}

#[tokio::test]
async fn without_a_controller_pods_are_created_or_refused_as_the_values_say_and_it_comes_back_by_itself()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-webhook-gone", &[]).await?;
    let create = |namespace: &str| {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        async move { anyhow::Ok(pods.create(&dry_run(), &pod("gone-")?).await?) }
    };
    // What Kubernetes itself does since 1.21, and what the chart's notes ask for before.
    for name in ["kube-system", NAMESPACE] {
        let label = format!("kubernetes.io/metadata.name={name}");
        kubectl(&["label", "--overwrite", "namespace", name, &label], "")
            .await?
            .ok()?;
    }
    cluster
        .install(
            NAMESPACE,
            &[
                "--set",
                "webhook.mutate.failurePolicy=Fail",
                "--force-conflicts",
            ],
        )
        .await?;
    scale(0).await?;
    let refused = until("pods to be refused", Duration::from_mins(1), || async {
        match create(&namespace).await {
            Ok(_) => bail!("a pod was created"),
            Err(error) => Ok(format!("{error:#}")),
        }
    })
    .await?;
    println!("refused: {refused}");
    assert!(refused.contains("pods.seccomp-operator.io"), "{refused}");
    for excluded in ["kube-system", NAMESPACE] {
        create(excluded)
            .await
            .with_context(|| format!("{excluded} is excluded"))?;
    }

    change_webhook(&cluster, json!({"failurePolicy": "Ignore"})).await?;
    let created = until("pods to be let through", SOON, || create(&namespace)).await?;
    assert!(!is_injected(&created), "nobody was there to inject");

    change_webhook(&cluster, json!({"failurePolicy": "Fail"})).await?;
    // The very same Deployment brings its pods back while their webhook refuses everybody else's.
    scale(2).await?;
    rolled_out().await?;
    until("pods to be injected again", SOON, || {
        injects(&cluster, &namespace)
    })
    .await?;
    // What was changed by hand is the release's again.
    cluster.install(NAMESPACE, &["--force-conflicts"]).await
}

/// Changes the pods' webhook, as somebody in need would.
async fn change_webhook(cluster: &Cluster, mut change: Value) -> Tested {
    change["name"] = "pods.seccomp-operator.io".into();
    let api: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let patch = Patch::Strategic(json!({ "webhooks": [change] }));
    api.patch(CONFIGURATION, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_too_much_to_read_is_denied_with_a_sentence() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-webhook-large", &[]).await?;
    until("pods to be injected", SOON, || {
        injects(&cluster, &namespace)
    })
    .await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace);
    // API servers write this character as six in a review, and take a request of 3 MiB.
    let large = |characters: usize| {
        let mut pod = pod("large-")?;
        let spec = pod.spec.as_mut().context("no spec")?;
        spec.containers[0].args = Some(vec!["<".repeat(characters)]);
        anyhow::Ok(pod)
    };
    let created = pods.create(&dry_run(), &large(600_000)?).await?;
    assert!(is_injected(&created), "a large pod is still read");
    let refused = pods.create(&dry_run(), &large(900_000)?).await;
    let refused = refused.err().context("created unread")?.to_string();
    assert!(refused.contains("make the pod smaller"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn two_hundred_pods_cost_no_call_to_the_api_server() -> Tested {
    let cluster = Cluster::with_operator().await?;
    // Something else may be seen to in the meantime (a certificate, say), but not every time.
    let mut calls = f64::INFINITY;
    for _ in 0..3 {
        let measured = InPlace::measure(&cluster).await?;
        println!("{measured:?}");
        // With `reinvocationPolicy` there may be more, never fewer.
        ensure!(measured.reviews >= 200.0, "only {}", measured.reviews);
        calls = measured.calls + measured.requests;
        if calls < 0.5 {
            break;
        }
    }
    assert!(calls < 0.5, "{calls} calls");
    Ok(())
}
