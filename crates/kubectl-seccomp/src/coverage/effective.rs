//! The seccomp profile that each container of a pod really has, and where it is from: pure functions.
//!
//! The container level wins over the pod level. What neither says is up to the node: its kubelet may be set to `seccompDefault`,
//! which no pod shows.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod as CorePod;
use kube::core::ObjectMeta;
use seccomp_policy::pod::{Container, Metadata, Pod, Spec};
use serde::{Deserialize, Serialize};

use seccomp_policy::decide::{self, SeccompProfile};
use seccomp_policy::localhost::LocalhostProfile;

/// The Kubernetes version since which the legacy annotations mean nothing. Before, API servers wrote the fields for them.
const ANNOTATIONS_END: u32 = 25;

/// A pod as it comes from the wire; what is of no interest here is skipped.
#[derive(kube::Resource, Clone, Debug, Deserialize)]
#[resource(inherit = CorePod)]
pub struct StoredPod {
    metadata: ObjectMeta,
    #[serde(deserialize_with = "Spec::deserialize_owned")]
    spec: Spec<'static>,
}

/// A pod that exists.
#[derive(Clone, Debug)]
pub struct Placed {
    pub namespace: String,
    pub name: String,
    /// As admission reads it.
    pub pod: Pod<'static>,
}

impl From<StoredPod> for Placed {
    fn from(stored: StoredPod) -> Self {
        let ObjectMeta {
            name,
            namespace,
            labels,
            annotations,
            ..
        } = stored.metadata;
        let mut annotations = annotations.unwrap_or_default();
        annotations.retain(|key, value| !is_echo(key, value, &stored.spec));
        Self {
            namespace: namespace.unwrap_or_default(),
            name: name.unwrap_or_default(),
            pod: Pod {
                metadata: Metadata {
                    labels: labels.unwrap_or_default().into(),
                    annotations: annotations.into(),
                },
                spec: stored.spec,
                ..Pod::default()
            },
        }
    }
}

/// Whether an annotation says again what a field says. Kubernetes before 1.25 writes it by itself, so it is nobody's wish.
fn is_echo(key: &str, value: &str, spec: &Spec<'_>) -> bool {
    let field = if key == decide::POD_ANNOTATION {
        spec.profile()
    } else {
        let name = key.strip_prefix(decide::CONTAINER_ANNOTATION);
        let mut containers = spec.all_containers().chain(&spec.ephemeral_containers);
        let container = containers.find(|container| Some(container.name.as_ref()) == name);
        container.and_then(Container::profile)
    };
    field.is_some() && field == SeccompProfile::from_annotation(value).as_ref()
}

/// What has to be known of the cluster.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The minor version of Kubernetes.
    pub minor_version: Option<u32>,
    /// The handlers of runtime classes by their names.
    pub handlers: BTreeMap<String, String>,
    /// The operator's files; none if it is not there.
    pub files: Option<Files>,
}

/// What is known of the files that the operator keeps on nodes.
#[derive(Debug, Default)]
pub struct Files {
    /// The folder that they are in.
    pub dir: String,
    /// What pods write as `localhostProfile`, and the SeccompProfile.
    pub profiles: BTreeMap<String, File>,
    /// What the agents say, by node; none if one may not list that.
    pub reports: Option<BTreeMap<String, NodeReport>>,
}

/// A profile's file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// The SeccompProfile's name.
    pub name: String,
    /// Whether it is on all nodes that should have it.
    pub ready: bool,
    /// A node whose agent has applied this version of the profile list has the file.
    pub required_version: u64,
}

/// What a node's agent says.
#[derive(Clone, Debug, Default)]
pub struct NodeReport {
    /// The version of the profile list that it has applied.
    pub applied_version: u64,
    /// The profiles that are not as they should be, and why.
    pub failures: BTreeMap<String, String>,
}

/// A container, and what filters it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Where.
    pub namespace: String,
    /// Whose.
    pub pod: String,
    pub container: String,
    /// What it is in the pod.
    pub kind: Kind,
    /// What filters it, if anything does.
    pub state: State,
    /// The profile that it states, or its pod; none if neither does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<SeccompProfile<'static>>,
    /// Where that stands.
    pub source: Source,
    /// A sentence about the profile, if there is something wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Why the profile is not what filters the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// One of `initContainers`, sidecars among them.
    Init,
    /// One of `containers`.
    Container,
    /// One of `ephemeralContainers`.
    Ephemeral,
}

