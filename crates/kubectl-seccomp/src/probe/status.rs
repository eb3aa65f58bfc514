//! What the kernel says about this process in `/proc/self/status`. Pure: the text comes from the caller.

use seccomp_profile::Capability;
use serde::Serialize;

/// The lines that matter here. A field is `None` where the kernel is too old to have the line, or `/proc` is not there.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The effective user id.
    pub uid: Option<u32>,
    /// The effective group id.
    pub gid: Option<u32>,
    /// `disabled`, `strict` or `filter`.
    pub seccomp: Option<&'static str>,
    /// The number of stacked filters (since Linux 5.9).
    pub seccomp_filters: Option<u32>,
    /// Whether `no_new_privs` is set.
    pub no_new_privileges: Option<bool>,
    /// The capability sets.
    pub capabilities: Capabilities,
    /// The process that traces this one; 0 if none does.
    #[serde(skip)]
    pub tracer: Option<u32>,
}

/// Capability names without `CAP_`, in the order of their numbers.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// What can ever be had.
    pub bounding: Option<Vec<String>>,
    /// What is had now.
    pub effective: Option<Vec<String>>,
    /// What can be made effective.
    pub permitted: Option<Vec<String>>,
    /// What survives `execve` of a file that has it too.
    pub inheritable: Option<Vec<String>>,
    /// What survives `execve` of any file.
    pub ambient: Option<Vec<String>>,
}

impl Status {
    /// Reads the text of `/proc/<pid>/status`.
    pub fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let number = |name| field(name)?.parse::<u32>().ok();
        let effective_id = |name| field(name)?.split_whitespace().nth(1)?.parse().ok();
        let set = |name| {
            u64::from_str_radix(field(name)?, 16)
                .ok()
                .map(capability_names)
        };
        Self {
            uid: effective_id("Uid"),
            gid: effective_id("Gid"),
            seccomp: match number("Seccomp") {
                Some(0) => Some("disabled"),
                Some(1) => Some("strict"),
                Some(2) => Some("filter"),
                _ => None,
            },
            seccomp_filters: number("Seccomp_filters"),
            no_new_privileges: number("NoNewPrivs").map(|n| n == 1),
            capabilities: Capabilities {
                bounding: set("CapBnd"),
                effective: set("CapEff"),
                permitted: set("CapPrm"),
                inheritable: set("CapInh"),
                ambient: set("CapAmb"),
            },
            tracer: number("TracerPid"),
        }
    }
}

/// In lower case, as `capsh` has them; the number of one that has no name here.
fn capability_names(bits: u64) -> Vec<String> {
    let numbers = (0..64u8).filter(|bit| bits >> bit & 1 == 1);
    let name = |number: u8| {
        Capability::numbered(number).map_or_else(
            || number.to_string(),
            |capability| capability.bare_name().to_ascii_lowercase(),
        )
    };
    numbers.map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_with_the_default_capabilities_is_read() {
        let status = Status::parse(
            "Name:\tprobe\nUid:\t0\t65534\t0\t0\nGid:\t0\t7\t0\t0\nTracerPid:\t0\nCapInh:\t0000000000000000\n\
             CapPrm:\t00000000a80425fb\nCapEff:\t0000000000000400\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n\
             NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\nSpeculation_Store_Bypass:\tvulnerable\n",
        );
        assert_eq!(
            (status.uid, status.gid, status.tracer),
            (Some(65534), Some(7), Some(0))
        );
        assert_eq!(
            (status.seccomp, status.seccomp_filters),
            (Some("filter"), Some(1))
        );
        assert_eq!(status.no_new_privileges, Some(true));
        assert_eq!(
            status.capabilities.effective,
            Some(vec!["net_bind_service".into()])
        );
        assert_eq!(
            status.capabilities.bounding.unwrap_or_default().join(" "),
            "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod \
             audit_write setfcap"
        );
    }

    #[test]
    fn lines_that_are_not_there_are_unknown() {
        assert_eq!(
            Status::parse("Name:\tx\nSeccomp:\t0\n"),
            Status {
                seccomp: Some("disabled"),
                ..Status::default()
            }
        );
    }

    #[test]
    fn capabilities_newer_than_the_table_keep_their_number() {
        assert_eq!(
            capability_names(1 << 40 | 1 << 41),
            ["checkpoint_restore", "41"]
        );
    }
}
