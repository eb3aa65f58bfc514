//! Keeps the webhooks' certificate authority in its Secret, a serving certificate in this process, and the trust in both in the
//! webhook configurations.
//!
//! Any replica may make the Secret, the fastest wins; only the leader mends or renews it and writes into the configurations.
//! Whoever empties, damages or deletes the Secret, or takes the trust away, gets it back within seconds. What the material should become is decided in
//! `pki`. Where somebody else makes the certificates (cert-manager), the Secret and the configurations are only read.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::watch as channel;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{ControllerArgs, ControllerError, InjectionEngine, MANAGER, Shared};
use crate::pki::{CertificateError, Lives, Material, Step};
use kube_support::error::chain;
use kube_support::leader::Role;
use kube_support::{JsonPatch, WatchEvent, WriteError, bounded, patch, watch};

/// How often the clock is asked whether something has grown old, and how soon a failed write is tried again.
const EVERY: Duration = Duration::from_secs(2);

/// Why something could not be seen to. It is tried again.
#[derive(Debug, thiserror::Error)]
enum CaError {
    #[error("the Secret could not be made")]
    Create(#[source] WriteError),
    #[error("the Secret could not be mended")]
    Mend(#[source] WriteError),
    #[error("the certificate authority could not be renewed")]
    Renew(#[source] WriteError),
    #[error(
        "the webhook configuration {configuration:?} could not be given the certificate authority"
    )]
    Publish {
        configuration: String,
        source: WriteError,
    },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A webhook configuration of either kind: of its webhooks only the trust matters.
#[derive(kube::Resource, Clone, Debug, Deserialize)]
#[resource(inherit = MutatingWebhookConfiguration)]
struct Mutating {
    metadata: ObjectMeta,
    #[serde(default)]
    webhooks: Vec<Webhook>,
}

/// See [`Mutating`].
#[derive(kube::Resource, Clone, Debug, Deserialize)]
#[resource(inherit = ValidatingWebhookConfiguration)]
struct Validating {
    metadata: ObjectMeta,
    #[serde(default)]
    webhooks: Vec<Webhook>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: String,
    client_config: ClientConfig,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfig {
    ca_bundle: Option<ByteString>,
}

/// Something that was seen.
enum Event {
    Secret(WatchEvent<Secret>),
    Mutating(WatchEvent<Mutating>),
    Validating(WatchEvent<Validating>),
    Tick,
    Elected,
}

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    args: &ControllerArgs,
    shared: &Shared,
    mut role: channel::Receiver<Role>,
) -> Result<(), ControllerError> {
    let named = |name: &str| Config::default().fields(&format!("metadata.name={name}"));
    let secrets = watch(
        Api::namespaced(client.clone(), &args.namespace),
        named(&args.webhook_secret),
    )
    .map(Event::Secret);
    let mutating = watch(
        Api::all(client.clone()),
        named(&args.mutating_webhook_configuration),
    )
    .map(Event::Mutating);
    let validating = watch(
        Api::all(client.clone()),
        named(&args.validating_webhook_configuration),
    )
    .map(Event::Validating);
    let mut events = pin!(futures::stream::select_all([
        secrets.boxed(),
        mutating.boxed(),
        validating.boxed()
    ]));
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeper = Keeper::new(client, args, shared);
    // Told once, not every time that it is tried again.
    let mut known_failure = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event.ok_or(ControllerError::WatchesEnded)?,
            _ = ticks.tick() => Event::Tick,
            changed = role.changed() => { changed?; Event::Elected }
        };
        keeper.take(event);
        let leads = *role.borrow() == Role::Leads;
        let failure = keeper.act(leads).await.err().map(|error| chain(&error));
        if let Some(error) = failure.as_ref().filter(|_| failure != known_failure) {
            warn!(
                error,
                "the webhooks' certificates could not be seen to; it will be tried again"
            );
        }
        known_failure = failure;
    }
}

/// What is known of the Secret.
#[derive(Debug, Default)]
enum Known {
    /// Not yet whether it exists.
    #[default]
    Unlisted,
    Absent,
    /// It exists, with this resource version, and holds what this process uses.
    Sound(String),
    /// It exists, with this resource version, and its data are of no use.
    Damaged(String),
}

