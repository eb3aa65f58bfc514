//! SeccompCeilings in files: what `kubectl apply` would refuse in one, and which profiles are above it.

use std::io::Read as _;
use std::path::PathBuf;

use kube::CustomResourceExt as _;
use serde_json::Value;

use super::{Level, Row};
use crate::coverage::policies::unknown_field;
use crate::document::Named;
use crate::input::Input;
use crate::{Failure, target};
use seccomp_operator_api::{CeilingAction, GROUP, SeccompCeiling, SeccompCeilingSpec};
use seccomp_policy::ceiling::{Breach, Ceiling};
use seccomp_profile::{Arch, Library, Model, Problem, Severity, Target};

/// The code of a profile that allows more than a ceiling.
const CODE: &str = "exceeds-ceiling";
/// The most that is read of one file.
const MAX_BYTES: u64 = 16 << 20;

/// The ceilings that profiles are held to, by name.
#[derive(Default)]
pub struct Ceilings(Vec<(String, Ceiling)>);

impl Ceilings {
    /// Those of these files. Objects of other kinds are for others to read.
    pub fn read(files: &[PathBuf]) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for file in files {
            let input = Input::from_argument(file);
            let mut text = String::new();
            let from = input.open()?;
            from.take(MAX_BYTES)
                .read_to_string(&mut text)
                .map_err(|error| input.unreadable(error))?;
            let of_file = parse(&text);
            all.extend(
                of_file.map_err(|said| Failure::Usage(format!("{}: {said}", input.name())))?,
            );
        }
        Ok(Self(all))
    }

    /// What there is to say of a profile that is above one of them.
    pub fn rows(
        &self,
        named: &Named,
        library: &Library,
        target: &Target,
        fail_on: Level,
    ) -> Vec<Row> {
        let own = target::resolve_quietly(named, library, target).ok();
        let next = named.object().and_then(|name| {
            let next = library.with_next(name)?;
            next.compose(name, target, "spec").ok()
        });
        let at = named.origin.as_is().unwrap_or("spec");
        let model = |profile: &seccomp_profile::Profile| profile.model().ok();
        let versions = [
            (own.as_ref().and_then(model), ""),
            (
                next.as_ref().and_then(model),
                "once spec.trial is promoted: ",
            ),
        ];
        let mut rows: Vec<Row> = Vec::new();
        for (model, when) in versions {
            let Some(model) = model else { continue };
            for breach in self.breaches(named, target.arch, model) {
                let row = row(&breach, at, when, fail_on);
                let is_said = |said: &Row| when.to_owned() + &said.reason == row.reason;
                if !rows.iter().any(is_said) {
                    rows.push(row);
                }
            }
        }
        rows
    }

    fn breaches(&self, named: &Named, arch: Arch, model: Model) -> Vec<Breach> {
        let models = [(arch, model)];
        let is_excepted =
            |ceiling: &Ceiling| named.object().is_some_and(|own| ceiling.excepts(own));
        let held = self.0.iter().filter(|(_, ceiling)| !is_excepted(ceiling));
        held.filter_map(|(name, ceiling)| ceiling.breach(name, &models))
            .collect()
    }
}

fn row(breach: &Breach, at: &str, when: &str, fail_on: Level) -> Row {
    let severity = match breach.action {
        CeilingAction::Deny => Severity::Error,
        CeilingAction::Warn => Severity::Warning,
    };
    Row {
        severity: severity.name(),
        rank: severity,
        code: CODE,
        path: at.to_owned(),
        reason: format!("{when}{}", breach.reason()),
        remedy: breach.remedy(),
        counts: severity >= fail_on.severity(),
    }
}

fn parse(text: &str) -> Result<Vec<(String, Ceiling)>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| format!("is no YAML: {error}"))?;
    let objects = documents.into_iter().flat_map(|mut document| {
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![document],
        }
    });
    let mut found = Vec::new();
    for object in objects.filter(is_ceiling) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let spec = spec(&object).map_err(|problem| format!("{name}: {problem}"))?;
        if let Err(problems) = spec.define() {
            return Err(format!("{name}: {problems}"));
        }
        found.push((name.to_owned(), Ceiling::new(&spec)));
    }
    if found.is_empty() {
        return Err(format!(
            "holds no object of kind SeccompCeiling ({GROUP}/v1alpha1)"
        ));
    }
    Ok(found)
}

/// Whether it is a SeccompCeiling.
pub fn is_ceiling(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    object["kind"] == "SeccompCeiling" && version.starts_with(&format!("{GROUP}/"))
}

/// What `kubectl apply` would refuse in one, as far as no cluster is needed to know.
pub fn faults(object: &Value) -> Vec<Problem> {
    match spec(object) {
        Ok(spec) => match spec.define() {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().cloned().collect(),
        },
        Err(problem) => vec![problem],
    }
}

fn spec(object: &Value) -> Result<SeccompCeilingSpec, Problem> {
    const FIELDS: &str = "`kubectl explain seccompceiling.spec` has the fields";
    let problem = |path: &str, reason: String, remedy: &str| Problem {
        path: path.to_owned(),
        reason,
        remedy: remedy.to_owned(),
    };
    let name = object["metadata"]["name"].as_str();
    if name.is_none_or(str::is_empty) {
        let reason = "is missing".to_owned();
        return Err(problem("metadata.name", reason, "name the ceiling"));
    }
    let crd = serde_json::to_value(SeccompCeiling::crd()).unwrap_or_default();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    // What a document may hold its reader knows.
    let mut own = object["spec"].clone();
    for field in ["profile", "allow", "log", "deny"] {
        if let Some(fields) = own.as_object_mut() {
            fields.remove(field);
        }
    }
    if let Some(path) = unknown_field("spec", &own, schema) {
        return Err(problem(&path, "there is no such field".into(), FIELDS));
    }
    serde_json::from_value(object["spec"].clone())
        .map_err(|error| problem("spec", error.to_string(), FIELDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: seccomp-operator.io/v1alpha1
kind: SeccompCeiling
metadata: {name: top}
spec:
  base: runtime-default
  deny: ['@chmod']
  action: Deny
";

    #[test]
    fn ceilings_are_found_among_other_objects_and_what_kubectl_would_refuse_is_refused() {
        let many = format!(
            "{GOOD}---\nkind: Namespace\n---\n{}",
            GOOD.replace("top", "b")
        );
        assert_eq!(parse(&many).map(|found| found.len()), Ok(2));
        for (from, to, part) in [
            (
                "action: Deny",
                "action: Refuse",
                "top: spec: unknown variant",
            ),
            (
                "action: Deny",
                "mode: Deny",
                "top: spec.mode: there is no such field",
            ),
            (
                "runtime-default",
                "web",
                "top: spec.base: \"web\" is no built-in",
            ),
            ("'@chmod'", "'@chmdo'", "top: spec.deny[0]: "),
            ("name: top", "nom: top", "metadata.name: is missing"),
            (
                "SeccompCeiling",
                "SeccompPolicy",
                "no object of kind SeccompCeiling",
            ),
        ] {
            let said = parse(&GOOD.replacen(from, to, 1)).err().unwrap();
            assert!(said.contains(part), "{to}: {said}");
        }
    }
}
