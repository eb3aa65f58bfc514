//! `kubectl seccomp coverage`: what filters each container that runs, and what policies would change.

pub mod effective;
mod html;
pub mod policies;
mod render;
pub mod what_if;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::Serialize;

use super::cluster::{Cluster, ClusterArgs, Refusal, block_on};
use super::status::{allowed, profiles, required_versions};
use super::text::Style;
use super::{Failure, Findings, output};
use effective::{File, Files, NodeReport, Placed, Row, StoredPod, Summary, Surroundings};
use kube_support::resource_version;
use render::Layout;
use seccomp_operator_api::{
    SeccompNode, SeccompPolicy, SeccompProfile, StoredProfile, policy_on_trial,
};
use seccomp_policy::profile_state::ProfileState;
use what_if::{Known, Outcome};

/// The folder of the operator's files where no profile says another.
const DEFAULT_DIR: &str = "profiles";
/// The webhook that gives pods a profile, and the label by which it leaves namespaces alone.
const WEBHOOK: &str = "pods.seccomp-operator.io";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Pods whose containers run, or may yet.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Arguments of `coverage`.
#[derive(Args, Debug)]
pub struct CoverageArgs {
    /// The pods of this namespace [default: that of the kubeconfig's context].
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// The pods of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Leave this namespace out; may be given several times.
    #[arg(long, value_name = "NAME", requires = "all_namespaces")]
    exclude_namespace: Vec<String>,
    /// Only pods with these labels, such as app=web,tier!=cache.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = CoverageFormat::Table)]
    output: CoverageFormat,
    /// Only list containers that no profile confines, and those whose profile has a warning.
    #[arg(long)]
    only_findings: bool,
    /// The findings that make this command exit with 1.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = FailOn::Never)]
    fail_on: FailOn,
    /// Instead: what the SeccompPolicies would change of each pod, were it created anew. Those that observe, or are on trial, are
    /// taken for enforced.
    #[arg(long, conflicts_with_all = ["only_findings", "fail_on"])]
    what_if: bool,
    /// With --what-if: a file with SeccompPolicies beside those of the cluster, or instead of one of the same name; - is
    /// standard input.
    #[arg(long = "policy", value_name = "FILE", requires = "what_if")]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CoverageFormat {
    /// For people.
    Table,
    /// The same with nodes and images.
    Wide,
    /// One JSON object.
    Json,
    /// The same in YAML.
    Yaml,
    /// A page, by namespace and by container.
    Html,
}

/// The findings that make the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Nothing.
    Never,
    /// A container that is Unconfined, has no profile, or is privileged.
    Unconfined,
    /// Also a sandbox, and a Localhost profile that is not there, not everywhere, or not the operator's.
    Any,
}

impl FailOn {
    fn fails(self, row: &Row) -> bool {
        match self {
            Self::Never => false,
            Self::Unconfined => row.state.is_open(),
            Self::Any => row.is_finding(),
        }
    }
}

impl Row {
    /// Whether no profile confines the container, or its profile has a warning.
    fn is_finding(&self) -> bool {
        self.state.is_open() || self.state == effective::State::Sandboxed || self.warning.is_some()
    }
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Lists the containers of all pods that have not finished, init and ephemeral ones too. A container without a profile
of its own or of its pod has the runtime's default if its node's kubelet is set to seccompDefault, and else none; the API does
not tell. The operator need not be in the cluster.

Examples:
  # The pods of a namespace
  kubectl seccomp coverage -n shop

  # What is open in the whole cluster
  kubectl seccomp coverage -A --only-findings

  # In CI: fail when a container of the application could run unconfined
  kubectl seccomp coverage -n shop -l app=web --fail-on unconfined

  # What the policies would change, those that observe or are on trial included
  kubectl seccomp coverage -A --what-if

  # What a policy would change before anybody applies it
  kubectl seccomp coverage -A --what-if --policy policy.yaml

  # A page to hand on: each namespace, and each container
  kubectl seccomp coverage -A -o html >coverage.html

  # Images that run privileged
  kubectl seccomp coverage -A -o json | jq -r '.containers[] | select(.state == \"privileged\").image' | sort -u

Exit status: 0 no finding; 1 a finding (--fail-on); 2 wrong use, or the cluster cannot be asked.";

/// All of it as data.
#[derive(Serialize)]
struct Data<'a> {
    summary: &'a Summary,
    containers: &'a [Row],
    notes: &'a [String],
}

