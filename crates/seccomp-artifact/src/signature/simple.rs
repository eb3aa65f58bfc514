//! Simple signatures: a payload that names a digest, under a tag that is made of it. cosign wrote them until its version 3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sigstore_verify::crypto::VerificationKey;
use sigstore_verify::types::SignatureBytes;

use super::{MAX_SIGNATURES, Refused};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest};

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const KIND: &str = "cosign container image signature";

/// The tag that has the simple signatures of an artifact.
#[must_use]
pub fn tag(artifact: Digest) -> String {
    format!("sha256-{}.sig", artifact.hex())
}

/// The payloads that a manifest under such a tag names, with their signatures.
pub fn simple_signatures(manifest: &Manifest) -> impl Iterator<Item = (&Descriptor, &str)> {
    let layers = manifest.layers.iter();
    let signed = layers.filter(|layer| layer.media_type == PAYLOAD);
    signed
        .filter_map(|layer| Some((layer, layer.annotations.get(SIGNATURE)?.as_str())))
        .take(MAX_SIGNATURES)
}

/// A payload with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simple {
    /// What is signed.
    pub payload: Vec<u8>,
    /// The signature, in base64.
    pub signature: String,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Simple {
    pub(super) fn verify(&self, artifact: Digest, key: &VerificationKey) -> Result<(), Refused> {
        let payload: Payload = serde_json::from_slice(&self.payload)
            .map_err(|error| Refused::NoBundle(error.into()))?;
        if payload.critical.kind != KIND {
            return Err(Refused::Attestation(payload.critical.kind));
        }
        if payload.critical.image.digest != artifact.to_string() {
            return Err(Refused::OtherArtifact(payload.critical.image.digest));
        }
        let signature = STANDARD
            .decode(&self.signature)
            .map_err(|error| Refused::Invalid(error.to_string().into()))?;
        key.verify(&self.payload, &SignatureBytes::new(signature))
            .map_err(|error| Refused::Invalid(error.into()))
    }
}
