//! Tables for people, as kubectl prints them.

use super::text::{Style, visible};

/// Rows under headings. A column in which no row has anything is left out.
pub struct Table<const N: usize> {
    heads: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
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