/// What would be, as data.
#[derive(Serialize)]
struct WhatIfData<'a> {
    summary: BTreeMap<&'static str, usize>,
    pods: &'a [Outcome],
    notes: &'a [String],
}

/// Asks and prints.
pub fn run(args: &CoverageArgs) -> Result<Findings, Failure> {
    if args.what_if {
        return what_if(args);
    }
    let (pods, surroundings, notes) = block_on(async {
        let cluster = args.cluster.connect().await?;
        let mut notes = Vec::new();
        let pods = args.pods(&cluster).await?;
        let surroundings = surroundings(&cluster, &mut notes).await?;
        Ok((pods, surroundings, notes))
    })?;
    let mut rows: Vec<_> = pods
        .iter()
        .flat_map(|pod| effective::rows(pod, &surroundings))
        .collect();
    let summary = Summary::count(&rows);
    let namespaces = html::by_namespace(&rows);
    let fails = rows.iter().any(|row| args.fail_on.fails(row));
    if args.only_findings {
        rows.retain(Row::is_finding);
    }
    let data = Data {
        summary: &summary,
        containers: &rows,
        notes: &notes,
    };
    output::print(match args.output {
        CoverageFormat::Json => output::json(&data)?,
        CoverageFormat::Yaml => output::yaml(&data)?,
        CoverageFormat::Html => {
            html::coverage(&rows, &summary, &namespaces, &notes, Timestamp::now())
        }
        CoverageFormat::Table | CoverageFormat::Wide => {
            render::coverage(&rows, &summary, args.layout(), &notes, Style::for_stdout())
        }
    })?;
    Ok(if fails {
        Findings::Some(String::new())
    } else {
        Findings::None
    })
}

fn what_if(args: &CoverageArgs) -> Result<Findings, Failure> {
    let more = policies::read(&args.policies)?;
    let (pods, mut known, notes) = block_on(async {
        let cluster = args.cluster.connect().await?;
        let mut notes = Vec::new();
        let pods = args.pods(&cluster).await?;
        let known = known(&cluster, &mut notes).await?;
        if !known.injects {
            notes.push(
                "no webhook of the operator is installed: until it is, no pod is changed"
                    .to_owned(),
            );
        }
        Ok((pods, known, notes))
    })?;
    known.policies.extend(more);
    let outcomes = what_if::outcomes(&pods, &known);
    let data = WhatIfData {
        summary: what_if::counts(&outcomes),
        pods: &outcomes,
        notes: &notes,
    };
    output::print(match args.output {
        CoverageFormat::Json => output::json(&data)?,
        CoverageFormat::Yaml => output::yaml(&data)?,
        CoverageFormat::Html => html::what_if(&outcomes, &notes, Timestamp::now()),
        CoverageFormat::Table | CoverageFormat::Wide => {
            render::what_if(&outcomes, args.layout(), &notes, Style::for_stdout())
        }
    })?;
    Ok(Findings::None)
}

impl CoverageArgs {
    fn layout(&self) -> Layout {
        Layout {
            namespaces: self.all_namespaces,
            wide: self.output == CoverageFormat::Wide,
        }
    }

    async fn pods(&self, cluster: &Cluster) -> Result<Vec<Placed>, Failure> {
        let namespace = self.namespace.as_ref().unwrap_or(&cluster.namespace);
        let namespace = (!self.all_namespaces).then_some(namespace.as_str());
        let mut pods = pods(cluster, namespace, self.selector.as_deref()).await?;
        pods.retain(|pod| !self.exclude_namespace.contains(&pod.namespace));
        Ok(pods)
    }
}

/// The pods that have not finished, of one namespace or of all, by namespace and name.
pub async fn pods(
    cluster: &Cluster,
    namespace: Option<&str>,
    selector: Option<&str>,
) -> Result<Vec<Placed>, Failure> {
    let (api, scope) = match namespace {
        None => {
            let api = Api::<StoredPod>::all(cluster.client.clone());
            (api, "all namespaces; -n asks for those of one".to_owned())
        }
        Some(namespace) => {
            let api = Api::namespaced(cluster.client.clone(), namespace);
            (api, format!("the namespace {namespace}"))
        }
    };
    let mut params = ListParams::default().fields(UNFINISHED);
    params.label_selector = selector.map(str::to_owned);
    let pods = cluster.list_as(&api, &params, "pods", &scope, Placed::from);
    let mut pods = pods.await?;
    if let Some(namespace) = namespace.filter(|_| pods.is_empty()) {
        // A gate on a namespace that is not there would pass for ever.
        if cluster.has_namespace(namespace).await == Some(false) {
            return Err(Failure::Usage(format!(
                "there is no namespace {namespace:?}; `kubectl get namespaces` lists them"
            )));
        }
    }
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(pods)
}

