//! The documents in objects: Kubernetes', a container's configuration, and what `crictl`, `ctr` and `docker` print of containers.

use serde_json::{Map, Value};

use super::{FORMS, Faulty, Named, Origin, Parsed, faulty, foreign, named, parse, text};
use seccomp_operator_api::SeccompProfileSpec;

/// The group of this project's API.
const GROUP: &str = "seccomp-operator.io/";

/// Where tools put a container's runtime-spec `linux`: `config.json`, `crictl inspect`, `ctr containers info`.
const CONTAINERS: &[(&str, &str)] = &[
    ("/linux", "linux"),
    ("/info/runtimeSpec/linux", "info.runtimeSpec.linux"),
    ("/runtimeSpec/linux", "runtimeSpec.linux"),
    ("/Spec/linux", "Spec.linux"),
];

/// Whether it is an object that holds a document, not a document.
pub(super) fn is_wrapped(value: &Value) -> bool {
    // Both are wrong in a document, and its reader says so.
    let is_document = value.get("defaultAction").is_some() || value.get("syscalls").is_some();
    let is_object = value.get("kind").is_some() || value.get("ociVersion").is_some();
    is_object || !is_document && (container(value).is_some() || is_inspected(value))
}

/// A container's `linux`, and its path.
fn container(value: &Value) -> Option<(&Value, &'static str)> {
    let mut there = CONTAINERS.iter();
    there.find_map(|(pointer, path)| Some((value.pointer(pointer)?, *path)))
}

/// Whether `docker inspect` or `podman inspect` has printed it.
fn is_inspected(value: &Value) -> bool {
    value.pointer("/HostConfig/SecurityOpt").is_some()
}

/// The documents in objects.
pub(super) struct Unwrapping<'n> {
    name: &'n str,
    found: Vec<Result<Named, Faulty>>,
    /// What else was there.
    others: Vec<Value>,
}

impl<'n> Unwrapping<'n> {
    /// The documents, and the objects that hold none.
    pub(super) fn unwrap_all(name: &'n str, values: Vec<Value>) -> Parsed {
        let mut this = Self {
            name,
            found: vec![],
            others: vec![],
        };
        let many = |value: &Value| {
            let items = value.as_array().map_or(0, Vec::len);
            text(value, "kind").ends_with("List") || items > 1
        };
        let alone = values.len() == 1 && !values.iter().any(many);
        for value in values {
            this.add(value, alone);
        }
        if this.found.is_empty() && this.others.is_empty() {
            this.found.push(faulty(name, "", "is empty".into(), FORMS));
        }
        Parsed {
            found: this.found,
            others: this.others,
        }
    }

    fn add(&mut self, mut value: Value, alone: bool) {
        if let Value::Array(items) = value {
            for item in items {
                self.add(item, alone);
            }
            return;
        }
        if !is_wrapped(&value) {
            let name = if alone {
                self.name.to_owned()
            } else {
                format!("{} ({})", self.name, self.found.len() + 1)
            };
            self.found.push(if value.is_object() {
                named(name, "", seccomp_profile::parse_as_is(&value, ""))
            } else {
                // Any text is YAML.
                faulty(&name, "", "holds no profile".into(), FORMS)
            });
            return;
        }
        let (kind, version) = (text(&value, "kind"), text(&value, "apiVersion"));
        if kind.ends_with("List") {
            if let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
                for mut item in items {
                    // Items of a list that the API server writes have neither.
                    if item.get("kind").is_none()
                        && let Some(object) = item.as_object_mut()
                    {
                        object.insert("kind".into(), kind_of_item(&value));
                        object.insert("apiVersion".into(), version_of(&value));
                    }
                    self.add(item, false);
                }
            }
            return;
        }
        let name = self.name_of(object_name(&value), alone);
        if let Some((linux, at)) = container(&value) {
            self.found.push(of_container(&name, linux, at));
        } else if value.get("ociVersion").is_some() {
            self.found.push(unconfined(&name, "linux.seccomp"));
        } else if is_inspected(&value) {
            self.found.push(of_inspected(&name, &value));
        } else if kind == "SeccompProfile" && version.starts_with(GROUP) {
            self.found.push(from_manifest(&name, &value));
        } else if kind == "SeccompProfile" {
            self.found.extend(foreign::read(&name, &value));
        } else if kind == "ConfigMap" && self.add_entries(&value) {
        } else {
            self.others.push(value);
        }
    }

    /// The profiles in a `ConfigMap`, each by its key; whether there are any.
    fn add_entries(&mut self, value: &Value) -> bool {
        let data = value.get("data").and_then(Value::as_object);
        let entries = data.into_iter().flatten();
        let entries = entries.filter_map(|(key, text)| Some((key, text.as_str()?)));
        let before = self.found.len();
        // Others have nothing to do with seccomp.
        for (key, text) in entries.filter(|(_, text)| text.contains("SCMP_ACT_")) {
            let map = object_name(value);
            let place = if map.is_empty() {
                key.clone()
            } else {
                format!("{map}/{key}")
            };
            self.found
                .extend(parse(&self.name_of(&place, false), text.as_bytes()));
        }
        self.found.len() > before
    }

    fn name_of(&self, object: &str, alone: bool) -> String {
        if alone || object.is_empty() {
            self.name.to_owned()
        } else {
            format!("{} ({object})", self.name)
        }
    }
}

