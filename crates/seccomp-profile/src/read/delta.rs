//! The entries of `allow`, `log` and `deny`: a name, a group, or an object with a name, conditions and, to deny, an error.

use serde_json::{Map, Value};

use super::Reader;
use super::messages::{kind, quoted};
use crate::delta::{Delta, DeltaEntry};
use crate::errno::{Errno, StatedErrno};
use crate::groups;
use crate::problem::{Path, Problems};
use crate::syscall::Syscall;

/// So many entries a list may have, as the SeccompProfile's schema says.
const MAX_ENTRIES: usize = 1024;
/// So many calls all entries of a list may name, groups written out: more than thirty times all that there are.
const MAX_NAMED: usize = 16 << 10;
const CHANGE: &[&str] = &["name", "args", "errno"];

impl Delta {
    /// Reads the three lists of a SeccompProfile, or says all that is wrong with them. `at` is where they stand, e.g. `spec`.
    pub fn parse(
        allow: &[Value],
        log: &[Value],
        deny: &[Value],
        at: &str,
    ) -> Result<Self, Problems> {
        let mut reader = Reader::of_object();
        let root = Path::Root(at);
        let changes = Self {
            allow: reader.changes(allow, &root.key("allow"), false),
            log: reader.changes(log, &root.key("log"), false),
            deny: reader.changes(deny, &root.key("deny"), true),
        };
        reader.problems.finish(changes)
    }
}

impl Reader {
    fn changes(&mut self, list: &[Value], path: &Path<'_>, denies: bool) -> Vec<DeltaEntry> {
        if list.len() > MAX_ENTRIES {
            self.problems.add(path, || {
                (
                    format!("has {} entries, more than {MAX_ENTRIES}", list.len()),
                    "name groups, and each call once".into(),
                )
            });
            return Vec::new();
        }
        let (mut read, mut named) = (Vec::with_capacity(list.len()), 0);
        for (i, value) in list.iter().enumerate() {
            let Some(entry) = self.change(value, &path.index(i), denies) else {
                continue;
            };
            named += entry.calls.len();
            if named > MAX_NAMED {
                self.problems.add(&path.index(i), || {
                    (
                        format!("makes more than {MAX_NAMED} calls that the list names, its groups written out"),
                        "name each group once".into(),
                    )
                });
                break;
            }
            read.push(entry);
        }
        read
    }

    fn change(&mut self, value: &Value, path: &Path<'_>, denies: bool) -> Option<DeltaEntry> {
        if let Value::String(name) = value {
            return Some(DeltaEntry {
                calls: self.calls(name, path)?,
                conditions: Vec::new(),
                errno: None,
            });
        }
        let map = self.object(
            value,
            path,
            "the name of a system call, a group, or an object with name, args and errno",
        )?;
        self.fields(map, path, CHANGE);
        let name_path = path.key("name");
        let name = self.string(
            map.get("name").unwrap_or(&Value::Null),
            &name_path,
            "the name of a system call or a group",
        )?;
        let calls = self.calls(name, &name_path);
        let args = path.key("args");
        let list = self.list(map, path, "args");
        if name.starts_with('@')
            && !list.is_empty()
            && let Some(calls) = calls.as_ref().filter(|calls| calls.len() > 1)
        {
            self.problems.add(&args, || of_a_group(name, calls));
            return None;
        }
        let conditions: Vec<_> = list
            .iter()
            .enumerate()
            .filter_map(|(i, arg)| self.condition(arg, &args.index(i)))
            .collect();
        let complete = conditions.len() == list.len();
        self.count_conditions(calls.as_ref().map_or(0, Vec::len) * conditions.len(), path);
        let errno = self.change_errno(map, path);
        if errno.is_some() && !denies {
            self.problems.add(&path.key("errno"), || {
                (
                    "is for calls that are denied".into(),
                    "remove it, or put the entry into deny".into(),
                )
            });
        }
        // A condition that could not be read must not make the change wider.
        complete.then_some(DeltaEntry {
            calls: calls?,
            conditions,
            errno,
        })
    }

    /// The calls of a name or a group.
    fn calls(&mut self, name: &str, path: &Path<'_>) -> Option<Vec<Syscall>> {
        if !name.starts_with('@') {
            return Some(vec![self.call(name, path)?]);
        }
        let calls = groups::group(name);
        if calls.is_none() {
            self.problems.add(path, || {
                let meant = groups::suggested_group(name);
                let all = || groups::groups().collect::<Vec<_>>().join(", ");
                (
                    format!("{} is not a group of system calls", quoted(name)),
                    meant.map_or_else(
                        || format!("write one of {}", all()),
                        |group| format!("write \"{group}\""),
                    ),
                )
            });
        }
        calls
    }

