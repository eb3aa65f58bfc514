//! The API group `seccomp-operator.io`: one file per kind, and the schemas that they share.
//!
//! These are the types of the wire, and the names that objects and files have. A SeccompProfile's spec can turn itself into what the
//! profile engine reads. Which pod a policy selects, and whether its spec is valid, is not known here, nor are watches, nodes or files.

mod audit;
mod ceiling;
mod denial;
pub mod label;
mod metadata;
mod node;
mod policy;
mod policy_trial;
mod profile;
mod recording;
mod recording_report;
mod schema;
mod source;
mod trial;
mod workload;

pub use audit::{
    AuditReport, AuditedCall, Hearing, MAX_AUDITED, MAX_UNPLACED, SeccompAuditReport, UnplacedCall,
};
pub use ceiling::{CeilingAction, SeccompCeiling, SeccompCeilingSpec};
pub use denial::{
    Denial, DenialReport, Listening, MAX_DENIALS, MAX_DENIED_VALUES, MAX_PROFILE_DENIALS,
    ObservedDenial, ObservedTrial, Outcome, SeccompDenialReport, TriedDenial, most_frequent,
};
pub use metadata::without_managed_fields;
pub use node::{
    NodeFailure, NodeInfo, NodeUse, PodReference, SeccompNode, SeccompNodeReport, labels_digest,
};
pub use policy::{
    Mode, OnConflict, Overridden, PolicyPods, PolicyProfile, PolicyTrialStatus, ProfileType,
    ReplicaPods, SeccompPolicy, SeccompPolicySpec, SeccompPolicyStatus,
};
pub use policy_trial::{POLICY_KIND, POLICY_TRIAL_PREFIX, policy_on_trial, policy_trial_name};
pub use profile::{
    ADOPT_ANNOTATION, Failure, IN_USE_FINALIZER, NodeCounts, ProfileName, Record, SeccompProfile,
    SeccompProfileSpec, SeccompProfileStatus, StoredProfile, condition, define, selects,
};
pub use recording::{
    CallArgument, MAX_IMAGES, MAX_RECORDING_NAME, MAX_VALUES, Merge, RECORDED_ANNOTATION,
    RecordedCounts, RecordedImage, RecordingStop, SeccompRecording, SeccompRecordingSpec,
    SeccompRecordingStatus, StatusCall, recording_condition, recording_profile_name,
};
pub use recording_report::{
    RecordedArgument, RecordedCall, RecordedContainer, RecordingReference, RecordingReport,
    SeccompRecordingReport, absorb_calls,
};
pub use schema::{Requirement, RequirementOperator, Selector};
pub use source::{
    MAX_SIGNERS, SOURCE_DIGEST_ANNOTATION, SeccompSource, SeccompSourceSpec, SeccompSourceStatus,
    SourceIdentity, SourceState, SourceVerification, source_condition,
};
pub use trial::{OnTrial, Trial, TrialReport, TrialStatus, Tried};
pub use workload::workload;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

/// The API group of every kind here.
pub const GROUP: &str = "seccomp-operator.io";

/// The key of the taint that keeps pods away from a node that does not have its profiles yet.
pub const STARTUP_TAINT: &str = "seccomp-operator.io/agent-not-ready";

