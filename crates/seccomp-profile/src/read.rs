//! From JSON to a [`Document`], strictly: whatever a runtime would drop, ignore or take for something else is refused,
//! with the place, the reason and what to write instead, and all of a document's problems at once.
//!
//! Strict because every other reader of this format is not. containerd drops fields that it does not know, matches the
//! others without regard to case, and runs a container unconfined when what is left says nothing.
//!
//! Knows both formats, OCI runtime-spec and Docker/Podman; does not know what a profile means.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::action::Action;
use super::arch::Arch;
use super::capability::{self, Capability};
use super::condition::{ArgIndex, Condition, MAX_CONDITIONAL, Operator};
use super::document::{Architectures, Document, Entry, Filter, Verdict};
use super::errno::{Errno, StatedErrno};
use super::oci::{ArchSet, Flag, Flags, Listener};
use super::problem::{Collector, Path, Problem, Problems};
use super::suggest::suggestion;
use super::syscall::Syscall;
use super::target::KernelVersion;

mod delta;
mod json;

/// The largest document, in bytes: what KEP-6061 lets a runtime accept.
pub const MAX_BYTES: usize = 1 << 20;

/// The most rules with the same conditions on one call, for different architectures, kernels and capabilities. Each is
/// compared with those before it.
pub(super) const MAX_SAME: usize = 64;

/// How many Docker-only fields a document remembers.
const DOCKER_ONLY_LISTED: usize = 50;

const ROOT: &[&str] = &[
    "defaultAction",
    "defaultErrnoRet",
    "defaultErrno",
    "architectures",
    "archMap",
    "flags",
    "listenerPath",
    "listenerMetadata",
    "syscalls",
];
const ENTRY: &[&str] = &[
    "names", "name", "action", "errnoRet", "errno", "args", "comment", "includes", "excludes",
];
const ARG: &[&str] = &["index", "value", "valueTwo", "op"];
const FILTER: &[&str] = &["caps", "arches", "minKernel"];
const ARCH_MAP: &[&str] = &["architecture", "subArchitectures"];

/// Reads a profile document in either format.
///
/// `at` is where the document stands in what its author wrote, e.g. `spec.profile`: the start of every problem's path;
/// may be empty. Numbers must be what the author wrote: 64-bit integers, not floats that have lost their last digits.
pub fn parse(document: &Value, at: &str) -> Result<Document, Problems> {
    let mut reader = Reader::default();
    let read = reader.document(document, &Path::Root(at));
    match (reader.problems.finish(()), read) {
        (Ok(()), Some(read)) => Ok(read),
        (Err(problems), _) => Err(problems),
        // Every way to read nothing has said why.
        (Ok(()), None) => Err(problem(
            at,
            "cannot be read".into(),
            "write a profile".into(),
        )),
    }
}

/// Reads a profile document from its bytes: [`parse`], and JSON itself is read strictly too: at most 1 MiB, nested no
/// deeper than 128, no field twice.
pub fn parse_slice(bytes: &[u8], at: &str) -> Result<Document, Problems> {
    if bytes.len() > MAX_BYTES {
        let reason = format!("is {} bytes long, more than {MAX_BYTES}", bytes.len());
        return Err(problem(
            at,
            reason,
            "name fewer calls; a profile has a few thousand bytes".into(),
        ));
    }
    match json::read(bytes) {
        Ok(document) => parse(&document, at),
        Err(reason) => Err(problem(
            at,
            reason,
            "write one JSON object that holds a seccomp profile".into(),
        )),
    }
}

fn problem(at: &str, reason: String, remedy: String) -> Problems {
    Problem {
        path: at.to_owned(),
        reason,
        remedy,
    }
    .into()
}

/// A piece of the document as a message shows it: in quotes, without control characters, and not without end.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn one_of(words: &[&str]) -> String {
    format!("write one of {}", words.join(", "))
}

