//! What goes wrong in clusters, made to happen: no file is lost, and the status says what happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::{Cluster, NAMESPACE, RELEASE, profile};
use e2e::command::{helm, kubectl, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use e2e::shell::Shell;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use seccomp_operator_api::{SeccompProfile, condition};
use serde_json::json;
use tokio::task::JoinSet;

use super::{NO_CHMOD, Tested, await_injection, semantics};

const PATIENCE: Duration = Duration::from_mins(1);

/// How often the containers of a component were restarted, in all.
async fn restarts(cluster: &Cluster, component: &str) -> anyhow::Result<i64> {
    let selector = format!("app.kubernetes.io/component={component}");
    let pods = cluster
        .get(&["pods", "--namespace", NAMESPACE, "--selector", &selector])
        .await?;
    let counts = pods.data["items"].as_array().into_iter().flatten();
    Ok(counts
        .filter_map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_i64())
        .sum())
}

/// The log of a component's pods.
async fn log(component: &str) -> anyhow::Result<String> {
    let selector = format!("app.kubernetes.io/component={component}");
    let args = [
        "logs",
        "--namespace",
        NAMESPACE,
        "--tail=-1",
        "--selector",
        &selector,
    ];
    kubectl(&args, "").await?.ok()
}

/// Waits until the API server answers and a new profile goes all the way again: admission, agent, status.
async fn await_everything(cluster: &Cluster, name: &str) -> Tested {
    until(
        "everything to work again",
        Duration::from_secs(90),
        || async {
            cluster.apply_profile(name, NO_CHMOD).await?;
            cluster.wait_ready(name).await
        },
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_outage_of_the_api_server_loses_no_file_drift_is_repaired_and_everything_recovers()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-outage", &[]).await?;
    for name in ["no-chmod", "e2e-outage"] {
        cluster.apply_profile(name, NO_CHMOD).await?;
        cluster.wait_ready(name).await?;
    }
    cluster.delete("seccompprofile", "e2e-after-outage").await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    // One file is about to be removed and put back: all but its inode and its time have to be the same.
    let snapshot = || async {
        let files = viewer.snapshot().await?;
        let kept = files
            .lines()
            .filter(|line| !line.starts_with("e2e-outage.json "));
        anyhow::Ok(kept.collect::<Vec<_>>().join("\n"))
    };
    let before = snapshot().await?;
    let agents = restarts(&cluster, "agent").await?;
    let controllers = restarts(&cluster, "controller").await?;

    take_the_api_server_away(&cluster, &namespace).await?;

    assert_eq!(
        snapshot().await?,
        before,
        "a file changed while the API server was away"
    );
    await_everything(&cluster, "e2e-after-outage").await?;
    await_injection(&cluster, &namespace).await?;
    assert_eq!(
        restarts(&cluster, "agent").await?,
        agents,
        "an agent was restarted"
    );
    // A leader that cannot renew its lease ends by design; nobody else does, and nobody twice.
    let ended = restarts(&cluster, "controller").await? - controllers;
    assert!(ended <= 2, "the controllers were restarted {ended} times");
    for name in ["e2e-outage", "e2e-after-outage"] {
        cluster.delete("seccompprofile", name).await?;
    }
    // The nodes' way to the webhooks follows later than pods that are ready: it has to last.
    until("admission to answer for 5 s", PATIENCE, || async {
        let tried = profile("e2e-outage", NO_CHMOD);
        for _ in 0..10 {
            kubectl(&["apply", "--dry-run=server", "-f", "-"], &tried)
                .await?
                .ok()?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    })
    .await
}

/// Kills every API server that shows itself, for 30 s, removes a profile's file meanwhile, and waits until one stays.
async fn take_the_api_server_away(cluster: &Cluster, namespace: &str) -> Tested {
    let script = "echo begin; cd /seccomp/profiles; end=$((SECONDS + 30)); while ((SECONDS < end)); do
        for p in /proc/[0-9]*; do
            read -r c 2>/dev/null < $p/comm && [[ $c == kube-apiserver ]] && kill -9 ${p#/proc/} && n=$((n + 1))
        done
        if [[ -z $back ]] && ((SECONDS > end - 15)); then
            begin=${EPOCHREALTIME/./}; rm e2e-outage.json
            until [[ -s e2e-outage.json ]] || ((SECONDS >= end)); do :; done
            [[ -s e2e-outage.json ]] && back=$(((${EPOCHREALTIME/./} - begin) / 1000))
        fi
        sleep 0.1
    done; echo killed $n, put back after ${back:?the file did not come back} ms";
    Pod::script(cluster, namespace, "killer", script)
        .host_pid()
        .host_path("/var/lib/kubelet/seccomp", "/seccomp")
        .with("/spec/containers/0/volumeMounts/0/readOnly", false.into())
        .with("/spec/containers/0/securityContext", json!({}))
        .on(&cluster.control_plane().await?)
        .create(cluster)
        .await?;
    until(
        "the API server to go away",
        Duration::from_secs(30),
        || async {
            let readyz = kubectl(&["get", "--raw", "/readyz", "--request-timeout=2s"], "").await?;
            ensure!(!readyz.success, "it answers");
            Ok(())
        },
    )
    .await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let logs = [
        "logs",
        "--namespace",
        namespace,
        "killer",
        "--request-timeout=5s",
    ];
    let log = until(
        "the API server to come back",
        Duration::from_mins(2),
        || async {
            let log = kubectl(&logs, "").await?.ok()?;
            ensure!(
                log.contains("killed") || log.contains("not come back"),
                "{log}"
            );
            Ok(log)
        },
    )
    .await?;
    println!("the killer says: {}", log.replace('\n', " "));
    ensure!(log.contains("put back after"), "{log}");
    Ok(())
}

#[tokio::test]
async fn what_happened_while_an_agent_was_cut_off_reaches_it_though_its_watch_is_410_gone() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-gone", &[]).await?;
    let shell = Shell::start(&cluster, &namespace).await?;
    cluster.delete("seccompprofile", "e2e-new").await?;
    for name in ["e2e-deleted", "e2e-changed"] {
        cluster.apply_profile(name, NO_CHMOD).await?;
        cluster.wait_ready(name).await?;
    }
    let before = restarts(&cluster, "agent").await?;
    shell
        .run("kill -STOP $(processes seccomp-operato /seccomp-operator-agent)")
        .await?;
    cluster.delete("seccompprofile", "e2e-deleted").await?;
    let changed = NO_CHMOD.replace("\"chmod\"", "\"mkdir\"");
    cluster.apply_profile("e2e-changed", &changed).await?;
    cluster.apply_profile("e2e-new", NO_CHMOD).await?;
    // An API server knows no history from before its start: whoever asks for it is told 410 Gone.
    // It dies after this command has ended, whose output comes through it.
    let server = "processes kube-apiserver";
    let killed = shell.run(server).await?;
    let kill = format!("(sleep 1; kill -9 $({server})) >/dev/null 2>&1 &");
    shell.run(&kill).await?;
    until("another API server", PATIENCE, || async {
        let now = shell.run(server).await?;
        ensure!(!now.trim().is_empty() && now != killed, "{now:?}");
        Ok(())
    })
    .await?;
    until(
        "something to be newer than what the agent has seen",
        PATIENCE,
        || async {
            let touch = [
                "annotate",
                "--overwrite",
                "seccompprofile/e2e-new",
                "e2e=touched",
            ];
            kubectl(&touch, "").await?.ok()
        },
    )
    .await?;
    shell
        .run("kill -CONT $(processes seccomp-operato /seccomp-operator-agent)")
        .await?;
    until("the files to be as they should", PATIENCE, || async {
        let there = shell
            .run("cd /seccomp/profiles; cat e2e-changed.json e2e-new.json; ls")
            .await?;
        ensure!(
            there.contains("\"mkdir\"") && !there.contains("e2e-deleted.json"),
            "{there}"
        );
        Ok(())
    })
    .await?;
    for name in ["e2e-changed", "e2e-new"] {
        cluster.wait_ready(name).await?;
    }
    let log = log("agent").await?;
    let gone = log
        .lines()
        .filter(|line| line.contains("too old resource version"));
    let of_profiles = gone.filter(|line| line.contains("SeccompProfile")).count();
    assert!(of_profiles > 0, "the agent was not told 410 Gone: {log}");
    assert_eq!(restarts(&cluster, "agent").await?, before);
    for name in ["e2e-changed", "e2e-new"] {
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_of_etcd_changes_no_file_and_restarts_nobody() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-etcd", &[]).await?;
    cluster.apply_profile("no-chmod", NO_CHMOD).await?;
    cluster.wait_ready("no-chmod").await?;
    cluster.delete("seccompprofile", "e2e-after-etcd").await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    let shell = Shell::start(&cluster, &namespace).await?;
    let before = viewer.snapshot().await?;
    let restarted = || async {
        anyhow::Ok((
            restarts(&cluster, "agent").await?,
            restarts(&cluster, "controller").await?,
        ))
    };
    let restarts = restarted().await?;
    shell.run("kill -9 $(processes etcd)").await?;
    await_everything(&cluster, "e2e-after-etcd").await?;
    cluster.delete("seccompprofile", "e2e-after-etcd").await?;
    viewer.await_absence("profiles/e2e-after-etcd.json").await?;
    assert_eq!(viewer.snapshot().await?, before);
    assert_eq!(restarted().await?, restarts);
    Ok(())
}

#[tokio::test]
async fn an_operator_that_is_there_before_the_definitions_says_so_waits_and_goes_on() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let uninstall = [
        "uninstall",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout",
        "3m",
    ];
    helm(&uninstall).await?.ok()?;
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds");
    kubectl(
        &["delete", "--wait", "--timeout=90s", "-f", definitions],
        "",
    )
    .await?
    .ok()?;
    cluster
        .install_only(NAMESPACE, &["--set", "crds.enabled=false"])
        .await?;
    // Long enough for a process that gives up to be started again.
    for component in ["agent", "controller"] {
        until(
            &format!("the {component} to say what is missing"),
            PATIENCE,
            || async {
                let log = log(component).await?;
                let says = |line: &&str| {
                    line.contains("does not know the kind") && line.contains("SeccompProfile")
                };
                ensure!(log.lines().any(|line| says(&line)), "{log}");
                Ok(())
            },
        )
        .await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rollout = |timeout: &'static str| async move {
        let args = ["rollout", "status", "--namespace", NAMESPACE, timeout];
        let agents = kubectl(
            &[&args[..], &["daemonset/seccomp-operator-agent"]].concat(),
            "",
        )
        .await?;
        let controllers = kubectl(
            &[&args[..], &["deployment/seccomp-operator-controller"]].concat(),
            "",
        )
        .await?;
        anyhow::Ok((agents.success, controllers.success))
    };
    assert_eq!(
        rollout("--timeout=1s").await?,
        (false, false),
        "ready for what?"
    );
    // As Helm: fields of another manager would conflict with an upgrade that changes them.
    let apply = ["apply", "--server-side", "--field-manager=helm"];
    kubectl(&[&apply[..], &["-f", definitions]].concat(), "")
        .await?
        .ok()?;
    assert_eq!(rollout("--timeout=60s").await?, (true, true));
    await_everything(&cluster, "e2e-after-definitions").await?;
    for component in ["agent", "controller"] {
        assert_eq!(restarts(&cluster, component).await?, 0, "{component}");
    }
    cluster
        .delete("seccompprofile", "e2e-after-definitions")
        .await?;
    cluster.install(NAMESPACE, &[]).await
}

/// How many profiles are applied at once. `E2E_PROFILES` says otherwise.
const MANY: usize = 300;

#[tokio::test]
async fn hundreds_of_profiles_applied_at_once_are_all_on_the_node_and_all_statuses_are_right()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-many", &[]).await?;
    let shell = Shell::start(&cluster, &namespace).await?;
    let many = std::env::var("E2E_PROFILES").map_or(Ok(MANY), |many| many.parse())?;
    let api: Api<SeccompProfile> = Api::all(cluster.client.clone());
    let selected = ListParams::default().labels("e2e=many");
    let now = DeleteParams::default();
    let remove = || api.delete_collection(&now, &selected);
    remove().await?;

    let began = Instant::now();
    let mut applied = JoinSet::new();
    for n in 1..=many {
        let document = NO_CHMOD.replace("\"errnoRet\": 1", &format!("\"errnoRet\": {n}"));
        let mut profile: SeccompProfile =
            serde_json::from_str(&profile(&format!("e2e-many-{n}"), &document))?;
        profile.metadata.labels = Some(BTreeMap::from([("e2e".into(), "many".into())]));
        let api = api.clone();
        applied.spawn(async move { api.create(&PostParams::default(), &profile).await });
        // As many at once as an API server takes from one client.
        if applied.len() >= 50 {
            applied
                .join_next()
                .await
                .context("nothing was applied")???;
        }
    }
    while let Some(profile) = applied.join_next().await {
        profile??;
    }
    let at_server = began.elapsed();
    until("all files", PATIENCE, || async {
        let count = shell
            .run("cd /seccomp/profiles; ls | grep -c ^e2e-many- || true")
            .await?;
        ensure!(count.trim() == many.to_string(), "{count} of {many}");
        Ok(())
    })
    .await?;
    let on_disk = began.elapsed();
    until("all statuses", PATIENCE, || async {
        let profiles = api.list(&selected).await?.items;
        let ready = |profile: &&SeccompProfile| {
            let status = profile.status.as_ref();
            status.is_some_and(|status| {
                let nodes = status.nodes.as_ref();
                let mut conditions = status.conditions.iter();
                status.observed_generation == profile.metadata.generation
                    && nodes.is_some_and(|n| n.desired > 0 && n.ready == n.desired && n.failed == 0)
                    && conditions.any(|c| c.type_ == condition::READY && c.status == "True")
            })
        };
        let count = profiles.iter().filter(ready).count();
        ensure!(count == many, "{count} of {many}");
        Ok(())
    })
    .await?;
    println!(
        "{many} profiles at once: {at_server:.1?} until the API server had them, {on_disk:.1?} until the node did, {:.1?} until all statuses said so",
        began.elapsed()
    );
    let script = "cd /seccomp/profiles; grep -o '\"errnoRet\": *[0-9]*' e2e-many-*.json";
    let held: BTreeMap<_, _> = shell
        .run(script)
        .await?
        .lines()
        .filter_map(of_line)
        .collect();
    let expected = (1..=many).map(|n| (format!("e2e-many-{n}.json"), n));
    assert_eq!(held, expected.collect());

    remove().await?;
    until("all files to go", PATIENCE, || async {
        let count = shell
            .run("cd /seccomp/profiles; ls | grep -c ^e2e-many- || true")
            .await?;
        ensure!(count.trim() == "0", "{count} are left");
        Ok(())
    })
    .await
}

/// A file's name and the number in it, of what grep prints.
fn of_line(line: &str) -> Option<(String, usize)> {
    let (name, found) = line.split_once(':')?;
    let (_, number) = found.split_once(':')?;
    Some((name.to_owned(), number.trim().parse().ok()?))
}

#[tokio::test]
async fn a_profile_of_nearly_a_mebibyte_goes_all_the_way() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-large", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    cluster.delete("seccompprofile", "e2e-large").await?;
    let mut rules = String::new();
    // Few enough conditions on each call for the kernel to hold them all; the rest is talk.
    let calls = "ioctl socket fcntl personality prctl setsockopt getsockopt madvise mprotect kill lseek futex";
    let calls = calls.split(' ').cycle().take(2000);
    for (n, call) in calls.enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(
            rules,
            r#"{comma}{{"names":["{call}"],"action":"SCMP_ACT_ERRNO","comment":"{:x<400}","args":[{{"index":1,"value":{},"op":"SCMP_CMP_EQ"}}]}}"#,
            "",
            n * 7919
        )?;
    }
    let document = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rules}]}}"#);
    assert!(
        (1_000_000..1 << 20).contains(&document.len()),
        "{}",
        document.len()
    );
    // `kubectl apply` would keep a copy in an annotation, which may not be so long.
    let began = Instant::now();
    let manifest = profile("e2e-large", &document);
    kubectl(&["apply", "--server-side", "-f", "-"], &manifest)
        .await?
        .ok()?;
    cluster.wait_ready("e2e-large").await?;
    let file = viewer.read("profiles/e2e-large.json").await?;
    println!(
        "a document of {} bytes is a file of {} bytes {:.1?} after it was applied",
        document.len(),
        file.len(),
        began.elapsed()
    );
    let (held, meant) = (semantics(&file)?, semantics(&document)?);
    assert!(held.rules() == meant.rules() && held.default_action() == meant.default_action());
    cluster.delete("seccompprofile", "e2e-large").await?;
    viewer.await_absence("profiles/e2e-large.json").await
}

