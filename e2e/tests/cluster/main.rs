//! The product on a real cluster: real kubelet, containerd, runc and kernel. One thread, any order.

mod admission;
mod cli;
mod engine;
mod faults;
mod lifecycle;
mod rights;
mod usage;
mod webhook;
mod whole_run;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use e2e::audit::{AuditLog, field};
use e2e::cluster::{Cluster, NAMESPACE, RELEASE, profile};
use e2e::command::{helm, kubectl, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use seccomp_operator_api::{IN_USE_FINALIZER, condition};
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Target};
use serde_json::{Value, json};

type Tested = anyhow::Result<()>;

const NO_CHMOD: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
}"#;
const CHMOD_SCRIPT: &str = "touch test; chmod +x test; while true; do sleep 30; done";
const CHMOD_REFUSED: &str = "chmod: changing permissions of 'test': Operation not permitted";
/// A pod's script that says how it is filtered: `Seccomp: 0` is not at all, `2` is by a filter.
const SECCOMP_MODE: &str = "grep Seccomp: /proc/self/status";

/// The kind of node that the tests run for.
fn this_node() -> Target {
    Target {
        arch: if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else {
            Arch::X86_64
        },
        kernel: KernelVersion { major: 6, minor: 1 },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    }
}

/// The profile that a file's bytes mean there.
fn semantics(bytes: &str) -> anyhow::Result<seccomp_profile::Profile> {
    let document = seccomp_profile::parse_slice(bytes.as_bytes(), "file")?;
    Ok(document.resolve(&this_node()))
}

fn seccomp_mode(log: &str) -> Option<&str> {
    log.split_whitespace()
        .skip_while(|word| *word != "Seccomp:")
        .nth(1)
}

#[tokio::test]
async fn an_audit_profile_makes_the_kernel_record_what_a_pod_calls() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-audit", &[]).await?;
    cluster
        .apply_profile("e2e-audit", r#"{"defaultAction": "SCMP_ACT_LOG"}"#)
        .await?;
    cluster.wait_ready("e2e-audit").await?;

    let log = AuditLog::listen()?;
    // A shell of a name that nothing else on the machine has: records name the command, not the container.
    let script = "cp /bin/bash /tmp/e2e-audit-bash; /tmp/e2e-audit-bash -c 'ls /; true'; while true; do sleep 30; done";
    Pod::script(&cluster, &namespace, "audit-seccomp", script)
        .localhost("profiles/e2e-audit.json")
        .log_with(&cluster, "tmp")
        .await?;

    let names: &[(&str, &str, &str)] = &[("execve", "59", "221"), ("openat", "257", "56")];
    let mut missing: BTreeSet<_> = names.iter().map(|(name, ..)| *name).collect();
    let complete = log.until(Duration::from_secs(20), |record| {
        if field(record, "comm") == Some("e2e-audit-bash")
            && field(record, "code") == Some("0x7ffc0000")
        {
            let number = field(record, "syscall");
            let named = names.iter().find(|(_, x86_64, aarch64)| {
                number
                    == Some(if cfg!(target_arch = "aarch64") {
                        aarch64
                    } else {
                        x86_64
                    })
            });
            missing
                .extract_if(.., |name| named.is_some_and(|(found, ..)| found == name))
                .for_each(drop);
        }
        missing.is_empty()
    })?;
    assert!(complete, "no audit record of the pod's {missing:?}");
    Ok(())
}

/// How many system calls the filter of a pod stops, by its own probe.
fn stopped(probe: &str) -> anyhow::Result<usize> {
    let report: Value = serde_json::from_str(probe).with_context(|| probe.to_owned())?;
    let calls = report["native"]["stopped"].as_array();
    Ok(calls
        .with_context(|| format!("the probe's report has no list of stopped calls: {report}"))?
        .len())
}

#[tokio::test]
async fn runtime_default_filters_and_stops_more_calls_than_unconfined() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-default", &[]).await?;
    let mode = Pod::script(&cluster, &namespace, "mode", SECCOMP_MODE)
        .profile("RuntimeDefault")
        .run(&cluster)
        .await?;
    assert_eq!(seccomp_mode(&mode), Some("2"), "{mode}");

    let default = Pod::probe(&cluster, &namespace, "default-seccomp")
        .profile("RuntimeDefault")
        .run(&cluster)
        .await?;
    let unconfined = Pod::probe(&cluster, &namespace, "unconfined")
        .profile("Unconfined")
        .run(&cluster)
        .await?;
    let (default, unconfined) = (stopped(&default)?, stopped(&unconfined)?);
    println!("RuntimeDefault stops {default} system calls, Unconfined {unconfined}");
    assert_eq!(unconfined, 0);
    assert!(default > 40, "only {default}");
    Ok(())
}

