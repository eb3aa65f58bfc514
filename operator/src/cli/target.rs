//! The kind of node that a document is resolved for, from the command line.

use clap::Args;

use super::document::Named;
use super::{Failure, machine};
use crate::profile::{Arch, Capability, CapabilitySet, KernelVersion, Profile, Target};

/// What Docker-style conditions ask for.
#[derive(Args, Debug)]
pub struct TargetArgs {
    /// The node's architecture, e.g. amd64 or arm64 [default: this machine's].
    #[arg(long, value_parser = machine::argument, value_name = "ARCH")]
    arch: Option<Arch>,
    /// The node's kernel, e.g. 6.1 [default: this machine's].
    #[arg(long, value_parser = kernel, value_name = "VERSION")]
    kernel: Option<KernelVersion>,
    /// The container's capabilities, e.g. `default,SYS_ADMIN`: names, `default` for the 14 that runtimes give, `all`,
    /// `none`.
    #[arg(long = "cap", value_parser = capabilities, value_name = "CAPABILITY", value_delimiter = ',', default_value = "default")]
    capabilities: Vec<CapabilitySet>,
}

fn kernel(text: &str) -> Result<KernelVersion, String> {
    KernelVersion::from_release(text).ok_or_else(|| "write two numbers, such as 6.1".into())
}

fn capabilities(word: &str) -> Result<CapabilitySet, String> {
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
    /// The target.
    pub fn target(&self) -> Result<Target, Failure> {
        let kernel = self.kernel.or_else(this_kernel).ok_or_else(|| {
            Failure::Use("this machine has no Linux kernel; name the node's with --kernel".into())
        })?;
        Ok(Target {
            arch: self.arch.unwrap_or(machine::HOST),
            kernel,
            capabilities: self
                .capabilities
                .iter()
                .flat_map(|set| set.iter())
                .collect(),
        })
    }
}

fn this_kernel() -> Option<KernelVersion> {
    let name = rustix::system::uname();
    KernelVersion::from_release(name.release().to_str().ok()?)
}

/// Resolves, and says for which kind of node if that matters.
pub fn resolve(named: &Named, target: &Target) -> Profile {
    if !named.document.docker_only_fields().is_empty() {
        eprintln!("note: {} is resolved for {}", named.name, describe(target));
    }
    named.document.resolve(target)
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
