//! What the operator's processes may do on a node: asked of the kernel, of the running pods.

use std::collections::BTreeMap;

use anyhow::Context as _;
use e2e::cluster::Cluster;
use e2e::shell::Shell;
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
