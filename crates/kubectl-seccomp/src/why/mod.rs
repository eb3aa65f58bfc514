//! `kubectl seccomp why`: whether seccomp is the reason that a pod's containers do not start, or were killed.
//!
//! This file asks the cluster; `report` decides and shows.

mod report;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::{Node, Pod as CorePod};
use kube::{Api, ResourceExt as _};

use super::cluster::{Cluster, ClusterArgs, block_on};
use super::status::{allowed, profiles};
use super::{Failure, Findings, coverage, output};
use kube_support::error::chain;
use report::{Known, Report};
use seccomp_operator_api::{StoredProfile, define};
use seccomp_policy::pod::Pod;
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Library, Runtime, Target};

/// Examples, for `--help`.
pub const EXAMPLES: &str = "Examples:
  kubectl seccomp why web-7d4b9c6f5-x2x7k -n shop
  kubectl seccomp why web-7d4b9c6f5-x2x7k -n shop -c proxy
  kubectl seccomp why web-7d4b9c6f5-x2x7k -o json | jq -r '.containers[].remedy'

Exit codes: 0 seccomp is not the reason of anything, 1 it is or may be, 2 wrong use or no answer.";

/// Arguments of `why`.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// The pod.
    pod: String,
    /// The pod's namespace [default: that of the kubeconfig's context].
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only this container.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = WhyFormat::Text)]
    output: WhyFormat,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WhyFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the subcommand.
pub fn run(args: &WhyArgs) -> Result<Findings, Failure> {
    let report = block_on(async {
        let cluster = args.cluster.connect().await?;
        let namespace = args.namespace.as_ref().unwrap_or(&cluster.namespace);
        ask(&cluster, namespace, args).await
    })?;
    let text = match args.output {
        WhyFormat::Text => report.text(),
        WhyFormat::Json => output::json(&report)?,
    };
    output::print(text)?;
    Ok(if report.is_seccomp() {
        Findings::Some(String::new())
    } else {
        Findings::None
    })
}

async fn ask(cluster: &Cluster, namespace: &str, args: &WhyArgs) -> Result<Report, Failure> {
    let pods: Api<CorePod> = Api::namespaced(cluster.client.clone(), namespace);
    let name = &args.pod;
    let found = pods.get_opt(name).await.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 403 => Failure::Usage(format!(
            "you may not get pods in the namespace {namespace}: {}",
            status.message
        )),
        error => Failure::Other(anyhow!("cannot get the pod: {}", chain(error))),
    })?;
    let found = found.ok_or_else(|| {
        Failure::Usage(format!(
            "pod {name:?} is not in the namespace {namespace}; -n names another"
        ))
    })?;
    let mut notes = Vec::new();
    let without = "nothing is known of what the pod's profiles refuse";
    let listed = allowed(profiles(cluster).await, &mut notes, without)
        .map_err(|refusal| Failure::Other(anyhow!(refusal)))?;
    let listed: Option<Vec<_>> =
        listed.map(|all| all.into_iter().map(StoredProfile::read).collect());
    let profiles_dir = coverage::profiles_dir(listed.iter().flatten().flatten());
    let library = listed.map(|all| {
        let mut library = Library::default();
        for profile in &all {
            let name = match profile {
                Ok(profile) => profile.name_any(),
                Err(unreadable) => unreadable.metadata.name.clone().unwrap_or_default(),
            };
            library.define(&name, define(profile));
        }
        library
    });
    let node = node(cluster, &found, &mut notes).await;
    let known = Known {
        library,
        profiles_dir,
        node,
    };
    // The model of a pod borrows from the text that it is read from.
    let text = serde_json::to_string(&found)?;
    let pod: Pod<'_> = serde_json::from_str(&text)?;
    let containers = report::containers(&pod, &known, args.container.as_deref());
    if let Some(container) = &args.container
        && containers.is_empty()
    {
        return Err(Failure::Usage(format!(
            "pod {name:?} has no container {container:?}"
        )));
    }
    Ok(Report {
        pod: name.clone(),
        namespace: namespace.to_owned(),
        node: pod.spec.node_name.as_deref().map(str::to_owned),
        containers,
        notes,
    })
}

/// What the pod's node says of itself; of a pod without a node, or if one may not know, a usual one is taken.
async fn node(cluster: &Cluster, pod: &CorePod, notes: &mut Vec<String>) -> report::Node {
    let usual = report::Node {
        target: Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        },
        runtime: None,
    };
    let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else {
        return usual;
    };
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let info = match nodes.get(name).await {
        Ok(node) => node.status.and_then(|status| status.node_info),
        Err(error) => {
            notes.push(format!(
                "the node {name} cannot be asked ({}); it is taken for one with amd64 and runc",
                chain(&error)
            ));
            None
        }
    };
    let Some(info) = info else { return usual };
    let runtime = info.container_runtime_version.split("://").next();
    report::Node {
        target: Target {
            arch: Arch::from_node(&info.architecture).unwrap_or(usual.target.arch),
            kernel: KernelVersion::from_release(&info.kernel_version)
                .unwrap_or(usual.target.kernel),
            ..usual.target
        },
        // Unless it is set up otherwise.
        runtime: matches!(runtime, Some("containerd" | "docker")).then_some(Runtime::Runc),
    }
}