#[tokio::test]
async fn a_storm_of_changes_is_told_of_and_keeps_the_agent_from_nothing() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-storm", &[]).await?;
    let shell = Shell::start(&cluster, &namespace).await?;
    for name in ["e2e-storm", "e2e-meanwhile"] {
        cluster.delete("seccompprofile", name).await?;
    }
    cluster.apply_profile("e2e-storm", NO_CHMOD).await?;
    cluster.wait_ready("e2e-storm").await?;
    let right = shell.run("cat /seccomp/profiles/e2e-storm.json").await?;
    let storm = "cd /seccomp/profiles; end=$((SECONDS + 8)); while ((SECONDS < end)); do
        echo theirs >e2e-storm.json; echo theirs >theirs; n=$((n + 2)); done; rm theirs; echo wrote $n times";
    let storm = Pod::script(&cluster, &namespace, "storm", storm)
        .host_path("/var/lib/kubelet/seccomp", "/seccomp")
        .with("/spec/containers/0/volumeMounts/0/readOnly", false.into())
        .on(&cluster.control_plane().await?);
    storm.create(&cluster).await?;
    until("the storm", PATIENCE, || async {
        shell.run("[[ -e /seccomp/profiles/theirs ]]").await
    })
    .await?;

    let began = Instant::now();
    cluster.apply_profile("e2e-meanwhile", NO_CHMOD).await?;
    cluster.wait_ready("e2e-meanwhile").await?;
    let took = began.elapsed();
    shell
        .run("[[ -e /seccomp/profiles/theirs ]]")
        .await
        .context("the storm was over before the profile was ready")?;
    println!("in the storm a profile is ready after {took:.1?}");

    let log = storm.log_with(&cluster, "wrote").await?;
    println!("the storm {}", log.trim());
    until("the file to be right", Duration::from_secs(15), || async {
        let held = shell.run("cat /seccomp/profiles/e2e-storm.json").await?;
        ensure!(held == right, "{held}");
        Ok(())
    })
    .await?;
    let regarding = "involvedObject.name=e2e-storm,reason=FileChanged";
    let list = [
        "events",
        "--namespace",
        "default",
        "--field-selector",
        regarding,
    ];
    let events = until("the event", Duration::from_secs(15), || async {
        let events = cluster.get(&list).await?.data["items"].clone();
        if events.as_array().is_none_or(Vec::is_empty) {
            bail!("there is none yet");
        }
        Ok(events)
    })
    .await?;
    // That it begins, and that it goes on.
    let notes = events.as_array().map_or(0, Vec::len);
    assert!((1..=2).contains(&notes), "{events:#}");
    assert_eq!(events[0]["type"], "Warning", "{events:#}");
    assert!(events[0]["series"].is_null(), "{events:#}");
    for name in ["e2e-storm", "e2e-meanwhile"] {
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}
