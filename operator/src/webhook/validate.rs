//! Whether a SeccompProfile or a SeccompPolicy that is about to be stored means what it seems to.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::review::{Answer, Request};
use super::view::View;
use crate::api::{ProfileName, ProfileType, SeccompPolicySpec, SeccompProfileSpec};

/// The fields of an object of ours that validation reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// `metadata`.
    pub metadata: Metadata,
    /// `spec`, whatever it is: read for itself, so that one that cannot be read is denied with a sentence.
    pub spec: Option<Box<RawValue>>,
}

impl Object {
    fn spec(&self) -> &str {
        self.spec.as_deref().map_or("{}", RawValue::get)
    }
}

/// An object's `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The object's name.
    pub name: String,
    /// Set on an object that is being deleted.
    pub deletion_timestamp: Option<String>,
}

/// Answers a request about a SeccompProfile or a SeccompPolicy. What cannot change what is in force (a deletion, a new label)
/// is never refused, or an object that an older version let in could not even be deleted.
#[must_use]
pub fn answer(request: &Request<Object>, view: &View) -> Answer {
    let Some(object) = &request.object else {
        return Answer::allow();
    };
    let same_spec = request
        .old_object
        .as_ref()
        .is_some_and(|old| old.spec() == object.spec());
    if object.metadata.deletion_timestamp.is_some() || same_spec {
        return Answer::allow();
    }
    let (problems, warnings) = match request.kind.kind.as_str() {
        "SeccompProfile" => (profile(&object.metadata.name, object.spec()), Vec::new()),
        "SeccompPolicy" => policy(object.spec(), view),
        _ => return Answer::allow(),
    };
    let denied = (!problems.is_empty()).then(|| problems.join("; "));
    Answer {
        denied,
        warnings,
        ..Answer::default()
    }
}

fn profile(name: &str, spec: &str) -> Vec<String> {
    let mut problems: Vec<_> = ProfileName::parse(name)
        .err()
        .iter()
        .map(ToString::to_string)
        .collect();
    match serde_json::from_str::<SeccompProfileSpec>(spec) {
        Ok(spec) => problems.extend(spec.compile().err().iter().map(ToString::to_string)),
        Err(error) => problems.push(unreadable(&error)),
    }
    problems
}

fn policy(spec: &str, view: &View) -> (Vec<String>, Vec<String>) {
    let spec = match serde_json::from_str::<SeccompPolicySpec>(spec) {
        Ok(spec) => spec,
        Err(error) => return (vec![unreadable(&error)], Vec::new()),
    };
    let problems: Vec<_> = spec.problems().iter().map(ToString::to_string).collect();
    let name = spec
        .profile
        .name
        .as_deref()
        .filter(|_| problems.is_empty() && spec.profile.type_ == ProfileType::Localhost);
    let warnings = name
        .and_then(|name| view.concern_by_name(name))
        .into_iter()
        .collect();
    (problems, warnings)
}

/// Why a spec is not even of the right shape.
fn unreadable(error: &serde_json::Error) -> String {
    let error = error.to_string();
    if error.contains("recursion limit") {
        return "spec: is nested too deeply; no seccomp profile needs more than five levels".into();
    }
    format!("spec: {error}; see `kubectl explain` for what it may hold")
}

#[cfg(test)]
mod tests {
    use super::super::review::Kind;
    use super::*;
    use serde_json::{Value, json};

    fn request(kind: &str, object: &Value, old: Option<&Value>) -> Request<Object> {
        Request {
            uid: "u".into(),
            kind: Kind {
                group: "seccomp-operator.io".into(),
                kind: kind.into(),
            },
            name: "x".into(),
            namespace: String::new(),
            operation: if old.is_some() { "UPDATE" } else { "CREATE" }.into(),
            object: serde_json::from_str(&object.to_string()).unwrap(),
            old_object: old.map(|old| serde_json::from_str(&old.to_string()).unwrap()),
        }
    }

    fn denied(kind: &str, object: &Value) -> Option<String> {
        answer(&request(kind, object, None), &View::default()).denied
    }

    fn profile_object(name: &str, document: &Value) -> Value {
        json!({"metadata": {"name": name}, "spec": {"profile": document}})
    }

    #[test]
    fn a_good_profile_passes() {
        assert_eq!(
            denied(
                "SeccompProfile",
                &profile_object("ok", &json!({"defaultAction": "SCMP_ACT_LOG"}))
            ),
            None
        );
    }

    #[test]
    fn bad_profiles_are_refused_with_a_sentence_that_names_the_field() {
        let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        for (document, parts) in [
            (json!({}), &["spec.profile", "defaultAction"][..]),
            (
                json!({"defaultAction": "SCMP_ACT_NO"}),
                &["spec.profile.defaultAction", "SCMP_ACT_NO"],
            ),
            (
                rule(json!({"names": ["chmod"], "action": "DENY"})),
                &["spec.profile.syscalls[0].action", "DENY"],
            ),
            (
                rule(
                    json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}),
                ),
                &["spec.profile.syscalls[0].args[0].index", "6"],
            ),
            (
                json!({
                    "defaultAction": "SCMP_ACT_ERRNO",
                    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}],
                }),
                &["spec.profile.archMap", "Docker's format"],
            ),
        ] {
            let sentence = denied("SeccompProfile", &profile_object("x", &document)).unwrap();
            assert!(
                parts.iter().all(|part| sentence.contains(part)),
                "{document}: {sentence}"
            );
        }
    }

    #[test]
    fn a_document_that_is_nested_too_deeply_is_denied_with_a_sentence() {
        let deep = format!("{}{}", "[".repeat(9000), "]".repeat(9000));
        let body = format!(
            r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {{"uid": "u", "operation": "CREATE",
                "kind": {{"group": "seccomp-operator.io", "version": "v1alpha1", "kind": "SeccompProfile"}},
                "object": {{"metadata": {{"name": "x"}}, "spec": {{"profile": {{"x": {deep}}}}}}}}}}}"#
        );
        let request = super::super::review::read(body.as_bytes()).unwrap();
        let denied = answer(&request, &View::default()).denied.unwrap();
        assert!(denied.contains("nested too deeply"), "{denied}");
    }

    #[test]
    fn a_name_that_makes_no_file_is_refused() {
        let sentence = denied(
            "SeccompProfile",
            &profile_object(&"n".repeat(201), &json!({"defaultAction": "SCMP_ACT_LOG"})),
        )
        .unwrap();
        assert!(
            sentence.starts_with("metadata.name: has 201 characters"),
            "{sentence}"
        );
    }

    #[test]
    fn an_object_that_is_being_deleted_or_keeps_its_spec_passes_even_when_bad() {
        let mut object = profile_object("x", &json!({}));
        let relabelled = request("SeccompProfile", &object, Some(&object));
        assert_eq!(answer(&relabelled, &View::default()).denied, None);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(denied("SeccompProfile", &object), None);
    }

    #[test]
    fn a_policy_that_names_a_missing_profile_is_warned_about() {
        let object = json!({"metadata": {"name": "x"}, "spec": {"profile": {"type": "Localhost", "name": "absent"}}});
        let answer = answer(
            &request("SeccompPolicy", &object, None),
            &View::new("profiles", []),
        );
        assert_eq!(answer.denied, None);
        assert!(answer.warnings[0].contains("absent"));
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let sentence = denied(
            "SeccompPolicy",
            &json!({"metadata": {"name": "x"}, "spec": {"profile": {"type": "Localhost"}}}),
        )
        .unwrap();
        assert!(
            sentence.starts_with("spec.profile.name: must be set"),
            "{sentence}"
        );
    }
}
