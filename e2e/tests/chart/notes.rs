//! What helm prints after an install.

use anyhow::{Context as _, Result};
use seccomp_operator_api::SeccompProfile;
use seccomp_profile::Library;
use serde_json::json;

use crate::helm::{NAMESPACE, notes};
use crate::objects::documents;

#[test]
fn the_notes_say_what_to_do_next_and_warn_of_nothing_by_default() -> Result<()> {
    let notes = notes(NAMESPACE, &json!({}))?;
    assert!(
        notes.contains(
            "kubectl --namespace security rollout status daemonset/rel-seccomp-operator-agent"
        ),
        "{notes}"
    );
    assert!(
        notes.contains("kubectl get seccompprofiles,seccomppolicies,seccompnodes"),
        "{notes}"
    );
    assert!(!notes.contains("WARNING"), "{notes}");
    // The example is meant to be pasted: a here-document ends at a line that is its word and nothing else.
    let (_, example) = notes
        .split_once("<<EOF\n")
        .context("the notes have no example")?;
    let (manifest, _) = example
        .split_once("\nEOF\n")
        .context("the example does not end")?;
    let profile = &documents(manifest)?[0];
    assert_eq!(profile["kind"], "SeccompProfile");
    // It is the one that the documents begin with, and there is nothing to say against it.
    let example = include_str!("../../../examples/profiles/no-chmod.yaml");
    assert_eq!(profile, &documents(example)?[0]);
    let readme = include_str!("../../../README.md");
    let (_, first) = readme
        .split_once("## A first profile")
        .and_then(|(_, rest)| rest.split_once("```yaml\n"))
        .context("the README has no first profile")?;
    let (first, _) = first.split_once("```").context("it does not end")?;
    assert_eq!(profile, &documents(first)?[0]);
    let profile: SeccompProfile = serde_json::from_value(profile.clone())?;
    let mut library = Library::default();
    library.define(
        "no-chmod",
        profile.spec.define().map(Into::into).map_err(Into::into),
    );
    assert!(library.check("no-chmod", "spec").is_ok());
    assert_eq!(library.lint("no-chmod", "spec"), []);
    Ok(())
}

#[test]
fn the_notes_name_the_path_that_the_values_make() -> Result<()> {
    let notes = notes(NAMESPACE, &json!({"profilesDir": "team/profiles"}))?;
    let path = "localhostProfile: team/profiles/no-chmod.json}";
    assert!(notes.contains(path), "{notes}");
    Ok(())
}

#[test]
fn the_notes_warn_of_every_risky_value() -> Result<()> {
    for (namespace, values, warning) in [
        (
            NAMESPACE,
            json!({"webhook": {"mutate": {"failurePolicy": "Fail"}}, "controller": {"replicas": 1}, "excludedNamespaces": ["cni"]}),
            "webhook.mutate.failurePolicy is Fail with one replica",
        ),
        (
            NAMESPACE,
            json!({"webhook": {"mutate": {"failurePolicy": "Fail"}}}),
            "Fail and excludedNamespaces is empty",
        ),
        (
            "default",
            json!({}),
            "the release is in the namespace default",
        ),
        (
            NAMESPACE,
            json!({"crds": {"keep": false}}),
            "crds.keep is false",
        ),
        (
            NAMESPACE,
            json!({"uninstall": {"releaseProfiles": false}}),
            "uninstall.releaseProfiles is false",
        ),
        (
            NAMESPACE,
            json!({"defaultPolicy": {"enabled": false}}),
            "defaultPolicy.enabled is false",
        ),
        (
            NAMESPACE,
            json!({"defaultPolicy": {"spec": {"profile": {"type": "Unconfined"}}}}),
            "type is Unconfined",
        ),
        (
            NAMESPACE,
            json!({"defaultPolicy": {"spec": {"mode": "Observe"}}}),
            "mode is Observe",
        ),
        (
            NAMESPACE,
            json!({"agent": {"tolerations": []}}),
            "agent.tolerations does not tolerate every taint",
        ),
        (
            NAMESPACE,
            json!({"agent": {"image": {"tag": "latest"}}}),
            "the agent's image tag is latest",
        ),
    ] {
        let notes = notes(namespace, &values)?;
        let warnings: Vec<_> = notes
            .lines()
            .filter(|line| line.starts_with("WARNING: "))
            .collect();
        assert_eq!(warnings.len(), 1, "{values}: {warnings:?}");
        assert!(warnings[0].contains(warning), "{values}: {warnings:?}");
    }
    // What is safe again must not go on warning.
    let safe = json!({"webhook": {"mutate": {"failurePolicy": "Fail"}}, "excludedNamespaces": ["calico-system"]});
    assert!(!notes(NAMESPACE, &safe)?.contains("WARNING"));
    Ok(())
}
