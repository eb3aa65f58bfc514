//! Text that somebody else chose, as it is safe to stand in HTML, between tags and in quoted attributes.

use crate::text::visible;

/// Plain text, in one line.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// A sentence, in which what stands between backticks is code.
pub fn prose(sentence: &str) -> String {
    let parts: Vec<_> = sentence.split('`').collect();
    // A backtick without another is one.
    let paired = parts.len() % 2 == 1;
    if !paired {
        return text(sentence);
    }
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(index, part)| match (index % 2, part) {
            (0, part) => text(part),
            (_, "") => String::new(),
            (_, part) => code(part),
        })
        .collect()
}

/// A piece of code.
pub fn code(code: &str) -> String {
    format!("<code>{}</code>", text(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            text("<b title=\"x\" id='y'>a & b</b>\u{7}\nc"),
            "&lt;b title=&quot;x&quot; id=&#39;y&#39;&gt;a &amp; b&lt;/b&gt;\\u{7} c"
        );
    }

    #[test]
    fn a_command_in_a_sentence_is_code_and_nothing_else_is() {
        assert_eq!(
            prose("run `a <b>`, or not"),
            "run <code>a &lt;b&gt;</code>, or not"
        );
        assert_eq!(prose("one ` <i> alone"), "one ` &lt;i&gt; alone");
    }
}
