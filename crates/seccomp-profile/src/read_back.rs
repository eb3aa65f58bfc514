//! Whether a file says what a profile says, read as plainly as runtimes read it: the check of what is about to be published.

use serde::Deserialize;

use super::action::Action;
use super::arch::Arch;
use super::condition::{ArgIndex, Condition, Operator};
use super::errno::Errno;
use super::oci::{Flag, Flags, Listener, Profile, Rule};
use super::read::MAX_BYTES;
use super::syscall::Syscall;

impl Profile {
    /// Whether these bytes are [`to_canonical_json`](Self::to_canonical_json) of this very profile: they are read as runtimes read them, and what is read
    /// is compared. Quicker than [`parse_slice`](super::parse_slice), which explains what is wrong, and reads both formats.
    #[must_use]
    pub fn is_written_as(&self, bytes: &[u8]) -> bool {
        let read = serde_json::from_slice::<Stored>(bytes).ok();
        let read = read.filter(|_| bytes.len() <= MAX_BYTES);
        read.and_then(Stored::profile).as_ref() == Some(self)
    }
}

/// A file, as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored<'a> {
    default_action: &'a str,
    default_errno_ret: Option<u16>,
    architectures: Vec<&'a str>,
    #[serde(default)]
    flags: Vec<&'a str>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(borrow, default)]
    syscalls: Vec<StoredEntry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredEntry<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    action: &'a str,
    errno_ret: Option<u16>,
    #[serde(borrow, default)]
    args: Vec<StoredArg<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredArg<'a> {
    index: u8,
    value: u64,
    value_two: Option<u64>,
    op: &'a str,
}

impl Stored<'_> {
    /// What it says; none if it says anything that is not written so.
    fn profile(self) -> Option<Profile> {
        let listener = match (self.listener_path, self.listener_metadata) {
            (None, None) => None,
            (None, Some(_)) => return None,
            (Some(path), metadata) => Some(Listener { path, metadata }),
        };
        let architectures = self.architectures.iter().map(|name| Arch::named(name));
        let mut flags = self.flags.iter();
        let flags = flags.try_fold(Flags::EMPTY, |flags, name| {
            Some(flags.with(Flag::named(name)?))
        });
        Some(Profile {
            default_action: action(self.default_action, self.default_errno_ret)?,
            states_architectures: !self.architectures.is_empty(),
            architectures: architectures.collect::<Option<_>>()?,
            flags: flags?,
            listener,
            rules: self
                .syscalls
                .into_iter()
                .map(StoredEntry::rule)
                .collect::<Option<_>>()?,
        })
    }
}

impl StoredEntry<'_> {
    fn rule(self) -> Option<Rule> {
        let syscalls = self.names.iter().map(|name| Syscall::named(name));
        let conditions = self.args.iter().map(StoredArg::condition);
        Some(Rule {
            syscalls: syscalls.collect::<Option<_>>()?,
            conditions: conditions.collect::<Option<_>>()?,
            action: action(self.action, self.errno_ret)?,
        })
    }
}

impl StoredArg<'_> {
    fn condition(&self) -> Option<Condition> {
        let masked = Operator::MaskedEqual { mask: self.value };
        let (operator, value) = match self.value_two {
            Some(value) if self.op == masked.name() => (masked, value),
            Some(_) => return None,
            None => (plain(self.op)?, self.value),
        };
        Some(Condition {
            arg: ArgIndex::new(self.index.into())?,
            operator,
            value,
        })
    }
}

/// Of the operators without a mask.
fn plain(name: &str) -> Option<Operator> {
    let all = [
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Equal,
        Operator::GreaterOrEqual,
        Operator::Greater,
    ];
    all.into_iter().find(|operator| operator.name() == name)
}

/// An action that carries an error states it, and no other does.
fn action(name: &str, errno: Option<u16>) -> Option<Action> {
    let stated = errno.map(|errno| Errno::new(errno.into()));
    let action = Action::named(name, stated.flatten())?;
    (action.errno() == stated.flatten() && action.errno().is_some() == errno.is_some())
        .then_some(action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CapabilitySet, KernelVersion, Target, builtin, parse_slice};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn profiles() -> Vec<Profile> {
        let listening = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/run/a\"b.sock", "listenerMetadata": "a\n\u00e9", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}, {"names": ["rmdir"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
            {"names": ["chmod"], "action": "SCMP_ACT_KILL"}, {"names": ["kill"], "action": "SCMP_ACT_LOG", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_NE"}, {"index": 1, "value": 255, "valueTwo": 9, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#;
        let listening = parse_slice(listening.as_bytes(), "").unwrap();
        let built_in = crate::BUILTINS.iter().map(|name| builtin(name).unwrap());
        let documents = built_in.chain([&listening]);
        documents
            .map(|document| document.resolve(&AMD64).canonical("").unwrap())
            .collect()
    }

    #[test]
    fn what_is_written_is_read_back_as_the_reader_of_documents_reads_it() {
        for profile in profiles() {
            let bytes = profile.to_canonical_json();
            assert!(profile.is_written_as(&bytes));
            assert_eq!(parse_slice(&bytes, "").unwrap().resolve(&AMD64), profile);
        }
    }

    #[test]
    fn a_file_that_differs_in_anything_is_not_the_profile_s() {
        for profile in profiles() {
            let text = String::from_utf8(profile.to_canonical_json()).unwrap();
            // Each word and number, one after the other; of long files some of them.
            let (mut at, mut count) = (0, 0);
            while let Some(begin) = text[at..].find(|c: char| c.is_ascii_alphanumeric()) {
                let begin = at + begin;
                let length = text[begin..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let end = begin + length.unwrap();
                at = end;
                count += 1;
                if count > 60 && count % 31 != 0 {
                    continue;
                }
                for other in ["", "0", "read", "SCMP_ACT_ALLOW", "1x"] {
                    let changed = format!("{}{other}{}", &text[..begin], &text[end..]);
                    if changed != text {
                        assert!(!profile.is_written_as(changed.as_bytes()), "{changed}");
                    }
                }
            }
            for cut in [1, 2, text.len() / 2, text.len() - 1] {
                assert!(!profile.is_written_as(&text.as_bytes()[..text.len() - cut - 1]));
            }
            let twice = text.replacen('{', r#"{"defaultAction": "SCMP_ACT_ALLOW", "#, 1);
            let unknown = text.replacen('{', r#"{"comment": "", "#, 1);
            let large = text.clone() + &" ".repeat(MAX_BYTES);
            for other in [twice, unknown, large] {
                assert!(!profile.is_written_as(other.as_bytes()));
            }
        }
    }
}
