//! `kubectl seccomp verify`: who signed an artifact.

use clap::{Args, ValueEnum};
use seccomp_artifact::Reference;
use serde_json::json;

use super::signer::{SignerArgs, WHOSE, described, verified};
use super::{RegistryArgs, reference};
use crate::cluster::block_on;
use crate::{Failure, Findings, output};

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Which one: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST.
    #[arg(value_parser = reference)]
    reference: Reference,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each signature.
    Text,
    /// JSON for programs.
    Json,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Verifies what `cosign sign` puts beside an artifact: bundles of Sigstore, by a key or by an identity, and the signatures of
cosign before its version 3, by a key. Nothing is asked of Sigstore's servers: what counts is in --trusted-root, or was
known when this was built. A key says who signed; with --trusted-root the log has to have it as well. An attestation, such
as of a build, is no signature.

Examples:
  # By the holder of a key
  kubectl seccomp verify --key cosign.pub ghcr.io/acme/profiles/nginx:v1

  # By a workflow of a repository on GitHub, whatever the tag
  kubectl seccomp verify ghcr.io/acme/profiles/nginx:v1 \\
    --certificate-identity 'https://github.com/acme/profiles/.github/workflows/push.yaml@refs/tags/*' \\
    --certificate-oidc-issuer https://token.actions.githubusercontent.com

Exit status: 0 at least one signature counts; 1 none does, with the reasons on standard error; 2 wrong use, or the
registry did not answer.";

/// Asks and says.
pub fn run(args: &VerifyArgs) -> Result<Findings, Failure> {
    let signer = args.signer.signer()?;
    let signer = signer.ok_or_else(|| Failure::Usage(WHOSE.into()))?;
    let registry = args.registry.registry(&args.reference)?;
    let (digest, signed) = block_on(async {
        let digest = registry.resolve().await?;
        let signed = verified(&registry, &args.reference, digest, &signer).await?;
        Ok((digest, signed))
    })?;
    let signed = match signed {
        Ok(signed) => signed,
        Err(reasons) => return Ok(Findings::Some(reasons)),
    };
    let name = args.reference.pinned(digest).to_string();
    output::print(match args.output {
        Format::Text => {
            let lines = signed
                .iter()
                .map(|signed| format!("{name}: signed by {}\n", described(signed)));
            lines.collect::<String>()
        }
        Format::Json => {
            let signatures = signed
                .iter()
                .map(|signed| json!({"by": signed.by, "issuer": signed.issuer, "time": signed.at}));
            let signatures: Vec<_> = signatures.collect();
            output::json(&json!({"artifact": name, "signatures": signatures}))?
        }
    })?;
    Ok(Findings::None)
}
