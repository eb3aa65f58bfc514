//! The arguments of one call, as a filter sees them.

use super::condition::ArgIndex;

/// The six arguments of a call, each an unsigned number of 64 bits, as the kernel hands them to a filter (`args` of `struct
/// seccomp_data`, seccomp(2)). A call that takes fewer arguments leaves in the others whatever the registers held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Arguments([u64; 6]);

impl Arguments {
    /// All zero.
    pub const ZEROS: Self = Self([0; 6]);

    /// One of them.
    #[must_use]
    pub const fn get(&self, arg: ArgIndex) -> u64 {
        self.0[arg.position()]
    }

    /// These, with another value for one of them.
    #[must_use]
    pub const fn with(mut self, arg: ArgIndex, value: u64) -> Self {
        self.0[arg.position()] = value;
        self
    }

    /// All of them, the first first.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<> {
        self.0.into_iter()
    }

    /// Their lower 32 bits: all that libseccomp compares on an architecture of 32 bits.
    #[must_use]
    pub fn lower_halves(self) -> Self {
        Self(self.0.map(|arg| arg & u64::from(u32::MAX)))
    }
}

/// From the first to the last.
impl From<[u64; 6]> for Arguments {
    fn from(args: [u64; 6]) -> Self {
        Self(args)
    }
}

/// From the first to the last.
impl From<Arguments> for [u64; 6] {
    fn from(args: Arguments) -> Self {
        args.0
    }
}
