//! How the tool writes for people: width, emphasis, the names of errno values.

use std::io::IsTerminal;

use k8s_openapi::jiff::Timestamp;
use seccomp_profile::Errno;

/// Whether emphasis is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    emphasis: bool,
}

impl Style {
    /// Emphasis if standard output is a terminal and `NO_COLOR` (<https://no-color.org>) does not forbid it.
    pub fn for_stdout() -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            emphasis: std::io::stdout().is_terminal() && !forbidden,
        }
    }

    /// No emphasis.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { emphasis: false }
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        if !self.emphasis {
            return text.into();
        }
        let start = text.len() - text.trim_start_matches('\n').len();
        let end = text.trim_end_matches('\n').len().max(start);
        format!(
            "{}\x1b[1m{}\x1b[0m{}",
            &text[..start],
            &text[start..end],
            &text[end..]
        )
    }
}

/// Text that somebody else chose, harmless to a terminal, in one line.
pub fn visible(text: &str) -> String {
    let one_line = if text.contains('\n') {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        text.to_owned()
    };
    one_line
        .chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

const WIDTH: usize = 100;

/// Words in lines of at most 100 characters; the first line starts with `head`, the others are indented to match it
/// (or by four, if the head is long).
pub fn wrap(head: &str, words: &str) -> String {
    let indent = if head.chars().count() <= 16 {
        head.chars().count()
    } else {
        4
    };
    let mut out = head.to_string();
    let mut used = head.chars().count();
    let mut first = true;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if !first && used + 1 + length > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        } else if !first {
            out.push(' ');
            used += 1;
        }
        out += word;
        used += length;
        first = false;
    }
    out.push('\n');
    out
}

/// `1 call`, `2 calls`
pub fn plural(number: impl std::fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    let end = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{end}")
}

/// To the minute, in UTC.
pub fn moment(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The name of an error, or its number.
pub fn errno_name(errno: i32) -> String {
    let known = u64::try_from(errno).ok().and_then(Errno::new);
    known
        .and_then(Errno::name)
        .map_or_else(|| format!("errno {errno}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_wrapped_under_their_head() {
        let text = wrap("  EPERM: ", &["name"; 40].join(" "));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|l| l.len() <= WIDTH), "{text}");
        assert!(
            lines[0].starts_with("  EPERM: name") && lines[1].starts_with("         name"),
            "{text}"
        );
        assert_eq!(text.matches("name").count(), 40);
    }

    #[test]
    fn what_would_move_the_cursor_is_written_out() {
        assert_eq!(visible("a\x1b[2Jb\u{e9}"), "a\\u{1b}[2Jb\u{e9}");
    }

    #[test]
    fn a_text_of_several_lines_becomes_one() {
        assert_eq!(
            visible("two\r\nlines\n\n  and more\n"),
            "two lines and more"
        );
    }

    #[test]
    fn an_errno_without_a_name_is_a_number() {
        assert_eq!(errno_name(libc::ENETDOWN), "ENETDOWN");
        assert_eq!(errno_name(1000), "errno 1000");
        assert_eq!(errno_name(4095), "errno 4095");
    }

    #[test]
    fn emphasis_leaves_line_ends_alone() {
        let loud = Style { emphasis: true };
        assert_eq!(loud.bold("\nHead\n"), "\n\x1b[1mHead\x1b[0m\n");
        assert_eq!(Style { emphasis: false }.bold("\nHead\n"), "\nHead\n");
        assert_eq!(loud.bold("\n"), "\n\x1b[1m\x1b[0m");
    }
}
