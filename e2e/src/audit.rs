//! The kernel's audit records, as they happen, by netlink multicast: nothing is lost to the rate limit of the kernel log, and no
//! auditd is needed. It takes `CAP_AUDIT_READ` and the initial network namespace.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{AUDIT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};

/// The multicast group of audit records (`AUDIT_NLGRP_READLOG`), as a mask.
const READ_LOG: u32 = 1;
/// The length of a netlink message's head; the record's text follows it.
const HEAD: usize = 16;

/// Listens to audit records since it was made.
pub struct AuditLog(OwnedFd);

impl AuditLog {
    /// Begins to listen.
    pub fn listen() -> anyhow::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(AUDIT),
        )?;
        sockopt::set_socket_recv_buffer_size(&socket, 8 << 20)?;
        bind(&socket, &SocketAddrNetlink::new(0, READ_LOG)).context(
            "cannot listen to audit records: run as root, in the machine's own network namespace",
        )?;
        Ok(Self(socket))
    }

    /// Hands every seccomp record (`type=1326`) to `accept` until it says that it has seen enough; false when `patience` ran out.
    pub fn until(
        &self,
        patience: Duration,
        mut accept: impl FnMut(&str) -> bool,
    ) -> anyhow::Result<bool> {
        let started = Instant::now();
        let mut message = [0_u8; 16 << 10];
        while let Some(left) = patience.checked_sub(started.elapsed()) {
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs())?,
                tv_nsec: left.subsec_nanos().into(),
            };
            if poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout))? == 0 {
                break;
            }
            let length = match recv(&self.0, &mut message, RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                // A burst was too much; there is more to come.
                Err(Errno::NOBUFS | Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(text) = message.get(HEAD..length) else {
                continue;
            };
            let kind = u16::from_ne_bytes([message[4], message[5]]);
            if kind == 1326 && accept(String::from_utf8_lossy(text).trim_end_matches('\0')) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A field of a record: `field("... syscall=59 compat=0", "syscall")` is `59`.
#[must_use]
pub fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    record
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let record = r#"audit(1:2): auid=1 comm="ls" syscall=59 compat=0 code=0x7ffc0000"#;
        assert_eq!(field(record, "comm"), Some("ls"));
        assert_eq!(field(record, "syscall"), Some("59"));
        assert_eq!(field(record, "exe"), None);
    }
}
