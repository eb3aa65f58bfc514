//! `kubectl seccomp pull`: a profile out of a registry.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use seccomp_artifact::Reference;
use seccomp_artifact::pack::{unfit, unread};
use seccomp_artifact::registry::Pulled;
use seccomp_artifact::select::Form;
use seccomp_operator_api::ProfileName;
use seccomp_profile::{Problem, parse_slice};

use super::signer::{SignerArgs, described, verified};
use super::{RegistryArgs, is_about_the_artifact, reference, said};
use crate::cluster::block_on;
use crate::convert::{self, ProfileFormat};
use crate::document;
use crate::target::TargetArgs;
use crate::text::visible;
use crate::{Failure, Findings, output};

/// Arguments of `pull`.
#[derive(Args, Debug)]
pub struct PullArgs {
    /// Which one: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST.
    #[arg(value_parser = reference)]
    reference: Reference,
    /// The output format.
    #[arg(short, long, visible_alias = "to", value_enum, default_value_t = ProfileFormat::Json)]
    output: ProfileFormat,
    /// With `--to manifest`: the name of the object [default: the last part of the repository].
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Takes artifacts in the form that container runtimes take (KEP-6061), and those of the Security Profiles Operator, of which
the profile for --arch is chosen. What arrives is compared with its digest, and checked as `push` checks it. With a signer
nothing is printed that they have not signed. The digest is said on standard error.

Examples:
  # A profile's JSON, as it was pushed
  kubectl seccomp pull ghcr.io/acme/profiles/nginx:v1 >nginx.json

  # Into the cluster, if the holder of a key signed it
  kubectl seccomp pull --key cosign.pub -o manifest ghcr.io/acme/profiles/nginx:v1 | kubectl apply -f -

  # A profile of the Security Profiles Operator, as a SeccompProfile of this one
  kubectl seccomp pull -o manifest --name nginx ghcr.io/acme/spo/nginx:v1

Exit status: 0 done; 1 the artifact is no profile, a wrong one, or not signed as asked for, with the reason on standard
error; 2 wrong use, or the registry did not give it.";

/// Pulls and prints.
pub fn run(args: &PullArgs) -> Result<Findings, Failure> {
    let signer = args.signer.signer()?;
    let arch = args.target.target()?.arch;
    let registry = args.registry.registry(&args.reference)?;
    // What was pulled, or lines that say why it does not count.
    let outcome = block_on(async {
        let pulled = match registry.pull(Some(arch)).await {
            Ok(pulled) => pulled,
            Err(error) if is_about_the_artifact(&error) => {
                return Ok(Err(said(&error) + "\n"));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(signer) = &signer {
            match verified(&registry, &args.reference, pulled.digest, signer).await? {
                Ok(signed) => {
                    for signed in &signed {
                        eprintln!("note: signed by {}", described(signed));
                    }
                }
                Err(reasons) => return Ok(Err(reasons)),
            }
        }
        Ok::<_, Failure>(Ok(pulled))
    })?;
    match outcome {
        Err(reasons) => Ok(Findings::Some(reasons)),
        Ok(pulled) => {
            let findings = print(args, &pulled)?;
            if findings == Findings::None {
                eprintln!("note: pulled {}", args.reference.pinned(pulled.digest));
            }
            Ok(findings)
        }
    }
}

fn print(args: &PullArgs, pulled: &Pulled) -> Result<Findings, Failure> {
    let name = args.reference.to_string();
    match pulled.chosen.form {
        Form::Runtime => print_document(args, &name, &pulled.document),
        Form::Object => {
            let with = args.target.with()?;
            let found = document::read_bytes(&name, &pulled.document, &with);
            let to = convert::To {
                output: args.output,
                name: Some(object_name(args)),
                keeps_name: args.name.is_none(),
                target: &args.target,
            };
            convert::print_one(found, &[], Some(&PathBuf::from(&name)), &with, &to)
        }
    }
}

/// A document as runtimes read it.
fn print_document(args: &PullArgs, name: &str, bytes: &[u8]) -> Result<Findings, Failure> {
    let wrong = |problems: &mut dyn Iterator<Item = &Problem>| {
        let lines = problems.fold(String::new(), |mut lines, problem| {
            let _ = writeln!(lines, "{name}: {}", visible(&problem.to_string()));
            lines
        });
        Ok(Findings::Some(lines))
    };
    let document = match parse_slice(bytes, "") {
        Ok(document) => document,
        Err(problems) => return wrong(&mut problems.iter()),
    };
    if let Some(problem) = unread(&document) {
        return wrong(&mut std::iter::once(&problem));
    }
    let unfit = unfit(&document.resolve(&args.target.target()?), bytes.len());
    if !unfit.is_empty() {
        return wrong(&mut unfit.iter());
    }
    let bytes = match args.output {
        ProfileFormat::Json => bytes.to_vec(),
        ProfileFormat::Manifest => {
            let name = object_name(args);
            ProfileName::parse(name)
                .map_err(|error| Failure::Usage(format!("{error}; give another with --name")))?;
            convert::manifest(name, bytes)?
        }
    };
    output::print(bytes)?;
    Ok(Findings::None)
}

fn object_name(args: &PullArgs) -> &str {
    let stated = args.name.as_deref();
    stated.unwrap_or_else(|| args.reference.object_name())
}
