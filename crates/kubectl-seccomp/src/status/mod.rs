//! `kubectl seccomp status`: the state of profiles and nodes, and the reason of each failure.

mod html;
mod render;
mod source;
mod survey;

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PartialObjectMeta};
use kube::core::ObjectMeta;
use kube::{Api, Resource as _, ResourceExt as _};
use serde::Deserialize;

use super::cluster::{Cluster, ClusterArgs, Refusal, block_on};
use super::output;
use super::text::Style;
use super::{Failure, Findings};
use seccomp_operator_api::{
    SeccompNode, SeccompProfile, SeccompSource, StoredProfile, without_managed_fields,
};
use source::Source;
pub use survey::required_versions;
use survey::{Agent, Observed, Survey, left_over, survey};

/// The agents' pods, as the chart labels them.
const AGENTS: &str = "app.kubernetes.io/part-of=seccomp-operator,app.kubernetes.io/component=agent";

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Only this SeccompProfile, in detail.
    name: Option<String>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = StatusFormat::Table)]
    output: StatusFormat,
    /// The findings that make this command exit with 1.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = FailOn::Failed)]
    fail_on: FailOn,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StatusFormat {
    /// For people.
    Table,
    /// One JSON object.
    Json,
    /// The same in YAML.
    Yaml,
    /// A page, with how much of the kernel each profile leaves open.
    Html,
}

/// The findings that make the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Nothing.
    Never,
    /// A profile that is invalid or failed on a node; a node whose agent is gone; a SeccompSource that could not be pulled or verified.
    Failed,
    /// Also a profile that is not on all its nodes yet.
    Unready,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Shows what one may list: SeccompProfiles, SeccompSources, SeccompNodes, and with the right to list Nodes and Pods also nodes whose agents are
gone. A note says what is missing; without the right to list SeccompProfiles the exit status is 2.

Examples:
  # All profiles, the nodes in numbers, and every failure with its reason
  kubectl seccomp status

  # One profile in detail: the nodes that lack it, its users, its warnings
  kubectl seccomp status no-chmod

  # In a pipeline: fail until every profile is on every node
  kubectl seccomp status --fail-on unready

  # A page to hand on, with how much of the kernel each profile leaves open
  kubectl seccomp status -o html >status.html

  # The nodes on which a profile failed
  kubectl seccomp status -o json | jq -r '.profiles[].failures[].node' | sort -u

Exit status: 0 nothing failed; 1 something did (--fail-on); 2 wrong use, or the cluster cannot be asked.";

/// Asks and prints.
pub fn run(args: &StatusArgs) -> Result<Findings, Failure> {
    let (observed, notes, unseen) = block_on(async {
        let cluster = args.cluster.connect().await?;
        observe(&cluster).await.map_err(Failure::from)
    })?;
    let left_over = match unseen {
        None => left_over(&observed),
        Some(_) => BTreeMap::new(),
    };
    let notes = notes.into_iter().chain(left_over.values().cloned());
    let mut survey = survey(&observed, notes.collect());
    survey.sees_profiles = unseen.is_none();
    if let Some(name) = &args.name {
        if let Some(refusal) = unseen {
            return Err(refusal.into());
        }
        survey = survey.only(name).ok_or_else(|| {
            let message = || format!("there is no SeccompProfile {name:?}");
            let message = left_over.get(name).cloned().unwrap_or_else(message);
            Failure::Usage(message)
        })?;
    }
    output::print(match args.output {
        StatusFormat::Table if args.name.is_some() => render::one(&survey, Style::for_stdout()),
        StatusFormat::Table => render::all(&survey, Style::for_stdout()),
        StatusFormat::Json => output::json(&survey)?,
        StatusFormat::Yaml => output::yaml(&survey)?,
        StatusFormat::Html => {
            let open = html::openness(&observed.profiles, &survey);
            html::page(&survey, &open, Timestamp::now())
        }
    })?;
    // Half of it is no answer to a gate.
    if let Some(refusal) = unseen {
        return Err(refusal.into());
    }
    Ok(if args.fail_on.fails(&survey) {
        Findings::Some(String::new())
    } else {
        Findings::None
    })
}

impl FailOn {
    fn fails(self, survey: &Survey) -> bool {
        match self {
            Self::Never => false,
            Self::Failed => survey.has_failures(),
            Self::Unready => !survey.is_ready(),
        }
    }
}

/// What one may see, what is missing, and why profiles do not show, if that is so.
async fn observe(cluster: &Cluster) -> Result<(Observed, Vec<String>, Option<Refusal>), Refusal> {
    let mut notes = Vec::new();
    let everything = ListParams::default();
    let (profiles, mut unseen) = match profiles(cluster).await {
        Ok(profiles) => (profiles, None),
        Err(refusal @ Refusal::Forbidden(_)) => (Vec::new(), Some(refusal)),
        Err(other) => return Err(other),
    };
    let sources = sources(cluster, &mut notes).await?;
    let reports: Api<SeccompNode> = Api::all(cluster.client.clone());
    let kind = "seccompnodes.seccomp-operator.io";
    let reports = cluster.list(&reports, &everything, kind, "the cluster");
    let reports = match (reports.await.map_err(not_installed), unseen.take()) {
        (Err(Refusal::Forbidden(_)), Some(refusal)) => return Err(refusal),
        (Err(Refusal::Forbidden(sentence)), None) => {
            notes.push(format!(
                "{sentence}; without it, nodes do not show, and failures are the first ten of each profile"
            ));
            let observed = Observed {
                profiles: profiles.into_iter().map(StoredProfile::read).collect(),
                sources,
                ..Observed::default()
            };
            return Ok((observed, notes, None));
        }
        (listed, refusal) => {
            unseen = refusal;
            listed?
        }
    };

    let nodes: Api<PartialObjectMeta<Node>> = Api::all(cluster.client.clone());
    let nodes = cluster.list(&nodes, &everything, "nodes", "the cluster");
    let without_nodes = "nodes without an agent and nodeSelectors are not taken into account";
    let nodes = allowed(nodes.await, &mut notes, without_nodes)?;

    let agents: Api<AgentPod> = Api::all(cluster.client.clone());
    let params = ListParams::default().labels(AGENTS);
    let agents = cluster.list_as(&agents, &params, "pods", "all namespaces", agent);
    let without_agents = "an agent that is gone does not show";
    let agents = allowed(agents.await, &mut notes, without_agents)?;
    let observed = Observed {
        profiles: profiles.into_iter().map(StoredProfile::read).collect(),
        reports: Some(reports),
        nodes: nodes.map(labels_of_linux_nodes),
        agents: agents.map(|agents| agents.into_iter().flatten().collect()),
        sources,
    };
    Ok((observed, notes, unseen))
}

