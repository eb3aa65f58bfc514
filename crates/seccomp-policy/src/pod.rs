//! A new pod, as far as admission reads it: the places that can state a seccomp profile, and what decides whether it gets one.
//!
//! A pod in a review is read where it stands, by [`Reader`], and borrows from the body. Pods of other sources own what they hold.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use admission_review::json::{JsonError, Read, Reader};

/// The fields of a pod that the decision needs; all others are skipped when a review is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Pod<'a> {
    /// `metadata`.
    pub metadata: Metadata<'a>,
    /// `spec`.
    pub spec: Spec<'a>,
}

/// A pod's `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Metadata<'a> {
    /// May be absent: then `null` is taken for none as well.
    #[serde(deserialize_with = "or_default")]
    pub labels: Pairs<'a>,
    /// May be absent.
    #[serde(deserialize_with = "or_default")]
    pub annotations: Pairs<'a>,
}

/// A pod's `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec<'a> {
    /// The pod level.
    pub security_context: Option<SecurityContext<'a>>,
    /// `containers`.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container<'a>>,
    /// `initContainers`.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container<'a>>,
    /// `os`.
    pub os: Option<Os<'a>>,
    /// `nodeSelector`.
    #[serde(deserialize_with = "or_default")]
    pub node_selector: Pairs<'a>,
    /// `runtimeClassName`.
    pub runtime_class_name: Option<Cow<'a, str>>,
}

impl<'a> Spec<'a> {
    /// All containers that a new pod can have. Ephemeral containers come later, and inherit from the pod level.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// Whether the pod is for Windows, where there is no seccomp.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let os = self.os.as_ref().map(|os| os.name.as_ref());
        os == Some("windows") || self.node_selector.get("kubernetes.io/os") == Some("windows")
    }
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container<'a> {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: Cow<'a, str>,
    /// Its image, as stated.
    #[serde(deserialize_with = "or_default")]
    pub image: Cow<'a, str>,
    /// The container level.
    pub security_context: Option<SecurityContext<'a>>,
}

impl<'a> Container<'a> {
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
    pub fn profile(&self) -> Option<&SeccompProfile<'a>> {
        self.security_context.as_ref()?.seccomp_profile.as_ref()
    }
}

/// A pod's or a container's `securityContext`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecurityContext<'a> {
    /// `seccompProfile`.
    pub seccomp_profile: Option<SeccompProfile<'a>>,
    /// Containers only.
    pub privileged: Option<bool>,
}

/// `seccompProfile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SeccompProfile<'a> {
    /// `RuntimeDefault`, `Localhost`, `Unconfined`, or what the API server will refuse.
    #[serde(rename = "type")]
    pub type_: Cow<'a, str>,
    /// The path, for `Localhost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub localhost_profile: Option<Cow<'a, str>>,
}

/// `os`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    pub name: Cow<'a, str>,
}

fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Labels, annotations, or a selector of nodes, in the order of their keys: there may be very many, for admission sees pods before
/// anybody has looked at them. Of two with one key the later counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Pairs<'_> {
    /// The value of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let after = self.0.partition_point(|(other, _)| other.as_ref() <= key);
        let (other, value) = self.0.get(after.checked_sub(1)?)?;
        (other == key).then_some(value.as_ref())
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_ref())
    }
}

impl From<BTreeMap<String, String>> for Pairs<'_> {
    fn from(pairs: BTreeMap<String, String>) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl<'a> Read<'a> for Pod<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let (mut metadata, mut spec) = (None, None);
        reader.object(|reader, key| match key {
            b"metadata" => reader.member(&mut metadata, Metadata::read),
            b"spec" => reader.member(&mut spec, Spec::read),
            _ => reader.skip(),
        })?;
        Ok(Self {
            metadata: metadata.unwrap_or_default(),
            spec: spec.unwrap_or_default(),
        })
    }
}

impl<'a> Read<'a> for Metadata<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let (mut labels, mut annotations) = (None, None);
        reader.object(|reader, key| match key {
            b"labels" => reader.member(&mut labels, Pairs::read),
            b"annotations" => reader.member(&mut annotations, Pairs::read),
            _ => reader.skip(),
        })?;
        Ok(Self {
            labels: labels.unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
        })
    }
}

