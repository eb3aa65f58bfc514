//! Which arguments of a call a trace shows as a filter sees them: numbers, and words for numbers. What a program passes by
//! pointer, and what strace shows of it otherwise, is not known, and nothing is guessed.

use super::constants;
use seccomp_profile::{Arch, Syscall};

/// What is known of the arguments of a call, from the first to the sixth.
pub type Known = [Option<u64>; 6];

/// The arguments of a call as a trace has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given<'a> {
    /// It has none.
    Nothing,
    /// What strace prints behind the bracket of the call of that name.
    Printed {
        /// The call's name, as printed.
        name: &'a str,
        /// All that follows.
        text: &'a str,
    },
    /// What registers held.
    Registers(Known),
}

impl Given<'_> {
    /// The numbers that a filter for `arch` sees of them where the kernel was called for `call`.
    #[must_use]
    pub fn known(&self, call: Syscall, arch: Arch) -> Known {
        let known = match *self {
            Self::Nothing => [None; 6],
            Self::Registers(known) => known,
            Self::Printed { name, text } => {
                // Made through `socketcall` or `ipc`, which gets them by a pointer.
                let asked = Syscall::named(name).and_then(|named| named.multiplexed(arch));
                match asked {
                    Some((through, number)) if through == call => {
                        // `ipc` has a version in the upper half of the number, which strace does not show.
                        let number = Some(number).filter(|_| call == Syscall::SOCKETCALL);
                        [number, None, None, None, None, None]
                    }
                    _ => printed(name, text, arch),
                }
            }
        };
        if arch.is_64_bit() {
            known
        } else {
            known.map(|value| value.map(|value| value & u64::from(u32::MAX)))
        }
    }

    /// What strace prints of them, with the name of the call; none where nothing is shown.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        let Self::Printed { name, text } = self else {
            return None;
        };
        Some(format!("{name}({})", whole(text)))
    }
}

/// Calls of 32-bit programs with a number that takes two registers, and calls whose numbers are in memory; from which argument
/// on what strace prints is not what a register holds.
const SPLIT: [(&str, usize); 16] = [
    ("_llseek", 1),
    ("arm_fadvise64_64", 2),
    ("fadvise64", 1),
    ("fadvise64_64", 1),
    ("fallocate", 2),
    ("fanotify_mark", 2),
    ("ftruncate64", 1),
    ("lookup_dcookie", 0),
    ("pread64", 3),
    ("preadv", 3),
    ("preadv2", 3),
    ("pwrite64", 3),
    ("pwritev", 3),
    ("pwritev2", 3),
    ("readahead", 1),
    ("sync_file_range", 1),
];

/// The first argument that is not where strace prints it.
fn first_elsewhere(name: &str, arch: Arch) -> usize {
    let in_memory = match name {
        "old_mmap" | "old_select" => true,
        "mmap" => matches!(arch, Arch::X86 | Arch::S390 | Arch::S390X),
        "select" => matches!(arch, Arch::X86 | Arch::S390),
        _ => false,
    };
    if in_memory {
        return 0;
    }
    let split = SPLIT.iter().find(|(split, _)| *split == name);
    match split {
        Some((_, first)) if !arch.is_64_bit() => *first,
        None if !arch.is_64_bit() && ["truncate64", "sync_file_range2"].contains(&name) => 1,
        _ => 6,
    }
}

fn printed(name: &str, text: &str, arch: Arch) -> Known {
    let mut known = [None; 6];
    let first_elsewhere = first_elsewhere(name, arch);
    for (i, argument) in split(whole(text)).enumerate().take(6) {
        let (title, argument) = titled(argument);
        // strace shows these in an order of its own.
        let i = match (name, title) {
            ("clone", Some("flags")) => usize::from(arch == Arch::S390X || arch == Arch::S390),
            ("clone", Some("child_stack")) => {
                usize::from(arch != Arch::S390X && arch != Arch::S390)
            }
            ("clone", _) => continue,
            _ => i,
        };
        if i < first_elsewhere {
            known[i] = value(argument, arch);
        }
    }
    known
}

/// The arguments of a call as people write them: those that matter, in the order of its manual page, as numbers or by the names that strace
/// prints; `_` for one that may be any.
pub fn written(call: Syscall, text: &str, arch: Arch) -> Result<Known, String> {
    let mut known = [None; 6];
    if text.trim().is_empty() {
        return Ok(known);
    }
    for (i, argument) in split(text).enumerate() {
        let place = match i {
            0 | 1 if call.name() == "clone" && matches!(arch, Arch::S390 | Arch::S390X) => 1 - i,
            _ => i,
        };
        let slot = known
            .get_mut(place)
            .ok_or("a call has at most six arguments")?;
        if argument == "_" {
            continue;
        }
        let value = value(argument, arch).or_else(|| negative(argument));
        let value = value.ok_or_else(|| {
            format!("{argument:?} is neither a number nor a name that is known here; write the number (0x...), or _ for any")
        })?;
        let width = if arch.is_64_bit() {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        };
        *slot = Some(value & width);
    }
    Ok(known)
}

