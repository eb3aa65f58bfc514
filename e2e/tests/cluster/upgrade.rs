//! From an older release to this one and back, by Helm; and manifests that a tool keeps on applying from a repository.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::admission::{is_injected, pod};
use e2e::cluster::{Cluster, NAMESPACE, RELEASE};
use e2e::command::{helm, kubectl, until};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use seccomp_operator_api::SeccompProfile;
use tokio::task::JoinHandle;

use super::{NO_CHMOD, Tested};

/// A state of main whose chart and definitions are others than today's.
const OLDER: &str = "17ff3b4b4b99dc202a08519306bca532fee30ae0";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/seccomp-operator");
/// Who applies what such a tool would. It is Helm's name, so that Helm meets nobody else's fields afterwards.
const MANAGER: &str = "--field-manager=helm";

/// What pods and a profile went through while something else happened.
#[derive(Debug, Default)]
struct Seen {
    pods: usize,
    wrong: Vec<String>,
}

/// Creates pods, as a dry run, one after the other, and looks at a profile, until it is asked what it saw.
struct Observer {
    over: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<Seen>>,
}

impl Observer {
    fn start(cluster: &Cluster, namespace: &str, profile: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let profiles: Api<SeccompProfile> = Api::all(cluster.client.clone());
        let ends = over.clone();
        let task = tokio::spawn(async move {
            let dry_run = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            let mut seen = Seen::default();
            while !ends.load(Ordering::Relaxed) {
                match pods.create(&dry_run, &pod("try-")?).await {
                    Ok(pod) if is_injected(&pod) => {}
                    Ok(_) => seen.wrong.push("a pod got no profile".into()),
                    Err(error) => seen.wrong.push(format!("a pod was refused: {error}")),
                }
                seen.pods += 1;
                let status = profiles.get(profile).await?.status;
                if !status.is_some_and(|status| status.is_ready()) {
                    seen.wrong.push(format!("{profile} is not ready"));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(seen)
        });
        Self { over, task }
    }

    /// That nothing went wrong meanwhile.
    async fn end(self, meanwhile: &str) -> Tested {
        self.over.store(true, Ordering::Relaxed);
        let seen = self.task.await??;
        println!("{} pods during {meanwhile}", seen.pods);
        ensure!(seen.pods >= 20, "{meanwhile}: only {} pods", seen.pods);
        let wrong = seen.wrong.len();
        ensure!(
            wrong == 0,
            "{meanwhile}: {wrong}, first {:?}",
            seen.wrong.first()
        );
        Ok(())
    }
}

/// The chart of [`OLDER`] in a folder; none where the history of this repository is not there.
fn older_chart() -> anyhow::Result<Option<tempfile::TempDir>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("chart.tar");
    let git = Command::new("git")
        .args(["-C", root, "archive", "--output"])
        .arg(&archive)
        .args([OLDER, "charts/seccomp-operator"])
        .output();
    if !git.is_ok_and(|git| git.status.success()) {
        return Ok(None);
    }
    let tar = Command::new("tar")
        .arg("--extract")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(folder.path())
        .status()?;
    ensure!(tar.success(), "tar failed");
    Ok(Some(folder))
}

/// What the definitions on the cluster lack of this chart's.
async fn definitions_behind() -> anyhow::Result<String> {
    let files = format!("{CHART}/files/crds");
    let diff = [
        "diff",
        "--server-side",
        "--force-conflicts",
        // Nobody's yet, so that nothing of a manager's is missed in the bare definitions.
        "--field-manager=e2e",
        "-f",
        &files,
    ];
    let diff = kubectl(&diff, "").await?;
    ensure!(matches!(diff.code, Some(0 | 1)), "{}", diff.stderr);
    // Labels and annotations are the chart's to give.
    let lines = diff
        .stdout
        .lines()
        .filter(|line| line.starts_with("+  ") || line.starts_with("-  "));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// `E2E_OLDER_IMAGE`, an image of [`OLDER`] on the nodes, makes it an upgrade of the processes too; without it they are today's under both
/// charts.
#[tokio::test]
async fn an_upgrade_and_a_rollback_keep_profiles_ready_and_refuse_no_pod() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let Some(older) = older_chart()? else {
        println!("skipped: the history of this repository does not reach back to {OLDER}");
        return Ok(());
    };
    let chart = older.path().join("charts/seccomp-operator");
    let chart = chart.to_str().context("no path")?;
    let image = std::env::var("E2E_OLDER_IMAGE").unwrap_or(cluster.operator_image.clone());
    let (repository, tag) = image.rsplit_once(':').context("no tag")?;
    let (repository, tag) = (
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
    );
    let namespace = cluster.namespace("e2e-upgrade", &[]).await?;
    let install = ["upgrade", "--install", RELEASE, chart, "-n", NAMESPACE];
    let how = ["--set", &repository, "--set-string", &tag];
    let wait = ["--wait", "--timeout", "3m"];
    helm(&[&install[..], &how, &wait].concat()).await?.ok()?;
    let behind = definitions_behind().await?;
    ensure!(!behind.is_empty(), "the definitions are today's");
    cluster.apply_profile("e2e-upgrade", NO_CHMOD).await?;
    cluster.wait_ready("e2e-upgrade").await?;

    let observer = Observer::start(&cluster, &namespace, "e2e-upgrade");
    cluster.install(NAMESPACE, &[]).await?;
    observer.end("the upgrade").await?;
    let behind = definitions_behind().await?;
    ensure!(behind.is_empty(), "{behind}");

    let observer = Observer::start(&cluster, &namespace, "e2e-upgrade");
    let rollback = ["rollback", RELEASE, "--namespace", NAMESPACE];
    helm(&[&rollback[..], &wait].concat()).await?.ok()?;
    observer.end("the rollback").await?;
    // It works: what is new reaches all nodes.
    cluster.delete("seccompprofile", "e2e-upgrade").await?;
    cluster.apply_profile("e2e-upgrade", NO_CHMOD).await?;
    cluster.wait_ready("e2e-upgrade").await?;

    cluster.install(NAMESPACE, &[]).await?;
    cluster.delete("seccompprofile", "e2e-upgrade").await?;
    cluster.delete("namespace", &namespace).await
}

/// The manifests, as such a tool renders them, but for Helm's hooks, which such tools run at their own times or never.
async fn rendered(cluster: &Cluster) -> anyhow::Result<String> {
    let version = kubectl(&["version", "--output", "json"], "").await?.ok()?;
    let version: serde_json::Value = serde_json::from_str(&version)?;
    let version = version["serverVersion"]["gitVersion"].as_str();
    let (repository, tag) = cluster.operator_image.rsplit_once(':').context("no tag")?;
    let (repository, tag) = (
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
    );
    let template = [
        "template",
        RELEASE,
        CHART,
        "--namespace",
        NAMESPACE,
        "--include-crds",
        "--no-hooks",
    ];
    let how = ["--kube-version", version.context("no version")?];
    let image = ["--set", &repository, "--set-string", &tag];
    helm(&[&template[..], &how, &image].concat()).await?.ok()
}

/// What another sync would change, as `kubectl diff` says it.
async fn drift(manifests: &str) -> anyhow::Result<String> {
    let diff = ["diff", "--server-side", "--force-conflicts", MANAGER];
    let diff = kubectl(&[&diff[..], &["-f", "-"]].concat(), manifests).await?;
    ensure!(matches!(diff.code, Some(0 | 1)), "{}", diff.stderr);
    Ok(diff.stdout)
}

async fn sync(manifests: &str) -> Tested {
    let apply = ["apply", "--server-side", "--force-conflicts", MANAGER];
    kubectl(&[&apply[..], &["-f", "-"]].concat(), manifests)
        .await?
        .ok()
        .map(drop)
}

#[tokio::test]
async fn what_is_rendered_and_applied_again_finds_nothing_to_change_and_takes_nothing_away()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-gitops", &[]).await?;
    let manifests = rendered(&cluster).await?;
    sync(&manifests).await?;
    cluster.apply_profile("e2e-gitops", NO_CHMOD).await?;
    cluster.wait_ready("e2e-gitops").await?;
    let found = drift(&manifests).await?;
    ensure!(found.is_empty(), "{found}");

