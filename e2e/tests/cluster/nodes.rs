//! What becomes of profiles when machines come, go, and cannot be reached: on real machines, each with a kubelet of its own. What a
//! status says is compared with their files all the while.
//!
//! The tests add, cut off and stop machines, which takes the cluster without Docker. They add what they need, so that one node is enough
//! for all but the one that says so.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use e2e::machines::Machines;
use e2e::pods::Pod;
use e2e::watch::{Seen, Watch, document};
use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::Api;
use kube::api::ListParams;
use seccomp_operator_api::{STARTUP_TAINT, SeccompProfileStatus, condition};
use serde_json::json;

use super::Tested;

/// As long as it may take until Kubernetes says of a node that it cannot be reached, and some more.
const PATIENCE: Duration = Duration::from_secs(90);
/// A pod's script that says whether the profile is in force, and goes on.
const CHMOD: &str = "touch test; chmod +x test 2>&1 || echo refused; sleep infinity";

/// The cluster, and a profile whose status is watched.
struct Field {
    cluster: Cluster,
    machines: Machines,
    namespace: String,
    profile: String,
    generation: i64,
    watch: Watch,
}

impl Field {
    /// Applies the profile's next generation.
    async fn change(&mut self) -> Tested {
        let next = document(self.generation + 1);
        self.cluster.apply_profile(&self.profile, &next).await?;
        self.generation += 1;
        Ok(())
    }

    /// Waits until the status of the current generation says `ready` of `desired`, for this reason and with these words.
    async fn says(
        &self,
        ready: usize,
        desired: usize,
        reason: &str,
        words: &str,
    ) -> anyhow::Result<SeccompProfileStatus> {
        let summary = format!("{ready}/{desired}");
        let what = format!("{}: {summary} {reason} {words}", self.profile);
        until(&what, PATIENCE, || async {
            let status = self.cluster.status(&self.profile).await?;
            let counts = status.nodes.clone().unwrap_or_default();
            let told = status.condition(condition::READY).context("not told")?;
            let current = status.observed_generation == Some(self.generation);
            ensure!(
                current
                    && counts.summary == summary
                    && told.reason == reason
                    && told.message.contains(words),
                "{status:?}"
            );
            Ok(status)
        })
        .await
    }

    /// A pod that runs under the profile on this node.
    fn user(&self, name: &str) -> Pod {
        Pod::script(&self.cluster, &self.namespace, name, CHMOD)
            .localhost(&format!("profiles/{}.json", self.profile))
    }
}

/// Runs a test on the cluster with a profile `name`, whose status has to tell the truth all the while. Whatever it does to machines is
/// mended however it ends; those of these names are removed.
async fn with_machines(
    name: &str,
    added: &[&str],
    test: impl AsyncFnOnce(&mut Field) -> Tested,
) -> Tested {
    let Some(machines) = Machines::of_cluster() else {
        println!("skipped: nobody can stop machines of this cluster or cut them off");
        return Ok(());
    };
    let cluster = Cluster::connect().await?;
    mend(&cluster, &machines, added).await?;
    let values = "controller.agentPatience=3,startupTaint.enabled=true";
    cluster.install(NAMESPACE, &["--set", values]).await?;
    cluster.delete("seccompprofile", name).await?;
    let namespace = cluster.namespace(name, &[]).await?;
    cluster.apply_profile(name, &document(1)).await?;
    cluster.wait_ready(name).await?;
    let watch = Watch::start(&cluster, &machines, name).await?;
    let mut field = Field {
        cluster: cluster.clone(),
        machines: machines.clone(),
        namespace,
        profile: name.to_owned(),
        generation: 1,
        watch,
    };
    let began = Instant::now();
    let outcome = test(&mut field).await;
    let Seen {
        samples,
        said,
        lies,
        ..
    } = field.watch.end();
    println!(
        "{name}: {samples} samples in {:.1?}: {said:#?}",
        began.elapsed()
    );
    mend(&cluster, &machines, added).await?;
    outcome?;
    ensure!(lies.is_empty(), "the status lied: {lies:#?}");
    ensure!(samples > 20, "only {samples} samples");
    cluster.delete("namespace", name).await?;
    cluster.delete("seccompprofile", name).await
}

