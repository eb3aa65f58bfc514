//! The kind of node that a document is resolved for.

use std::fmt;

use super::arch::Arch;
use super::capability::CapabilitySet;

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
    /// What stands for a current kernel where no node is known: a long-term one, newer than all that built-ins ask for.
    pub const CURRENT: Self = Self {
        major: 6,
        minor: 12,
    };

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

#[cfg(test)]
mod tests {
    use super::*;

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
