//! What the filter of a pod stops, found out from outside, whatever its image has in it and however tight its profile is.

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::command::{Finished, kubectl, plugin};
use e2e::pods::Pod;
use serde_json::{Value, json};

use super::Tested;

/// `poll` is what programs written in Rust cannot start without.
const NO_CHMOD_NO_POLL: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["chmod", "fchmod", "fchmodat", "fchmodat2", "poll"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
}"#;

/// What runc and a static program call before the program's own first line, and no more than the probe needs.
const TIGHT: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": [
        "execve", "arch_prctl", "brk", "mmap", "munmap", "mprotect", "set_tid_address", "set_robust_list", "rseq", "prlimit64",
        "getrandom", "readlink", "readlinkat", "read", "write", "close", "openat", "fstat", "newfstatat", "fcntl", "futex", "capget",
        "capset", "setuid", "setgid", "setgroups", "setresuid", "setresgid", "chdir", "prctl", "getdents64", "getppid", "getpid", "gettid",
        "tgkill", "rt_sigprocmask", "rt_sigreturn", "nanosleep", "epoll_ctl", "epoll_pwait", "sched_yield", "statx", "close_range",
        "faccessat2", "openat2", "seccomp", "clone", "wait4", "kill", "exit", "exit_group", "getcwd", "fstatfs", "fchown"
    ], "action": "SCMP_ACT_ALLOW"}]
}"#;

fn stops(report: &Value, name: &str) -> bool {
    let stopped = report["native"]["stopped"].as_array();
    stopped.is_some_and(|all| all.iter().any(|call| call["name"] == name))
}

async fn probe(namespace: &str, args: &[&str]) -> anyhow::Result<Finished> {
    plugin(&[&["probe", "--namespace", namespace][..], args].concat()).await
}

async fn report(namespace: &str, args: &[&str]) -> anyhow::Result<Value> {
    let printed = probe(namespace, &[args, &["-o", "json"]].concat())
        .await?
        .ok()?;
    serde_json::from_str(&printed).with_context(|| printed.clone())
}

/// A pod without the operator in its image: one container under the pod's profile, one under its own.
async fn pod(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    cluster
        .apply_profile("e2e-probed", NO_CHMOD_NO_POLL)
        .await?;
    cluster.wait_ready("e2e-probed").await?;
    let side = json!({
        "name": "side", "image": cluster.tools_image, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bash", "-c", "sleep infinity"],
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    });
    let main = json!({
        "name": "main", "image": cluster.tools_image, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bash", "-c", "echo started; sleep infinity"],
    });
    Pod::script(cluster, namespace, "web", "true")
        .localhost("profiles/e2e-probed.json")
        .with("/spec/containers", json!([main, side]))
        .create(cluster)
        .await?;
    let ready = [
        "wait",
        "--for=condition=Ready",
        "pod/web",
        "--timeout=60s",
        "--namespace",
        namespace,
    ];
    kubectl(&ready, "").await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_pod_without_the_operator_in_it_is_probed_under_the_profiles_of_its_containers() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-probe", &[]).await?;
    pod(&cluster, &namespace).await?;
    let image = ["--image", &cluster.operator_image];
    let main = report(&namespace, &[&["web"][..], &image].concat()).await?;
    for name in ["poll", "fchmodat", "fchmodat2"] {
        ensure!(stops(&main, name), "{name}: {main}");
    }
    ensure!(!stops(&main, "ptrace") && !stops(&main, "bpf"), "{main}");
    // The operator's own pods say which image to take.
    let side = report(
        &namespace,
        &["web", "--container", "side", "--call", "socket:38,5"],
    )
    .await?;
    ensure!(stops(&side, "bpf") && !stops(&side, "poll"), "{side}");
    ensure!(side["calls"].to_string().contains("socket:38,5"), "{side}");

    let unmet = probe(
        &namespace,
        &["web", "--must-stop", "chmod bpf", "-o", "json"],
    )
    .await?;
    ensure!(
        unmet.code == Some(1) && unmet.stderr.contains("bpf: not stopped"),
        "{unmet:?}"
    );
    serde_json::from_str::<Value>(&unmet.stdout)?;
    for (args, part) in [
        (&["nobody"][..], "is not in the namespace e2e-probe"),
        (&["web", "-c", "sied"], "it has main, side"),
        (
            &["web", "--image", "e2e.invalid/none:1"],
            "no probe there: ",
        ),
        (&["web", "--as", "e2e-nobody"], "you may not get pods"),
    ] {
        let refused = probe(&namespace, args).await?;
        ensure!(
            refused.code == Some(2) && refused.stderr.contains(part),
            "{args:?}: {refused:?}"
        );
    }
    // On Kubernetes without ephemeral containers there were pods, and they are gone.
    let left = kubectl(
        &["get", "pods", "-o", "name", "--namespace", &namespace],
        "",
    )
    .await?
    .ok()?;
    assert_eq!(left.trim(), "pod/web");
    Ok(())
}

#[tokio::test]
async fn what_the_docs_say_of_probing_a_pod_is_so() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-probe-docs", &[]).await?;
    pod(&cluster, &namespace).await?;
    let docs = include_str!("../../../docs/operations.md");
    let examples: Vec<_> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("    kubectl seccomp probe "))
        .collect();
    ensure!(
        !examples.is_empty(),
        "the docs do not say how a pod is probed"
    );
    for example in examples {
        let args: Vec<_> = example
            .split_whitespace()
            .map(|word| {
                word.trim_matches('\'')
                    .replace("POD", "web")
                    .replace("NAMESPACE", &namespace)
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let printed = plugin(&[&["probe"][..], &args].concat()).await?;
        ensure!(printed.code == Some(0), "{example}: {printed:?}");
        ensure!(printed.stdout.contains("chmod"), "{example}: {printed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_probe_speaks_under_a_profile_with_little_more_than_the_start_of_a_container() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-probe-tight", &[]).await?;
    cluster.apply_profile("e2e-tight", TIGHT).await?;
    cluster.wait_ready("e2e-tight").await?;
    let printed = Pod::probe(&cluster, &namespace, "tight")
        .localhost("profiles/e2e-tight.json")
        .run(&cluster)
        .await?;
    let report: Value = serde_json::from_str(&printed).with_context(|| printed.clone())?;
    for name in ["poll", "sigaltstack", "rt_sigaction", "mount"] {
        ensure!(stops(&report, name), "{name}: {report}");
    }
    ensure!(!stops(&report, "write"), "{report}");
    // Where it cannot probe, it says why.
    let mute = TIGHT.replace("\"clone\", ", "");
    cluster.apply_profile("e2e-tighter", &mute).await?;
    cluster.wait_ready("e2e-tighter").await?;
    let printed = Pod::probe(&cluster, &namespace, "tighter")
        .localhost("profiles/e2e-tighter.json")
        .run(&cluster)
        .await?;
    ensure!(printed.contains("the probe needs clone"), "{printed}");
    Ok(())
}