/// What an object or a container is called.
fn object_name(value: &Value) -> &str {
    let metadata = value.get("metadata");
    let metadata = metadata.or_else(|| value.pointer("/status/metadata"));
    let name = metadata.map_or("", |metadata| text(metadata, "name"));
    let id = || text(value, "ID");
    [name, text(value, "Name"), id()]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default()
        .trim_start_matches('/')
}

fn of_container(name: &str, linux: &Value, at: &str) -> Result<Named, Faulty> {
    let at = format!("{at}.seccomp");
    match linux.get("seccomp").filter(|seccomp| !seccomp.is_null()) {
        Some(document) => {
            let read = seccomp_profile::parse_as_is(document, &at);
            named(name.to_owned(), &at, read)
        }
        None => unconfined(name, &at),
    }
}

fn unconfined(name: &str, at: &str) -> Result<Named, Faulty> {
    faulty(
        name,
        at,
        "is missing: the container runs unconfined".into(),
        "give a container that has a profile",
    )
}

/// Docker keeps a profile's text in the container's options; Podman keeps its path.
fn of_inspected(name: &str, value: &Value) -> Result<Named, Faulty> {
    const AT: &str = "HostConfig.SecurityOpt";
    let options = value.pointer("/HostConfig/SecurityOpt");
    let mut options = options.and_then(Value::as_array).into_iter().flatten();
    let seccomp = options.find_map(|option| {
        let option = option.as_str()?;
        option
            .strip_prefix("seccomp=")
            .or_else(|| option.strip_prefix("seccomp:"))
    });
    match seccomp {
        Some(document) if document.trim_start().starts_with('{') => {
            let read = seccomp_profile::parse_slice_as_is(document.as_bytes(), AT);
            named(name.to_owned(), AT, read)
        }
        Some("unconfined") => faulty(
            name,
            AT,
            "is seccomp=unconfined: the container has no profile".into(),
            "give a container that has one",
        ),
        Some("builtin" | "default") | None => faulty(
            name,
            AT,
            "states no profile: the container has the default of its engine".into(),
            "name the built-in docker-default instead",
        ),
        Some(path) => faulty(name, AT, format!("names the file {path}"), "give that file"),
    }
}

fn kind_of_item(list: &Value) -> Value {
    let kind = text(list, "kind");
    kind.strip_suffix("List").unwrap_or(kind).into()
}

fn version_of(value: &Value) -> Value {
    text(value, "apiVersion").into()
}

/// The fields of a SeccompProfile's spec. Others the API server drops without a word.
const SPEC: [&str; 10] = [
    "allow",
    "base",
    "capabilities",
    "deny",
    "log",
    "nodeSelector",
    "observe",
    "profile",
    "record",
    "trial",
];

