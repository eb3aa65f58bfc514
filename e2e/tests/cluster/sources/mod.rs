//! Profiles out of a registry with TLS and an account: by hand, and kept by SeccompSources.

mod registry;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, plugin, until};
use e2e::pods::Pod;
use kube::Api;
use rcgen::KeyPair;
use seccomp_operator_api::{SeccompProfile, SeccompSource};
use serde_json::{Value, json};

use self::registry::{PASSWORD, Registry};
use super::{CHMOD_REFUSED, CHMOD_SCRIPT, NO_CHMOD, Tested};

const NO_MKDIR: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
}"#;
const MKDIR_SCRIPT: &str =
    "touch test; chmod +x test && echo chmod works; mkdir folder; while true; do sleep 30; done";
const MKDIR_REFUSED: &str = "cannot create directory 'folder': Operation not permitted";
const SECRET: &str = "e2e-registry";
const SOON: Duration = Duration::from_secs(30);
/// An interval, what may be drawn on top, and the pull.
const AN_INTERVAL: Duration = Duration::from_secs(90);

async fn with_sources() -> anyhow::Result<Option<(Cluster, Registry)>> {
    let cluster = Cluster::connect().await?;
    let Some(registry) = Registry::start().await? else {
        return Ok(None);
    };
    cluster
        .install(NAMESPACE, &["--set", "sources.enabled=true"])
        .await?;
    cluster
        .apply(&registry.secret(SECRET, NAMESPACE, PASSWORD))
        .await?;
    Ok(Some((cluster, registry)))
}

async fn source(cluster: &Cluster, name: &str) -> anyhow::Result<SeccompSource> {
    Ok(Api::<SeccompSource>::all(cluster.client.clone())
        .get(name)
        .await?)
}

async fn profile(cluster: &Cluster, name: &str) -> anyhow::Result<SeccompProfile> {
    Ok(Api::<SeccompProfile>::all(cluster.client.clone())
        .get(name)
        .await?)
}

/// Waits until a source stands so, for its spec as it is; what it says then, and the digest that it has.
async fn stands(
    cluster: &Cluster,
    name: &str,
    reason: &str,
    patience: Duration,
) -> anyhow::Result<(String, Option<String>)> {
    let what = format!("{reason} of source {name}");
    until(&what, patience, || async {
        let source = source(cluster, name).await?;
        let status = source.status.context("no status")?;
        ensure!(
            status.observed_generation == source.metadata.generation,
            "{status:?}"
        );
        let ready = status.conditions.first().context("no condition")?;
        ensure!(
            ready.type_ == "Ready" && ready.reason == reason,
            "{ready:?}"
        );
        ensure!(
            (ready.status == "True") == (reason == "Pulled"),
            "{ready:?}"
        );
        Ok((ready.message.clone(), status.digest))
    })
    .await
}

/// The messages of a source's Events of that reason.
async fn told(cluster: &Cluster, name: &str, reason: &str) -> anyhow::Result<Vec<String>> {
    let of =
        format!("involvedObject.kind=SeccompSource,involvedObject.name={name},reason={reason}");
    let events = cluster
        .get(&["events", "--namespace", "default", "--field-selector", &of])
        .await?;
    let events = events.data["items"].as_array().context("no list")?.clone();
    let message = |event: Value| event["message"].as_str().map(str::to_owned);
    Ok(events.into_iter().filter_map(message).collect())
}

async fn change(name: &str, spec: &Value) -> Tested {
    let patch = json!({"spec": spec}).to_string();
    let args = [
        "patch",
        "seccompsource",
        name,
        "--type=merge",
        "--patch",
        &patch,
    ];
    kubectl(&args, "").await?.ok().map(drop)
}