#[tokio::test]
async fn the_no_chmod_pod_cannot_chmod() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-no-chmod", &[]).await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    let waited = cluster.wait_ready("no-chmod").await?;
    assert!(waited.contains("condition met"), "{waited}");
    let status = cluster.status("no-chmod").await?;
    assert_eq!(
        status.localhost_profile.as_deref(),
        Some("profiles/no-chmod.json")
    );

    let viewer = Viewer::start(&cluster, &namespace).await?;
    let file = viewer.read("profiles/no-chmod.json").await?;
    assert_eq!(semantics(&file)?.rules(), semantics(NO_CHMOD)?.rules());
    assert_eq!(
        semantics(&file)?.default_action(),
        semantics(NO_CHMOD)?.default_action()
    );

    let pod = Pod::script(&cluster, &namespace, "no-chmod-seccomp", CHMOD_SCRIPT)
        .localhost("profiles/no-chmod.json");
    pod.log_with(&cluster, CHMOD_REFUSED).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_without_a_profile_gets_runtime_default_and_is_filtered() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-bare", &[]).await?;
    let pod = Pod::script(&cluster, &namespace, "bare", SECCOMP_MODE);
    let log = pod.run(&cluster).await?;
    assert_eq!(
        pod.spec(&cluster).await?["securityContext"],
        json!({"seccompProfile": {"type": "RuntimeDefault"}})
    );
    assert_eq!(seccomp_mode(&log), Some("2"), "{log}");

    let own = Pod::script(&cluster, &namespace, "own", SECCOMP_MODE).profile("Unconfined");
    let log = own.run(&cluster).await?;
    assert_eq!(
        own.spec(&cluster).await?["securityContext"]["seccompProfile"]["type"],
        "Unconfined"
    );
    assert_eq!(seccomp_mode(&log), Some("0"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_policy_gives_the_pods_of_its_namespaces_a_profile() -> Tested {
    let cluster = Cluster::with_operator().await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.wait_ready("no-chmod").await?;
    let policy = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "metadata": {"name": "e2e-no-chmod"},
        "spec": {
            "priority": 10,
            "namespaceSelector": {"matchLabels": {"e2e": "policy"}},
            "profile": {"type": "Localhost", "name": "no-chmod"},
        },
    });
    cluster.apply(&policy.to_string()).await?;
    let namespace = cluster
        .namespace("e2e-policy", &[("e2e", "policy")])
        .await?;
    let pod = Pod::script(&cluster, &namespace, "bare", CHMOD_SCRIPT);
    pod.log_with(&cluster, CHMOD_REFUSED).await?;
    assert_eq!(
        pod.spec(&cluster).await?["securityContext"]["seccompProfile"],
        json!({"type": "Localhost", "localhostProfile": "profiles/no-chmod.json"})
    );

    let own = Pod::script(
        &cluster,
        &namespace,
        "own",
        "touch t && chmod +x t && echo done",
    )
    .profile("RuntimeDefault");
    assert_eq!(own.run(&cluster).await?, "done\n");

    cluster.delete("seccomppolicy", "e2e-no-chmod").await
}

#[tokio::test]
async fn an_update_reaches_the_file_and_a_deletion_removes_it() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-update", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    cluster.delete("seccompprofile", "e2e-update").await?;
    cluster.apply_profile("e2e-update", NO_CHMOD).await?;
    cluster.wait_ready("e2e-update").await?;
    assert_eq!(
        cluster.status("e2e-update").await?.observed_generation,
        Some(1)
    );

    cluster
        .apply_profile("e2e-update", &NO_CHMOD.replace("\"chmod\"", "\"mkdir\""))
        .await?;
    cluster.wait_ready("e2e-update").await?;
    let status = cluster.status("e2e-update").await?;
    assert_eq!(status.observed_generation, Some(2));
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == condition::READY)
        .context("no Ready condition")?;
    assert_eq!(
        (ready.status.as_str(), ready.observed_generation),
        ("True", Some(2))
    );
    // Ready means that it is there: no waiting.
    assert!(
        viewer
            .read("profiles/e2e-update.json")
            .await?
            .contains("\"mkdir\"")
    );

    cluster.delete("seccompprofile", "e2e-update").await?;
    viewer.await_absence("profiles/e2e-update.json").await
}

