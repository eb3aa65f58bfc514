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
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

/// How long certificates live. Each is renewed when two thirds of its life are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// An authority's.
    pub authority: Duration,
    /// A serving certificate's.
    pub serving: Duration,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            authority: Duration::days(365),
            serving: Duration::days(30),
        }
    }
}

/// Certificates are valid from earlier on: clocks may differ by an hour, and this is that with something to spare. At the other
/// end a third of a life is left when a certificate is renewed.
const CLOCK_SKEW: Duration = Duration::minutes(90);
/// How long a successor has to be known before it signs, so that every API server has seen it.
const SETTLE: Duration = Duration::minutes(5);
/// It need not be longer than this part of the life of either of the two.
const SETTLE_PART: i32 = 12;

/// Why certificate material is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A part is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part is not what it should be.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// Each can be read, and they are not of one authority.
    #[error("{0}, {1} and {2} do not belong together")]
    Mismatch(&'static str, &'static str, &'static str),
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
    fn generate(now: OffsetDateTime, life: Duration) -> Result<Self, CertificateError> {
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

    fn life(&self) -> Duration {
        self.not_after - self.not_before
    }

    /// How long both have to be known before the other signs.
    fn settle(&self, next: &Self) -> Duration {
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
    fn sign(
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
    pub fn generate(now: OffsetDateTime, lives: Lives) -> Result<Self, CertificateError> {
        Ok(Self {
            current: Authority::generate(now, lives.authority)?,
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

    /// When the authority that signs ends.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.current.not_after
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

    /// What should become of the material. `published`: for how long the API server has had the whole [`bundle`](Self::bundle), as
    /// measured by whoever asks: no other machine's clock is believed.
    pub fn step(
        &self,
        now: OffsetDateTime,
        published: Option<Duration>,
        lives: Lives,
    ) -> Result<Step, CertificateError> {
        let replace = |material| Ok(Step::Replace(Box::new(material)));
        if now >= self.current.not_after && self.next.is_none() {
            // Nobody was there to prepare a successor; what is served now is not trusted any more anyway.
            return replace(Self::generate(now, lives)?);
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
            None if now >= self.current.not_before + self.current.life() * 2 / 3 => replace(Self {
                next: Some(Authority::generate(now, lives.authority)?),
                ..self.clone()
            }),
            Some(next) if published.is_some_and(|time| time >= self.current.settle(next)) => {
                replace(Self {
                    current: next.clone(),
                    next: None,
                    previous: Some(self.current.clone()),
                })
            }
            _ => Ok(Step::Keep),
        }
    }
}

/// What a client thinks of a certificate for `name` that trusts the authorities of `bundle` (PEM) and whose clock says `at`.
fn verify(
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

/// When a certificate ends (RFC 5280, section 4.1: `Certificate`, `TBSCertificate`, `Validity`).
fn not_after(certificate: &[u8]) -> Option<OffsetDateTime> {
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate)?;
    let (_, signed, _) = element(certificate)?;
    let after_version = match element(signed)? {
        (VERSION, _, rest) => rest,
        _ => signed,
    };
    let (_, _serial, rest) = element(after_version)?;
    let (_, _algorithm, rest) = element(rest)?;
    let (_, _issuer, rest) = element(rest)?;
    let (_, validity, _) = element(rest)?;
    let (_, _not_before, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    moment(tag, std::str::from_utf8(text).ok()?)
}

/// The tag, the content and what follows of the first element of DER.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let value = |sum: usize, byte: &u8| sum.checked_mul(256)?.checked_add(usize::from(*byte));
        (length.iter().try_fold(0, value)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` (`UTCTime`, of 1950 to 2049) or `YYYYMMDDHHMMSSZ` (`GeneralizedTime`).
fn moment(tag: u8, text: &str) -> Option<OffsetDateTime> {
    const UTC_TIME: u8 = 23;
    let digits = text
        .strip_suffix('Z')
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = digits.split_at_checked(if tag == UTC_TIME { 2 } else { 4 })?;
    let year: i32 = year.parse().ok()?;
    let year = match tag {
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        _ => year,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let month = time::Month::try_from(two(0)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, two(2)?).ok()?;
    let time = time::Time::from_hms(two(4)?, two(6)?, two(8)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

/// The serving certificate of this process. A new one takes effect with the next handshake; connections stay.
#[derive(Debug, Default)]
pub struct Serving(RwLock<Option<Signed>>);

#[derive(Debug)]
struct Signed {
    key: Arc<CertifiedKey>,
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

    fn with<T>(&self, f: impl FnOnce(Option<&Signed>) -> T) -> T {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: Lives = Lives {
        authority: Duration::days(365),
        serving: Duration::days(30),
    };

    const LONG: Option<Duration> = Some(Duration::HOUR);

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
        let material = Material::generate(day(0), LIVES).unwrap();
        assert_eq!(Material::read(&material.write()).unwrap(), material);
    }

    #[test]
    fn damaged_material_is_told_from_good() {
        let good = Material::generate(day(0), LIVES).unwrap().write();
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
        let first = Material::generate(day(0), LIVES).unwrap();
        assert_eq!(first.step(day(200), LONG, LIVES).unwrap(), Step::Keep);
        let prepared = replaced(first.step(day(250), LONG, LIVES).unwrap());
        assert_eq!(prepared.current, first.current);
        assert_eq!(prepared.bundle().matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(
            prepared.step(day(251), None, LIVES).unwrap(),
            Step::Keep,
            "not before the API server knows it"
        );
        assert_eq!(
            prepared
                .step(day(251), Some(Duration::minutes(4)), LIVES)
                .unwrap(),
            Step::Keep,
            "not before every API server had time to see it"
        );
        let promoted = replaced(
            prepared
                .step(day(251), Some(Duration::minutes(5)), LIVES)
                .unwrap(),
        );
        assert_eq!(promoted.current, prepared.next.unwrap());
        assert!(promoted.bundle().contains(&first.bundle()));
        let done = replaced(promoted.step(day(366), LONG, LIVES).unwrap());
        assert_eq!(done.bundle().matches("BEGIN CERTIFICATE").count(), 1);
    }

    #[test]
    fn an_authority_that_ran_out_unattended_is_replaced_at_once() {
        let first = Material::generate(day(0), LIVES).unwrap();
        let new = replaced(first.step(day(400), None, LIVES).unwrap());
        assert_ne!(new.current, first.current);
    }

    #[test]
    fn a_serving_certificate_is_renewed_at_two_thirds_of_its_life_and_when_the_authority_changes() {
        let material = Material::generate(day(0), LIVES).unwrap();
        let serving = Serving::default();
        let names = ["x.ns.svc".to_owned()];
        assert!(!serving.is_loaded());
        assert!(serving.ensure(&material, &names, day(0), LIVES).unwrap());
        assert!(!serving.ensure(&material, &names, day(19), LIVES).unwrap());
        assert!(serving.ensure(&material, &names, day(20), LIVES).unwrap());
        assert!(
            serving
                .ensure(
                    &Material::generate(day(1), LIVES).unwrap(),
                    &names,
                    day(20),
                    LIVES
                )
                .unwrap()
        );
    }

    #[test]
    fn parts_of_different_authorities_are_damage() {
        let good = Material::generate(day(0), LIVES).unwrap().write();
        let other = Material::generate(day(1), LIVES).unwrap().write();
        for name in CURRENT {
            let mut data = good.clone();
            data.insert(name.into(), other[name].clone());
            assert!(
                matches!(Material::read(&data), Err(CertificateError::Mismatch(..))),
                "{name}"
            );
        }
        // A certificate that is none of an authority, with the right key.
        let key = std::str::from_utf8(&good["ca.key"].0).unwrap();
        let key = KeyPair::from_pem(key).unwrap();
        let leaf = CertificateParams::new(["x".to_owned()]).unwrap();
        let mut data = good;
        let pem = leaf.self_signed(&key).unwrap().pem();
        data.insert("ca.crt".into(), ByteString(pem.into_bytes()));
        assert!(Material::read(&data).is_err());
    }

    fn verdict(serving: &Serving, bundle: &str, at: OffsetDateTime) -> Result<(), rustls::Error> {
        let key = serving.with(|signed| signed.unwrap().key.clone());
        verify(&key, "x.ns.svc", bundle, at)
    }

    #[test]
    fn a_client_whose_clock_is_an_hour_off_trusts_what_is_served_at_any_time_of_its_life() {
        let names = ["x.ns.svc".to_owned()];
        let (mut material, serving) = (
            Material::generate(day(0), LIVES).unwrap(),
            Serving::default(),
        );
        let hour = Duration::hours(1);
        // Two years, looked at every day; what the API server has is always what was last published.
        for n in 0..730 {
            let now = day(n);
            if let Step::Replace(next) = material.step(now, LONG, LIVES).unwrap() {
                let before = material.bundle();
                material = *next;
                // A replica that has seen the step already, and an API server that has not, and the other way round.
                let ahead = Serving::default();
                ahead.ensure(&material, &names, now, LIVES).unwrap();
                verdict(&ahead, &before, now).unwrap();
                verdict(&serving, &material.bundle(), now).unwrap();
            }
            serving.ensure(&material, &names, now, LIVES).unwrap();
            for at in [now - hour, now, now + hour] {
                verdict(&serving, &material.bundle(), at)
                    .unwrap_or_else(|error| panic!("{error} at {at}, the server's {now}"));
            }
        }
        assert!(verdict(&serving, &material.bundle(), day(900)).is_err());
    }

    #[test]
    fn a_certificate_of_somebody_else_is_served_with_its_end() {
        let key = KeyPair::generate().unwrap();
        for (year, end) in [(2031, 1_924_992_000), (2055, 2_682_374_400)] {
            let mut params = CertificateParams::new(["x.ns.svc".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&key).unwrap();
            let data = BTreeMap::from(
                [
                    ("tls.crt", certificate.pem()),
                    ("tls.key", key.serialize_pem()),
                ]
                .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))),
            );
            let serving = Serving::default();
            assert!(serving.load(&data).unwrap());
            assert!(!serving.load(&data).unwrap(), "the same is not new");
            assert_eq!(serving.not_after().unwrap().unix_timestamp(), end);
            for name in ["tls.crt", "tls.key"] {
                let mut damaged = data.clone();
                damaged.insert(name.into(), ByteString(b"nonsense".to_vec()));
                assert!(Serving::default().load(&damaged).is_err(), "{name}");
                damaged.remove(name);
                assert!(Serving::default().load(&damaged).is_err(), "{name} removed");
            }
        }
    }
}
