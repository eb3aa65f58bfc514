//! The webhooks' certificates: an authority that lives in a Secret, and serving certificates signed by it.
//!
//! The authority is shared by all replicas; each replica signs a serving certificate for itself and keeps it in memory. When the
//! authority grows old, its successor is first made known to the API server beside it, and only then signs: no review fails.
//! Everything here is a function of the material and the time; who reads and writes the Secret is in `controller::certificates`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

/// How long an authority lives.
const AUTHORITY_LIFE: Duration = Duration::days(365);
/// How long a serving certificate lives.
const SERVING_LIFE: Duration = Duration::days(30);
/// Certificates are valid from a little earlier on: an API server's clock may be behind.
const CLOCK_SKEW: Duration = Duration::hours(1);
/// How long a successor has to be known before it signs, so that every API server has seen it.
const SETTLE: Duration = Duration::minutes(5);

/// Why certificate material is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A part is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part is not what it should be.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// Signing failed.
    #[error("the certificate could not be made")]
    Signing(#[from] rcgen::Error),
    /// The TLS library does not take the key.
    #[error("the certificate cannot be served")]
    Serving(#[from] rustls::Error),
}

/// One certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    certificate: String,
    key: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// All that the Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// Signs now.
    current: Authority,
    /// Will sign once every API server knows it.
    next: Option<Authority>,
    /// Signed before; what it signed may still be served by a replica that is about to find out.
    previous: Option<Authority>,
}

/// What should become of the Secret.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// It should hold this instead.
    Replace(Box<Material>),
}

impl Authority {
    fn generate(now: OffsetDateTime) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let certificate = Self::params(now).self_signed(&key)?;
        // Whole seconds: that is what a certificate and the Secret can hold.
        let not_before = OffsetDateTime::from_unix_timestamp(now.unix_timestamp()).unwrap_or(now);
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            not_before,
            not_after: not_before + AUTHORITY_LIFE,
        })
    }

    fn params(now: OffsetDateTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "seccomp-operator webhook authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + AUTHORITY_LIFE;
        params
    }

    /// Signs a serving certificate for these DNS names.
    fn sign(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<CertifiedKey, CertificateError> {
        let issuer = Issuer::new(Self::params(self.not_before), KeyPair::from_pem(&self.key)?);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "seccomp-operator webhook");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - CLOCK_SKEW;
        params.not_after = (now + SERVING_LIFE).min(self.not_after);
        let certificate = params.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())
            .map_err(|_| CertificateError::Unreadable("the serving key"))?;
        let provider = rustls::crypto::ring::default_provider();
        Ok(CertifiedKey::from_der(
            vec![CertificateDer::from(certificate.der().to_vec())],
            key,
            &provider,
        )?)
    }

    fn read(
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
        CertificateDer::from_pem_slice(authority.certificate.as_bytes())
            .map_err(|_| CertificateError::Unreadable(certificate))?;
        KeyPair::from_pem(&authority.key).map_err(|_| CertificateError::Unreadable(key))?;
        Ok(authority)
    }

    fn write(&self, data: &mut BTreeMap<String, ByteString>, names: [&'static str; 3]) {
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

const CURRENT: [&str; 3] = ["ca.crt", "ca.key", "ca.validity"];
const NEXT: [&str; 3] = ["next-ca.crt", "next-ca.key", "next-ca.validity"];
const PREVIOUS: [&str; 3] = ["previous-ca.crt", "previous-ca.key", "previous-ca.validity"];

impl Material {
    /// A first authority.
    pub fn generate(now: OffsetDateTime) -> Result<Self, CertificateError> {
        Ok(Self {
            current: Authority::generate(now)?,
            next: None,
            previous: None,
        })
    }

    /// Reads the Secret's data. An authority beside the current one that cannot be read is taken for absent.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, CertificateError> {
        Ok(Self {
            current: Authority::read(data, CURRENT)?,
            next: Authority::read(data, NEXT).ok(),
            previous: Authority::read(data, PREVIOUS).ok(),
        })
    }

    /// The Secret's data.
    #[must_use]
    pub fn write(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        self.current.write(&mut data, CURRENT);
        for (authority, names) in [(&self.next, NEXT), (&self.previous, PREVIOUS)] {
            if let Some(authority) = authority {
                authority.write(&mut data, names);
            }
        }
        data
    }

    /// What API servers should trust: every authority that signs, will sign or has signed, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        [
            Some(&self.current),
            self.next.as_ref(),
            self.previous.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(|authority| authority.certificate.as_str())
        .collect()
    }

    /// What should become of the material. `published`: the API server has been given the whole [`bundle`](Self::bundle).
    pub fn step(&self, now: OffsetDateTime, published: bool) -> Result<Step, CertificateError> {
        let replace = |material| Ok(Step::Replace(Box::new(material)));
        if now >= self.current.not_after && self.next.is_none() {
            // Nobody was there to prepare a successor; what is served now is not trusted any more anyway.
            return replace(Self::generate(now)?);
        }
        if self
            .previous
            .as_ref()
            .is_some_and(|previous| now >= previous.not_after)
        {
            return replace(Self {
                previous: None,
                ..self.clone()
            });
        }
        match &self.next {
            None if now >= self.current.not_before + AUTHORITY_LIFE * 2 / 3 => replace(Self {
                next: Some(Authority::generate(now)?),
                ..self.clone()
            }),
            Some(next) if published && now >= next.not_before + SETTLE => replace(Self {
                current: next.clone(),
                next: None,
                previous: Some(self.current.clone()),
            }),
            _ => Ok(Step::Keep),
        }
    }
}

