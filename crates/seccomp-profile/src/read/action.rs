//! Actions and the errors that come with them.

use serde_json::{Map, Value};

use super::Reader;
use super::messages::{kind, not_a, one_of, quoted};
use crate::action::Action;
use crate::arch::Arch;
use crate::document::Verdict;
use crate::errno::{Errno, StatedErrno};
use crate::problem::Path;

impl Reader {
    pub(super) fn default_verdict(
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
    pub(super) fn action(
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
    pub(super) fn errno(
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

    pub(super) fn errno_number(
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
}

/// The field that stated an error: by number, or by name.
pub(super) fn field_of(
    errno: Option<StatedErrno>,
    number: &'static str,
    name: &'static str,
) -> &'static str {
    match errno {
        Some(StatedErrno::Name(_)) => name,
        _ => number,
    }
}
