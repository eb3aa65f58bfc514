//! A call as users name it on the command line: `keyctl`, `socket(AF_ALG)`, `socket(_, SOCK_RAW)`, `socket:38,5`, and `@keyring` for
//! all calls of a group. Every command that takes calls reads them here.

use super::machine;
use seccomp_profile::{Arch, Syscall, group};
use seccomp_traces::{Known, written};

/// A call, and what is said of its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// As the user wrote it.
    pub text: String,
    pub syscall: Syscall,
    /// What is between the brackets.
    pub arguments: String,
    /// The same on an architecture like this machine's.
    pub args: Known,
}

impl Call {
    /// What is stated of the arguments on this architecture.
    pub fn known(&self, arch: Arch) -> Result<Known, String> {
        written(self.syscall, &self.arguments, arch)
    }
}

/// One call, or those of a group.
pub fn parse(text: &str) -> Result<Vec<Call>, String> {
    if !text.starts_with('@') {
        return one(text).map(|call| vec![call]);
    }
    let calls = group(text).ok_or("no group has that name; docs/profiles.md lists them")?;
    let one = |syscall: Syscall| Call {
        text: syscall.name().into(),
        syscall,
        arguments: String::new(),
        args: [None; 6],
    };
    Ok(calls.into_iter().map(one).collect())
}

/// One call.
pub fn one(text: &str) -> Result<Call, String> {
    let (name, list) = split(text)?;
    let syscall = named(name.trim())?;
    let args = written(syscall, list, machine::HOST)?;
    Ok(Call {
        text: text.into(),
        syscall,
        arguments: list.into(),
        args,
    })
}

/// The call of that name, or which may be meant.
fn named(name: &str) -> Result<Syscall, String> {
    Syscall::named(name).ok_or_else(|| {
        let meant = Syscall::meant_by(name).into_iter();
        let meant: Vec<_> = meant.map(Syscall::name).collect();
        let meant = match meant.as_slice() {
            [] => Syscall::suggestion_for(name).map(|call| format!("; did you mean {call}?")),
            calls => Some(format!("; the call is {}", calls.join(" or "))),
        };
        format!("no syscall has that name{}", meant.unwrap_or_default())
    })
}

/// The name and the arguments, in brackets or behind a colon.
fn split(text: &str) -> Result<(&str, &str), String> {
    match text.find(['(', ':']) {
        None => Ok((text, "")),
        Some(at) if text[at..].starts_with(':') => Ok((&text[..at], &text[at + 1..])),
        Some(at) => {
            let list = text[at + 1..].strip_suffix(')');
            let list = list.ok_or("its bracket is not closed")?;
            Ok((&text[..at], list))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_written_with_brackets_or_with_a_colon() {
        for (text, name, args) in [
            ("keyctl", "keyctl", &[][..]),
            ("socket(AF_ALG)", "socket", &[Some(38)]),
            ("socket(38, 5)", "socket", &[Some(38), Some(5)]),
            ("socket:38,5", "socket", &[Some(38), Some(5)]),
            ("socket:AF_ALG", "socket", &[Some(38)]),
            ("socket(_, SOCK_RAW)", "socket", &[None, Some(3)]),
            (
                "unshare(CLONE_NEWUSER|CLONE_NEWNS)",
                "unshare",
                &[Some(0x1002_0000)],
            ),
            (
                "personality:0xffffffff",
                "personality",
                &[Some(0xffff_ffff)],
            ),
            ("bpf()", "bpf", &[]),
        ] {
            let call = one(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((call.text.as_str(), call.syscall.name()), (text, name));
            assert_eq!(&call.args[..args.len()], args, "{text}");
            assert!(call.args[args.len()..].iter().all(Option::is_none));
        }
        assert!(parse("@keyring").is_ok_and(|calls| calls.len() == 3));
    }

    #[test]
    fn what_is_no_call_is_said_with_what_was_meant() {
        for (text, part) in [
            ("chmdo", "did you mean chmod?"),
            ("socket(AF_ALG", "bracket is not closed"),
            ("socket(AF_NONE)", "\"AF_NONE\" is neither a number"),
            ("bpf:1,2,3,4,5,6,7", "at most six arguments"),
            ("@keyrings", "no group has that name"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