/// What is known of a webhook configuration.
#[derive(Debug, Default)]
struct Configuration {
    /// Its webhooks, once it was seen. One that was deleted has none: then there is nobody to be trusted by, and that is no
    /// reason to take no more reviews from the other.
    webhooks: Option<Vec<Webhook>>,
    /// Whether it was seen since the last full list began.
    listed: bool,
}

impl Configuration {
    /// One that this installation does not render: nobody waits for it. A leftover of earlier values is looked after like any other.
    fn not_rendered() -> Self {
        Self {
            webhooks: Some(Vec::new()),
            listed: false,
        }
    }

    fn take<K>(&mut self, change: WatchEvent<K>, webhooks: impl FnOnce(K) -> Vec<Webhook>) {
        match change {
            WatchEvent::ListBegins => self.listed = false,
            WatchEvent::Exists(configuration) => {
                self.listed = true;
                if let Ok(configuration) = configuration {
                    self.webhooks = Some(webhooks(configuration));
                }
            }
            WatchEvent::ListEnds if self.listed || self.webhooks.is_none() => {}
            WatchEvent::ListEnds | WatchEvent::Deleted(_) => self.webhooks = Some(Vec::new()),
        }
    }
}

/// Since when the API server has had which bundle, by this machine's monotonic clock.
#[derive(Debug, Default)]
struct Published(Option<(ByteString, Instant)>);

impl Published {
    /// For how long the API server has had this bundle without a break, if it has.
    fn note(&mut self, bundle: ByteString, published: bool) -> Option<time::Duration> {
        if !published {
            self.0 = None;
            return None;
        }
        let (known, since) = self
            .0
            .get_or_insert_with(|| (bundle.clone(), Instant::now()));
        if *known != bundle {
            (*known, *since) = (bundle, Instant::now());
        }
        Some(since.elapsed().try_into().unwrap_or(time::Duration::MAX))
    }
}

struct Keeper<'a> {
    client: &'a Client,
    args: &'a ControllerArgs,
    shared: &'a Shared,
    names: Vec<String>,
    lives: Lives,
    secret: Known,
    /// What this process uses: the last that was sound.
    material: Option<Material>,
    published: Published,
    /// The mutating and the validating configuration.
    configurations: [Configuration; 2],
}

impl<'a> Keeper<'a> {
    fn new(client: &'a Client, args: &'a ControllerArgs, shared: &'a Shared) -> Self {
        let service = format!("{}.{}.svc", args.webhook_service, args.namespace);
        // The chart renders it for this engine alone.
        let mutating = match args.injection_engine {
            InjectionEngine::Webhook => Configuration::default(),
            InjectionEngine::Policy | InjectionEngine::None => Configuration::not_rendered(),
        };
        Self {
            client,
            args,
            shared,
            names: vec![service.clone(), format!("{service}.cluster.local")],
            lives: Lives::default(),
            secret: Known::default(),
            material: None,
            published: Published::default(),
            configurations: [mutating, Configuration::default()],
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Secret(WatchEvent::Exists(secret)) => {
                let (metadata, data) = match secret {
                    Ok(secret) => (secret.metadata, secret.data.unwrap_or_default()),
                    Err(unreadable) => (unreadable.metadata, BTreeMap::new()),
                };
                if self.args.external_certificates {
                    self.load(&data);
                    return;
                }
                let version = metadata.resource_version.unwrap_or_default();
                match Material::read(&data) {
                    Ok(material) => {
                        self.material = Some(material);
                        self.secret = Known::Sound(version);
                    }
                    Err(error) => {
                        warn!(secret = self.args.webhook_secret, %error, "the Secret is damaged and will be made anew");
                        self.secret = Known::Damaged(version);
                    }
                }
            }
            Event::Secret(WatchEvent::ListBegins) => self.secret = Known::Unlisted,
            Event::Secret(WatchEvent::ListEnds) if !matches!(self.secret, Known::Unlisted) => {}
            Event::Secret(WatchEvent::ListEnds | WatchEvent::Deleted(_)) => {
                self.secret = Known::Absent;
            }
            Event::Mutating(change) => {
                self.configurations[0].take(change, |configuration| configuration.webhooks);
            }
            Event::Validating(change) => {
                self.configurations[1].take(change, |configuration| configuration.webhooks);
            }
            Event::Tick | Event::Elected => {}
        }
    }

