//! Whose signatures count, from the command line, in cosign's words.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use seccomp_artifact::registry::{Registry, Verdict};
use seccomp_artifact::signature::{Identity, Key, Signed, Signer, public_root, trusted_root};
use seccomp_artifact::{Digest, Reference};

use super::{read_small, said, visible_path};
use crate::{Failure, text::visible};

/// How many signatures that do not count are told of.
const SHOWN: usize = 5;

/// Whose signatures count.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Signatures")]
pub struct SignerArgs {
    /// The public key (PEM) that signatures are to be made with, such as cosign.pub.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate_identity", "certificate_oidc_issuer"])]
    key: Option<PathBuf>,
    /// Who is to have signed, as their certificate says: an e-mail address or a workflow's URL; * stands for any characters.
    #[arg(long, value_name = "IDENTITY", requires = "certificate_oidc_issuer")]
    certificate_identity: Option<String>,
    /// The identity provider that knows them, such as `https://token.actions.githubusercontent.com`.
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// The authorities and logs of Sigstore that count (JSON) [default: those of its public instance; with --key none].
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

impl SignerArgs {
    /// The signer, if one is asked for.
    pub fn signer(&self) -> Result<Option<Signer>, Failure> {
        let root = match &self.trusted_root {
            None => None,
            Some(file) => {
                let root = trusted_root(&read_small(file)?);
                Some(root.map_err(|error| {
                    Failure::Usage(format!(
                        "--trusted-root {}: {}",
                        visible_path(file),
                        said(&error)
                    ))
                })?)
            }
        };
        if let Some(file) = &self.key {
            let key = Key::from_pem(&read_small(file)?, root);
            let key = key.map_err(|error| {
                Failure::Usage(format!("--key {}: {}", visible_path(file), said(&error)))
            })?;
            return Ok(Some(Signer::Key(key)));
        }
        let (Some(identity), Some(issuer)) =
            (&self.certificate_identity, &self.certificate_oidc_issuer)
        else {
            return match root {
                None => Ok(None),
                Some(_) => Err(Failure::Usage(WHOSE.into())),
            };
        };
        let root = root.map_or_else(public_root, Ok)?;
        let identity = Identity::new(identity, issuer, root);
        let identity = identity.map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Some(Signer::Identity(identity)))
    }
}

/// What to say where nobody is named.
pub const WHOSE: &str =
    "whose signature? Give --key FILE, or --certificate-identity and --certificate-oidc-issuer";

/// The signatures that count; lines that say why there is none.
pub async fn verified(
    registry: &Registry,
    reference: &Reference,
    digest: Digest,
    signer: &Signer,
) -> Result<Result<Vec<Signed>, String>, Failure> {
    let verdict = registry
        .verify(digest, std::slice::from_ref(signer))
        .await?;
    if !verdict.signed.is_empty() {
        return Ok(Ok(verdict.signed));
    }
    Ok(Err(reasons(reference, digest, &verdict)))
}

fn reasons(reference: &Reference, digest: Digest, verdict: &Verdict) -> String {
    let name = reference.pinned(digest);
    if verdict.refused.is_empty() {
        return format!(
            "{name} has no signature that `cosign sign` makes; sign it, by this digest, and try again\n"
        );
    }
    let mut lines = format!("{name} has no signature that counts\n");
    for (at, refused) in verdict.refused.iter().take(SHOWN) {
        let _ = writeln!(lines, "  {at} {}", said(refused));
    }
    let more = verdict.refused.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(lines, "  and {more} more");
    }
    lines
}

/// `key sha256:... at 2026-01-01T00:00:00Z`
pub fn described(signed: &Signed) -> String {
    let mut text = visible(&signed.by);
    if let Some(issuer) = &signed.issuer {
        let _ = write!(text, " ({})", visible(issuer));
    }
    if let Some(at) = &signed.at {
        let _ = write!(text, " at {at}");
    }
    text
}
