//! `kubectl seccomp push`, `pull` and `verify`: profiles as artifacts of OCI registries.
//!
//! What an artifact is, and who signed it, is for `seccomp-artifact`; here is what people ask for, and what they are told.

mod pull;
mod push;
mod signer;
mod verify;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use seccomp_artifact::Reference;
use seccomp_artifact::registry::{Credentials, Options, PullError, Registry, Trust};

use super::Failure;
use super::cluster::{Patience, patience};
use super::text::visible;
use kube_support::error::chain;

pub use pull::{EXAMPLES as PULL_EXAMPLES, PullArgs, run as pull};
pub use push::{EXAMPLES as PUSH_EXAMPLES, PushArgs, run as push};
pub use verify::{EXAMPLES as VERIFY_EXAMPLES, VerifyArgs, run as verify};

/// How to ask the registry.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// Ask without TLS; so it is anyway on this machine (localhost, 127.0.0.1, `::1`), unless there is a --ca-file.
    #[arg(long)]
    plain_http: bool,
    /// Certificates of authorities (PEM) to trust beside those of this machine.
    #[arg(long, value_name = "FILE", conflicts_with = "plain_http")]
    ca_file: Option<PathBuf>,
    /// How long to wait for one answer, such as 5s or 2m; 0 waits for as long as it takes.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = patience)]
    request_timeout: Patience,
}

/// What is as good as for ever.
const FOR_EVER: Duration = Duration::from_hours(365 * 24);
/// The largest file of certificates or keys that is read.
const MAX_FILE: u64 = 1 << 20;

impl RegistryArgs {
    fn registry(&self, reference: &Reference) -> Result<Registry, Failure> {
        let credentials = Credentials::find(reference, |name| std::env::var(name).ok())?;
        let options = Options {
            plain_http: self.plain_http || reference.is_on_this_machine() && self.ca_file.is_none(),
            trust: Trust::MachineAnd(match &self.ca_file {
                Some(file) => authorities(file)?,
                None => Vec::new(),
            }),
            timeout: self.request_timeout.duration().unwrap_or(FOR_EVER),
            credentials,
        };
        Ok(Registry::new(reference, &options)?)
    }
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let none = |why: &str| Failure::Usage(format!("--ca-file {}: {why}", visible_path(file)));
    let text = read_small(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(none(
            "has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)",
        )),
    }
}

/// A file of keys or certificates.
fn read_small(file: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| Failure::Usage(format!("{}: {why}", visible_path(file)));
    let opened = std::fs::File::open(file).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    opened
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(unreadable("has more than 1 MiB".into()));
    }
    Ok(text)
}

fn visible_path(file: &Path) -> String {
    visible(&file.display().to_string())
}

/// A reference, from the command line.
fn reference(text: &str) -> Result<Reference, String> {
    text.parse()
        .map_err(|error: seccomp_artifact::reference::BadReference| error.to_string())
}

/// Whether a pull failed for what the artifact is, which asking again does not change.
fn is_about_the_artifact(error: &PullError) -> bool {
    matches!(error, PullError::Unfit(..))
}

/// An error with its causes, harmless to a terminal: parts of it may be the registry's words.
fn said(error: &dyn std::error::Error) -> String {
    visible(&chain(error))
}