#[tokio::test]
async fn bad_input_is_refused_at_apply_and_nothing_on_the_node_changes() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-bad", &[]).await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.wait_ready("no-chmod").await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    let before = viewer.snapshot().await?;

    let rule =
        |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    let long = "n".repeat(201);
    // Docker's format is taken; a mistake in it is one as anywhere.
    let docker = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BFP"]}}]}"#;
    for (name, document, expected) in [
        (
            "e2e-bad",
            "{}".to_owned(),
            &["spec.profile", "defaultAction"][..],
        ),
        (
            "e2e-bad",
            r#"{"defaultAction": "SCMP_ACT_PERHAPS"}"#.to_owned(),
            &["spec.profile.defaultAction", "SCMP_ACT_PERHAPS"],
        ),
        (
            "e2e-bad",
            rule(r#"{"names": ["chmod"], "action": "DENY"}"#),
            &["spec.profile.syscalls[0].action", "DENY"],
        ),
        (
            "e2e-bad",
            rule(
                r#"{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 38, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            &["spec.profile.syscalls[0].args[0].index", "6"],
        ),
        (
            "e2e-bad",
            docker.to_owned(),
            &[
                "spec.profile.archMap",
                "spec.profile.syscalls[0].includes.caps[0]",
                "CAP_BPF",
            ],
        ),
        (
            "e2e-bad",
            format!("{{\"x\": {}1{}}}", "[".repeat(500), "]".repeat(500)),
            &["spec: is nested too deeply"],
        ),
        (
            &long,
            NO_CHMOD.to_owned(),
            &["metadata.name", "201 characters"],
        ),
        (
            "No_Chmod",
            NO_CHMOD.to_owned(),
            &["metadata.name", "No_Chmod"],
        ),
    ] {
        let output = cluster.try_apply(&profile(name, &document)).await?;
        assert!(
            !output.success,
            "{name} {document} was taken: {}",
            output.stdout
        );
        let missing: Vec<_> = expected
            .iter()
            .filter(|part| !output.stderr.contains(**part))
            .collect();
        assert!(
            missing.is_empty(),
            "{name} {document}: no {missing:?} in {}",
            output.stderr
        );
    }
    // A refused update leaves the file and the object as they were.
    assert!(!cluster.try_apply(&profile("no-chmod", "{}")).await?.success);
    assert_eq!(viewer.snapshot().await?, before);
    assert_eq!(
        cluster
            .status("no-chmod")
            .await?
            .nodes
            .map(|nodes| nodes.failed),
        Some(0)
    );
    Ok(())
}

#[tokio::test]
async fn uninstalling_leaves_pods_creatable_and_it_installs_again_in_any_namespace() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-uninstall", &[]).await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.apply_profile("e2e-outlived", NO_CHMOD).await?;
    cluster.wait_ready("e2e-outlived").await?;
    Pod::script(&cluster, &namespace, "user", CHMOD_SCRIPT)
        .localhost("profiles/e2e-outlived.json")
        .log_with(&cluster, CHMOD_REFUSED)
        .await?;
    let finalizers = || async {
        let object = cluster.get(&["seccompprofile", "e2e-outlived"]).await?;
        anyhow::Ok(object.metadata.finalizers.unwrap_or_default())
    };
    until("the finalizer", Duration::from_secs(30), || async {
        let finalizers: Vec<String> = finalizers().await?;
        anyhow::ensure!(finalizers == [IN_USE_FINALIZER], "{finalizers:?}");
        Ok(())
    })
    .await?;
    helm(&[
        "uninstall",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout",
        "3m",
    ])
    .await?
    .ok()?;

    let webhooks = "mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let left = kubectl(&["get", webhooks, "--output", "name"], "")
        .await?
        .ok()?;
    assert!(!left.contains("seccomp-operator"), "{left}");
    let log = Pod::script(&cluster, &namespace, "after", SECCOMP_MODE)
        .run(&cluster)
        .await?;
    assert_eq!(
        seccomp_mode(&log),
        Some("0"),
        "nobody injects any more: {log}"
    );
    // The definitions stay, and the users' profiles with them; and nobody holds one, though a pod uses it.
    cluster.status("no-chmod").await?;
    assert_eq!(finalizers().await?, Vec::<String>::new());
    cluster.delete("seccompprofile", "e2e-outlived").await?;

    let quickly = ["--set", "uninstall.releaseProfiles=false"];
    cluster.install("e2e-elsewhere", &quickly).await?;
    let log = Pod::script(&cluster, &namespace, "again", SECCOMP_MODE)
        .run(&cluster)
        .await?;
    assert_eq!(seccomp_mode(&log), Some("2"), "{log}");
    helm(&[
        "uninstall",
        RELEASE,
        "--namespace",
        "e2e-elsewhere",
        "--wait",
        "--timeout",
        "3m",
    ])
    .await?
    .ok()?;
    cluster.delete("namespace", "e2e-elsewhere").await?;
    cluster.install(NAMESPACE, &[]).await
}

