//! `SeccompCeiling`: what no profile may allow more than.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::profile::is_too_large;
use super::schema;
use seccomp_profile::{
    BUILTINS, CapabilitySet, Definition, Fields, MAX_BYTES, Problem, Problems, Spec, builtin,
    meant_builtin,
};

/// No SeccompProfile may allow more than this. It is a profile of its own, said as in a SeccompProfile, and depends on no object: whoever may
/// change profiles cannot raise it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompCeiling",
    shortname = "scceil",
    category = "security",
    derive = "PartialEq",
    doc = "No SeccompProfile may allow more than this.",
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action"),
    printcolumn(name = "Base", type_ = "string", json_path = ".spec.base"),
    printcolumn(name = "Exceptions", type_ = "string", json_path = ".spec.exceptions"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SeccompCeilingSpec {
    /// What becomes of a SeccompProfile that allows more, when it is created or changed.
    #[serde(default)]
    pub action: CeilingAction,
    /// The names of SeccompProfiles that may allow more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub exceptions: Vec<String>,
    /// The most that profiles may allow, as a whole profile document: in the form of the OCI runtime-spec (`linux.seccomp`), or in Docker's
    /// and Podman's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::document")]
    pub profile: Option<Value>,
    /// Instead of `profile`: the built-in that `allow`, `log` and `deny` change, such as `runtime-default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub base: Option<String>,
    /// System calls to allow on top of `base` or `profile`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::allow")]
    pub allow: Vec<Value>,
    /// System calls to allow on top of `base` or `profile`, the same here as `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::log")]
    pub log: Vec<Value>,
    /// System calls to deny. Stronger than `allow` and `log`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::deny")]
    pub deny: Vec<Value>,
    /// What conditions on capabilities in `profile`, or in the built-in, are decided by. Without it the 14 that container runtimes give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub capabilities: Option<Vec<String>>,
}

/// What becomes of a profile that allows more than a ceiling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CeilingAction {
    /// It is stored, with a warning.
    #[default]
    Warn,
    /// It is refused.
    Deny,
}

impl SeccompCeilingSpec {
    /// What the ceiling allows, or all that is wrong with it.
    pub fn define(&self) -> Result<Definition, Problems> {
        let problem = |path: &str, reason: String, remedy: String| {
            Problems::from(Problem {
                path: path.into(),
                reason,
                remedy,
            })
        };
        if self.profile.as_ref().is_some_and(is_too_large) {
            return Err(problem(
                "spec.profile",
                format!("has more than {MAX_BYTES} bytes, and container runtimes take no more"),
                "put several names into one rule".into(),
            ));
        }
        if let Some(base) = self.base.as_deref().filter(|base| builtin(base).is_none()) {
            return Err(problem(
                "spec.base",
                format!(
                    "{base:?} is no built-in, and whoever may change a SeccompProfile must not be able to raise a ceiling with it"
                ),
                match meant_builtin(base) {
                    Some(name) => format!("write {name:?}"),
                    None => format!(
                        "put that profile's document into spec.profile, or write one of {}",
                        BUILTINS.join(", ")
                    ),
                },
            ));
        }
        let fields = Fields {
            profile: self.profile.as_ref(),
            base: self.base.as_deref(),
            allow: &self.allow,
            log: &self.log,
            deny: &self.deny,
        };
        let capabilities = self.capabilities.as_deref();
        Ok(Definition {
            spec: Spec::parse(&fields, "spec")?.into(),
            capabilities: capabilities
                .map(|names| CapabilitySet::parse(names, "spec.capabilities"))
                .transpose()?,
            next: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(spec: &Value) -> Option<String> {
        let spec: SeccompCeilingSpec = serde_json::from_value(spec.clone()).unwrap();
        spec.define().err().map(|problems| problems.to_string())
    }

    #[test]
    fn a_ceiling_is_said_as_a_profile_is_and_stands_by_itself() {
        for good in [
            json!({"base": "runtime-default"}),
            json!({"base": "docker-default", "deny": ["@chmod"], "capabilities": ["SYS_ADMIN"], "action": "Deny"}),
            json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO"}, "allow": ["read"], "exceptions": ["a"]}),
        ] {
            assert_eq!(said(&good), None, "{good}");
        }
        for (bad, start) in [
            (json!({}), "spec: has neither profile nor base"),
            (
                json!({"base": "runtime-defalt"}),
                "spec.base: \"runtime-defalt\" is no built-in, ",
            ),
            (
                json!({"base": "web"}),
                "spec.base: \"web\" is no built-in, ",
            ),
            (
                json!({"base": "audit", "deny": ["chmood"]}),
                "spec.deny[0]: ",
            ),
            (
                json!({"base": "audit", "capabilities": ["SYS_ADMN"]}),
                "spec.capabilities[0]: ",
            ),
            (json!({"profile": {}}), "spec.profile"),
        ] {
            let said = said(&bad).unwrap();
            assert!(said.starts_with(start), "{bad}: {said}");
        }
        let meant = said(&json!({"base": "runtime-defalt"})).unwrap();
        assert!(meant.ends_with("; write \"runtime-default\""), "{meant}");
        let own = said(&json!({"base": "web"})).unwrap();
        assert!(own.contains("into spec.profile"), "{own}");
    }
}
