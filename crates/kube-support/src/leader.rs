//! Leader election on a Lease, by the rules of Kubernetes' own clients.
//!
//! A holder is taken for gone when its record has not changed for the lease's duration *by this process' monotonic clock*:
//! the times in the record are another machine's and are never compared. A leader that cannot renew stops leading before
//! anybody else may start, and [`lead`] ends with an error: the process must end too, rather than live on as a ghost.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use crate::error::chain;
use crate::{Backoff, WriteError, bounded};

/// How long a record that nobody renews keeps others out.
const DURATION: Duration = Duration::from_secs(15);
/// How long a leader may fail to renew before it gives up; less than [`DURATION`], by more than clocks can drift in that time.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// A leader has stopped so long after somebody else took its lease, at the latest.
pub const STOPPED_WITHIN: Duration = RENEW_WITHIN;
/// How often to renew, and how often to look whether the lease is free.
const EVERY: Duration = Duration::from_secs(2);

/// How long [`seize`] tries: a holder renews every few seconds, and can win a race or two.
const SEIZE_WITHIN: Duration = Duration::from_secs(30);
/// The first and the longest pause of [`seize`] after a race that it lost.
const RACE_PAUSE: (Duration, Duration) = (Duration::from_millis(100), EVERY);

/// This process led, and could not renew its lease in time.
#[derive(Debug, thiserror::Error)]
#[error("the lease {lease:?} could not be renewed within {} s", RENEW_WITHIN.as_secs())]
pub struct LostLease {
    lease: String,
}

/// The lease could not be taken from its holder.
#[derive(Debug, thiserror::Error)]
pub enum SeizeError {
    /// The API server said no, could not be reached, or did not answer.
    #[error("the lease {lease:?} could not be taken")]
    Refused {
        /// The Lease's name.
        lease: String,
        /// What went wrong.
        source: WriteError,
    },
    /// Others were faster each time.
    #[error("the lease {lease:?} could not be taken within {} s: others kept writing it", SEIZE_WITHIN.as_secs())]
    TimedOut {
        /// The Lease's name.
        lease: String,
    },
}

/// What to do about the lease as it is.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create,
    Renew,
    TakeOver,
    Wait,
}

/// `unchanged_for`: how long this process has seen the same record.
fn decide(lease: Option<&Lease>, identity: &str, unchanged_for: Duration) -> Step {
    let Some(spec) = lease.map(|lease| lease.spec.clone().unwrap_or_default()) else {
        return Step::Create;
    };
    let duration = spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok())
        .map_or(DURATION, Duration::from_secs);
    match spec.holder_identity.as_deref().unwrap_or_default() {
        "" => Step::TakeOver,
        holder if holder == identity => Step::Renew,
        _ if unchanged_for >= duration => Step::TakeOver,
        _ => Step::Wait,
    }
}

/// This process' part in the election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The lease has not been looked at yet.
    #[default]
    Undecided,
    /// Another process leads, or none.
    Follows,
    /// This process leads.
    Leads,
}

/// Takes part in the election until `shutdown`, telling `role` what came of it. A leader hands the lease over at shutdown,
/// so that the next one need not wait for it to run out.
pub async fn lead(
    api: Api<Lease>,
    name: &str,
    identity: &str,
    role: &watch::Sender<Role>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), LostLease> {
    let mut election = Election::new(api, name, identity);
    tokio::pin!(shutdown);
    loop {
        let led = *role.borrow() == Role::Leads;
        tokio::select! {
            () = &mut shutdown => {
                if led {
                    role.send_replace(Role::Follows);
                    election.release().await;
                }
                return Ok(());
            }
            leads = election.round() => match (led, leads) {
                (true, false) => {
                    role.send_replace(Role::Follows);
                    return Err(LostLease { lease: name.to_owned() });
                }
                (false, true) => {
                    info!(lease = name, identity, "this process leads now");
                    role.send_replace(Role::Leads);
                }
                (false, false) => {
                    role.send_if_modified(|role| std::mem::replace(role, Role::Follows) != Role::Follows);
                }
                (true, true) => {}
            },
        }
    }
}

/// Takes the lease from whoever holds it: that process finds out when it looks next, and ends. Whoever stops waiting for it drops the
/// future.
pub async fn seize(api: &Api<Lease>, name: &str, identity: &str) -> Result<(), SeizeError> {
    let election = Election::new(api.clone(), name, identity);
    let seized = async {
        let mut pause = Backoff::new(RACE_PAUSE.0, RACE_PAUSE.1);
        loop {
            let lease = bounded(api.get_opt(name)).await?;
            match bounded(election.write(lease.as_ref())).await? {
                // Whoever renewed it in between renews it again only after a while.
                Look::Raced | Look::Other => sleep(pause.fail()).await,
                Look::Held => return Ok(()),
            }
        }
    };
    let failed = |source| SeizeError::Refused {
        lease: name.to_owned(),
        source,
    };
    timeout(SEIZE_WITHIN, seized)
        .await
        .map_err(|_| SeizeError::TimedOut {
            lease: name.to_owned(),
        })?
        .map_err(failed)
}