/// Every machine but the added ones runs, can be reached, and has its agent.
async fn mend(cluster: &Cluster, machines: &Machines, added: &[&str]) -> Tested {
    let there = machines.names().await?;
    for node in added {
        if there.iter().any(|name| name == node) {
            machines.remove(node).await?;
        }
        cluster.delete("node", node).await?;
    }
    machines.mend().await?;
    // Kubernetes would remove the pods of a node that is gone after a minute.
    let pods: Api<PodObject> = Api::all(cluster.client.clone());
    for pod in pods.list(&ListParams::default()).await? {
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        if added.contains(&node.as_str()) {
            let (name, namespace) = (pod.metadata.name, pod.metadata.namespace);
            let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
            let now = ["--force", "--grace-period=0", "--ignore-not-found"];
            let delete = ["delete", "pod", &name, "--namespace", &namespace];
            kubectl(&[&delete[..], &now].concat(), "").await?.ok()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_machine_that_joins_has_the_profiles_before_its_taint_goes_and_pods_wait_for_that()
-> Tested {
    with_machines("e2e-joins", &["e2e-late"], async |field| {
        let nodes = field.machines.names().await?.len();
        let user = field.user("user").waiting_for("e2e-late");
        user.create(&field.cluster).await?;
        let machines = field.machines.clone();
        let taint = format!("{STARTUP_TAINT}:NoSchedule");
        let adding = tokio::spawn(async move { machines.add("e2e-late", &taint).await });
        let taints = async || {
            let node = field.cluster.get(&["node", "e2e-late"]).await?;
            anyhow::Ok(node.data["spec"]["taints"].to_string())
        };
        until("the new Node", PATIENCE, &taints).await?;
        field
            .watch
            .add(&field.machines, &field.profile, "e2e-late")
            .await?;
        let mut tainted = 0;
        while taints().await?.contains(STARTUP_TAINT) {
            tainted += 1;
            ensure!(tainted < 1000, "the taint stays");
        }
        // No waiting: it is there.
        ensure!(
            field.watch.on("e2e-late") == Some(1),
            "the taint went before the file came"
        );
        ensure!(tainted > 0, "the machine came without the taint");
        adding.await??;
        user.log_with(&field.cluster, "refused").await?;
        let complaints = user.complaints(&field.cluster).await?;
        ensure!(
            !complaints
                .iter()
                .any(|complaint| complaint.contains("load seccomp profile")),
            "{complaints:?}"
        );
        field.says(nodes + 1, nodes + 1, "OnAllNodes", "").await?;
        field.watch.expect(nodes + 1);
        field.change().await?;
        field.says(nodes + 1, nodes + 1, "OnAllNodes", "").await?;
        ensure!(
            field.watch.on("e2e-late") == Some(2),
            "{:?}",
            field.watch.on("e2e-late")
        );
        field.watch.expect(nodes);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_machine_that_is_cut_off_is_named_and_catches_up_when_it_is_back() -> Tested {
    with_machines("e2e-cut", &["e2e-cut-off"], async |field| {
        field.machines.add("e2e-cut-off", "").await?;
        field
            .watch
            .add(&field.machines, &field.profile, "e2e-cut-off")
            .await?;
        let nodes = field.machines.names().await?.len();
        field.says(nodes, nodes, "OnAllNodes", "").await?;
        field.watch.expect(nodes);
        let user = field.user("user").on("e2e-cut-off");
        user.log_with(&field.cluster, "refused").await?;
        uses(field, 1, "one user").await?;

        field.machines.connect("e2e-cut-off", false).await?;
        field.change().await?;
        field
            .says(nodes - 1, nodes, "Progressing", "waiting for e2e-cut-off")
            .await?;
        let began = Instant::now();
        field
            .says(
                nodes - 1,
                nodes,
                "AgentGone",
                "e2e-cut-off (its agent is not ready",
            )
            .await?;
        println!("known to be gone after {:.1?}", began.elapsed());
        ensure!(
            field.watch.on("e2e-cut-off") == Some(1),
            "{:?}",
            field.watch.on("e2e-cut-off")
        );
        // Whoever used it last may use it still.
        uses(field, 1, "the user that nobody hears of").await?;

        field.machines.connect("e2e-cut-off", true).await?;
        let began = Instant::now();
        field.says(nodes, nodes, "OnAllNodes", "").await?;
        println!("level again after {:.1?}", began.elapsed());
        ensure!(
            field.watch.on("e2e-cut-off") == Some(2),
            "{:?}",
            field.watch.on("e2e-cut-off")
        );
        outdated(field, 1).await?;
        field.watch.expect(nodes - 1);
        Ok(())
    })
    .await
}

/// Waits until so many pods use the profile.
async fn uses(field: &Field, pods: i32, what: &str) -> Tested {
    until(what, PATIENCE, || async {
        let status = field.cluster.status(&field.profile).await?;
        let in_use = status.condition(condition::IN_USE).context("not told")?;
        let told = in_use.status == if pods == 0 { "False" } else { "True" };
        ensure!(status.used_by == Some(pods) && told, "{status:?}");
        Ok(())
    })
    .await
}

/// Waits until so many pods run under what the file held before.
async fn outdated(field: &Field, pods: i32) -> Tested {
    until(
        "the pods that run under the former file",
        PATIENCE,
        || async {
            let status = field.cluster.status(&field.profile).await?;
            ensure!(status.outdated == Some(pods), "{status:?}");
            Ok(())
        },
    )
    .await
}

#[tokio::test]
async fn a_machine_that_reboots_misses_no_change_and_its_pods_come_back_under_the_profile() -> Tested
{
    with_machines("e2e-reboots", &["e2e-rebooted"], async |field| {
        field.machines.add("e2e-rebooted", "").await?;
        field
            .watch
            .add(&field.machines, &field.profile, "e2e-rebooted")
            .await?;
        let nodes = field.machines.names().await?.len();
        field.says(nodes, nodes, "OnAllNodes", "").await?;
        field.watch.expect(nodes);
        let user = field.user("user").on("e2e-rebooted").lasting();
        user.log_with(&field.cluster, "refused").await?;
        uses(field, 1, "one user").await?;

        field.machines.stop("e2e-rebooted").await?;
        field.change().await?;
        field
            .says(nodes - 1, nodes, "Progressing", "waiting for e2e-rebooted")
            .await?;
        ensure!(
            field.watch.on("e2e-rebooted") == Some(1),
            "{:?}",
            field.watch.on("e2e-rebooted")
        );
        field.machines.start("e2e-rebooted").await?;
        let began = Instant::now();
        field.says(nodes, nodes, "OnAllNodes", "").await?;
        println!("level again {:.1?} after its kubelet was", began.elapsed());
        ensure!(
            field.watch.on("e2e-rebooted") == Some(2),
            "{:?}",
            field.watch.on("e2e-rebooted")
        );
        until("the pod to run again", PATIENCE, || async {
            let pod = ["pod", "user", "--namespace", &field.namespace];
            let pod = field.cluster.get(&pod).await?;
            let container = &pod.data["status"]["containerStatuses"][0];
            ensure!(
                container["restartCount"] == json!(1) && !container["state"]["running"].is_null(),
                "{container}"
            );
            let log = kubectl(&["logs", "user", "--namespace", &field.namespace], "")
                .await?
                .ok()?;
            ensure!(log.contains("refused"), "{log}");
            Ok(())
        })
        .await?;
        uses(field, 1, "the user after the reboot").await?;
        field.watch.expect(nodes - 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_node_that_is_deleted_with_pods_on_it_counts_no_more_and_holds_no_profile() -> Tested {
    with_machines("e2e-deletes", &["e2e-doomed"], async |field| {
        let nodes = field.machines.names().await?.len();
        field.machines.add("e2e-doomed", "").await?;
        field
            .watch
            .add(&field.machines, &field.profile, "e2e-doomed")
            .await?;
        field.says(nodes + 1, nodes + 1, "OnAllNodes", "").await?;
        let user = field.user("user").on("e2e-doomed");
        user.log_with(&field.cluster, "refused").await?;
        uses(field, 1, "one user").await?;

        // Off without a word, and then without its Node.
        field.machines.stop("e2e-doomed").await?;
        field.change().await?;
        field
            .says(nodes, nodes + 1, "Progressing", "waiting for e2e-doomed")
            .await?;
        uses(field, 1, "the user that nobody hears of").await?;
        field.cluster.delete("node", "e2e-doomed").await?;
        let began = Instant::now();
        field.says(nodes, nodes, "OnAllNodes", "").await?;
        uses(field, 0, "no user any more").await?;
        println!("forgotten after {:.1?}", began.elapsed());

        // Another machine of that name begins with nothing, and what was said of the first does not count for it.
        field.machines.remove("e2e-doomed").await?;
        field.machines.add("e2e-doomed", "").await?;
        field.says(nodes + 1, nodes + 1, "OnAllNodes", "").await?;
        ensure!(
            field.watch.on("e2e-doomed") == Some(2),
            "{:?}",
            field.watch.on("e2e-doomed")
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn while_all_agents_are_replaced_a_change_reaches_every_node_and_the_status_says_when()
-> Tested {
    with_machines("e2e-rolls", &[], async |field| {
        let nodes = field.machines.names().await?.len();
        let agents = "daemonset/seccomp-operator-agent";
        let restart = ["rollout", "restart", agents, "-n", NAMESPACE];
        kubectl(&restart, "").await?.ok()?;
        let began = Instant::now();
        loop {
            field.change().await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let set = ["daemonset", "seccomp-operator-agent", "-n", NAMESPACE];
            let set = field.cluster.get(&set).await?.data;
            let count =
                |name: &str| usize::try_from(set["status"][name].as_u64().unwrap_or_default());
            if count("updatedNumberScheduled")? == nodes && count("numberReady")? == nodes {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "{}", set["status"]);
        }
        println!(
            "{} changes in {:.1?}",
            field.generation - 1,
            began.elapsed()
        );
        ensure!(
            field.generation > 2,
            "the agents were replaced too soon to tell"
        );
        field.says(nodes, nodes, "OnAllNodes", "").await.map(drop)
    })
    .await
}

#[tokio::test]
async fn when_the_leader_is_cut_off_another_tells_the_truth_and_the_former_one_writes_no_more()
-> Tested {
    with_machines("e2e-leads", &[], async |field| {
        let nodes = field.machines.names().await?.len();
        let leader = async || {
            let lease = ["lease", "seccomp-operator-controller", "-n", NAMESPACE];
            let lease = field.cluster.get(&lease).await?;
            let holder = lease.data["spec"]["holderIdentity"].as_str();
            anyhow::Ok(holder.unwrap_or_default().to_owned())
        };
        let pods = field.cluster.pods_of("controller").await?;
        let on: BTreeSet<_> = pods
            .iter()
            .map(|pod| pod["spec"]["nodeName"].to_string())
            .collect();
        ensure!(on.len() > 1 || nodes < 3, "both controllers are on {on:?}");
        let former = leader().await?;
        let pod = field
            .cluster
            .get(&["pod", &former, "-n", NAMESPACE])
            .await?;
        let machine = pod.data["spec"]["nodeName"]
            .as_str()
            .context("no node")?
            .to_owned();
        if machine == field.cluster.control_plane().await? {
            ensure!(nodes == 1, "pods run on the control plane beside workers");
            println!(
                "skipped: it takes several nodes to cut off the leader's, and this cluster has one"
            );
            tokio::time::sleep(Duration::from_secs(5)).await;
            return Ok(());
        }
        field.machines.connect(&machine, false).await?;
        until("another leader", PATIENCE, || async {
            let now = leader().await?;
            ensure!(now != former && !now.is_empty(), "{now} leads");
            Ok(())
        })
        .await?;
        // The API server may ask the replica that nobody reaches, until its node is known to be gone.
        until("a change to be taken", PATIENCE, || async {
            let next = document(field.generation + 1);
            field.cluster.apply_profile(&field.profile, &next).await
        })
        .await?;
        field.generation += 1;
        field.says(nodes - 1, nodes, "AgentGone", &machine).await?;
        ensure!(
            field.watch.on(&machine) == Some(1),
            "{:?}",
            field.watch.on(&machine)
        );
        field.machines.connect(&machine, true).await?;
        field.says(nodes, nodes, "OnAllNodes", "").await?;
        ensure!(
            field.watch.on(&machine) == Some(2),
            "{:?}",
            field.watch.on(&machine)
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_on_every_node_starts_under_a_profile_that_was_applied_a_second_before() -> Tested {
    with_machines("e2e-at-once", &[], async |field| {
        let nodes = field.cluster.nodes().await?;
        for round in 1..=3 {
            let profile = format!("e2e-at-once-{round}");
            field.cluster.delete("seccompprofile", &profile).await?;
            field.cluster.apply_profile(&profile, &document(1)).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let pods = nodes.iter().map(|node| {
                let name = format!("user-{round}-{node}");
                Pod::script(&field.cluster, &field.namespace, &name, CHMOD)
                    .localhost(&format!("profiles/{profile}.json"))
                    .on(node)
            });
            let pods: Vec<_> = pods.collect();
            for pod in &pods {
                pod.create(&field.cluster).await?;
            }
            for pod in &pods {
                pod.log_with(&field.cluster, "refused").await?;
                let complaints = pod.complaints(&field.cluster).await?;
                ensure!(complaints.is_empty(), "{complaints:?}");
            }
            let delete = ["delete", "pods", "--all", "--now", "-n", &field.namespace];
            kubectl(&delete, "").await?.ok()?;
            field.cluster.delete("seccompprofile", &profile).await?;
        }
        Ok(())
    })
    .await
}