/// All SeccompProfiles.
pub async fn profiles(cluster: &Cluster) -> Result<Vec<StoredProfile>, Refusal> {
    let api: Api<StoredProfile> = Api::all(cluster.client.clone());
    let kind = format!(
        "{}.{}",
        SeccompProfile::plural(&()),
        SeccompProfile::group(&())
    );
    let everything = ListParams::default();
    let listed = cluster.list(&api, &everything, &kind, "the cluster");
    listed.await.map_err(not_installed)
}

/// All SeccompSources. Where their definition is not installed there are none.
async fn sources(cluster: &Cluster, notes: &mut Vec<String>) -> Result<Vec<Source>, Refusal> {
    let api: Api<SeccompSource> = Api::all(cluster.client.clone());
    let kind = "seccompsources.seccomp-operator.io";
    let everything = ListParams::default();
    let listed = cluster.list_as(&api, &everything, kind, "the cluster", Source::of);
    match listed.await {
        Err(Refusal::Unknown(_)) => Ok(Vec::new()),
        listed => {
            let without = "where profiles come from does not show";
            Ok(allowed(listed, notes, without)?.unwrap_or_default())
        }
    }
}

/// An API server that does not know our kinds has no operator.
fn not_installed(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Unknown(sentence) => Refusal::Unknown(format!(
            "{sentence}: the operator is not installed there, or its custom resource definitions are not"
        )),
        other => other,
    }
}

/// What one may do without; what that means becomes a note.
pub fn allowed<T>(
    listed: Result<T, Refusal>,
    notes: &mut Vec<String>,
    without: &str,
) -> Result<Option<T>, Refusal> {
    match listed {
        Ok(listed) => Ok(Some(listed)),
        Err(Refusal::Forbidden(sentence) | Refusal::Unknown(sentence)) => {
            notes.push(format!("{sentence}; without it, {without}"));
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

fn labels_of_linux_nodes(
    nodes: Vec<PartialObjectMeta<Node>>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    nodes
        .into_iter()
        .filter(|node| {
            node.labels()
                .get("kubernetes.io/os")
                .is_none_or(|os| os == "linux")
        })
        .map(|node| (node.name_any(), node.metadata.labels.unwrap_or_default()))
        .collect()
}

/// An agent's pod: only where it is, and how it does.
#[derive(kube::Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Pod)]
struct AgentPod {
    #[serde(deserialize_with = "without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: AgentPodSpec,
    #[serde(default)]
    status: AgentPodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentPodSpec {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AgentPodStatus {
    phase: Option<String>,
    container_statuses: Vec<ContainerStatus>,
}

fn agent(pod: AgentPod) -> Option<Agent> {
    let node = pod.spec.node_name?;
    if matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let mut containers = pod.status.container_statuses.iter();
    let waits = containers.find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        waiting.reason.clone()
    });
    // A pod that is being made is no trouble.
    let trouble =
        waits.filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing");
    Some(Agent { node, trouble })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_that_waits_for_long_is_in_trouble() {
        let pod = |phase: &str, reason: &str| -> AgentPod {
            serde_json::from_value(json!({
                "metadata": {"name": "agent-x"}, "spec": {"nodeName": "n1", "containers": []},
                "status": {"phase": phase, "containerStatuses": [{
                    "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                    "state": if reason.is_empty() { json!({"running": {}}) } else { json!({"waiting": {"reason": reason}}) },
                }]},
            }))
            .unwrap()
        };
        let trouble = |phase, reason| agent(pod(phase, reason)).map(|agent| agent.trouble);
        assert_eq!(trouble("Running", ""), Some(None));
        assert_eq!(trouble("Pending", "ContainerCreating"), Some(None));
        assert_eq!(
            trouble("Running", "CrashLoopBackOff"),
            Some(Some("CrashLoopBackOff".into()))
        );
        assert_eq!(trouble("Failed", ""), None);
    }

    #[test]
    fn what_one_may_not_list_is_a_note_unless_nothing_can_be_listed() {
        let mut notes = vec![];
        let forbidden = Err(Refusal::Forbidden("you may not list nodes".into()));
        assert_eq!(
            allowed::<()>(forbidden, &mut notes, "less is known").unwrap(),
            None
        );
        assert_eq!(notes, ["you may not list nodes; without it, less is known"]);
        assert!(allowed::<()>(Err(Refusal::Other("gone".into())), &mut notes, "").is_err());
    }
}
