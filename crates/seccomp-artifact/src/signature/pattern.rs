//! Names with `*` in them, for identities that change with each release.

/// A text in which `*` stands for any characters, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern; without a `*` it is the text itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.bytes().all(|b| b == b'*')
    }

    /// Whether all of a text is as the pattern says. Takes a time that grows with the product of both lengths at most.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let mut parts: Vec<_> = parts.collect();
        let Some(last) = parts.pop() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let workflow = "https://github.com/acme/profiles/.github/workflows/push.yaml@refs/tags/v1";
        for (pattern, matches) in [
            (workflow, true),
            ("https://github.com/acme/*", true),
            ("https://github.com/acme/*/push.yaml@refs/tags/*", true),
            ("*@refs/tags/v1", true),
            ("https://github.com/acme", false),
            ("github.com/acme/*", false),
            ("https://github.com/other/*", false),
            ("https://github.com/acme/*@refs/heads/*", false),
            ("", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(workflow),
                matches,
                "{pattern}"
            );
        }
        // The two ends may not share characters.
        assert!(!Pattern::new("aba*ba").matches("aba"));
        assert!(Pattern::new("aba*ba").matches("ababa"));
    }

    #[test]
    fn everybody_is_nobody() {
        for text in ["", "*", "**"] {
            assert!(Pattern::new(text).is_everything(), "{text}");
        }
        assert!(!Pattern::new("*@example.com").is_everything());
    }
}
