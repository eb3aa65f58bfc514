//! A call as a case writes it: `chmod`, `socket(AF_ALG)`, `clone(CLONE_NEWUSER|SIGCHLD)`, `@mount`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::syscall;
use crate::trace::{Known, written};
use seccomp_profile::{Arch, Syscall, group};

/// A call with what is stated of its arguments, or the calls of a group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Calls {
    text: String,
    named: Vec<Syscall>,
    arguments: String,
}

impl Calls {
    /// The calls.
    pub fn iter(&self) -> impl Iterator<Item = Syscall> {
        self.named.iter().copied()
    }

    /// Whether it names a group: not every architecture has all of its calls.
    pub fn is_group(&self) -> bool {
        self.text.starts_with('@')
    }

    /// What is stated of the arguments.
    pub fn known(&self, call: Syscall, arch: Arch) -> Result<Known, String> {
        written(call, &self.arguments, arch)
    }

    /// One of them as it would be written alone.
    pub fn one(&self, call: Syscall) -> String {
        if self.arguments.is_empty() {
            call.name().to_owned()
        } else {
            format!("{call}({})", self.arguments)
        }
    }
}

/// Reads it. Whether the arguments are known depends on the architecture, and is said later.
impl TryFrom<String> for Calls {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('@') {
            let named = group(&text)
                .ok_or_else(|| format!("{text:?} is no group; docs/profiles.md lists them"))?;
            return Ok(Self {
                text,
                named,
                arguments: String::new(),
            });
        }
        let (name, arguments) = match text.split_once('(') {
            None => (text.as_str(), ""),
            Some((name, rest)) => {
                let arguments = rest.strip_suffix(')');
                let arguments = arguments
                    .ok_or_else(|| format!("{text:?} does not end with a bracket; add it"))?;
                (name, arguments)
            }
        };
        let call = syscall::named(name.trim()).map_err(|error| format!("{text:?}: {error}"))?;
        // An argument that no architecture knows is a mistake of whoever wrote it.
        written(call, arguments, Arch::X86_64).map_err(|error| format!("{text:?}: {error}"))?;
        Ok(Self {
            named: vec![call],
            arguments: arguments.to_owned(),
            text,
        })
    }
}

/// As it was written.
impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl JsonSchema for Calls {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Calls".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(@[a-z0-9-]+|[a-z0-9_]+(\(.*\))?)$",
            "description": "A call, with the arguments that matter in brackets, as numbers or by name (_ for one that may be any); or a group.",
            "examples": ["chmod", "socket(AF_ALG)", "clone(CLONE_NEWUSER|SIGCHLD)", "@mount"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Calls, String> {
        Calls::try_from(text.to_owned())
    }

    #[test]
    fn calls_are_read_with_their_arguments_and_groups_with_their_calls() {
        let socket = read("socket(AF_ALG, _, 0)").unwrap();
        let call = socket.iter().next().unwrap();
        assert_eq!(call.name(), "socket");
        assert_eq!(
            socket.known(call, Arch::X86_64).unwrap()[..3],
            [Some(38), None, Some(0)]
        );
        assert_eq!(socket.one(call), "socket(AF_ALG, _, 0)");
        let chmod = read("@chmod").unwrap();
        assert!(chmod.is_group() && chmod.iter().count() == 4);
        assert_eq!(chmod.one(chmod.iter().next().unwrap()), "chmod");
    }

    #[test]
    fn what_is_no_call_is_refused_with_what_may_be_meant() {
        for (text, reason) in [
            (
                "chmodd",
                "\"chmodd\": no syscall has that name; did you mean chmod?",
            ),
            ("pread", "the call is pread64"),
            ("@chmods", "is no group"),
            ("socket(AF_ALG", "does not end with a bracket"),
            ("socket(AF_ALGG)", "\"AF_ALGG\" is neither a number"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
