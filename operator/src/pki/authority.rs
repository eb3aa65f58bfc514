//! One certificate authority: its key and certificate, what it signs, and its three entries in a Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::CertificateError;
use super::x509::{not_after, verify};

/// Certificates are valid from earlier on: clocks may differ by an hour, and this is that with something to spare. At the other
/// end a third of a life is left when a certificate is renewed.
const CLOCK_SKEW: Duration = Duration::minutes(90);
/// How long a successor has to be known before it signs, so that every API server has seen it.
const SETTLE: Duration = Duration::minutes(5);
/// It need not be longer than this part of the life of either of the two.
const SETTLE_PART: i32 = 12;

/// One certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub certificate: String,
    key: String,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl Authority {
    pub fn generate(now: OffsetDateTime, life: Duration) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        // Whole seconds: that is what a certificate and the Secret can hold.
        let not_before = OffsetDateTime::from_unix_timestamp(now.unix_timestamp()).unwrap_or(now);
        let not_after = not_before + life;
        let certificate = Self::params(not_before, not_after).self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            not_before,
            not_after,
        })
    }

    pub fn life(&self) -> Duration {
        self.not_after - self.not_before
    }

    /// How long both have to be known before the other signs.
    pub fn settle(&self, next: &Self) -> Duration {
        SETTLE.min(self.life().min(next.life()) / SETTLE_PART)
    }

    fn params(not_before: OffsetDateTime, not_after: OffsetDateTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "seccomp-operator webhook authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = not_before - CLOCK_SKEW;
        params.not_after = not_after;
        params
    }

    /// Signs a serving certificate for these DNS names. The certificate, and its end.
    pub fn sign(
        &self,
        names: &[String],
        now: OffsetDateTime,
        life: Duration,
    ) -> Result<(CertifiedKey, OffsetDateTime), CertificateError> {
        let issuer = Issuer::new(
            Self::params(self.not_before, self.not_after),
            KeyPair::from_pem(&self.key)?,
        );
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "seccomp-operator webhook");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - CLOCK_SKEW;
        let not_after = (now + life).min(self.not_after);
        params.not_after = not_after;
        let certificate = params.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())
            .map_err(|_| CertificateError::Unreadable("the serving key"))?;
        let provider = rustls::crypto::ring::default_provider();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        Ok((CertifiedKey::from_der(chain, key, &provider)?, not_after))
    }

    pub fn read(
        data: &BTreeMap<String, ByteString>,
        names: [&'static str; 3],
    ) -> Result<Self, CertificateError> {
        let text = |name: &'static str| {
            let bytes = data
                .get(name)
                .filter(|bytes| !bytes.0.is_empty())
                .ok_or(CertificateError::Missing(name))?;
            String::from_utf8(bytes.0.clone()).map_err(|_| CertificateError::Unreadable(name))
        };
        let [certificate, key, validity] = names;
        let unreadable = || CertificateError::Unreadable(validity);
        let times = text(validity)?;
        let (from, to) = times.trim().split_once(' ').ok_or_else(unreadable)?;
        let time = |text: &str| {
            text.parse()
                .ok()
                .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        };
        let authority = Self {
            certificate: text(certificate)?,
            key: text(key)?,
            not_before: time(from).ok_or_else(unreadable)?,
            not_after: time(to).ok_or_else(unreadable)?,
        };
        let root = CertificateDer::from_pem_slice(authority.certificate.as_bytes())
            .map_err(|_| CertificateError::Unreadable(certificate))?;
        KeyPair::from_pem(&authority.key).map_err(|_| CertificateError::Unreadable(key))?;
        if not_after(&root) != Some(authority.not_after) || !authority.is_believed()? {
            return Err(CertificateError::Mismatch(certificate, key, validity));
        }
        Ok(authority)
    }

    /// Whether who trusts the certificate believes what the key signs.
    fn is_believed(&self) -> Result<bool, CertificateError> {
        const NAME: &str = "trial.invalid";
        let (trial, _) = self.sign(&[NAME.to_owned()], self.not_before, self.life())?;
        Ok(verify(&trial, NAME, &self.certificate, self.not_before).is_ok())
    }

    pub fn write(&self, data: &mut BTreeMap<String, ByteString>, names: [&'static str; 3]) {
        let times = format!(
            "{} {}",
            self.not_before.unix_timestamp(),
            self.not_after.unix_timestamp()
        );
        for (name, text) in names
            .into_iter()
            .zip([&self.certificate, &self.key, &times])
        {
            data.insert(name.into(), ByteString(text.clone().into_bytes()));
        }
    }
}
