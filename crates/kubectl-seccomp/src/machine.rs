//! The words for architectures: many for one, as every tool has its own.

use seccomp_profile::Arch;

/// The architecture of this program.
pub const HOST: Arch = if cfg!(target_arch = "aarch64") {
    Arch::Aarch64
} else if cfg!(target_arch = "riscv64") {
    Arch::Riscv64
} else if cfg!(target_arch = "s390x") {
    Arch::S390X
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    Arch::Ppc64Le
} else if cfg!(target_arch = "loongarch64") {
    Arch::Loongarch64
} else {
    Arch::X86_64
};

/// Words that neither the engine nor Go has: those of `uname -m` and of the audit tools.
const OTHER: [(&str, Arch); 13] = [
    ("x86_64", Arch::X86_64),
    ("i386", Arch::X86),
    ("i486", Arch::X86),
    ("i586", Arch::X86),
    ("i686", Arch::X86),
    ("aarch64", Arch::Aarch64),
    ("armeb", Arch::Arm),
    ("armv5tejl", Arch::Arm),
    ("armv6l", Arch::Arm),
    ("armv7l", Arch::Arm),
    ("armv8l", Arch::Arm),
    ("powerpc", Arch::Ppc),
    ("powerpc64", Arch::Ppc64),
];

/// The architecture that goes by that word in Kubernetes, libseccomp, the runtime-spec, `uname -m` or the audit tools.
pub fn named(word: &str) -> Option<Arch> {
    Arch::from_node(word)
        .or_else(|| Arch::from_native_name(word))
        .or_else(|| Arch::named(word))
        .or_else(|| {
            OTHER
                .iter()
                .find(|(w, _)| *w == word)
                .map(|(_, arch)| *arch)
        })
}

/// [`named`], for the command line.
pub fn argument(word: &str) -> Result<Arch, String> {
    named(word).ok_or_else(|| {
        let words: Vec<_> = Arch::ALL.iter().map(|arch| arch.native_name()).collect();
        format!("the architectures are {}", words.join(", "))
    })
}

/// The native architecture of the machine that runs programs of `arch`, where there is a usual one.
pub fn native_of(arch: Arch) -> Arch {
    match arch {
        Arch::X86 | Arch::X32 => Arch::X86_64,
        Arch::Ppc => Arch::Ppc64,
        Arch::S390 => Arch::S390X,
        Arch::Mips | Arch::Mips64N32 => Arch::Mips64,
        Arch::Mipsel | Arch::Mipsel64N32 => Arch::Mipsel64,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_may_use_its_own_word() {
        for (word, arch) in [
            ("amd64", Arch::X86_64),
            ("x86_64", Arch::X86_64),
            ("SCMP_ARCH_X86_64", Arch::X86_64),
            ("386", Arch::X86),
            ("i386", Arch::X86),
            ("x86", Arch::X86),
            ("x32", Arch::X32),
            ("arm64", Arch::Aarch64),
            ("aarch64", Arch::Aarch64),
            ("ppc64le", Arch::Ppc64Le),
            ("s390x", Arch::S390X),
            ("loongarch64", Arch::Loongarch64),
        ] {
            assert_eq!(named(word), Some(arch), "{word}");
        }
        assert_eq!(named("vax"), None);
        assert!(argument("vax").is_err_and(|e| e.contains("amd64")));
    }

    #[test]
    fn a_machine_runs_its_own_programs_first() {
        for &arch in Arch::ALL {
            assert_eq!(arch.abis()[0], arch);
            assert!(native_of(arch).abis().contains(&arch), "{arch}");
        }
    }
}
