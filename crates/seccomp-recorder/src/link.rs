//! What holder and recorder say to each other: small messages, some with a descriptor, on a socket that keeps them apart. Neither ever
//! waits for the other.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::answer::Standing;
use crate::register::Tally;

/// Larger than any message: subjects and what filters stand on are bounded, and JSON takes twice the room at most for these.
const MAX_BYTES: usize = 48 << 10;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// The first one of who connects: it takes over as a holder, or reads as a recorder, and has these ledgers.
    Hello { successor: bool, ledgers: Vec<u64> },
    /// A ledger; its memory comes with it.
    Ledger { ledger: u64 },
    /// Somebody who is counted, or was.
    Tally { ledger: u64, tally: u32, of: Tally },
    /// A filter's descriptor comes with it.
    Descriptor {
        ledger: u64,
        descriptor: u32,
        tally: u32,
        standing: Standing,
    },
    /// The last process of a filter has ended.
    Ended {
        ledger: u64,
        descriptor: u32,
        at: u64,
    },
    /// Nobody needs to know any more what a tally says.
    Forget { ledger: u64, tally: u32 },
    /// That was all that there was so far.
    Ready,
    /// Somebody else reads from now on: close everything.
    Stop,
}

/// What goes with a message.
pub(crate) type Enclosed = Option<Arc<OwnedFd>>;

/// One end.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    queue: VecDeque<(Vec<u8>, Enclosed)>,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Link {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
        }
    }

    /// Whether something waits until the socket takes it.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Says something, now or when [`flush`](Self::flush) can.
    pub(crate) fn send(&mut self, notice: &Notice, enclosed: Enclosed) -> io::Result<()> {
        self.queue
            .push_back((serde_json::to_vec(notice)?, enclosed));
        self.flush()
    }

    /// Says what waits, as far as it goes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, enclosed)) = self.queue.front() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors: Vec<_> = enclosed.iter().map(|enclosed| enclosed.as_fd()).collect();
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(_) => drop(self.queue.pop_front()),
                // The other end has to take some first; of descriptors, not too many may be on their way.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What the other end says, if it says something. An error if it has ended, or says what nobody understands.
    pub(crate) fn receive(&self) -> io::Result<Option<(Notice, Option<OwnedFd>)>> {
        let mut bytes = vec![0; MAX_BYTES];
        let received = receive(self.socket.as_fd(), &mut bytes)?;
        let Some((length, mut descriptors)) = received else {
            return Ok(None);
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let notice = serde_json::from_slice(bytes.get(..length).unwrap_or_default())?;
        Ok(Some((notice, descriptors.pop())))
    }
}

/// Receives from a UNIX socket without waiting: how many bytes, and the descriptors. Nothing if there is nothing yet.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(crate::message::MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received =
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message or its descriptors do not fit",
        ));
    }
    Ok(Some((received.bytes, descriptors)))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;

    #[test]
    fn nothing_is_lost_when_the_other_end_is_slow() {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        let (mut one, other) = (Link::new(one), Link::new(other));
        let file = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        for descriptor in 0..2000 {
            let notice = Notice::Descriptor {
                ledger: 1,
                descriptor,
                tally: 2,
                standing: Standing::default(),
            };
            one.send(&notice, Some(Arc::clone(&file))).unwrap();
        }
        assert!(one.is_waiting());
        for descriptor in 0..2000 {
            one.flush().unwrap();
            let (notice, enclosed) = other.receive().unwrap().unwrap();
            assert_eq!(
                notice,
                Notice::Descriptor {
                    ledger: 1,
                    descriptor,
                    tally: 2,
                    standing: Standing::default()
                }
            );
            assert!(enclosed.is_some());
        }
        assert!(!one.is_waiting() && other.receive().unwrap().is_none());
        drop(one);
        assert!(other.receive().is_err());
    }
}
