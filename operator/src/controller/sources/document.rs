//! From a pulled artifact to what a SeccompProfile says, or a sentence why it is none.

use std::fmt::Write as _;

use seccomp_artifact::Reference;
use seccomp_artifact::pack::{unfit, unread};
use seccomp_artifact::registry::Pulled;
use seccomp_artifact::select::Form;
use seccomp_operator_api::SeccompProfileSpec;
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Target, parse_slice};
use serde_json::Value;

/// So many things that are wrong are told.
const MAX_TOLD: usize = 5;

/// The `spec.profile` for what was pulled: a profile as container runtimes would take it from the registry.
pub fn document(reference: &Reference, pulled: &Pulled) -> Result<Value, String> {
    let bytes = &pulled.document[..];
    let document = match parse_slice(bytes, "") {
        Ok(document) => document,
        Err(_) if pulled.chosen.form == Form::Object => return Err(object(reference)),
        Err(problems) => return Err(told(problems.iter())),
    };
    if let Some(problem) = unread(&document) {
        return Err(told([&problem].into_iter()));
    }
    // Of a document that is not Docker's it does not depend on the node.
    let target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };
    let found = unfit(&document.resolve(&target), bytes.len());
    if !found.is_empty() {
        return Err(told(found.iter()));
    }
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    as_stored(&mut value);
    let spec = SeccompProfileSpec {
        profile: Some(value),
        ..SeccompProfileSpec::default()
    };
    spec.define().map_err(|problems| told(problems.iter()))?;
    Ok(spec.profile.unwrap_or_default())
}

/// What other operators' artifacts hold, for which there is a tool.
fn object(reference: &Reference) -> String {
    format!(
        "holds no profile's JSON but an object, such as the Security Profiles Operator has; push what is in it by `kubectl seccomp pull {reference} | \
         kubectl seccomp push REGISTRY/REPOSITORY:TAG`, and name that in spec.reference"
    )
}

fn told<'a>(problems: impl Iterator<Item = &'a seccomp_profile::Problem>) -> String {
    let mut problems = problems.map(ToString::to_string);
    let mut text = problems
        .by_ref()
        .take(MAX_TOLD)
        .collect::<Vec<_>>()
        .join("; ");
    let more = problems.count();
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text
}

/// As API servers keep it: without nulls, and with numbers as text that they would round.
fn as_stored(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            *value = Value::String(number.to_string());
        }
        Value::Array(items) => items.iter_mut().for_each(as_stored),
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(as_stored);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use seccomp_artifact::Digest;
    use seccomp_artifact::manifest::Descriptor;
    use seccomp_artifact::select::Chosen;
    use serde_json::json;

    use super::*;

    fn of(form: Form, bytes: &[u8]) -> Result<Value, String> {
        let reference = "ghcr.io/acme/nginx:v1".parse().unwrap();
        let pulled = Pulled {
            digest: Digest::of(b""),
            chosen: Chosen {
                layer: Descriptor::of("application/json", bytes),
                form,
            },
            document: bytes.to_vec(),
        };
        document(&reference, &pulled)
    }

    fn runtime(document: &Value) -> Result<Value, String> {
        of(Form::Runtime, document.to_string().as_bytes())
    }

    #[test]
    fn a_profile_is_taken_as_it_is_but_for_what_api_servers_change() {
        let rule = |value: Value| json!([{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": value}]}]);
        let stored = runtime(&json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": null, "syscalls": rule(json!(u64::MAX)),
        }));
        assert_eq!(
            stored,
            Ok(
                json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rule(json!(u64::MAX.to_string()))})
            )
        );
    }

    #[test]
    fn what_no_runtime_would_take_is_said_with_a_remedy() {
        for (document, start) in [
            (json!({}), "defaultAction: "),
            (
                json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
                "defaultAction: SCMP_ACT_NOTIFY cannot be the default",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/run/x.sock"}),
                "listenerPath: is of one node",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}]}),
                "archMap: is of Docker's format",
            ),
        ] {
            let said = runtime(&document).unwrap_err();
            assert!(said.starts_with(start), "{said}");
        }
        let calls: Vec<_> = (0..7)
            .map(|i| json!({"names": [format!("no{i}")], "action": "SCMP_ACT_NONE"}))
            .collect();
        let said =
            runtime(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": calls})).unwrap_err();
        assert!(said.ends_with("; and 9 more"), "{said}");
    }

    #[test]
    fn an_object_is_told_with_the_way_to_make_a_profile_of_it() {
        let object = b"apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\n";
        let said = of(Form::Object, object).unwrap_err();
        assert!(
            said.contains("`kubectl seccomp pull ghcr.io/acme/nginx:v1 | kubectl seccomp push "),
            "{said}"
        );
        // A client that was not told what it pushes says nothing of it.
        assert!(of(Form::Object, br#"{"defaultAction":"SCMP_ACT_ERRNO"}"#).is_ok());
    }
}
