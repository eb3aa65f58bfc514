//! Who signed an artifact, by what cosign puts beside it in the registry.
//!
//! Two forms are read. **Bundles** of Sigstore are referrers of the artifact, with a signed statement about its digest; made with a key, or
//! with a certificate that says who somebody was to an identity provider. **Simple signatures** are what cosign wrote before, under a
//! tag with the digest's name; they are verified by a key.
//!
//! An attestation is a bundle too, but about something else, such as how an image was built: it does not count.

mod crypto;
mod pattern;
mod simple;

use std::collections::BTreeMap;

use serde::Deserialize;
use sigstore_verify::crypto::{KeyAlgorithm, VerificationKey};
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::types::bundle::SignatureContent;
use sigstore_verify::types::{Bundle, DerPublicKey, DsseEnvelope, Sha256Hash};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, Verifier};

use super::digest::Digest;
pub use pattern::Pattern;
pub use simple::{Simple, simple_signatures, tag};

/// The longest bundle or payload that is read.
pub const MAX_SIGNATURE: usize = 1 << 20;
/// How many signatures of one artifact are looked at: whoever may push can add some.
pub const MAX_SIGNATURES: usize = 32;
/// What the media types of bundles begin with.
pub const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// What cosign says in a statement that signs an artifact; other statements are attestations.
const SIGNS: &str = "https://sigstore.dev/cosign/sign/v1";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Whose signatures count.
pub enum Signer {
    /// Who has the private part of a key.
    Key(Key),
    /// Whom a certificate names.
    Identity(Identity),
}

/// A public key.
pub struct Key {
    der: DerPublicKey,
    verifier: VerificationKey,
    log: Option<TrustedRoot>,
}

/// Somebody, as an identity provider knows them.
#[derive(Debug)]
pub struct Identity {
    /// Such as an e-mail address, or a workflow's URL.
    name: Pattern,
    /// The identity provider's URL.
    issuer: Pattern,
    root: TrustedRoot,
}

/// Why a signer cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum BadSigner {
    /// The key is none.
    #[error(
        "is no public key in PEM (`-----BEGIN PUBLIC KEY-----`), such as `cosign generate-key-pair` writes to cosign.pub"
    )]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The root is none.
    #[error("is no trusted root of Sigstore (JSON), such as `cosign trusted-root create` writes")]
    Root(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Everybody is nobody.
    #[error("{0:?} names nobody: give more of it than *")]
    Anybody(String),
}

impl Key {
    /// Reads a public key. With a trusted root, a bundle has to be in a log of that root as well.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn from_pem(pem: &str, log: Option<TrustedRoot>) -> Result<Self, BadSigner> {
        crypto::install();
        let der = DerPublicKey::from_pem(pem).map_err(|error| BadSigner::Key(error.into()))?;
        let verifier =
            VerificationKey::from_spki(&der).map_err(|error| BadSigner::Key(error.into()))?;
        KeyAlgorithm::from_spki(&der).map_err(|error| BadSigner::Key(error.into()))?;
        Ok(Self { der, verifier, log })
    }

    /// What it is known by: the digest of its DER.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Digest::of(self.der.as_bytes()).to_string()
    }
}

impl Identity {
    /// Somebody whom certificates of that root name.
    ///
    /// # Errors
    ///
    /// If everybody is meant.
    pub fn new(identity: &str, issuer: &str, root: TrustedRoot) -> Result<Self, BadSigner> {
        crypto::install();
        let pattern = |text: &str| {
            let pattern = Pattern::new(text);
            (!pattern.is_everything())
                .then_some(pattern)
                .ok_or_else(|| BadSigner::Anybody(text.into()))
        };
        Ok(Self {
            name: pattern(identity)?,
            issuer: pattern(issuer)?,
            root,
        })
    }
}

/// Reads a trusted root: the certificate authorities, logs and clocks that count.
///
/// # Errors
///
/// If it is none.
pub fn trusted_root(json: &str) -> Result<TrustedRoot, BadSigner> {
    TrustedRoot::from_json(json).map_err(|error| BadSigner::Root(error.into()))
}