/// People write `-1` where a program does.
fn negative(argument: &str) -> Option<u64> {
    argument.parse().ok().map(i64::cast_unsigned)
}

/// The arguments without what follows them.
fn whole(text: &str) -> &str {
    let text = text.strip_suffix(" <unfinished ...>").unwrap_or(text);
    let end = ends(text).find(|(_, end)| *end == ')');
    end.map_or(text, |(at, _)| &text[..at])
}

/// Where arguments end, and by what: commas and the closing bracket that are in no string, list, structure or comment.
fn ends(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut depth, mut in_string, mut escaped, mut before) = (0_usize, false, false, ' ');
    text.char_indices().filter(move |(_, c)| {
        let was = std::mem::replace(&mut before, *c);
        if in_string {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            in_string = !ends;
            return false;
        }
        match c {
            '"' => in_string = true,
            '(' | '[' | '{' => depth += 1,
            // `3</dev/null>`, not `1<<5`.
            '<' if was.is_ascii_digit() => depth += 1,
            ')' if depth == 0 => return true,
            '>' if depth > 0 && was != '-' => depth -= 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *c == ',' && depth == 0
    })
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let commas: Vec<_> = ends(text).filter(|(_, c)| *c == ',').collect();
    let ends = commas.into_iter().map(|(at, _)| at).chain([text.len()]);
    ends.map(move |end| {
        let part = text.get(start..end).unwrap_or("");
        start = end + 1;
        part.trim()
    })
}

