//! All that the Secret holds: the authority that signs, the one that will, the one that did, and when they follow each other.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use time::{Duration, OffsetDateTime};

use super::authority::Authority;
use super::{CertificateError, Lives};

/// All that the Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// Signs now.
    pub(super) current: Authority,
    /// Will sign once every API server knows it.
    pub(super) next: Option<Authority>,
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

/// The entries of each: its certificate, its key, and from when until when it is valid.
pub(super) const CURRENT: [&str; 3] = ["ca.crt", "ca.key", "ca.validity"];
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