/// The root of Sigstore's public instance, as it was when this was built.
///
/// # Errors
///
/// None in practice: it is a part of the program.
pub fn public_root() -> Result<TrustedRoot, BadSigner> {
    trusted_root(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
}

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who signed: `key sha256:...`, or the certificate's identity.
    pub by: String,
    /// The identity provider, if a certificate says so.
    pub issuer: Option<String>,
    /// When that was by a log or a clock that is trusted, in RFC 3339.
    pub at: Option<String>,
}

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no signature at all.
    #[error("is no bundle of Sigstore")]
    NoBundle(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is about something else.
    #[error("is an attestation of type {0:?}, no signature")]
    Attestation(String),
    /// It signs no statement.
    #[error("signs no statement about an artifact")]
    NoStatement,
    /// It is about another artifact.
    #[error("is about {0}, another artifact")]
    OtherArtifact(String),
    /// Made in another way than is asked for.
    #[error("is {0}")]
    OtherKind(&'static str),
    /// It does not hold.
    #[error("does not hold")]
    Invalid(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It holds, and is another's.
    #[error("is by {identity} ({issuer})")]
    Other {
        /// Whose it is.
        identity: String,
        /// By whose word.
        issuer: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(default)]
    predicate_type: String,
    #[serde(default)]
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

impl Statement {
    fn digests(&self) -> impl Iterator<Item = &String> {
        self.subject
            .iter()
            .filter_map(|subject| subject.digest.get("sha256"))
    }

    fn is_about(&self, artifact: Digest) -> bool {
        self.digests().any(|hex| *hex == artifact.hex())
    }

    fn subjects(&self) -> String {
        const SHOWN: usize = 3;
        let named: Vec<_> = self
            .digests()
            .take(SHOWN)
            .map(|hex| format!("sha256:{hex}"))
            .collect();
        named.join(", ")
    }
}

/// Whether a bundle signs the artifact with that digest for that signer.
///
/// # Errors
///
/// Why it does not.
pub fn verify_bundle(signer: &Signer, artifact: Digest, json: &[u8]) -> Result<Signed, Refused> {
    let text = std::str::from_utf8(json).map_err(|error| Refused::NoBundle(error.into()))?;
    let bundle = Bundle::from_json(text).map_err(|error| Refused::NoBundle(error.into()))?;
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
        return Err(Refused::NoStatement);
    };
    if envelope.payload_type != STATEMENT {
        return Err(Refused::NoStatement);
    }
    let statement: Statement = serde_json::from_slice(envelope.payload.as_bytes())
        .map_err(|error| Refused::NoBundle(error.into()))?;
    if statement.predicate_type != SIGNS {
        return Err(Refused::Attestation(statement.predicate_type));
    }
    match signer {
        Signer::Key(key) => by_key(key, artifact, &bundle, envelope, &statement),
        Signer::Identity(identity) => by_identity(identity, artifact, &bundle),
    }
}

/// Whether a simple signature signs the artifact with that digest for that signer.
///
/// # Errors
///
/// Why it does not.
pub fn verify_simple(
    signer: &Signer,
    artifact: Digest,
    simple: &Simple,
) -> Result<Signed, Refused> {
    match signer {
        Signer::Key(key) => {
            simple.verify(artifact, &key.verifier)?;
            Ok(Signed {
                by: format!("key {}", key.fingerprint()),
                issuer: None,
                at: None,
            })
        }
        Signer::Identity(_) => Err(Refused::OtherKind(
            "of the older form, which is verified by a key here; sign with `cosign sign --new-bundle-format`, the default since \
             cosign 3",
        )),
    }
}

fn by_key(
    key: &Key,
    artifact: Digest,
    bundle: &Bundle,
    envelope: &DsseEnvelope,
    statement: &Statement,
) -> Result<Signed, Refused> {
    if bundle.signing_certificate().is_some() {
        return Err(Refused::OtherKind("by a certificate, not by a key"));
    }
    let mut at = None;
    if let Some(root) = &key.log {
        let policy = PublicKeyVerificationPolicy::new(key.der.clone());
        let result = verifier(root)?.verify(sha256(artifact)?, bundle, &policy);
        let time = result.map_err(invalid)?.integrated_time();
        at = time.map(|time| time.to_string());
    } else {
        // The key says who signed. Sigstore's verifier asks for a log's or a clock's word as well, which a key needs for nothing.
        key.verifier
            .verify(envelope.pae(), &envelope.signature.sig)
            .map_err(|error| Refused::Invalid(error.into()))?;
        if !statement.is_about(artifact) {
            return Err(Refused::OtherArtifact(statement.subjects()));
        }
    }
    Ok(Signed {
        by: format!("key {}", key.fingerprint()),
        issuer: None,
        at,
    })
}

fn by_identity(signer: &Identity, artifact: Digest, bundle: &Bundle) -> Result<Signed, Refused> {
    if bundle.signing_certificate().is_none() {
        return Err(Refused::OtherKind("by a key, not by a certificate"));
    }
    // Who it has to be is compared below: by a pattern, and with both in the message.
    let mut policy = VerificationPolicy::any_identity();
    if signer.root.ctlogs.is_empty() {
        // The root of an instance without such a log.
        policy = policy.skip_sct();
    }
    if signer.root.tlogs.is_empty() {
        // The same: its clock says when the certificate was used.
        policy = policy.skip_tlog_unsafe();
    }
    let result = verifier(&signer.root)?
        .verify(sha256(artifact)?, bundle, &policy)
        .map_err(invalid)?;
    let identity = result.identity().map(|name| name.as_str().to_owned());
    let identity = identity.unwrap_or_default();
    let issuer = result.issuer().unwrap_or_default().to_owned();
    if !signer.name.matches(&identity) || !signer.issuer.matches(&issuer) {
        return Err(Refused::Other { identity, issuer });
    }
    let times = result.verified_timestamps().iter();
    Ok(Signed {
        by: identity,
        issuer: Some(issuer),
        at: times.min().map(ToString::to_string),
    })
}

fn verifier(root: &TrustedRoot) -> Result<Verifier, Refused> {
    Verifier::new(root).map_err(invalid)
}

fn sha256(artifact: Digest) -> Result<Sha256Hash, Refused> {
    Sha256Hash::from_hex(&artifact.hex()).map_err(|error| Refused::Invalid(error.into()))
}

fn invalid(error: sigstore_verify::Error) -> Refused {
    Refused::Invalid(error.into())
}

#[cfg(test)]
mod tests;
