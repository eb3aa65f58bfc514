//! What the kernel offers and no crate wraps safely: notifications of seccomp, memory that processes share, who a peer is, and the
//! signals that end a process. Nothing else here is unsafe, and nothing here knows what is counted.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::answer::Answer;

const WORD: usize = size_of::<u64>();

/// Numbers that processes share. Those that nobody wrote are zero, and take no room.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping lives as long as the value, and is only accessed through atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Makes room for so many words, which keep their number for ever.
    pub(crate) fn create(words: usize) -> io::Result<OwnedFd> {
        let file = rustix::fs::memfd_create(
            "seccomp-recorder",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        rustix::fs::ftruncate(&file, (words * WORD) as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(file)
    }

    /// Maps what [`create`](Self::create) has made, in whichever process.
    pub(crate) fn map(file: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(file)?;
        let size = rustix::fs::fstat(file)?.st_size;
        if !seals.contains(SealFlags::SHRINK) || size.cast_unsigned() != (words * WORD) as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "is no memory of a recorder of this version",
            ));
        }
        // SAFETY: a new mapping of a file that cannot shrink, so that no access to it can fail.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                words * WORD,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, words })
    }

    fn word(&self, at: usize) -> Option<&AtomicU64> {
        // SAFETY: within the mapping, which is aligned to pages and outlives `self`; every bit pattern is a number.
        (at < self.words).then(|| unsafe { self.start.add(at).as_ref() })
    }

    /// The number at a position; zero where there is none.
    pub(crate) fn load(&self, at: usize) -> u64 {
        self.word(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Writes one number. Whoever is killed has written the numbers before it and none of those after it.
    pub(crate) fn store(&self, at: usize, value: u64) {
        if let Some(word) = self.word(at) {
            word.store(value, Ordering::Release);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let start: *mut c_void = self.start.as_ptr().cast();
        // SAFETY: the mapping that `map` made; no reference outlives `self`. Nothing is to be done if it fails.
        let _ = unsafe { rustix::mm::munmap(start, self.words * WORD) };
    }
}

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    /// `AUDIT_ARCH_*`.
    pub(crate) arch: u32,
    pub(crate) number: u32,
    pub(crate) args: [u64; 6],
}

/// Room for the kernel's structure and what later kernels put behind it.
#[repr(C)]
union Room {
    notification: libc::seccomp_notif,
    bytes: [u8; 1024],
}

/// Takes the next call: to be asked for once for each EPOLLIN, since the kernel waits for one whatever `O_NONBLOCK` says. `None` if its
/// caller went away meanwhile.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Notification>> {
    // The kernel insists on zeroes.
    let mut room = Room { bytes: [0; 1024] };
    // SAFETY: the room is larger than what the kernel writes, and every bit pattern is a valid `seccomp_notif`.
    let (got, notification) = unsafe {
        let got = libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut room,
        );
        (got, room.notification)
    };
    if got == 0 {
        return Ok(Some(Notification {
            id: notification.id,
            arch: notification.data.arch,
            number: notification.data.nr.cast_unsigned(),
            args: notification.data.args,
        }));
    }
    gone(io::Error::last_os_error()).map(|()| None)
}

/// Lets a call happen, or has it return an error without it. One whose caller went away needs no answer.
pub(crate) fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<()> {
    let (error, flags) = match answer {
        Answer::Proceed => (0, 1), // SECCOMP_USER_NOTIF_FLAG_CONTINUE
        Answer::Refuse(errno) => (-i32::from(errno), 0),
    };
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error,
        flags,
    };
    // SAFETY: the structure that this request reads.
    let got = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut answer,
        )
    };
    if got == 0 {
        Ok(())
    } else {
        gone(io::Error::last_os_error())
    }
}

/// Whether a call was received, by whichever process, and has had no answer.
pub(crate) fn is_waiting(listener: BorrowedFd<'_>, mut id: u64) -> bool {
    // SAFETY: the number that this request reads.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw mut id,
        ) == 0
    }
}

/// Lets the kernel keep the listener on its caller's core, which halves the price of a call. Kernels before 6.6 cannot.
pub(crate) fn wake_synchronously(listener: BorrowedFd<'_>) {
    let flags: u64 = 1; // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
    // SAFETY: this request takes the flags by value.
    let _ = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            flags,
        )
    };
}

/// ENOENT: the caller is dead or was interrupted. EINTR: ask again.
fn gone(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

/// The user at the other end of a UNIX socket. Its pid is 0 where it lives in another PID namespace, which rustix's type cannot hold.
pub(crate) fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length: libc::socklen_t = 12;
    // SAFETY: the structure that this option fills, and its length.
    let got = unsafe {
        let (peer, length): (*mut libc::ucred, *mut libc::socklen_t) =
            (&raw mut peer, &raw mut length);
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            peer.cast(),
            length,
        )
    };
    if got == 0 {
        Ok(peer.uid)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Becomes readable when the process is asked to end. To be called before there is a second thread.
pub(crate) fn termination() -> io::Result<OwnedFd> {
    // SAFETY: a set of signals is initialised before it is used, and the descriptor is nobody else's.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT] {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let flags: c_int = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        match libc::signalfd(-1, &raw const set, flags) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn memory_is_shared_and_nothing_is_outside_of_it() {
        let file = Memory::create(1024).unwrap();
        let [one, other] = [(), ()].map(|()| Memory::map(file.as_fd(), 1024).unwrap());
        one.store(1023, 7);
        one.store(1024, 8);
        assert_eq!(
            (other.load(1023), other.load(0), other.load(1024)),
            (7, 0, 0)
        );
        assert!(Memory::map(file.as_fd(), 1025).is_err());
        let plain = rustix::fs::memfd_create("plain", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&plain, 8).unwrap();
        assert!(Memory::map(plain.as_fd(), 1).is_err(), "it could shrink");
    }

    #[test]
    fn a_peer_is_known_by_its_user() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(
            peer_uid(one.as_fd()).unwrap(),
            rustix::process::getuid().as_raw()
        );
    }
}
