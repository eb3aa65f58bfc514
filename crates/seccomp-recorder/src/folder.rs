//! The folder with the two sockets: the runtimes', and the one between holder and recorder.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Where holder and recorder meet runtimes and each other. Nobody but root should be able to enter it.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A folder that is there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The socket that profiles name.
    #[must_use]
    pub fn notify_socket(&self) -> PathBuf {
        self.0.join("notify.sock")
    }

    pub(crate) fn hand_over_socket(&self) -> PathBuf {
        self.0.join("hand-over.sock")
    }

    /// The runtimes' socket. From now on they connect to this one, and what waits at an older one stays there.
    pub(crate) fn listen_to_runtimes(&self) -> io::Result<OwnedFd> {
        listen(&self.notify_socket(), SocketType::STREAM)
    }

    /// The socket of recorders and of successors.
    pub(crate) fn listen_to_recorders(&self) -> io::Result<OwnedFd> {
        listen(&self.hand_over_socket(), SocketType::SEQPACKET)
    }

    /// Connects to the holder; nobody if there is none.
    pub(crate) fn connect(&self) -> io::Result<Option<OwnedFd>> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        match rustix::net::connect(&socket, &SocketAddrUnix::new(self.hand_over_socket())?) {
            Ok(()) => Ok(Some(socket)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A listening socket, of which nobody ever finds half: it takes the place of an older one when it is ready.
fn listen(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&new)?)?;
    rustix::fs::chmod(&new, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, 1024)?;
    std::fs::rename(&new, path)?;
    Ok(socket)
}
