//! Writes the statuses of policies: each replica its own counts, the leader their sum and all else.
//!
//! `recent` knows what this replica counted and when to say so, `index` what a status should be.

pub(super) mod index;
mod recent;

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::warn;

use super::{ControllerError, Shared};
use index::PolicyStatusWrite;
use kube_support::error::chain;
use kube_support::leader::Role;
use kube_support::{JsonPatch, WriteError, apply_status, patch_status};
use recent::Recent;
use seccomp_operator_api::{ReplicaPods, SeccompPolicy, SeccompPolicyStatus};
use seccomp_policy::counters::Counts;

/// The leader's part of a status. Not the field manager of the default policy: before Kubernetes 1.22 a manager's spec and
/// its status are one set of fields, and each apply would give up the other's.
const STATUS_MANAGER: &str = "seccomp-operator-policy-status";
/// How often the counts are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A change waits this long for others to join it.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How often the leader looks even if nothing seems to have changed: namespaces come, and entries become stale.
const LEADER_LOOKS_EVERY: Duration = Duration::from_secs(30);
/// The pause between two writes of one status, if only the counts differ.
const COUNTS_PAUSE: Duration = Duration::from_mins(1);
/// The pause after a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    identity: &str,
    shared: &Shared,
    role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let api: Api<SeccompPolicy> = Api::all(client.clone());
    tokio::select! {
        ended = count(&api, identity, shared) => ended,
        ended = lead(&api, shared, role) => ended,
    }
}

/// Writes what this replica has counted.
async fn count(
    api: &Api<SeccompPolicy>,
    identity: &str,
    shared: &Shared,
) -> Result<(), ControllerError> {
    let mut recent = Recent::new(std::time::Instant::now());
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let counts = shared.view().counts();
        recent.look(&counts, std::time::Instant::now());
        for (name, counts) in recent.due(std::time::Instant::now()) {
            let written = match write_counts(api, &name, identity, counts).await {
                Ok(()) => Some(counts),
                // The policy is gone, or its definition is an older one without a status.
                Err(error) if error.is_not_found() => None,
                Err(error) => {
                    let error = chain(&error);
                    warn!(
                        policy = name,
                        error, "a policy's counts could not be written"
                    );
                    None
                }
            };
            recent.tried(&name, written, std::time::Instant::now());
        }
    }
}

async fn write_counts(
    api: &Api<SeccompPolicy>,
    name: &str,
    identity: &str,
    counts: Counts,
) -> Result<(), WriteError> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    // What a manager applied before and does not any more is removed.
    let counted = (counts != Counts::default()).then(|| ReplicaPods {
        name: identity.to_owned(),
        matched: number(counts.matched),
        changed: number(counts.changed),
        updated: Time(Timestamp::now()),
    });
    let status = SeccompPolicyStatus {
        replicas: counted.into_iter().collect(),
        ..SeccompPolicyStatus::default()
    };
    // A field manager's name has at most 128 characters, and the end of a pod's name is what tells pods apart.
    let end = identity.len().saturating_sub(100);
    let manager = format!(
        "seccomp-operator-{}",
        identity.get(end..).unwrap_or(identity)
    );
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let written = apply_status(api, &manager, &metadata, &status).await;
    written.map(drop)
}

