//! A call as a case writes it: `chmod`, `socket(AF_ALG)`, `clone(CLONE_NEWUSER|SIGCHLD)`, `@mount`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::call::{self, Call};

/// A call with what is stated of its arguments, or the calls of a group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Calls {
    text: String,
    calls: Vec<Call>,
}

impl Calls {
    /// The calls.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    /// Whether it names a group: not every architecture has all of its calls.
    pub fn is_group(&self) -> bool {
        self.text.starts_with('@')
    }
}

/// Reads it. Whether the arguments are known depends on the architecture, and is said later.
impl TryFrom<String> for Calls {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let calls = call::parse(&text).map_err(|error| format!("{text:?}: {error}"))?;
        Ok(Self { text, calls })
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
            "pattern": r"^(@[a-z0-9-]+|[a-z0-9_]+(\(.*\)|:.*)?)$",
            "description": "A call, with the arguments that matter in brackets, as numbers or by name (_ for one that may be any); or a group.",
            "examples": ["chmod", "socket(AF_ALG)", "clone(CLONE_NEWUSER|SIGCHLD)", "@mount"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_profile::Arch;

    fn read(text: &str) -> Result<Calls, String> {
        Calls::try_from(text.to_owned())
    }

    #[test]
    fn calls_are_read_with_their_arguments_and_groups_with_their_calls() {
        let socket = read("socket(AF_ALG, _, 0)").unwrap();
        let call = socket.iter().next().unwrap();
        assert_eq!(call.text, "socket(AF_ALG, _, 0)");
        let known = call.known(Arch::X86_64).unwrap();
        assert_eq!(known[..3], [Some(38), None, Some(0)]);
        let chmod = read("@chmod").unwrap();
        assert!(chmod.is_group() && chmod.iter().count() == 4);
        assert_eq!(chmod.iter().next().unwrap().text, "chmod");
    }

    #[test]
    fn what_is_no_call_is_refused_with_what_may_be_meant() {
        for (text, reason) in [
            (
                "chmodd",
                "\"chmodd\": no syscall has that name; did you mean chmod?",
            ),
            ("pread", "the call is pread64"),
            ("@chmods", "no group has that name"),
            ("socket(AF_ALG", "bracket is not closed"),
            ("socket(AF_ALGG)", "\"AF_ALGG\" is neither a number"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
