//! No profile may allow more than a ceiling: what is above one is refused or warned of, and what was there before is told of in its status.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use serde_json::{Value, json};

use super::Tested;

const CEILING: &str = "e2e-top";
const SOON: Duration = Duration::from_secs(20);

fn ceiling(spec: &Value) -> String {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompCeiling", "metadata": {"name": CEILING}, "spec": spec,
    });
    object.to_string()
}

fn profile(name: &str, spec: &Value) -> String {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": name}, "spec": spec,
    });
    object.to_string()
}

fn with(calls: &[&str]) -> Value {
    json!({"base": "runtime-default", "allow": calls})
}

/// Waits until all replicas know the ceiling: a profile above it, in a dry run, is answered so several times in a row.
async fn until_known(what: &str, is_so: impl Fn(&str) -> bool) -> Tested {
    let above = profile("e2e-above", &with(&["mount"]));
    until(what, SOON, || async {
        // The API server asks any of the replicas.
        for _ in 0..6 {
            let args = ["apply", "--dry-run=server", "-f", "-"];
            let answered = kubectl(&args, &above).await?;
            let said = format!("{}{}", answered.stdout, answered.stderr);
            ensure!(is_so(&said), "{said}");
        }
        Ok(())
    })
    .await
}

async fn warnings(cluster: &Cluster, name: &str, is_so: impl Fn(&[String]) -> bool) -> Tested {
    until("the status to tell of the ceiling", SOON, || async {
        let warnings = cluster.status(name).await?.warnings;
        ensure!(is_so(&warnings), "{warnings:?}");
        Ok(())
    })
    .await
}

fn above(warnings: &[String]) -> bool {
    let start = format!("allows more than SeccompCeiling {CEILING:?}: ");
    warnings.iter().any(|warning| warning.starts_with(&start))
}

#[tokio::test]
async fn no_profile_may_allow_more_than_a_ceiling_but_an_exception() -> Tested {
    let cluster = Cluster::with_operator().await?;
    cluster
        .apply(&profile("e2e-before", &with(&["mount", "bpf"])))
        .await?;

    let wrong = cluster
        .try_apply(&ceiling(&json!({"base": "e2e-before"})))
        .await?;
    ensure!(
        !wrong.success
            && wrong
                .stderr
                .contains("spec.base: \"e2e-before\" is no built-in"),
        "{}",
        wrong.stderr
    );
    let deny = json!({"base": "runtime-default", "action": "Deny", "exceptions": ["e2e-excepted"]});
    let said = cluster.apply(&ceiling(&deny)).await?;
    ensure!(
        said.contains("spec.exceptions[0]: there is no SeccompProfile \"e2e-excepted\""),
        "{said}"
    );
    until_known("the ceiling to deny", |said| {
        said.contains("denied the request")
    })
    .await?;

    let refused = cluster
        .try_apply(&profile("e2e-above", &with(&["mount", "bpf"])))
        .await?;
    println!("{}", refused.stderr);
    let sentence = "SeccompProfile \"e2e-above\" allows more than SeccompCeiling \"e2e-top\": bpf and mount; deny them, or have the profile \
                    named in the ceiling's spec.exceptions";
    ensure!(
        !refused.success && refused.stderr.contains(sentence),
        "{}",
        refused.stderr
    );
    let below = json!({"base": "runtime-default", "deny": ["@chmod"]});
    let said = cluster.apply(&profile("e2e-below", &below)).await?;
    ensure!(!said.contains("Ceiling"), "{said}");
    let said = cluster
        .apply(&profile("e2e-excepted", &with(&["mount"])))
        .await?;
    ensure!(!said.contains("Ceiling"), "{said}");

    // What was there before is told of, may be closed, and may not be opened further.
    warnings(&cluster, "e2e-before", above).await?;
    let said = cluster
        .apply(&profile("e2e-before", &with(&["mount"])))
        .await?;
    ensure!(said.contains("allows more than SeccompCeiling"), "{said}");
    let opened = cluster
        .try_apply(&profile("e2e-before", &with(&["mount", "swapon"])))
        .await?;
    ensure!(!opened.success, "{}", opened.stdout);

    cluster
        .apply(&ceiling(
            &json!({"base": "runtime-default", "action": "Warn"}),
        ))
        .await?;
    until_known("the ceiling to warn", |said| {
        said.contains("Warning: SeccompProfile \"e2e-above\" allows more")
    })
    .await?;
    warnings(&cluster, "e2e-excepted", above).await?;
    let listed = kubectl(&["get", "seccompceilings"], "").await?.ok()?;
    println!("{listed}");
    ensure!(listed.contains("runtime-default"), "{listed}");

    cluster.delete("seccompceiling", CEILING).await?;
    warnings(&cluster, "e2e-before", |warnings| !above(warnings)).await?;
    for name in ["e2e-before", "e2e-below", "e2e-excepted"] {
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_chart_s_ceiling_is_there_while_it_is_asked_for() -> Tested {
    let cluster = Cluster::connect().await?;
    let on = [
        "--set",
        "ceiling.enabled=true",
        "--set",
        "ceiling.spec.action=Deny",
    ];
    cluster.install(NAMESPACE, &on).await?;
    let get = ["seccompceiling", "default"];
    until("the ceiling of the installation", SOON, || async {
        let spec = cluster.get(&get).await?.data["spec"].clone();
        let expected = json!({"action": "Deny", "base": "runtime-default"});
        ensure!(spec == expected, "{spec}");
        Ok(())
    })
    .await?;
    cluster.delete("seccompceiling", "default").await?;
    until("it to come back", SOON, || async {
        cluster.get(&get).await.map(drop)
    })
    .await?;
    cluster.install(NAMESPACE, &[]).await?;
    until("it to go", SOON, || async {
        let found = kubectl(&["get", "seccompceilings", "-o", "name"], "")
            .await?
            .ok()?;
        if found.contains("/default") {
            bail!("it is there: {found}");
        }
        Ok(())
    })
    .await
    .context("the ceiling is not wanted any more")
}
