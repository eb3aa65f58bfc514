//! Error numbers and their names.

use std::fmt;

use super::arch::Arch;
use super::suggest::suggestion;

/// What a call returns, negated, when it was not made: 0 to 4094. 0 makes a refused call look as if it had succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(u16);

impl Errno {
    /// What runtimes return when a profile does not say.
    pub const EPERM: Self = Self(1);
    /// What `socket(2)` returns for a socket that the caller may not have.
    pub const EACCES: Self = Self(13);
    /// What the kernel returns for a call that it does not have, so that libraries use an older one instead.
    pub const ENOSYS: Self = Self(38);

    /// The largest that libseccomp takes: one less than the kernel's `MAX_ERRNO` (2.5.4 to 2.6.1 at least,
    /// `sys_chk_seccomp_action`). With a larger one no container starts.
    pub const MAX: u16 = 4094;

    /// `None` over 4094.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        u16::try_from(number)
            .ok()
            .filter(|number| *number <= Self::MAX)
            .map(Self)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The usual name of the number on all architectures but MIPS, if it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let (name, ..) = NAMES.iter().find(|(_, number, _)| *number == self.0)?;
        Some(name)
    }
}

/// The name where the number has one, as on all architectures but MIPS.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// An error as an author states it: a number, or a name (Podman's format) whose number depends on the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatedErrno {
    Number(Errno),
    /// A position in the table of names.
    Name(usize),
}

impl StatedErrno {
    /// The error of that name, such as `ENOSYS`.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .position(|(known, ..)| *known == name)
            .map(Self::Name)
    }

    /// The error of that number.
    pub(super) fn numbered(number: u64) -> Option<Self> {
        Errno::new(number).map(Self::Number)
    }

    /// The error on an architecture.
    pub(super) fn on(self, arch: Arch) -> Errno {
        let (name, generic, mips) = match self {
            Self::Number(errno) => return errno,
            Self::Name(position) => NAMES[position],
        };
        match arch {
            Arch::Mips
            | Arch::Mips64
            | Arch::Mips64N32
            | Arch::Mipsel
            | Arch::Mipsel64
            | Arch::Mipsel64N32 => Errno(mips),
            Arch::Ppc | Arch::Ppc64 | Arch::Ppc64Le if name == "EDEADLOCK" => Errno(58),
            _ => Errno(generic),
        }
    }

    /// The name that a misspelt one was most likely meant to be.
    pub(super) fn suggestion_for(name: &str) -> &'static str {
        suggestion(name, NAMES.iter().map(|(name, ..)| *name)).unwrap_or("EPERM")
    }
}

