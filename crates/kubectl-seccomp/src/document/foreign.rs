//! SeccompProfiles of other operators: the Security Profiles Operator's and its ancestors', kguardian's and kubescape's. Their spec is
//! a document with a few fields more, or has one for each container.
//!
//! `join` puts a profile and its base together as the Security Profiles Operator does; `carried` is what this operator takes of one.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Faulty, Named, Origin, fault, named, text};
use seccomp_profile::{Action, Arch, MAX_DEPTH, Syscall, parse_in_object_as_is};

/// What is known of a profile of another operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The object's name, with the container's if there are several.
    pub name: String,
    /// Where the document stands in the object.
    pub at: String,
    /// The profile whose rules it has as well.
    pub base: Option<String>,
    /// What it says beside the document that matters where it is taken over.
    remarks: Vec<String>,
    /// The document as it is written, without what is not one's.
    document: Map<String, Value>,
}

/// Fields of the spec that say where a profile is installed, not what it does.
const BESIDE: &[&str] = &[
    "baseProfileName",
    "disabled",
    "state",
    "targetWorkload",
    "workloadRef",
];

/// The lists of kubescape's profiles, which have a document for each container.
const CONTAINERS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

/// The profiles of one object.
pub(super) fn read(name: &str, object: &Value) -> Vec<Result<Named, Faulty>> {
    let own = object.get("metadata").map_or("", |m| text(m, "name"));
    let spec = object.get("spec").cloned().unwrap_or_default();
    let containers = CONTAINERS.iter().flat_map(|list| {
        let items = spec.get(list).and_then(Value::as_array);
        let items = items.into_iter().flatten().enumerate();
        items.map(move |(i, item)| (format!("spec.{list}[{i}].spec"), item))
    });
    let containers: Vec<_> = containers.collect();
    if containers.is_empty() {
        return vec![one(name, own, "spec", &spec, object)];
    }
    let each = containers.into_iter().map(|(at, item)| {
        let container = text(item, "name");
        let (name, own) = if container.is_empty() {
            (name.to_owned(), own.to_owned())
        } else {
            (
                format!("{name} ({container})"),
                format!("{own}-{container}"),
            )
        };
        let document = item.get("spec").cloned().unwrap_or_default();
        one(&name, &own, &at, &document, object)
    });
    each.collect()
}

fn one(name: &str, own: &str, at: &str, spec: &Value, object: &Value) -> Result<Named, Faulty> {
    let mut document = spec.as_object().cloned().unwrap_or_default();
    let base = document.get("baseProfileName").and_then(Value::as_str);
    let base = base.filter(|base| !base.is_empty()).map(str::to_owned);
    let remarks = remarks(&document, at, object);
    document.retain(|key, _| !BESIDE.contains(&key.as_str()));
    let unstated = mended(&mut document);
    let foreign = Foreign {
        name: own.to_owned(),
        at: at.to_owned(),
        base,
        remarks: remarks.into_iter().chain(unstated).collect(),
        document,
    };
    foreign.named(name)
}

/// What is not part of the profile and gets lost.
fn remarks(spec: &Map<String, Value>, at: &str, object: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    let disabled =
        spec.get("disabled") == Some(&json!(true)) || spec.get("state") == Some(&json!("Disabled"));
    if disabled {
        remarks.push(format!(
            "{at}: it is disabled there; here it is written to nodes once it is applied"
        ));
    }
    for field in ["targetWorkload", "workloadRef"] {
        if spec.get(field).is_some_and(|value| !value.is_null()) {
            remarks.push(format!(
                "{at}.{field}: is left out; a SeccompPolicy says which pods get a profile"
            ));
        }
    }
    let metadata = object.get("metadata");
    let namespace = metadata.map_or("", |metadata| text(metadata, "namespace"));
    if !namespace.is_empty() {
        remarks.push(format!(
            "metadata.namespace: {namespace} is left out; SeccompProfiles are for the whole cluster"
        ));
    }
    let used = object.get("status");
    let used = used.map_or("", |status| text(status, "localhostProfile"));
    if !used.is_empty() {
        remarks.push(format!(
            "status.localhostProfile: pods that name {used} have to name the new file"
        ));
    }
    remarks
}

