//! The architectures that container runtimes know (runc's list of 18), each an ABI through which a process can make
//! system calls.

use std::fmt;

/// One architecture of a seccomp filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
#[allow(missing_docs)] // the field's own names
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Loongarch64,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Ppc,
    Ppc64,
    Ppc64Le,
    Riscv64,
    S390,
    S390X,
}

/// Runtime-spec name without `SCMP_ARCH_`, libseccomp's own name (that of Docker's `arches`), `GOARCH` (that of the node
/// label `kubernetes.io/arch`), kernel `AUDIT_ARCH_*`, and whether arguments are 64 bits wide.
const FACTS: [(&str, &str, &str, u32, bool); 18] = [
    ("X86", "x86", "386", 0x4000_0003, false),
    ("X86_64", "amd64", "amd64", 0xc000_003e, true),
    ("X32", "x32", "", 0xc000_003e, false),
    ("ARM", "arm", "arm", 0x4000_0028, false),
    ("AARCH64", "arm64", "arm64", 0xc000_00b7, true),
    ("LOONGARCH64", "loongarch64", "loong64", 0xc000_0102, true),
    ("MIPS", "mips", "mips", 0x0000_0008, false),
    ("MIPS64", "mips64", "mips64", 0x8000_0008, true),
    ("MIPS64N32", "mips64n32", "mips64p32", 0xa000_0008, false),
    ("MIPSEL", "mipsel", "mipsle", 0x4000_0008, false),
    ("MIPSEL64", "mipsel64", "mips64le", 0xc000_0008, true),
    (
        "MIPSEL64N32",
        "mipsel64n32",
        "mips64p32le",
        0xe000_0008,
        false,
    ),
    ("PPC", "ppc", "ppc", 0x0000_0014, false),
    ("PPC64", "ppc64", "ppc64", 0x8000_0015, true),
    ("PPC64LE", "ppc64le", "ppc64le", 0xc000_0015, true),
    ("RISCV64", "riscv64", "riscv64", 0xc000_00f3, true),
    ("S390", "s390", "s390", 0x0000_0016, false),
    ("S390X", "s390x", "s390x", 0x8000_0016, true),
];

const PREFIX: &str = "SCMP_ARCH_";