impl<'a> Read<'a> for Pairs<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut pairs = Vec::new();
        reader.pairs(|reader, key| {
            pairs.push((key, reader.string()?));
            Ok(())
        })?;
        // The order of those with one key stays.
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self(pairs))
    }
}

impl<'a> Read<'a> for Spec<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let (mut security_context, mut containers, mut init_containers) = (None, None, None);
        let (mut os, mut node_selector, mut runtime_class_name) = (None, None, None);
        reader.object(|reader, key| match key {
            b"securityContext" => reader.member(&mut security_context, SecurityContext::read),
            b"containers" => reader.member(&mut containers, Vec::read),
            b"initContainers" => reader.member(&mut init_containers, Vec::read),
            b"os" => reader.member(&mut os, Os::read),
            b"nodeSelector" => reader.member(&mut node_selector, Pairs::read),
            b"runtimeClassName" => reader.member(&mut runtime_class_name, Reader::string),
            _ => reader.skip(),
        })?;
        Ok(Self {
            security_context,
            containers: containers.unwrap_or_default(),
            init_containers: init_containers.unwrap_or_default(),
            os,
            node_selector: node_selector.unwrap_or_default(),
            runtime_class_name,
        })
    }
}

impl<'a> Read<'a> for Container<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let (mut name, mut image, mut security_context) = (None, None, None);
        reader.object(|reader, key| match key {
            b"name" => reader.member(&mut name, Reader::string),
            b"image" => reader.member(&mut image, Reader::string),
            b"securityContext" => reader.member(&mut security_context, SecurityContext::read),
            _ => reader.skip(),
        })?;
        Ok(Self {
            name: name.unwrap_or_default(),
            image: image.unwrap_or_default(),
            security_context,
        })
    }
}

impl<'a> Read<'a> for SecurityContext<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let (mut seccomp_profile, mut privileged) = (None, None);
        reader.object(|reader, key| match key {
            b"seccompProfile" => reader.member(&mut seccomp_profile, SeccompProfile::read),
            b"privileged" => reader.member(&mut privileged, Reader::boolean),
            _ => reader.skip(),
        })?;
        Ok(Self {
            seccomp_profile,
            privileged,
        })
    }
}

impl<'a> Read<'a> for SeccompProfile<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let (mut type_, mut localhost_profile) = (None, None);
        reader.object(|reader, key| match key {
            b"type" => reader.member(&mut type_, Reader::string),
            b"localhostProfile" => reader.member(&mut localhost_profile, Reader::string),
            _ => reader.skip(),
        })?;
        Ok(Self {
            type_: type_.unwrap_or_default(),
            localhost_profile,
        })
    }
}

impl<'a> Read<'a> for Os<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut name = None;
        reader.object(|reader, key| match key {
            b"name" => reader.member(&mut name, Reader::string),
            _ => reader.skip(),
        })?;
        Ok(Self {
            name: name.unwrap_or_default(),
        })
    }
}

impl<'a> SeccompProfile<'a> {
    /// Whether it is no filter at all.
    #[must_use]
    pub fn is_unconfined(&self) -> bool {
        self.type_ == "Unconfined"
    }

    /// The same, on its own.
    #[must_use]
    pub fn into_owned(self) -> SeccompProfile<'static> {
        let path = self.localhost_profile;
        SeccompProfile {
            type_: self.type_.into_owned().into(),
            localhost_profile: path.map(|path| path.into_owned().into()),
        }
    }

    /// The file, for `Localhost`.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.localhost_profile.as_deref()
    }

    /// For a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.localhost_profile {
            Some(path) => format!("{} {path}", self.type_),
            None => self.type_.clone().into_owned(),
        }
    }

    /// The value of a legacy annotation as a field; none for one that means nothing.
    #[must_use]
    pub fn from_annotation(value: &'a str) -> Option<Self> {
        let of = |type_: &'static str, path: Option<&'a str>| {
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
