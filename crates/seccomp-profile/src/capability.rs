//! Linux capabilities: what Docker-style conditions ask for.

use std::fmt;

use super::problem::{Collector, Path, Problems};
use super::suggest::suggestion;

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Capability(u8);

/// In the order of their kernel numbers.
#[rustfmt::skip]
pub(super) const NAMES: &[&str] = &[
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
    "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Those that the engine itself speaks of.
impl Capability {
    pub(crate) const BPF: Self = Self(39);
    pub(crate) const DAC_READ_SEARCH: Self = Self(2);
    pub(crate) const PERFMON: Self = Self(38);
    pub(crate) const SYS_ADMIN: Self = Self(21);
    pub(crate) const SYS_BOOT: Self = Self(22);
    pub(crate) const SYS_MODULE: Self = Self(16);
    pub(crate) const SYS_PACCT: Self = Self(20);
    pub(crate) const SYS_PTRACE: Self = Self(19);
    pub(crate) const SYS_RAWIO: Self = Self(17);
    pub(crate) const SYS_TIME: Self = Self(25);
}

impl Capability {
    /// The capability of that name: `CAP_NET_RAW`, as Docker writes it, or `NET_RAW`, as Kubernetes does.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let bare = name.strip_prefix("CAP_").unwrap_or(name);
        let position = NAMES
            .iter()
            .position(|known| known.strip_prefix("CAP_") == Some(bare))?;
        u8::try_from(position).ok().map(Self)
    }

    /// The capability of that number (kernel `include/uapi/linux/capability.h`, as of Linux 5.9).
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        (usize::from(number) < NAMES.len()).then_some(Self(number))
    }

    /// The name, `CAP_` included.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// The name as Kubernetes has it: without `CAP_`.
    #[must_use]
    pub fn bare_name(self) -> &'static str {
        self.name().trim_start_matches("CAP_")
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of capabilities, such as a process's bounding set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// Reads names, such as `NET_RAW`, `CAP_NET_RAW` and `ALL`, or says all that is wrong with them. `at` is where they
    /// stand, e.g. `spec.capabilities`.
    pub fn parse<S: AsRef<str>>(names: &[S], at: &str) -> Result<Self, Problems> {
        let mut problems = Collector::default();
        let mut set = Self::EMPTY;
        for (i, name) in names.iter().map(AsRef::as_ref).enumerate() {
            match Capability::named(name) {
                Some(capability) => set = set.with(capability),
                None if name == "ALL" => set = Self::from_bits(u64::MAX),
                None => problems.add(&Path::Root(at).index(i), || {
                    let bare = NAMES.iter().filter_map(|name| name.strip_prefix("CAP_"));
                    let meant = suggestion(name, NAMES.iter().copied().chain(bare).chain(["ALL"]));
                    (
                        format!("{name:?} is not a capability"),
                        meant.map_or_else(
                            || "write a name such as NET_BIND_SERVICE, as in a pod's securityContext".into(),
                            |meant| format!("write {meant:?}"),
                        ),
                    )
                }),
            }
        }
        problems.finish(set)
    }

    /// None.
    pub const EMPTY: Self = Self(0);

    /// What containerd and Docker give a container that asks for nothing: 14 capabilities, the bounding set
    /// `00000000a80425fb` that such a container shows in `/proc/self/status`. CRI-O 1.34 gives nine of them, `00000000000005fb`.
    pub const RUNTIME_DEFAULT: Self = Self(0xa804_25fb);

    /// From the kernel's bit mask, as in `CapBnd:` of `/proc/<pid>/status`. Bits that no capability has are dropped.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << NAMES.len()) - 1))
    }

    /// Whether `capability` is in it.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set and `capability`.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// Those that are in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    #[must_use]
    pub const fn contains_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Its members, in the kernel's order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..NAMES.len())
            .filter_map(|n| u8::try_from(n).ok())
            .map(Capability)
            .filter(move |c| self.contains(*c))
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        iter.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_default_is_their_documented_14() {
        let names: Vec<_> = CapabilitySet::RUNTIME_DEFAULT
            .iter()
            .map(Capability::name)
            .collect();
        assert_eq!(
            names.join(" "),
            "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP \
             CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SYS_CHROOT CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP"
        );
    }

    #[test]
    fn both_spellings_are_known() {
        assert_eq!(Capability::BPF.bare_name(), "BPF");
        assert_eq!(Capability::DAC_READ_SEARCH.bare_name(), "DAC_READ_SEARCH");
        assert_eq!(Capability::PERFMON.bare_name(), "PERFMON");
        assert_eq!(Capability::SYS_ADMIN.bare_name(), "SYS_ADMIN");
        assert_eq!(Capability::SYS_BOOT.bare_name(), "SYS_BOOT");
        assert_eq!(Capability::SYS_MODULE.bare_name(), "SYS_MODULE");
        assert_eq!(Capability::SYS_PACCT.bare_name(), "SYS_PACCT");
        assert_eq!(Capability::SYS_PTRACE.bare_name(), "SYS_PTRACE");
        assert_eq!(Capability::SYS_RAWIO.bare_name(), "SYS_RAWIO");
        assert_eq!(Capability::SYS_TIME.bare_name(), "SYS_TIME");
        assert_eq!(Capability::named("CAP_BPF"), Capability::named("BPF"));
        assert_eq!(
            Capability::named("BPF").map(Capability::name),
            Some("CAP_BPF")
        );
        assert_eq!(Capability::named("CAP_CAP_BPF"), None);
        assert_eq!(Capability::named("bpf"), None);
    }

    #[test]
    fn names_are_read_and_wrong_ones_told() {
        let parse = |names: &[&str]| CapabilitySet::parse(names, "spec.capabilities");
        let bpf = CapabilitySet::EMPTY.with(Capability::named("BPF").unwrap());
        assert_eq!(parse(&["CAP_BPF", "BPF"]), Ok(bpf));
        assert_eq!(parse(&[]), Ok(CapabilitySet::EMPTY));
        assert_eq!(parse(&["ALL"]), Ok(CapabilitySet::from_bits(u64::MAX)));
        assert_eq!(
            parse(&["net_raw", "CAP_FLY_HIGH"]).unwrap_err().to_string(),
            "spec.capabilities[0]: \"net_raw\" is not a capability; write \"NET_RAW\"\n\
             spec.capabilities[1]: \"CAP_FLY_HIGH\" is not a capability; write a name such as NET_BIND_SERVICE, as in a \
             pod's securityContext"
        );
    }
}
