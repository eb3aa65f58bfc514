//! What the tests before it have shown, taken together. Tests run in the order of their names, so this one comes late; alone it
//! has too little to go by, but on a cluster that was kept after a whole run.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use e2e::cluster::{Cluster, NAMESPACE, RELEASE};
use e2e::command::helm;
use e2e::shell::Shell;
use serde_json::Value;

use super::Tested;

/// What the chart grants and nobody is seen to use, each for a reason.
const UNSEEN: &[&str] = &[
    // Asked for where the admission plugin OwnerReferencesPermissionEnforcement is on: who may not delete an object may not say
    // who owns it.
    "controller: delete seccompnodes",
    // When a report outlived its recording, because its node was away when the recording went.
    "controller: delete seccomprecordingreports",
    // When a node is gone on which calls were refused.
    "controller: delete seccompdenialreports",
    "controller: get seccompdenialreports",
    // The same of what was heard there.
    "controller: delete seccompauditreports",
    "controller: get seccompauditreports",
    // When the certificate authority grows old, after months.
    "controller: update secrets",
];

/// `component: verb resource`, of every rule that the chart grants to the component's account.
async fn granted() -> anyhow::Result<BTreeSet<String>> {
    let manifest = helm(&["get", "manifest", RELEASE, "--namespace", NAMESPACE])
        .await?
        .ok()?;
    let mut granted = BTreeSet::new();
    for document in manifest.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document)?;
        let kind = object["kind"].as_str().unwrap_or_default();
        if !["Role", "ClusterRole"].contains(&kind) {
            continue;
        }
        let component = &object["metadata"]["labels"]["app.kubernetes.io/component"];
        let component = component.as_str().context("a role of no component")?;
        let texts = |value: &Value| -> Vec<String> {
            let values = value.as_array().into_iter().flatten();
            values
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect()
        };
        for rule in object["rules"].as_array().into_iter().flatten() {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    granted.insert(format!("{component}: {verb} {resource}"));
                }
            }
        }
    }
    Ok(granted)
}

/// How often each right was used, and what was refused, by the API server's own log.
async fn used(shell: &Shell) -> anyhow::Result<(BTreeMap<String, usize>, BTreeSet<String>)> {
    let log = shell.run("cat /var/log/kubernetes/audit*.log").await?;
    let (mut used, mut refused) = (BTreeMap::new(), BTreeSet::new());
    for line in log.lines() {
        // The last line may be half-written.
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let text = |pointer: &str| {
            event
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let account = text("/user/username")
            .rsplit(':')
            .next()
            .unwrap_or_default();
        let Some(component) = account.strip_prefix(&format!("{RELEASE}-")) else {
            continue;
        };
        let mut resource = text("/objectRef/resource").to_owned();
        if let Some(part) = event
            .pointer("/objectRef/subresource")
            .and_then(Value::as_str)
        {
            resource = format!("{resource}/{part}");
        }
        let (verb, code) = (text("/verb"), event.pointer("/responseStatus/code"));
        let code = code.and_then(Value::as_u64).unwrap_or_default();
        let call = |verb: &str| format!("{component}: {verb} {resource}");
        if code == 403 {
            refused.insert(call(verb));
            continue;
        }
        *used.entry(call(verb)).or_insert(0) += 1;
        // An apply of what is not there yet.
        if verb == "patch" && code == 201 {
            *used.entry(call("create")).or_insert(0) += 1;
        }
    }
    Ok((used, refused))
}

#[tokio::test]
async fn the_chart_grants_what_was_asked_for_and_nothing_else_and_nothing_was_refused() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-whole-run", &[]).await?;
    let shell = Shell::start(&cluster, &namespace).await?;
    if shell.run("ls /var/log/kubernetes/audit.log").await.is_err() {
        println!("skipped: the API server of this cluster keeps no audit log");
        return Ok(());
    }
    let (granted, (used, refused)) = (granted().await?, used(&shell).await?);
    println!("{used:#?}");
    // An API server that has just started does not know the roles yet, and refuses what it allows a moment later.
    let refused: Vec<_> = refused
        .iter()
        .filter(|right| !used.contains_key(*right))
        .collect();
    assert!(refused.is_empty(), "refused: {refused:#?}");
    let seen = |right: &str| {
        // Who may list may read each one anyway; and a watch, which begins with a list, is in the log only when it has ended.
        let listed = right.replacen(": get ", ": list ", 1);
        let listed = listed.replacen(": watch ", ": list ", 1);
        used.contains_key(right) || used.contains_key(&listed) || UNSEEN.contains(&right)
    };
    let unused: Vec<_> = granted.iter().filter(|right| !seen(right)).collect();
    assert!(
        unused.is_empty(),
        "granted, and not used in this run: {unused:#?}"
    );
    Ok(())
}
