//! What the kernel's audit log says of filters: the only place that tells `SCMP_ACT_LOG` from `SCMP_ACT_ALLOW`, and one way
//! to die from the other.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// One record of a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// The address behind the instruction that made it.
    pub ip: u64,
    /// The action, as the kernel's `SECCOMP_RET_*`, without its value.
    pub code: u32,
}

/// A listener to all records of this machine.
pub struct Log {
    socket: OwnedFd,
    marker: Marker,
}

/// A thread with a record of its own, to know that all records before it have come.
struct Marker {
    name: String,
    call: Option<Sender<()>>,
    called: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

static LOGS: AtomicUsize = AtomicUsize::new(0);

impl Log {
    /// It takes root in the machine's own network namespace.
    pub fn open() -> io::Result<Self> {
        // SAFETY: the socket is owned by nobody else; the addresses are of what each call reads, with its length.
        let socket = unsafe {
            let socket = libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_AUDIT,
            );
            if socket < 0 {
                return Err(io::Error::last_os_error());
            }
            let socket = OwnedFd::from_raw_fd(socket);
            let set = |option, value: *const libc::c_void, length: usize| {
                let length = u32::try_from(length).unwrap_or(0);
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
            };
            let size: libc::c_int = 64 << 20;
            set(
                libc::SO_RCVBUFFORCE,
                (&raw const size).cast(),
                size_of_val(&size),
            );
            // Not for ever: in a network namespace of its own there are no records.
            let patience = libc::timeval {
                tv_sec: 10,
                tv_usec: 0,
            };
            set(
                libc::SO_RCVTIMEO,
                (&raw const patience).cast(),
                size_of_val(&patience),
            );
            let mut address: libc::sockaddr_nl = std::mem::zeroed();
            address.nl_family = 16; // AF_NETLINK
            address.nl_groups = 1; // AUDIT_NLGRP_READLOG
            let length = u32::try_from(size_of_val(&address)).unwrap_or(0);
            if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) != 0 {
                return Err(io::Error::last_os_error());
            }
            socket
        };
        let mut log = Self {
            socket,
            marker: Marker::start()?,
        };
        log.records("")?;
        Ok(log)
    }

    /// The records so far of processes of that name.
    pub fn records(&mut self, name: &str) -> io::Result<Vec<Record>> {
        self.marker.make();
        let mut records = Vec::new();
        loop {
            let mut buffer = [0u8; 9000];
            // SAFETY: `buffer` has that many bytes.
            let length = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                )
            };
            let Ok(length) = usize::try_from(length) else {
                return Err(io::Error::last_os_error());
            };
            let text = String::from_utf8_lossy(buffer.get(16..length).unwrap_or_default());
            let field = |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key));
            match field("comm=").map(|comm| comm.trim_matches('"')) {
                Some(comm) if comm == self.marker.name => return Ok(records),
                Some(comm) if comm == name => {
                    let hex = |key| {
                        let digits = field(key).unwrap().trim_start_matches("0x");
                        u64::from_str_radix(digits, 16).unwrap()
                    };
                    records.push(Record {
                        ip: hex("ip="),
                        code: u32::try_from(hex("code=")).unwrap(),
                    });
                }
                _ => {}
            }
        }
    }
}

impl Marker {
    fn start() -> io::Result<Self> {
        let (call, calls) = channel::<()>();
        let (done, called) = channel();
        let log = LOGS.fetch_add(1, Ordering::Relaxed);
        let name = format!("m{:x}-{log}", std::process::id());
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
                let mut filter = [
                    instruction(0x20, 0, 0, 0),
                    instruction(0x15, 0, 1, u32::try_from(libc::SYS_getppid).unwrap()),
                    instruction(0x06, 0, 0, libc::SECCOMP_RET_LOG),
                    instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
                ];
                let program = libc::sock_fprog {
                    len: 4,
                    filter: filter.as_mut_ptr(),
                };
                // SAFETY: the filter is for this thread alone, and lets every call through.
                let loaded = unsafe {
                    libc::syscall(
                        libc::SYS_seccomp,
                        libc::SECCOMP_SET_MODE_FILTER,
                        0,
                        &raw const program,
                    )
                };
                assert_eq!(loaded, 0, "{}", io::Error::last_os_error());
                for () in calls {
                    // SAFETY: it has no arguments and no effect.
                    unsafe { libc::syscall(libc::SYS_getppid) };
                    done.send(()).unwrap();
                }
            })?;
        Ok(Self {
            name,
            call: Some(call),
            called,
            thread: Some(thread),
        })
    }

    fn make(&self) {
        self.call.as_ref().unwrap().send(()).unwrap();
        self.called.recv().unwrap();
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        self.call = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