/// Where a profile stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The container's `securityContext`.
    Container,
    /// The pod's `securityContext`.
    Pod,
    /// A legacy annotation.
    Annotation,
    /// Nowhere.
    None,
}

impl Source {
    /// For a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Annotation => "annotation",
            Self::None => "",
        }
    }
}

/// What filters a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    Confined,
    /// Nothing: it says so.
    Unconfined,
    /// It says nothing: the runtime's default where kubelet is set to `seccompDefault`, else nothing.
    Unset,
    /// Nothing: runtimes apply no profile to a privileged container.
    Privileged,
    /// It runs in a kernel of its own, to which the profile is not applied.
    Sandboxed,
    /// It does not run on Linux.
    NotLinux,
}

impl State {
    /// Whether a container in this state runs, or may run, without a filter.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Unconfined | Self::Unset | Self::Privileged)
    }
}

/// All containers of a pod.
pub fn rows(placed: &Placed, surroundings: &Surroundings) -> Vec<Row> {
    let spec = &placed.pod.spec;
    let of = |kind| move |container| (kind, container);
    spec.init_containers
        .iter()
        .map(of(Kind::Init))
        .chain(spec.containers.iter().map(of(Kind::Container)))
        .chain(spec.ephemeral_containers.iter().map(of(Kind::Ephemeral)))
        .map(|(kind, container)| row(placed, kind, container, surroundings))
        .collect()
}

fn row(
    placed: &Placed,
    kind: Kind,
    container: &Container<'static>,
    surroundings: &Surroundings,
) -> Row {
    let (source, profile) = stated(&placed.pod, container);
    let annotated = source == Source::Annotation;
    let void = annotated
        && surroundings
            .minor_version
            .is_none_or(|minor| minor >= ANNOTATIONS_END);
    let (state, reason) = match sandbox(&placed.pod.spec, surroundings) {
        _ if placed.pod.spec.is_windows() => (State::NotLinux, None),
        Some(sentence) => (State::Sandboxed, Some(sentence)),
        None if container.is_privileged() => (
            State::Privileged,
            Some("the container is privileged".to_owned()),
        ),
        None if void => {
            let reason = "legacy annotations mean nothing any more";
            (State::Unset, Some(reason.to_owned()))
        }
        None => match &profile {
            None => (State::Unset, None),
            Some(profile) if profile.is_unconfined() => (State::Unconfined, None),
            Some(_) => (State::Confined, None),
        },
    };
    let path = profile
        .as_ref()
        .and_then(|profile| profile.localhost_profile.as_deref());
    let files = surroundings.files.as_ref();
    let node = placed.pod.spec.node_name.as_deref();
    Row {
        namespace: placed.namespace.clone(),
        pod: placed.name.clone(),
        container: container.name.to_string(),
        kind,
        state,
        warning: path
            .zip(files)
            .and_then(|(path, files)| files.warning(path, node)),
        profile,
        source,
        reason,
        image: container.image.to_string(),
        node: node.map(str::to_owned),
    }
}

/// What a container, or its pod for it, says. An annotation counts where no field says anything.
fn stated(
    pod: &Pod<'static>,
    container: &Container<'static>,
) -> (Source, Option<SeccompProfile<'static>>) {
    let annotation = |key: &str| {
        let value = pod.metadata.annotations.get(key)?;
        SeccompProfile::from_annotation(value).map(SeccompProfile::into_owned)
    };
    if let Some(profile) = container.profile() {
        return (Source::Container, Some(profile.clone()));
    }
    if let Some(profile) = pod.spec.profile() {
        return (Source::Pod, Some(profile.clone()));
    }
    let own = annotation(&format!(
        "{}{}",
        decide::CONTAINER_ANNOTATION,
        container.name
    ));
    match own.or_else(|| annotation(decide::POD_ANNOTATION)) {
        Some(profile) => (Source::Annotation, Some(profile)),
        None => (Source::None, None),
    }
}