async fn clear(cluster: &Cluster, names: &[&str]) -> Tested {
    for name in names {
        cluster.delete("seccompsource", name).await?;
        cluster.delete("seccompprofile", name).await?;
        for reason in [
            "Pulled",
            "PullFailed",
            "NotSigned",
            "ProfileTaken",
            "Unfit",
            "PullSecretUnusable",
        ] {
            let of = format!("involvedObject.name={name},reason={reason}");
            let args = [
                "delete",
                "events",
                "--namespace",
                "default",
                "--field-selector",
                &of,
            ];
            kubectl(&args, "").await?.ok()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_profile_goes_through_a_registry_by_hand() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let Some(registry) = Registry::start().await? else {
        return Ok(());
    };
    let namespace = cluster.namespace("e2e-by-hand", &[]).await?;
    cluster.delete("seccompprofile", "e2e-by-hand").await?;
    let key = KeyPair::generate()?;
    let public = registry.write("key.pub", &key.public_key_pem())?;
    let key_option = format!("--key={public}");
    let repository = format!("{}/acme/by-hand", registry.host);
    let tagged = format!("{repository}:v1");
    let digest = registry.push(&tagged, NO_CHMOD).await?;
    let verify = ["verify", &key_option, &tagged];
    ensure!(
        registry.plugin(&verify).await?.code == Some(1),
        "nobody has signed it"
    );
    registry.sign(&key, &repository, &digest)?;
    let signed = registry.plugin(&verify).await?.ok()?;
    ensure!(
        signed.starts_with(&format!("{repository}@{digest}: signed by key sha256:")),
        "{signed}"
    );
    let pull = [
        "pull",
        &key_option,
        "-o",
        "manifest",
        "--name=e2e-by-hand",
        &tagged,
    ];
    let manifest = registry.plugin(&pull).await?.ok()?;
    cluster.apply(&manifest).await?;
    cluster.wait_ready("e2e-by-hand").await?;
    Pod::script(&cluster, &namespace, "by-hand", CHMOD_SCRIPT)
        .localhost("profiles/e2e-by-hand.json")
        .log_with(&cluster, CHMOD_REFUSED)
        .await?;
    cluster.delete("namespace", &namespace).await?;
    cluster.delete("seccompprofile", "e2e-by-hand").await
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // one story
async fn a_source_follows_its_tag_and_keeps_the_last_profile_when_it_cannot() -> Tested {
    const NAME: &str = "e2e-source";
    let Some((cluster, mut registry)) = with_sources().await? else {
        return Ok(());
    };
    clear(&cluster, &[NAME]).await?;
    let namespace = cluster.namespace("e2e-sources", &[]).await?;
    let (key, repository) = (KeyPair::generate()?, format!("{}/acme/app", registry.host));
    let tagged = format!("{repository}:v1");
    let first = registry.push(&tagged, NO_CHMOD).await?;
    registry.sign(&key, &repository, &first)?;
    let spec = json!({
        "reference": tagged, "interval": "1m", "pullSecret": SECRET, "verification": {"keys": [key.public_key_pem()]},
    });
    let manifest = registry.source(NAME, &spec);
    // A webhook that knows of no sources yet may answer for as long as it ends.
    let dry_run = ["apply", "--dry-run=server", "-f", "-"];
    until("no warning", Duration::from_mins(1), || async {
        let tried = kubectl(&dry_run, &manifest).await?;
        ensure!(!tried.stderr.contains("Warning"), "{}", tried.stderr);
        tried.ok().map(drop)
    })
    .await?;
    let said = cluster.apply(&manifest).await?;
    ensure!(!said.contains("Warning"), "{said}");
    let wait = [
        "wait",
        "--for=condition=Ready",
        "seccompsource/e2e-source",
        "--timeout=30s",
    ];
    kubectl(&wait, "").await?.ok()?;
    let (message, digest) = stands(&cluster, NAME, "Pulled", SOON).await?;
    ensure!(
        digest.as_ref() == Some(&first) && message.contains("; signed by key sha256:"),
        "{message}"
    );
    cluster.wait_ready(NAME).await?;
    let made = profile(&cluster, NAME).await?;
    let owners = made.metadata.owner_references.clone().unwrap_or_default();
    ensure!(
        owners[0].kind == "SeccompSource"
            && Some(&owners[0].uid) == source(&cluster, NAME).await?.metadata.uid.as_ref()
    );
    Pod::script(&cluster, &namespace, "first", CHMOD_SCRIPT)
        .localhost("profiles/e2e-source.json")
        .log_with(&cluster, CHMOD_REFUSED)
        .await?;
    ensure!(told(&cluster, NAME, "Pulled").await?.len() == 1);

    // The tag goes on to what nobody has signed.
    let second = registry.push(&tagged, NO_MKDIR).await?;
    let (message, digest) = stands(&cluster, NAME, "NotSigned", AN_INTERVAL).await?;
    ensure!(digest.as_ref() == Some(&first), "{digest:?}");
    let unsigned = format!("{repository}@{second} has no signature; sign it");
    ensure!(
        message.starts_with(&unsigned) && message.ends_with(&format!("stays as it is ({first})")),
        "{message}"
    );
    ensure!(profile(&cluster, NAME).await?.metadata.generation == made.metadata.generation);

    // Another than the one who counts signs it, which is told of once however often it is looked at.
    registry.sign(&KeyPair::generate()?, &repository, &second)?;
    change(NAME, &json!({"interval": "61s"})).await?;
    let (message, _) = stands(&cluster, NAME, "NotSigned", SOON).await?;
    ensure!(
        message.contains("has no signature that counts by spec.verification: "),
        "{message}"
    );
    let events = told(&cluster, NAME, "NotSigned").await?;
    ensure!(
        events.len() == 1 && events[0].starts_with(&unsigned),
        "{events:?}"
    );

    // Signed, it is followed.
    registry.sign(&key, &repository, &second)?;
    let (_, digest) = stands(&cluster, NAME, "Pulled", AN_INTERVAL).await?;
    ensure!(digest.as_ref() == Some(&second), "{digest:?}");
    cluster.wait_ready(NAME).await?;
    let log = Pod::script(&cluster, &namespace, "second", MKDIR_SCRIPT)
        .localhost("profiles/e2e-source.json")
        .log_with(&cluster, MKDIR_REFUSED)
        .await?;
    ensure!(log.contains("chmod works"), "{log}");

    // The registry dies; what was there last goes on, also for new pods.
    registry.die();
    let (message, digest) = stands(&cluster, NAME, "PullFailed", AN_INTERVAL).await?;
    ensure!(digest.as_ref() == Some(&second), "{digest:?}");
    ensure!(
        message.starts_with(&format!(
            "the registry {} cannot be reached: ",
            registry.host
        )),
        "{message}"
    );
    let events = until("the Event", SOON, || async {
        let events = told(&cluster, NAME, "PullFailed").await?;
        ensure!(!events.is_empty(), "none");
        Ok(events)
    })
    .await?;
    ensure!(
        events.len() == 1 && events[0].starts_with("the registry "),
        "{events:?}"
    );
    Pod::script(&cluster, &namespace, "third", MKDIR_SCRIPT)
        .localhost("profiles/e2e-source.json")
        .log_with(&cluster, MKDIR_REFUSED)
        .await?;
    registry.live().await?;
    stands(&cluster, NAME, "Pulled", AN_INTERVAL).await?;

    // What others change of it is taken back, and so is a deletion.
    for patch in [
        r#"{"spec":{"allow":["mkdir"]}}"#,
        r#"{"spec":{"profile":{"defaultAction":"SCMP_ACT_LOG","flags":[]}}}"#,
    ] {
        let args = [
            "patch",
            "seccompprofile",
            NAME,
            "--type=merge",
            "--patch",
            patch,
        ];
        kubectl(&args, "").await?.ok()?;
        until("the profile to be put right", SOON, || async {
            let spec = profile(&cluster, NAME).await?.spec;
            let document = spec.profile.context("no document")?;
            ensure!(
                spec.allow.is_empty()
                    && document["defaultAction"] == "SCMP_ACT_ALLOW"
                    && document["flags"].is_null(),
                "{document}"
            );
            Ok(())
        })
        .await?;
    }
    // With the source its profile goes, once no pod uses it.
    let args = ["delete", "seccompsource", NAME];
    kubectl(&args, "").await?.ok()?;
    until("the profile to be about to go", SOON, || async {
        let metadata = profile(&cluster, NAME).await?.metadata;
        ensure!(metadata.deletion_timestamp.is_some(), "{metadata:?}");
        Ok(())
    })
    .await?;
    cluster.delete("namespace", &namespace).await?;
    until("the profile to be gone", SOON, || async {
        ensure!(profile(&cluster, NAME).await.is_err(), "it is there");
        Ok(())
    })
    .await?;
    no_secret_is_logged(&cluster).await
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // one story
async fn a_source_that_cannot_be_followed_says_why() -> Tested {
    const NAME: &str = "e2e-source-odd";
    let Some((cluster, registry)) = with_sources().await? else {
        return Ok(());
    };
    clear(&cluster, &[NAME]).await?;
    let repository = format!("{}/acme/odd", registry.host);
    let tagged = format!("{repository}:v1");
    registry.push(&tagged, NO_CHMOD).await?;
    let wrong =
        json!({"reference": "nginx", "interval": "1s", "verification": {"keys": ["no key"]}});
    let refused = cluster.try_apply(&registry.source(NAME, &wrong)).await?;
    for said in [
        "spec.reference: \"nginx\" names no registry",
        "spec.interval: \"1s\"",
        "spec.verification.keys[0]: is no public key",
    ] {
        ensure!(
            !refused.success && refused.stderr.contains(said),
            "{said}: {refused:?}"
        );
    }

    // A profile of somebody else's is not taken over, and then it is out of the way.
    let theirs = cluster.apply_profile(NAME, NO_MKDIR).await?;
    ensure!(theirs.contains("created"), "{theirs}");
    let before = profile(&cluster, NAME).await?;
    let spec = json!({"reference": tagged, "pullSecret": SECRET});
    let said = cluster.apply(&registry.source(NAME, &spec)).await?;
    ensure!(
        said.contains("that is not the source's") && said.contains("spec.verification: is not set"),
        "{said}"
    );
    let (message, _) = stands(&cluster, NAME, "ProfileTaken", SOON).await?;
    ensure!(
        message.contains("that this source did not make; delete it, or"),
        "{message}"
    );
    let after = profile(&cluster, NAME).await?;
    ensure!(
        after.metadata.generation == before.metadata.generation
            && after.metadata.owner_references.is_none()
    );
    cluster.delete("seccompprofile", NAME).await?;
    stands(&cluster, NAME, "Pulled", SOON).await?;

    // Accounts that are none, or not there.
    change(NAME, &json!({"pullSecret": "e2e-absent"})).await?;
    let (message, _) = stands(&cluster, NAME, "PullSecretUnusable", SOON).await?;
    ensure!(
        message.contains(
            "\"e2e-absent\" of namespace seccomp-operator is not there; make it by `kubectl"
        ),
        "{message}"
    );
    cluster
        .apply(&registry.secret("e2e-wrong", NAMESPACE, "e2e-guessed"))
        .await?;
    change(NAME, &json!({"pullSecret": "e2e-wrong"})).await?;
    let (message, _) = stands(&cluster, NAME, "PullFailed", SOON).await?;
    ensure!(
        message.contains("refuses the account of spec.pullSecret to read acme/odd"),
        "{message}"
    );
    change(NAME, &json!({"pullSecret": null})).await?;
    let (message, _) = stands(&cluster, NAME, "PullFailed", SOON).await?;
    ensure!(
        message.contains("name a Secret with an account in spec.pullSecret"),
        "{message}"
    );
    change(NAME, &json!({"pullSecret": SECRET, "caBundle": null})).await?;
    let (message, _) = stands(&cluster, NAME, "PullFailed", SOON).await?;
    ensure!(
        message.contains("give its own in spec.caBundle"),
        "{message}"
    );
    change(NAME, &json!({"caBundle": registry.authority})).await?;
    stands(&cluster, NAME, "Pulled", SOON).await?;

    // An object of the Security Profiles Operator: what is said helps.
    let object = "apiVersion: security-profiles-operator.x-k8s.io/v1beta1\nkind: SeccompProfile\nmetadata:\n  name: web\nspec:\n  \
                  defaultAction: SCMP_ACT_ALLOW\n  syscalls:\n  - action: SCMP_ACT_ERRNO\n    names: [mkdir]\n";
    registry.write("profile.yaml", object)?;
    let theirs = format!("{repository}:spo");
    registry.oras(&[
        "push",
        "--artifact-type",
        "application/vnd.unknown.config.v1+json",
        &theirs,
        "profile.yaml",
    ])?;
    change(NAME, &json!({"reference": theirs})).await?;
    let (message, _) = stands(&cluster, NAME, "Unfit", SOON).await?;
    ensure!(
        message.contains(&format!(
            "`kubectl seccomp pull {theirs} | kubectl seccomp push "
        )),
        "{message}"
    );
    let status = plugin(&["status", "--output", "json"]).await?;
    ensure!(status.code == Some(1), "a failed source is no failure");
    let status: Value = serde_json::from_str(&status.stdout)?;
    let sources = status["sources"].as_array().context("no sources")?;
    let shown = sources.iter().find(|source| source["name"] == NAME);
    let shown = shown.context("the source does not show")?;
    ensure!(
        shown["state"] == "Failed" && shown["reason"] == "Unfit" && shown["message"] == *message,
        "{shown}"
    );
    let pulled = registry.plugin(&["pull", &theirs]).await?.ok()?;
    let ours = format!("{repository}:ours");
    registry.push(&ours, &pulled).await?;
    change(NAME, &json!({"reference": ours})).await?;
    stands(&cluster, NAME, "Pulled", SOON).await?;
    let document = profile(&cluster, NAME)
        .await?
        .spec
        .profile
        .context("no document")?;
    ensure!(
        document["syscalls"][0]["names"] == json!(["mkdir"]),
        "{document}"
    );

    // Left alone, it stays.
    change(NAME, &json!({"suspend": true, "reference": tagged})).await?;
    until("the suspension to be told", SOON, || async {
        let status = source(&cluster, NAME).await?.status.context("no status")?;
        let ready = status.conditions.first().context("no condition")?;
        ensure!(ready.reason == "Suspended", "{ready:?}");
        Ok(())
    })
    .await?;
    ensure!(profile(&cluster, NAME).await?.spec.profile == Some(document));
    no_secret_is_logged(&cluster).await?;
    clear(&cluster, &[NAME]).await?;
    for secret in ["e2e-wrong", SECRET] {
        let args = ["delete", "secret", secret, "--namespace", NAMESPACE];
        kubectl(&args, "").await?.ok()?;
    }
    Ok(())
}

async fn no_secret_is_logged(cluster: &Cluster) -> Tested {
    for pod in cluster.pods_of("controller").await? {
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        let log = kubectl(&["logs", "--namespace", NAMESPACE, name], "")
            .await?
            .ok()?;
        ensure!(
            !log.contains(PASSWORD) && !log.contains("e2e-guessed"),
            "{log}"
        );
    }
    let sources = kubectl(
        &[
            "get",
            "seccompsources,events",
            "--all-namespaces",
            "-o",
            "yaml",
        ],
        "",
    )
    .await?
    .ok()?;
    ensure!(
        !sources.contains(PASSWORD) && !sources.contains("e2e-guessed"),
        "{sources}"
    );
    Ok(())
}