/// "is not `kind`", and the word that was most likely meant, or else all the words there are.
fn not_a(text: &str, kind: &str, words: &[&str], prefix: &str) -> (String, String) {
    let reason = format!("{} is not {kind}", quoted(text));
    let bare = text.trim().to_ascii_uppercase();
    let prefixed = format!("{prefix}{bare}");
    let meant = words
        .iter()
        .copied()
        .find(|word| *word == bare || *word == prefixed);
    let meant = meant
        .or_else(|| suggestion(text, words.iter().copied()))
        .or_else(|| suggestion(&prefixed, words.iter().copied()));
    (
        reason,
        meant.map_or_else(|| one_of(words), |word| format!("write {word:?}")),
    )
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Conditions in the order of their arguments: how libseccomp compares two rules.
type Key = (Syscall, Vec<Condition>);

#[derive(Default)]
struct Reader {
    problems: Collector,
    docker_only: Vec<String>,
    /// Conditional rules so far, per call.
    conditional: usize,
    /// The entries that have one condition on one call, to find two that libseccomp cannot have together.
    seen: HashMap<Key, Vec<(usize, Verdict, Filter, Filter)>>,
}

impl Reader {
    fn document(&mut self, value: &Value, path: &Path<'_>) -> Option<Document> {
        let map = self.object(value, path, "a seccomp profile")?;
        if let Some(key) = ["apiVersion", "kind", "metadata", "spec"]
            .into_iter()
            .find(|key| map.contains_key(*key))
        {
            self.problems.add(&path.key(key), || {
                (
                    "is a field of a Kubernetes object, not of a seccomp profile; a runtime would drop it and run the \
                     container unconfined"
                        .into(),
                    "put here only the object that holds defaultAction and syscalls".into(),
                )
            });
            return None;
        }
        self.fields(map, path, ROOT);
        let errno = self.errno(map, path, "defaultErrnoRet", "defaultErrno");
        let default = self.default_verdict(map, path, errno);
        let architectures = self.architectures(map, path);
        let flags = self.flags(map, path);
        let listener = self.listener(map, path);
        let here = path.key("syscalls");
        let mut entries = Vec::new();
        for (i, entry) in self.list(map, path, "syscalls").iter().enumerate() {
            let here = here.index(i);
            if let Some(entry) = self.entry(entry, &here) {
                if entry.verdict.action == Action::Notify && listener.is_none() {
                    self.problems.add(&here.key("action"), || {
                        (
                            "needs somebody to answer, and the profile has no listenerPath".into(),
                            "name the socket of the listening agent in listenerPath, or take another action".into(),
                        )
                    });
                }
                self.conflicts(&entry, i, &here);
                entries.push(entry);
            }
        }
        let docker_only = std::mem::take(&mut self.docker_only);
        Some(Document {
            default: default?,
            architectures,
            flags,
            listener,
            entries,
            docker_only,
        })
    }

    fn default_verdict(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        errno: Option<StatedErrno>,
    ) -> Option<Verdict> {
        let here = path.key("defaultAction");
        let verdict = self.action(
            map,
            &here,
            "defaultAction",
            errno,
            &path.key(field_of(errno, "defaultErrnoRet", "defaultErrno")),
        )?;
        if verdict.action == Action::Notify {
            self.problems.add(&here, || {
                (
                    "SCMP_ACT_NOTIFY cannot be the default: the runtime itself would wait for an answer".into(),
                    "list the calls to be notified of in syscalls".into(),
                )
            });
        }
        Some(verdict)
    }

    /// `action` or `defaultAction`, which must be there.
    fn action(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        key: &str,
        errno: Option<StatedErrno>,
        errno_path: &Path<'_>,
    ) -> Option<Verdict> {
        let text = match map.get(key) {
            Some(Value::String(text)) if !text.is_empty() => text,
            Some(Value::Null | Value::String(_)) | None => {
                let misspelt = |name: &String| name != key && name.eq_ignore_ascii_case(key);
                if map.keys().any(misspelt) {
                    return None; // `fields` has said so
                }
                self.problems.add(path, || {
                    let reason = if key == "action" {
                        "is missing"
                    } else {
                        "is missing, and without it container runtimes run the container unconfined"
                    };
                    (reason.into(), one_of(Action::NAMES))
                });
                return None;
            }
            Some(other) => {
                self.problems.add(path, || {
                    (
                        format!("is {}, not a string", kind(other)),
                        one_of(Action::NAMES),
                    )
                });
                return None;
            }
        };
        let (number, named) = match errno {
            Some(StatedErrno::Number(number)) => (Some(number), None),
            named => (None, named),
        };
        let Some(action) = Action::named(text, number) else {
            self.problems.add(path, || {
                match text
                    .trim_start_matches("SCMP_ACT_")
                    .to_ascii_uppercase()
                    .as_str()
                {
                    "DENY" | "BLOCK" | "REJECT" | "EPERM" => (
                        format!("{} is not an action", quoted(text)),
                        "write \"SCMP_ACT_ERRNO\"".into(),
                    ),
                    _ => not_a(text, "an action", Action::NAMES, "SCMP_ACT_"),
                }
            });
            return None;
        };
        if action.errno().is_none() && errno.is_some() {
            self.problems.add(errno_path, || {
                (
                    format!(
                        "does not go with {}: crun refuses it, runc ignores it",
                        action.name()
                    ),
                    "remove it, or make the action SCMP_ACT_ERRNO".into(),
                )
            });
        }
        Some(Verdict { action, named })
    }

    /// The error of an action, as a number (`errnoRet`) or by name (Podman's `errno`, which wins there too).
    fn errno(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        number_key: &str,
        name_key: &str,
    ) -> Option<StatedErrno> {
        let number = self.errno_number(map, path, number_key);
        let stated = number.map(StatedErrno::Number);
        let Some(value) = map.get(name_key).filter(|value| !value.is_null()) else {
            return stated;
        };
        let here = path.key(name_key);
        let Value::String(text) = value else {
            self.problems.add(&here, || {
                (
                    format!("is {}, not a string", kind(value)),
                    format!("write a name such as \"ENOSYS\", or use {number_key}"),
                )
            });
            return None;
        };
        if text.is_empty() {
            return stated;
        }
        self.docker_only(&here);
        let decimal = text
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok().and_then(StatedErrno::numbered))
            .flatten();
        let Some(named) = decimal.or_else(|| StatedErrno::named(text)) else {
            self.problems.add(&here, || {
                (
                    format!("{} is not the name of an error", quoted(text)),
                    format!("write {:?}", StatedErrno::suggestion_for(text)),
                )
            });
            return None;
        };
        if let Some(number) = number
            && number != named.on(Arch::X86_64)
        {
            self.problems.add(&here, || {
                (
                    format!(
                        "{} contradicts {number_key}, which is {}",
                        quoted(text),
                        number.get()
                    ),
                    format!("remove {number_key}"),
                )
            });
        }
        Some(named)
    }

    fn errno_number(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        key: &str,
    ) -> Option<Errno> {
        let value = map.get(key).filter(|value| !value.is_null())?;
        let number = value.as_u64().and_then(Errno::new);
        if number.is_none() {
            self.problems.add(&path.key(key), || {
                let reason = match value {
                    Value::Number(number) => format!("{number} is not an error number"),
                    other => format!("is {}, not a number", kind(other)),
                };
                (
                    reason,
                    format!(
                        "write a whole number from 1 to {}, such as 1 for EPERM or 38 for ENOSYS",
                        Errno::MAX
                    ),
                )
            });
        }
        number
    }

    fn architectures(&mut self, map: &Map<String, Value>, path: &Path<'_>) -> Architectures {
        let (listed_path, mapped_path) = (path.key("architectures"), path.key("archMap"));
        let listed = self.arches(self.list_ref(map, "architectures"), &listed_path);
        self.check_list(map, path, "architectures");
        let mapped = self.list(map, path, "archMap");
        if !mapped.is_empty() {
            self.docker_only(&mapped_path);
            if !listed.is_empty() {
                self.problems.add(&mapped_path, || {
                    (
                        "stands beside architectures, and Docker takes only one".into(),
                        "remove one of the two".into(),
                    )
                });
            }
        }
        let mut map_of = Vec::new();
        for (i, value) in mapped.iter().enumerate() {
            let here = mapped_path.index(i);
            let Some(entry) =
                self.object(value, &here, "an architecture with its subArchitectures")
            else {
                continue;
            };
            self.fields(entry, &here, ARCH_MAP);
            let native = entry.get("architecture").unwrap_or(&Value::Null);
            let native = self.arch(native, &here.key("architecture"));
            self.check_list(entry, &here, "subArchitectures");
            let others = self.arches(
                self.list_ref(entry, "subArchitectures"),
                &here.key("subArchitectures"),
            );
            if let Some(native) = native {
                map_of.push((native, others.with(native)));
            }
        }
        if mapped.is_empty() {
            Architectures::Listed(listed)
        } else {
            Architectures::Mapped(map_of)
        }
    }

    fn arches(&mut self, list: &[Value], path: &Path<'_>) -> ArchSet {
        list.iter()
            .enumerate()
            .filter_map(|(i, value)| self.arch(value, &path.index(i)))
            .collect()
    }

    fn arch(&mut self, value: &Value, path: &Path<'_>) -> Option<Arch> {
        let text = self.string(
            value,
            path,
            "the name of an architecture, such as \"SCMP_ARCH_X86_64\"",
        )?;
        let arch = Arch::named(text);
        if arch.is_none() {
            self.problems.add(path, || {
                let bare = text.trim_start_matches("SCMP_ARCH_");
                if bare == "NATIVE" {
                    let reason = format!("{} is not an architecture to runc", quoted(text));
                    return (
                        reason,
                        "remove it: the node's own architecture is always included".into(),
                    );
                }
                let lower = bare.to_ascii_lowercase();
                if let Some(arch) =
                    Arch::from_native_name(&lower).or_else(|| Arch::from_node(&lower))
                {
                    return (
                        format!("{} is not the name of an architecture here", quoted(text)),
                        format!("write \"{arch}\""),
                    );
                }
                let names = Arch::ALL
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>();
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                not_a(
                    text,
                    "an architecture that container runtimes know",
                    &names,
                    "SCMP_ARCH_",
                )
            });
        }
        arch
    }

    fn flags(&mut self, map: &Map<String, Value>, path: &Path<'_>) -> Flags {
        let here = path.key("flags");
        let mut flags = Flags::EMPTY;
        for (i, value) in self.list(map, path, "flags").iter().enumerate() {
            let here = here.index(i);
            let Some(text) =
                self.string(value, &here, "a flag, such as \"SECCOMP_FILTER_FLAG_LOG\"")
            else {
                continue;
            };
            match Flag::named(text) {
                Some(flag) => flags = flags.with(flag),
                None => self.problems.add(&here, || {
                    not_a(
                        text,
                        "a flag that runtimes know",
                        &Flag::ALL.iter().map(|flag| flag.name()).collect::<Vec<_>>(),
                        "SECCOMP_FILTER_FLAG_",
                    )
                }),
            }
        }
        flags
    }

    fn listener(&mut self, map: &Map<String, Value>, path: &Path<'_>) -> Option<Listener> {
        let mut text = |key| {
            let value = map.get(key).filter(|value| !value.is_null())?;
            self.string(value, &path.key(key), "a string")
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let (socket, metadata) = (text("listenerPath"), text("listenerMetadata"));
        match socket {
            Some(path) if path.starts_with('/') => Some(Listener { path, metadata }),
            Some(socket) => {
                self.problems.add(&path.key("listenerPath"), || {
                    (
                        format!("{} is not an absolute path", quoted(&socket)),
                        "write the path of a socket on the node".into(),
                    )
                });
                None
            }
            None => {
                if metadata.is_some() {
                    self.problems.add(&path.key("listenerMetadata"), || {
                        (
                            "has nobody to go to: there is no listenerPath".into(),
                            "remove it, or state listenerPath".into(),
                        )
                    });
                }
                None
            }
        }
    }

    fn entry(&mut self, value: &Value, path: &Path<'_>) -> Option<Entry> {
        let map = self.object(value, path, "a rule with names and an action")?;
        self.fields(map, path, ENTRY);
        if let Some(comment) = map.get("comment").filter(|value| !value.is_null()) {
            self.string(comment, &path.key("comment"), "a string");
        }
        let syscalls = self.names(map, path);
        let errno = self.errno(map, path, "errnoRet", "errno");
        let verdict = self.action(
            map,
            &path.key("action"),
            "action",
            errno,
            &path.key(field_of(errno, "errnoRet", "errno")),
        );
        let args = path.key("args");
        let conditions: Vec<_> = self
            .list(map, path, "args")
            .iter()
            .enumerate()
            .filter_map(|(i, arg)| self.condition(arg, &args.index(i)))
            .collect();
        let includes = self.filter(map, path, "includes");
        let excludes = self.filter(map, path, "excludes");
        if let Some(Verdict {
            action: Action::Notify,
            ..
        }) = verdict
            && syscalls.contains(&Syscall::WRITE)
        {
            self.problems.add(&path.key("names"), || {
                (
                    "SCMP_ACT_NOTIFY cannot be used for write: runc needs it to hand the listener over".into(),
                    "give write another action".into(),
                )
            });
        }
        self.count_conditions(syscalls.len() * conditions.len(), path);
        (!syscalls.is_empty()).then_some(())?;
        Some(Entry {
            syscalls,
            conditions,
            verdict: verdict?,
            includes,
            excludes,
        })
    }

    /// Says where there are more conditions than can be loaded.
    fn count_conditions(&mut self, conditions: usize, path: &Path<'_>) {
        let before = self.conditional;
        self.conditional = before.saturating_add(conditions);
        if before <= MAX_CONDITIONAL && self.conditional > MAX_CONDITIONAL {
            self.problems.add(path, || {
                (
                    format!("there are more than {MAX_CONDITIONAL} conditions up to here, more than the kernel loads"),
                    "use fewer and wider conditions (SCMP_CMP_MASKED_EQ, ranges)".into(),
                )
            });
        }
    }

    /// `names`, or Docker's old `name`: sorted, each once.
    fn names(&mut self, map: &Map<String, Value>, path: &Path<'_>) -> Vec<Syscall> {
        let (list_path, single_path) = (path.key("names"), path.key("name"));
        self.check_list(map, path, "names");
        let list = self.list_ref(map, "names");
        let single = map
            .get("name")
            .filter(|value| !value.is_null() && value.as_str() != Some(""));
        if single.is_some() && !list.is_empty() {
            self.problems.add(&single_path, || {
                ("stands beside names".into(), "put it into names".into())
            });
        }
        if single.is_none()
            && list.is_empty()
            && map
                .get("names")
                .is_none_or(|names| names.is_array() || names.is_null())
        {
            self.problems.add(&list_path, || {
                (
                    "names no system call, so that the rule does nothing".into(),
                    "name the calls, or remove the rule".into(),
                )
            });
        }
        if single.is_some() {
            self.docker_only(&single_path);
        }
        let mut calls: Vec<_> = single
            .and_then(|value| self.name(value, &single_path))
            .into_iter()
            .collect();
        for (i, value) in list.iter().enumerate() {
            calls.extend(self.name(value, &list_path.index(i)));
        }
        calls.sort_unstable();
        calls.dedup();
        calls
    }

    fn name(&mut self, value: &Value, path: &Path<'_>) -> Option<Syscall> {
        let text = self.string(value, path, "the name of a system call")?;
        self.call(text, path)
    }

    fn call(&mut self, text: &str, path: &Path<'_>) -> Option<Syscall> {
        let call = Syscall::named(text);
        if call.is_none() {
            self.problems.add(path, || {
                if text.starts_with('@') {
                    let reason = format!(
                        "{} is a group, and a profile names single calls",
                        quoted(text)
                    );
                    return (
                        reason,
                        "use groups in spec.allow, spec.deny and spec.log, or name the calls"
                            .into(),
                    );
                }
                let meant = Syscall::named(text.trim_start_matches("sys_"))
                    .or_else(|| Syscall::suggestion_for(text));
                let reason = format!(
                    "{} is not a system call on any architecture, and runtimes ignore it",
                    quoted(text)
                );
                (
                    reason,
                    meant.map_or_else(
                        || "check its spelling, or remove it".into(),
                        |call| format!("write \"{call}\""),
                    ),
                )
            });
        }
        call
    }

    fn condition(&mut self, value: &Value, path: &Path<'_>) -> Option<Condition> {
        let map = self.object(value, path, "a condition with index, op and value")?;
        self.fields(map, path, ARG);
        let arg = self.arg_index(map, path);
        let operand = self.operand(map, path, "value");
        if map.get("value").is_none_or(Value::is_null) {
            self.problems.add(&path.key("value"), || {
                (
                    "is missing".into(),
                    "state what the argument is compared with".into(),
                )
            });
        }
        let two = self.operand(map, path, "valueTwo");
        let op_path = path.key("op");
        let op = match map.get("op").filter(|value| !value.is_null()) {
            Some(value) => self.string(value, &op_path, "an operator, such as \"SCMP_CMP_EQ\"")?,
            None => "",
        };
        let (arg, value) = (arg?, operand?);
        let operator = match op {
            "SCMP_CMP_MASKED_EQ" => {
                let operator = Operator::MaskedEqual { mask: value };
                return Some(Condition {
                    arg,
                    operator,
                    value: two.unwrap_or(0),
                });
            }
            "SCMP_CMP_NE" => Operator::NotEqual,
            "SCMP_CMP_LT" => Operator::Less,
            "SCMP_CMP_LE" => Operator::LessOrEqual,
            "SCMP_CMP_EQ" => Operator::Equal,
            "SCMP_CMP_GE" => Operator::GreaterOrEqual,
            "SCMP_CMP_GT" => Operator::Greater,
            "" => {
                self.problems
                    .add(&op_path, || ("is missing".into(), one_of(Operator::NAMES)));
                return None;
            }
            other => {
                self.problems.add(&op_path, || {
                    not_a(other, "an operator", Operator::NAMES, "SCMP_CMP_")
                });
                return None;
            }
        };
        if two.is_some_and(|two| two != 0) {
            self.problems.add(&path.key("valueTwo"), || {
                (
                    format!("is not looked at by {op}"),
                    "remove it, or use SCMP_CMP_MASKED_EQ (value is the mask)".into(),
                )
            });
        }
        Some(Condition {
            arg,
            operator,
            value,
        })
    }

    fn arg_index(&mut self, map: &Map<String, Value>, path: &Path<'_>) -> Option<ArgIndex> {
        let here = path.key("index");
        let remedy = || "write 0 to 5: the first argument of the call is 0".to_owned();
        match map.get("index").filter(|value| !value.is_null()) {
            None => {
                self.problems.add(&here, || {
                    (
                        "is missing, and runtimes would take the first argument".into(),
                        remedy(),
                    )
                });
                None
            }
            Some(value) => {
                let index = value.as_u64().and_then(ArgIndex::new);
                if index.is_none() {
                    self.problems.add(&here, || {
                        let what = match value {
                            Value::Number(number) => format!(
                                "{number} is not the index of one of a call's six arguments"
                            ),
                            other => format!("is {}, not a number", kind(other)),
                        };
                        (what, remedy())
                    });
                }
                index
            }
        }
    }

    /// A 64-bit operand: an integer, or a decimal or hexadecimal string for what JSON tools would round.
    fn operand(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) -> Option<u64> {
        let value = map.get(key).filter(|value| !value.is_null())?;
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => {
                match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                    Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                        u64::from_str_radix(digits, 16).ok()
                    }
                    None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
                    _ => None,
                }
            }
            _ => None,
        };
        if number.is_none() {
            self.problems.add(&path.key(key), || match value {
                Value::Number(number) if number.is_f64() => (
                    format!("{number} is a floating-point number, which has lost the last digits of a 64-bit value"),
                    "write the value as a string, decimal or hexadecimal, such as \"0xffffffffffffffff\"".into(),
                ),
                Value::Number(number) => (
                    format!("{number} is negative, and arguments are compared unsigned"),
                    "write the value as the kernel sees it, such as \"0xffffffff\" for a 32-bit -1".into(),
                ),
                Value::String(text) => (
                    format!("{} is not a 64-bit number", quoted(text)),
                    "write it in decimal or, after 0x, in hexadecimal digits".into(),
                ),
                other => (format!("is {}, not a number", kind(other)), "write a whole number, or a string that holds one".into()),
            });
        }
        number
    }

    fn filter(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) -> Filter {
        let here = path.key(key);
        let Some(value) = map.get(key).filter(|value| !value.is_null()) else {
            return Filter::NONE;
        };
        let Some(map) = self.object(value, &here, "caps, arches and minKernel") else {
            return Filter::NONE;
        };
        self.fields(map, &here, FILTER);
        let mut filter = Filter::NONE;
        let caps = here.key("caps");
        for (i, value) in self.list(map, &here, "caps").iter().enumerate() {
            let here = caps.index(i);
            let Some(text) = self.string(value, &here, "a capability, such as \"CAP_SYS_ADMIN\"")
            else {
                continue;
            };
            match Capability::named(text).filter(|_| text.starts_with("CAP_")) {
                Some(capability) => filter.capabilities = filter.capabilities.with(capability),
                None => self.problems.add(&here, || {
                    not_a(text, "a capability", capability::NAMES, "CAP_")
                }),
            }
        }
        let arches = here.key("arches");
        for (i, value) in self.list(map, &here, "arches").iter().enumerate() {
            let here = arches.index(i);
            let Some(text) = self.string(value, &here, "an architecture, such as \"amd64\"") else {
                continue;
            };
            match Arch::from_native_name(text) {
                Some(arch) => filter.arches = filter.arches.with(arch),
                None => self.problems.add(&here, || {
                    let names = Arch::ALL
                        .iter()
                        .map(|arch| arch.native_name())
                        .collect::<Vec<_>>();
                    let meant = Arch::named(text).or_else(|| {
                        Arch::named(&format!("SCMP_ARCH_{}", text.to_ascii_uppercase()))
                    });
                    match meant.or_else(|| Arch::from_node(text)) {
                        Some(arch) => (
                            format!(
                                "{} is not how this field names an architecture",
                                quoted(text)
                            ),
                            format!("write {:?}", arch.native_name()),
                        ),
                        None => not_a(text, "an architecture", &names, ""),
                    }
                }),
            }
        }
        let min_kernel = here.key("minKernel");
        if let Some(value) = map.get("minKernel").filter(|value| !value.is_null())
            && let Some(text) = self
                .string(value, &min_kernel, "a kernel version, such as \"4.8\"")
                .filter(|text| !text.is_empty())
        {
            filter.min_kernel = KernelVersion::from_min_kernel(text);
            if filter.min_kernel.is_none() {
                self.problems.add(&min_kernel, || {
                    (
                        format!("{} is not a kernel version", quoted(text)),
                        "write two numbers up to 255, such as \"4.8\"".into(),
                    )
                });
            }
        }
        if filter != Filter::NONE {
            self.docker_only(&here);
        }
        filter
    }

    /// Two entries with the same conditions on a call and different actions: libseccomp refuses the second, and the
    /// container does not start. Only those that can apply to one node together.
    fn conflicts(&mut self, entry: &Entry, index: usize, path: &Path<'_>) {
        if entry.conditions.is_empty() || self.conditional > MAX_CONDITIONAL {
            return;
        }
        let mut conditions = entry.conditions.clone();
        conditions.sort_unstable();
        conditions.dedup();
        let mut reported = false;
        for call in &entry.syscalls {
            let seen = self.seen.entry((*call, conditions.clone())).or_default();
            if seen.len() >= MAX_SAME {
                if !reported {
                    reported = true;
                    self.problems.add(path, || {
                        (
                            format!("is rule {} for {call} with the same conditions", MAX_SAME + 1),
                            "remove those that say the same, or let includes and excludes tell fewer cases apart".into(),
                        )
                    });
                }
                continue;
            }
            let other = seen.iter().find(|(_, verdict, includes, excludes)| {
                *verdict != entry.verdict
                    && can_meet((includes, excludes), (&entry.includes, &entry.excludes))
            });
            if let Some((other, ..)) = other
                && !reported
            {
                reported = true;
                let other = *other;
                self.problems.add(path, || {
                    (
                        format!("gives {call} another action than syscalls[{other}] under the same condition, and no container starts with both"),
                        "remove one of the two".into(),
                    )
                });
            }
            seen.push((index, entry.verdict, entry.includes, entry.excludes));
        }
    }

    fn docker_only(&mut self, path: &Path<'_>) {
        if self.docker_only.len() < DOCKER_ONLY_LISTED {
            self.docker_only.push(path.to_string());
        }
    }

    fn object<'v>(
        &mut self,
        value: &'v Value,
        path: &Path<'_>,
        what: &str,
    ) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.problems.add(path, || {
                (
                    format!("is {}, not an object", kind(value)),
                    format!("write {what}"),
                )
            });
        }
        map
    }

    fn string<'v>(&mut self, value: &'v Value, path: &Path<'_>, what: &str) -> Option<&'v str> {
        let text = value.as_str();
        if text.is_none() {
            self.problems.add(path, || {
                (
                    format!("is {}, not a string", kind(value)),
                    format!("write {what}"),
                )
            });
        }
        text
    }

    /// The elements of a list that may be absent or null, as Go writes an empty one.
    fn list<'v>(&mut self, map: &'v Map<String, Value>, path: &Path<'_>, key: &str) -> &'v [Value] {
        self.check_list(map, path, key);
        self.list_ref(map, key)
    }

    #[allow(clippy::unused_self)] // reads beside `list`
    fn list_ref<'v>(&self, map: &'v Map<String, Value>, key: &str) -> &'v [Value] {
        map.get(key)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    fn check_list(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) {
        if let Some(value) = map
            .get(key)
            .filter(|value| !value.is_null() && !value.is_array())
        {
            self.problems.add(&path.key(key), || {
                (
                    format!("is {}, not a list", kind(value)),
                    "write it in [ ]".into(),
                )
            });
        }
    }

    fn fields(&mut self, map: &Map<String, Value>, path: &Path<'_>, known: &[&'static str]) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            self.problems.add(&path.key(&quoted_key(key)), || {
                let meant = known.iter().find(|name| name.eq_ignore_ascii_case(key));
                match meant {
                    Some(name) => (
                        "is in the wrong case: some runtimes read it all the same, others do not"
                            .into(),
                        format!("write {name:?}"),
                    ),
                    None => (
                        "is not a field here, and runtimes drop it without a word".into(),
                        match suggestion(key, known.iter().copied()) {
                            Some(name) => format!("write {name:?}"),
                            None => format!("remove it; the fields here are {}", known.join(", ")),
                        },
                    ),
                }
            });
        }
    }
}

