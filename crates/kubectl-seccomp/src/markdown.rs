//! Text that somebody else chose, as it is safe to stand in Markdown, also in the cells of a table.

use std::fmt::Write as _;

use super::text::visible;

/// Plain text.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&'
        ) {
            out.push('\\');
        }
        // A name behind it would be told.
        if c == '@' {
            let _ = write!(out, "&#64;");
            continue;
        }
        out.push(c);
    }
    out
}

/// A piece of code.
pub fn code(text: &str) -> String {
    let text = visible(text).replace('|', "\\|");
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(text("a|b <i> @team\nc_d"), "a\\|b \\<i\\> &#64;team c\\_d");
        assert_eq!(code("a|`b"), "`` a\\|`b ``");
        assert_eq!(code("spec.deny[0]"), "`spec.deny[0]`");
    }
}