impl Arch {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::X86,
        Self::X86_64,
        Self::X32,
        Self::Arm,
        Self::Aarch64,
        Self::Loongarch64,
        Self::Mips,
        Self::Mips64,
        Self::Mips64N32,
        Self::Mipsel,
        Self::Mipsel64,
        Self::Mipsel64N32,
        Self::Ppc,
        Self::Ppc64,
        Self::Ppc64Le,
        Self::Riscv64,
        Self::S390,
        Self::S390X,
    ];

    /// Those of the nodes that Kubernetes runs on, the most common first: those for which it is released, and `riscv64`, for
    /// which distributions build it.
    pub const KUBERNETES: &'static [Self] = &[
        Self::X86_64,
        Self::Aarch64,
        Self::Arm,
        Self::Ppc64Le,
        Self::S390X,
        Self::Riscv64,
    ];

    /// The architectures whose programs run on a machine of this one, itself first: the ABIs of its kernel, of which X32 is
    /// usually not built. On a machine of 64 bits X32 and the two N32 have the kernel of 64 bits.
    #[must_use]
    pub const fn abis(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Self::X32 => &[Self::X32, Self::X86_64, Self::X86],
            Self::Aarch64 => &[Self::Aarch64, Self::Arm],
            Self::Mips64 => &[Self::Mips64, Self::Mips, Self::Mips64N32],
            Self::Mips64N32 => &[Self::Mips64N32, Self::Mips64, Self::Mips],
            Self::Mipsel64 => &[Self::Mipsel64, Self::Mipsel, Self::Mipsel64N32],
            Self::Mipsel64N32 => &[Self::Mipsel64N32, Self::Mipsel64, Self::Mipsel],
            Self::Ppc64 => &[Self::Ppc64, Self::Ppc],
            Self::S390X => &[Self::S390X, Self::S390],
            Self::X86 => &[Self::X86],
            Self::Arm => &[Self::Arm],
            Self::Loongarch64 => &[Self::Loongarch64],
            Self::Mips => &[Self::Mips],
            Self::Mipsel => &[Self::Mipsel],
            Self::Ppc => &[Self::Ppc],
            Self::Ppc64Le => &[Self::Ppc64Le],
            Self::Riscv64 => &[Self::Riscv64],
            Self::S390 => &[Self::S390],
        }
    }

    /// Whether the most significant byte of a number comes first. libseccomp makes no filter for architectures of both orders.
    #[must_use]
    pub const fn is_big_endian(self) -> bool {
        matches!(
            self,
            Self::Mips
                | Self::Mips64
                | Self::Mips64N32
                | Self::Ppc
                | Self::Ppc64
                | Self::S390
                | Self::S390X
        )
    }

    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied()
    }

    const fn facts(self) -> (&'static str, &'static str, &'static str, u32, bool) {
        FACTS[self as usize]
    }

    /// The architecture of that runtime-spec name, e.g. `SCMP_ARCH_X86_64`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.strip_prefix(PREFIX)?;
        Self::all().find(|arch| arch.facts().0 == name)
    }

    /// The architecture of that libseccomp name, e.g. `arm64`: the words of Docker's `arches`.
    #[must_use]
    pub fn from_native_name(name: &str) -> Option<Self> {
        Self::all().find(|arch| arch.facts().1 == name)
    }

    /// The architecture of a node, from its label `kubernetes.io/arch` or `status.nodeInfo.architecture`.
    #[must_use]
    pub fn from_node(goarch: &str) -> Option<Self> {
        Self::all().find(|arch| !goarch.is_empty() && arch.facts().2 == goarch)
    }

    /// libseccomp's own name, e.g. `arm64`.
    #[must_use]
    pub const fn native_name(self) -> &'static str {
        self.facts().1
    }

    /// The architecture of a call as the kernel tells it: `AUDIT_ARCH_*`, and the number, in which x32 has a bit of its own.
    #[must_use]
    pub fn of_call(audit_arch: u32, number: u32) -> Option<Self> {
        const X32: u32 = 0x4000_0000;
        let is_x32 = audit_arch == Self::X86_64.audit_arch() && number & X32 != 0;
        let mut all = Self::all().filter(|arch| arch.audit_arch() == audit_arch);
        all.find(|arch| (*arch == Self::X32) == is_x32)
    }

    /// The kernel's `AUDIT_ARCH_*`, as a filter and the audit log see it. X32 has that of `X86_64`: it is told apart by
    /// bit 30 of the call's number.
    #[must_use]
    pub const fn audit_arch(self) -> u32 {
        self.facts().3
    }

    /// Whether arguments are 64 bits wide for libseccomp. X32 and the two N32 pass 64-bit registers, and libseccomp
    /// compares only the lower half all the same.
    #[must_use]
    pub const fn is_64_bit(self) -> bool {
        self.facts().4
    }
}

/// The runtime-spec name.
impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.facts().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_architecture() {
        for &arch in Arch::ALL {
            assert_eq!(Arch::ALL[arch as usize], arch);
            assert_eq!(Arch::named(&arch.to_string()), Some(arch));
            assert_eq!(Arch::from_native_name(arch.native_name()), Some(arch));
        }
        for arch in Arch::KUBERNETES {
            assert_eq!(arch.abis()[0], *arch);
        }
        assert_eq!(Arch::from_node("amd64"), Some(Arch::X86_64));
        assert_eq!(Arch::from_node("loong64"), Some(Arch::Loongarch64));
        assert_eq!(Arch::from_node(""), None);
        assert_eq!(Arch::named("X86_64"), None);
    }

    #[test]
    fn a_call_of_x32_is_told_from_one_of_its_kernel() {
        let audit = Arch::X86_64.audit_arch();
        assert_eq!(Arch::of_call(audit, 1), Some(Arch::X86_64));
        assert_eq!(Arch::of_call(audit, 0x4000_0001), Some(Arch::X32));
        let aarch64 = Arch::Aarch64.audit_arch();
        assert_eq!(Arch::of_call(aarch64, 0x4000_0001), Some(Arch::Aarch64));
        assert_eq!(Arch::of_call(7, 1), None);
    }
}