/// The serving certificate of this process. A new one takes effect with the next handshake; connections stay.
#[derive(Debug, Default)]
pub struct Serving(RwLock<Option<Signed>>);

#[derive(Debug)]
struct Signed {
    key: Arc<CertifiedKey>,
    by: String,
    renew_at: OffsetDateTime,
}

impl Serving {
    /// Serves a certificate for `names` signed by the current authority, unless that is so already. Whether there is a new one.
    pub fn ensure(
        &self,
        material: &Material,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<bool, CertificateError> {
        let current =
            |signed: &Signed| signed.by == material.current.certificate && now < signed.renew_at;
        if self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(current)
        {
            return Ok(false);
        }
        let key = Arc::new(material.current.sign(names, now)?);
        let signed = Signed {
            key,
            by: material.current.certificate.clone(),
            renew_at: now + SERVING_LIFE * 2 / 3,
        };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(signed);
        Ok(true)
    }

    /// Whether there is a certificate to serve.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|signed| signed.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap() + Duration::days(n)
    }

    fn replaced(step: Step) -> Material {
        let Step::Replace(material) = step else {
            panic!("kept")
        };
        *material
    }

    #[test]
    fn material_reads_back_as_it_was_written() {
        let material = Material::generate(day(0)).unwrap();
        assert_eq!(Material::read(&material.write()).unwrap(), material);
    }

    #[test]
    fn damaged_material_is_told_from_good() {
        let good = Material::generate(day(0)).unwrap().write();
        for name in CURRENT {
            for bytes in [&b""[..], b"nonsense", b"\xff"] {
                let mut data = good.clone();
                data.insert(name.into(), ByteString(bytes.to_vec()));
                assert!(Material::read(&data).is_err(), "{name} {bytes:?}");
            }
            let mut data = good.clone();
            data.remove(name);
            assert!(Material::read(&data).is_err(), "{name} removed");
        }
    }

    #[test]
    fn a_successor_is_known_before_it_signs_and_the_old_one_stays_trusted() {
        let first = Material::generate(day(0)).unwrap();
        assert_eq!(first.step(day(200), true).unwrap(), Step::Keep);
        let prepared = replaced(first.step(day(250), true).unwrap());
        assert_eq!(prepared.current, first.current);
        assert_eq!(prepared.bundle().matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(
            prepared.step(day(251), false).unwrap(),
            Step::Keep,
            "not before the API server knows it"
        );
        assert_eq!(
            prepared.step(day(250), true).unwrap(),
            Step::Keep,
            "not before every API server had time to see it"
        );
        let promoted = replaced(prepared.step(day(251), true).unwrap());
        assert_eq!(promoted.current, prepared.next.unwrap());
        assert!(promoted.bundle().contains(&first.bundle()));
        let done = replaced(promoted.step(day(366), true).unwrap());
        assert_eq!(done.bundle().matches("BEGIN CERTIFICATE").count(), 1);
    }

    #[test]
    fn an_authority_that_ran_out_unattended_is_replaced_at_once() {
        let first = Material::generate(day(0)).unwrap();
        let new = replaced(first.step(day(400), false).unwrap());
        assert_ne!(new.current, first.current);
    }

    #[test]
    fn a_serving_certificate_is_renewed_at_two_thirds_of_its_life_and_when_the_authority_changes() {
        let material = Material::generate(day(0)).unwrap();
        let serving = Serving::default();
        let names = ["x.ns.svc".to_owned()];
        assert!(!serving.is_loaded());
        assert!(serving.ensure(&material, &names, day(0)).unwrap());
        assert!(!serving.ensure(&material, &names, day(19)).unwrap());
        assert!(serving.ensure(&material, &names, day(20)).unwrap());
        assert!(
            serving
                .ensure(&Material::generate(day(1)).unwrap(), &names, day(20))
                .unwrap()
        );
    }
}
