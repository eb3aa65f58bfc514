//! `kubectl-seccomp schema`: what is right is valid by the schemas, what is misspelt is not.
#![allow(clippy::unwrap_used, clippy::panic)]

mod tool;

use serde_json::{Value, json};
use tool::{run, stdout};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn schema(of: &str) -> Value {
    let schema: Value = serde_json::from_str(&stdout(&run(&["schema", of], ""))).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(schema["title"].is_string());
    schema
}

/// The keywords that say nothing here, or have nothing against the value.
const KNOWN: [&str; 17] = [
    "$schema",
    "$defs",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "pattern",
    "const",
    "enum",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "maxProperties",
];

/// What is wrong with a value by the part of JSON Schema that these schemas use; patterns and formats are left out. A keyword that is not
/// known here fails, so that nothing is passed over.
fn errors(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(keywords) = schema.as_object() else {
        return match schema {
            Value::Bool(true) => vec![],
            _ => vec![format!("{at}: nothing is valid")],
        };
    };
    let mut found = Vec::new();
    let below = |schema: &Value, value: &Value, at: &str| errors(root, schema, value, at);
    for (keyword, what) in keywords {
        match keyword.as_str() {
            "$ref" => {
                let pointer = what.as_str().unwrap().strip_prefix('#').unwrap();
                let target = root.pointer(pointer).unwrap();
                found.extend(below(target, value, at));
            }
            "type" => {
                let types: Vec<_> = match what {
                    Value::Array(types) => types.iter().collect(),
                    one => vec![one],
                };
                let is = |name: &str| match name {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("no type is named {other}"),
                };
                if !types.iter().any(|name| is(name.as_str().unwrap())) {
                    found.push(format!("{at}: is no {what}"));
                }
            }
            "const" if value != what => found.push(format!("{at}: is not {what}")),
            "enum" if !what.as_array().unwrap().contains(value) => {
                found.push(format!("{at}: {value} is none of the words"));
            }
            "anyOf" | "oneOf" => {
                let mut ways = what.as_array().unwrap().iter();
                if !ways.any(|way| below(way, value, at).is_empty()) {
                    found.push(format!("{at}: {value} is of none of the forms"));
                }
            }
            "required" => {
                for field in what.as_array().unwrap() {
                    if value.is_object() && value.get(field.as_str().unwrap()).is_none() {
                        found.push(format!("{at}: lacks {field}"));
                    }
                }
            }
            "properties" => {
                for (field, schema) in what.as_object().unwrap() {
                    if let Some(value) = value.get(field) {
                        found.extend(below(schema, value, &format!("{at}.{field}")));
                    }
                }
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                for (field, value) in value.as_object().into_iter().flatten() {
                    if known.get(field).is_none() {
                        found.extend(below(what, value, &format!("{at}.{field}")));
                    }
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(below(what, item, &format!("{at}[{i}]")));
                }
            }
            "minimum" | "minItems" | "minLength" if size(keyword, value) < what.as_f64() => {
                found.push(format!("{at}: is less than {what}"));
            }
            "maximum" | "maxItems" | "maxLength" | "maxProperties"
                if size(keyword, value) > what.as_f64() =>
            {
                found.push(format!("{at}: is more than {what}"));
            }
            other => assert!(
                KNOWN.contains(&other),
                "{at}: the keyword {other} is not known here"
            ),
        }
    }
    found
}

/// What a bound is for; as much as is asked for where the value is of another type.
#[allow(clippy::cast_precision_loss)] // nothing here is so long
fn size(bound: &str, value: &Value) -> Option<f64> {
    let length = match bound {
        "minimum" | "maximum" => {
            return value
                .as_f64()
                .or(bound.starts_with("min").then_some(f64::MAX));
        }
        "minItems" | "maxItems" => value.as_array().map(Vec::len),
        "minLength" | "maxLength" => value.as_str().map(|text| text.chars().count()),
        _ => value.as_object().map(serde_json::Map::len),
    };
    let length = length.map(|length| length as f64);
    length.or(bound.starts_with("min").then_some(f64::MAX))
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    errors(schema, schema, value, "").is_empty()
}