/// What a look at the lease told.
enum Look {
    /// This process holds it, newly or again.
    Held,
    /// Another process does.
    Other,
    /// Somebody wrote it between our look and our write; the next look will tell.
    Raced,
}

struct Election<'a> {
    api: Api<Lease>,
    name: &'a str,
    identity: &'a str,
    /// The record's resource version, and since when it has been that.
    record: Option<(String, Instant)>,
    /// When this process last wrote the record, if it leads.
    renewed: Option<Instant>,
    /// When to look next.
    next: Instant,
}

impl<'a> Election<'a> {
    fn new(api: Api<Lease>, name: &'a str, identity: &'a str) -> Self {
        Self {
            api,
            name,
            identity,
            record: None,
            renewed: None,
            next: Instant::now(),
        }
    }

    /// A pause, a look at the lease, and what follows from it. Whether this process leads after it: known no later than
    /// [`RENEW_WITHIN`] after it last renewed.
    async fn round(&mut self) -> bool {
        sleep_until(self.next).await;
        let began = Instant::now();
        let deadline = self.renewed.unwrap_or(began) + RENEW_WITHIN;
        match timeout_at(deadline, self.look()).await {
            Ok(Ok(Look::Held)) => self.renewed = Some(began),
            Ok(Ok(Look::Other)) => self.renewed = None,
            Ok(Ok(Look::Raced)) => {}
            Ok(Err(error)) => warn!(
                lease = self.name,
                error = chain(&error),
                "the lease could not be read or written"
            ),
            Err(_) => warn!(
                lease = self.name,
                "the API server did not answer about the lease"
            ),
        }
        self.next = began + EVERY;
        if let Some(renewed) = self.renewed {
            self.next = self.next.min(renewed + RENEW_WITHIN);
            if renewed.elapsed() >= RENEW_WITHIN {
                self.renewed = None;
            }
        }
        self.renewed.is_some()
    }

    async fn look(&mut self) -> kube::Result<Look> {
        let lease = self.api.get_opt(self.name).await?;
        let version = lease
            .as_ref()
            .and_then(ResourceExt::resource_version)
            .unwrap_or_default();
        let since = match &self.record {
            Some((known, since)) if *known == version => *since,
            _ => Instant::now(),
        };
        self.record = Some((version, since));
        match decide(lease.as_ref(), self.identity, since.elapsed()) {
            Step::Wait => Ok(Look::Other),
            Step::Create | Step::Renew | Step::TakeOver => self.write(lease.as_ref()).await,
        }
    }

