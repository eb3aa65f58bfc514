//! A client of registries, as far as profiles need one (the OCI distribution-spec).
//!
//! Every answer is read to a length and within a time, and what has a digest is believed by it alone: neither a slow registry nor one that
//! lies does more than fail.

mod challenge;
mod credentials;
mod error;
mod http;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use ::http::{HeaderMap, Method, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use seccomp_profile::Arch;
use serde::Deserialize;

use super::digest::Digest;
use super::manifest::{Descriptor, INDEX, Index, MANIFEST, MAX_MANIFEST};
use super::pack::Artifact;
use super::reference::Reference;
use super::select::{self, Chosen, Found, Unfit};
use super::signature::{
    self, BUNDLE_PREFIX, MAX_SIGNATURE, MAX_SIGNATURES, Refused, Signed, Signer, Simple,
};
use challenge::{Challenge, encoded};
pub use credentials::{BadCredentials, Credentials, UnusableEntry};
pub use error::Error;
use http::{Answer, Ask, Http, is_same_server};

/// The longest answer that says what went wrong, or gives a token.
const MAX_ANSWER: usize = 64 << 10;
/// How much of a registry's own words is shown.
const MAX_WORDS: usize = 200;

/// How to ask a registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// Without TLS.
    pub plain_http: bool,
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// How long one answer may take.
    pub timeout: Duration,
    /// Who asks.
    pub credentials: Credentials,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that the machine trusts, and these.
    MachineAnd(Vec<CertificateDer<'static>>),
    /// These, whatever the machine trusts.
    Only(Arc<RootCertStore>),
}

impl Trust {
    fn roots(&self) -> Result<Arc<RootCertStore>, Error> {
        let authorities = match self {
            Self::Only(roots) => return Ok(roots.clone()),
            Self::MachineAnd(authorities) => authorities,
        };
        let mut roots = RootCertStore::empty();
        // What is wrong with some of the machine's is not this client's matter: a registry's chain leads to one that is right.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for authority in authorities {
            roots
                .add(authority.clone())
                .map_err(|error| Error::SetUp(format!("a certificate authority: {error}")))?;
        }
        Ok(Arc::new(roots))
    }
}

/// A repository of a registry.
pub struct Registry {
    http: Http,
    reference: Reference,
    base: Uri,
    credentials: Credentials,
    /// What the registry gave or asked for, for the requests that follow.
    authorization: Mutex<Option<HeaderValue>>,
}

/// A profile's artifact, as it was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The digest of what the reference names: what is signed.
    pub digest: Digest,
    /// Where the profile was in it.
    pub chosen: Chosen,
    /// The profile's document.
    pub document: Vec<u8>,
}

/// What is wrong with an artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] Error),
    /// The artifact.
    #[error("{0} {1}")]
    Unfit(String, Unfit),
}

/// What somebody said of an artifact's signatures.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Those that count.
    pub signed: Vec<Signed>,
    /// Why others do not, each with the digest of where it is.
    pub refused: Vec<(Digest, Refused)>,
}