#[tokio::test]
async fn an_upgrade_with_other_values_takes_effect() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let policy = || async {
        kubectl(
            &[
                "get",
                "seccomppolicy",
                "default",
                "--ignore-not-found",
                "--output",
                "json",
            ],
            "",
        )
        .await?
        .ok()
    };
    assert!(policy().await?.contains("RuntimeDefault"));
    kubectl(&["delete", "seccomppolicy", "default"], "")
        .await?
        .ok()?;
    until(
        "the default policy that somebody deleted",
        Duration::from_secs(30),
        || async {
            if policy().await?.contains("RuntimeDefault") {
                Ok(())
            } else {
                bail!("it is not there")
            }
        },
    )
    .await?;
    cluster
        .install(NAMESPACE, &["--set", "defaultPolicy.enabled=false"])
        .await?;
    until(
        "the default policy to go",
        Duration::from_secs(30),
        || async {
            let left = policy().await?;
            if left.is_empty() {
                Ok(())
            } else {
                bail!("it is there: {left}")
            }
        },
    )
    .await?;
    cluster
        .install(NAMESPACE, &["--set", "defaultPolicy.spec.mode=Observe"])
        .await?;
    until(
        "the default policy to come back",
        Duration::from_secs(30),
        || async {
            let policy = policy().await?;
            if policy.contains("Observe") {
                Ok(())
            } else {
                bail!("it is {policy:?}")
            }
        },
    )
    .await?;
    cluster.install(NAMESPACE, &[]).await?;
    until(
        "the default policy to be enforced",
        Duration::from_secs(30),
        || async {
            let policy = policy().await?;
            if policy.contains("Enforce") {
                Ok(())
            } else {
                bail!("it is {policy:?}")
            }
        },
    )
    .await
}

