//! A new pod, as far as admission reads it: the places that can state a seccomp profile, and what decides whether it gets one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The fields of a pod that the decision needs; all others are skipped when a review is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// `metadata`.
    pub metadata: Metadata,
    /// `spec`.
    pub spec: Spec,
}

/// A pod's `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// May be absent: then `null` is taken for none as well.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// May be absent.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

/// A pod's `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// The pod level.
    pub security_context: Option<SecurityContext>,
    /// `containers`.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    /// `initContainers`.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    /// `os`.
    pub os: Option<Os>,
    /// `nodeSelector`.
    #[serde(deserialize_with = "or_default")]
    pub node_selector: BTreeMap<String, String>,
    /// `runtimeClassName`.
    pub runtime_class_name: Option<String>,
}

impl Spec {
    /// All containers that a new pod can have. Ephemeral containers come later, and inherit from the pod level.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// Whether the pod is for Windows, where there is no seccomp.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let os = self.os.as_ref().map(|os| os.name.as_str());
        let selected = self.node_selector.get("kubernetes.io/os");
        os == Some("windows") || selected.is_some_and(|os| os == "windows")
    }
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its image, as stated.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    /// The container level.
    pub security_context: Option<SecurityContext>,
}

impl Container {
    /// Whether it is privileged: then container runtimes apply no filter to it.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        let context = self.security_context.as_ref();
        context
            .and_then(|context| context.privileged)
            .unwrap_or_default()
    }

    /// The profile that it states for itself.
    #[must_use]
    pub fn profile(&self) -> Option<&SeccompProfile> {
        self.security_context.as_ref()?.seccomp_profile.as_ref()
    }
}

/// A pod's or a container's `securityContext`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecurityContext {
    /// `seccompProfile`.
    pub seccomp_profile: Option<SeccompProfile>,
    /// Containers only.
    pub privileged: Option<bool>,
}

/// `seccompProfile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SeccompProfile {
    /// `RuntimeDefault`, `Localhost`, `Unconfined`, or what the API server will refuse.
    #[serde(rename = "type")]
    pub type_: String,
    /// The path, for `Localhost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub localhost_profile: Option<String>,
}

/// `os`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Os {
    /// `linux` or `windows`.
    pub name: String,
}

fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl SeccompProfile {
    /// Whether it is no filter at all.
    #[must_use]
    pub fn is_unconfined(&self) -> bool {
        self.type_ == "Unconfined"
    }

    /// For a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.localhost_profile {
            Some(path) => format!("{} {path}", self.type_),
            None => self.type_.clone(),
        }
    }

    /// The value of a legacy annotation as a field; none for one that means nothing.
    #[must_use]
    pub fn from_annotation(value: &str) -> Option<Self> {
        let of = |type_: &str, path: Option<&str>| {
            Some(Self {
                type_: type_.into(),
                localhost_profile: path.map(Into::into),
            })
        };
        match value {
            "runtime/default" | "docker/default" => of("RuntimeDefault", None),
            "unconfined" => of("Unconfined", None),
            _ => of("Localhost", Some(value.strip_prefix("localhost/")?)),
        }
    }
}
