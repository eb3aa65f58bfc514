//! The chart as a whole: it lints, renders on every supported Kubernetes, and its README has every value.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::helm::{CHART, CURRENT, OLDEST, RELEASE, helm, render, succeed, text};
use crate::objects::{file, identity, kind, string, yaml_file};

#[test]
fn the_chart_passes_the_strict_lint() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        let printed = succeed(
            &["lint", "--strict", CHART, "--kube-version", version],
            &json!({}),
        )?;
        assert!(!printed.contains("[INFO]"), "{printed}");
    }
    Ok(())
}

#[test]
fn the_defaults_render_the_same_kinds_of_objects_wherever_there_are_such_kinds() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        let objects = render(version, &json!({}))?;
        let mut counts = BTreeMap::new();
        for object in &objects {
            *counts.entry(kind(object)).or_insert(0) += 1;
        }
        let mut expected = BTreeMap::from([
            ("ClusterRole", 2),
            ("ClusterRoleBinding", 2),
            ("CustomResourceDefinition", 9),
            ("DaemonSet", 1),
            ("Deployment", 1),
            ("Job", 1),
            ("MutatingWebhookConfiguration", 1),
            // Of `helm test`, as the SeccompProfile is.
            ("Pod", 1),
            ("PodDisruptionBudget", 1),
            ("Role", 1),
            ("RoleBinding", 1),
            ("SeccompProfile", 1),
            ("Service", 1),
            ("ServiceAccount", 2),
            ("ValidatingWebhookConfiguration", 1),
        ]);
        if version == CURRENT {
            expected.insert("ValidatingAdmissionPolicy", 1);
            expected.insert("ValidatingAdmissionPolicyBinding", 1);
        }
        assert_eq!(counts, expected, "for Kubernetes {version}");
    }
    Ok(())
}

#[test]
fn an_older_kubernetes_than_the_oldest_supported_is_refused() -> Result<()> {
    let output = helm(
        &["template", RELEASE, CHART, "--kube-version", "1.19.16"],
        &json!({}),
    )?;
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("kubeVersion"),
        "{}",
        text(&output.stderr)
    );
    Ok(())
}

#[test]
fn the_versions_of_chart_image_and_workspace_agree() -> Result<()> {
    let chart = yaml_file("Chart.yaml")?;
    assert_eq!(string(&chart, "/appVersion")?, env!("CARGO_PKG_VERSION"));
    let dockerfile = file("../../Dockerfile")?;
    assert!(
        dockerfile.contains(concat!("ARG VERSION=", env!("CARGO_PKG_VERSION"), "\n")),
        "the Dockerfile's VERSION differs"
    );
    Ok(())
}

#[test]
fn every_object_has_the_recommended_labels() -> Result<()> {
    let values =
        json!({"commonLabels": {"team": "security", "app.kubernetes.io/name": "not-ours"}});
    for object in render(CURRENT, &values)? {
        let id = identity(&object)?;
        let labels = &object["metadata"]["labels"];
        for (label, expected) in [
            ("app.kubernetes.io/name", "seccomp-operator"),
            ("app.kubernetes.io/instance", RELEASE),
            ("app.kubernetes.io/part-of", "seccomp-operator"),
            ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
            ("app.kubernetes.io/managed-by", "Helm"),
            ("team", "security"),
        ] {
            assert_eq!(labels[label], expected, "{label} of {id}");
        }
        assert!(labels["app.kubernetes.io/component"].is_string(), "{id}");
        assert!(labels["helm.sh/chart"].is_string(), "{id}");
    }
    Ok(())
}

#[test]
fn every_value_is_in_the_readme_with_its_default() -> Result<()> {
    fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
        match value.as_object() {
            Some(map) if !map.is_empty() => {
                for (key, value) in map {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    leaves(&path, value, found);
                }
            }
            _ => found.push(path.to_owned()),
        }
    }
    let values = yaml_file("values.yaml")?;
    let readme = file("README.md")?;
    let (_, table) = readme
        .split_once("## Values")
        .context("the README has no section Values")?;
    let mut rows = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let (key, default) = (cells[1], cells[2]);
        let value = values
            .pointer(&format!("/{}", key.replace('.', "/")))
            .with_context(|| format!("values.yaml has no {key}"))?;
        let stated: Value = serde_json::from_str(default)
            .with_context(|| format!("the default of {key} is no JSON"))?;
        assert_eq!(&stated, value, "the README's default of {key}");
        assert!(rows.insert(key.to_owned()), "{key} is there twice");
    }
    let mut keys = Vec::new();
    leaves("", &values, &mut keys);
    let covered = |key: &String| {
        rows.iter()
            .any(|row| key == row || key.starts_with(&format!("{row}.")))
    };
    let missing: Vec<_> = keys.into_iter().filter(|key| !covered(key)).collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "values that the README does not have"
    );
    Ok(())
}