impl Registry {
    /// A client for the repository of an artifact.
    ///
    /// # Errors
    ///
    /// If a certificate authority is none.
    pub fn new(reference: &Reference, options: &Options) -> Result<Self, Error> {
        let scheme = if options.plain_http { "http" } else { "https" };
        // The name of Docker's hub is not the host that serves it.
        let host = match reference.registry() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        };
        let base = format!("{scheme}://{host}/v2/{}/", reference.repository());
        Ok(Self {
            http: Http::new(reference.registry(), &options.trust, options.timeout)?,
            base: base
                .parse()
                .map_err(|error| Error::SetUp(format!("{base}: {error}")))?,
            reference: reference.clone(),
            credentials: options.credentials.clone(),
            authorization: Mutex::new(None),
        })
    }

    /// Puts an artifact under the reference's tag, and gives its digest.
    ///
    /// # Errors
    ///
    /// If the registry does not take it.
    pub async fn push(&self, artifact: &Artifact) -> Result<Digest, Error> {
        for blob in [&artifact.config, &artifact.layer] {
            self.push_blob(blob).await?;
        }
        let digest = artifact.digest();
        let target = match self.reference.digest() {
            Some(_) => digest.to_string(),
            None => self.reference.target(),
        };
        let mut ask = self.asking(Method::PUT, &format!("manifests/{target}"), MAX_ANSWER);
        ask.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        ask.body = Bytes::copy_from_slice(&artifact.manifest);
        let answer = self.ask(ask).await?;
        self.expect(&answer, &[StatusCode::CREATED], &target)?;
        self.compare(&answer, digest)?;
        Ok(digest)
    }

    async fn push_blob(&self, blob: &[u8]) -> Result<(), Error> {
        let digest = Digest::of(blob);
        let there = self.asking(Method::HEAD, &format!("blobs/{digest}"), 0);
        if self.ask(there).await?.status == StatusCode::OK {
            return Ok(());
        }
        let start = self.asking(Method::POST, "blobs/uploads/", MAX_ANSWER);
        let answer = self.ask(start).await?;
        self.expect(&answer, &[StatusCode::ACCEPTED], "uploads")?;
        let location = answer.location();
        let location =
            location.ok_or_else(|| self.malformed("it does not say where to upload to"))?;
        self.http.refuse_downgrade(&self.base, &location)?;
        let separator = if location.query().is_some() { '&' } else { '?' };
        let uri = format!(
            "{location}{separator}digest={}",
            encoded(&digest.to_string())
        );
        let mut upload = self.asking(Method::PUT, "", MAX_ANSWER);
        upload.uri = uri
            .parse()
            .map_err(|_| self.malformed("where it wants uploads is no place"))?;
        upload.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        upload.body = Bytes::copy_from_slice(blob);
        let answer = self.ask(upload).await?;
        self.expect(&answer, &[StatusCode::CREATED], "uploads")
    }

    /// The digest that the reference stands for now.
    ///
    /// # Errors
    ///
    /// If the registry does not say.
    pub async fn resolve(&self) -> Result<Digest, Error> {
        let bytes = self.manifest(&self.reference.target()).await?;
        Ok(Digest::of(&bytes))
    }

    /// The profile for nodes of that architecture; without one, what is for all of them.
    ///
    /// # Errors
    ///
    /// If the registry does not give it, or if it is no profile's artifact.
    pub async fn pull(&self, arch: Option<Arch>) -> Result<Pulled, PullError> {
        let unfit = |unfit| PullError::Unfit(self.reference.to_string(), unfit);
        let bytes = self.manifest(&self.reference.target()).await?;
        let digest = Digest::of(&bytes);
        let manifest = match select::read(&bytes).map_err(unfit)? {
            Found::Manifest(manifest) => *manifest,
            Found::Index(index) => {
                let entry = select::manifest_for(&index, arch).map_err(unfit)?;
                let bytes = self.manifest(&entry.digest.to_string()).await?;
                match select::read(&bytes).map_err(unfit)? {
                    Found::Manifest(manifest) => *manifest,
                    Found::Index(_) => {
                        return Err(unfit(Unfit::Malformed("an index in an index".into())));
                    }
                }
            }
        };
        let chosen = select::layer(&manifest, arch).map_err(unfit)?;
        let document = self.blob(&chosen.layer, chosen.max_bytes()).await?;
        select::document(&document).map_err(unfit)?;
        Ok(Pulled {
            digest,
            chosen,
            document,
        })
    }

    /// Which signatures of the artifact with that digest count for one of some signers.
    ///
    /// # Errors
    ///
    /// If the registry does not say.
    pub async fn verify(&self, artifact: Digest, signers: &[Signer]) -> Result<Verdict, Error> {
        let mut verdict = Verdict::default();
        let mut add = |at: Digest, by: &dyn Fn(&Signer) -> Result<Signed, Refused>| {
            let mut refused = Vec::new();
            for signer in signers {
                match by(signer) {
                    Ok(signed) => return verdict.signed.push(signed),
                    Err(why) => refused.push((at, why)),
                }
            }
            verdict.refused.append(&mut refused);
        };
        for referrer in self.referrers(artifact).await? {
            let manifest = self.manifest(&referrer.digest.to_string()).await?;
            let Ok(Found::Manifest(manifest)) = select::read(&manifest) else {
                continue;
            };
            let bundle = |layer: &&Descriptor| layer.media_type.starts_with(BUNDLE_PREFIX);
            if let Some(layer) = manifest.layers.iter().find(bundle) {
                let bundle = self.blob(layer, MAX_SIGNATURE as u64).await?;
                add(referrer.digest, &|signer| {
                    signature::verify_bundle(signer, artifact, &bundle)
                });
            }
        }
        if let Some(manifest) = self.optional_manifest(&signature::tag(artifact)).await?
            && let Ok(Found::Manifest(manifest)) = select::read(&manifest)
        {
            for (layer, signature) in signature::simple_signatures(&manifest) {
                let simple = Simple {
                    payload: self.blob(layer, MAX_SIGNATURE as u64).await?,
                    signature: signature.to_owned(),
                };
                add(layer.digest, &|signer| {
                    signature::verify_simple(signer, artifact, &simple)
                });
            }
        }
        Ok(verdict)
    }

    /// What refers to an artifact and may be a signature: by the registry, or under the tag that clients use where it cannot say.
    async fn referrers(&self, artifact: Digest) -> Result<Vec<Descriptor>, Error> {
        let mut ask = self.asking(Method::GET, &format!("referrers/{artifact}"), MAX_MANIFEST);
        ask.headers.insert(ACCEPT, HeaderValue::from_static(INDEX));
        let answer = self.ask(ask).await?;
        let kind = answer.header("content-type").unwrap_or_default();
        let bytes = match answer.status {
            StatusCode::OK if kind.starts_with(INDEX) => Some(answer.body),
            status if is_refusal(status) => {
                return Err(self.refused(&answer, &artifact.to_string()));
            }
            // A registry that does not know the question, whatever it says to that.
            _ => {
                let tag = artifact.to_string().replace(':', "-");
                self.optional_manifest(&tag).await?
            }
        };
        let Some(bytes) = bytes else {
            return Ok(Vec::new());
        };
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| self.malformed(&format!("what refers to {artifact}: {error}")))?;
        let mut found = index.manifests;
        found.retain(|referrer| {
            let kind = referrer.artifact_type.as_deref().unwrap_or(BUNDLE_PREFIX);
            kind.starts_with(BUNDLE_PREFIX)
        });
        found.truncate(MAX_SIGNATURES);
        Ok(found)
    }

    async fn optional_manifest(&self, target: &str) -> Result<Option<Bytes>, Error> {
        match self.manifest(target).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Missing(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifest(&self, target: &str) -> Result<Bytes, Error> {
        let mut ask = self.asking(Method::GET, &format!("manifests/{target}"), MAX_MANIFEST);
        let accepted = select::ACCEPTED.join(", ");
        if let Ok(accepted) = HeaderValue::from_str(&accepted) {
            ask.headers.insert(ACCEPT, accepted);
        }
        let answer = self.ask(ask).await?;
        self.expect(&answer, &[StatusCode::OK], target)?;
        let got = Digest::of(&answer.body);
        match target.parse::<Digest>() {
            Ok(asked) if asked != got => return Err(self.other_content(asked, got)),
            Ok(_) => {}
            Err(_) => self.compare(&answer, got)?,
        }
        Ok(answer.body)
    }

    async fn blob(&self, descriptor: &Descriptor, max: u64) -> Result<Vec<u8>, Error> {
        let Descriptor { digest, size, .. } = descriptor;
        let too_much = || {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            Error::TooMuch(self.name(), max, digest.to_string())
        };
        if *size > max {
            return Err(too_much());
        }
        let length = usize::try_from(*size).map_err(|_| too_much())?;
        // One byte more, so that an answer that is too long is told from one that is right.
        let ask = self.asking(Method::GET, &format!("blobs/{digest}"), length + 1);
        let answer = self.ask(ask).await?;
        self.expect(&answer, &[StatusCode::OK], &digest.to_string())?;
        if answer.body.len() != length {
            return Err(Error::OtherLength {
                registry: self.name(),
                asked: digest.to_string(),
                got: answer.body.len() as u64,
                expected: *size,
            });
        }
        let got = Digest::of(&answer.body);
        if got != *digest {
            return Err(self.other_content(*digest, got));
        }
        Ok(answer.body.to_vec())
    }

    fn asking(&self, method: Method, path: &str, max: usize) -> Ask {
        let uri = format!("{}{path}", self.base);
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("seccomp-operator"));
        Ask {
            method,
            // The parts of a reference, and digests, have no characters that a URL could not have.
            uri: uri.parse().unwrap_or_else(|_| self.base.clone()),
            headers,
            body: Bytes::new(),
            max: max.max(MAX_ANSWER),
            what: path.into(),
        }
    }

    /// Asks as who is known by now; becomes known if that is asked for.
    async fn ask(&self, mut ask: Ask) -> Result<Answer, Error> {
        self.authorize(&mut ask);
        let answer = self.http.ask(ask.clone()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let mut challenges = answer.headers.get_all("www-authenticate").iter();
        let challenge = challenges.find_map(|header| Challenge::read(header.to_str().ok()?));
        let known = match challenge {
            Some(Challenge::Basic) => self.basic(),
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let pushes = ask.method != Method::GET && ask.method != Method::HEAD;
                let actions = if pushes { "pull,push" } else { "pull" };
                let scope = scope.unwrap_or_else(|| {
                    format!("repository:{}:{actions}", self.reference.repository())
                });
                self.token(&realm, service.as_deref(), &scope).await?
            }
            None => None,
        };
        let Some(known) = known else {
            return Ok(answer);
        };
        *self.lock() = Some(known);
        self.authorize(&mut ask);
        self.http.ask(ask).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn authorize(&self, ask: &mut Ask) {
        // An upload may lead to another server, which need not know.
        if is_same_server(&ask.uri, &self.base)
            && let Some(known) = self.lock().clone()
        {
            ask.headers.insert(AUTHORIZATION, known);
        }
    }

    fn basic(&self) -> Option<HeaderValue> {
        let Credentials::Account { user, password } = &self.credentials else {
            return None;
        };
        secret(&format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        ))
    }

    /// A token for what is to be done, from where the registry says.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<Option<HeaderValue>, Error> {
        let service = service.unwrap_or_default();
        let query = format!("service={}&scope={}", encoded(service), encoded(scope));
        let mut ask = self.asking(Method::GET, "", MAX_ANSWER);
        ask.what = "a token".into();
        let mut uri = realm.to_owned();
        if let Credentials::IdentityToken(token) = &self.credentials {
            ask.method = Method::POST;
            ask.headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            ask.body = Bytes::from(format!(
                "grant_type=refresh_token&client_id=seccomp-operator&{query}&refresh_token={}",
                encoded(token)
            ));
        } else {
            let separator = if uri.contains('?') { '&' } else { '?' };
            uri = format!("{uri}{separator}{query}");
            if let Some(basic) = self.basic() {
                ask.headers.insert(AUTHORIZATION, basic);
            }
        }
        let is_place = realm.starts_with("https://") || realm.starts_with("http://");
        let uri: Option<Uri> = uri.parse().ok().filter(|_| is_place);
        ask.uri = uri.ok_or_else(|| self.malformed("where it gives tokens is no place"))?;
        // A password goes to no place without TLS that somebody in between may have named.
        self.http.refuse_downgrade(&self.base, &ask.uri)?;
        let answer = self.http.ask(ask).await?;
        if matches!(answer.status.as_u16(), 400 | 401 | 403) {
            return Ok(None);
        }
        self.expect(&answer, &[StatusCode::OK], "token")?;
        let answered: Token = serde_json::from_slice(&answer.body)
            .map_err(|error| self.malformed(&format!("a token: {error}")))?;
        let token = answered.token.or(answered.access_token);
        let token = token.ok_or_else(|| self.malformed("a token that is none"))?;
        Ok(secret(&format!("Bearer {token}")))
    }

    fn expect(&self, answer: &Answer, right: &[StatusCode], what: &str) -> Result<(), Error> {
        if right.contains(&answer.status) {
            return Ok(());
        }
        Err(self.refused(answer, what))
    }

    /// Why it did not do it, by its status.
    fn refused(&self, answer: &Answer, what: &str) -> Error {
        let (registry, repository) = (self.name(), self.reference.repository().to_owned());
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                if self.credentials == Credentials::Anonymous =>
            {
                Error::Anonymous(registry, repository)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied(registry, repository),
            StatusCode::NOT_FOUND => {
                let separator = if what.contains(':') { '@' } else { ':' };
                Error::Missing(registry, format!("{repository}{separator}{what}"))
            }
            StatusCode::TOO_MANY_REQUESTS => Error::Busy(registry),
            status => Error::Status(registry, status.as_u16(), words(&answer.body)),
        }
    }

    /// What the registry says of a manifest has to be so.
    fn compare(&self, answer: &Answer, digest: Digest) -> Result<(), Error> {
        match answer.header("docker-content-digest") {
            // One of another algorithm says nothing that could be compared.
            Some(said) if said.starts_with("sha256:") && said != digest.to_string() => Err(
                Error::Contradiction(self.name(), self.reference.to_string(), shown(said)),
            ),
            _ => Ok(()),
        }
    }

    fn other_content(&self, asked: Digest, got: Digest) -> Error {
        Error::OtherContent {
            registry: self.name(),
            asked: asked.to_string(),
            got,
        }
    }

    fn malformed(&self, reason: &str) -> Error {
        Error::Malformed(self.name(), reason.into())
    }

    fn name(&self) -> String {
        self.reference.registry().into()
    }
}

/// Whether a status says that the registry would not answer now, or not this account; not that it does not know.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    ) || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    errors: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
}

/// What a registry says of its reasons.
fn words(body: &[u8]) -> String {
    let answered: Option<Answered> = serde_json::from_slice(body).ok();
    let first = answered.and_then(|answered| answered.errors.into_iter().next());
    match first {
        Some(said) if !said.message.is_empty() => format!(": {}", shown(&said.message)),
        _ => String::new(),
    }
}

/// A text of the registry's, as a terminal may show it.
fn shown(text: &str) -> String {
    let visible = text.chars().filter(|c| !c.is_control());
    visible.take(MAX_WORDS).collect()
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
