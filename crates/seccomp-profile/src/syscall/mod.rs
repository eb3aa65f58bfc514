//! System calls: their names, and their numbers on each architecture.

use std::fmt;

use super::arch::Arch;
use super::suggest;

mod alias;
mod multiplex;
mod table;

pub use table::KERNEL;
use table::{N, TABLE};

/// A system call by name. It exists on at least one architecture, not on all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Syscall(u16);

/// The table's column; architectures that differ in byte order only share one.
const fn column(arch: Arch) -> usize {
    match arch {
        Arch::X86 => 0,
        Arch::X86_64 => 1,
        Arch::X32 => 2,
        Arch::Arm => 3,
        Arch::Aarch64 => 4,
        Arch::Loongarch64 => 5,
        Arch::Mips | Arch::Mipsel => 6,
        Arch::Mips64 | Arch::Mipsel64 => 7,
        Arch::Mips64N32 | Arch::Mipsel64N32 => 8,
        Arch::Ppc => 9,
        Arch::Ppc64 | Arch::Ppc64Le => 10,
        Arch::Riscv64 => 11,
        Arch::S390 => 12,
        Arch::S390X => 13,
    }
}

/// The calls that the engine itself speaks of.
impl Syscall {
    /// The System V IPC calls, on some architectures all through this one.
    pub const IPC: Self = Self::known("ipc");
    /// The calls for sockets, on some architectures all through this one.
    pub const SOCKETCALL: Self = Self::known("socketcall");
    pub(crate) const AFS_SYSCALL: Self = Self::known("afs_syscall");
    pub(crate) const CLONE: Self = Self::known("clone");
    pub(crate) const CLONE3: Self = Self::known("clone3");
    pub(crate) const FORK: Self = Self::known("fork");
    pub(crate) const IO_URING_SETUP: Self = Self::known("io_uring_setup");
    pub(crate) const MOUNT: Self = Self::known("mount");
    pub(crate) const NFSSERVCTL: Self = Self::known("nfsservctl");
    pub(crate) const PTRACE: Self = Self::known("ptrace");
    pub(crate) const RMDIR: Self = Self::known("rmdir");
    pub(crate) const SOCKET: Self = Self::known("socket");
    pub(crate) const UNLINK: Self = Self::known("unlink");
    pub(crate) const UNLINKAT: Self = Self::known("unlinkat");
    pub(crate) const UNSHARE: Self = Self::known("unshare");
    pub(crate) const VFORK: Self = Self::known("vfork");
    pub(crate) const WRITE: Self = Self::known("write");

    /// For constants: a name that the table lacks does not compile.
    #[allow(clippy::cast_possible_truncation)] // the table has some hundred
    const fn known(name: &str) -> Self {
        let name = name.as_bytes();
        let mut position = 0;
        while !is_same(TABLE[position].0.as_bytes(), name) {
            position += 1;
        }
        Self(position as u16)
    }
}

/// `==`, which constants cannot use.
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

impl Syscall {
    /// The call of that name. Names are those of the kernel (and libseccomp), in lower case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let position = TABLE
            .binary_search_by(|(known, _)| (*known).cmp(name))
            .ok()?;
        u16::try_from(position).ok().map(Self)
    }

    /// The call with that number on `arch`. Where a number has two names, the alphabetically first.
    #[must_use]
    pub fn numbered(arch: Arch, number: u32) -> Option<Self> {
        let column = column(arch);
        let position = TABLE
            .iter()
            .position(|(_, numbers)| numbers[column] == number && number != N)?;
        u16::try_from(position).ok().map(Self)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE[usize::from(self.0)].0
    }

    /// Its number on `arch` as a filter sees it (on X32 with bit 30 set, on MIPS with the ABI's base), if it is there.
    #[must_use]
    pub fn number(self, arch: Arch) -> Option<u32> {
        Some(TABLE[usize::from(self.0)].1[column(arch)]).filter(|number| *number != N)
    }

    /// All calls, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len())
            .filter_map(|position| u16::try_from(position).ok())
            .map(Self)
    }

    /// The calls that a word of C libraries (`pread`), of the kernel's sources (`__x64_sys_openat`) or of audit tools (`newfstat`) means,
    /// which is no call's name itself or not on every architecture: several where architectures differ. Empty for any other word.
    #[must_use]
    pub fn meant_by(word: &str) -> Vec<Self> {
        alias::meant_by(word)
    }

    /// The call of that name on `arch`, or else the one that the word means there as in [`Syscall::meant_by`]: `getdents` is
    /// `getdents64` where there is no other.
    #[must_use]
    pub fn named_on(word: &str, arch: Arch) -> Option<Self> {
        alias::named_on(word, arch)
    }

    /// The call that a misspelt name was most likely meant to be.
    #[must_use]
    pub fn suggestion_for(name: &str) -> Option<Self> {
        Self::named(suggest::suggestion(
            name,
            TABLE.iter().map(|(known, _)| *known),
        )?)
    }
}

/// The calls of these names, which have spaces between them, in that order. Names that are none are left out; tests see to it that
/// the engine's own lists have no such.
pub(crate) fn named(names: &str) -> impl Iterator<Item = Syscall> {
    names.split_whitespace().filter_map(Syscall::named)
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_names_are_found() {
        for call in Syscall::all() {
            assert_eq!(Syscall::named(call.name()), Some(call));
        }
        assert!(Syscall::all().count() > 500);
        assert_eq!(Syscall::named("chmodd"), None);
        assert_eq!(Syscall::named("CHMOD"), None);
    }

    #[test]
    fn numbers_are_those_of_the_architecture() {
        let number = |name, arch| Syscall::named(name).unwrap().number(arch);
        assert_eq!(number("openat", Arch::X86_64), Some(257));
        assert_eq!(number("openat", Arch::Aarch64), Some(56));
        assert_eq!(number("read", Arch::X32), Some(0x4000_0000));
        assert_eq!(number("read", Arch::Mipsel), Some(4003));
        assert_eq!(number("socketcall", Arch::X86), Some(102));
        assert_eq!(number("ipc", Arch::S390X), Some(117));
        assert_eq!(number("chmod", Arch::Aarch64), None);
        assert_eq!(number("set_tls", Arch::Arm), Some(0x000f_0005));
        assert_eq!(Syscall::SOCKETCALL.name(), "socketcall");
        assert_eq!(Syscall::named("fork"), Some(Syscall::FORK));
        assert_eq!(
            Syscall::numbered(Arch::X86_64, 462).map(Syscall::name),
            Some("mseal")
        );
        // The newest: Linux 7.3.
        assert_eq!(number("fchroot", Arch::X86_64), Some(472));
        assert_eq!(number("fchroot", Arch::Mips64), Some(5472));
        assert_eq!(Syscall::numbered(Arch::Riscv64, 2000), None);
        assert_eq!(Syscall::numbered(Arch::Riscv64, u32::MAX), None);
    }
}
