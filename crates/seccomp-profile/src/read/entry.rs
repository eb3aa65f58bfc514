//! The elements of `syscalls`.

use serde_json::{Map, Value};

use super::Reader;
use super::action::field_of;
use super::messages::quoted;
use crate::action::Action;
use crate::condition::MAX_CONDITIONAL;
use crate::document::{Entry, OddityKind, Verdict};
use crate::problem::Path;
use crate::syscall::Syscall;

const ENTRY: &[&str] = &[
    "names", "name", "action", "errnoRet", "errno", "args", "comment", "includes", "excludes",
];

impl Reader {
    pub(super) fn entry(&mut self, value: &Value, place: usize, path: &Path<'_>) -> Option<Entry> {
        let map = self.object(value, path, "a rule with names and an action")?;
        self.fields(map, path, ENTRY);
        if let Some(comment) = map.get("comment").filter(|value| !value.is_null()) {
            self.string(comment, &path.key("comment"), "a string");
        }
        let syscalls = self.names(map, place, path);
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
        // What runtimes take keeps its place, so that the others keep theirs.
        (self.as_is || !syscalls.is_empty()).then_some(())?;
        Some(Entry {
            syscalls,
            conditions,
            verdict: verdict?,
            includes,
            excludes,
        })
    }

    /// Says where there are more conditions than can be loaded.
    pub(super) fn count_conditions(&mut self, conditions: usize, path: &Path<'_>) {
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
    fn names(&mut self, map: &Map<String, Value>, place: usize, path: &Path<'_>) -> Vec<Syscall> {
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
            let what = || {
                (
                    "names no system call, so that the rule does nothing".into(),
                    "name the calls, or remove the rule".into(),
                )
            };
            // crun starts no container where it is missing or null.
            if self.as_is && map.get("names").is_some_and(Value::is_array) {
                self.odd(OddityKind::NoCalls, &list_path, what);
            } else {
                self.problems.add(&list_path, what);
            }
        }
        if single.is_some() {
            self.docker_only(&single_path);
        }
        let mut calls: Vec<_> = single
            .and_then(|value| self.name(value, place, &single_path))
            .into_iter()
            .collect();
        for (i, value) in list.iter().enumerate() {
            calls.extend(self.name(value, place, &list_path.index(i)));
        }
        calls.sort_unstable();
        calls.dedup();
        calls
    }

    fn name(&mut self, value: &Value, place: usize, path: &Path<'_>) -> Option<Syscall> {
        let text = self.string(value, path, "the name of a system call")?;
        if self.as_is && Syscall::named(text).is_none() {
            let kind = OddityKind::Call { entry: place };
            self.odd(kind, path, || no_call(text));
            return None;
        }
        self.call(text, path)
    }

    pub(super) fn call(&mut self, text: &str, path: &Path<'_>) -> Option<Syscall> {
        let call = Syscall::named(text);
        if call.is_none() {
            self.problems.add(path, || no_call(text));
        }
        call
    }
}

/// Why a word is no call, and what to write.
fn no_call(text: &str) -> (String, String) {
    if text.starts_with('@') {
        return (
            format!(
                "{} is a group, and a profile names single calls",
                quoted(text)
            ),
            "name the calls of the group; groups are for changes to a base".into(),
        );
    }
    let reason = format!(
        "{} is not a system call on any architecture, and runtimes ignore it",
        quoted(text)
    );
    let mut meant = Syscall::meant_by(text);
    if meant.is_empty() {
        meant.extend(Syscall::suggestion_for(text));
    }
    let meant: Vec<_> = meant.iter().map(|call| format!("\"{call}\"")).collect();
    let remedy = match meant.split_last() {
        None => "check its spelling, or remove it".into(),
        Some((only, [])) => format!("write {only}"),
        Some((last, others)) => format!(
            "write {} and {last}, of which each architecture has its own",
            others.join(", ")
        ),
    };
    (reason, remedy)
}