    /// `errno` as a number or a name.
    fn change_errno(&mut self, map: &Map<String, Value>, path: &Path<'_>) -> Option<StatedErrno> {
        let value = map.get("errno").filter(|value| !value.is_null())?;
        let errno = match value {
            Value::Number(number) => number.as_u64().and_then(StatedErrno::numbered),
            Value::String(name) => StatedErrno::named(name),
            _ => None,
        };
        if errno.is_none() {
            self.problems.add(&path.key("errno"), || match value {
                Value::Number(number) => (
                    format!("{number} is not an error number"),
                    format!(
                        "write a name such as \"EPERM\", or a whole number from 1 to {}",
                        Errno::MAX
                    ),
                ),
                Value::String(name) => (
                    format!("{} is not the name of an error", quoted(name)),
                    format!("write {:?}", StatedErrno::suggestion_for(name)),
                ),
                other => (
                    format!("is {}, not an error", kind(other)),
                    "write a name such as \"EPERM\"".into(),
                ),
            });
        }
        errno
    }
}

/// Why conditions do not go with a group: its calls have different arguments at one place. The mode is argument 1 of `chmod` and
/// argument 2 of `fchmodat`.
fn of_a_group(name: &str, calls: &[Syscall]) -> (String, String) {
    const LISTED: usize = 6;
    let mut names: Vec<_> = calls.iter().take(LISTED).map(|call| call.name()).collect();
    if calls.len() > LISTED {
        names.push("...");
    }
    (
        format!(
            "go by place, and the calls of {name} have different arguments there: the entry would miss some of them"
        ),
        format!(
            "write an entry with its own args for each of {}",
            names.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn more_than_any_profile_needs_is_refused_before_the_work_begins() {
        let read = |name: &str, times: usize| {
            let list = vec![json!(name); times];
            let read = Delta::parse(&[], &[], &list, "spec");
            read.map_err(|problems| problems.to_string())
        };
        assert!(read("chmod", MAX_ENTRIES).is_ok());
        let said = read("chmod", MAX_ENTRIES + 1).unwrap_err();
        assert!(
            said.starts_with("spec.deny: has 1025 entries, more than 1024; "),
            "{said}"
        );
        let calls = groups::group("@system-service").unwrap().len();
        assert!(read("@system-service", MAX_NAMED / calls).is_ok());
        let said = read("@system-service", MAX_ENTRIES).unwrap_err();
        let place = format!(
            "spec.deny[{}]: makes more than 16384 calls",
            MAX_NAMED / calls
        );
        assert!(said.starts_with(&place), "{said}");
    }

    #[test]
    fn every_mistake_is_told_with_its_place_and_its_remedy() {
        for (entry, expected) in [
            (
                json!("chmdo"),
                "spec.deny[0]: \"chmdo\" is not a system call on any architecture, and runtimes ignore it; write \"chmod\"",
            ),
            (
                json!("@chmodd"),
                "spec.deny[0]: \"@chmodd\" is not a group of system calls; write \"@chmod\"",
            ),
            (
                json!("@"),
                "spec.deny[0]: \"@\" is not a group of system calls; write one of @aio, ",
            ),
            (
                json!(["chmod"]),
                "spec.deny[0]: is a list, not an object; write the name of a system call, a group, ",
            ),
            (
                json!({"names": ["chmod"], "name": "chmod"}),
                "spec.deny[0].names: is not a field here, and runtimes drop it without a word; write \"name\"",
            ),
            (
                json!({"args": []}),
                "spec.deny[0].name: is null, not a string; write the name of a system call or a group",
            ),
            (
                json!({"name": "socket", "args": [{"index": 0, "op": "EQ", "value": 38}]}),
                "spec.deny[0].args[0].op: \"EQ\" is not an operator; write \"SCMP_CMP_EQ\"",
            ),
            (
                json!({"name": "@chmod", "args": [{"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 2048, "valueTwo": 2048}]}),
                "spec.deny[0].args: go by place, and the calls of @chmod have different arguments there: the entry would miss some of them; \
                 write an entry with its own args for each of chmod, fchmod, fchmodat, fchmodat2",
            ),
            (
                json!({"name": "socket", "errno": "EPREM"}),
                "spec.deny[0].errno: \"EPREM\" is not the name of an error; write \"EPERM\"",
            ),
            (
                json!({"name": "socket", "errno": 4095}),
                "spec.deny[0].errno: 4095 is not an error number; ",
            ),
            (
                json!({"name": "personality", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 18_446_744_069_414_584_000_u64}]}),
                "spec.deny[0].args[0].value: 18446744069414584000 is 2^63 or more, and API servers round such numbers ",
            ),
        ] {
            let problems =
                Delta::parse(&[], &[], std::slice::from_ref(&entry), "spec").unwrap_err();
            let said = problems.to_string();
            assert!(
                problems.len() == 1 && said.starts_with(expected),
                "{entry}\n  expected {expected}\n  said {said}"
            );
        }
        let said = Delta::parse(&[json!({"name": "socket", "errno": 1})], &[], &[], "spec")
            .unwrap_err()
            .to_string();
        assert!(
            said.starts_with("spec.allow[0].errno: is for calls that are denied; "),
            "{said}"
        );
    }
}
