//! What the operator's processes may do on a node: asked of the kernel, of the running pods; and what an agent's token may.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use e2e::shell::Shell;
use kube::Api;
use kube::api::{Patch, PatchParams};
use seccomp_operator_api::SeccompNode;
use serde_json::json;

use super::Tested;

/// What `/proc/<process>/status` says of a process.
fn status(text: &str) -> BTreeMap<&str, &str> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name, value.trim())).collect()
}

/// Whether a container runtime mounts it into every container that has a token.
fn is_usual(path: &str) -> bool {
    let usual = [
        "/proc",
        "/dev",
        "/sys",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/run/secrets/kubernetes.io/serviceaccount",
    ];
    let below = |known: &&str| {
        path.strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    path == "/" || usual.iter().any(below)
}

#[tokio::test]
async fn an_agent_has_no_capability_one_folder_of_the_node_and_no_namespace_of_it() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-rights", &[]).await?;
    for component in ["agent", "controller"] {
        let pods = cluster.pods_of(component).await?;
        let node = pods.iter().find_map(|pod| pod["spec"]["nodeName"].as_str());
        let node = node.with_context(|| format!("no {component}"))?;
        let shell = Shell::start_on(&cluster, &namespace, node).await?;
        // The newest: an older one may be about to end.
        let word = match component {
            "agent" => "/seccomp-operator-agent",
            other => other,
        };
        let newest = format!("processes seccomp-operato {word} | sort -n | tail -n 1");
        let newest = shell.run(&newest).await?;
        let process = newest.trim();
        assert!(!process.is_empty(), "no {component}");
        let text = shell.run(&format!("cat /proc/{process}/status")).await?;
        let status = status(&text);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{component} {set}");
        }
        assert_eq!(status["NoNewPrivs"], "1", "{component}");
        assert_eq!(status["Seccomp"], "2", "{component}");
        let user = if component == "agent" { "0" } else { "65532" };
        assert!(
            status["Uid"].split_whitespace().all(|uid| uid == user),
            "{component} {}",
            status["Uid"]
        );
        // Its number on the node, and another one in a namespace of its own.
        assert_eq!(status["NSpid"].split_whitespace().count(), 2, "{component}");

        let mounts = shell.run(&format!("cat /proc/{process}/mountinfo")).await?;
        let mounts: BTreeMap<_, _> = mounts
            .lines()
            .map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                (fields[4], fields[5])
            })
            .collect();
        let options = |path: &str| mounts.get(path).map(|options| options.split(',').next());
        assert_eq!(options("/"), Some(Some("ro")), "{component}");
        let more: Vec<_> = mounts
            .keys()
            .filter(|path| !is_usual(path))
            .copied()
            .collect();
        if component == "agent" {
            assert_eq!(more, ["/host/seccomp"]);
            assert_eq!(options("/host/seccomp"), Some(Some("rw")));
        } else {
            assert_eq!(more, Vec::<&str>::new());
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_pods_ask_for_no_namespace_volume_or_privilege_of_the_node() -> Tested {
    let cluster = Cluster::with_operator().await?;
    for component in ["agent", "controller"] {
        for pod in cluster.pods_of(component).await? {
            let spec = &pod["spec"];
            for field in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec[field].as_bool() != Some(true), "{component} {field}");
            }
            let empty = vec![];
            let volumes = spec["volumes"].as_array().unwrap_or(&empty);
            let host: Vec<_> = volumes
                .iter()
                .filter_map(|v| v["hostPath"]["path"].as_str())
                .collect();
            if component == "agent" {
                assert_eq!(host, ["/var/lib/kubelet/seccomp"]);
            } else {
                assert_eq!(host, Vec::<&str>::new());
            }
            let containers = spec["containers"].as_array().context("no containers")?;
            for container in containers {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], json!(false));
                assert_eq!(context["readOnlyRootFilesystem"], json!(true));
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
                assert_ne!(context["privileged"], json!(true));
                assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
            }
            assert!(spec["initContainers"].is_null());
        }
    }
    Ok(())
}

/// Why somebody with this token may not write a node's report; none if it is taken.
async fn refusal(token: &str, node: &str) -> anyhow::Result<Option<String>> {
    let nodes: Api<SeccompNode> = Api::all(Cluster::client_with(token).await?);
    let change = json!({"metadata": {"annotations": {"e2e": "rights"}}});
    let tried = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let answer = nodes.patch(node, &tried, &Patch::Merge(&change)).await;
    Ok(answer.err().map(|error| error.to_string()))
}

#[tokio::test]
async fn an_agent_s_token_writes_the_report_of_its_own_node_and_no_other_where_that_is_asked_for()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let served = kubectl(&["api-resources", "--output", "name"], "")
        .await?
        .ok()?;
    if !served.contains("validatingadmissionpolicies.") {
        println!("skipped: this Kubernetes has no ValidatingAdmissionPolicies");
        return Ok(());
    }
    let account = "seccomp-operator-agent";
    let create = ["create", "token", account, "--namespace", NAMESPACE];
    let token = async |more: &[&str]| kubectl(&[&create, more].concat(), "").await?.ok();
    let agents = cluster.pods_of("agent").await?;
    let of = |at: usize| {
        let (name, node) = (
            &agents[at]["metadata"]["name"],
            &agents[at]["spec"]["nodeName"],
        );
        Some((name.as_str()?.to_owned(), node.as_str()?.to_owned()))
    };
    if agents.len() < 2 {
        println!("skipped: there is no other node");
        return Ok(());
    }
    let ((pod, own), (_, other)) = (of(0).context("no agent")?, of(1).context("no other")?);
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", &pod];
    let (bound, unbound) = (token(&bound).await?, token(&[]).await?);
    let soon = Duration::from_secs(20);
    until("the policy to be in force", soon, || async {
        let said = refusal(&bound, &other).await?.context("it may write")?;
        let why = format!("the agent of node {own} may write the SeccompNode of that node only");
        ensure!(said.contains(&why), "{said}");
        let said = refusal(&unbound, &own).await?.context("it may write")?;
        ensure!(said.contains("does not say which node it is on"), "{said}");
        Ok(())
    })
    .await?;
    assert_eq!(refusal(&bound, &own).await?, None);

    cluster
        .install(NAMESPACE, &["--set", "agent.ownNodeOnly=false"])
        .await?;
    until("the policy to be gone", soon, || async {
        for (token, node) in [(&bound, &other), (&unbound, &own)] {
            let said = refusal(token, node).await?;
            ensure!(said.is_none(), "{said:?}");
        }
        Ok(())
    })
    .await?;
    cluster.install(NAMESPACE, &[]).await
}