    /// Writes the record with this process as its holder, unless it is another than `old` by now.
    async fn write(&self, old: Option<&Lease>) -> kube::Result<Look> {
        let wanted = self.lease(old);
        let params = PostParams::default();
        let written = match old {
            None => self.api.create(&params, &wanted).await,
            Some(_) => self.api.replace(self.name, &params, &wanted).await,
        };
        match written {
            Ok(_) => Ok(Look::Held),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(Look::Raced)
            }
            Err(error) => Err(error),
        }
    }

    /// The record with this process as its holder; `old` gives the resource version that must still be there.
    fn lease(&self, old: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = old.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let held = spec.holder_identity.as_deref() == Some(self.identity);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                resource_version: old.and_then(ResourceExt::resource_version),
                ..old.map(|lease| lease.metadata.clone()).unwrap_or_default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.to_owned()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: if held {
                    spec.acquire_time
                } else {
                    Some(now.clone())
                },
                renew_time: Some(now),
                lease_transitions: Some(
                    spec.lease_transitions.unwrap_or_default() + i32::from(!held && old.is_some()),
                ),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn release(&self) {
        let release = async {
            let Some(mut lease) = self.api.get_opt(self.name).await? else {
                return Ok(());
            };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(self.identity) {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                self.api
                    .replace(self.name, &PostParams::default(), &lease)
                    .await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(Duration::from_secs(3), release).await {
            Ok(Ok(())) => info!(lease = self.name, "the lease was handed over"),
            _ => warn!(
                lease = self.name,
                "the lease could not be handed over; it will run out by itself"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response, StatusCode};
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, seconds: i32) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                lease_duration_seconds: Some(seconds),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_is_created_renewed_taken_over_or_left_alone() {
        let short = Duration::from_secs(3);
        assert_eq!(decide(None, "me", short), Step::Create);
        assert_eq!(
            decide(Some(&lease("me", 15)), "me", Duration::from_secs(99)),
            Step::Renew
        );
        assert_eq!(
            decide(Some(&lease("", 1)), "me", Duration::ZERO),
            Step::TakeOver
        );
        assert_eq!(decide(Some(&lease("you", 15)), "me", short), Step::Wait);
        assert_eq!(
            decide(Some(&lease("you", 15)), "me", Duration::from_secs(15)),
            Step::TakeOver
        );
    }

    #[test]
    fn what_a_record_says_of_the_time_counts_for_nothing() {
        // The other machine's clock may be hours off, or ours, or be moved at any moment.
        for hours in [-1000, -1, 0, 1, 1000] {
            let mut lease = lease("you", 15);
            let spec = lease.spec.as_mut().unwrap();
            let at = Timestamp::UNIX_EPOCH + Duration::from_hours(500_000);
            let at = at + k8s_openapi::jiff::SignedDuration::from_hours(hours);
            spec.renew_time = Some(MicroTime(at));
            spec.acquire_time = Some(MicroTime(at));
            let wait = decide(Some(&lease), "me", Duration::from_secs(14));
            let take = decide(Some(&lease), "me", Duration::from_secs(15));
            assert_eq!((wait, take), (Step::Wait, Step::TakeOver), "{hours} h");
        }
    }

    /// A Lease as an API server has it.
    struct Stored {
        version: u64,
        lease: Option<Lease>,
        /// So often its holder renews it after it was looked at and before it is written.
        renewals: u64,
        looks: u64,
    }

    fn stored(lease: Option<Lease>, renewals: u64) -> Arc<Mutex<Stored>> {
        Arc::new(Mutex::new(Stored {
            version: 0,
            lease,
            renewals,
            looks: 0,
        }))
    }

    fn api_server(stored: &Arc<Mutex<Stored>>) -> Api<Lease> {
        let stored = stored.clone();
        let answer = move |request: Request<Body>| {
            let stored = stored.clone();
            async move {
                let method = request.method().clone();
                let sent = request.into_body().collect_bytes().await.unwrap();
                let stored = &mut *stored.lock().unwrap();
                let fails = |code: StatusCode, reason: &str| {
                    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": "", "code": code.as_u16()});
                    (code, status.to_string())
                };
                let (code, body) = if method == Method::GET {
                    stored.looks += 1;
                    let found = stored.lease.clone().map(|mut lease| {
                        lease.metadata.resource_version = Some(stored.version.to_string());
                        (StatusCode::OK, serde_json::to_string(&lease).unwrap())
                    });
                    if stored.renewals > 0 {
                        stored.version += 1;
                        stored.renewals -= 1;
                    }
                    found.unwrap_or_else(|| fails(StatusCode::NOT_FOUND, "NotFound"))
                } else {
                    let lease: Lease = serde_json::from_slice(&sent).unwrap();
                    let known = lease.metadata.resource_version.clone();
                    if known.is_some_and(|known| known != stored.version.to_string()) {
                        fails(StatusCode::CONFLICT, "Conflict")
                    } else {
                        stored.version += 1;
                        stored.lease = Some(lease);
                        (StatusCode::OK, String::from_utf8(sent.to_vec()).unwrap())
                    }
                };
                let response = Response::builder().status(code);
                let body = Body::from(body.into_bytes());
                Ok::<_, std::convert::Infallible>(response.body(body).unwrap())
            }
        };
        let client = Client::new(tower::service_fn(answer), "default");
        Api::namespaced(client, "default")
    }

    /// What a lease is after it was seized, in a cluster that has this one, or none.
    async fn seized(lease: Option<Lease>, renewals: u64) -> (u64, Lease) {
        let stored = stored(lease, renewals);
        let leases = api_server(&stored);
        super::seize(&leases, "leader", "me").await.unwrap();
        let stored = stored.lock().unwrap();
        (stored.version, stored.lease.clone().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_seized_from_a_holder_that_keeps_renewing_it() {
        let holder = |lease: &Lease| lease.spec.clone().unwrap().holder_identity;
        let (version, taken) = seized(Some(lease("you", 15)), 3).await;
        assert_eq!(holder(&taken).as_deref(), Some("me"));
        assert_eq!(version, 4, "three renewals and one write");
        let transitions = taken.spec.unwrap().lease_transitions;
        assert_eq!(transitions, Some(1));

        let (version, made) = seized(None, 0).await;
        assert_eq!(holder(&made).as_deref(), Some("me"));
        assert_eq!(version, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_others_write_all_the_time_is_given_up_after_few_tries() {
        // Far more renewals than tries, and not without end: a loop without a pause must fail this test, not hang it.
        let stored = stored(Some(lease("you", 15)), 10_000);
        let leases = api_server(&stored);
        let began = Instant::now();
        let given_up = super::seize(&leases, "leader", "me").await;
        assert!(
            matches!(given_up, Err(SeizeError::TimedOut { .. })),
            "{given_up:?}"
        );
        assert_eq!(began.elapsed(), SEIZE_WITHIN);
        let looks = stored.lock().unwrap().looks;
        assert!((10..=25).contains(&looks), "{looks}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_never_answers_does_not_keep_who_seizes_a_lease() {
        let answer = |_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let leases: Api<Lease> = Api::namespaced(client, "default");
        let seized = timeout(
            Duration::from_hours(1),
            super::seize(&leases, "leader", "me"),
        );
        let refused = seized.await.expect("an hour is no limit");
        assert!(
            matches!(
                refused,
                Err(SeizeError::Refused {
                    source: WriteError::TimedOut,
                    ..
                })
            ),
            "{refused:?}"
        );
    }

    #[test]
    fn a_record_without_a_spec_is_free() {
        assert_eq!(
            decide(Some(&Lease::default()), "me", Duration::ZERO),
            Step::TakeOver
        );
    }
}
