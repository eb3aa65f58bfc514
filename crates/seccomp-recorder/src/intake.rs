//! The connections of runtimes: each says one thing and hands over one descriptor. They are root's, few at a time, and short.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SocketFlags;

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
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
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
    pub(crate) fn read(&mut self) -> Result<Option<(Subject, OwnedFd)>, Refused> {
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

    fn complete(&mut self, message: Message) -> Result<(Subject, OwnedFd), Refused> {
        let mut descriptors = std::mem::take(&mut self.descriptors);
        if descriptors.len() != message.descriptors || message.descriptor >= descriptors.len() {
            return Err(Refused::Descriptors(descriptors.len(), message.descriptors));
        }
        let descriptor = descriptors.swap_remove(message.descriptor);
        if !is_listener(&descriptor) {
            return Err(Refused::NoListener);
        }
        Ok((message.subject, descriptor))
    }
}
