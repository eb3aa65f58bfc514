//! `kubectl seccomp convert`: a profile of any format as the JSON that a container runtime reads.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::document::{self, Faulty, Named};
use super::target::{self, TargetArgs};
use super::{Failure, Findings, allow_list, output, take_over};

/// Arguments of `convert`.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// The profile: a file, the name of a built-in, or `-` for standard input, which is also read if there is none.
    file: Option<PathBuf>,
    /// The output format.
    #[arg(short, long, visible_alias = "to", value_enum, default_value_t = ProfileFormat::Json)]
    output: ProfileFormat,
    /// With `--to manifest`: the name of the object [default: that of another operator's SeccompProfile].
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileFormat {
    /// Runtime-spec JSON, as in the kubelet's seccomp directory.
    Json,
    /// A SeccompProfile manifest (YAML) with the document.
    Manifest,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Reads Docker's and Podman's format (archMap, includes, excludes, minKernel, errno names) and the OCI runtime-spec's, as
such, in a SeccompProfile (also of other operators), in a ConfigMap, in a container's config.json or in what `crictl
inspect` and `docker inspect` print; JSON or YAML. Writes what a container runtime reads, always the same bytes for the
same rules: conditions on architecture, kernel and capabilities are decided, changes to a base are made, all that a
runtime would fill in is written out, in rules that libseccomp combines as meant. containerd reads a Docker document as
it is without these fields, and then allows far more.

With --to manifest the SeccompProfiles of other operators (Security Profiles Operator, kguardian, kubescape) become this
operator's, all of an input, each with its document as it is and the rules of its base; the Security Profiles Operator's
allowedSyscalls become a SeccompCeiling. What is left out is said.

Examples:
  # Docker's default profile, for a file on amd64 nodes with Linux 6.1
  kubectl seccomp convert --arch amd64 --kernel 6.1 default.json >profiles/docker-default.json

  # The same for a container with one more capability, as a SeccompProfile
  kubectl seccomp convert --cap default,SYS_ADMIN -o manifest --name docker-admin default.json | kubectl apply -f -

  # All profiles of the Security Profiles Operator as SeccompProfiles of this one
  kubectl get seccompprofiles.security-profiles-operator.x-k8s.io -A -o yaml | kubectl seccomp convert --to manifest

  # The calls that it allows to profiles at all, as a SeccompCeiling
  kubectl -n security-profiles-operator get spod spod -o yaml | kubectl seccomp convert --to manifest

  # The file that amd64 nodes get of a SeccompProfile
  kubectl get seccompprofile nginx -o yaml | kubectl seccomp convert --arch amd64 --kernel 6.1

  # What containerd applies by default
  kubectl seccomp convert runtime-default

  # The profile of a running container, on its node
  crictl inspect ID | kubectl seccomp convert

Exit status: 0 done; 1 the document is wrong, with the reason on standard error; 2 wrong use, or the file cannot be read.";

/// Converts and prints.
pub fn run(args: &ConvertArgs) -> Result<Findings, Failure> {
    let file = args.file.as_ref();
    let with = args.target.with()?;
    let to_manifest = args.output == ProfileFormat::Manifest;
    let takes = |object: &Value| to_manifest && allow_list::is_one(object);
    let (found, lists) = document::read_joined_beside(file, &with, takes)?;
    let to = To {
        output: args.output,
        name: args.name.as_deref(),
        keeps_name: false,
        target: &args.target,
    };
    print_one(found, &lists, file, &with, &to)
}

/// What to make of a profile.
pub struct To<'a> {
    pub output: ProfileFormat,
    /// The name of the object that is written.
    pub name: Option<&'a str>,
    /// Whether another operator's object keeps its own name nevertheless.
    pub keeps_name: bool,
    pub target: &'a TargetArgs,
}

/// Prints the one profile of an input; of other operators all, as manifests.
pub fn print_one(
    found: Vec<Result<Named, Faulty>>,
    lists: &[Value],
    file: Option<&PathBuf>,
    with: &[Named],
    to: &To<'_>,
) -> Result<Findings, Failure> {
    let to_manifest = to.output == ProfileFormat::Manifest;
    if !lists.is_empty() || to_manifest && found.iter().any(take_over::is_foreign) {
        let name = to.name.filter(|_| !to.keeps_name);
        return take_over::all(found, lists, name);
    }
    let (named, library) = target::one_of(found, file, with)?;
    let named = match named {
        Ok(named) => named,
        Err(faulty) => return Ok(faulty.into()),
    };
    let target = to.target.target_for(&named.definition, &library)?;
    target::note(&named, &target);
    let profile = match target::rendered(&named, &library, &target) {
        Ok(profile) => profile,
        Err(faulty) => return Ok(faulty.into()),
    };
    let mut bytes = profile.to_canonical_json();
    if to_manifest {
        bytes = manifest(name(to.name)?, &bytes)?;
    }
    output::print(bytes)?;
    Ok(Findings::None)
}

/// The name of an object that is written.
pub fn name(name: Option<&str>) -> Result<&str, Failure> {
    name.ok_or_else(|| {
        Failure::Usage("a manifest needs the name of the object: give --name".into())
    })
}
/// A SeccompProfile with a document.
pub fn manifest(name: &str, document: &[u8]) -> Result<Vec<u8>, Failure> {
    manifest_of(name, serde_json::from_slice(document)?)
}

/// The same with a document that is no text yet.
pub fn manifest_of(name: &str, mut document: Value) -> Result<Vec<u8>, Failure> {
    quote_wide_numbers(&mut document);
    object("SeccompProfile", name, &json!({"profile": document}))
}

/// An object of this operator's.
pub fn object(kind: &str, name: &str, spec: &Value) -> Result<Vec<u8>, Failure> {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    });
    let mut yaml = serde_saphyr::to_string(&object)?;
    if !yaml.ends_with('\n') {
        yaml.push('\n');
    }
    Ok(yaml.into_bytes())
}

/// Writes numbers as strings that API servers round.
fn quote_wide_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            *value = Value::String(number.to_string());
        }
        Value::Array(items) => items.iter_mut().for_each(quote_wide_numbers),
        Value::Object(fields) => fields.values_mut().for_each(quote_wide_numbers),
        _ => {}
    }
}