/// Name, number, number on MIPS. From the kernel's `asm-generic/errno.h` and `arch/mips/.../errno.h`; of two names for
/// one number the usual one is first.
#[rustfmt::skip]
const NAMES: &[(&str, u16, u16)] = &[
    ("EPERM", 1, 1), ("ENOENT", 2, 2), ("ESRCH", 3, 3), ("EINTR", 4, 4),
    ("EIO", 5, 5), ("ENXIO", 6, 6), ("E2BIG", 7, 7), ("ENOEXEC", 8, 8),
    ("EBADF", 9, 9), ("ECHILD", 10, 10), ("EAGAIN", 11, 11), ("EWOULDBLOCK", 11, 11),
    ("ENOMEM", 12, 12), ("EACCES", 13, 13), ("EFAULT", 14, 14), ("ENOTBLK", 15, 15),
    ("EBUSY", 16, 16), ("EEXIST", 17, 17), ("EXDEV", 18, 18), ("ENODEV", 19, 19),
    ("ENOTDIR", 20, 20), ("EISDIR", 21, 21), ("EINVAL", 22, 22), ("ENFILE", 23, 23),
    ("EMFILE", 24, 24), ("ENOTTY", 25, 25), ("ETXTBSY", 26, 26), ("EFBIG", 27, 27),
    ("ENOSPC", 28, 28), ("ESPIPE", 29, 29), ("EROFS", 30, 30), ("EMLINK", 31, 31),
    ("EPIPE", 32, 32), ("EDOM", 33, 33), ("ERANGE", 34, 34), ("EDEADLK", 35, 45),
    ("EDEADLOCK", 35, 56), ("ENAMETOOLONG", 36, 78), ("ENOLCK", 37, 46), ("ENOSYS", 38, 89),
    ("ENOTEMPTY", 39, 93), ("ELOOP", 40, 90), ("ENOMSG", 42, 35), ("EIDRM", 43, 36),
    ("ECHRNG", 44, 37), ("EL2NSYNC", 45, 38), ("EL3HLT", 46, 39), ("EL3RST", 47, 40),
    ("ELNRNG", 48, 41), ("EUNATCH", 49, 42), ("ENOCSI", 50, 43), ("EL2HLT", 51, 44),
    ("EBADE", 52, 50), ("EBADR", 53, 51), ("EXFULL", 54, 52), ("ENOANO", 55, 53),
    ("EBADRQC", 56, 54), ("EBADSLT", 57, 55), ("EBFONT", 59, 59), ("ENOSTR", 60, 60),
    ("ENODATA", 61, 61), ("ETIME", 62, 62), ("ENOSR", 63, 63), ("ENONET", 64, 64),
    ("ENOPKG", 65, 65), ("EREMOTE", 66, 66), ("ENOLINK", 67, 67), ("EADV", 68, 68),
    ("ESRMNT", 69, 69), ("ECOMM", 70, 70), ("EPROTO", 71, 71), ("EMULTIHOP", 72, 74),
    ("EDOTDOT", 73, 73), ("EBADMSG", 74, 77), ("EFSBADCRC", 74, 77), ("EOVERFLOW", 75, 79),
    ("ENOTUNIQ", 76, 80), ("EBADFD", 77, 81), ("EREMCHG", 78, 82), ("ELIBACC", 79, 83),
    ("ELIBBAD", 80, 84), ("ELIBSCN", 81, 85), ("ELIBMAX", 82, 86), ("ELIBEXEC", 83, 87),
    ("EILSEQ", 84, 88), ("ERESTART", 85, 91), ("ESTRPIPE", 86, 92), ("EUSERS", 87, 94),
    ("ENOTSOCK", 88, 95), ("EDESTADDRREQ", 89, 96), ("EMSGSIZE", 90, 97), ("EPROTOTYPE", 91, 98),
    ("ENOPROTOOPT", 92, 99), ("EPROTONOSUPPORT", 93, 120), ("ESOCKTNOSUPPORT", 94, 121), ("EOPNOTSUPP", 95, 122),
    ("ENOTSUP", 95, 122), ("EPFNOSUPPORT", 96, 123), ("EAFNOSUPPORT", 97, 124), ("EADDRINUSE", 98, 125),
    ("EADDRNOTAVAIL", 99, 126), ("ENETDOWN", 100, 127), ("ENETUNREACH", 101, 128), ("ENETRESET", 102, 129),
    ("ECONNABORTED", 103, 130), ("ECONNRESET", 104, 131), ("ENOBUFS", 105, 132), ("EISCONN", 106, 133),
    ("ENOTCONN", 107, 134), ("ESHUTDOWN", 108, 143), ("ETOOMANYREFS", 109, 144), ("ETIMEDOUT", 110, 145),
    ("ECONNREFUSED", 111, 146), ("EHOSTDOWN", 112, 147), ("EHOSTUNREACH", 113, 148), ("EALREADY", 114, 149),
    ("EINPROGRESS", 115, 150), ("ESTALE", 116, 151), ("EFSCORRUPTED", 117, 135), ("EUCLEAN", 117, 135),
    ("ENOTNAM", 118, 137), ("ENAVAIL", 119, 138), ("EISNAM", 120, 139), ("EREMOTEIO", 121, 140),
    ("EDQUOT", 122, 1133), ("ENOMEDIUM", 123, 159), ("EMEDIUMTYPE", 124, 160), ("ECANCELED", 125, 158),
    ("ENOKEY", 126, 161), ("EKEYEXPIRED", 127, 162), ("EKEYREVOKED", 128, 163), ("EKEYREJECTED", 129, 164),
    ("EOWNERDEAD", 130, 165), ("ENOTRECOVERABLE", 131, 166), ("ERFKILL", 132, 167), ("EHWPOISON", 133, 168),
    ("EFTYPE", 134, 169),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_number_of_the_architecture() {
        let enosys = StatedErrno::named("ENOSYS").unwrap();
        assert_eq!(enosys.on(Arch::X86_64), Errno::ENOSYS);
        assert_eq!(enosys.on(Arch::Mipsel64).get(), 89);
        assert_eq!(
            StatedErrno::named("EDEADLOCK")
                .unwrap()
                .on(Arch::Ppc64Le)
                .get(),
            58
        );
        assert_eq!(StatedErrno::named("ENOSUCH"), None);
    }

    #[test]
    fn prints_the_usual_name() {
        let names: Vec<_> = [1, 11, 38, 95, 4094]
            .map(|n| Errno::new(n).unwrap().to_string())
            .into();
        assert_eq!(names, ["EPERM", "EAGAIN", "ENOSYS", "EOPNOTSUPP", "4094"]);
        assert_eq!(Errno::new(4095), None);
    }
}
