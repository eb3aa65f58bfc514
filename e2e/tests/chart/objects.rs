//! Reads what helm rendered: documents, objects by kind, workloads and roles. It states no expectation of them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::helm::CHART;

pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

pub fn file(path: &str) -> Result<String> {
    let path = Path::new(CHART).join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

pub fn yaml_file(path: &str) -> Result<Value> {
    documents(&file(path)?)?
        .into_iter()
        .next()
        .with_context(|| format!("{path} is empty"))
}

pub fn string<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("no string at {pointer} in {value}"))
}

pub fn list<'a>(value: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .with_context(|| format!("no list at {pointer} in {value}"))
}

pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

pub fn all<'a>(objects: &'a [Value], wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| kind(object) == wanted)
}

/// The one object of this kind.
pub fn only<'a>(objects: &'a [Value], wanted: &'a str) -> Result<&'a Value> {
    let found: Vec<_> = all(objects, wanted).collect();
    match found[..] {
        [object] => Ok(object),
        _ => bail!("{} objects of kind {wanted}, not one", found.len()),
    }
}

pub fn container(workload: &Value) -> Result<&Value> {
    match &list(workload, "/spec/template/spec/containers")?[..] {
        [container] => Ok(container),
        more => bail!("{} containers, not one", more.len()),
    }
}

pub fn args(workload: &Value) -> Result<Vec<&str>> {
    Ok(list(container(workload)?, "/args")?
        .iter()
        .filter_map(Value::as_str)
        .collect())
}

/// The value of `--name=value` among a workload's arguments.
pub fn arg<'a>(workload: &'a Value, name: &str) -> Result<&'a str> {
    let prefix = format!("--{name}=");
    args(workload)?
        .into_iter()
        .find_map(|arg| arg.strip_prefix(&prefix))
        .with_context(|| format!("no argument {prefix}"))
}

pub fn workloads(objects: &[Value]) -> Result<[(&str, &Value); 2]> {
    Ok([
        ("controller", only(objects, "Deployment")?),
        ("agent", only(objects, "DaemonSet")?),
    ])
}

/// `Kind namespace/name`, by which the API server tells objects apart.
pub fn identity(object: &Value) -> Result<String> {
    let namespace = object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Ok(format!(
        "{} {namespace}/{}",
        kind(object),
        string(object, "/metadata/name")?
    ))
}

/// A role's rules, one line for each resource.
pub fn rules(role: &Value) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for rule in list(role, "/rules")? {
        let joined = |field: &str| -> String {
            rule[field]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let names = joined("resourceNames");
        let names = if names.is_empty() {
            names
        } else {
            format!(" [{names}]")
        };
        for resource in list(rule, "/resources")? {
            let group = joined("apiGroups");
            let resource = resource.as_str().context("a resource is no string")?;
            lines.insert(format!("{group}/{resource}{names}: {}", joined("verbs")));
        }
        ensure!(rule.get("nonResourceURLs").is_none(), "{rule}");
    }
    Ok(lines)
}