    /// Serves what somebody else has put into the Secret. What is of no use leaves things as they are.
    fn load(&self, data: &BTreeMap<String, ByteString>) {
        match self.shared.admission.serving.load(data) {
            Ok(true) => info!("a new serving certificate is in use"),
            Ok(false) => {}
            Err(error) => {
                warn!(secret = self.args.webhook_secret, %error, "the Secret holds no certificate that can be served");
            }
        }
        let end = self.shared.admission.serving.not_after();
        if let Some(end) = end.map(OffsetDateTime::unix_timestamp) {
            self.shared.metrics.certificate(end, None);
        }
    }

    /// Whether the API server trusts anybody at all, where somebody else says whom.
    fn note_trust_of_others(&self) {
        for (configuration, trusted) in self.configurations.iter().zip(&self.shared.ready.trusted) {
            let webhooks = configuration.webhooks.as_ref();
            let all = webhooks.is_some_and(|webhooks| {
                webhooks.iter().all(|webhook| {
                    let bundle = webhook.client_config.ca_bundle.as_ref();
                    bundle.is_some_and(|bundle| !bundle.0.is_empty())
                })
            });
            trusted.store(all, Ordering::Relaxed);
        }
    }

    /// The material to be kept in the Secret: what this process uses, or else a new one. So nothing breaks when the Secret is
    /// merely deleted or damaged.
    fn material_or_new(&self) -> Result<Material, CertificateError> {
        self.material.clone().map_or_else(
            || Material::generate(OffsetDateTime::now_utc(), self.lives),
            Ok,
        )
    }

    async fn act(&mut self, leads: bool) -> Result<(), CaError> {
        if self.args.external_certificates {
            self.note_trust_of_others();
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        match &self.secret {
            Known::Unlisted => return Ok(()),
            // Without one nobody can lead the way either, so any replica may make it; the fastest wins.
            Known::Absent => {
                return self
                    .create(&self.material_or_new()?)
                    .await
                    .map_err(CaError::Create);
            }
            Known::Damaged(version) if leads => {
                let mended = self.replace(&self.material_or_new()?, version).await;
                return mended.map_err(CaError::Mend);
            }
            Known::Damaged(_) | Known::Sound(_) => {}
        }
        let Some(material) = self.material.clone() else {
            return Ok(());
        };
        // Who has a certificate already keeps it until the API server believes the next one.
        if !self.shared.admission.serving.is_loaded() {
            self.serve(&material, now)?;
        }
        let bundle = ByteString(material.bundle().into_bytes());
        let mut trusted = [false; 2];
        for (which, trusted) in trusted.iter_mut().enumerate() {
            *trusted = self.publish(which, &bundle, leads).await?;
        }
        let published = trusted == [true; 2];
        let published_for = self.published.note(bundle, published);
        if published {
            self.serve(&material, now)?;
        }
        for (flag, trusted) in self.shared.ready.trusted.iter().zip(trusted) {
            flag.store(trusted, Ordering::Relaxed);
        }
        if leads
            && let Known::Sound(version) = &self.secret
            && let Step::Replace(next) = material.step(now, published_for, self.lives)?
        {
            self.replace(&next, version).await.map_err(CaError::Renew)?;
            info!("the certificate authority was renewed by a step");
        }
        Ok(())
    }

    /// Sees to the serving certificate of this process.
    fn serve(&self, material: &Material, now: OffsetDateTime) -> Result<(), CertificateError> {
        let serving = &self.shared.admission.serving;
        if serving.ensure(material, &self.names, now, self.lives)? {
            info!("a new serving certificate is in use");
        }
        if let Some(end) = serving.not_after() {
            let authority = Some(material.not_after().unix_timestamp());
            let metrics = &self.shared.metrics;
            metrics.certificate(end.unix_timestamp(), authority);
        }
        Ok(())
    }

    /// Gives a configuration the bundle, if this replica leads. Whether all its webhooks have it.
    async fn publish(
        &mut self,
        which: usize,
        bundle: &ByteString,
        leads: bool,
    ) -> Result<bool, CaError> {
        let Some(webhooks) = &self.configurations[which].webhooks else {
            return Ok(false);
        };
        let mending = trust(webhooks, bundle);
        if mending.is_empty() || !leads {
            return Ok(mending.is_empty());
        }
        let name = [
            &self.args.mutating_webhook_configuration,
            &self.args.validating_webhook_configuration,
        ][which];
        let client = self.client.clone();
        let patched = match which {
            0 => patch(&Api::<Mutating>::all(client), name, MANAGER, mending)
                .await
                .map(|patched| patched.webhooks),
            _ => patch(&Api::<Validating>::all(client), name, MANAGER, mending)
                .await
                .map(|patched| patched.webhooks),
        };
        let webhooks = patched.map_err(|source| CaError::Publish {
            configuration: name.clone(),
            source,
        })?;
        info!(
            configuration = name,
            "the webhook configuration trusts the certificate authority now"
        );
        let trusted = trust(&webhooks, bundle).is_empty();
        self.configurations[which].webhooks = Some(webhooks);
        Ok(trusted)
    }

    async fn create(&self, material: &Material) -> Result<(), WriteError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.args.namespace);
        match bounded(api.create(&PostParams::default(), &self.object(material, None))).await {
            Ok(_) => info!(
                secret = self.args.webhook_secret,
                "the certificate authority was made"
            ),
            // Another replica was faster; the watch brings what it made.
            Err(kube_error) if kube_error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn replace(&self, material: &Material, version: &str) -> Result<(), WriteError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.args.namespace);
        match bounded(api.replace(
            &self.args.webhook_secret,
            &PostParams::default(),
            &self.object(material, Some(version)),
        ))
        .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn object(&self, material: &Material, version: Option<&str>) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(self.args.webhook_secret.clone()),
                resource_version: version.map(Into::into),
                labels: Some(BTreeMap::from([(
                    "app.kubernetes.io/managed-by".into(),
                    "seccomp-operator".into(),
                )])),
                ..ObjectMeta::default()
            },
            data: Some(material.write()),
            type_: Some("Opaque".into()),
            ..Secret::default()
        }
    }
}