/// What has to be known of the cluster to say what filters containers.
pub async fn surroundings(
    cluster: &Cluster,
    notes: &mut Vec<String>,
) -> Result<Surroundings, Refusal> {
    let everything = ListParams::default();
    let classes: Api<RuntimeClass> = Api::all(cluster.client.clone());
    let kind = "runtimeclasses.node.k8s.io";
    let classes = cluster.list(&classes, &everything, kind, "the cluster");
    let without = "a sandboxed runtime is known by its class's name alone";
    let classes = allowed(classes.await, notes, without)?.unwrap_or_default();
    let handlers = classes
        .into_iter()
        .map(|class| (class.name_any(), class.handler));
    Ok(Surroundings {
        minor_version: cluster.minor_version().await,
        handlers: handlers.collect(),
        files: files(cluster, notes).await?,
    })
}

/// What is known of the operator's files; none without the right to know, or without the operator.
async fn files(cluster: &Cluster, notes: &mut Vec<String>) -> Result<Option<Files>, Refusal> {
    let without = "nothing is said of files on nodes";
    let Some(stored) = allowed(profiles(cluster).await, notes, without)? else {
        return Ok(None);
    };
    let reports: Api<SeccompNode> = Api::all(cluster.client.clone());
    let everything = ListParams::default();
    let kind = "seccompnodes.seccomp-operator.io";
    let reports = cluster.list(&reports, &everything, kind, "the cluster");
    let without = "a profile counts as not there unless it is on all nodes";
    let reports = allowed(reports.await, notes, without)?;
    let profiles: Vec<_> = stored.into_iter().map(StoredProfile::read).collect();
    let required = required_versions(&profiles);
    let dir = profiles_dir(profiles.iter().flatten());
    let file = |profile: &SeccompProfile| {
        let name = profile.name_any();
        let required_version = required.get(&name).map_or(0, |wanted| wanted.version);
        let state = state_of(profile);
        (
            format!("{dir}/{name}.json"),
            File {
                name,
                state,
                required_version,
                tried_by: policy_on_trial(&profile.metadata).map(|(policy, _)| policy.to_owned()),
            },
        )
    };
    let report = |node: &SeccompNode| NodeReport {
        applied_version: resource_version(&node.spec.applied_resource_version),
        failures: node
            .spec
            .failures
            .iter()
            .map(|failure| {
                let why = (failure.reason.clone(), failure.message.clone());
                (failure.profile.clone(), why)
            })
            .collect(),
    };
    Ok(Some(Files {
        profiles: profiles.iter().flatten().map(file).collect(),
        reports: reports.map(|nodes| {
            nodes
                .iter()
                .map(|node| (node.name_any(), report(node)))
                .collect()
        }),
        dir,
    }))
}

/// The folder that profiles say they are in.
pub fn profiles_dir<'a>(profiles: impl Iterator<Item = &'a SeccompProfile>) -> String {
    let mut paths =
        profiles.filter_map(|profile| profile.status.as_ref()?.localhost_profile.as_ref());
    let dir = paths.find_map(|path| path.rsplit_once('/').map(|(dir, _)| dir.to_owned()));
    dir.unwrap_or_else(|| DEFAULT_DIR.to_owned())
}

/// How the newest generation stands.
fn state_of(profile: &SeccompProfile) -> ProfileState {
    let status = profile.status.as_ref();
    status
        .filter(|status| status.observed_generation == profile.metadata.generation)
        .map(ProfileState::new)
        .unwrap_or_default()
}

