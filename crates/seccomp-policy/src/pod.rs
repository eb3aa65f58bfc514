//! The one model of a pod: what admission, the agents and the plugin read of it, under Kubernetes' own names.
//!
//! It borrows from the text that it is read from, so that a review costs few allocations; [`Pod::into_owned`] is for pods that stay.
//! All other fields are passed over, `null` is taken for an absent field, as Kubernetes takes it, and a known field that comes twice
//! is refused. It must not know policies.
#![allow(missing_docs)] // the fields are Kubernetes' own, and documented there

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use seccomp_profile::{Capability, CapabilitySet};
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

mod owned;

/// So many items are kept of a list, since `{}` takes many times its size in memory. No pod that exists has more: its status,
/// with some 200 bytes for each container, would not fit into etcd's 1.5 MiB.
pub const MAX_ITEMS: usize = 8 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Pod<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub metadata: Metadata<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub spec: Spec<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub status: Status<'a>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Metadata<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub labels: Pairs<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub annotations: Pairs<'a>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec<'a> {
    #[serde(borrow, deserialize_with = "optional")]
    pub security_context: Option<SecurityContext<'a>>,
    #[serde(borrow, deserialize_with = "list")]
    pub containers: Vec<Container<'a>>,
    #[serde(borrow, deserialize_with = "list")]
    pub init_containers: Vec<Container<'a>>,
    /// A new pod has none.
    #[serde(borrow, deserialize_with = "list")]
    pub ephemeral_containers: Vec<Container<'a>>,
    /// `Always` if it is absent.
    #[serde(borrow, deserialize_with = "optional_text")]
    pub restart_policy: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "optional")]
    pub os: Option<Os<'a>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub node_selector: Pairs<'a>,
    #[serde(borrow, deserialize_with = "optional_text")]
    pub node_name: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "optional_text")]
    pub runtime_class_name: Option<Cow<'a, str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container<'a> {
    #[serde(borrow, deserialize_with = "text")]
    pub name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    pub image: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "optional")]
    pub security_context: Option<SecurityContext<'a>>,
    /// Overrides the pod's, for a sidecar among the init containers.
    #[serde(borrow, deserialize_with = "optional_text")]
    pub restart_policy: Option<Cow<'a, str>>,
}

/// A pod's or a container's `securityContext`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecurityContext<'a> {
    #[serde(borrow, deserialize_with = "optional")]
    pub seccomp_profile: Option<SeccompProfile<'a>>,
    /// Containers only.
    pub privileged: Option<bool>,
    /// Containers only.
    #[serde(borrow, deserialize_with = "or_default")]
    pub capabilities: Capabilities<'a>,
}

