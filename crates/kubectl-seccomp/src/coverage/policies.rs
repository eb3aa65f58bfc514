//! SeccompPolicies in files, held to what `kubectl apply` would hold them to.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::Failure;
use crate::input::Input;
use seccomp_operator_api::{GROUP, SeccompPolicy, SeccompPolicySpec};
use seccomp_policy::validation::problems;
use seccomp_profile::Problem;

/// The most that is read of one file.
const MAX_BYTES: u64 = 16 << 20;

/// The policies of these files, with their names. Objects of other kinds are for others to read.
pub fn read(files: &[PathBuf]) -> Result<Vec<(String, SeccompPolicySpec)>, Failure> {
    let mut found = Vec::new();
    for file in files {
        let text = text(file)?;
        let name = Input::from_argument(file).name();
        let policies =
            parse(&text).map_err(|sentence| Failure::Usage(format!("{name}: {sentence}")))?;
        found.extend(policies);
    }
    Ok(found)
}

fn text(file: &Path) -> Result<String, Failure> {
    let input = Input::from_argument(file);
    let mut text = String::new();
    let from = input.open()?;
    from.take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| input.unreadable(error))?;
    Ok(text)
}

fn parse(text: &str) -> Result<Vec<(String, SeccompPolicySpec)>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| format!("is no YAML: {error}"))?;
    let objects = documents.into_iter().flat_map(|document| match document {
        Value::Object(mut list) if list.get("items").is_some_and(Value::is_array) => {
            match list.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        document => vec![document],
    });
    let mut policies = Vec::new();
    for object in objects.filter(|object| object["kind"] == "SeccompPolicy") {
        policies.push(policy(&object)?);
    }
    if policies.is_empty() {
        return Err(format!(
            "holds no object of kind SeccompPolicy ({GROUP}/v1alpha1)"
        ));
    }
    Ok(policies)
}

fn policy(object: &Value) -> Result<(String, SeccompPolicySpec), String> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let spec = spec(object).map_err(|problem| format!("{name}: {problem}"))?;
    match problems(&spec).first() {
        Some(problem) => Err(format!("{name}: {problem}")),
        None => Ok((name.to_owned(), spec)),
    }
}

/// Whether it is a SeccompPolicy of this operator's.
pub fn is_policy(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    object["kind"] == "SeccompPolicy" && version.starts_with(&format!("{GROUP}/"))
}

/// What `kubectl apply` would refuse in a SeccompPolicy, as far as no cluster is needed to know.
pub fn faults(object: &Value) -> Vec<Problem> {
    match spec(object) {
        Ok(spec) => problems(&spec),
        Err(problem) => vec![problem],
    }
}

fn spec(object: &Value) -> Result<SeccompPolicySpec, Problem> {
    const FIELDS: &str = "`kubectl explain seccomppolicy.spec` has the fields";
    let problem = |path: &str, reason: String, remedy: &str| Problem {
        path: path.to_owned(),
        reason,
        remedy: remedy.to_owned(),
    };
    if object["metadata"]["name"]
        .as_str()
        .is_none_or(str::is_empty)
    {
        return Err(problem(
            "metadata.name",
            "is missing".into(),
            "name the policy",
        ));
    }
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let expected = format!("{GROUP}/v1alpha1");
    if version != expected {
        let reason = format!("is {version:?}");
        return Err(problem("apiVersion", reason, &format!("write {expected}")));
    }
    if let Some(path) = unknown_field("spec", &object["spec"], &schema()) {
        return Err(problem(&path, "there is no such field".into(), FIELDS));
    }
    serde_json::from_value(object["spec"].clone())
        .map_err(|error| problem("spec", error.to_string(), FIELDS))
}

fn schema() -> Value {
    let crd = serde_json::to_value(SeccompPolicy::crd()).unwrap_or_default();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// The first field that the schema does not have: a misspelt one would be taken for none, and the policy for another.
pub fn unknown_field(path: &str, value: &Value, schema: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => {
            let known = schema["properties"].as_object()?;
            fields.iter().find_map(|(key, value)| {
                let path = format!("{path}.{key}");
                match known.get(key) {
                    Some(schema) => unknown_field(&path, value, schema),
                    None => Some(path),
                }
            })
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            unknown_field(&format!("{path}[{index}]"), item, &schema["items"])
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: seccomp-operator.io/v1alpha1
kind: SeccompPolicy
metadata: {name: web}
spec:
  namespaceSelector:
    matchLabels: {team: web}
    matchExpressions: [{key: a, operator: In, values: [b]}]
  profile: {type: RuntimeDefault}
";

    #[test]
    fn policies_are_found_among_other_documents_and_in_lists() {
        let many = format!(
            "{GOOD}---\nkind: Namespace\n---\n{}",
            GOOD.replace("web}", "other}")
        );
        let names: Vec<_> = parse(&many)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["web", "other"]);
        let object: Value = serde_saphyr::from_str(GOOD).unwrap();
        let list = serde_json::json!({"kind": "List", "items": [object]}).to_string();
        assert_eq!(parse(&list).unwrap().len(), 1);
    }

    #[test]
    fn what_kubectl_would_refuse_is_refused_with_its_place() {
        for (from, to, part) in [
            (
                "namespaceSelector",
                "namespaceSelecter",
                "web: spec.namespaceSelecter: there is no such field",
            ),
            (
                "operator: In",
                "op: In",
                "web: spec.namespaceSelector.matchExpressions[0].op: there is no",
            ),
            (
                "v1alpha1",
                "v2",
                "apiVersion: is \"seccomp-operator.io/v2\"",
            ),
            ("RuntimeDefault", "Default", "unknown variant"),
            (
                "type: RuntimeDefault",
                "type: Localhost",
                "spec.profile.name",
            ),
            ("name: web", "nom: web", "metadata.name"),
            (
                "SeccompPolicy",
                "SeccompProfile",
                "no object of kind SeccompPolicy",
            ),
            ("kind: ", "kind: [", "is no YAML"),
        ] {
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(part), "{from} -> {to}: {error}");
        }
    }
}
