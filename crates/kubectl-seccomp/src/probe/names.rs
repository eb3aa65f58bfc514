//! The syscalls that are probed: one table for each ABI that this machine's processes can use.

use super::kernel::EntryPoint;
use seccomp_profile::Arch;

/// A calling convention with its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Abi {
    /// 64-bit x86.
    X86_64,
    /// x86-64's registers with 32-bit pointers: numbers with bit 30 set.
    X32,
    /// 32-bit x86, entered with `int 0x80`.
    I386,
    /// 64-bit Arm.
    Aarch64,
}

impl Abi {
    /// The ABI of this program.
    pub fn native() -> Result<Self, Unsupported> {
        Self::for_arch(std::env::consts::ARCH)
    }

    fn for_arch(arch: &'static str) -> Result<Self, Unsupported> {
        match arch {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            _ => Err(Unsupported(arch)),
        }
    }

    /// The other ABIs whose calls a program of this one can make.
    pub fn foreign(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X32, Self::I386],
            _ => &[],
        }
    }

    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::X32 => "x32",
            Self::I386 => "i386",
            Self::Aarch64 => "aarch64",
        }
    }

    fn arch(self) -> Arch {
        match self {
            Self::X86_64 => Arch::X86_64,
            Self::X32 => Arch::X32,
            Self::I386 => Arch::X86,
            Self::Aarch64 => Arch::Aarch64,
        }
    }

    /// How its calls enter the kernel.
    pub fn entry(self) -> EntryPoint {
        if self == Self::I386 {
            EntryPoint::Int80
        } else {
            EntryPoint::Native
        }
    }
}

/// The probe makes calls by hand, and has no hands for this architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the probe cannot make calls on {0}; it runs on x86_64 and aarch64")]
pub struct Unsupported(&'static str);

/// One row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// The number as the kernel sees it, x32 bit included.
    pub nr: u32,
    pub name: &'static str,
}

/// All syscalls of an ABI, by number.
pub fn names(abi: Abi) -> Vec<Syscall> {
    let mut table: Vec<_> = seccomp_profile::Syscall::all()
        .filter_map(|call| {
            Some(Syscall {
                nr: call.number(abi.arch())?,
                name: call.name(),
            })
        })
        .collect();
    table.sort_by_key(|s| s.nr);
    table.dedup_by_key(|s| s.nr);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nr(abi: Abi, name: &str) -> Option<u32> {
        names(abi)
            .into_iter()
            .find(|s| s.name == name)
            .map(|s| s.nr)
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        for (abi, name, want) in [
            (Abi::X86_64, "mkdir", Some(83)),
            (Abi::X86_64, "clone3", Some(435)),
            (Abi::X86_64, "file_setattr", Some(469)),
            (Abi::I386, "file_setattr", Some(469)),
            (Abi::Aarch64, "file_setattr", Some(469)),
            (Abi::X32, "mkdir", Some(0x4000_0053)),
            (Abi::X32, "execve", Some(0x4000_0208)),
            (Abi::X32, "pwritev2", Some(0x4000_0223)),
            (Abi::I386, "socketcall", Some(102)),
            (Abi::I386, "mkdir", Some(39)),
            (Abi::Aarch64, "mkdir", None),
            (Abi::Aarch64, "mkdirat", Some(34)),
        ] {
            assert_eq!(nr(abi, name), want, "{} {name}", abi.as_str());
        }
    }

    #[test]
    fn an_architecture_without_a_probe_is_refused_and_not_taken_for_another() {
        assert_eq!(Abi::for_arch("x86_64"), Ok(Abi::X86_64));
        let refusal = Abi::for_arch("riscv64").unwrap_err();
        assert!(refusal.to_string().contains("riscv64"), "{refusal}");
    }

    #[test]
    fn a_table_has_each_number_once() {
        for abi in [Abi::X86_64, Abi::X32, Abi::I386, Abi::Aarch64] {
            let table = names(abi);
            assert!(table.len() > 300, "{}", abi.as_str());
            assert!(
                table.windows(2).all(|w| w[0].nr < w[1].nr),
                "{}",
                abi.as_str()
            );
        }
    }
}
