//! The architecture of this machine, and of those that users name.

use seccomp_profile::Arch;
use seccomp_traces::arch_named;

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

/// The architecture of that word, for the command line.
pub fn argument(word: &str) -> Result<Arch, String> {
    arch_named(word).ok_or_else(|| {
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
    fn another_word_is_answered_with_the_words_that_there_are() {
        assert_eq!(argument("i686"), Ok(Arch::X86));
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
