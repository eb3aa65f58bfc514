//! What can go wrong with a registry, in sentences with a remedy.

use std::error::Error as StdError;
use std::time::Duration;

use crate::digest::Digest;

/// Why a registry did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection, or one that broke.
    #[error("the registry {0} cannot be reached")]
    Unreachable(String, #[source] Box<dyn StdError + Send + Sync>),
    /// Its certificate is nobody's who is trusted.
    #[error(
        "the registry {0} has a certificate that is not trusted here; give its authority's with --ca-file"
    )]
    Untrusted(String, #[source] Box<dyn StdError + Send + Sync>),
    /// It does not speak TLS.
    #[error(
        "the registry {0} does not speak TLS; --plain-http asks it without, and anybody between can change what it answers"
    )]
    NoTls(String, #[source] Box<dyn StdError + Send + Sync>),
    /// It took too long.
    #[error("the registry {0} did not answer within {seconds} s", seconds = .1.as_secs())]
    Slow(String, Duration),
    /// It answered more than there can be.
    #[error("the registry {0} sent more than {1} bytes for {2}, which was given up")]
    TooMuch(String, usize, String),
    /// It answered something else than was asked for.
    #[error("the registry {registry} sent {got} for {asked}, which was thrown away")]
    OtherContent {
        /// Who.
        registry: String,
        /// What was asked for.
        asked: String,
        /// What its bytes are.
        got: Digest,
    },
    /// It answered less or more than it said.
    #[error(
        "the registry {registry} sent {got} bytes for {asked}, which has {expected}; that was thrown away"
    )]
    OtherLength {
        /// Who.
        registry: String,
        /// What was asked for.
        asked: String,
        /// How many bytes came.
        got: u64,
        /// How many there should be.
        expected: u64,
    },
    /// It says one thing in its headers and another in its body.
    #[error("the registry {0} says that the manifest of {1} is {2}, and sent another")]
    Contradiction(String, String, String),
    /// It wants to know who asks.
    #[error(
        "the registry {0} lets nobody unknown do that with {1}; log in with `docker login {0}`, or set REGISTRY_AUTH_FILE"
    )]
    Anonymous(String, String),
    /// It knows who asks.
    #[error(
        "the registry {0} refuses this account to do that with {1}; ask who runs it for the right"
    )]
    Denied(String, String),
    /// There is none.
    #[error("the registry {0} has no {1}")]
    Missing(String, String),
    /// It has too much to do.
    #[error(
        "the registry {0} answers no more for now (429); try again later, or log in for a higher limit"
    )]
    Busy(String),
    /// Anything else.
    #[error("the registry {0} answered {1}{2}")]
    Status(String, u16, String),
    /// What it answered makes no sense.
    #[error("the registry {0} answered what is not understood: {1}")]
    Malformed(String, String),
    /// It sent the client somewhere without TLS.
    #[error("the registry {0} sends to {1}, which is not protected by TLS")]
    Downgrade(String, String),
    /// The client cannot be made.
    #[error("the connection to registries cannot be set up: {0}")]
    SetUp(String),
}

impl Error {
    /// An error of the transport, by what is at the bottom of it.
    pub(super) fn transport(registry: &str, error: Box<dyn StdError + Send + Sync>) -> Self {
        use rustls::Error::{InvalidCertificate, InvalidMessage};
        let registry = registry.to_owned();
        match tls_error(error.as_ref()) {
            Some(InvalidCertificate(_)) => Self::Untrusted(registry, error),
            Some(InvalidMessage(_)) => Self::NoTls(registry, error),
            _ => Self::Unreachable(registry, error),
        }
    }
}

fn tls_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error hides what it is made of from `source`.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}