/// Writes what other operators' types leave out or write otherwise as a document has it; says what has no place in one.
fn mended(document: &mut Map<String, Value>) -> Vec<String> {
    let mut lost = Vec::new();
    if let Some(Value::Array(arches)) = document.get_mut("architectures") {
        for arch in arches.iter_mut() {
            // kguardian's word.
            if arch == "SCMP_ARCH_ARM64" {
                *arch = json!(Arch::Aarch64.to_string());
            }
        }
        arches.retain(|arch| {
            let name = arch.as_str().unwrap_or_default();
            // Always included, and two that no container runtime knows.
            let is_void = name == "SCMP_ARCH_NATIVE" || name.starts_with("SCMP_ARCH_PARISC");
            if is_void && name != "SCMP_ARCH_NATIVE" {
                lost.push(format!(
                    "architectures: {name} is left out; no container runtime knows it"
                ));
            }
            !is_void
        });
    }
    let rules = document.get_mut("syscalls").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        // Text in their first versions; 0 is nothing stated.
        if let Some(Value::String(errno)) = rule.get("errnoRet")
            && let Ok(number) = errno.parse::<u16>()
        {
            rule.insert("errnoRet".into(), json!(number));
        }
        let is_void = |errno: &Value| errno == 0 || errno == "";
        if rule.get("errnoRet").is_some_and(is_void) {
            rule.remove("errnoRet");
        }
        let args = rule.get_mut("args").and_then(Value::as_array_mut);
        for arg in args.into_iter().flatten().filter_map(Value::as_object_mut) {
            arg.entry("value").or_insert(json!(0));
        }
    }
    lost
}

impl Foreign {
    fn named(self, name: &str) -> Result<Named, Faulty> {
        let document = Value::Object(self.document.clone());
        let read = parse_in_object_as_is(&document, &self.at);
        let read = named(name.to_owned(), &self.at, read)?;
        Ok(Named {
            origin: Origin::Foreign(self),
            ..read
        })
    }

    /// What this operator takes of it, and what not.
    pub fn carried(&self) -> (Value, Vec<String>) {
        let mut document = self.document.clone();
        let mut lost = self.remarks.clone();
        let rules = document.get_mut("syscalls").and_then(Value::as_array_mut);
        for (i, rule) in rules.into_iter().flatten().enumerate() {
            if let Some(Value::Array(names)) = rule.get_mut("names") {
                names.retain(|name| {
                    let name = name.as_str().unwrap_or_default();
                    let is_call = Syscall::named(name).is_some();
                    if !is_call {
                        let at = &self.at;
                        lost.push(format!(
                            "{at}.syscalls[{i}]: {name:?} is left out; it is no system call"
                        ));
                    }
                    is_call
                });
            }
        }
        if let Some(Value::Array(rules)) = document.get_mut("syscalls") {
            rules.retain(|rule| rule.get("names") != Some(&json!([])));
        }
        (Value::Object(document), lost)
    }