#[tokio::test]
async fn files_that_somebody_changes_on_a_node_are_put_right_and_other_files_are_left_alone()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-drift", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    for name in ["e2e-edited", "e2e-removed", "e2e-in-the-way"] {
        cluster.delete("seccompprofile", name).await?;
    }
    for name in ["e2e-edited", "e2e-removed"] {
        cluster.apply_profile(name, NO_CHMOD).await?;
        cluster.wait_ready(name).await?;
    }
    let right = viewer.read("profiles/e2e-edited.json").await?;
    let script =
        "echo '{}' > e2e-edited.json; rm e2e-removed.json; echo theirs > e2e-in-the-way.json";
    Viewer::vandalise(&cluster, &namespace, script).await?;
    for name in ["e2e-edited", "e2e-removed"] {
        viewer
            .await_file(&format!("profiles/{name}.json"), |content| content == right)
            .await?;
    }

    cluster.apply_profile("e2e-in-the-way", NO_CHMOD).await?;
    until(
        "the conflict in the status",
        Duration::from_secs(15),
        || async {
            let status = cluster.status("e2e-in-the-way").await?;
            let failure = status.failures.first().context("no failure yet")?;
            assert_eq!(failure.reason, "Conflict");
            Ok(())
        },
    )
    .await?;
    assert_eq!(
        viewer.read("profiles/e2e-in-the-way.json").await?,
        "theirs\n"
    );
    kubectl(
        &[
            "delete",
            "pod",
            "vandal",
            "--namespace",
            &namespace,
            "--wait",
        ],
        "",
    )
    .await?
    .ok()?;
    Viewer::vandalise(&cluster, &namespace, "rm e2e-in-the-way.json").await?;
    cluster.wait_ready("e2e-in-the-way").await?;
    for name in ["e2e-edited", "e2e-removed", "e2e-in-the-way"] {
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn reports_of_agents_that_somebody_deletes_come_back() -> Tested {
    Cluster::with_operator().await?;
    let reports = || async {
        kubectl(&["get", "seccompnodes", "--output", "name"], "")
            .await?
            .ok()
    };
    let before = until("the agents' reports", Duration::from_secs(30), || async {
        let reports = reports().await?;
        if reports.is_empty() {
            bail!("there are none")
        }
        Ok(reports)
    })
    .await?;
    kubectl(&["delete", "seccompnodes", "--all"], "")
        .await?
        .ok()?;
    until(
        "the agents' reports to come back",
        Duration::from_secs(30),
        || async {
            let now = reports().await?;
            if now == before {
                Ok(())
            } else {
                bail!("there are {now:?}")
            }
        },
    )
    .await
}

#[tokio::test]
async fn the_certificate_authority_and_the_trust_in_it_come_back() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-trust", &[]).await?;
    let secrets = kubectl(
        &[
            "get",
            "secrets",
            "--namespace",
            NAMESPACE,
            "--output",
            "name",
        ],
        "",
    )
    .await?
    .ok()?;
    let secret = secrets
        .lines()
        .find(|name| name.ends_with("webhook-ca"))
        .context("no Secret")?;
    kubectl(&["delete", secret, "--namespace", NAMESPACE], "")
        .await?
        .ok()?;
    until(
        "the Secret to come back",
        Duration::from_secs(30),
        || async {
            kubectl(&["get", secret, "--namespace", NAMESPACE], "")
                .await?
                .ok()
        },
    )
    .await?;

    let configuration = pods_configuration().await?;
    let wipe = r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#;
    kubectl(
        &["patch", &configuration, "--type=json", "--patch", wipe],
        "",
    )
    .await?
    .ok()?;
    until(
        "the trust to come back",
        Duration::from_secs(30),
        || async {
            let bundle = "jsonpath={.webhooks[0].clientConfig.caBundle}";
            let bundle = kubectl(&["get", &configuration, "--output", bundle], "")
                .await?
                .ok()?;
            if bundle.is_empty() {
                bail!("it is empty")
            }
            Ok(())
        },
    )
    .await?;
    await_injection(&cluster, &namespace).await
}

#[tokio::test]
async fn without_the_configuration_for_pods_profiles_are_still_taken() -> Tested {
    let cluster = Cluster::with_operator().await?;
    kubectl(&["delete", &pods_configuration().await?], "")
        .await?
        .ok()?;
    // Long enough for a replica that takes this for a reason to be unready to be out of service.
    tokio::time::sleep(Duration::from_secs(12)).await;
    cluster.apply_profile("e2e-without", NO_CHMOD).await?;
    cluster.wait_ready("e2e-without").await?;
    cluster.delete("seccompprofile", "e2e-without").await?;
    cluster.install(NAMESPACE, &[]).await
}

/// The name of the webhook configuration for pods.
async fn pods_configuration() -> anyhow::Result<String> {
    let list = kubectl(
        &["get", "mutatingwebhookconfigurations", "--output", "name"],
        "",
    )
    .await?
    .ok()?;
    Ok(list
        .lines()
        .find(|name| name.contains(RELEASE))
        .context("no configuration")?
        .to_owned())
}

/// Waits until a pod that states no profile gets one.
async fn await_injection(cluster: &Cluster, namespace: &str) -> Tested {
    let pod = Pod::script(cluster, namespace, "bare", SECCOMP_MODE);
    until(
        "a bare pod to get a profile",
        Duration::from_mins(1),
        || async {
            let delete = [
                "delete",
                "pod",
                "bare",
                "--namespace",
                namespace,
                "--ignore-not-found",
                "--wait",
            ];
            kubectl(&delete, "").await?.ok()?;
            pod.create(cluster).await?;
            match pod.spec(cluster).await?["securityContext"]["seccompProfile"]["type"].as_str() {
                Some("RuntimeDefault") => Ok(()),
                other => bail!("the pod has {other:?}"),
            }
        },
    )
    .await
}
