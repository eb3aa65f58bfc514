//! Keeps the SeccompProfiles of SeccompSources, where the installation has such: only the leader asks registries, and only it writes.
//!
//! `index` decides which source is to be pulled and when, `pull` asks the registry and who signed, `document` and `said` know what that means,
//! `keep` writes the profile, and `status` is what there is to say of it.

mod document;
pub(super) mod index;
mod keep;
mod pull;
mod said;
mod status;

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{ControllerError, Shared};
use crate::sources;
use index::{DRAWS, Done, End, Job};
use kube_support::error::chain;
use kube_support::events::{Events, events};
use kube_support::leader::Role;
use kube_support::{WatchEvent, apply_status, watch as watch_objects};
use seccomp_operator_api::SeccompSource;
use seccomp_operator_api::source_condition::{INVALID, PROFILE_TAKEN};
use status::{Failure, Outcome};

/// Its own field manager, as recordings have one.
const MANAGER: &str = "seccomp-operator-source";
/// The kind of what owns the profiles.
const KIND: &str = "SeccompSource";
/// A source can hold some hundred kilobytes of keys and certificates.
const PAGE: u32 = 20;
/// How often to look while nothing is due: what the other watches tell counts as well.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    (namespace, identity): (&str, &str),
    shared: &Shared,
    role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let (events, written) = events(client.clone(), MANAGER, identity.to_owned());
    let place = Place {
        client,
        namespace,
        events: &events,
    };
    tokio::select! {
        ended = follow(place, shared, role) => ended,
        () = written => Ok(()),
    }
}

/// Where pulls go on.
#[derive(Clone, Copy)]
struct Place<'a> {
    client: &'a Client,
    namespace: &'a str,
    events: &'a Events,
}

async fn follow(
    place: Place<'_>,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let config = Config::default().page_size(PAGE);
    let seen: BoxStream<'static, WatchEvent<SeccompSource>> =
        watch_objects(Api::all(place.client.clone()), config).boxed();
    let mut seen = pin!(seen);
    let mut pulls = FuturesUnordered::new();
    let mut listed = false;
    loop {
        let leads = *role.borrow_and_update() == Role::Leads;
        // What has not been listed yet is not missing.
        let mut next = None;
        if leads && listed && shared.ready.has_listed() {
            let now = shared.started.elapsed();
            let mut sources = shared.sources();
            pulls.extend(
                sources
                    .due(now)
                    .into_iter()
                    .map(|job| tend(place, job).boxed()),
            );
            next = sources.next().map(|next| next.saturating_sub(now));
        } else if !leads && !pulls.is_empty() {
            pulls.clear();
            shared.sources().stopped();
        }
        let pause = next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        tokio::select! {
            change = seen.next() => {
                let change = change.ok_or(ControllerError::WatchesEnded)?;
                let (now, wall) = (shared.started.elapsed(), Timestamp::now());
                shared.sources().source(&change, now, wall, draw());
                listed |= matches!(change, WatchEvent::ListEnds);
            }
            Some(done) = pulls.next(), if !pulls.is_empty() => {
                shared.sources().done(&done, shared.started.elapsed(), draw());
            }
            () = shared.sources_changed.notified() => {}
            () = sleep(pause) => {}
            changed = role.changed() => changed?,
        }
    }
}

/// A number below [`DRAWS`].
fn draw() -> u32 {
    let number = RandomState::new().hash_one(()) % u64::from(DRAWS);
    u32::try_from(number).unwrap_or_default()
}

/// Pulls what a source asks for, keeps it as the profile, and says what came of it.
async fn tend(place: Place<'_>, job: Job) -> Done {
    let (outcome, mut end) = pulled(place, &job).await;
    if let Err(error) = write(place, &job, &outcome).await {
        let (source, error) = (&job.name, chain(&error));
        warn!(source, error, "the status of a source could not be written");
        if let (End::Over, Ok(spec)) = (&end, &job.spec) {
            end = failed(spec.interval.as_str(), false);
        }
    }
    Done {
        name: job.name,
        uid: job.uid,
        generation: job.generation,
        end,
    }
}

fn failed(interval: &str, is_taken: bool) -> End {
    let interval = seccomp_recording::parse_length(interval);
    End::Failed {
        interval: interval.unwrap_or_default(),
        is_taken,
    }
}

async fn pulled(place: Place<'_>, job: &Job) -> (Outcome, End) {
    let invalid = |faults: String| (Outcome::Failed(Failure::new(INVALID, faults)), End::Over);
    let spec = match &job.spec {
        Ok(spec) => spec,
        Err(error) => {
            return invalid(format!(
                "spec: this version of the operator cannot read it: {error}"
            ));
        }
    };
    let plan = match sources::read(&job.name, spec) {
        Ok(plan) => plan,
        Err(faults) => return invalid(faults.join("; ")),
    };
    if spec.suspend {
        return (Outcome::Suspended, End::Over);
    }
    let kept = async {
        let artifact = pull::pull(place.client, place.namespace, (spec, &plan)).await?;
        let profile = keep::keep(place.client, job, &artifact).await?;
        Ok::<_, Failure>((artifact, profile))
    };
    match kept.await {
        Ok((artifact, profile)) => {
            let outcome = Outcome::Kept {
                digest: artifact.digest,
                signed_by: artifact.signed_by,
            };
            let interval = plan.interval;
            (outcome, End::Kept { profile, interval })
        }
        Err(failure) => {
            let is_taken = failure.reason == PROFILE_TAKEN;
            (Outcome::Failed(failure), failed(&spec.interval, is_taken))
        }
    }
}

async fn write(
    place: Place<'_>,
    job: &Job,
    outcome: &Outcome,
) -> Result<(), kube_support::WriteError> {
    let named = (job.name.as_str(), job.generation);
    let status = status::after(&job.status, named, outcome, Timestamp::now());
    if let Some((event, incident)) = status::event(&job.status, &status, (&job.name, &job.uid)) {
        let source = &job.name;
        if event.warning {
            warn!(
                source,
                reason = event.reason,
                message = event.note,
                "a source leaves its profile as it is"
            );
        } else {
            info!(
                source,
                digest = status.digest,
                signed_by = status.signed_by,
                "a source has a new profile"
            );
        }
        place.events.post_once(event, incident);
    }
    let metadata = ObjectMeta {
        name: Some(job.name.clone()),
        // Of one that was made anew meanwhile it would be wrong.
        uid: Some(job.uid.clone()),
        ..ObjectMeta::default()
    };
    let sources: Api<SeccompSource> = Api::all(place.client.clone());
    match apply_status(&sources, MANAGER, &metadata, &status).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// What the watch of profiles tells, which matters where there are sources.
pub(super) fn take_profile(
    change: &WatchEvent<seccomp_operator_api::SeccompProfile>,
    shared: &Shared,
) {
    shared.sources().profile(change);
    shared.sources_changed.notify_one();
}