/// `flags=CLONE_VM`, and every argument with `-N`.
fn titled(argument: &str) -> (Option<&str>, &str) {
    let is_title = |title: &str| {
        title.starts_with(|c: char| c.is_ascii_lowercase())
            && title
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match argument.split_once('=') {
        Some((title, argument)) if is_title(title) => (Some(title), argument),
        _ => (None, argument),
    }
}

/// `AF_INET`, `SOCK_STREAM|SOCK_CLOEXEC`, `0x80001`, `0644`, `3</dev/null>`, `0x29 /* PR_??? */`.
fn value(argument: &str, arch: Arch) -> Option<u64> {
    let argument = match argument.split_once(" /*") {
        Some((argument, comment)) if comment.ends_with("*/") => argument,
        Some(_) => return None,
        None => argument,
    };
    // Which file it is.
    let argument = match argument.split_once('<') {
        Some((number, file)) if file.ends_with('>') && is_decimal(number) => number,
        Some(_) => return None,
        None => argument,
    };
    if let Some(positive) = argument.strip_prefix('-') {
        // Of a 64-bit register that holds an `int` the upper half may be either.
        let value = number(positive)?;
        return (!arch.is_64_bit()).then(|| value.wrapping_neg());
    }
    let parts = argument.split('|').map(|part| {
        let part = part.trim();
        match part {
            "NULL" => Some(0),
            _ => number(part).or_else(|| constants::value(part, arch)),
        }
    });
    parts.reduce(|all, part| Some(all? | part?)).flatten()
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(digits) if is_decimal(digits) => u64::from_str_radix(digits, 8).ok(),
        _ if is_decimal(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(line: &str, arch: Arch) -> Vec<Option<u64>> {
        let (name, text) = line.split_once('(').unwrap();
        let call = Syscall::named(name).unwrap();
        let known = Given::Printed { name, text }.known(call, arch);
        let last = known.iter().rposition(Option::is_some);
        known[..last.map_or(0, |last| last + 1)].to_vec()
    }

    #[test]
    fn numbers_and_their_names_are_known_and_nothing_else_is() {
        let flags = 0x0120_0011;
        for (line, want) in [
            (
                "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3",
                &[Some(2), Some(0x80001), Some(6)][..],
            ),
            (
                "socket(AF_UNKNOWN_YET, SOCK_RAW, 0) = 3",
                &[None, Some(3), Some(0)],
            ),
            (
                "socket(0x2 /* AF_INET */, 1 /* SOCK_STREAM */, 0) = 3",
                &[Some(2), Some(1), Some(0)],
            ),
            (
                "socket(domain=AF_ALG, type=SOCK_SEQPACKET, protocol=0) = -1 EPERM (Operation not permitted)",
                &[Some(38), Some(5), Some(0)],
            ),
            (
                "socket(AF_INET, SOCK_STREAM, IPPROTO_IP <unfinished ...>",
                &[Some(2), Some(1), Some(0)],
            ),
            (
                "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f2a) = 13",
                &[Some(flags), Some(0)],
            ),
            (
                "clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD}, 88) = 13",
                &[None, Some(88)],
            ),
            ("unshare(CLONE_NEWUSER|0x1) = 0", &[Some(0x1000_0001)]),
            ("unshare(CLONE_NEWUSER|CLONE_NEWER) = 0", &[]),
            (
                "openat(AT_FDCWD, \"a, b) = 3\", O_RDONLY|O_CLOEXEC) = 3",
                &[None, None, Some(0o2_000_000)],
            ),
            (
                "write(1</tmp/a, b>, \"\\\"), 5\", 5) = 5",
                &[Some(1), None, Some(5)],
            ),
            ("chmod(\"/a\", 04755) = 0", &[None, Some(0o4755)]),
            (
                "mknod(\"/a\", S_IFCHR|0666, makedev(0x1, 0x3)) = 0",
                &[None, Some(0o20666)],
            ),
            (
                "personality(0xffffffff) = 0 (PER_LINUX)",
                &[Some(0xffff_ffff)],
            ),
            (
                "personality(PER_LINUX|ADDR_NO_RANDOMIZE) = 0",
                &[Some(0x40000)],
            ),
            ("kill(-1, SIGTERM) = 0", &[None, Some(15)]),
            (
                "ioctl(0</dev/pts/1<char 136:1>>, TIOCSTI, \"\") = 0",
                &[Some(0), Some(0x5412)],
            ),
            (
                "ioctl(3, SOME_NEW_THING, 0x7ffe) = 0",
                &[Some(3), None, Some(0x7ffe)],
            ),
            (
                "rt_sigaction(SIGINT, {sa_handler=SIG_IGN, sa_mask=[], sa_flags=0}, NULL, 8) = 0",
                &[Some(2), None, Some(0), Some(8)],
            ),
            (
                "capget({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, NULL) = 0",
                &[None, Some(0)],
            ),
            ("getpid() = 1", &[]),
            ("read(3, ", &[Some(3)]),
        ] {
            assert_eq!(known(line, Arch::X86_64), want, "{line}");
        }
    }

    #[test]
    fn what_people_write_is_known_or_said_to_be_unknown() {
        let written = |name, text, arch| written(Syscall::named(name).unwrap(), text, arch);
        let amd64 = |name, text| written(name, text, Arch::X86_64).map(|known| known[..3].to_vec());
        assert_eq!(amd64("getpid", ""), Ok(vec![None; 3]));
        assert_eq!(
            amd64("socket", "AF_INET, _, 0x6"),
            Ok(vec![Some(2), None, Some(6)])
        );
        let flags = Some(0x1000_0011);
        assert_eq!(
            amd64("clone", "CLONE_NEWUSER|SIGCHLD"),
            Ok(vec![flags, None, None])
        );
        let on_s390x = written("clone", "CLONE_NEWUSER|SIGCHLD", Arch::S390X).unwrap();
        assert_eq!(on_s390x[..2], [None, flags]);
        let on_x86 = written("personality", "0x1ffffffff", Arch::X86).unwrap();
        assert_eq!(on_x86[0], Some(0xffff_ffff));
        assert_eq!(amd64("kill", "-1"), Ok(vec![Some(u64::MAX), None, None]));
        for (text, reason) in [
            ("AF_ALGG", "\"AF_ALGG\" is neither a number"),
            ("0, 1, 2, 3, 4, 5, 6", "a call has at most six arguments"),
        ] {
            let error = amd64("socket", text).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn a_register_of_32_bits_holds_what_it_can() {
        assert_eq!(
            known("kill(-1, SIGTERM)", Arch::X86),
            [Some(0xffff_ffff), Some(15)]
        );
        // The offset takes two registers, and strace shows one number.
        assert_eq!(
            known("pread64(3, \"\", 1, 5)", Arch::X86),
            [Some(3), None, Some(1)]
        );
        assert_eq!(
            known("pread64(3, \"\", 1, 5)", Arch::X86_64),
            [Some(3), None, Some(1), Some(5)]
        );
        assert_eq!(
            known("mmap(NULL, 8192, PROT_READ, 0x2, 3, 0)", Arch::X86),
            []
        );
        let clone = "clone(child_stack=NULL, flags=SIGCHLD)";
        assert_eq!(known(clone, Arch::S390X), [Some(0), Some(17)]);
    }

    #[test]
    fn what_is_made_through_socketcall_has_its_number_and_a_pointer() {
        let socket = Given::Printed {
            name: "socket",
            text: "AF_INET, SOCK_STREAM, 0) = 3",
        };
        let known = |call: &str| socket.known(Syscall::named(call).unwrap(), Arch::X86);
        assert_eq!(known("socketcall"), [Some(1), None, None, None, None, None]);
        assert_eq!(known("socket")[..3], [Some(2), Some(1), Some(0)]);
    }
}
