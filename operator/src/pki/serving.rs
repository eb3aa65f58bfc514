//! The certificate that this process serves, and how the TLS server gets at it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::ByteString;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::x509::not_after;
use super::{CertificateError, Lives, Material};

/// The serving certificate of this process. A new one takes effect with the next handshake; connections stay.
#[derive(Debug, Default)]
pub struct Serving(RwLock<Option<Signed>>);

/// A certificate with its key, and until when to serve it.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) key: Arc<CertifiedKey>,
    by: String,
    not_after: OffsetDateTime,
    renew_at: OffsetDateTime,
}

impl Serving {
    /// Serves a certificate for `names` signed by the current authority, unless that is so already. Whether there is a new one.
    pub fn ensure(
        &self,
        material: &Material,
        names: &[String],
        now: OffsetDateTime,
        lives: Lives,
    ) -> Result<bool, CertificateError> {
        let authority = &material.current;
        let current = |signed: &Signed| signed.by == authority.certificate && now < signed.renew_at;
        if self.with(|signed| signed.is_some_and(current)) {
            return Ok(false);
        }
        let (key, not_after) = authority.sign(names, now, lives.serving)?;
        let two_thirds: Duration = lives.serving * 2 / 3;
        self.set(Signed {
            key: Arc::new(key),
            by: authority.certificate.clone(),
            not_after,
            // Of one that ends with its authority nothing better can be made before there is another.
            renew_at: (now + two_thirds).min(not_after),
        });
        Ok(true)
    }

    /// Serves a certificate that somebody else made: `tls.crt` (the whole chain) and `tls.key` of a Secret of type
    /// `kubernetes.io/tls`. Whether there is a new one.
    pub fn load(&self, data: &BTreeMap<String, ByteString>) -> Result<bool, CertificateError> {
        let part = |name: &'static str| {
            data.get(name)
                .filter(|bytes| !bytes.0.is_empty())
                .map(|bytes| bytes.0.as_slice())
                .ok_or(CertificateError::Missing(name))
        };
        let (certificate, key) = (part("tls.crt")?, part("tls.key")?);
        let by = String::from_utf8_lossy(certificate).into_owned();
        if self.with(|signed| signed.is_some_and(|signed| signed.by == by)) {
            return Ok(false);
        }
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertificateError::Unreadable("tls.crt"))?;
        let end = chain.first().and_then(|first| not_after(first));
        let not_after = end.ok_or(CertificateError::Unreadable("tls.crt"))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| CertificateError::Unreadable("tls.key"))?;
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider)?;
        self.set(Signed {
            key: Arc::new(key),
            by,
            not_after,
            renew_at: not_after,
        });
        Ok(true)
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(Option<&Signed>) -> T) -> T {
        f(self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref())
    }

    fn set(&self, signed: Signed) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(signed);
    }

    /// When the certificate that is served ends.
    #[must_use]
    pub fn not_after(&self) -> Option<OffsetDateTime> {
        self.with(|signed| signed.map(|signed| signed.not_after))
    }

    /// Whether there is a certificate to serve.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.with(|signed| signed.is_some())
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.with(|signed| signed.map(|signed| signed.key.clone()))
    }
}