/// The operations that give every webhook the bundle. Each first tests that the webhook is still the one that was seen.
fn trust(webhooks: &[Webhook], bundle: &ByteString) -> JsonPatch {
    let stale = webhooks
        .iter()
        .enumerate()
        .filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(bundle));
    stale.fold(JsonPatch::default(), |patch, (place, webhook)| {
        let place = place.to_string();
        let ca_bundle = ["webhooks", &place, "clientConfig", "caBundle"];
        patch
            .test(&["webhooks", &place, "name"], webhook.name.as_str())
            .add(&ca_bundle, json!(bundle))
    })
}

#[cfg(test)]
mod tests {
    use super::super::index::Index;
    use super::*;
    use axum::http;

    fn webhook(name: &str, bundle: Option<&str>) -> Webhook {
        let ca_bundle = bundle.map(|text| ByteString(text.as_bytes().to_vec()));
        Webhook {
            name: name.into(),
            client_config: ClientConfig { ca_bundle },
        }
    }

    #[test]
    fn a_configuration_that_was_deleted_asks_for_no_trust_and_one_that_was_never_seen_is_waited_for()
     {
        let mut configuration = Configuration::default();
        let known = |configuration: &Configuration| configuration.webhooks.as_ref().map(Vec::len);
        configuration.take(WatchEvent::<()>::ListEnds, |()| Vec::new());
        assert_eq!(known(&configuration), None);
        configuration.take(WatchEvent::Exists(Ok(())), |()| vec![webhook("a", None)]);
        assert_eq!(known(&configuration), Some(1));
        configuration.take(WatchEvent::<()>::ListBegins, |()| Vec::new());
        configuration.take(WatchEvent::Exists(Ok(())), |()| vec![webhook("a", None)]);
        configuration.take(WatchEvent::<()>::ListEnds, |()| Vec::new());
        assert_eq!(known(&configuration), Some(1));
        configuration.take(WatchEvent::<()>::ListBegins, |()| Vec::new());
        configuration.take(WatchEvent::<()>::ListEnds, |()| Vec::new());
        assert_eq!(
            known(&configuration),
            Some(0),
            "deleted while the watch was interrupted"
        );
    }

