//! What lint found, as a page: each finding with its severity, reason and remedy.

use super::{LintedProfile, Row};
use crate::html::{Block, Cell, Page, Table, Tone};
use crate::text::plural;
use seccomp_profile::Severity;

pub fn page(reports: &[LintedProfile]) -> String {
    let rows = || reports.iter().flat_map(|report| &report.findings);
    let count = |rank| rows().filter(|row| row.rank == rank).count();
    let (found, fine): (Vec<_>, Vec<_>) = reports
        .iter()
        .partition(|report| !report.findings.is_empty());
    let mut page = Page::new("Findings in seccomp profiles")
        .about(format!(
            "{} looked at. A finding is a rule that does less, or more, than it seems to; docs/lint.md explains the codes.",
            plural(reports.len(), "profile")
        ))
        .section(
            "In short",
            vec![Block::Figures(vec![
                (count(Severity::Error), "errors: what does not work".into(), Tone::Bad),
                (count(Severity::Warning), "warnings".into(), Tone::Warn),
                (count(Severity::Note), "notes".into(), Tone::Note),
                (fine.len(), "profiles with nothing found".into(), Tone::Good),
            ])],
        );
    for report in found {
        let table = table(&report.findings).block();
        page = page.section(report.profile.clone(), table.into_iter().collect());
    }
    let mut names = Table::new(&["Profile"]);
    for report in fine {
        names.row(vec![Cell::Code(report.profile.clone())]);
    }
    page.section("Nothing found", names.block().into_iter().collect())
        .html()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["Finding", "Severity", "Where", "Reason", "Remedy"]);
    for row in rows {
        let tone = match row.rank {
            Severity::Error => Tone::Bad,
            Severity::Warning => Tone::Warn,
            Severity::Note => Tone::Note,
        };
        table.row(vec![
            Cell::Code(row.code.to_owned()),
            Cell::Badge(tone, row.severity.to_owned()),
            Cell::Code(row.path.clone()),
            Cell::Text(row.reason.clone()),
            Cell::Text(row.remedy.clone()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::well_formed;

    #[test]
    fn each_finding_has_its_severity_reason_and_remedy() {
        let row = Row {
            severity: "error",
            code: "invalid",
            path: "<b>".into(),
            reason: "\"</td><b>\"".into(),
            remedy: "run `a & b`".into(),
            rank: Severity::Error,
            counts: true,
        };
        let report = |name: &str, findings| LintedProfile {
            profile: name.into(),
            findings,
        };
        let html = page(&[report("<b>bad</b>", vec![row]), report("fine", vec![])]);
        let seen = well_formed::check(&html).unwrap();
        assert!(!seen.tags.contains_key("b") && seen.tags["table"] == 2);
        for part in [
            "<span class=\"badge bad\">error</span>",
            "&quot;&lt;/td&gt;&lt;b&gt;&quot;",
            "run <code>a &amp; b</code>",
            "<code>fine</code>",
        ] {
            assert!(html.contains(part), "{part}");
        }
        well_formed::check(&page(&[])).unwrap();
    }
}
