use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

/// A key pair as `cosign generate-key-pair` makes it.
struct Pair(EcdsaKeyPair);

impl Pair {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn signer(&self) -> Signer {
        // SubjectPublicKeyInfo of id-ecPublicKey on prime256v1.
        let mut der = vec![0x30, 0x59, 0x30, 0x13];
        der.extend([0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]);
        der.extend([0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
        der.extend([0x03, 0x42, 0x00]);
        der.extend(self.0.public_key().as_ref());
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        Signer::Key(Key::from_pem(&pem, None).unwrap())
    }

    fn sign(&self, message: &[u8]) -> String {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        STANDARD.encode(signature)
    }

    fn simple(&self, payload: &Value) -> Simple {
        let payload = payload.to_string().into_bytes();
        let signature = self.sign(&payload);
        Simple { payload, signature }
    }

    fn bundle(&self, statement: &Value) -> Vec<u8> {
        let payload = statement.to_string();
        let signed = format!(
            "DSSEv1 {} {STATEMENT} {} {payload}",
            STATEMENT.len(),
            payload.len()
        );
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "key"}},
            "dsseEnvelope": {
                "payload": STANDARD.encode(&payload),
                "payloadType": STATEMENT,
                "signatures": [{"sig": self.sign(signed.as_bytes())}],
            },
        });
        bundle.to_string().into_bytes()
    }
}

fn artifact() -> Digest {
    Digest::of(b"the manifest")
}

fn payload(digest: Digest) -> Value {
    json!({
        "critical": {
            "identity": {"docker-reference": "registry.example.com/nginx"},
            "image": {"docker-manifest-digest": digest.to_string()},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

fn statement(digest: Digest, predicate: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "", "digest": {"sha256": digest.hex()}}],
        "predicateType": predicate,
        "predicate": {},
    })
}