    /// With the rules of its base, the more lenient first: of two rules without conditions the first counts. Defaults, architectures
    /// and flags are its own.
    fn with_rules_of(mut self, base: &Self) -> Self {
        let rules = |foreign: &Self| {
            let rules = foreign.document.get("syscalls");
            rules.and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let mut both: Vec<Value> = rules(&self);
        both.extend(rules(base));
        let leniency = |rule: &Value| {
            let action = Action::named(text(rule, "action"), None);
            std::cmp::Reverse(action.map_or(0, Action::leniency))
        };
        both.sort_by_key(leniency);
        self.document.insert("syscalls".into(), Value::Array(both));
        self
    }
}

/// Puts profiles and their bases together: those that are among `found` or `with`.
pub fn join(found: &mut [Result<Named, Faulty>], with: &[Named]) {
    let foreign = |named: &Named| match &named.origin {
        Origin::Foreign(foreign) => Some(foreign.clone()),
        _ => None,
    };
    let known = found.iter().flatten().chain(with);
    let known: Vec<Foreign> = known.filter_map(foreign).collect();
    for named in found.iter_mut() {
        let Ok(own) = named else { continue };
        let Origin::Foreign(this) = &own.origin else {
            continue;
        };
        if this.base.is_some() {
            let joined = joined(this.clone(), &own.name, &known);
            *named = joined.and_then(|joined| joined.named(&own.name));
        }
    }
}

fn joined(own: Foreign, name: &str, known: &[Foreign]) -> Result<Foreign, Faulty> {
    let mut seen = BTreeSet::from([own.name.clone()]);
    let path = format!("{}.baseProfileName", own.at);
    let fault = |reason: String, remedy: &str| fault(name, &path, reason, remedy);
    let mut next = own.base.clone();
    let mut joined = own;
    while let Some(base) = next.take() {
        if base.starts_with("oci://") {
            return Err(fault(
                format!("names {base}, and artifacts in registries are not read"),
                "pull it with `spoc pull`, name the profile in it here, and give its file by --with",
            ));
        }
        if !seen.insert(base.clone()) || seen.len() > MAX_DEPTH {
            return Err(fault(
                format!(
                    "leads through {base} back to itself, or through more than {MAX_DEPTH} profiles"
                ),
                "let one of them have no base",
            ));
        }
        let Some(found) = known.iter().find(|known| known.name == base) else {
            return Err(fault(
                format!("names another profile, {base}, which no input holds"),
                "give the file with it as well, or by --with",
            ));
        };
        joined = joined.with_rules_of(found);
        next.clone_from(&found.base);
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "security-profiles-operator.x-k8s.io/v1",
            "kind": "SeccompProfile",
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": "7"},
            "spec": spec,
            "status": {"status": "Installed", "localhostProfile": format!("operator/{name}.json")},
        })
    }

    fn allow(names: &[&str]) -> Value {
        json!({"names": names, "action": "SCMP_ACT_ALLOW"})
    }

    fn of(name: &str, spec: &Value) -> Result<Named, Faulty> {
        let mut found = read(name, &profile(name, spec));
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    fn carried(found: &Result<Named, Faulty>) -> (Value, Vec<String>) {
        match &found.as_ref().unwrap().origin {
            Origin::Foreign(foreign) => foreign.carried(),
            origin => panic!("{origin:?}"),
        }
    }

    #[test]
    fn what_its_operator_fills_in_is_no_part_of_the_document() {
        for spec in [
            json!({"state": "Enabled"}),
            json!({"disabled": false, "targetWorkload": null}),
            json!({"baseProfileName": "", "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 0},
                {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": "38"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ"}]},
            ]}),
            json!({"architectures": ["SCMP_ARCH_NATIVE", "SCMP_ARCH_ARM64", "SCMP_ARCH_PARISC"]}),
        ] {
            let mut spec = spec;
            spec["defaultAction"] = json!("SCMP_ACT_ERRNO");
            let found = of("a", &spec);
            let odd = match &found.as_ref().unwrap().definition.spec.as_ref() {
                seccomp_profile::Spec::Document(document) => document.oddities().count(),
                _ => 1,
            };
            assert_eq!(odd, 0, "{spec}");
            let (document, _) = carried(&found);
            seccomp_profile::parse_in_object(&document, "").unwrap();
        }
    }

    #[test]
    fn what_is_left_out_is_said() {
        let spec = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "state": "Disabled", "targetWorkload": "web",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_PARISC"],
            "syscalls": [allow(&["read", "nothing_such"]), allow(&["none_at_all"])],
        });
        let (document, lost) = carried(&of("a", &spec));
        assert_eq!(
            document,
            json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [allow(&["read"])]})
        );
        let starts = [
            "spec: it is disabled there",
            "spec.targetWorkload: is left out",
            "metadata.namespace: shop is left out",
            "status.localhostProfile: pods that name operator/a.json ",
            "architectures: SCMP_ARCH_PARISC is left out",
            "spec.syscalls[0]: \"nothing_such\" is left out",
            "spec.syscalls[1]: \"none_at_all\" is left out",
        ];
        assert_eq!(lost.len(), starts.len(), "{lost:#?}");
        for (said, start) in lost.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn a_profile_has_the_rules_of_its_bases() {
        let spec = |base: &str, rule: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": base, "syscalls": [rule]});
        let refuse = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38});
        let mut found = vec![
            of("web", &spec("runc", refuse.clone())),
            of("runc", &spec("go", allow(&["mkdir"]))),
        ];
        let go = of("go", &spec("", allow(&["futex"]))).unwrap();
        join(&mut found, std::slice::from_ref(&go));
        // The more lenient first, as their operator takes it.
        let (document, _) = carried(&found[0]);
        let both = json!([allow(&["mkdir"]), allow(&["futex"]), refuse]);
        assert_eq!(document["syscalls"], both);
        assert_eq!(found[0].as_ref().unwrap().base_name(), Some("web"));
        let (document, _) = carried(&found[1]);
        assert_eq!(
            document["syscalls"],
            json!([allow(&["mkdir"]), allow(&["futex"])])
        );

        for (base, start) in [
            (
                "nowhere",
                "spec.baseProfileName: names another profile, nowhere, which no input holds; give the file",
            ),
            (
                "oci://ghcr.io/x/runc:v1",
                "spec.baseProfileName: names oci://ghcr.io/x/runc:v1, and artifacts in registries are not read; pull it",
            ),
            (
                "web",
                "spec.baseProfileName: leads through web back to itself",
            ),
        ] {
            let mut found = vec![of("web", &spec(base, allow(&["read"])))];
            join(&mut found, &[]);
            let said = found[0].as_ref().unwrap_err().problems.to_string();
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn kubescape_has_a_profile_for_each_container() {
        let object = json!({
            "apiVersion": "kubescape.io/v1", "kind": "SeccompProfile", "metadata": {"name": "web"},
            "spec": {
                "containers": [
                    {"name": "app", "path": "x/app.json", "spec": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allow(&["read"])]}},
                    {"name": "proxy", "path": "x/proxy.json", "spec": {"defaultAction": "SCMP_ACT_LOG"}},
                ],
                "initContainers": [{"name": "init", "spec": {"defaultAction": "SCMP_ACT_DENY"}}],
            },
        });
        let found = read("f", &object);
        let names: Vec<_> = found
            .iter()
            .flatten()
            .map(|named| (named.name.as_str(), named.base_name()))
            .collect();
        assert_eq!(
            names,
            [
                ("f (app)", Some("web-app")),
                ("f (proxy)", Some("web-proxy"))
            ]
        );
        let said = found[2].as_ref().unwrap_err().to_string();
        assert!(
            said.starts_with("f (init): spec.initContainers[0].spec.defaultAction: "),
            "{said}"
        );
    }
}
