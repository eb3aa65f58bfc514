//! `kubectl seccomp merge`: several profiles as one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::convert::{ProfileFormat, manifest};
use super::document::{self, Faulty};
use super::target::{self, TargetArgs};
use super::{Failure, Findings, output};
use seccomp_profile::{Delta, Semantics};

/// Arguments of `merge`.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// The profiles: files, names of built-ins, or `-` for standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Allow what all of them allow [default: what any of them allows].
    #[arg(long)]
    intersection: bool,
    /// Also allow the calls that this container runtime makes before it executes the container's program.
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = ProfileFormat::Json)]
    output: ProfileFormat,
    /// With `-o manifest`: the name of the object.
    #[arg(long, required_if_eq("output", "manifest"))]
    name: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

/// The container runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// runc 1.1 to 1.4 (containerd's and Docker's).
    Runc,
    /// crun 1.28 (Podman's and CRI-O's).
    Crun,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Merges by semantics, for all arguments: of two profiles that treat a call differently the less strict counts, or with
--intersection the stricter, as when the kernel has both filters. Where both refuse a call and one says ENOSYS, so does the
intersection, whatever the order; a call that one of them does not know is not named in it, so that runc answers ENOSYS to new
ones. The result has rules that libseccomp combines as meant.

Examples:
  # One allowlist of what was seen in several runs
  kubectl seccomp merge monday.json friday.json >both.json

  # What a profile allows, as far as the runtime's own allows it too
  kubectl seccomp merge --intersection mine.json runtime-default -o manifest --name mine | kubectl apply -f -

  # An allowlist under which runc starts no container, mended
  kubectl seccomp merge --runtime runc tight.json

Exit status: 0 done; 1 a profile is wrong, or there is no such profile; 2 wrong use, or a file cannot be read.";

/// Merges and prints.
pub fn run(args: &MergeArgs) -> Result<Findings, Failure> {
    let mut inputs = document::read_all(&args.files)?;
    let with = args.target.with()?;
    document::join(&mut inputs, &with);
    let library = document::library(&inputs, with.iter());
    let bases = document::bases(&inputs);
    let many = inputs.len() > args.files.len();
    let mut merged: Option<Semantics> = None;
    let mut native = None;
    for input in inputs {
        // What is in a file as the base of others is in those already.
        if many && document::is_base(&input, &bases) {
            continue;
        }
        let named = match input {
            Ok(named) => named,
            Err(faulty) => return Ok(faulty.into()),
        };
        let target = args.target.target_for(&named.definition, &library)?;
        native = Some(target.arch);
        let profile = match target::resolve(&named, &library, &target) {
            Ok(profile) => profile,
            Err(faulty) => return Ok(faulty.into()),
        };
        let semantics = match profile.exact_semantics("") {
            Ok(semantics) => semantics,
            Err(problems) => {
                let name = named.name;
                return Ok(Faulty { name, problems }.into());
            }
        };
        let both = match &merged {
            None => Ok(semantics),
            Some(before) if args.intersection => before.intersection(&semantics),
            Some(before) => before.union(&semantics),
        };
        merged = match both {
            Ok(semantics) => Some(semantics),
            Err(error) => return Ok(Findings::Some(format!("{}: {error}\n", named.name))),
        };
    }
    let (Some(mut merged), Some(native)) = (merged, native) else {
        return Err(Failure::Usage("there is no profile to merge".into()));
    };
    if let Some(runtime) = args.runtime {
        let runtime = match runtime {
            Runtime::Runc => seccomp_profile::Runtime::Runc,
            Runtime::Crun => seccomp_profile::Runtime::Crun,
        };
        let needs = runtime.needs(native).into_iter();
        let needs: Vec<_> = needs.map(|call| call.name().into()).collect();
        let allowed = Delta::parse(&needs, &[], &[], "")
            .map_err(|problems| problems.to_string())
            .and_then(|changes| {
                merged
                    .change(&changes, native)
                    .map_err(|error| error.to_string())
            });
        if let Err(error) = allowed {
            return Ok(Findings::Some(format!("{error}\n")));
        }
    }
    let profile = match merged.profile("") {
        Ok(profile) => profile,
        Err(problems) => return Ok(Findings::Some(format!("the merged profile {problems}\n"))),
    };
    let mut bytes = profile.to_canonical_json();
    if args.output == ProfileFormat::Manifest {
        let name = args.name.as_deref().unwrap_or_default();
        bytes = manifest(name, &bytes)?;
    }
    output::print(bytes)?;
    Ok(Findings::None)
}
