//! What a certificate says, and whether a client believes it.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use x509_parser::parse_x509_certificate;

/// When a certificate ends; none if it is not one.
pub fn not_after(certificate: &[u8]) -> Option<OffsetDateTime> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.to_datetime())
}

/// What a client thinks of a certificate for `name` that trusts the authorities of `bundle` (PEM) and whose clock says `at`.
pub fn verify(
    served: &CertifiedKey,
    name: &str,
    bundle: &str,
    at: OffsetDateTime,
) -> Result<(), rustls::Error> {
    let unusable = |error: &dyn ToString| rustls::Error::General(error.to_string());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(authority.map_err(|error| unusable(&error))?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(&error))?;
    let name = ServerName::try_from(name).map_err(|error| unusable(&error))?;
    let since = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(since));
    let (leaf, chain) = served
        .cert
        .split_first()
        .ok_or_else(|| unusable(&"there is no certificate"))?;
    verifier
        .verify_server_cert(leaf, chain, &name, &[], at)
        .map(drop)
}