    /// Which configurations this replica, which does not lead, takes for trusting once it was told of these; own certificates first,
    /// then somebody else's.
    async fn trusted(engine: &str, mutating: bool, validating: bool) -> [[bool; 2]; 2] {
        #[derive(clap::Parser)]
        struct Arguments {
            #[command(flatten)]
            controller: ControllerArgs,
        }
        let never = |_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("asked"))
        };
        let client = Client::new(tower::service_fn(never), "default");
        let material = Material::generate(OffsetDateTime::now_utc(), Lives::default()).unwrap();
        let bundle = material.bundle();
        let mut found = [[false; 2]; 2];
        for (external, found) in [false, true].into_iter().zip(&mut found) {
            let mut args = vec!["controller", "--namespace=ns", "--identity=pod"];
            let engine = format!("--injection-engine={engine}");
            args.push(&engine);
            args.extend(external.then_some("--external-certificates"));
            let args = <Arguments as clap::Parser>::parse_from(args).controller;
            let shared = Shared::around(Index::new("profiles", Duration::from_mins(1)));
            let mut keeper = Keeper::new(&client, &args, &shared);
            keeper.take(Event::Secret(WatchEvent::Exists(Ok(Secret {
                data: Some(material.write()),
                ..Secret::default()
            }))));
            let webhooks = || vec![webhook("a", Some(&bundle))];
            let metadata = ObjectMeta::default();
            if mutating {
                keeper.take(Event::Mutating(WatchEvent::Exists(Ok(Mutating {
                    metadata: metadata.clone(),
                    webhooks: webhooks(),
                }))));
            }
            if validating {
                keeper.take(Event::Validating(WatchEvent::Exists(Ok(Validating {
                    metadata,
                    webhooks: webhooks(),
                }))));
            }
            keeper.take(Event::Mutating(WatchEvent::ListEnds));
            keeper.take(Event::Validating(WatchEvent::ListEnds));
            keeper.act(false).await.unwrap();
            let flags = shared.ready.trusted.iter().zip(found);
            flags.for_each(|(flag, found)| *found = flag.load(Ordering::Relaxed));
        }
        found
    }

    #[tokio::test]
    async fn only_configurations_that_the_installation_renders_are_waited_for() {
        for engine in ["policy", "none"] {
            assert_eq!(trusted(engine, false, true).await, [[true, true]; 2]);
            assert_eq!(trusted(engine, false, false).await, [[true, false]; 2]);
        }
        assert_eq!(trusted("webhook", false, true).await, [[false, true]; 2]);
        assert_eq!(trusted("webhook", true, true).await, [[true, true]; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bundle_counts_as_published_since_it_was_last_without_a_break() {
        let (old, new) = (ByteString(b"old".to_vec()), ByteString(b"new".to_vec()));
        let mut published = Published::default();
        let minutes = |n| Some(time::Duration::minutes(n));
        let minute = || tokio::time::advance(Duration::from_mins(1));
        assert_eq!(published.note(old.clone(), false), None);
        assert_eq!(published.note(old.clone(), true), minutes(0));
        minute().await;
        assert_eq!(published.note(old.clone(), true), minutes(1));
        assert_eq!(published.note(new.clone(), true), minutes(0), "another");
        minute().await;
        assert_eq!(published.note(new.clone(), true), minutes(1));
        assert_eq!(published.note(new.clone(), false), None, "taken away");
        minute().await;
        assert_eq!(published.note(new, true), minutes(0));
    }

    #[test]
    fn only_webhooks_without_the_right_bundle_are_patched() {
        let bundle = ByteString(b"new".to_vec());
        assert!(trust(&[webhook("a", Some("new"))], &bundle).is_empty());
        let patch = trust(
            &[
                webhook("a", Some("new")),
                webhook("b", None),
                webhook("c", Some("old")),
            ],
            &bundle,
        );
        let operations = patch.operations().iter();
        let paths: Vec<_> = operations.map(|op| op.path().as_str()).collect();
        assert_eq!(
            paths,
            [
                "/webhooks/1/name",
                "/webhooks/1/clientConfig/caBundle",
                "/webhooks/2/name",
                "/webhooks/2/clientConfig/caBundle"
            ]
        );
    }
}