/// Writes the leader's part, for as long as this replica leads.
async fn lead(
    api: &Api<SeccompPolicy>,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        // When each status may be written again, if only its counts differ; and if anything does.
        let mut resting: HashMap<String, (Instant, Instant)> = HashMap::new();
        let mut compared: Option<Instant> = None;
        while *role.borrow() == Role::Leads {
            // A profile that has not been listed yet is not missing.
            if !shared.ready.has_listed() {
                sleep(DEBOUNCE).await;
                continue;
            }
            let now = Instant::now();
            compare(shared, &mut compared, now).await;
            resting.retain(|_, (counts, any)| *counts > now || *any > now);
            for (name, task) in look(shared, &resting, now) {
                let counts = matches!(&task, Task::Status(wanted) if wanted.counts);
                let outcome = match &task {
                    Task::Status(wanted) => write_status(api, &name, wanted).await,
                    Task::Stale(places, version) => remove(api, &name, places, version).await,
                };
                let now = Instant::now();
                match outcome {
                    Ok(()) => {
                        let rested = resting.get(&name).map_or(now, |(rested, _)| *rested);
                        let counts = if counts { now + COUNTS_PAUSE } else { rested };
                        resting.insert(name, (counts, now + DEBOUNCE));
                    }
                    // Overtaken: the watch tells of what has happened.
                    Err(error) if error.is_not_found() || error.is_conflict() => {
                        resting.insert(name, (now + DEBOUNCE, now + DEBOUNCE));
                    }
                    Err(error) => {
                        let error = chain(&error);
                        warn!(
                            policy = name,
                            error, "a policy's status could not be written"
                        );
                        resting.insert(name, (now + AFTER_FAILURE, now + AFTER_FAILURE));
                    }
                }
            }
            let due = resting.values().map(|(counts, _)| *counts).min();
            let due = due
                .unwrap_or(now + LEADER_LOOKS_EVERY)
                .min(now + LEADER_LOOKS_EVERY);
            tokio::select! {
                () = shared.policies_changed.notified() => sleep(DEBOUNCE).await,
                () = tokio::time::sleep_until(due.max(now + DEBOUNCE)) => {}
                _ = role.changed() => {}
            }
        }
    }
}

/// What to do about one policy.
enum Task {
    Status(PolicyStatusWrite),
    Stale(Vec<usize>, String),
}

/// Compares all policies with each other, when one has changed and every now and then. One at a time: reviews want the view.
async fn compare(shared: &Shared, compared: &mut Option<Instant>, now: Instant) {
    let old = compared.is_none_or(|at| now.duration_since(at) >= LEADER_LOOKS_EVERY);
    if !shared.policies().take_changed() && !old {
        return;
    }
    *compared = Some(now);
    let names = shared.policies().names();
    for name in names {
        {
            let view = shared.view();
            shared.policies().compare(&name, &view);
        }
        tokio::task::yield_now().await;
    }
}

fn look(
    shared: &Shared,
    resting: &HashMap<String, (Instant, Instant)>,
    now: Instant,
) -> Vec<(String, Task)> {
    let wall = Timestamp::now();
    let view = shared.view();
    let policies = shared.policies();
    let trials = shared.policy_trials();
    let mut tasks = Vec::new();
    for name in policies.names() {
        let (counts_rest, all_rest) = resting
            .get(&name)
            .map_or((false, false), |(counts, any)| (*counts > now, *any > now));
        if all_rest {
            continue;
        }
        if let Some(wanted) = policies.wanted(&name, &view, &trials, wall)
            && !(wanted.only_counts && counts_rest)
        {
            tasks.push((name, Task::Status(wanted)));
        } else if let Some((places, version)) = policies.stale(&name, wall) {
            tasks.push((name, Task::Stale(places, version)));
        }
    }
    tasks
}

async fn write_status(
    api: &Api<SeccompPolicy>,
    name: &str,
    wanted: &PolicyStatusWrite,
) -> Result<(), WriteError> {
    // A policy that has changed meanwhile must not get this one's status.
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        resource_version: Some(wanted.version.clone()),
        ..ObjectMeta::default()
    };
    let written = apply_status(api, STATUS_MANAGER, &metadata, &wanted.status).await;
    written.map(drop)
}

/// Removes entries that belong to nobody any more.
async fn remove(
    api: &Api<SeccompPolicy>,
    name: &str,
    places: &[usize],
    version: &str,
) -> Result<(), WriteError> {
    // From the end, so that the places before stay what they are.
    let places = places.iter().rev().map(ToString::to_string);
    let patch = places.fold(JsonPatch::of_version(version), |patch, place| {
        patch.remove(&["status", "replicas", &place])
    });
    let removed = patch_status(api, name, STATUS_MANAGER, patch).await;
    removed.map(drop)
}
