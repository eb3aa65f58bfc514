//! `SeccompSource`: an artifact of an OCI registry that is kept as a SeccompProfile of the source's name.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The condition of a [`SeccompSource`], and its reasons.
pub mod source_condition {
    /// The SeccompProfile is what the artifact says, as of the last pull.
    pub const READY: &str = "Ready";
    /// It was pulled, its signature counts if one is asked for, and the profile is as it says.
    pub const PULLED: &str = "Pulled";
    /// The registry did not give it.
    pub const PULL_FAILED: &str = "PullFailed";
    /// The Secret with the registry's account cannot be used.
    pub const PULL_SECRET_UNUSABLE: &str = "PullSecretUnusable";
    /// It has no signature that counts.
    pub const NOT_SIGNED: &str = "NotSigned";
    /// It is no profile that nodes could have.
    pub const UNFIT: &str = "Unfit";
    /// A SeccompProfile of the name is there that is not the source's.
    pub const PROFILE_TAKEN: &str = "ProfileTaken";
    /// The API server did not take the SeccompProfile: a SeccompCeiling, most of all.
    pub const PROFILE_REFUSED: &str = "ProfileRefused";
    /// The source's own spec is wrong.
    pub const INVALID: &str = "Invalid";
    /// Nothing is pulled, as the spec says.
    pub const SUSPENDED: &str = "Suspended";
}

/// On a SeccompProfile that a source keeps: the digest of the artifact that it was made of.
pub const SOURCE_DIGEST_ANNOTATION: &str = "seccomp-operator.io/source-digest";

/// How many keys, and how many identities, a source names at most.
pub const MAX_SIGNERS: usize = 8;

/// Keeps a profile from an OCI registry as a SeccompProfile of its own name.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompSource",
    status = "SeccompSourceStatus",
    shortname = "scsrc",
    category = "security",
    derive = "PartialEq",
    doc = "Keeps a profile from an OCI registry as a SeccompProfile of its own name.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Reference", type_ = "string", json_path = ".spec.reference"),
    printcolumn(name = "Last-pulled", type_ = "date", json_path = ".status.lastPulled"),
    printcolumn(
        name = "Digest",
        type_ = "string",
        json_path = ".status.digest",
        priority = 1
    ),
    printcolumn(
        name = "Signed-by",
        type_ = "string",
        json_path = ".status.signedBy",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SeccompSourceSpec {
    /// The artifact: REGISTRY/REPOSITORY:TAG, which is looked up every `interval`, or REGISTRY/REPOSITORY@DIGEST, which stays what it is.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
    /// How often the registry is asked: `1m` at least, `7d` at most.
    #[serde(default = "default_interval")]
    #[schemars(length(min = 2, max = 32))]
    pub interval: String,
    /// Of an artifact with a profile for each platform, which one: `amd64`, `arm64` ...; one for all platforms needs no word of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub architecture: Option<String>,
    /// The name of a Secret of type kubernetes.io/dockerconfigjson in the operator's own namespace, with an account for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pull_secret: Option<String>,
    /// Certificates (PEM) of the authorities to trust in place of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262_144))]
    pub ca_bundle: Option<String>,
    /// Whether the registry is asked without TLS. Anybody in between can then change what a tag leads to.
    #[serde(
        default,
        rename = "plainHTTP",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub plain_http: bool,
    /// Whose signature the artifact has to have. Without it, whoever may push to the repository decides what the profile allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<SourceVerification>,
    /// Whether the registry is left alone for now. The SeccompProfile stays as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

fn default_interval() -> String {
    "10m".to_owned()
}

/// Whose signatures count: one of any of them is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceVerification {
    /// Public keys (PEM), such as cosign.pub.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 8192)))]
    pub keys: Vec<String>,
    /// Whom certificates of Sigstore name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub identities: Vec<SourceIdentity>,
    /// The authorities and logs of Sigstore that count (JSON). Default: for identities those of its public instance, as they were when the
    /// operator was built; for keys none, and with it the log has to have the signature as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262_144))]
    pub trusted_root: Option<String>,
}

/// Somebody, as an identity provider knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceIdentity {
    /// As the certificate says it: an e-mail address or a workflow's URL. `*` stands for any characters.
    #[schemars(length(min = 1, max = 1024))]
    pub identity: String,
    /// The identity provider's URL.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
}

/// What a source has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeccompSourceStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// The digest of the artifact that the SeccompProfile was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub digest: Option<String>,
    /// Who signed that artifact, where the spec asks for a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub signed_by: Option<String>,
    /// When the registry last gave what the SeccompProfile says now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_pulled: Option<Time>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How a source stands, by its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum SourceState {
    /// The profile is what the artifact says, as of the last pull.
    Ready,
    /// The registry is left alone, as the spec says.
    Suspended,
    /// The controller has not looked at the newest generation.
    Unseen,
    /// It could not be pulled, verified or kept as a profile; the profile stays as it was.
    Failed,
}

impl SeccompSourceStatus {
    /// The condition `Ready`.
    #[must_use]
    pub fn ready(&self) -> Option<&Condition> {
        let mut conditions = self.conditions.iter();
        conditions.find(|condition| condition.type_ == source_condition::READY)
    }

    /// How the source stands whose newest generation that is. What is said of an older one says nothing.
    #[must_use]
    pub fn state(&self, generation: Option<i64>) -> SourceState {
        let is_seen = self.observed_generation.is_some() && self.observed_generation == generation;
        match self.ready().filter(|_| is_seen) {
            None => SourceState::Unseen,
            Some(ready) if ready.reason == source_condition::SUSPENDED => SourceState::Suspended,
            Some(ready) if ready.status == "True" => SourceState::Ready,
            Some(_) => SourceState::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_needs_no_more_than_a_reference() {
        let spec: SeccompSourceSpec =
            serde_json::from_value(serde_json::json!({"reference": "ghcr.io/acme/nginx:v1"}))
                .unwrap();
        assert_eq!(spec.interval, "10m");
        assert!(!spec.plain_http && !spec.suspend && spec.verification.is_none());
        assert!(serde_json::from_value::<SeccompSourceSpec>(serde_json::json!({})).is_err());
    }

    #[test]
    fn what_a_registry_without_tls_is_called_is_written_as_acronyms_are() {
        let spec = SeccompSourceSpec {
            plain_http: true,
            ..SeccompSourceSpec::default()
        };
        assert_eq!(serde_json::to_value(&spec).unwrap()["plainHTTP"], true);
    }
}
