//! From a document to the profile of one kind of node.

use std::fmt;

use super::arch::Arch;
use super::capability::CapabilitySet;
use super::document::{Architectures, Document, Entry, Filter};
use super::oci::{ArchSet, Profile, Rule};

/// What the conditions of a document are decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The node's native architecture.
    pub arch: Arch,
    /// The node's kernel.
    pub kernel: KernelVersion,
    /// The bounding set of the containers that will run under the profile.
    pub capabilities: CapabilitySet,
}

/// The first two numbers of a kernel version: all that Docker's `minKernel` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of 6.18.
    pub major: u16,
    /// 18 of 6.18.
    pub minor: u16,
}

impl KernelVersion {
    /// Reads `uname -r` or a node's `status.nodeInfo.kernelVersion`, e.g. `6.18.0-rc1+`.
    #[must_use]
    pub fn from_release(release: &str) -> Option<Self> {
        let (major, rest) = release.split_once('.')?;
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        Some(Self {
            major: major.parse().ok()?,
            minor: rest[..end].parse().ok()?,
        })
    }

    /// Reads a document's `minKernel`: exactly two numbers up to 255, not both 0, as Docker wants it.
    pub(super) fn from_min_kernel(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u8>().ok().filter(|_| plain).map(u16::from)
        };
        let version = Self {
            major: number(major)?,
            minor: number(minor)?,
        };
        (version != Self { major: 0, minor: 0 }).then_some(version)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Document {
    /// The profile for `target`, by Docker's algorithm (moby `profiles/seccomp`, `setupSeccomp`): an entry is left out
    /// when any of its `excludes` holds or one of its `includes` does not; the others stay in order.
    ///
    /// The architectures are those that a kernel of `target.arch` can run, the native one always among them: runtimes
    /// imply it, and refuse to start a container for one of another byte order.
    #[must_use]
    pub fn resolve(&self, target: &Target) -> Profile {
        let listed = match &self.architectures {
            Architectures::Listed(arches) => *arches,
            // The first entry counts, as in Docker.
            Architectures::Mapped(map) => map
                .iter()
                .find(|(native, _)| *native == target.arch)
                .map_or(ArchSet::EMPTY, |(_, others)| *others),
        };
        Profile {
            default_action: self.default.on(target.arch),
            architectures: listed.and(runnable_on(target.arch)).with(target.arch),
            flags: self.flags,
            listener: self.listener.clone(),
            rules: self
                .entries
                .iter()
                .filter(|entry| entry.applies_to(target))
                .map(|entry| entry.rule(target))
                .collect(),
        }
    }
}

impl Entry {
    pub(super) fn applies_to(&self, target: &Target) -> bool {
        !self.excludes.any_holds(target) && self.includes.all_hold(target)
    }

    fn rule(&self, target: &Target) -> Rule {
        Rule {
            syscalls: self.syscalls.clone(),
            conditions: self.conditions.clone(),
            action: self.verdict.on(target.arch),
        }
    }
}

impl Filter {
    fn any_holds(&self, target: &Target) -> bool {
        self.arches.contains(target.arch)
            || target.capabilities.contains_any(self.capabilities)
            || self.min_kernel.is_some_and(|min| target.kernel >= min)
    }