/// What admission knows, as far as one may know it.
pub async fn known(cluster: &Cluster, notes: &mut Vec<String>) -> Result<Known, Refusal> {
    let everything = ListParams::default();
    let policies: Api<SeccompPolicy> = Api::all(cluster.client.clone());
    let kind = "seccomppolicies.seccomp-operator.io";
    let policies = cluster.list(&policies, &everything, kind, "the cluster");
    let without = "only the policies of --policy are asked";
    let policies = allowed(policies.await, notes, without)?.unwrap_or_default();

    let without = "whether profiles are there is not known";
    let stored = allowed(profiles(cluster).await, notes, without)?.unwrap_or_default();
    let profiles: Vec<_> = stored
        .into_iter()
        .filter_map(|profile| profile.read().ok())
        .collect();

    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespaces = cluster.list(&namespaces, &everything, "namespaces", "the cluster");
    let without = "a policy's namespaceSelector sees no label but the name";
    let namespaces = allowed(namespaces.await, notes, without)?.unwrap_or_default();

    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let kind = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
    let webhooks = cluster.list(&webhooks, &everything, kind, "the cluster");
    let without = "only kube-system is taken for excluded";
    let webhooks = allowed(webhooks.await, notes, without)?;
    let excluded = webhooks.as_ref().map(|all| excluded(all));
    let excluded = excluded.flatten();
    Ok(Known {
        injects: webhooks.is_none() || excluded.is_some(),
        profiles_dir: profiles_dir(profiles.iter()),
        excluded: excluded.unwrap_or_else(|| BTreeSet::from(["kube-system".to_owned()])),
        namespaces: namespaces
            .into_iter()
            .map(|namespace| {
                (
                    namespace.name_any(),
                    namespace.metadata.labels.unwrap_or_default(),
                )
            })
            .collect(),
        profiles: profiles
            .iter()
            .map(|profile| {
                let state = ProfileState {
                    deleted: profile.metadata.deletion_timestamp.is_some(),
                    ..state_of(profile)
                };
                (profile.name_any(), state)
            })
            .collect(),
        policies: policies
            .into_iter()
            .map(|policy| (policy.name_any(), policy.spec))
            .collect(),
    })
}

/// The namespaces that the operator's webhook never changes pods in; none if there is no such webhook.
fn excluded(configurations: &[MutatingWebhookConfiguration]) -> Option<BTreeSet<String>> {
    let mut webhooks = configurations
        .iter()
        .flat_map(|c| c.webhooks.iter().flatten());
    let webhook = webhooks.find(|webhook| webhook.name == WEBHOOK)?;
    let selector = webhook.namespace_selector.as_ref();
    let expressions = selector.and_then(|selector| selector.match_expressions.as_ref());
    let names = expressions
        .into_iter()
        .flatten()
        .filter(|expression| expression.key == NAME_LABEL && expression.operator == "NotIn")
        .flat_map(|expression| expression.values.iter().flatten().cloned());
    Some(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use effective::tests::placed;
    use serde_json::json;

    #[test]
    fn excluded_namespaces_are_those_of_the_operators_own_webhook() {
        let configuration = |name: &str| -> MutatingWebhookConfiguration {
            serde_json::from_value(json!({"metadata": {"name": "x"}, "webhooks": [{
                "name": name, "admissionReviewVersions": ["v1"], "clientConfig": {}, "sideEffects": "None",
                "namespaceSelector": {"matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["a", "b"]},
                    {"key": "seccomp-operator.io/inject", "operator": "NotIn", "values": ["disabled"]},
                ]},
            }]}))
            .unwrap()
        };
        let names = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let all = [configuration("somebody.else"), configuration(WEBHOOK)];
        assert_eq!(excluded(&all), Some(names));
        assert_eq!(excluded(&all[..1]), None);
    }

    #[test]
    fn what_makes_the_command_fail_is_what_was_asked_for() {
        let state = |container: serde_json::Value| {
            let spec = json!({"containers": [container], "runtimeClassName": container["class"]});
            effective::rows(
                &placed("n", "p", &json!({}), spec),
                &Surroundings::default(),
            )
            .remove(0)
        };
        let confined =
            json!({"name": "c", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}});
        let mut sandboxed = confined.clone();
        sandboxed["class"] = "gvisor".into();
        for (container, unconfined, any) in [
            (confined, false, false),
            (sandboxed, false, true),
            (json!({"name": "c"}), true, true),
            (
                json!({"name": "c", "securityContext": {"privileged": true}}),
                true,
                true,
            ),
        ] {
            let row = state(container.clone());
            assert!(!FailOn::Never.fails(&row));
            assert_eq!(FailOn::Unconfined.fails(&row), unconfined, "{container}");
            assert_eq!(FailOn::Any.fails(&row), any, "{container}");
        }
    }
}