fn said(result: Result<Signed, Refused>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_simple_signature_holds_for_its_key_and_its_artifact_alone() {
    let (pair, other) = (Pair::new(), Pair::new());
    let simple = pair.simple(&payload(artifact()));
    let signed = verify_simple(&pair.signer(), artifact(), &simple).unwrap();
    assert!(signed.by.starts_with("key sha256:"), "{signed:?}");

    let by_other = verify_simple(&other.signer(), artifact(), &simple);
    assert_eq!(said(by_other), "does not hold");
    let elsewhere = Digest::of(b"another manifest");
    let of_other = verify_simple(&pair.signer(), elsewhere, &simple);
    assert_eq!(
        said(of_other),
        format!("is about {}, another artifact", artifact())
    );

    let mut changed = simple.clone();
    changed.payload.push(b' ');
    let changed = verify_simple(&pair.signer(), artifact(), &changed);
    assert_eq!(said(changed), "does not hold");
    let mut kind = payload(artifact());
    kind["critical"]["type"] = json!("something else");
    let kind = verify_simple(&pair.signer(), artifact(), &pair.simple(&kind));
    assert_eq!(
        said(kind),
        "is an attestation of type \"something else\", no signature"
    );
}

#[test]
fn a_bundle_holds_for_its_key_and_its_artifact_alone() {
    let (pair, other) = (Pair::new(), Pair::new());
    let bundle = pair.bundle(&statement(artifact(), SIGNS));
    let signed = verify_bundle(&pair.signer(), artifact(), &bundle).unwrap();
    assert!(signed.by.starts_with("key sha256:"), "{signed:?}");
    let by_other = verify_bundle(&other.signer(), artifact(), &bundle);
    assert_eq!(said(by_other), "does not hold");
    let elsewhere = Digest::of(b"another manifest");
    let of_other = verify_bundle(&pair.signer(), elsewhere, &bundle);
    assert_eq!(
        said(of_other),
        format!("is about {}, another artifact", artifact())
    );
}

#[test]
fn an_attestation_by_the_right_key_is_no_signature() {
    let pair = Pair::new();
    let provenance = "https://slsa.dev/provenance/v1";
    let bundle = pair.bundle(&statement(artifact(), provenance));
    assert_eq!(
        said(verify_bundle(&pair.signer(), artifact(), &bundle)),
        format!("is an attestation of type {provenance:?}, no signature")
    );
}

#[test]
fn what_is_made_by_a_key_is_nobodys_whom_a_certificate_names() {
    let pair = Pair::new();
    let root = public_root().unwrap();
    let identity = Identity::new("*@example.com", "https://accounts.example.com", root);
    let signer = Signer::Identity(identity.unwrap());
    let bundle = pair.bundle(&statement(artifact(), SIGNS));
    assert_eq!(
        said(verify_bundle(&signer, artifact(), &bundle)),
        "is by a key, not by a certificate"
    );
    let simple = pair.simple(&payload(artifact()));
    assert!(said(verify_simple(&signer, artifact(), &simple)).starts_with("is of the older form"));
}

#[test]
fn what_cannot_be_read_is_no_signature() {
    let signer = Pair::new().signer();
    for wrong in ["", "{}", "[]", "\u{0}"] {
        let result = verify_bundle(&signer, artifact(), wrong.as_bytes());
        assert!(matches!(result, Err(Refused::NoBundle(_))), "{wrong}");
    }
    assert!(Key::from_pem("", None).is_err());
    assert!(trusted_root("{").is_err());
    let root = public_root().unwrap();
    assert!(matches!(
        Identity::new("*", "https://x", root),
        Err(BadSigner::Anybody(_))
    ));
}

/// What Sigstore's own library makes; the artifact is that of `tests/data/nginx.json`.
mod of_sigstore {
    use super::super::*;
    use super::said;

    const ROOT: &str = include_str!("../../tests/data/trusted_root.json");
    const REKOR1: &[u8] = include_bytes!("../../tests/data/identity.rekor1.json");
    const REKOR2: &[u8] = include_bytes!("../../tests/data/identity.rekor2.json");
    const ATTESTATION: &[u8] = include_bytes!("../../tests/data/attestation.json");
    const WORKFLOW: &str =
        "https://github.com/acme/profiles/.github/workflows/push.yaml@refs/tags/v1";
    const ISSUER: &str = "https://token.actions.githubusercontent.com";

    fn artifact() -> Digest {
        "sha256:ebc2892c98ed6a972ec88954f78996826a7c9bf60bbaefcd765db5367afef322"
            .parse()
            .unwrap()
    }

    fn signer(identity: &str, issuer: &str) -> Signer {
        let root = trusted_root(ROOT).unwrap();
        Signer::Identity(Identity::new(identity, issuer, root).unwrap())
    }

    #[test]
    fn a_bundle_holds_for_whom_its_certificate_names() {
        for bundle in [REKOR1, REKOR2] {
            let signer = signer("https://github.com/acme/*@refs/tags/*", ISSUER);
            let signed = verify_bundle(&signer, artifact(), bundle).unwrap();
            assert_eq!(signed.by, WORKFLOW);
            assert_eq!(signed.issuer.as_deref(), Some(ISSUER));
            assert!(signed.at.unwrap().starts_with("20"));
        }
        let other = signer("https://github.com/other/*", ISSUER);
        let result = verify_bundle(&other, artifact(), REKOR1);
        assert_eq!(said(result), format!("is by {WORKFLOW} ({ISSUER})"));
        let other = signer(WORKFLOW, "https://accounts.example.com");
        let result = verify_bundle(&other, artifact(), REKOR1);
        assert!(matches!(result, Err(Refused::Other { .. })));
    }

    #[test]
    fn a_bundle_that_was_changed_does_not_hold() {
        let signer = signer(WORKFLOW, ISSUER);
        let elsewhere = Digest::of(b"another manifest");
        assert_eq!(
            said(verify_bundle(&signer, elsewhere, REKOR1)),
            "does not hold"
        );
        // Every field that says who, when and what, with one character of it changed.
        let text = std::str::from_utf8(REKOR1).unwrap();
        for field in [
            "rawBytes",
            "signedTimestamp",
            "canonicalizedBody",
            "payload",
            "sig",
            "rootHash",
        ] {
            let at = text.find(&format!("\"{field}\"")).unwrap() + field.len() + 24;
            let mut changed = REKOR1.to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(
                verify_bundle(&signer, artifact(), &changed).is_err(),
                "{field}"
            );
        }
    }

    #[test]
    fn a_log_and_an_authority_of_nobody_known_count_for_nothing() {
        let root = public_root().unwrap();
        let signer = Signer::Identity(Identity::new(WORKFLOW, ISSUER, root).unwrap());
        for bundle in [REKOR1, REKOR2] {
            assert_eq!(
                said(verify_bundle(&signer, artifact(), bundle)),
                "does not hold"
            );
        }
    }

    #[test]
    fn an_attestation_by_the_right_identity_is_no_signature() {
        let result = verify_bundle(&signer(WORKFLOW, ISSUER), artifact(), ATTESTATION);
        assert!(matches!(result, Err(Refused::Attestation(_))));
    }

    #[test]
    fn cosigns_own_signatures_hold_for_its_key() {
        let pem = include_str!("../../tests/data/cosign.pub");
        let signer = Signer::Key(Key::from_pem(pem, None).unwrap());
        let bundle = include_bytes!("../../tests/data/cosign.bundle.json");
        verify_bundle(&signer, artifact(), bundle).unwrap();
        // With a root, a log has to have it; this one was made without.
        let root = trusted_root(ROOT).unwrap();
        let logged = Signer::Key(Key::from_pem(pem, Some(root)).unwrap());
        assert_eq!(
            said(verify_bundle(&logged, artifact(), bundle)),
            "does not hold"
        );
    }
}