/// The documents of all files of a folder.
fn documents(folder: &str) -> Vec<Value> {
    let entries = std::fs::read_dir(format!("{ROOT}/{folder}")).unwrap();
    let texts = entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    texts
        .flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).unwrap())
        .collect()
}

#[test]
fn the_examples_are_valid_by_the_schemas() {
    for (of, folder) in [
        ("manifest", "examples/profiles"),
        ("test", "examples/tests"),
    ] {
        let schema = schema(of);
        let documents = documents(folder);
        assert!(documents.len() > 4, "{folder}");
        for document in documents {
            assert_eq!(errors(&schema, &schema, &document, ""), [""; 0], "{folder}");
        }
    }
    let profile = schema("profile");
    for name in ["runtime-default", "docker-default", "audit"] {
        let converted = stdout(&run(
            &["convert", "--arch", "amd64", "--kernel", "6.12", name],
            "",
        ));
        let document: Value = serde_json::from_str(&converted).unwrap();
        assert_eq!(errors(&profile, &profile, &document, ""), [""; 0], "{name}");
    }
}

#[test]
fn a_misspelt_field_or_word_is_not_valid() {
    let manifest = |spec: Value| json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": "a"}, "spec": spec});
    let policy = |spec: Value| json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": "a"}, "spec": spec});
    let ceiling = |spec: Value| json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompCeiling", "metadata": {"name": "a"}, "spec": spec});
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
    let test = |case: Value| json!({"profile": "a.yaml", "cases": [case]});
    for (of, right, wrong) in [
        (
            "profile",
            json!({"defaultAction": "SCMP_ACT_LOG"}),
            json!({"defaultAction": "LOG"}),
        ),
        (
            "profile",
            json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": null}),
            json!({"syscalls": null}),
        ),
        (
            "profile",
            rule(json!({"names": ["bpf"], "action": "SCMP_ACT_ALLOW"})),
            rule(json!({"names": ["bpf"], "actions": "SCMP_ACT_ALLOW"})),
        ),
        (
            "profile",
            rule(
                json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": "0x26", "op": "SCMP_CMP_NE"}]}),
            ),
            rule(
                json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 38, "op": "SCMP_CMP_NE"}]}),
            ),
        ),
        (
            "manifest",
            manifest(json!({"base": "runtime-default", "deny": ["@chmod"]})),
            manifest(json!({"base": "runtime-default", "denny": ["@chmod"]})),
        ),
        (
            "manifest",
            manifest(json!({"base": "audit", "deny": [{"name": "bpf", "errno": "ENOSYS"}]})),
            manifest(json!({"base": "audit", "allow": [{"name": "bpf", "errno": "ENOSYS"}]})),
        ),
        (
            "manifest",
            manifest(json!({"profile": {"defaultAction": "SCMP_ACT_LOG"}})),
            manifest(json!({"profile": {"defaultaction": "SCMP_ACT_LOG"}})),
        ),
        (
            "policy",
            policy(
                json!({"priority": 1, "profile": {"type": "Localhost", "name": "a"}, "mode": "Observe"}),
            ),
            policy(
                json!({"priority": 1, "profile": {"type": "Localhost", "name": "a"}, "mode": "Observer"}),
            ),
        ),
        (
            "ceiling",
            ceiling(json!({"base": "runtime-default", "action": "Deny", "deny": ["@chmod"]})),
            ceiling(json!({"base": "runtime-default", "action": "Refuse"})),
        ),
        (
            "test",
            test(
                json!({"call": ["bpf", "socket(AF_ALG)"], "expect": "stopped", "target": {"arch": ["amd64"], "kernel": "5.4"}}),
            ),
            test(json!({"call": "bpf", "expect": "stopped", "target": {"archs": ["amd64"]}})),
        ),
        (
            "test",
            test(json!({"call": "bpf", "expect": "allow"})),
            test(json!({"call": "bpf"})),
        ),
    ] {
        let schema = schema(of);
        assert_eq!(errors(&schema, &schema, &right, ""), [""; 0], "{of}");
        assert!(!is_valid(&schema, &wrong), "{of}: {wrong}");
    }
}
