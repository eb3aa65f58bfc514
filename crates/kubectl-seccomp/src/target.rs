//! The kind of node that a document is resolved for, from the command line.

use std::path::PathBuf;

use clap::Args;

use super::document::{self, Faulty, Named, Origin};
use super::input::Input;
use super::text::visible;
use super::{Failure, machine};
use seccomp_profile::{
    Arch, BUILTINS, Capability, CapabilitySet, Definition, KernelVersion, Library, Problem,
    Problems, Profile, Spec, Target, compose, meant_builtin,
};

/// What Docker-style conditions ask for.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// The node's architecture, e.g. amd64 or arm64 [default: this machine's].
    #[arg(long, value_parser = machine::argument, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<Arch>,
    /// The node's kernel, e.g. 6.1 [default: this machine's].
    #[arg(long, value_parser = kernel, value_name = "VERSION")]
    kernel: Option<KernelVersion>,
    /// The container's capabilities, e.g. `default,SYS_ADMIN`: names, `default` for the 14 that runtimes give, `all`,
    /// `none` [default: what a SeccompProfile says, or `default`].
    #[arg(long = "cap", value_parser = capabilities, value_name = "CAPABILITY", value_delimiter = ',')]
    capabilities: Vec<CapabilitySet>,
    /// Files with SeccompProfiles that others have as their base, such as what `kubectl get seccompprofiles -o yaml` prints.
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
}

/// A kernel version, as people write it.
pub fn kernel(text: &str) -> Result<KernelVersion, String> {
    // `v6.1` is the name of a tag, `Linux 6.1` what uname says with it.
    let lower = text.trim().to_ascii_lowercase();
    let release = lower.strip_prefix("linux").unwrap_or(&lower);
    let release = release.trim_start_matches(['-', ' ', 'v']);
    KernelVersion::from_release(release).ok_or_else(|| "write two numbers, such as 6.1".into())
}

/// The capabilities that a word stands for.
pub fn capabilities(word: &str) -> Result<CapabilitySet, String> {
    let word = word.trim().to_ascii_uppercase();
    Ok(match word.as_str() {
        "DEFAULT" => CapabilitySet::RUNTIME_DEFAULT,
        "ALL" => CapabilitySet::from_bits(u64::MAX),
        "NONE" => CapabilitySet::EMPTY,
        name => {
            let capability = Capability::named(name);
            let capability = capability.ok_or("no capability has that name")?;
            CapabilitySet::EMPTY.with(capability)
        }
    })
}

impl TargetArgs {
    /// The kind of node, and the container's capabilities if nothing else says them.
    pub fn target(&self) -> Result<Target, Failure> {
        let kernel = self.kernel.or_else(this_kernel).ok_or_else(|| {
            Failure::Usage("this machine has no Linux kernel; name the node's with --kernel".into())
        })?;
        let capabilities = if self.capabilities.is_empty() {
            CapabilitySet::RUNTIME_DEFAULT
        } else {
            let sets = self.capabilities.iter();
            sets.flat_map(|set| set.iter()).collect()
        };
        let arch = match self.arch[..] {
            [] => machine::HOST,
            [arch] => arch,
            _ => {
                let reason = "this is said for one architecture; name one with --arch";
                return Err(Failure::Usage(reason.into()));
            }
        };
        Ok(Target {
            arch,
            kernel,
            capabilities,
        })
    }

    /// What a profile is resolved for: its own capabilities, or its base's, unless the command line says others.
    pub fn target_for(
        &self,
        definition: &Definition,
        library: &Library,
    ) -> Result<Target, Failure> {
        let target = self.target()?;
        if !self.capabilities.is_empty() {
            return Ok(target);
        }
        let of_base = || {
            definition
                .spec
                .base()
                .map(|base| library.capabilities(base))
        };
        let capabilities = definition.capabilities.or_else(of_base);
        Ok(Target {
            capabilities: capabilities.unwrap_or(target.capabilities),
            ..target
        })
    }