/// A sentence, if the pod's runtime keeps it in a kernel of its own.
fn sandbox(spec: &Spec<'_>, surroundings: &Surroundings) -> Option<String> {
    let class = spec.runtime_class_name.as_deref()?;
    let handler = surroundings.handlers.get(class);
    let handler = handler.map_or(class, String::as_str);
    (decide::is_sandbox(class) || decide::is_sandbox(handler))
        .then(|| format!("the runtime class {class} is a sandbox"))
}

impl Files {
    /// A sentence, if a container cannot use this file, or could not after a restart.
    fn warning(&self, path: &str, node: Option<&str>) -> Option<String> {
        let dir = &self.dir;
        let path = match LocalhostProfile::parse(path, dir) {
            LocalhostProfile::Managed(name) => name.localhost_profile(dir),
            _ => path.to_owned(),
        };
        let Some(file) = self.profiles.get(&path) else {
            return Some(match LocalhostProfile::parse(&path, dir) {
                LocalhostProfile::Managed(name) => {
                    format!("there is no SeccompProfile {:?}", name.as_str())
                }
                LocalhostProfile::Unmanageable => {
                    format!("no SeccompProfile can have this path ({dir}/<name>.json)")
                }
                LocalhostProfile::WithAnnotationPrefix(_) => {
                    "not managed: the prefix localhost/ belongs to the legacy annotation".to_owned()
                }
                LocalhostProfile::Elsewhere => {
                    "not managed: no SeccompProfile has this path".to_owned()
                }
            });
        };
        let report = self.reports.as_ref().zip(node);
        match report.map(|(reports, node)| (node, reports.get(node))) {
            Some((node, None)) => Some(format!("no agent has reported from {node}")),
            Some((node, Some(report))) => match report.failures.get(&file.name) {
                Some(failure) => Some(format!(
                    "SeccompProfile {:?} failed on {node}: {failure}",
                    file.name
                )),
                None if report.applied_version < file.required_version => {
                    Some(format!("{node} does not have the newest generation yet"))
                }
                None => None,
            },
            None if file.ready => None,
            None => Some(format!(
                "SeccompProfile {:?} is not ready on all nodes",
                file.name
            )),
        }
    }
}

/// Coverage in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Pods.
    pub pods: usize,
    /// Their containers.
    pub containers: usize,
    /// Containers that a profile confines: the runtime's own, or a file.
    pub runtime_default: usize,
    /// See `runtime_default`.
    pub localhost: usize,
    /// As in [`State`].
    pub unconfined: usize,
    /// As in [`State`].
    pub unset: usize,
    /// As in [`State`].
    pub privileged: usize,
    /// As in [`State`].
    pub sandboxed: usize,
    /// As in [`State`].
    pub not_linux: usize,
    /// Containers with something wrong about their profile.
    pub warnings: usize,
}

