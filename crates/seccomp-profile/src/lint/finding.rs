//! What lint says.

use std::fmt;

use super::Code;
use crate::problem::Problem;

/// How many findings one answer lists. Nobody reads past a screen of them.
pub const MAX_FINDINGS: usize = 50;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing, and nothing to change where it is meant so.
    Note,
    /// The profile does less or more than it seems to.
    Warning,
    /// No container starts, or what the profile says has no effect at all.
    Error,
}

impl Severity {
    /// In lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that the author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of thing, for programs.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// The field that it is about, e.g. `spec.profile.syscalls[3].args[0]`.
    pub path: String,
    /// What is so, a lower-case clause that follows "`path`:".
    pub reason: String,
    /// What to do about it, an imperative clause.
    pub remedy: String,
}

impl Finding {
    /// What reading a document has said already.
    pub(super) fn of(problem: &Problem, code: Code, severity: Severity) -> Self {
        Self {
            code,
            severity,
            path: problem.path.clone(),
            reason: problem.reason.clone(),
            remedy: problem.remedy.clone(),
        }
    }
}

/// `path: reason; remedy [code]`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            path,
            reason,
            remedy,
            ..
        } = self;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        write!(f, "{reason}; {remedy} [{code}]")
    }
}