/// All custom resource definitions, each with the file name (without extension) that it is kept under in `crds/`.
#[must_use]
pub fn crds() -> [(&'static str, CustomResourceDefinition); 9] {
    let mut crds = [
        ("seccompauditreports", SeccompAuditReport::crd()),
        ("seccompceilings", SeccompCeiling::crd()),
        ("seccompdenialreports", SeccompDenialReport::crd()),
        ("seccompnodes", SeccompNode::crd()),
        ("seccomppolicies", SeccompPolicy::crd()),
        ("seccompprofiles", SeccompProfile::crd()),
        ("seccomprecordingreports", SeccompRecordingReport::crd()),
        ("seccomprecordings", SeccompRecording::crd()),
        ("seccompsources", SeccompSource::crd()),
    ];
    for (_, crd) in &mut crds {
        let schemas = crd.spec.versions.iter_mut();
        let schemas =
            schemas.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
        schemas.for_each(not_nullable);
    }
    crds
}

/// A field that may be absent need not be nullable: the API server takes a null out that a schema does not allow. Of a nullable
/// field Kubernetes 1.20 publishes no type and nothing below it, and `kubectl explain` would show neither.
fn not_nullable(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        not_nullable(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        not_nullable(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        not_nullable(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Calls `visit(path, schema)` for every schema below `schema`.
    fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, visit);
        }
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                walk(&format!("{path}[{key}]"), &schema[key], visit);
            }
        }
    }

    fn schema_of(crd: &impl serde::Serialize) -> Value {
        serde_json::to_value(crd).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            .clone()
    }

    #[test]
    fn every_list_map_and_string_in_the_schemas_has_a_bound() {
        for (file, crd) in crds() {
            let mut unbounded = Vec::new();
            walk(
                file,
                &schema_of(&crd),
                &mut |path, schema| match schema["type"].as_str() {
                    Some("string")
                        if schema["maxLength"].is_null()
                            && schema["enum"].is_null()
                            && schema["format"] != "date-time" =>
                    {
                        unbounded.push(path.to_owned());
                    }
                    Some("array") if schema["maxItems"].is_null() => {
                        unbounded.push(path.to_owned());
                    }
                    Some("object")
                        if schema["additionalProperties"].is_object()
                            && schema["maxProperties"].is_null() =>
                    {
                        unbounded.push(path.to_owned());
                    }
                    _ => {}
                },
            );
            assert_eq!(unbounded, Vec::<String>::new(), "{file}");
        }
    }

    #[test]
    fn every_field_can_be_explained() {
        for (file, crd) in crds() {
            walk(file, &schema_of(&crd), &mut |path, schema| {
                assert!(schema["nullable"].is_null(), "{path} is nullable");
            });
        }
    }

    /// Where an apply leaves all fields of such an object out, Kubernetes 1.20 keeps a null of it, and refuses that by the schema.
    #[test]
    fn what_a_status_says_of_something_that_may_end_is_in_one_piece() {
        // Once they are there they stay.
        const STAY: [&str; 3] = ["containers", "nodes", "pods"];
        for (file, crd) in crds() {
            let schema = schema_of(&crd);
            let fields = schema["properties"]["status"]["properties"].as_object();
            for (name, field) in fields.into_iter().flatten() {
                let may_end = field["type"] == "object" && !STAY.contains(&name.as_str());
                let is_whole = field["x-kubernetes-map-type"] == "atomic";
                assert!(!may_end || is_whole, "{file}: status.{name}");
            }
        }
    }

    /// Kubernetes 1.20 rejects schemas with keywords that its apiextensions types do not have, when applied server-side.
    #[test]
    fn the_schemas_use_only_what_kubernetes_1_20_knows() {
        const KNOWN: &[&str] = &[
            "type",
            "format",
            "description",
            "title",
            "properties",
            "additionalProperties",
            "items",
            "required",
            "enum",
            "default",
            "minimum",
            "maximum",
            "minLength",
            "maxLength",
            "pattern",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-map-type",
        ];
        for (file, crd) in crds() {
            walk(file, &schema_of(&crd), &mut |path, schema| {
                for key in schema.as_object().unwrap().keys() {
                    assert!(KNOWN.contains(&key.as_str()), "{path} uses {key}");
                }
                // Newer ones print a warning for each other one whenever somebody applies the definitions.
                let format = schema["format"].as_str().unwrap_or("int32");
                let known = ["int32", "int64", "date-time"];
                assert!(known.contains(&format), "{path} has the format {format}");
                // It takes an empty string for no default at all, and then refuses that.
                let default = schema["default"].as_str();
                assert!(
                    default != Some("") && !schema["default"].is_object(),
                    "{path} has a default that it refuses"
                );
            });
        }
    }

    #[test]
    fn a_built_in_with_a_slash_cannot_be_an_objects_name() {
        for name in seccomp_profile::BUILTINS {
            let is_line = name.starts_with("runtime-default/");
            assert_eq!(ProfileName::parse(name).is_err(), is_line, "{name}");
        }
    }

    #[test]
    fn the_checked_in_definitions_are_what_the_types_generate() {
        for dir in ["crds", "charts/seccomp-operator/files/crds"] {
            for (file, crd) in crds() {
                let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("../..")
                    .join(dir)
                    .join(format!("{file}.yaml"));
                let kept = std::fs::read_to_string(&path).unwrap_or_default();
                let generated = serde_saphyr::to_string(&crd).unwrap();
                assert!(
                    kept == generated,
                    "{} is stale: run `make generate`",
                    path.display()
                );
            }
        }
    }
}