/// What a container has more, and less, than the runtime gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Capabilities<'a> {
    #[serde(borrow, deserialize_with = "texts")]
    pub add: Vec<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "texts")]
    pub drop: Vec<Cow<'a, str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SeccompProfile<'a> {
    /// `RuntimeDefault`, `Localhost`, `Unconfined`, or a word that the API server will refuse.
    #[serde(rename = "type", borrow, deserialize_with = "text")]
    pub type_: Cow<'a, str>,
    /// The path below kubelet's seccomp folder, for `Localhost`.
    #[serde(
        borrow,
        deserialize_with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub localhost_profile: Option<Cow<'a, str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Cow<'a, str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status<'a> {
    /// `Succeeded` and `Failed` are for good.
    #[serde(borrow, deserialize_with = "optional_text")]
    pub phase: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "list")]
    pub container_statuses: Vec<ContainerStatus<'a>>,
    #[serde(borrow, deserialize_with = "list")]
    pub init_container_statuses: Vec<ContainerStatus<'a>>,
    #[serde(borrow, deserialize_with = "list")]
    pub ephemeral_container_statuses: Vec<ContainerStatus<'a>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus<'a> {
    #[serde(borrow, deserialize_with = "text")]
    pub name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub state: ContainerState<'a>,
    /// Of the container before the present one, if there was one.
    #[serde(borrow, deserialize_with = "or_default")]
    pub last_state: ContainerState<'a>,
    #[serde(deserialize_with = "number")]
    pub restart_count: i32,
    /// The runtime's name and the container's id: `containerd://<id>`.
    #[serde(rename = "containerID", borrow, deserialize_with = "optional_text")]
    pub container_id: Option<Cow<'a, str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerState<'a> {
    #[serde(borrow, deserialize_with = "optional")]
    pub waiting: Option<Waiting<'a>>,
    #[serde(deserialize_with = "optional")]
    pub running: Option<Running>,
    #[serde(borrow, deserialize_with = "optional")]
    pub terminated: Option<Terminated<'a>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Waiting<'a> {
    #[serde(borrow, deserialize_with = "text")]
    pub reason: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    pub message: Cow<'a, str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Running {
    pub started_at: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated<'a> {
    pub exit_code: i32,
    #[serde(borrow, deserialize_with = "text")]
    pub started_at: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    pub reason: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    pub message: Cow<'a, str>,
}

/// Labels, annotations, or a node selector, in the order of their keys: there may be very many, for admission sees pods before
/// anybody has looked at them. Of two with one key the later counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Spec<'a> {
    /// All containers that a new pod can have. Ephemeral containers come later, and inherit from the pod level.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// The profile at pod level.
    #[must_use]
    pub fn profile(&self) -> Option<&SeccompProfile<'a>> {
        self.security_context.as_ref()?.seccomp_profile.as_ref()
    }

    /// Whether the pod is for Windows, where there is no seccomp.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let os = self.os.as_ref().map(|os| os.name.as_ref());
        os == Some("windows") || self.node_selector.get("kubernetes.io/os") == Some("windows")
    }
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

    /// The capabilities that runtimes give it: those that it adds to theirs, less those that it drops, as containerd has it (`ALL` comes
    /// first in both, and what is added stays). None if it adds one that is not known.
    #[must_use]
    pub fn capabilities(&self) -> Option<CapabilitySet> {
        let Some(context) = &self.security_context else {
            return Some(CapabilitySet::RUNTIME_DEFAULT);
        };
        let Capabilities { add, drop } = &context.capabilities;
        let is_all = |name: &Cow<'a, str>| name.eq_ignore_ascii_case("ALL");
        if add.iter().any(is_all) {
            return Some(CapabilitySet::from_bits(u64::MAX));
        }
        let known = |name: &Cow<'a, str>| Capability::named(&name.to_ascii_uppercase());
        let dropped: Vec<_> = drop.iter().filter_map(known).collect();
        let given = CapabilitySet::RUNTIME_DEFAULT.iter();
        let kept = given.filter(|one| !drop.iter().any(is_all) && !dropped.contains(one));
        let added: Option<Vec<_>> = add.iter().map(known).collect();
        Some(kept.chain(added?).collect())
    }
}

impl<'a> SeccompProfile<'a> {
    /// Whether it is no filter at all.
    #[must_use]
    pub fn is_unconfined(&self) -> bool {
        self.type_ == "Unconfined"
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
        let (type_, path) = match value {
            "runtime/default" | "docker/default" => ("RuntimeDefault", None),
            "unconfined" => ("Unconfined", None),
            _ => ("Localhost", Some(value.strip_prefix("localhost/")?)),
        };
        Some(Self {
            type_: type_.into(),
            localhost_profile: path.map(Into::into),
        })
    }
}

impl<'a> Pairs<'a> {
    fn new(mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Self {
        // The last of one key comes first, and is kept.
        pairs.reverse();
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        pairs.dedup_by(|(later, _), (first, _)| later == first);
        Self(pairs)
    }

    /// The value of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self
            .0
            .binary_search_by(|(other, _)| other.as_ref().cmp(key));
        self.0.get(found.ok()?).map(|(_, value)| value.as_ref())
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

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(key), Text(value))) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Pairs::new(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pod<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PodVisitor;
        impl<'de> Visitor<'de> for PodVisitor {
            type Value = Pod<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pod")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Pod::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(PodVisitor)
    }
}

