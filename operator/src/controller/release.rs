//! Lets go of every profile, so that the operator can be uninstalled: without a controller nobody would take its finalizer off.
//!
//! It takes the Lease first, so that no controller holds a profile again, and waits until the one that led must have stopped.

use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use tracing::info;

use super::MANAGER;
use super::finalizer::{self, Step};
use crate::shutdown;
use kube_support::leader::{self, LostLease, Role, SeizeError};
use kube_support::{ClientError, Requests, WriteError, bounded, client, patch_metadata};
use seccomp_operator_api::{IN_USE_FINALIZER, SeccompProfile};

/// So many profiles are asked for at once; only their metadata.
const PAGE: u32 = 500;
/// The pause before another look, when somebody changed a profile meanwhile.
const AGAIN: Duration = Duration::from_millis(500);

/// Takes the operator's finalizer off every SeccompProfile.
#[derive(Args, Debug)]
pub struct ReleaseArgs {
    /// The namespace that the operator runs in
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// This process' name in the leader election
    #[arg(long, env = "POD_NAME")]
    identity: String,
    /// The Lease that the controllers elect their leader by
    #[arg(
        long,
        env = "LEASE_NAME",
        default_value = "seccomp-operator-controller"
    )]
    lease_name: String,
}

/// Why profiles may still be held.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The API server cannot be found.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The Lease could not be taken.
    #[error(transparent)]
    Seize(#[from] SeizeError),
    /// The Lease was taken, and lost again.
    #[error(transparent)]
    LostLease(#[from] LostLease),
    /// A profile could not be read or written.
    #[error("a profile could not be released")]
    Write(#[from] WriteError),
    /// This process was told to stop.
    #[error("stopped before every profile was released")]
    Stopped,
}

/// Runs until no profile has the finalizer. The Lease is kept: it runs out some seconds later.
pub async fn run(args: ReleaseArgs) -> Result<(), ReleaseError> {
    let client = client(&Requests::new(
        &mut prometheus_client::registry::Registry::default(),
    ))
    .await?;
    release_until(&client, &args, shutdown::requested()).await
}

/// Releases all profiles, unless `stop` ends before: whatever is waited for then.
async fn release_until(
    client: &Client,
    args: &ReleaseArgs,
    stop: impl Future<Output = ()>,
) -> Result<(), ReleaseError> {
    tokio::select! {
        released = take_over_and_release(client, args) => released,
        () = stop => Err(ReleaseError::Stopped),
    }
}

async fn take_over_and_release(client: &Client, args: &ReleaseArgs) -> Result<(), ReleaseError> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &args.namespace);
    leader::seize(&leases, &args.lease_name, &args.identity).await?;
    info!(
        lease = args.lease_name,
        "the lease was taken; waiting for the controller that led to stop"
    );
    let (role, _) = watch::channel(Role::default());
    let work = async {
        sleep(leader::STOPPED_WITHIN).await;
        let released = release(client).await?;
        info!(released, "no profile is held any more");
        Ok(())
    };
    let never = std::future::pending();
    tokio::select! {
        ended = leader::lead(leases, &args.lease_name, &args.identity, &role, never) => Ok(ended?),
        done = work => done,
    }
}

/// Takes the finalizer off every profile; off how many.
async fn release(client: &Client) -> Result<usize, WriteError> {
    let api: Api<SeccompProfile> = Api::all(client.clone());
    let mut released = 0;
    loop {
        let held = held(&api).await?;
        if held.is_empty() {
            return Ok(released);
        }
        for (name, version, finalizers) in held {
            let patch = finalizer::patch(Step::Release, &version, &finalizers);
            match patch_metadata(&api, &name, MANAGER, patch).await {
                Ok(_) => released += 1,
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        sleep(AGAIN).await;
    }
}

/// The profiles that have the finalizer: name, resource version and finalizers. Where the kind is not known there are none.
async fn held(api: &Api<SeccompProfile>) -> Result<Vec<(String, String, Vec<String>)>, WriteError> {
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match bounded(api.list_metadata(&params)).await {
            Err(error) if error.is_not_found() => return Ok(found),
            page => page?,
        };
        let held = page.items.into_iter().filter(|profile| {
            let mut finalizers = profile.finalizers().iter();
            finalizers.any(|name| name == IN_USE_FINALIZER)
        });
        found.extend(held.map(|profile| {
            (
                profile.name_any(),
                profile.resource_version().unwrap_or_default(),
                profile.finalizers().to_vec(),
            )
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::{Request, Response};
    use kube::client::Body;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_is_heeded_while_the_lease_is_being_taken() {
        let answer =
            |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>();
        let client = Client::new(tower::service_fn(answer), "default");
        let args = ReleaseArgs {
            namespace: "default".into(),
            identity: "release".into(),
            lease_name: "controller".into(),
        };
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let stopped = release_until(&client, &args, sleep(second)).await;
        assert!(matches!(stopped, Err(ReleaseError::Stopped)), "{stopped:?}");
        assert_eq!(began.elapsed(), second);
    }
}
