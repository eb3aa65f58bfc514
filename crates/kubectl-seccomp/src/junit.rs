//! `JUnit`'s XML, as CI systems show it. Knows nothing of what was tested.

use std::fmt::Write as _;

/// Tests of one file.
pub struct Suite {
    /// The file.
    pub name: String,
    /// The tests.
    pub cases: Vec<Case>,
}

/// One test.
pub struct Case {
    /// What it is called.
    pub name: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Why it was left out, if it was.
    pub skipped: Option<String>,
}

/// The document.
pub fn document(suites: &[Suite]) -> String {
    let failures = |suite: &Suite| {
        let cases = suite.cases.iter();
        cases.filter(|case| case.failure.is_some()).count()
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites tests=\"{}\" failures=\"{}\">",
        suites.iter().map(|suite| suite.cases.len()).sum::<usize>(),
        suites.iter().map(failures).sum::<usize>()
    );
    for suite in suites {
        let name = escaped(&suite.name);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">",
            suite.cases.len(),
            failures(suite),
            suite
                .cases
                .iter()
                .filter(|case| case.skipped.is_some())
                .count()
        );
        for case in &suite.cases {
            let _ = write!(
                out,
                "    <testcase classname=\"{name}\" name=\"{}\"",
                escaped(&case.name)
            );
            let _ = match (&case.failure, &case.skipped) {
                (Some(failure), _) => {
                    let first = failure.lines().next().unwrap_or_default();
                    writeln!(
                        out,
                        ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                        escaped(first),
                        escaped(failure)
                    )
                }
                (None, Some(reason)) => writeln!(
                    out,
                    ">\n      <skipped message=\"{}\"/>\n    </testcase>",
                    escaped(reason)
                ),
                (None, None) => writeln!(out, "/>"),
            };
        }
        out += "  </testsuite>\n";
    }
    out + "</testsuites>\n"
}

/// Text as XML has it. What XML cannot hold is a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_texts_are_escaped() {
        let case = |name: &str, failure: Option<&str>| Case {
            name: name.into(),
            failure: failure.map(str::to_owned),
            skipped: None,
        };
        let left_out = Case {
            skipped: Some("not here".into()),
            ..case("other", None)
        };
        let suites = [Suite {
            name: "a & b.yaml".into(),
            cases: vec![
                case("fine", None),
                case("<bad>\u{1b}", Some("expected \"allow\"\nand not")),
                left_out,
            ],
        }];
        assert_eq!(
            document(&suites),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites tests=\"3\" failures=\"1\">\n\
             \x20 <testsuite name=\"a &amp; b.yaml\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\">\n\
             \x20   <testcase classname=\"a &amp; b.yaml\" name=\"fine\"/>\n\
             \x20   <testcase classname=\"a &amp; b.yaml\" name=\"&lt;bad&gt;?\">\n\
             \x20     <failure message=\"expected &quot;allow&quot;\">expected &quot;allow&quot;\nand not</failure>\n\
             \x20   </testcase>\n\
             \x20   <testcase classname=\"a &amp; b.yaml\" name=\"other\">\n\
             \x20     <skipped message=\"not here\"/>\n\
             \x20   </testcase>\n\
             \x20 </testsuite>\n\
             </testsuites>\n"
        );
    }
}
