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
use kube_support::leader::{self, Role};
use kube_support::{Requests, WriteError, bounded, client, patch_metadata};
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

/// Runs until no profile has the finalizer. The Lease is kept: it runs out some seconds later.
pub async fn run(args: ReleaseArgs) -> anyhow::Result<()> {
    let client = client(&Requests::new(
        &mut prometheus_client::registry::Registry::default(),
    ))
    .await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &args.namespace);
    leader::seize(&leases, &args.lease_name, &args.identity).await?;
    info!(
        lease = args.lease_name,
        "the lease was taken; waiting for the controller that led to stop"
    );
    let (role, _) = watch::channel(Role::default());
    let work = async {
        sleep(leader::STOPPED_WITHIN).await;
        let released = release(&client).await?;
        info!(released, "no profile is held any more");
        Ok(())
    };
    let never = std::future::pending();
    tokio::select! {
        ended = leader::lead(leases, &args.lease_name, &args.identity, &role, never) => Ok(ended?),
        done = work => done,
        () = shutdown::requested() => anyhow::bail!("stopped before every profile was released"),
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
