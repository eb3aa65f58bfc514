//! `io-uring-bypass`: calls that are denied can be made through `io_uring`.

use std::sync::LazyLock;

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::syscall::Syscall;
use crate::syscall::named;

/// What `io_uring` does in a program's stead (kernel `include/uapi/linux/io_uring.h`), past every filter.
static BY_IO_URING: LazyLock<Vec<Syscall>> = LazyLock::new(|| {
    let names = "accept accept4 bind connect fadvise64 fallocate fgetxattr fsetxattr fsync ftruncate \
    getxattr linkat listen madvise mkdirat openat openat2 read readv recv recvmsg renameat renameat2 send sendmsg \
    sendto setxattr shutdown socket splice statx symlinkat sync_file_range unlinkat write writev";
    named(names).collect()
});

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let setup = Syscall::IO_URING_SETUP;
    if !subject.is_open(setup) {
        return;
    }
    let denied: Vec<_> = subject
        .denials()
        .into_iter()
        .flat_map(|(_, calls, _)| calls)
        .copied()
        .filter(|call| BY_IO_URING.contains(call))
        .filter(|call| subject.is_refused(*call))
        .collect();
    if let [first, ..] = denied[..] {
        findings.push(Finding {
            code: Code::IoUringBypass,
            severity: Severity::Warning,
            path: subject.place_that_refuses(first),
            reason: format!(
                "denies {}, and io_uring, which is open, does the same where no filter sees it",
                listed(&denied)
            ),
            remedy: format!("deny {setup} too"),
        });
    }
}