impl Summary {
    pub fn count(rows: &[Row]) -> Self {
        let pods: BTreeSet<_> = rows.iter().map(|row| (&row.namespace, &row.pod)).collect();
        let mut summary = Self {
            pods: pods.len(),
            containers: rows.len(),
            ..Self::default()
        };
        for row in rows {
            let localhost = row
                .profile
                .as_ref()
                .is_some_and(|p| p.localhost_profile.is_some());
            *match row.state {
                State::Confined if localhost => &mut summary.localhost,
                State::Confined => &mut summary.runtime_default,
                State::Unconfined => &mut summary.unconfined,
                State::Unset => &mut summary.unset,
                State::Privileged => &mut summary.privileged,
                State::Sandboxed => &mut summary.sandboxed,
                State::NotLinux => &mut summary.not_linux,
            } += 1;
            summary.warnings += usize::from(row.warning.is_some());
        }
        summary
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A pod as an API server has it.
    #[allow(clippy::needless_pass_by_value)] // reads better where it is called
    pub fn placed(namespace: &str, name: &str, annotations: &Value, spec: Value) -> Placed {
        let metadata = json!({"name": name, "namespace": namespace, "annotations": annotations});
        let pod = json!({"metadata": metadata, "spec": spec, "status": {"phase": "Running"}});
        serde_json::from_value::<StoredPod>(pod).unwrap().into()
    }

    fn profile(type_: &str) -> Value {
        json!({"seccompProfile": {"type": type_}})
    }

    #[test]
    fn the_container_level_wins_over_the_pod_level_for_containers_of_every_kind() {
        let spec = json!({
            "securityContext": profile("RuntimeDefault"), "nodeName": "n1",
            "initContainers": [{"name": "i", "image": "x", "securityContext": profile("Unconfined")}],
            "containers": [{"name": "a", "image": "nginx:1"}, {"name": "b", "securityContext": {"privileged": false, "seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}}],
            "ephemeralContainers": [{"name": "e"}, {"name": "f", "securityContext": profile("Unconfined")}],
        });
        let rows = rows(
            &placed("ns", "p", &json!(null), spec),
            &Surroundings::default(),
        );
        let seen: Vec<_> = rows
            .iter()
            .map(|r| {
                (
                    r.container.as_str(),
                    r.kind,
                    r.state,
                    r.source,
                    r.profile.as_ref().unwrap().describe(),
                )
            })
            .collect();
        let s = |text: &str| text.to_owned();
        assert_eq!(
            seen,
            [
                (
                    "i",
                    Kind::Init,
                    State::Unconfined,
                    Source::Container,
                    s("Unconfined")
                ),
                (
                    "a",
                    Kind::Container,
                    State::Confined,
                    Source::Pod,
                    s("RuntimeDefault")
                ),
                (
                    "b",
                    Kind::Container,
                    State::Confined,
                    Source::Container,
                    s("Localhost x.json")
                ),
                (
                    "e",
                    Kind::Ephemeral,
                    State::Confined,
                    Source::Pod,
                    s("RuntimeDefault")
                ),
                (
                    "f",
                    Kind::Ephemeral,
                    State::Unconfined,
                    Source::Container,
                    s("Unconfined")
                ),
            ]
        );
        assert_eq!(
            (rows[1].image.as_str(), rows[1].node.as_deref()),
            ("nginx:1", Some("n1"))
        );
        let summary = Summary::count(&rows);
        assert_eq!(
            (summary.pods, summary.containers, summary.unconfined),
            (1, 5, 2)
        );
        assert_eq!((summary.runtime_default, summary.localhost), (2, 1));
    }

    #[test]
    fn what_makes_a_profile_void_is_told_from_having_none() {
        let with = |container: Value, more: Value| {
            let mut container = container;
            container["name"] = "c".into();
            let mut spec = json!({"containers": [container]});
            spec.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let surroundings = Surroundings {
                handlers: BTreeMap::from([
                    ("fast".into(), "kata-qemu".into()),
                    ("plain".into(), "runc".into()),
                ]),
                ..Surroundings::default()
            };
            let row = rows(&placed("ns", "p", &json!({}), spec), &surroundings).remove(0);
            (row.state, row.reason)
        };
        let default = || json!({"securityContext": profile("RuntimeDefault")});
        let privileged = json!({"securityContext": {"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}}});
        assert_eq!(with(json!({}), json!({})), (State::Unset, None));
        assert_eq!(with(privileged, json!({})).0, State::Privileged);
        assert_eq!(
            with(default(), json!({"runtimeClassName": "fast"})).0,
            State::Sandboxed
        );
        assert_eq!(
            with(default(), json!({"runtimeClassName": "gvisor"})).0,
            State::Sandboxed
        );
        assert_eq!(
            with(default(), json!({"runtimeClassName": "plain"})).0,
            State::Confined
        );
        assert_eq!(
            with(json!({}), json!({"os": {"name": "windows"}})).0,
            State::NotLinux
        );
        for (state, open) in [
            (State::Unset, true),
            (State::Privileged, true),
            (State::Unconfined, true),
            (State::Sandboxed, false),
            (State::Confined, false),
            (State::NotLinux, false),
        ] {
            assert_eq!(state.is_open(), open);
        }
    }

    #[test]
    fn an_annotation_counts_where_kubernetes_reads_it_and_no_field_says_otherwise() {
        let of = |minor, annotations: Value, context: Value| {
            let spec = json!({"containers": [{"name": "c"}], "securityContext": context});
            let surroundings = Surroundings {
                minor_version: minor,
                ..Surroundings::default()
            };
            let row = rows(&placed("ns", "p", &annotations, spec), &surroundings).remove(0);
            (row.state, row.source)
        };
        let pod = || json!({"seccomp.security.alpha.kubernetes.io/pod": "runtime/default"});
        let both = json!({
            "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
            "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
        });
        assert_eq!(
            of(Some(20), pod(), json!({})),
            (State::Confined, Source::Annotation)
        );
        assert_eq!(
            of(Some(25), pod(), json!({})),
            (State::Unset, Source::Annotation)
        );
        assert_eq!(
            of(None, pod(), json!({})),
            (State::Unset, Source::Annotation)
        );
        assert_eq!(
            of(Some(20), both, json!({})),
            (State::Unconfined, Source::Annotation)
        );
        assert_eq!(
            of(Some(20), pod(), profile("Unconfined")),
            (State::Unconfined, Source::Pod)
        );
    }

    #[test]
    fn an_annotation_that_only_repeats_a_field_is_nobodys_wish() {
        let annotations = json!({
            "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
            "container.seccomp.security.alpha.kubernetes.io/a": "localhost/x.json",
            "container.seccomp.security.alpha.kubernetes.io/b": "unconfined",
            "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
            "other": "kept",
        });
        let spec = json!({
            "securityContext": profile("RuntimeDefault"),
            "containers": [
                {"name": "a", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}},
                {"name": "b", "securityContext": profile("RuntimeDefault")},
                {"name": "c"},
            ],
        });
        let kept: Vec<_> = placed("n", "p", &annotations, spec)
            .pod
            .metadata
            .annotations
            .keys()
            .map(str::to_owned)
            .collect();
        assert_eq!(
            kept,
            [
                "container.seccomp.security.alpha.kubernetes.io/b",
                "container.seccomp.security.alpha.kubernetes.io/c",
                "other"
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_there_or_not_ours_is_a_concern() {
        let file = |name: &str, ready| File {
            name: name.into(),
            ready,
            required_version: 5,
        };
        let report = |applied_version, failures: &[(&str, &str)]| NodeReport {
            applied_version,
            failures: failures
                .iter()
                .map(|(p, m)| ((*p).into(), (*m).into()))
                .collect(),
        };
        let mut files = Files {
            dir: "profiles".into(),
            profiles: BTreeMap::from([
                ("profiles/good.json".into(), file("good", true)),
                ("profiles/slow.json".into(), file("slow", false)),
            ]),
            reports: None,
        };
        for (path, node, part) in [
            ("profiles/good.json", None, ""),
            ("profiles/slow.json", None, "not ready on all nodes"),
            ("profiles/gone.json", None, "no SeccompProfile \"gone\""),
            ("./profiles//good.json", None, ""),
            ("./profiles/slow.json", None, "not ready on all nodes"),
            ("profiles/sub/good.json", None, "can have this path"),
            ("localhost/profiles/good.json", None, "legacy annotation"),
            ("other/x.json", None, "not managed"),
            ("profilesx/x.json", None, "not managed"),
        ] {
            let warning = files.warning(path, node).unwrap_or_default();
            assert!(
                warning.contains(part) && part.is_empty() == warning.is_empty(),
                "{path}: {warning}"
            );
        }
        files.reports = Some(BTreeMap::from([
            ("in-sync".into(), report(5, &[])),
            ("behind".into(), report(4, &[])),
            ("failing".into(), report(5, &[("good", "no space")])),
        ]));
        for (path, node, part) in [
            // What holds on the pod's own node is what counts.
            ("profiles/slow.json", "in-sync", ""),
            ("profiles/good.json", "in-sync", ""),
            ("profiles/good.json", "behind", "newest generation"),
            ("profiles/good.json", "failing", "no space"),
            ("profiles/good.json", "unknown", "no agent"),
        ] {
            let warning = files.warning(path, Some(node)).unwrap_or_default();
            assert!(
                warning.contains(part) && part.is_empty() == warning.is_empty(),
                "{path} {node}: {warning}"
            );
        }
    }
}
