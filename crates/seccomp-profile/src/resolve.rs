//! From a document to the profile of one kind of node.

use super::document::{Architectures, Document, Entry, Filter};
use super::oci::{ArchSet, Profile, Rule};
use super::target::Target;

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
        let abis = target.arch.abis().iter().copied().collect();
        Profile {
            default_action: self.default.on(target.arch),
            architectures: listed.and(abis).with(target.arch),
            states_architectures: match &self.architectures {
                Architectures::Listed(arches) => !arches.is_empty(),
                Architectures::Mapped(map) => map.iter().any(|(native, _)| *native == target.arch),
            },
            flags: self.flags,
            listener: self.listener.clone(),
            rules: self
                .entries
                .iter()
                // One that names nothing is nothing to a runtime.
                .filter(|entry| entry.applies_to(target) && !entry.syscalls.is_empty())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Arch, Capability, CapabilitySet, KernelVersion, parse};

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
}
