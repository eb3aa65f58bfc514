//! Tables: rows of cells under headings, the first cell of a row being its head.

use std::fmt::Write as _;

use super::escape::{code, prose, text};
use super::{Share, Tone, bar};

/// What stands in a table, or beside a name.
#[derive(Clone, Debug)]
pub enum Cell {
    /// A sentence, or a word of the tool's.
    Text(String),
    /// A name, as one would type it.
    Code(String),
    /// Several of them.
    Codes(Vec<String>),
    Number(usize),
    /// A state, in a word.
    Badge(Tone, String),
    /// Parts of a whole. Sorting goes by the first one's share.
    Bar(Vec<Share>),
}

impl Cell {
    /// As it stands inside of an element.
    pub fn inner(&self) -> String {
        match self {
            Self::Text(sentence) => prose(sentence),
            Self::Code(name) if name.is_empty() => String::new(),
            Self::Code(name) => code(name),
            Self::Codes(names) => {
                let names: Vec<_> = names.iter().map(|name| code(name)).collect();
                names.join(" ")
            }
            Self::Number(number) => number.to_string(),
            Self::Badge(tone, word) => {
                format!(
                    "<span class=\"badge {}\">{}</span>",
                    tone.class(),
                    text(word)
                )
            }
            Self::Bar(shares) => bar(shares),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) | Self::Code(text) => text.is_empty(),
            Self::Codes(names) => names.is_empty(),
            Self::Number(_) | Self::Badge(..) | Self::Bar(_) => false,
        }
    }

    /// What it is sorted by, where that is not its text, and its class.
    fn attributes(&self) -> String {
        match self {
            Self::Number(_) => " class=\"number\"".to_owned(),
            Self::Bar(shares) => {
                let whole: usize = shares.iter().map(|share| share.number).sum();
                let first = shares.first().map_or(0, |share| share.number);
                let key = first.saturating_mul(1_000_000) / whole.max(1);
                format!(" class=\"bar\" data-key=\"{key}\"")
            }
            // Long ones are not squeezed into a column as wide as a word.
            Self::Text(sentence) if sentence.len() > 40 => " class=\"text\"".to_owned(),
            Self::Codes(names) if names.len() > 3 => " class=\"text\"".to_owned(),
            _ => String::new(),
        }
    }
}

/// Rows under headings. A column in which no row has anything is left out.
#[derive(Clone, Debug)]
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    /// One more row, with a cell for each heading.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.heads.len());
        self.rows.push(cells);
    }

    /// A block with it; none if it has no rows.
    pub fn block(self) -> Option<super::Block> {
        (!self.rows.is_empty()).then_some(super::Block::Table(self))
    }

    /// The table. `name` tells screen readers what it is, where it has to be scrolled.
    pub fn html(&self, name: &str) -> String {
        let is_used = |column: usize| self.rows.iter().any(|row| !row[column].is_empty());
        let columns: Vec<_> = (0..self.heads.len()).filter(|c| is_used(*c)).collect();
        let name = text(name);
        let mut out = format!(
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{name}\">\n<table aria-label=\"{name}\">\n<thead>\n<tr>"
        );
        for column in &columns {
            let mut cells = self.rows.iter().map(|row| &row[*column]);
            let class = match cells.next() {
                Some(Cell::Number(_)) => " class=\"number\"",
                _ => "",
            };
            let head = text(self.heads[*column]);
            let _ = write!(out, "<th scope=\"col\"{class}>{head}</th>");
        }
        out += "</tr>\n</thead>\n<tbody>\n";
        for row in &self.rows {
            out += "<tr>";
            for (position, column) in columns.iter().enumerate() {
                let (cell, tag, scope) = match position {
                    0 => (&row[*column], "th", " scope=\"row\""),
                    _ => (&row[*column], "td", ""),
                };
                let _ = write!(
                    out,
                    "<{tag}{scope}{}>{}</{tag}>",
                    cell.attributes(),
                    cell.inner()
                );
            }
            out += "</tr>\n";
        }
        out + "</tbody>\n</table>\n</div>\n"
    }
}
