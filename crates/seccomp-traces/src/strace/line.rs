//! The anatomy of one line: what stands before a call, what it returned, and what else strace prints. It knows no line
//! but the one it looks at, and no syscall.

use std::borrow::Cow;

/// The largest process number (`PID_MAX_LIMIT`). A larger number in its place is a time.
const PID_MAX: u32 = 1 << 22;

/// What stands before a call.
pub struct Head<'a> {
    pub pid: Option<u32>,
    pub comm: &'a str,
    /// The call's number, which `-n` prints.
    pub number: Option<u32>,
    pub rest: &'a str,
}

impl<'a> Head<'a> {
    /// `[pid 12<name>] `, `12 `, times, `[ 257] `, `[00007f0f3ed9ac44] `, `[label] `; none if nothing else is there.
    pub fn read(line: &'a str) -> Option<Self> {
        let mut head = Self {
            pid: None,
            comm: "",
            number: None,
            rest: line,
        };
        loop {
            head.rest = head.rest.trim_start();
            let rest = head.rest;
            if rest.is_empty() {
                return None;
            }
            let next = if rest.starts_with("[ Process ") {
                None
            } else if let Some(inside) = rest.strip_prefix('[') {
                inside.split_once("] ").map(|(inside, after)| {
                    if let Some(id) = inside.strip_prefix("pid ") {
                        head.process(id.trim());
                    } else if inside.trim().len() < 8 {
                        head.number = inside.trim().parse().ok();
                    }
                    after
                })
            } else if let Some(inside) = rest.strip_prefix("(+") {
                inside.split_once(')').map(|(_, after)| after)
            } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
                head.leading_number()
            } else {
                None
            };
            match next {
                Some(after) => head.rest = after,
                None => return Some(head),
            }
        }
    }

    /// A process or a time: what follows it.
    fn leading_number(&mut self) -> Option<&'a str> {
        let rest = self.rest;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest.as_bytes().get(digits) {
            Some(b' ') => {
                if self.pid.is_none() {
                    self.process(&rest[..digits]);
                }
                Some(&rest[digits..])
            }
            // The name of a thread may hold anything; strace escapes `<` and `>` in it.
            Some(b'<') => {
                let end = rest.find("> ")? + 1;
                self.process(&rest[..end]);
                Some(&rest[end..])
            }
            Some(b':' | b'.') => {
                let end = rest.find(' ')?;
                let is_time = rest[..end]
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b == b':' || b == b'.');
                is_time.then_some(&rest[end..])
            }
            _ => None,
        }
    }

    /// `12` or `12<name>`
    fn process(&mut self, text: &'a str) {
        let (number, name) = text.split_once('<').unwrap_or((text, ""));
        if let Some(pid) = pid(number) {
            self.pid = Some(pid);
            self.comm = name.strip_suffix('>').unwrap_or(name);
        }
    }
}

/// A process's number; none if it is no number that a process can have.
pub fn pid(text: impl AsRef<[u8]>) -> Option<u32> {
    let mut digits = text.as_ref().iter();
    let number = digits.try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    (1..=PID_MAX).contains(&number).then_some(number)
}

/// Whether it may be the name of a syscall.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether the call makes another program of its process.
pub fn is_exec(name: &str) -> bool {
    name == "execve" || name == "execveat"
}

/// Signals, stops, what strace says of itself, stacks (`-k`), calls that it could not read, and the second part of a
/// line that one of strace's own messages has split.
pub fn is_silent(rest: &str) -> bool {
    const STARTS: [&str; 8] = [
        "--- ",
        "strace: ",
        "> ",
        "????",
        "<unfinished ...>",
        ") = ",
        ", ",
        "<detached ...>",
    ];
    let attached = rest.strip_prefix("Process ").is_some_and(|r| {
        ["attached", "detached", "suspended", "resumed"]
            .iter()
            .any(|end| r.contains(end))
    });
    // What follows when the program has written where strace does: `)                  = 6`.
    let end = rest
        .strip_prefix(')')
        .is_some_and(|r| r.trim_start().starts_with("= "));
    attached || end || STARTS.iter().any(|start| rest.starts_with(start))
}

/// `vfork(strace: Process 12 attached`: what stands before the message, and the process.
pub fn attached(line: &str) -> Option<(&str, u32)> {
    let line = line.strip_suffix(" attached")?;
    let (before, child) = line.rsplit_once("Process ")?;
    Some((
        before.strip_suffix("strace: ").unwrap_or(before),
        pid(child)?,
    ))
}

/// `[ Process PID=1234 runs in 32 bit mode. ]`: from the number on.
pub fn marker(rest: &str) -> Option<&str> {
    let rest = rest.strip_prefix("strace: ").unwrap_or(rest);
    rest.strip_prefix("[ Process PID=")
}

/// `<... read resumed>"", 832) = 832`
pub fn resumed(rest: &str) -> Option<(&str, Option<&str>)> {
    let (name, after) = rest.strip_prefix("<... ")?.split_once(" resumed>")?;
    Some((name, outcome(after)))
}

/// What a call returned, if it did.
pub fn outcome(after: &str) -> Option<&str> {
    if after.ends_with("<unfinished ...>") {
        return None;
    }
    after.rfind(") = ").map(|at| &after[at + 4..]).or_else(|| {
        // strace pads short calls: `getpid()                = 12`
        let (before, result) = after.rsplit_once(" = ")?;
        before.trim_end().ends_with(')').then_some(result)
    })
}

/// The name of the system call, in ltrace's words: `SYS_brk(`, `brk@SYS(`.
pub fn ltrace_syscall(name: &str) -> Option<&str> {
    name.strip_suffix("@SYS")
        .map(|name| name.strip_prefix("SYS_").unwrap_or(name))
        .or_else(|| name.strip_prefix("SYS_"))
}

/// The first string among arguments.
pub fn first_string(arguments: &str) -> Option<String> {
    let (_, start) = arguments.split_once('"')?;
    let mut end = 0;
    let bytes = start.as_bytes();
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some(unescaped(start.get(..end)?).into_owned())
}

/// What strace has escaped: `\76`, `\x2f` (of `-x` and `-xx`), `\n`.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (digits, radix) = match after {
            [b'x', hex @ ..] => (hex, 16),
            octal => (octal, 8),
        };
        let most = if radix == 16 { 2 } else { 3 };
        let length = digits
            .iter()
            .take(most)
            .take_while(|b| char::from(**b).is_digit(radix))
            .count();
        if length > 0 {
            let value = digits[..length]
                .iter()
                .filter_map(|b| char::from(*b).to_digit(radix))
                .fold(0, |value, digit| value * radix + digit);
            bytes.push(u8::try_from(value).unwrap_or(b'?'));
            rest = &digits[length..];
            continue;
        }
        if let [escaped, after @ ..] = after {
            bytes.push(match escaped {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'v' => 0x0b,
                b'f' => 0x0c,
                other => *other,
            });
            rest = after;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the kernel calls a process that executes this: `TASK_COMM_LEN` is 16, with the final NUL.
pub fn comm_of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut end = name.len().min(15);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].into()
}
