//! Reports as one HTML page: readable alone, in print, by screen readers and without a script.
//!
//! Commands hand over data; markup is made here alone. Nothing on a page comes from elsewhere, and its policy allows no more than the style
//! sheet and the script that it carries, by their hashes. The script adds filters and sorting, and nothing that would be missed.

mod escape;
mod table;

#[cfg(test)]
pub mod well_formed;

use std::fmt::Write as _;

use escape::{prose, text};
pub use table::{Cell, Table};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// SHA-256 of [`STYLE`] and of [`SCRIPT`], as a Content-Security-Policy names them.
const STYLE_HASH: &str = "sha256-Rz7UK5gOuRJ0c0ZXACYsE2BDJYaOu2vOVs+v8vVBbBA=";
const SCRIPT_HASH: &str = "sha256-xoSHH0Z2r8+xX2bXW7UX6iFlLf3mwvioIyG9Ha2rOJk=";

/// What a colour says; words say it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Note,
    Warn,
    Bad,
    Plain,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

/// A part of a whole.
#[derive(Clone, Debug)]
pub struct Share {
    pub tone: Tone,
    pub number: usize,
    pub word: &'static str,
}

/// What stands below a heading.
#[derive(Debug)]
pub enum Block {
    /// A sentence.
    Text(String),
    /// A sentence that must not be missed.
    Note(String),
    /// Numbers, large, with what they count.
    Figures(Vec<(usize, String, Tone)>),
    /// Names, and what is to be said of them.
    Facts(Vec<(&'static str, Cell)>),
    /// What the colours of bars mean.
    Legend(Vec<(Tone, &'static str)>),
    Table(Table),
}

/// A page.
#[derive(Debug)]
pub struct Page {
    title: String,
    about: Vec<String>,
    sections: Vec<(String, Vec<Block>)>,
}

impl Page {
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            about: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// A sentence below the title.
    pub fn about(mut self, sentence: impl Into<String>) -> Self {
        self.about.push(sentence.into());
        self
    }

    /// One more section; none if there is nothing in it.
    pub fn section(mut self, heading: impl Into<String>, blocks: Vec<Block>) -> Self {
        if !blocks.is_empty() {
            self.sections.push((heading.into(), blocks));
        }
        self
    }

    /// What could not be found out, as a last section.
    pub fn notes(self, notes: &[String]) -> Self {
        let notes = notes.iter().cloned().map(Block::Note).collect();
        self.section("Not known", notes)
    }

    /// The page as a file.
    pub fn html(&self) -> String {
        let title = text(&self.title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{STYLE_HASH}'; \
             script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n"
        );
        for sentence in &self.about {
            let _ = writeln!(out, "<p class=\"about\">{}</p>", prose(sentence));
        }
        out += &self.contents();
        out += "</header>\n<main>\n";
        for (index, (heading, blocks)) in self.sections.iter().enumerate() {
            let _ = writeln!(
                out,
                "<section aria-labelledby=\"s{index}\">\n<h2 id=\"s{index}\">{}</h2>",
                text(heading)
            );
            for block in blocks {
                out += &block.html(heading);
            }
            out += "</section>\n";
        }
        let _ = write!(
            out,
            "</main>\n<footer><p>{} {}</p></footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
            crate::BINARY,
            env!("CARGO_PKG_VERSION")
        );
        out
    }

    fn contents(&self) -> String {
        if self.sections.len() < 3 {
            return String::new();
        }
        let mut out = "<nav aria-label=\"Contents\"><ul>\n".to_owned();
        for (index, (heading, _)) in self.sections.iter().enumerate() {
            let _ = writeln!(out, "<li><a href=\"#s{index}\">{}</a></li>", text(heading));
        }
        out + "</ul></nav>\n"
    }
}

impl Block {
    fn html(&self, heading: &str) -> String {
        match self {
            Self::Text(sentence) => format!("<p>{}</p>\n", prose(sentence)),
            Self::Note(sentence) => format!("<aside><p>{}</p></aside>\n", prose(sentence)),
            Self::Figures(figures) => {
                let one = |(number, words, tone): &(usize, String, Tone)| {
                    // What counts nothing alarms nobody.
                    let tone = if *number == 0 { Tone::Plain } else { *tone };
                    let class = tone.class();
                    format!(
                        "<div class=\"{class}\"><dt>{}</dt><dd>{number}</dd></div>\n",
                        text(words)
                    )
                };
                let all: String = figures.iter().map(one).collect();
                format!("<dl class=\"figures\">\n{all}</dl>\n")
            }
            Self::Facts(facts) => {
                let one = |(name, value): &(&str, Cell)| {
                    format!("<dt>{}</dt><dd>{}</dd>\n", text(name), value.inner())
                };
                let all: String = facts.iter().map(one).collect();
                format!("<dl class=\"facts\">\n{all}</dl>\n")
            }
            Self::Legend(words) => {
                let one = |(tone, word): &(Tone, &str)| {
                    let class = tone.class();
                    format!(
                        "<li><svg aria-hidden=\"true\"><rect class=\"{class}\" width=\"100%\" height=\"100%\"></rect></svg>{}</li>\n",
                        text(word)
                    )
                };
                let all: String = words.iter().map(one).collect();
                format!("<ul class=\"legend\">\n{all}</ul>\n")
            }
            Self::Table(table) => table.html(heading),
        }
    }
}

/// A bar whose parts are as wide as their numbers, and the numbers in words.
fn bar(shares: &[Share]) -> String {
    let whole: usize = shares.iter().map(|share| share.number).sum();
    let shown = shares.iter().filter(|share| share.number > 0);
    let words: Vec<_> = shown
        .clone()
        .map(|share| format!("{} {}", share.number, share.word))
        .collect();
    let mut out = "<svg aria-hidden=\"true\">".to_owned();
    let mut before = 0;
    for share in shown {
        // In tenths of a per cent: no rounding of floats, and nothing that is there is narrower than one can see.
        let tenths = |number: usize| number.saturating_mul(1000) / whole.max(1);
        let (start, end) = (tenths(before), tenths(before + share.number));
        let (start, wide) = (start, (end - start).max(4));
        let _ = write!(
            out,
            "<rect class=\"{}\" x=\"{}.{}%\" width=\"{}.{}%\" height=\"100%\"></rect>",
            share.tone.class(),
            start / 10,
            start % 10,
            wide / 10,
            wide % 10
        );
        before += share.number;
    }
    let words = match words.join(", ") {
        words if words.is_empty() => "none".to_owned(),
        words => words,
    };
    out + &format!("</svg><span>{}</span>", text(&words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use rustls::CipherSuite;

    /// As `ring` does it for TLS.
    fn sha256(text: &str) -> String {
        let provider = rustls::crypto::ring::default_provider();
        let mut suites = provider.cipher_suites.iter();
        let suite = suites
            .find(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256)
            .and_then(rustls::SupportedCipherSuite::tls13);
        let hash = suite.unwrap().common.hash_provider.hash(text.as_bytes());
        let base64 = serde_json::to_value(ByteString(hash.as_ref().to_vec())).unwrap();
        format!("sha256-{}", base64.as_str().unwrap())
    }

    #[test]
    fn the_policy_names_the_very_style_sheet_and_script() {
        assert_eq!(STYLE_HASH, sha256(STYLE));
        assert_eq!(SCRIPT_HASH, sha256(SCRIPT));
        // Neither ends its element, or asks for anything from elsewhere.
        for part in [STYLE, SCRIPT] {
            assert!(part.is_ascii() && !part.contains('\r'));
            for word in ["</", "<!", "url(", "@import", "fetch", "innerHTML", "http"] {
                assert!(!part.contains(word), "{word}");
            }
        }
    }

    fn page() -> Page {
        let hostile = "<b onclick='x'>&\"name\"</b>".to_owned();
        let share = |number| Share {
            tone: Tone::Bad,
            number,
            word: "open",
        };
        let mut table = Table::new(&["Name", "Open", "Bar", "Calls", "State"]);
        for number in [0, 1] {
            table.row(vec![
                Cell::Code(hostile.clone()),
                Cell::Number(number),
                Cell::Bar(vec![share(number), share(1)]),
                Cell::Codes(vec![hostile.clone(), "chmod".into()]),
                Cell::Badge(Tone::Warn, hostile.clone()),
            ]);
        }
        Page::new(hostile.clone())
            .about(hostile.clone())
            .section("Empty", vec![])
            .section(
                hostile.clone(),
                vec![
                    Block::Text(hostile.clone()),
                    Block::Figures(vec![(3, hostile.clone(), Tone::Bad)]),
                    Block::Facts(vec![("name", Cell::Text(hostile.clone()))]),
                    Block::Legend(vec![(Tone::Good, "stopped")]),
                    Block::Table(table),
                ],
            )
            .section("More", vec![Block::Text("`code` in it".into())])
            .notes(&[hostile])
    }

    #[test]
    fn a_page_is_well_formed_and_no_input_is_markup() {
        let html = page().html();
        let seen = well_formed::check(&html).unwrap();
        for (tag, number) in [("h1", 1), ("h2", 3), ("nav", 1), ("main", 1), ("table", 1)] {
            assert_eq!(seen.tags[tag], number, "{tag}");
        }
        assert!(!seen.tags.contains_key("b"));
        assert!(!html.contains("Empty"));
        assert!(html.contains("<p><code>code</code> in it</p>"));
    }

    #[test]
    fn each_cell_of_a_table_has_a_head_for_its_row_and_column() {
        let html = page().html();
        assert_eq!(html.matches("<th scope=\"col\"").count(), 5);
        assert_eq!(html.matches("<th scope=\"row\"").count(), 2);
        assert_eq!(html.matches("<caption>").count(), 0, "its section names it");
        assert!(html.contains("role=\"region\" tabindex=\"0\" aria-label"));
    }

    #[test]
    fn a_bar_is_full_and_says_its_numbers() {
        let share = |tone, number, word| Share { tone, number, word };
        let bar = bar(&[
            share(Tone::Good, 1, "stopped"),
            share(Tone::Warn, 0, "by arguments"),
            share(Tone::Plain, 2, "open"),
        ]);
        assert!(bar.contains("x=\"0.0%\" width=\"33.3%\""), "{bar}");
        assert!(bar.contains("x=\"33.3%\" width=\"66.7%\""), "{bar}");
        assert!(bar.ends_with("<span>1 stopped, 2 open</span>"), "{bar}");
        assert!(super::bar(&[]).ends_with("<span>none</span>"));
    }
}
