//! What came of test files, in the forms that people and machines read.

use std::fmt::Write as _;

use serde::Serialize;

use super::check::{Failed, Outcome};
use crate::junit;
use crate::text::{Style, plural, visible, wrap};

/// What came of one file.
pub struct Report {
    /// The file.
    pub file: String,
    /// Its cases.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    fn failed(&self) -> usize {
        let outcomes = self.outcomes.iter();
        outcomes.filter(|outcome| outcome.is_failed()).count()
    }
}

impl Report {
    fn skipped(&self) -> usize {
        let outcomes = self.outcomes.iter();
        outcomes.filter(|outcome| outcome.skipped.is_some()).count()
    }
}

impl Outcome {
    /// Whether something is not as expected.
    pub fn is_failed(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl Failed {
    fn sentence(&self) -> String {
        if self.what.is_empty() {
            self.reason.clone()
        } else {
            format!("{} {}", self.what, self.reason)
        }
    }
}

/// Those of a case that are shown, and how many are not.
fn sentences(outcome: &Outcome) -> Vec<String> {
    const SHOWN: usize = 10;
    let failures = outcome.failures.iter();
    let mut shown: Vec<_> = failures.take(SHOWN).map(Failed::sentence).collect();
    let more = outcome.failures.len().saturating_sub(SHOWN);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}

/// Text for people.
pub fn text(reports: &[Report], style: Style) -> String {
    let mut out = String::new();
    for report in reports {
        let failed = report.failed();
        let head = visible(&report.file);
        let skipped = report.skipped();
        let left_out = match skipped {
            0 => String::new(),
            number => format!(", {number} left out"),
        };
        let cases = plural(report.outcomes.len() - skipped, "case");
        if failed == 0 {
            let _ = writeln!(out, "{head}: {cases} passed{left_out}");
            continue;
        }
        let head = format!("{head}: {failed} of {cases} failed{left_out}\n");
        out += &style.bold(&head);
        for outcome in report.outcomes.iter().filter(|one| one.is_failed()) {
            out += &wrap("  FAIL ", &visible(&outcome.name));
            for sentence in sentences(outcome) {
                out += &wrap("       ", &visible(&sentence));
            }
        }
    }
    out
}

/// The Test Anything Protocol, version 13.
pub fn tap(reports: &[Report]) -> String {
    let outcomes = || reports.iter().flat_map(|report| &report.outcomes);
    let mut out = format!("TAP version 13\n1..{}\n", outcomes().count());
    let mut number = 0;
    for report in reports {
        let _ = writeln!(out, "# {}", visible(&report.file));
        for outcome in &report.outcomes {
            number += 1;
            let word = if outcome.is_failed() { "not ok" } else { "ok" };
            // What follows a number sign is a directive.
            let name = visible(&outcome.name).replace('#', "\\#");
            let skip = match &outcome.skipped {
                Some(reason) => format!(" # SKIP {}", visible(reason)),
                None => String::new(),
            };
            let _ = writeln!(out, "{word} {number} - {name}{skip}");
            for sentence in sentences(outcome) {
                let _ = writeln!(out, "# {}", visible(&sentence));
            }
        }
    }
    out
}

/// `JUnit`'s XML.
pub fn junit(reports: &[Report]) -> String {
    let suites = reports.iter().map(|report| junit::Suite {
        name: report.file.clone(),
        cases: report
            .outcomes
            .iter()
            .map(|outcome| junit::Case {
                name: outcome.name.clone(),
                failure: outcome.is_failed().then(|| sentences(outcome).join("\n")),
                skipped: outcome.skipped.clone(),
            })
            .collect(),
    });
    junit::document(&suites.collect::<Vec<_>>())
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// All of it as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Data<'r> {
    passed: usize,
    failed: usize,
    #[serde(skip_serializing_if = "is_zero")]
    skipped: usize,
    files: Vec<FileData<'r>>,
}

#[derive(Serialize)]
struct FileData<'r> {
    file: &'r str,
    cases: Vec<CaseData<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CaseData<'r> {
    name: &'r str,
    passed: bool,
    calls: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'r str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<FailureData<'r>>,
}

#[derive(Serialize)]
struct FailureData<'r> {
    #[serde(skip_serializing_if = "str::is_empty")]
    call: &'r str,
    reason: &'r str,
}

impl<'r> From<&'r Outcome> for CaseData<'r> {
    fn from(outcome: &'r Outcome) -> Self {
        let failure = |failed: &'r Failed| FailureData {
            call: &failed.what,
            reason: &failed.reason,
        };
        Self {
            name: &outcome.name,
            passed: !outcome.is_failed() && outcome.skipped.is_none(),
            calls: outcome.calls,
            skipped: outcome.skipped.as_deref(),
            failures: outcome.failures.iter().map(failure).collect(),
        }
    }
}

/// The reports as data.
pub fn data(reports: &[Report]) -> Data<'_> {
    let failed: usize = reports.iter().map(Report::failed).sum();
    let all: usize = reports.iter().map(|report| report.outcomes.len()).sum();
    let skipped: usize = reports.iter().map(Report::skipped).sum();
    Data {
        passed: all - failed - skipped,
        failed,
        skipped,
        files: reports
            .iter()
            .map(|report| FileData {
                file: &report.file,
                cases: report.outcomes.iter().map(CaseData::from).collect(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports() -> Vec<Report> {
        let outcome = |name: &str, failures: usize| Outcome {
            name: name.into(),
            calls: 12,
            failures: (0..failures)
                .map(|i| Failed {
                    what: format!("call {i}"),
                    reason: "is allow (by syscalls[0])".into(),
                })
                .collect(),
            skipped: None,
        };
        vec![
            Report {
                file: "a.yaml".into(),
                outcomes: vec![outcome("one", 0)],
            },
            Report {
                file: "b.yaml".into(),
                outcomes: vec![outcome("two #1", 12), outcome("three", 0)],
            },
        ]
    }

    #[test]
    fn failures_are_shown_to_people_and_what_passed_is_counted() {
        let text = text(&reports(), Style::plain());
        assert!(
            text.starts_with(
                "a.yaml: 1 case passed\nb.yaml: 1 of 2 cases failed\n  FAIL two #1\n       call 0 is allow"
            ),
            "{text}"
        );
        assert!(text.ends_with("       call 9 is allow (by syscalls[0])\n       and 2 more\n"));
    }

    #[test]
    fn each_case_is_a_test_point() {
        let tap = tap(&reports());
        let points: Vec<_> = tap.lines().filter(|line| line.contains("ok ")).collect();
        assert_eq!(
            points,
            ["ok 1 - one", "not ok 2 - two \\#1", "ok 3 - three"]
        );
        assert!(tap.starts_with("TAP version 13\n1..3\n"));
    }

    #[test]
    fn data_has_every_failure() {
        let data = serde_json::to_value(data(&reports())).unwrap();
        assert_eq!((&data["passed"], &data["failed"]), (&2.into(), &1.into()));
        let failures = data["files"][1]["cases"][0]["failures"].as_array().unwrap();
        assert_eq!(failures.len(), 12);
    }
}
