//! The webhooks' certificates: an authority that lives in a Secret, and serving certificates signed by it.
//!
//! The authority is shared by all replicas; each replica signs a serving certificate for itself and keeps it in memory. When the
//! authority grows old, its successor is first made known to the API server beside it, and only then signs: no review fails.
//! Everything here is a function of the material and the time; who reads and writes the Secret is `controller::ca_controller`.

mod authority;
mod material;
mod serving;
#[cfg(test)]
mod tests;
mod x509;

use time::Duration;

pub use material::{Material, Step};
pub use serving::Serving;

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
