//! The connections of runtimes: each says one thing and hands over one descriptor. They are root's, few at a time, and short.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::answer::Standing;
use crate::link::receive;
use crate::message::{MAX_DESCRIPTORS, MAX_MESSAGE, Message, MessageError, Subject, parse};
use crate::register::is_listener;
use crate::sys::peer_uid;

/// How many connections are read at once; the others wait to be accepted.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// How long a runtime may take to say who it is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const PIECE: usize = 64 << 10;

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the peer is user {0}, and not root")]
    NotRoot(u32),
    #[error("the connection ended before its message did")]
    Ended,
    #[error("{0} descriptors came with a message that names {1}")]
    Descriptors(usize, usize),
    #[error("the descriptor is not that of a filter with a listener")]
    NoListener,
    #[error("nothing came within {PATIENCE:?}")]
    Late,
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("the connection cannot be read")]
    Read(#[from] io::Error),
}

/// Whose filter it is, what it stands on, and its descriptor.
type HandedOver = (Subject, Standing, OwnedFd);

/// A runtime that has not said all.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    since: Instant,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The next connection, if there is one.
pub(crate) fn accept(listening: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match rustix::net::accept_with(listening, flags) {
        Ok(socket) => Ok(Some(socket)),
        // Where descriptors or memory are short, it waits.
        Err(
            Errno::AGAIN
            | Errno::INTR
            | Errno::CONNABORTED
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::NOBUFS,
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuses whoever is neither root nor the user that this process is.
pub(crate) fn check_peer(socket: BorrowedFd<'_>) -> Result<(), Refused> {
    match peer_uid(socket)? {
        0 => Ok(()),
        own if own == rustix::process::geteuid().as_raw() => Ok(()),
        other => Err(Refused::NotRoot(other)),
    }
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Result<Self, Refused> {
        check_peer(socket.as_fd())?;
        Ok(Self {
            socket,
            since: Instant::now(),
            bytes: Vec::new(),
            descriptors: Vec::new(),
        })
    }

    pub(crate) fn is_late(&self) -> bool {
        self.since.elapsed() > PATIENCE
    }

    /// Reads on; what it was all about, once that is known. Runtimes may keep their end open, so that its end is not waited for.
    pub(crate) fn read(&mut self) -> Result<Option<HandedOver>, Refused> {
        let known = self.bytes.len();
        self.bytes.resize(known + PIECE, 0);
        let received = receive(
            self.socket.as_fd(),
            self.bytes.get_mut(known..).unwrap_or_default(),
        );
        let length = match &received {
            Ok(Some((length, _))) => *length,
            Ok(None) | Err(_) => 0,
        };
        self.bytes.truncate(known + length);
        let Some((length, descriptors)) = received? else {
            return Ok(None);
        };
        if length == 0 {
            return Err(Refused::Ended);
        }
        self.descriptors.extend(descriptors);
        if self.bytes.len() > MAX_MESSAGE || self.descriptors.len() > MAX_DESCRIPTORS {
            return Err(MessageError::TooLong.into());
        }
        match parse(&self.bytes) {
            Ok(message) => self.complete(message).map(Some),
            Err(MessageError::Incomplete) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn complete(&mut self, message: Message) -> Result<HandedOver, Refused> {
        let mut descriptors = std::mem::take(&mut self.descriptors);
        if descriptors.len() != message.descriptors || message.descriptor >= descriptors.len() {
            return Err(Refused::Descriptors(descriptors.len(), message.descriptors));
        }
        let descriptor = descriptors.swap_remove(message.descriptor);
        if !is_listener(&descriptor) {
            return Err(Refused::NoListener);
        }
        Ok((message.subject, message.standing, descriptor))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::mem::MaybeUninit;
    use std::os::unix::net::UnixStream;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    fn pair() -> (UnixStream, Connection) {
        let (runtime, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (runtime, Connection::new(ours.into()).unwrap())
    }

    fn send(runtime: &UnixStream, bytes: &str, descriptors: usize) {
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = vec![file.as_fd(); descriptors];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let bytes = [io::IoSlice::new(bytes.as_bytes())];
        sendmsg(runtime, &bytes, &mut control, SendFlags::empty()).unwrap();
    }

    const STATE: &str = r#"{"fds": ["seccompFd"], "state": {"id": "c1", "status": "creating"}}"#;

    #[test]
    fn a_descriptor_of_another_kind_is_none() {
        let (runtime, mut connection) = pair();
        assert!(matches!(connection.read(), Ok(None)));
        let (first, last) = STATE.split_at(20);
        send(&runtime, first, 1);
        assert!(matches!(connection.read(), Ok(None)));
        (&runtime).write_all(last.as_bytes()).unwrap();
        assert!(matches!(connection.read(), Err(Refused::NoListener)));
    }

    #[test]
    fn what_comes_without_descriptors_or_with_too_many_is_refused() {
        for descriptors in [0, 2, 4] {
            let (runtime, mut connection) = pair();
            send(&runtime, STATE, descriptors);
            let said = connection.read();
            assert!(
                matches!(said, Err(Refused::Descriptors(came, 1)) if came == descriptors),
                "{said:?}"
            );
        }
        // The kernel leaves out those that there is no room for.
        let (runtime, mut connection) = pair();
        send(&runtime, STATE, 8);
        assert!(matches!(connection.read(), Err(Refused::Read(_))));
    }

    #[test]
    fn what_never_ends_is_refused_and_so_is_what_ends_too_early() {
        let (mut runtime, mut connection) = pair();
        runtime.set_nonblocking(true).unwrap();
        let piece = format!("{{\"a\": \"{}", "x".repeat(PIECE));
        let mut read = 0;
        let refused = loop {
            let _ = runtime.write(piece.as_bytes()); // as much as fits
            match connection.read() {
                Ok(None) => read += 1,
                Ok(Some(_)) => panic!("that is no message"),
                Err(refused) => break refused,
            }
            assert!(read < 1000 && connection.bytes.len() <= MAX_MESSAGE);
        };
        assert!(
            matches!(refused, Refused::Message(MessageError::TooLong)),
            "{refused}"
        );
        let (runtime, mut connection) = pair();
        drop(runtime);
        assert!(matches!(connection.read(), Err(Refused::Ended)));
    }
}