    /// The same arguments for each architecture.
    pub fn for_each_arch(&self) -> Vec<Self> {
        if self.arch.len() < 2 {
            return vec![self.clone()];
        }
        let arches = self.arch.iter();
        let one = |arch: &Arch| Self {
            arch: vec![*arch],
            ..self.clone()
        };
        arches.map(one).collect()
    }

    /// The SeccompProfiles that others may have as their base.
    pub fn with(&self) -> Result<Vec<Named>, Failure> {
        if self.with.is_empty() {
            return Ok(Vec::new());
        }
        let found = document::read_all(&self.with)?.into_iter();
        let found: Result<Vec<_>, Faulty> = found.collect();
        found.map_err(|faulty| Failure::Usage(faulty.to_string().trim_end().to_owned()))
    }

    /// The one profile of an input, resolved, with its target.
    pub fn read_one(&self, file: Option<&PathBuf>) -> Result<Result<One, Faulty>, Failure> {
        let (named, library) = self.read_with(file)?;
        self.resolved(named, &library)
    }

    /// The same of one of two files; the other may have its base.
    pub fn read_beside(
        &self,
        file: &PathBuf,
        other: &PathBuf,
    ) -> Result<Result<One, Faulty>, Failure> {
        let (named, mut library) = self.read_with(Some(file))?;
        // What is wrong with the other is said when its turn comes.
        if Input::from_argument(other) != Input::Stdin
            && let Ok(found) = document::read_all(std::slice::from_ref(other))
        {
            add(&mut library, found.iter().flatten());
        }
        self.resolved(named, &library)
    }

    fn resolved(
        &self,
        named: Result<Named, Faulty>,
        library: &Library,
    ) -> Result<Result<One, Faulty>, Failure> {
        let named = match named {
            Ok(named) => named,
            Err(faulty) => return Ok(Err(faulty)),
        };
        let target = self.target_for(&named.definition, library)?;
        Ok(resolve(&named, library, &target).map(|profile| (named, profile, target)))
    }

    /// The one profile of an input, and those that may be its base.
    pub fn read_with(
        &self,
        file: Option<&PathBuf>,
    ) -> Result<(Result<Named, Faulty>, Library), Failure> {
        let with = self.with()?;
        let found = document::read_joined(file, &with)?;
        one_of(found, file, &with)
    }
}

/// The one profile among those of an input, and those that may be its base.
pub fn one_of(
    found: Vec<Result<Named, Faulty>>,
    file: Option<&PathBuf>,
    with: &[Named],
) -> Result<(Result<Named, Faulty>, Library), Failure> {
    let (named, mut library) = document::one_of(found, file)?;
    add(&mut library, with.iter());
    Ok((named, library))
}

fn this_kernel() -> Option<KernelVersion> {
    let name = rustix::system::uname();
    KernelVersion::from_release(name.release().to_str().ok()?)
}

/// A profile, resolved for a target.
pub type One = (Named, Profile, Target);

/// Adds what is not there yet.
fn add<'n>(library: &mut Library, found: impl Iterator<Item = &'n Named>) {
    for other in found {
        if let Some(name) = other.object()
            && library.get(name).is_none()
        {
            library.define(name, Ok(other.definition.clone().into()));
        }
    }
}

/// What nodes of that kind get: of a file what it says, of anything else what the operator makes of it. Says for which kind of
/// node if that matters.
pub fn resolve(named: &Named, library: &Library, target: &Target) -> Result<Profile, Faulty> {
    note(named, target);
    resolve_quietly(named, library, target)
}

/// [`resolve`] without a word.
pub fn resolve_quietly(
    named: &Named,
    library: &Library,
    target: &Target,
) -> Result<Profile, Faulty> {
    match (named.definition.spec.as_ref(), &named.origin) {
        (Spec::Document(document), Origin::File { .. } | Origin::Foreign(_) | Origin::BuiltIn) => {
            Ok(document.resolve(target))
        }
        _ => rendered(named, library, target),
    }
}

