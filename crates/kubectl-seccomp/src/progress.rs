//! How far a long list has got, for whoever waits at a terminal: one line on standard error, which goes when the list is there.

use std::io::{IsTerminal as _, Write as _, stderr};

/// A list of fewer objects is there before anybody has read how far it has got.
const SHORT: usize = 1000;

/// The line of one list; it goes with this.
pub struct Progress<'a> {
    kind: &'a str,
    /// Somebody may look at it.
    seen: bool,
    shown: bool,
}

impl<'a> Progress<'a> {
    /// Of a list of this kind, in RBAC's words.
    pub fn of(kind: &'a str) -> Self {
        Self {
            kind,
            seen: stderr().is_terminal(),
            shown: false,
        }
    }

    /// So many objects are there, and so many will come, where the API server says that.
    pub fn reached(&mut self, listed: usize, remaining: Option<i64>) {
        let Some(line) = line(self.kind, listed, remaining).filter(|_| self.seen) else {
            return;
        };
        self.shown = true;
        // Whoever cannot be told goes without.
        let _ = write!(stderr(), "\r{line}\x1b[K").and_then(|()| stderr().flush());
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K").and_then(|()| stderr().flush());
        }
    }
}

fn line(kind: &str, listed: usize, remaining: Option<i64>) -> Option<String> {
    let remaining = remaining.and_then(|remaining| usize::try_from(remaining).ok());
    let all = listed + remaining.unwrap_or_default();
    let kind = kind.split_once('.').map_or(kind, |(kind, _)| kind);
    (all >= SHORT).then(|| match remaining {
        Some(1..) => format!("listing {kind}: {listed} of {all}"),
        _ => format!("listing {kind}: {listed}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_says_how_far_it_has_got_and_a_short_one_nothing() {
        assert_eq!(line("pods", 500, None), None);
        assert_eq!(line("pods", 500, Some(400)), None);
        assert_eq!(line("pods", 12_500, None).unwrap(), "listing pods: 12500");
        let of = line("seccompnodes.seccomp-operator.io", 500, Some(4500));
        assert_eq!(of.unwrap(), "listing seccompnodes: 500 of 5000");
    }
}
