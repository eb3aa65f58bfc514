//! Tables for people, as kubectl prints them, and the same as data.

use std::io::Write as _;

use serde::Serialize;

use super::Failure;
use super::text::{Style, visible};

/// Rows under headings. A column in which no row has anything is left out.
pub struct Table<const N: usize> {
    heads: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty one.
    pub fn new(heads: [&'static str; N]) -> Self {
        Self {
            heads,
            rows: Vec::new(),
        }
    }

    /// One more row. What somebody else chose is made harmless to a terminal.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| visible(&cell)));
    }

    /// The lines.
    pub fn lines(&self, style: Style) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            let widest = cells.max().unwrap_or(0);
            (widest > 0).then(|| widest.max(self.heads[column].len()))
        };
        let columns: Vec<_> = (0..N).filter_map(|c| Some((c, width(c)?))).collect();
        let line = |cells: [&str; N]| {
            let padded = columns
                .iter()
                .map(|(column, width)| format!("{:width$}", cells[*column]));
            let line = padded.collect::<Vec<_>>().join("   ");
            line.trim_end().to_owned() + "\n"
        };
        let head = style.bold(&line(self.heads));
        let rows = self
            .rows
            .iter()
            .map(|row| line(std::array::from_fn(|column| row[column].as_str())));
        std::iter::once(head).chain(rows).collect()
    }
}

/// A few names, and how many there are beside them.
pub fn few(names: &[String], most: usize) -> String {
    let shown = names[..names.len().min(most)].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// As JSON.
pub fn json(data: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(data).map_err(|e| Failure::Other(e.into()))? + "\n")
}

/// As YAML.
pub fn yaml(data: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(data).map_err(|e| Failure::Other(anyhow::anyhow!("{e}")))
}

/// To standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::Other(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them_and_empty_ones_are_left_out() {
        let mut table = Table::new(["NAME", "NOTHING", "STATE"]);
        table.row(["a".into(), String::new(), "well".into()]);
        table.row(["longer\x1b[2J".into(), String::new(), "bad".into()]);
        assert_eq!(
            table.lines(Style::plain()),
            "NAME              STATE\na                 well\nlonger\\u{1b}[2J   bad\n"
        );
    }

    #[test]
    fn of_many_names_a_few_are_shown() {
        let names: Vec<String> = ["a", "b", "c"].map(Into::into).to_vec();
        assert_eq!(few(&names, 3), "a, b, c");
        assert_eq!(few(&names, 1), "a and 2 more");
        assert_eq!(few(&[], 1), "");
    }
}
