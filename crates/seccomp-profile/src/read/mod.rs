//! From JSON to a [`Document`], strictly: whatever a runtime would drop, ignore or take for something else is refused,
//! with the place, the reason and what to write instead, and all of a document's problems at once. As a file is read that runtimes
//! read as it is, what they drop is no problem but kept as an oddity ([`Document::oddities`]): containers do start with it.
//!
//! Strict because every other reader of this format is not. containerd drops fields that it does not know, matches the
//! others without regard to case, and runs a container unconfined when what is left says nothing.
//!
//! Knows both formats, OCI runtime-spec and Docker/Podman; does not know what a profile means.

use std::collections::HashMap;

use serde_json::Value;

use super::action::Action;
use super::document::{Document, Oddity, OddityKind};
use super::problem::{Collector, Path, Problem, Problems};
use conflicts::{Key, Seen};

mod action;
mod architectures;
mod condition;
mod conflicts;
mod delta;
mod entry;
mod filter;
mod json;
mod messages;
mod options;
mod shape;

/// The largest document, in bytes: what KEP-6061 lets a runtime accept.
pub const MAX_BYTES: usize = 1 << 20;

/// How many Docker-only fields a document remembers.
const DOCKER_ONLY_LISTED: usize = 50;

/// How many oddities of each kind it remembers.
const ODDITIES_LISTED: usize = 50;

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

/// Reads a profile document in either format.
///
/// `at` is the path of the document in what its author wrote, e.g. `spec.profile`: the start of every problem's path;
/// may be empty. Numbers must be what the author wrote: 64-bit integers, not floats that have lost their last digits.
pub fn parse(document: &Value, at: &str) -> Result<Document, Problems> {
    Reader::default().read(document, at)
}

/// As [`parse`], for a document in a Kubernetes object. API servers round numbers from 2^63 on, and nobody can tell a rounded number
/// from one that was meant: those must be strings.
pub fn parse_in_object(document: &Value, at: &str) -> Result<Document, Problems> {
    Reader::of_object().read(document, at)
}

/// As [`parse`], for a document that runtimes read as it is: what they drop, or what some of them take for something else, is among its
/// [`oddities`](Document::oddities).
pub fn parse_as_is(document: &Value, at: &str) -> Result<Document, Problems> {
    Reader::of_file().read(document, at)
}

/// As [`parse_as_is`], for a document in a Kubernetes object of which somebody makes the file word for word: see [`parse_in_object`].
pub fn parse_in_object_as_is(document: &Value, at: &str) -> Result<Document, Problems> {
    let reader = Reader {
        in_object: true,
        ..Reader::of_file()
    };
    reader.read(document, at)
}

impl Reader {
    fn read(mut self, document: &Value, at: &str) -> Result<Document, Problems> {
        let read = self.document(document, &Path::Root(at));
        match (self.problems.finish(()), read) {
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
}

/// Reads a profile document from its bytes: [`parse`], and JSON itself is read strictly too: at most 1 MiB, nested no
/// deeper than 128, no field twice.
pub fn parse_slice(bytes: &[u8], at: &str) -> Result<Document, Problems> {
    parse(&json_of(bytes, at)?, at)
}

/// As [`parse_slice`], for a file that runtimes read as it is: see [`parse_as_is`].
pub fn parse_slice_as_is(bytes: &[u8], at: &str) -> Result<Document, Problems> {
    parse_as_is(&json_of(bytes, at)?, at)
}

fn json_of(bytes: &[u8], at: &str) -> Result<Value, Problems> {
    if bytes.len() > MAX_BYTES {
        let reason = format!("is {} bytes long, more than {MAX_BYTES}", bytes.len());
        return Err(problem(
            at,
            reason,
            "name fewer calls; a profile has a few thousand bytes".into(),
        ));
    }
    json::from_slice(bytes).map_err(|error| {
        problem(
            at,
            format!("cannot be read: {error}"),
            "write one JSON object that holds a seccomp profile".into(),
        )
    })
}

fn problem(at: &str, reason: String, remedy: String) -> Problems {
    Problem {
        path: at.to_owned(),
        reason,
        remedy,
    }
    .into()
}

#[derive(Default)]
struct Reader {
    problems: Collector,
    docker_only: Vec<String>,
    /// Conditional rules so far, per call.
    conditional: usize,
    /// The entries that have one condition on one call, to find two that libseccomp cannot have together.
    seen: HashMap<Key, Vec<Seen>>,
    /// Whether an API server has handed the numbers on, or will.
    in_object: bool,
    /// Whether runtimes read it as it is, and what they make of it counts.
    as_is: bool,
    oddities: Vec<Oddity>,
}

impl Reader {
    /// For what stands in a Kubernetes object.
    fn of_object() -> Self {
        Self {
            in_object: true,
            ..Self::default()
        }
    }

    /// For what runtimes read as it is.
    fn of_file() -> Self {
        Self {
            as_is: true,
            ..Self::default()
        }
    }

    /// Remembers what runtimes take and its author does not mean.
    fn odd(&mut self, kind: OddityKind, path: &Path<'_>, what: impl FnOnce() -> (String, String)) {
        let same = std::mem::discriminant(&kind);
        let of_kind = |oddity: &&Oddity| std::mem::discriminant(&oddity.kind) == same;
        if self.oddities.iter().filter(of_kind).count() < ODDITIES_LISTED {
            let (reason, remedy) = what();
            let path = path.to_string();
            let problem = Problem {
                path,
                reason,
                remedy,
            };
            self.oddities.push(Oddity { kind, problem });
        }
    }

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
            if let Some(entry) = self.entry(entry, i, &here) {
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
            oddities: std::mem::take(&mut self.oddities),
        })
    }

    fn docker_only(&mut self, path: &Path<'_>) {
        if self.docker_only.len() < DOCKER_ONLY_LISTED {
            self.docker_only.push(path.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