/// A text that borrows wherever it stands: inside of other types `Cow` is always read as a copy.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object: the types that serde derives take an array of their fields for one.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// A list of objects, of which [`MAX_ITEMS`] are kept.
struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < MAX_ITEMS
                    && let Some(item) = seq.next_element()?
                {
                    items.push(item);
                }
                if items.len() == MAX_ITEMS {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    optional(deserializer).map(Option::unwrap_or_default)
}

fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let object: Option<Object<T>> = Option::deserialize(deserializer)?;
    Ok(object.map(|Object(object)| object))
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list: Option<List<Object<T>>> = Option::deserialize(deserializer)?;
    let items = list.map(|List(items)| items).unwrap_or_default();
    Ok(items.into_iter().map(|Object(item)| item).collect())
}

fn texts<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Cow<'a, str>>, D::Error> {
    let list: Option<List<Text<'_>>> = Option::deserialize(deserializer)?;
    let items = list.map(|List(items)| items).unwrap_or_default();
    Ok(items.into_iter().map(|Text(text)| text).collect())
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    optional_text(deserializer).map(Option::unwrap_or_default)
}

fn optional_text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    let text: Option<Text<'_>> = Option::deserialize(deserializer)?;
    Ok(text.map(|Text(text)| text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> serde_json::Result<Pod<'_>> {
        serde_json::from_str(text)
    }

    #[test]
    fn only_a_text_with_escapes_is_copied() {
        let name = |text| {
            let mut pod = read(text).unwrap();
            pod.spec.containers.remove(0).name
        };
        let plain = name(r#"{"spec":{"containers":[{"name":"plain"}]}}"#);
        assert!(matches!(plain, Cow::Borrowed("plain")));
        let escaped = name(r#"{"spec":{"containers":[{"name":"\u0070lain"}]}}"#);
        assert!(matches!(escaped, Cow::Owned(text) if text == "plain"));
    }

    #[test]
    fn a_container_s_capabilities_are_those_that_runtimes_give_it() {
        let of = |capabilities: Value| {
            let pod = json!({"spec": {"containers": [{"securityContext": {"capabilities": capabilities}}]}});
            let text = pod.to_string();
            let set = read(&text).unwrap().spec.containers[0].capabilities()?;
            let usual = CapabilitySet::RUNTIME_DEFAULT;
            let more = set.iter().filter(|one| !usual.contains(*one));
            let more: Vec<_> = more.map(Capability::bare_name).collect();
            let less = usual.iter().filter(|one| !set.contains(*one)).count();
            Some((more.join(" "), less))
        };
        for (capabilities, more, less) in [
            (json!(null), "", 0),
            (json!({"add": null, "drop": ["MKNOD", "NEWER"]}), "", 1),
            (
                json!({"add": ["sys_admin", "CAP_BPF", "CHOWN"]}),
                "SYS_ADMIN BPF",
                0,
            ),
            (
                json!({"add": ["SYS_TIME"], "drop": ["ALL"]}),
                "SYS_TIME",
                14,
            ),
        ] {
            let expected = Some((more.to_owned(), less));
            assert_eq!(of(capabilities.clone()), expected, "{capabilities}");
        }
        assert_eq!(of(json!({"add": ["ALL"], "drop": ["CHOWN"]})).unwrap().1, 0);
        assert_eq!(of(json!({"add": ["NEWER"]})), None);
    }

    #[test]
    fn null_is_taken_for_an_absent_field_everywhere() {
        let pod = json!({"metadata": null, "spec": null, "status": null});
        assert_eq!(read(&pod.to_string()).unwrap(), Pod::default());
        let pod = json!({
            "metadata": {"labels": null, "annotations": null},
            "spec": {
                "securityContext": null, "containers": null, "initContainers": null, "ephemeralContainers": null,
                "restartPolicy": null, "os": null, "nodeSelector": null, "nodeName": null, "runtimeClassName": null,
            },
            "status": {
                "phase": null, "containerStatuses": null, "initContainerStatuses": null,
                "ephemeralContainerStatuses": null,
            },
        });
        assert_eq!(read(&pod.to_string()).unwrap(), Pod::default());
        let pod = json!({
            "spec": {
                "securityContext": {"seccompProfile": null, "privileged": null, "capabilities": null}, "os": {"name": null},
                "containers": [{"name": null, "image": null, "securityContext": null, "restartPolicy": null}],
                "initContainers": [{"securityContext": {"seccompProfile": {"type": null, "localhostProfile": null}}}],
            },
            "status": {"containerStatuses": [
                {"name": null, "state": null}, {"state": {"running": null, "terminated": null}},
                {"state": {"running": {"startedAt": null}}},
            ]},
        });
        assert_eq!(read(&pod.to_string()).unwrap().spec.containers.len(), 1);
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        for text in [
            "[]",
            "null",
            r#"{"metadata":[]}"#,
            r#"{"metadata":{"labels":{"a":null}}}"#,
            r#"{"metadata":{"labels":[]}}"#,
            r#"{"metadata":{"labels":7}}"#,
            r#"{"spec":[]}"#,
            r#"{"spec":{"containers":{}}}"#,
            r#"{"spec":{"containers":[[]]}}"#,
            r#"{"spec":{"containers":[null]}}"#,
            r#"{"spec":{"containers":[{"name":1}]}}"#,
            r#"{"spec":{"securityContext":[]}}"#,
            r#"{"spec":{"securityContext":{"privileged":"yes"}}}"#,
            r#"{"spec":{"os":["linux"]}}"#,
            r#"{"spec":{},"spec":{}}"#,
            r#"{"spec":{},"\u0073pec":{}}"#,
            r#"{"spec":{"nodeName":"a","nodeName":"a"}}"#,
            r#"{"status":{"containerStatuses":[{"state":[]}]}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn of_two_pairs_with_one_key_the_later_counts() {
        let pod = read(r#"{"metadata":{"labels":{"b":"1","a":"2","b":"3","c":"4","b":"5"}}}"#);
        let labels = pod.unwrap().metadata.labels;
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        let values = ["a", "b", "c", "d"].map(|key| labels.get(key));
        assert_eq!(values, [Some("2"), Some("5"), Some("4"), None]);
    }

    #[test]
    fn of_a_list_of_very_many_no_more_are_kept_than_any_pod_has() {
        let kept = |count: usize| {
            let pod = json!({"spec": {"containers": vec![json!({}); count]}});
            read(&pod.to_string()).unwrap().spec.containers.len()
        };
        assert_eq!(kept(MAX_ITEMS - 1), MAX_ITEMS - 1);
        assert_eq!(kept(MAX_ITEMS), MAX_ITEMS);
        assert_eq!(kept(MAX_ITEMS + 2), MAX_ITEMS);
    }

    #[test]
    fn an_owned_pod_is_the_same_pod() {
        let pod: Value = json!({
            "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
            "spec": {
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true,
                    "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/a.json"}}}],
                "initContainers": [{"name": "i", "restartPolicy": "Always"}], "ephemeralContainers": [{"name": "e"}],
                "restartPolicy": "Never", "os": {"name": "linux"}, "nodeSelector": {"e": "f"}, "nodeName": "n",
                "runtimeClassName": "r",
            },
            "status": {
                "phase": "Running",
                "containerStatuses": [{"name": "c", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
                "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 1}}}],
                "ephemeralContainerStatuses": [{"name": "e"}],
            },
        });
        let text = pod.to_string();
        let pod = read(&text).unwrap();
        assert_eq!(pod.clone().into_owned(), pod);
    }
}
