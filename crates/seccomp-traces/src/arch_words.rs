//! The words for architectures: many for one, as every tool has its own.

use seccomp_profile::Arch;

/// Words that neither the engine nor Go has: those of `uname -m`, of distributions and of the audit tools.
const OTHER: [(&str, Arch); 23] = [
    ("x86_64", Arch::X86_64),
    ("x86-64", Arch::X86_64),
    ("x64", Arch::X86_64),
    ("ia32", Arch::X86),
    ("i386", Arch::X86),
    ("i486", Arch::X86),
    ("i586", Arch::X86),
    ("i686", Arch::X86),
    ("aarch64", Arch::Aarch64),
    ("arm64v8", Arch::Aarch64),
    ("armeb", Arch::Arm),
    ("armel", Arch::Arm),
    ("armhf", Arch::Arm),
    ("arm32v7", Arch::Arm),
    ("armv5tejl", Arch::Arm),
    ("armv6l", Arch::Arm),
    ("armv7l", Arch::Arm),
    ("armv8l", Arch::Arm),
    ("powerpc", Arch::Ppc),
    ("powerpc64", Arch::Ppc64),
    ("powerpc64le", Arch::Ppc64Le),
    ("ppc64el", Arch::Ppc64Le),
    ("mips64el", Arch::Mipsel64),
];

/// The architecture that goes by that word in Kubernetes, libseccomp, the runtime-spec, `uname -m`, distributions or the audit tools, or
/// that of a platform as container tools write it (`linux/arm64/v8`); whatever the case.
#[must_use]
pub fn arch_named(word: &str) -> Option<Arch> {
    if let Some(arch) = Arch::named(word.trim().to_ascii_uppercase().as_str()) {
        return Some(arch);
    }
    let word = word.trim().to_ascii_lowercase();
    let word = match word.strip_prefix("linux/") {
        Some(platform) => platform.split('/').next().unwrap_or(platform),
        None => word.as_str(),
    };
    Arch::from_node(word)
        .or_else(|| Arch::from_native_name(word))
        .or_else(|| {
            OTHER
                .iter()
                .find(|(w, _)| *w == word)
                .map(|(_, arch)| *arch)
        })
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
            ("linux/amd64", Arch::X86_64),
            ("linux/arm64/v8", Arch::Aarch64),
            ("linux/arm/v7", Arch::Arm),
            ("ppc64el", Arch::Ppc64Le),
            ("x86-64", Arch::X86_64),
            ("X86_64", Arch::X86_64),
            ("AMD64", Arch::X86_64),
            ("scmp_arch_aarch64", Arch::Aarch64),
            ("armhf", Arch::Arm),
        ] {
            assert_eq!(arch_named(word), Some(arch), "{word}");
        }
        for word in ["vax", "", "linux/", "windows/amd64"] {
            assert_eq!(arch_named(word), None, "{word}");
        }
    }
}
