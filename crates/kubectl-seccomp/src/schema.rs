//! `kubectl seccomp schema`: JSON Schemas of what people write, for editors and CI. What a schema cannot say, `lint` and `test` do.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::{Failure, Findings, output, test};
use seccomp_profile::{Action, Arch, Capability, Errno, Flag, Syscall, groups};

/// Arguments of `schema`.
#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// Of what.
    #[arg(value_enum)]
    of: Of,
}

/// What people write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    /// A profile document, in the form of the OCI runtime-spec, Docker or Podman.
    Profile,
    /// A SeccompProfile.
    Manifest,
    /// A SeccompPolicy.
    Policy,
    /// A SeccompCeiling.
    Ceiling,
    /// A file of tests for `kubectl seccomp test`.
    Test,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
The schemas are of JSON Schema 2020-12. They complete names and find misspelt fields; what a profile does is for `lint` and `test`.

Examples:
  # For an editor, beside the files
  kubectl seccomp schema test >seccomp-test.schema.json
  #   # yaml-language-server: $schema=seccomp-test.schema.json   in the first line of a test file

  # For check-jsonschema, in CI
  kubectl seccomp schema manifest >manifest.json && check-jsonschema --schemafile manifest.json profiles/*.yaml";

/// Prints.
pub fn run(args: &SchemaArgs) -> Result<Findings, Failure> {
    let schema = match args.of {
        Of::Profile => profile(),
        Of::Manifest => kind("SeccompProfile", manifest_fields),
        Of::Policy => kind("SeccompPolicy", |_| {}),
        Of::Ceiling => kind("SeccompCeiling", manifest_fields),
        Of::Test => test::schema(),
    };
    output::print(output::json(&schema)?)?;
    Ok(Findings::None)
}

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A profile document.
fn profile() -> Value {
    let mut schema = document();
    schema["$schema"] = DRAFT.into();
    schema["title"] = "A seccomp profile".into();
    schema["$defs"] = shared();
    schema
}

fn document() -> Value {
    let errno = errno();
    json!({
        "description": "A seccomp profile: linux.seccomp of the OCI runtime-spec, or Docker's and Podman's format.",
        "type": "object",
        "required": ["defaultAction"],
        "additionalProperties": false,
        "properties": {
            "$schema": {"type": "string"},
            "defaultAction": action("What happens to a call that no rule speaks of."),
            "defaultErrnoRet": errno,
            "defaultErrno": {"type": ["string", "null"], "description": "The error by name (Podman)."},
            "architectures": list(&arch("An architecture through which calls may be made; a call through another one kills.")),
            "archMap": list(&json!({
                "description": "For nodes of an architecture those that come with it (Docker).",
                "type": "object",
                "required": ["architecture"],
                "additionalProperties": false,
                "properties": {
                    "architecture": arch("The node's."),
                    "subArchitectures": list(&arch("One that comes with it.")),
                },
            })),
            "flags": list(&json!({"enum": Flag::ALL.iter().map(|flag| flag.name()).collect::<Vec<_>>()})),
            "listenerPath": {"type": "string", "description": "The socket of the process that answers for SCMP_ACT_NOTIFY."},
            "listenerMetadata": {"type": "string"},
            "syscalls": list(&rule()),
        },
    })
}

fn rule() -> Value {
    json!({
        "description": "Calls, and what happens to them where all of args hold.",
        "type": "object",
        "required": ["action"],
        "additionalProperties": false,
        "properties": {
            "names": list(&call()),
            "name": call(),
            "action": action("What happens."),
            "errnoRet": errno(),
            "errno": {"type": ["string", "null"], "description": "The error by name (Podman)."},
            "args": list(&condition()),
            "comment": {"type": ["string", "null"]},
            "includes": filter("The rule is there only where all of this holds (Docker)."),
            "excludes": filter("The rule is not there where any of this holds (Docker)."),
        },
    })
}

fn condition() -> Value {
    let number = |what: &str| {
        json!({
            "description": what,
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^(0x[0-9a-fA-F]+|[0-9]+)$"}],
        })
    };
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let operators = operators.map(|operator| format!("SCMP_CMP_{operator}"));
    json!({
        "description": "A condition on one argument, an unsigned number of 64 bits.",
        "type": "object",
        "required": ["index", "op"],
        "additionalProperties": false,
        "properties": {
            "index": {"type": "integer", "minimum": 0, "maximum": 5, "description": "Which argument, from 0."},
            "value": number("What it is compared with; with SCMP_CMP_MASKED_EQ the mask."),
            "valueTwo": number("With SCMP_CMP_MASKED_EQ: what the masked argument is compared with."),
            "op": {"enum": operators},
        },
    })
}

fn filter(what: &str) -> Value {
    let capabilities = (0..64).filter_map(Capability::numbered);
    let capabilities: Vec<_> = capabilities.map(Capability::name).collect();
    json!({
        "description": what,
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "caps": list(&json!({"enum": capabilities})),
            "arches": list(&json!({"type": "string", "examples": ["amd64", "arm64", "s390x"]})),
            "minKernel": {"type": "string", "pattern": "^[0-9]{1,3}\\.[0-9]{1,3}$"},
        },
    })
}

/// A list, which Go writes as null where it is empty.
fn list(items: &Value) -> Value {
    json!({"type": ["array", "null"], "items": items})
}

fn action(what: &str) -> Value {
    let actions = [
        Action::Allow,
        Action::Errno(Errno::EPERM),
        Action::KillProcess,
        Action::KillThread,
        Action::Log,
        Action::Notify,
        Action::Trace(Errno::EPERM),
        Action::Trap,
    ];
    let names: Vec<_> = actions.into_iter().map(Action::name).collect();
    let names: Vec<_> = names.into_iter().chain(["SCMP_ACT_KILL"]).collect();
    json!({"description": what, "enum": names})
}

fn arch(what: &str) -> Value {
    let names: Vec<_> = Arch::ALL.iter().map(ToString::to_string).collect();
    json!({"description": what, "enum": names})
}

fn errno() -> Value {
    json!({"type": ["integer", "null"], "minimum": 0, "maximum": Errno::MAX, "description": "The error that SCMP_ACT_ERRNO returns; EPERM if there is none."})
}

/// A call's name.
fn call() -> Value {
    json!({"$ref": "#/$defs/call"})
}

/// What several places share: a call's name, the known ones for completion, others for newer kernels.
fn shared() -> Value {
    let names: Vec<_> = Syscall::all().map(Syscall::name).collect();
    let call = json!({"anyOf": [{"enum": names}, {"type": "string", "pattern": "^[a-z0-9_]+$"}]});
    json!({"call": call})
}

/// An object of this operator, by the schema of its definition; strict, as `kubectl apply` is.
fn kind(name: &str, change: impl Fn(&mut Map<String, Value>)) -> Value {
    let definitions = seccomp_operator_api::crds();
    let mut definitions = definitions.iter().map(|(_, definition)| definition);
    let definition = definitions.find(|definition| definition.spec.names.kind == name);
    let Some(version) = definition.and_then(|definition| definition.spec.versions.first()) else {
        return Value::Bool(true);
    };
    let schema = version.schema.as_ref();
    let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_ref());
    let mut schema = serde_json::to_value(schema).unwrap_or_default();
    plain(&mut schema);
    if let Some(Value::Object(fields)) = schema.pointer_mut("/properties/spec/properties") {
        change(fields);
    }
    if let Some(Value::Object(spec)) = schema.pointer_mut("/properties/spec") {
        spec.insert("additionalProperties".into(), false.into());
    }
    schema["$defs"] = shared();
    let group = format!("{}/{}", seccomp_operator_api::GROUP, version.name);
    schema["$schema"] = DRAFT.into();
    schema["title"] = format!("A {name}").into();
    schema["properties"]["apiVersion"] = json!({"const": group});
    schema["properties"]["kind"] = json!({"const": name});
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 253}},
    });
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema
}

/// Without what only an API server understands.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|key, _| !key.starts_with("x-kubernetes-"));
            fields.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

/// What the API server leaves to the engine.
fn manifest_fields(fields: &mut Map<String, Value>) {
    fields.insert("profile".into(), document());
    for (list, has_errno) in [("allow", false), ("log", false), ("deny", true)] {
        if let Some(Value::Object(list)) = fields.get_mut(list) {
            list.insert("items".into(), change(has_errno));
        }
    }
}

/// An entry of `allow`, `log` or `deny`.
fn change(has_errno: bool) -> Value {
    let groups: Vec<_> = groups().collect();
    let mut properties = json!({"name": call(), "args": list(&condition())});
    if has_errno {
        properties["errno"] = json!({
            "description": "The error by name or number; EPERM if there is none.",
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": Errno::MAX}, {"type": "string", "pattern": "^E[A-Z0-9]+$"}],
        });
    }
    json!({"anyOf": [
        {"enum": groups},
        call(),
        {"type": "object", "required": ["name"], "additionalProperties": false, "properties": properties},
    ]})
}
