//! What is wrong with a profile, said so that its author can mend it: where, what, and what to write instead.

use std::fmt;

/// How many problems one answer lists. A hostile document has one in every line; nobody reads past a screen of them.
const LISTED: usize = 50;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The offending field, e.g. `spec.profile.syscalls[3].args[0].op`.
    pub path: String,
    /// What is wrong with it, a lower-case clause that follows "`path`:".
    pub reason: String,
    /// What to do instead, an imperative clause.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            reason,
            remedy,
        } = self;
        if path.is_empty() {
            write!(f, "{reason}; {remedy}")
        } else {
            write!(f, "{path}: {reason}; {remedy}")
        }
    }
}

/// All that is wrong with one document. Never empty; at most 50 are listed, the rest is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    unlisted: usize,
}

impl Problems {
    /// The listed problems, in the document's order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.listed.iter()
    }

    /// How many problems were found, listed or not. Never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // there is always at least one
    pub fn len(&self) -> usize {
        self.listed.len() + self.unlisted
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self {
            listed: vec![problem],
            unlisted: 0,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.listed.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        match self.unlisted {
            0 => Ok(()),
            n => write!(f, "\nand {n} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// Gathers problems while reading goes on.
#[derive(Debug, Default)]
pub(super) struct Collector {
    listed: Vec<Problem>,
    unlisted: usize,
}

impl Collector {
    /// Adds a problem; past the listed ones, only their number grows and `what` (reason and remedy) is not made.
    pub(super) fn add(&mut self, path: &Path<'_>, what: impl FnOnce() -> (String, String)) {
        if self.listed.len() < LISTED {
            let (reason, remedy) = what();
            self.listed.push(Problem {
                path: path.to_string(),
                reason,
                remedy,
            });
        } else {
            self.unlisted += 1;
        }
    }

    /// `value` if nothing was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Problems> {
        if self.listed.is_empty() {
            Ok(value)
        } else {
            Err(Problems {
                listed: self.listed,
                unlisted: self.unlisted,
            })
        }
    }
}

/// Where reading is. Costs nothing until it is written out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'a> {
    Root(&'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(super) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    pub(super) fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(root) => f.write_str(root),
            Path::Key(Path::Root(""), key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}