/// The profile with rules that libseccomp combines as meant.
pub fn rendered(named: &Named, library: &Library, target: &Target) -> Result<Profile, Faulty> {
    let lookup = |name: &str| Some(library.get(name)?.spec.clone());
    let at = match &named.origin {
        Origin::File { at } => at,
        Origin::Foreign(foreign) => &foreign.at,
        Origin::Object(_) => "spec",
        Origin::BuiltIn => "",
    };
    compose(&named.definition.spec, &lookup, target, at).map_err(|problems| Faulty {
        name: named.name.clone(),
        problems: not_given(named, library).map_or(problems, Problems::from),
    })
}

/// What to do where a profile stands on a SeccompProfile that nobody has given; none where that may be a misspelt built-in.
fn not_given(named: &Named, library: &Library) -> Option<Problem> {
    // A chain may be a circle.
    const MAX_DEPTH: usize = 16;
    let mut base = named.definition.spec.base()?.to_owned();
    for _ in 0..MAX_DEPTH {
        if BUILTINS.contains(&base.as_str()) {
            return None;
        }
        let Some(known) = library.get(&base) else {
            let is_misspelt = meant_builtin(&base).is_some();
            return (!is_misspelt).then(|| Problem {
                path: "spec.base".into(),
                reason: format!("{base:?} is neither a built-in nor in the files that were given"),
                remedy: "give the file that has it with --with; for all of a cluster: kubectl get seccompprofiles -o yaml >all.yaml, and \
                         --with all.yaml"
                    .into(),
            });
        };
        base = known.spec.base()?.to_owned();
    }
    None
}

/// Says for which kind of node a profile is resolved, if that matters, and what of a file runtimes do not read.
pub fn note(named: &Named, target: &Target) {
    const SHOWN: usize = 5;
    if let Spec::Document(document) = named.definition.spec.as_ref() {
        for oddity in document.oddities().take(SHOWN) {
            eprintln!("warning: {}: {oddity}", visible(&named.name));
        }
        let more = document.oddities().skip(SHOWN).count();
        if more > 0 {
            eprintln!(
                "warning: {}: {more} more of that kind, which `kubectl seccomp lint` lists",
                visible(&named.name)
            );
        }
    }
    let depends = match named.definition.spec.as_ref() {
        Spec::Document(document) => !document.docker_only_fields().is_empty(),
        Spec::Changed { .. } | Spec::Derived { .. } => true,
    };
    if depends {
        eprintln!("note: {} is resolved for {}", named.name, describe(target));
    }
}

fn describe(target: &Target) -> String {
    let names: Vec<_> = target.capabilities.iter().map(Capability::name).collect();
    let capabilities = if target.capabilities == CapabilitySet::RUNTIME_DEFAULT {
        "the runtimes' default capabilities".into()
    } else if names.is_empty() {
        "no capabilities".into()
    } else if target.capabilities == CapabilitySet::from_bits(u64::MAX) {
        "all capabilities".into()
    } else {
        names.join(", ")
    };
    format!(
        "{}, Linux {}, {capabilities}",
        target.arch.native_name(),
        target.kernel
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_go_by_what_people_call_them() {
        for text in [
            "6.1",
            "v6.1",
            "V6.1",
            "6.1.0-44-amd64",
            "linux-6.1",
            "Linux 6.1.170",
            " v6.1 ",
        ] {
            assert_eq!(
                kernel(text).map(|k| k.to_string()),
                Ok("6.1".into()),
                "{text}"
            );
        }
        for text in ["six", "6", "v", ""] {
            assert!(kernel(text).is_err(), "{text}");
        }
    }

    #[test]
    fn capabilities_go_by_any_of_their_names() {
        let bpf = CapabilitySet::EMPTY.with(Capability::named("CAP_BPF").unwrap());
        for word in ["BPF", "bpf", "CAP_BPF", "cap_bpf", " bpf"] {
            assert_eq!(capabilities(word), Ok(bpf), "{word}");
        }
        assert_eq!(capabilities("default"), Ok(CapabilitySet::RUNTIME_DEFAULT));
        assert_eq!(capabilities("none"), Ok(CapabilitySet::EMPTY));
        assert_eq!(capabilities("all").map(|c| c.iter().count()), Ok(41));
        assert!(capabilities("CAP_FLY").is_err());
    }
}