/// The field that stated an error: by number, or by name.
fn field_of(errno: Option<StatedErrno>, number: &'static str, name: &'static str) -> &'static str {
    match errno {
        Some(StatedErrno::Name(_)) => name,
        _ => number,
    }
}

/// A field's name as a path shows it.
fn quoted_key(key: &str) -> String {
    let plain = key.len() <= 40
        && !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { key.to_owned() } else { quoted(key) }
}

/// Whether there is an architecture, a kernel and a capability set for which both entries apply.
fn can_meet(a: (&Filter, &Filter), b: (&Filter, &Filter)) -> bool {
    let (includes, excludes) = ([a.0, b.0], [a.1, b.1]);
    let [needed, refused] = [includes, excludes].map(|[a, b]| a.capabilities.or(b.capabilities));
    let included = includes.map(|filter| match filter.arches {
        ArchSet::EMPTY => ArchSet::ALL,
        arches => arches,
    });
    let [a, b] = excludes.map(|filter| filter.arches);
    let arches = included[0].and(included[1]).without(a.or(b));
    let from = includes
        .map(|filter| filter.min_kernel)
        .into_iter()
        .max()
        .flatten();
    let before = excludes
        .into_iter()
        .filter_map(|filter| filter.min_kernel)
        .min();
    let kernel = before.is_none_or(|before| from.is_none_or(|from| from < before));
    !needed.contains_any(refused) && !arches.is_empty() && kernel
}

#[cfg(test)]
mod tests;
