//! Schemas that several kinds share, with the bounds that the API server needs and Kubernetes' own types lack.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Whether a count is left out of the JSON.
pub(crate) fn is_zero<N: Default + PartialEq>(count: &N) -> bool {
    *count == N::default()
}

/// A label selector, as everywhere in Kubernetes. An empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must all be there with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels that must all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label's value relates to `values`.
    pub operator: RequirementOperator,
    /// The values for `In` and `NotIn`; empty for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label's value relates to the values of a [`Requirement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequirementOperator {
    /// The label is there, with one of the values.
    In,
    /// The label is not there, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 63 },
        "description": "Labels that must all be there with these values.",
    })
}

/// A profile document in whatever form people have it. Its schema is the engine's work: the API server would answer with less.
pub(super) fn document(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "description": "A whole seccomp profile document: an OCI runtime-spec `linux.seccomp` object, or one in Docker's and Podman's \
            format. Numbers of 2^63 and more must be strings (\"18446744073709551615\" or \"0x...\"): the API server rounds them \
            otherwise. At most 1 MiB.",
    })
}

pub(super) fn allow(_: &mut SchemaGenerator) -> Schema {
    changes("System calls to allow on top of `base` or `profile`.")
}

pub(super) fn log(_: &mut SchemaGenerator) -> Schema {
    changes("System calls to allow and have the kernel record. Stronger than `allow`.")
}

pub(super) fn deny(_: &mut SchemaGenerator) -> Schema {
    changes("System calls to deny. Stronger than `allow` and `log`.")
}

/// Changes to a base. An entry is a string or an object, which a structural schema cannot say; the engine checks it.
fn changes(what: &str) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 1024,
        "description": what,
        "items": {
            "x-kubernetes-preserve-unknown-fields": true,
            "description": "A name (chmod), a group (@chmod), or {name, args: [{index, op, value, valueTwo}], errno}: the calls whose \
                arguments fulfil all of the conditions; errno (EPERM, or a number) is for deny only.",
        },
    })
}

/// A `Time`, as in every Kubernetes API. By hand like the conditions: schemas of all of Kubernetes' types would double the time that
/// k8s-openapi takes to build.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// `Vec<Condition>`, as in every Kubernetes API, with bounds.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "description": "What is known of this object's state, one entry per aspect.",
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "reason": { "type": "string", "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
            },
        },
    })
}
