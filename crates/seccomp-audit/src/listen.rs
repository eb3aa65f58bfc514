//! The multicast group of audit records. It takes `CAP_AUDIT_READ` in the machine's first user namespace.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{AUDIT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};

/// `AUDIT_NLGRP_READLOG`, as a mask.
const READ_LOG: u32 = 1;
/// A netlink message's head; the record's text follows it.
const HEAD: usize = 16;
/// `MAX_AUDIT_MESSAGE_LENGTH`, and the head.
const LONGEST: usize = 8970 + HEAD;
/// So much waits for a reader that is late, where the kernel's limit (`net.core.rmem_max`) allows it. It takes no memory before.
const ROOM: usize = 8 << 20;

/// Listens since it was made.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    message: Vec<u8>,
}

/// What comes in.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A record: its kind and its text.
    Record(u16, &'a str),
    /// Records were dropped: there was no room for them.
    Overrun,
    /// Nothing, for now.
    Nothing,
}

impl Listener {
    /// Begins to listen.
    pub fn listen() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(AUDIT))?;
        sockopt::set_socket_recv_buffer_size(&socket, ROOM)?;
        bind(&socket, &SocketAddrNetlink::new(0, READ_LOG))?;
        Ok(Self {
            socket,
            message: vec![0; LONGEST],
        })
    }

    /// The next message; waits for it no longer than `patience`.
    pub fn next(&mut self, patience: Duration) -> io::Result<Message<'_>> {
        let mut received = self.receive();
        if received == Err(Errno::AGAIN) {
            let timeout = Timespec {
                tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: patience.subsec_nanos().into(),
            };
            match poll(
                &mut [PollFd::new(&self.socket, PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            received = self.receive();
        }
        match received {
            Ok(length) => Ok(read(&self.message[..length.min(self.message.len())])),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Message::Nothing),
            Err(Errno::NOBUFS) => Ok(Message::Overrun),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        let received = recv(&self.socket, &mut self.message[..], RecvFlags::DONTWAIT);
        received.map(|(length, _)| length)
    }
}

/// A message by its head: length, kind, flags, sequence, port. Text that is not UTF-8 is none of ours: the kernel writes plain characters.
fn read(message: &[u8]) -> Message<'_> {
    let (Some(kind), Some(text)) = (message.get(4..6), message.get(HEAD..)) else {
        return Message::Nothing;
    };
    let kind = u16::from_ne_bytes([kind[0], kind[1]]);
    let end = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    match std::str::from_utf8(&text[..end]) {
        Ok(text) => Message::Record(kind, text),
        Err(_) => Message::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_has_its_kind_in_its_head_and_ends_with_a_zero() {
        let mut message = vec![0; HEAD];
        message[4..6].copy_from_slice(&1326_u16.to_ne_bytes());
        message.extend(b"audit(1.2:3): pid=4\0\0\0");
        assert_eq!(read(&message), Message::Record(1326, "audit(1.2:3): pid=4"));
        assert_eq!(read(&message[..HEAD - 1]), Message::Nothing);
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_harm(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&message);
        }
    }
}