    // A sync heals what somebody changed, and the controller puts back what is its own to write.
    let observer = Observer::start(&cluster, &namespace, "e2e-gitops");
    let webhooks = format!("mutatingwebhookconfiguration/{RELEASE}.{NAMESPACE}");
    let take = r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#;
    let scale = [
        "scale",
        "deployment/seccomp-operator-controller",
        "--replicas=1",
        "-n",
        NAMESPACE,
    ];
    kubectl(&scale, "").await?.ok()?;
    let found = drift(&manifests).await?;
    ensure!(found.contains("-  replicas: 1"), "{found}");
    sync(&manifests).await?;
    let rollout = [
        "rollout",
        "status",
        "deployment/seccomp-operator-controller",
    ];
    kubectl(
        &[&rollout[..], &["-n", NAMESPACE, "--timeout=60s"]].concat(),
        "",
    )
    .await?
    .ok()?;
    observer.end("a sync").await?;
    let patch = ["patch", &webhooks, "--type=json", "--patch", take];
    kubectl(&patch, "").await?.ok()?;
    until("the bundle", Duration::from_secs(30), || async {
        let found = cluster.get(&[&webhooks]).await?;
        let bundle = &found.data["webhooks"][0]["clientConfig"]["caBundle"];
        ensure!(bundle.as_str().is_some_and(|text| !text.is_empty()));
        Ok(())
    })
    .await?;
    let found = drift(&manifests).await?;
    ensure!(found.is_empty(), "{found}");

    // A tool that prunes by the release's label finds nothing that it did not render.
    let kinds = "secrets,leases,seccomppolicies,seccompnodes,seccompprofiles";
    let of_release = format!("app.kubernetes.io/instance={RELEASE}");
    let list = ["get", kinds, "-A", "-o", "name", "-l", &of_release];
    let others = kubectl(&list, "").await?.ok()?;
    ensure!(others.is_empty(), "{others}");

    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-gitops").await?;
    cluster.install(NAMESPACE, &[]).await
}