fn from_manifest(name: &str, value: &Value) -> Result<Named, Faulty> {
    let spec = value.get("spec").cloned().unwrap_or_default();
    let spec = if spec.is_null() {
        Value::Object(Map::new())
    } else {
        spec
    };
    let mut fields = spec.as_object().into_iter().flat_map(Map::keys);
    if let Some(other) = fields.find(|field| !SPEC.contains(&field.as_str())) {
        return faulty(
            name,
            &format!("spec.{other}"),
            "is no field of a SeccompProfile".into(),
            &format!("remove it; the fields are {}", SPEC.join(", ")),
        );
    }
    let spec: SeccompProfileSpec = match serde_json::from_value(spec) {
        Ok(spec) => spec,
        Err(error) => {
            let remedy = "see `kubectl explain seccompprofile.spec`";
            return faulty(name, "spec", error.to_string(), remedy);
        }
    };
    match spec.define() {
        Ok(definition) => Ok(Named {
            name: name.to_owned(),
            definition,
            origin: Origin::Object(object_name(value).to_owned()),
        }),
        Err(problems) => Err(Faulty {
            name: name.to_owned(),
            problems,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(value: &Value) -> Vec<String> {
        let say = |found: &Result<Named, Faulty>| match found {
            Ok(named) => format!("{} at {}", named.name, named.origin.as_is().unwrap_or("-")),
            Err(faulty) => faulty.to_string().trim_end().to_owned(),
        };
        parse("f", value.to_string().as_bytes())
            .iter()
            .map(say)
            .collect()
    }

    fn document() -> Value {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}]})
    }

    #[test]
    fn what_tools_print_of_a_container_holds_its_profile() {
        let linux = json!({"linux": {"seccomp": document()}});
        for (value, expected) in [
            (linux.clone(), "f at linux.seccomp"),
            (
                json!({"status": {"metadata": {"name": "web"}}, "info": {"pid": 7, "runtimeSpec": linux}}),
                "f at info.runtimeSpec.linux.seccomp",
            ),
            (json!({"ID": "x", "Spec": linux}), "f at Spec.linux.seccomp"),
            (
                json!({"info": {"runtimeSpec": {"ociVersion": "1.2.0", "linux": {"seccomp": null}}}}),
                "f: info.runtimeSpec.linux.seccomp: is missing: the container runs unconfined; give a container that has a profile",
            ),
            (
                json!([{"Id": "0", "Name": "/web", "HostConfig": {"SecurityOpt": ["no-new-privileges", format!("seccomp={}", document())]}}]),
                "f at HostConfig.SecurityOpt",
            ),
            (
                json!([{"Id": "0", "HostConfig": {"SecurityOpt": null}}]),
                "f: HostConfig.SecurityOpt: states no profile: the container has the default of its engine; name the built-in docker-default instead",
            ),
            (
                json!([{"Id": "0", "HostConfig": {"SecurityOpt": ["seccomp=unconfined"]}}]),
                "f: HostConfig.SecurityOpt: is seccomp=unconfined: the container has no profile; give a container that has one",
            ),
            (
                json!([{"Id": "0", "HostConfig": {"SecurityOpt": ["seccomp=/etc/a.json"]}}]),
                "f: HostConfig.SecurityOpt: names the file /etc/a.json; give that file",
            ),
        ] {
            assert_eq!(said(&value), [expected], "{value}");
        }
        let web = |name: &str| json!({"Name": name, "HostConfig": {"SecurityOpt": [format!("seccomp={}", document())]}});
        assert_eq!(
            said(&json!([web("/a"), web("/b")])),
            [
                "f (a) at HostConfig.SecurityOpt",
                "f (b) at HostConfig.SecurityOpt"
            ]
        );
        // A document's own mistakes are its reader's.
        let mut mistaken = document();
        mistaken["linux"] = json!({});
        assert_eq!(said(&mistaken), ["f at "]);
    }

    #[test]
    fn each_profile_of_a_config_map_has_its_own_name() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "profiles"}, "data": {
            "audit.json": json!({"defaultAction": "SCMP_ACT_LOG"}).to_string(),
            "web.yaml": "defaultAction: SCMP_ACT_ERRNO\nsyscalls: 7\n",
            "nginx.conf": "server {}",
        }});
        assert_eq!(
            said(&map),
            [
                "f (profiles/audit.json) at ",
                "f (profiles/web.yaml): syscalls: is a number, not a list; write it in [ ]",
            ]
        );
        let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
        let said = said(&other);
        assert!(
            said[0].starts_with("f: holds no profile, only ConfigMap of v1; "),
            "{said:?}"
        );
    }

    #[test]
    fn a_template_is_told_from_what_is_made_of_it() {
        for text in [
            "defaultAction: {{ .Values.action }}\n",
            "{{- if .Values.seccomp }}\ndefaultAction: SCMP_ACT_LOG\n{{- end }}\n",
            "{\"defaultAction\": {{ .Values.action | quote }}}",
        ] {
            let found = parse("f", text.as_bytes());
            let said = found[0].as_ref().unwrap_err().to_string();
            assert_eq!(
                said,
                "f: is a Helm template, and no profile before its values are filled in; give what `helm template` makes of it\n"
            );
        }
        assert!(parse("f", b"defaultAction: SCMP_ACT_LOG\n# {{ x }}\n")[0].is_ok());
    }

    #[test]
    fn the_fields_of_a_profile_are_those_of_its_definition() {
        let crds = seccomp_operator_api::crds();
        let mut crds = crds.iter();
        let (_, profiles) = crds.find(|(name, _)| *name == "seccompprofiles").unwrap();
        let version = serde_json::to_value(&profiles.spec.versions[0]).unwrap();
        let fields = &version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        let fields: Vec<_> = fields.as_object().unwrap().keys().collect();
        assert_eq!(fields, SPEC);
    }
}
