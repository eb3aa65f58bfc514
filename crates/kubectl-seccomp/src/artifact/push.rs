//! `kubectl seccomp push`: a profile into a registry.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use seccomp_artifact::{Reference, pack};

use super::{RegistryArgs, reference};
use crate::cluster::block_on;
use crate::target::{self, TargetArgs};
use crate::text::visible;
use crate::{Failure, Findings, output};

/// Arguments of `push`.
#[derive(Args, Debug)]
pub struct PushArgs {
    /// Where to: REGISTRY/REPOSITORY:TAG.
    #[arg(value_parser = reference)]
    reference: Reference,
    /// The profile: a file, the name of a built-in, or `-` for standard input, which is also read if there is none.
    file: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Reads what `convert` reads, and pushes the same JSON in the form that container runtimes take from registries (KEP-6061):
one layer, of type application/json, in an artifact of type application/vnd.cncf.seccomp-profile.config.v1+json. No time
goes in, so the same rules have the same digest. What runtimes do not take is refused: SCMP_ACT_NOTIFY and listeners, more
than 128 entries for a call, more than 1 MiB. Prints the artifact with its digest, for pods, for signatures and for pull.

Logins are those of docker and podman: REGISTRY_AUTH_FILE, DOCKER_CONFIG, ~/.config/containers/auth.json and
~/.docker/config.json, with their credential helpers; SECCOMP_REGISTRY_USERNAME and SECCOMP_REGISTRY_PASSWORD come first.

Examples:
  # A profile for amd64 nodes
  kubectl seccomp push --arch amd64 ghcr.io/acme/profiles/nginx:v1 nginx.json

  # Push, and sign what was pushed
  cosign sign --key cosign.key $(kubectl seccomp push ghcr.io/acme/profiles/nginx:v1 nginx.json)

  # What the cluster has
  kubectl get seccompprofile nginx -o yaml | kubectl seccomp push ghcr.io/acme/profiles/nginx:v1

Exit status: 0 done; 1 the profile is wrong, or runtimes would not take it, with the reason on standard error; 2 wrong
use, or the registry did not take it.";

/// Packs and pushes.
pub fn run(args: &PushArgs) -> Result<Findings, Failure> {
    let (named, library) = args.target.read_with(args.file.as_ref())?;
    let named = match named {
        Ok(named) => named,
        Err(faulty) => return Ok(faulty.into()),
    };
    let target = args.target.target_for(&named.definition, &library)?;
    target::note(&named, &target);
    let profile = match target::rendered(&named, &library, &target) {
        Ok(profile) => profile,
        Err(faulty) => return Ok(faulty.into()),
    };
    let artifact = match pack(&profile) {
        Ok(artifact) => artifact,
        Err(problems) => {
            let name = visible(&named.name);
            let lines = problems.iter().fold(String::new(), |mut lines, problem| {
                let _ = writeln!(lines, "{name}: {problem}");
                lines
            });
            return Ok(Findings::Some(lines));
        }
    };
    if let Some(stated) = args.reference.digest()
        && stated != artifact.digest()
    {
        return Err(Failure::Usage(format!(
            "this profile's artifact is {}, not {stated}; leave the digest out, and it is printed",
            artifact.digest()
        )));
    }
    let registry = args.registry.registry(&args.reference)?;
    let digest = block_on(async { Ok(registry.push(&artifact).await?) })?;
    output::print(format!("{}\n", args.reference.pinned(digest)))?;
    Ok(Findings::None)
}
