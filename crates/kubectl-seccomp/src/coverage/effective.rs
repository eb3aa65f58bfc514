//! The seccomp profile that each container of a pod really has, and where it is from: pure functions.
//!
//! The container level wins over the pod level. What neither says is up to the node: its kubelet may be set to `seccompDefault`,
//! which no pod shows.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod as CorePod;
use kube::core::ObjectMeta;
use seccomp_policy::pod::{Container, Metadata, Pod, Spec};
use serde::{Deserialize, Serialize};

use seccomp_operator_api::{NodeFailure, without_managed_fields};
use seccomp_policy::decide::{self, SeccompProfile};
use seccomp_policy::localhost::LocalhostProfile;
use seccomp_policy::profile_state::ProfileState;

/// The Kubernetes version since which the legacy annotations mean nothing. Before, API servers wrote the fields for them.
const ANNOTATIONS_END: u32 = 25;

/// A pod as it comes from the wire; what is of no interest here is skipped.
#[derive(kube::Resource, Clone, Debug, Deserialize)]
#[resource(inherit = CorePod)]
pub struct StoredPod {
    #[serde(deserialize_with = "without_managed_fields")]
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
    /// How it stands.
    pub state: ProfileState,
    /// A node whose agent has applied this version of the profile list has the file.
    pub required_version: u64,
    /// The SeccompPolicy on trial that it is kept for: `runtime-default` is in force under it.
    pub tried_by: Option<String>,
}

/// What a node's agent says.
#[derive(Clone, Debug, Default)]
pub struct NodeReport {
    /// The version of the profile list that it has applied.
    pub applied_version: u64,
    /// The profiles that are not as they should be: the reason, and a sentence.
    pub failures: BTreeMap<String, (String, String)>,
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
    /// The SeccompPolicy whose profile is tried on it, while `runtime-default` is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_trial: Option<String>,
    /// No container starts under the profile.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unstartable: bool,
    /// A container that is created now is filtered by somebody else's file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
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
    let unstartable = path.zip(files).is_some_and(|(path, files)| {
        let file = files.file(path);
        file.is_some_and(|file| {
            file.state.starts_nothing.is_some() && !files.is_foreign(file, node)
        })
    });
    let foreign = path.zip(files).is_some_and(|(path, files)| {
        let file = files.file(path);
        file.is_some_and(|file| files.is_foreign(file, node))
    });
    let on_trial = path.zip(files).and_then(|(path, files)| {
        let file = files.file(path).filter(|_| !foreign)?;
        file.tried_by.clone()
    });
    Row {
        on_trial,
        unstartable,
        foreign,
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
    /// The profile that a path names, however it is written.
    fn file(&self, path: &str) -> Option<&File> {
        let name = LocalhostProfile::parse(path, &self.dir).into_name()?;
        self.profiles.get(&name.localhost_profile(&self.dir))
    }

    /// Whether what has the profile's name on the node is somebody else's file.
    fn is_foreign(&self, file: &File, node: Option<&str>) -> bool {
        let report = self.reports.as_ref().zip(node);
        let report = report.and_then(|(reports, node)| reports.get(node));
        let failure = report.and_then(|report| report.failures.get(&file.name));
        failure.is_some_and(|(reason, _)| reason == NodeFailure::CONFLICT)
    }

    /// `; did you mean "profiles/web.json"?`, if there is such a profile.
    fn meant(&self, path: &str) -> String {
        let path = LocalhostProfile::meant(path).map(|name| name.localhost_profile(&self.dir));
        let path = path.filter(|path| self.profiles.contains_key(path));
        path.map_or_else(String::new, |path| format!("; did you mean {path:?}?"))
    }

    /// A sentence, if a container cannot use this file, or could not after a restart.
    fn warning(&self, path: &str, node: Option<&str>) -> Option<String> {
        let dir = &self.dir;
        let Some(file) = self.file(path) else {
            return Some(match LocalhostProfile::parse(path, dir) {
                LocalhostProfile::Managed(name) => {
                    format!("there is no SeccompProfile {:?}", name.as_str())
                }
                LocalhostProfile::Unmanageable => {
                    format!(
                        "no SeccompProfile can have this path ({dir}/<name>.json){}",
                        self.meant(path)
                    )
                }
                LocalhostProfile::WithAnnotationPrefix(_) => {
                    "not managed: the prefix localhost/ belongs to the legacy annotation".to_owned()
                }
                LocalhostProfile::Elsewhere => {
                    format!(
                        "not managed: no SeccompProfile has this path{}",
                        self.meant(path)
                    )
                }
            });
        };
        if let Some(why) = &file.state.starts_nothing
            && !self.is_foreign(file, node)
        {
            return Some(format!("SeccompProfile {:?} {why}", file.name));
        }
        let report = self.reports.as_ref().zip(node);
        match report.map(|(reports, node)| (node, reports.get(node))) {
            Some((node, None)) => Some(format!("no agent has reported from {node}")),
            Some((node, Some(report))) => match report.failures.get(&file.name) {
                Some((reason, _)) if reason == NodeFailure::CONFLICT => Some(format!(
                    "{node} runs a foreign file: what has the name of SeccompProfile {:?} there is not the operator's, and containers \
                     start under it",
                    file.name
                )),
                Some((_, failure)) => Some(format!(
                    "SeccompProfile {:?} failed on {node}: {failure}",
                    file.name
                )),
                None if report.applied_version < file.required_version => {
                    Some(format!("{node} does not have the newest generation yet"))
                }
                None => None,
            },
            None => file.state.warning(&file.name),
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
    /// Containers on which a policy's profile is tried, while `runtime-default` is in force.
    pub on_trial: usize,
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
    /// Containers under whose profile none starts, so that they would not after a restart.
    pub unstartable: usize,
    /// Containers on a node where somebody else's file has the name of their profile.
    pub foreign: usize,
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
                State::Confined if row.on_trial.is_some() => &mut summary.on_trial,
                State::Confined if localhost => &mut summary.localhost,
                State::Confined => &mut summary.runtime_default,
                State::Unconfined => &mut summary.unconfined,
                State::Unset => &mut summary.unset,
                State::Privileged => &mut summary.privileged,
                State::Sandboxed => &mut summary.sandboxed,
                State::NotLinux => &mut summary.not_linux,
            } += 1;
            summary.unstartable += usize::from(row.unstartable);
            summary.foreign += usize::from(row.foreign);
            summary.warnings += usize::from(row.warning.is_some());
        }
        summary
    }
}

#[cfg(test)]
pub mod tests;
