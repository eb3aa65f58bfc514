//! The custom resource definitions that the chart installs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::helm::{CHART, CURRENT, render};
use crate::objects::{all, documents, identity, string, yaml_file};

/// `0.0` written as `0`: to YAML and the API server they are one number.
fn plain_numbers(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(plain_numbers).collect(),
        Value::Object(map) => {
            let plain = |(key, value): (&String, &Value)| (key.clone(), plain_numbers(value));
            map.iter().map(plain).collect()
        }
        Value::Number(number) => match number.to_string().strip_suffix(".0").map(str::parse::<i64>)
        {
            Some(Ok(whole)) => json!(whole),
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

#[test]
fn the_definitions_are_rendered_as_they_are_in_the_files_and_kept_on_uninstall() -> Result<()> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(Path::new(CHART).join("files/crds"))? {
        for definition in documents(&std::fs::read_to_string(entry?.path())?)? {
            files.insert(
                string(&definition, "/metadata/name")?.to_owned(),
                plain_numbers(&definition["spec"]),
            );
        }
    }
    for (values, kept) in [(json!({}), true), (json!({"crds": {"keep": false}}), false)] {
        let objects = render(CURRENT, &values)?;
        let mut rendered = BTreeMap::new();
        for definition in all(&objects, "CustomResourceDefinition") {
            let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(policy == "keep", kept, "{}", identity(definition)?);
            rendered.insert(
                string(definition, "/metadata/name")?.to_owned(),
                plain_numbers(&definition["spec"]),
            );
        }
        assert_eq!(rendered, files);
    }
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "seccompauditreports.seccomp-operator.io",
            "seccompceilings.seccomp-operator.io",
            "seccompdenialreports.seccomp-operator.io",
            "seccompnodes.seccomp-operator.io",
            "seccomppolicies.seccomp-operator.io",
            "seccompprofiles.seccomp-operator.io",
            "seccomprecordingreports.seccomp-operator.io",
            "seccomprecordings.seccomp-operator.io",
            "seccompsources.seccomp-operator.io",
        ]
    );

    let without = render(CURRENT, &json!({"crds": {"enabled": false}}))?;
    assert_eq!(all(&without, "CustomResourceDefinition").count(), 0);
    Ok(())
}

#[test]
fn the_catalogue_names_the_definitions_that_the_chart_has() -> Result<()> {
    let chart = yaml_file("Chart.yaml")?;
    let listed = documents(string(&chart, "/annotations/artifacthub.io~1crds")?)?;
    let listed: BTreeSet<_> = listed
        .iter()
        .flat_map(|list| list.as_array().into_iter().flatten())
        .map(|entry| {
            (
                entry["name"].to_string(),
                entry["kind"].to_string(),
                entry["version"].to_string(),
            )
        })
        .collect();
    let objects = render(CURRENT, &json!({}))?;
    let rendered: BTreeSet<_> = all(&objects, "CustomResourceDefinition")
        .map(|crd| {
            (
                &crd["metadata"]["name"],
                &crd["spec"]["names"]["kind"],
                &crd["spec"]["versions"][0]["name"],
            )
        })
        .map(|(name, kind, version)| (name.to_string(), kind.to_string(), version.to_string()))
        .collect();
    assert_eq!(listed, rendered);
    Ok(())
}