    fn all_hold(&self, target: &Target) -> bool {
        (self.arches.is_empty() || self.arches.contains(target.arch))
            && target.capabilities.contains_all(self.capabilities)
            && self.min_kernel.is_none_or(|min| target.kernel >= min)
    }
}

/// The architectures whose programs a kernel of `native` can run.
fn runnable_on(native: Arch) -> ArchSet {
    let family: &[Arch] = match native {
        Arch::X86_64 | Arch::X32 => &[Arch::X86, Arch::X86_64, Arch::X32],
        Arch::Aarch64 => &[Arch::Arm, Arch::Aarch64],
        Arch::Mips64 | Arch::Mips64N32 => &[Arch::Mips, Arch::Mips64, Arch::Mips64N32],
        Arch::Mipsel64 | Arch::Mipsel64N32 => &[Arch::Mipsel, Arch::Mipsel64, Arch::Mipsel64N32],
        Arch::Ppc64 => &[Arch::Ppc, Arch::Ppc64],
        Arch::S390X => &[Arch::S390, Arch::S390X],
        _ => return ArchSet::EMPTY.with(native),
    };
    family.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Capability, parse};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion { major: 6, minor: 1 },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    /// The names of the calls of a document with this one entry, for that target.
    fn names(entry: &serde_json::Value, target: &Target) -> Vec<&'static str> {
        let mut entry = entry.clone();
        entry["names"] = json!(["bpf"]);
        entry["action"] = json!("SCMP_ACT_ALLOW");
        let document = parse(
            &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [entry]}),
            "",
        )
        .unwrap();
        document
            .resolve(target)
            .rules
            .iter()
            .flat_map(|rule| &rule.syscalls)
            .map(|call| call.name())
            .collect()
    }

    #[test]
    fn an_entry_needs_all_of_its_includes_and_none_of_its_excludes() {
        let bpf = Target {
            capabilities: AMD64
                .capabilities
                .with(Capability::named("CAP_BPF").unwrap()),
            ..AMD64
        };
        let arm = Target {
            arch: Arch::Aarch64,
            ..AMD64
        };
        let old = Target {
            kernel: KernelVersion { major: 4, minor: 7 },
            ..AMD64
        };
        for (entry, target, applies) in [
            (json!({}), AMD64, true),
            (json!({"includes": {}, "excludes": null}), AMD64, true),
            (json!({"includes": {"caps": ["CAP_BPF"]}}), AMD64, false),
            (json!({"includes": {"caps": ["CAP_BPF"]}}), bpf, true),
            (
                json!({"includes": {"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}}),
                bpf,
                false,
            ),
            (
                json!({"excludes": {"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}}),
                bpf,
                false,
            ),
            (
                json!({"excludes": {"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}}),
                AMD64,
                true,
            ),
            (
                json!({"includes": {"arches": ["amd64", "x32"]}}),
                AMD64,
                true,
            ),
            (
                json!({"includes": {"arches": ["amd64", "x32"]}}),
                arm,
                false,
            ),
            (json!({"excludes": {"arches": ["arm64"]}}), arm, false),
            (json!({"includes": {"minKernel": "4.8"}}), AMD64, true),
            (json!({"includes": {"minKernel": "6.1"}}), AMD64, true),
            (json!({"includes": {"minKernel": "4.8"}}), old, false),
            (json!({"excludes": {"minKernel": "4.8"}}), old, true),
            (
                json!({"includes": {"caps": ["CAP_BPF"], "arches": ["arm64"]}}),
                bpf,
                false,
            ),
            (
                json!({"includes": {"caps": ["CAP_BPF"]}, "excludes": {"arches": ["amd64"]}}),
                bpf,
                false,
            ),
        ] {
            assert_eq!(
                !names(&entry, &target).is_empty(),
                applies,
                "{entry} for {target:?}"
            );
        }
    }

    #[test]
    fn architectures_are_the_native_one_and_what_its_kernel_can_run() {
        let arches = |document: serde_json::Value, arch| {
            let mut document = document;
            document["defaultAction"] = json!("SCMP_ACT_LOG");
            let profile = parse(&document, "")
                .unwrap()
                .resolve(&Target { arch, ..AMD64 });
            profile
                .architectures
                .iter()
                .map(|arch| arch.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let map = json!({"archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null},
        ]});
        assert_eq!(
            arches(map.clone(), Arch::X86_64),
            "SCMP_ARCH_X86 SCMP_ARCH_X86_64 SCMP_ARCH_X32"
        );
        assert_eq!(
            arches(map.clone(), Arch::Aarch64),
            "SCMP_ARCH_ARM SCMP_ARCH_AARCH64"
        );
        assert_eq!(arches(map.clone(), Arch::Riscv64), "SCMP_ARCH_RISCV64");
        assert_eq!(arches(map, Arch::Ppc64Le), "SCMP_ARCH_PPC64LE");
        let fleet =
            json!({"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_S390X"]});
        assert_eq!(
            arches(fleet.clone(), Arch::X86_64),
            "SCMP_ARCH_X86 SCMP_ARCH_X86_64"
        );
        assert_eq!(arches(fleet, Arch::Aarch64), "SCMP_ARCH_AARCH64");
        assert_eq!(arches(json!({}), Arch::X86_64), "SCMP_ARCH_X86_64");
    }

    #[test]
    fn an_error_name_becomes_the_number_of_the_architecture() {
        let document = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "defaultErrnoRet": 38});
        let document = parse(&document, "").unwrap();
        let number = |arch| {
            document
                .resolve(&Target { arch, ..AMD64 })
                .default_action
                .errno()
                .unwrap()
                .get()
        };
        assert_eq!((number(Arch::X86_64), number(Arch::Mips64)), (38, 89));
    }

    #[test]
    fn kernel_versions_are_read_as_docker_reads_them() {
        let release = |text| KernelVersion::from_release(text).map(|v| v.to_string());
        assert_eq!(release("6.18.0-rc1+").as_deref(), Some("6.18"));
        assert_eq!(release("5.10").as_deref(), Some("5.10"));
        assert_eq!(release("4.18-arch"), Some("4.18".to_owned()));
        assert_eq!(release("linux"), None);
        let min = |text| KernelVersion::from_min_kernel(text).map(|v| v.to_string());
        assert_eq!(min("4.8").as_deref(), Some("4.8"));
        for wrong in [
            "", "4", "4.", ".8", "4.8.0", "0.0", "256.1", "+4.8", "4.8-rc1",
        ] {
            assert_eq!(min(wrong), None, "{wrong}");
        }
    }
}
