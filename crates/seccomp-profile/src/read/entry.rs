//! The elements of `syscalls`.

use serde_json::{Map, Value};

use super::Reader;
use super::action::field_of;
use super::messages::quoted;
use crate::action::Action;
use crate::condition::MAX_CONDITIONAL;
use crate::document::{Entry, Verdict};
use crate::problem::Path;
use crate::syscall::Syscall;

const ENTRY: &[&str] = &[
    "names", "name", "action", "errnoRet", "errno", "args", "comment", "includes", "excludes",
];

impl Reader {
    pub(super) fn entry(&mut self, value: &Value, path: &Path<'_>) -> Option<Entry> {
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
    pub(super) fn names(&mut self, map: &Map<String, Value>, path: &Path<'_>) -> Vec<Syscall> {
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

    pub(super) fn name(&mut self, value: &Value, path: &Path<'_>) -> Option<Syscall> {
        let text = self.string(value, path, "the name of a system call")?;
        self.call(text, path)
    }

    pub(super) fn call(&mut self, text: &str, path: &Path<'_>) -> Option<Syscall> {
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
                        "name the calls of the group; groups are for changes to a base".into(),
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
}
