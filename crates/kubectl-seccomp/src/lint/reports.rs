//! What lint found, in the forms that code hosts and CI systems read.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::LintedProfile;
use super::lines::Lines;
use crate::text::visible;
use crate::{junit, markdown};
use seccomp_profile::{Code, Severity};

/// A finding with the place that reports point at.
struct Placed<'r> {
    file: &'r str,
    line: u64,
    row: &'r super::Row,
}

/// The findings, each with its file and line. `read` reads a file.
fn placed<'r>(
    reports: &'r [LintedProfile],
    files: &'r [String],
    read: impl Fn(&str) -> Option<String>,
) -> Vec<Placed<'r>> {
    let mut placed = Vec::new();
    for report in reports.iter().filter(|report| !report.findings.is_empty()) {
        let (file, object) = split(&report.profile, files);
        let lines = read(file).map(|text| Lines::of(&text));
        for row in &report.findings {
            let line = lines
                .as_ref()
                .and_then(|lines| lines.line(object, &row.path));
            placed.push(Placed {
                file,
                line: line.unwrap_or(1),
                row,
            });
        }
    }
    placed
}

/// A profile's name as that of its file, and of the object in it: `web.yaml (no-chmod)`.
fn split<'r>(profile: &'r str, files: &'r [String]) -> (&'r str, Option<&'r str>) {
    let of_file = |file: &'r String| {
        let object = profile.strip_prefix(file.as_str())?;
        let object = object.strip_prefix(" (").and_then(|o| o.strip_suffix(')'));
        (object.is_some() || profile == file.as_str()).then_some((file.as_str(), object))
    };
    let found = files.iter().filter_map(of_file);
    let longest = found.max_by_key(|(file, _)| file.len());
    longest.unwrap_or((profile, None))
}

/// The Static Analysis Results Interchange Format 2.1.0 (OASIS).
pub fn sarif(
    reports: &[LintedProfile],
    files: &[String],
    read: impl Fn(&str) -> Option<String>,
) -> Value {
    let placed = placed(reports, files, read);
    let mut rules: Vec<&str> = placed.iter().map(|placed| placed.row.code).collect();
    rules.sort_unstable();
    rules.dedup();
    let results = placed.iter().map(|Placed { file, line, row }| {
        let mut location = json!({"physicalLocation": {
            "artifactLocation": {"uri": uri(file)},
            "region": {"startLine": line},
        }});
        if !row.path.is_empty() {
            location["logicalLocations"] = json!([{"fullyQualifiedName": row.path}]);
        }
        json!({
            "ruleId": row.code,
            "ruleIndex": rules.iter().position(|rule| *rule == row.code),
            "level": row.severity,
            "message": {"text": sentence(row)},
            "locations": [location],
        })
    });
    let results: Vec<_> = results.collect();
    let rule = |code: &&str| {
        let help = match Code::named(code) {
            Some(_) => format!("docs/lint.md#{code} explains it"),
            None => "docs/lint.md says what is looked at".to_owned(),
        };
        json!({"id": code, "help": {"text": help}})
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": crate::BINARY,
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(rule).collect::<Vec<_>>(),
            }},
            "results": results,
        }],
    })
}

fn sentence(row: &super::Row) -> String {
    let at = if row.path.is_empty() {
        String::new()
    } else {
        format!("{}: ", row.path)
    };
    visible(&format!("{at}{}; {}", row.reason, row.remedy))
}

/// A path as a URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    // A colon in the first part would make a scheme of it.
    let first = path.split('/').next().unwrap_or_default();
    if first.contains(':') {
        out += "./";
    }
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// Annotations, as commands of a GitHub workflow.
pub fn github(
    reports: &[LintedProfile],
    files: &[String],
    read: impl Fn(&str) -> Option<String>,
) -> String {
    let mut out = String::new();
    for Placed { file, line, row } in placed(reports, files, read) {
        let command = match row.rank {
            Severity::Note => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let _ = writeln!(
            out,
            "::{command} file={},line={line},title={}::{}",
            property(file),
            property(row.code),
            message(&sentence(row))
        );
    }
    out
}

/// What the runner reads back of a message.
fn message(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

/// `JUnit`'s XML: a finding that fails the command is a failed test.
pub fn junit(reports: &[LintedProfile]) -> String {
    let suites = reports.iter().map(|report| {
        let counting = report.findings.iter().filter(|row| row.counts);
        let mut cases: Vec<_> = counting
            .map(|row| junit::Case {
                name: format!("{} {}", row.code, row.path),
                failure: Some(sentence(row)),
                skipped: None,
            })
            .collect();
        if cases.is_empty() {
            cases.push(junit::Case {
                name: "lint".into(),
                failure: None,
                skipped: None,
            });
        }
        junit::Suite {
            name: report.profile.clone(),
            cases,
        }
    });
    junit::document(&suites.collect::<Vec<_>>())
}

/// Markdown, for a comment on a change.
pub fn markdown(reports: &[LintedProfile]) -> String {
    let mut out = String::new();
    for report in reports {
        let name = markdown::code(&report.profile);
        if report.findings.is_empty() {
            let _ = writeln!(out, "{name}: nothing found\n");
            continue;
        }
        let _ = writeln!(
            out,
            "{name}\n\n| | Where | Finding | Remedy |\n|---|---|---|---|"
        );
        for row in &report.findings {
            let path = if row.path.is_empty() {
                String::new()
            } else {
                markdown::code(&row.path)
            };
            let _ = writeln!(
                out,
                "| {} | {path} | {} ({}) | {} |",
                row.severity,
                markdown::text(&row.reason),
                markdown::code(row.code),
                markdown::text(&row.remedy)
            );
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_split_into_its_file_and_its_object() {
        let files = ["a.yaml", "a.yaml (b)"].map(str::to_owned);
        assert_eq!(split("a.yaml", &files), ("a.yaml", None));
        assert_eq!(split("a.yaml (web)", &files), ("a.yaml", Some("web")));
        assert_eq!(split("a.yaml (b)", &files), ("a.yaml (b)", None));
        assert_eq!(split("standard input", &files), ("standard input", None));
    }

    #[test]
    fn names_and_texts_are_escaped_for_whoever_reads_them() {
        assert_eq!(uri("a b/c:d%.yaml"), "a%20b/c:d%25.yaml");
        assert_eq!(uri("c:d.yaml"), "./c:d.yaml");
        assert_eq!(property("a,b:c%\n"), "a%2Cb%3Ac%25%0A");
        assert_eq!(message("a, b: 5%\n"), "a, b: 5%25%0A");
    }
}
